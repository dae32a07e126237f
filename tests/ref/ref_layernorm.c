#include "tests/ref/ref.h"
#include <math.h>

void ref_layernorm(const double *x, const double *w, const double *b, size_t rows, size_t cols, double eps, double *y) {
    for (size_t r = 0; r < rows; r++) {
        const double *in = x + r * cols;
        double mean = 0, variance = 0;
        for (size_t c = 0; c < cols; c++)
            mean += in[c] / (double)cols;
        for (size_t c = 0; c < cols; c++)
            variance += (in[c] - mean) * (in[c] - mean) / (double)cols;
        for (size_t c = 0; c < cols; c++)
            y[r * cols + c] = w[c] * (in[c] - mean) / sqrt(variance + eps) + (b ? b[c] : 0);
    }
}
