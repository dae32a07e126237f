/* Prefix tuning in the Adapters library's folders: keys and values before those of every block, made by a generator or "flat",
 * gated for UniPELT: by one gate, or by one for keys and one for values. Other than PEFT's, real tokens keep their positions. */
#include "adapters/initial.h"
#include "adapters/library.h"
#include "adapters/prompt.h"
#include "adapters/spec.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static const espl_spec_row spec_keys[] = {
    {"length", "prefix_length", ESPL_SPEC_WHOLE, NULL},
    {"bottleneck", "bottleneck_size", ESPL_SPEC_WHOLE, NULL},
    {"activation", "non_linearity", ESPL_SPEC_ACTIVATION, NULL},
    {"dropout", "dropout", ESPL_SPEC_NUMBER, NULL},
    {"leave_out", "leave_out", ESPL_SPEC_NUMBERS, NULL},
    {"flat", "flat", ESPL_SPEC_BOOL, NULL},
    {"gated", "use_gating", ESPL_SPEC_BOOL, NULL},
    {"shared", "shared_gating", ESPL_SPEC_BOOL, NULL},
    {0}};

static espl_status complete(espl_adapter *adapter) {
    const espl_spec_value rows[] = {{"architecture", json_string("prefix_tuning")},
                {"encoder_prefix", json_true()},
                {"cross_prefix", json_true()},
                {"leave_out", json_array()},
                {"flat", json_false()},
                {"prefix_length", json_integer(30)},
                {"bottleneck_size", json_integer(512)},
                {"non_linearity", json_string("tanh")},
                {"dropout", json_real(0)},
                {"use_gating", json_false()},
                {"shared_gating", json_true()},
                {"init_weights_seed", json_null()}};
    return espl_spec_defaults(adapter, rows, ESPL_COUNT(rows));
}

static espl_status read_config(espl_adapter *adapter, prompt_state *state) {
    espl_context *ctx = context(adapter);
    const json_t *config = adapter->config;
    const char *activation;
    ESPL_TRY(espl_prompt_read_rows(adapter, "prefix_length", state));
    ESPL_TRY(espl_json_f32(ctx, config, "dropout", 0, &state->dropout));
    ESPL_TRY(espl_json_string(ctx, config, "non_linearity", "tanh", &activation));
    if (!espl_config_activation(activation, &state->generator.activation))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: non_linearity \"%s\" is not supported", adapter->method->name, activation);
    if (!(state->dropout >= 0 && state->dropout < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: dropout %g is not from 0 to below 1", adapter->method->name,
                         (double)state->dropout);
    return ESPL_OK;
}

/* Blocks with rows. */
static espl_status read_left_out(espl_adapter *adapter, prompt_state *state, uint32_t *out_count) {
    espl_context *ctx = context(adapter);
    const uint32_t layers = adapter->model->config.layers;
    *out_count = layers;
    ESPL_TRY(espl_library_check_left_out(ctx, adapter->config, layers));
    if (!json_array_size(json_object_get(adapter->config, "leave_out"))) return ESPL_OK;
    ESPL_TRY(espl_new(ctx, layers * sizeof *state->rowless, &state->rowless));
    for (uint32_t block = 0; block < layers; block++) {
        state->rowless[block] = espl_library_left_out(adapter->config, block);
        *out_count -= state->rowless[block];
    }
    if (*out_count) return ESPL_OK;
    return espl_fail(ctx, ESPL_ARGUMENT, "%s: \"leave_out\" has all of the model's %u blocks", adapter->method->name, layers);
}

/* ---- Declaring ---- */

enum { NAME_BYTES = 256 };

static void name_of(const espl_adapter *adapter, const char *part, char out_name[NAME_BYTES]) {
    snprintf(out_name, NAME_BYTES, "%sprefix_tuning.prefix_tunings.%s.self_prefix.%s", adapter->model->config.family->prefix,
             adapter->file_name, part);
}

static espl_status declare_flat(espl_adapter *adapter, prompt_state *state, uint32_t columns) {
    char name[NAME_BYTES];
    const uint32_t shape[] = {adapter->before * columns};
    name_of(adapter, "control_trans", name);
    ESPL_TRY(espl_store_matrix(&adapter->store, "control_trans", adapter->before, columns, ESPL_DTYPE_F32, true, &state->table));
    ESPL_TRY(espl_store_entry(&adapter->store, name, state->table, 0, adapter->before, false));
    espl_store_shape(&adapter->store, 1, shape);
    return ESPL_OK;
}

