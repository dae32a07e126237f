#include "host/ops/op_fusion.h"
#include "host/ops/each.h"
#include "host/ops/window.h"
#include "shaders/fusion.h"
#include "shaders/shaders.h"
#include <string.h>

/* Of nodes with one u: its column of s. */
typedef struct attribute {
    uint32_t column, accumulate;
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

static uint32_t count_of(const espl_node *node) {
    uint32_t count = 0;
    while (1 + count < ESPL_INPUTS_MAX && node->in[1 + count]) count++;
    return count;
}

/* s[:, column] = x . u */
static espl_status dispatch_dot(espl_device *device, espl_commands *commands, const espl_tensor *x, const espl_tensor *u,
                                const espl_tensor *s, uint32_t column) {
    const uint32_t spec[] = {espl_reduce_local(device, x->cols), 1, 1, x->cols % 4 != 0, 1, 0, x->dtype, u->dtype};
    const espl_window_part parts[] = {{x, 1}, {u, 1}, {s, 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "fusion", x->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t first = 0, count; first < x->rows; first += count) {
        count = espl_window_count(first, x->rows, window);
        const fusion_push push = {count, x->cols, x->stride / 4, u->stride / 4, s->stride, column};
        espl_dispatch dispatch = {.label = "fusion_dot",
                                  .bind = {[FUSION_BIND_X] = espl_rows_span(x, first, count),
                                           [FUSION_BIND_U] = espl_rows_span(u, first, count),
                                           [FUSION_BIND_S] = espl_rows_span(s, first, count)},
                                  .bind_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {espl_reduce_groups(device, count)}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_fusion_dot, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

/* y (+)= s[:, column] u */
static espl_status dispatch_mix(espl_device *device, espl_commands *commands, const espl_tensor *s, uint32_t column,
                                const espl_tensor *u, const espl_tensor *y, bool accumulate) {
    const espl_window_part parts[] = {{y, 1}, {u, 1}, {s, 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "fusion", y->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t first = 0, count; first < y->rows; first += count) {
        count = espl_window_count(first, y->rows, window);
        const espl_each each = espl_each_of(device, count, y->cols, false);
        const fusion_push push = {count, y->cols, y->stride / 4, u->stride / 4, s->stride, column};
        const uint32_t spec[] = {each.spec[0], 1, 1, each.spec[3], each.spec[4], accumulate, 0, u->dtype};
        espl_dispatch dispatch = {.label = "fusion_mix",
                                  .bind = {[FUSION_MIX_BIND_Y] = espl_rows_span(y, first, count),
                                           [FUSION_BIND_U] = espl_rows_span(u, first, count),
                                           [FUSION_BIND_S] = espl_rows_span(s, first, count)},
                                  .bind_count = 3,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {each.groups[0], each.groups[1]}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_fusion_mix, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

/* p of s, or with dp the gradient of s. Few columns: never beyond what a device binds. */
static espl_status dispatch_softmax(espl_device *device, espl_commands *commands, const espl_tensor *s, const espl_tensor *p,
                                    const espl_tensor *dp, bool accumulate) {
    const uint32_t local = espl_device_capabilities(device)->cpu ? 8 : 64;
    const uint32_t spec[] = {local, 1, 1, 0, 1, accumulate, 0, 0, dp != NULL};
    const fusion_push push = {s->rows, 0, dp ? dp->stride : 0, p->stride, s->stride, s->cols};
    espl_dispatch dispatch = {.label = "fusion_softmax",
                              .bind = {[FUSION_SOFTMAX_BIND_DP] = dp ? dp->span : s->span, [FUSION_SOFTMAX_BIND_P] = p->span,
                                       [FUSION_BIND_S] = s->span},
                              .bind_count = 3,
                              .push = &push,
                              .push_bytes = sizeof push,
                              .groups = {espl_ceil_div(s->rows, local)}};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_fusion_softmax, spec, ESPL_COUNT(spec), &dispatch.kernel));
    return espl_commands_dispatch(commands, &dispatch);
}

/* ---- One column ---- */

/* in: s, u, (y before); out: y. */
static espl_status record_term(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    return dispatch_mix(espl_graph_device(graph), commands, node->in[0], at.column, node->in[1], node->out[0], at.accumulate);
}

static const espl_op op_fusion_term = {.name = "fusion_term", .record = record_term};

/* The gradient of input is (plus) column n of s times x. */
static espl_status add_term(espl_graph *graph, espl_tensor *s, uint32_t n, espl_tensor *x, espl_tensor *input) {
    bool accumulate;
    if (!espl_grad_wanted(input)) return ESPL_OK;
    espl_tensor *d = espl_grad_target(graph, input, 0, 0, &accumulate);
    if (!d) return espl_graph_status(graph);
    const attribute at = {n, accumulate};
    espl_tensor *in[] = {s, x, accumulate ? d->base : NULL};
    return espl_graph_node(graph, &op_fusion_term, in, ESPL_COUNT(in), &d, 1, &at, sizeof at);
}

/* ---- Scores ---- */

/* in: q, u ...; out: s. */
static espl_status record_scores(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    for (uint32_t n = 0; n < count_of(node); n++)
        ESPL_TRY(dispatch_dot(espl_graph_device(graph), commands, node->in[0], node->in[1 + n], node->out[0], n));
    return ESPL_OK;
}

static espl_status vjp_scores(espl_graph *graph, const espl_node *node) {
    espl_tensor *ds = espl_grad_of(node->out[0]);
    for (uint32_t n = 0; n < count_of(node); n++) {
        ESPL_TRY(add_term(graph, ds, n, node->in[1 + n], node->in[0]));
        ESPL_TRY(add_term(graph, ds, n, node->in[0], node->in[1 + n]));
    }
    return ESPL_OK;
}

static const espl_op op_fusion_scores = {.name = "fusion_scores", .record = record_scores, .vjp = vjp_scores};

/* ---- Mix ---- */

/* in: s, u ...; out: y, p. */
static espl_status record_mix(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    espl_device *device = espl_graph_device(graph);
    ESPL_TRY(dispatch_softmax(device, commands, node->in[0], node->out[1], NULL, false));
    for (uint32_t n = 0; n < count_of(node); n++)
        ESPL_TRY(dispatch_mix(device, commands, node->out[1], n, node->in[1 + n], node->out[0], n > 0));
    return ESPL_OK;
}

/* in: dy, u ..., p, (ds before); out: ds, dp. */
typedef struct backward {
    uint32_t count, accumulate;
} backward;

static espl_status record_mix_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    backward at;
    memcpy(&at, node->attribute, sizeof at);
    espl_device *device = espl_graph_device(graph);
    for (uint32_t n = 0; n < at.count; n++)
        ESPL_TRY(dispatch_dot(device, commands, node->in[0], node->in[1 + n], node->out[1], n));
    return dispatch_softmax(device, commands, node->out[0], node->in[1 + at.count], node->out[1], at.accumulate);
}

static const espl_op op_fusion_mix_bwd = {.name = "fusion_mix_bwd", .record = record_mix_bwd};

static espl_status vjp_mix(espl_graph *graph, const espl_node *node) {
    espl_tensor *dy = espl_grad_of(node->out[0]), *s = node->in[0], *p = node->out[1];
    const uint32_t count = count_of(node);
    for (uint32_t n = 0; n < count; n++) ESPL_TRY(add_term(graph, p, n, dy, node->in[1 + n]));
    if (!espl_grad_wanted(s)) return ESPL_OK;
    bool accumulate;
    espl_tensor *out[] = {espl_grad_target(graph, s, 0, 0, &accumulate), espl_graph_value(graph, "fusion_dp", s->rows, count, ESPL_DTYPE_F32)};
    if (!out[0] || !out[1]) return espl_graph_status(graph);
    const backward at = {count, accumulate};
    espl_tensor *in[ESPL_INPUTS_MAX] = {dy};
    for (uint32_t n = 0; n < count; n++) in[1 + n] = node->in[1 + n];
    in[1 + count] = p;
    in[2 + count] = accumulate ? out[0]->base : NULL;
    return espl_graph_node(graph, &op_fusion_mix_bwd, in, ESPL_INPUTS_MAX, out, 2, &at, sizeof at);
}

static const espl_op op_fusion_mix = {.name = "fusion_mix", .record = record_mix, .vjp = vjp_mix};

/* ---- Building ---- */

static bool check(espl_graph *graph, const espl_tensor *first, espl_tensor *const *u, uint32_t count, bool is_q) {
    if (espl_graph_status(graph) != ESPL_OK || !first) return false;
    bool fits = count >= 1 && count <= ESPL_FUSION_MAX && espl_dtype_is_float(first->dtype);
    for (uint32_t n = 0; fits && n < count; n++) {
        if (!u[n]) return false;
        fits = espl_dtype_is_float(u[n]->dtype) && u[n]->rows == first->rows && u[n]->cols == (is_q ? first->cols : u[0]->cols);
    }
    if (fits && !is_q) fits = first->dtype == ESPL_DTYPE_F32 && first->cols == count;
    if (!fits)
        espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                         "fusion: %s (%s) is %u x %u %s beside %u tensors, the first of %u x %u", is_q ? "q" : "s",
                                         first->name, first->rows, first->cols, espl_dtype_name(first->dtype), count,
                                         count && u[0] ? u[0]->rows : 0, count && u[0] ? u[0]->cols : 0));
    return fits;
}

espl_tensor *espl_graph_fusion_scores(espl_graph *graph, espl_tensor *q, espl_tensor *const *u, uint32_t count) {
    if (!check(graph, q, u, count, true)) return NULL;
    espl_tensor *in[1 + ESPL_FUSION_MAX] = {q}, *s = espl_graph_value(graph, "fusion_scores", q->rows, count, ESPL_DTYPE_F32);
    for (uint32_t n = 0; n < count; n++) in[1 + n] = u[n];
    if (!s || espl_graph_node(graph, &op_fusion_scores, in, 1 + count, &s, 1, NULL, 0) != ESPL_OK) return NULL;
    return s;
}

espl_tensor *espl_graph_fusion_mix(espl_graph *graph, espl_tensor *s, espl_tensor *const *u, uint32_t count, espl_tensor **out_p) {
    if (out_p) *out_p = NULL;
    if (!check(graph, s, u, count, false)) return NULL;
    espl_tensor *in[1 + ESPL_FUSION_MAX] = {s};
    espl_tensor *out[] = {espl_graph_value(graph, "fusion", s->rows, u[0]->cols, ESPL_DTYPE_F32),
                          espl_graph_value(graph, "fusion_p", s->rows, count, ESPL_DTYPE_F32)};
    for (uint32_t n = 0; n < count; n++) in[1 + n] = u[n];
    if (!out[0] || !out[1] || espl_graph_node(graph, &op_fusion_mix, in, 1 + count, out, 2, NULL, 0) != ESPL_OK) return NULL;
    if (out_p) *out_p = out[1];
    return out[0];
}
