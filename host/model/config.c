/* config.json -> espl_config, rotary scaling included. */
#include "host/model/family.h"
#include "host/model/relative.h"
#include "host/ops/op_activation.h"
#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t kind;
} activations[] = {
    {"silu", ACTIVATION_SILU},           {"swish", ACTIVATION_SILU}, {"gelu", ACTIVATION_GELU},
    {"gelu_new", ACTIVATION_GELU_TANH},  {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
    {"gelu_fast", ACTIVATION_GELU_TANH}, {"relu", ACTIVATION_RELU},
    {"tanh", ACTIVATION_TANH},
};

bool espl_config_activation(const char *name, uint32_t *out_kind) {
    for (size_t i = 0; i < ESPL_COUNT(activations); i++) {
        if (strcmp(name, activations[i].name) != 0) continue;
        *out_kind = activations[i].kind;
        return true;
    }
    return false;
}

const char *espl_config_activation_name(size_t index) {
    return index < ESPL_COUNT(activations) ? activations[index].name : NULL;
}

static espl_status find_family(espl_context *ctx, const json_t *json, const espl_family **out_family) {
    const char *type;
    ESPL_TRY(espl_json_need(ctx, json, "model_type"));
    ESPL_TRY(espl_json_string(ctx, json, "model_type", NULL, &type));
    char known[768] = "";
    for (size_t i = 0; i < espl_family_count; i++) {
        if (strcmp(type, espl_families[i].model_type) == 0) {
            *out_family = &espl_families[i];
            return ESPL_OK;
        }
        strncat(known, i ? ", " : "", sizeof known - strlen(known) - 1);
        strncat(known, espl_families[i].model_type, sizeof known - strlen(known) - 1);
    }
    return espl_fail(ctx, ESPL_UNSUPPORTED, "model_type \"%s\" is not one of %s", type, known);
}

static espl_status need_u32(espl_context *ctx, const json_t *json, const char *key, uint32_t *out_value) {
    ESPL_TRY(espl_json_need(ctx, json, key));
    ESPL_TRY(espl_json_u32(ctx, json, key, 0, out_value));
    if (*out_value == 0) return espl_fail(ctx, ESPL_FORMAT, "\"%s\" is 0", key);
    return ESPL_OK;
}

/* Llama 3's rule: long wavelengths are divided by factor, short ones kept, between them a ramp. transformers
 * modeling_rope_utils, _compute_llama3_parameters. */
static espl_status scale_llama3(espl_context *ctx, const json_t *scaling, double factor, uint32_t pairs, double *f) {
    double low, high;
    uint32_t original;
    ESPL_TRY(espl_json_f64(ctx, scaling, "low_freq_factor", 1, &low));
    ESPL_TRY(espl_json_f64(ctx, scaling, "high_freq_factor", 4, &high));
    ESPL_TRY(need_u32(ctx, scaling, "original_max_position_embeddings", &original));
    if (!(high > low)) return espl_fail(ctx, ESPL_FORMAT, "rope scaling: high_freq_factor %g is not above "
                                        "low_freq_factor %g", high, low);
    for (uint32_t i = 0; i < pairs; i++) {
        const double wavelength = 2 * 3.14159265358979323846 / f[i];
        if (wavelength > original / low) {
            f[i] /= factor;
        } else if (wavelength >= original / high) {
            const double smooth = (original / wavelength - low) / (high - low);
            f[i] = (1 - smooth) * f[i] / factor + smooth * f[i];
        }
    }
    return ESPL_OK;
}

static double yarn_magnitude(double factor, double mscale) {
    return factor > 1 ? 0.1 * mscale * log(factor) + 1 : 1;
}

/* YaRN, Peng et al. 2023: a ramp over dimensions instead of wavelengths, and a magnitude. */
static espl_status scale_yarn(espl_context *ctx, const json_t *scaling, double theta, double factor, uint32_t pairs,
                              double *f, espl_config *config) {
    double fast, slow, attention, mscale, mscale_all;
    uint32_t original;
    bool truncate;
    ESPL_TRY(espl_json_f64(ctx, scaling, "beta_fast", 32, &fast));
    ESPL_TRY(espl_json_f64(ctx, scaling, "beta_slow", 1, &slow));
    ESPL_TRY(espl_json_f64(ctx, scaling, "mscale", 0, &mscale));
    ESPL_TRY(espl_json_f64(ctx, scaling, "mscale_all_dim", 0, &mscale_all));
    attention = mscale != 0 && mscale_all != 0 ? yarn_magnitude(factor, mscale) / yarn_magnitude(factor, mscale_all)
                                               : yarn_magnitude(factor, 1);
    ESPL_TRY(espl_json_f64(ctx, scaling, "attention_factor", attention, &attention));
    ESPL_TRY(espl_json_bool(ctx, scaling, "truncate", true, &truncate));
    ESPL_TRY(espl_json_u32(ctx, scaling, "original_max_position_embeddings", config->context_max, &original));
    const double dims = 2.0 * pairs, scale = dims / (2 * log(theta));
    double low = scale * log(original / (fast * 2 * 3.14159265358979323846));
    double high = scale * log(original / (slow * 2 * 3.14159265358979323846));
    if (truncate) low = floor(low), high = ceil(high);
    low = low < 0 ? 0 : low;
    high = high > dims - 1 ? dims - 1 : high;
    if (low == high) high += 0.001;
    for (uint32_t i = 0; i < pairs; i++) {
        double ramp = (i - low) / (high - low);
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        f[i] = f[i] / factor * ramp + f[i] * (1 - ramp);
    }
    config->magnitude = (float)attention;
    return ESPL_OK;
}

static espl_status read_rotary(espl_context *ctx, const json_t *json, espl_config *config) {
    /* transformers 5 moved rope_theta and rope_scaling into rope_parameters. */
    json_t *parameters, *scaling;
    double theta, factor, f[ESPL_ROTARY_MAX];
    const char *type;
    ESPL_TRY(espl_json_f64(ctx, json, "rope_theta", 10000, &theta));
    ESPL_TRY(espl_json_object(ctx, json, "rope_scaling", &scaling));
    ESPL_TRY(espl_json_object(ctx, json, "rope_parameters", &parameters));
    if (parameters) {
        ESPL_TRY(espl_json_f64(ctx, parameters, "rope_theta", theta, &theta));
        scaling = parameters;
    }
    ESPL_TRY(espl_json_string(ctx, scaling, "type", "default", &type));
    ESPL_TRY(espl_json_string(ctx, scaling, "rope_type", type, &type));
    ESPL_TRY(espl_json_f64(ctx, scaling, "factor", 1, &factor));
    if (!(theta > 0) || !(factor > 0))
        return espl_fail(ctx, ESPL_FORMAT, "rope_theta %g and factor %g must be above 0", theta, factor);
    config->rotary_pairs = config->head_size / 2;
    if (config->head_size % 2 || config->rotary_pairs > ESPL_ROTARY_MAX)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "a head size of %u cannot be rotated in pairs of at most %u",
                         config->head_size, ESPL_ROTARY_MAX);
    for (uint32_t i = 0; i < config->rotary_pairs; i++) f[i] = pow(theta, -2.0 * i / config->head_size);
    if (strcmp(type, "linear") == 0) {
        for (uint32_t i = 0; i < config->rotary_pairs; i++) f[i] /= factor;
    } else if (strcmp(type, "llama3") == 0) {
        ESPL_TRY(scale_llama3(ctx, scaling, factor, config->rotary_pairs, f));
    } else if (strcmp(type, "yarn") == 0) {
        ESPL_TRY(scale_yarn(ctx, scaling, theta, factor, config->rotary_pairs, f, config));
    } else if (strcmp(type, "default") != 0) {
        return espl_fail(ctx, ESPL_UNSUPPORTED, "rope scaling \"%s\" is not one of default, linear, llama3, yarn", type);
    }
    for (uint32_t i = 0; i < config->rotary_pairs; i++) config->frequencies[i] = (float)f[i];
    return ESPL_OK;
}

