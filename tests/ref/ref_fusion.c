#include "tests/ref/ref.h"
#include <math.h>

void ref_fusion_scores(const double *q, const double *const *u, size_t rows, size_t cols, size_t count, double *s) {
    for (size_t r = 0; r < rows; r++) {
        for (size_t n = 0; n < count; n++) {
            s[r * count + n] = 0;
            for (size_t c = 0; c < cols; c++) s[r * count + n] += q[r * cols + c] * u[n][r * cols + c];
        }
    }
}

void ref_fusion_mix(const double *s, const double *const *u, size_t rows, size_t cols, size_t count, double *y) {
    for (size_t r = 0; r < rows; r++) {
        double largest = s[r * count], sum = 0;
        for (size_t n = 1; n < count; n++) largest = fmax(largest, s[r * count + n]);
        for (size_t n = 0; n < count; n++) sum += exp(s[r * count + n] - largest);
        for (size_t c = 0; c < cols; c++) y[r * cols + c] = 0;
        for (size_t n = 0; n < count; n++) {
            const double p = exp(s[r * count + n] - largest) / sum;
            for (size_t c = 0; c < cols; c++) y[r * cols + c] += p * u[n][r * cols + c];
        }
    }
}
