/* BitFit: every additive bias of the model is trained, Zaken et al. 2022: those of maps and of norms, and the head where the
 * model has a task's. Values are stored under the base's names, as a type of ours.
 *
 * A model without biases (Llama) gets them, starting from 0, at every map: then it is a method that adds. Its files hold
 * them under the names that the base would give them. */
#include "adapters/spec.h"
#include "adapters/targets.h"
#include <stdio.h>
#include <string.h>

typedef struct bitfit_state {
    uint32_t (*bias)[ESPL_LINEAR_COUNT]; /* owned, one row per block: matrix [1, out] that is added, or ESPL_NO_MATRIX */
} bitfit_state;

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

/* types: which biases, as ends of module paths (query+intermediate.dense); none: all. */
static const espl_spec_row spec_keys[] = {
    {"types", "bias_types", ESPL_SPEC_LIST, NULL},
    {"save", "modules_to_save", ESPL_SPEC_LIST, NULL},
    {0}};

static espl_status selected(espl_adapter *adapter, const char *path, bool *out_selected) {
    const json_t *types = json_object_get(adapter->config, "bias_types");
    *out_selected = !types || json_is_null(types);
    return *out_selected ? ESPL_OK : espl_target_listed(adapter, "bias_types", path, out_selected);
}

static espl_status replace_biases(espl_adapter *adapter) {
    const espl_store *base = &adapter->model->store;
    for (size_t i = 0; i < base->entry_count; i++) {
        const espl_entry *e = &base->entries[i];
        const size_t n = strlen(e->name);
        char path[256], name[320];
        bool take;
        if (n < 5 || strcmp(e->name + n - 5, ".bias") != 0) continue;
        snprintf(path, sizeof path, "%.*s", (int)(n - 5), e->name);
        ESPL_TRY(selected(adapter, path, &take));
        snprintf(name, sizeof name, "base_model.model.%s", e->name);
        if (take) ESPL_TRY(espl_adapter_replace(adapter, e, name));
    }
    return ESPL_OK;
}

static espl_status add_bias(espl_adapter *adapter, uint32_t block, uint32_t linear, uint32_t *out_matrix) {
    const espl_linear_shape *shape = &adapter->model->linear[linear];
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && shape->part[p].count; p++) {
        char *path, *name = NULL;
        bool take;
        ESPL_TRY(espl_model_module(adapter->model, block, linear, p, &path));
        espl_status status = selected(adapter, path, &take);
        if (status == ESPL_OK && take && *out_matrix == ESPL_NO_MATRIX)
            status = espl_store_matrix(&adapter->store, "bias", 1, shape->out, ESPL_DTYPE_F32, false, out_matrix);
        if (status == ESPL_OK && take) status = espl_format(context(adapter), &name, "base_model.model.%s.bias", path);
        if (status == ESPL_OK && take)
            status = espl_store_entry(&adapter->store, name, *out_matrix, shape->part[p].from, shape->part[p].count, true);
        espl_free(context(adapter), &name);
        espl_free(context(adapter), &path);
        ESPL_TRY(status);
    }
    return ESPL_OK;
}

static espl_status declare(espl_adapter *adapter) {
    const espl_model *model = adapter->model;
    bitfit_state *state;
    const char *store;
    ESPL_TRY(espl_spec_default(adapter, "store", json_string("value")));
    ESPL_TRY(espl_json_string(context(adapter), adapter->config, "store", NULL, &store));
    if (strcmp(store, "value") != 0)
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "bitfit: store \"%s\" is not offered: biases are stored by \"value\"", store);
    ESPL_TRY(espl_new(context(adapter), sizeof *state, &state));
    adapter->state = state;
    ESPL_TRY(espl_spec_default(adapter, "bias_types", json_null()));
    ESPL_TRY(espl_spec_default(adapter, "modules_to_save", json_null()));
    ESPL_TRY(espl_new(context(adapter), model->config.layers * sizeof *state->bias, &state->bias));
    ESPL_TRY(replace_biases(adapter));
    const bool none = adapter->store.entry_count == 0;
    for (uint32_t block = 0; block < model->config.layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            state->bias[block][l] = ESPL_NO_MATRIX;
            if (none) ESPL_TRY(add_bias(adapter, block, l, &state->bias[block][l]));
        }
    }
    return espl_target_saved(adapter);
}

static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const bitfit_state *state = adapter->state;
    const uint32_t matrix = state->bias[joint->block][joint->linear];
    return matrix == ESPL_NO_MATRIX ? y : espl_build_leaf(builder, &adapter->store, matrix);
}

static espl_status merge(espl_adapter *adapter, const espl_place *place, float *weight, float *bias, bool *out_changed) {
    const bitfit_state *state = adapter->state;
    (void)weight, (void)bias;
    *out_changed = false;
    if (state->bias[place->block][place->linear] == ESPL_NO_MATRIX) return ESPL_OK;
    return espl_fail(context(adapter), ESPL_UNSUPPORTED, "bitfit: a %s model has no biases to merge into",
                     adapter->model->config.family->model_type);
}

static void finish(espl_adapter *adapter) {
    bitfit_state *state = adapter->state;
    espl_free(context(adapter), &state->bias);
    espl_free(context(adapter), &adapter->state);
}

const espl_method espl_method_bitfit = {
    .name = "bitfit",
    .peft_type = "BITFIT",
    .properties = {.intra = ESPL_INTRA_NONE,
                   .adapted = ESPL_ADAPTED_SELECTION,
                   .input = ESPL_INPUT_WEIGHTS,
                   .insertion = ESPL_INSERTION_PARALLEL,
                   .integration = ESPL_INTEGRATION_DIRECT_ADDITION,
                   .sites = 1u << ESPL_SITE_BIAS},
    .keys = {spec_keys},
    .declare = declare,
    .join = join,
    .merge = merge,
    .finish = finish};
