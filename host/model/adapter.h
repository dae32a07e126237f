/* What every adapter method gives: a row that describes it as PEFT-Ref does (Sabry & Belz 2023, arXiv 2304.12410), functions,
 * and a state that the adapter owns. An adapter's configuration is always the JSON object that its folder holds; its
 * tensors are a store whose entries bear their names in that folder. */
#ifndef ESPL_MODEL_ADAPTER_H
#define ESPL_MODEL_ADAPTER_H

#include "host/model/model.h"

/* ---- Where methods join a model (PEFT-Ref: workspace) ---- */

typedef enum espl_site {
    ESPL_SITE_BEGIN,         /* before anything is built; y is NULL and stays so */
    ESPL_SITE_EMBED,         /* token embeddings, before positions and norm */
    ESPL_SITE_EMBEDDED,      /* what leaves the embedding: enters block 0, or the projection of a narrower one */
    ESPL_SITE_BLOCK_IN,      /* hidden state entering a block */
    ESPL_SITE_NORM,          /* output of a norm */
    ESPL_SITE_WEIGHT,        /* weight of a product, as the base stores it */
    ESPL_SITE_BIAS,          /* bias of a product [1, out], NULL where it has none */
    ESPL_SITE_LINEAR_IN,     /* what a product takes */
    ESPL_SITE_LINEAR,        /* what a product gives: y = W x + b */
    ESPL_SITE_KEYS,          /* rows before the keys and values of a block: [rows, 2 * key columns], y is NULL; or batch times */
    ESPL_SITE_ATTENTION_OUT, /* output of a sub-layer, before residual and norm */
    ESPL_SITE_MLP_OUT,
    ESPL_SITE_BLOCK_OUT,     /* hidden state leaving a block */
    ESPL_SITE_HEAD_IN,       /* what the output projection of a language head takes */
    ESPL_SITE_COUNT
} espl_site;

/* Those where join may change y in place; elsewhere y stays as it is. */
enum { ESPL_SITES_IN_PLACE = 1u << ESPL_SITE_EMBED | 1u << ESPL_SITE_LINEAR | 1u << ESPL_SITE_HEAD_IN };
/* Those where y is NULL: join makes what was not there, or nothing. */
enum { ESPL_SITES_FROM_NOTHING = 1u << ESPL_SITE_BEGIN | 1u << ESPL_SITE_KEYS };

/* One place in a graph that is being built. */
typedef struct espl_joint {
    espl_site site;
    uint32_t block;      /* ESPL_NO_BLOCK: outside of blocks */
    uint32_t layer;      /* KEYS: which run of a block, below layers * repeat; the block itself where none shares its weights */
    uint32_t linear;     /* WEIGHT, LINEAR_IN, LINEAR: ESPL_LINEAR_...; its parts are columns model->linear[linear].part */
    espl_norm_place norm; /* NORM; ..._OUT: the norm that follows (post-norm models), else ESPL_NORM_PLACE_COUNT */
    espl_tensor *x;      /* LINEAR: the product's input; KEYS: that of the attention; ..._OUT: the residual, which is added to
                            what join returns */
    espl_tensor *weight, *bias, *product; /* LINEAR: W and b as they took part, and what the base made of them */
    /* LINEAR, of methods that add: the block of a composition, and which of its children's share of rows is added; NULL: all rows. */
    const espl_composition *shared;
    uint32_t child;
    const espl_composition *fused; /* of the node that joins (composition.h) */
    espl_tensor *normed; /* ..._OUT: the sub-layer's input, which is x or its norm */
    bool *out_closed;    /* ..._OUT: set to say that what join returns has residual and norm already */
} espl_joint;

/* ---- PEFT-Ref's structural properties ---- */

typedef enum espl_intra { ESPL_INTRA_NONE, ESPL_INTRA_DENSE, ESPL_INTRA_SPARSE } espl_intra;
typedef enum espl_inter { ESPL_INTER_FIXED_DENSE, ESPL_INTER_FIXED_SPARSE, ESPL_INTER_DYNAMIC } espl_inter;
typedef enum espl_adapted { ESPL_ADAPTED_ADDITION, ESPL_ADAPTED_REPARAMETERISATION, ESPL_ADAPTED_SELECTION } espl_adapted;
typedef enum espl_sharing { ESPL_SHARING_NONE, ESPL_SHARING_SHARED, ESPL_SHARING_TIED } espl_sharing;
typedef enum espl_input { ESPL_INPUT_HIDDEN, ESPL_INPUT_DATA, ESPL_INPUT_WEIGHTS } espl_input;
typedef enum espl_insertion { ESPL_INSERTION_SEQUENTIAL, ESPL_INSERTION_PARALLEL } espl_insertion;
typedef enum espl_insertions { ESPL_INSERTIONS_ALL, ESPL_INSERTIONS_ONE } espl_insertions;
typedef enum espl_integration {
    ESPL_INTEGRATION_DIRECT_ADDITION,
    ESPL_INTEGRATION_SCALED_ADDITION,
    ESPL_INTEGRATION_GATED_ADDITION,
    ESPL_INTEGRATION_CONCATENATION,
    ESPL_INTEGRATION_RESCALING,
    ESPL_INTEGRATION_REPLACEMENT
} espl_integration;

