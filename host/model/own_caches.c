/* Caches that adapters keep in a session beside the model's keys and values, found by adapter and block. */
#include "host/model/adapter.h"

static espl_status find(espl_builder *b, const espl_adapter *adapter, uint32_t block, uint32_t rows, uint32_t cols, espl_span *out_span) {
    espl_own_caches *own = b->own_caches;
    for (size_t i = 0; i < own->count; i++) {
        *out_span = own->item[i].span;
        if (own->item[i].adapter == adapter && own->item[i].block == block) return ESPL_OK;
    }
    ESPL_TRY(espl_grow(b->model->ctx, &own->item, &own->capacity, own->count + 1, sizeof *own->item));
    ESPL_TRY(espl_arena_take(&own->arena, (uint64_t)rows * espl_round_up(cols, 4) * sizeof(float), out_span));
    own->item[own->count].adapter = adapter;
    own->item[own->count].block = block;
    own->item[own->count++].span = *out_span;
    return ESPL_OK;
}

espl_tensor *espl_build_cache(espl_builder *b, const espl_adapter *adapter, uint32_t block, uint32_t rows, uint32_t cols) {
    espl_span span;
    if (rows == 0) rows = b->own_caches->rows;
    espl_status status = find(b, adapter, block, rows, cols, &span);
    if (status != ESPL_OK) return espl_graph_fail(b->graph, status);
    return espl_graph_leaf(b->graph, ESPL_ROLE_STATE, "own cache", rows, cols, 0, ESPL_DTYPE_F32, span);
}

void espl_own_caches_finish(espl_own_caches *own, espl_context *ctx) {
    espl_arena_finish(&own->arena);
    espl_free(ctx, &own->item);
    own->count = own->capacity = 0;
}
