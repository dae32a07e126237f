#include "adapters/folder.h"
#include "adapters/initial.h"
#include "adapters/prompt.h"
#include "host/ops/op_activation.h"
#include "host/ops/op_add.h"
#include <math.h>
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static espl_status add(espl_adapter *adapter, const char *name, uint32_t rows, uint32_t cols, bool vector, uint32_t *out_index) {
    ESPL_TRY(espl_store_matrix(&adapter->store, name, rows, cols, ESPL_DTYPE_F32, !vector, out_index));
    return espl_store_entry(&adapter->store, name, *out_index, 0, vector ? cols : rows, vector);
}

espl_status espl_generator_declare(espl_adapter *adapter, const char *const *names, const espl_generator_sizes *s,
                                   espl_generator *generator) {
    uint32_t in = s->lstm_layers ? s->inner : s->width;
    generator->maps = s->maps;
    ESPL_TRY(add(adapter, names[0], s->rows, s->width, false, &generator->embedding));
    if (s->lstm_layers) ESPL_TRY(espl_lstm_declare(adapter, s->lstm_layers, s->width, s->inner / 2, &generator->lstm));
    for (uint32_t i = 0; i < s->maps; i++) {
        const uint32_t out = i + 1 < s->maps ? s->inner : s->columns;
        ESPL_TRY(add(adapter, names[1 + 2 * i], out, in, false, &generator->weight[i]));
        ESPL_TRY(add(adapter, names[2 + 2 * i], 1, out, true, &generator->bias[i]));
        in = out;
    }
    return ESPL_OK;
}

static const espl_entry *entry_of(const espl_store *store, uint32_t matrix) {
    const espl_entry *e = store->entries;
    while (e->matrix != matrix) e++;
    return e;
}

const espl_entry *espl_generator_embedding(const espl_adapter *adapter, const espl_generator *generator) {
    return entry_of(&adapter->store, generator->embedding);
}

/* E: N(0, 1); maps as torch's, U(+-1/sqrt(in)). */
espl_status espl_generator_initialise(espl_adapter *adapter, const espl_generator *generator, uint64_t seed) {
    espl_store *store = &adapter->store;
    ESPL_TRY(espl_initial_normal(store, entry_of(store, generator->embedding), seed, 1));
    ESPL_TRY(espl_lstm_initialise(adapter, &generator->lstm, seed));
    for (uint32_t i = 0; i < generator->maps; i++) {
        const float bound = 1 / sqrtf((float)store->matrices[generator->weight[i]].cols);
        ESPL_TRY(espl_initial_uniform(store, entry_of(store, generator->weight[i]), seed, bound));
        ESPL_TRY(espl_initial_uniform(store, entry_of(store, generator->bias[i]), seed, bound));
    }
    return ESPL_OK;
}

espl_tensor *espl_generator_build(espl_builder *builder, const espl_adapter *adapter, const espl_generator *generator) {
    espl_graph *graph = builder->graph;
    espl_tensor *embedding = espl_build_leaf(builder, &adapter->store, generator->embedding);
    espl_halves x = espl_lstm_build(builder, adapter, &generator->lstm, embedding, generator->dropout);
    for (uint32_t i = 0; i < generator->maps; i++) {
        if (i) x.half[0] = espl_graph_activation(graph, &(espl_activation){.x = x.half[0], .kind = generator->activation});
        x = (espl_halves){{espl_halves_map(builder, adapter, &x, generator->weight[i], generator->bias[i])}};
    }
    return generator->residual ? espl_graph_add(graph, &(espl_add_args){x.half[0], embedding}) : x.half[0];
}

/* ---- Without it ---- */

/* The rows on the device, so that they are those that the model has. */
static espl_status compute(espl_adapter *adapter, const espl_generator *generator, float *out_table) {
    espl_graph *graph;
    ESPL_TRY(espl_graph_create(adapter->model->device, "generator", &graph));
    espl_builder builder = {.model = adapter->model, .graph = graph};
    espl_status status = espl_graph_layer(graph, "generator", ESPL_PHASE_MICRO, false);
    espl_tensor *table = status == ESPL_OK ? espl_generator_build(&builder, adapter, generator) : NULL;
    if (table) table->keep = true;
    if (status == ESPL_OK) status = espl_graph_status(graph);
    if (status == ESPL_OK) status = espl_graph_run(graph);
    if (status == ESPL_OK) status = espl_tensor_read(graph, table, out_table);
    espl_graph_destroy(&graph);
    return status;
}

static bool is_generator(const espl_generator *g, uint32_t matrix) {
    bool is = matrix == g->embedding || espl_lstm_has(&g->lstm, matrix);
    for (uint32_t i = 0; i < g->maps; i++) is |= matrix == g->weight[i] || matrix == g->bias[i];
    return is;
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
