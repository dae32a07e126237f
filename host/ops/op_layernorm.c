/* Rows are independent; the gradients of w and b are sums over rows, taken in chunks that colsum adds. */
#include "host/ops/op_layernorm.h"
#include "host/ops/each.h"
#include "host/ops/op_colsum.h"
#include "host/ops/window.h"
#include "shaders/layernorm.h"
#include "shaders/shaders.h"
#include <string.h>

_Static_assert(sizeof(layernorm_push) <= ESPL_PUSH_BYTES_MAX, "push block");

typedef struct attribute {
    uint32_t accumulate, chunk;
    float eps;
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

static layernorm_push push_of(const attribute *at, const espl_tensor *x, const espl_tensor *y,
                              const espl_tensor *stat) {
    return (layernorm_push){.rows = x->rows,
                            .cols = x->cols,
                            .x_stride = x->stride / 4,
                            .y_stride = y->stride / 4,
                            .stat_stride = stat->stride,
                            .eps = at->eps};
}

static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *x = node->in[0], *b = node->in[2], *y = node->out[0], *stat = node->out[1];
    espl_device *device = espl_graph_device(graph);
    layernorm_push push = push_of(&at, x, y, stat);
    const uint32_t spec[] = {espl_reduce_local(device, x->cols), 1, 1,
                             x->cols % 4 != 0, [LAYERNORM_SPEC_BIAS] = b != NULL,
                             [LAYERNORM_SPEC_X_TYPE] = x->dtype, [LAYERNORM_SPEC_Y_TYPE] = y->dtype};
    const espl_window_part parts[] = {{x, 1}, {y, 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "layernorm", x->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t count; push.first_row < x->rows; push.first_row += count) {
        push.rows = count = espl_window_count(push.first_row, x->rows, window);
        espl_dispatch dispatch = {.label = "layernorm",
                                  .bind = {[LAYERNORM_BIND_X] = espl_rows_span(x, push.first_row, count),
                                           [LAYERNORM_BIND_W] = node->in[1]->span,
                                           [LAYERNORM_BIND_B] = b ? b->span : (espl_span){0},
                                           [LAYERNORM_BIND_Y] = espl_rows_span(y, push.first_row, count),
                                           [LAYERNORM_BIND_STAT] = stat->span},
                                  .bind_count = 5,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {espl_reduce_groups(device, count)}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_layernorm, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

/* in: x, w, dy, stat, (dx before); out: dx. */
static espl_status record_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *x = node->in[0], *dy = node->in[2], *stat = node->in[3], *dx = node->out[0];
    espl_device *device = espl_graph_device(graph);
    layernorm_push push = push_of(&at, x, dy, stat);
    push.dx_stride = dx->stride / 4;
    const uint32_t spec[] = {espl_reduce_local(device, x->cols), 1, 1,
                             x->cols % 4 != 0, [LAYERNORM_SPEC_ACCUMULATE] = at.accumulate,
                             [LAYERNORM_SPEC_X_TYPE] = x->dtype};
    const espl_window_part parts[] = {{x, 1}, {dy, 1}, {dx, 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "layernorm_bwd", x->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t count; push.first_row < x->rows; push.first_row += count) {
        push.rows = count = espl_window_count(push.first_row, x->rows, window);
        espl_dispatch dispatch = {.label = "layernorm_bwd",
                                  .bind = {[LAYERNORM_BWD_BIND_X] = espl_rows_span(x, push.first_row, count),
                                           [LAYERNORM_BWD_BIND_W] = node->in[1]->span,
                                           [LAYERNORM_BWD_BIND_DY] = espl_rows_span(dy, push.first_row, count),
                                           [LAYERNORM_BWD_BIND_STAT] = stat->span,
                                           [LAYERNORM_BWD_BIND_DX] = espl_rows_span(dx, push.first_row, count)},
                                  .bind_count = 5,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {espl_reduce_groups(device, count)}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_layernorm_bwd, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

/* in: x, dy, stat; out: partial sums, one row per chunk: those for w, then those for b. */
static espl_status record_dw(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *x = node->in[0], *dy = node->in[1], *stat = node->in[2], *partial = node->out[0];
    espl_device *device = espl_graph_device(graph);
    layernorm_push push = push_of(&at, x, dy, stat);
    push.chunk = at.chunk;
    push.partial_stride = partial->stride / 4;
    const uint32_t local = espl_device_capabilities(device)->cpu ? 8 : 32, spec[] = {
                   local, 1, 1, [LAYERNORM_SPEC_X_TYPE] = x->dtype};
    const uint32_t rows = at.chunk; /* of a chunk */
    const espl_window_part parts[] = {{x, rows}, {dy, rows}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "layernorm_dw", partial->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t count; push.first_chunk < partial->rows; push.first_chunk += count) {
        count = espl_window_count(push.first_chunk, partial->rows, window);
        push.first_row = push.first_chunk * rows;
        push.rows = espl_window_count(push.first_row, x->rows, count * rows);
        espl_dispatch dispatch = {.label = "layernorm_dw",
                                  .bind = {[LAYERNORM_DW_BIND_X] = espl_rows_span(x, push.first_row, push.rows),
                                           [LAYERNORM_DW_BIND_DY] = espl_rows_span(dy, push.first_row, push.rows),
                                           [LAYERNORM_DW_BIND_STAT] = stat->span,
                                           [LAYERNORM_DW_BIND_PARTIAL] = partial->span},
                                  .bind_count = 4,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {espl_ceil_div(x->cols, 4 * local), count}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_layernorm_dw, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

static const espl_op espl_op_layernorm_bwd = {.name = "layernorm_bwd", .record = record_bwd};
static const espl_op espl_op_layernorm_dw = {.name = "layernorm_dw", .record = record_dw};

static espl_status give_sums(espl_graph *graph, espl_tensor *partial, uint32_t from, espl_tensor *parameter) {
    if (!espl_grad_wanted(parameter)) return ESPL_OK;
    bool accumulate;
    espl_tensor *target = espl_grad_target(graph, parameter, 0, 0, &accumulate);
    return espl_graph_colsum(graph, &(espl_colsum){.x = partial, .from = from, .out = target, .fresh = !accumulate});
}

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    attribute at = attribute_of(node);
    espl_tensor *x = node->in[0], *w = node->in[1], *b = node->in[2], *stat = node->out[1];
    espl_tensor *dy = espl_grad_of(node->out[0]);
    if (espl_grad_wanted(x)) {
        bool accumulate;
        espl_tensor *dx = espl_grad_target(graph, x, 0, 0, &accumulate);
        if (!dx) return espl_graph_status(graph);
        at.accumulate = accumulate;
        espl_tensor *in[] = {x, w, dy, stat, accumulate ? dx->base : NULL};
        ESPL_TRY(espl_graph_node(graph, &espl_op_layernorm_bwd, in, ESPL_COUNT(in), &dx, 1, &at, sizeof at));
    }
    if (espl_grad_wanted(w) || espl_grad_wanted(b)) {
        const uint32_t width = (uint32_t)espl_round_up(x->cols, 4);
        at.chunk = espl_colsum_chunk(espl_graph_device(graph), dy);
        espl_tensor *partial = espl_graph_scratch(graph, "partial sums", espl_ceil_div(x->rows, at.chunk), 2 * width);
        if (!partial) return espl_graph_status(graph);
        espl_tensor *in[] = {x, dy, stat};
        ESPL_TRY(espl_graph_node(graph, &espl_op_layernorm_dw, in, ESPL_COUNT(in), &partial, 1, &at, sizeof at));
        ESPL_TRY(give_sums(graph, partial, 0, w));
        ESPL_TRY(give_sums(graph, partial, width, b));
    }
    return espl_graph_status(graph);
}

const espl_op espl_op_layernorm = {.name = "layernorm", .record = record, .vjp = vjp};

static espl_status check(espl_context *ctx, const espl_layernorm *args) {
    const espl_tensor *x = args->x, *w = args->w, *b = args->b;
    if (!espl_dtype_is_float(x->dtype) || w->dtype != ESPL_DTYPE_F32 || (b && b->dtype != ESPL_DTYPE_F32))
        return espl_fail(ctx, ESPL_ARGUMENT, "layernorm: x is %s, w %s, b %s; the last two must be F32",
                         espl_dtype_name(x->dtype), espl_dtype_name(w->dtype),
                         b ? espl_dtype_name(b->dtype) : "absent");
    if (w->rows != 1 || w->cols != x->cols)
        return espl_fail(ctx, ESPL_ARGUMENT, "layernorm: w has %u values, a row of x has %u", w->rows * w->cols,
                         x->cols);
    if (b && (b->rows != 1 || b->cols != x->cols))
        return espl_fail(ctx, ESPL_ARGUMENT, "layernorm: b has %u values, a row of x has %u", b->rows * b->cols,
                         x->cols);
    return ESPL_OK;
}

espl_tensor *espl_graph_layernorm(espl_graph *graph, const espl_layernorm *args) {
    espl_tensor *x = args->x, *w = args->w;
    if (!x || !w || espl_graph_status(graph) != ESPL_OK) return NULL;
    const attribute at = {.eps = args->eps == 0.0f ? 1e-5f : args->eps};
    espl_status status = check(espl_device_context(espl_graph_device(graph)), args);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    espl_tensor *out[] = {espl_graph_output(graph, "layernorm", x->rows, x->cols),
                          espl_graph_value(graph, "mean and rstd", 2, x->rows, ESPL_DTYPE_F32)};
    espl_tensor *in[] = {x, w, args->b};
    if (!out[0] || !out[1] || espl_graph_node(graph, &espl_op_layernorm, in, 3, out, 2, &at, sizeof at) != ESPL_OK)
        return NULL;
    return out[0];
}
