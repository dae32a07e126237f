#include "tests/ref/ref.h"
#include <math.h>

void ref_rmsnorm(const double *x, const double *w, size_t rows, size_t cols, size_t from, size_t groups,
                 size_t group_cols, double eps, double *y) {
    for (size_t i = 0; i < rows * cols; i++)
        y[i] = x[i];
    for (size_t r = 0; r < rows; r++)
        for (size_t g = 0; g < groups; g++) {
            const double *in = x + r * cols + from + g * group_cols;
            double *out = y + r * cols + from + g * group_cols, squares = 0;
            for (size_t c = 0; c < group_cols; c++)
                squares += in[c] * in[c];
            const double root = sqrt(squares / (double)group_cols + eps);
            for (size_t c = 0; c < group_cols; c++)
                out[c] = w[c] * in[c] / root;
        }
}
