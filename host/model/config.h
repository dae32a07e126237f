/* What config.json says, in one form for every family, and the families as data. */
#ifndef ESPL_CONFIG_H
#define ESPL_CONFIG_H

#include "host/file/json.h"

typedef enum espl_norm_kind { ESPL_NORM_RMS, ESPL_NORM_LAYER } espl_norm_kind;
typedef enum espl_bias_rule { ESPL_BIAS_NEVER, ESPL_BIAS_ALWAYS, ESPL_BIAS_ATTENTION, ESPL_BIAS_MLP } espl_bias_rule;

/* A linear map of a block as a family names it. NULL name: the family has none. */
typedef struct espl_linear_name {
    const char *name;
    espl_bias_rule bias;
} espl_linear_name;

/* The linear maps of a block, by what goes in: those that share an input are one product. */
enum { ESPL_LINEAR_QKV, ESPL_LINEAR_O, ESPL_LINEAR_UP, ESPL_LINEAR_DOWN, ESPL_LINEAR_COUNT };
enum { ESPL_LINEAR_PARTS = 3 };

/* A family of models. */
typedef struct espl_family {
    const char *model_type;
    /* Keys of config.json. */
    const char *key_hidden, *key_layers, *key_heads, *key_intermediate, *key_context, *key_norm_eps, *key_activation;
    const char *prefix; /* of every tensor name but the head's, "model."; files of a bare model lack it */
    const char *embed, *position, *final_norm;
    const char *block;  /* "layers.%u." */
    const char *attention_norm, *mlp_norm, *q_norm, *k_norm;
    espl_linear_name linear[ESPL_LINEAR_COUNT][ESPL_LINEAR_PARTS];
    espl_norm_kind norm;
    bool rotary, gated;
    bool post_norm;     /* norms after the residual of each sub-layer (BERT), else before the sub-layer */
    bool bidirectional; /* every token sees every other; else those before it */
    bool stored_in_out;  /* linear weights are [in, out] (GPT-2's Conv1D) */
    bool tied_by_default;
} espl_family;

enum { ESPL_ROTARY_MAX = 128 };

typedef struct espl_config {
    const espl_family *family;
    uint32_t hidden, layers, heads, kv_heads, head_size, intermediate, vocabulary, context_max, window;
    float norm_eps;
    uint32_t activation; /* ACTIVATION_..., as op_activation names them */
    bool tied, attention_bias, mlp_bias;
    double initializer_range;
    /* Radians per position of each rotated pair, scaling included; magnitude multiplies cos and sin. */
    uint32_t rotary_pairs;
    float frequencies[ESPL_ROTARY_MAX], magnitude;
    int64_t bos, eos;
} espl_config;

/* ACTIVATION_... of the name that config.json files use; false for one that is not offered. */
bool espl_config_activation(const char *name, uint32_t *out_kind);

/* Fails: FORMAT, UNSUPPORTED naming the key. */
espl_status espl_config_read(espl_context *ctx, const json_t *json, espl_config *out_config);

#endif
