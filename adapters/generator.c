#include "adapters/folder.h"
#include "adapters/initial.h"
#include "adapters/prompt.h"
#include "host/ops/op_activation.h"
#include "host/ops/op_add.h"
#include "host/ops/op_matmul.h"
#include <math.h>
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static espl_status add(espl_adapter *adapter, const char *name, uint32_t rows, uint32_t cols, bool vector, uint32_t *out_index) {
    ESPL_TRY(espl_store_matrix(&adapter->store, name, rows, cols, ESPL_DTYPE_F32, !vector, out_index));
    return espl_store_entry(&adapter->store, name, *out_index, 0, vector ? cols : rows, vector);
}

espl_status espl_generator_declare(espl_adapter *adapter, const char *const names[5], const espl_generator_sizes *s,
                                   espl_generator *generator) {
    generator->on = true;
    ESPL_TRY(add(adapter, names[0], s->rows, s->width, false, &generator->embedding));
    ESPL_TRY(add(adapter, names[1], s->inner, s->width, false, &generator->weight[0]));
    ESPL_TRY(add(adapter, names[2], 1, s->inner, true, &generator->bias[0]));
    ESPL_TRY(add(adapter, names[3], s->columns, s->inner, false, &generator->weight[1]));
    return add(adapter, names[4], 1, s->columns, true, &generator->bias[1]);
}

static const espl_entry *entry_of(const espl_store *store, uint32_t matrix) {
    const espl_entry *e = store->entries;
    while (e->matrix != matrix) e++;
    return e;
}

/* E: N(0, 1); maps as torch's, U(+-1/sqrt(in)). */
espl_status espl_generator_initialise(espl_adapter *adapter, const espl_generator *generator, uint64_t seed) {
    espl_store *store = &adapter->store;
    ESPL_TRY(espl_initial_normal(store, entry_of(store, generator->embedding), seed, 1));
    for (int i = 0; i < 2; i++) {
        const float bound = 1 / sqrtf((float)store->matrices[generator->weight[i]].cols);
        ESPL_TRY(espl_initial_uniform(store, entry_of(store, generator->weight[i]), seed, bound));
        ESPL_TRY(espl_initial_uniform(store, entry_of(store, generator->bias[i]), seed, bound));
    }
    return ESPL_OK;
}

espl_tensor *espl_generator_build(espl_builder *builder, const espl_adapter *adapter, const espl_generator *generator) {
    espl_graph *graph = builder->graph;
    espl_tensor *embedding = espl_build_leaf(builder, &adapter->store, generator->embedding), *x = embedding;
    for (int i = 0; i < 2; i++) {
        if (i) x = espl_graph_activation(graph, &(espl_activation){.x = x, .kind = generator->activation});
        x = espl_graph_matmul(graph, &(espl_matmul){.a = x, .orientation = MATMUL_NT,
                                                    .b = espl_build_leaf(builder, &adapter->store, generator->weight[i]),
                                                    .bias = espl_build_leaf(builder, &adapter->store, generator->bias[i])});
    }
    return generator->residual ? espl_graph_add(graph, &(espl_add_args){x, embedding}) : x;
}

/* ---- Without it ---- */

/* The rows on the device, so that they are those that the model has. */
static espl_status compute(espl_adapter *adapter, const espl_generator *generator, float *out_table) {
    espl_graph *graph;
    espl_ticket ticket;
    ESPL_TRY(espl_graph_create(adapter->model->device, "generator", &graph));
    espl_builder builder = {.model = adapter->model, .graph = graph};
    espl_status status = espl_graph_layer(graph, "generator", ESPL_PHASE_MICRO, false);
    espl_tensor *table = status == ESPL_OK ? espl_generator_build(&builder, adapter, generator) : NULL;
    if (table) table->keep = true;
    if (status == ESPL_OK) status = espl_graph_status(graph);
    if (status == ESPL_OK) status = espl_graph_plan(graph);
    if (status == ESPL_OK) status = espl_graph_submit(graph, ESPL_PHASE_MICRO, &ticket);
    if (status == ESPL_OK) status = espl_wait(adapter->model->device, ticket);
    if (status == ESPL_OK) status = espl_tensor_read(graph, table, out_table);
    espl_graph_destroy(&graph);
    return status;
}

static bool is_generator(const espl_generator *g, uint32_t matrix) {
    return matrix == g->embedding || matrix == g->weight[0] || matrix == g->weight[1] || matrix == g->bias[0] || matrix == g->bias[1];
}

/* What else there is: heads, gates. */
static espl_status copy_rest(espl_adapter *from, const espl_generator *generator, espl_adapter *to) {
    for (size_t i = 0; i < from->store.entry_count; i++) {
        const espl_entry *e = &from->store.entries[i];
        float *values;
        if (is_generator(generator, e->matrix)) continue;
        ESPL_TRY(espl_new(context(from), (size_t)espl_entry_values(&from->store, e) * sizeof *values, &values));
        espl_status status = espl_store_read(&from->store, e, values);
        if (status == ESPL_OK) status = espl_store_write(&to->store, espl_store_find(&to->store, e->name), values, ESPL_DTYPE_F32);
        espl_free(context(from), &values);
        ESPL_TRY(status);
    }
    return ESPL_OK;
}

espl_status espl_generator_eject(espl_adapter *adapter, const espl_generator *generator, json_t *config, const char *table,
                                 const char *folder) {
    espl_context *ctx = context(adapter);
    espl_bytes text = {0};
    char *name = NULL;
    float *values = NULL;
    espl_adapter *flat = NULL;
    espl_status status = config ? ESPL_OK : espl_fail(ctx, ESPL_HOST_MEMORY, "a configuration needs memory");
    if (status != ESPL_OK) return status;
    ESPL_GOTO(espl_json_print(ctx, config, &text));
    ESPL_GOTO(espl_format(ctx, &name, "%s without its generator", adapter->name));
    ESPL_GOTO(espl_adapter_add(adapter->model, name, text.data, 0, &flat));
    const espl_entry *entry = espl_store_find(&flat->store, table);
    ESPL_GOTO(espl_new(ctx, (size_t)espl_entry_values(&flat->store, entry) * sizeof *values, &values));
    ESPL_GOTO(compute(adapter, generator, values));
    ESPL_GOTO(espl_store_write(&flat->store, entry, values, ESPL_DTYPE_F32));
    ESPL_GOTO(copy_rest(adapter, generator, flat));
    ESPL_GOTO(espl_folder_write(flat, folder));
fail:
    espl_adapter_delete(&flat);
    espl_free(ctx, &values);
    espl_free(ctx, &name);
    espl_bytes_finish(ctx, &text);
    json_decref(config);
    return status;
}
