#include "adapters/bottleneck.h"
#include "host/ops/op_activation.h"
#include "host/ops/op_add.h"
#include "host/ops/op_layernorm.h"
#include "host/ops/op_scale.h"

static espl_tensor *leaf(espl_builder *builder, const espl_adapter *adapter, uint32_t matrix) {
    return espl_build_leaf(builder, &adapter->store, matrix);
}

static espl_tensor *own_norm(espl_builder *builder, const espl_adapter *adapter, const uint32_t norm[2], espl_tensor *x) {
    return espl_graph_layernorm(builder->graph, &(espl_layernorm){.x = x, .w = leaf(builder, adapter, norm[0]),
                                                                  .b = leaf(builder, adapter, norm[1]), .eps = 1e-5f});
}

espl_tensor *espl_bottleneck_up(espl_builder *builder, const espl_adapter *adapter, const bottleneck *b, espl_tensor *h) {
    const bottleneck_state *state = adapter->state;
    espl_graph *graph = builder->graph;
    espl_tensor *u = state->norm_before ? own_norm(builder, adapter, b->before, h) : h;
    u = espl_phm_apply(builder, adapter, &b->down, u);
    u = espl_graph_activation(graph, &(espl_activation){.x = u, .kind = state->activation});
    u = espl_phm_apply(builder, adapter, &b->up, u);
    if (state->scaling != SCALING_FIXED)
        return espl_graph_scale(graph, &(espl_scale){.x = u, .s = leaf(builder, adapter, b->scaling)});
    return state->factor == 1 ? u : espl_graph_scale(graph, &(espl_scale){.x = u, .number = state->factor});
}

const bottleneck *espl_bottleneck_at(const espl_adapter *adapter, const espl_joint *joint) {
    const bottleneck_state *state = adapter->state;
    const bottleneck *b = &state->blocks[joint->block][joint->site == ESPL_SITE_MLP_OUT];
    return b->width && joint->block >= state->dropped ? b : NULL;
}

espl_tensor *espl_bottleneck_before(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y,
                                    espl_tensor **out_residual) {
    const bottleneck_state *state = adapter->state;
    espl_tensor *h = state->normed ? joint->normed : state->parallel ? joint->x : y;
    *out_residual = y;
    if (!state->parallel && state->base_before) {
        h = espl_graph_add(builder->graph, &(espl_add_args){y, joint->x});
        if (state->residual == RESIDUAL_SUM) *out_residual = h;
        if (joint->norm != ESPL_NORM_PLACE_COUNT) h = espl_build_norm(builder, joint->block, joint->norm, h);
    }
    if (!state->parallel && state->residual == RESIDUAL_INPUT) *out_residual = h;
    *joint->out_closed = !state->base_after;
    return h;
}

/* Its branch, dropped out, gated; nothing where AdapterDrop drew so. */
static espl_tensor *branch(espl_builder *builder, const espl_adapter *adapter, uint32_t block, const bottleneck *b,
                           espl_tensor *h) {
    const bottleneck_state *state = adapter->state;
    espl_tensor *u = espl_build_dropout(builder, espl_bottleneck_up(builder, adapter, b, h), state->dropout);
    if (state->gated)
        u = espl_graph_scale(builder->graph, &(espl_scale){.x = u, .s = espl_gate_apply(builder, adapter, &b->gate, 0, h)});
    return espl_bottleneck_drop(builder, adapter, block, u);
}

espl_tensor *espl_bottleneck_join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint,
                                  espl_tensor *y) {
    const bottleneck_state *state = adapter->state;
    if (joint->block == ESPL_NO_BLOCK) return espl_invertible_join(builder, adapter, &state->invertible, joint->site, y);
    const bottleneck *b = espl_bottleneck_at(adapter, joint);
    espl_tensor *residual;
    if (!b) return y;
    espl_tensor *h = espl_bottleneck_before(builder, adapter, joint, y, &residual);
    return espl_bottleneck_after(builder, adapter, joint->block, b, h, residual);
}

espl_tensor *espl_bottleneck_after(espl_builder *builder, const espl_adapter *adapter, uint32_t block, const bottleneck *b, espl_tensor *h,
                                   espl_tensor *residual) {
    const bottleneck_state *state = adapter->state;
    espl_tensor *u = branch(builder, adapter, block, b, h);
    if (state->residual_inside) u = espl_graph_add(builder->graph, &(espl_add_args){u, residual});
    if (state->norm_after) u = own_norm(builder, adapter, b->after, u);
    return state->residual_inside ? u : espl_graph_add(builder->graph, &(espl_add_args){u, residual});
}
