/* The backward pass is the forward kernel on gradients. */
#include "host/ops/op_dropout.h"
#include "host/ops/each.h"
#include "host/ops/window.h"
#include "shaders/dropout.h"
#include "shaders/dropout_mask.h"
#include "shaders/shaders.h"
#include <string.h>

_Static_assert(sizeof(dropout_push) <= ESPL_PUSH_BYTES_MAX && sizeof(dropout_mask_push) <= ESPL_PUSH_BYTES_MAX, "push block");

typedef struct attribute {
    uint32_t site, accumulate;
    double p;
} attribute;

static uint32_t threshold_of(double p) {
    return (uint32_t)(p * 4294967296.0);
}

/* in: x, step, (y before); out: y. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    const espl_tensor *x = node->in[0], *y = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const espl_window_part parts[] = {{x, 1}, {y, 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, node->op->name, x->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t from = 0, count; from < x->rows; from += count) {
        count = espl_window_count(from, x->rows, window);
        /* As one row the index of a quad is what it was, since cols is a multiple of 4 then. */
        const espl_each each = espl_each_of(device, count, x->cols, x->stride == x->cols && y->stride == x->cols);
        const dropout_push push = {.rows = each.rows,
                                   .cols = each.cols,
                                   .first = from * espl_ceil_div(x->cols, 4),
                                   .x_stride = x->stride / 4,
                                   .y_stride = y->stride / 4,
                                   .site = at.site,
                                   .threshold = threshold_of(at.p),
                                   .scale = (float)(1.0 / (1.0 - at.p))};
        const uint32_t spec[] = {each.spec[0], 1, 1, each.spec[3], each.spec[4], at.accumulate, x->dtype, y->dtype};
        espl_dispatch dispatch = {.label = node->op->name,
                                  .bind = {[DROPOUT_BIND_X] = espl_rows_span(x, from, count),
                                           [DROPOUT_BIND_STEP] = node->in[1]->span,
                                           [DROPOUT_BIND_Y] = espl_rows_span(y, from, count)},
                                  .bind_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {each.groups[0], each.groups[1]}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_dropout, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

static const espl_op espl_op_dropout_bwd = {.name = "dropout_bwd", .record = record};

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    bool accumulate;
    if (!espl_grad_wanted(node->in[0])) return ESPL_OK;
    espl_tensor *dx = espl_grad_target(graph, node->in[0], 0, 0, &accumulate);
    if (!dx) return espl_graph_status(graph);
    at.accumulate = accumulate;
    espl_tensor *in[] = {espl_grad_of(node->out[0]), node->in[1], accumulate ? dx->base : NULL};
    return espl_graph_node(graph, &espl_op_dropout_bwd, in, ESPL_COUNT(in), &dx, 1, &at, sizeof at);
}

const espl_op espl_op_dropout = {.name = "dropout", .record = record, .vjp = vjp};

espl_tensor *espl_graph_dropout(espl_graph *graph, const espl_dropout *args) {
    espl_tensor *x = args->x;
    if (!x || espl_graph_status(graph) != ESPL_OK) return NULL;
    espl_context *ctx = espl_device_context(espl_graph_device(graph));
    if (!(args->p >= 0.0f && args->p < 1.0f))
        return espl_graph_fail(graph,
                               espl_fail(ctx, ESPL_ARGUMENT, "dropout: p is %g, must be in [0, 1)", (double)args->p));
    if (!espl_dtype_is_float(x->dtype))
        return espl_graph_fail(graph, espl_fail(ctx, ESPL_ARGUMENT, "dropout: x (%s) is %s, must be F32, F16 or BF16",
                                                x->name, espl_dtype_name(x->dtype)));
    if ((uint64_t)x->rows * espl_ceil_div(x->cols, 4) > UINT32_MAX)
        return espl_graph_fail(graph, espl_fail(ctx, ESPL_LIMIT, "dropout: %u x %u elements", x->rows, x->cols));
    if (args->p == 0.0f) return x;
    const attribute at = {.site = args->site, .p = (double)args->p};
    espl_tensor *y = espl_graph_output(graph, "dropout", x->rows, x->cols);
    espl_tensor *in[] = {x, espl_graph_step(graph)};
    if (!y || espl_graph_node(graph, &espl_op_dropout, in, 2, &y, 1, &at, sizeof at) != ESPL_OK) return NULL;
    return y;
}

/* ---- Of the weights of attention ---- */

espl_tensor *espl_graph_dropout_mask(espl_graph *graph, uint32_t rows, uint32_t heads, uint32_t keys) {
    const uint64_t words = (uint64_t)heads * espl_dropout_mask_words(keys);
    if (words < 1u << 29) return espl_graph_scratch(graph, "dropout mask", rows, (uint32_t)words);
    return espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_LIMIT,
                                            "dropout of %u heads over %u keys", heads, keys));
}

espl_status espl_record_dropout_mask(espl_graph *graph, espl_commands *commands, const espl_tensor *step,
                                     const espl_tensor *mask, float p, uint32_t site) {
    espl_device *device = espl_graph_device(graph);
    const uint32_t spec[] = {espl_device_capabilities(device)->cpu ? 8 : 64, 1, 1};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "dropout_mask", mask->rows, &(espl_window_part){mask, 1}, 1, &window));
    for (uint32_t from = 0, count; from < mask->rows; from += count) {
        count = espl_window_count(from, mask->rows, window);
        const dropout_mask_push push = {.rows = count,
                                        .words = mask->cols,
                                        .stride = mask->stride,
                                        .first = from,
                                        .site = site,
                                        .threshold = threshold_of((double)p)};
        espl_dispatch dispatch = {.label = "dropout_mask",
                                  .bind = {[DROPOUT_MASK_BIND_STEP] = step->span,
                                           [DROPOUT_MASK_BIND_MASK] = espl_rows_span(mask, from, count)},
                                  .bind_count = 2,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {espl_ceil_div(mask->cols, spec[0]),
                                             count < ESPL_GROUPS_MAX ? count : ESPL_GROUPS_MAX}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_dropout_mask, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}
