/* LoRA: y = W x + scale * B A dropout(x), Hu et al. 2021, and rsLoRA (scale = alpha / sqrt(r)), Kalajdzievski 2023; files
 * and options as Hugging Face PEFT has them.
 *
 * The maps of a block that share an input (q, k, v; gate, up) share one product here, so their A matrices are stacked
 * into one: u = dropout(x) A^T is one product for all of them. Each target's B then adds its own columns to y. */
#include "host/model/adapter.h"
#include "host/file/expression.h"
#include "host/ops/op_dropout.h"
#include "host/ops/op_matmul.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct lora_target {
    uint32_t rank; /* 0: not a target */
    uint32_t from; /* first row of A, a multiple of 4 */
    uint32_t b;    /* matrix [out, rank] */
    float scale;
} lora_target;

typedef struct lora_group {
    uint32_t a; /* matrix [sum of ranks, in], or ESPL_NO_MATRIX */
    lora_target target[ESPL_LINEAR_PARTS];
} lora_group;

typedef struct lora_state {
    float dropout;
    bool zero_b, gaussian;
    lora_group (*groups)[ESPL_LINEAR_COUNT]; /* owned, one row per block */
} lora_state;

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

/* ---- Specs ---- */

static espl_status set_list(espl_adapter *adapter, const char *key, const char *value) {
    json_t *list = json_array();
    for (const char *at = value; *at;) {
        const size_t bytes = strcspn(at, "+");
        espl_status status = espl_json_push(context(adapter), list, json_stringn(at, bytes));
        if (status != ESPL_OK) {
            json_decref(list);
            return status;
        }
        at += bytes + (at[bytes] != 0);
    }
    return espl_json_set(context(adapter), adapter->config, key, list);
}

static espl_status set_number(espl_adapter *adapter, const char *spec_key, const char *key, const char *value, bool whole) {
    char *end;
    const double number = strtod(value, &end);
    if (*value == 0 || *end || !isfinite(number) || (whole && number != floor(number)))
        return espl_fail(context(adapter), ESPL_ARGUMENT, "lora: %s=%s is not a%s number", spec_key, value,
                         whole ? " whole" : "");
    /* As PEFT writes them: 16, not 16.0. */
    const bool integer = number == floor(number) && fabs(number) < 1e15;
    return espl_json_set(context(adapter), adapter->config, key, integer ? json_integer((json_int_t)number)
                                                                         : json_real(number));
}

static espl_status set(espl_adapter *adapter, const char *key, const char *value) {
    espl_context *ctx = context(adapter);
    const bool given = value && *value;
    if (strcmp(key, "rslora") == 0) {
        const bool on = !given || strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
        return espl_json_set(ctx, adapter->config, "use_rslora", json_boolean(on));
    }
    if (!given) return espl_fail(ctx, ESPL_ARGUMENT, "lora: %s needs a value", key);
    if (strcmp(key, "r") == 0) return set_number(adapter, key, "r", value, true);
    if (strcmp(key, "alpha") == 0) return set_number(adapter, key, "lora_alpha", value, false);
    if (strcmp(key, "dropout") == 0) return set_number(adapter, key, "lora_dropout", value, false);
    if (strcmp(key, "bias") == 0) return espl_json_set(ctx, adapter->config, "bias", json_string(value));
    if (strcmp(key, "save") == 0) return set_list(adapter, "modules_to_save", value);
    if (strcmp(key, "targets") == 0) {
        if (strcmp(value, "all-linear") == 0)
            return espl_json_set(ctx, adapter->config, "target_modules", json_string(value));
        return set_list(adapter, "target_modules", value);
    }
    if (strcmp(key, "init") == 0) {
        json_t *init = strcmp(value, "gaussian") == 0 ? json_string("gaussian")
                       : strcmp(value, "default") == 0 ? json_true()
                       : strcmp(value, "random") == 0  ? json_false()
                                                       : NULL;
        if (!init) return espl_fail(ctx, ESPL_ARGUMENT, "lora: init=%s is not one of default, gaussian, random", value);
        return espl_json_set(ctx, adapter->config, "init_lora_weights", init);
    }
    return espl_fail(ctx, ESPL_ARGUMENT, "lora: \"%s\" is not one of r, alpha, dropout, targets, rslora, init, bias, save",
                     key);
}

