#include "host/ops/op_orthogonal.h"
#include "host/ops/each.h"
#include "shaders/orthogonal.h"
#include "shaders/shaders.h"
#include <string.h>

static uint32_t next_block(const espl_orthogonal *at, uint32_t b) {
    while (b < ESPL_ORTHOGONAL_BLOCKS && !at->block[b].count) b++;
    return b;
}

static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    espl_orthogonal at;
    memcpy(&at, node->attribute, sizeof at);
    const espl_tensor *g = node->in[0], *y = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const uint32_t spec[] = {espl_reduce_local(device, g->cols * 4), 1, 1};
    for (uint32_t b = next_block(&at, 0), after; b < ESPL_ORTHOGONAL_BLOCKS; b = after) {
        after = next_block(&at, b + 1);
        const orthogonal_push push = {.size = g->cols, .g_stride = g->stride, .y_stride = y->stride,
                                      .from = at.block[b].from, .count = at.block[b].count,
                                      .end = after < ESPL_ORTHOGONAL_BLOCKS ? at.block[after].from : g->rows,
                                      .factor = at.factor};
        espl_dispatch dispatch = {.label = "orthogonal",
                                  .bind = {[ORTHOGONAL_BIND_G] = g->span, [ORTHOGONAL_BIND_Y] = y->span},
                                  .bind_count = 2,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {1}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_orthogonal, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

const espl_op espl_op_orthogonal = {.name = "orthogonal", .record = record};

espl_tensor *espl_graph_orthogonal(espl_graph *graph, const espl_orthogonal *args) {
    espl_tensor *g = args->g;
    if (!g || espl_graph_status(graph) != ESPL_OK) return NULL;
    const uint32_t first = next_block(args, 0);
    bool fits = g->rows == g->cols && g->dtype == ESPL_DTYPE_F32 && first < ESPL_ORTHOGONAL_BLOCKS && args->block[first].from == 0;
    for (uint32_t b = first, end = 0; fits && b < ESPL_ORTHOGONAL_BLOCKS; b = next_block(args, b + 1)) {
        fits = args->block[b].from >= end && (uint64_t)args->block[b].from + args->block[b].count <= g->cols;
        end = args->block[b].from + args->block[b].count;
    }
    if (!fits)
        return espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                                "orthogonal: g (%s) is %u x %u %s with %u columns in its first block", g->name,
                                                g->rows, g->cols, espl_dtype_name(g->dtype), args->block[0].count));
    espl_tensor *y = espl_graph_value(graph, "orthogonal", g->rows, g->cols, ESPL_DTYPE_F32);
    if (!y || espl_graph_node(graph, &espl_op_orthogonal, &g, 1, &y, 1, args, sizeof *args) != ESPL_OK) return NULL;
    return y;
}
