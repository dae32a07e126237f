#include "host/base/base.h"
#include "tests/ref/ref.h"
#include <math.h>

void ref_diff_weight(const double *base, const double *delta, const double *alpha, size_t rows, size_t cols, double low,
                     double high, bool drawn, uint64_t seed, uint64_t stream, double *w) {
    const size_t quads = (cols + 3) / 4;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            uint32_t words[4];
            espl_philox(seed, stream, r * quads + c / 4, words);
            const double u = fmin(fmax(words[c % 4] * 0x1p-32, 1e-6), 1 - 1e-6);
            const size_t i = r * cols + c;
            const double s = 1 / (1 + exp(-(alpha[i] + (drawn ? log(u) - log(1 - u) : 0))));
            w[i] = base[i] + fmin(fmax(s * (high - low) + low, 0), 1) * delta[i];
        }
}