typedef struct espl_properties {
    espl_intra intra;             /* connections within the module */
    espl_inter inter;             /* with the model: fixed, or depending on the input */
    espl_adapted adapted;         /* new parameters, a reparameterisation, or a selection of the base's */
    espl_sharing sharing;         /* of parameters among insertions */
    espl_input input;             /* what the module reads */
    espl_insertion insertion;
    espl_insertions insertions;   /* blocks */
    espl_integration integration; /* how its output joins */
    uint32_t sites;               /* workspace: 1u << ESPL_SITE_...; join is called for these only */
} espl_properties;

/* ---- Methods ---- */

/* What the coming submission of phase MICRO is about. */
typedef struct espl_step_info {
    const int32_t *ids;     /* batch * tokens; NULL: rows are given as embeddings */
    const int32_t *lengths; /* per row: those of them that are not padding; NULL: all */
    const int32_t *history; /* sessions: the ids before these, `position` of them; else NULL */
    const int32_t *tasks;   /* number of each row's task, or NULL: 0 */
    uint32_t batch, tokens;
    uint32_t step, steps;   /* of the optimiser: done, in all; 0, 0 outside of training */
    uint64_t seed;
    bool training;
    uint32_t position; /* sessions: of the first token; else 0 */
    uint32_t opening;  /* sessions: tokens that the text began with, together; else 0 */
    uint32_t pass; /* of this micro-batch, below what method->passes gives */
} espl_step_info;

static inline uint32_t espl_step_length(const espl_step_info *info, uint32_t row) {
    return info->lengths ? (uint32_t)info->lengths[row] : info->tokens;
}

typedef enum espl_update { ESPL_UPDATE_BEFORE, ESPL_UPDATE_AFTER } espl_update;

/* A tensor of the base that merging may change. */
typedef struct espl_place {
    uint32_t block, linear, part; /* block ESPL_NO_BLOCK: the token embedding */
    uint32_t out, in;             /* weight [out, in]; embedding [vocabulary, hidden] */
} espl_place;

struct espl_spec_row;
struct espl_folder_names;
enum { ESPL_METHOD_KEYS = 3 };