static espl_status declare_generator(espl_adapter *adapter, prompt_state *state, uint32_t columns) {
    static const char *const parts[] = {"wte.weight", "control_trans.0.weight", "control_trans.0.bias", "control_trans.2.weight",
                                        "control_trans.2.bias"};
    char texts[ESPL_COUNT(parts)][NAME_BYTES];
    const char *names[ESPL_COUNT(parts)];
    espl_generator_sizes sizes = {.maps = 2, .rows = adapter->before, .width = adapter->model->config.hidden, .columns = columns};
    ESPL_TRY(espl_json_u32(context(adapter), adapter->config, "bottleneck_size", 512, &sizes.inner));
    if (sizes.inner == 0)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: bottleneck_size is 0", adapter->method->name);
    for (size_t i = 0; i < ESPL_COUNT(parts); i++) name_of(adapter, parts[i], texts[i]), names[i] = texts[i];
    return espl_generator_declare(adapter, names, &sizes, &state->generator);
}

/* The module of a block's queries without its last step: the library's gates are in the self-attention. */
static espl_status declare_gate(espl_adapter *adapter, const prompt_state *state, uint32_t block, espl_gate *gate) {
    char *path, *module = NULL;
    ESPL_TRY(espl_model_module(adapter->model, block, ESPL_LINEAR_QKV, 0, &path));
    char *last = strrchr(path, '.');
    espl_status status = espl_format(context(adapter), &module, "%.*s.prefix_tuning.prefix_gates.%s",
                                     (int)(last ? last - path : 0), path, adapter->file_name);
    if (status == ESPL_OK) status = espl_gate_declare(adapter, module, adapter->model->config.hidden, state->gate_count, gate);
    espl_free(context(adapter), &module);
    espl_free(context(adapter), &path);
    return status;
}

static espl_status declare(espl_adapter *adapter) {
    const uint32_t layers = adapter->model->config.layers;
    uint32_t with_rows;
    prompt_state *state;
    ESPL_TRY(espl_new(context(adapter), sizeof *state, &state));
    adapter->state = state;
    state->keys = true;
    ESPL_TRY(complete(adapter));
    ESPL_TRY(read_config(adapter, state));
    ESPL_TRY(read_left_out(adapter, state, &with_rows));
    const uint32_t columns = with_rows * 2 * espl_prompt_columns(adapter);
    const bool flat = json_is_true(json_object_get(adapter->config, "flat"));
    ESPL_TRY(flat ? declare_flat(adapter, state, columns) : declare_generator(adapter, state, columns));
    if (!json_is_true(json_object_get(adapter->config, "use_gating"))) return ESPL_OK;
    state->gate_count = json_is_true(json_object_get(adapter->config, "shared_gating")) ? 1 : 2;
    ESPL_TRY(espl_new(context(adapter), layers * sizeof *state->gates, &state->gates));
    for (uint32_t block = 0; block < layers; block++) {
        if (!state->rowless || !state->rowless[block]) ESPL_TRY(declare_gate(adapter, state, block, &state->gates[block]));
    }
    return ESPL_OK;
}

static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    const prompt_state *state = adapter->state;
    espl_store *store = &adapter->store;
    if (state->generator.maps) ESPL_TRY(espl_generator_initialise(adapter, &state->generator, seed));
    else ESPL_TRY(espl_initial_normal(store, &store->entries[0], seed, 1));
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        if (strstr(e->name, ".prefix_gates.") && e->rank > 1) ESPL_TRY(espl_initial_normal(store, e, seed, 0.02f));
    }
    return ESPL_OK;
}

const espl_method espl_method_library_prefix = {
    .name = "library_prefix",
    .architecture = "prefix_tuning",
    .properties = {.intra = ESPL_INTRA_DENSE,
                   .adapted = ESPL_ADAPTED_ADDITION,
                   .input = ESPL_INPUT_WEIGHTS,
                   .insertion = ESPL_INSERTION_PARALLEL,
                   .insertions = ESPL_INSERTIONS_ALL,
                   .integration = ESPL_INTEGRATION_CONCATENATION,
                   .sites = 1u << ESPL_SITE_BEGIN | 1u << ESPL_SITE_KEYS},
    .keys = {spec_keys},
    .declare = declare,
    .initialise = initialise,
    .join = espl_prompt_join,
    .prelude = espl_prompt_prelude,
    .step = espl_prompt_step,
    .finish = espl_prompt_finish};
