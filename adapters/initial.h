/* Values that adapters start from. Each entry of a store is a stream of its own, so that one more tensor changes none of the
 * others. */
#ifndef ESPL_INITIAL_H
#define ESPL_INITIAL_H

#include "host/model/store.h"

/* All of an entry: the same value; U(-bound, bound); N(0, deviation^2); N(mean, deviation^2); N(0, deviation^2) cut at
 * +-2 deviations. */
espl_status espl_initial_constant(espl_store *store, const espl_entry *entry, float value);
espl_status espl_initial_uniform(espl_store *store, const espl_entry *entry, uint64_t seed, float bound);
espl_status espl_initial_normal(espl_store *store, const espl_entry *entry, uint64_t seed, float deviation);
espl_status espl_initial_around(espl_store *store, const espl_entry *entry, uint64_t seed, float mean, float deviation);
espl_status espl_initial_truncated(espl_store *store, const espl_entry *entry, uint64_t seed, float deviation);

#endif
