#include "host/ops/op_mean.h"
#include "host/ops/each.h"
#include "host/ops/window.h"
#include "shaders/mean.h"
#include "shaders/shaders.h"
#include <string.h>

typedef struct attribute {
    uint32_t groups, accumulate;
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *x = node->in[0], *y = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const uint32_t local = espl_reduce_local(device, 4 * (x->rows / at.groups));
    const uint32_t spec[] = {local, 1, 1, x->cols % 4 != 0, 1, 0, x->dtype, y->dtype}, rows = x->rows / at.groups;
    const espl_window_part parts[] = {{x, rows}, {y, 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "mean", at.groups, parts, ESPL_COUNT(parts), &window));
    for (uint32_t first = 0, count; first < at.groups; first += count) {
        count = espl_window_count(first, at.groups, window);
        const mean_push push = {count, rows, x->cols, x->stride / 4, y->stride / 4};
        const uint64_t sums = (uint64_t)count * espl_ceil_div(x->cols, 4);
        espl_dispatch dispatch = {.label = "mean",
                                  .bind = {[MEAN_BIND_X] = espl_rows_span(x, first * rows, count * rows),
                                           [MEAN_BIND_Y] = espl_rows_span(y, first, count)},
                                  .bind_count = 2,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {espl_reduce_groups(device, sums < UINT32_MAX ? (uint32_t)sums : UINT32_MAX)}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_mean, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

/* in: dy, (dx before); out: dx. */
static espl_status record_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *dy = node->in[0], *dx = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const uint32_t rows = dx->rows / at.groups;
    const espl_window_part parts[] = {{dy, 1}, {dx, rows}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "mean_bwd", at.groups, parts, ESPL_COUNT(parts), &window));
    for (uint32_t first = 0, count; first < at.groups; first += count) {
        count = espl_window_count(first, at.groups, window);
        const espl_each each = espl_each_of(device, count * rows, dx->cols, false);
        const mean_push push = {count, rows, dx->cols, dy->stride / 4, dx->stride / 4};
        const uint32_t spec[] = {each.spec[0], 1, 1, each.spec[3], each.spec[4], at.accumulate};
        espl_dispatch dispatch = {.label = "mean_bwd",
                                  .bind = {[MEAN_BIND_X] = espl_rows_span(dy, first, count),
                                           [MEAN_BIND_Y] = espl_rows_span(dx, first * rows, count * rows)},
                                  .bind_count = 2,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {each.groups[0], each.groups[1]}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_mean_bwd, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

static const espl_op op_mean_bwd = {.name = "mean_bwd", .record = record_bwd};

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    attribute at = attribute_of(node);
    bool accumulate;
    if (!espl_grad_wanted(node->in[0])) return ESPL_OK;
    espl_tensor *dx = espl_grad_target(graph, node->in[0], 0, 0, &accumulate);
    if (!dx) return espl_graph_status(graph);
    at.accumulate = accumulate;
    espl_tensor *in[] = {espl_grad_of(node->out[0]), accumulate ? dx->base : NULL};
    return espl_graph_node(graph, &op_mean_bwd, in, 2, &dx, 1, &at, sizeof at);
}

const espl_op espl_op_mean = {.name = "mean", .record = record, .vjp = vjp};

espl_tensor *espl_graph_mean(espl_graph *graph, const espl_mean *args) {
    espl_tensor *x = args->x;
    if (!x || espl_graph_status(graph) != ESPL_OK) return NULL;
    const attribute at = {.groups = args->groups ? args->groups : 1};
    if (!espl_dtype_is_float(x->dtype) || x->rows % at.groups)
        return espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                                "mean: x (%s) is %u x %u %s, in %u groups", x->name, x->rows, x->cols,
                                                espl_dtype_name(x->dtype), at.groups));
    espl_tensor *y = espl_graph_output(graph, "mean", at.groups, x->cols);
    if (!y || espl_graph_node(graph, &espl_op_mean, &x, 1, &y, 1, &at, sizeof at) != ESPL_OK) return NULL;
    return y;
}
