#include "host/ops/op_unfold.h"
#include "host/ops/each.h"
#include "host/ops/window.h"
#include "shaders/shaders.h"
#include "shaders/unfold.h"
#include <string.h>

typedef struct attribute {
    uint32_t batch, kernel, accumulate;
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

/* From x to y, of which one has `cols` columns and the other kernel times as many; spec: those of the shader behind LENGTHS. */
static espl_status record_both(espl_graph *graph, espl_commands *commands, const espl_node *node, const espl_shader *shader,
                               uint32_t cols, const uint32_t spec_rest[2]) {
    const attribute at = attribute_of(node);
    const espl_tensor *x = node->in[0], *lengths = node->in[1], *y = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const uint32_t tokens = y->rows / at.batch;
    const espl_window_part parts[] = {{x, tokens}, {y, tokens}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, node->op->name, at.batch, parts, ESPL_COUNT(parts), &window));
    for (uint32_t first = 0, count; first < at.batch; first += count) {
        count = espl_window_count(first, at.batch, window);
        const espl_each each = espl_each_of(device, count * tokens, y->cols, false);
        const unfold_push push = {.first = first, .rows = count * tokens, .tokens = tokens, .cols = cols, .kernel = at.kernel,
                                  .x_stride = (uint32_t)x->stride, .y_stride = (uint32_t)y->stride};
        const uint32_t spec[] = {each.spec[0], 1, 1, each.spec[3], each.spec[4], lengths != NULL, spec_rest[0], spec_rest[1]};
        espl_dispatch dispatch = {.label = shader->name,
                                  .bind = {[UNFOLD_BIND_X] = espl_rows_span(x, first * tokens, count * tokens),
                                           [UNFOLD_BIND_Y] = espl_rows_span(y, first * tokens, count * tokens)},
                                  .bind_count = UNFOLD_BIND_COUNT,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {each.groups[0], each.groups[1]}};
        if (lengths) dispatch.bind[UNFOLD_BIND_LENGTHS] = lengths->span;
        ESPL_TRY(espl_device_kernel(device, shader, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

/* in: x, lengths; out: y. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const espl_tensor *x = node->in[0], *y = node->out[0];
    return record_both(graph, commands, node, &espl_shader_unfold, x->cols, (uint32_t[]){x->dtype, y->dtype});
}

/* in: dy, lengths, (dx before); out: dx. */
static espl_status record_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    return record_both(graph, commands, node, &espl_shader_unfold_bwd, node->out[0]->cols,
                       (uint32_t[]){attribute_of(node).accumulate, 0});
}

static const espl_op op_unfold_bwd = {.name = "unfold_bwd", .record = record_bwd};

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    attribute at = attribute_of(node);
    bool accumulate;
    if (!espl_grad_wanted(node->in[0])) return ESPL_OK;
    espl_tensor *dx = espl_grad_target(graph, node->in[0], 0, 0, &accumulate);
    if (!dx) return espl_graph_status(graph);
    at.accumulate = accumulate;
    espl_tensor *in[] = {espl_grad_of(node->out[0]), node->in[1], accumulate ? dx->base : NULL};
    return espl_graph_node(graph, &op_unfold_bwd, in, 3, &dx, 1, &at, sizeof at);
}

const espl_op espl_op_unfold = {.name = "unfold", .record = record, .vjp = vjp};

espl_tensor *espl_graph_unfold(espl_graph *graph, const espl_unfold *args) {
    espl_tensor *x = args->x, *lengths = args->lengths;
    if (!x || espl_graph_status(graph) != ESPL_OK) return NULL;
    const attribute at = {.batch = args->batch ? args->batch : 1, .kernel = args->kernel};
    espl_context *ctx = espl_device_context(espl_graph_device(graph));
    if (!espl_dtype_is_float(x->dtype) || x->rows % at.batch || at.kernel % 2 == 0)
        return espl_graph_fail(graph, espl_fail(ctx, ESPL_ARGUMENT, "unfold: x (%s) is %u x %u %s in %u sequences, the kernel %u, must "
                                                "be odd", x->name, x->rows, x->cols, espl_dtype_name(x->dtype), at.batch, at.kernel));
    if (lengths && (lengths->dtype != ESPL_DTYPE_I32 || lengths->rows != 1 || lengths->cols != at.batch))
        return espl_graph_fail(graph, espl_fail(ctx, ESPL_ARGUMENT, "unfold: lengths are %u x %u %s, must be one row of %u I32",
                                                lengths->rows, lengths->cols, espl_dtype_name(lengths->dtype), at.batch));
    if ((uint64_t)x->rows * espl_round_up((uint64_t)x->cols * at.kernel, 4) > UINT32_MAX)
        return espl_graph_fail(graph, espl_fail(ctx, ESPL_LIMIT, "unfold: %u rows of %u columns and their neighbours, %u in all", x->rows,
                                                x->cols, at.kernel));
    espl_tensor *in[] = {x, lengths}, *y = espl_graph_output(graph, "unfold", x->rows, x->cols * at.kernel);
    if (!y || espl_graph_node(graph, &espl_op_unfold, in, 2, &y, 1, &at, sizeof at) != ESPL_OK) return NULL;
    return y;
}
