/* DyLoRA: a LoRA of which every first part is a LoRA of lower rank, Valipour et al. 2023 (arXiv 2210.07558): each step draws
 * a rank b and uses the first b rows of A and columns of B, times alpha / b. update_mode "frozen" moves row and column b
 * alone. A type of ours: LORA's keys and names, and r_min, r_max, pb, pb_p, update_mode, loss_mode, frozen_decay.
 *
 * The rank is a factor of u's columns that lies in the step buffer, so that no rank needs a recording of its own. */
#include "adapters/dylora.h"
#include "adapters/spec.h"
#include "host/ops/op_add.h"
#include "host/ops/op_cast.h"
#include "host/ops/op_scale.h"
#include <math.h>
#include <string.h>

/* Tensors of the step buffer in the order they are made. A group stacks up to ESPL_LINEAR_PARTS targets, so that there is a
 * factor of u for each number of them; those behind FACTORS for mode "frozen" alone: what moves, and what stays. */
enum { FACTORS = ESPL_LINEAR_PARTS, ROWS_MOVE = FACTORS, ROWS_STAY = ROWS_MOVE + ESPL_LINEAR_PARTS,
       COLUMNS_MOVE = ROWS_STAY + ESPL_LINEAR_PARTS, COLUMNS_STAY, INPUTS };

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

dylora_state *espl_dylora(const espl_adapter *adapter) {
    return ((lora_state *)adapter->state)->own;
}

double espl_dylora_factor(const dylora_state *state, uint32_t rank) {
    const double factor = (double)state->r_max / rank;
    return state->rslora ? sqrt(factor) : factor;
}

/* ---- Declaring ---- */

static const espl_spec_row spec_keys[] = {
    {"r_min", "r_min", ESPL_SPEC_WHOLE, NULL},
    {"r_max", "r_max", ESPL_SPEC_WHOLE, NULL},
    {"pb", "pb", ESPL_SPEC_TEXT, "uniform, geometric, fixed"},
    {"p", "pb_p", ESPL_SPEC_REALS, NULL},
    {"update", "update_mode", ESPL_SPEC_TEXT, "full, frozen"},
    {"loss", "loss_mode", ESPL_SPEC_TEXT, "individual, nested_sum"},
    {"frozen_decay", "frozen_decay", ESPL_SPEC_BOOL, NULL},
    {0}};

/* The index of a text among the modes there are. */
static espl_status read_mode(espl_adapter *adapter, const char *key, const char *const *modes, uint32_t count, uint32_t *out) {
    const char *text;
    ESPL_TRY(espl_spec_default(adapter, key, json_string(modes[0])));
    ESPL_TRY(espl_json_string(context(adapter), adapter->config, key, NULL, &text));
    for (*out = 0; *out < count; (*out)++) {
        if (strcmp(text, modes[*out]) == 0) return ESPL_OK;
    }
    espl_bytes all = {0};
    espl_status status = ESPL_OK;
    for (uint32_t i = 0; i < count && status == ESPL_OK; i++)
        status = espl_bytes_print(context(adapter), &all, "%s%s", i ? ", " : "", modes[i]);
    if (status == ESPL_OK)
        status = espl_fail(context(adapter), ESPL_ARGUMENT, "dylora: %s \"%s\" is not one of %s", key, text, all.data);
    espl_bytes_finish(context(adapter), &all);
    return status;
}

