/* Rows are copied; backward every row of the gradient is written, so that nothing needs to be zeroed before. */
#include "host/ops/op_pick.h"
#include "host/ops/each.h"
#include "host/ops/window.h"
#include "shaders/pick.h"
#include "shaders/shaders.h"
#include <string.h>

_Static_assert(sizeof(pick_push) <= ESPL_PUSH_BYTES_MAX, "push block");
_Static_assert(PICK_BIND_LENGTHS == PICK_BWD_BIND_LENGTHS, "shaders/lib/pick.glsl");

typedef struct attribute {
    uint32_t sequence, last, accumulate;
} attribute;

/* whole: x or dx; part: y or dy. In windows of sequences. */
static espl_status dispatch_pick(espl_graph *graph, espl_commands *commands, const espl_node *node,
                                 const espl_shader *shader, const espl_tensor *whole, const espl_tensor *part) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    const espl_tensor *from = node->in[0], *lengths = node->in[1], *to = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const bool forward = shader == &espl_shader_pick;
    const uint32_t from_rows = forward ? at.sequence : 1, to_rows = forward ? 1 : at.sequence;
    const espl_window_part parts[] = {{from, from_rows}, {to, to_rows}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, node->op->name, part->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t first = 0, count; first < part->rows; first += count) {
        count = espl_window_count(first, part->rows, window);
        const espl_each each = espl_each_of(device, count * to_rows, to->cols, false);
        const pick_push push = {.rows = count * to_rows,
                                .cols = to->cols,
                                .first = first,
                                .sequence = at.sequence,
                                .x_stride = whole->stride / 4,
                                .y_stride = part->stride / 4};
        const uint32_t spec[] = {each.spec[0], 1, 1, each.spec[3], each.spec[4], at.last, lengths != NULL,
                                 forward ? from->dtype : at.accumulate, to->dtype};
        espl_dispatch dispatch = {.label = node->op->name,
                                  .bind = {[PICK_BIND_X] = espl_rows_span(from, first * from_rows, count * from_rows),
                                           [PICK_BIND_LENGTHS] = lengths ? lengths->span : (espl_span){0},
                                           [PICK_BIND_Y] = espl_rows_span(to, first * to_rows, count * to_rows)},
                                  .bind_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {each.groups[0], each.groups[1]}};
        ESPL_TRY(espl_device_kernel(device, shader, spec, forward ? ESPL_COUNT(spec) : PICK_SPEC_ACCUMULATE + 1,
                                    &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    return dispatch_pick(graph, commands, node, &espl_shader_pick, node->in[0], node->out[0]);
}

/* in: dy, lengths, (dx before); out: dx. */
static espl_status record_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    return dispatch_pick(graph, commands, node, &espl_shader_pick_bwd, node->out[0], node->in[0]);
}

static const espl_op espl_op_pick_bwd = {.name = "pick_bwd", .record = record_bwd};

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    bool accumulate;
    if (!espl_grad_wanted(node->in[0])) return ESPL_OK;
    espl_tensor *dx = espl_grad_target(graph, node->in[0], 0, 0, &accumulate);
    if (!dx) return espl_graph_status(graph);
    at.accumulate = accumulate;
    espl_tensor *in[] = {espl_grad_of(node->out[0]), node->in[1], accumulate ? dx->base : NULL};
    return espl_graph_node(graph, &espl_op_pick_bwd, in, ESPL_COUNT(in), &dx, 1, &at, sizeof at);
}

const espl_op espl_op_pick = {.name = "pick", .record = record, .vjp = vjp};

static espl_status check(espl_context *ctx, const espl_pick *args) {
    const espl_tensor *x = args->x, *lengths = args->lengths;
    if (!espl_dtype_is_float(x->dtype) || args->batch == 0 || x->rows % args->batch)
        return espl_fail(ctx, ESPL_ARGUMENT, "pick: x (%s) has %u rows of %s for %u sequences", x->name, x->rows,
                         espl_dtype_name(x->dtype), args->batch);
    if (lengths && (lengths->dtype != ESPL_DTYPE_I32 || lengths->rows != 1 || lengths->cols != args->batch))
        return espl_fail(ctx, ESPL_ARGUMENT, "pick: lengths are %u x %u %s, must be one row of %u I32", lengths->rows,
                         lengths->cols, espl_dtype_name(lengths->dtype), args->batch);
    return ESPL_OK;
}

espl_tensor *espl_graph_pick(espl_graph *graph, const espl_pick *args) {
    espl_tensor *x = args->x;
    if (!x || espl_graph_status(graph) != ESPL_OK) return NULL;
    espl_status status = check(espl_device_context(espl_graph_device(graph)), args);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    const attribute at = {.sequence = x->rows / args->batch, .last = args->last};
    espl_tensor *y = espl_graph_output(graph, "picked", args->batch, x->cols);
    espl_tensor *in[] = {x, args->last ? args->lengths : NULL};
    if (!y || espl_graph_node(graph, &espl_op_pick, in, ESPL_COUNT(in), &y, 1, &at, sizeof at) != ESPL_OK) return NULL;
    return y;
}
