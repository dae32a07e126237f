/* A lane sums a quad of columns over rows. Columns alone do not fill a GPU, so many rows are cut into chunks first. */
#include "host/ops/op_colsum.h"
#include "host/ops/window.h"
#include "shaders/colsum.h"
#include "shaders/shaders.h"
#include <string.h>

enum { ROWS_AT_ONCE = 64 }; /* more than these are worth a second dispatch */

typedef struct attribute {
    uint32_t from, fresh, chunk;
} attribute;

uint32_t espl_colsum_chunk(const espl_device *device, const espl_tensor *x) {
    const espl_capabilities *can = espl_device_capabilities(device);
    const uint64_t bound = can->storage_range_max / espl_row_bytes(x);
    uint32_t chunk = x->rows;
    if (x->rows > ROWS_AT_ONCE && !can->cpu) {
        chunk = 8;
        while ((uint64_t)chunk * chunk < x->rows || espl_ceil_div(x->rows, chunk) > 65535)
            chunk *= 2;
    }
    if (bound >= x->rows) return chunk;
    /* Windows begin with a chunk. */
    uint32_t power = 1;
    while (power * espl_row_bytes(x) % ESPL_BINDING_ALIGNMENT || (power < chunk && power * 2 <= bound))
        power *= 2;
    return power;
}

static espl_status dispatch_sums(espl_device *device, espl_commands *commands, espl_span x, espl_span out, bool accumulate,
                                 const colsum_push *push) {
    const uint32_t local = espl_device_capabilities(device)->cpu ? 8 : 32;
    const uint32_t spec[] = {local, 1, 1, push->cols % 4 != 0, accumulate};
    espl_dispatch dispatch = {.label = "colsum",
                              .bind = {[COLSUM_BIND_X] = x, [COLSUM_BIND_OUT] = out},
                              .bind_count = 2,
                              .push = push,
                              .push_bytes = sizeof *push,
                              .groups = {espl_ceil_div(push->cols, 4 * local), espl_ceil_div(push->rows, push->chunk)}};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_colsum, spec, ESPL_COUNT(spec), &dispatch.kernel));
    return espl_commands_dispatch(commands, &dispatch);
}

/* Rows of x in chunks, each into a row of out. */
static espl_status sum_rows(espl_graph *graph, espl_commands *commands, const espl_tensor *x, const espl_tensor *out,
                            uint32_t from, uint32_t cols, uint32_t chunk, bool accumulate) {
    espl_device *device = espl_graph_device(graph);
    const uint32_t chunks = espl_ceil_div(x->rows, chunk);
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "colsum", chunks, &(espl_window_part){x, chunk}, 1, &window));
    for (uint32_t first = 0, count; first < chunks; first += count) {
        count = espl_window_count(first, chunks, window);
        const uint32_t rows = espl_window_count(first * chunk, x->rows, count * chunk);
        const colsum_push push = {.rows = rows,
                                  .cols = cols,
                                  .from = from / 4,
                                  .x_stride = x->stride / 4,
                                  .out_stride = out->stride / 4,
                                  .chunk = chunk,
                                  .first = first};
        ESPL_TRY(dispatch_sums(device, commands, espl_rows_span(x, first * chunk, rows), out->span, accumulate, &push));
    }
    return ESPL_OK;
}

/* in: x, (out before); out: out, (partial sums). */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    const espl_tensor *x = node->in[0], *out = node->out[0], *partial = node->out[1];
    if (!partial) return sum_rows(graph, commands, x, out, at.from, out->cols, at.chunk, !at.fresh);
    ESPL_TRY(sum_rows(graph, commands, x, partial, at.from, out->cols, at.chunk, false));
    return sum_rows(graph, commands, partial, out, 0, out->cols, partial->rows, !at.fresh);
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
    const attribute at = {args->from, args->fresh, espl_colsum_chunk(espl_graph_device(graph), x)};
    espl_tensor *in[] = {x, args->fresh ? NULL : out->base}, *outs[] = {out, NULL};
    if (at.chunk < x->rows) {
        outs[1] = espl_graph_scratch(graph, "partial sums", espl_ceil_div(x->rows, at.chunk), out->cols);
        if (!outs[1]) return espl_graph_status(graph);
    }
    return espl_graph_node(graph, &espl_op_colsum, in, 2, outs, 2, &at, sizeof at);
}
