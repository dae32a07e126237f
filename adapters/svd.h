/* The best approximation of a product, and of a matrix, by one of less rank. */
#ifndef ESPL_SVD_H
#define ESPL_SVD_H

#include "host/base/base.h"

/* a [k, in], b [out, k], row by row. Sets the rows of out_a [rank, in] to the first right singular vectors of b a, and the
 * columns of out_b [out, rank] to the left ones times their singular values, largest first: out_b out_a is the closest to b a
 * of all matrices of that rank. Ranks beyond the product's are zeros. In double; b a itself is not made: of each factor
 * a QR decomposition by Householder's reflections, of the k x k matrix between them one-sided Jacobi rotations.
 * Cost: (in + out) k^2 and some k^3 operations, (in + out + 3k) k values of memory. Fails: HOST_MEMORY.
 * Source: Golub & Van Loan, Matrix Computations, 5.2 and 8.6. */
espl_status espl_svd_product(espl_context *ctx, const double *a, const double *b, uint32_t in, uint32_t out, uint32_t k,
                             uint32_t rank, double *out_a, double *out_b);
/* The same of a matrix m [out, in], in double. For n the shorter side and l the longer one:
 * Cost: n^2 l / 2 + 2 n^3 + 5 n^2 rank operations, n^2 + 2 (n + l) rank values of memory; for out > in a copy of m as well.
 * Fails: HOST_MEMORY. Source: Golub & Van Loan, 8.3 and 8.4. */
espl_status espl_svd_matrix(espl_context *ctx, const double *m, uint32_t in, uint32_t out, uint32_t rank, double *out_a,
                            double *out_b);

#endif
