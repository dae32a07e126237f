/* A loaded model: where each weight of each block lies, which adapters it has, and how its graph is built. */
#ifndef ESPL_MODEL_H
#define ESPL_MODEL_H

#include "host/graph/graph.h"
#include "host/model/config.h"
#include "host/model/head.h"
#include "host/model/store.h"
#include <espalier/model.h>

#define ESPL_NO_BLOCK UINT32_MAX

typedef struct espl_composition espl_composition;   /* composition.h */
typedef struct espl_share_leaves espl_share_leaves;
typedef struct espl_rows_before espl_rows_before; /* adapters/prompt.c */

/* Columns of a product's output that one linear map of a family gives. */
typedef struct espl_columns {
    uint32_t from, count; /* from is a multiple of 4; count 0: no such part */
} espl_columns;

/* One of ESPL_LINEAR_...: the same in every block but for the matrices. */
typedef struct espl_linear_shape {
    uint32_t in, out; /* out: columns of the product, gaps between parts included */
    espl_columns part[ESPL_LINEAR_PARTS];
} espl_linear_shape;

/* Norms over the hidden state. Before the sub-layer, or after its residual in post-norm families. */
typedef enum espl_norm_place {
    ESPL_NORM_ATTENTION,
    ESPL_NORM_MLP,
    ESPL_NORM_FINAL, /* outside of blocks */
    ESPL_NORM_PLACE_COUNT
} espl_norm_place;

typedef struct espl_block_weights {
    espl_norm_weights norm[ESPL_NORM_FINAL];
    uint32_t q_norm, k_norm;
    uint32_t weight[ESPL_LINEAR_COUNT], bias[ESPL_LINEAR_COUNT];
} espl_block_weights;

struct espl_model {
    espl_context *ctx;   /* borrowed */
    espl_device *device; /* borrowed; NULL: an outline */
    char *folder;        /* owned */
    json_t *json;        /* owned: config.json */
    espl_tokenizer *tokenizer; /* owned or NULL */
    espl_model_params params;
    espl_dtype dtype;       /* of weight matrices */
    espl_dtype value_dtype; /* of what the graph makes up to the logits, and of the key-value cache */
    espl_config config;
    espl_linear_shape linear[ESPL_LINEAR_COUNT];
    espl_store store;
    uint32_t embed, position, types; /* of encoders also: */
    espl_norm_weights embed_norm;
    uint32_t embed_projection, embed_projection_bias;
    uint32_t relative, buckets; /* rows for distances; which row a distance has: frozen, [1, 2 * context_max - 1] */
    espl_norm_weights relative_norm;
    uint32_t convolution, convolution_bias; /* [hidden, hidden * rows that it takes together] */
    espl_norm_weights convolution_norm;
    espl_norm_weights final_norm;
    /* Of the map into the vocabulary; ESPL_NO_MATRIX: there is none. While config.tied embed is used for it, and it has rows only
     * if it was untied before; what an adapter has in its place stands either way. */
    uint32_t head;
    espl_task_head task;
    espl_block_weights *blocks; /* owned, config.layers */
    uint32_t frequencies;       /* matrix of the rotary frequencies, or ESPL_NO_MATRIX */
    struct espl_adapter *adapters; /* owned list */
    espl_composition *composition; /* owned: those that are active; NULL: none */
};

/* What config.json declares, without weights, memory or a device: for names, shapes and counts. Adapters added to it are declared
 * likewise. folder: or the text of a config.json (starts with '{'). head: NULL, or what stands behind the last hidden state.
 * Nothing else may be done with them. Destroyed as any model. */
espl_status espl_model_outline(espl_context *ctx, const char *folder, const espl_head_params *head, espl_model **out_model);

/* "model.layers.3.self_attn.q_proj": the module path of a part, as PEFT and the files name it. Freed with espl_free. */
espl_status espl_model_module(const espl_model *model, uint32_t block, uint32_t linear, uint32_t part, char **out_path);
/* "model.layers.3" */
espl_status espl_model_block_path(const espl_model *model, uint32_t block, char **out_path);

/* Tokens that there are, with the adapters that are active. */
uint32_t espl_model_vocabulary(const espl_model *model);

/* Gives the head values of its own, at first the embedding's, and ties it again. No use on a model that is (not) tied. Where
 * untying fails the model is tied as before. */
