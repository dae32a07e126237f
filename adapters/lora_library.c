/* LoRA in the Adapters library's folders, its variants among them: configuration and rows. What they compute stands in
 * lora_library.h. Targets are q, k, v of attn_matrices; the first and the second map of the feed-forward for
 * intermediate_lora and output_lora, but in Llama and its like the last and the second, because the library has it so. Where q,
 * k and v are one map (GPT-2), its A, its B and its gates are one tensor each with rows for those of the three that are targets. */
#include "adapters/lora_library.h"
#include "adapters/library.h"
#include "adapters/spec.h"
#include "host/ops/op_fusion.h"
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static const espl_spec_row spec_keys[] = {
    {"r", "r", ESPL_SPEC_WHOLE, NULL},
    {"alpha", "alpha", ESPL_SPEC_NUMBER, NULL},
    {"dropout", "dropout", ESPL_SPEC_NUMBER, NULL},
    {"attention", "attn_matrices", ESPL_SPEC_LIST, "q, k, v"},
    {"intermediate", "intermediate_lora", ESPL_SPEC_BOOL, NULL},
    {"output", "output_lora", ESPL_SPEC_BOOL, NULL},
    {"leave_out", "leave_out", ESPL_SPEC_NUMBERS, NULL},
    {"init", "init_weights", ESPL_SPEC_TEXT, "lora, bert, vera"},
    {"gated", "use_gating", ESPL_SPEC_BOOL, NULL},
    {0}};
static const espl_spec_row vera_keys[] = {
    {"vera_d", "vera_d", ESPL_SPEC_NUMBER, NULL},
    {"vera_b", "vera_b", ESPL_SPEC_NUMBER, NULL},
    {0}};

static const espl_spec_row mtl_keys[] = {
    {"up", "n_up_projection", ESPL_SPEC_WHOLE, NULL},
    {"sharpness", "weights_sharpness", ESPL_SPEC_NUMBER, NULL},
    {0}};

static bool gives(const json_t *config, const char *key) {
    const json_t *value = json_object_get(config, key);
    return value && !json_is_null(value);
}

static bool is_vera(const json_t *config) {
    return gives(config, "vera_d") || gives(config, "vera_b");
}

static bool is_dora(const json_t *config) {
    return json_is_true(json_object_get(config, "use_dora"));
}

static bool is_mtl(const json_t *config) {
    const char *architecture = json_string_value(json_object_get(config, "architecture"));
    return architecture && strcmp(architecture, "mtl_lora") == 0;
}

bool espl_library_lora_is_plain(const json_t *config) {
    return !is_vera(config) && !is_dora(config) && !json_is_true(json_object_get(config, "use_gating"));
}

static espl_status complete(espl_adapter *adapter) {
    const espl_spec_value rows[] = {{"architecture", json_string(adapter->method->architecture)},
                {"selfattn_lora", json_true()},
                {"intermediate_lora", json_false()},
                {"output_lora", json_false()},
                {"leave_out", json_array()},
                {"r", json_integer(8)},
                {"alpha", json_integer(8)},
                {"dropout", json_real(0)},
                {"attn_matrices", json_pack("[s, s]", "q", "v")},
                {"composition_mode", json_string("add")},
                {"init_weights", json_string(is_vera(adapter->config) ? "vera" : "lora")},
                {"init_weights_seed", json_null()},
                {"use_gating", json_false()},
                {"use_dora", json_false()},
                {"vera_d", json_null()},
                {"vera_b", json_null()},
                {"dtype", json_null()}};
    return espl_spec_defaults(adapter, rows, ESPL_COUNT(rows));
}

