/* Diff pruning: every weight of the base plus a change that is 0 nearly everywhere, Guo et al. 2021 (arXiv 2012.07463):
 *   W = W0 + z * delta,   z hard concrete gates of alpha; structured: times one for each tensor of the base
 * In the first `prune_at` of all steps delta and alpha are trained together, with a penalty on open gates; then the largest
 * `target_sparsity` of all changes stay, the other gates close for good, and what is left is trained on. All of the base takes
 * part: embeddings, norms and biases, too, but not what modules_to_save names. Costs four values beside each of the base while
 * it trains (delta, alpha and their moments). A type of ours; its folder has the changes alone once they are pruned. */
#include "adapters/diff_pruning.h"
#include "adapters/initial.h"
#include "adapters/spec.h"
#include "adapters/targets.h"
#include "host/ops/op_diff_weight.h"
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static const espl_spec_row spec_keys[] = {
    {"share", "target_sparsity", ESPL_SPEC_NUMBER, NULL},
    {"penalty", "penalty", ESPL_SPEC_NUMBER, NULL},
    {"prune_at", "prune_at", ESPL_SPEC_NUMBER, NULL},
    {"alpha", "alpha_init", ESPL_SPEC_NUMBER, NULL},
    {"alpha_rate", "alpha_rate", ESPL_SPEC_NUMBER, NULL},
    {"structured", "structured", ESPL_SPEC_BOOL, NULL},
    {"save", "modules_to_save", ESPL_SPEC_LIST, NULL},
    {0}};

/* ---- Declaring ---- */

static espl_status read_config(espl_adapter *adapter, diff_state *state, float *out_rate) {
    espl_context *ctx = context(adapter);
    ESPL_TRY(espl_spec_default(adapter, "target_sparsity", json_real(0.005)));
    ESPL_TRY(espl_spec_default(adapter, "penalty", json_real(1.25e-7)));
    ESPL_TRY(espl_spec_default(adapter, "prune_at", json_real(0.5)));
    ESPL_TRY(espl_spec_default(adapter, "alpha_init", json_real(5)));
    ESPL_TRY(espl_spec_default(adapter, "alpha_rate", json_real(1e4)));
    ESPL_TRY(espl_spec_default(adapter, "structured", json_false()));
    ESPL_TRY(espl_spec_default(adapter, "modules_to_save", json_null()));
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "target_sparsity", 0.005, &state->share));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "penalty", 1.25e-7f, &state->penalty));
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "prune_at", 0.5, &state->prune_at));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "alpha_init", 5, &state->alpha_initial));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "alpha_rate", 1e4f, out_rate));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "structured", false, &state->structured));
    if (!(state->share > 0 && state->share <= 1) || !(state->prune_at >= 0 && state->prune_at <= 1) || !(*out_rate > 0) ||
        !(state->penalty >= 0))
        return espl_fail(ctx, ESPL_ARGUMENT, "diff_pruning: target_sparsity %g is not above 0 to 1, prune_at %g not from 0 to 1, "
                         "alpha_rate %g not above 0, or penalty %g below 0", state->share, state->prune_at, (double)*out_rate,
                         (double)state->penalty);
    return ESPL_OK;
}

