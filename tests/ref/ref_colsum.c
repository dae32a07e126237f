#include "tests/ref/ref.h"

void ref_colsum(const double *x, size_t rows, size_t x_cols, size_t from, size_t cols, double *out) {
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            out[c] += x[r * x_cols + from + c];
}
