/* AdaLoRA: y = W x + scale * B diag(E) A x whose ranks with the least importance are dropped while it trains, Zhang et al. 2023
 * (arXiv 2303.10512), files and options as PEFT has them. A and B are kept near orthogonal by a penalty. The scale stays
 * alpha / init_r whatever is dropped. The step that a schedule counts is that of the optimiser, 1 for the first. */
#include "adapters/adalora.h"
#include "adapters/initial.h"
#include "adapters/spec.h"
#include "host/ops/op_importance.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_orthogonal.h"
#include "host/ops/op_scale.h"
#include <math.h>
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

adalora_state *espl_adalora(const espl_adapter *adapter) {
    return ((lora_state *)adapter->state)->own;
}

/* ---- Declaring ---- */

static const espl_spec_row spec_keys[] = {
    {"init_r", "init_r", ESPL_SPEC_WHOLE, NULL},
    {"target_r", "target_r", ESPL_SPEC_WHOLE, NULL},
    {"tinit", "tinit", ESPL_SPEC_WHOLE, NULL},
    {"tfinal", "tfinal", ESPL_SPEC_WHOLE, NULL},
    {"deltaT", "deltaT", ESPL_SPEC_WHOLE, NULL},
    {"total", "total_step", ESPL_SPEC_WHOLE, NULL},
    {"beta1", "beta1", ESPL_SPEC_NUMBER, NULL},
    {"beta2", "beta2", ESPL_SPEC_NUMBER, NULL},
    {"orth", "orth_reg_weight", ESPL_SPEC_NUMBER, NULL},
    {"init", "init_lora_weights", ESPL_SPEC_INIT, "default, random"},
    {0}};

/* Rank and scale of a target: all of init_r, or as many as its list in rank_pattern keeps. */
static espl_status read_rank(espl_adapter *adapter, const char *path, lora_target *target) {
    espl_context *ctx = context(adapter);
    double rank, alpha;
    char *name;
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "init_r", 12, &rank));
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "lora_alpha", 8, &alpha));
    if (!(rank >= 1 && rank <= 4096) || rank != floor(rank))
        return espl_fail(ctx, ESPL_ARGUMENT, "adalora: init_r %g is not a whole number from 1 to 4096", rank);
    target->rank = (uint32_t)rank;
    target->scale = (float)((alpha > 0 ? alpha : rank) / (rank + 1e-5));
    ESPL_TRY(espl_format(ctx, &name, "%s.lora_E", path));
    const json_t *kept = json_object_get(json_object_get(adapter->config, "rank_pattern"), name);
    espl_free(ctx, &name);
    if (!kept) return ESPL_OK;
    if (!json_is_array(kept) || json_array_size(kept) != target->rank)
        return espl_fail(ctx, ESPL_FORMAT, "adalora: \"rank_pattern\" of %s must be a list of %u booleans", path, target->rank);
    target->rank = 0;
    for (size_t i = 0; i < json_array_size(kept); i++) target->rank += json_is_true(json_array_get(kept, i));
    return ESPL_OK;
}

static const lora_kind kind = {.a = "lora_A", .b = "lora_B", .e = "lora_E", .rank = read_rank};