espl_status espl_model_untie(espl_model *model);
void espl_model_tie(espl_model *model);

/* ---- Building a graph from a model ---- */

enum { ESPL_STEP_INPUTS_MAX = 256 };

/* Tensors of the step buffer that adapters (espl_build_step) and compositions fill before each submission. */
typedef struct espl_step_inputs {
    struct {
        const struct espl_adapter *adapter; /* NULL: shares */
        struct espl_shares *shares;
        espl_tensor *tensor;
    } item[ESPL_STEP_INPUTS_MAX];
    uint32_t count;
    /* Above 1: the batch that they are written for is so many copies of the caller's, for which there is memory. */
    uint32_t replicas;
    int32_t *ids, *lengths, *tasks; /* owned by the graph */
} espl_step_inputs;

/* Caches of adapters' own in a session (espl_build_cache), whose memory outlives the graphs. */
typedef struct espl_own_caches {
    espl_arena arena;
    uint32_t rows; /* of each */
    struct espl_own_cache {
        const struct espl_adapter *adapter;
        uint32_t block;
        espl_span span;
    } *item; /* owned */
    size_t count, capacity;
} espl_own_caches;
/* Frees what was taken; the arena can be initialised again. */
void espl_own_caches_finish(espl_own_caches *own, espl_context *ctx);

/* Numbers by which adapters weigh what they add, one for each sequence or several for each token, kept for the host to read. */
typedef struct espl_scores {
    struct espl_score {
        char *name; /* owned: of the gate or fusion, as in files, with its number where one map has several */
        espl_tensor *values; /* [batch, 1], or [batch * tokens, n] */
    } *items;       /* owned */
    size_t count, capacity;
} espl_scores;
void espl_scores_finish(espl_context *ctx, espl_scores *scores);
/* Where scores are asked for (scores not NULL): keeps values under this name, which it takes also on failure. */
espl_status espl_scores_keep(espl_context *ctx, espl_scores *scores, char *name, espl_tensor *values);

enum { ESPL_TRAINED_MAX = 5 }; /* as ESPL_GRAD_NORM_TENSORS */

/* What is trained: its matrices become parameters whose gradients lie in `gradients` as in the store's flat span. */
typedef struct espl_trained {
    const espl_store *store;
    espl_span gradients;
} espl_trained;

/* One pass over batch rows of `tokens` tokens. Set the fields, then call espl_build_hidden. */
typedef struct espl_builder {
    espl_model *model;
    espl_graph *graph;
    uint32_t batch, tokens;
    uint32_t replicas; /* of the caller's batch in batch; 0: its blocks are not built yet */
    bool training, recompute;
    espl_tensor *ids;       /* STEP [1, batch * tokens] */
    /* STEP [batch * tokens, embedding's width] F32: what stands in place of the vocabulary's rows, and ids are its rows' numbers.
     * NULL: the vocabulary's. */
    espl_tensor *embeddings;
    espl_tensor *positions; /* STEP [1, batch] or NULL: 0 */
    espl_tensor *lengths;   /* STEP [1, batch], tokens of each row that are not padding; NULL: all */
    espl_tensor *relative;  /* rows for distances, made by espl_build_hidden; NULL: the model has none */
    espl_tensor *types;     /* STEP [1, batch * tokens], token types; NULL: 0, or the model has none */
    espl_tensor **caches;   /* one per layer, STATE [batch * capacity, 2 * kv columns]; updated; or NULL */
    espl_own_caches *own_caches; /* with caches; borrowed */
    espl_tensor *own_positions;  /* as positions, of own caches: a prefix's rows are not in them */
    /* STEP [1, tokens] F32 with caches: a mean over the pass, 1/n for each of its n tokens and 0 behind them. `whole` is set by what
     * takes that mean: tokens that come together may then not be cut into passes. */
    espl_tensor *mean;
    bool whole;
    espl_trained trained[ESPL_TRAINED_MAX];
    uint32_t trained_count;
    /* Rows that an adapter puts before each sequence, set at ESPL_SITE_BEGIN: before its keys in every block; prompt: also before
     * its embeddings. Then the queries' first positions and the lengths of keys differ from positions and lengths, and
     * positions are added to rows that have no ids. With caches these two alone are set: the caches' first rows
     * are these, and positions count them; where the tokens' own do not, key_positions count them (and say which rows of the
     * caches are the tokens'). prelude: this pass stores them there (espl_method.prelude), its ids are no tokens.
     * rowless: per block, whether it goes without, as if there were no such adapter; borrowed; NULL: none does. */
    uint32_t before, prompt;
    const bool *rowless;
    bool prompt_first; /* heads that read a sequence's first row read the prompt's */
    bool prelude;
    espl_rows_before *rows_before; /* owned by the graph: of each adapter that computes its prompt, or keys and values of all blocks */
    espl_tensor *key_positions, *key_lengths, *row_ids;
    bool of_distances; /* what is built now is of relative's rows, which are of no sequence */
    espl_share_leaves *share_leaves; /* owned by the graph: how compositions share rows, as far as built */
    const struct espl_adapter *head_of; /* whose head is built, of adapters that have some rows; NULL: the model's */
    const struct espl_adapter *inverted; /* the one that changes the embedding and takes it back before the head */
    uint32_t dropouts;        /* made so far: each has random numbers of its own */
    espl_scores *scores;      /* borrowed; NULL: they are not asked for */
    espl_step_inputs *inputs; /* owned by the graph; NULL until espl_build_hidden */
    /* Leaves made so far, private to build_leaves.c. */
    espl_tensor **leaves; /* owned by the graph */
    size_t leaf_count;
} espl_builder;

