#include "shaders/lib/step.h"
#include "tests/ref/ref.h"
#include <math.h>

void ref_grad_norm(const double *gradients, size_t count, double max_norm, double beta1, double beta2, double *stats) {
    double squares = 0;
    for (size_t i = 0; i < count; i++)
        squares += gradients[i] * gradients[i];
    const double norm = sqrt(squares);
    const bool finite = isfinite(norm);
    stats[ESPL_STATS_GRAD_NORM] = norm;
    stats[ESPL_STATS_CLIP] = !finite ? 0 : max_norm > 0 ? fmin(1, max_norm / (norm + 1e-6)) : 1;
    stats[ESPL_STATS_FINITE] = finite;
    stats[ESPL_STATS_STEPS] += finite;
    stats[ESPL_STATS_SKIPPED] += !finite;
    stats[ESPL_STATS_BIAS1] = -expm1(stats[ESPL_STATS_STEPS] * log(beta1));
    stats[ESPL_STATS_BIAS2] = -expm1(stats[ESPL_STATS_STEPS] * log(beta2));
}
