/* Gates between 0 and 1 that are exactly 0 or 1 with some probability, Louizos et al. 2018 (arXiv 1712.01312):
 *   drawn:  s = sigmoid((log u - log(1 - u) + alpha) / beta), z = clamp(s (high - low) + low, 0, 1), u uniform in [1e-6, 1 - 1e-6]
 *   else:   z = sigmoid(soft alpha / beta), and 0 for the round(n - E) smallest alphas, E = sum of sigmoid(alpha - shift)
 * with shift = beta log(-low / high), so that sigmoid(alpha - shift) is the probability of z > 0.
 * alpha   [1, >= from + count]  f32  read; count 0: all from `from`
 * result  [1, count]            f32
 * beta, soft 0 mean 1; low < 0, high > 1. site: a number of its own for every drawn gate and dropout of a model; words as in
 * op_dropout.h, so the backward pass draws the same.
 * Cost:   one dispatch, backward one; not drawn: count^2 comparisons.
 * Fails:  ARGUMENT if alpha is not one row of f32, columns are outside of it, or low and high do not enclose 0 and 1.
 * Reference: tests/ref/ref_hard_concrete.c
 *
 * The penalty that drives the share of what is closed to a target (Wang et al. 2020, arXiv 1910.04732, equation 9),
 *   lambda_1 (s - t) + lambda_2 (s - t)^2,   s = 1 - sum of share_i sigmoid(alpha_i - shift):
 * its gradient is added to that of alpha, which makes it small, and subtracted from that of lambda, which makes it large.
 * alpha, share  [1, n]  f32         read
 * target        STEP [1, 1] F32     t
 * lambda        [1, 2]  f32         read
 * dalpha, dlambda  STATE, as alpha and lambda   updated
 * Cost:   one workgroup.
 * Fails:  ARGUMENT if shapes or dtypes disagree. */
#ifndef ESPL_OP_HARD_CONCRETE_H
#define ESPL_OP_HARD_CONCRETE_H

#include "host/graph/graph.h"

typedef struct espl_hard_concrete {
    espl_tensor *alpha;
    uint32_t from, count;
    float beta, low, high, soft;
    bool drawn;
    uint32_t site;
} espl_hard_concrete;

espl_tensor *espl_graph_hard_concrete(espl_graph *graph, const espl_hard_concrete *args);

typedef struct espl_sparsity {
    espl_tensor *alpha, *share, *target, *lambda, *dalpha, *dlambda;
    float beta, low, high;
} espl_sparsity;

typedef struct espl_sparsity_gradients {
    espl_tensor *alpha, *lambda; /* as they are afterwards */
} espl_sparsity_gradients;

espl_sparsity_gradients espl_graph_sparsity(espl_graph *graph, const espl_sparsity *args);

extern const espl_op espl_op_hard_concrete;

#endif
