/* The leaves of a graph, one per matrix: of the model, of adapters, and of adapters in place of the model. */
#include "host/model/composition.h"
#include "host/model/model.h"
#include "host/ops/op_concat.h"

static espl_status make_leaf_table(espl_builder *b) {
    if (b->leaves) return ESPL_OK;
    size_t count = b->model->store.matrix_count;
    for (espl_adapter *adapter = b->model->adapters; adapter; adapter = adapter->next) count += adapter->store.matrix_count;
    b->leaf_count = count;
    return espl_graph_memory(b->graph, count * sizeof *b->leaves, &b->leaves);
}

static size_t leaf_index(const espl_builder *b, const espl_store *store, uint32_t matrix) {
    if (store == &b->model->store) return matrix;
    size_t first = b->model->store.matrix_count;
    if (store->whole) matrix += store->whole_from, store = store->whole;
    for (espl_adapter *adapter = b->model->adapters; adapter; adapter = adapter->next) {
        if (store == &adapter->store) break;
        first += adapter->store.matrix_count;
    }
    return first + matrix;
}

const espl_trained *espl_build_trained(const espl_builder *b, const espl_store *store) {
    for (uint32_t i = 0; i < b->trained_count; i++) {
        if (b->trained[i].store == (store->whole ? store->whole : store)) return &b->trained[i];
    }
    return NULL;
}

espl_tensor *espl_build_leaf(espl_builder *b, const espl_store *store, uint32_t matrix) {
    if (matrix == ESPL_NO_MATRIX) return NULL;
    espl_status status = make_leaf_table(b);
    if (status != ESPL_OK) return espl_graph_fail(b->graph, status);
    const espl_matrix *m = &store->matrices[matrix];
    if (m->owner) return espl_build_leaf(b, m->owner, m->owner_index);
    espl_tensor **leaf = &b->leaves[leaf_index(b, store, matrix)];
    if (*leaf) return *leaf;
    const espl_trained *trained = m->frozen ? NULL : espl_build_trained(b, store);
    *leaf = espl_graph_leaf(b->graph, trained ? ESPL_ROLE_PARAMETER : ESPL_ROLE_WEIGHT, m->label, m->rows, m->cols, m->stride,
                            m->dtype, m->span);
    if (*leaf && trained)
        espl_graph_parameter_grad(b->graph, *leaf, espl_span_part(trained->gradients, m->flat * 4, m->span.bytes));
    return *leaf;
}

/* What an active adapter has in place of a matrix of the base, or NULL. Where several have heads it is that of one at a time. */
static espl_tensor *build_replacement(espl_builder *b, uint32_t matrix) {
    const espl_composition *composition = b->model->composition;
    const bool by_turns = composition && espl_head_has_matrix(b->model, matrix) && espl_composition_has_heads(composition);
    for (espl_adapter *adapter = b->model->adapters; adapter; adapter = adapter->next) {
        const uint32_t own = adapter->replacement[matrix];
        const bool takes_part = by_turns && !adapter->tokens ? b->head_of == adapter : adapter->active;
        if (takes_part && own != ESPL_NO_MATRIX) return espl_build_leaf(b, &adapter->store, own);
    }
    return NULL;
}

espl_tensor *espl_build_base(espl_builder *b, uint32_t matrix) {
    if (matrix == ESPL_NO_MATRIX) return NULL;
    espl_tensor *own = build_replacement(b, matrix);
    if (own) return own;
    espl_tensor *w = espl_build_leaf(b, &b->model->store, matrix);
    if (!w || w->producer) return w;
    for (espl_adapter *adapter = b->model->adapters; adapter; adapter = adapter->next) {
        if (adapter->active && adapter->method->weight) w = adapter->method->weight(b, adapter, matrix, w);
    }
    return b->leaves[leaf_index(b, &b->model->store, matrix)] = w;
}

espl_tensor *espl_build_rows(espl_builder *b, const espl_store *store, uint32_t matrix, uint32_t first, uint32_t rows) {
    espl_tensor *whole = espl_build_leaf(b, store, matrix);
    if (!whole || rows == whole->rows) return whole;
    espl_graph_value_dtype(b->graph, ESPL_DTYPE_F32); /* parameters are not rounded */
    espl_tensor *part = espl_graph_slice(b->graph, &(espl_slice){.x = whole, .first = first, .rows = rows});
    espl_graph_value_dtype(b->graph, b->model->value_dtype);
    return part;
}

espl_tensor *espl_build_head(espl_builder *b) {
    const espl_model *model = b->model;
    espl_tensor *own = build_replacement(b, model->head);
    return own ? own : espl_build_base(b, model->config.tied ? model->embed : model->head);
}

espl_tensor *espl_store_leaf(espl_graph *graph, const espl_store *store, uint32_t matrix, espl_role role) {
    const espl_matrix *m = &store->matrices[matrix];
    return espl_graph_leaf(graph, role, m->label, m->rows, m->cols, m->stride, m->dtype, m->span);
}

espl_tensor *espl_build_state(espl_builder *b, const espl_adapter *adapter, uint32_t matrix) {
    return espl_store_leaf(b->graph, &adapter->store, matrix, ESPL_ROLE_STATE);
}

espl_tensor *espl_build_gradient(espl_builder *b, const espl_adapter *adapter, uint32_t matrix) {
    const espl_matrix *m = &adapter->store.matrices[matrix];
    return espl_graph_leaf(b->graph, ESPL_ROLE_STATE, m->label, m->rows, m->cols, m->stride, ESPL_DTYPE_F32,
                           espl_span_part(espl_build_trained(b, &adapter->store)->gradients, m->flat * 4, m->span.bytes));
}

espl_status espl_scores_keep(espl_context *ctx, espl_scores *scores, char *name, espl_tensor *values) {
    espl_status status = ESPL_OK;
    const bool asked = scores && values;
    if (asked) status = espl_grow(ctx, &scores->items, &scores->capacity, scores->count + 1, sizeof *scores->items);
    if (!asked || status != ESPL_OK) {
        espl_free(ctx, &name);
        return status;
    }
    scores->items[scores->count++] = (struct espl_score){name, values};
    values->keep = true;
    return ESPL_OK;
}

void espl_scores_finish(espl_context *ctx, espl_scores *scores) {
    for (size_t i = 0; i < scores->count; i++) espl_free(ctx, &scores->items[i].name);
    espl_free(ctx, &scores->items);
    *scores = (espl_scores){0};
}
