/* Mean squared error of rows, the loss of regression:
 *   loss[r] = mean over c of (x[r,c] - targets[r,c])^2
 * x        [rows, cols]            f32   read
 * targets  STEP [1, rows * cols]   f32   read
 * labels   STEP [1, rows]          I32   read; negative: the row does not count
 * returns loss [rows, 1] f32, 0 where the label is negative. The gradient is that of the sum of losses times LOSS_SCALE
 * of the step buffer and is made in the same pass, as cross_entropy does it.
 * Cost:   one dispatch.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * Reference: tests/ref/ref_mse.c */
#ifndef ESPL_OP_MSE_H
#define ESPL_OP_MSE_H

#include "host/graph/graph.h"

typedef struct espl_mse {
    espl_tensor *x, *targets, *labels;
} espl_mse;

espl_tensor *espl_graph_mse(espl_graph *graph, const espl_mse *args);

extern const espl_op espl_op_mse;

#endif
