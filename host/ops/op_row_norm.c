#include "host/ops/op_row_norm.h"
#include "host/ops/each.h"
#include "host/ops/op_matmul.h"
#include "host/ops/window.h"
#include "shaders/matmul.h"
#include "shaders/row_norm.h"
#include "shaders/shaders.h"
#include <string.h>

typedef struct attribute {
    uint32_t in_out, w_from, a_from, inverse;
    float scale;
} attribute;

/* What is bound of w for rows that begin with `first`: bindings begin at multiples of 64 rows, which of any stride are
 * multiples of 256 bytes; the first window begins where the part does. */
typedef struct window {
    uint32_t begin, skip, count;
} window;

static window window_at(const attribute *at, uint32_t first, uint32_t outs, uint64_t rows) {
    if (at->in_out) return (window){0, 0, outs - first};
    const uint32_t begin = (at->w_from + first) / 64 * 64, skip = at->w_from + first - begin;
    const uint64_t fit = rows - skip;
    return (window){begin, skip, outs - first < fit ? outs - first : (uint32_t)fit};
}

static row_norm_push push_of(const attribute *at, const espl_node *node, uint32_t first, const window *w) {
    return (row_norm_push){.rows = w->count, .cols = node->in[1]->cols, .first = first, .rank = node->in[2]->cols,
                           .w_from = at->in_out ? at->w_from / 4 : w->skip, .w_stride = node->in[0]->stride / 4,
                           .a_from = at->a_from, .a_stride = node->in[1]->stride / 4, .b_stride = node->in[2]->stride / 4,
                           .scale = at->scale};
}

/* in: w, a, b, (y before); out: y. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    const espl_tensor *w = node->in[0], *a = node->in[1], *b = node->in[2], *y = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const uint64_t row_bytes = espl_row_bytes(w), range = espl_device_capabilities(device)->storage_range_max;
    const uint64_t rows = range / row_bytes / 64 * 64;
    const uint32_t spec[] = {espl_reduce_local(device, a->cols), 1, 1, a->cols % 4 != 0, w->dtype, at.in_out, at.inverse};
    espl_dispatch dispatch = {.label = "row_norm",
                              .bind = {[ROW_NORM_BIND_A] = a->span, [ROW_NORM_BIND_B] = b->span, [ROW_NORM_BIND_Y] = y->span},
                              .bind_count = 4};
    if (at.in_out ? w->rows * row_bytes > range : rows < 128)
        return espl_fail(espl_device_context(device), ESPL_LIMIT, "row_norm: %s of %u rows of %llu bytes is beyond the device's "
                         "storage range of %llu", w->name, w->rows, (unsigned long long)row_bytes, (unsigned long long)range);
    ESPL_TRY(espl_device_kernel(device, &espl_shader_row_norm, spec, ESPL_COUNT(spec), &dispatch.kernel));
    for (uint32_t first = 0; first < b->rows;) {
        const window here = window_at(&at, first, b->rows, rows);
        const row_norm_push push = push_of(&at, node, first, &here);
        dispatch.bind[ROW_NORM_BIND_W] = espl_rows_span(w, here.begin, at.in_out ? w->rows : here.skip + here.count);
        dispatch.push = &push;
        dispatch.push_bytes = sizeof push;
        dispatch.groups[0] = espl_reduce_groups(device, at.in_out ? espl_ceil_div(here.count, 4) : here.count);
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
        first += here.count;
    }
    return ESPL_OK;
}

/* in: w, a, b, y, dy; out: the gradient of W + scale B A. Windows of whole 64 rows of the result, which is bound from there. */
static espl_status record_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    const espl_tensor *w = node->in[0], *a = node->in[1], *b = node->in[2], *g = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const uint64_t range = espl_device_capabilities(device)->storage_range_max;
    const uint64_t of_w = range / espl_row_bytes(w) / 64 * 64, of_g = range / espl_row_bytes(g) / 64 * 64;
    const uint32_t spec[] = {espl_reduce_local(device, a->cols), 1, 1, a->cols % 4 != 0, w->dtype, 0, at.inverse};
    espl_dispatch dispatch = {.label = "row_norm_bwd",
                              .bind = {[ROW_NORM_BIND_A] = a->span, [ROW_NORM_BIND_B] = b->span,
                                       [ROW_NORM_BIND_Y] = node->in[3]->span, [ROW_NORM_BIND_DY] = node->in[4]->span},
                              .bind_count = 6};
    if (of_g == 0)
        return espl_fail(espl_device_context(device), ESPL_LIMIT, "row_norm: 64 rows of %llu bytes are beyond the device's storage "
                         "range of %llu", (unsigned long long)espl_row_bytes(g), (unsigned long long)range);
    ESPL_TRY(espl_device_kernel(device, &espl_shader_row_norm_bwd, spec, ESPL_COUNT(spec), &dispatch.kernel));
    for (uint32_t first = 0; first < b->rows;) {
        window here = window_at(&at, first, b->rows, of_w);
        if (here.count > of_g) here.count = (uint32_t)of_g;
        if (first + here.count < b->rows) here.count = here.count / 64 * 64;
        row_norm_push push = push_of(&at, node, first, &here);
        push.g_stride = g->stride / 4;
        dispatch.bind[ROW_NORM_BIND_W] = espl_rows_span(w, here.begin, here.skip + here.count);
        dispatch.bind[ROW_NORM_BIND_G] = espl_rows_span(g, first, here.count);
        dispatch.push = &push;
        dispatch.push_bytes = sizeof push;
        dispatch.groups[0] = espl_reduce_groups(device, here.count);
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
        first += here.count;
    }
    return ESPL_OK;
}

