#include "adapters/bottleneck.h"
#include "adapters/initial.h"
#include "adapters/library.h"
#include "adapters/spec.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

/* ---- Configuration ---- */

const espl_spec_row espl_bottleneck_keys[] = {
    {"rf", "reduction_factor", ESPL_SPEC_NUMBER, NULL},
    {"activation", "non_linearity", ESPL_SPEC_ACTIVATION, NULL},
    {"dropout", "dropout", ESPL_SPEC_NUMBER, NULL},
    {"leave_out", "leave_out", ESPL_SPEC_NUMBERS, NULL},
    {"init", "init_weights", ESPL_SPEC_TEXT, "bert, mam_adapter, houlsby"},
    {"scaling", "scaling", ESPL_SPEC_SCALING, "learned, channel"},
    {"gated", "use_gating", ESPL_SPEC_BOOL, NULL},
    {"robust", "robust_drop", ESPL_SPEC_WHOLE, NULL},
    {"drop", "leave_out", ESPL_SPEC_WHOLE, NULL},
    {0}};

/* Ours: the library's parallel adapters read the residual, those of He et al. what the sub-layer's maps do. */
const espl_spec_row espl_parallel_keys[] = {{"input", "par_input", ESPL_SPEC_TEXT, "residual, normed"}, {0}};

espl_status espl_bottleneck_set(espl_adapter *adapter, const char *key, const char *value) {
    return strcmp(key, "drop") == 0 ? espl_bottleneck_set_drop(adapter, value) : espl_spec_set(adapter, key, value);
}

/* What the library writes for a configuration of this kind. */
static espl_status complete(espl_adapter *adapter, const bottleneck_preset *preset) {
    const espl_spec_value rows[] = {{"mh_adapter", json_boolean(preset->attention)},
                {"output_adapter", json_boolean(!preset->alone)},
                {"reduction_factor", json_integer(preset->reduction)},
                {"non_linearity", json_string(preset->activation)},
                {"original_ln_before", json_boolean(preset->base_before)},
                {"original_ln_after", json_boolean(preset->base_after)},
                {"residual_before_ln", json_boolean(preset->residual_before)},
                {"adapter_residual_before_ln", json_false()},
                {"ln_before", json_false()},
                {"ln_after", json_false()},
                {"init_weights", json_string(preset->init)},
                {"init_weights_seed", json_null()},
                {"is_parallel", json_boolean(preset->parallel)},
                {"scaling", preset->scaling ? json_string(preset->scaling) : json_real(preset->factor)},
                {"use_gating", json_false()},
                {"cross_adapter", json_false()},
                {"leave_out", json_array()},
                {"dropout", json_real(0)},
                {"stochastic_depth", json_real(0)},
                {"inv_adapter", preset->alone ? json_string("nice") : json_null()},
                {"inv_adapter_reduction_factor", json_null()},
                {"phm_layer", json_boolean(preset->phm)},
                {"phm_dim", json_integer(4)},
                {"phm_rank", json_integer(1)},
                {"phm_bias", json_true()},
                {"learn_phm", json_true()},
                {"shared_phm_rule", json_true()},
                {"factorized_phm_rule", json_false()},
                {"factorized_phm_W", json_true()},
                {"shared_W_phm", json_false()},
                {"phm_c_init", json_string("normal")},
                {"phm_init_range", json_real(1e-4)},
                {"hypercomplex_nonlinearity", json_string("glorot-uniform")},
                {"architecture", json_null()}};
    return espl_spec_defaults(adapter, rows, ESPL_COUNT(rows));
}

static espl_status refuse_variants(espl_adapter *adapter) {
    static const char *const keys[] = {"cross_adapter", "stochastic_depth"};
    for (size_t i = 0; i < ESPL_COUNT(keys); i++) {
        const json_t *value = json_object_get(adapter->config, keys[i]);
        const bool zero = json_is_number(value) && json_number_value(value) == 0;
        if (value && !json_is_null(value) && !json_is_false(value) && !zero)
            return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: \"%s\" is not supported", adapter->method->name, keys[i]);
    }
    return ESPL_OK;
}

