#include "tests/ref/ref.h"

void ref_phm(const double *rule, const double *left, const double *right, size_t n, size_t in, size_t out, size_t rank,
             double *h) {
    const size_t ia = in / n, ob = out / n;
    for (size_t row = 0; row < in; row++)
        for (size_t col = 0; col < out; col++) {
            const size_t p = row / ia, a = row % ia, q = col / ob, b = col % ob;
            double sum = 0;
            for (size_t i = 0; i < n; i++) {
                double w = right ? 0 : left[(i * ia + a) * ob + b];
                for (size_t k = 0; right && k < rank; k++) w += left[(i * ia + a) * rank + k] * right[(i * rank + k) * ob + b];
                sum += rule[(i * n + p) * n + q] * w;
            }
            h[row * out + col] = sum;
        }
}