/* ---- Which modules are targets ---- */

static espl_status matches(espl_context *ctx, const char *pattern, const char *before, const char *text, bool *out_match) {
    *out_match = false;
    char *whole = NULL;
    espl_expression *expression = NULL;
    size_t begin, end;
    ESPL_TRY(espl_format(ctx, &whole, "^(?:%s(?:%s))$", before, pattern));
    espl_status status = espl_expression_create(ctx, whole, strlen(whole), &expression);
    if (status == ESPL_OK)
        status = espl_expression_find(ctx, expression, text, strlen(text), 0, out_match, &begin, &end);
    espl_expression_destroy(ctx, &expression);
    espl_free(ctx, &whole);
    return status;
}

/* text is name, or ends with "." name. */
static bool ends_with_module(const char *text, const char *name) {
    const size_t n = strlen(text), m = strlen(name);
    return n >= m && strcmp(text + n - m, name) == 0 && (n == m || text[n - m - 1] == '.');
}

/* A list of module names, or a regular expression for whole paths. */
static espl_status selects(espl_context *ctx, const json_t *modules, const char *key, const char *path, bool *out_selects) {
    *out_selects = false;
    if (!modules || json_is_null(modules)) return ESPL_OK;
    if (json_is_string(modules)) return matches(ctx, json_string_value(modules), "", path, out_selects);
    if (!json_is_array(modules))
        return espl_fail(ctx, ESPL_FORMAT, "\"%s\" is %s, a list or a string was expected", key,
                         espl_json_type_name(modules));
    for (size_t i = 0; i < json_array_size(modules); i++) {
        const json_t *name = json_array_get(modules, i);
        if (!json_is_string(name))
            return espl_fail(ctx, ESPL_FORMAT, "\"%s\" holds %s, strings were expected", key, espl_json_type_name(name));
        if (ends_with_module(path, json_string_value(name))) *out_selects = true;
    }
    return ESPL_OK;
}

static espl_status layer_selected(espl_adapter *adapter, uint32_t block, bool *out_selected) {
    espl_context *ctx = context(adapter);
    const json_t *layers = json_object_get(adapter->config, "layers_to_transform");
    const json_t *pattern = json_object_get(adapter->config, "layers_pattern");
    const char *own = adapter->model->config.family->block;
    int64_t index;
    *out_selected = true;
    if (!layers || json_is_null(layers) || (json_is_array(layers) && json_array_size(layers) == 0)) return ESPL_OK;
    *out_selected = false;
    /* The list that holds the blocks: "layers", "h". */
    const size_t own_bytes = strcspn(own, ".");
    bool pattern_fits = !pattern || json_is_null(pattern) || (json_is_array(pattern) && json_array_size(pattern) == 0) ||
                        (json_is_string(pattern) && json_string_length(pattern) == 0);
    for (size_t i = 0; !pattern_fits && i < (json_is_array(pattern) ? json_array_size(pattern) : 1); i++) {
        const json_t *one = json_is_array(pattern) ? json_array_get(pattern, i) : pattern;
        pattern_fits = json_is_string(one) && json_string_length(one) == own_bytes &&
                       strncmp(json_string_value(one), own, own_bytes) == 0;
    }
    if (!pattern_fits) return ESPL_OK;
    for (size_t i = 0; i < (json_is_array(layers) ? json_array_size(layers) : 1); i++) {
        if (!espl_json_as_i64(json_is_array(layers) ? json_array_get(layers, i) : layers, &index))
            return espl_fail(ctx, ESPL_FORMAT, "\"layers_to_transform\" must hold integers");
        if (index == block) *out_selected = true;
    }
    return ESPL_OK;
}

