/* Sums of columns, the gradient of a bias:
 *   out[0,c] += sum over r of x[r, from + c]
 * x      [rows, >= from + out.cols]  f32   read; from is a multiple of 4
 * out    [1, n]                      f32   updated: a tensor from espl_grad_target or espl_graph_update
 * fresh  true: out is overwritten and not added to
 * Rows are added in their order, many rows in chunks of a fixed size.
 * Cost:   one dispatch; two when there are many rows and the device is not a CPU.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * No gradient. Reference: tests/ref/ref_colsum.c */
#ifndef ESPL_OP_COLSUM_H
#define ESPL_OP_COLSUM_H

#include "host/graph/graph.h"

typedef struct espl_colsum {
    espl_tensor *x;
    uint32_t from;
    espl_tensor *out;
    bool fresh;
} espl_colsum;

espl_status espl_graph_colsum(espl_graph *graph, const espl_colsum *args);

/* Rows that one workgroup should sum, for ops that make such partial sums themselves: about sqrt(rows); a CPU: all. Where x
 * is beyond the storage range: a power of two that is not, if there is one. */
uint32_t espl_colsum_chunk(const espl_device *device, const espl_tensor *x);

/* The same on planned memory, for ops that sum rows of their own scratch: out[c] += sum over rows of x[r,c], in one
 * dispatch. */
espl_status espl_record_colsum(espl_device *device, espl_commands *commands, espl_span x, uint32_t x_stride, uint32_t rows,
                               uint32_t cols, espl_span out);

extern const espl_op espl_op_colsum;

#endif
