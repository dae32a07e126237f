/* What the two files of diff-pruning share. */
#ifndef ESPL_DIFF_PRUNING_H
#define ESPL_DIFF_PRUNING_H

#include "host/model/adapter.h"

typedef struct diff_pair {
    uint32_t delta, alpha; /* matrices like the base's; ESPL_NO_MATRIX: the base's stays as it is */
} diff_pair;

typedef struct diff_state {
    double share, prune_at;
    float penalty, alpha_initial;
    bool pruned; /* gates are open or closed for good */
    diff_pair *pairs; /* owned, one for each matrix of the base */
} diff_state;

/* Gates run from DIFF_LOW to DIFF_HIGH before they are cut to 0 and 1. */
extern const float espl_diff_low, espl_diff_high;
/* An alpha of a gate that is open for good; its negative: closed. */
extern const float espl_diff_settled;

/* Values of the pair of a base entry, in its order; freed with espl_free. */
espl_status espl_diff_values(espl_adapter *adapter, const espl_entry *base, float **out_delta, float **out_alpha);
espl_status espl_diff_write_values(espl_adapter *adapter, const espl_entry *base, const float *delta, const float *alpha);
/* The gate of an alpha when nothing is drawn. */
float espl_diff_gate(float alpha);
/* Keeps the largest share of all changes, as they are with their gates, and settles every gate. */
espl_status espl_diff_prune(espl_adapter *adapter);

/* Tensors of the folder: "<name>.delta" and "<name>.log_alpha"; once pruned "<name>.idx" and "<name>.val". */
espl_status espl_diff_read(espl_adapter *adapter, const espl_tensors *set);
espl_status espl_diff_write(espl_adapter *adapter, const char *path);

#endif
