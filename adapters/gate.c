#include "adapters/gate.h"
#include "host/ops/op_activation.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_mean.h"
#include <string.h>

static espl_status add(espl_adapter *adapter, const char *module, const char *part, uint32_t rows, uint32_t cols, bool decay,
                       uint32_t *out_index) {
    char *name;
    ESPL_TRY(espl_store_matrix(&adapter->store, part, rows, cols, ESPL_DTYPE_F32, decay, out_index));
    ESPL_TRY(espl_format(adapter->model->ctx, &name, "%s.%s", module, part));
    espl_status status = espl_store_entry(&adapter->store, name, *out_index, 0, rows, false);
    espl_free(adapter->model->ctx, &name);
    return status;
}

espl_status espl_gate_declare(espl_adapter *adapter, const char *module, uint32_t width, uint32_t gates, espl_gate *gate) {
    ESPL_TRY(add(adapter, module, "weight", gates, width, true, &gate->weight));
    ESPL_TRY(add(adapter, module, "bias", gates, 1, false, &gate->bias));
    espl_store_shape(&adapter->store, 1, &gates);
    return ESPL_OK;
}

/* For the host. */
static espl_status keep(espl_builder *builder, const espl_adapter *adapter, const espl_gate *gate, uint32_t which, espl_tensor *g) {
    espl_context *ctx = adapter->model->ctx;
    const espl_entry *entry = adapter->store.entries;
    char *name;
    if (!builder->scores) return ESPL_OK;
    while (entry->matrix != gate->weight) entry++;
    const int bytes = (int)(strlen(entry->name) - strlen(".weight"));
    ESPL_TRY(entry->count == 1 ? espl_format(ctx, &name, "%.*s", bytes, entry->name)
                               : espl_format(ctx, &name, "%.*s.%u", bytes, entry->name, which));
    return espl_scores_keep(ctx, builder->scores, name, g);
}

espl_tensor *espl_gate_apply(espl_builder *builder, const espl_adapter *adapter, const espl_gate *gate, uint32_t which, espl_tensor *h) {
    espl_graph *graph = builder->graph;
    const espl_store *store = &adapter->store;
    espl_tensor *g = espl_graph_matmul(graph, &(espl_matmul){.a = h, .orientation = MATMUL_NT,
                                                             .b = espl_build_rows(builder, store, gate->weight, which, 1),
                                                             .bias = espl_build_rows(builder, store, gate->bias, which, 1)});
    g = espl_graph_activation(graph, &(espl_activation){.x = g, .kind = ACTIVATION_SIGMOID});
    if (!builder->caches) {
        g = espl_graph_mean(graph, &(espl_mean){.x = g, .groups = builder->batch});
        const espl_status status = keep(builder, adapter, gate, which, g);
        return status == ESPL_OK ? g : espl_graph_fail(graph, status);
    }
    if (builder->prompt)
        return espl_graph_fail(graph, espl_fail(adapter->model->ctx, ESPL_UNSUPPORTED, "%s: generation with gates behind a prompt, whose "
                                                "rows would have to be in their means, is not supported; evaluation and prediction "
                                                "are", adapter->method->name));
    builder->whole = true;
    return espl_graph_matmul(graph, &(espl_matmul){.a = builder->mean, .b = g, .orientation = MATMUL_NN});
}
