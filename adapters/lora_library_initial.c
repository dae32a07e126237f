/* What the Adapters library's LoRA starts from: see lora_library.h. */
#include "adapters/initial.h"
#include "adapters/lora_library.h"
#include "adapters/targets.h"
#include "host/ops/op_row_norm.h"
#include "shaders/matmul.h"
#include <math.h>
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static library_lora *own(const espl_adapter *adapter) {
    return espl_library_lora(adapter);
}

/* lora: A U(+-1/sqrt(in)), B 0; bert: both N(0, 0.02^2); vera: both U(+-sqrt(6 / columns)). */
static espl_status initialise_factor(espl_adapter *adapter, const espl_entry *e, bool a, uint64_t seed) {
    espl_store *store = &adapter->store;
    const float cols = (float)store->matrices[e->matrix].cols;
    switch (own(adapter)->initial) {
    case LIBRARY_INITIAL_BERT: return espl_initial_normal(store, e, seed, 0.02f);
    case LIBRARY_INITIAL_VERA: return own(adapter)->ups && !a ? ESPL_OK : espl_initial_uniform(store, e, seed, sqrtf(6 / cols));
    default: return a ? espl_initial_uniform(store, e, seed, 1 / sqrtf(cols)) : ESPL_OK;
    }
}

static espl_status initialise_diagonal(espl_adapter *adapter, const espl_entry *e, float value) {
    const size_t n = e->shape[0];
    float *values;
    ESPL_TRY(espl_new(context(adapter), n * n * sizeof *values, &values));
    for (size_t i = 0; i < n; i++) values[i * n + i] = value;
    espl_status status = espl_store_write(&adapter->store, e, values, ESPL_DTYPE_F32);
    espl_free(context(adapter), &values);
    return status;
}

/* DoRA's magnitudes: the norms of the base's rows. Of the factors only the shape counts. */
static espl_status add_norms(const espl_adapter *adapter, uint32_t block, uint32_t linear, espl_graph *graph) {
    const espl_model *model = adapter->model;
    const library_lora *library = own(adapter);
    const lora_group *group = &((const lora_state *)adapter->state)->groups[block][linear];
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
        const lora_target *target = &group->target[p];
        const uint32_t a = library->vera ? library->a : group->a, b = library->vera ? library->b : target->b;
        if (!target->rank) continue;
        const uint32_t base = model->blocks[block].weight[linear];
        espl_graph_row_norm(graph, &(espl_row_norm){
            .w = espl_store_leaf(graph, &model->store, base, ESPL_ROLE_WEIGHT),
            .a = espl_store_leaf(graph, &adapter->store, a, ESPL_ROLE_WEIGHT),
            .b = espl_store_leaf(graph, &adapter->store, b, ESPL_ROLE_WEIGHT),
            .into = espl_store_leaf(graph, &adapter->store, target->magnitude, ESPL_ROLE_STATE),
            .orientation = MATMUL_NT, .w_from = model->linear[linear].part[p].from, .scale = 0});
    }
    return espl_graph_status(graph);
}

static espl_status initialise_magnitudes(const espl_adapter *adapter) {
    espl_graph *graph;
    espl_status status = ESPL_OK;
    ESPL_TRY(espl_graph_create(adapter->model->device, "magnitudes", &graph));
    ESPL_GOTO(espl_graph_layer(graph, "magnitudes", ESPL_PHASE_MICRO, false));
    for (uint32_t block = 0; block < adapter->model->config.layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) ESPL_GOTO(add_norms(adapter, block, l, graph));
    }
    status = espl_graph_run(graph);
fail:
    espl_graph_destroy(&graph);
    return status;
}

static espl_status initialise_ones(espl_adapter *adapter, uint32_t matrix) {
    const espl_matrix *m = &adapter->store.matrices[matrix];
    const espl_entry all = {.matrix = matrix, .count = m->rows == 1 ? m->cols : m->rows, .vector = m->rows == 1};
    return espl_initial_constant(&adapter->store, &all, 1);
}

/* MTL-LoRA's tasks and weights, and what is always ones. */
static espl_status initialise_mtl(espl_adapter *adapter) {
    for (uint32_t block = 0; block < adapter->model->config.layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
                const library_target *target = &own(adapter)->targets[block][l][p];
                if (!((const lora_state *)adapter->state)->groups[block][l].target[p].rank) continue;
                ESPL_TRY(initialise_ones(adapter, target->values));
                ESPL_TRY(initialise_ones(adapter, target->weights));
                ESPL_TRY(initialise_ones(adapter, target->ones));
            }
        }
    }
    return ESPL_OK;
}

/* Gates N(0, 0.02^2), VeRA's matrices diagonal. */
espl_status espl_library_lora_initialise(espl_adapter *adapter, uint64_t seed) {
    espl_store *store = &adapter->store;
    const library_lora *library = own(adapter);
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        const bool a = espl_target_ends_with(e->name, "lora_A");
        if (a || espl_target_ends_with(e->name, "lora_B")) ESPL_TRY(initialise_factor(adapter, e, a, seed));
        else if (espl_target_ends_with(e->name, "gate.weight")) ESPL_TRY(espl_initial_normal(store, e, seed, 0.02f));
        else if (espl_target_ends_with(e->name, "vera_D")) ESPL_TRY(initialise_diagonal(adapter, e, library->start_d));
        else if (espl_target_ends_with(e->name, "vera_B")) ESPL_TRY(initialise_diagonal(adapter, e, library->start_b));
    }
    if (library->ups) ESPL_TRY(initialise_mtl(adapter));
    return library->dora ? initialise_magnitudes(adapter) : ESPL_OK;
}
