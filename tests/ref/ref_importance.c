#include "tests/ref/ref.h"
#include <math.h>

void ref_importance(const double *p, const double *g, size_t rows, size_t cols, size_t from, size_t count, bool columns,
                    double beta1, double beta2, double *mean, double *spread, double *score) {
    for (size_t n = from; n < from + count; n++) {
        const size_t length = columns ? rows : cols;
        double sum = 0;
        for (size_t k = 0; k < length; k++) {
            const size_t at = columns ? k * cols + n : n * cols + k;
            const double i = fabs(p[at] * g[at]);
            mean[at] = beta1 * mean[at] + (1 - beta1) * i;
            spread[at] = beta2 * spread[at] + (1 - beta2) * fabs(i - mean[at]);
            sum += mean[at] * spread[at];
        }
        score[n - from] += sum / (double)length;
    }
}

void ref_prune(const double *score, size_t all, size_t k, size_t slot, size_t count, double *e) {
    for (size_t n = 0; n < count; n++) {
        size_t smaller = 0;
        for (size_t i = 0; i < all; i++)
            smaller += score[i] < score[slot + n];
        if (smaller < k)
            e[n] = 0;
    }
}
