/* FLOP: the baseline that DyLoRA is compared with, Wang et al. 2020 (arXiv 1910.04732): a target's weight is replaced by two
 * factors and a gate for each of their ranks,
 *   y = ((x P) * z) Q + b,   z hard concrete gates of "log_alpha",
 * all trained from random values, while a penalty with multipliers lambda, which rise as long as it is broken, closes gates
 * until a share of the factors is gone. The target share rises linearly during the first `warmup` of all steps. Outside of
 * training nothing is drawn: as many gates as are open on average stay open. A type of ours: "<module>.P.weight" [in, k],
 * "<module>.Q.weight" [k, out], "<module>.bias", "<module>.log_alpha" [k], "flop.lambda" [2]. */
#include "adapters/initial.h"
#include "adapters/lora.h"
#include "adapters/spec.h"
#include "adapters/targets.h"
#include "host/ops/op_hard_concrete.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_scale.h"
#include <math.h>
#include <string.h>

/* Maddison's and Louizos' stretch, and what FLOP's authors multiply log_alpha with where nothing is drawn. */
static const float beta = 1, low = -0.1f, high = 1.1f, soft = 0.8f;

typedef struct flop_target {
    uint32_t k; /* 0: not a target */
    uint32_t p, q, bias;
    uint32_t from; /* its first gate, a multiple of 4 */
} flop_target;

typedef struct flop_state {
    double sparsity, warmup, p0;
    float rate;
    uint32_t gates, log_alpha, lambda;
    float *share; /* owned, [gates]: of all values of factors, those that a gate has; 0 between targets */
    flop_target (*targets)[ESPL_LINEAR_COUNT][ESPL_LINEAR_PARTS]; /* owned, one row per block */
} flop_state;

/* Tensors of the step buffer. */
enum { TARGET, SHARE, INPUTS };

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static const espl_spec_row spec_keys[] = {
    {"k", "k", ESPL_SPEC_WHOLE, NULL},
    {"sparsity", "sparsity", ESPL_SPEC_NUMBER, NULL},
    {"warmup", "warmup", ESPL_SPEC_NUMBER, NULL},
    {"p0", "drop_init", ESPL_SPEC_NUMBER, NULL},
    {"lambda_rate", "lambda_rate", ESPL_SPEC_NUMBER, NULL},
    {"targets", "target_modules", ESPL_SPEC_MODULES, NULL},
    {"save", "modules_to_save", ESPL_SPEC_LIST, NULL},
    {0}};

/* ---- Declaring ---- */

static espl_status read_config(espl_adapter *adapter, flop_state *state) {
    espl_context *ctx = context(adapter);
    ESPL_TRY(espl_spec_default(adapter, "target_modules", json_string("all-linear")));
    ESPL_TRY(espl_spec_default(adapter, "k", json_null()));
    ESPL_TRY(espl_spec_default(adapter, "sparsity", json_real(0.5)));
    ESPL_TRY(espl_spec_default(adapter, "warmup", json_real(0.5)));
    ESPL_TRY(espl_spec_default(adapter, "drop_init", json_real(0.5)));
    ESPL_TRY(espl_spec_default(adapter, "lambda_rate", json_real(10)));
    ESPL_TRY(espl_spec_default(adapter, "modules_to_save", json_null()));
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "sparsity", 0.5, &state->sparsity));
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "warmup", 0.5, &state->warmup));
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "drop_init", 0.5, &state->p0));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "lambda_rate", 10, &state->rate));
    if (!(state->sparsity >= 0 && state->sparsity < 1) || !(state->warmup >= 0 && state->warmup <= 1) || !(state->rate > 0))
        return espl_fail(ctx, ESPL_ARGUMENT, "flop: sparsity %g is not from 0 to below 1, warmup %g not from 0 to 1, or "
                         "lambda_rate %g not above 0", state->sparsity, state->warmup, (double)state->rate);
    if (!(state->p0 > 0 && state->p0 < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "flop: drop_init %g is not between 0 and 1", state->p0);
    return ESPL_OK;
}

static espl_status declare_factors(espl_adapter *adapter, const char *path, uint32_t in, uint32_t out, flop_target *t) {
    espl_store *store = &adapter->store;
    ESPL_TRY(espl_store_matrix(store, "flop P", in, t->k, ESPL_DTYPE_F32, true, &t->p));
    ESPL_TRY(espl_lora_entry(adapter, path, "P.weight", t->p, 0, in, false));
    ESPL_TRY(espl_store_matrix(store, "flop Q", t->k, out, ESPL_DTYPE_F32, true, &t->q));
    ESPL_TRY(espl_lora_entry(adapter, path, "Q.weight", t->q, 0, t->k, false));
    ESPL_TRY(espl_store_matrix(store, "flop bias", 1, out, ESPL_DTYPE_F32, false, &t->bias));
    return espl_lora_entry(adapter, path, "bias", t->bias, 0, out, true);
}

