/* The weight of a parameterised hypercomplex multiplication layer, a sum of Kronecker products:
 *   H = sum over i < n of A_i (x) W_i,   W_i = left_i right_i
 * rule    [n * n, n]            f32   A_i is rows i n .. i n + n - 1
 * left    [in, rank]            f32   left_i is rows i in/n ..; or, without right, W itself: [in, out / n]
 * right   [n * rank, out / n]   f32   NULL: left is W
 * result  [in, out]             f32   y = x H is a product in orientation NN
 * Cost:   one dispatch of in * out * n * rank multiplications, backward one for each that wants a gradient. Gradients are
 *         of parameters: they are added.
 * Fails:  ARGUMENT if shapes or dtypes disagree, or n does not divide in and out; LIMIT where left or right cannot be bound
 *         at once (H is not limited).
 * Source: Zhang et al. 2021; Karimi Mahabadi et al. 2021, equation 6. Reference: tests/ref/ref_phm.c */
#ifndef ESPL_OP_PHM_H
#define ESPL_OP_PHM_H

#include "host/graph/graph.h"

typedef struct espl_phm {
    espl_tensor *rule, *left, *right;
} espl_phm;

espl_tensor *espl_graph_phm(espl_graph *graph, const espl_phm *args);

extern const espl_op espl_op_phm;

#endif
