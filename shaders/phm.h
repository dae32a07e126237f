/* Host and device interface of phm.comp and phm_bwd.comp. Strides are in elements. */
#ifndef ESPL_PHM_H
#define ESPL_PHM_H

#define PHM_BIND_RULE 0
#define PHM_BIND_LEFT 1
#define PHM_BIND_RIGHT 2
#define PHM_BIND_H 3    /* bwd: its gradient */
#define PHM_BIND_OUT 4  /* bwd: the gradient of one of the three */

#define PHM_SPEC_FACTORED 3 /* 1: W_i = left_i right_i, else left is W */
#define PHM_SPEC_OF 4       /* bwd: PHM_OF_... */

#define PHM_OF_RULE 0
#define PHM_OF_LEFT 1
#define PHM_OF_RIGHT 2

#ifdef VULKAN
#define PHM_U32 uint
layout(push_constant) uniform phm_push {
#else
#include <stdint.h>
#define PHM_U32 uint32_t
typedef struct phm_push {
#endif
    PHM_U32 n;                       /* order */
    PHM_U32 rows, cols;              /* of H: in, out */
    PHM_U32 block_rows, block_cols;  /* of one W: in / n, out / n */
    PHM_U32 rank;
    PHM_U32 rule_stride, left_stride, right_stride, h_stride, out_stride;
    PHM_U32 out_rows, out_cols;      /* bwd */
    PHM_U32 first, count;            /* rows of H that are bound */
#ifdef VULKAN
} push;
#else
} phm_push;
#endif

#endif