static const espl_op op_row_norm_bwd = {.name = "row_norm_bwd", .record = record_bwd};

/* dB = scale G A^T, dA = scale B^T G. */
static espl_status vjp(espl_graph *graph, const espl_node *node) {
    espl_tensor *a = node->in[1], *b = node->in[2];
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    if (!espl_grad_wanted(a) && !espl_grad_wanted(b)) return ESPL_OK;
    espl_tensor *g = espl_graph_value(graph, "row_norm_bwd", b->rows, a->cols, ESPL_DTYPE_F32);
    espl_tensor *in[] = {node->in[0], a, b, node->out[0], espl_grad_of(node->out[0])};
    if (!g) return espl_graph_status(graph);
    ESPL_TRY(espl_graph_node(graph, &op_row_norm_bwd, in, ESPL_COUNT(in), &g, 1, &at, sizeof at));
    const espl_matmul products[] = {{.a = g, .b = a, .orientation = MATMUL_NT, .scale = at.scale},
                                    {.a = b, .b = g, .orientation = MATMUL_TN, .scale = at.scale}};
    espl_tensor *const of[] = {b, a};
    for (size_t i = 0; i < ESPL_COUNT(of); i++) {
        if (espl_grad_wanted(of[i])) ESPL_TRY(espl_grad_matmul(graph, &products[i], of[i]));
    }
    return ESPL_OK;
}

const espl_op espl_op_row_norm = {.name = "row_norm", .record = record, .vjp = vjp};

espl_tensor *espl_graph_row_norm(espl_graph *graph, const espl_row_norm *args) {
    espl_tensor *w = args->w, *a = args->a, *b = args->b, *into = args->into;
    if (!w || !a || !b || espl_graph_status(graph) != ESPL_OK) return NULL;
    const bool in_out = args->orientation == MATMUL_NN;
    const uint32_t outs = in_out ? w->cols : w->rows, ins = in_out ? w->rows : w->cols;
    const bool floats = espl_dtype_is_float(w->dtype) && a->dtype == ESPL_DTYPE_F32 && b->dtype == ESPL_DTYPE_F32 &&
                        (!into || (into->dtype == ESPL_DTYPE_F32 && into->role == ESPL_ROLE_STATE));
    const bool whole = into || (!in_out && args->a_from == 0 && a->rows == b->cols);
    if (!floats || !whole || (in_out && args->w_from % 4) || (uint64_t)args->w_from + b->rows > outs || a->cols != ins ||
        (uint64_t)args->a_from + b->cols > a->rows || (into && (into->rows != 1 || into->cols != b->rows)))
        return espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                                "row_norm: w (%s) is %u x %u %s with its part from %u, a %u x %u from %u, b %u x "
                                                "%u, the result %u x %u", w->name, w->rows, w->cols, espl_dtype_name(w->dtype),
                                                args->w_from, a->rows, a->cols, args->a_from, b->rows, b->cols,
                                                into ? into->rows : 1, into ? into->cols : b->rows));
    const attribute at = {in_out, args->w_from, args->a_from, args->inverse, args->scale};
    espl_tensor *y = into ? espl_graph_update(graph, into) : espl_graph_value(graph, "row_norm", 1, b->rows, ESPL_DTYPE_F32);
    espl_tensor *in[] = {w, a, b, into};
    if (!y || espl_graph_node(graph, &espl_op_row_norm, in, 4, &y, 1, &at, sizeof at) != ESPL_OK) return NULL;
    return y;
}
