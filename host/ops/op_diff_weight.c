#include "host/ops/op_diff_weight.h"
#include "host/ops/each.h"
#include "host/ops/window.h"
#include "shaders/diff_weight.h"
#include "shaders/shaders.h"
#include <math.h>
#include <string.h>

_Static_assert(sizeof(diff_weight_push) <= ESPL_PUSH_BYTES_MAX, "push block");

typedef struct attribute {
    float low, high, penalty;
    uint32_t drawn, site, add_delta, add_alpha;
    uint32_t kind, groups, bounds[3], group_site, add_group; /* kind: DIFF_WEIGHT_GROUPS_..., 0: none */
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

/* Of rows from `from` on. */
static diff_weight_push push_of(const attribute *at, const espl_tensor *delta, uint32_t from, uint32_t rows, uint32_t cols) {
    return (diff_weight_push){.rows = rows,
                              .cols = cols,
                              .delta_stride = delta->stride / 4,
                              .first = from * espl_ceil_div(delta->cols, 4),
                              .site = at->site,
                              .groups = at->groups,
                              .bound1 = at->bounds[0],
                              .bound2 = at->bounds[1],
                              .bound3 = at->bounds[2],
                              .group_site = at->group_site,
                              .low = at->low,
                              .high = at->high};
}

/* t: base, delta, alpha, w or its gradient, and backward the gradients of delta and alpha. */
static espl_status record_pass(espl_graph *graph, espl_commands *commands, const espl_node *node, const espl_tensor *step,
                               const espl_tensor *group, const espl_tensor *const t[6], bool backward) {
    const attribute at = attribute_of(node);
    espl_device *device = espl_graph_device(graph);
    const espl_tensor *delta = t[1];
    const uint32_t cols = delta->cols;
    static const uint32_t binding[] = {DIFF_WEIGHT_BIND_BASE, DIFF_WEIGHT_BIND_DELTA,  DIFF_WEIGHT_BIND_ALPHA,
                                       DIFF_WEIGHT_BIND_W,    DIFF_WEIGHT_BIND_DDELTA, DIFF_WEIGHT_BIND_DALPHA};
    espl_window_part parts[6];
    bool contiguous = !group;
    uint32_t window;
    for (size_t i = 0; i < ESPL_COUNT(parts); i++) {
        parts[i] = (espl_window_part){t[i], 1};
        contiguous = contiguous && t[i]->stride == cols;
    }
    ESPL_TRY(espl_window_units(device, node->op->name, delta->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t from = 0, count; from < delta->rows; from += count) {
        count = espl_window_count(from, delta->rows, window);
        const espl_each each = espl_each_of(device, count, cols, contiguous);
        diff_weight_push push = push_of(&at, delta, from, each.rows, each.cols);
        push.base_stride = t[0]->stride / 4, push.w_stride = t[3]->stride / 4, push.gradient_stride = t[4]->stride / 4;
        const uint32_t spec[] = {each.spec[0], 1, 1, each.spec[3], each.spec[4], t[0]->dtype, at.drawn, backward, at.add_delta,
                                 at.add_alpha, at.kind};
        espl_dispatch dispatch = {.label = node->op->name,
                                  .bind = {[DIFF_WEIGHT_BIND_STEP] = step->span,
                                           [DIFF_WEIGHT_BIND_GROUP] = group ? group->span : (espl_span){0}},
                                  .bind_count = DIFF_WEIGHT_BIND_COUNT,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {each.groups[0], each.groups[1]}};
        for (size_t i = 0; i < ESPL_COUNT(parts); i++) dispatch.bind[binding[i]] = espl_rows_span(t[i], from, count);
        ESPL_TRY(espl_device_kernel(device, &espl_shader_diff_weight, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

/* in: base, delta, alpha, step, group; out: w. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    espl_tensor *const *in = node->in, *w = node->out[0];
    return record_pass(graph, commands, node, in[3], in[4], (const espl_tensor *const[]){in[0], in[1], in[2], w, w, w}, false);
}

/* in: base, delta, alpha, step, group, dw; out: gradients of delta and alpha. */
static espl_status record_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    espl_tensor *const *in = node->in, *const *out = node->out;
    return record_pass(graph, commands, node, in[3], in[4], (const espl_tensor *const[]){in[0], in[1], in[2], in[5], out[0], out[1]},
                       true);
}

/* One step of the two. in: delta, alpha, step, group, dw, (dgroup before); out: dgroup, sums of rows or groups. */
static espl_status dispatch_gate(espl_graph *graph, espl_commands *commands, const espl_node *node, uint32_t from, uint32_t rows,
                                 bool sum) {
    const attribute at = attribute_of(node);
    espl_device *device = espl_graph_device(graph);
    const espl_tensor *delta = node->in[0], *alpha = node->in[1], *dw = node->in[4];
    const bool by_row = at.kind == DIFF_WEIGHT_GROUPS_ROWS;
    const uint32_t terms = !sum ? delta->cols : by_row ? delta->rows : 1;
    const uint32_t spec[] = {espl_reduce_local(device, terms), 1, 1, delta->cols % 4 != 0, at.drawn, at.kind, sum, at.add_group};
    diff_weight_push push = push_of(&at, delta, from, rows, delta->cols);
    push.w_stride = dw->stride / 4;
    espl_dispatch dispatch = {.label = "diff_gate",
                              .bind = {[DIFF_GATE_BIND_DW] = espl_rows_span(sum ? NULL : dw, from, rows),
                                       [DIFF_WEIGHT_BIND_STEP] = node->in[2]->span,
                                       [DIFF_WEIGHT_BIND_DELTA] = espl_rows_span(sum ? NULL : delta, from, rows),
                                       [DIFF_WEIGHT_BIND_ALPHA] = espl_rows_span(sum ? NULL : alpha, from, rows),
                                       [DIFF_WEIGHT_BIND_GROUP] = node->in[3]->span,
                                       [DIFF_GATE_BIND_SUMS] = node->out[1]->span,
                                       [DIFF_GATE_BIND_DGROUP] = node->out[0]->span},
                              .bind_count = DIFF_GATE_BIND_COUNT,
                              .push = &push,
                              .push_bytes = sizeof push,
                              .groups = {espl_reduce_groups(device, sum || !by_row ? at.groups : rows), 1}};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_diff_gate, spec, ESPL_COUNT(spec), &dispatch.kernel));
    return espl_commands_dispatch(commands, &dispatch);
}

static espl_status record_gate(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const espl_tensor *delta = node->in[0];
    const espl_window_part parts[] = {{delta, 1}, {node->in[1], 1}, {node->in[4], 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(espl_graph_device(graph), "diff_gate", delta->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t from = 0, count; from < delta->rows; from += count) {
        count = espl_window_count(from, delta->rows, window);
        ESPL_TRY(dispatch_gate(graph, commands, node, from, count, false));
    }
    return dispatch_gate(graph, commands, node, 0, delta->rows, true);
}

static const espl_op op_diff_weight_bwd = {.name = "diff_weight_bwd", .record = record_bwd};
static const espl_op op_diff_gate = {.name = "diff_gate", .record = record_gate};

static espl_status add_gate(espl_graph *graph, const espl_node *node, attribute at) {
    espl_tensor *const *in = node->in;
    bool accumulate;
    espl_tensor *out[] = {espl_grad_target(graph, in[4], 0, 0, &accumulate),
                          espl_graph_scratch(graph, "diff_gate sums", 1, in[1]->rows > at.groups ? in[1]->rows : at.groups)};
    if (!out[0] || !out[1]) return espl_graph_status(graph);
    at.add_group = accumulate;
    espl_tensor *gate_in[] = {in[1], in[2], in[3], in[4], espl_grad_of(node->out[0]), accumulate ? out[0]->base : NULL};
    return espl_graph_node(graph, &op_diff_gate, gate_in, ESPL_COUNT(gate_in), out, ESPL_COUNT(out), &at, sizeof at);
}

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    attribute at = attribute_of(node);
    espl_tensor *const *in = node->in;
    bool add_delta, add_alpha;
    if (!espl_grad_wanted(in[1]) || !espl_grad_wanted(in[2])) return ESPL_OK;
    if (espl_grad_wanted(in[4])) ESPL_TRY(add_gate(graph, node, at));
    espl_tensor *out[] = {espl_grad_target(graph, in[1], 0, 0, &add_delta), espl_grad_target(graph, in[2], 0, 0, &add_alpha)};
    if (!out[0] || !out[1]) return espl_graph_status(graph);
    at.add_delta = add_delta, at.add_alpha = add_alpha;
    espl_tensor *bwd_in[] = {in[0], in[1], in[2], in[3], in[4], espl_grad_of(node->out[0]), add_delta ? out[0]->base : NULL,
                             add_alpha ? out[1]->base : NULL};
    return espl_graph_node(graph, &op_diff_weight_bwd, bwd_in, ESPL_COUNT(bwd_in), out, ESPL_COUNT(out), &at, sizeof at);
}

const espl_op espl_op_diff_weight = {.name = "diff_weight", .record = record, .vjp = vjp};

static bool encloses(float low, float high) {
    return low < 0 && high > 1;
}

/* Groups begin one behind another inside the matrix, those of one row at whole quads. */
static bool add_groups(const espl_diff_weight *a, attribute *at) {
    const espl_tensor *group = a->group, *base = a->base;
    if (!group) return true;
    at->kind = base->rows > 1 ? DIFF_WEIGHT_GROUPS_ROWS : DIFF_WEIGHT_GROUPS_COLUMNS;
    at->groups = group->cols;
    at->group_site = a->group_site;
    const uint32_t end = base->rows > 1 ? base->rows : base->cols;
    for (uint32_t i = 0, last = 0; i < ESPL_COUNT(at->bounds); i++) {
        at->bounds[i] = UINT32_MAX;
        if (i + 1 >= group->cols) continue;
        if (a->bounds[i] <= last || a->bounds[i] >= end || (base->rows == 1 && a->bounds[i] % 4)) return false;
        at->bounds[i] = last = a->bounds[i];
    }
    return group->rows == 1 && group->cols <= ESPL_COUNT(at->bounds) + 1 && group->dtype == ESPL_DTYPE_F32;
}

espl_tensor *espl_graph_diff_weight(espl_graph *graph, const espl_diff_weight *a) {
    if (!a->base || !a->delta || !a->alpha || espl_graph_status(graph) != ESPL_OK) return NULL;
    espl_context *ctx = espl_device_context(espl_graph_device(graph));
    const espl_tensor *base = a->base, *delta = a->delta, *alpha = a->alpha;
    if (!espl_dtype_is_float(base->dtype) || delta->dtype != ESPL_DTYPE_F32 || alpha->dtype != ESPL_DTYPE_F32 ||
        delta->rows != base->rows || delta->cols != base->cols || alpha->rows != base->rows || alpha->cols != base->cols ||
        alpha->stride != delta->stride || !encloses(a->low, a->high))
        return espl_graph_fail(graph, espl_fail(ctx, ESPL_ARGUMENT, "diff_weight: base (%s) is %s [%u, %u], delta [%u, %u], alpha "
                                                "[%u, %u], gates from %g to %g", base->name, espl_dtype_name(base->dtype),
                                                base->rows, base->cols, delta->rows, delta->cols, alpha->rows, alpha->cols,
                                                (double)a->low, (double)a->high));
    if ((uint64_t)base->rows * espl_ceil_div(base->cols, 4) > UINT32_MAX)
        return espl_graph_fail(graph, espl_fail(ctx, ESPL_LIMIT, "diff_weight: %u x %u elements", base->rows, base->cols));
    attribute at = {.low = a->low, .high = a->high, .drawn = a->drawn, .site = a->site};
    if (!add_groups(a, &at))
        return espl_graph_fail(graph, espl_fail(ctx, ESPL_ARGUMENT, "diff_weight: %u x %u groups (%s) that begin at %u, %u and %u of %u "
                                                "x %u values", a->group->rows, a->group->cols, a->group->name, a->bounds[0],
                                                a->bounds[1], a->bounds[2], base->rows, base->cols));
    espl_tensor *w = espl_graph_value(graph, "diff_weight", base->rows, base->cols, ESPL_DTYPE_F32);
    espl_tensor *in[] = {a->base, a->delta, a->alpha, espl_graph_step(graph), a->group};
    if (!w || espl_graph_node(graph, &espl_op_diff_weight, in, ESPL_COUNT(in), &w, 1, &at, sizeof at) != ESPL_OK) return NULL;
    return w;
}

/* ---- Penalty ---- */

/* in: alpha, dalpha before; out: dalpha. */
static espl_status record_penalty(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *alpha = node->in[0], *dalpha = node->out[0];
    espl_device *device = espl_graph_device(graph);
    const espl_window_part parts[] = {{alpha, 1}, {dalpha, 1}};
    uint32_t window;
    ESPL_TRY(espl_window_units(device, "diff_penalty", alpha->rows, parts, ESPL_COUNT(parts), &window));
    for (uint32_t from = 0, count; from < alpha->rows; from += count) {
        count = espl_window_count(from, alpha->rows, window);
        const espl_each each = espl_each_of(device, count, alpha->cols, alpha->stride == alpha->cols && dalpha->stride == alpha->cols);
        const diff_weight_push push = {.rows = each.rows,
                                       .cols = each.cols,
                                       .delta_stride = alpha->stride / 4,
                                       .gradient_stride = dalpha->stride / 4,
                                       .penalty = at.penalty,
                                       .shift = (float)log(-(double)at.low / (double)at.high)};
        const uint32_t spec[] = {each.spec[0], 1, 1, each.spec[3], each.spec[4]};
        espl_dispatch dispatch = {.label = "diff_penalty",
                                  .bind = {[DIFF_PENALTY_BIND_ALPHA] = espl_rows_span(alpha, from, count),
                                           [DIFF_PENALTY_BIND_DALPHA] = espl_rows_span(dalpha, from, count)},
                                  .bind_count = 2,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {each.groups[0], each.groups[1]}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_diff_penalty, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

static const espl_op op_diff_penalty = {.name = "diff_penalty", .record = record_penalty};

espl_tensor *espl_graph_diff_penalty(espl_graph *graph, const espl_diff_penalty *a) {
    if (!a->alpha || !a->dalpha || espl_graph_status(graph) != ESPL_OK) return NULL;
    const espl_tensor *alpha = a->alpha, *dalpha = a->dalpha;
    if (alpha->dtype != ESPL_DTYPE_F32 || dalpha->dtype != ESPL_DTYPE_F32 || dalpha->rows != alpha->rows ||
        dalpha->cols != alpha->cols || !encloses(a->low, a->high))
        return espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                                "diff_penalty: alpha (%s) is [%u, %u], its gradient [%u, %u]", alpha->name,
                                                alpha->rows, alpha->cols, dalpha->rows, dalpha->cols));
    const attribute at = {.low = a->low, .high = a->high, .penalty = a->penalty};
    espl_tensor *in[] = {a->alpha, a->dalpha}, *out = espl_graph_update(graph, a->dalpha);
    if (!out || espl_graph_node(graph, &op_diff_penalty, in, 2, &out, 1, &at, sizeof at) != ESPL_OK) return NULL;
    return out;
}
