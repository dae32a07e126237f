/* Representation fine-tuning (Wu et al. 2024, arXiv 2404.03592, section 3): hidden states of the first and the last tokens of a
 * row are edited where they leave a block,
 *   h + R^T (f(W h + b) - R h)   LoReFT, R with orthonormal rows; NoReFT, R as it is; DiReFT without - R h
 * Options and files are the Adapters library's: a unit for the first tokens and one for the last unless they are tied; both read
 * what the block gave, and where they meet the second counts. LoReFT's R is what torch makes of "original" and "base": the first
 * rows of base's transpose, reflected (host/ops/op_householder.h).
 *
 * Positions are those of the whole text, also while it is generated token by token: the library takes each new token for the
 * first and the last. There the last ones are those of the prompt, which is what a text begins with, as the paper has it. */
#include "adapters/initial.h"
#include "adapters/reft_base.h"
#include "adapters/spec.h"
#include "host/ops/op_activation.h"
#include "host/ops/op_add.h"
#include "host/ops/op_householder.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_scale.h"
#include <math.h>
#include <string.h>

enum { FIRST, LAST, PLACES };

typedef struct reft_unit {
    uint32_t source, bias, projection; /* matrices [r, hidden], [1, r], [r, hidden]: R, or what it is made of */
    uint32_t base;                     /* [hidden, hidden], frozen; of orthonormal R only */
} reft_unit;

typedef struct reft_state {
    uint32_t rank, positions[PLACES], activation;
    bool orthogonal, subtract, tied, active; /* active: there is a non-linearity */
    float dropout;
    bool *edited; /* owned: per block */
    reft_unit (*units)[PLACES]; /* owned; tied: the first alone */
} reft_state;

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

/* ---- Configuration ---- */

static const espl_spec_row spec_keys[] = {
    {"r", "r", ESPL_SPEC_WHOLE, NULL},
    {"prefix", "prefix_positions", ESPL_SPEC_WHOLE, NULL},
    {"suffix", "suffix_positions", ESPL_SPEC_WHOLE, NULL},
    {"layers", "layers", ESPL_SPEC_NUMBERS, NULL},
    {"tied", "tied_weights", ESPL_SPEC_BOOL, NULL},
    {"activation", "non_linearity", ESPL_SPEC_ACTIVATION, NULL},
    {"dropout", "dropout", ESPL_SPEC_NUMBER, NULL},
    {0}};

static espl_status complete(espl_adapter *adapter, bool orthogonal, bool subtract) {
    const espl_spec_value rows[] = {{"architecture", json_string("reft")},
                {"layers", json_string("all")},
                {"prefix_positions", json_integer(3)},
                {"suffix_positions", json_integer(0)},
                {"r", json_integer(1)},
                {"orthogonality", json_boolean(orthogonal)},
                {"tied_weights", json_false()},
                {"subtract_projection", json_boolean(subtract)},
                {"dropout", json_real(0.05)},
                {"non_linearity", json_null()},
                {"dtype", json_null()},
                {"init_weights_seed", json_null()},
                {"output_reft", json_true()}};
    return espl_spec_defaults(adapter, rows, ESPL_COUNT(rows));
}

static espl_status read_layers(espl_adapter *adapter, reft_state *state) {
    const uint32_t count = adapter->model->config.layers;
    const json_t *layers = json_object_get(adapter->config, "layers");
    const bool all = json_is_string(layers) && strcmp(json_string_value(layers), "all") == 0;
    if (!all && !json_is_array(layers))
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: \"layers\" is %s, all or a list of numbers was expected",
                         adapter->method->name, json_is_string(layers) ? json_string_value(layers) : espl_json_type_name(layers));
    ESPL_TRY(espl_new(context(adapter), count * sizeof *state->edited, &state->edited));
    for (uint32_t i = 0; all && i < count; i++) state->edited[i] = true;
    for (size_t i = 0; i < json_array_size(layers); i++) {
        int64_t layer;
        if (!espl_json_as_i64(json_array_get(layers, i), &layer) || layer < 0 || layer >= count)
            return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: \"layers\" must be all, or numbers below %u",
                             adapter->method->name, count);
        state->edited[layer] = true;
    }
    return ESPL_OK;
}

