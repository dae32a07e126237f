/* AdaLoRA's importance of ranks, and what it drops.
 *
 * importance: for each element i = |p g|; mean = beta1 mean + (1 - beta1) i; spread = beta2 spread + (1 - beta2) |i - mean|;
 * then for each of `count` rows (or columns) from `from` on
 *   score[slot + n] (+)= mean over the row (column) of mean * spread
 * p, g         [rows, cols]  f32        read; of one stride
 * mean, spread [rows, cols]  f32 STATE  updated in these rows (columns)
 * score        [1, >= slot + count]  f32 STATE  written; add: added to
 *
 * prune: e[from + n] = 0 where fewer than k scores are below score[slot + n], so at or below the k-th smallest
 * score, dropped [1, all]    f32        read; STATE, written: 1 where e became 0
 * e       [1, >= from + count]  f32 STATE  updated
 * k       [1, 1]  i32        read; 0: nothing happens, below 0: what was dropped last becomes 0 again
 *
 * Cost:   importance a workgroup per row or column; prune count * all comparisons.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * Source: Zhang et al. 2023 (AdaLoRA, arXiv 2303.10512), section 3.2. Reference: tests/ref/ref_importance.c */
#ifndef ESPL_OP_IMPORTANCE_H
#define ESPL_OP_IMPORTANCE_H

#include "host/graph/graph.h"

typedef struct espl_importance {
    espl_tensor *p, *g, *mean, *spread, *score;
    uint32_t from, count, slot;
    bool columns, add;
    float beta1, beta2;
} espl_importance;

typedef struct espl_importance_state {
    espl_tensor *mean, *spread, *score; /* after the update */
} espl_importance_state;

espl_importance_state espl_graph_importance(espl_graph *graph, const espl_importance *args);

typedef struct espl_prune {
    espl_tensor *score, *dropped, *e, *k;
    uint32_t from, count, slot;
} espl_prune;

/* e after the update. */
espl_tensor *espl_graph_prune(espl_graph *graph, const espl_prune *args);

extern const espl_op espl_op_importance;

#endif
