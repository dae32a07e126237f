/* Rows (or groups of columns) are independent; the gradient of w is a sum over rows, taken in chunks that colsum adds.
 */
#include "host/ops/op_rmsnorm.h"
#include "host/ops/each.h"
#include "host/ops/op_colsum.h"
#include "host/ops/window.h"
#include "shaders/rmsnorm.h"
#include "shaders/shaders.h"
#include <string.h>

_Static_assert(sizeof(rmsnorm_push) <= ESPL_PUSH_BYTES_MAX, "push block");

typedef struct attribute {
    uint32_t from, groups, cols; /* in elements */
    uint32_t accumulate;
    uint32_t chunk;
    float eps;
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

static rmsnorm_push push_of(const attribute *at, const espl_tensor *x, const espl_tensor *y) {
    return (rmsnorm_push){.rows = x->rows,
                          .cols = at->cols,
                          .from = at->from / 4,
                          .groups = at->groups,
                          .others = at->groups * at->cols != x->cols,
                          .row_cols = x->cols,
                          .x_stride = x->stride / 4,
                          .y_stride = y->stride / 4,
                          .eps = at->eps};
}

static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *x = node->in[0], *y = node->out[0];
    espl_device *device = espl_graph_device(graph);
    rmsnorm_push push = push_of(&at, x, y);
    const uint32_t spec[] = {espl_reduce_local(device, at.cols), 1, 1, x->cols % 4 != 0,
                             [RMSNORM_SPEC_X_TYPE] = x->dtype, [RMSNORM_SPEC_Y_TYPE] = y->dtype};
    const espl_window_part parts[] = {{x, 1}, {y, 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "rmsnorm", x->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t count; push.first_row < x->rows; push.first_row += count) {
        push.rows = count = espl_window_count(push.first_row, x->rows, window);
        espl_dispatch dispatch = {.label = "rmsnorm",
                                  .bind = {[RMSNORM_BIND_X] = espl_rows_span(x, push.first_row, count),
                                           [RMSNORM_BIND_W] = node->in[1]->span,
                                           [RMSNORM_BIND_Y] = espl_rows_span(y, push.first_row, count),
                                           [RMSNORM_BIND_RSTD] = node->out[1]->span},
                                  .bind_count = 4,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {espl_reduce_groups(device, count * (push.groups + push.others))}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_rmsnorm, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

/* in: x, w, dy, rstd, (dx before); out: dx. */
static espl_status record_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *x = node->in[0], *dy = node->in[2], *dx = node->out[0];
    espl_device *device = espl_graph_device(graph);
    rmsnorm_push push = push_of(&at, x, dy);
    push.dx_stride = dx->stride / 4;
    const uint32_t spec[] = {espl_reduce_local(device, at.cols), 1, 1,
                             x->cols % 4 != 0, [RMSNORM_SPEC_ACCUMULATE] = at.accumulate,
                             [RMSNORM_SPEC_X_TYPE] = x->dtype};
    const espl_window_part parts[] = {{x, 1}, {dy, 1}, {dx, 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "rmsnorm_bwd", x->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t count; push.first_row < x->rows; push.first_row += count) {
        push.rows = count = espl_window_count(push.first_row, x->rows, window);
        espl_dispatch dispatch = {.label = "rmsnorm_bwd",
                                  .bind = {[RMSNORM_BIND_X] = espl_rows_span(x, push.first_row, count),
                                           [RMSNORM_BIND_W] = node->in[1]->span,
                                           [RMSNORM_BIND_Y] = espl_rows_span(dy, push.first_row, count),
                                           [RMSNORM_BIND_RSTD] = node->in[3]->span,
                                           [RMSNORM_BWD_BIND_DX] = espl_rows_span(dx, push.first_row, count)},
                                  .bind_count = 5,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {espl_reduce_groups(device, count * (push.groups + push.others))}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_rmsnorm_bwd, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

/* in: x, dy, rstd; out: partial sums, one row per chunk. */
static espl_status record_dw(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *x = node->in[0], *dy = node->in[1], *partial = node->out[0];
    espl_device *device = espl_graph_device(graph);
    rmsnorm_push push = push_of(&at, x, dy);
    push.chunk = at.chunk;
    push.partial_stride = partial->stride / 4;
    const uint32_t local = espl_device_capabilities(device)->cpu ? 8 : 32, spec[] = {
                   local, 1, 1, at.cols % 4 != 0, [RMSNORM_SPEC_X_TYPE] = x->dtype};
    const uint32_t rows = at.chunk / at.groups; /* of a chunk */
    const espl_window_part parts[] = {{x, rows}, {dy, rows}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "rmsnorm_dw", partial->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t count; push.first_chunk < partial->rows; push.first_chunk += count) {
        count = espl_window_count(push.first_chunk, partial->rows, window);
        push.first_row = push.first_chunk * rows;
        push.rows = espl_window_count(push.first_row, x->rows, count * rows);
        espl_dispatch dispatch = {.label = "rmsnorm_dw",
                                  .bind = {[RMSNORM_DW_BIND_X] = espl_rows_span(x, push.first_row, push.rows),
                                           [RMSNORM_DW_BIND_DY] = espl_rows_span(dy, push.first_row, push.rows),
                                           [RMSNORM_DW_BIND_RSTD] = node->in[2]->span,
                                           [RMSNORM_DW_BIND_PARTIAL] = partial->span},
                                  .bind_count = 4,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {espl_ceil_div(at.cols, 4 * local), count}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_rmsnorm_dw, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

static const espl_op espl_op_rmsnorm_bwd = {.name = "rmsnorm_bwd", .record = record_bwd};
static const espl_op espl_op_rmsnorm_dw = {.name = "rmsnorm_dw", .record = record_dw};

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    attribute at = attribute_of(node);
    espl_tensor *x = node->in[0], *w = node->in[1], *rstd = node->out[1], *dy = espl_grad_of(node->out[0]);
    bool accumulate;
    if (espl_grad_wanted(x)) {
        espl_tensor *dx = espl_grad_target(graph, x, 0, 0, &accumulate);
        if (!dx) return espl_graph_status(graph);
        at.accumulate = accumulate;
        espl_tensor *in[] = {x, w, dy, rstd, accumulate ? dx->base : NULL};
        ESPL_TRY(espl_graph_node(graph, &espl_op_rmsnorm_bwd, in, ESPL_COUNT(in), &dx, 1, &at, sizeof at));
    }
    if (espl_grad_wanted(w)) {
        espl_tensor *dw = espl_grad_target(graph, w, 0, 0, &accumulate);
        const uint32_t rows = espl_colsum_chunk(espl_graph_device(graph), dy);
        at.chunk = rows * at.groups;
        espl_tensor *partial = espl_graph_scratch(graph, "partial sums", espl_ceil_div(x->rows, rows), at.cols);
        if (!dw || !partial) return espl_graph_status(graph);
        espl_tensor *in[] = {x, dy, rstd};
        ESPL_TRY(espl_graph_node(graph, &espl_op_rmsnorm_dw, in, ESPL_COUNT(in), &partial, 1, &at, sizeof at));
        ESPL_TRY(espl_graph_colsum(graph, &(espl_colsum){.x = partial, .out = dw, .fresh = !accumulate}));
    }
    return espl_graph_status(graph);
}

const espl_op espl_op_rmsnorm = {.name = "rmsnorm", .record = record, .vjp = vjp};

bool espl_rmsnorm_of(const espl_node *node, espl_rmsnorm *out_args) {
    const attribute at = attribute_of(node);
    if (node->op != &espl_op_rmsnorm || at.groups != 1 || at.cols != node->in[0]->cols) return false;
    *out_args = (espl_rmsnorm){.x = node->in[0], .w = node->in[1], .eps = at.eps};
    return true;
}

static espl_status check(espl_context *ctx, const espl_rmsnorm *args, const attribute *at) {
    const espl_tensor *x = args->x, *w = args->w;
    if (!espl_dtype_is_float(x->dtype) || w->dtype != ESPL_DTYPE_F32)
        return espl_fail(ctx, ESPL_ARGUMENT, "rmsnorm: x (%s) is %s and w (%s) is %s, which must be F32", x->name,
                         espl_dtype_name(x->dtype), w->name, espl_dtype_name(w->dtype));
    if (args->group_cols && (at->from % 4 || at->cols % 4 || at->from + (uint64_t)at->groups * at->cols > x->cols))
        return espl_fail(ctx, ESPL_ARGUMENT,
                         "rmsnorm: %u groups of %u columns from %u; these are multiples of 4, and x has %u columns",
                         at->groups, at->cols, at->from, x->cols);
    if (w->rows != 1 || w->cols != at->cols)
        return espl_fail(ctx, ESPL_ARGUMENT, "rmsnorm: w has %u values, a %s of x has %u", w->rows * w->cols,
                         args->group_cols ? "group" : "row", at->cols);
    if ((uint64_t)x->rows * (at->groups + 1) > UINT32_MAX)
        return espl_fail(ctx, ESPL_LIMIT, "rmsnorm: %u rows of %u groups", x->rows, at->groups);
    return ESPL_OK;
}

espl_tensor *espl_graph_rmsnorm(espl_graph *graph, const espl_rmsnorm *args) {
    espl_tensor *x = args->x, *w = args->w;
    if (!x || !w || espl_graph_status(graph) != ESPL_OK) return NULL;
    const attribute at = {.from = args->group_cols ? args->group_from : 0,
                          .groups = args->group_cols && args->group_count ? args->group_count : 1,
                          .cols = args->group_cols ? args->group_cols : x->cols,
                          .eps = args->eps == 0.0f ? 1e-6f : args->eps};
    espl_status status = check(espl_device_context(espl_graph_device(graph)), args, &at);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    espl_tensor *out[] = {espl_graph_output(graph, "rmsnorm", x->rows, x->cols),
                          espl_graph_value(graph, "rstd", 1, x->rows * at.groups, ESPL_DTYPE_F32)};
    espl_tensor *in[] = {x, w};
    if (!out[0] || !out[1] || espl_graph_node(graph, &espl_op_rmsnorm, in, 2, out, 2, &at, sizeof at) != ESPL_OK)
        return NULL;
    return out[0];
}
