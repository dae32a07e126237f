/* Host and device interface of orthogonal.comp. */
#ifndef ESPL_ORTHOGONAL_H
#define ESPL_ORTHOGONAL_H

#define ORTHOGONAL_BIND_G 0
#define ORTHOGONAL_BIND_Y 1

/* Ids 0-2 local size. */

#ifdef VULKAN
#define ORTHOGONAL_U32 uint
layout(push_constant) uniform orthogonal_push {
#else
#include <stdint.h>
#define ORTHOGONAL_U32 uint32_t
typedef struct orthogonal_push {
#endif
    ORTHOGONAL_U32 size, g_stride, y_stride; /* in elements */
    ORTHOGONAL_U32 from, count, end;         /* the block, and the row behind the last that is written */
    float factor;
#ifdef VULKAN
} push;
#else
} orthogonal_push;
#endif

#endif
