#include "tests/ref/ref.h"

void ref_concat(const double *a, const double *x, size_t batch, size_t before, bool each, size_t rows, size_t x_cols, size_t from,
                size_t cols, double *y) {
    for (size_t b = 0; b < batch; b++)
        for (size_t i = 0; i < before + rows; i++)
            for (size_t c = 0; c < cols; c++)
                y[(b * (before + rows) + i) * cols + c] = i < before ? a[((each ? b * before : 0) + i) * cols + c]
                                                                     : x[(b * rows + i - before) * x_cols + from + c];
}

void ref_slice(const double *x, size_t batch, size_t x_rows, size_t x_cols, size_t first, size_t rows, size_t from, size_t cols,
               double *y) {
    for (size_t b = 0; b < batch; b++)
        for (size_t i = 0; i < rows; i++)
            for (size_t c = 0; c < cols; c++)
                y[(b * rows + i) * cols + c] = x[(b * x_rows + first + i) * x_cols + from + c];
}
