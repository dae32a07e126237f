/* Host and device interface of colsum.comp. Strides and from are in quads. */
#ifndef ESPL_COLSUM_H
#define ESPL_COLSUM_H

#define COLSUM_BIND_X 0
#define COLSUM_BIND_OUT 1

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl). */
#define COLSUM_SPEC_ACCUMULATE 4

#ifdef VULKAN
#define COLSUM_U32 uint
layout(push_constant) uniform colsum_push {
#else
#include <stdint.h>
#define COLSUM_U32 uint32_t
typedef struct colsum_push {
#endif
    COLSUM_U32 rows, cols, from, x_stride, out_stride;
    COLSUM_U32 chunk; /* rows that one row of out is the sum of */
    COLSUM_U32 first; /* chunk of the first workgroup */
#ifdef VULKAN
} push;
#else
} colsum_push;
#endif

#endif
