#include "host/base/base.h"
#include "tests/ref/ref.h"
#include <math.h>

static double gate(double alpha, const ref_diff_args *args, uint64_t stream, uint64_t index, unsigned word) {
    uint32_t words[4];
    espl_philox(args->seed, stream, index, words);
    const double u = fmin(fmax(words[word] * 0x1p-32, 1e-6), 1 - 1e-6);
    const double s = 1 / (1 + exp(-(alpha + (args->drawn ? log(u) - log(1 - u) : 0))));
    return fmin(fmax(s * (args->high - args->low) + args->low, 0), 1);
}

void ref_diff_weight(const double *base, const double *delta, const double *alpha, const double *group, const ref_diff_args *args,
                     double *w) {
    const size_t quads = (args->cols + 3) / 4;
    for (size_t r = 0; r < args->rows; r++)
        for (size_t c = 0; c < args->cols; c++) {
            const size_t i = r * args->cols + c;
            size_t g = 0;
            while (g + 1 < args->groups && args->begins[g + 1] <= (args->rows > 1 ? r : c)) g++;
            const double of_group = group ? gate(group[g], args, args->group_stream, g, 0) : 1;
            w[i] = base[i] + of_group * gate(alpha[i], args, args->stream, r * quads + c / 4, c % 4) * delta[i];
        }
}
