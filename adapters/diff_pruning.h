/* What the files of diff-pruning share.
 *   diff_pruning.c         declaring, operators, merging
 *   diff_pruning_values.c  values on the host, which of them stay
 *   diff_pruning_average.c averages
 *   diff_pruning_file.c    the sparse tensors of its folder */
#ifndef ESPL_DIFF_PRUNING_H
#define ESPL_DIFF_PRUNING_H

#include "host/model/adapter.h"

enum { DIFF_GROUPS_MAX = 4 };

typedef struct diff_pair {
    uint32_t delta, alpha; /* matrices like the base's; ESPL_NO_MATRIX: the base's stays as it is */
    uint32_t group;        /* "structured": [1, groups], an alpha for each of the base's tensors in that matrix */
    uint32_t groups, bounds[DIFF_GROUPS_MAX - 1]; /* where the second begins, the third, ... */
} diff_pair;

typedef struct diff_state {
    double share, prune_at;
    float penalty, alpha_initial;
    bool structured;
    bool pruned; /* gates are open or closed for good */
    diff_pair *pairs; /* owned, one for each matrix of the base */
} diff_state;

/* Gates run from espl_diff_low to espl_diff_high before they are cut to 0 and 1. */
extern const float espl_diff_low, espl_diff_high;
/* Labels of the matrices. */
extern const char espl_diff_delta[], espl_diff_alpha[], espl_diff_group[];

/* What a base entry has, in its order. */
typedef struct diff_values {
    float *delta, *alpha; /* owned */
    float gate;           /* of its group, 1 without groups */
    size_t count;
} diff_values;
espl_status espl_diff_values_init(espl_adapter *adapter, const espl_entry *base, diff_values *out_values);
void espl_diff_values_finish(espl_adapter *adapter, diff_values *values);
/* What is added to the i-th value of the base when nothing is drawn. */
float espl_diff_change(const diff_values *values, size_t i);

/* The next base entry that is changed, from number *in_out_at on; NULL: there is none. */
const espl_entry *espl_diff_next(const espl_adapter *adapter, size_t *in_out_at);
/* Calls f for each of them, with its values. */
espl_status espl_diff_each(espl_adapter *adapter, void *user,
                           espl_status (*f)(espl_adapter *adapter, const espl_entry *base, const diff_values *values, void *user));
/* These changes from now on, whose zeros are closed for good; frees nothing. */
espl_status espl_diff_settle(espl_adapter *adapter, const espl_entry *base, const float *changes);
/* Keeps the largest share of all changes, as they are with their gates, and settles every gate. */
espl_status espl_diff_prune(espl_adapter *adapter);
/* A change that stays has an open gate once pruned. */
bool espl_diff_stays(float alpha);

/* Tensors of the folder: "<name>.delta", "<name>.log_alpha" and, structured, "<name>.group_log_alpha"; once pruned "<name>.idx"
 * and "<name>.val". */
espl_status espl_diff_read(espl_adapter *adapter, const espl_tensors *set);
espl_status espl_diff_write(espl_adapter *adapter, const char *path, espl_replace *out_replace);

/* The method's `average`. */
espl_status espl_diff_average(espl_adapter *result, espl_adapter *const *adapters, const double *weights, size_t count);

#endif
