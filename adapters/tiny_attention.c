/* Tiny-attention adapters: attention of very small heads over the attention sub-layer's output, added to it,
 *   y' = y + W_o concat_h softmax(q_h k_h^T / sqrt(dim)) v_h,   q, k, v = W_q y, W_k y, W_v y,
 * with the block's own mask, Zhao et al. 2022 (arXiv 2210.09261). W_o starts at 0. A type of ours: "tiny_attn.{q,k,v}.weight"
 * [heads * dim, hidden] and "tiny_attn.o.weight" [hidden, heads * dim] of each block; with "bias" their biases, with
 * "layer_norm" a norm of y before. */
#include "adapters/initial.h"
#include "adapters/spec.h"
#include "adapters/targets.h"
#include "host/ops/op_add.h"
#include "host/ops/op_attention.h"
#include "host/ops/op_layernorm.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_rotary.h"
#include <math.h>
#include <string.h>

enum { MAPS = 3 }; /* q, k, v: one product, each from a column that is a multiple of 4 */
static const char *const map_names[MAPS] = {"q", "k", "v"};

typedef struct tiny_block {
    uint32_t qkv, qkv_bias, o, o_bias, norm[2]; /* matrices, or ESPL_NO_MATRIX */
} tiny_block;

typedef struct tiny_state {
    uint32_t heads, dim, width, stride; /* width: heads * dim; stride: from one map's rows to the next */
    bool bias, norm;
    tiny_block *blocks; /* owned */
} tiny_state;

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static const espl_spec_row spec_keys[] = {
    {"heads", "heads", ESPL_SPEC_WHOLE, NULL},
    {"dim", "head_dim", ESPL_SPEC_WHOLE, NULL},
    {"bias", "bias", ESPL_SPEC_BOOL, NULL},
    {"norm", "layer_norm", ESPL_SPEC_BOOL, NULL},
    {"save", "modules_to_save", ESPL_SPEC_LIST, NULL},
    {0}};

static espl_status read_config(espl_adapter *adapter, tiny_state *state) {
    espl_context *ctx = context(adapter);
    ESPL_TRY(espl_spec_default(adapter, "heads", json_integer(1)));
    ESPL_TRY(espl_spec_default(adapter, "head_dim", json_integer(1)));
    ESPL_TRY(espl_spec_default(adapter, "bias", json_false()));
    ESPL_TRY(espl_spec_default(adapter, "layer_norm", json_false()));
    ESPL_TRY(espl_spec_default(adapter, "modules_to_save", json_null()));
    ESPL_TRY(espl_json_u32(ctx, adapter->config, "heads", 1, &state->heads));
    ESPL_TRY(espl_json_u32(ctx, adapter->config, "head_dim", 1, &state->dim));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "bias", false, &state->bias));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "layer_norm", false, &state->norm));
    if (state->heads < 1 || state->heads > 256 || state->dim < 1 || state->dim > 256)
        return espl_fail(ctx, ESPL_ARGUMENT, "tiny_attention: %u heads of %u are not 1 to 256 of 1 to 256", state->heads,
                         state->dim);
    state->width = state->heads * state->dim;
    state->stride = (uint32_t)espl_round_up(state->width, 4);
    return ESPL_OK;
}

/* ---- Declaring ---- */

static espl_status entry(espl_adapter *adapter, uint32_t block, const char *part, uint32_t matrix, uint32_t from,
                         uint32_t count, bool vector) {
    char *path, *name = NULL;
    ESPL_TRY(espl_model_block_path(adapter->model, block, &path));
    espl_status status = espl_format(context(adapter), &name, "base_model.model.%s.tiny_attn.%s", path, part);
    if (status == ESPL_OK) status = espl_store_entry(&adapter->store, name, matrix, from, count, vector);
    espl_free(context(adapter), &name);
    espl_free(context(adapter), &path);
    return status;
}

/* The three maps' weights, [., hidden], or biases, [1, .]. */
static espl_status declare_maps(espl_adapter *adapter, const tiny_state *state, uint32_t block, bool bias, uint32_t *out_matrix) {
    const uint32_t rows = (MAPS - 1) * state->stride + state->width;
    ESPL_TRY(espl_store_matrix(&adapter->store, "tiny_attn.qkv", bias ? 1 : rows, bias ? rows : adapter->model->config.hidden,
                               ESPL_DTYPE_F32, !bias, out_matrix));
    for (uint32_t i = 0; i < MAPS; i++) {
        char *name;
        ESPL_TRY(espl_format(context(adapter), &name, "%s.%s", map_names[i], bias ? "bias" : "weight"));
        espl_status status = entry(adapter, block, name, *out_matrix, i * state->stride, state->width, bias);
        espl_free(context(adapter), &name);
        ESPL_TRY(status);
    }
    return ESPL_OK;
}

static espl_status declare_one(espl_adapter *adapter, uint32_t block, const char *part, uint32_t rows, uint32_t cols,
                               bool vector, uint32_t *out_matrix) {
    ESPL_TRY(espl_store_matrix(&adapter->store, part, rows, cols, ESPL_DTYPE_F32, !vector, out_matrix));
    return entry(adapter, block, part, *out_matrix, 0, vector ? cols : rows, vector);
}

