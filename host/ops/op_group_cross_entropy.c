/* A loss: the root of every backward pass, so its gradient is made at once. */
#include "host/ops/op_group_cross_entropy.h"
#include "host/ops/window.h"
#include "shaders/group_cross_entropy.h"
#include "shaders/shaders.h"

enum { GPU_LANES = GROUP_CROSS_ENTROPY_LANES_MAX, CPU_LANES = 16 };

_Static_assert(sizeof(group_cross_entropy_push) <= ESPL_PUSH_BYTES_MAX, "push block");

/* in: x, labels, step; out: loss, dx. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    espl_device *device = espl_graph_device(graph);
    const espl_tensor *x = node->in[0], *loss = node->out[0], *dx = node->out[1];
    const uint32_t groups = node->in[1]->cols / x->cols, rows = x->rows / groups;
    espl_tensor labels = *node->in[1];
    labels.rows = groups, labels.cols = labels.stride = x->cols;
    const espl_window_part parts[] = {{x, rows}, {&labels, 1}, {loss, x->cols}, {dx, rows}};
    const uint32_t spec[] = {espl_device_capabilities(device)->cpu ? CPU_LANES : GPU_LANES, 1, 1, dx != NULL};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, node->op->name, groups, parts, ESPL_COUNT(parts), &window));
    for (uint32_t from = 0, count; from < groups; from += count) {
        count = espl_window_count(from, groups, window);
        const uint32_t columns = count * x->cols, across = columns < 32768 ? columns : 32768;
        const group_cross_entropy_push push = {.groups = count,
                                               .rows = rows,
                                               .cols = x->cols,
                                               .x_stride = x->stride,
                                               .loss_stride = loss->stride,
                                               .dx_stride = dx ? dx->stride : 0};
        espl_dispatch dispatch = {
            .label = node->op->name,
            .bind = {[GROUP_CROSS_ENTROPY_BIND_X] = espl_rows_span(x, from * rows, count * rows),
                     [GROUP_CROSS_ENTROPY_BIND_LABELS] = espl_rows_span(&labels, from, count),
                     [GROUP_CROSS_ENTROPY_BIND_STEP] = node->in[2]->span,
                     [GROUP_CROSS_ENTROPY_BIND_LOSS] = espl_rows_span(loss, from * x->cols, columns),
                     [GROUP_CROSS_ENTROPY_BIND_DX] = espl_rows_span(dx, from * rows, count * rows)},
            .bind_count = GROUP_CROSS_ENTROPY_BIND_COUNT,
            .push = &push,
            .push_bytes = sizeof push,
            .groups = {across, espl_ceil_div(columns, across)}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_group_cross_entropy, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    return node->out[1] ? espl_grad_give(graph, node->in[0], node->out[1]) : ESPL_OK;
}

const espl_op espl_op_group_cross_entropy = {.name = "group_cross_entropy", .record = record, .vjp = vjp};

static espl_status check(espl_context *ctx, const espl_group_cross_entropy *args) {
    const espl_tensor *x = args->x, *labels = args->labels;
    if (x->dtype != ESPL_DTYPE_F32 || args->groups == 0 || x->rows % args->groups != 0)
        return espl_fail(ctx, ESPL_ARGUMENT, "group_cross_entropy: x of %u x %u %s is not %u groups of F32", x->rows, x->cols,
                         espl_dtype_name(x->dtype), args->groups);
    if (labels->cols != (uint64_t)args->groups * x->cols || labels->rows != 1 || labels->dtype != ESPL_DTYPE_I32)
        return espl_fail(ctx, ESPL_ARGUMENT, "group_cross_entropy: %u x %u labels of %s for %u groups of %u columns", labels->rows,
                         labels->cols, espl_dtype_name(labels->dtype), args->groups, x->cols);
    return ESPL_OK;
}

espl_tensor *espl_graph_group_cross_entropy(espl_graph *graph, const espl_group_cross_entropy *args) {
    espl_tensor *x = args->x;
    if (!x || !args->labels || espl_graph_status(graph) != ESPL_OK) return NULL;
    espl_status status = check(espl_device_context(espl_graph_device(graph)), args);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    espl_tensor *out[] = {espl_graph_value(graph, "loss", args->groups * x->cols, 1, ESPL_DTYPE_F32),
                          espl_grad_wanted(x) ? espl_graph_value(graph, "d x", x->rows, x->cols, ESPL_DTYPE_F32) : NULL};
    espl_tensor *in[] = {x, args->labels, espl_graph_step(graph)};
    if (espl_graph_node(graph, &espl_op_group_cross_entropy, in, ESPL_COUNT(in), out, ESPL_COUNT(out), NULL, 0) != ESPL_OK)
        return NULL;
    return out[0];
}