/* Delta and alphas of a base matrix, as f32. */
static espl_status declare_pair(espl_adapter *adapter, uint32_t matrix, float rate) {
    const diff_state *state = adapter->state;
    const espl_store *model = &adapter->model->store;
    const espl_matrix *base = &model->matrices[matrix];
    espl_store *store = &adapter->store;
    diff_pair *pair = &state->pairs[matrix];
    ESPL_TRY(espl_store_matrix(store, espl_diff_delta, base->rows, base->cols, ESPL_DTYPE_F32, false, &pair->delta));
    ESPL_TRY(espl_store_matrix(store, espl_diff_alpha, base->rows, base->cols, ESPL_DTYPE_F32, false, &pair->alpha));
    store->matrices[pair->alpha].rate = rate;
    if (!state->structured) return ESPL_OK;
    for (size_t i = 0; i < model->entry_count; i++) {
        const espl_entry *e = &model->entries[i];
        if (e->matrix != matrix) continue;
        if (pair->groups == DIFF_GROUPS_MAX)
            return espl_fail(context(adapter), ESPL_UNSUPPORTED, "diff_pruning: %s is one of more than %d tensors of a matrix", e->name,
                             DIFF_GROUPS_MAX);
        if (pair->groups) pair->bounds[pair->groups - 1] = e->from;
        pair->groups++;
    }
    ESPL_TRY(espl_store_matrix(store, espl_diff_group, 1, pair->groups, ESPL_DTYPE_F32, false, &pair->group));
    store->matrices[pair->group].rate = rate;
    return ESPL_OK;
}

static espl_status name_entry(espl_adapter *adapter, const espl_entry *base, const char *kind, uint32_t matrix, uint32_t from,
                              uint32_t count, bool vector) {
    char *name;
    ESPL_TRY(espl_format(context(adapter), &name, "base_model.model.%s.%s", base->name, kind));
    espl_status status = espl_store_entry(&adapter->store, name, matrix, from, count, vector);
    espl_free(context(adapter), &name);
    return status;
}

static espl_status declare_entry(espl_adapter *adapter, const espl_entry *base, uint32_t matrix) {
    ESPL_TRY(name_entry(adapter, base, adapter->store.matrices[matrix].label, matrix, base->from, base->count, base->vector));
    espl_store_shape(&adapter->store, base->rank, base->shape);
    return ESPL_OK;
}

/* Entries of a matrix come in the order of their places in it. */
static espl_status declare_group(espl_adapter *adapter, const espl_entry *base, const diff_pair *pair) {
    uint32_t g = 0;
    while (g + 1 < pair->groups && pair->bounds[g] <= base->from) g++;
    return name_entry(adapter, base, espl_diff_group, pair->group, g, 1, true);
}

static espl_status declare(espl_adapter *adapter) {
    const espl_model *model = adapter->model;
    diff_state *state;
    float rate;
    ESPL_TRY(espl_new(context(adapter), sizeof *state, &state));
    adapter->state = state;
    ESPL_TRY(read_config(adapter, state, &rate));
    ESPL_TRY(espl_new(context(adapter), model->store.matrix_count * sizeof *state->pairs, &state->pairs));
    for (size_t i = 0; i < model->store.matrix_count; i++)
        state->pairs[i] = (diff_pair){.delta = ESPL_NO_MATRIX, .alpha = ESPL_NO_MATRIX, .group = ESPL_NO_MATRIX};
    ESPL_TRY(espl_target_saved(adapter));
    for (size_t i = 0; i < model->store.entry_count; i++) {
        const espl_entry *base = &model->store.entries[i];
        const espl_matrix *m = &model->store.matrices[base->matrix];
        diff_pair *pair = &state->pairs[base->matrix];
        if (m->frozen || adapter->replacement[base->matrix] != ESPL_NO_MATRIX) continue;
        if (pair->delta == ESPL_NO_MATRIX) ESPL_TRY(declare_pair(adapter, base->matrix, rate));
        ESPL_TRY(declare_entry(adapter, base, pair->delta));
        ESPL_TRY(declare_entry(adapter, base, pair->alpha));
        if (pair->groups) ESPL_TRY(declare_group(adapter, base, pair));
    }
    return ESPL_OK;
}

static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    const diff_state *state = adapter->state;
    (void)seed;
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        const espl_entry *e = &adapter->store.entries[i];
        const char *label = adapter->store.matrices[e->matrix].label;
        if (strcmp(label, espl_diff_alpha) == 0 || strcmp(label, espl_diff_group) == 0)
            ESPL_TRY(espl_initial_constant(&adapter->store, e, state->alpha_initial));
    }
    return ESPL_OK;
}

/* ---- Use ---- */

