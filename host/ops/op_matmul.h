/* Matrix product with what usually follows it:
 *   C[m,n] = scale * sum over k of A(m,k) * B(k,n)  (+ bias[n])  (+ residual[m,n] or what C held)
 * a         [rows, >= a_from + a_cols] f32 f16 bf16 read
 * b         [rows, cols] f32 f16 bf16               read
 * bias      [1, n] f32                              read unless NULL
 * residual  [m, n] dtype of C                       read unless NULL
 * into      [m, >= into_from + n] f32 f16 bf16      its columns from into_from are added to (then no residual), or set where
 *                                                  `unset` says that no node has written them; NULL: a fresh value is made
 * into_cols columns of a fresh C, of which those from into_from are set (then no residual); 0: n, from 0
 * scale     0 means 1
 * Orientation, with A the columns a_from .. + a_cols of a (a_cols 0: all that are left), likewise B for TN:
 *   NT  m = a.rows, k = a_cols, n = b.rows   a linear layer whose weight is stored [out, in]
 *   NN  m = a.rows, k = a_cols, n = b.cols   a linear layer whose weight is stored [in, out] (GPT-2), input gradients
 *   TN  k = a.rows, m = a_cols, n = b_cols   weight gradients
 * a_from, b_from and into_from are multiples of 4. Sums in f32 in a fixed order. What is larger than the device's storage
 * range is taken in windows of rows; where these are terms of the sum, each window adds to C, which rounds a 16-bit C once
 * for each.
 * Cost:   2 m n k operations; one dispatch per window, no allocation.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * Reference: tests/ref/ref_matmul.c */
#ifndef ESPL_OP_MATMUL_H
#define ESPL_OP_MATMUL_H

#include "host/graph/graph.h"
#include "shaders/matmul.h"

typedef struct espl_matmul {
    espl_tensor *a, *b;
    uint32_t orientation; /* MATMUL_NT, MATMUL_NN, MATMUL_TN */
    uint32_t a_from, a_cols, b_from, b_cols;
    espl_tensor *bias, *residual;
    espl_tensor *into;
    uint32_t into_from, into_cols;
    bool unset;
    float scale;
} espl_matmul;

espl_tensor *espl_graph_matmul(espl_graph *graph, const espl_matmul *args);
/* For vjp functions of ops that end in a product: the gradient of input is (plus) that of args, which has neither bias, residual
 * nor into. */
espl_status espl_grad_matmul(espl_graph *graph, const espl_matmul *args, espl_tensor *input);

/* The same on planned memory, for ops that contain a product. Offsets and strides in elements, multiples of 4. */
typedef struct espl_matmul_view {
    uint32_t orientation, m, n, k;
    espl_span a, b, bias, residual, c; /* bias and residual: block NULL if absent */
    espl_span norm;                    /* block NULL: rows of a are taken as they are; else for few rows of NT only */
    float eps;
    uint32_t a_offset, b_offset, bias_offset, c_offset, residual_offset;
    uint32_t a_stride, b_stride, c_stride, residual_stride;
    espl_dtype a_dtype, b_dtype, c_dtype; /* the residual has the dtype of c; 0 is F32 */
    bool accumulate; /* add to C; then there is no residual */
    float scale;
} espl_matmul_view;
espl_status espl_record_matmul(espl_device *device, espl_commands *commands, const char *label,
                               const espl_matmul_view *view);

extern const espl_op espl_op_matmul;

#endif
