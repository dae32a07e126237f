#include "host/ops/op_phm.h"
#include "host/ops/each.h"
#include "host/ops/window.h"
#include "shaders/phm.h"
#include "shaders/shaders.h"
#include <string.h>

_Static_assert(sizeof(phm_push) <= ESPL_PUSH_BYTES_MAX, "push block");

static phm_push push_of(const espl_tensor *rule, const espl_tensor *left, const espl_tensor *right, const espl_tensor *h) {
    const uint32_t n = rule->cols;
    return (phm_push){.n = n,
                      .rows = h->rows,
                      .cols = h->cols,
                      .block_rows = h->rows / n,
                      .block_cols = h->cols / n,
                      .rank = right ? right->rows / n : 0,
                      .rule_stride = rule->stride,
                      .left_stride = left->stride,
                      .right_stride = right ? right->stride : 0,
                      .h_stride = h->stride};
}

/* Windows of the rows of H or of its gradient, of which each adds its share. */
static espl_status dispatch_windows(espl_device *device, espl_commands *commands, const espl_tensor *h, phm_push *push,
                                    espl_dispatch *dispatch) {
    uint32_t window;
    ESPL_TRY(espl_window_units(device, dispatch->label, h->rows, &(espl_window_part){h, 1}, 1, &window));
    dispatch->push = push;
    dispatch->push_bytes = sizeof *push;
    const bool forward = dispatch->bind_count == PHM_BIND_OUT;
    for (push->first = 0; push->first < h->rows; push->first += push->count) {
        push->count = espl_window_count(push->first, h->rows, window);
        dispatch->bind[PHM_BIND_H] = espl_rows_span(h, push->first, push->count);
        if (forward) dispatch->groups[1] = push->count < ESPL_GROUPS_MAX ? push->count : ESPL_GROUPS_MAX;
        ESPL_TRY(espl_commands_dispatch(commands, dispatch));
    }
    return ESPL_OK;
}

static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const espl_tensor *rule = node->in[0], *left = node->in[1], *right = node->in[2], *h = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const uint32_t local = espl_device_capabilities(device)->cpu ? 8 : 64;
    phm_push push = push_of(rule, left, right, h);
    const uint32_t spec[] = {local, 1, 1, right != NULL};
    espl_dispatch dispatch = {.label = "phm",
                              .bind = {[PHM_BIND_RULE] = rule->span,
                                       [PHM_BIND_LEFT] = left->span,
                                       [PHM_BIND_RIGHT] = right ? right->span : (espl_span){0}},
                              .bind_count = PHM_BIND_OUT,
                              .groups = {espl_ceil_div(h->cols, local)}};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_phm, spec, ESPL_COUNT(spec), &dispatch.kernel));
    return dispatch_windows(device, commands, h, &push, &dispatch);
}

/* in: rule, left, right, dH, the gradient before; out: the gradient of one of the first three. */
static espl_status record_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const espl_tensor *rule = node->in[0], *left = node->in[1], *right = node->in[2], *dh = node->in[3], *out = node->out[0];
    espl_device *device = espl_graph_device(graph);
    uint32_t of;
    memcpy(&of, node->attribute, sizeof of);
    phm_push push = push_of(rule, left, right, dh);
    const uint32_t terms = of == PHM_OF_RULE ? push.block_rows * push.block_cols : of == PHM_OF_LEFT ? push.block_cols : push.block_rows;
    push.out_stride = out->stride, push.out_rows = out->rows, push.out_cols = out->cols;
    const uint32_t spec[] = {espl_reduce_local(device, terms), 1, 1, right != NULL, of};
    espl_dispatch dispatch = {.label = "phm_bwd",
                              .bind = {[PHM_BIND_RULE] = rule->span,
                                       [PHM_BIND_LEFT] = left->span,
                                       [PHM_BIND_RIGHT] = right ? right->span : (espl_span){0},
                                       [PHM_BIND_OUT] = out->span},
                              .bind_count = PHM_BIND_OUT + 1,
                              .groups = {espl_reduce_groups(device, out->rows * out->cols)}};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_phm_bwd, spec, ESPL_COUNT(spec), &dispatch.kernel));
    return dispatch_windows(device, commands, dh, &push, &dispatch);
}

static const espl_op op_phm_bwd = {.name = "phm_bwd", .record = record_bwd};

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    espl_tensor *dh = espl_grad_of(node->out[0]);
    for (uint32_t of = PHM_OF_RULE; of <= PHM_OF_RIGHT; of++) {
        bool accumulate;
        if (!espl_grad_wanted(node->in[of])) continue;
        espl_tensor *target = espl_grad_target(graph, node->in[of], 0, 0, &accumulate);
        if (!target) return espl_graph_status(graph);
        if (!accumulate) /* a value's first gradient: the kernel adds */
            ESPL_TRY(espl_graph_zero(graph, target, 0, target->cols));
        if (!accumulate) target = espl_grad_target(graph, node->in[of], 0, 0, &accumulate);
        espl_tensor *in[] = {node->in[0], node->in[1], node->in[2], dh, target->base};
        ESPL_TRY(espl_graph_node(graph, &op_phm_bwd, in, ESPL_COUNT(in), &target, 1, &of, sizeof of));
    }
    return ESPL_OK;
}

const espl_op espl_op_phm = {.name = "phm", .record = record, .vjp = vjp};

espl_tensor *espl_graph_phm(espl_graph *graph, const espl_phm *args) {
    espl_tensor *rule = args->rule, *left = args->left, *right = args->right;
    if (!rule || !left || espl_graph_status(graph) != ESPL_OK) return NULL;
    espl_context *ctx = espl_device_context(espl_graph_device(graph));
    const uint32_t n = rule->cols, in = left->rows, block_cols = right ? right->cols : left->cols;
    const bool f32 = rule->dtype == ESPL_DTYPE_F32 && left->dtype == ESPL_DTYPE_F32 && (!right || right->dtype == ESPL_DTYPE_F32);
    if (!f32 || rule->rows != n * n || in % n || (right && (right->rows % n || right->rows / n != left->cols)))
        return espl_graph_fail(graph, espl_fail(ctx, ESPL_ARGUMENT, "phm: a rule (%s) of %u x %u, left (%s) of %u x %u, right of "
                                                "%u x %u", rule->name, rule->rows, n, left->name, in, left->cols,
                                                right ? right->rows : 0, right ? right->cols : 0));
    espl_tensor *h = espl_graph_value(graph, "phm", in, n * block_cols, ESPL_DTYPE_F32);
    espl_tensor *inputs[] = {rule, left, right};
    if (!h || espl_graph_node(graph, &espl_op_phm, inputs, 3, &h, 1, NULL, 0) != ESPL_OK) return NULL;
    return h;
}
