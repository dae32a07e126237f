/* The gradient of x is the forward kernel on gradients, and so is that of a full s. */
#include "host/ops/op_scale.h"
#include "host/ops/each.h"
#include "host/ops/op_colsum.h"
#include "host/ops/window.h"
#include "shaders/scale.h"
#include "shaders/shaders.h"
#include <string.h>

typedef struct attribute {
    uint32_t kind, from, count, accumulate;
    float number;
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

/* in: x, s, (y before); out: y. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *x = node->in[0], *s = node->in[1], *y = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const bool full = at.kind == SCALE_FULL;
    const espl_window_part parts[] = {{x, 1}, {full ? s : NULL, 1}, {y, 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, node->op->name, x->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t first = 0, count; first < x->rows; first += count) {
        count = espl_window_count(first, x->rows, window);
        const espl_each each = espl_each_of(device, count, x->cols, false);
        const scale_push push = {.rows = count,
                                 .cols = x->cols,
                                 .from = at.from / 4,
                                 .count = at.count,
                                 .group_rows = s ? x->rows / s->rows : 1,
                                 .first = first,
                                 .x_stride = x->stride / 4,
                                 .s_stride = s ? s->stride / 4 : 0,
                                 .y_stride = y->stride / 4,
                                 .number = at.number};
        const uint32_t spec[] = {each.spec[0], 1, 1, each.spec[3], each.spec[4], at.kind, at.accumulate,
                                 x->dtype, s ? s->dtype : 0, y->dtype};
        espl_dispatch dispatch = {.label = node->op->name,
                                  .bind = {[SCALE_BIND_X] = espl_rows_span(x, first, count),
                                           [SCALE_BIND_S] = full ? espl_rows_span(s, first, count) : s ? s->span : (espl_span){0},
                                           [SCALE_BIND_Y] = espl_rows_span(y, first, count)},
                                  .bind_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {each.groups[0], each.groups[1]}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_scale, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

static espl_status dispatch_ds(espl_device *device, espl_commands *commands, const attribute *at, const espl_tensor *x,
                               const espl_tensor *dy, const espl_tensor *ds, uint32_t rows_of_sum, bool sum) {
    const bool columns = at->kind == SCALE_COLUMNS;
    const uint32_t count = sum ? 1 : at->count;
    const uint32_t local = columns ? (espl_device_capabilities(device)->cpu ? 8 : 32) : espl_reduce_local(device, count);
    const uint32_t sums = espl_ceil_div(dy->rows, rows_of_sum);
    const uint32_t spec[] = {local, 1, 1, count % 4 != 0, 1, at->kind, at->accumulate, x->dtype, sum};
    const espl_window_part parts[] = {{x, rows_of_sum}, {dy, rows_of_sum}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "scale_ds", sums, parts, ESPL_COUNT(parts), &window));
    for (uint32_t first = 0, some; first < sums; first += some) {
        some = espl_window_count(first, sums, window);
        const uint32_t row = first * rows_of_sum, rows = espl_window_count(row, dy->rows, some * rows_of_sum);
        const scale_push push = {.rows = rows,
                                 .from = sum ? 0 : at->from / 4,
                                 .count = count,
                                 .group_rows = rows_of_sum,
                                 .first = first,
                                 .x_stride = x->stride / 4,
                                 .s_stride = ds->stride / 4,
                                 .y_stride = dy->stride / 4};
        espl_dispatch dispatch = {.label = "scale_ds",
                                  .bind = {[SCALE_DS_BIND_X] = espl_rows_span(x, row, rows),
                                           [SCALE_DS_BIND_DY] = espl_rows_span(dy, row, rows),
                                           [SCALE_DS_BIND_DS] = ds->span},
                                  .bind_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {columns ? espl_ceil_div(count, 4 * local) : espl_reduce_groups(device, some),
                                             columns ? some : 1}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_scale_ds, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

/* in: x, dy, (ds before); out: ds or partial sums of its columns, (sums of rows). */
static espl_status record_ds(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    attribute at = attribute_of(node);
    const espl_tensor *x = node->in[0], *dy = node->in[1], *ds = node->out[0], *rows = node->out[1];
    espl_device *device = espl_graph_device(graph);
    if (at.kind == SCALE_COLUMNS)
        return dispatch_ds(device, commands, &at, x, dy, ds, espl_colsum_chunk(device, dy), false);
    if (!rows) return dispatch_ds(device, commands, &at, x, dy, ds, x->rows / ds->rows, false);
    /* Groups of many rows in two steps, so that few groups still fill a GPU. */
    attribute first = at;
    first.accumulate = false;
    ESPL_TRY(dispatch_ds(device, commands, &first, x, dy, rows, 1, false));
    return dispatch_ds(device, commands, &at, rows, rows, ds, x->rows / ds->rows, true);
}

static const espl_op op_scale_bwd = {.name = "scale_bwd", .record = record};
static const espl_op op_scale_ds = {.name = "scale_ds", .record = record_ds};

static espl_status add_ds(espl_graph *graph, const espl_node *node, attribute at) {
    espl_tensor *x = node->in[0], *s = node->in[1], *dy = espl_grad_of(node->out[0]);
    bool accumulate;
    espl_tensor *ds = espl_grad_target(graph, s, 0, 0, &accumulate);
    if (!ds) return espl_graph_status(graph);
    at.accumulate = accumulate;
    espl_tensor *in[] = {x, dy, accumulate ? ds->base : NULL}, *out[] = {ds, NULL};
    if (at.kind == SCALE_COLUMNS) {
        const uint32_t chunk = espl_colsum_chunk(espl_graph_device(graph), dy);
        espl_tensor *partial = espl_graph_value(graph, "d scale partial", espl_ceil_div(x->rows, chunk), s->cols,
                                                ESPL_DTYPE_F32);
        if (!partial) return espl_graph_status(graph);
        ESPL_TRY(espl_graph_node(graph, &op_scale_ds, in, 2, &partial, 1, &at, sizeof at));
        return espl_graph_colsum(graph, &(espl_colsum){.x = partial, .out = ds, .fresh = !accumulate});
    }
    if (x->rows > s->rows) {
        out[1] = espl_graph_scratch(graph, "d scale rows", x->rows, 1);
        if (!out[1]) return espl_graph_status(graph);
    }
    return espl_graph_node(graph, &op_scale_ds, in, 3, out, 2, &at, sizeof at);
}

/* s has as many columns as are scaled, so they are taken from x and dy by a kernel that reads both from column 0. */
static espl_status add_full(espl_graph *graph, const espl_node *node, attribute at) {
    espl_tensor *in[] = {node->in[0], espl_grad_of(node->out[0]), NULL};
    bool accumulate;
    espl_tensor *ds = espl_grad_target(graph, node->in[1], 0, 0, &accumulate);
    if (!ds) return espl_graph_status(graph);
    at.accumulate = accumulate;
    in[2] = accumulate ? ds->base : NULL;
    return espl_graph_node(graph, &op_scale_bwd, in, 3, &ds, 1, &at, sizeof at);
}

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    attribute at = attribute_of(node);
    espl_tensor *x = node->in[0], *s = node->in[1], *dy = espl_grad_of(node->out[0]);
    if (espl_grad_wanted(s)) ESPL_TRY(at.kind == SCALE_FULL ? add_full(graph, node, at) : add_ds(graph, node, at));
    if (espl_grad_wanted(x)) {
        bool accumulate;
        espl_tensor *dx = espl_grad_target(graph, x, 0, 0, &accumulate);
        if (!dx) return espl_graph_status(graph);
        at.accumulate = accumulate;
        espl_tensor *in[] = {dy, s, accumulate ? dx->base : NULL};
        ESPL_TRY(espl_graph_node(graph, &op_scale_bwd, in, 3, &dx, 1, &at, sizeof at));
    }
    return node->in[2] ? espl_grad_pass(graph, node->out[0], node->in[2]) : ESPL_OK;
}

