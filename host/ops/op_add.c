/* Sums, and the copies and additions to gradients that differentiation asks for. */
#include "host/ops/op_add.h"
#include "host/ops/each.h"
#include "host/ops/op_colsum.h"
#include "host/ops/window.h"
#include "shaders/add.h"
#include "shaders/shaders.h"

_Static_assert(sizeof(add_push) <= ESPL_PUSH_BYTES_MAX, "push block");

static espl_status dispatch_add(espl_graph *graph, espl_commands *commands, const char *label, uint32_t with,
                                const espl_tensor *a, const espl_tensor *b, const espl_tensor *out) {
    espl_device *device = espl_graph_device(graph);
    const bool spread = b && b->rows != a->rows; /* one row for all */
    const bool contiguous = a->stride == a->cols && out->stride == a->cols && (!b || (b->stride == a->cols && !spread));
    const espl_window_part parts[] = {{a, 1}, {spread ? NULL : b, 1}, {out, 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, label, a->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t from = 0, count; from < a->rows; from += count) {
        count = espl_window_count(from, a->rows, window);
        const espl_each each = espl_each_of(device, count, a->cols, contiguous);
        const add_push push = {.rows = each.rows,
                               .cols = each.cols,
                               .a_stride = a->stride / 4,
                               .b_stride = b && !spread ? b->stride / 4 : 0,
                               .out_stride = out->stride / 4};
        const uint32_t spec[] = {each.spec[0], 1, 1, each.spec[3], each.spec[4], with, a->dtype, b ? b->dtype : a->dtype,
                                 out->dtype};
        espl_dispatch dispatch = {.label = label,
                                  .bind = {[ADD_BIND_A] = espl_rows_span(a, from, count),
                                           [ADD_BIND_B] = spread ? b->span : espl_rows_span(b, from, count),
                                           [ADD_BIND_OUT] = espl_rows_span(out, from, count)},
                                  .bind_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {each.groups[0], each.groups[1]}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_add, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    return dispatch_add(graph, commands, "add", ADD_B, node->in[0], node->in[1], node->out[0]);
}

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    espl_tensor *b = node->in[1];
    const bool spread = b->rows != node->out[0]->rows;
    if (spread && espl_grad_wanted(b)) {
        bool accumulate;
        espl_tensor *db = espl_grad_target(graph, b, 0, 0, &accumulate);
        ESPL_TRY(espl_graph_colsum(graph, &(espl_colsum){.x = espl_grad_of(node->out[0]), .out = db, .fresh = !accumulate}));
    }
    ESPL_TRY(espl_grad_pass(graph, node->out[0], node->in[0]));
    return spread ? ESPL_OK : espl_grad_pass(graph, node->out[0], b);
}

const espl_op espl_op_add = {.name = "add", .record = record, .vjp = vjp};

/* in: from, (to before); out: to. */
static espl_status record_accumulate(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    return dispatch_add(graph, commands, "accumulate", node->in[1] ? ADD_SELF : ADD_COPY, node->in[0], NULL,
                        node->out[0]);
}

static const espl_op espl_op_accumulate = {.name = "accumulate", .record = record_accumulate};

static espl_status check(espl_graph *graph, const char *what, const espl_tensor *a, const espl_tensor *b, bool spread) {
    if ((a->rows == b->rows || (spread && b->rows == 1)) && a->cols == b->cols && espl_dtype_is_float(a->dtype) &&
        espl_dtype_is_float(b->dtype))
        return ESPL_OK;
    return espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                     "%s: %s is %u x %u %s, %s is %u x %u %s", what, a->name, a->rows, a->cols,
                     espl_dtype_name(a->dtype), b->name, b->rows, b->cols, espl_dtype_name(b->dtype));
}

espl_status espl_graph_accumulate(espl_graph *graph, espl_tensor *from, espl_tensor *to, bool accumulate) {
    if (!from || !to || espl_graph_status(graph) != ESPL_OK) return espl_graph_status(graph);
    espl_status status = check(graph, "accumulate", from, to, false);
    if (status != ESPL_OK) {
        espl_graph_fail(graph, status);
        return status;
    }
    espl_tensor *in[] = {from, accumulate ? to->base : NULL};
    return espl_graph_node(graph, &espl_op_accumulate, in, 2, &to, 1, NULL, 0);
}

espl_tensor *espl_graph_add(espl_graph *graph, const espl_add_args *args) {
    if (!args->a || !args->b || espl_graph_status(graph) != ESPL_OK) return NULL;
    espl_status status = check(graph, "add", args->a, args->b, true);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    espl_tensor *out = espl_graph_output(graph, "add", args->a->rows, args->a->cols);
    espl_tensor *in[] = {args->a, args->b};
    if (!out || espl_graph_node(graph, &espl_op_add, in, 2, &out, 1, NULL, 0) != ESPL_OK) return NULL;
    return out;
}
