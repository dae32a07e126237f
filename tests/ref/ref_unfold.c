#include "tests/ref/ref.h"

void ref_unfold(const double *x, const double *lengths, size_t batch, size_t tokens, size_t cols, size_t kernel, double *y) {
    for (size_t b = 0; b < batch; b++)
        for (size_t t = 0; t < tokens; t++)
            for (size_t c = 0; c < cols; c++)
                for (size_t j = 0; j < kernel; j++) {
                    const size_t from = t + j, before = kernel / 2, count = lengths ? (size_t)lengths[b] : tokens;
                    const int there = from >= before && from - before < count;
                    y[((b * tokens + t) * cols + c) * kernel + j] = there ? x[(b * tokens + from - before) * cols + c] : 0;
                }
}