/* A number, or the first of a list of them (Llama 3 has several end ids). */
static espl_status read_id(espl_context *ctx, const json_t *json, const char *key, int64_t *out_id) {
    json_t *value = json_object_get(json, key);
    if (value && json_is_array(value) && json_array_size(value)) {
        if (espl_json_as_i64(json_array_get(value, 0), out_id)) return ESPL_OK;
    }
    return espl_json_i64(ctx, json, key, -1, out_id);
}

static espl_status read_dropout(espl_context *ctx, const json_t *json, const char *key, float by_default, float *out_p) {
    *out_p = by_default;
    if (key) ESPL_TRY(espl_json_f32(ctx, json, key, by_default, out_p));
    if (*out_p >= 0 && *out_p < 1) return ESPL_OK;
    return espl_fail(ctx, ESPL_FORMAT, "\"%s\" is %g, must be from 0 to below 1", key, (double)*out_p);
}

static espl_status read_dropouts(espl_context *ctx, const json_t *json, espl_config *config) {
    const espl_family *f = config->family;
    ESPL_TRY(read_dropout(ctx, json, f->key_dropout, f->key_dropout ? f->dropout : 0, &config->dropout));
    ESPL_TRY(read_dropout(ctx, json, f->key_attention_dropout, f->dropout, &config->attention_dropout));
    const float embedding = f->key_embedding_dropout ? f->dropout : config->dropout;
    return read_dropout(ctx, json, f->key_embedding_dropout, embedding, &config->embedding_dropout);
}

