/* Two kernels, each the other's gradient. */
#include "host/ops/op_concat.h"
#include "host/ops/each.h"
#include "host/ops/window.h"
#include "shaders/concat.h"
#include "shaders/shaders.h"
#include <string.h>

_Static_assert(sizeof(concat_push) <= ESPL_PUSH_BYTES_MAX, "push block");

/* Rows of one sequence, and columns; what concat or slice reads is x, what they write y. */
typedef struct attribute {
    uint32_t x_rows, y_rows, first, x_from, y_from, cols, a_rows, sequences, accumulate;
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

/* Sequences [from, from + count); those of a sum are added to the same rows of y, window after window. */
static espl_status dispatch(espl_graph *graph, espl_commands *commands, const char *label, const espl_shader *shader,
                            const attribute *at, const espl_tensor *a, const espl_tensor *x, const espl_tensor *y,
                            uint32_t from, uint32_t count) {
    espl_device *device = espl_graph_device(graph);
    const bool concat = shader == &espl_shader_concat, sum = at->sequences > 1;
    const uint32_t rows = sum ? y->rows : count * at->y_rows, accumulate = at->accumulate || (sum && from > 0);
    const espl_each each = espl_each_of(device, rows, at->cols, false);
    const concat_push push = {.rows = rows,
                              .cols = at->cols,
                              .x_rows = at->x_rows,
                              .y_rows = at->y_rows,
                              .first = at->first,
                              .x_from = at->x_from / 4,
                              .y_from = at->y_from / 4,
                              .x_stride = x->stride / 4,
                              .y_stride = y->stride / 4,
                              .a_stride = a ? a->stride / 4 : 0,
                              .a_rows = at->a_rows,
                              .sequences = sum ? count : 1};
    const uint32_t spec[] = {each.spec[0], 1,        1,        each.spec[3],       each.spec[4],
                             accumulate,   x->dtype, y->dtype, a ? a->dtype : 0, a != NULL};
    espl_dispatch d = {.label = label,
                       .bind_count = concat ? 3 : 2,
                       .push = &push,
                       .push_bytes = sizeof push,
                       .groups = {each.groups[0], each.groups[1]}};
    if (concat && a) d.bind[CONCAT_BIND_A] = at->a_rows ? espl_rows_span(a, from * at->a_rows, count * at->a_rows) : a->span;
    d.bind[concat ? CONCAT_BIND_X : SLICE_BIND_X] = espl_rows_span(x, from * at->x_rows, count * at->x_rows);
    d.bind[concat ? CONCAT_BIND_Y : SLICE_BIND_Y] = sum ? y->span : espl_rows_span(y, from * at->y_rows, rows);
    ESPL_TRY(espl_device_kernel(device, shader, spec, ESPL_COUNT(spec) - (concat ? 0 : 2), &d.kernel));
    return espl_commands_dispatch(commands, &d);
}

static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node, const espl_shader *shader,
                          const attribute *at, const espl_tensor *a, const espl_tensor *x) {
    const espl_tensor *y = node->out[0];
    const bool sum = at->sequences > 1;
    const uint32_t sequences = sum ? at->sequences : y->rows / at->y_rows;
    const espl_window_part parts[] = {{a && at->a_rows ? a : NULL, at->a_rows}, {x, at->x_rows}, {sum ? NULL : y, at->y_rows}};
    uint32_t window;
    ESPL_TRY(espl_window_units(espl_graph_device(graph), node->op->name, sequences, parts, ESPL_COUNT(parts), &window));
    for (uint32_t from = 0, count; from < sequences; from += count) {
        count = espl_window_count(from, sequences, window);
        ESPL_TRY(dispatch(graph, commands, node->op->name, shader, at, a, x, y, from, count));
    }
    return ESPL_OK;
}

/* in: a, x, (y before); out: y. a may be absent: zeros. */
static espl_status record_concat(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    return record(graph, commands, node, &espl_shader_concat, &at, node->in[0], node->in[1]);
}

/* in: x, (y before); out: y. */
static espl_status record_slice(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    return record(graph, commands, node, &espl_shader_slice, &at, NULL, node->in[0]);
}

static const espl_op op_concat_bwd = {.name = "concat_bwd", .record = record_slice};
static const espl_op op_slice_bwd = {.name = "slice_bwd", .record = record_concat};

/* Columns [from, from + cols) of the gradient of t. */
static espl_status add_bwd(espl_graph *graph, const espl_op *op, attribute at, espl_tensor *dy, espl_tensor *t, uint32_t from) {
    bool accumulate;
    espl_tensor *target = espl_grad_target(graph, t, from, at.cols, &accumulate);
    if (!target) return espl_graph_status(graph);
    at.accumulate = accumulate;
    espl_tensor *before = accumulate ? target->base : NULL;
    espl_tensor *of_concat[] = {dy, before}, *of_slice[] = {NULL, dy, before};
    return op == &op_concat_bwd ? espl_graph_node(graph, op, of_concat, 2, &target, 1, &at, sizeof at)
                                : espl_graph_node(graph, op, of_slice, 3, &target, 1, &at, sizeof at);
}

