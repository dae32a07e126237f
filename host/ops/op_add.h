/* Sum of two matrices: result = a + b.
 * a       [rows, cols]  f32 f16 bf16   read
 * b       [rows, cols]  f32 f16 bf16   read; or [1, cols], which is added to every row
 * result  [rows, cols]  value
 * Cost:   one dispatch; backward none or one for each (espl_grad_pass, espl_graph_colsum). Here is also espl_graph_accumulate of graph.h.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * Reference: tests/ref/ref_add.c */
#ifndef ESPL_OP_ADD_H
#define ESPL_OP_ADD_H

#include "host/graph/graph.h"

typedef struct espl_add_args {
    espl_tensor *a, *b;
} espl_add_args;

espl_tensor *espl_graph_add(espl_graph *graph, const espl_add_args *args);

extern const espl_op espl_op_add;

#endif