static espl_status is_target(espl_adapter *adapter, uint32_t block, const char *path, bool *out_target) {
    espl_context *ctx = context(adapter);
    const json_t *targets = json_object_get(adapter->config, "target_modules");
    const json_t *exclude = json_object_get(adapter->config, "exclude_modules");
    bool excluded;
    *out_target = false;
    ESPL_TRY(selects(ctx, exclude, "exclude_modules", path, &excluded));
    if (excluded) return ESPL_OK;
    if (json_is_string(targets) && strcmp(json_string_value(targets), "all-linear") == 0) {
        *out_target = true;
        return ESPL_OK;
    }
    ESPL_TRY(selects(ctx, targets, "target_modules", path, out_target));
    /* PEFT looks at layers_to_transform only for lists. */
    if (*out_target && json_is_array(targets)) ESPL_TRY(layer_selected(adapter, block, out_target));
    return ESPL_OK;
}

/* rank_pattern or alpha_pattern: the first key that fits the end of the path. */
static espl_status pattern_value(espl_adapter *adapter, const char *key, const char *path, double *in_out_value) {
    json_t *map, *value;
    const char *pattern;
    ESPL_TRY(espl_json_object(context(adapter), adapter->config, key, &map));
    json_object_foreach(map, pattern, value) {
        bool match;
        ESPL_TRY(matches(context(adapter), pattern, "(?:.*\\.)?", path, &match));
        if (!match) continue;
        if (!json_is_number(value))
            return espl_fail(context(adapter), ESPL_FORMAT, "\"%s\" holds %s, numbers were expected", key,
                             espl_json_type_name(value));
        *in_out_value = json_number_value(value);
        return ESPL_OK;
    }
    return ESPL_OK;
}

/* ---- Declaring ---- */

static espl_status target_entry(espl_adapter *adapter, const char *path, const char *suffix, uint32_t matrix, uint32_t from,
                                uint32_t count) {
    char *name;
    ESPL_TRY(espl_format(context(adapter), &name, "base_model.model.%s.%s.weight", path, suffix));
    espl_status status = espl_store_entry(&adapter->store, name, matrix, from, count, false);
    espl_free(context(adapter), &name);
    return status;
}

static espl_status read_target(espl_adapter *adapter, uint32_t block, const char *path, lora_target *target) {
    espl_context *ctx = context(adapter);
    double rank, alpha;
    bool selected, rslora;
    ESPL_TRY(is_target(adapter, block, path, &selected));
    target->rank = 0;
    if (!selected) return ESPL_OK;
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "r", 8, &rank));
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "lora_alpha", 8, &alpha));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "use_rslora", false, &rslora));
    ESPL_TRY(pattern_value(adapter, "rank_pattern", path, &rank));
    ESPL_TRY(pattern_value(adapter, "alpha_pattern", path, &alpha));
    if (!(rank >= 1 && rank <= 65536) || rank != floor(rank))
        return espl_fail(ctx, ESPL_ARGUMENT, "lora: rank %g of %s is not a whole number from 1 to 65536", rank, path);
    target->rank = (uint32_t)rank;
    target->scale = (float)(rslora ? alpha / sqrt(rank) : alpha / rank);
    return ESPL_OK;
}

static espl_status declare_group(espl_adapter *adapter, uint32_t block, uint32_t linear, lora_group *group) {
    const espl_model *model = adapter->model;
    const espl_linear_shape *shape = &model->linear[linear];
    char *path[ESPL_LINEAR_PARTS] = {NULL};
    espl_status status = ESPL_OK;
    uint32_t rows = 0;
    group->a = ESPL_NO_MATRIX;
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && shape->part[p].count; p++) {
        lora_target *target = &group->target[p];
        ESPL_GOTO(espl_model_module(model, block, linear, p, &path[p]));
        ESPL_GOTO(read_target(adapter, block, path[p], target));
        if (!target->rank) continue;
        target->from = (uint32_t)espl_round_up(rows, 4);
        rows = target->from + target->rank;
    }
    if (rows) ESPL_GOTO(espl_store_matrix(&adapter->store, "lora_A", rows, shape->in, ESPL_DTYPE_F32, true, &group->a));
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && shape->part[p].count; p++) {
        lora_target *target = &group->target[p];
        if (!target->rank) continue;
        ESPL_GOTO(target_entry(adapter, path[p], "lora_A", group->a, target->from, target->rank));
        ESPL_GOTO(espl_store_matrix(&adapter->store, "lora_B", shape->part[p].count, target->rank, ESPL_DTYPE_F32, true,
                                    &target->b));
        ESPL_GOTO(target_entry(adapter, path[p], "lora_B", target->b, 0, shape->part[p].count));
    }
