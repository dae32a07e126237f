/* Cross entropy of each column over groups of rows that follow each other; a label is one of the group's rows:
 *   loss[g,c] = log(sum over i of exp(x[g * n + i, c])) - x[g * n + labels[g,c], c]
 * x        [groups * n, cols]        f32   read
 * labels   STEP [1, groups * cols]   I32   read; negative: that column of the group does not count
 * groups   n is the rows of x over that
 * returns loss [groups * cols, 1] f32, 0 where the label is negative. The gradient is that of the sum of losses times LOSS_SCALE
 * of the step buffer and is made in the same pass, as cross_entropy does it.
 * Cost:   one dispatch.
 * Fails:  ARGUMENT if shapes or dtypes disagree. Labels of n and more are the caller's to refuse.
 * Reference: tests/ref/ref_group_cross_entropy.c */
#ifndef ESPL_OP_GROUP_CROSS_ENTROPY_H
#define ESPL_OP_GROUP_CROSS_ENTROPY_H

#include "host/graph/graph.h"

typedef struct espl_group_cross_entropy {
    espl_tensor *x, *labels;
    uint32_t groups;
} espl_group_cross_entropy;

espl_tensor *espl_graph_group_cross_entropy(espl_graph *graph, const espl_group_cross_entropy *args);

extern const espl_op espl_op_group_cross_entropy;

#endif
