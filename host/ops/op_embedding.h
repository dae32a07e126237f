/* Rows of a table by number, and of a second one by position:
 *   y[t,c] = scale * table[ids[t], c] + position_table[position_from + positions[b] + i, c],   t = b * (tokens / batch) + i
 * ids             [1, tokens]        I32              read; usually STEP
 * table           [vocabulary, d]    f32 f16 bf16     read; WEIGHT, or PARAMETER (f32); NULL: zeros, each id is a row
 * position_table  [positions, d]     f32 f16 bf16     read unless NULL
 * positions       [1, batch]         I32              first position of each sequence; read unless NULL: zeros
 * position_from   row of position_table that position 0 has (RoBERTa: 2)
 * batch           sequences in ids, a divisor of tokens; 0 means 1
 * scale           0 means 1
 * result          [tokens, d]        value
 * A row whose id is no row of the table is all zeros; a position that is no row of position_table adds nothing (the
 * host checks both before). Gradients add rows in the order of tokens: no atomics, the same bits each run.
 * Cost:   one dispatch per storage range of the table (position_table must fit one); backward likewise, tokens^2 / 2
 *         comparisons of ids in each.
 * Fails:  ARGUMENT if shapes or dtypes disagree; LIMIT if 64 rows are beyond the device's storage range.
 * Reference: tests/ref/ref_embedding.c */
#ifndef ESPL_OP_EMBEDDING_H
#define ESPL_OP_EMBEDDING_H

#include "host/graph/graph.h"

typedef struct espl_embedding {
    espl_tensor *ids, *table;
    espl_tensor *position_table, *positions;
    uint32_t position_from;
    uint32_t batch;
    float scale;
} espl_embedding;

espl_tensor *espl_graph_embedding(espl_graph *graph, const espl_embedding *args);

extern const espl_op espl_op_embedding;

#endif