typedef struct espl_method {
    const char *name;      /* "lora", in specs */
    /* "LORA", in PEFT's adapter_config.json (the first row that recognises it); NULL: the folders are the Adapters library's */
    const char *peft_type;
    /* "architecture" in the Adapters library's files ("bottleneck" for none); the first row that fits and recognises the
     * configuration reads it. NULL: not in that library. */
    const char *architecture;
    bool (*recognise)(const json_t *config); /* NULL: all of the architecture, or of peft_type */
    bool parts; /* made of other methods, which join in its place */
    espl_properties properties;
    /* Of its specs (adapters/spec.h): its own, and those of a method that it builds on; each list ends with a row of zeros. */
    const struct espl_spec_row *keys[ESPL_METHOD_KEYS];
    /* key=value of a spec into the configuration; value is NULL for a key alone. NULL: espl_spec_set. */
    espl_status (*set)(espl_adapter *adapter, const char *key, const char *value);
    /* Fills in what the configuration leaves out, makes the state, and declares matrices and entries in the store.
     * Fails: ARGUMENT, UNSUPPORTED, FORMAT naming the key. */
    espl_status (*declare)(espl_adapter *adapter);
    /* Values before training, after the store was placed (zeros; replaced matrices have the base's). NULL: those. */
    espl_status (*initialise)(espl_adapter *adapter, uint64_t seed);
    /* Nodes of phase BEGIN that compute states from weights and parameters alone: run before the first MICRO of a step, of an
     * evaluation, and of a session. NULL: none. */
    espl_status (*prepare)(espl_builder *builder, const espl_adapter *adapter);
    /* Adds the method's operators at a joint and returns what takes y's place: y itself where it has nothing to do. NULL
     * for methods that only stand matrices in place of the base's. */
    espl_tensor *(*join)(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y);
    /* At LINEAR join adds to y what is 0 where u is, u being a product of few columns that it takes to espl_build_share. */
    bool adds;
    /* Ends of the names of tensors that several adapters of the method can have together (espl_adapter_share), NULL behind them.
     * NULL: there are none. */
    const char *const *shares;
    /* In a stack of the Adapters library at LINEAR: what such adapters (parts of unions too) make one behind the other, each of
     * what the one before adds. NULL: as in a list. */
    espl_tensor *(*stack)(espl_builder *builder, const espl_adapter *const *adapters, uint32_t count, const espl_joint *joint, espl_tensor *y);
    /* Nodes of phase MICRO that store the keys and values of the rows which the method puts before each sequence
     * (builder->before, as many as builder->tokens; builder->prelude is set) in builder->caches: run once, before a session's first
     * tokens. NULL: the method has no such rows. */
    espl_status (*prelude)(espl_builder *builder, const espl_adapter *adapter);
    /* What takes part in place of a matrix of the base, in nodes of the layer that asks first; w itself where the method leaves
     * it. NULL: the base's. */
    espl_tensor *(*weight)(espl_builder *builder, const espl_adapter *adapter, uint32_t matrix, espl_tensor *w);
    /* Whether nothing is left of what this tensor of the base makes, beside those that `replacement` says. NULL: no others. */
    bool (*replaces)(const espl_adapter *adapter, const espl_entry *base); /* its join comes first at a site */
    /* Writes the tensors that join asked for with espl_build_step, in that order, before each submission. NULL: none. */
    espl_status (*step)(const espl_adapter *adapter, const espl_step_info *info, void *const *values);
    /* The host's work before a training step (`step` of `steps` are done): nothing of that step is submitted yet. NULL: none. */
    espl_status (*turn)(espl_adapter *adapter, uint32_t step, uint32_t steps);
    /* Whether it has the size of the result once `step` of `steps` are done: what is measured before is of another. NULL: always. */
    bool (*settled)(const espl_adapter *adapter, uint32_t step, uint32_t steps);
    /* How often a training step runs each micro-batch, and the weight of the loss of one of these passes. NULL: once, 1. */
    uint32_t (*passes)(const espl_adapter *adapter, uint32_t pass, double *out_weight);
    /* Nodes of phase END around the optimiser's: penalties added to gradients (before the norm is taken), masks,
     * projections back onto a constraint. NULL: none. */
    espl_status (*update)(espl_builder *builder, const espl_adapter *adapter, espl_update when);
    /* Changes the weight (and bias, NULL if there is none) of one place as the adapter would; *out_changed false if it
     * does not touch it. NULL: the method cannot be merged. */
    espl_status (*merge)(espl_adapter *adapter, const espl_place *place, float *weight, float *bias, bool *out_changed);
    /* The same for any tensor of the base, as its file has it; for methods with `weight`. NULL: there are none. */
    espl_status (*change)(espl_adapter *adapter, const espl_entry *base, float *values, bool *out_changed);
    /* The tensors of a folder where they are not the store's as they are. NULL: they are. */
    espl_status (*read)(espl_adapter *adapter, const espl_tensors *set);
    espl_status (*write)(espl_adapter *adapter, const char *path, espl_replace *out_replace); /* as espl_store_replace */
    /* Writes a folder other than from configuration and store as they are (espl_folder_write does that). NULL: that. */
    espl_status (*save)(espl_adapter *adapter, const char *folder);
    /* After the tensors of count adapters of the method, times weights, were added into result's: those for which that is not
     * right. NULL: there are none. */
    espl_status (*average)(espl_adapter *result, espl_adapter *const *adapters, const double *weights, size_t count);
    void (*finish)(espl_adapter *adapter); /* frees the state; NULL: there is none */
    /* Of a method whose folders have files of their own (adapters/folder.h): their names, and its configuration file to the library's
     * form and back, in place. NULL: those of its kind. */
    const struct espl_folder_names *files;
    espl_status (*from_file)(espl_context *ctx, const char *folder, json_t *file);
    espl_status (*to_file)(espl_context *ctx, json_t *file);
    /* The lowest block in which it takes part; as many as the model has: none. NULL: 0. */
    uint32_t (*first_block)(const espl_adapter *adapter);
    /* Whether it stands on another adapter, which then takes part through it alone. NULL: on none. */
    bool (*has)(const espl_adapter *adapter, const espl_adapter *one);
} espl_method;

extern const espl_method *const espl_methods[];
extern const size_t espl_method_count;

/* ---- Adapters ---- */

/* A tensor of the base as it was before a merge. */
typedef struct espl_original {
    espl_entry entry; /* of the model's store; name borrowed */
    float *values;           /* owned; exact: every 16-bit number is an f32 */
} espl_original;