static espl_status read_schedule(espl_adapter *adapter, adalora_state *state) {
    espl_context *ctx = context(adapter);
    const json_t *config = adapter->config;
    ESPL_TRY(espl_json_u32(ctx, config, "init_r", 12, &state->init_r));
    ESPL_TRY(espl_json_u32(ctx, config, "target_r", 8, &state->target_r));
    ESPL_TRY(espl_json_u32(ctx, config, "tinit", 0, &state->tinit));
    ESPL_TRY(espl_json_u32(ctx, config, "tfinal", 0, &state->tfinal));
    ESPL_TRY(espl_json_u32(ctx, config, "deltaT", 1, &state->interval));
    ESPL_TRY(espl_json_u32(ctx, config, "total_step", 0, &state->total));
    ESPL_TRY(espl_json_f32(ctx, config, "beta1", 0.85f, &state->beta1));
    ESPL_TRY(espl_json_f32(ctx, config, "beta2", 0.85f, &state->beta2));
    ESPL_TRY(espl_json_f32(ctx, config, "orth_reg_weight", 0.5f, &state->penalty));
    if (!(state->beta1 > 0 && state->beta1 < 1 && state->beta2 > 0 && state->beta2 < 1) || !(state->penalty >= 0) ||
        state->target_r > state->init_r || state->interval == 0)
        return espl_fail(ctx, ESPL_ARGUMENT, "adalora: target_r %u of init_r %u, deltaT %u, betas %g and %g, orth_reg_weight %g: "
                         "one is out of range", state->target_r, state->init_r, state->interval, (double)state->beta1,
                         (double)state->beta2, (double)state->penalty);
    if (state->total && (uint64_t)state->tinit + state->tfinal >= state->total)
        return espl_fail(ctx, ESPL_ARGUMENT, "adalora: tinit %u and tfinal %u leave nothing of total_step %u", state->tinit,
                         state->tfinal, state->total);
    state->pruned = json_object_size(json_object_get(config, "rank_pattern")) > 0;
    return ESPL_OK;
}

static espl_status complete_config(espl_adapter *adapter) {
    const espl_spec_value defaults[] = {
        {"init_r", json_integer(12)}, {"target_r", json_integer(8)}, {"tinit", json_integer(0)},
        {"tfinal", json_integer(0)},  {"deltaT", json_integer(1)},   {"beta1", json_real(0.85)},
        {"beta2", json_real(0.85)},   {"total_step", json_null()},   {"orth_reg_weight", json_real(0.5)},
        {"rank_pattern", json_null()}};
    return espl_spec_defaults(adapter, defaults, ESPL_COUNT(defaults));
}

static void count_ranks(espl_adapter *adapter, adalora_state *state) {
    const lora_state *lora = adapter->state;
    for (uint32_t block = 0; block < adapter->model->config.layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
                lora_target *target = &lora->groups[block][l].target[p];
                target->slot = state->ranks;
                state->ranks += target->rank;
                state->targets += target->rank != 0;
            }
        }
    }
}

static espl_status frozen_matrix(espl_store *store, const char *label, uint32_t rows, uint32_t cols, bool carried,
                                 uint32_t *out_index) {
    ESPL_TRY(espl_store_matrix(store, label, rows, cols, ESPL_DTYPE_F32, false, out_index));
    store->matrices[*out_index].frozen = true;
    store->matrices[*out_index].carried = carried;
    return ESPL_OK;
}

static espl_status declare(espl_adapter *adapter) {
    espl_store *store = &adapter->store;
    adalora_state *state;
    ESPL_TRY(complete_config(adapter));
    ESPL_TRY(espl_lora_declare(adapter, &kind));
    ESPL_TRY(espl_new(context(adapter), sizeof *state, &state));
    ((lora_state *)adapter->state)->own = state;
    ESPL_TRY(read_schedule(adapter, state));
    count_ranks(adapter, state);
    ESPL_TRY(frozen_matrix(store, "score", 1, state->ranks, false, &state->score)); /* made anew in each step */
    ESPL_TRY(frozen_matrix(store, "dropped", 1, state->ranks, true, &state->dropped));
    /* A, B and E are the first of the store. */
    state->copies = (uint32_t)store->matrix_count;
    for (size_t i = 0; strncmp(store->matrices[i].label, "lora_", 5) == 0; i++) {
        uint32_t index;
        for (int copy = 0; copy < 2; copy++)
            ESPL_TRY(frozen_matrix(store, "importance", store->matrices[i].rows, store->matrices[i].cols, true, &index));
    }
    return ESPL_OK;
}

/* A, B: N(0, 0.02^2), E: 0; or all N(0, 1) when init_lora_weights is false. */
static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    const lora_state *state = adapter->state;
    espl_store *store = &adapter->store;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *entry = &store->entries[i];
        const char *label = store->matrices[entry->matrix].label;
        if (strncmp(label, "lora_", 5) != 0 || (state->zero_b && label[5] == 'E')) continue;
        ESPL_TRY(espl_initial_normal(store, entry, seed, state->zero_b ? 0.02f : 1.0f));
    }
    return ESPL_OK;
}

/* ---- Use ---- */

