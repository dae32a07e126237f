#include "tests/ref/ref.h"

void ref_add(const double *a, const double *b, size_t count, double *out) {
    for (size_t i = 0; i < count; i++)
        out[i] = a[i] + b[i];
}
