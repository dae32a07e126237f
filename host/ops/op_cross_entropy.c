#include "host/ops/op_cross_entropy.h"
#include "host/ops/op_colsum.h"
#include "host/ops/op_fill.h"
#include "host/ops/op_matmul.h"
#include "shaders/cross_entropy.h"
#include "shaders/shaders.h"
#include <string.h>

enum { LOGITS_BYTES = 64 << 20, GPU_LANES = 128, CPU_LANES = 16 };

typedef struct attribute {
    uint32_t fresh_w, fresh_bias; /* their gradients begin here: they are values that other nodes made */
} attribute;

/* A node: in = h, w, labels, step, bias, (d w before), (d bias before); out = loss, logits (scratch), d h, d w, d bias. */
static espl_status record_loss(espl_graph *graph, espl_commands *commands, const espl_node *node, uint32_t first,
                               uint32_t rows, bool gradient) {
    espl_device *device = espl_graph_device(graph);
    const espl_capabilities *can = espl_device_capabilities(device);
    const espl_tensor *labels = node->in[2], *step = node->in[3], *loss = node->out[0], *logits = node->out[1];
    const uint32_t spec[] = {can->cpu ? CPU_LANES : GPU_LANES, 1, 1, gradient};
    const espl_kernel *kernel;
    ESPL_TRY(espl_device_kernel(device, &espl_shader_cross_entropy, spec, ESPL_COUNT(spec), &kernel));
    const cross_entropy_push push = {.rows = rows,
                                     .cols = logits->cols,
                                     .stride = logits->stride,
                                     .first_row = first,
                                     .loss_stride = loss->stride};
    const uint32_t across = rows < 32768 ? rows : 32768;
    const espl_dispatch dispatch = {.kernel = kernel,
                                    .label = node->op->name,
                                    .bind = {[CROSS_ENTROPY_BIND_LABELS] = labels->span,
                                             [CROSS_ENTROPY_BIND_STEP] = step->span,
                                             [CROSS_ENTROPY_BIND_LOGITS] = logits->span,
                                             [CROSS_ENTROPY_BIND_LOSS] = loss->span},
                                    .bind_count = CROSS_ENTROPY_BIND_COUNT,
                                    .push = &push,
                                    .push_bytes = sizeof push,
                                    .groups = {across, espl_ceil_div(rows, across), 1}};
    return espl_commands_dispatch(commands, &dispatch);
}

static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    espl_device *device = espl_graph_device(graph);
    const espl_tensor *h = node->in[0], *w = node->in[1], *logits = node->out[1], *dh = node->out[2], *dw = node->out[3];
    const espl_tensor *bias = node->in[4], *db = node->out[4];
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    if (dw && at.fresh_w) ESPL_TRY(espl_record_zero(commands, dw));
    if (db && at.fresh_bias) ESPL_TRY(espl_record_zero(commands, db));
    for (uint32_t first = 0; first < h->rows; first += logits->rows) {
        const uint32_t rows = h->rows - first < logits->rows ? h->rows - first : logits->rows;
        const espl_matmul_view forward = {.orientation = MATMUL_NT, .m = rows, .n = w->rows, .k = w->cols,
                                          .a = h->span, .a_dtype = h->dtype, .a_offset = first * h->stride, .a_stride = h->stride,
                                          .b = w->span, .b_stride = w->stride, .b_dtype = w->dtype,
                                          .bias = bias ? bias->span : (espl_span){0}, .c = logits->span, .c_stride = logits->stride, .scale = 1.0f};
        ESPL_TRY(espl_record_matmul(device, commands, "cross_entropy logits", &forward));
        ESPL_TRY(record_loss(graph, commands, node, first, rows, dh || dw || db));
        if (db)
            ESPL_TRY(espl_record_colsum(device, commands, logits->span, logits->stride, rows, w->rows, db->span));
        if (dh) {
            const espl_matmul_view view = {.orientation = MATMUL_NN, .m = rows, .n = w->cols, .k = w->rows,
                                           .a = logits->span, .a_stride = logits->stride,
                                           .b = w->span, .b_stride = w->stride, .b_dtype = w->dtype,
                                           .c = dh->span, .c_offset = first * dh->stride, .c_stride = dh->stride,
                                           .scale = 1.0f};
            ESPL_TRY(espl_record_matmul(device, commands, "cross_entropy dh", &view));
        }
        if (dw) {
            const espl_matmul_view view = {.orientation = MATMUL_TN, .m = w->rows, .n = w->cols, .k = rows,
                                           .a = logits->span, .a_stride = logits->stride,
                                           .b = h->span, .b_dtype = h->dtype, .b_offset = first * h->stride, .b_stride = h->stride,
                                           .c = dw->span, .c_stride = dw->stride, .accumulate = true, .scale = 1.0f};
            ESPL_TRY(espl_record_matmul(device, commands, "cross_entropy dw", &view));
        }
    }
    return ESPL_OK;
}

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    return node->out[2] ? espl_grad_give(graph, node->in[0], node->out[2]) : ESPL_OK;
}

