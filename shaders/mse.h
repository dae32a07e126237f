/* Host and device interface of mse.comp. Strides are in elements. */
#ifndef ESPL_MSE_H
#define ESPL_MSE_H

#define MSE_BIND_X 0
#define MSE_BIND_TARGETS 1
#define MSE_BIND_LABELS 2
#define MSE_BIND_STEP 3
#define MSE_BIND_LOSS 4
#define MSE_BIND_DX 5
#define MSE_BIND_COUNT 6

#define MSE_SPEC_GRADIENT 3 /* 1: dx is written */

#ifdef VULKAN
#define MSE_U32 uint
layout(push_constant) uniform mse_push {
#else
#include <stdint.h>
#define MSE_U32 uint32_t
typedef struct mse_push {
#endif
    MSE_U32 rows, cols, x_stride, loss_stride, dx_stride;
#ifdef VULKAN
} push;
#else
} mse_push;
#endif

#endif
