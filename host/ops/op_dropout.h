/* Each element is dropped with probability p, the others are multiplied by 1 / (1 - p):
 *   y[r,c] = word(r,c) < p * 2^32 ? 0 : x[r,c] / (1 - p)
 * x       [rows, cols]  f32 f16 bf16   read
 * result  [rows, cols]  value; x itself when p is 0
 * p       in [0, 1); fixed when the graph is recorded
 * site    a number of its own for every dropout of a model
 * word(r,c) is number c % 4 of espl_philox(seed, stream, index): seed from the words SEED_LOW and SEED_HIGH of the step
 * buffer, stream = COUNTER + 2^32 * site, index = r * ceil(cols / 4) + c / 4. Nothing is stored: the backward pass
 * makes the same words from the same step buffer.
 * Cost:   one dispatch, backward one.
 * Fails:  ARGUMENT if p is outside [0, 1) or x is no float; LIMIT beyond 2^32 quads.
 * Source: Srivastava et al. 2014; Salmon et al. 2011. Reference: tests/ref/ref_dropout.c */
#ifndef ESPL_OP_DROPOUT_H
#define ESPL_OP_DROPOUT_H

#include "host/graph/graph.h"

typedef struct espl_dropout {
    espl_tensor *x;
    float p;
    uint32_t site;
} espl_dropout;

espl_tensor *espl_graph_dropout(espl_graph *graph, const espl_dropout *args);

extern const espl_op espl_op_dropout;

#endif
