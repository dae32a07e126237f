/* Attention that also sees how far a key is away (DeBERTa's disentangled attention), streaming: no matrix of scores and no
 * matrix of scores by distance is stored. For query i of a sequence, head h and every key j < lengths[b], with r the
 * relative row of the distance i - j:
 *   s_j = scale * (q_i . (k_j + rk_r) + k_j . rq_r)      o_i = sum of softmax(s)_j v_j;   zeros if there is no key;
 * dropout as in op_attention.h. Where a sequence has more keys than tokens, those in excess stand before the tokens' and have no
 * distance: s_j = scale * q_i . k_j for them.
 * q         [batch * tokens, ...]     f32 f16 bf16  read: heads * head_size columns from q_from
 * kv        [batch * keys, ...]       as q          read: as many from k_from and from v_from; keys >= tokens; may be q
 * relative  [rows, ...]               f32 f16 bf16  read: keys of distances from rk_from, queries of distances from rq_from
 * buckets   [1, 2 n + 1]              f32 WEIGHT    the relative row of distance d is buckets[n + d]; n >= tokens - 1
 * lengths   STEP [1, batch]           I32           of the keys; NULL: all
 * result    [batch * tokens, heads * head_size]
 * *_from and head_size are multiples of 4; head_size is 4 to 256. scale 0 means 1 / sqrt(head_size).
 * f32, fixed order of summation, no atomics.
 * Cost:   8 * head_size operations per pair of query and key, one dispatch; backward three, 36 per pair.
 * Fails:  ARGUMENT if shapes or dtypes disagree or dropout is outside [0, 1), LIMIT beyond 65535 heads or sequences.
 * Source: He et al. 2021 (DeBERTa), eq. 4; streaming as op_attention.h. Reference: tests/ref/ref_relative_attention.c */
#ifndef ESPL_OP_RELATIVE_ATTENTION_H
#define ESPL_OP_RELATIVE_ATTENTION_H

#include "host/graph/graph.h"

typedef struct espl_relative_attention {
    espl_tensor *q, *kv, *relative, *buckets, *lengths;
    uint32_t q_from, k_from, v_from, rq_from, rk_from;
    uint32_t batch, heads, head_size;
    float scale;
    float dropout;
    uint32_t dropout_site;
} espl_relative_attention;

espl_tensor *espl_graph_relative_attention(espl_graph *graph, const espl_relative_attention *args);

extern const espl_op espl_op_relative_attention;

#endif
