/* Host and device interface of scale.comp and scale_ds.comp. Strides and columns `from` are in quads. */
#ifndef ESPL_SCALE_H
#define ESPL_SCALE_H

/* What s is to x. */
#define SCALE_COLUMNS 0 /* s[c] */
#define SCALE_ROWS 1    /* s[r / group_rows] */
#define SCALE_FULL 2    /* s[r,c] */
#define SCALE_NUMBER 3  /* no s: push.number */

#define SCALE_BIND_X 0
#define SCALE_BIND_S 1
#define SCALE_BIND_Y 2

#define SCALE_DS_BIND_X 0
#define SCALE_DS_BIND_DY 1
#define SCALE_DS_BIND_DS 2

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl), 4 ITEMS (lib/each.glsl). */
#define SCALE_SPEC_KIND 5
#define SCALE_SPEC_ACCUMULATE 6
#define SCALE_SPEC_X_TYPE 7 /* espl_dtype, as the next two */
#define SCALE_SPEC_S_TYPE 8
#define SCALE_SPEC_Y_TYPE 9
#define SCALE_DS_SPEC_SUM 8 /* 1: x is not there: sums of dy alone */

#ifdef VULKAN
#define SCALE_U32 uint
layout(push_constant) uniform scale_push {
#else
#include <stdint.h>
#define SCALE_U32 uint32_t
typedef struct scale_push {
#endif
    SCALE_U32 rows, cols;           /* of x */
    SCALE_U32 from, count;          /* the columns that are scaled: quads, columns */
    SCALE_U32 group_rows;           /* ROWS: rows of x with one s; scale_ds: rows that one sum takes */
    SCALE_U32 first;                /* rows of x, or sums, before those that are bound; s of ROWS and ds are bound whole */
    SCALE_U32 x_stride, s_stride, y_stride;
    float number;
#ifdef VULKAN
} push;
#else
} scale_push;
#endif

#endif
