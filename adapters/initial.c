#include "adapters/initial.h"
#include "host/base/base.h"
#include <math.h>

typedef float (*drawing)(espl_random *random, float scale);

static float constant(espl_random *random, float value) {
    (void)random;
    return value;
}

static float uniform(espl_random *random, float bound) {
    return (2 * espl_random_uniform(random) - 1) * bound;
}

static float normal(espl_random *random, float deviation) {
    return deviation * espl_random_normal(random);
}

static float truncated(espl_random *random, float deviation) {
    float value;
    do value = espl_random_normal(random);
    while (fabsf(value) > 2);
    return deviation * value;
}

static espl_status fill(espl_store *store, const espl_entry *entry, uint64_t seed, drawing draw, float mean, float scale) {
    const size_t count = (size_t)espl_entry_values(store, entry);
    float *values;
    ESPL_TRY(espl_new(store->ctx, count * sizeof *values, &values));
    espl_random random = {.seed = seed, .stream = (uint64_t)(entry - store->entries)};
    for (size_t i = 0; i < count; i++) values[i] = mean + draw(&random, scale);
    espl_status status = espl_store_write(store, entry, values, ESPL_DTYPE_F32);
    espl_free(store->ctx, &values);
    return status;
}

espl_status espl_initial_constant(espl_store *store, const espl_entry *entry, float value) {
    return fill(store, entry, 0, constant, 0, value);
}

espl_status espl_initial_uniform(espl_store *store, const espl_entry *entry, uint64_t seed, float bound) {
    return fill(store, entry, seed, uniform, 0, bound);
}

espl_status espl_initial_normal(espl_store *store, const espl_entry *entry, uint64_t seed, float deviation) {
    return fill(store, entry, seed, normal, 0, deviation);
}

espl_status espl_initial_around(espl_store *store, const espl_entry *entry, uint64_t seed, float mean, float deviation) {
    return fill(store, entry, seed, normal, mean, deviation);
}

espl_status espl_initial_truncated(espl_store *store, const espl_entry *entry, uint64_t seed, float deviation) {
    return fill(store, entry, seed, truncated, 0, deviation);
}
