/* Host and device interface of pick.comp and pick_bwd.comp. Strides are in quads. */
#ifndef ESPL_PICK_H
#define ESPL_PICK_H

#define PICK_BIND_X 0
#define PICK_BIND_LENGTHS 1
#define PICK_BIND_Y 2

#define PICK_BWD_BIND_DY 0
#define PICK_BWD_BIND_LENGTHS 1
#define PICK_BWD_BIND_DX 2

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl), 4 ITEMS (lib/each.glsl). */
#define PICK_SPEC_LAST 5       /* 1: the last row of each sequence, else the first */
#define PICK_SPEC_LENGTHS 6    /* 1: lengths are bound, else every sequence is whole */
#define PICK_SPEC_ACCUMULATE 7 /* of pick_bwd */
#define PICK_SPEC_X_TYPE 7     /* of pick: espl_dtype */
#define PICK_SPEC_Y_TYPE 8

#ifdef VULKAN
#define PICK_U32 uint
layout(push_constant) uniform pick_push {
#else
#include <stdint.h>
#define PICK_U32 uint32_t
typedef struct pick_push {
#endif
    PICK_U32 rows, cols; /* of what is written */
    PICK_U32 first;      /* sequence of the batch that this is the first of */
    PICK_U32 sequence;   /* rows of x that are one sequence */
    PICK_U32 x_stride, y_stride;
#ifdef VULKAN
} push;
#else
} pick_push;
#endif

#endif
