/* Adapters added in parameter space: average.c tensor by tensor, average_lora.c the products of LoRAs. */
#ifndef ESPL_AVERAGE_H
#define ESPL_AVERAGE_H

#include "adapters/lora.h"

typedef struct average_inputs {
    espl_adapter **adapters; /* owned array */
    const double *weights;
    size_t count;
    espl_average strategy;
    uint32_t rank; /* of the result where LoRAs are combined; 0: tensor by tensor */
} average_inputs;

/* For NEGATE_B. Fails: UNSUPPORTED for other methods than a LoRA of A and B alone. */
espl_status espl_average_lora_check(const average_inputs *in);
/* What an entry of the i-th is multiplied by, tensor by tensor. */
double espl_average_weight(const average_inputs *in, size_t i, const espl_entry *entry);
/* The rank of the result (wanted: of SVD, 0 for the largest of theirs), and a configuration whose scale is 1.
 * Fails: UNSUPPORTED as check, and for LoRAs of parts of a map; ARGUMENT for ranks that the strategy does not take. */
espl_status espl_average_lora_config(average_inputs *in, uint32_t wanted, json_t *config);
/* True if the key of a configuration may differ, because ranks and scales are in the result's tensors. */
bool espl_average_lora_key(const char *key);
/* A and B of the result for its entry of lora_A; false in *out_done for another entry than A or B. */
espl_status espl_average_lora_fill(espl_adapter *result, size_t entry, const average_inputs *in, bool *out_done);

#endif