static espl_status vjp_concat(espl_graph *graph, const espl_node *node) {
    const attribute at = attribute_of(node);
    espl_tensor *a = node->in[0], *x = node->in[1], *y = node->out[0], *dy = espl_grad_of(y);
    attribute back = {.x_rows = at.y_rows, .cols = at.cols, .sequences = 1};
    if (espl_grad_wanted(a)) {
        back.y_rows = at.first;
        back.sequences = at.a_rows ? 1 : y->rows / at.y_rows;
        ESPL_TRY(add_bwd(graph, &op_concat_bwd, back, dy, a, 0));
    }
    if (!espl_grad_wanted(x)) return ESPL_OK;
    back.y_rows = at.x_rows, back.first = at.first, back.y_from = at.x_from, back.sequences = 1;
    return add_bwd(graph, &op_concat_bwd, back, dy, x, at.x_from);
}

static espl_status vjp_slice(espl_graph *graph, const espl_node *node) {
    const attribute at = attribute_of(node);
    if (!espl_grad_wanted(node->in[0])) return ESPL_OK;
    const attribute back = {.x_rows = at.y_rows, .y_rows = at.x_rows, .first = at.first, .y_from = at.x_from, .cols = at.cols};
    return add_bwd(graph, &op_slice_bwd, back, espl_grad_of(node->out[0]), node->in[0], at.x_from);
}

const espl_op espl_op_concat = {.name = "concat", .record = record_concat, .vjp = vjp_concat};
const espl_op espl_op_slice = {.name = "slice", .record = record_slice, .vjp = vjp_slice};

espl_tensor *espl_graph_concat(espl_graph *graph, const espl_concat *args) {
    espl_tensor *a = args->a, *x = args->x;
    if (!a || !x || espl_graph_status(graph) != ESPL_OK) return NULL;
    const uint32_t batch = args->batch ? args->batch : 1, before = args->each ? a->rows / batch : a->rows;
    if (!espl_dtype_is_float(a->dtype) || !espl_dtype_is_float(x->dtype) || x->rows % batch || args->from % 4 ||
        (args->each && a->rows % batch) || (uint64_t)args->from + a->cols > x->cols)
        return espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                                "concat: a (%s) of %u x %u %s before columns from %u of x (%s) of %u x %u %s in "
                                                "%u sequences", a->name, a->rows, a->cols, espl_dtype_name(a->dtype),
                                                args->from, x->name, x->rows, x->cols, espl_dtype_name(x->dtype), batch));
    const attribute at = {.x_rows = x->rows / batch,
                          .y_rows = before + x->rows / batch,
                          .first = before,
                          .x_from = args->from,
                          .cols = a->cols,
                          .a_rows = args->each ? before : 0};
    espl_tensor *y = espl_graph_output(graph, "concat", batch * at.y_rows, a->cols);
    espl_tensor *in[] = {a, x};
    if (!y || espl_graph_node(graph, &espl_op_concat, in, 2, &y, 1, &at, sizeof at) != ESPL_OK) return NULL;
    return y;
}

espl_tensor *espl_graph_slice(espl_graph *graph, const espl_slice *args) {
    espl_tensor *x = args->x;
    if (!x || espl_graph_status(graph) != ESPL_OK) return NULL;
    const uint32_t batch = args->batch ? args->batch : 1, x_rows = x->rows / batch;
    const uint32_t rows = args->rows ? args->rows : args->first < x_rows ? x_rows - args->first : 0;
    const uint32_t cols = args->cols ? args->cols : args->from < x->cols ? x->cols - args->from : 0;
    if (!espl_dtype_is_float(x->dtype) || x->rows % batch || rows == 0 || cols == 0 || args->from % 4 ||
        (uint64_t)args->first + rows > x_rows || (uint64_t)args->from + cols > x->cols)
        return espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                                "slice: rows %u to %u, columns %u to %u of x (%s) of %u x %u %s in %u sequences",
                                                args->first, args->first + rows, args->from, args->from + cols, x->name,
                                                x->rows, x->cols, espl_dtype_name(x->dtype), batch));
    const attribute at = {.x_rows = x_rows, .y_rows = rows, .first = args->first, .x_from = args->from, .cols = cols,
                          .sequences = 1};
    espl_tensor *y = espl_graph_output(graph, "slice", batch * rows, cols);
    if (!y || espl_graph_node(graph, &espl_op_slice, &x, 1, &y, 1, &at, sizeof at) != ESPL_OK) return NULL;
    return y;
}
