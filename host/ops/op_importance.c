#include "host/ops/op_importance.h"
#include "host/ops/each.h"
#include "shaders/importance.h"
#include "shaders/shaders.h"
#include <string.h>

typedef struct attribute {
    uint32_t from, count, slot, columns, add;
    float beta1, beta2;
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

/* in: p, g, mean, spread, score before; out: mean, spread, score. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *p = node->in[0], *g = node->in[1];
    espl_device *device = espl_graph_device(graph);
    const uint32_t length = at.columns ? p->rows : p->cols;
    const importance_push push = {length, p->stride, at.from, at.count, at.slot, at.beta1, at.beta2};
    const uint32_t spec[] = {espl_reduce_local(device, length), 1, 1, at.columns, at.add};
    espl_dispatch dispatch = {.label = "importance",
                              .bind = {[IMPORTANCE_BIND_P] = p->span, [IMPORTANCE_BIND_G] = g->span,
                                       [IMPORTANCE_BIND_MEAN] = node->out[0]->span,
                                       [IMPORTANCE_BIND_SPREAD] = node->out[1]->span,
                                       [IMPORTANCE_BIND_SCORE] = node->out[2]->span},
                              .bind_count = 5,
                              .push = &push,
                              .push_bytes = sizeof push,
                              .groups = {espl_reduce_groups(device, at.count)}};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_importance, spec, ESPL_COUNT(spec), &dispatch.kernel));
    return espl_commands_dispatch(commands, &dispatch);
}

const espl_op espl_op_importance = {.name = "importance", .record = record};

static bool is_state(const espl_tensor *t, uint32_t rows, uint32_t cols, uint32_t stride) {
    return t->role == ESPL_ROLE_STATE && t->dtype == ESPL_DTYPE_F32 && t->rows == rows && t->cols >= cols &&
           (!stride || t->stride == stride);
}

espl_importance_state espl_graph_importance(espl_graph *graph, const espl_importance *a) {
    const espl_importance_state none = {NULL, NULL, NULL};
    if (!a->p || !a->g || !a->mean || !a->spread || !a->score || espl_graph_status(graph) != ESPL_OK) return none;
    const espl_tensor *p = a->p, *g = a->g;
    const uint32_t all = a->columns ? p->cols : p->rows;
    if (p->dtype != ESPL_DTYPE_F32 || g->dtype != ESPL_DTYPE_F32 || g->rows != p->rows || g->cols != p->cols ||
        g->stride != p->stride || !is_state(a->mean, p->rows, p->cols, p->stride) || a->count == 0 ||
        !is_state(a->spread, p->rows, p->cols, p->stride) || !is_state(a->score, 1, a->slot + a->count, 0) ||
        (uint64_t)a->from + a->count > all) {
        espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                         "importance: p (%s) is %u x %u, g %u x %u, %u scores from %u of %u", p->name, p->rows,
                                         p->cols, g->rows, g->cols, a->count, a->from, all));
        return none;
    }
    const attribute at = {a->from, a->count, a->slot, a->columns, a->add, a->beta1, a->beta2};
    espl_tensor *in[] = {a->p, a->g, a->mean, a->spread, a->score};
    espl_tensor *out[] = {espl_graph_update(graph, a->mean), espl_graph_update(graph, a->spread),
                          espl_graph_update(graph, a->score)};
    if (!out[0] || !out[1] || !out[2] ||
        espl_graph_node(graph, &espl_op_importance, in, 5, out, 3, &at, sizeof at) != ESPL_OK)
        return none;
    return (espl_importance_state){out[0], out[1], out[2]};
}

/* in: score, k, dropped before, e before; out: dropped, e. */
static espl_status record_prune(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    espl_device *device = espl_graph_device(graph);
    const importance_push push = {.terms = node->in[0]->cols, .from = at.from, .count = at.count, .slot = at.slot};
    const uint32_t spec[] = {32, 1, 1};
    espl_dispatch dispatch = {.label = "prune",
                              .bind = {[PRUNE_BIND_SCORE] = node->in[0]->span, [PRUNE_BIND_COUNT] = node->in[1]->span,
                                       [PRUNE_BIND_DROPPED] = node->out[0]->span, [PRUNE_BIND_E] = node->out[1]->span},
                              .bind_count = 4,
                              .push = &push,
                              .push_bytes = sizeof push,
                              .groups = {espl_ceil_div(at.count, 32)}};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_prune, spec, ESPL_COUNT(spec), &dispatch.kernel));
    return espl_commands_dispatch(commands, &dispatch);
}

static const espl_op op_prune = {.name = "prune", .record = record_prune};

espl_tensor *espl_graph_prune(espl_graph *graph, const espl_prune *a) {
    if (!a->score || !a->dropped || !a->e || !a->k || espl_graph_status(graph) != ESPL_OK) return NULL;
    const espl_tensor *score = a->score;
    if (score->rows != 1 || score->dtype != ESPL_DTYPE_F32 || !is_state(a->dropped, 1, score->cols, score->stride) ||
        !is_state(a->e, 1, a->from + a->count, 0) || a->slot + a->count > score->cols || a->k->dtype != ESPL_DTYPE_I32)
        return espl_graph_fail(graph, espl_fail(espl_device_context(espl_graph_device(graph)), ESPL_ARGUMENT,
                                                "prune: %u scores from %u of %u, e (%s) is %u x %u and taken from %u", a->count,
                                                a->slot, score->cols, a->e->name, a->e->rows, a->e->cols, a->from));
    const attribute at = {.from = a->from, .count = a->count, .slot = a->slot};
    espl_tensor *in[] = {a->score, a->k, a->dropped, a->e};
    espl_tensor *out[] = {espl_graph_update(graph, a->dropped), espl_graph_update(graph, a->e)};
    if (!out[0] || !out[1] || espl_graph_node(graph, &op_prune, in, 4, out, 2, &at, sizeof at) != ESPL_OK) return NULL;
    return out[1];
}
