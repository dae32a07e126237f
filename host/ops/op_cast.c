/* Element by element, in windows of rows where one of the two is larger than what can be bound. */
#include "host/ops/op_cast.h"
#include "host/ops/each.h"
#include "host/ops/window.h"
#include "shaders/cast.h"
#include "shaders/shaders.h"

_Static_assert(sizeof(cast_push) <= ESPL_PUSH_BYTES_MAX, "push block");
_Static_assert(ESPL_DTYPE_F32 == 0 && ESPL_DTYPE_F16 == 1 && ESPL_DTYPE_BF16 == 2, "shaders/lib/typed.glsl");

static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const espl_tensor *x = node->in[0], *y = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const espl_window_part parts[] = {{x, 1}, {y, 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "cast", x->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t from = 0, count; from < x->rows; from += count) {
        count = espl_window_count(from, x->rows, window);
        const espl_each each = espl_each_of(device, count, x->cols, x->stride == x->cols && y->stride == x->cols);
        const cast_push push = {each.rows, each.cols, x->stride / 4, y->stride / 4};
        const uint32_t spec[] = {each.spec[0], 1, 1, each.spec[3], each.spec[4], x->dtype, y->dtype};
        espl_dispatch dispatch = {
            .label = "cast",
            .bind = {[CAST_BIND_X] = espl_rows_span(x, from, count),
                     [CAST_BIND_Y] = espl_rows_span(y, from, count)},
            .bind_count = 2,
            .push = &push,
            .push_bytes = sizeof push,
            .groups = {each.groups[0], each.groups[1]}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_cast, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

const espl_op espl_op_cast = {.name = "cast", .record = record};

espl_tensor *espl_graph_cast(espl_graph *graph, const espl_cast *args) {
    espl_tensor *x = args->x;
    if (!x || espl_graph_status(graph) != ESPL_OK) return NULL;
    espl_tensor *y = args->into ? espl_graph_update(graph, args->into)
                                : espl_graph_value(graph, "cast", x->rows, x->cols, args->dtype);
    if (!y) return NULL;
    if (!espl_dtype_is_float(x->dtype) || !espl_dtype_is_float(y->dtype) || y->rows != x->rows || y->cols != x->cols)
        return espl_graph_fail(graph,
                               espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                         "cast: x (%s) is %u x %u %s, the result %u x %u %s", x->name, x->rows, x->cols,
                                         espl_dtype_name(x->dtype), y->rows, y->cols, espl_dtype_name(y->dtype)));
    if (espl_graph_node(graph, &espl_op_cast, &x, 1, &y, 1, NULL, 0) != ESPL_OK) return NULL;
    return y;
}