const espl_op espl_op_cross_entropy = {.name = "cross_entropy", .record = record, .vjp = vjp};

static espl_status check(espl_context *ctx, const espl_cross_entropy *args) {
    const espl_tensor *h = args->h, *w = args->w, *labels = args->labels;
    if (h->cols != w->cols)
        return espl_fail(ctx, ESPL_ARGUMENT, "cross_entropy: a row of h has %u values, a row of w has %u", h->cols,
                         w->cols);
    if (!espl_dtype_is_float(h->dtype) || !espl_dtype_is_float(w->dtype))
        return espl_fail(ctx, ESPL_ARGUMENT, "cross_entropy: h is %s and w is %s", espl_dtype_name(h->dtype),
                         espl_dtype_name(w->dtype));
    if (labels->cols != h->rows || labels->rows != 1 || labels->dtype != ESPL_DTYPE_I32)
        return espl_fail(ctx, ESPL_ARGUMENT, "cross_entropy: %u x %u labels of %s for %u tokens", labels->rows,
                         labels->cols, espl_dtype_name(labels->dtype), h->rows);
    if (args->bias && (args->bias->rows != 1 || args->bias->cols != w->rows || args->bias->dtype != ESPL_DTYPE_F32))
        return espl_fail(ctx, ESPL_ARGUMENT, "cross_entropy: the bias is %u x %u %s, it must be F32 1 x %u",
                         args->bias->rows, args->bias->cols, espl_dtype_name(args->bias->dtype), w->rows);
    return ESPL_OK;
}

espl_tensor *espl_graph_cross_entropy(espl_graph *graph, const espl_cross_entropy *args) {
    espl_tensor *h = args->h, *w = args->w;
    if (!h || !w || !args->labels || espl_graph_status(graph) != ESPL_OK) return NULL;
    espl_status status = check(espl_device_context(espl_graph_device(graph)), args);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    const uint64_t range = espl_device_capabilities(espl_graph_device(graph))->storage_range_max;
    const uint64_t bytes = range < LOGITS_BYTES ? range : LOGITS_BYTES;
    uint32_t chunk = args->chunk ? args->chunk : (uint32_t)(bytes / (espl_round_up(w->rows, 4) * 4));
    chunk = chunk == 0 ? 1 : chunk > h->rows ? h->rows : chunk;
    bool add_w = true, add_bias = true;
    espl_tensor *out[5] = {
        espl_graph_value(graph, "loss", h->rows, 1, ESPL_DTYPE_F32),
        espl_graph_scratch(graph, "logits", chunk, w->rows),
        espl_grad_wanted(h) ? espl_graph_value(graph, "d h", h->rows, h->cols, ESPL_DTYPE_F32) : NULL,
        espl_grad_wanted(w) ? espl_grad_target(graph, w, 0, 0, &add_w) : NULL,
        espl_grad_wanted(args->bias) ? espl_grad_target(graph, args->bias, 0, 0, &add_bias) : NULL,
    };
    espl_tensor *in[7] = {h, w, args->labels, espl_graph_step(graph), args->bias, out[3] && add_w ? out[3]->base : NULL,
                          out[4] && add_bias ? out[4]->base : NULL};
    const attribute at = {.fresh_w = !add_w, .fresh_bias = !add_bias};
    if (espl_graph_node(graph, &espl_op_cross_entropy, in, 7, out, 5, &at, sizeof at) != ESPL_OK) return NULL;
    return out[0];
}
