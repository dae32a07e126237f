/* One kernel; backward is the same with the rotation transposed. */
#include "host/ops/op_rotary.h"
#include "host/ops/window.h"
#include "shaders/rotary.h"
#include "shaders/shaders.h"
#include <string.h>

_Static_assert(sizeof(rotary_push) <= ESPL_PUSH_BYTES_MAX, "push block");

enum { GROUPS_MAX = 65535 };

typedef struct attribute {
    uint32_t q_from, heads, k_from, v_from, kv_heads, head_size, pairs, interleaved, batch, cache_k_from, cache_v_from;
    uint32_t back;
    float magnitude;
} attribute;

/* Items of an invocation, so that no two invocations write halves of one word: whole rows if any part begins at an odd
 * element. */
static uint32_t items_at_once(const attribute *at, uint32_t items, bool cache) {
    uint32_t all = at->q_from | at->k_from | at->head_size | at->pairs;
    if (cache) all |= at->v_from | at->cache_k_from | at->cache_v_from;
    return all % 2 ? items : 2;
}

static uint32_t items_of(const attribute *at, bool cache) {
    return at->pairs + (cache ? at->head_size - 2 * at->pairs + at->head_size : 0);
}

/* in: x, frequencies, positions, cache; out: x, cache. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    espl_device *device = espl_graph_device(graph);
    const espl_tensor *x = node->out[0], *cache = node->out[1], *frequencies = node->in[1], *positions = node->in[2];
    const bool cpu = espl_device_capabilities(device)->cpu;
    const uint32_t items = items_of(&at, cache != NULL), heads = at.heads + at.kv_heads;
    const uint32_t queries = x->rows / at.batch;
    const bool halves = x->dtype != ESPL_DTYPE_F32 || (cache && cache->dtype != ESPL_DTYPE_F32);
    const uint32_t together = halves ? items_at_once(&at, items, cache != NULL) : 1;
    const uint64_t all_lanes = (uint64_t)x->rows * (items / together);
    /* All heads share one cos and sin; where there are few rows it is better to have more invocations. */
    const uint32_t at_once = cpu || all_lanes >= 16384 || together > 2 ? heads : 1;
    rotary_push push = {.queries = queries,
                        .pairs = at.pairs,
                        .head_size = at.head_size,
                        .heads = at.heads,
                        .kv_heads = at.kv_heads,
                        .q_from = at.q_from,
                        .k_from = at.k_from,
                        .v_from = at.v_from,
                        .x_stride = x->stride,
                        .capacity = cache ? cache->rows / at.batch : 0,
                        .cache_stride = cache ? cache->stride : 0,
                        .cache_k_from = at.cache_k_from,
                        .cache_v_from = at.cache_v_from,
                        .items = items,
                        .items_at_once = together,
                        .heads_at_once = at_once,
                        .magnitude = at.magnitude};
    const uint32_t local = cpu && all_lanes < 1024 ? 8 : 64;
    const uint32_t spec[] = {[0] = local,
                             [1] = 1,
                             [2] = 1,
                             [ROTARY_SPEC_INTERLEAVED] = at.interleaved,
                             [ROTARY_SPEC_POSITIONS] = positions != NULL,
                             [ROTARY_SPEC_CACHE] = cache != NULL,
                             [ROTARY_SPEC_BACK] = at.back,
                             [ROTARY_SPEC_X_TYPE] = x->dtype,
                             [ROTARY_SPEC_CACHE_TYPE] = cache ? cache->dtype : ESPL_DTYPE_F32};
    espl_dispatch dispatch = {.label = node->op->name,
                              .bind = {[ROTARY_BIND_FREQUENCIES] = frequencies ? frequencies->span : (espl_span){0},
                                       [ROTARY_BIND_POSITIONS] = positions ? positions->span : (espl_span){0},
                                       [ROTARY_BIND_CACHE] = cache ? cache->span : (espl_span){0}},
                              .bind_count = ROTARY_BIND_COUNT,
                              .push = &push,
                              .push_bytes = sizeof push};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_rotary, spec, ESPL_COUNT(spec), &dispatch.kernel));
    uint32_t window;
    ESPL_TRY(espl_window_units(device, node->op->name, at.batch, &(espl_window_part){x, queries}, 1, &window));
    for (uint32_t count; push.first < at.batch; push.first += count) {
        count = espl_window_count(push.first, at.batch, window);
        push.rows = count * queries;
        const uint64_t groups = ((uint64_t)push.rows * (items / together) + local - 1) / local;
        const uint32_t groups_y = (uint32_t)((groups + GROUPS_MAX - 1) / GROUPS_MAX);
        dispatch.bind[ROTARY_BIND_X] = espl_rows_span(x, push.first * queries, push.rows);
        dispatch.groups[0] = (uint32_t)((groups + groups_y - 1) / groups_y);
        dispatch.groups[1] = groups_y;
        dispatch.groups[2] = espl_ceil_div(heads, at_once);
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
    }
    return ESPL_OK;
}

static const espl_op espl_op_rotary_bwd = {.name = "rotary_bwd", .record = record};

