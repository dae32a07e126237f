/* Host and device interface of sum.comp. */
#ifndef ESPL_SUM_H
#define ESPL_SUM_H

#define SUM_BIND_X 0
#define SUM_BIND_STEP 1
#define SUM_BIND_STATS 2

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl). */
#define SUM_SPEC_FACTOR 4 /* 1: times a word of the step buffer */

#ifdef VULKAN
#define SUM_U32 uint
layout(push_constant) uniform sum_push {
#else
#include <stdint.h>
#define SUM_U32 uint32_t
typedef struct sum_push {
#endif
    SUM_U32 rows, cols, x_stride; /* in quads */
    SUM_U32 factor_word, word;
#ifdef VULKAN
} push;
#else
} sum_push;
#endif

#endif
