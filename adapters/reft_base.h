/* Where LoReFT's orthonormal R starts. */
#ifndef ESPL_REFT_BASE_H
#define ESPL_REFT_BASE_H

#include "host/model/store.h"

/* Minus the identity. */
espl_status espl_reft_original(espl_store *store, const espl_entry *entry);
/* An orthogonal matrix whose first rank columns have no direction more likely than another: the product of as many random
 * reflections (Stewart 1980). */
espl_status espl_reft_base(espl_store *store, const espl_entry *entry, uint32_t rank, uint64_t seed);

#endif