static espl_status declare_target(espl_adapter *adapter, flop_state *state, uint32_t block, uint32_t linear, uint32_t part) {
    espl_context *ctx = context(adapter);
    const espl_linear_shape *shape = &adapter->model->linear[linear];
    const uint32_t in = shape->in, out = shape->part[part].count;
    flop_target *t = &state->targets[block][linear][part];
    const uint32_t k = (uint32_t)((uint64_t)in * out / (in + out));
    char *path;
    bool selected;
    ESPL_TRY(espl_model_module(adapter->model, block, linear, part, &path));
    espl_status status = espl_target_selected(adapter, block, path, &selected);
    if (status != ESPL_OK || !selected) goto fail;
    ESPL_GOTO(espl_json_u32(ctx, adapter->config, "k", k, &t->k));
    if (t->k < 1 || t->k > 65536) {
        ESPL_GOTO(espl_fail(ctx, ESPL_ARGUMENT, "flop: k %u of %s is not from 1 to 65536", t->k, path));
    }
    t->from = state->gates;
    state->gates += (uint32_t)espl_round_up(t->k, 4);
    ESPL_GOTO(declare_factors(adapter, path, in, out, t));
fail:
    espl_free(ctx, &path);
    return status;
}

typedef espl_status (*visit)(espl_adapter *adapter, flop_state *state, uint32_t block, uint32_t linear, uint32_t part);

static espl_status each_part(espl_adapter *adapter, flop_state *state, visit f) {
    const espl_model *model = adapter->model;
    for (uint32_t block = 0; block < model->config.layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && model->linear[l].part[p].count; p++)
                ESPL_TRY(f(adapter, state, block, l, p));
        }
    }
    return ESPL_OK;
}

/* All gates are one row, so that the penalty sees them together. */
static espl_status declare_gates(espl_adapter *adapter, flop_state *state, uint32_t block, uint32_t linear, uint32_t part) {
    const espl_linear_shape *shape = &adapter->model->linear[linear];
    const flop_target *t = &state->targets[block][linear][part];
    char *path;
    if (!t->k) return ESPL_OK;
    for (uint32_t i = 0; i < t->k; i++) state->share[t->from + i] = (float)(shape->in + shape->part[part].count);
    ESPL_TRY(espl_model_module(adapter->model, block, linear, part, &path));
    espl_status status = espl_lora_entry(adapter, path, "log_alpha", state->log_alpha, t->from, t->k, true);
    espl_free(context(adapter), &path);
    return status;
}

static espl_status declare(espl_adapter *adapter) {
    espl_context *ctx = context(adapter);
    const espl_model *model = adapter->model;
    espl_store *store = &adapter->store;
    flop_state *state;
    double sum = 0;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    adapter->state = state;
    ESPL_TRY(read_config(adapter, state));
    ESPL_TRY(espl_new(ctx, model->config.layers * sizeof *state->targets, &state->targets));
    ESPL_TRY(each_part(adapter, state, declare_target));
    if (!state->gates) return espl_target_none(adapter);
    ESPL_TRY(espl_new(ctx, state->gates * sizeof *state->share, &state->share));
    ESPL_TRY(espl_store_matrix(store, "flop log_alpha", 1, state->gates, ESPL_DTYPE_F32, false, &state->log_alpha));
    ESPL_TRY(each_part(adapter, state, declare_gates));
    for (uint32_t i = 0; i < state->gates; i++) sum += (double)state->share[i];
    for (uint32_t i = 0; i < state->gates; i++) state->share[i] = (float)((double)state->share[i] / sum);
    ESPL_TRY(espl_store_matrix(store, "flop lambda", 1, 2, ESPL_DTYPE_F32, false, &state->lambda));
    store->matrices[state->lambda].rate = state->rate;
    ESPL_TRY(espl_store_entry(store, "base_model.model.flop.lambda", state->lambda, 0, 2, true));
    return espl_target_saved(adapter);
}

/* Xavier's uniform for P and Q, U(+-1/sqrt(in)) for the bias, N(log(1 - p0) - log p0, 0.01^2) for the gates. */
static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    const flop_state *state = adapter->state;
    espl_store *store = &adapter->store;
    uint32_t in = 1;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        const espl_matrix *m = &store->matrices[e->matrix];
        if (strcmp(m->label, "flop P") == 0) in = m->rows;
        if (strcmp(m->label, "flop P") == 0 || strcmp(m->label, "flop Q") == 0)
            ESPL_TRY(espl_initial_uniform(store, e, seed, sqrtf(6.0f / (float)(m->rows + m->cols))));
        else if (strcmp(m->label, "flop bias") == 0)
            ESPL_TRY(espl_initial_uniform(store, e, seed, 1 / sqrtf((float)in)));
        else if (e->matrix == state->log_alpha)
            ESPL_TRY(espl_initial_around(store, e, seed, (float)(log(1 - state->p0) - log(state->p0)), 0.01f));
    }
    return ESPL_OK;
}