static espl_status read_config(espl_adapter *adapter, reft_state *state) {
    espl_context *ctx = context(adapter);
    const uint32_t hidden = adapter->model->config.hidden;
    const char *activation;
    ESPL_TRY(espl_json_u32(ctx, adapter->config, "r", 1, &state->rank));
    ESPL_TRY(espl_json_u32(ctx, adapter->config, "prefix_positions", 3, &state->positions[FIRST]));
    ESPL_TRY(espl_json_u32(ctx, adapter->config, "suffix_positions", 0, &state->positions[LAST]));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "orthogonality", false, &state->orthogonal));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "subtract_projection", true, &state->subtract));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "tied_weights", false, &state->tied));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "dropout", 0, &state->dropout));
    ESPL_TRY(espl_json_string(ctx, adapter->config, "non_linearity", NULL, &activation));
    state->active = activation != NULL;
    if (activation && !espl_config_activation(activation, &state->activation))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: non_linearity \"%s\" is not supported", adapter->method->name, activation);
    if (state->rank == 0 || state->rank >= hidden)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: r %u is not from 1 to below the hidden size of %u", adapter->method->name,
                         state->rank, hidden);
    if (state->positions[FIRST] + (uint64_t)state->positions[LAST] == 0)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: with prefix_positions and suffix_positions 0 nothing is edited",
                         adapter->method->name);
    if (!(state->dropout >= 0 && state->dropout < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: dropout %g is not from 0 to below 1", adapter->method->name,
                         (double)state->dropout);
    return read_layers(adapter, state);
}

/* ---- Declaring ---- */

static espl_status add(espl_adapter *adapter, const char *module, const char *part, uint32_t rows, uint32_t cols, bool vector,
                       uint32_t *out_index) {
    char *name;
    ESPL_TRY(espl_store_matrix(&adapter->store, part, rows, cols, ESPL_DTYPE_F32, !vector, out_index));
    ESPL_TRY(espl_format(context(adapter), &name, "%s.%s", module, part));
    espl_status status = espl_store_entry(&adapter->store, name, *out_index, 0, vector ? cols : rows, vector);
    espl_free(context(adapter), &name);
    return status;
}

static espl_status declare_unit(espl_adapter *adapter, const reft_state *state, const char *module, reft_unit *unit) {
    const uint32_t d = adapter->model->config.hidden, r = state->rank;
    espl_store *store = &adapter->store;
    ESPL_TRY(add(adapter, module, "learned_source.weight", r, d, false, &unit->source));
    ESPL_TRY(add(adapter, module, "learned_source.bias", 1, r, true, &unit->bias));
    unit->base = ESPL_NO_MATRIX;
    if (!state->orthogonal) return add(adapter, module, "projection.weight", r, d, false, &unit->projection);
    ESPL_TRY(add(adapter, module, "projection.parametrizations.weight.original", r, d, false, &unit->projection));
    /* Its diagonal is signs: nothing may make them smaller. */
    store->matrices[unit->projection].decay = false;
    ESPL_TRY(add(adapter, module, "projection.parametrizations.weight.0.base", d, d, false, &unit->base));
    store->matrices[unit->base].frozen = true;
    return ESPL_OK;
}

