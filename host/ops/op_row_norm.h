/* Norms of the rows of a weight with a low-rank change, which is not stored:
 *   y[o] = |W(o,:) + scale * sum over k of b[o,k] a[a_from + k,:]|, or 1 / that
 * w       f32 f16 bf16, read: NT [>= w_from + out, in], rows from w_from; NN [in, >= w_from + out], columns from w_from,
 *         a multiple of 4
 * a       [>= a_from + rank, in]  f32   read
 * b       [out, rank]             f32   read; out and rank are those of b
 * into    [1, out]                f32 STATE, written, without a gradient: PEFT's DoRA takes the norm for a constant;
 *                                 NULL: a fresh f32 value is made, whose gradient goes to a and b. These are then whole
 *                                 (a [rank, in], a_from 0), and w is NT.
 * Cost:   one pass over w with 2 rank operations for each of its elements; NT in windows of rows. Backward the same, a
 *         matrix of w's size in f32, and a product with it for each of a and b.
 * Fails:  ARGUMENT if shapes or dtypes disagree; LIMIT if an NN weight is beyond the device's storage range.
 * Source: Liu et al. 2024 (DoRA, arXiv 2402.09353), section 4.3. Reference: tests/ref/ref_row_norm.c */
#ifndef ESPL_OP_ROW_NORM_H
#define ESPL_OP_ROW_NORM_H

#include "host/graph/graph.h"

typedef struct espl_row_norm {
    espl_tensor *w, *a, *b, *into;
    uint32_t orientation; /* MATMUL_NT: stored [out, in]; MATMUL_NN: stored [in, out] */
    uint32_t w_from, a_from;
    float scale;
    bool inverse;
} espl_row_norm;

espl_tensor *espl_graph_row_norm(espl_graph *graph, const espl_row_norm *args);

extern const espl_op espl_op_row_norm;

#endif
