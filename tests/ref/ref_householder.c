#include "tests/ref/ref.h"

void ref_householder(const double *x, size_t rows, size_t cols, double *y) {
    for (size_t i = 0; i < rows; i++) {
        double *v = y + i * cols;
        for (size_t c = 0; c < cols; c++) v[c] = c != i ? 0 : x[i * cols + i] < 0 ? -1 : 1;
        for (size_t j = rows; j-- > 0;) { /* v = H_j v */
            const double *a = x + j * cols;
            double product = v[j], norm = 1;
            for (size_t c = j + 1; c < cols; c++) product += a[c] * v[c], norm += a[c] * a[c];
            v[j] -= 2 * product / norm;
            for (size_t c = j + 1; c < cols; c++) v[c] -= 2 * product / norm * a[c];
        }
    }
}
