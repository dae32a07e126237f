#include "host/base/base.h"
#include "tests/ref/ref.h"
#include <math.h>

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

void ref_hard_concrete_drawn(const double *alpha, size_t n, double beta, double low, double high, uint64_t seed,
                             uint64_t stream, double *z) {
    for (size_t i = 0; i < n; i++) {
        uint32_t words[4];
        espl_philox(seed, stream, i / 4, words);
        const double u = fmin(fmax(words[i % 4] * 0x1p-32, 1e-6), 1 - 1e-6);
        z[i] = fmin(fmax(sigmoid((log(u) - log(1 - u) + alpha[i]) / beta) * (high - low) + low, 0), 1);
    }
}

void ref_hard_concrete_open(const double *alpha, size_t n, double beta, double low, double high, double soft, double *z) {
    double open = 0;
    for (size_t i = 0; i < n; i++) open += sigmoid(alpha[i] - beta * log(-low / high));
    for (size_t i = 0; i < n; i++) {
        size_t below = 0;
        for (size_t j = 0; j < n; j++) below += alpha[j] < alpha[i] || (alpha[j] == alpha[i] && j < i);
        z[i] = (double)below >= round((double)n - open) ? sigmoid(soft * alpha[i] / beta) : 0;
    }
}

double ref_sparsity(const double *alpha, const double *share, size_t n, double beta, double low, double high, double target,
                    const double lambda[2]) {
    double closed = 1;
    for (size_t i = 0; i < n; i++) closed -= share[i] * sigmoid(alpha[i] - beta * log(-low / high));
    return lambda[0] * (closed - target) + lambda[1] * (closed - target) * (closed - target);
}