/* ---- Use ---- */

/* A tensor of the step buffer; the first call makes them all. */
static espl_tensor *input(espl_builder *builder, const espl_adapter *adapter, uint32_t which) {
    const flop_state *state = adapter->state;
    for (uint32_t i = 0; i < INPUTS; i++) {
        if (!espl_build_step_made(builder, adapter, i))
            espl_build_step(builder, adapter, "flop", 1, i == TARGET ? 1 : state->gates, ESPL_DTYPE_F32);
    }
    return espl_build_step_made(builder, adapter, which);
}

/* ((x P) * z) Q, with its bias: added to the columns of the part, or what they are set to where the base gives none of them. */
static espl_tensor *product(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, uint32_t part,
                            bool whole, espl_tensor *y) {
    const flop_state *state = adapter->state;
    const flop_target *t = &state->targets[joint->block][joint->linear][part];
    const espl_linear_shape *shape = &adapter->model->linear[joint->linear];
    const espl_store *store = &adapter->store;
    espl_graph *graph = builder->graph;
    espl_tensor *z = espl_graph_hard_concrete(
        graph, &(espl_hard_concrete){.alpha = espl_build_leaf(builder, store, state->log_alpha), .from = t->from, .count = t->k,
                                     .beta = beta, .low = low, .high = high, .soft = soft, .drawn = builder->training,
                                     .site = builder->training ? builder->dropouts++ : 0});
    espl_tensor *u = espl_graph_matmul(graph, &(espl_matmul){.a = joint->x, .b = espl_build_leaf(builder, store, t->p),
                                                             .orientation = MATMUL_NN});
    u = espl_graph_scale(graph, &(espl_scale){.x = u, .s = z});
    return espl_graph_matmul(graph, &(espl_matmul){.a = u, .b = espl_build_leaf(builder, store, t->q), .orientation = MATMUL_NN,
                                                   .bias = espl_build_leaf(builder, store, t->bias), .into = y,
                                                   .into_from = shape->part[part].from, .into_cols = y ? 0 : shape->out,
                                                   .unset = whole});
}

/* Where every part is a target nobody reads the base's product, so it does not run. */
static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const flop_state *state = adapter->state;
    if (joint->block == ESPL_NO_BLOCK) return y;
    const flop_target *targets = state->targets[joint->block][joint->linear];
    const espl_columns *part = adapter->model->linear[joint->linear].part;
    bool whole = true;
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && part[p].count; p++) whole = whole && targets[p].k;
    if (whole) y = NULL;
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && part[p].count; p++) {
        if (!targets[p].k) continue;
        if (!whole)
            y = espl_graph_scale(builder->graph, &(espl_scale){.x = y, .from = part[p].from, .count = part[p].count, .number = 0});
        y = product(builder, adapter, joint, p, whole, y);
    }
    return y;
}

/* Weight and bias of a target. */
static bool replaces(const espl_adapter *adapter, const espl_entry *base) {
    const espl_model *model = adapter->model;
    const flop_state *state = adapter->state;
    for (uint32_t block = 0; block < model->config.layers; block++) {
        const espl_block_weights *w = &model->blocks[block];
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            if (w->weight[l] != base->matrix && w->bias[l] != base->matrix) continue;
            for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
                if (state->targets[block][l][p].k && model->linear[l].part[p].from == base->from) return true;
            }
        }
    }
    return false;
}

static espl_status step(const espl_adapter *adapter, const espl_step_info *info, void *const *values) {
    const flop_state *state = adapter->state;
    const double end = state->warmup * info->steps, grown = end > 0 ? info->step / end : 1;
    *(float *)values[TARGET] = (float)(state->sparsity * fmin(grown, 1));
    memcpy(values[SHARE], state->share, state->gates * sizeof *state->share);
    return ESPL_OK;
}

static bool settled(const espl_adapter *adapter, uint32_t done, uint32_t steps) {
    return done >= ((const flop_state *)adapter->state)->warmup * steps;
}

