/* Normalisation of each row to mean 0 and variance 1:
 *   y[r,c] = w[c] * (x[r,c] - mean[r]) / sqrt(variance[r] + eps) + b[c]
 * x       [rows, cols]  f32 f16 bf16   read
 * w, b    [1, cols]     f32   read; b may be NULL
 * result  [rows, cols]  value
 * eps     in units of x squared; 0 means 1e-5
 * The variance is the mean of squared differences, as in torch. Keeps mean and 1 / sqrt(...) for the backward pass.
 * Sums in f32 in a fixed order.
 * Cost:   one dispatch; backward one for x, two to five for w and b.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * Source: Ba, Kiros & Hinton 2016, eq. 4. Reference: tests/ref/ref_layernorm.c */
#ifndef ESPL_OP_LAYERNORM_H
#define ESPL_OP_LAYERNORM_H

#include "host/graph/graph.h"

typedef struct espl_layernorm {
    espl_tensor *x, *w, *b;
    float eps;
} espl_layernorm;

espl_tensor *espl_graph_layernorm(espl_graph *graph, const espl_layernorm *args);

extern const espl_op espl_op_layernorm;

#endif
