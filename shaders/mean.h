/* Host and device interface of mean.comp and mean_bwd.comp. Strides are in quads. */
#ifndef ESPL_MEAN_H
#define ESPL_MEAN_H

#define MEAN_BIND_X 0
#define MEAN_BIND_Y 1

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl), 4 ITEMS (lib/each.glsl). */
#define MEAN_SPEC_ACCUMULATE 5
#define MEAN_SPEC_X_TYPE 6 /* espl_dtype */
#define MEAN_SPEC_Y_TYPE 7

#ifdef VULKAN
#define MEAN_U32 uint
layout(push_constant) uniform mean_push {
#else
#include <stdint.h>
#define MEAN_U32 uint32_t
typedef struct mean_push {
#endif
    MEAN_U32 groups, group_rows, cols; /* mean_bwd writes groups * group_rows rows */
    MEAN_U32 x_stride, y_stride;
#ifdef VULKAN
} push;
#else
} mean_push;
#endif

#endif
