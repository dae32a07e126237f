/* Element by element over flat memory, in windows of what can be bound. */
#include "host/ops/op_adamw.h"
#include "host/ops/each.h"
#include "shaders/adamw.h"
#include "shaders/shaders.h"
#include <string.h>

typedef struct attribute {
    uint32_t decay;
    float rate;
} attribute;

/* in: gradient, step, stats, then p, m, v before; out: p, m, v. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    espl_device *device = espl_graph_device(graph);
    const espl_capabilities *can = espl_device_capabilities(device);
    const uint32_t all = node->out[0]->cols, local = can->cpu ? 8 : 64, items = can->cpu ? 16 : 1;
    const uint64_t range = can->storage_range_max / 256 * 64;
    const uint32_t window = all <= range ? all : (uint32_t)range;
    const uint32_t spec[] = {local, 1, 1, all % 4 != 0, items, at.decay};
    const espl_kernel *kernel;
    ESPL_TRY(espl_device_kernel(device, &espl_shader_adamw, spec, ESPL_COUNT(spec), &kernel));
    for (uint32_t from = 0, count; from < all; from += count) {
        count = all - from < window ? all - from : window;
        const uint64_t begin = from * 4ull, bytes = espl_round_up(count, 4) * 4;
        const uint32_t blocks = espl_ceil_div(count, 4 * local * items);
        const uint32_t rows = espl_ceil_div(blocks, ESPL_GROUPS_MAX);
        const adamw_push push = {count, at.rate};
        const espl_dispatch dispatch = {.kernel = kernel,
                                        .label = "adamw",
                                        .bind = {[ADAMW_BIND_P] = espl_span_part(node->out[0]->span, begin, bytes),
                                                 [ADAMW_BIND_G] = espl_span_part(node->in[0]->span, begin, bytes),
                                                 [ADAMW_BIND_M] = espl_span_part(node->out[1]->span, begin, bytes),
                                                 [ADAMW_BIND_V] = espl_span_part(node->out[2]->span, begin, bytes),
                                                 [ADAMW_BIND_STEP] = node->in[1]->span,
                                                 [ADAMW_BIND_STATS] = node->in[2]->span},
                                        .bind_count = 6,
                                        .push = &push,
                                        .push_bytes = sizeof push,
                                        .groups = {espl_ceil_div(blocks, rows), rows}};
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
        if (count == all - from) break; /* from + count may be beyond 32 bits */
    }
    return ESPL_OK;
}

const espl_op espl_op_adamw = {.name = "adamw", .record = record};

espl_status espl_graph_adamw(espl_graph *graph, const espl_adamw *args) {
    espl_tensor *in[] = {args->gradient, espl_graph_step(graph), args->stats, args->p, args->m, args->v};
    for (size_t i = 0; i < ESPL_COUNT(in); i++) {
        if (!in[i] || espl_graph_status(graph) != ESPL_OK) return espl_graph_status(graph);
        const uint32_t cols = i == 1 ? in[i]->cols : i == 2 ? ESPL_STATS_WORDS : args->p ? args->p->cols : 0;
        if (i == 1 || (in[i]->role == ESPL_ROLE_STATE && in[i]->dtype == ESPL_DTYPE_F32 && in[i]->rows == 1 &&
                       in[i]->cols == cols))
            continue;
        espl_status status = espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                       "adamw: %s is %u x %u %s, must be one row of %u F32 STATE", in[i]->name,
                                       in[i]->rows, in[i]->cols, espl_dtype_name(in[i]->dtype), cols);
        espl_graph_fail(graph, status);
        return status;
    }
    const attribute at = {args->decay, args->rate == 0.0f ? 1.0f : args->rate};
    espl_tensor *out[] = {espl_graph_update(graph, args->p), espl_graph_update(graph, args->m),
                          espl_graph_update(graph, args->v)};
    if (!out[0] || !out[1] || !out[2]) return espl_graph_status(graph);
    return espl_graph_node(graph, &espl_op_adamw, in, ESPL_COUNT(in), out, ESPL_COUNT(out), &at, sizeof at);
}
