#include "tests/ref/ref.h"
#include <math.h>

void ref_relative_attention(const double *x, const double *relative, const double *buckets, const double *lengths,
                            const ref_relative_args *at, double *o) {
    const size_t cols = at->heads * at->head_size, d = at->head_size;
    for (size_t b = 0; b < at->batch; b++)
        for (size_t i = 0; i < at->tokens; i++)
            for (size_t h = 0; h < at->heads; h++) {
                double *to = o + (b * at->tokens + i) * cols + h * d, highest = -INFINITY, total = 0;
                const double *q = x + (b * at->tokens + i) * at->x_cols + at->q_from + h * d;
                const size_t count = lengths ? (size_t)lengths[b] : at->tokens;
                for (size_t c = 0; c < d; c++) to[c] = 0;
                for (int pass = 0; pass < 2; pass++)
                    for (size_t j = 0; j < count; j++) {
                        const double *row = x + (b * at->tokens + j) * at->x_cols + h * d;
                        const double *k = row + at->k_from, *v = row + at->v_from;
                        const double *r = relative + (size_t)buckets[at->zero + i - j] * at->r_cols + h * d;
                        double s = 0;
                        for (size_t c = 0; c < d; c++)
                            s += q[c] * (k[c] + r[at->k_from + c]) + k[c] * r[at->q_from + c];
                        s *= at->scale;
                        if (pass == 0) {
                            highest = fmax(highest, s);
                            continue;
                        }
                        total += exp(s - highest);
                        const double kept = ref_dropout_factor(&at->dropout, b * at->tokens + i, h, j, at->tokens);
                        for (size_t c = 0; c < d; c++) to[c] += kept * exp(s - highest) * v[c];
                    }
                for (size_t c = 0; c < d && total > 0; c++) to[c] /= total;
            }
}
