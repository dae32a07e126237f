#include "tests/ref/ref.h"

void ref_embedding(const double *ids, const double *table, const double *position_table, const double *positions,
                   size_t batch, size_t tokens, size_t vocabulary, size_t position_count, size_t position_from,
                   size_t cols, double scale, double *y) {
    const size_t length = tokens / batch;
    for (size_t t = 0; t < tokens; t++) {
        const double position = (positions ? positions[t / length] : 0) + (double)(t % length + position_from);
        const bool known = ids[t] >= 0 && ids[t] < (double)vocabulary;
        const bool placed = position_table && position >= 0 && position < (double)position_count;
        for (size_t c = 0; c < cols; c++) {
            y[t * cols + c] = 0;
            if (known && table) y[t * cols + c] += scale * table[(size_t)ids[t] * cols + c];
            if (known && placed) y[t * cols + c] += position_table[(size_t)position * cols + c];
        }
    }
}
