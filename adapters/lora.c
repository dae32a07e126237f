/* LoRA: y = W x + scale * B A dropout(x), Hu et al. 2021, and rsLoRA (scale = alpha / sqrt(r)), Kalajdzievski 2023; files
 * and options as Hugging Face PEFT has them.
 *
 * The maps of a block that share an input (q, k, v; gate, up) share one product here, so their A matrices are stacked
 * into one: u = dropout(x) A^T is one product for all of them. Each target's B then adds its own columns to y. */
#include "adapters/initial.h"
#include "adapters/spec.h"
#include "adapters/targets.h"
#include "host/ops/op_matmul.h"
#include <math.h>
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

static espl_status set(espl_adapter *adapter, const char *key, const char *value) {
    static const espl_spec_row rows[] = {
        {"r", "r", ESPL_SPEC_WHOLE},           {"alpha", "lora_alpha", ESPL_SPEC_NUMBER},
        {"dropout", "lora_dropout", ESPL_SPEC_NUMBER}, {"targets", "target_modules", ESPL_SPEC_MODULES},
        {"rslora", "use_rslora", ESPL_SPEC_BOOL},      {"init", "init_lora_weights", ESPL_SPEC_TEXT},
        {"bias", "bias", ESPL_SPEC_TEXT},              {"save", "modules_to_save", ESPL_SPEC_LIST}};
    ESPL_TRY(espl_spec_set(adapter, rows, ESPL_COUNT(rows), key, value));
    if (strcmp(key, "init") != 0 || strcmp(value, "gaussian") == 0) return ESPL_OK;
    /* PEFT's other two are true and false. */
    if (strcmp(value, "default") != 0 && strcmp(value, "random") != 0)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "lora: init=%s is not one of default, gaussian, random", value);
    return espl_json_set(context(adapter), adapter->config, "init_lora_weights", json_boolean(strcmp(value, "default") == 0));
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
    ESPL_TRY(espl_target_selected(adapter, block, path, &selected));
    target->rank = 0;
    if (!selected) return ESPL_OK;
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "r", 8, &rank));
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "lora_alpha", 8, &alpha));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "use_rslora", false, &rslora));
    ESPL_TRY(espl_target_pattern(adapter, "rank_pattern", path, &rank));
    ESPL_TRY(espl_target_pattern(adapter, "alpha_pattern", path, &alpha));
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
    const espl_model *model = adapter->model;
    ESPL_TRY(espl_target_default(adapter, "target_modules"));
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
        espl_status one = espl_spec_default(adapter, defaults[i].key, defaults[i].value);
        if (one != ESPL_OK) status = one;
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
    return espl_target_saved(adapter);
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
        ESPL_TRY(state->gaussian ? espl_initial_normal(store, entry, seed, 1.0f / (float)entry->count)
                                 : espl_initial_uniform(store, entry, seed,
                                                        1.0f / sqrtf((float)store->matrices[entry->matrix].cols)));
    }
    return ESPL_OK;
}

/* ---- Use ---- */

static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const lora_state *state = adapter->state;
    const lora_group *group = &state->groups[joint->block][joint->linear];
    if (group->a == ESPL_NO_MATRIX) return y;
    espl_graph *graph = builder->graph;
    espl_tensor *x = espl_build_dropout(builder, joint->x, state->dropout);
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
                                                    .into_from = adapter->model->linear[joint->linear].part[p].from,
                                                    .scale = target->scale});
    }
    return y;
}

static espl_status merge(espl_adapter *adapter, const espl_place *place, float *weight, float *bias, bool *out_changed) {
    const lora_state *state = adapter->state;
    (void)bias;
    *out_changed = false;
    if (place->block == ESPL_NO_BLOCK) return ESPL_OK;
    const lora_group *group = &state->groups[place->block][place->linear];
    const lora_target *target = &group->target[place->part];
    const uint32_t out = place->out, in = place->in;
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

const espl_method espl_method_lora = {
    .name = "lora",
    .peft_type = "LORA",
    .properties = {.intra = ESPL_INTRA_DENSE,
                   .adapted = ESPL_ADAPTED_REPARAMETERISATION,
                   .input = ESPL_INPUT_HIDDEN,
                   .insertion = ESPL_INSERTION_PARALLEL,
                   .integration = ESPL_INTEGRATION_SCALED_ADDITION,
                   .sites = 1u << ESPL_SITE_LINEAR},
    .set = set,
    .declare = declare,
    .initialise = initialise,
    .join = join,
    .merge = merge,
    .finish = finish};