fail:
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) espl_free(context(adapter), &path[p]);
    return status;
}

/* The target that a base tensor's module is, or NULL. */
static const lora_target *target_of(const espl_adapter *adapter, const espl_entry *base) {
    const lora_state *state = adapter->state;
    const espl_model *model = adapter->model;
    for (uint32_t block = 0; block < model->config.layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            if (base->matrix != model->blocks[block].weight[l] && base->matrix != model->blocks[block].bias[l]) continue;
            for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
                if (state->groups[block][l].target[p].rank && model->linear[l].part[p].from == base->from)
                    return &state->groups[block][l].target[p];
            }
        }
    }
    return NULL;
}

static espl_status declare_biases(espl_adapter *adapter) {
    espl_context *ctx = context(adapter);
    const espl_model *model = adapter->model;
    const char *bias;
    ESPL_TRY(espl_json_string(ctx, adapter->config, "bias", "none", &bias));
    const bool all = strcmp(bias, "all") == 0;
    if (!all && strcmp(bias, "lora_only") != 0) {
        if (strcmp(bias, "none") == 0) return ESPL_OK;
        return espl_fail(ctx, ESPL_ARGUMENT, "lora: bias \"%s\" is not one of none, all, lora_only", bias);
    }
    for (size_t i = 0; i < model->store.entry_count; i++) {
        const espl_entry *base = &model->store.entries[i];
        const size_t n = strlen(base->name);
        if (n < 5 || strcmp(base->name + n - 5, ".bias") != 0) continue;
        const bool target = target_of(adapter, base) != NULL;
        if (!all && !target) continue;
        char *name;
        ESPL_TRY(espl_format(ctx, &name, "base_model.model.%.*s%s.bias", (int)(n - 5), base->name,
                             target ? ".base_layer" : ""));
        espl_status status = espl_adapter_replace(adapter, base, name);
        espl_free(ctx, &name);
        ESPL_TRY(status);
    }
    return ESPL_OK;
}

static espl_status declare_saved(espl_adapter *adapter) {
    espl_context *ctx = context(adapter);
    const espl_model *model = adapter->model;
    json_t *modules;
    ESPL_TRY(espl_json_array(ctx, adapter->config, "modules_to_save", &modules));
    for (size_t i = 0; i < json_array_size(modules); i++) {
        const char *module = json_string_value(json_array_get(modules, i));
        if (!module) return espl_fail(ctx, ESPL_FORMAT, "\"modules_to_save\" must hold strings");
        size_t found = 0;
        if (strcmp(module, "lm_head") == 0) {
            ESPL_TRY(espl_adapter_replace_head(adapter, "base_model.model.lm_head.weight"));
            continue;
        }
        for (size_t j = 0; j < model->store.entry_count; j++) {
            const espl_entry *base = &model->store.entries[j];
            const espl_matrix *m = &model->store.matrices[base->matrix];
            char path[256], name[320];
            const char *dot = strrchr(base->name, '.');
            snprintf(path, sizeof path, "%.*s", (int)(dot - base->name), base->name);
            if (!ends_with_module(path, module)) continue;
            if (base->count != (base->vector ? m->cols : m->rows))
                return espl_fail(ctx, ESPL_UNSUPPORTED, "modules_to_save: %s shares its matrix with others; train it with a "
                                 "target instead", module);
            snprintf(name, sizeof name, "base_model.model.%s", base->name);
            ESPL_TRY(espl_adapter_replace(adapter, base, name));
            found++;
        }
        if (!found) return espl_fail(ctx, ESPL_ARGUMENT, "modules_to_save: the model has no module %s", module);
    }
    return ESPL_OK;
}

