/* Rotary position embedding in place, and the key-value cache. Row r = b * queries + i of x stands at
 * t = positions[b] + i; in each of its query heads and key heads, pair j of the first 2 * pairs dimensions is turned by
 * a = t * frequencies[j]:
 *   (u, v) -> magnitude * (u cos a - v sin a, v cos a + u sin a)
 * with (u, v) the dimensions (j, j + pairs), or (2j, 2j + 1) if interleaved. Other dimensions pass.
 * x             [batch * queries, ...]   f32 f16 bf16   updated: query heads from q_from, key heads from k_from
 * frequencies   [1, pairs]               f32   radians per position, below 2^32; NULL: nothing is turned
 * positions     STEP [1, batch] I32            NULL: 0
 * magnitude     0 means 1
 * cache         STATE [batch * capacity, ...] f32 f16 bf16   NULL, or: the turned keys and the values (kv_heads heads from
 *               v_from) of row r are stored in row b * capacity + t, in columns from cache_k_from and cache_v_from; rows beyond
 *               capacity are dropped
 * The product t * frequency and its reduction to a turn are exact in integers, cos and sin good to 1e-7.
 * Result: x and cache as they are afterwards, for later nodes to use; x itself if there is nothing to do.
 * Cost:   one dispatch; backward one, in place, without cache.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * Source: Su et al. 2021. Reference: tests/ref/ref_rotary.c */
#ifndef ESPL_OP_ROTARY_H
#define ESPL_OP_ROTARY_H

#include "host/graph/graph.h"

typedef struct espl_rotary {
    espl_tensor *x;
    uint32_t q_from, heads, k_from, v_from, kv_heads, head_size;
    espl_tensor *frequencies;
    float magnitude;
    bool interleaved;
    uint32_t batch;
    espl_tensor *positions;
    espl_tensor *cache;
    uint32_t cache_k_from, cache_v_from;
} espl_rotary;

typedef struct espl_rotated {
    espl_tensor *x, *cache;
} espl_rotated;

espl_rotated espl_graph_rotary(espl_graph *graph, const espl_rotary *args);

extern const espl_op espl_op_rotary;

#endif
