/* An adapter between two formats: always as PEFT has it, its adapter_config.json and its tensors by PEFT's names. Each
 * format reads into that and writes from that; a new one is one more row in convert.c. */
#ifndef ESPL_ADAPTERS_CONVERT_H
#define ESPL_ADAPTERS_CONVERT_H

#include "adapters/library_head.h"
#include "host/file/json.h"
#include "host/file/tensors.h"
#include "host/model/config.h"
#include <espalier/convert.h>

/* The base, as far as formats differ by it. */
typedef struct espl_convert_base {
    const char *folder;     /* borrowed */
    const char *model_type; /* borrowed from config */
    uint32_t heads, kv_heads, layers;
    json_t *config; /* owned */
} espl_convert_base;

typedef struct espl_loose_adapter {
    json_t *config;       /* owned; what adapter_config.json holds */
    espl_tensors *source; /* owned; data of entries may lie in it */
    espl_tensor_entry *entries; /* owned, and the names in it */
    void **owned;               /* owned; data of an entry that is not in source, or NULL; one per entry */
    size_t count, capacity, owned_capacity;
} espl_loose_adapter;
/* name is taken, also on failure. heads: 0, or as espl_gguf_permuted_heads says; then the rows are put in llama.cpp's
 * order, or with `back` from that into the order here. Fails: FORMAT if the rows are not those of so many heads. */
espl_status espl_loose_add(espl_context *ctx, espl_loose_adapter *adapter, char *name, const espl_tensor_view *view,
                           uint32_t heads, bool back);

/* A tensor [rows, cols], or [rows] if cols is 0; name and values are taken, also on failure. */
espl_status espl_loose_own(espl_context *ctx, espl_loose_adapter *adapter, char *name, uint32_t rows, uint32_t cols,
                           float *values);

/* Fails: UNSUPPORTED naming a peft_type that is not known; FORMAT naming a factor of a LoRA that is alone or has not the rank that the
 * configuration gives it, or a tensor of a block that the base has not. */
espl_status espl_loose_check(espl_context *ctx, const espl_convert_base *base, const espl_loose_adapter *adapter);

void espl_loose_finish(espl_context *ctx, espl_loose_adapter *adapter);

/* ---- formats ---- */

espl_status espl_gguf_adapter_read(espl_context *ctx, const char *path, const espl_convert_base *base,
                                   espl_loose_adapter *out);
espl_status espl_gguf_adapter_write(espl_context *ctx, const espl_loose_adapter *adapter, const espl_convert_base *base,
                                    const char *path);

/* Soft prompts in NumPy's arrays; read only. */
espl_status espl_npy_prompt_is(espl_context *ctx, const char *path, bool *out_is);
espl_status espl_npy_prompt_read(espl_context *ctx, const char *path, const espl_convert_base *base, espl_loose_adapter *out);

/* Folders of the Adapters library: LoRA, (IA)3 and, of rotary models, prefixes. */
/* Why the other has not the like of an architecture or a peft_type; "" if only that is known. */
const char *espl_convert_differ(const char *type);
espl_status espl_library_adapter_is(espl_context *ctx, const char *path, bool *out_is);
espl_status espl_library_adapter_read(espl_context *ctx, const char *path, const espl_convert_base *base,
                                      espl_loose_adapter *out);
espl_status espl_library_adapter_write(espl_context *ctx, const espl_loose_adapter *adapter, const espl_convert_base *base,
                                       const char *path);

/* ---- Heads with labels beside adapters ---- */

/* The head in a folder of the Adapters library, if there is one, into out's tensors and configuration. Heads for words are refused,
 * but for a static one for next words, which is the base's own. */
espl_status espl_convert_head_read(espl_context *ctx, const char *folder, const espl_convert_base *base, espl_loose_adapter *out);

/* The head among the tensors of PEFT's folder. */
typedef struct espl_convert_head {
    espl_model *model; /* owned; an outline of the base with this head; NULL: there is none */
    espl_head_form form;
    espl_head_parts parts;
} espl_convert_head;
/* name: borrowed; of the adapter, and of a flexible head. To be closed also on failure. Fails: UNSUPPORTED if other modules are
 * saved, or not all that the library's head has. */
espl_status espl_convert_head_open(espl_context *ctx, const espl_loose_adapter *adapter, const espl_convert_base *base,
                                   const espl_config *config, const char *name, espl_convert_head *out);
/* Whether a tensor of the adapter is part of it. */
bool espl_convert_head_has(const espl_convert_head *head, const espl_loose_adapter *adapter, const char *name);
/* As espl_library_head_put; without a head out_files stay as they are. */
espl_status espl_convert_head_write(const espl_convert_head *head, const espl_loose_adapter *adapter, const char *folder,
                                    espl_replace *out_files);
void espl_convert_head_close(espl_context *ctx, espl_convert_head *head);

/* ---- Prefixes ---- */

/* file is the library's adapter_config.json, out->source its tensors; out gets PEFT's configuration and rows. */
espl_status espl_prefix_from_library(espl_context *ctx, const espl_config *base, const json_t *file, espl_loose_adapter *out);
/* out gets the library's configuration and tensors of an adapter of that name, but not the head. */
espl_status espl_prefix_to_library(espl_context *ctx, const espl_config *base, const espl_loose_adapter *adapter, const char *name,
                                   const espl_convert_head *head, espl_loose_adapter *out);

/* ---- names of llama.cpp ---- */

typedef struct espl_gguf_family {
    const char *model_type;   /* of config.json */
    const char *architecture; /* of the GGUF file */
    bool permuted;            /* rows of q and k are in the order of interleaved rotary pairs */
    bool fan_in_fan_out;      /* what PEFT notes of the base's linear maps */
    const char *block;        /* "model.layers." */
    const char *const (*modules)[2]; /* in a block: name here, name in GGUF; ended by NULL */
    const char *const (*others)[2];  /* outside of blocks */
} espl_gguf_family;
/* NULL if there is none. */
const espl_gguf_family *espl_gguf_family_find(const char *model_type);
/* "model.layers.3.self_attn.q_proj" to "blk.3.attn_q" and back; *out_name NULL if the family lacks it. */
espl_status espl_gguf_name(espl_context *ctx, const espl_gguf_family *family, const char *name, bool back,
                           char **out_name);
/* Heads by which the rows of this module, named as in GGUF, are permuted; 0: they are not. */
uint32_t espl_gguf_permuted_heads(const espl_gguf_family *family, const espl_convert_base *base, const char *gguf_name);

#endif