const espl_op espl_op_scale = {.name = "scale", .record = record, .vjp = vjp};

static espl_tensor *add_node(espl_graph *graph, const espl_scale *args, attribute at) {
    espl_tensor *x = args->x, *into = args->into;
    if (into && (into->rows != x->rows || into->cols != x->cols || !espl_dtype_is_float(into->dtype)))
        return espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                                "scale: x (%s) of %u x %u is added to %s of %u x %u %s", x->name, x->rows, x->cols,
                                                into->name, into->rows, into->cols, espl_dtype_name(into->dtype)));
    at.accumulate = into != NULL;
    espl_tensor *y = into ? espl_graph_update(graph, into) : espl_graph_output(graph, "scale", x->rows, x->cols);
    espl_tensor *in[] = {x, args->s, into};
    return y && espl_graph_node(graph, &espl_op_scale, in, 3, &y, 1, &at, sizeof at) == ESPL_OK ? y : NULL;
}

static espl_tensor *scale_number(espl_graph *graph, const espl_scale *args) {
    espl_tensor *x = args->x;
    const uint32_t rest = args->from < x->cols ? x->cols - args->from : 0;
    const attribute at = {.kind = SCALE_NUMBER, .from = args->from, .count = args->count ? args->count : rest,
                          .number = args->number};
    if (!espl_dtype_is_float(x->dtype) || args->from % 4 || at.count == 0 || at.count > rest)
        return espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                                "scale: columns %u to %u of x (%s), which is %u x %u %s", args->from,
                                                args->from + at.count, x->name, x->rows, x->cols,
                                                espl_dtype_name(x->dtype)));
    return add_node(graph, args, at);
}

espl_tensor *espl_graph_scale(espl_graph *graph, const espl_scale *args) {
    espl_tensor *x = args->x, *s = args->s;
    if (!x || espl_graph_status(graph) != ESPL_OK) return NULL;
    if (!s) return scale_number(graph, args);
    espl_context *ctx = espl_device_context(espl_graph_device(graph));
    const uint32_t rest = args->from < x->cols ? x->cols - args->from : 0, count = args->count ? args->count : rest;
    const bool columns = s->rows == 1 && s->cols == count && (x->rows > 1 || count > 1) && count > 1;
    const bool rows = s->cols == 1 && s->rows && x->rows % s->rows == 0;
    const bool full = s->rows == x->rows && s->cols == count && args->from == 0 && count == x->cols;
    if (!espl_dtype_is_float(x->dtype) || !espl_dtype_is_float(s->dtype))
        return espl_graph_fail(graph, espl_fail(ctx, ESPL_ARGUMENT, "scale: x (%s) is %s and s (%s) is %s",
                                                x->name, espl_dtype_name(x->dtype), s->name, espl_dtype_name(s->dtype)));
    if (args->from % 4 || count == 0 || count > rest || !(columns || rows || full))
        return espl_graph_fail(graph, espl_fail(ctx, ESPL_ARGUMENT, "scale: s (%s) of %u x %u for columns %u to %u of x (%s) "
                                                "of %u x %u", s->name, s->rows, s->cols, args->from, args->from + count,
                                                x->name, x->rows, x->cols));
    const attribute at = {.kind = columns ? SCALE_COLUMNS : rows ? SCALE_ROWS : SCALE_FULL, .from = args->from, .count = count};
    return add_node(graph, args, at);
}
