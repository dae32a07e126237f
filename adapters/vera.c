/* VeRA: y = W x + b * (B (d * (A x))), Kopiczko et al. 2024 (arXiv 2310.11454), files and options as PEFT has them. A and B are
 * random, frozen and one pair for all targets, each of which takes as much of them as it has inputs and outputs; what is
 * trained are the vectors d ("vera_lambda_d") and b ("vera_lambda_b"). They are saved with the adapter, for other programs'
 * random numbers cannot be made again. */
#include "adapters/initial.h"
#include "adapters/lora.h"
#include "adapters/spec.h"
#include "adapters/targets.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_scale.h"
#include <math.h>
#include <string.h>

typedef struct vera_target {
    bool there;
    uint32_t d, b; /* matrices [1, r], [out, 1] */
} vera_target;

typedef struct vera_state {
    uint32_t rank, in, out; /* of the shared pair */
    uint32_t a, b;
    float dropout, d_initial;
    uint64_t key;
    vera_target (*targets)[ESPL_LINEAR_COUNT][ESPL_LINEAR_PARTS]; /* owned, one row per block */
} vera_state;

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static const espl_spec_row spec_keys[] = {
    {"r", "r", ESPL_SPEC_WHOLE, NULL},
    {"dropout", "vera_dropout", ESPL_SPEC_NUMBER, NULL},
    {"targets", "target_modules", ESPL_SPEC_MODULES, NULL},
    {"d_initial", "d_initial", ESPL_SPEC_NUMBER, NULL},
    {"key", "projection_prng_key", ESPL_SPEC_WHOLE, NULL},
    {"save", "modules_to_save", ESPL_SPEC_LIST, NULL},
    {0}};

/* ---- Declaring ---- */

static espl_status complete_config(espl_adapter *adapter) {
    ESPL_TRY(espl_target_default(adapter, "target_modules"));
    const espl_spec_value defaults[] = {
        {"task_type", json_string("CAUSAL_LM")},
        {"base_model_name_or_path", json_string(adapter->model->folder)},
        {"r", json_integer(256)},
        {"vera_dropout", json_integer(0)},
        {"d_initial", json_real(0.1)},
        {"projection_prng_key", json_integer(0)},
        {"save_projection", json_true()},
        {"init_weights", json_true()},
        {"bias", json_string("none")},
        {"fan_in_fan_out", json_boolean(adapter->model->config.family->stored_in_out)},
        {"modules_to_save", json_null()},
        {"layers_to_transform", json_null()},
        {"layers_pattern", json_null()}};
    return espl_spec_defaults(adapter, defaults, ESPL_COUNT(defaults));
}

static espl_status read_config(espl_adapter *adapter, vera_state *state) {
    espl_context *ctx = context(adapter);
    const char *bias;
    bool save, init;
    ESPL_TRY(complete_config(adapter));
    ESPL_TRY(espl_json_u32(ctx, adapter->config, "r", 256, &state->rank));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "vera_dropout", 0, &state->dropout));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "d_initial", 0.1f, &state->d_initial));
    ESPL_TRY(espl_json_u64(ctx, adapter->config, "projection_prng_key", 0, &state->key));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "save_projection", true, &save));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "init_weights", true, &init));
    ESPL_TRY(espl_json_string(ctx, adapter->config, "bias", "none", &bias));
    if (state->rank < 1 || state->rank > 65536)
        return espl_fail(ctx, ESPL_ARGUMENT, "vera: rank %u is not from 1 to 65536", state->rank);
    if (!(state->dropout >= 0 && state->dropout < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "vera: dropout %g is not from 0 to below 1", (double)state->dropout);
    if (!save)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "vera: a folder without its projections (\"save_projection\": false) is not "
                         "supported: they are random numbers that only the program that made it has");
    if (strcmp(bias, "none") != 0 || !init)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "vera: only \"bias\": \"none\" and \"init_weights\": true are supported");
    return ESPL_OK;
}