/* How many ranks the coming update drops, as the operator prune takes it. */
static espl_tensor *dropping(espl_builder *builder, const espl_adapter *adapter) {
    espl_tensor *made = espl_build_step_made(builder, adapter, 0);
    return made ? made : espl_build_step(builder, adapter, "ranks to drop", 1, 1, ESPL_DTYPE_I32);
}

static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const lora_state *state = adapter->state;
    const lora_group *group = espl_lora_group(adapter, joint);
    if (!group) return y;
    espl_tensor *x = espl_build_dropout(builder, joint->x, state->dropout);
    espl_tensor *u = espl_lora_down(builder, adapter, group, x);
    u = espl_graph_scale(builder->graph, &(espl_scale){.x = u, .s = espl_build_leaf(builder, &adapter->store, group->e)});
    return espl_lora_up(builder, adapter, joint, group, NULL, u, y);
}

/* The budget falls from all ranks to target_r a target by a cubic between tinit and total - tfinal. */
static espl_status step(const espl_adapter *adapter, const espl_step_info *info, void *const *values) {
    adalora_state *state = espl_adalora(adapter);
    int32_t *drop = values[0];
    *drop = 0;
    if (!info->training || state->pruned) return ESPL_OK;
    if (!state->total) state->total = info->steps;
    if ((uint64_t)state->tinit + state->tfinal >= state->total)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "adalora: tinit %u and tfinal %u leave nothing of %u steps",
                         state->tinit, state->tfinal, state->total);
    const uint32_t now = info->step + 1, end = state->total - state->tfinal;
    const double least = (double)state->target_r * state->targets;
    if (now > end) *drop = -1;
    if (now <= state->tinit || now > end || (now < end && now % state->interval)) return ESPL_OK;
    const double left = 1 - (double)(now - state->tinit) / (end - state->tinit);
    *drop = (int32_t)(state->ranks - (uint32_t)((state->ranks - least) * left * left * left + least));
    return ESPL_OK;
}

static bool settled(const espl_adapter *adapter, uint32_t done, uint32_t steps) {
    const adalora_state *state = espl_adalora(adapter);
    const uint32_t total = state->total ? state->total : steps;
    return state->pruned || (uint64_t)done + state->tfinal >= total;
}

/* ---- Updates ---- */

/* Adds the gradient of penalty / (matrices A and B) * |P P^T - I| of one matrix; P = B^T for B. */
static void penalise(espl_builder *builder, const espl_adapter *adapter, uint32_t matrix, bool columns, espl_orthogonal args) {
    const adalora_state *state = espl_adalora(adapter);
    espl_graph *graph = builder->graph;
    espl_tensor *p = espl_build_state(builder, adapter, matrix), *gradient = espl_build_gradient(builder, adapter, matrix);
    args.g = espl_graph_matmul(graph, &(espl_matmul){.a = p, .b = p, .orientation = columns ? MATMUL_TN : MATMUL_NT});
    args.factor = 2 * state->penalty / (2 * (float)state->targets);
    espl_tensor *direction = espl_graph_orthogonal(graph, &args);
    espl_graph_matmul(graph, &(espl_matmul){.a = columns ? p : direction, .b = columns ? direction : p,
                                            .orientation = MATMUL_NN, .into = gradient});
}

static void penalise_group(espl_builder *builder, const espl_adapter *adapter, const lora_group *group) {
    espl_orthogonal blocks = {.g = NULL};
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
        const lora_target *target = &group->target[p];
        if (!target->rank) continue;
        blocks.block[p].from = target->from, blocks.block[p].count = target->rank;
        penalise(builder, adapter, target->b, true, (espl_orthogonal){.block = {{0, target->rank}}});
    }
    penalise(builder, adapter, group->a, false, blocks);
}