static espl_status read_scaling(espl_adapter *adapter, bottleneck_state *state) {
    const json_t *value = json_object_get(adapter->config, "scaling");
    const char *text = json_string_value(value);
    state->factor = 1;
    state->scaling = SCALING_FIXED;
    if (text && strcmp(text, "learned") == 0) state->scaling = SCALING_LEARNED;
    else if (text && strcmp(text, "channel") == 0) state->scaling = SCALING_CHANNEL;
    else if (json_is_number(value)) state->factor = (float)json_number_value(value);
    else
        return espl_fail(context(adapter), ESPL_FORMAT, "%s: \"scaling\" is neither a number nor learned or channel",
                         adapter->method->name);
    if (!json_is_integer(value)) return ESPL_OK;
    /* The library takes 4.0, not 4. */
    return espl_json_set(context(adapter), adapter->config, "scaling", json_real(json_number_value(value)));
}

static espl_status read_residual(espl_adapter *adapter, bottleneck_state *state) {
    const json_t *value = json_object_get(adapter->config, "residual_before_ln");
    const char *text = json_string_value(value);
    if (text && strcmp(text, "post_add") == 0) state->residual = RESIDUAL_SUM;
    else if (json_is_boolean(value)) state->residual = json_is_true(value) ? RESIDUAL_OUTPUT : RESIDUAL_INPUT;
    else
        return espl_fail(context(adapter), ESPL_FORMAT, "%s: \"residual_before_ln\" is neither true, false nor post_add",
                         adapter->method->name);
    return ESPL_OK;
}

static espl_status read_input(espl_adapter *adapter, bottleneck_state *state) {
    const char *input;
    ESPL_TRY(espl_json_string(context(adapter), adapter->config, "par_input", "residual", &input));
    state->normed = strcmp(input, "normed") == 0;
    if (!state->normed && strcmp(input, "residual") != 0)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: par_input \"%s\" is not one of residual, normed", adapter->method->name,
                         input);
    if (!state->normed || state->parallel) return ESPL_OK;
    return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: par_input is of parallel adapters", adapter->method->name);
}

static espl_status read_config(espl_adapter *adapter, bottleneck_state *state) {
    espl_context *ctx = context(adapter);
    const char *activation;
    const struct {
        const char *key;
        bool *value;
    } switches[] = {{"mh_adapter", &state->at[BOTTLENECK_ATTENTION]},
                    {"output_adapter", &state->at[BOTTLENECK_MLP]},
                    {"is_parallel", &state->parallel},
                    {"ln_before", &state->norm_before},
                    {"ln_after", &state->norm_after},
                    {"original_ln_before", &state->base_before},
                    {"original_ln_after", &state->base_after},
                    {"adapter_residual_before_ln", &state->residual_inside},
                    {"use_gating", &state->gated}};
    for (size_t i = 0; i < ESPL_COUNT(switches); i++)
        ESPL_TRY(espl_json_bool(ctx, adapter->config, switches[i].key, false, switches[i].value));
    ESPL_TRY(espl_library_check_left_out(ctx, adapter->config, adapter->model->config.layers));
    ESPL_TRY(read_input(adapter, state));
    ESPL_TRY(read_scaling(adapter, state));
    ESPL_TRY(read_residual(adapter, state));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "dropout", 0, &state->dropout));
    ESPL_TRY(espl_json_string(ctx, adapter->config, "non_linearity", NULL, &activation));
    ESPL_TRY(espl_json_string(ctx, adapter->config, "init_weights", NULL, &state->init));
    if (!espl_config_activation(activation, &state->activation))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: non_linearity \"%s\" is not supported", adapter->method->name, activation);
    if (strcmp(state->init, "bert") != 0 && strcmp(state->init, "mam_adapter") != 0 && strcmp(state->init, "houlsby") != 0)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: init_weights \"%s\" is not one of bert, mam_adapter, houlsby",
                         adapter->method->name, state->init);
    if (!(state->dropout >= 0 && state->dropout < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: dropout %g is not from 0 to below 1", adapter->method->name,
                         (double)state->dropout);
    return ESPL_OK;
}

