/* Host and device interface of rmsnorm.comp, rmsnorm_bwd.comp and rmsnorm_dw.comp. A row is `groups` groups of `cols`
 * columns from column `from`; with `others` the columns outside of them are copied. Strides and from are in quads. */
#ifndef ESPL_RMSNORM_H
#define ESPL_RMSNORM_H

#define RMSNORM_BIND_X 0
#define RMSNORM_BIND_W 1
#define RMSNORM_BIND_Y 2
#define RMSNORM_BIND_RSTD 3

/* rmsnorm_bwd: y becomes dy. rmsnorm_dw: w is not bound, the fourth is the partial sums. */
#define RMSNORM_BWD_BIND_DX 4
#define RMSNORM_DW_BIND_X 0
#define RMSNORM_DW_BIND_DY 1
#define RMSNORM_DW_BIND_RSTD 2
#define RMSNORM_DW_BIND_PARTIAL 3

/* Ids 0-2 local size, 3 TAIL (lib/quad.glsl). */
#define RMSNORM_SPEC_ACCUMULATE 4 /* of rmsnorm_bwd: dx += */
#define RMSNORM_SPEC_X_TYPE 5     /* espl_dtype, as the next */
#define RMSNORM_SPEC_Y_TYPE 6     /* of rmsnorm */

#ifdef VULKAN
#define RMSNORM_U32 uint
layout(push_constant) uniform rmsnorm_push {
#else
#include <stdint.h>
#define RMSNORM_U32 uint32_t
typedef struct rmsnorm_push {
#endif
    RMSNORM_U32 rows, cols, from, groups, others;
    RMSNORM_U32 row_cols;                    /* columns of a whole row */
    RMSNORM_U32 x_stride, y_stride, dx_stride; /* y: also dy */
    RMSNORM_U32 chunk;                       /* rmsnorm_dw: rows * groups summed by one workgroup */
    RMSNORM_U32 partial_stride;
    RMSNORM_U32 first_row, first_chunk;      /* those before what is bound of x; rstd and partial are bound whole */
    float eps;
#ifdef VULKAN
} push;
#else
} rmsnorm_push;
#endif

#endif
