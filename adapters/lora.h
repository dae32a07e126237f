/* What the methods of the LoRA family share: which maps are targets, with what rank and scale, and how their matrices lie. */
#ifndef ESPL_LORA_H
#define ESPL_LORA_H

#include "adapters/spec.h"

typedef struct lora_target {
    uint32_t rank; /* 0: not a target */
    uint32_t from; /* first row of A, a multiple of 4 */
    uint32_t b;    /* matrix [out, rank] */
    float scale;
    uint32_t magnitude, inverse_norm; /* DoRA: matrices [1, out] */
    uint32_t slot;                    /* AdaLoRA: its first rank among those of all targets */
} lora_target;

typedef struct lora_group {
    uint32_t a; /* matrix [sum of ranks, in], or ESPL_NO_MATRIX */
    uint32_t e; /* AdaLoRA: matrix [1, sum of ranks] */
    lora_target target[ESPL_LINEAR_PARTS];
} lora_group;

typedef struct lora_state {
    float dropout;
    bool zero_b, gaussian;
    lora_group (*groups)[ESPL_LINEAR_COUNT]; /* owned, one row per block */
    void *own; /* owned: what else a method of the family keeps */
} lora_state;

/* What a method of the family calls its tensors, and rank and scale of a target (with its path). */
typedef struct lora_kind {
    const char *a, *b, *e; /* e NULL: there is none */
    espl_status (*rank)(espl_adapter *adapter, const char *path, lora_target *target);
} lora_kind;
extern const lora_kind espl_lora_kind;

/* Methods of the family: keys of all, keys of those whose ranks LoRA's "r" says (not AdaLoRA's), configuration and matrices
 * (adapter->state is a lora_state afterwards). */
extern const espl_spec_row espl_lora_keys[], espl_lora_rank_keys[];
espl_status espl_lora_declare(espl_adapter *adapter, const lora_kind *kind);
espl_status espl_lora_initialise(espl_adapter *adapter, uint64_t seed);
/* Adds scale * B diag(factors) A; factors (one for each rank) NULL: all 1. */
espl_status espl_lora_merge(espl_adapter *adapter, const espl_place *place, const float *factors, float *weight,
                            bool *out_changed);
void espl_lora_finish(espl_adapter *adapter);

/* Initial values that PEFT computes from the base ("pissa", "olora", "corda", "loftq", "lora_ga") change the base as well, which
 * a folder does not say: their name. NULL: others, which leave it alone. */
const char *espl_lora_changes_base(const json_t *config);

/* "base_model.model.<path>.<suffix>" for rows (or, of a vector, columns) of a matrix. */
espl_status espl_lora_entry(espl_adapter *adapter, const char *path, const char *suffix, uint32_t matrix, uint32_t from,
                            uint32_t count, bool vector);
/* The state of a joint's product: NULL where no part of it is a target. */
const lora_group *espl_lora_group(const espl_adapter *adapter, const espl_joint *joint);
/* u = x A^T for all targets of the group. */
espl_tensor *espl_lora_down(espl_builder *builder, const espl_adapter *adapter, const lora_group *group, espl_tensor *x);
/* y + scale * B u in the columns of each target. bs: in place of their B's; NULL: these. */
espl_tensor *espl_lora_up(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, const lora_group *group,
                          espl_tensor *const bs[ESPL_LINEAR_PARTS], espl_tensor *u, espl_tensor *y);

#endif