/* Options of PEFT that change results and are not offered: named rather than ignored. */
static espl_status refuse_variants(espl_adapter *adapter) {
    static const char *const keys[] = {"use_dora", "use_qalora", "lora_bias", "layer_replication", "target_parameters",
                                       "trainable_token_indices", "use_bdlora", "alora_invocation_tokens", "arrow_config",
                                       "velora_config", "monteclora_config", "kasa_config", "megatron_config"};
    for (size_t i = 0; i < ESPL_COUNT(keys); i++) {
        const json_t *value = json_object_get(adapter->config, keys[i]);
        const bool off = !value || json_is_null(value) || json_is_false(value) ||
                         (json_is_array(value) && json_array_size(value) == 0) ||
                         (json_is_object(value) && json_object_size(value) == 0);
        if (!off) return espl_fail(context(adapter), ESPL_UNSUPPORTED, "lora: \"%s\" is not supported", keys[i]);
    }
    return ESPL_OK;
}

/* What PEFT writes and the configuration does not say. */
static espl_status complete_config(espl_adapter *adapter) {
    espl_context *ctx = context(adapter);
    const espl_model *model = adapter->model;
    json_t *targets = json_object_get(adapter->config, "target_modules");
    if (!targets || json_is_null(targets)) {
        const espl_linear_name *qkv = model->config.family->linear[ESPL_LINEAR_QKV];
        targets = json_array();
        ESPL_TRY(espl_json_set(ctx, adapter->config, "target_modules", targets));
        for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && qkv[p].name; p += 2)
            ESPL_TRY(espl_json_push(ctx, targets, json_string(strrchr(qkv[p].name, '.') + 1)));
    }
    const struct {
        const char *key;
        json_t *value;
    } defaults[] = {{"task_type", json_string("CAUSAL_LM")},
                    {"base_model_name_or_path", json_string(model->folder)},
                    {"r", json_integer(8)},
                    {"lora_alpha", json_integer(8)},
                    {"lora_dropout", json_integer(0)},
                    {"bias", json_string("none")},
                    {"fan_in_fan_out", json_boolean(model->config.family->stored_in_out)},
                    {"use_rslora", json_false()},
                    {"init_lora_weights", json_true()},
                    {"modules_to_save", json_null()},
                    {"layers_to_transform", json_null()},
                    {"layers_pattern", json_null()},
                    {"rank_pattern", json_object()},
                    {"alpha_pattern", json_object()},
                    {"exclude_modules", json_null()},
                    {"use_dora", json_false()}};
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < ESPL_COUNT(defaults); i++) {
        if (json_object_get(adapter->config, defaults[i].key)) json_decref(defaults[i].value);
        else if (espl_json_set(ctx, adapter->config, defaults[i].key, defaults[i].value) != ESPL_OK)
            status = ESPL_HOST_MEMORY;
    }
    return status;
}

static espl_status declare(espl_adapter *adapter) {
    espl_context *ctx = context(adapter);
    const uint32_t layers = adapter->model->config.layers;
    ESPL_TRY(refuse_variants(adapter));
    ESPL_TRY(complete_config(adapter));
    lora_state *state;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    adapter->state = state;
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "lora_dropout", 0, &state->dropout));
    if (!(state->dropout >= 0 && state->dropout < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "lora: dropout %g is not from 0 to below 1", (double)state->dropout);
    const json_t *init = json_object_get(adapter->config, "init_lora_weights");
    state->zero_b = !json_is_false(init);
    state->gaussian = json_is_string(init) && strcmp(json_string_value(init), "gaussian") == 0;
    ESPL_TRY(espl_new(ctx, layers * sizeof *state->groups, &state->groups));
    for (uint32_t block = 0; block < layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++)
            ESPL_TRY(declare_group(adapter, block, l, &state->groups[block][l]));
    }
    if (adapter->store.entry_count == 0)
        return espl_fail(ctx, ESPL_ARGUMENT, "lora: no module of this %s model is selected by target_modules",
                         adapter->model->config.family->model_type);
    ESPL_TRY(declare_biases(adapter));
    return declare_saved(adapter);
}

/* A: U(-1/sqrt(in), 1/sqrt(in)), which is what kaiming_uniform with a = sqrt(5) gives; or N(0, 1/r^2). B: 0, or as A when
 * init_lora_weights is false. */
