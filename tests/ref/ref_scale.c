#include "tests/ref/ref.h"

void ref_scale(const double *x, const double *s, size_t rows, size_t cols, size_t from, size_t count, size_t s_rows,
               size_t s_cols, double *y) {
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            const size_t s_row = r / (rows / s_rows), s_col = s_cols == 1 ? 0 : c - from;
            const bool scaled = c >= from && c < from + count;
            y[r * cols + c] = x[r * cols + c] * (scaled ? s[s_row * s_cols + s_col] : 1);
        }
}
