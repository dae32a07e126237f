/* Host and device interface of adamw.comp. */
#ifndef ESPL_ADAMW_H
#define ESPL_ADAMW_H

#define ADAMW_BIND_P 0
#define ADAMW_BIND_G 1
#define ADAMW_BIND_M 2
#define ADAMW_BIND_V 3
#define ADAMW_BIND_STEP 4
#define ADAMW_BIND_STATS 5

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl), 4 ITEMS (lib/each.glsl). */
#define ADAMW_SPEC_DECAY 5 /* 1: with weight decay */

#ifdef VULKAN
#define ADAMW_U32 uint
layout(push_constant) uniform adamw_push {
#else
#include <stdint.h>
#define ADAMW_U32 uint32_t
typedef struct adamw_push {
#endif
    ADAMW_U32 count; /* of parameters bound */
    float rate;      /* factor of the learning rate */
#ifdef VULKAN
} push;
#else
} adamw_push;
#endif

#endif