/* p_B before it is made to sum to 1. */
static espl_status read_shares(espl_adapter *adapter, dylora_state *state) {
    static const char *const kinds[] = {"uniform", "geometric", "fixed", "list"};
    const uint32_t count = state->r_max - state->r_min + 1;
    const json_t *list = json_object_get(adapter->config, "pb_p");
    uint32_t kind;
    double p = 0, sum = 0;
    ESPL_TRY(read_mode(adapter, "pb", kinds, ESPL_COUNT(kinds), &kind));
    if (kind == 1 || kind == 2) {
        ESPL_TRY(espl_json_f64(context(adapter), adapter->config, "pb_p", kind == 1 ? 0.15 : state->r_max, &p));
        if (kind == 1 ? !(p > 0 && p < 1) : !(p >= state->r_min && p <= state->r_max && p == floor(p)))
            return espl_fail(context(adapter), ESPL_ARGUMENT, "dylora: pb_p %g is not a %s", p,
                             kind == 1 ? "probability between 0 and 1" : "rank from r_min to r_max");
    }
    if (kind == 3 && json_array_size(list) != count)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "dylora: pb \"list\" needs %u numbers in \"pb_p\", there are %zu", count,
                         json_array_size(list));
    for (uint32_t i = 0; i < count; i++) {
        state->share[i] = kind == 0   ? 1
                          : kind == 1 ? p * pow(1 - p, state->r_min + i - 1)
                          : kind == 2 ? state->r_min + i == (uint32_t)p
                                      : json_number_value(json_array_get(list, i));
        if (kind == 3 && !json_is_number(json_array_get(list, i)))
            return espl_fail(context(adapter), ESPL_FORMAT, "dylora: number %u of \"pb_p\" is none", i);
        if (!(state->share[i] >= 0 && isfinite(state->share[i])))
            return espl_fail(context(adapter), ESPL_ARGUMENT, "dylora: share %g of rank %u is below 0", state->share[i],
                             state->r_min + i);
        sum += state->share[i];
    }
    if (!(sum > 0)) return espl_fail(context(adapter), ESPL_ARGUMENT, "dylora: no rank has a share in \"pb_p\"");
    for (uint32_t i = 0; i < count; i++) state->share[i] /= sum;
    state->rank = kind == 2 ? (uint32_t)p : state->r_max;
    return ESPL_OK;
}

static espl_status read_state(espl_adapter *adapter) {
    static const char *const updates[] = {"full", "frozen"}, *const losses[] = {"individual", "nested_sum"};
    espl_context *ctx = context(adapter);
    dylora_state *state;
    uint32_t r, r_min, r_max, frozen, nested;
    ESPL_TRY(espl_json_u32(ctx, adapter->config, "r", 8, &r));
    ESPL_TRY(espl_spec_default(adapter, "r_max", json_integer(r)));
    ESPL_TRY(espl_spec_default(adapter, "r_min", json_integer(1)));
    ESPL_TRY(espl_spec_default(adapter, "frozen_decay", json_false()));
    ESPL_TRY(espl_json_u32(ctx, adapter->config, "r_max", r, &r_max));
    ESPL_TRY(espl_json_u32(ctx, adapter->config, "r_min", 1, &r_min));
    if (json_object_get(adapter->config, "r") && r != r_max)
        return espl_fail(ctx, ESPL_ARGUMENT, "dylora: r is %u and r_max %u, which say the same", r, r_max);
    if (r_min < 1 || r_min > r_max || r_max > 4096)
        return espl_fail(ctx, ESPL_ARGUMENT, "dylora: ranks from %u to %u are not in 1 to 4096", r_min, r_max);
    ESPL_TRY(espl_json_set(ctx, adapter->config, "r", json_integer(r_max)));
    if (json_object_size(json_object_get(adapter->config, "rank_pattern")))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "dylora: \"rank_pattern\" is not supported: all targets have the same ranks");
    ESPL_TRY(espl_lora_declare(adapter, &espl_lora_kind));
    ESPL_TRY(espl_new(ctx, sizeof *state + (r_max - r_min + 1) * sizeof *state->share, &state));
    ((lora_state *)adapter->state)->own = state;
    state->r_min = r_min, state->r_max = r_max;
    ESPL_TRY(read_mode(adapter, "update_mode", updates, 2, &frozen));
    ESPL_TRY(read_mode(adapter, "loss_mode", losses, 2, &nested));
    state->frozen = frozen == 1, state->nested = nested == 1;
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "frozen_decay", false, &state->frozen_decay));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "use_rslora", false, &state->rslora));
    if (state->frozen && state->nested)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "dylora: update_mode \"frozen\" moves one rank, loss_mode \"nested_sum\" has all: "
                         "they do not go together");
    return read_shares(adapter, state);
}