static espl_tensor *weight(espl_builder *builder, const espl_adapter *adapter, uint32_t matrix, espl_tensor *w) {
    const diff_pair *pair = &((const diff_state *)adapter->state)->pairs[matrix];
    if (pair->delta == ESPL_NO_MATRIX) return w;
    espl_diff_weight args = {.base = w, .delta = espl_build_leaf(builder, &adapter->store, pair->delta),
                             .alpha = espl_build_leaf(builder, &adapter->store, pair->alpha), .low = espl_diff_low,
                             .high = espl_diff_high, .drawn = builder->training,
                             .site = builder->training ? builder->dropouts++ : 0};
    if (pair->groups) {
        args.group = espl_build_leaf(builder, &adapter->store, pair->group);
        args.group_site = builder->training ? builder->dropouts++ : 0;
        memcpy(args.bounds, pair->bounds, sizeof args.bounds);
    }
    return espl_graph_diff_weight(builder->graph, &args);
}

static void add_penalty(espl_builder *builder, const espl_adapter *adapter, uint32_t alpha) {
    const diff_state *state = adapter->state;
    if (alpha == ESPL_NO_MATRIX) return;
    espl_graph_diff_penalty(builder->graph, &(espl_diff_penalty){.alpha = espl_build_state(builder, adapter, alpha),
                                                                 .dalpha = espl_build_gradient(builder, adapter, alpha),
                                                                 .low = espl_diff_low, .high = espl_diff_high,
                                                                 .penalty = state->penalty});
}

static espl_status update(espl_builder *builder, const espl_adapter *adapter, espl_update when) {
    const diff_state *state = adapter->state;
    for (size_t i = 0; when == ESPL_UPDATE_BEFORE && i < adapter->model->store.matrix_count; i++) {
        add_penalty(builder, adapter, state->pairs[i].alpha);
        add_penalty(builder, adapter, state->pairs[i].group);
    }
    return espl_graph_status(builder->graph);
}

/* The last step is of the third stage in any case. */
static espl_status turn(espl_adapter *adapter, uint32_t step, uint32_t steps) {
    const diff_state *state = adapter->state;
    return state->pruned || (step < state->prune_at * steps && step + 1 < steps) ? ESPL_OK : espl_diff_prune(adapter);
}

static bool settled(const espl_adapter *adapter, uint32_t step, uint32_t steps) {
    (void)step, (void)steps;
    return ((const diff_state *)adapter->state)->pruned;
}

static espl_status change(espl_adapter *adapter, const espl_entry *base, float *values, bool *out_changed) {
    const diff_state *state = adapter->state;
    diff_values all;
    if (state->pairs[base->matrix].delta == ESPL_NO_MATRIX) return ESPL_OK;
    ESPL_TRY(espl_diff_values_init(adapter, base, &all));
    for (size_t i = 0; i < all.count; i++) values[i] += espl_diff_change(&all, i);
    *out_changed = true;
    espl_diff_values_finish(adapter, &all);
    return ESPL_OK;
}

static void finish(espl_adapter *adapter) {
    diff_state *state = adapter->state;
    espl_free(context(adapter), &state->pairs);
    espl_free(context(adapter), &adapter->state);
}

const espl_method espl_method_diff_pruning = {
    .name = "diff_pruning",
    .peft_type = "DIFFPRUNE",
    .properties = {.intra = ESPL_INTRA_SPARSE,
                   .adapted = ESPL_ADAPTED_REPARAMETERISATION,
                   .input = ESPL_INPUT_WEIGHTS,
                   .insertion = ESPL_INSERTION_PARALLEL,
                   .integration = ESPL_INTEGRATION_DIRECT_ADDITION},
    .keys = {spec_keys},
    .declare = declare,
    .initialise = initialise,
    .weight = weight,
    .turn = turn,
    .settled = settled,
    .update = update,
    .change = change,
    .read = espl_diff_read,
    .write = espl_diff_write,
    .average = espl_diff_average,
    .finish = finish};
