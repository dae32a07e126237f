/* An activation function on columns, or its product with other columns of the same matrix (gate and up projections made
 * by one fused product):
 *   y[r,c] = f(x[r, from + c])                              gated: f(x[r, gate_from + c]) * x[r, from + c]
 * x       [rows, >= from + cols, gate_from + cols]  f32 f16 bf16   read; from and gate_from are multiples of 4
 * result  [rows, cols]                              value
 * cols    0 means all that are left behind from (not when gated)
 * kind    ACTIVATION_SILU (0), ACTIVATION_GELU (erf), ACTIVATION_GELU_TANH, ACTIVATION_RELU,
 *         ACTIVATION_TANH, ACTIVATION_SIGMOID
 * Functions are good to a few units in the last place; erf does not depend on the driver. relu'(0) = 0.
 * Cost:   one dispatch; backward one, for both halves of the gradient.
 * Fails:  ARGUMENT if shapes or dtypes disagree or the two ranges of columns overlap.
 * Source: Hendrycks & Gimpel 2016; Shazeer 2020 (gated). Reference: tests/ref/ref_activation.c */
#ifndef ESPL_OP_ACTIVATION_H
#define ESPL_OP_ACTIVATION_H

#include "host/graph/graph.h"
#include "shaders/activation.h"

typedef struct espl_activation {
    espl_tensor *x;
    uint32_t from, cols;
    uint32_t kind;
    bool gated;
    uint32_t gate_from;
} espl_activation;

espl_tensor *espl_graph_activation(espl_graph *graph, const espl_activation *args);

extern const espl_op espl_op_activation;

#endif