static espl_status update(espl_builder *builder, const espl_adapter *adapter, espl_update when) {
    const flop_state *state = adapter->state;
    if (when != ESPL_UPDATE_BEFORE) return ESPL_OK;
    espl_graph_sparsity(builder->graph, &(espl_sparsity){.alpha = espl_build_state(builder, adapter, state->log_alpha),
                                                         .lambda = espl_build_state(builder, adapter, state->lambda),
                                                         .dalpha = espl_build_gradient(builder, adapter, state->log_alpha),
                                                         .dlambda = espl_build_gradient(builder, adapter, state->lambda),
                                                         .share = input(builder, adapter, SHARE),
                                                         .target = input(builder, adapter, TARGET),
                                                         .beta = beta, .low = low, .high = high});
    return espl_graph_status(builder->graph);
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

/* The gates where nothing is drawn (shaders/hard_concrete.comp). */
static void open_gates(const float *alpha, uint32_t k, double *z) {
    const double shift = beta * log((double)-low / high);
    double open = 0;
    for (uint32_t i = 0; i < k; i++) open += sigmoid(alpha[i] - shift);
    for (uint32_t i = 0; i < k; i++) {
        uint32_t below = 0;
        for (uint32_t j = 0; j < k; j++) below += alpha[j] < alpha[i] || (alpha[j] == alpha[i] && j < i);
        z[i] = below >= round(k - open) ? sigmoid((double)soft * alpha[i] / beta) : 0;
    }
}

static void multiply(const float *p, const double *z, const float *q, uint32_t k, const espl_place *place, float *weight) {
    for (uint32_t o = 0; o < place->out; o++) {
        for (uint32_t i = 0; i < place->in; i++) {
            double sum = 0;
            for (uint32_t r = 0; r < k; r++) sum += (double)p[(size_t)i * k + r] * z[r] * q[(size_t)r * place->out + o];
            weight[(size_t)o * place->in + i] = (float)sum;
        }
    }
}

/* The product with the gates that stay open takes the weight's place, and the bias its own. */
static espl_status merge(espl_adapter *adapter, const espl_place *place, float *weight, float *bias, bool *out_changed) {
    espl_context *ctx = context(adapter);
    const flop_state *state = adapter->state;
    const flop_target *t = &state->targets[place->block][place->linear][place->part];
    espl_store *store = &adapter->store;
    const espl_entry p_entry = {.matrix = t->p, .count = place->in}, q_entry = {.matrix = t->q, .count = t->k};
    const espl_entry alpha_entry = {.matrix = state->log_alpha, .from = t->from, .count = t->k, .vector = true};
    const espl_entry bias_entry = {.matrix = t->bias, .count = place->out, .vector = true};
    float *p = NULL, *q = NULL, *alpha = NULL;
    double *z = NULL;
    espl_status status = ESPL_OK;
    *out_changed = t->k != 0;
    if (!*out_changed) return ESPL_OK;
    if (!bias)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "flop: a %s model has no bias there, and a target's product has one: it cannot be merged",
                         adapter->model->config.family->model_type);
    ESPL_GOTO(espl_new(ctx, (size_t)place->in * t->k * sizeof *p, &p));
    ESPL_GOTO(espl_new(ctx, (size_t)t->k * place->out * sizeof *q, &q));
    ESPL_GOTO(espl_new(ctx, t->k * sizeof *alpha, &alpha));
    ESPL_GOTO(espl_new(ctx, t->k * sizeof *z, &z));
    ESPL_GOTO(espl_store_read(store, &p_entry, p));
    ESPL_GOTO(espl_store_read(store, &q_entry, q));
    ESPL_GOTO(espl_store_read(store, &alpha_entry, alpha));
    ESPL_GOTO(espl_store_read(store, &bias_entry, bias));
    open_gates(alpha, t->k, z);
    multiply(p, z, q, t->k, place, weight);
fail:
    espl_free(ctx, &p);
    espl_free(ctx, &q);
    espl_free(ctx, &alpha);
    espl_free(ctx, &z);
    return status;
}

static void finish(espl_adapter *adapter) {
    flop_state *state = adapter->state;
    espl_free(context(adapter), &state->share);
    espl_free(context(adapter), &state->targets);
    espl_free(context(adapter), &adapter->state);
}

const espl_method espl_method_flop = {
    .name = "flop",
    .peft_type = "FLOP",
    .properties = {.intra = ESPL_INTRA_DENSE,
                   .adapted = ESPL_ADAPTED_REPARAMETERISATION,
                   .input = ESPL_INPUT_HIDDEN,
                   .insertion = ESPL_INSERTION_PARALLEL,
                   .integration = ESPL_INTEGRATION_REPLACEMENT,
                   .sites = 1u << ESPL_SITE_LINEAR},
    .keys = {spec_keys},
    .declare = declare,
    .initialise = initialise,
    .join = join,
    .replaces = replaces,
    .step = step,
    .settled = settled,
    .update = update,
    .merge = merge,
    .finish = finish};
