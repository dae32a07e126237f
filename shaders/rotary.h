/* What host and device agree on for rotary.comp; valid C and GLSL. Strides and offsets count elements. */
#ifndef ESPL_ROTARY_H
#define ESPL_ROTARY_H

/* Bindings of set 0. */
#define ROTARY_BIND_X 0
#define ROTARY_BIND_FREQUENCIES 1 /* not bound where pairs is 0 */
#define ROTARY_BIND_POSITIONS 2   /* not bound without ROTARY_SPEC_POSITIONS */
#define ROTARY_BIND_CACHE 3       /* not bound without ROTARY_SPEC_CACHE */
#define ROTARY_BIND_COUNT 4

/* Specialization constants; 0, 1, 2 are the local size (y and z are 1). */
#define ROTARY_SPEC_INTERLEAVED 3 /* 1: pairs are (2i, 2i+1), 0: (i, i + pairs) */
#define ROTARY_SPEC_POSITIONS 4   /* 1: read positions, 0: all zero */
#define ROTARY_SPEC_CACHE 5       /* 1: store k and v in the cache */
#define ROTARY_SPEC_BACK 6        /* 1: the transposed rotation */
#define ROTARY_SPEC_X_TYPE 7      /* espl_dtype, as the next */
#define ROTARY_SPEC_CACHE_TYPE 8

#ifdef VULKAN
#define ROTARY_U32 uint
layout(push_constant) uniform rotary_push {
#else
#include <stdint.h>
#define ROTARY_U32 uint32_t
typedef struct rotary_push {
#endif
    ROTARY_U32 rows, queries, pairs, head_size, heads, kv_heads;
    ROTARY_U32 q_from, k_from, v_from, x_stride;
    ROTARY_U32 capacity, cache_stride, cache_k_from, cache_v_from;
    ROTARY_U32 items;         /* of a row: pairs, and with a cache k's other dimensions and v's */
    ROTARY_U32 items_at_once; /* 16 bits only: a divisor of items */
    ROTARY_U32 heads_at_once; /* heads that one invocation does: those from z * heads_at_once on */
    ROTARY_U32 first;         /* row of the batch of the first row that is bound; positions and cache are bound whole */
    float magnitude;
#ifdef VULKAN
} push;
#else
} rotary_push;
#endif

#endif
