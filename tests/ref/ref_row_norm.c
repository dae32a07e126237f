#include "tests/ref/ref.h"
#include <math.h>

void ref_row_norm(const double *w, size_t w_stride, bool in_out, size_t w_from, const double *a, size_t a_from, size_t in,
                  const double *b, size_t out, size_t rank, double scale, bool inverse, double *y) {
    for (size_t o = 0; o < out; o++) {
        double sum = 0;
        for (size_t i = 0; i < in; i++) {
            double v = in_out ? w[i * w_stride + w_from + o] : w[(w_from + o) * w_stride + i];
            for (size_t k = 0; k < rank; k++)
                v += scale * b[o * rank + k] * a[(a_from + k) * in + i];
            sum += v * v;
        }
        y[o] = inverse ? 1 / sqrt(sum) : sqrt(sum);
    }
}
