/* Host and device interface of fusion_dot.comp, fusion_softmax.comp and fusion_mix.comp. Strides are in quads, those of s, p and dp in
 * elements. */
#ifndef ESPL_FUSION_H
#define ESPL_FUSION_H

#define FUSION_BIND_X 0
#define FUSION_BIND_U 1
#define FUSION_BIND_S 2
#define FUSION_MIX_BIND_Y 0
#define FUSION_SOFTMAX_BIND_DP 0 /* with BACKWARD */
#define FUSION_SOFTMAX_BIND_P 1

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl), 4 ITEMS (lib/each.glsl). */
#define FUSION_SPEC_ACCUMULATE 5
#define FUSION_SPEC_X_TYPE 6 /* espl_dtype */
#define FUSION_SPEC_U_TYPE 7
#define FUSION_SPEC_BACKWARD 8 /* fusion_softmax: s is ds, and p is there */

#ifdef VULKAN
#define FUSION_U32 uint
layout(push_constant) uniform fusion_push {
#else
#include <stdint.h>
#define FUSION_U32 uint32_t
typedef struct fusion_push {
#endif
    FUSION_U32 rows, cols;
    FUSION_U32 x_stride, u_stride, s_stride; /* fusion_mix: x is y; fusion_softmax: x is dp, u is p */
    FUSION_U32 column; /* of s: the member whose u is bound; fusion_softmax: how many there are */
#ifdef VULKAN
} push;
#else
} fusion_push;
#endif

#endif