static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    const lora_state *state = adapter->state;
    espl_store *store = &adapter->store;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *entry = &store->entries[i];
        const bool a = strstr(entry->name, ".lora_A.") != NULL, b = strstr(entry->name, ".lora_B.") != NULL;
        if (!a && !(b && !state->zero_b)) continue;
        const size_t count = (size_t)espl_entry_values(store, entry);
        const float bound = 1.0f / sqrtf((float)store->matrices[entry->matrix].cols);
        float *values;
        ESPL_TRY(espl_new(store->ctx, count * sizeof *values, &values));
        espl_random random = {.seed = seed, .stream = i};
        for (size_t j = 0; j < count; j++)
            values[j] = state->gaussian ? espl_random_normal(&random) / (float)entry->count
                                        : (2 * espl_random_uniform(&random) - 1) * bound;
        espl_status status = espl_store_write(store, entry, values, ESPL_DTYPE_F32);
        espl_free(store->ctx, &values);
        ESPL_TRY(status);
    }
    return ESPL_OK;
}

/* ---- Use ---- */

static espl_tensor *linear(espl_builder *builder, const espl_adapter *adapter, uint32_t block, uint32_t which,
                           espl_tensor *x, espl_tensor *y) {
    const lora_state *state = adapter->state;
    const lora_group *group = &state->groups[block][which];
    if (group->a == ESPL_NO_MATRIX) return y;
    espl_graph *graph = builder->graph;
    if (builder->training && state->dropout > 0)
        x = espl_graph_dropout(graph, &(espl_dropout){.x = x, .p = state->dropout,
                                                      .site = block * ESPL_LINEAR_COUNT + which});
    espl_tensor *u = espl_graph_matmul(graph, &(espl_matmul){.a = x,
                                                             .b = espl_build_leaf(builder, &adapter->store, group->a),
                                                             .orientation = MATMUL_NT});
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
        const lora_target *target = &group->target[p];
        if (!target->rank) continue;
        y = espl_graph_matmul(graph, &(espl_matmul){.a = u,
                                                    .a_from = target->from,
                                                    .a_cols = target->rank,
                                                    .b = espl_build_leaf(builder, &adapter->store, target->b),
                                                    .orientation = MATMUL_NT,
                                                    .into = y,
                                                    .into_from = adapter->model->linear[which].part[p].from,
                                                    .scale = target->scale});
    }
    return y;
}

static espl_status merge(espl_adapter *adapter, uint32_t block, uint32_t which, uint32_t part, float *weight,
                         bool *out_changed) {
    const lora_state *state = adapter->state;
    const lora_group *group = &state->groups[block][which];
    const lora_target *target = &group->target[part];
    const uint32_t out = adapter->model->linear[which].part[part].count, in = adapter->model->linear[which].in;
    *out_changed = target->rank != 0;
    if (!target->rank) return ESPL_OK;
    const espl_entry a_entry = {.matrix = group->a, .from = target->from, .count = target->rank};
    const espl_entry b_entry = {.matrix = target->b, .count = out};
    float *a = NULL, *b = NULL;
    double *row = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(context(adapter), (size_t)target->rank * in * sizeof *a, &a));
    ESPL_GOTO(espl_new(context(adapter), (size_t)target->rank * out * sizeof *b, &b));
    ESPL_GOTO(espl_new(context(adapter), in * sizeof *row, &row));
    ESPL_GOTO(espl_store_read(&adapter->store, &a_entry, a));
    ESPL_GOTO(espl_store_read(&adapter->store, &b_entry, b));
    for (uint32_t o = 0; o < out; o++) {
        for (uint32_t i = 0; i < in; i++) row[i] = 0;
        for (uint32_t r = 0; r < target->rank; r++) {
            const double factor = b[(size_t)o * target->rank + r];
            for (uint32_t i = 0; i < in; i++) row[i] += factor * a[(size_t)r * in + i];
        }
        for (uint32_t i = 0; i < in; i++) {
            float *w = &weight[(size_t)o * in + i];
            *w = (float)(*w + target->scale * row[i]);
        }
    }
fail:
    espl_free(context(adapter), &a);
    espl_free(context(adapter), &b);
    espl_free(context(adapter), &row);
    return status;
}

static void finish(espl_adapter *adapter) {
    lora_state *state = adapter->state;
    espl_free(context(adapter), &state->groups);
    espl_free(context(adapter), &adapter->state);
}

const espl_method espl_method_lora = {"lora", "LORA", set, declare, initialise, linear, merge, finish};