static espl_status read_mtl(espl_adapter *adapter, library_lora *library) {
    espl_context *ctx = context(adapter);
    const char *matrix;
    const espl_spec_value rows[] = {{"n_up_projection", json_integer(1)}, {"task_specific_matrix_type", json_string("singular_values")},
                                    {"weights_sharpness", json_real(0.05)}};
    ESPL_TRY(espl_spec_defaults(adapter, rows, ESPL_COUNT(rows)));
    ESPL_TRY(espl_json_u32(ctx, adapter->config, "n_up_projection", 1, &library->ups));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "weights_sharpness", 0.05f, &library->sharpness));
    ESPL_TRY(espl_json_string(ctx, adapter->config, "task_specific_matrix_type", "singular_values", &matrix));
    if (library->ups < 1 || library->ups > ESPL_FUSION_MAX)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: \"n_up_projection\" %u is not from 1 to %d", adapter->method->name, library->ups,
                         ESPL_FUSION_MAX);
    if (!(library->sharpness > 0))
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: \"weights_sharpness\" %g is not above 0", adapter->method->name,
                         (double)library->sharpness);
    if (strcmp(matrix, "singular_values") != 0) /* its "linear" fails in the library itself */
        return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: \"task_specific_matrix_type\" \"%s\" is not singular_values, the only one supported",
                         adapter->method->name, matrix);
    if (!library->dora && !library->vera) return ESPL_OK;
    return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: \"%s\" is not possible with it", adapter->method->name,
                     library->dora ? "use_dora" : "vera_d");
}

static espl_status check_variants(const espl_adapter *adapter, const library_lora *library) {
    const char *mode = json_string_value(json_object_get(adapter->config, "composition_mode"));
    const bool variant = library->dora || library->vera || library->ups, in_out = adapter->model->config.family->stored_in_out;
    if (!mode || strcmp(mode, "add") != 0)
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: composition_mode \"%s\" is not add, the only one supported",
                         adapter->method->name, mode ? mode : "");
    if (variant && (library->fused || in_out))
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: \"%s\" is not possible on a %s model%s", adapter->method->name,
                         library->ups ? "n_up_projection" : library->dora ? "use_dora" : "vera_d",
                         adapter->model->config.family->model_type, library->ups ? "" : ", nor in the Adapters library");
    return ESPL_OK;
}

/* Where one of both is a number, the library's default for the other. */
static espl_status read_vera(espl_adapter *adapter, library_lora *library) {
    double start_d, start_b;
    library->vera = is_vera(adapter->config);
    if (!library->vera) return ESPL_OK;
    ESPL_TRY(espl_json_f64(context(adapter), adapter->config, "vera_d", 0.1, &start_d));
    ESPL_TRY(espl_json_f64(context(adapter), adapter->config, "vera_b", 0, &start_b));
    library->start_d = (float)start_d, library->start_b = (float)start_b;
    /* The library tells VeRA by their being floats. */
    ESPL_TRY(espl_json_set(context(adapter), adapter->config, "vera_d", json_real(start_d)));
    return espl_json_set(context(adapter), adapter->config, "vera_b", json_real(start_b));
}

static espl_status read_initial(espl_adapter *adapter, library_lora *library) {
    static const char *const names[] = {[LIBRARY_INITIAL_LORA] = "lora", [LIBRARY_INITIAL_BERT] = "bert", [LIBRARY_INITIAL_VERA] = "vera"};
    const char *init;
    ESPL_TRY(espl_json_string(context(adapter), adapter->config, "init_weights", "lora", &init));
    for (size_t i = 0; i < ESPL_COUNT(names); i++) {
        if (strcmp(init, names[i]) != 0) continue;
        library->initial = (library_initial)i;
        return ESPL_OK;
    }
    return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: init_weights \"%s\" is not one of lora, bert, vera", adapter->method->name, init);
}

static espl_status read_config(espl_adapter *adapter, lora_state *state, library_lora *library) {
    espl_context *ctx = context(adapter);
    double alpha;
    ESPL_TRY(espl_json_u32(ctx, adapter->config, "r", 8, &library->rank));
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "alpha", 8, &alpha));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "dropout", 0, &state->dropout));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "use_gating", false, &library->gated));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "use_dora", false, &library->dora));
    ESPL_TRY(read_vera(adapter, library));
    if (is_mtl(adapter->config)) ESPL_TRY(read_mtl(adapter, library));
    ESPL_TRY(read_initial(adapter, library));
    if (library->rank < 1 || library->rank > 65536)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: rank %u is not from 1 to 65536", adapter->method->name, library->rank);
    if (!(state->dropout >= 0 && state->dropout < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: dropout %g is not from 0 to below 1", adapter->method->name,
                         (double)state->dropout);
    library->scale = library->gated ? 1 : (float)(alpha / library->rank);
    return ESPL_OK;
}

