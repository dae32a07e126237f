#include "tests/ref/ref.h"

void ref_mean(const double *x, size_t rows, size_t cols, size_t groups, double *y) {
    const size_t count = rows / groups;
    for (size_t g = 0; g < groups; g++)
        for (size_t c = 0; c < cols; c++) {
            y[g * cols + c] = 0;
            for (size_t i = 0; i < count; i++)
                y[g * cols + c] += x[(g * count + i) * cols + c] / (double)count;
        }
}