static espl_status declare_target(espl_adapter *adapter, vera_state *state, uint32_t block, uint32_t linear, uint32_t part) {
    const espl_linear_shape *shape = &adapter->model->linear[linear];
    const uint32_t out = shape->part[part].count;
    vera_target *target = &state->targets[block][linear][part];
    espl_store *store = &adapter->store;
    char *path;
    ESPL_TRY(espl_model_module(adapter->model, block, linear, part, &path));
    espl_status status = espl_target_selected(adapter, block, path, &target->there);
    if (status != ESPL_OK || !target->there) goto fail;
    state->in = shape->in > state->in ? shape->in : state->in;
    state->out = out > state->out ? out : state->out;
    ESPL_GOTO(espl_store_matrix(store, "vera_lambda_b", out, 1, ESPL_DTYPE_F32, true, &target->b));
    ESPL_GOTO(espl_lora_entry(adapter, path, "vera_lambda_b", target->b, 0, out, false));
    espl_store_shape(store, 1, &out);
    ESPL_GOTO(espl_store_matrix(store, "vera_lambda_d", 1, state->rank, ESPL_DTYPE_F32, true, &target->d));
    ESPL_GOTO(espl_lora_entry(adapter, path, "vera_lambda_d", target->d, 0, state->rank, true));
fail:
    espl_free(context(adapter), &path);
    return status;
}

static espl_status declare(espl_adapter *adapter) {
    espl_context *ctx = context(adapter);
    const espl_model *model = adapter->model;
    espl_store *store = &adapter->store;
    vera_state *state;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    adapter->state = state;
    ESPL_TRY(read_config(adapter, state));
    ESPL_TRY(espl_new(ctx, model->config.layers * sizeof *state->targets, &state->targets));
    for (uint32_t block = 0; block < model->config.layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && model->linear[l].part[p].count; p++)
                ESPL_TRY(declare_target(adapter, state, block, l, p));
        }
    }
    if (!state->in) return espl_target_none(adapter);
    ESPL_TRY(espl_store_matrix(store, "vera_A", state->rank, state->in, ESPL_DTYPE_F32, false, &state->a));
    ESPL_TRY(espl_store_matrix(store, "vera_B", state->out, state->rank, ESPL_DTYPE_F32, false, &state->b));
    store->matrices[state->a].frozen = store->matrices[state->b].frozen = true;
    ESPL_TRY(espl_store_entry(store, "base_model.vera_A", state->a, 0, state->rank, false));
    ESPL_TRY(espl_store_entry(store, "base_model.vera_B", state->b, 0, state->out, false));
    return espl_target_saved(adapter);
}

/* A and B: U(-sqrt(6 / columns), that), by the key and not by the seed; b stays 0. */
static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    const vera_state *state = adapter->state;
    espl_store *store = &adapter->store;
    (void)seed;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *entry = &store->entries[i];
        const espl_matrix *m = &store->matrices[entry->matrix];
        if (entry->matrix == state->a || entry->matrix == state->b)
            ESPL_TRY(espl_initial_uniform(store, entry, state->key, sqrtf(6.0f / (float)m->cols)));
        else if (strcmp(m->label, "vera_lambda_d") == 0)
            ESPL_TRY(espl_initial_constant(store, entry, state->d_initial));
    }
    return ESPL_OK;
}

/* ---- Use ---- */

/* The first rows and columns of a shared matrix. */
static espl_tensor *part_of(espl_builder *builder, const espl_adapter *adapter, uint32_t matrix, uint32_t rows, uint32_t cols) {
    const espl_matrix *m = &adapter->store.matrices[matrix];
    return espl_graph_leaf(builder->graph, ESPL_ROLE_WEIGHT, m->label, rows, cols, m->stride, m->dtype, m->span);
}

