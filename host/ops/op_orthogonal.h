/* How the product of a matrix with its transpose differs from the identity, as a direction, block by block of its diagonal:
 *   y[b,b] = factor (g[b,b] - I) / |g[b,b] - I|, 0 where that norm is 0; y = 0 outside of the blocks
 * With g = P P^T and factor 2 w, y P is the gradient of the penalty w |P P^T - I| (Frobenius).
 * g       [n, n]  f32   read
 * result  [n, n]  f32
 * Blocks are rows and columns from .. from + count, ascending; a block of count 0 is none. The first begins at 0.
 * Cost:   one workgroup for each block.
 * Fails:  ARGUMENT if g is not square f32 or a block is outside of it.
 * Source: Zhang et al. 2023 (AdaLoRA, arXiv 2303.10512), equation 4. Reference: tests/ref/ref_orthogonal.c */
#ifndef ESPL_OP_ORTHOGONAL_H
#define ESPL_OP_ORTHOGONAL_H

#include "host/graph/graph.h"

enum { ESPL_ORTHOGONAL_BLOCKS = 4 };

typedef struct espl_orthogonal {
    espl_tensor *g;
    struct {
        uint32_t from, count;
    } block[ESPL_ORTHOGONAL_BLOCKS];
    float factor;
} espl_orthogonal;

espl_tensor *espl_graph_orthogonal(espl_graph *graph, const espl_orthogonal *args);

extern const espl_op espl_op_orthogonal;

#endif
