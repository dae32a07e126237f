/* Host and device interface of row_norm.comp and row_norm_bwd.comp. Strides are in quads, and w_from of columns (IN_OUT). */
#ifndef ESPL_ROW_NORM_H
#define ESPL_ROW_NORM_H

#define ROW_NORM_BIND_W 0
#define ROW_NORM_BIND_A 1
#define ROW_NORM_BIND_B 2
#define ROW_NORM_BIND_Y 3
#define ROW_NORM_BIND_DY 4 /* row_norm_bwd, like G */
#define ROW_NORM_BIND_G 5

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl). */
#define ROW_NORM_SPEC_W_TYPE 4  /* espl_dtype */
#define ROW_NORM_SPEC_IN_OUT 5  /* 1: w is stored [in, out], and its columns are the rows */
#define ROW_NORM_SPEC_INVERSE 6 /* 1: one over the norm */

#ifdef VULKAN
#define ROW_NORM_U32 uint
layout(push_constant) uniform row_norm_push {
#else
#include <stdint.h>
#define ROW_NORM_U32 uint32_t
typedef struct row_norm_push {
#endif
    ROW_NORM_U32 rows, cols; /* of W as a map: out, in */
    ROW_NORM_U32 first;      /* row of B and of the result that this dispatch begins with */
    ROW_NORM_U32 rank;
    ROW_NORM_U32 w_from, w_stride, a_from, a_stride, b_stride; /* a_from: a row */
    ROW_NORM_U32 g_stride;
    float scale;
#ifdef VULKAN
} push;
#else
} row_norm_push;
#endif

#endif
