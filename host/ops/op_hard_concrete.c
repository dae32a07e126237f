#include "host/ops/op_hard_concrete.h"
#include "host/ops/each.h"
#include "shaders/hard_concrete.h"
#include "shaders/shaders.h"
#include <math.h>
#include <string.h>

_Static_assert(sizeof(hard_concrete_push) <= ESPL_PUSH_BYTES_MAX, "push block");

enum { LOCAL = 32 };

typedef struct attribute {
    hard_concrete_push push;
    uint32_t drawn, accumulate;
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

static espl_status dispatch(espl_graph *graph, espl_commands *commands, const attribute *at, espl_dispatch *d, bool backward) {
    const uint32_t spec[] = {LOCAL, 1, 1, at->drawn, backward, at->accumulate};
    d->bind_count = HARD_CONCRETE_BIND_DALPHA + 1;
    d->push = &at->push;
    d->push_bytes = sizeof at->push;
    d->groups[0] = espl_ceil_div(at->push.count, LOCAL);
    d->groups[1] = d->groups[2] = 1;
    ESPL_TRY(espl_device_kernel(espl_graph_device(graph), &espl_shader_hard_concrete, spec, ESPL_COUNT(spec), &d->kernel));
    return espl_commands_dispatch(commands, d);
}

/* in: alpha, step; out: z. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_span z = node->out[0]->span;
    espl_dispatch d = {.label = "hard_concrete",
                       .bind = {[HARD_CONCRETE_BIND_ALPHA] = node->in[0]->span, [HARD_CONCRETE_BIND_STEP] = node->in[1]->span,
                                [HARD_CONCRETE_BIND_Z] = z, [HARD_CONCRETE_BIND_DZ] = z, [HARD_CONCRETE_BIND_DALPHA] = z}};
    return dispatch(graph, commands, &at, &d, false);
}

/* in: alpha, step, z, dz, (dalpha before); out: dalpha. */
static espl_status record_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    espl_dispatch d = {.label = "hard_concrete_bwd",
                       .bind = {[HARD_CONCRETE_BIND_ALPHA] = node->in[0]->span, [HARD_CONCRETE_BIND_STEP] = node->in[1]->span,
                                [HARD_CONCRETE_BIND_Z] = node->in[2]->span, [HARD_CONCRETE_BIND_DZ] = node->in[3]->span,
                                [HARD_CONCRETE_BIND_DALPHA] = node->out[0]->span}};
    return dispatch(graph, commands, &at, &d, true);
}

static const espl_op op_hard_concrete_bwd = {.name = "hard_concrete_bwd", .record = record_bwd};

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    attribute at = attribute_of(node);
    espl_tensor *alpha = node->in[0], *z = node->out[0];
    bool accumulate;
    if (!espl_grad_wanted(alpha)) return ESPL_OK;
    espl_tensor *dz = espl_grad_of(z);
    espl_tensor *dalpha = espl_grad_target(graph, alpha, at.push.from, at.push.count, &accumulate);
    if (!dalpha) return espl_graph_status(graph);
    at.accumulate = accumulate;
    espl_tensor *in[] = {alpha, node->in[1], z, dz, accumulate ? dalpha->base : NULL};
    return espl_graph_node(graph, &op_hard_concrete_bwd, in, ESPL_COUNT(in), &dalpha, 1, &at, sizeof at);
}

const espl_op espl_op_hard_concrete = {.name = "hard_concrete", .record = record, .vjp = vjp};

static hard_concrete_push push_of(float beta, float low, float high) {
    return (hard_concrete_push){.beta = beta, .low = low, .high = high, .shift = (float)(beta * log(-(double)low / high))};
}

static bool is_row(const espl_tensor *t, uint32_t cols) {
    return t->rows == 1 && t->cols >= cols && t->dtype == ESPL_DTYPE_F32;
}

