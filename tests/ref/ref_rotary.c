#include "tests/ref/ref.h"
#include <math.h>
#include <string.h>

void ref_rotary(const double *x, const double *frequencies, const double *positions, const double *cache,
                const ref_rotary_args *a, double *y, double *cache_after) {
    memcpy(y, x, a->batch * a->queries * a->cols * sizeof *y);
    if (cache_after) memcpy(cache_after, cache, a->batch * a->capacity * a->cache_cols * sizeof *cache_after);
    for (size_t b = 0; b < a->batch; b++)
        for (size_t i = 0; i < a->queries; i++) {
            const double position = (positions ? positions[b] : 0) + (double)i;
            double *row = y + (b * a->queries + i) * a->cols;
            for (size_t h = 0; h < a->heads + a->kv_heads; h++) {
                double *head =
                    h < a->heads ? row + a->q_from + h * a->head_size : row + a->k_from + (h - a->heads) * a->head_size;
                for (size_t j = 0; j < a->pairs; j++) {
                    double *u = head + (a->interleaved ? 2 * j : j),
                           *v = head + (a->interleaved ? 2 * j + 1 : j + a->pairs);
                    const double angle = position * frequencies[j], before = *u;
                    *u = a->magnitude * (before * cos(angle) - *v * sin(angle));
                    *v = a->magnitude * (*v * cos(angle) + before * sin(angle));
                }
            }
            if (!cache_after || position < 0 || position >= (double)a->capacity) continue;
            double *to = cache_after + (b * a->capacity + (size_t)position) * a->cache_cols;
            memcpy(to + a->cache_k_from, row + a->k_from, a->kv_heads * a->head_size * sizeof *to);
            memcpy(to + a->cache_v_from, row + a->v_from, a->kv_heads * a->head_size * sizeof *to);
        }
}
