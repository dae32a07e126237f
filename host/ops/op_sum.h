/* Adds the sum of a matrix to a statistic:
 *   stats[word] += factor * sum over r, c of x[r,c]
 * x            [rows, cols]  f32         read
 * stats        [1, words]    f32 STATE   updated
 * word         which of them
 * factor_word  word of the step buffer that holds the factor; 0 (no float is there): factor 1
 * One workgroup, in a fixed order: for the losses of tokens, not for whole models.
 * Cost:   one dispatch.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * No gradient. Reference: tests/ref/ref_sum.c */
#ifndef ESPL_OP_SUM_H
#define ESPL_OP_SUM_H

#include "host/graph/graph.h"

typedef struct espl_sum {
    espl_tensor *x, *stats;
    uint32_t word, factor_word;
} espl_sum;

/* stats after it. */
espl_tensor *espl_graph_sum(espl_graph *graph, const espl_sum *args);

extern const espl_op espl_op_sum;

#endif
