/* Host and device interface of layernorm.comp, layernorm_bwd.comp and layernorm_dw.comp. Strides are in quads. */
#ifndef ESPL_LAYERNORM_H
#define ESPL_LAYERNORM_H

#define LAYERNORM_BIND_X 0
#define LAYERNORM_BIND_W 1
#define LAYERNORM_BIND_B 2
#define LAYERNORM_BIND_Y 3
#define LAYERNORM_BIND_STAT 4 /* means, then from element stat_stride on rstd */

#define LAYERNORM_BWD_BIND_X 0
#define LAYERNORM_BWD_BIND_W 1
#define LAYERNORM_BWD_BIND_DY 2
#define LAYERNORM_BWD_BIND_STAT 3
#define LAYERNORM_BWD_BIND_DX 4

#define LAYERNORM_DW_BIND_X 0
#define LAYERNORM_DW_BIND_DY 1
#define LAYERNORM_DW_BIND_STAT 2
#define LAYERNORM_DW_BIND_PARTIAL 3

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl). */
#define LAYERNORM_SPEC_BIAS 4       /* of layernorm: b is bound */
#define LAYERNORM_SPEC_ACCUMULATE 4 /* of layernorm_bwd: dx += */
#define LAYERNORM_SPEC_X_TYPE 5     /* espl_dtype, as the next */
#define LAYERNORM_SPEC_Y_TYPE 6     /* of layernorm */

#ifdef VULKAN
#define LAYERNORM_U32 uint
layout(push_constant) uniform layernorm_push {
#else
#include <stdint.h>
#define LAYERNORM_U32 uint32_t
typedef struct layernorm_push {
#endif
    LAYERNORM_U32 rows, cols;
    LAYERNORM_U32 x_stride, y_stride, dx_stride; /* y: also dy */
    LAYERNORM_U32 stat_stride;                   /* in elements */
    LAYERNORM_U32 chunk;                         /* layernorm_dw: rows summed by one workgroup */
    LAYERNORM_U32 partial_stride;
    LAYERNORM_U32 first_row, first_chunk;        /* those before what is bound of x; stat and partial are bound whole */
    float eps;
#ifdef VULKAN
} push;
#else
} layernorm_push;
#endif

#endif
