/* Transformer blocks written in operators, with the sites where adapters join. */
#include "host/model/composition.h"
#include "host/ops/op_activation.h"
#include "host/ops/op_add.h"
#include "host/ops/op_attention.h"
#include "host/ops/op_cast.h"
#include "host/ops/op_concat.h"
#include "host/ops/op_dropout.h"
#include "host/ops/op_embedding.h"
#include "host/ops/op_layernorm.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_relative_attention.h"
#include "host/ops/op_rmsnorm.h"
#include "host/ops/op_rotary.h"
#include "host/ops/op_unfold.h"
#include <math.h>
#include <stdio.h>

espl_tensor *espl_build_dropout(espl_builder *b, espl_tensor *x, float p) {
    if (!b->training || p == 0) return x;
    return espl_graph_dropout(b->graph, &(espl_dropout){.x = x, .p = p, .site = b->dropouts++});
}

/* ---- Pieces outside of adapters' sites ---- */

espl_tensor *espl_build_layernorm(espl_builder *b, const espl_norm_weights *w, espl_tensor *x) {
    return espl_graph_layernorm(b->graph, &(espl_layernorm){.x = x, .w = espl_build_base(b, w->weight),
                                                            .b = espl_build_base(b, w->bias),
                                                            .eps = b->model->config.norm_eps});
}

espl_tensor *espl_build_map(espl_builder *b, uint32_t weight, uint32_t bias, espl_tensor *x) {
    return espl_graph_matmul(b->graph, &(espl_matmul){.a = x, .b = espl_build_base(b, weight), .orientation = MATMUL_NT,
                                                      .bias = espl_build_base(b, bias)});
}

/* ---- Parts of a block ---- */

espl_tensor *espl_build_norm(espl_builder *b, uint32_t block, espl_norm_place place, espl_tensor *x) {
    const espl_model *model = b->model;
    const espl_norm_weights *w = place == ESPL_NORM_FINAL ? &model->final_norm : &model->blocks[block].norm[place];
    espl_tensor *y;
    if (model->config.family->norm == ESPL_NORM_LAYER)
        y = espl_build_layernorm(b, w, x);
    else
        y = espl_graph_rmsnorm(b->graph, &(espl_rmsnorm){.x = x, .w = espl_build_base(b, w->weight), .eps = model->config.norm_eps});
    return espl_build_joint(b, &(espl_joint){.site = ESPL_SITE_NORM, .block = block, .norm = place}, y);
}

/* y = W x + bias (+ residual), and what the active adapters make of it. */
static espl_tensor *linear(espl_builder *b, uint32_t block, uint32_t which, espl_tensor *x, espl_tensor *residual) {
    const espl_block_weights *w = &b->model->blocks[block];
    espl_joint joint = {.block = block, .linear = which, .norm = ESPL_NORM_PLACE_COUNT};
    const bool early = espl_build_all_add(b);
    joint.site = ESPL_SITE_LINEAR_IN;
    x = espl_build_joint(b, &joint, x);
    joint.site = ESPL_SITE_WEIGHT;
    espl_tensor *weight = espl_build_joint(b, &joint, espl_build_base(b, w->weight[which]));
    joint.site = ESPL_SITE_BIAS;
    espl_tensor *bias = espl_build_joint(b, &joint, espl_build_base(b, w->bias[which]));
    espl_matmul product = {.a = x,
                           .b = weight,
                           .orientation = b->model->config.family->stored_in_out ? MATMUL_NN : MATMUL_NT,
                           .bias = bias,
                           .residual = early ? residual : NULL};
    espl_tensor *y = espl_graph_matmul(b->graph, &product);
    joint.site = ESPL_SITE_LINEAR;
    joint.x = x, joint.weight = weight, joint.bias = bias, joint.product = y;
    espl_tensor *joined = espl_build_joint(b, &joint, y);
    if (early || !residual) return joined;
    if (joined != y) return espl_graph_add(b->graph, &(espl_add_args){joined, residual});
    /* Nobody wanted it alone: the plan drops that product for this one. */
    product.residual = residual;
    return espl_graph_matmul(b->graph, &product);
}

espl_tensor *espl_build_close(espl_builder *b, const espl_joint *joint, espl_tensor *y) {
    y = espl_graph_add(b->graph, &(espl_add_args){y, joint->x});
    return joint->norm == ESPL_NORM_PLACE_COUNT ? y : espl_build_norm(b, joint->block, joint->norm, y);
}

