/* Root-mean-square normalisation of each row, or of each of group_count groups of group_cols columns from group_from:
 *   y[r,c] = w[c] * x[r,c] / sqrt(mean over c of x[r,c]^2 + eps)
 * x            [rows, cols]                 f32 f16 bf16   read
 * w            [1, cols or group_cols]      f32   read; every group has the same
 * result       [rows, cols]                 value   columns outside of the groups are copied
 * eps          in units of x squared; 0 means 1e-6
 * group_cols   0: the whole row is one group. Else it, and group_from, are multiples of 4, and group_count 0 means 1.
 * Keeps 1 / sqrt(...) of each group for the backward pass. Sums in f32 in a fixed order.
 * Cost:   one dispatch; backward one for x, two or three for w.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * Source: Zhang & Sennrich 2019, eq. 4; groups: query and key norms of Qwen3. Reference: tests/ref/ref_rmsnorm.c */
#ifndef ESPL_OP_RMSNORM_H
#define ESPL_OP_RMSNORM_H

#include "host/graph/graph.h"

typedef struct espl_rmsnorm {
    espl_tensor *x, *w;
    float eps;
    uint32_t group_from, group_count, group_cols;
} espl_rmsnorm;

espl_tensor *espl_graph_rmsnorm(espl_graph *graph, const espl_rmsnorm *args);

/* For operators that take the normalisation along: true if node is one of whole rows, and what it was made of. */
bool espl_rmsnorm_of(const espl_node *node, espl_rmsnorm *out_args);

extern const espl_op espl_op_rmsnorm;

#endif
