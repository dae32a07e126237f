/* Host and device interface of concat.comp and slice.comp. Strides and first columns are in quads. Sequences of y have
 * y_rows rows, those of x x_rows. */
#ifndef ESPL_CONCAT_H
#define ESPL_CONCAT_H

#define CONCAT_BIND_A 0
#define CONCAT_BIND_X 1
#define CONCAT_BIND_Y 2

#define SLICE_BIND_X 0
#define SLICE_BIND_Y 1

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl), 4 ITEMS (lib/each.glsl). */
#define CONCAT_SPEC_ACCUMULATE 5
#define CONCAT_SPEC_X_TYPE 6 /* espl_dtype */
#define CONCAT_SPEC_Y_TYPE 7
#define CONCAT_SPEC_A_TYPE 8
#define CONCAT_SPEC_A 9      /* 1: rows before x come from a, else they are zeros */

#ifdef VULKAN
#define CONCAT_U32 uint
layout(push_constant) uniform concat_push {
#else
#include <stdint.h>
#define CONCAT_U32 uint32_t
typedef struct concat_push {
#endif
    CONCAT_U32 rows, cols;        /* of y; concat: in all, slice: in all */
    CONCAT_U32 x_rows, y_rows;    /* of one sequence */
    CONCAT_U32 first;             /* concat: row of y where x begins; slice: row of x where y begins */
    CONCAT_U32 x_from, y_from;    /* columns */
    CONCAT_U32 x_stride, y_stride, a_stride;
    CONCAT_U32 a_rows;            /* concat: from one sequence of a to the next; 0: all have the same */
    CONCAT_U32 sequences;         /* slice: of x that are added up in one row of y */
#ifdef VULKAN
} push;
#else
} concat_push;
#endif

#endif
