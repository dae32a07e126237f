/* Element by element; the backward pass reads the input again and writes both slices of its gradient at once. */
#include "host/ops/op_activation.h"
#include "host/ops/each.h"
#include "host/ops/window.h"
#include "shaders/shaders.h"
#include <string.h>

_Static_assert(sizeof(activation_push) <= ESPL_PUSH_BYTES_MAX, "push block");

typedef struct attribute {
    uint32_t from, cols, kind, gated, gate_from;
    uint32_t accumulate, accumulate_gate;
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

static activation_push push_of(const attribute *at, const espl_tensor *x, const espl_tensor *y) {
    return (activation_push){.rows = x->rows,
                             .cols = at->cols,
                             .from = at->from / 4,
                             .gate_from = at->gate_from / 4,
                             .x_stride = x->stride / 4,
                             .y_stride = y->stride / 4};
}

static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *x = node->in[0], *y = node->out[0];
    espl_device *device = espl_graph_device(graph);
    activation_push push = push_of(&at, x, y);
    const bool contiguous = x->stride == at.cols && y->stride == at.cols;
    const espl_window_part parts[] = {{x, 1}, {y, 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "activation", x->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t from = 0, count; from < x->rows; from += count) {
        count = espl_window_count(from, x->rows, window);
        const espl_each each = espl_each_of(device, count, at.cols, contiguous);
        push.rows = each.rows, push.cols = each.cols;
        const uint32_t spec[] = {each.spec[0], 1, 1, each.spec[3], each.spec[4], at.kind, at.gated,
                                 x->dtype,     y->dtype};
        espl_dispatch dispatch = {.label = "activation",
                                  .bind = {[ACTIVATION_BIND_X] = espl_rows_span(x, from, count),
                                           [ACTIVATION_BIND_Y] = espl_rows_span(y, from, count)},
                                  .bind_count = 2,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {each.groups[0], each.groups[1]}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_activation, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

/* in: x, dy, (dx before); out: dx. */
static espl_status record_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *x = node->in[0], *dy = node->in[1], *dx = node->out[0];
    espl_device *device = espl_graph_device(graph);
    activation_push push = push_of(&at, x, dy);
    push.dx_stride = dx->stride / 4;
    const bool contiguous = x->stride == at.cols && dy->stride == at.cols && dx->stride == at.cols;
    const espl_window_part parts[] = {{x, 1}, {dy, 1}, {dx, 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "activation_bwd", x->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t from = 0, count; from < x->rows; from += count) {
        count = espl_window_count(from, x->rows, window);
        const espl_each each = espl_each_of(device, count, at.cols, contiguous);
        push.rows = each.rows, push.cols = each.cols;
        const uint32_t spec[] = {each.spec[0], 1, 1, each.spec[3], each.spec[4], at.kind, at.gated, at.accumulate,
                                 at.accumulate_gate, x->dtype};
        espl_dispatch dispatch = {.label = "activation_bwd",
                                  .bind = {[ACTIVATION_BWD_BIND_X] = espl_rows_span(x, from, count),
                                           [ACTIVATION_BWD_BIND_DY] = espl_rows_span(dy, from, count),
                                           [ACTIVATION_BWD_BIND_DX] = espl_rows_span(dx, from, count)},
                                  .bind_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {each.groups[0], each.groups[1]}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_activation_bwd, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

static const espl_op espl_op_activation_bwd = {.name = "activation_bwd", .record = record_bwd};

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    attribute at = attribute_of(node);
    espl_tensor *x = node->in[0], *dy = espl_grad_of(node->out[0]);
    if (!espl_grad_wanted(x)) return ESPL_OK;
    bool accumulate, accumulate_gate = false;
    espl_tensor *dx = espl_grad_target(graph, x, at.from, at.cols, &accumulate), *before = dx ? dx->base : NULL;
    if (dx && at.gated) dx = espl_grad_target(graph, x, at.gate_from, at.cols, &accumulate_gate);
    if (!dx) return espl_graph_status(graph);
    at.accumulate = accumulate, at.accumulate_gate = accumulate_gate;
    espl_tensor *in[] = {x, dy, accumulate || accumulate_gate ? before : NULL};
    return espl_graph_node(graph, &espl_op_activation_bwd, in, ESPL_COUNT(in), &dx, 1, &at, sizeof at);
}

const espl_op espl_op_activation = {.name = "activation", .record = record, .vjp = vjp};

static espl_status check(espl_context *ctx, const attribute *at, const espl_tensor *x) {
    const uint64_t end = (uint64_t)at->from + at->cols, gate_end = (uint64_t)at->gate_from + at->cols;
    if (!espl_dtype_is_float(x->dtype))
        return espl_fail(ctx, ESPL_ARGUMENT, "activation: x (%s) is %s, must be F32, F16 or BF16", x->name,
                         espl_dtype_name(x->dtype));
    if (at->kind >= ACTIVATION_KINDS) return espl_fail(ctx, ESPL_ARGUMENT, "activation: kind %u is not known", at->kind);
    if (at->from % 4 || at->gate_from % 4 || at->cols == 0 || end > x->cols || (at->gated && gate_end > x->cols))
        return espl_fail(ctx, ESPL_ARGUMENT,
                         "activation: %u columns from %u and %u (multiples of 4) of x (%s), which has %u", at->cols,
                         at->from, at->gate_from, x->name, x->cols);
    if (at->gated && at->from < gate_end && at->gate_from < end)
        return espl_fail(ctx, ESPL_ARGUMENT, "activation: %u columns from %u and from %u overlap", at->cols, at->from,
                         at->gate_from);
    return ESPL_OK;
}

espl_tensor *espl_graph_activation(espl_graph *graph, const espl_activation *args) {
    espl_tensor *x = args->x;
    if (!x || espl_graph_status(graph) != ESPL_OK) return NULL;
    const attribute at = {.from = args->from,
                          .cols =
                              args->cols || args->gated || args->from >= x->cols ? args->cols : x->cols - args->from,
                          .kind = args->kind,
                          .gated = args->gated,
                          .gate_from = args->gate_from};
    espl_status status = check(espl_device_context(espl_graph_device(graph)), &at, x);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    espl_tensor *y = espl_graph_output(graph, "activation", x->rows, at.cols);
    if (!y || espl_graph_node(graph, &espl_op_activation, &x, 1, &y, 1, &at, sizeof at) != ESPL_OK) return NULL;
    return y;
}
