/* Host and device interface of group_cross_entropy.comp. Strides are in elements. */
#ifndef ESPL_GROUP_CROSS_ENTROPY_H
#define ESPL_GROUP_CROSS_ENTROPY_H

#define GROUP_CROSS_ENTROPY_BIND_X 0
#define GROUP_CROSS_ENTROPY_BIND_LABELS 1
#define GROUP_CROSS_ENTROPY_BIND_STEP 2
#define GROUP_CROSS_ENTROPY_BIND_LOSS 3
#define GROUP_CROSS_ENTROPY_BIND_DX 4
#define GROUP_CROSS_ENTROPY_BIND_COUNT 5

#define GROUP_CROSS_ENTROPY_SPEC_GRADIENT 3 /* 1: dx is written */
#define GROUP_CROSS_ENTROPY_LANES_MAX 64

#ifdef VULKAN
#define GROUP_CROSS_ENTROPY_U32 uint
layout(push_constant) uniform group_cross_entropy_push {
#else
#include <stdint.h>
#define GROUP_CROSS_ENTROPY_U32 uint32_t
typedef struct group_cross_entropy_push {
#endif
    GROUP_CROSS_ENTROPY_U32 groups, rows; /* rows of a group */
    GROUP_CROSS_ENTROPY_U32 cols, x_stride, loss_stride, dx_stride;
#ifdef VULKAN
} push;
#else
} group_cross_entropy_push;
#endif

#endif
