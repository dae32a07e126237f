/* The strategies, and how values of several adapters become one: as PEFT's merge_utils (ties, dare_linear, dare_ties,
 * magnitude_prune) has it. */
#include "adapters/average.h"
#include <math.h>
#include <string.h>

/* Of magnitudes, larger numbers have larger bits. */
static uint64_t bits_of(double value) {
    const double magnitude = fabs(value);
    uint64_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    return bits;
}

static size_t count_from(const double *values, size_t count, uint64_t least) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) found += bits_of(values[i]) >= least;
    return found;
}

/* PEFT leaves open which of equal magnitudes stay; here the first ones do. */
static void keep_largest(double *values, size_t count, double density, espl_random *random) {
    (void)random;
    const size_t kept = (size_t)(density * (double)count);
    uint64_t least = 0; /* bits of the smallest magnitude that stays */
    for (int bit = 62; bit >= 0; bit--) {
        const uint64_t more = least | (uint64_t)1 << bit;
        if (count_from(values, count, more) >= kept) least = more;
    }
    size_t equal = kept - count_from(values, count, least + 1);
    for (size_t i = 0; i < count; i++) {
        const uint64_t bits = bits_of(values[i]);
        if (bits > least || (bits == least && equal > 0)) equal -= bits == least;
        else values[i] = 0;
    }
}

/* DARE (Yu et al. 2023): drop at random and rescale, so that the expectation stays. */
static void keep_random(double *values, size_t count, double density, espl_random *random) {
    for (size_t i = 0; i < count; i++) values[i] = (double)espl_random_uniform(random) < density ? values[i] / density : 0;
}

static const average_way ways[] = {
    [ESPL_AVERAGE_LINEAR] = {"linear", AVERAGE_TENSORS, NULL, false},
    [ESPL_AVERAGE_CAT] = {"cat", AVERAGE_STACKS, NULL, false},
    [ESPL_AVERAGE_SVD] = {"svd", AVERAGE_CHANGES, NULL, false},
    [ESPL_AVERAGE_ROOTS] = {"roots", AVERAGE_FACTORS, NULL, false},
    [ESPL_AVERAGE_NEGATE_B] = {"negate_b", AVERAGE_TENSORS, NULL, false},
    [ESPL_AVERAGE_TIES] = {"ties", AVERAGE_FACTORS, keep_largest, true},
    [ESPL_AVERAGE_DARE_LINEAR] = {"dare_linear", AVERAGE_FACTORS, keep_random, false},
    [ESPL_AVERAGE_DARE_TIES] = {"dare_ties", AVERAGE_FACTORS, keep_random, true},
    [ESPL_AVERAGE_MAGNITUDE_PRUNE] = {"magnitude_prune", AVERAGE_FACTORS, keep_largest, false},
    [ESPL_AVERAGE_TIES_SVD] = {"ties_svd", AVERAGE_CHANGES, keep_largest, true},
    [ESPL_AVERAGE_DARE_LINEAR_SVD] = {"dare_linear_svd", AVERAGE_CHANGES, keep_random, false},
    [ESPL_AVERAGE_DARE_TIES_SVD] = {"dare_ties_svd", AVERAGE_CHANGES, keep_random, true},
    [ESPL_AVERAGE_MAGNITUDE_PRUNE_SVD] = {"magnitude_prune_svd", AVERAGE_CHANGES, keep_largest, false},
};

espl_status espl_average_choose(espl_context *ctx, average_inputs *in) {
    const size_t row = (size_t)in->params.strategy;
    if (row >= ESPL_COUNT(ways)) return espl_fail(ctx, ESPL_ARGUMENT, "there is no strategy %zu for averages", row);
    in->way = &ways[row];
    if (in->way->trim && !(in->params.density > 0 && in->params.density <= 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: density %g is not above 0 and at most 1", in->way->name, in->params.density);
    return ESPL_OK;
}

bool espl_average_trims(const average_inputs *in) {
    return in->way->trim && in->count > 1;
}

/* The sum of value i of all; elect (Yadav et al. 2023): the mean of those that have the sign of most, by their sum or their number. */
static double mix(const average_inputs *in, const double *weights, const double *values, size_t stride) {
    const bool by_number = in->params.majority_sign == ESPL_MAJORITY_SIGN_FREQUENCY;
    double sum = 0, sign = 0;
    size_t kept = 0;
    for (size_t i = 0; i < in->count; i++) {
        const double value = values[i * stride];
        sum += weights[i] * value;
        sign += by_number ? (value > 0) - (value < 0) : value;
    }
    if (!in->way->elect) return sum;
    sum = 0;
    for (size_t i = 0; i < in->count; i++) {
        const double value = values[i * stride];
        if (sign >= 0 ? !(value > 0) : !(value < 0)) continue;
        sum += weights[i] * value;
        kept++;
    }
    return kept ? sum / (double)kept : 0;
}

void espl_average_mix(const average_inputs *in, size_t entry, const double *weights, double *values, size_t count) {
    for (size_t i = 0; i < in->count && espl_average_trims(in); i++) {
        espl_random random = {.seed = in->params.seed, .stream = i * in->adapters[0]->store.entry_count + entry};
        in->way->trim(values + i * count, count, in->params.density, &random);
    }
    for (size_t v = 0; v < count; v++) values[v] = mix(in, weights, values + v, count);
}
