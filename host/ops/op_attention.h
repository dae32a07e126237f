/* Attention, streaming: the matrix of scores is never stored. For query i of row b of the batch, at the absolute
 * position t = positions[b] + i, and query head h with key head g = h / (heads / kv_heads):
 *   s_j = scale * q_i,h . k_j,g    for the keys j that it sees: j < capacity, j < lengths[b], j <= t if causal,
 *                                  t - j < window if window is not 0
 *   o_i,h = sum of m_j softmax(s)_j v_j,g;   zeros if it sees no key
 * where m is 1, or with dropout 0 for some weights and 1 / (1 - dropout) for the others, drawn as op_dropout.h says.
 * q             [batch * queries, ...]   f32 f16 bf16   read: heads * head_size columns from q_from
 * k, v          [batch * capacity, ...]  f32 f16 bf16   read: kv_heads * head_size columns from k_from, v_from; in training
 *                                              capacity = queries, else k and v are a cache (STATE, perhaps one tensor)
 * positions     STEP [1, batch] I32      NULL: 0
 * lengths       STEP [1, batch] I32      NULL: capacity
 * result        [batch * queries, heads * head_size]   value; f32 if head_size is odd
 * q, k and v may be one tensor. *_from are multiples of 4; head_size is 1 to 256, best a multiple of 4. scale 0 means
 * 1 / sqrt(head_size). Rows of the cache that no query sees are not read.
 * dropout       in [0, 1); 0: none, and nothing is drawn. dropout_site: as site of op_dropout.h
 * Keeps the logarithm of each softmax's sum for the backward pass, which computes the scores again. Sums in f32,
 * in a fixed order, no atomics.
 * Cost:   4 * head_size operations per pair of query head and seen key, one dispatch; backward 14, two dispatches. Dropout: a
 *         dispatch more and one bit of scratch memory per pair, each way.
 * Fails:  ARGUMENT if shapes or dtypes disagree or dropout is outside [0, 1), LIMIT beyond 65535 tiles, key heads or rows
 *         of the batch.
 * Source: Milakov & Gimelshein 2018 (online softmax); Dao et al. 2022 (backward).
 * Reference: tests/ref/ref_attention.c */
#ifndef ESPL_OP_ATTENTION_H
#define ESPL_OP_ATTENTION_H

#include "host/graph/graph.h"

typedef struct espl_attention {
    espl_tensor *q, *k, *v;
    uint32_t q_from, k_from, v_from;
    uint32_t batch, heads, kv_heads, head_size; /* kv_heads 0: heads */
    float scale;
    bool causal;
    espl_tensor *positions, *lengths;
    uint32_t window;
    float dropout;
    uint32_t dropout_site;
} espl_attention;

espl_tensor *espl_graph_attention(espl_graph *graph, const espl_attention *args);

extern const espl_op espl_op_attention;

#endif