/* The matrices A and B are the first of the store. */
static espl_status declare(espl_adapter *adapter) {
    ESPL_TRY(read_state(adapter));
    dylora_state *state = espl_dylora(adapter);
    espl_store *store = &adapter->store;
    if (!state->frozen || state->frozen_decay) return ESPL_OK;
    state->copies = (uint32_t)store->matrix_count;
    for (size_t i = 0; strncmp(store->matrices[i].label, "lora_", 5) == 0; i++) {
        uint32_t copy;
        ESPL_TRY(espl_store_matrix(store, "before", store->matrices[i].rows, store->matrices[i].cols, ESPL_DTYPE_F32, false,
                                   &copy));
        store->matrices[copy].frozen = true;
    }
    return ESPL_OK;
}

/* ---- Use ---- */

static uint32_t width(const dylora_state *state, uint32_t targets) {
    return (targets - 1) * (uint32_t)espl_round_up(state->r_max, 4) + state->r_max;
}

/* Number `which` of the adapter's tensors in the step buffer; the first call makes them all. */
static espl_tensor *input(espl_builder *builder, const espl_adapter *adapter, uint32_t which) {
    const dylora_state *state = espl_dylora(adapter);
    for (uint32_t i = 0; i < (state->frozen ? INPUTS : FACTORS); i++) {
        const bool row = i < ROWS_MOVE || i >= COLUMNS_MOVE;
        const uint32_t values = i < COLUMNS_MOVE ? width(state, i % ESPL_LINEAR_PARTS + 1) : state->r_max;
        if (!espl_build_step_made(builder, adapter, i))
            espl_build_step(builder, adapter, "ranks", row ? 1 : values, row ? values : 1, ESPL_DTYPE_F32);
    }
    return espl_build_step_made(builder, adapter, which);
}

static uint32_t targets_of(const lora_group *group) {
    uint32_t count = 0;
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) count += group->target[p].rank != 0;
    return count;
}

static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const lora_state *state = adapter->state;
    const lora_group *group = espl_lora_group(adapter, joint);
    if (!group) return y;
    espl_tensor *x = espl_build_dropout(builder, joint->x, state->dropout);
    espl_tensor *u = espl_lora_down(builder, adapter, group, x);
    u = espl_graph_scale(builder->graph, &(espl_scale){.x = u, .s = input(builder, adapter, targets_of(group) - 1)});
    return espl_lora_up(builder, adapter, joint, group, NULL, u, y);
}

static uint32_t draw(const dylora_state *state, const espl_step_info *info) {
    if (!info->training) return state->rank;
    if (state->nested) return state->r_min + info->pass;
    espl_random random = {.seed = info->seed, .stream = info->step};
    double left = espl_random_uniform(&random);
    uint32_t rank = state->r_min;
    while (rank < state->r_max && left >= state->share[rank - state->r_min]) left -= state->share[rank++ - state->r_min];
    /* Rounding may run past the last rank that has a share. */
    while (rank > state->r_min && state->share[rank - state->r_min] == 0) rank--;
    return rank;
}

static espl_status step(const espl_adapter *adapter, const espl_step_info *info, void *const *values) {
    const dylora_state *state = espl_dylora(adapter);
    const uint32_t rank = draw(state, info), period = (uint32_t)espl_round_up(state->r_max, 4);
    const float factor = (float)espl_dylora_factor(state, rank);
    for (uint32_t which = 0; which < (state->frozen ? INPUTS : FACTORS); which++) {
        const bool rows = which >= ROWS_MOVE && which < COLUMNS_MOVE, stays = (which >= ROWS_STAY && rows) || which == COLUMNS_STAY;
        const uint32_t count = which < COLUMNS_MOVE ? width(state, which % ESPL_LINEAR_PARTS + 1) : state->r_max;
        float *to = values[which];
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t c = i % period;
            const bool moves = c + 1 == rank;
            to[rows ? 4 * i : i] = which < FACTORS ? (c < rank ? factor : 0) : moves != stays;
        }
    }
    return ESPL_OK;
}

