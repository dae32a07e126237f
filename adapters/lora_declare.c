/* The configuration of LoRA and its like, and the matrices it asks for. */
#include "adapters/lora.h"
#include "adapters/spec.h"
#include "adapters/targets.h"
#include <math.h>
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

/* ---- Specs ---- */

const espl_spec_row espl_lora_rank_keys[] = {
    {"r", "r", ESPL_SPEC_WHOLE, NULL},
    {"rslora", "use_rslora", ESPL_SPEC_BOOL, NULL},
    {"init", "init_lora_weights", ESPL_SPEC_INIT, "default, gaussian, random"},
    {0}};

const espl_spec_row espl_lora_keys[] = {
    {"alpha", "lora_alpha", ESPL_SPEC_NUMBER, NULL},
    {"dropout", "lora_dropout", ESPL_SPEC_NUMBER, NULL},
    {"targets", "target_modules", ESPL_SPEC_MODULES, NULL},
    {"bias", "bias", ESPL_SPEC_TEXT, "none, all, lora_only"},
    {"save", "modules_to_save", ESPL_SPEC_LIST, NULL},
    {0}};

/* ---- Declaring ---- */

espl_status espl_lora_entry(espl_adapter *adapter, const char *path, const char *suffix, uint32_t matrix, uint32_t from,
                            uint32_t count, bool vector) {
    char *name;
    /* The Adapters library's names have no ".weight". */
    ESPL_TRY(adapter->library ? espl_format(context(adapter), &name, "%s.loras.%s.%.6s", path, adapter->file_name, suffix)
                              : espl_format(context(adapter), &name, "base_model.model.%s.%s", path, suffix));
    espl_status status = espl_store_entry(&adapter->store, name, matrix, from, count, vector);
    espl_free(context(adapter), &name);
    return status;
}

static espl_status read_rank(espl_adapter *adapter, const char *path, lora_target *target) {
    espl_context *ctx = context(adapter);
    double rank, alpha;
    bool rslora;
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "r", 8, &rank));
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "lora_alpha", 8, &alpha));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "use_rslora", false, &rslora));
    ESPL_TRY(espl_target_pattern(ctx, adapter->config, "rank_pattern", path, &rank));
    ESPL_TRY(espl_target_pattern(ctx, adapter->config, "alpha_pattern", path, &alpha));
    if (!(rank >= 1 && rank <= 65536) || rank != floor(rank))
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: rank %g of %s is not a whole number from 1 to 65536", adapter->method->name,
                         rank, path);
    target->rank = (uint32_t)rank;
    target->scale = (float)(rslora ? alpha / sqrt(rank) : alpha / rank);
    return ESPL_OK;
}

const lora_kind espl_lora_kind = {.a = "lora_A.weight", .b = "lora_B.weight", .rank = read_rank};

static espl_status declare_e(espl_adapter *adapter, const lora_kind *kind, const char *path, const lora_group *group,
                             const lora_target *target) {
    const uint32_t shape[] = {target->rank, 1};
    ESPL_TRY(espl_lora_entry(adapter, path, kind->e, group->e, target->from, target->rank, true));
    espl_store_shape(&adapter->store, 2, shape);
    return ESPL_OK;
}

static espl_status declare_group(espl_adapter *adapter, const lora_kind *kind, uint32_t block, uint32_t linear,
                                 lora_group *group) {
    const espl_model *model = adapter->model;
    const espl_linear_shape *shape = &model->linear[linear];
    char *path[ESPL_LINEAR_PARTS] = {NULL};
    espl_status status = ESPL_OK;
    uint32_t rows = 0;
    group->a = ESPL_NO_MATRIX;
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && shape->part[p].count; p++) {
        lora_target *target = &group->target[p];
        bool selected;
        ESPL_GOTO(espl_model_module(model, block, linear, p, &path[p]));
        ESPL_GOTO(espl_target_selected(adapter, block, path[p], &selected));
        target->rank = 0;
        if (selected) ESPL_GOTO(kind->rank(adapter, path[p], target));
        if (!target->rank) continue;
        target->from = (uint32_t)espl_round_up(rows, 4);
        rows = target->from + target->rank;
    }
    if (rows) ESPL_GOTO(espl_store_matrix(&adapter->store, "lora_A", rows, shape->in, ESPL_DTYPE_F32, true, &group->a));
    if (rows && kind->e) ESPL_GOTO(espl_store_matrix(&adapter->store, "lora_E", 1, rows, ESPL_DTYPE_F32, true, &group->e));
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && shape->part[p].count; p++) {
        lora_target *target = &group->target[p];
        if (!target->rank) continue;
        ESPL_GOTO(espl_lora_entry(adapter, path[p], kind->a, group->a, target->from, target->rank, false));
        ESPL_GOTO(espl_store_matrix(&adapter->store, "lora_B", shape->part[p].count, target->rank, ESPL_DTYPE_F32, true,
                                    &target->b));
        ESPL_GOTO(espl_lora_entry(adapter, path[p], kind->b, target->b, 0, shape->part[p].count, false));
        if (kind->e) ESPL_GOTO(declare_e(adapter, kind, path[p], group, target));
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
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: bias \"%s\" is not one of none, all, lora_only", adapter->method->name, bias);
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

const char *espl_lora_changes_base(const json_t *config) {
    static const char *const others[] = {"gaussian", "eva", "orthogonal"};
    const char *name = json_string_value(json_object_get(config, "init_lora_weights"));
    for (size_t i = 0; name && i < ESPL_COUNT(others); i++)
        if (strcmp(name, others[i]) == 0) return NULL;
    return name;
}

/* Folders with "eva" or "orthogonal" can be read (espl_folder_check_new). */
static espl_status read_initial(espl_adapter *adapter, lora_state *state) {
    const json_t *init = json_object_get(adapter->config, "init_lora_weights");
    const char *name = json_string_value(init), *changes = espl_lora_changes_base(adapter->config);
    state->zero_b = !json_is_false(init);
    state->gaussian = name && strcmp(name, "gaussian") == 0;
    if (changes)
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: init_lora_weights \"%s\" is not supported", adapter->method->name,
                         changes);
    return ESPL_OK;
}

/* What PEFT writes and the configuration does not say. */
static espl_status complete_config(espl_adapter *adapter) {
    const espl_model *model = adapter->model;
    ESPL_TRY(espl_target_default(adapter, "target_modules"));
    const espl_spec_value defaults[] = {
        {"task_type", json_string("CAUSAL_LM")},
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
    return espl_spec_defaults(adapter, defaults, ESPL_COUNT(defaults));
}

espl_status espl_lora_declare(espl_adapter *adapter, const lora_kind *kind) {
    espl_context *ctx = context(adapter);
    const uint32_t layers = adapter->model->config.layers;
    ESPL_TRY(complete_config(adapter));
    lora_state *state;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    adapter->state = state;
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "lora_dropout", 0, &state->dropout));
    if (!(state->dropout >= 0 && state->dropout < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: dropout %g is not from 0 to below 1", adapter->method->name,
                         (double)state->dropout);
    ESPL_TRY(read_initial(adapter, state));
    ESPL_TRY(espl_new(ctx, layers * sizeof *state->groups, &state->groups));
    for (uint32_t block = 0; block < layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++)
            ESPL_TRY(declare_group(adapter, kind, block, l, &state->groups[block][l]));
    }
    if (adapter->store.entry_count == 0) return espl_target_none(adapter);
    ESPL_TRY(declare_biases(adapter));
    return espl_target_saved(adapter);
}
