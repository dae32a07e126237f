/* Each row beside its neighbours, so that a convolution along a sequence is a product with its weight as files have it:
 *   y[b * t + i, c * kernel + j] = x[b * t + i + j - kernel / 2, c]   if that row is one of sequence b's first lengths[b], else 0
 * x         [batch * t, cols]           f32 or value   read
 * lengths   STEP [1, batch] I32         NULL: t
 * kernel    odd
 * result    [batch * t, cols * kernel]  value; times the transpose of a [out, cols, kernel] weight it is PyTorch's Conv1d with
 *                                       padding kernel / 2
 * Cost:   one dispatch, backward one.
 * Fails:  ARGUMENT if shapes or dtypes disagree or kernel is even, LIMIT beyond 2^32 - 1 elements.
 * Reference: tests/ref/ref_unfold.c */
#ifndef ESPL_OP_UNFOLD_H
#define ESPL_OP_UNFOLD_H

#include "host/graph/graph.h"

typedef struct espl_unfold {
    espl_tensor *x, *lengths;
    uint32_t batch; /* 0 means 1 */
    uint32_t kernel;
} espl_unfold;

espl_tensor *espl_graph_unfold(espl_graph *graph, const espl_unfold *args);

extern const espl_op espl_op_unfold;

#endif
