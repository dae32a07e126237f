#include "shaders/matmul.h"
#include "tests/ref/ref.h"

void ref_matmul(const double *a, const double *b, const double *bias, const double *residual,
                const ref_matmul_args *args, double *c) {
    for (size_t m = 0; m < args->m; m++) {
        for (size_t n = 0; n < args->n; n++) {
            double sum = 0;
            for (size_t k = 0; k < args->k; k++) {
                const double am = args->orientation == MATMUL_TN ? a[k * args->a_cols + args->a_from + m]
                                                                 : a[m * args->a_cols + args->a_from + k];
                const double bn = args->orientation == MATMUL_NT ? b[n * args->b_cols + args->b_from + k]
                                                                 : b[k * args->b_cols + args->b_from + n];
                sum += am * bn;
            }
            double *at = &c[m * args->c_cols + args->c_from + n];
            *at = args->scale * sum + (bias ? bias[n] : 0) + (residual ? residual[m * args->n + n] : 0) +
                  (args->accumulate ? *at : 0);
        }
    }
}
