/* What host and device agree on for relative_attention*.comp. Strides and offsets count elements and are multiples of 4. */
#ifndef ESPL_RELATIVE_ATTENTION_H
#define ESPL_RELATIVE_ATTENTION_H

#define RELATIVE_BIND_Q 0
#define RELATIVE_BIND_KV 1
#define RELATIVE_BIND_RELATIVE 2
#define RELATIVE_BIND_BUCKETS 3
#define RELATIVE_BIND_LENGTHS 4 /* not bound without RELATIVE_SPEC_LENGTHS */
#define RELATIVE_BIND_MASK 5    /* not bound without RELATIVE_SPEC_DROPOUT */
#define RELATIVE_BIND_LSE 6     /* written forward, read backward */
#define RELATIVE_BIND_O 7       /* forward */
#define RELATIVE_BIND_COUNT 8
#define RELATIVE_BIND_DO 7     /* backward */
#define RELATIVE_BIND_ROWSUM 8 /* written by _bwd_q */
#define RELATIVE_BIND_GRAD 9   /* of what the kernel is for */
#define RELATIVE_BIND_BWD_COUNT 10

/* Ids 0-2 local size. */
#define RELATIVE_SPEC_HEAD 3
#define RELATIVE_SPEC_ROW_LANES 4 /* rows of a workgroup; _bwd_r: queries that it takes at once */
#define RELATIVE_SPEC_DIM_SPLIT 5 /* lanes that share a head */
#define RELATIVE_SPEC_LENGTHS 6
#define RELATIVE_SPEC_BEFORE 7 /* 1: keys before the tokens */
#define RELATIVE_SPEC_X_TYPE 8 /* espl_dtype of q and kv, and so on */
#define RELATIVE_SPEC_R_TYPE 9
#define RELATIVE_SPEC_O_TYPE 10     /* forward */
#define RELATIVE_SPEC_DROPOUT 11    /* 1: weights are dropped by the mask */
#define RELATIVE_SPEC_ACCUMULATE 12 /* bwd: one bit for each part written, in their order */
#define RELATIVE_SPEC_WANTED 13     /* bwd_q: 1: dQ is written, else the row sums alone */

#ifdef VULKAN
#define RELATIVE_U32 uint
layout(push_constant) uniform relative_push {
#else
#include <stdint.h>
#define RELATIVE_U32 uint32_t
typedef struct relative_push {
#endif
    RELATIVE_U32 first, batch, tokens, keys, rows; /* first sequence here, sequences; tokens and keys of one; relative rows */
    RELATIVE_U32 zero;                             /* entry of buckets for distance 0 */
    RELATIVE_U32 q_from, q_stride;
    RELATIVE_U32 k_from, v_from, kv_stride;
    RELATIVE_U32 rq_from, rk_from, r_stride;       /* of the relative rows */
    RELATIVE_U32 o_stride, lse_stride, do_stride, rowsum_stride, grad_stride;
    RELATIVE_U32 mask_stride, mask_words;              /* of a query; of one of its heads */
    float scale, kept_scale;
#ifdef VULKAN
} push;
#else
} relative_push;
#endif

#endif
