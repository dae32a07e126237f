#include "tests/ref/ref.h"
#include <math.h>

void ref_relative_attention(const double *q, const double *kv, const double *relative, const double *buckets, const double *lengths,
                            const ref_relative_args *at, double *o) {
    const size_t cols = at->heads * at->head_size, d = at->head_size, before = at->keys - at->tokens;
    for (size_t b = 0; b < at->batch; b++)
        for (size_t i = 0; i < at->tokens; i++)
            for (size_t h = 0; h < at->heads; h++) {
                double *to = o + (b * at->tokens + i) * cols + h * d, highest = -INFINITY, total = 0;
                const double *query = q + (b * at->tokens + i) * at->q_cols + at->q_from + h * d;
                const size_t count = lengths ? (size_t)lengths[b] : at->keys;
                for (size_t c = 0; c < d; c++) to[c] = 0;
                for (int pass = 0; pass < 2; pass++)
                    for (size_t j = 0; j < count; j++) {
                        const double *row = kv + (b * at->keys + j) * at->kv_cols + h * d;
                        const double *k = row + at->k_from, *v = row + at->v_from;
                        double s = 0;
                        for (size_t c = 0; c < d; c++) s += query[c] * k[c];
                        if (j >= before) {
                            const double *r = relative + (size_t)buckets[at->zero + i + before - j] * at->r_cols + h * d;
                            for (size_t c = 0; c < d; c++) s += query[c] * r[at->rk_from + c] + k[c] * r[at->rq_from + c];
                        }
                        s *= at->scale;
                        if (pass == 0) {
                            highest = fmax(highest, s);
                            continue;
                        }
                        total += exp(s - highest);
                        const double kept = ref_dropout_factor(&at->dropout, b * at->tokens + i, h, j, at->keys);
                        for (size_t c = 0; c < d; c++) to[c] += kept * exp(s - highest) * v[c];
                    }
                for (size_t c = 0; c < d && total > 0; c++) to[c] /= total;
            }
}
