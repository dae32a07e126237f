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

/* Dropout of the weights of attention. A weight is made in the middle of a kernel, by lanes that share it, so what becomes of
 * it is not drawn there: the node of attention, forward and backward alike, first has one bit for each weight drawn into
 * scratch memory, 1 where it is kept. Bit j % 32 of word h * espl_dropout_mask_words(keys) + j / 32 of row i is that of query
 * i, head h and key j: word(i, c) as above with c = 32 times that word's number + j % 32, but index = 2^32 * i + c / 4. */
static inline uint32_t espl_dropout_mask_words(uint32_t keys) {
    return espl_ceil_div(keys, 32);
}

/* Scratch of the node being built: rows queries. Fails: LIMIT beyond 2^29 words of a row. */
espl_tensor *espl_graph_dropout_mask(espl_graph *graph, uint32_t rows, uint32_t heads, uint32_t keys);
/* Fills it. step: espl_graph_step. One dispatch. */
espl_status espl_record_dropout_mask(espl_graph *graph, espl_commands *commands, const espl_tensor *step,
                                     const espl_tensor *mask, float p, uint32_t site);

extern const espl_op espl_op_dropout;

#endif
