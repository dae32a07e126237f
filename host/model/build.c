/* Transformer blocks written in operators, with the sites where adapters join. */
#include "host/model/model.h"
#include "host/model/adapter.h"
#include "host/ops/op_activation.h"
#include "host/ops/op_attention.h"
#include "host/ops/op_embedding.h"
#include "host/ops/op_layernorm.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_rmsnorm.h"
#include "host/ops/op_rotary.h"
#include <stdio.h>

/* ---- Leaves: one per matrix and graph ---- */

static espl_status make_leaf_table(espl_builder *b) {
    if (b->leaves) return ESPL_OK;
    size_t count = b->model->store.matrix_count;
    for (espl_adapter *adapter = b->model->adapters; adapter; adapter = adapter->next) count += adapter->store.matrix_count;
    b->leaf_count = count;
    return espl_graph_memory(b->graph, count * sizeof *b->leaves, &b->leaves);
}

static size_t leaf_index(const espl_builder *b, const espl_store *store, uint32_t matrix) {
    size_t first = 0;
    if (store == &b->model->store) return matrix;
    first = b->model->store.matrix_count;
    for (espl_adapter *adapter = b->model->adapters; adapter; adapter = adapter->next) {
        if (store == &adapter->store) break;
        first += adapter->store.matrix_count;
    }
    return first + matrix;
}

espl_tensor *espl_build_leaf(espl_builder *b, const espl_store *store, uint32_t matrix) {
    if (matrix == ESPL_NO_MATRIX) return NULL;
    espl_status status = make_leaf_table(b);
    if (status != ESPL_OK) return espl_graph_fail(b->graph, status);
    espl_tensor **leaf = &b->leaves[leaf_index(b, store, matrix)];
    if (*leaf) return *leaf;
    const espl_matrix *m = &store->matrices[matrix];
    const bool fixed = store == &b->model->store && matrix == b->model->frequencies;
    const bool trained = store == b->trained && !fixed;
    *leaf = espl_graph_leaf(b->graph, trained ? ESPL_ROLE_PARAMETER : ESPL_ROLE_WEIGHT, m->label, m->rows, m->cols, m->stride,
                            m->dtype, m->span);
    if (*leaf && trained)
        espl_graph_parameter_grad(b->graph, *leaf, espl_span_part(b->gradients, m->flat * 4, m->span.bytes));
    return *leaf;
}

/* A base matrix, or what an active adapter has put in its place. */
static espl_tensor *base_leaf(espl_builder *b, uint32_t matrix) {
    if (matrix == ESPL_NO_MATRIX) return NULL;
    for (espl_adapter *adapter = b->model->adapters; adapter; adapter = adapter->next) {
        if (adapter->active && adapter->replacement[matrix] != ESPL_NO_MATRIX)
            return espl_build_leaf(b, &adapter->store, adapter->replacement[matrix]);
    }
    return espl_build_leaf(b, &b->model->store, matrix);
}

espl_tensor *espl_build_head(espl_builder *b) {
    const espl_model *model = b->model;
    if (model->head != ESPL_NO_MATRIX) return base_leaf(b, model->head);
    for (espl_adapter *adapter = b->model->adapters; adapter; adapter = adapter->next) {
        const uint32_t own = adapter->replacement[model->store.matrix_count];
        if (adapter->active && own != ESPL_NO_MATRIX) return espl_build_leaf(b, &adapter->store, own);
    }
    return base_leaf(b, model->embed);
}

/* ---- Parts of a block ---- */

static espl_tensor *norm(espl_builder *b, espl_tensor *x, uint32_t weight, uint32_t bias) {
    const float eps = b->model->config.norm_eps;
    if (b->model->config.family->norm == ESPL_NORM_LAYER)
        return espl_graph_layernorm(b->graph, &(espl_layernorm){.x = x, .w = base_leaf(b, weight), .b = base_leaf(b, bias),
                                                                .eps = eps});
    return espl_graph_rmsnorm(b->graph, &(espl_rmsnorm){.x = x, .w = base_leaf(b, weight), .eps = eps});
}

/* y = W x + bias (+ residual), and what the active adapters add. */
static espl_tensor *linear(espl_builder *b, uint32_t block, uint32_t which, espl_tensor *x, espl_tensor *residual) {
    const espl_block_weights *w = &b->model->blocks[block];
    espl_tensor *y = espl_graph_matmul(
        b->graph, &(espl_matmul){.a = x,
                                 .b = base_leaf(b, w->weight[which]),
                                 .orientation = b->model->config.family->stored_in_out ? MATMUL_NN : MATMUL_NT,
                                 .bias = base_leaf(b, w->bias[which]),
                                 .residual = residual});
    for (espl_adapter *adapter = b->model->adapters; adapter; adapter = adapter->next) {
        if (adapter->active && adapter->method->linear) y = adapter->method->linear(b, adapter, block, which, x, y);
    }
    return y;
}

