/* Head folders of the Adapters library: head_config.json beside model_head.safetensors or pytorch_model_head.bin. Flexible
 * heads are lists of layers, "heads.<name>.<number>"; static ones the head of a transformers class under its own names, without
 * a configuration. What a head has in the base (BERT's pooler) is in neither, but the embedding that is its last map is in both.
 * Source: github.com/adapter-hub/adapters 1.3.0, heads/base.py, heads/language_modeling.py, head_utils.py, loading.py. */
#ifndef ESPL_LIBRARY_HEAD_H
#define ESPL_LIBRARY_HEAD_H

#include "host/base/os.h"
#include "host/model/adapter.h"

/* How a folder names the head's tensors. */
typedef struct espl_head_form {
    const char *name; /* borrowed; of a flexible head; NULL: static */
    bool two;         /* flexible: dense, activation and a last map; else the last map alone */
    bool bias;        /* flexible, next tokens: with a bias, which the model's head has not */
} espl_head_form;

/* A tensor of a head folder and of the base. */
typedef struct espl_head_part {
    char *name;              /* owned; in the folder */
    const espl_entry *entry; /* borrowed; the base's; NULL: none, the folder's must be zeros */
    bool tied;               /* the token embedding, too: the folder's must be the same */
} espl_head_part;

enum { ESPL_HEAD_PARTS_MAX = 8 };
typedef struct espl_head_parts {
    espl_head_part part[ESPL_HEAD_PARTS_MAX];
    size_t count;
} espl_head_parts;

/* The library's head_type of the model's head; NULL: it has none. */
const char *espl_head_type(const espl_model *model);
/* Fails: UNSUPPORTED naming the types there are. */
espl_status espl_head_check_type(const espl_model *model, const char *type);
/* True for a part of the base that has the family's prefix: static heads lack it. */
bool espl_head_in_base(const espl_model *model, const char *name);
espl_status espl_head_parts_of(const espl_model *model, const espl_head_form *form, espl_head_parts *out_parts);
void espl_head_parts_finish(espl_context *ctx, espl_head_parts *parts);

/* A folder that fits the model's head. */
typedef struct espl_library_head {
    json_t *file;      /* owned */
    espl_tensors *set; /* owned */
    espl_head_form form;
    espl_head_parts parts;
} espl_library_head;

/* Nothing is changed. To be closed also on failure. Fails: IO, FORMAT, UNSUPPORTED naming what does not fit. */
espl_status espl_library_head_open(const espl_model *model, const char *folder, espl_library_head *out_head);
/* Its labels' names and values into the model; the values into what stands in their place in adapter, unless that is NULL. */
espl_status espl_library_head_take(const espl_library_head *head, espl_model *model, espl_adapter *adapter);
void espl_library_head_close(espl_context *ctx, espl_library_head *head);
/* The folder's head_config.json; NULL: it has no head. To be freed. */
espl_status espl_library_head_config(espl_context *ctx, const char *folder, json_t **out_file);
/* CLASSIFICATION stands for all that opening then refuses, too. */
espl_head_kind espl_library_head_kind(const json_t *file);
/* The kind, and how many labels or choices, where the file says: with which a model is loaded that is to have the head. */
espl_status espl_library_head_params(espl_context *ctx, const json_t *file, espl_head_params *out_params);
/* Whether the folder has a head of the model's sort: for labels, or for words. */
espl_status espl_library_head_is(const espl_model *model, const char *folder, bool *out_is);

/* head_config.json of a head of this form. */
espl_status espl_library_head_describe(const espl_model *model, const espl_head_form *form, json_t **out_file);
/* Into folder; out_files, ESPL_HEAD_FILES of them (tensors, configuration), are to be committed or finished. */
enum { ESPL_HEAD_FILES = 2 };
espl_status espl_library_head_put(espl_context *ctx, const json_t *file, const espl_tensor_entry *entries, size_t count,
                                  const char *folder, espl_replace *out_files);
/* What was in a folder before and the library would read beside or rather than what was written now: tensors as pickles, and unless
 * a head was written, that of another adapter. */
espl_status espl_library_remove_old(espl_context *ctx, const char *folder, const char *pickled, bool head);
/* The head as adapter has it (NULL: the active ones); out_files as above. */
espl_status espl_library_head_write(const espl_model *model, const espl_adapter *adapter, const espl_head_form *form,
                                    const char *folder, espl_replace *out_files);

/* ---- Heads that adapters of the library's own folders train: in the same folder, in files of their own ---- */

/* Stands the head's tensors in the store: those of `head`, of the adapter `like`, or (both NULL) of a model's with labels. */
espl_status espl_adapter_declare_head(espl_adapter *adapter, const espl_library_head *head, const espl_adapter *like);
/* Nothing for an adapter without a head. */
espl_status espl_adapter_write_head(const espl_adapter *adapter, const char *folder, espl_replace *out_files);

#endif
