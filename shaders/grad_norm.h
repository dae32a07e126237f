/* Host and device interface of grad_norm_partial.comp and grad_norm.comp. */
#ifndef ESPL_GRAD_NORM_H
#define ESPL_GRAD_NORM_H

#define GRAD_NORM_PARTIAL_BIND_G 0
#define GRAD_NORM_PARTIAL_BIND_OUT 1

#define GRAD_NORM_BIND_PARTIAL 0
#define GRAD_NORM_BIND_STEP 1
#define GRAD_NORM_BIND_STATS 2

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl). */

#ifdef VULKAN
#define GRAD_NORM_U32 uint
layout(push_constant) uniform grad_norm_push {
#else
#include <stdint.h>
#define GRAD_NORM_U32 uint32_t
typedef struct grad_norm_push {
#endif
    GRAD_NORM_U32 count; /* gradients bound, or partial sums */
    GRAD_NORM_U32 chunk; /* quads that one workgroup sums */
    GRAD_NORM_U32 first; /* its first partial sum */
#ifdef VULKAN
} push;
#else
} grad_norm_push;
#endif

#endif
