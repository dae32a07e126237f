#include "tests/ref/ref.h"
#include <math.h>

void ref_group_cross_entropy(const double *x, const double *labels, size_t groups, size_t rows, size_t cols, double *loss) {
    for (size_t g = 0; g < groups; g++) {
        for (size_t c = 0; c < cols; c++) {
            const double *group = x + g * rows * cols, label = labels[g * cols + c];
            double highest = -INFINITY, sum = 0;
            for (size_t i = 0; i < rows; i++) highest = fmax(highest, group[i * cols + c]);
            for (size_t i = 0; i < rows; i++) sum += exp(group[i * cols + c] - highest);
            loss[g * cols + c] = label < 0 ? 0 : log(sum) + highest - group[(size_t)label * cols + c];
        }
    }
}
