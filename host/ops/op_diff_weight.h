/* A weight and what is added to it where a gate is open, Guo et al. 2021 (diff pruning, arXiv 2012.07463), section 3:
 *   w[r,c] = base[r,c] + z delta[r,c],   z = clamp(s (high - low) + low, 0, 1)
 *   drawn:  s = sigmoid(log u - log(1 - u) + alpha[r,c]), u uniform in [1e-6, 1 - 1e-6];  else  s = sigmoid(alpha[r,c])
 * base          [rows, cols]  f32 f16 bf16   read
 * delta, alpha  [rows, cols]  f32            read, of the same stride
 * result        [rows, cols]  f32
 * With groups (the same paper, section 3.1: "structured"), each z is times the z of its group's alpha: groups are rows of a
 * matrix, or columns of a vector, that lie beside each other.
 * group         [1, n], n <= 4  f32  read, or NULL: none
 * bounds        where groups 1, 2, 3 begin: rows, or for one row columns, which are multiples of 4
 * low < 0, high > 1. site, group_site: each a number of its own for every drawn weight, gate and dropout of a model; words as
 * in op_dropout.h.
 * Cost:   one dispatch, backward one; of groups two more, and memory for a number per row.
 * Fails:  ARGUMENT if shapes or dtypes disagree, or low and high do not enclose 0 and 1, or bounds do not rise; LIMIT beyond 2^32 quads.
 * Reference: tests/ref/ref_diff_weight.c
 *
 * The penalty on open gates, penalty * sum of sigmoid(alpha - log(-low / high)): its gradient is added.
 * alpha   [rows, cols]  f32    read
 * dalpha  STATE, as alpha      updated
 * Cost:   one dispatch. */
#ifndef ESPL_OP_DIFF_WEIGHT_H
#define ESPL_OP_DIFF_WEIGHT_H

#include "host/graph/graph.h"

typedef struct espl_diff_weight {
    espl_tensor *base, *delta, *alpha;
    float low, high;
    bool drawn;
    uint32_t site;
    espl_tensor *group;
    uint32_t bounds[3], group_site;
} espl_diff_weight;

espl_tensor *espl_graph_diff_weight(espl_graph *graph, const espl_diff_weight *args);

typedef struct espl_diff_penalty {
    espl_tensor *alpha, *dalpha;
    float low, high, penalty;
} espl_diff_penalty;

espl_tensor *espl_graph_diff_penalty(espl_graph *graph, const espl_diff_penalty *args);

extern const espl_op espl_op_diff_weight;

#endif
