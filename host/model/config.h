/* What config.json says, in one form for every family, and the families as data. */
#ifndef ESPL_CONFIG_H
#define ESPL_CONFIG_H

#include "host/file/json.h"

typedef enum espl_norm_kind { ESPL_NORM_RMS, ESPL_NORM_LAYER } espl_norm_kind;
typedef enum espl_bias_rule { ESPL_BIAS_NEVER, ESPL_BIAS_ALWAYS, ESPL_BIAS_ATTENTION, ESPL_BIAS_MLP } espl_bias_rule;

/* Which blocks attend to a window of tokens, of families that have "sliding_window". */
typedef enum espl_window_rule {
    ESPL_WINDOW_NEVER,
    ESPL_WINDOW_ALWAYS,
    ESPL_WINDOW_BY_LAYER /* with use_sliding_window those from max_window_layers on, or as layer_types has them */
} espl_window_rule;

/* A linear map of a block as a family names it. NULL name: the family has none. */
typedef struct espl_linear_name {
    const char *name;
    espl_bias_rule bias;
} espl_linear_name;

/* The linear maps of a block, by what goes in: those that share an input are one product. */
enum { ESPL_LINEAR_QKV, ESPL_LINEAR_O, ESPL_LINEAR_UP, ESPL_LINEAR_DOWN, ESPL_LINEAR_COUNT };
enum { ESPL_LINEAR_PARTS = 3 };

/* What stands behind the hidden state for a task: maybe dense, activation, norm, then out. Names as in files, whole. */
typedef struct espl_head_names {
    const char *dense;      /* hidden -> hidden; of MASKED to the embedding's size; NULL: none */
    const char *activation; /* of dense; NULL: the configuration's */
    const char *key_activation; /* counts before that; NULL: none */
    const char *norm;       /* after it; NULL: none */
    const char *out;        /* -> labels; of MASKED only if untied, else the embedding */
    const char *out_bias;   /* NULL: none */
    bool last;              /* of a row: its last token, else its first */
    bool no_dropout, dropout_first; /* first: also before dense */
    const char *key_dropout_first; /* of one before dense that has a key of its own, without which there is none; NULL: none */
    /* Keys of its dropout: the first that config.json has counts. NULL: the family's key_head_dropout, no other. */
    const char *key_dropout, *key_dropout_else;
    float dropout; /* where it has none of them; 0: that of hidden states */
    const char *key_which, *key_dense; /* of what config.json may have otherwise but is not offered: not "first"; no dense */
} espl_head_names;

enum {
    ESPL_HEAD_NAMES_SEQUENCE,
    ESPL_HEAD_NAMES_TOKENS,
    ESPL_HEAD_NAMES_MASKED,
    ESPL_HEAD_NAMES_SPANS,
    ESPL_HEAD_NAMES_CHOICES,
    ESPL_HEAD_NAMES_COUNT
};

/* A family of models. */
typedef struct espl_family {
    const char *model_type;
    const char *class_name; /* "Bert" of "BertForMaskedLM" in architectures */
    const char *class_language; /* behind that with a head for the next token; NULL: "ForCausalLM" */
    /* Keys of config.json. */
    const char *key_hidden, *key_layers, *key_heads, *key_intermediate, *key_context, *key_norm_eps, *key_activation;
    const char *key_embedding;       /* columns of the embedding where they may differ from hidden; NULL: hidden */
    const char *key_dropout, *key_attention_dropout, *key_head_dropout; /* NULL: no such dropout */
    const char *key_embedding_dropout; /* NULL: key_dropout */
    float dropout;          /* where config.json has none of these but that of the head */
    float norm_eps;         /* where config.json has none; 0: 1e-6 (RMS), 1e-5 */
    const char *activation; /* likewise; NULL: silu if gated, else gelu_new */
    const char *prefix; /* of every tensor name but the head's, "model."; files of a bare model lack it */
    const char *embed, *position, *final_norm;
    const char *types, *embed_norm, *embed_projection; /* encoders: table of token types, norm, embedding -> hidden */
    const char *relative, *relative_norm; /* DeBERTa: rows for distances, and their norm; NULL: no relative attention */
    const char *convolution, *convolution_norm; /* DeBERTa-v2: along the sequence, beside the first block */
    const char *block;  /* "layers.%u." */
    const char *attention_norm, *mlp_norm, *q_norm, *k_norm;
    espl_linear_name linear[ESPL_LINEAR_COUNT][ESPL_LINEAR_PARTS];
    espl_head_names heads[ESPL_HEAD_NAMES_COUNT];
    espl_norm_kind norm;
    espl_window_rule window;
    bool rotary, gated;
    bool post_norm;     /* norms after the residual of each sub-layer (BERT), else before the sub-layer */
    bool bidirectional; /* every token sees every other; else those before it */
    bool stored_in_out;  /* linear weights are [in, out] (GPT-2's Conv1D) */
    bool tied_by_default;
    bool positions_after_padding; /* position 0 is row pad_token_id + 1 (RoBERTa) */
    bool shared_blocks;     /* one set of weights for several blocks after each other (ALBERT's groups) */
    bool always_projected;  /* embed_projection is there also where both sizes are the same */
    uint32_t no_dropout;    /* 1u << ESPL_LINEAR_...: no dropout behind this product of a block */
} espl_family;

enum { ESPL_ROTARY_MAX = 128 };

typedef struct espl_config {
    const espl_family *family;
    uint32_t hidden, embedding; /* embedding: columns of the tables */
    uint32_t layers; /* with weights of their own; each is run `repeat` times */
    uint32_t repeat, heads, kv_heads, head_size, intermediate, vocabulary, context_max, window;
    uint32_t types, position_from, position_rows; /* token types; row of position 0; rows of the position table */
    uint32_t relative_rows, relative_most, relative_buckets; /* 0: none; buckets 0: a row for each distance */
    bool relative_norm;
    uint32_t convolution_kernel, convolution_activation; /* rows that it takes together, odd, 0: none; ACTIVATION_... behind it */
    float dropout, attention_dropout, embedding_dropout;
    float norm_eps;
    uint32_t activation; /* ACTIVATION_..., as op_activation names them */
    bool tied, attention_bias, mlp_bias;
    double initializer_range;
    /* Radians per position of each rotated pair, scaling included; magnitude multiplies cos and sin. */
    uint32_t rotary_pairs;
    float frequencies[ESPL_ROTARY_MAX], magnitude;
    int64_t bos, eos, pad;
} espl_config;

/* ACTIVATION_... of the name that config.json files use; false for one that is not offered. */
bool espl_config_activation(const char *name, uint32_t *out_kind);
/* Those names in order; NULL behind the last. */
const char *espl_config_activation_name(size_t index);

/* Fails: FORMAT, UNSUPPORTED naming the key. */
espl_status espl_config_read(espl_context *ctx, const json_t *json, espl_config *out_config);

#endif
