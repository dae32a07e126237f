/* One row of each sequence, what a head for whole sequences reads:
 *   y[b,c] = x[b * sequence + p, c],   sequence = x.rows / batch,   p = 0, or lengths[b] - 1 if last
 * x        [batch * sequence, cols]  f32 f16 bf16   read
 * lengths  STEP [1, batch]           I32   read if last, unless NULL: sequence; clamped to 1 .. sequence
 * batch    sequences in x, a divisor of its rows
 * result   [batch, cols]             as the graph's values
 * Cost:   one dispatch; backward one, over all of x.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * Reference: tests/ref/ref_pick.c */
#ifndef ESPL_OP_PICK_H
#define ESPL_OP_PICK_H

#include "host/graph/graph.h"

typedef struct espl_pick {
    espl_tensor *x, *lengths;
    uint32_t batch;
    bool last;
} espl_pick;

espl_tensor *espl_graph_pick(espl_graph *graph, const espl_pick *args);

extern const espl_op espl_op_pick;

#endif