/* reduction_factor: a number, or a map from layer numbers as text to numbers with "default". */
static espl_status width_of(espl_adapter *adapter, uint32_t block, uint32_t *out_width) {
    espl_context *ctx = context(adapter);
    const json_t *factor = json_object_get(adapter->config, "reduction_factor");
    *out_width = 0;
    if (espl_library_left_out(adapter->config, block)) return ESPL_OK;
    if (json_is_object(factor)) {
        char key[16];
        snprintf(key, sizeof key, "%u", block);
        const json_t *own = json_object_get(factor, key);
        factor = own ? own : json_object_get(factor, "default");
        if (!factor)
            return espl_fail(ctx, ESPL_ARGUMENT, "%s: reduction_factor has neither layer %u nor a default",
                             adapter->method->name, block);
    }
    const double value = json_number_value(factor);
    if (!json_is_number(factor))
        return espl_fail(ctx, ESPL_FORMAT, "%s: reduction_factor of layer %u is %s, a number was expected", adapter->method->name, block,
                         espl_json_type_name(factor));
    if (!(value > 0))
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: reduction_factor %g of layer %u is not above 0", adapter->method->name, value,
                         block);
    const double width = floor(adapter->model->config.hidden / value);
    *out_width = width < 1 ? 1 : (uint32_t)width;
    return ESPL_OK;
}

/* ---- Declaring ---- */

const char *espl_bottleneck_module(const espl_adapter *adapter, int location) {
    const bool bert = adapter->model->config.family->bidirectional;
    return location == BOTTLENECK_ATTENTION ? (bert ? "attention.output" : "attention_adapters") : bert ? "output" : "output_adapters";
}

static espl_status add_matrix(espl_adapter *adapter, const char *module, const char *part, uint32_t rows, uint32_t cols,
                              bool vector, uint32_t *out_index) {
    char *name;
    ESPL_TRY(espl_store_matrix(&adapter->store, part, rows, cols, ESPL_DTYPE_F32, !vector, out_index));
    ESPL_TRY(espl_format(context(adapter), &name, "%s.%s", module, part));
    espl_status status = espl_store_entry(&adapter->store, name, *out_index, 0, vector ? cols : rows, vector);
    espl_free(context(adapter), &name);
    return status;
}

static espl_status add_norm(espl_adapter *adapter, const char *module, const char *name, uint32_t out_index[2]) {
    const uint32_t d = adapter->model->config.hidden;
    char part[64];
    snprintf(part, sizeof part, "%s.weight", name);
    ESPL_TRY(add_matrix(adapter, module, part, 1, d, true, &out_index[0]));
    snprintf(part, sizeof part, "%s.bias", name);
    return add_matrix(adapter, module, part, 1, d, true, &out_index[1]);
}

static espl_status declare_map(espl_adapter *adapter, const bottleneck_state *state, const char *module, const char *part,
                               uint32_t in, uint32_t out, espl_phm_map *map) {
    char *name;
    ESPL_TRY(espl_format(context(adapter), &name, "%s.%s", module, part));
    espl_status status = espl_phm_declare(adapter, &state->phm, name, in, out, map);
    espl_free(context(adapter), &name);
    return status;
}

static espl_status declare_one(espl_adapter *adapter, const bottleneck_state *state, const char *module, bottleneck *b) {
    const uint32_t d = adapter->model->config.hidden;
    /* A norm before comes first in the library's list of layers. */
    const char *down = state->norm_before ? "adapter_down.1" : "adapter_down.0";
    if (state->norm_before) ESPL_TRY(add_norm(adapter, module, "adapter_norm_before", b->before));
    ESPL_TRY(declare_map(adapter, state, module, down, d, b->width, &b->down));
    ESPL_TRY(declare_map(adapter, state, module, "adapter_up", b->width, d, &b->up));
    if (state->norm_after) ESPL_TRY(add_norm(adapter, module, "adapter_norm_after", b->after));
    if (state->gated) {
        char *name;
        ESPL_TRY(espl_format(context(adapter), &name, "%s.gate", module));
        espl_status status = espl_gate_declare(adapter, name, d, 1, &b->gate);
        espl_free(context(adapter), &name);
        ESPL_TRY(status);
    }
    if (state->scaling == SCALING_FIXED) return ESPL_OK;
    return add_matrix(adapter, module, "scaling", 1, state->scaling == SCALING_LEARNED ? 1 : d, true, &b->scaling);
}

