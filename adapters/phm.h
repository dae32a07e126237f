/* Linear maps of adapters, dense or as parameterised hypercomplex multiplications: the weight [in, out] is a sum of n Kronecker
 * products of n x n matrices (the rule, which all maps of a model share unless told otherwise) and rank-1 matrices (Karimi
 * Mahabadi et al. 2021). */
#ifndef ESPL_PHM_MAP_H
#define ESPL_PHM_MAP_H

#include "adapters/spec.h"

typedef struct espl_phm_options {
    bool on;        /* else dense */
    bool shared, factored, learned;
    uint32_t n, rank;
    uint32_t rule;  /* matrix of the shared rule */
    float range;    /* of the rule's initial values: standard deviation, or bound */
    bool uniform;   /* these: U(+-range), else N(0, range^2) */
    bool xavier;    /* W's: Xavier's normal, else Glorot's uniform with gain sqrt(2) */
} espl_phm_options;

typedef struct espl_phm_map {
    uint32_t weight, bias;      /* dense: [out, in]; not factored: W [in, out / n] */
    uint32_t left, right, rule; /* matrices, ESPL_NO_MATRIX where they do not apply */
} espl_phm_map;

extern const espl_spec_row espl_phm_keys[];
/* Reads phm_layer, phm_dim, phm_rank and their like from a configuration of the Adapters library.
 * Fails: UNSUPPORTED naming an option that is not offered. */
espl_status espl_phm_read(espl_adapter *adapter, espl_phm_options *options);
/* Declares the rule that all maps of the adapter share, if they do. */
espl_status espl_phm_share(espl_adapter *adapter, espl_phm_options *options);
/* Declares the map in -> out; module: what stands before its tensors' names. Fails: ARGUMENT if phm_dim does not divide both. */
espl_status espl_phm_declare(espl_adapter *adapter, const espl_phm_options *options, const char *module, uint32_t in,
                             uint32_t out, espl_phm_map *map);
/* Initial values of an entry that phm_declare made; *out_done false for any other. */
espl_status espl_phm_initialise(espl_adapter *adapter, const espl_phm_options *options, const espl_entry *entry, uint64_t seed,
                                bool *out_done);
espl_tensor *espl_phm_apply(espl_builder *builder, const espl_adapter *adapter, const espl_phm_map *map, espl_tensor *x);

#endif
