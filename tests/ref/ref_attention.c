#include "tests/ref/ref.h"
#include <math.h>

void ref_attention(const double *q, const double *k, const double *v, const double *positions, const double *lengths,
                   const ref_attention_args *a, double *o) {
    for (size_t b = 0; b < a->batch; b++)
        for (size_t i = 0; i < a->queries; i++)
            for (size_t h = 0; h < a->heads; h++) {
                const size_t g = h / (a->heads / a->kv_heads);
                const double position = (positions ? positions[b] : 0) + (double)i;
                const double *query = q + (b * a->queries + i) * a->q_cols + a->q_from + h * a->head_size;
                double *out = o + ((b * a->queries + i) * a->heads + h) * a->head_size;
                /* Once for the largest score, once for the sum, once for the result. */
                double most = -INFINITY, sum = 0;
                for (size_t d = 0; d < a->head_size; d++)
                    out[d] = 0;
                for (int pass = 0; pass < 3; pass++)
                    for (size_t j = 0; j < a->capacity; j++) {
                        const double *key = k + (b * a->capacity + j) * a->k_cols + a->k_from + g * a->head_size;
                        const double *value = v + (b * a->capacity + j) * a->v_cols + a->v_from + g * a->head_size;
                        if (lengths && (double)j >= lengths[b]) continue;
                        if (a->causal && (double)j > position) continue;
                        if (a->window && position - (double)j >= (double)a->window) continue;
                        double score = 0;
                        for (size_t d = 0; d < a->head_size; d++)
                            score += query[d] * key[d];
                        score *= a->scale != 0 ? a->scale : 1 / sqrt((double)a->head_size);
                        if (pass == 0)
                            most = fmax(most, score);
                        else if (pass == 1)
                            sum += exp(score - most);
                        else
                            for (size_t d = 0; d < a->head_size; d++)
                                out[d] += ref_dropout_factor(&a->dropout, b * a->queries + i, h, j, a->capacity) *
                                          exp(score - most) / sum * value[d];
                    }
            }
}
