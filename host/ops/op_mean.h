/* Mean of the rows of each group, as a gate over a sequence is made:
 *   y[g,c] = sum over the rows r of group g of x[r,c] / (rows / groups)
 * x       [rows, cols]    f32 or value   read; rows is a multiple of groups
 * result  [groups, cols]  value
 * Cost:   one dispatch, backward one.
 * Fails:  ARGUMENT if groups does not divide rows or x has another dtype.
 * Reference: tests/ref/ref_mean.c */
#ifndef ESPL_OP_MEAN_H
#define ESPL_OP_MEAN_H

#include "host/graph/graph.h"

typedef struct espl_mean {
    espl_tensor *x;
    uint32_t groups; /* 0 means 1 */
} espl_mean;

espl_tensor *espl_graph_mean(espl_graph *graph, const espl_mean *args);

extern const espl_op espl_op_mean;

#endif
