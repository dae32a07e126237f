/* Prefixes between PEFT and the Adapters library. Rows are laid out alike, [rows, layers, (keys, values), heads, head size]; but the
 * positions of the text begin behind PEFT's P rows, and at 0 beside the library's. Scores of a rotary model depend on differences
 * of positions alone, so the same keys turned back by P positions say the same there:
 *   (R(P + t) q)^T k = (R(t) q)^T (R(-P) k)
 * Where positions are rows of a table (GPT-2, BERT) the text itself would be another. What makes rows (a generator) PEFT's files do
 * not have: they get the rows. */
#include "adapters/convert.h"
#include "adapters/library.h"
#include <math.h>
#include <string.h>

enum { GENERATOR_PARTS = 5 };
static const char table_name[] = "prompt_embeddings";

/* Rows of a prefix on a base. */
typedef struct prefix {
    const espl_config *config;
    uint32_t rows;
    size_t columns; /* of a row: of all layers */
} prefix;

static espl_status begin(espl_context *ctx, const espl_config *config, const json_t *json, const char *key, prefix *out) {
    *out = (prefix){.config = config, .columns = (size_t)config->layers * 2 * config->kv_heads * config->head_size};
    if (!config->family->rotary)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "a prefix on a %s model cannot be converted: its positions are learned rows, and the "
                         "text's begin behind PEFT's prefixes, but not behind the Adapters library's", config->family->model_type);
    if (config->window)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "a prefix on a %s model with a sliding window of %u cannot be converted: it reaches PEFT's "
                         "prefixes by position, the Adapters library's always", config->family->model_type, config->window);
    ESPL_TRY(espl_json_u32(ctx, json, key, 0, &out->rows));
    return out->rows ? ESPL_OK : espl_fail(ctx, ESPL_FORMAT, "%s is 0", key);
}

/* Keys of all rows by as many positions as there are rows, forwards or back. */
static void turn(const prefix *p, bool back, float *values) {
    const espl_config *c = p->config;
    const uint32_t size = c->head_size, heads = c->kv_heads, pairs = c->rotary_pairs;
    for (size_t row = 0; row < (size_t)p->rows * c->layers; row++) {
        float *keys = values + row * 2 * heads * size;
        for (uint32_t i = 0; i < heads * pairs; i++) {
            float *u = keys + i / pairs * size + i % pairs, *v = u + pairs;
            const double angle = (double)p->rows * (double)c->frequencies[i % pairs] * (back ? -1 : 1);
            const double a = (double)*u, b = (double)*v;
            *u = (float)(a * cos(angle) - b * sin(angle));
            *v = (float)(b * cos(angle) + a * sin(angle));
        }
    }
}

/* ---- Reading ---- */

/* A tensor [rows, cols], or [rows] for cols 0, in f32; freed with espl_free. */
static espl_status read_values(espl_context *ctx, const espl_tensor_view *view, size_t rows, size_t cols, float **out_values) {
    const uint32_t rank = cols ? 2 : 1;
    *out_values = NULL;
    if (view->rank != rank || view->shape[0] != rows || (cols && view->shape[1] != cols))
        return espl_fail(ctx, ESPL_FORMAT, "%s has %u x %u values, %zu x %zu were expected", view->name, view->shape[0],
                         view->rank > 1 ? view->shape[1] : 1, rows, cols ? cols : 1);
    if (!espl_dtype_is_float(view->dtype))
        return espl_fail(ctx, ESPL_FORMAT, "%s is %s, floating point was expected", view->name, espl_dtype_name(view->dtype));
    const size_t count = rows * (cols ? cols : 1);
    ESPL_TRY(espl_new(ctx, count * sizeof **out_values, out_values));
    espl_convert(view->data, view->dtype, *out_values, ESPL_DTYPE_F32, count);
    return ESPL_OK;
}