static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const vera_state *state = adapter->state;
    const espl_linear_shape *shape = &adapter->model->linear[joint->linear];
    espl_graph *graph = builder->graph;
    espl_tensor *u = NULL;
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
        const vera_target *target = &state->targets[joint->block][joint->linear][p];
        if (!target->there) continue;
        if (!u)
            u = espl_build_share(builder, joint, espl_graph_matmul(graph, &(espl_matmul){
                    .a = espl_build_dropout(builder, joint->x, state->dropout), .orientation = MATMUL_NT,
                    .b = part_of(builder, adapter, state->a, state->rank, shape->in)}));
        espl_tensor *scaled = espl_graph_scale(
            graph, &(espl_scale){.x = u, .s = espl_build_leaf(builder, &adapter->store, target->d)});
        /* b scales rows of B, which are fewer than those of the hidden state. */
        espl_tensor *b = espl_graph_scale(
            graph, &(espl_scale){.x = part_of(builder, adapter, state->b, shape->part[p].count, state->rank),
                                 .s = espl_build_leaf(builder, &adapter->store, target->b)});
        y = espl_graph_matmul(graph, &(espl_matmul){.a = scaled, .b = b, .orientation = MATMUL_NT, .into = y,
                                                    .into_from = shape->part[p].from});
    }
    return y;
}

static espl_status merge(espl_adapter *adapter, const espl_place *place, float *weight, float *bias, bool *out_changed) {
    espl_context *ctx = context(adapter);
    const vera_state *state = adapter->state;
    espl_store *store = &adapter->store;
    const size_t rank = state->rank, out = place->out, in = place->in;
    const vera_target *target = place->block == ESPL_NO_BLOCK ? NULL
                                                              : &state->targets[place->block][place->linear][place->part];
    (void)bias;
    *out_changed = target && target->there;
    if (!*out_changed) return ESPL_OK;
    float *a = NULL, *b = NULL, *lambda = NULL;
    double *row = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(ctx, rank * state->in * sizeof *a, &a));
    ESPL_GOTO(espl_new(ctx, state->out * rank * sizeof *b, &b));
    ESPL_GOTO(espl_new(ctx, (rank + out) * sizeof *lambda, &lambda));
    ESPL_GOTO(espl_new(ctx, in * sizeof *row, &row));
    ESPL_GOTO(espl_store_read(store, &(espl_entry){.matrix = state->a, .count = state->rank}, a));
    ESPL_GOTO(espl_store_read(store, &(espl_entry){.matrix = state->b, .count = state->out}, b));
    ESPL_GOTO(espl_store_read(store, &(espl_entry){.matrix = target->d, .count = state->rank, .vector = true}, lambda));
    ESPL_GOTO(espl_store_read(store, &(espl_entry){.matrix = target->b, .count = place->out}, lambda + rank));
    for (size_t o = 0; o < out; o++) {
        for (size_t i = 0; i < in; i++) row[i] = 0;
        for (size_t k = 0; k < rank; k++) {
            const double share = (double)lambda[rank + o] * b[o * rank + k] * lambda[k];
            for (size_t i = 0; i < in; i++) row[i] += share * a[k * state->in + i];
        }
        for (size_t i = 0; i < in; i++) weight[o * in + i] = (float)(weight[o * in + i] + row[i]);
    }
fail:
    espl_free(ctx, &a);
    espl_free(ctx, &b);
    espl_free(ctx, &lambda);
    espl_free(ctx, &row);
    return status;
}

static void finish(espl_adapter *adapter) {
    vera_state *state = adapter->state;
    espl_free(context(adapter), &state->targets);
    espl_free(context(adapter), &adapter->state);
}

const espl_method espl_method_vera = {
    .name = "vera",
    .peft_type = "VERA",
    .properties = {.intra = ESPL_INTRA_DENSE,
                   .adapted = ESPL_ADAPTED_REPARAMETERISATION,
                   .sharing = ESPL_SHARING_SHARED,
                   .input = ESPL_INPUT_HIDDEN,
                   .insertion = ESPL_INSERTION_PARALLEL,
                   .integration = ESPL_INTEGRATION_SCALED_ADDITION,
                   .sites = 1u << ESPL_SITE_LINEAR},
    .keys = {spec_keys},
    .declare = declare,
    .initialise = initialise,
    .join = join,
    .adds = true,
    .merge = merge,
    .finish = finish};
