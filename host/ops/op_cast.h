/* A matrix in another number format (or the same: a copy), rounded to nearest even:
 *   y[r,c] = (dtype of y) x[r,c]
 * x       [rows, cols]  f32 f16 bf16   read
 * into    [rows, cols]  f32 f16 bf16   written: STATE or PARAMETER; NULL: a fresh value of `dtype`
 * result  into after the cast, or the value
 * Values beyond f16 become infinite. Padding keeps its bits. For weights of `fast` mode; it has no gradient.
 * Cost:   one dispatch per storage range.
 * Fails:  ARGUMENT if shapes or dtypes disagree; LIMIT if 64 rows are beyond the device's storage range.
 * Reference: tests/ref/ref_cast.c */
#ifndef ESPL_OP_CAST_H
#define ESPL_OP_CAST_H

#include "host/graph/graph.h"

typedef struct espl_cast {
    espl_tensor *x;
    espl_dtype dtype;
    espl_tensor *into;
} espl_cast;

espl_tensor *espl_graph_cast(espl_graph *graph, const espl_cast *args);

extern const espl_op espl_op_cast;

#endif
