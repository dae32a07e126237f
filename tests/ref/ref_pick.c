#include "tests/ref/ref.h"

void ref_pick(const double *x, const double *lengths, size_t batch, size_t sequence, size_t cols, bool last, double *y) {
    for (size_t b = 0; b < batch; b++) {
        double length = lengths ? lengths[b] : (double)sequence;
        length = length < 1 ? 1 : length > (double)sequence ? (double)sequence : length;
        const size_t row = b * sequence + (last ? (size_t)length - 1 : 0);
        for (size_t c = 0; c < cols; c++)
            y[b * cols + c] = x[row * cols + c];
    }
}
