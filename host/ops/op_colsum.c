/* A lane sums a quad of columns over rows. Columns alone do not fill a GPU, so many rows are cut into chunks first. */
#include "host/ops/op_colsum.h"
#include "shaders/colsum.h"
#include "shaders/shaders.h"
#include <string.h>

enum { ROWS_AT_ONCE = 64 }; /* more than these are worth a second dispatch */

typedef struct attribute {
    uint32_t from, fresh, chunk;
} attribute;

uint32_t espl_colsum_chunk(const espl_device *device, uint32_t rows) {
    if (rows <= ROWS_AT_ONCE || espl_device_capabilities(device)->cpu) return rows;
    uint32_t chunk = 8;
    while ((uint64_t)chunk * chunk < rows)
        chunk *= 2;
    while (espl_ceil_div(rows, chunk) > 65535)
        chunk *= 2;
    return chunk;
}

static espl_status dispatch_sums(espl_device *device, espl_commands *commands, espl_span x, espl_span out,
                                 bool accumulate, const colsum_push *push) {
    const uint32_t local = espl_device_capabilities(device)->cpu ? 8 : 32,
                   spec[] = {local, 1, 1, push->cols % 4 != 0, accumulate};
    espl_dispatch dispatch = {.label = "colsum",
                              .bind = {[COLSUM_BIND_X] = x, [COLSUM_BIND_OUT] = out},
                              .bind_count = 2,
                              .push = push,
                              .push_bytes = sizeof *push,
                              .groups = {espl_ceil_div(push->cols, 4 * local), espl_ceil_div(push->rows, push->chunk)}};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_colsum, spec, ESPL_COUNT(spec), &dispatch.kernel));
    return espl_commands_dispatch(commands, &dispatch);
}

/* in: x, (out before); out: out, (partial sums). */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    const espl_tensor *x = node->in[0], *out = node->out[0], *partial = node->out[1];
    espl_device *device = espl_graph_device(graph);
    colsum_push push = {.rows = x->rows,
                        .cols = out->cols,
                        .from = at.from / 4,
                        .x_stride = x->stride / 4,
                        .out_stride = out->stride / 4,
                        .chunk = at.chunk};
    if (!partial) return dispatch_sums(device, commands, x->span, out->span, !at.fresh, &push);
    push.out_stride = partial->stride / 4;
    ESPL_TRY(dispatch_sums(device, commands, x->span, partial->span, false, &push));
    push = (colsum_push){.rows = partial->rows,
                         .cols = out->cols,
                         .x_stride = partial->stride / 4,
                         .out_stride = out->stride / 4,
                         .chunk = partial->rows};
    return dispatch_sums(device, commands, partial->span, out->span, !at.fresh, &push);
}

espl_status espl_record_colsum(espl_device *device, espl_commands *commands, espl_span x, uint32_t x_stride, uint32_t rows,
                               uint32_t cols, espl_span out) {
    const colsum_push push = {
        .rows = rows, .cols = cols, .x_stride = x_stride / 4, .out_stride = (cols + 3) / 4, .chunk = rows};
    return dispatch_sums(device, commands, x, out, true, &push);
}

const espl_op espl_op_colsum = {.name = "colsum", .record = record};

espl_status espl_graph_colsum(espl_graph *graph, const espl_colsum *args) {
    espl_tensor *x = args->x, *out = args->out;
    if (!x || !out || espl_graph_status(graph) != ESPL_OK) return espl_graph_status(graph);
    espl_context *ctx = espl_device_context(espl_graph_device(graph));
    espl_status status = ESPL_OK;
    if (x->dtype != ESPL_DTYPE_F32 || out->dtype != ESPL_DTYPE_F32)
        status = espl_fail(ctx, ESPL_ARGUMENT, "colsum: x (%s) is %s and out (%s) is %s, both must be F32", x->name,
                           espl_dtype_name(x->dtype), out->name, espl_dtype_name(out->dtype));
    else if (out->rows != 1 || args->from % 4 || (uint64_t)args->from + out->cols > x->cols)
        status = espl_fail(ctx, ESPL_ARGUMENT, "colsum: columns %u to %u of x (%s), which has %u, into %u rows of %s",
                           args->from, args->from + out->cols, x->name, x->cols, out->rows, out->name);
    else if (!out->base)
        status = espl_fail(ctx, ESPL_INTERNAL, "colsum: out (%s) is no update", out->name);
    if (status != ESPL_OK) {
        espl_graph_fail(graph, status);
        return status;
    }
    const attribute at = {args->from, args->fresh, espl_colsum_chunk(espl_graph_device(graph), x->rows)};
    espl_tensor *in[] = {x, args->fresh ? NULL : out->base}, *outs[] = {out, NULL};
    if (at.chunk < x->rows) {
        outs[1] = espl_graph_scratch(graph, "partial sums", espl_ceil_div(x->rows, at.chunk), out->cols);
        if (!outs[1]) return espl_graph_status(graph);
    }
    return espl_graph_node(graph, &espl_op_colsum, in, 2, outs, 2, &at, sizeof at);
}