static espl_status declare(espl_adapter *adapter) {
    const espl_config *c = &adapter->model->config;
    tiny_state *state;
    ESPL_TRY(espl_new(context(adapter), sizeof *state, &state));
    adapter->state = state;
    ESPL_TRY(read_config(adapter, state));
    ESPL_TRY(espl_new(context(adapter), c->layers * sizeof *state->blocks, &state->blocks));
    for (uint32_t i = 0; i < c->layers; i++) {
        tiny_block *b = &state->blocks[i];
        if (state->norm) {
            ESPL_TRY(declare_one(adapter, i, "norm.weight", 1, c->hidden, true, &b->norm[0]));
            ESPL_TRY(declare_one(adapter, i, "norm.bias", 1, c->hidden, true, &b->norm[1]));
        }
        ESPL_TRY(declare_maps(adapter, state, i, false, &b->qkv));
        ESPL_TRY(declare_one(adapter, i, "o.weight", c->hidden, state->width, false, &b->o));
        if (!state->bias) continue;
        ESPL_TRY(declare_maps(adapter, state, i, true, &b->qkv_bias));
        ESPL_TRY(declare_one(adapter, i, "o.bias", 1, c->hidden, true, &b->o_bias));
    }
    return espl_target_saved(adapter);
}

static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    espl_store *store = &adapter->store;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        if (strstr(e->name, ".tiny_attn.norm.weight")) ESPL_TRY(espl_initial_constant(store, e, 1));
        else if (strstr(e->name, ".tiny_attn.") && !e->vector && !strstr(e->name, ".tiny_attn.o."))
            ESPL_TRY(espl_initial_normal(store, e, seed, 0.02f));
    }
    return ESPL_OK;
}

/* ---- Use ---- */

/* In a session keys and values of earlier tokens are in a cache of the block's own. */
static void append(espl_builder *builder, const espl_adapter *adapter, uint32_t block, espl_attention *args) {
    const tiny_state *state = adapter->state;
    const espl_rotated kept = espl_graph_rotary(
        builder->graph, &(espl_rotary){.x = args->q, .heads = state->heads, .k_from = args->k_from, .v_from = args->v_from,
                                       .kv_heads = state->heads, .head_size = state->dim, .batch = builder->batch,
                                       .positions = builder->own_positions,
                                       .cache = espl_build_cache(builder, adapter, block, 0, state->stride + state->width),
                                       .cache_v_from = state->stride});
    args->q = kept.x, args->k = args->v = kept.cache;
    args->k_from = 0, args->v_from = state->stride;
    args->positions = builder->own_positions;
}

static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const tiny_state *state = adapter->state;
    const tiny_block *b = &state->blocks[joint->block];
    const espl_config *c = &adapter->model->config;
    const espl_store *store = &adapter->store;
    espl_graph *graph = builder->graph;
    espl_tensor *x = y;
    if (state->norm)
        x = espl_graph_layernorm(graph, &(espl_layernorm){.x = x, .w = espl_build_leaf(builder, store, b->norm[0]),
                                                          .b = espl_build_leaf(builder, store, b->norm[1]), .eps = 1e-5f});
    espl_tensor *qkv = espl_graph_matmul(
        graph, &(espl_matmul){.a = x, .b = espl_build_leaf(builder, store, b->qkv), .orientation = MATMUL_NT,
                              .bias = state->bias ? espl_build_leaf(builder, store, b->qkv_bias) : NULL});
    espl_attention args = {.q = qkv, .k = qkv, .v = qkv, .k_from = state->stride, .v_from = 2 * state->stride,
                           .batch = builder->batch, .heads = state->heads, .head_size = state->dim,
                           .causal = !c->family->bidirectional, .window = c->window,
                           .lengths = builder->prompt ? builder->key_lengths : builder->lengths};
    if (builder->caches) append(builder, adapter, joint->block, &args);
    espl_tensor *out = espl_graph_matmul(
        graph, &(espl_matmul){.a = espl_graph_attention(graph, &args), .b = espl_build_leaf(builder, store, b->o), .orientation = MATMUL_NT,
                              .bias = state->bias ? espl_build_leaf(builder, store, b->o_bias) : NULL});
    return espl_graph_add(graph, &(espl_add_args){y, out});
}

static void finish(espl_adapter *adapter) {
    tiny_state *state = adapter->state;
    espl_free(context(adapter), &state->blocks);
    espl_free(context(adapter), &adapter->state);
}

const espl_method espl_method_tiny_attention = {
    .name = "tiny_attention",
    .peft_type = "TINYATTN",
    .properties = {.intra = ESPL_INTRA_DENSE,
                   .inter = ESPL_INTER_DYNAMIC,
                   .adapted = ESPL_ADAPTED_ADDITION,
                   .input = ESPL_INPUT_HIDDEN,
                   .insertion = ESPL_INSERTION_SEQUENTIAL,
                   .integration = ESPL_INTEGRATION_DIRECT_ADDITION,
                   .sites = 1u << ESPL_SITE_ATTENTION_OUT},
    .keys = {spec_keys},
    .declare = declare,
    .initialise = initialise,
    .join = join,
    .finish = finish};