/* The gradient of the turned x has no other reader, so it is turned back in its place. */
static espl_status vjp(espl_graph *graph, const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    espl_tensor *grad = espl_grad_of(node->out[0]);
    if (!grad || !espl_grad_wanted(node->in[0])) return espl_graph_status(graph);
    if (at.pairs > 0) {
        espl_tensor *turned = espl_graph_update(graph, grad);
        if (!turned) return espl_graph_status(graph);
        at.back = 1;
        espl_tensor *in[] = {grad, node->in[1], node->in[2]};
        ESPL_TRY(espl_graph_node(graph, &espl_op_rotary_bwd, in, ESPL_COUNT(in), &turned, 1, &at, sizeof at));
        grad = turned;
    }
    return espl_grad_give(graph, node->in[0], grad);
}

const espl_op espl_op_rotary = {.name = "rotary", .record = record, .vjp = vjp};

static espl_status check_columns(espl_context *ctx, const char *name, const espl_tensor *t, uint32_t from,
                                 uint32_t heads, uint32_t head_size) {
    if (!espl_dtype_is_float(t->dtype))
        return espl_fail(ctx, ESPL_ARGUMENT, "rotary: %s is %s, it must be F32, F16 or BF16", t->name,
                         espl_dtype_name(t->dtype));
    if (from + (uint64_t)heads * head_size > t->cols || (uint64_t)t->rows * t->stride > UINT32_MAX)
        return espl_fail(ctx, ESPL_ARGUMENT, "rotary: %s are %u heads of %u from column %u, %s is [%u, %u]", name,
                         heads, head_size, from, t->name, t->rows, t->cols);
    return ESPL_OK;
}

static espl_status check(espl_context *ctx, const espl_rotary *args, const attribute *at) {
    const espl_tensor *frequencies = args->frequencies, *positions = args->positions;
    ESPL_TRY(check_columns(ctx, "query heads", args->x, at->q_from, at->heads, at->head_size));
    ESPL_TRY(check_columns(ctx, "key heads", args->x, at->k_from, at->kv_heads, at->head_size));
    if (at->batch == 0 || args->x->rows % at->batch)
        return espl_fail(ctx, ESPL_ARGUMENT, "rotary: x has %u rows for a batch of %u", args->x->rows, at->batch);
    if (frequencies && (frequencies->dtype != ESPL_DTYPE_F32 || frequencies->rows != 1 ||
                        2 * (uint64_t)frequencies->cols > at->head_size))
        return espl_fail(ctx, ESPL_ARGUMENT, "rotary: frequencies is %s [%u, %u], it must be F32 [1, at most %u]",
                         espl_dtype_name(frequencies->dtype), frequencies->rows, frequencies->cols, at->head_size / 2);
    if (positions && (positions->dtype != ESPL_DTYPE_I32 || positions->rows != 1 || positions->cols < at->batch))
        return espl_fail(ctx, ESPL_ARGUMENT, "rotary: positions is %s [%u, %u], it must be I32 [1, %u]",
                         espl_dtype_name(positions->dtype), positions->rows, positions->cols, at->batch);
    if (!args->cache) return ESPL_OK;
    ESPL_TRY(check_columns(ctx, "value heads", args->x, at->v_from, at->kv_heads, at->head_size));
    ESPL_TRY(check_columns(ctx, "cached keys", args->cache, at->cache_k_from, at->kv_heads, at->head_size));
    ESPL_TRY(check_columns(ctx, "cached values", args->cache, at->cache_v_from, at->kv_heads, at->head_size));
    if (args->cache->rows % at->batch)
        return espl_fail(ctx, ESPL_ARGUMENT, "rotary: the cache has %u rows for a batch of %u", args->cache->rows,
                         at->batch);
    return ESPL_OK;
}

espl_rotated espl_graph_rotary(espl_graph *graph, const espl_rotary *args) {
    espl_rotated none = {NULL, NULL};
    if (!args->x || espl_graph_status(graph) != ESPL_OK) return none;
    const attribute at = {.q_from = args->q_from,
                          .heads = args->heads,
                          .k_from = args->k_from,
                          .v_from = args->v_from,
                          .kv_heads = args->kv_heads,
                          .head_size = args->head_size,
                          .pairs = args->frequencies ? args->frequencies->cols : 0,
                          .interleaved = args->interleaved,
                          .batch = args->batch,
                          .cache_k_from = args->cache_k_from,
                          .cache_v_from = args->cache_v_from,
                          .magnitude = args->magnitude != 0.0f ? args->magnitude : 1.0f};
    espl_status status = check(espl_device_context(espl_graph_device(graph)), args, &at);
    if (status != ESPL_OK) return espl_graph_fail(graph, status), none;
    if (items_of(&at, args->cache != NULL) == 0 || at.heads + at.kv_heads == 0)
        return (espl_rotated){args->x, args->cache};
    espl_tensor *in[] = {args->x, args->frequencies, args->positions, args->cache};
    espl_tensor *out[] = {espl_graph_update(graph, args->x), espl_graph_update(graph, args->cache)};
    if (!out[0] || (args->cache && !out[1]) ||
        espl_graph_node(graph, &espl_op_rotary, in, ESPL_COUNT(in), out, ESPL_COUNT(out), &at, sizeof at) != ESPL_OK)
        return none;
    return (espl_rotated){out[0], out[1]};
}
