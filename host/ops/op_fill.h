/* Sets memory to one word: gradients to zero before a step, a statistic to zero.
 * t      [rows, cols]  4-byte dtype, STATE   written, padding too
 * from, count          elements of its first row, for a tensor of one row; count 0: all of t
 * word                 bits of the value
 * Cost:   one transfer command, no dispatch.
 * Fails:  ARGUMENT if t is not STATE or not of 4-byte elements, or the range is beyond it.
 * No gradient. Reference: tests/ref/ref_fill.c */
#ifndef ESPL_OP_FILL_H
#define ESPL_OP_FILL_H

#include "host/graph/graph.h"

typedef struct espl_fill {
    espl_tensor *t;
    uint32_t word;
    uint32_t from, count;
} espl_fill;

/* t after it. */
espl_tensor *espl_graph_fill(espl_graph *graph, const espl_fill *args);

/* Zeros on planned memory of 4-byte elements, for ops that add to what they may be the first to write. Padding is left alone. */
espl_status espl_record_zero(espl_commands *commands, const espl_tensor *t);

extern const espl_op espl_op_fill;

#endif