/* Embedding, blocks, final norm: [batch * tokens, hidden]. Layers of phase MICRO. What is built afterwards (logits) is f32. */
espl_tensor *espl_build_hidden(espl_builder *builder);
/* The output projection's weight [vocabulary, hidden], as adapters have it. */
espl_tensor *espl_build_head(espl_builder *builder);
/* Dropout while training; x itself else. */
espl_tensor *espl_build_dropout(espl_builder *builder, espl_tensor *x, float p);
/* The leaf of a matrix of a store that takes part (the model's, or an adapter's). */
espl_tensor *espl_build_leaf(espl_builder *builder, const espl_store *store, uint32_t matrix);
/* NULL: the store is not trained. */
const espl_trained *espl_build_trained(const espl_builder *builder, const espl_store *store);
/* Of a graph without a builder, each time anew. */
espl_tensor *espl_store_leaf(espl_graph *graph, const espl_store *store, uint32_t matrix, espl_role role);
/* `rows` of its rows from `first` on, in f32: the leaf itself where these are all. */
espl_tensor *espl_build_rows(espl_builder *builder, const espl_store *store, uint32_t matrix, uint32_t first, uint32_t rows);
/* The leaf of a matrix of the model, or of what an active adapter has put in its place; NULL for ESPL_NO_MATRIX. */
espl_tensor *espl_build_base(espl_builder *builder, uint32_t matrix);
/* Layer norm by a family's eps, of a norm outside of espl_norm_place. */
espl_tensor *espl_build_layernorm(espl_builder *builder, const espl_norm_weights *weights, espl_tensor *x);
/* W x + b of a map outside of blocks; bias may be ESPL_NO_MATRIX. */
espl_tensor *espl_build_map(espl_builder *builder, uint32_t weight, uint32_t bias, espl_tensor *x);

/* What the head makes of espl_build_hidden: logits are input weight^T + bias. */
typedef struct espl_output {
    espl_tensor *input;  /* [rows, n]; rows are batch, or batch * tokens where every token has an output */
    espl_tensor *weight; /* [outputs, n]; NULL: input is the output (ESPL_HEAD_NONE) */
    espl_tensor *bias;   /* or NULL */
} espl_output;
espl_output espl_build_output(espl_builder *builder, espl_tensor *hidden);

/* The map into the vocabulary as files name it, "lm_head"; NULL: the head has none. Its weight's entry: the embedding's where
 * they are tied. */
const char *espl_model_output_module(const espl_model *model);
const espl_entry *espl_model_output_entry(const espl_model *model);

/* ---- Declaring (declare.c), for head.c ---- */

/* A matrix that is one tensor of files; ESPL_NO_MATRIX in *out_index for name NULL. Vectors have one row. */
espl_status espl_model_declare(espl_model *model, const char *name, uint32_t rows, uint32_t cols, bool vector,
                               espl_dtype dtype, uint32_t *out_index);

#endif