static espl_status declare(espl_adapter *adapter, bool orthogonal, bool subtract) {
    espl_context *ctx = context(adapter);
    const uint32_t layers = adapter->model->config.layers;
    reft_state *state;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    adapter->state = state;
    ESPL_TRY(complete(adapter, orthogonal, subtract));
    ESPL_TRY(read_config(adapter, state));
    ESPL_TRY(espl_new(ctx, layers * sizeof *state->units, &state->units));
    for (uint32_t block = 0; block < layers; block++) {
        for (int place = 0; state->edited[block] && place < (state->tied ? 1 : PLACES); place++) {
            char *path, *module = NULL;
            ESPL_TRY(espl_model_block_path(adapter->model, block, &path));
            espl_status status = espl_format(ctx, &module, "%s.reft_layer.refts.%s.units.%d", path, adapter->file_name, place);
            if (status == ESPL_OK) status = declare_unit(adapter, state, module, &state->units[block][place]);
            espl_free(ctx, &module);
            espl_free(ctx, &path);
            ESPL_TRY(status);
        }
    }
    return ESPL_OK;
}

/* As torch's linear maps, U(+-1/sqrt(hidden)); R anywhere among the orthonormal ones, where "original" is minus the identity. */
static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    espl_store *store = &adapter->store;
    const float bound = 1 / sqrtf((float)adapter->model->config.hidden);
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        if (strstr(e->name, ".original")) ESPL_TRY(espl_reft_original(store, e));
        else if (strstr(e->name, ".base")) ESPL_TRY(espl_reft_base(store, e, ((reft_state *)adapter->state)->rank, seed));
        else ESPL_TRY(espl_initial_uniform(store, e, seed, bound));
    }
    return ESPL_OK;
}

/* ---- Use ---- */

static espl_tensor *leaf(espl_builder *builder, const espl_adapter *adapter, uint32_t matrix) {
    return espl_build_leaf(builder, &adapter->store, matrix);
}

/* R [r, hidden], f32. */
static espl_tensor *projection(espl_builder *builder, const espl_adapter *adapter, const reft_unit *unit) {
    espl_tensor *p = leaf(builder, adapter, unit->projection);
    if (unit->base == ESPL_NO_MATRIX) return p;
    return espl_graph_matmul(builder->graph, &(espl_matmul){.a = espl_graph_householder(builder->graph, &(espl_householder){.x = p}),
                                                            .b = leaf(builder, adapter, unit->base), .orientation = MATMUL_NT});
}

/* y + mask * R^T (f(W h + b) - R h); mask NULL: everywhere. */
static espl_tensor *edit(espl_builder *builder, const espl_adapter *adapter, const reft_unit *unit, espl_tensor *h,
                         espl_tensor *mask, espl_tensor *y) {
    const reft_state *state = adapter->state;
    espl_graph *graph = builder->graph;
    espl_tensor *r = projection(builder, adapter, unit);
    espl_tensor *u = espl_graph_matmul(graph, &(espl_matmul){.a = h, .b = leaf(builder, adapter, unit->source),
                                                             .orientation = MATMUL_NT, .bias = leaf(builder, adapter, unit->bias)});
    if (state->active) u = espl_graph_activation(graph, &(espl_activation){.x = u, .kind = state->activation});
    if (state->subtract)
        u = espl_graph_matmul(graph, &(espl_matmul){.a = h, .b = r, .orientation = MATMUL_NT, .scale = -1, .residual = u});
    if (mask) u = espl_graph_scale(graph, &(espl_scale){.x = u, .s = mask});
    return espl_graph_matmul(graph, &(espl_matmul){.a = u, .b = r, .orientation = MATMUL_NN, .residual = y});
}

/* 1 at the rows of a unit, 0 elsewhere; the third is 1 where no unit edits. */
static espl_tensor *rows_of(espl_builder *builder, const espl_adapter *adapter, int which) {
    static const char *const names[] = {"first tokens", "last tokens", "other tokens"};
    espl_tensor *made = espl_build_step_made(builder, adapter, (uint32_t)which);
    if (made) return made;
    return espl_build_step(builder, adapter, names[which], builder->batch * builder->tokens, 1, ESPL_DTYPE_F32);
}

