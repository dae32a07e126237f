#include "host/ops/op_row_norm.h"
#include "host/ops/each.h"
#include "shaders/matmul.h"
#include "shaders/row_norm.h"
#include "shaders/shaders.h"
#include <string.h>

typedef struct attribute {
    uint32_t in_out, w_from, a_from, inverse;
    float scale;
} attribute;

/* in: w, a, b, (y before); out: y. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    const espl_tensor *w = node->in[0], *a = node->in[1], *b = node->in[2], *y = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const uint64_t row_bytes = w->stride * (uint64_t)espl_dtype_bytes(w->dtype);
    const uint64_t range = espl_device_capabilities(device)->storage_range_max;
    /* 64 rows of any stride are a multiple of 256 bytes; the first window begins where the part does. */
    const uint64_t rows = range / row_bytes / 64 * 64;
    const uint32_t local = espl_reduce_local(device, a->cols);
    const uint32_t spec[] = {local, 1, 1, a->cols % 4 != 0, w->dtype, at.in_out, at.inverse};
    espl_dispatch dispatch = {.label = "row_norm",
                              .bind = {[ROW_NORM_BIND_A] = a->span, [ROW_NORM_BIND_B] = b->span, [ROW_NORM_BIND_Y] = y->span},
                              .bind_count = 4};
    if (at.in_out ? w->rows * row_bytes > range : rows < 128)
        return espl_fail(espl_device_context(device), ESPL_LIMIT, "row_norm: %s of %u rows of %llu bytes is beyond the device's "
                         "storage range of %llu", w->name, w->rows, (unsigned long long)row_bytes, (unsigned long long)range);
    ESPL_TRY(espl_device_kernel(device, &espl_shader_row_norm, spec, ESPL_COUNT(spec), &dispatch.kernel));
    for (uint32_t first = 0, count; first < b->rows; first += count) {
        /* Bindings begin at multiples of 64 rows. */
        const uint32_t begin = at.in_out ? 0 : (at.w_from + first) / 64 * 64, skip = at.in_out ? 0 : at.w_from + first - begin;
        const uint64_t fit = at.in_out ? b->rows : rows - skip;
        count = b->rows - first < fit ? b->rows - first : (uint32_t)fit;
        const uint64_t bound = at.in_out ? w->rows : skip + count;
        const row_norm_push push = {.rows = count, .cols = a->cols, .first = first, .rank = b->cols,
                                    .w_from = at.in_out ? at.w_from / 4 : skip, .w_stride = w->stride / 4,
                                    .a_from = at.a_from, .a_stride = a->stride / 4, .b_stride = b->stride / 4,
                                    .scale = at.scale};
        dispatch.bind[ROW_NORM_BIND_W] = espl_span_part(w->span, begin * row_bytes, bound * row_bytes);
        dispatch.push = &push;
        dispatch.push_bytes = sizeof push;
        dispatch.groups[0] = espl_reduce_groups(device, at.in_out ? espl_ceil_div(count, 4) : count);
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

const espl_op espl_op_row_norm = {.name = "row_norm", .record = record};

espl_tensor *espl_graph_row_norm(espl_graph *graph, const espl_row_norm *args) {
    espl_tensor *w = args->w, *a = args->a, *b = args->b, *into = args->into;
    if (!w || !a || !b || !into || espl_graph_status(graph) != ESPL_OK) return NULL;
    const bool in_out = args->orientation == MATMUL_NN;
    const uint32_t outs = in_out ? w->cols : w->rows, ins = in_out ? w->rows : w->cols;
    const bool floats = espl_dtype_is_float(w->dtype) && a->dtype == ESPL_DTYPE_F32 && b->dtype == ESPL_DTYPE_F32 &&
                        into->dtype == ESPL_DTYPE_F32 && into->role == ESPL_ROLE_STATE;
    if (!floats || (in_out && args->w_from % 4) || (uint64_t)args->w_from + b->rows > outs || a->cols != ins ||
        (uint64_t)args->a_from + b->cols > a->rows || into->rows != 1 || into->cols != b->rows)
        return espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                                "row_norm: w (%s) is %u x %u %s with its part from %u, a %u x %u from %u, b %u x "
                                                "%u, the result %u x %u", w->name, w->rows, w->cols, espl_dtype_name(w->dtype),
                                                args->w_from, a->rows, a->cols, args->a_from, b->rows, b->cols, into->rows,
                                                into->cols));
    const attribute at = {in_out, args->w_from, args->a_from, args->inverse, args->scale};
    espl_tensor *y = espl_graph_update(graph, into);
    espl_tensor *in[] = {w, a, b, into};
    if (!y || espl_graph_node(graph, &espl_op_row_norm, in, 4, &y, 1, &at, sizeof at) != ESPL_OK) return NULL;
    return y;
}