/* With or without the model's prefix, as the library writes them. */
static espl_status read_part(espl_context *ctx, const prefix *p, const espl_tensors *set, const char *adapter, const char *part,
                             size_t rows, size_t cols, float **out_values) {
    char *name;
    espl_tensor_view view;
    ESPL_TRY(espl_format(ctx, &name, "%sprefix_tuning.prefix_tunings.%s.self_prefix.%s", p->config->family->prefix, adapter, part));
    const char *bare = name + strlen(p->config->family->prefix);
    espl_status status = espl_tensors_find(set, espl_tensors_has(set, bare) ? bare : name, &view);
    if (status == ESPL_OK) status = read_values(ctx, &view, rows, cols, out_values);
    espl_free(ctx, &name);
    return status;
}

/* y[i] = W[i] x + b[i] */
static void map(const float *weight, const float *bias, const float *x, size_t outs, size_t ins, float *y) {
    for (size_t i = 0; i < outs; i++) {
        double sum = (double)bias[i];
        for (size_t j = 0; j < ins; j++) sum += (double)weight[i * ins + j] * (double)x[j];
        y[i] = (float)sum;
    }
}

/* W2 tanh(W1 E + b1) + b2 */
static espl_status generate(espl_context *ctx, const prefix *p, const json_t *config, const espl_tensors *set, const char *adapter,
                            float **out_rows) {
    static const char *const names[GENERATOR_PARTS] = {"wte.weight", "control_trans.0.weight", "control_trans.0.bias",
                                                       "control_trans.2.weight", "control_trans.2.bias"};
    const size_t width = p->config->hidden;
    float *part[GENERATOR_PARTS] = {NULL}, *hidden = NULL;
    const char *activation;
    uint32_t inner;
    espl_status status = ESPL_OK;
    ESPL_TRY(espl_json_u32(ctx, config, "bottleneck_size", 512, &inner));
    ESPL_TRY(espl_json_string(ctx, config, "non_linearity", "tanh", &activation));
    if (strcmp(activation, "tanh") != 0)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "a prefix made with the non_linearity \"%s\" is not converted, only with \"tanh\"",
                         activation);
    const size_t shape[GENERATOR_PARTS][2] = {{p->rows, width}, {inner, width}, {inner, 0}, {p->columns, inner}, {p->columns, 0}};
    for (int i = 0; i < GENERATOR_PARTS; i++) ESPL_GOTO(read_part(ctx, p, set, adapter, names[i], shape[i][0], shape[i][1], &part[i]));
    ESPL_GOTO(espl_new(ctx, (inner + !inner) * sizeof *hidden, &hidden));
    ESPL_GOTO(espl_new(ctx, p->rows * p->columns * sizeof **out_rows, out_rows));
    for (size_t row = 0; row < p->rows; row++) {
        map(part[1], part[2], part[0] + row * width, inner, width, hidden);
        for (uint32_t i = 0; i < inner; i++) hidden[i] = tanhf(hidden[i]);
        map(part[3], part[4], hidden, p->columns, inner, *out_rows + row * p->columns);
    }
fail:
    for (int i = 0; i < GENERATOR_PARTS; i++) espl_free(ctx, &part[i]);
    espl_free(ctx, &hidden);
    return status;
}

static espl_status peft_config(espl_context *ctx, const prefix *p, const char *base_name, json_t **out_config) {
    const espl_config *c = p->config;
    *out_config = json_pack("{s:s, s:s, s:b, s:n, s:i, s:i, s:i, s:i, s:i, s:b, s:n}", "peft_type", "PREFIX_TUNING",
                            "base_model_name_or_path", base_name, "inference_mode", 1, "modules_to_save", "num_virtual_tokens",
                            (int)p->rows, "token_dim", (int)(c->kv_heads * c->head_size), "num_transformer_submodules", 1,
                            "num_attention_heads", (int)c->kv_heads, "num_layers", (int)c->layers, "prefix_projection", 0, "task_type");
    return *out_config ? ESPL_OK : espl_fail(ctx, ESPL_HOST_MEMORY, "the configuration of an adapter needs memory");
}

