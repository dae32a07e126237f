#include "tests/ref/ref.h"

void ref_fill(double value, size_t from, size_t count, double *t) {
    for (size_t i = 0; i < count; i++)
        t[from + i] = value;
}
