#include "shaders/lib/step.h"
#include "tests/ref/ref.h"
#include <math.h>

void ref_adamw(const double *gradients, const double *stats, size_t count, const ref_adamw_args *args, double *p,
               double *m, double *v) {
    if (stats[ESPL_STATS_FINITE] == 0) return;
    for (size_t i = 0; i < count; i++) {
        const double g = gradients[i] * stats[ESPL_STATS_CLIP];
        m[i] = args->beta1 * m[i] + (1 - args->beta1) * g;
        v[i] = args->beta2 * v[i] + (1 - args->beta2) * g * g;
        p[i] *= 1 - args->rate * args->decay;
        p[i] -=
            args->rate / stats[ESPL_STATS_BIAS1] * m[i] / (sqrt(v[i]) / sqrt(stats[ESPL_STATS_BIAS2]) + args->epsilon);
    }
}
