/* Host and device interface of householder.comp and householder_bwd.comp. Strides are in elements. */
#ifndef ESPL_HOUSEHOLDER_H
#define ESPL_HOUSEHOLDER_H

#define HOUSEHOLDER_BIND_X 0
#define HOUSEHOLDER_BIND_Y 1
#define HOUSEHOLDER_BIND_DY 2   /* bwd */
#define HOUSEHOLDER_BIND_DX 3   /* bwd: added to */
#define HOUSEHOLDER_BIND_ROWS 4 /* bwd: scratch of two rows as wide as x */

/* Ids 0-2 local size. */

#ifdef VULKAN
#define HOUSEHOLDER_U32 uint
layout(push_constant) uniform householder_push {
#else
#include <stdint.h>
#define HOUSEHOLDER_U32 uint32_t
typedef struct householder_push {
#endif
    HOUSEHOLDER_U32 rows, cols;
    HOUSEHOLDER_U32 x_stride, y_stride, dy_stride, dx_stride, rows_stride;
#ifdef VULKAN
} push;
#else
} householder_push;
#endif

#endif
