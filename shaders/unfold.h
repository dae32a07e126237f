/* Host and device interface of unfold.comp and unfold_bwd.comp. Strides are in elements, multiples of 4. */
#ifndef ESPL_UNFOLD_H
#define ESPL_UNFOLD_H

#define UNFOLD_BIND_X 0
#define UNFOLD_BIND_Y 1
#define UNFOLD_BIND_LENGTHS 2 /* not bound without UNFOLD_SPEC_LENGTHS */
#define UNFOLD_BIND_COUNT 3

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl), 4 ITEMS (lib/each.glsl). */
#define UNFOLD_SPEC_LENGTHS 5
#define UNFOLD_SPEC_ACCUMULATE 6 /* backward */
#define UNFOLD_SPEC_X_TYPE 6     /* forward: espl_dtype */
#define UNFOLD_SPEC_Y_TYPE 7

#ifdef VULKAN
#define UNFOLD_U32 uint
layout(push_constant) uniform unfold_push {
#else
#include <stdint.h>
#define UNFOLD_U32 uint32_t
typedef struct unfold_push {
#endif
    UNFOLD_U32 first, rows, tokens; /* first sequence here, rows in all, of one sequence */
    UNFOLD_U32 cols, kernel;        /* of x; neighbours */
    UNFOLD_U32 x_stride, y_stride;
#ifdef VULKAN
} push;
#else
} unfold_push;
#endif

#endif