espl_tensor *espl_graph_hard_concrete(espl_graph *graph, const espl_hard_concrete *a) {
    espl_tensor *alpha = a->alpha;
    if (!alpha || espl_graph_status(graph) != ESPL_OK) return NULL;
    espl_context *ctx = espl_device_context(espl_graph_device(graph));
    const uint32_t count = a->count || a->from >= alpha->cols ? a->count : alpha->cols - a->from;
    if (!is_row(alpha, 1) || a->from % 4 || count == 0 || (uint64_t)a->from + count > alpha->cols)
        return espl_graph_fail(graph, espl_fail(ctx, ESPL_ARGUMENT, "hard_concrete: %u columns from %u (a multiple of 4) of alpha "
                                                "(%s), which is %s [%u, %u]", count, a->from, alpha->name,
                                                espl_dtype_name(alpha->dtype), alpha->rows, alpha->cols));
    if (!(a->low < 0 && a->high > 1 && a->beta >= 0))
        return espl_graph_fail(graph, espl_fail(ctx, ESPL_ARGUMENT, "hard_concrete: %g to %g do not enclose 0 and 1, or beta is %g",
                                                (double)a->low, (double)a->high, (double)a->beta));
    attribute at = {.push = push_of(a->beta > 0 ? a->beta : 1, a->low, a->high), .drawn = a->drawn};
    at.push.from = a->from, at.push.count = count, at.push.site = a->site, at.push.soft = a->soft > 0 ? a->soft : 1;
    espl_tensor *z = espl_graph_value(graph, "hard_concrete", 1, count, ESPL_DTYPE_F32);
    espl_tensor *in[] = {alpha, espl_graph_step(graph)};
    if (!z || espl_graph_node(graph, &espl_op_hard_concrete, in, 2, &z, 1, &at, sizeof at) != ESPL_OK) return NULL;
    return z;
}

/* in: alpha, share, target, lambda, gradients before; out: gradients of alpha and lambda. */
static espl_status record_sparsity(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    espl_device *device = espl_graph_device(graph);
    const uint32_t spec[] = {espl_reduce_local(device, at.push.count), 1, 1};
    espl_dispatch d = {.label = "sparsity",
                       .bind = {[SPARSITY_BIND_ALPHA] = node->in[0]->span, [SPARSITY_BIND_SHARE] = node->in[1]->span,
                                [SPARSITY_BIND_TARGET] = node->in[2]->span, [SPARSITY_BIND_LAMBDA] = node->in[3]->span,
                                [SPARSITY_BIND_DALPHA] = node->out[0]->span, [SPARSITY_BIND_DLAMBDA] = node->out[1]->span},
                       .bind_count = SPARSITY_BIND_DLAMBDA + 1,
                       .push = &at.push,
                       .push_bytes = sizeof at.push,
                       .groups = {1, 1, 1}};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_sparsity, spec, ESPL_COUNT(spec), &d.kernel));
    return espl_commands_dispatch(commands, &d);
}

static const espl_op op_sparsity = {.name = "sparsity", .record = record_sparsity};

espl_sparsity_gradients espl_graph_sparsity(espl_graph *graph, const espl_sparsity *a) {
    const espl_sparsity_gradients none = {NULL, NULL};
    if (!a->alpha || !a->share || !a->target || !a->lambda || !a->dalpha || !a->dlambda ||
        espl_graph_status(graph) != ESPL_OK)
        return none;
    const uint32_t n = a->alpha->cols;
    if (!is_row(a->alpha, n) || !is_row(a->share, n) || !is_row(a->dalpha, n) || !is_row(a->lambda, 2) ||
        !is_row(a->dlambda, 2) || !is_row(a->target, 1) || !(a->low < 0 && a->high > 1 && a->beta > 0)) {
        espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                         "sparsity: alpha (%s) has %u columns, share %u, its gradient %u", a->alpha->name, n,
                                         a->share->cols, a->dalpha->cols));
        return none;
    }
    attribute at = {.push = push_of(a->beta, a->low, a->high)};
    at.push.count = n;
    espl_tensor *in[] = {a->alpha, a->share, a->target, a->lambda, a->dalpha, a->dlambda};
    espl_tensor *out[] = {espl_graph_update(graph, a->dalpha), espl_graph_update(graph, a->dlambda)};
    if (!out[0] || !out[1] ||
        espl_graph_node(graph, &op_sparsity, in, ESPL_COUNT(in), out, ESPL_COUNT(out), &at, sizeof at) != ESPL_OK)
        return none;
    return (espl_sparsity_gradients){out[0], out[1]};
}