struct espl_adapter {
    espl_model *model; /* borrowed */
    char *name;        /* owned */
    const espl_method *method;
    json_t *config; /* owned */
    bool library;   /* its folders are the Adapters library's */
    json_t *form;   /* owned or NULL: the library's own configuration, of which config is PEFT's form (adapters/library.h) */
    char *file_name; /* owned: its name in their tensors' names; NULL in PEFT's */
    espl_store store;
    void *state;    /* owned, by method->finish */
    const json_t *tasks; /* of config, set by declare: names of the tasks that it has a part for each of; NULL: one for all */
    uint32_t before; /* rows that it puts before each sequence, set by declare; 0: none */
    /* Rows of a token embedding that stands in place of the base's, set by declare; 0: none. own_vocabulary: they are other tokens
     * than the base's, whose tokenizer it owns, or NULL where none came with them. */
    uint32_t tokens;
    bool own_vocabulary;
    espl_tokenizer *tokenizer;
    bool active;
    bool some_rows; /* active within a block of the composition that shares rows */
    /* Base matrix -> matrix of this store that stands in its place (biases, modules_to_save), or ESPL_NO_MATRIX. That of
     * model->head also in place of a tied embedding's use as the head. */
    uint32_t *replacement; /* owned, replacement_count: all matrices of the base */
    uint32_t replacement_count;
    bool untied;               /* merging gave the head a matrix of its own */
    espl_original *originals; /* owned; not NULL: merged */
    size_t original_count, original_capacity;
    uint32_t merge_order; /* 1 for the first merged, 0 not merged */
    struct espl_adapter *members; /* owned list: the parts of a union, active with it; their matrices are those of its store */
    struct espl_adapter *owner;   /* borrowed: of a part, its union */
    struct espl_adapter *next;
};

/* Stands the whole base matrix of this entry in the store under file_name, with the base's values once initialised. */
espl_status espl_adapter_replace(espl_adapter *adapter, const espl_entry *base, const char *file_name);
/* The same for the output projection. */
espl_status espl_adapter_replace_head(espl_adapter *adapter, const char *file_name);
/* Its matrix in place of the output projection, or ESPL_NO_MATRIX. */
uint32_t espl_adapter_head(const espl_adapter *adapter);
/* It has a matrix in place of one of the head's. */
bool espl_adapter_has_head(const espl_adapter *adapter);
/* PEFT's task_type for a head with labels; NULL: another head. */
const char *espl_adapter_task_type(espl_head_kind kind);

/* ---- For join and update ---- */

/* A tensor of the step buffer that method->step fills; rows every 4 elements rounded up from cols. */
espl_tensor *espl_build_step(espl_builder *builder, const espl_adapter *adapter, const char *name, uint32_t rows,
                             uint32_t cols, espl_dtype dtype);
/* u times the rows' shares of the child for which a method joins there; u itself where it has all rows. */
espl_tensor *espl_build_share(espl_builder *builder, const espl_joint *joint, espl_tensor *u);
/* In a session (builder->caches): a cache of the adapter's own for a block, STATE F32 [rows, cols]; rows 0: those of
 * builder->caches. */
espl_tensor *espl_build_cache(espl_builder *builder, const espl_adapter *adapter, uint32_t block, uint32_t rows, uint32_t cols);
/* The one that the adapter asked for as its which-th (from 0), for methods that read it at several joints; NULL: not yet. */
espl_tensor *espl_build_step_made(const espl_builder *builder, const espl_adapter *adapter, uint32_t which);
/* What the active adapters make of a hidden state at a site outside of products. */
espl_tensor *espl_build_join(espl_builder *builder, espl_site site, uint32_t block, espl_tensor *x);
/* The base's norm at this place of a block, with what active adapters make of it. */
espl_tensor *espl_build_norm(espl_builder *builder, uint32_t block, espl_norm_place place, espl_tensor *x);
/* The memory of a matrix of the adapter's store, and of its gradient, for nodes of phase END. */
espl_tensor *espl_build_state(espl_builder *builder, const espl_adapter *adapter, uint32_t matrix);
espl_tensor *espl_build_gradient(espl_builder *builder, const espl_adapter *adapter, uint32_t matrix);

/* ---- Used by model and training ---- */

/* The one in whose memory the tensors are that the adapter has together with others (espl_adapter_share); itself: those of its own. */
espl_adapter *espl_adapter_owner(espl_adapter *adapter);
/* Of all that have such tensors the first of these owns them from now on, so that they are trained with these. */
espl_status espl_adapters_own(espl_adapter *const *adapters, uint32_t count);
/* The active adapter whose token embedding stands in place of the base's; NULL: none. */
const espl_adapter *espl_model_embeddings(const espl_model *model);
/* Whether an active adapter has a part for each of several tasks. */
bool espl_model_has_tasks(const espl_model *model);
/* Calls update of the adapters that are trained. */
espl_status espl_build_update(espl_builder *builder, espl_update when);
/* Calls step of every adapter that has tensors in the step buffer of this graph. */
espl_status espl_step_inputs_write(const espl_step_inputs *inputs, espl_graph *graph, const espl_step_info *info);

#endif
