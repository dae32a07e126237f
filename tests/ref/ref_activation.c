#include "shaders/activation.h"
#include "tests/ref/ref.h"
#include <math.h>

double ref_activate(double x, unsigned kind) {
    const double pi = 3.14159265358979323846;
    switch (kind) {
    case ACTIVATION_SILU: return x / (1 + exp(-x));
    case ACTIVATION_GELU: return x * erfc(-x / sqrt(2)) / 2;
    case ACTIVATION_GELU_TANH: return x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x))) / 2;
    case ACTIVATION_TANH: return tanh(x);
    case ACTIVATION_SIGMOID: return 1 / (1 + exp(-x));
    default: return x > 0 ? x : 0;
    }
}

void ref_activation(const double *x, size_t rows, size_t x_cols, size_t from, size_t cols, unsigned kind, bool gated,
                    size_t gate_from, double *y) {
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            const double up = x[r * x_cols + from + c];
            y[r * cols + c] = gated ? ref_activate(x[r * x_cols + gate_from + c], kind) * up : ref_activate(up, kind);
        }
}
