/* Host and device interface of activation.comp and activation_bwd.comp. Strides and first columns are in quads. */
#ifndef ESPL_ACTIVATION_H
#define ESPL_ACTIVATION_H

#define ACTIVATION_BIND_X 0
#define ACTIVATION_BIND_Y 1

#define ACTIVATION_BWD_BIND_X 0
#define ACTIVATION_BWD_BIND_DY 1
#define ACTIVATION_BWD_BIND_DX 2

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl), 4 ITEMS (lib/each.glsl). */
#define ACTIVATION_SPEC_KIND 5
#define ACTIVATION_SPEC_GATED 6
#define ACTIVATION_SPEC_X_TYPE 7         /* of activation: espl_dtype, as the next */
#define ACTIVATION_SPEC_Y_TYPE 8
#define ACTIVATION_SPEC_ACCUMULATE 7      /* of activation_bwd: columns from `from` are added to */
#define ACTIVATION_SPEC_ACCUMULATE_GATE 8 /* likewise those from `gate_from` */
#define ACTIVATION_BWD_SPEC_X_TYPE 9      /* of activation_bwd */

#define ACTIVATION_SILU 0      /* x / (1 + exp(-x)) */
#define ACTIVATION_GELU 1      /* x * Phi(x), Phi the normal distribution: the erf form */
#define ACTIVATION_GELU_TANH 2 /* its approximation by tanh */
#define ACTIVATION_RELU 3
#define ACTIVATION_TANH 4
#define ACTIVATION_SIGMOID 5
#define ACTIVATION_KINDS 6

#ifdef VULKAN
#define ACTIVATION_U32 uint
layout(push_constant) uniform activation_push {
#else
#include <stdint.h>
#define ACTIVATION_U32 uint32_t
typedef struct activation_push {
#endif
    ACTIVATION_U32 rows, cols, from, gate_from;
    ACTIVATION_U32 x_stride, y_stride, dx_stride; /* y: also dy */
#ifdef VULKAN
} push;
#else
} activation_push;
#endif

#endif