/* ---- Declaring ---- */

static espl_status declare(espl_adapter *adapter) {
    espl_context *ctx = context(adapter);
    const uint32_t layers = adapter->model->config.layers;
    lora_state *state;
    library_lora *library;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    adapter->state = state;
    ESPL_TRY(espl_new(ctx, sizeof *library + layers * sizeof *library->targets, &library));
    state->own = library;
    library->fused = adapter->model->linear[ESPL_LINEAR_QKV].part[1].count == 0;
    ESPL_TRY(complete(adapter));
    ESPL_TRY(read_config(adapter, state, library));
    ESPL_TRY(check_variants(adapter, library));
    ESPL_TRY(espl_new(ctx, layers * sizeof *state->groups, &state->groups));
    ESPL_TRY(espl_library_check_left_out(ctx, adapter->config, layers));
    for (uint32_t block = 0; block < layers; block++) {
        const bool left = espl_library_left_out(adapter->config, block);
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            state->groups[block][l].a = ESPL_NO_MATRIX;
            if (!left) ESPL_TRY(espl_library_lora_group(adapter, block, l, &state->groups[block][l]));
        }
    }
    return ESPL_OK;
}

/* ---- Rows ---- */

static espl_status declare_dora(espl_adapter *adapter) {
    ESPL_TRY(espl_json_set(context(adapter), adapter->config, "use_dora", json_true()));
    return declare(adapter);
}

static espl_status declare_vera(espl_adapter *adapter) {
    if (!is_vera(adapter->config)) ESPL_TRY(espl_json_set(context(adapter), adapter->config, "vera_d", json_real(0.1)));
    return declare(adapter);
}

static const char *const mtl_shares[] = {"lora_A", "lora_B", NULL};

#define ROW(method, type, recognised, declared, integrated, shared, together, ...) \
    const espl_method espl_method_##method = {.name = #method, \
                                              .architecture = type, \
                                              .recognise = recognised, \
                                              .properties = {.intra = ESPL_INTRA_DENSE, \
                                                             .adapted = ESPL_ADAPTED_REPARAMETERISATION, \
                                                             .sharing = shared, \
                                                             .input = ESPL_INPUT_HIDDEN, \
                                                             .insertion = ESPL_INSERTION_PARALLEL, \
                                                             .integration = integrated, \
                                                             .sites = 1u << ESPL_SITE_LINEAR}, \
                                              .keys = {__VA_ARGS__}, \
                                              .declare = declared, \
                                              .initialise = espl_library_lora_initialise, \
                                              .join = espl_library_lora_join, \
                                              .adds = integrated != ESPL_INTEGRATION_REPLACEMENT, \
                                              .shares = together, \
                                              .stack = espl_library_lora_stack, \
                                              .merge = espl_library_lora_merge, \
                                              .finish = espl_lora_finish}
ROW(library_dora, "lora", is_dora, declare_dora, ESPL_INTEGRATION_REPLACEMENT, ESPL_SHARING_NONE, NULL, spec_keys, vera_keys);
ROW(library_vera, "lora", is_vera, declare_vera, ESPL_INTEGRATION_GATED_ADDITION, ESPL_SHARING_SHARED, NULL, spec_keys, vera_keys);
ROW(library_lora, "lora", NULL, declare, ESPL_INTEGRATION_GATED_ADDITION, ESPL_SHARING_NONE, NULL, spec_keys);
ROW(mtl_lora, "mtl_lora", NULL, declare, ESPL_INTEGRATION_GATED_ADDITION, ESPL_SHARING_NONE, mtl_shares, spec_keys, mtl_keys);
