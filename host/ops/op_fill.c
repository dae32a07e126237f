/* A transfer command between barriers like any dispatch. */
#include "host/ops/op_fill.h"
#include "host/ops/window.h"
#include "shaders/fill.h"
#include "shaders/shaders.h"
#include <string.h>

typedef struct attribute {
    uint32_t word, from, count;
} attribute;

static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    const espl_tensor *t = node->out[0];
    (void)graph;
    const uint64_t elements = at.count ? at.count : (uint64_t)t->rows * t->stride;
    return espl_commands_fill(commands, espl_span_part(t->span, at.from * 4ull, elements * 4), at.word);
}

espl_status espl_record_zero(espl_commands *commands, const espl_tensor *t) {
    const bool whole = t->stride == t->cols;
    for (uint32_t row = 0; row < (whole ? 1 : t->rows); row++)
        ESPL_TRY(espl_commands_fill(commands, espl_span_part(t->span, (uint64_t)row * t->stride * 4,
                                                             (whole ? (uint64_t)t->rows : 1) * t->cols * 4), 0));
    return ESPL_OK;
}

const espl_op espl_op_fill = {.name = "fill", .record = record};

espl_tensor *espl_graph_fill(espl_graph *graph, const espl_fill *args) {
    espl_tensor *t = args->t;
    if (!t || espl_graph_status(graph) != ESPL_OK) return NULL;
    if (t->role != ESPL_ROLE_STATE || espl_dtype_bytes(t->dtype) != 4 ||
        ((args->from || args->count) && t->rows != 1) || (uint64_t)args->from + args->count > t->cols ||
        (args->from && !args->count))
        return espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                                "fill: %u elements from %u of %s, which is %u x %u %s", args->count,
                                                args->from, t->name, t->rows, t->cols, espl_dtype_name(t->dtype)));
    const attribute at = {args->word, args->from, args->count};
    espl_tensor *filled = espl_graph_update(graph, t);
    if (!filled || espl_graph_node(graph, &espl_op_fill, &t, 1, &filled, 1, &at, sizeof at) != ESPL_OK) return NULL;
    return filled;
}

/* in: t before; out: t. Columns of every row, for gradients. */
static espl_status record_columns(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    const espl_tensor *t = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const uint32_t spec[] = {64, 1, 1};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, node->op->name, t->rows, &(espl_window_part){t, 1}, 1, &window));
    for (uint32_t from = 0, count; from < t->rows; from += count) {
        count = espl_window_count(from, t->rows, window);
        const fill_push push = {count, t->stride, at.from, at.count, at.word};
        espl_dispatch dispatch = {.label = node->op->name,
                                  .bind = {espl_rows_span(t, from, count)},
                                  .bind_count = FILL_BIND_COUNT,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {espl_ceil_div(count < 65536 ? count : 65536, 64), 1, 1}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_fill, spec, 3, &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

static const espl_op espl_op_zero_columns = {.name = "zero_columns", .record = record_columns};

espl_status espl_graph_zero(espl_graph *graph, espl_tensor *t, uint32_t from, uint32_t count) {
    if (!t || espl_graph_status(graph) != ESPL_OK) return espl_graph_status(graph);
    const attribute at = {0, from, count};
    return espl_graph_node(graph, &espl_op_zero_columns, &t->base, 1, &t, 1, &at, sizeof at);
}
