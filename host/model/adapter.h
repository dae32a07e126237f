/* What every adapter method gives: a row of functions, and a state that the adapter owns. An adapter's configuration is
 * always the JSON object that its folder holds; its tensors are a store whose entries bear their names in that folder. */
#ifndef ESPL_MODEL_ADAPTER_H
#define ESPL_MODEL_ADAPTER_H

#include "host/model/model.h"

typedef struct espl_method {
    const char *name;      /* "lora", in specs */
    const char *peft_type; /* "LORA", in adapter_config.json */
    /* key=value of a spec into the configuration; value is NULL for a key alone. */
    espl_status (*set)(espl_adapter *adapter, const char *key, const char *value);
    /* Fills in what the configuration leaves out, makes the state, and declares matrices and entries in the store.
     * Fails: ARGUMENT, UNSUPPORTED, FORMAT naming the key. */
    espl_status (*declare)(espl_adapter *adapter);
    /* Values before training, after the store was placed. */
    espl_status (*initialise)(espl_adapter *adapter, uint64_t seed);
    /* Adds this adapter's change to y = W x of one product of one block; returns the new y. NULL: the method has none. */
    espl_tensor *(*linear)(espl_builder *builder, const espl_adapter *adapter, uint32_t block, uint32_t linear,
                           espl_tensor *x, espl_tensor *y);
    /* Adds the same change to the weight of one part [out, in]; *out_changed false if there is none. */
    espl_status (*merge)(espl_adapter *adapter, uint32_t block, uint32_t linear, uint32_t part, float *weight,
                         bool *out_changed);
    void (*finish)(espl_adapter *adapter);
} espl_method;

/* A tensor of the base as it was before a merge. */
typedef struct espl_original {
    const espl_entry *entry; /* borrowed from the model's store */
    float *values;           /* owned; exact: every 16-bit number is an f32 */
} espl_original;

struct espl_adapter {
    espl_model *model; /* borrowed */
    char *name;        /* owned */
    const espl_method *method;
    json_t *config; /* owned */
    espl_store store;
    void *state;    /* owned, by method->finish */
    bool active;
    /* Base matrix -> matrix of this store that stands in its place (biases, modules_to_save), or ESPL_NO_MATRIX. One more
     * than the base has matrices: the last is the head's use of a tied embedding. */
    uint32_t *replacement; /* owned */
    espl_original *originals; /* owned; not NULL: merged */
    size_t original_count, original_capacity;
    uint32_t merge_order; /* 1 for the first merged, 0 not merged */
    struct espl_adapter *next;
};

/* Stands the whole base matrix of this entry in the store under file_name, with the base's values once initialised. */
espl_status espl_adapter_replace(espl_adapter *adapter, const espl_entry *base, const char *file_name);
/* The same for the output projection. */
espl_status espl_adapter_replace_head(espl_adapter *adapter, const char *file_name);

extern const espl_method espl_method_lora;

#endif
