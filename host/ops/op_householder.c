#include "host/ops/op_householder.h"
#include "host/ops/each.h"
#include "shaders/householder.h"
#include "shaders/shaders.h"

static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const espl_tensor *x = node->in[0], *y = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const householder_push push = {.rows = x->rows, .cols = x->cols, .x_stride = x->stride, .y_stride = y->stride};
    const uint32_t spec[] = {espl_reduce_local(device, x->cols), 1, 1};
    espl_dispatch dispatch = {.label = "householder",
                              .bind = {[HOUSEHOLDER_BIND_X] = x->span, [HOUSEHOLDER_BIND_Y] = y->span},
                              .bind_count = 2,
                              .push = &push,
                              .push_bytes = sizeof push,
                              .groups = {espl_reduce_groups(device, x->rows)}};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_householder, spec, ESPL_COUNT(spec), &dispatch.kernel));
    return espl_commands_dispatch(commands, &dispatch);
}

/* in: x, y, dy, dx before; out: dx, scratch. */
static espl_status record_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const espl_tensor *x = node->in[0], *y = node->in[1], *dy = node->in[2], *dx = node->out[0], *rows = node->out[1];
    espl_device *device = espl_graph_device(graph);
    const householder_push push = {x->rows, x->cols, x->stride, y->stride, dy->stride, dx->stride, rows->stride};
    const uint32_t spec[] = {espl_reduce_local(device, x->cols), 1, 1};
    espl_dispatch dispatch = {.label = "householder_bwd",
                              .bind = {[HOUSEHOLDER_BIND_X] = x->span,
                                       [HOUSEHOLDER_BIND_Y] = y->span,
                                       [HOUSEHOLDER_BIND_DY] = dy->span,
                                       [HOUSEHOLDER_BIND_DX] = dx->span,
                                       [HOUSEHOLDER_BIND_ROWS] = rows->span},
                              .bind_count = 5,
                              .push = &push,
                              .push_bytes = sizeof push,
                              .groups = {1}};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_householder_bwd, spec, ESPL_COUNT(spec), &dispatch.kernel));
    return espl_commands_dispatch(commands, &dispatch);
}

static const espl_op op_householder_bwd = {.name = "householder_bwd", .record = record_bwd};

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    espl_tensor *x = node->in[0], *y = node->out[0];
    bool accumulate;
    if (!espl_grad_wanted(x)) return ESPL_OK;
    espl_tensor *dx = espl_grad_target(graph, x, 0, 0, &accumulate);
    if (!accumulate) { /* a value's first gradient: the kernel adds */
        ESPL_TRY(espl_graph_zero(graph, dx, 0, x->cols));
        dx = espl_grad_target(graph, x, 0, 0, &accumulate);
    }
    espl_tensor *out[] = {dx, espl_graph_scratch(graph, "rows", 2, x->cols)};
    if (!out[0] || !out[1]) return espl_graph_status(graph);
    espl_tensor *in[] = {x, y, espl_grad_of(y), dx->base};
    return espl_graph_node(graph, &op_householder_bwd, in, ESPL_COUNT(in), out, ESPL_COUNT(out), NULL, 0);
}

const espl_op espl_op_householder = {.name = "householder", .record = record, .vjp = vjp};

espl_tensor *espl_graph_householder(espl_graph *graph, const espl_householder *args) {
    espl_tensor *x = args->x;
    if (!x || espl_graph_status(graph) != ESPL_OK) return NULL;
    if (x->dtype != ESPL_DTYPE_F32 || x->rows > x->cols)
        return espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                                "householder: x (%s) is %u x %u %s", x->name, x->rows, x->cols,
                                                espl_dtype_name(x->dtype)));
    espl_tensor *y = espl_graph_value(graph, "householder", x->rows, x->cols, ESPL_DTYPE_F32);
    if (!y || espl_graph_node(graph, &espl_op_householder, &x, 1, &y, 1, NULL, 0) != ESPL_OK) return NULL;
    return y;
}