/* What only encoders have. */
static espl_status read_encoder(espl_context *ctx, const json_t *json, espl_config *config) {
    const espl_family *family = config->family;
    const char *positions;
    bool decoder;
    if (family->key_embedding) ESPL_TRY(espl_json_u32(ctx, json, family->key_embedding, config->hidden, &config->embedding));
    if (config->embedding == 0) return espl_fail(ctx, ESPL_FORMAT, "\"%s\" is 0", family->key_embedding);
    if (family->types) ESPL_TRY(espl_json_u32(ctx, json, "type_vocab_size", 2, &config->types));
    ESPL_TRY(read_id(ctx, json, "pad_token_id", &config->pad));
    config->position_rows = config->context_max;
    if (family->positions_after_padding) {
        const int64_t pad = config->pad < 0 ? 1 : config->pad;
        if (pad >= (int64_t)config->context_max - 1)
            return espl_fail(ctx, ESPL_FORMAT, "%u positions, of which those up to the pad_token_id of %lld are not used",
                             config->context_max, (long long)pad);
        config->position_from = (uint32_t)pad + 1;
        config->context_max -= config->position_from;
    }
    if (family->shared_blocks) {
        uint32_t groups, inner;
        ESPL_TRY(espl_json_u32(ctx, json, "num_hidden_groups", 1, &groups));
        ESPL_TRY(espl_json_u32(ctx, json, "inner_group_num", 1, &inner));
        if (groups == 0 || config->layers % groups || inner != 1)
            return espl_fail(ctx, ESPL_UNSUPPORTED, "%u layers in %u groups of %u inner layers", config->layers, groups,
                             inner);
        config->repeat = config->layers / groups;
        config->layers = groups;
    }
    ESPL_TRY(read_dropouts(ctx, json, config));
    if (family->relative) ESPL_TRY(espl_relative_read(ctx, json, config));
    if (!family->bidirectional) return ESPL_OK;
    ESPL_TRY(espl_json_string(ctx, json, "position_embedding_type", "absolute", &positions));
    ESPL_TRY(espl_json_bool(ctx, json, "is_decoder", false, &decoder));
    if (strcmp(positions, "absolute") != 0 || decoder)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "%s is not supported", decoder ? "is_decoder" : positions);
    return ESPL_OK;
}

static espl_status read_sizes(espl_context *ctx, const json_t *json, espl_config *config) {
    const espl_family *family = config->family;
    ESPL_TRY(need_u32(ctx, json, family->key_hidden, &config->hidden));
    config->embedding = config->hidden;
    ESPL_TRY(need_u32(ctx, json, family->key_layers, &config->layers));
    ESPL_TRY(need_u32(ctx, json, family->key_heads, &config->heads));
    ESPL_TRY(need_u32(ctx, json, "vocab_size", &config->vocabulary));
    ESPL_TRY(espl_json_u32(ctx, json, "num_key_value_heads", config->heads, &config->kv_heads));
    ESPL_TRY(espl_json_u32(ctx, json, "head_dim", config->hidden / config->heads, &config->head_size));
    ESPL_TRY(espl_json_u32(ctx, json, family->key_intermediate, family->gated ? 0 : 4 * config->hidden,
                           &config->intermediate));
    ESPL_TRY(espl_json_u32(ctx, json, family->key_context, 2048, &config->context_max));
    if (config->kv_heads == 0 || config->heads % config->kv_heads)
        return espl_fail(ctx, ESPL_FORMAT, "%u heads cannot share %u key and value heads", config->heads,
                         config->kv_heads);
    if (config->head_size == 0 || config->head_size > 256)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "a head size of %u is not between 1 and 256", config->head_size);
    if (config->intermediate == 0 || config->context_max == 0)
        return espl_fail(ctx, ESPL_FORMAT, "\"%s\" is missing or 0",
                         config->intermediate ? family->key_context : family->key_intermediate);
    return ESPL_OK;
}

/* So that no product of sizes comes near 64 bits, and no count that is doubled near 32. */
static espl_status check_sizes(espl_context *ctx, const espl_config *c) {
    const struct {
        const char *what;
        uint64_t size, most;
    } rows[] = {{"layers", (uint64_t)c->layers * c->repeat, 4096},
                {"hidden values", c->hidden, 1u << 20},
                {"values of all heads", (uint64_t)c->heads * c->head_size, 1u << 20},
                {"intermediate values", c->intermediate, 1u << 24},
                {"tokens in the vocabulary", c->vocabulary, 1u << 24},
                {"positions", c->context_max, 1u << 24},
                {"values of an embedding", c->embedding, 1u << 20},
                {"token types", c->types, 1u << 20}};
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) {
        if (rows[i].size > rows[i].most)
            return espl_fail(ctx, ESPL_LIMIT, "%llu %s are beyond any model, up to %llu are supported",
                             (unsigned long long)rows[i].size, rows[i].what, (unsigned long long)rows[i].most);
    }
    return ESPL_OK;
}