/* Importance of the ranks of one target by one of its matrices. */
static void weigh(espl_builder *builder, const espl_adapter *adapter, const lora_target *target, uint32_t matrix, uint32_t from,
                  bool columns, bool add) {
    const adalora_state *state = espl_adalora(adapter);
    espl_graph_importance(builder->graph, &(espl_importance){.p = espl_build_state(builder, adapter, matrix),
                                                             .g = espl_build_gradient(builder, adapter, matrix),
                                                             .mean = espl_build_state(builder, adapter, state->copies + 2 * matrix),
                                                             .spread = espl_build_state(builder, adapter, state->copies + 2 * matrix + 1),
                                                             .score = espl_build_state(builder, adapter, state->score),
                                                             .from = from, .count = target->rank, .slot = target->slot,
                                                             .columns = columns, .add = add,
                                                             .beta1 = state->beta1, .beta2 = state->beta2});
}

static void weigh_group(espl_builder *builder, const espl_adapter *adapter, const lora_group *group) {
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
        const lora_target *target = &group->target[p];
        if (!target->rank) continue;
        weigh(builder, adapter, target, group->e, target->from, true, false);
        weigh(builder, adapter, target, group->a, target->from, false, true);
        weigh(builder, adapter, target, target->b, 0, true, true);
    }
}

static void prune_group(espl_builder *builder, const espl_adapter *adapter, const lora_group *group) {
    const adalora_state *state = espl_adalora(adapter);
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
        const lora_target *target = &group->target[p];
        if (!target->rank) continue;
        espl_graph_prune(builder->graph, &(espl_prune){.score = espl_build_state(builder, adapter, state->score),
                                                       .dropped = espl_build_state(builder, adapter, state->dropped),
                                                       .e = espl_build_state(builder, adapter, group->e),
                                                       .k = dropping(builder, adapter),
                                                       .from = target->from, .count = target->rank, .slot = target->slot});
    }
}

static void each_group(espl_builder *builder, const espl_adapter *adapter,
                       void (*visit)(espl_builder *builder, const espl_adapter *adapter, const lora_group *group)) {
    const lora_state *state = adapter->state;
    for (uint32_t block = 0; block < adapter->model->config.layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            if (state->groups[block][l].a != ESPL_NO_MATRIX) visit(builder, adapter, &state->groups[block][l]);
        }
    }
}

static espl_status update(espl_builder *builder, const espl_adapter *adapter, espl_update when) {
    const adalora_state *state = espl_adalora(adapter);
    if (when == ESPL_UPDATE_BEFORE) {
        if (state->penalty > 0) each_group(builder, adapter, penalise_group);
    } else if (!state->pruned) {
        /* Prune compares the scores of all. */
        each_group(builder, adapter, weigh_group);
        each_group(builder, adapter, prune_group);
    }
    return espl_graph_status(builder->graph);
}

static espl_status merge(espl_adapter *adapter, const espl_place *place, float *weight, float *bias, bool *out_changed) {
    const lora_state *state = adapter->state;
    (void)bias;
    *out_changed = false;
    if (place->block == ESPL_NO_BLOCK) return ESPL_OK;
    const lora_group *group = &state->groups[place->block][place->linear];
    const lora_target *target = &group->target[place->part];
    if (!target->rank) return ESPL_OK;
    const espl_entry entry = {.matrix = group->e, .from = target->from, .count = target->rank, .vector = true};
    float *e;
    ESPL_TRY(espl_new(context(adapter), target->rank * sizeof *e, &e));
    espl_status status = espl_store_read(&adapter->store, &entry, e);
    if (status == ESPL_OK) status = espl_lora_merge(adapter, place, e, weight, out_changed);
    espl_free(context(adapter), &e);
    return status;
}

const espl_method espl_method_adalora = {
    .name = "adalora",
    .peft_type = "ADALORA",
    .properties = {.intra = ESPL_INTRA_DENSE,
                   .adapted = ESPL_ADAPTED_REPARAMETERISATION,
                   .input = ESPL_INPUT_HIDDEN,
                   .insertion = ESPL_INSERTION_PARALLEL,
                   .integration = ESPL_INTEGRATION_SCALED_ADDITION,
                   .sites = 1u << ESPL_SITE_LINEAR},
    .keys = {spec_keys, espl_lora_keys},
    .declare = declare,
    .initialise = initialise,
    .join = join,
    .adds = true,
    .step = step,
    .settled = settled,
    .update = update,
    .merge = merge,
    .save = espl_adalora_save,
    .finish = espl_lora_finish};