/* Columns of q, k and v in the fused product. */
static void qkv_columns(const espl_model *model, uint32_t out_from[3]) {
    const espl_config *c = &model->config;
    const espl_columns *part = model->linear[ESPL_LINEAR_QKV].part;
    const bool fused = part[1].count == 0;
    out_from[0] = part[0].from;
    out_from[1] = fused ? c->heads * c->head_size : part[1].from;
    out_from[2] = fused ? (c->heads + c->kv_heads) * c->head_size : part[2].from;
}

static espl_tensor *head_norm(espl_builder *b, espl_tensor *x, uint32_t weight, uint32_t from, uint32_t heads) {
    if (weight == ESPL_NO_MATRIX) return x;
    return espl_graph_rmsnorm(b->graph, &(espl_rmsnorm){.x = x, .w = base_leaf(b, weight), .eps = b->model->config.norm_eps,
                                                        .group_from = from, .group_count = heads,
                                                        .group_cols = b->model->config.head_size});
}

static espl_tensor *attention(espl_builder *b, uint32_t block, espl_tensor *x, espl_tensor *residual) {
    const espl_model *model = b->model;
    const espl_config *c = &model->config;
    const espl_block_weights *w = &model->blocks[block];
    uint32_t from[3];
    qkv_columns(model, from);
    espl_tensor *qkv = linear(b, block, ESPL_LINEAR_QKV, norm(b, x, w->attention_norm, w->attention_norm_bias), NULL);
    qkv = head_norm(b, qkv, w->q_norm, from[0], c->heads);
    qkv = head_norm(b, qkv, w->k_norm, from[1], c->kv_heads);
    espl_tensor *cache = b->caches ? b->caches[block] : NULL;
    const uint32_t kv_columns = (uint32_t)espl_round_up(c->kv_heads * c->head_size, 4);
    if (c->family->rotary || cache) {
        espl_rotated rotated = espl_graph_rotary(
            b->graph, &(espl_rotary){.x = qkv, .q_from = from[0], .heads = c->heads, .k_from = from[1], .v_from = from[2],
                                     .kv_heads = c->kv_heads, .head_size = c->head_size,
                                     .frequencies = espl_build_leaf(b, &model->store, model->frequencies),
                                     .magnitude = c->magnitude, .batch = b->batch, .positions = b->positions,
                                     .cache = cache, .cache_k_from = 0, .cache_v_from = kv_columns});
        qkv = rotated.x;
        cache = rotated.cache;
        if (b->caches) b->caches[block] = cache;
    }
    espl_tensor *kv = cache ? cache : qkv;
    espl_tensor *mixed = espl_graph_attention(
        b->graph, &(espl_attention){.q = qkv, .k = kv, .v = kv, .q_from = from[0], .k_from = cache ? 0 : from[1],
                                    .v_from = cache ? kv_columns : from[2], .batch = b->batch, .heads = c->heads,
                                    .kv_heads = c->kv_heads, .head_size = c->head_size, .causal = true,
                                    .positions = b->positions, .window = c->window});
    return linear(b, block, ESPL_LINEAR_O, mixed, residual);
}

static espl_tensor *mlp(espl_builder *b, uint32_t block, espl_tensor *x, espl_tensor *residual) {
    const espl_model *model = b->model;
    const espl_block_weights *w = &model->blocks[block];
    const espl_columns *part = model->linear[ESPL_LINEAR_UP].part;
    const bool gated = model->config.family->gated;
    espl_tensor *up = linear(b, block, ESPL_LINEAR_UP, norm(b, x, w->mlp_norm, w->mlp_norm_bias), NULL);
    espl_tensor *active = espl_graph_activation(
        b->graph, &(espl_activation){.x = up, .kind = model->config.activation, .gated = gated,
                                     .gate_from = gated ? part[0].from : 0, .from = gated ? part[1].from : part[0].from,
                                     .cols = part[0].count});
    return linear(b, block, ESPL_LINEAR_DOWN, active, residual);
}

espl_tensor *espl_build_hidden(espl_builder *b) {
    const espl_model *model = b->model;
    espl_graph_layer(b->graph, "embedding", ESPL_PHASE_MICRO, false);
    espl_tensor *x = espl_graph_embedding(b->graph, &(espl_embedding){.ids = b->ids,
                                                                      .table = base_leaf(b, model->embed),
                                                                      .position_table = base_leaf(b, model->position),
                                                                      .positions = b->positions,
                                                                      .batch = b->batch});
    for (uint32_t i = 0; i < model->config.layers; i++) {
        char name[32];
        snprintf(name, sizeof name, "block %u", i);
        espl_graph_layer(b->graph, name, ESPL_PHASE_MICRO, b->recompute);
        x = attention(b, i, x, x);
        x = mlp(b, i, x, x);
    }
    espl_graph_layer(b->graph, "head", ESPL_PHASE_MICRO, false);
    return norm(b, x, model->final_norm, model->final_norm_bias);
}