static uint32_t passes(const espl_adapter *adapter, uint32_t pass, double *out_weight) {
    const dylora_state *state = espl_dylora(adapter);
    *out_weight = state->nested ? state->share[pass] : 1;
    return state->nested ? state->r_max - state->r_min + 1 : 1;
}

/* ---- Frozen ---- */

/* Before: gradients but those of row and column b become 0 (and values are kept); after: the other values come back. */
static void hold_matrix(espl_builder *builder, const espl_adapter *adapter, uint32_t matrix, uint32_t move, uint32_t stay,
                        espl_update when) {
    const dylora_state *state = espl_dylora(adapter);
    espl_graph *graph = builder->graph;
    const uint32_t copy = state->copies + matrix;
    espl_tensor *moves = input(builder, adapter, move), *stays = input(builder, adapter, stay);
    if (when == ESPL_UPDATE_BEFORE) {
        espl_tensor *gradient = espl_build_gradient(builder, adapter, matrix);
        espl_graph_cast(graph, &(espl_cast){.x = espl_graph_scale(graph, &(espl_scale){.x = gradient, .s = moves}),
                                            .into = gradient});
    }
    if (state->frozen_decay) return;
    espl_tensor *values = espl_build_state(builder, adapter, matrix), *before = espl_build_state(builder, adapter, copy);
    if (when == ESPL_UPDATE_BEFORE) {
        espl_graph_cast(graph, &(espl_cast){.x = values, .into = before});
        return;
    }
    espl_tensor *moved = espl_graph_scale(graph, &(espl_scale){.x = values, .s = moves});
    espl_tensor *stayed = espl_graph_scale(graph, &(espl_scale){.x = before, .s = stays});
    espl_graph_cast(graph, &(espl_cast){.x = espl_graph_add(graph, &(espl_add_args){moved, stayed}), .into = values});
}

static espl_status update(espl_builder *builder, const espl_adapter *adapter, espl_update when) {
    const lora_state *state = adapter->state;
    if (!espl_dylora(adapter)->frozen) return ESPL_OK;
    for (uint32_t block = 0; block < adapter->model->config.layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            const lora_group *group = &state->groups[block][l];
            if (group->a == ESPL_NO_MATRIX) continue;
            const uint32_t targets = targets_of(group) - 1;
            hold_matrix(builder, adapter, group->a, ROWS_MOVE + targets, ROWS_STAY + targets, when);
            for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
                if (group->target[p].rank)
                    hold_matrix(builder, adapter, group->target[p].b, COLUMNS_MOVE, COLUMNS_STAY, when);
            }
        }
    }
    return espl_graph_status(builder->graph);
}

static espl_status merge(espl_adapter *adapter, const espl_place *place, float *weight, float *bias, bool *out_changed) {
    const dylora_state *state = espl_dylora(adapter);
    float *factors;
    (void)bias;
    ESPL_TRY(espl_new(context(adapter), state->r_max * sizeof *factors, &factors));
    for (uint32_t c = 0; c < state->rank; c++) factors[c] = (float)espl_dylora_factor(state, state->rank);
    espl_status status = espl_lora_merge(adapter, place, factors, weight, out_changed);
    espl_free(context(adapter), &factors);
    return status;
}

const espl_method espl_method_dylora = {
    .name = "dylora",
    .peft_type = "DYLORA",
    .properties = {.intra = ESPL_INTRA_DENSE,
                   .inter = ESPL_INTER_DYNAMIC,
                   .adapted = ESPL_ADAPTED_REPARAMETERISATION,
                   .input = ESPL_INPUT_HIDDEN,
                   .insertion = ESPL_INSERTION_PARALLEL,
                   .integration = ESPL_INTEGRATION_SCALED_ADDITION,
                   .sites = 1u << ESPL_SITE_LINEAR},
    .keys = {spec_keys, espl_lora_rank_keys, espl_lora_keys},
    .declare = declare,
    .initialise = espl_lora_initialise,
    .join = join,
    .adds = true,
    .step = step,
    .passes = passes,
    .update = update,
    .merge = merge,
    .finish = espl_lora_finish};
