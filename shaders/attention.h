/* What host and device agree on for attention.comp, attention_bwd_q.comp and attention_bwd_kv.comp; valid C and GLSL.
 * Strides and offsets count elements and are multiples of 4. */
#ifndef ESPL_ATTENTION_H
#define ESPL_ATTENTION_H

/* Bindings of set 0. All: */
#define ATTENTION_BIND_Q 0
#define ATTENTION_BIND_K 1
#define ATTENTION_BIND_V 2
#define ATTENTION_BIND_POSITIONS 3 /* not bound without ATTENTION_SPEC_POSITIONS */
#define ATTENTION_BIND_LENGTHS 4   /* not bound without ATTENTION_SPEC_LENGTHS */
#define ATTENTION_BIND_MASK 5      /* not bound without ATTENTION_SPEC_DROPOUT */
/* attention.comp: */
#define ATTENTION_BIND_OUT 6
#define ATTENTION_BIND_OUT_LSE 7
#define ATTENTION_BIND_COUNT 8
/* attention_bwd_q.comp, attention_bwd_kv.comp: */
#define ATTENTION_BIND_LSE 6
#define ATTENTION_BIND_DO 7
#define ATTENTION_BIND_ROWSUM 8 /* written by bwd_q, read by bwd_kv */
#define ATTENTION_BIND_O 9      /* bwd_q */
#define ATTENTION_BIND_DQ 10    /* bwd_q */
#define ATTENTION_BIND_DK 9     /* bwd_kv */
#define ATTENTION_BIND_DV 10    /* bwd_kv */
#define ATTENTION_BIND_BWD_COUNT 11

/* Specialization constants; 0, 1, 2 are the local size: ROW_LANES * DIM_SPLIT * KEY_SPLIT, 1, 1. */
#define ATTENTION_SPEC_HEAD 3        /* head size */
#define ATTENTION_SPEC_GROUP 4       /* query heads per key head */
#define ATTENTION_SPEC_ROW_LANES 5   /* lanes that have rows of their own */
#define ATTENTION_SPEC_LANE_ROWS 6   /* rows of such a lane */
#define ATTENTION_SPEC_DIM_SPLIT 7   /* lanes that share a row's head dimensions */
#define ATTENTION_SPEC_KEY_SPLIT 8   /* lanes that share a row's keys; forward only, else 1 */
#define ATTENTION_SPEC_BLOCK 9       /* keys (bwd_kv: queries) per step of the loop */
#define ATTENTION_SPEC_CAUSAL 10     /* 1: key <= query */
#define ATTENTION_SPEC_POSITIONS 11  /* 1: read positions, 0: all zero */
#define ATTENTION_SPEC_LENGTHS 12    /* 1: read lengths, 0: capacity */
#define ATTENTION_SPEC_Q_TYPE 13     /* espl_dtype of q, and so on */
#define ATTENTION_SPEC_K_TYPE 14
#define ATTENTION_SPEC_V_TYPE 15
#define ATTENTION_SPEC_O_TYPE 16     /* 16 bits: HEAD is even */
#define ATTENTION_SPEC_DROPOUT 17    /* 1: weights are dropped by the mask */
#define ATTENTION_SPEC_ACCUMULATE 18 /* bwd: 1: add to dQ; bit 0: add to dK, bit 1: add to dV */
#define ATTENTION_SPEC_WANTED 19     /* bwd: 1: write dQ; bit 0: write dK, bit 1: write dV */
#define ATTENTION_SPEC_MATRIX_M 20   /* attention_coopmat.comp: a shape of the device's list */
#define ATTENTION_SPEC_MATRIX_N 21
#define ATTENTION_SPEC_MATRIX_K 22
#define ATTENTION_SPEC_PARTS 23      /* numbers of 16 bits that an exponential is multiplied as the sum of */

#ifdef VULKAN
#define ATTENTION_U32 uint
layout(push_constant) uniform attention_push {
#else
#include <stdint.h>
#define ATTENTION_U32 uint32_t
typedef struct attention_push {
#endif
    ATTENTION_U32 queries, capacity, window; /* per row of the batch; window 0: none */
    ATTENTION_U32 first; /* row of the batch of the first rows that are bound; positions and lengths are bound whole */
    ATTENTION_U32 q_from, k_from, v_from, q_stride, k_stride, v_stride;
    ATTENTION_U32 o_stride, lse_stride;                 /* lse and rowsum: [batch*queries, heads] */
    ATTENTION_U32 do_stride, rowsum_stride;             /* bwd */
    ATTENTION_U32 dq_from, dq_stride;                   /* bwd_q */
    ATTENTION_U32 dk_from, dv_from, dk_stride, dv_stride; /* bwd_kv */
    ATTENTION_U32 mask_stride, mask_words; /* of a query; of one of its heads */
    float scale, kept_scale;
#ifdef VULKAN
} push;
#else
} attention_push;
#endif

#endif
