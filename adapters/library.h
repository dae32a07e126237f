/* The Adapters library's forms of methods that PEFT has too: what a configuration of one says in the other's keys, and
 * which modules it means. A form is one row in library.c. Methods that the library alone has (bottleneck) keep its
 * configuration as their own and have no row: espl_method.architecture names them.
 * Source: github.com/adapter-hub/adapters 1.3.0, configuration/adapter_config.py, methods/lora.py, models/<family>/. */
#ifndef ESPL_LIBRARY_H
#define ESPL_LIBRARY_H

#include "host/model/config.h"

/* The version whose files these are; the library reads its own older ones and newer ones alike. */
extern const char espl_library_version[];

/* Where the library puts LoRA and (IA)3. */
typedef enum espl_library_place {
    ESPL_LIBRARY_Q,
    ESPL_LIBRARY_K,
    ESPL_LIBRARY_V,
    ESPL_LIBRARY_INTERMEDIATE,
    ESPL_LIBRARY_OUTPUT,
    ESPL_LIBRARY_COUNT
} espl_library_place;

/* The module of a place below a block ("attention.self.query"), NULL where the family has none. Families with one map
 * for q, k and v (GPT-2) give that for all three. */
const char *espl_library_module(const espl_family *family, espl_library_place place);
/* True where q, k and v are one map: the library then keeps A and B (or the factors) of its parts under each other. */
bool espl_library_fused(const espl_family *family);

/* A key of a configuration and what it is where absent, as JSON. */
typedef struct espl_library_key {
    const char *key, *value;
} espl_library_key;

typedef struct espl_library_form {
    const char *architecture; /* of the library's configuration */
    const char *peft_type;
    bool (*recognise)(const json_t *config); /* NULL: all of the architecture */
    const espl_library_key *keys;            /* it may have, ended by NULL */
    /* Into an empty object. Fails: UNSUPPORTED naming what PEFT cannot say; FORMAT, ARGUMENT. */
    espl_status (*to_peft)(espl_context *ctx, const espl_config *base, const json_t *config, json_t *out_peft);
} espl_library_form;

/* How many of q, k and v attn_matrices names. */
uint32_t espl_library_fused_parts(const json_t *config);
/* Whether LoRA's configuration means a part of a product; of one map for q, k and v as if they were three. */
bool espl_library_selects(const json_t *config, const espl_family *family, uint32_t linear, uint32_t part);

/* Whether "leave_out" has a block. The check: ARGUMENT for a block that a model of so many has not. */
bool espl_library_left_out(const json_t *config, uint32_t block);
espl_status espl_library_check_left_out(espl_context *ctx, const json_t *config, uint32_t layers);

/* Into what the file means now (library_old.c): a string under "config" becomes an object; LoRA of before 1.1.0, which divided by r
 * only what was merged and trained with an alpha of r, has that alpha. Fails: UNSUPPORTED for a name that is not known, FORMAT. */
espl_status espl_library_renew(espl_context *ctx, json_t *file);
/* Files of no version called activations otherwise. Only for what lies in a folder. */
espl_status espl_library_renew_activation(espl_context *ctx, json_t *file);
/* What a tensor was called once, by the which-th of the older words for adapters; NULL: there are no more. Freed with espl_free. */
espl_status espl_library_old_name(espl_context *ctx, const char *name, size_t which, char **out_name);
/* NULL: the architecture is not PEFT's too. */
const espl_library_form *espl_library_find(const json_t *config);
/* NULL: the library has no form of it. */
const espl_library_form *espl_library_find_type(const char *peft_type);
/* The object under "config" of adapter_config.json (file) as PEFT would write it, with what older versions of the
 * library meant by it; keys that it leaves out are put in. A new reference. Fails: UNSUPPORTED for a key that is not
 * known or says what is not offered. */
espl_status espl_library_to_peft(espl_context *ctx, const espl_library_form *form, const espl_config *base,
                                 const json_t *file, json_t **out_peft);
/* Puts in the keys that config leaves out. */
espl_status espl_library_complete(espl_context *ctx, const espl_library_form *form, json_t *config);
/* adapter_config.json around a configuration, a new reference. base_json: the model's config.json. */
espl_status espl_library_file(espl_context *ctx, json_t *config, const espl_config *base, const json_t *base_json,
                              const char *base_name, const char *name, json_t **out_file);

#endif
