/* Host and device interface of cast.comp. Strides are in quads. */
#ifndef ESPL_CAST_H
#define ESPL_CAST_H

#define CAST_BIND_X 0
#define CAST_BIND_Y 1

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl), 4 ITEMS (lib/each.glsl). */
#define CAST_SPEC_FROM 5 /* espl_dtype */
#define CAST_SPEC_TO 6

#ifdef VULKAN
#define CAST_U32 uint
layout(push_constant) uniform cast_push {
#else
#include <stdint.h>
#define CAST_U32 uint32_t
typedef struct cast_push {
#endif
    CAST_U32 rows, cols, x_stride, y_stride;
#ifdef VULKAN
} push;
#else
} cast_push;
#endif

#endif