/* Options that change results, with the one value that is offered, which is also transformers' default. */
static espl_status check_options(espl_context *ctx, const json_t *json) {
    static const struct {
        const char *key;
        bool offered;
    } rows[] = {{"add_cross_attention", false}, {"scale_attn_by_inverse_layer_idx", false}, {"scale_attn_weights", true}};
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) {
        bool value;
        ESPL_TRY(espl_json_bool(ctx, json, rows[i].key, rows[i].offered, &value));
        if (value != rows[i].offered)
            return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: %s is not supported", rows[i].key, value ? "true" : "false");
    }
    return ESPL_OK;
}

static espl_status count_windowed(espl_context *ctx, const json_t *json, const espl_config *config, uint32_t *out_layers) {
    uint32_t from;
    json_t *types;
    ESPL_TRY(espl_json_u32(ctx, json, "max_window_layers", 28, &from));
    ESPL_TRY(espl_json_array(ctx, json, "layer_types", &types));
    *out_layers = from < config->layers ? config->layers - from : 0;
    if (!types) return ESPL_OK;
    if (json_array_size(types) != config->layers)
        return espl_fail(ctx, ESPL_FORMAT, "\"layer_types\" has %zu layers of %u", json_array_size(types), config->layers);
    *out_layers = 0;
    for (size_t i = 0; i < config->layers; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        *out_layers += type && strcmp(type, "sliding_attention") == 0;
    }
    return ESPL_OK;
}

static espl_status read_window(espl_context *ctx, const json_t *json, espl_config *config) {
    const bool by_layer = config->family->window == ESPL_WINDOW_BY_LAYER;
    uint32_t window, layers = config->layers;
    bool use = config->family->window == ESPL_WINDOW_ALWAYS;
    if (by_layer) ESPL_TRY(espl_json_bool(ctx, json, "use_sliding_window", false, &use));
    if (!use) return ESPL_OK;
    /* null is no window, an absent key transformers' own. */
    ESPL_TRY(espl_json_u32(ctx, json, "sliding_window", json_object_get(json, "sliding_window") ? 0 : 4096, &window));
    if (by_layer) ESPL_TRY(count_windowed(ctx, json, config, &layers));
    if (window && layers && layers != config->layers)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "sliding_window in %u layers of %u, by max_window_layers or layer_types, is not "
                         "supported: in all or in none is", layers, config->layers);
    if (layers) config->window = window;
    return ESPL_OK;
}

espl_status espl_config_read(espl_context *ctx, const json_t *json, espl_config *out_config) {
    espl_config *config = out_config;
    *config = (espl_config){.magnitude = 1, .repeat = 1};
    ESPL_TRY(find_family(ctx, json, &config->family));
    const espl_family *family = config->family;
    ESPL_TRY(read_sizes(ctx, json, config));
    ESPL_TRY(read_window(ctx, json, config));
    config->norm_eps = family->norm_eps > 0 ? family->norm_eps : family->norm == ESPL_NORM_RMS ? 1e-6f : 1e-5f;
    if (family->key_norm_eps)
        ESPL_TRY(espl_json_f32(ctx, json, family->key_norm_eps, config->norm_eps, &config->norm_eps));
    ESPL_TRY(espl_json_bool(ctx, json, "tie_word_embeddings", family->tied_by_default, &config->tied));
    ESPL_TRY(espl_json_bool(ctx, json, "attention_bias", false, &config->attention_bias));
    ESPL_TRY(espl_json_bool(ctx, json, "mlp_bias", false, &config->mlp_bias));
    ESPL_TRY(espl_json_f64(ctx, json, "initializer_range", 0.02, &config->initializer_range));
    ESPL_TRY(read_id(ctx, json, "bos_token_id", &config->bos));
    ESPL_TRY(read_id(ctx, json, "eos_token_id", &config->eos));
    const char *activation;
    ESPL_TRY(espl_json_string(ctx, json, family->key_activation,
                              family->activation ? family->activation : family->gated ? "silu" : "gelu_new", &activation));
    if (!espl_config_activation(activation, &config->activation))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "activation \"%s\" is not known", activation);
    ESPL_TRY(read_encoder(ctx, json, config));
    ESPL_TRY(check_sizes(ctx, config));
    ESPL_TRY(check_options(ctx, json));
    return family->rotary ? read_rotary(ctx, json, config) : ESPL_OK;
}
