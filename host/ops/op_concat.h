/* Rows put before each sequence, and taken from each sequence:
 *   concat  y[b * (p + t) + i] = a[b * p + i] (or a[i]) for i < p,  x[b * t + i - p, from ..] for the others
 *   slice   y[b * n + i]       = x[b * t + first + i, from ..] for i < n
 * a       [p, cols] for all sequences alike, or [batch * p, cols]   f32 or value   read
 * x       [batch * t, >= from + cols]                               f32 or value   read; from is a multiple of 4
 * result  [batch * (p + t), cols], [batch * n, cols]                value
 * Cost:   one dispatch; backward one for each of a and x. Rows of a that all sequences share add up in their order.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * References: tests/ref/ref_concat.c */
#ifndef ESPL_OP_CONCAT_H
#define ESPL_OP_CONCAT_H

#include "host/graph/graph.h"

typedef struct espl_concat {
    espl_tensor *a, *x;
    uint32_t batch; /* 0 means 1 */
    uint32_t from;  /* columns of x: as many as a has */
    bool each;      /* a has rows for each sequence */
} espl_concat;
espl_tensor *espl_graph_concat(espl_graph *graph, const espl_concat *args);

typedef struct espl_slice {
    espl_tensor *x;
    uint32_t batch;       /* 0 means 1 */
    uint32_t first, rows; /* rows 0: all from first */
    uint32_t from, cols;  /* cols 0: all from `from` */
} espl_slice;
espl_tensor *espl_graph_slice(espl_graph *graph, const espl_slice *args);

extern const espl_op espl_op_concat, espl_op_slice;

#endif