espl_status espl_prefix_from_library(espl_context *ctx, const espl_config *base, const json_t *file, espl_loose_adapter *out) {
    const json_t *config = json_object_get(file, "config");
    const char *adapter, *base_name;
    bool flat, gated;
    char *name = NULL;
    float *rows = NULL;
    prefix p;
    ESPL_TRY(begin(ctx, base, config, "prefix_length", &p));
    ESPL_TRY(espl_json_string(ctx, file, "name", "", &adapter));
    ESPL_TRY(espl_json_string(ctx, file, "model_name", "", &base_name));
    ESPL_TRY(espl_json_bool(ctx, config, "flat", false, &flat));
    ESPL_TRY(espl_json_bool(ctx, config, "use_gating", false, &gated));
    if (gated || json_array_size(json_object_get(config, "leave_out")))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "PEFT's prefixes have no place for \"%s\"", gated ? "use_gating" : "leave_out");
    espl_status status = flat ? read_part(ctx, &p, out->source, adapter, "control_trans", p.rows * p.columns, 0, &rows)
                              : generate(ctx, &p, config, out->source, adapter, &rows);
    if (status == ESPL_OK) status = peft_config(ctx, &p, base_name, &out->config);
    if (status == ESPL_OK) status = espl_copy_string(ctx, table_name, strlen(table_name), &name);
    if (status != ESPL_OK) {
        espl_free(ctx, &rows);
        return status;
    }
    turn(&p, false, rows);
    return espl_loose_own(ctx, out, name, p.rows, (uint32_t)p.columns, rows);
}

/* ---- Writing ---- */

/* The rows; what else there is belongs to the head. */
static espl_status find_table(espl_context *ctx, const espl_loose_adapter *adapter, const espl_convert_head *head,
                              const espl_tensor_entry **out_entry) {
    *out_entry = NULL;
    for (size_t i = 0; i < adapter->count; i++) {
        const espl_tensor_entry *entry = &adapter->entries[i];
        if (strcmp(entry->name, table_name) == 0) *out_entry = entry;
        else if (!espl_convert_head_has(head, adapter, entry->name))
            return espl_fail(ctx, ESPL_UNSUPPORTED, "the Adapters library has no place for the tensor %s", entry->name);
    }
    return *out_entry ? ESPL_OK : espl_fail(ctx, ESPL_FORMAT, "it has no tensor %s", table_name);
}

espl_status espl_prefix_to_library(espl_context *ctx, const espl_config *base, const espl_loose_adapter *adapter, const char *name,
                                   const espl_convert_head *head, espl_loose_adapter *out) {
    const espl_tensor_entry *entry;
    float *rows;
    char *tensor;
    prefix p;
    ESPL_TRY(begin(ctx, base, adapter->config, "num_virtual_tokens", &p));
    ESPL_TRY(find_table(ctx, adapter, head, &entry));
    espl_tensor_view view = {.name = entry->name, .dtype = entry->dtype, .rank = entry->rank, .data = entry->data};
    memcpy(view.shape, entry->shape, sizeof view.shape);
    ESPL_TRY(read_values(ctx, &view, p.rows, p.columns, &rows));
    turn(&p, true, rows);
    espl_status status = espl_format(ctx, &tensor, "%sprefix_tuning.prefix_tunings.%s.self_prefix.control_trans", base->family->prefix,
                                     name);
    if (status != ESPL_OK) {
        espl_free(ctx, &rows);
        return status;
    }
    ESPL_TRY(espl_loose_own(ctx, out, tensor, (uint32_t)(p.rows * p.columns), 0, rows));
    out->config = json_pack("{s:s, s:b, s:i, s:i, s:s, s:f, s:b, s:b, s:b, s:b, s:[], s:n}", "architecture", "prefix_tuning", "flat", 1,
                            "prefix_length", (int)p.rows, "bottleneck_size", 512, "non_linearity", "tanh", "dropout", 0.0,
                            "use_gating", 0, "shared_gating", 1, "encoder_prefix", 1, "cross_prefix", 1, "leave_out", "init_weights_seed");
    return out->config ? ESPL_OK : espl_fail(ctx, ESPL_HOST_MEMORY, "the configuration of an adapter needs memory");
}