/* The last product of a sub-layer, its residual, and the norm of post-norm families. normed: the sub-layer's input. */
static espl_tensor *sublayer_out(espl_builder *b, uint32_t block, uint32_t which, espl_tensor *x, espl_tensor *residual,
                                 espl_tensor *normed) {
    const bool attention = which == ESPL_LINEAR_O, post = b->model->config.family->post_norm;
    const espl_norm_place place = attention ? ESPL_NORM_ATTENTION : ESPL_NORM_MLP;
    bool closed = false;
    const espl_joint joint = {.site = attention ? ESPL_SITE_ATTENTION_OUT : ESPL_SITE_MLP_OUT,
                              .block = block,
                              .linear = which,
                              .norm = post ? place : ESPL_NORM_PLACE_COUNT,
                              .x = residual,
                              .normed = normed,
                              .out_closed = &closed};
    const float dropout = b->training && !(b->model->config.family->no_dropout & 1u << which) ? b->model->config.dropout : 0;
    espl_tensor *y;
    if (dropout > 0 || espl_build_any_joins(b, joint.site)) {
        y = espl_build_joint(b, &joint, espl_build_dropout(b, linear(b, block, which, x, NULL), dropout));
        return closed ? y : espl_build_close(b, &joint, y);
    }
    y = linear(b, block, which, x, residual);
    return post ? espl_build_norm(b, block, place, y) : y;
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
    return espl_graph_rmsnorm(b->graph, &(espl_rmsnorm){.x = x, .w = espl_build_base(b, weight), .eps = b->model->config.norm_eps,
                                                        .group_from = from, .group_count = heads,
                                                        .group_cols = b->model->config.head_size});
}

static espl_tensor *sublayer_in(espl_builder *b, uint32_t block, espl_norm_place place, espl_tensor *x) {
    return b->model->config.family->post_norm ? x : espl_build_norm(b, block, place, x);
}

/* from: columns of q, k and v in the fused product. */
static espl_tensor *relative_attention(espl_builder *b, uint32_t block, const espl_attention *args, const uint32_t from[3]) {
    const espl_config *c = &b->model->config;
    /* The same maps, of the rows for distances. */
    b->of_distances = true;
    espl_tensor *rows = linear(b, block, ESPL_LINEAR_QKV, espl_build_dropout(b, b->relative, c->dropout), NULL);
    b->of_distances = false;
    return espl_graph_relative_attention(
        b->graph, &(espl_relative_attention){.q = args->q, .kv = args->k, .relative = rows, .q_from = args->q_from,
                                             .k_from = args->k_from, .v_from = args->v_from, .rq_from = from[0],
                                             .rk_from = from[1], .batch = b->batch, .heads = c->heads,
                                             .head_size = c->head_size, .lengths = args->lengths,
                                             .buckets = espl_build_leaf(b, &b->model->store, b->model->buckets),
                                             .scale = 1.0f / sqrtf(3.0f * (float)c->head_size),
                                             .dropout = args->dropout, .dropout_site = args->dropout_site});
}

/* q and k turned to their positions, and in a session keys and values in the cache: in other rows than those of their positions
 * (at) where the cache begins with rows that no position counts. */
static espl_tensor *rotate_and_keep(espl_builder *b, uint32_t block, espl_tensor *qkv, const uint32_t from[3], uint32_t kv_columns,
                                    espl_tensor *at) {
    const espl_model *model = b->model;
    const espl_config *c = &model->config;
    const bool apart = b->caches && at != b->positions;
    espl_rotary args = {.x = qkv, .q_from = from[0], .heads = c->heads, .k_from = from[1], .v_from = from[2],
                        .kv_heads = c->kv_heads, .head_size = c->head_size, .magnitude = c->magnitude, .batch = b->batch,
                        .frequencies = espl_build_leaf(b, &model->store, model->frequencies), .positions = b->positions,
                        .cache = b->caches && !apart ? b->caches[block] : NULL, .cache_v_from = kv_columns};
    if (!c->family->rotary && !b->caches) return qkv;
    espl_rotated rotated = espl_graph_rotary(b->graph, &args);
    if (apart) {
        args.x = rotated.x, args.frequencies = NULL, args.positions = at, args.cache = b->caches[block];
        rotated = espl_graph_rotary(b->graph, &args);
    }
    if (b->caches) b->caches[block] = rotated.cache;
    return rotated.x;
}

