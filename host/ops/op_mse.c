/* A loss: the root of every backward pass, so its gradient is made at once. */
#include "host/ops/op_mse.h"
#include "host/ops/window.h"
#include "shaders/mse.h"
#include "shaders/shaders.h"

_Static_assert(sizeof(mse_push) <= ESPL_PUSH_BYTES_MAX, "push block");

/* What is one row of the step buffer, as a matrix of rows that lie after each other. */
static espl_tensor rows_of(const espl_tensor *t, uint32_t rows) {
    espl_tensor matrix = *t;
    matrix.rows = rows, matrix.cols = matrix.stride = t->cols / rows;
    return matrix;
}

/* in: x, targets, labels, step; out: loss, dx. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    espl_device *device = espl_graph_device(graph);
    const espl_tensor *x = node->in[0], *loss = node->out[0], *dx = node->out[1];
    const espl_tensor targets = rows_of(node->in[1], x->rows), labels = rows_of(node->in[2], x->rows);
    const espl_window_part parts[] = {{x, 1}, {&targets, 1}, {&labels, 1}, {loss, 1}, {dx, 1}};
    const uint32_t spec[] = {espl_device_capabilities(device)->cpu ? 8 : 32, 1, 1, dx != NULL};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, node->op->name, x->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t from = 0, count; from < x->rows; from += count) {
        count = espl_window_count(from, x->rows, window);
        const mse_push push = {.rows = count,
                               .cols = x->cols,
                               .x_stride = x->stride,
                               .loss_stride = loss->stride,
                               .dx_stride = dx ? dx->stride : 0};
        espl_dispatch dispatch = {.label = node->op->name,
                                  .bind = {[MSE_BIND_X] = espl_rows_span(x, from, count),
                                           [MSE_BIND_TARGETS] = espl_rows_span(&targets, from, count),
                                           [MSE_BIND_LABELS] = espl_rows_span(&labels, from, count),
                                           [MSE_BIND_STEP] = node->in[3]->span,
                                           [MSE_BIND_LOSS] = espl_rows_span(loss, from, count),
                                           [MSE_BIND_DX] = espl_rows_span(dx, from, count)},
                                  .bind_count = MSE_BIND_COUNT,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {espl_ceil_div(count, spec[0])}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_mse, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    return node->out[1] ? espl_grad_give(graph, node->in[0], node->out[1]) : ESPL_OK;
}

const espl_op espl_op_mse = {.name = "mse", .record = record, .vjp = vjp};

static espl_status check(espl_context *ctx, const espl_mse *args) {
    const espl_tensor *x = args->x, *targets = args->targets, *labels = args->labels;
    if (x->dtype != ESPL_DTYPE_F32 || targets->dtype != ESPL_DTYPE_F32 || targets->rows != 1 ||
        targets->cols != (uint64_t)x->rows * x->cols)
        return espl_fail(ctx, ESPL_ARGUMENT, "mse: %u x %u targets of %s for x of %u x %u %s", targets->rows,
                         targets->cols, espl_dtype_name(targets->dtype), x->rows, x->cols, espl_dtype_name(x->dtype));
    if (labels->cols != x->rows || labels->rows != 1 || labels->dtype != ESPL_DTYPE_I32)
        return espl_fail(ctx, ESPL_ARGUMENT, "mse: %u x %u labels of %s for %u rows", labels->rows, labels->cols,
                         espl_dtype_name(labels->dtype), x->rows);
    return ESPL_OK;
}

espl_tensor *espl_graph_mse(espl_graph *graph, const espl_mse *args) {
    espl_tensor *x = args->x;
    if (!x || !args->targets || !args->labels || espl_graph_status(graph) != ESPL_OK) return NULL;
    espl_status status = check(espl_device_context(espl_graph_device(graph)), args);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    espl_tensor *out[] = {espl_graph_value(graph, "loss", x->rows, 1, ESPL_DTYPE_F32),
                          espl_grad_wanted(x) ? espl_graph_value(graph, "d x", x->rows, x->cols, ESPL_DTYPE_F32) : NULL};
    espl_tensor *in[] = {x, args->targets, args->labels, espl_graph_step(graph)};
    if (espl_graph_node(graph, &espl_op_mse, in, ESPL_COUNT(in), out, ESPL_COUNT(out), NULL, 0) != ESPL_OK) return NULL;
    return out[0];
}
