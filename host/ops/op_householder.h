/* Rows that are orthonormal, from any numbers: the first rows of a product of reflections,
 *   y = S (H_0 H_1 .. H_{n-1})^T [0 .. n),   H_j = I - 2 a_j a_j^T / (a_j . a_j),   a_j = (0 .. 0, 1, x[j, j+1 ..])
 * with S the signs of x's diagonal (0: +1), which has no gradient; what is before it is not read.
 * x       [n, cols]  f32   read; n <= cols
 * result  [n, cols]  f32
 * Cost:   n^2 / 2 sums over rows, one workgroup a row; backward as many, in one workgroup.
 * Fails:  ARGUMENT if x is not f32 or has more rows than columns.
 * Source: Householder 1958; torch.nn.utils.parametrizations.orthogonal has it so (x transposed). Reference:
 *         tests/ref/ref_householder.c */
#ifndef ESPL_OP_HOUSEHOLDER_H
#define ESPL_OP_HOUSEHOLDER_H

#include "host/graph/graph.h"

typedef struct espl_householder {
    espl_tensor *x;
} espl_householder;

espl_tensor *espl_graph_householder(espl_graph *graph, const espl_householder *args);

extern const espl_op espl_op_householder;

#endif
