/* Host and device interface of dropout.comp. Strides are in quads. */
#ifndef ESPL_DROPOUT_H
#define ESPL_DROPOUT_H

#define DROPOUT_BIND_X 0
#define DROPOUT_BIND_STEP 1
#define DROPOUT_BIND_Y 2

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl), 4 ITEMS (lib/each.glsl). */
#define DROPOUT_SPEC_ACCUMULATE 5
#define DROPOUT_SPEC_X_TYPE 6 /* espl_dtype, as the next */
#define DROPOUT_SPEC_Y_TYPE 7

#ifdef VULKAN
#define DROPOUT_U32 uint
layout(push_constant) uniform dropout_push {
#else
#include <stdint.h>
#define DROPOUT_U32 uint32_t
typedef struct dropout_push {
#endif
    DROPOUT_U32 rows, cols, x_stride, y_stride;
    DROPOUT_U32 first; /* quads of the rows before those that are bound */
    DROPOUT_U32 site;
    DROPOUT_U32 threshold; /* p * 2^32: words below it drop */
    float scale;           /* 1 / (1 - p) */
#ifdef VULKAN
} push;
#else
} dropout_push;
#endif

#endif