/* The library's default is half the model, which is much for what is called an adapter; as a part of MAM it is meant. */
static void warn_wide(const espl_adapter *adapter, const bottleneck_preset *preset) {
    const uint32_t hidden = adapter->model->config.hidden;
    if (!preset->parallel || adapter->owner || json_object_get(adapter->config, "reduction_factor")) return;
    espl_log(context(adapter), ESPL_LOG_WARNING, "%s: no reduction_factor is given, and the Adapters library's is %d: bottlenecks of %u "
             "values at a width of %u", adapter->method->name, preset->reduction, hidden / (uint32_t)preset->reduction, hidden);
}

espl_status espl_bottleneck_declare(espl_adapter *adapter, const bottleneck_preset *preset) {
    espl_context *ctx = context(adapter);
    const uint32_t layers = adapter->model->config.layers;
    bottleneck_state *state;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    adapter->state = state;
    warn_wide(adapter, preset);
    ESPL_TRY(complete(adapter, preset));
    ESPL_TRY(refuse_variants(adapter));
    ESPL_TRY(read_config(adapter, state));
    ESPL_TRY(espl_bottleneck_read_drop(adapter, state));
    ESPL_TRY(espl_phm_read(adapter, &state->phm));
    ESPL_TRY(espl_phm_share(adapter, &state->phm));
    ESPL_TRY(espl_invertible_declare(adapter, state->activation, &state->invertible));
    ESPL_TRY(espl_new(ctx, layers * sizeof *state->blocks, &state->blocks));
    for (uint32_t block = 0; block < layers; block++) {
        for (int location = 0; location < BOTTLENECK_PLACES; location++) {
            bottleneck *b = &state->blocks[block][location];
            char *path, *module = NULL;
            if (state->at[location]) ESPL_TRY(width_of(adapter, block, &b->width));
            if (!b->width) continue;
            ESPL_TRY(espl_model_block_path(adapter->model, block, &path));
            espl_status status = espl_format(ctx, &module, "%s.%s.adapters.%s", path, espl_bottleneck_module(adapter, location),
                                             adapter->file_name);
            if (status == ESPL_OK) status = declare_one(adapter, state, module, b);
            espl_free(ctx, &module);
            espl_free(ctx, &path);
            ESPL_TRY(status);
        }
    }
    return ESPL_OK;
}

/* "bert": N(0, 0.02^2); "houlsby": N(0, 0.01^2) cut at two deviations; "mam_adapter": U(+-1/sqrt(in)), up 0. */
espl_status espl_bottleneck_initialise(espl_adapter *adapter, uint64_t seed) {
    const bottleneck_state *state = adapter->state;
    espl_store *store = &adapter->store;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        const bool up = strstr(e->name, ".adapter_up.") != NULL;
        bool done;
        ESPL_TRY(espl_invertible_initialise(adapter, e, seed, &done));
        if (!done) ESPL_TRY(espl_phm_initialise(adapter, &state->phm, e, seed, &done));
        if (done) continue;
        if (strstr(e->name, ".scaling") || (e->vector && strstr(e->name, "_norm_") && strstr(e->name, ".weight")))
            ESPL_TRY(espl_initial_constant(store, e, 1));
        if (e->rank == 1 || (up && strcmp(state->init, "mam_adapter") == 0)) continue;
        if (strcmp(state->init, "bert") == 0 || strstr(e->name, ".gate.")) ESPL_TRY(espl_initial_normal(store, e, seed, 0.02f));
        else if (strcmp(state->init, "houlsby") == 0) ESPL_TRY(espl_initial_truncated(store, e, seed, 0.01f));
        else ESPL_TRY(espl_initial_uniform(store, e, seed, 1 / sqrtf((float)store->matrices[e->matrix].cols)));
    }
    return ESPL_OK;
}

void espl_bottleneck_finish(espl_adapter *adapter) {
    bottleneck_state *state = adapter->state;
    espl_free(context(adapter), &state->blocks);
    espl_free(context(adapter), &adapter->state);
}
