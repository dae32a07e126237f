/* Adapters added in parameter space: average.c tensor by tensor, average_lora.c A and B of LoRAs or their products,
 * average_sparse.c the strategies and how values of several become one. */
#ifndef ESPL_AVERAGE_H
#define ESPL_AVERAGE_H

#include "adapters/lora.h"

/* What is added: every tensor; or of LoRAs all ranks side by side, what they add to the weights, or A and B each. */
typedef enum average_of { AVERAGE_TENSORS, AVERAGE_STACKS, AVERAGE_CHANGES, AVERAGE_FACTORS } average_of;

/* A strategy. */
typedef struct average_way {
    const char *name;
    average_of of;
    /* Sets the values of one adapter to 0 but for a share of them. NULL: all stay. */
    void (*trim)(double *values, size_t count, double density, espl_random *random);
    bool elect; /* of each value those adapters alone that have the sign of most, and their mean */
} average_way;

typedef struct average_inputs {
    espl_adapter **adapters; /* owned array */
    const double *weights;
    size_t count;
    espl_average_params params;
    const average_way *way;
    uint32_t rank; /* of the result where LoRAs are combined; 0: tensor by tensor */
} average_inputs;

/* The way of params. Fails: ARGUMENT for a density that it does not take. */
espl_status espl_average_choose(espl_context *ctx, average_inputs *in);
/* As in PEFT, one adapter alone stays whole. */
bool espl_average_trims(const average_inputs *in);
/* values [adapters, count] of an entry, or what it adds to its weight: trimmed, and the first row becomes what the way makes of all. */
void espl_average_mix(const average_inputs *in, size_t entry, const double *weights, double *values, size_t count);

/* For NEGATE_B. Fails: UNSUPPORTED for other methods than a LoRA of A and B alone. */
espl_status espl_average_lora_check(const average_inputs *in);
/* What an entry of the i-th is multiplied by, tensor by tensor. */
double espl_average_weight(const average_inputs *in, size_t i, const espl_entry *entry);
/* The rank of the result, and a configuration whose scale is 1.
 * Fails: UNSUPPORTED as check, and for LoRAs of parts of a map; ARGUMENT for ranks that the strategy does not take. */
espl_status espl_average_lora_config(average_inputs *in, json_t *config);
/* True if the key of a configuration may differ, because ranks and scales are in the result's tensors. */
bool espl_average_lora_key(const char *key);
/* A and B of the result, both for its entry of lora_A where they come from a product; false in *out_done for other entries. */
espl_status espl_average_lora_fill(espl_adapter *result, size_t entry, const average_inputs *in, bool *out_done);

#endif