static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *h) {
    const reft_state *state = adapter->state;
    espl_graph *graph = builder->graph;
    if (!h || !state->edited[joint->block]) return h;
    if (builder->prompt)
        return espl_graph_fail(graph, espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: with rows before the text is not supported",
                                                adapter->method->name));
    espl_tensor *mask[PLACES], *other = NULL, *y = h;
    const bool drops = builder->training && state->dropout > 0;
    for (int place = 0; place < PLACES; place++) mask[place] = rows_of(builder, adapter, place);
    if (drops) other = rows_of(builder, adapter, PLACES), y = espl_graph_scale(graph, &(espl_scale){.x = h, .s = other});
    for (int place = 0; place < PLACES; place++) {
        const reft_unit *unit = &state->units[joint->block][state->tied ? FIRST : place];
        if (!state->positions[place]) continue;
        if (!drops) {
            y = edit(builder, adapter, unit, h, mask[place], y);
            continue;
        }
        /* The whole edited state is dropped out. */
        espl_tensor *edited = espl_build_dropout(builder, edit(builder, adapter, unit, h, NULL, h), state->dropout);
        edited = espl_graph_scale(graph, &(espl_scale){.x = edited, .s = mask[place]});
        y = espl_graph_add(graph, &(espl_add_args){y, edited});
    }
    return y;
}

static espl_status step(const espl_adapter *adapter, const espl_step_info *info, void *const *values) {
    const reft_state *state = adapter->state;
    float *const *masks = (float *const *)values;
    const bool drops = info->training && state->dropout > 0;
    for (uint32_t b = 0; b < info->batch; b++) {
        const uint32_t length = espl_step_length(info, b);
        const uint64_t end = info->opening ? info->opening : length;
        for (uint32_t i = 0; i < info->tokens; i++) {
            const size_t at = ((size_t)b * info->tokens + i) * 4; /* rows every 4 elements */
            const uint64_t position = (uint64_t)info->position + i;
            const bool last = position < end && position + state->positions[LAST] >= end;
            const bool first = i < length && !last && position < state->positions[FIRST];
            masks[FIRST][at] = first;
            masks[LAST][at] = last;
            if (drops) masks[PLACES][at] = !first && !last;
        }
    }
    return ESPL_OK;
}

static void finish(espl_adapter *adapter) {
    reft_state *state = adapter->state;
    espl_free(context(adapter), &state->edited);
    espl_free(context(adapter), &state->units);
    espl_free(context(adapter), &adapter->state);
}

/* ---- Rows ---- */

static bool is_lo(const json_t *config) {
    return json_is_true(json_object_get(config, "orthogonality"));
}

/* The library does not write that key for a DiReFT; without it a file is read as it reads it. */
static bool is_di(const json_t *config) {
    return json_is_false(json_object_get(config, "subtract_projection"));
}

#define REFT(id, recognised, is_orthogonal, subtracts)                                             \
    static espl_status declare_##id(espl_adapter *adapter) {                                       \
        return declare(adapter, is_orthogonal, subtracts);                                         \
    }                                                                                              \
    const espl_method espl_method_##id = {.name = #id,                                             \
                                          .architecture = "reft",                                  \
                                          .recognise = recognised,                                 \
                                          .properties = {.intra = ESPL_INTRA_DENSE,                \
                                                         .inter = ESPL_INTER_FIXED_SPARSE,         \
                                                         .adapted = ESPL_ADAPTED_ADDITION,         \
                                                         .input = ESPL_INPUT_HIDDEN,               \
                                                         .insertion = ESPL_INSERTION_SEQUENTIAL,   \
                                                         .integration = ESPL_INTEGRATION_DIRECT_ADDITION, \
                                                         .sites = 1u << ESPL_SITE_BLOCK_OUT},      \
                                          .keys = {spec_keys},                                          \
                                          .declare = declare_##id,                                 \
                                          .initialise = initialise,                                \
                                          .join = join,                                            \
                                          .step = step,                                            \
                                          .finish = finish};

REFT(loreft, is_lo, true, true)
REFT(direft, is_di, false, false)
REFT(noreft, NULL, false, true)