static espl_tensor *attention(espl_builder *b, uint32_t layer, espl_tensor *x) {
    const espl_model *model = b->model;
    const espl_config *c = &model->config;
    const uint32_t block = layer / c->repeat;
    const espl_block_weights *w = &model->blocks[block];
    uint32_t from[3];
    qkv_columns(model, from);
    const bool rows = !b->rowless || !b->rowless[block];
    espl_tensor *lengths = rows && b->key_lengths ? b->key_lengths : b->lengths;
    espl_tensor *positions = rows && b->key_positions ? b->key_positions : b->positions;
    espl_tensor *normed = sublayer_in(b, block, ESPL_NORM_ATTENTION, x);
    espl_tensor *qkv = linear(b, block, ESPL_LINEAR_QKV, normed, NULL);
    qkv = head_norm(b, qkv, w->q_norm, from[0], c->heads);
    qkv = head_norm(b, qkv, w->k_norm, from[1], c->kv_heads);
    const uint32_t kv_columns = (uint32_t)espl_round_up(c->kv_heads * c->head_size, 4);
    qkv = rotate_and_keep(b, block, qkv, from, kv_columns, positions);
    espl_attention args = {.q = qkv, .k = qkv, .v = qkv, .q_from = from[0], .k_from = from[1], .v_from = from[2],
                           .batch = b->batch, .heads = c->heads, .kv_heads = c->kv_heads, .head_size = c->head_size,
                           .causal = !c->family->bidirectional, .lengths = lengths, .positions = positions,
                           .window = c->window};
    espl_tensor *before = espl_build_joint(
        b, &(espl_joint){.site = ESPL_SITE_KEYS, .block = block, .layer = layer, .norm = ESPL_NORM_PLACE_COUNT, .x = normed}, NULL);
    if (before) {
        args.k = args.v = espl_graph_concat(b->graph, &(espl_concat){.a = before, .x = qkv, .batch = b->batch, .from = from[1],
                                                                      .each = before->rows != b->before});
        args.k_from = 0, args.v_from = kv_columns;
    }
    if (b->caches) args.k = args.v = b->caches[block], args.k_from = 0, args.v_from = kv_columns;
    if (b->training && c->attention_dropout > 0) args.dropout = c->attention_dropout, args.dropout_site = b->dropouts++;
    espl_tensor *mixed = b->relative ? relative_attention(b, block, &args, from) : espl_graph_attention(b->graph, &args);
    return sublayer_out(b, block, ESPL_LINEAR_O, mixed, x, normed);
}

static espl_tensor *mlp(espl_builder *b, uint32_t block, espl_tensor *x) {
    const espl_model *model = b->model;
    const espl_columns *part = model->linear[ESPL_LINEAR_UP].part;
    const bool gated = model->config.family->gated;
    espl_tensor *normed = sublayer_in(b, block, ESPL_NORM_MLP, x);
    espl_tensor *up = linear(b, block, ESPL_LINEAR_UP, normed, NULL);
    espl_tensor *active = espl_graph_activation(
        b->graph, &(espl_activation){.x = up, .kind = model->config.activation, .gated = gated,
                                     .gate_from = gated ? part[0].from : 0, .from = gated ? part[1].from : part[0].from,
                                     .cols = part[0].count});
    return sublayer_out(b, block, ESPL_LINEAR_DOWN, active, x, normed);
}

/* Those of the tokens' types, before them the first type's for rows that have none. */
static espl_tensor *type_rows(espl_builder *b) {
    espl_embedding args = {.ids = b->types, .table = espl_build_base(b, b->model->types), .batch = b->batch};
    espl_tensor *types = espl_graph_embedding(b->graph, &args);
    if (!b->row_ids) return types;
    args.ids = b->row_ids; /* zeros */
    espl_tensor *zero = espl_graph_slice(b->graph, &(espl_slice){.x = espl_graph_embedding(b->graph, &args), .rows = b->prompt});
    return espl_graph_concat(b->graph, &(espl_concat){.a = zero, .x = types, .batch = b->batch});
}

/* Token types, norm, dropout and projection of encoders. */
static espl_tensor *embedding_out(espl_builder *b, espl_tensor *x) {
    const espl_model *model = b->model;
    if (model->types != ESPL_NO_MATRIX) x = espl_graph_add(b->graph, &(espl_add_args){x, type_rows(b)});
    if (model->embed_norm.weight != ESPL_NO_MATRIX) x = espl_build_layernorm(b, &model->embed_norm, x);
    x = espl_build_dropout(b, x, model->config.embedding_dropout);
    x = espl_build_join(b, ESPL_SITE_EMBEDDED, ESPL_NO_BLOCK, x);
    if (model->embed_projection == ESPL_NO_MATRIX) return x;
    return espl_build_map(b, model->embed_projection, model->embed_projection_bias, x);
}

/* The rows that ids name. Those that are given are rounded as the vocabulary's are. */
static espl_tensor *token_table(espl_builder *b) {
    const uint32_t embed = b->model->embed;
    if (!b->embeddings) return espl_build_base(b, embed);
    return espl_graph_cast(b->graph, &(espl_cast){.x = b->embeddings, .dtype = b->model->store.matrices[embed].dtype});
}

