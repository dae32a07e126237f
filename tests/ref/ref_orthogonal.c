#include "tests/ref/ref.h"
#include <math.h>

void ref_orthogonal(const double *g, size_t n, size_t from, size_t count, double factor, double *y) {
    double sum = 0;
    for (size_t i = from; i < from + count; i++)
        for (size_t j = from; j < from + count; j++)
            sum += (g[i * n + j] - (i == j)) * (g[i * n + j] - (i == j));
    for (size_t i = from; i < from + count; i++)
        for (size_t j = from; j < from + count; j++)
            y[i * n + j] = sum > 0 ? factor * (g[i * n + j] - (i == j)) / sqrt(sum) : 0;
}
