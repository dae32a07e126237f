/* Product with factors that are spread over rows or columns:
 *   y[r,c] = x[r,c] * s(r, c - from)  for from <= c < from + n,  x[r,c] for the other columns
 * x       [rows, cols]  f32 f16 bf16   read
 * s       f32 f16 bf16, read, or NULL: s(r,c) = number; its shape says how it is spread:
 *         [1, n]        s(r,c) = s[c]                       (n columns from `from`; not both rows and n 1, see below)
 *         [groups, 1]   s(r,c) = s[r / (rows / groups)]     rows a multiple of groups; [1, 1] is one number for all
 *         [rows, n]     s(r,c) = s[r,c]
 * from    a multiple of 4; count: columns n for s of one column, 0: all from `from`
 * into    [rows, cols]  f32 f16 bf16, added to; NULL: none. Where s has one column, rows with s = 0 add nothing, whatever x is there
 * result  [rows, cols]  value, or into after the addition
 * Cost:   one dispatch; backward one for x and one or two for s, which are the gradient's rows likewise.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * Reference: tests/ref/ref_scale.c */
#ifndef ESPL_OP_SCALE_H
#define ESPL_OP_SCALE_H

#include "host/graph/graph.h"

typedef struct espl_scale {
    espl_tensor *x, *s;
    uint32_t from, count;
    float number; /* fixed when the graph is recorded; only without s */
    espl_tensor *into;
} espl_scale;

espl_tensor *espl_graph_scale(espl_graph *graph, const espl_scale *args);

extern const espl_op espl_op_scale;

#endif