static espl_tensor *embedding(espl_builder *b) {
    const espl_model *model = b->model;
    espl_embedding args = {.ids = b->ids, .table = token_table(b), .batch = b->batch,
                           .position_table = espl_build_base(b, model->position), .positions = b->positions,
                           .position_from = model->config.position_from};
    if (!espl_build_any_joins(b, ESPL_SITE_EMBED)) return embedding_out(b, espl_graph_embedding(b->graph, &args));
    espl_tensor *x = espl_graph_embedding(b->graph, &(espl_embedding){.ids = b->ids, .table = args.table,
                                                                      .batch = b->batch});
    x = espl_build_join(b, ESPL_SITE_EMBED, ESPL_NO_BLOCK, x);
    args.table = NULL;
    if (b->row_ids) args.ids = b->row_ids;
    if (args.position_table) x = espl_graph_add(b->graph, &(espl_add_args){x, espl_graph_embedding(b->graph, &args)});
    return embedding_out(b, x);
}

static espl_tensor *relative_rows(espl_builder *b) {
    const espl_model *model = b->model;
    espl_tensor *rows = espl_build_base(b, model->relative);
    return rows && model->relative_norm.weight != ESPL_NO_MATRIX ? espl_build_layernorm(b, &model->relative_norm, rows) : rows;
}

/* DeBERTa-v2's ConvLayer: neighbours of the first block's input x, added to its output y. Padding counts as zeros, as its
 * embedding masks them. */
static espl_tensor *convolution(espl_builder *b, espl_tensor *x, espl_tensor *y) {
    const espl_model *model = b->model;
    espl_tensor *lengths = b->prompt && b->key_lengths ? b->key_lengths : b->lengths;
    espl_tensor *rows = espl_graph_unfold(b->graph, &(espl_unfold){.x = x, .lengths = lengths, .batch = b->batch,
                                                                   .kernel = model->config.convolution_kernel});
    espl_tensor *near = espl_build_dropout(b, espl_build_map(b, model->convolution, model->convolution_bias, rows),
                                           model->config.dropout);
    near = espl_graph_activation(b->graph, &(espl_activation){.x = near, .kind = model->config.convolution_activation,
                                                              .cols = model->config.hidden});
    return espl_build_layernorm(b, &model->convolution_norm, espl_graph_add(b->graph, &(espl_add_args){near, y}));
}

espl_tensor *espl_build_hidden(espl_builder *b) {
    const espl_model *model = b->model;
    espl_status status = espl_graph_memory(b->graph, sizeof *b->inputs, &b->inputs);
    if (status == ESPL_OK) status = espl_build_prepare(b);
    if (status != ESPL_OK) return espl_graph_fail(b->graph, status);
    espl_graph_value_dtype(b->graph, model->value_dtype);
    espl_graph_layer(b->graph, "embedding", ESPL_PHASE_MICRO, false);
    if (model->types != ESPL_NO_MATRIX && !b->types)
        b->types = espl_graph_step_leaf(b->graph, "types", 1, b->batch * b->tokens, ESPL_DTYPE_I32);
    b->relative = relative_rows(b);
    espl_build_join(b, ESPL_SITE_BEGIN, ESPL_NO_BLOCK, NULL);
    espl_tensor *x = embedding(b), *embedded = x;
    const uint32_t replicas = espl_composition_replicas(model->composition), first = espl_composition_first_block(model);
    for (uint32_t layer = 0; layer < model->config.layers * model->config.repeat; layer++) {
        const uint32_t i = layer / model->config.repeat;
        char name[32];
        snprintf(name, sizeof name, "block %u", layer);
        espl_graph_layer(b->graph, name, ESPL_PHASE_MICRO, b->recompute);
        if (b->replicas == 0 && i >= first) x = espl_build_replicas(b, replicas, x);
        if (layer == 0) embedded = x;
        x = espl_build_join(b, ESPL_SITE_BLOCK_IN, i, x);
        x = attention(b, layer, x);
        x = mlp(b, i, x);
        x = espl_build_join(b, ESPL_SITE_BLOCK_OUT, i, x);
        if (layer == 0 && model->convolution != ESPL_NO_MATRIX) x = convolution(b, embedded, x);
    }
    espl_graph_layer(b->graph, "head", ESPL_PHASE_MICRO, false);
    if (model->config.family->final_norm) x = espl_build_norm(b, ESPL_NO_BLOCK, ESPL_NORM_FINAL, x);
    const bool keep = b->prompt_first && !espl_head_per_token(model) && !model->task.names->last;
    if (b->prompt && !b->caches && !keep) x = espl_graph_slice(b->graph, &(espl_slice){.x = x, .batch = b->batch, .first = b->prompt});
    espl_graph_value_dtype(b->graph, ESPL_DTYPE_F32);
    return x;
}
