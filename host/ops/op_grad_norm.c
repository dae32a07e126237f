/* Chunks of every storage range are summed side by side, then one workgroup sums the chunks and fills in the
 * statistics. */
#include "host/ops/op_grad_norm.h"
#include "host/ops/each.h"
#include "shaders/grad_norm.h"
#include "shaders/shaders.h"

enum { CHUNKS = 512, QUADS_MIN = 512 }; /* of one range: at most so many, of at least this size */

/* How one tensor is cut. */
typedef struct cut {
    uint32_t window; /* elements of one binding */
    uint32_t windows, chunk /* quads */, chunks /* of a full window */;
} cut;

static cut cut_of(const espl_device *device, const espl_tensor *t) {
    const uint64_t range = espl_device_capabilities(device)->storage_range_max / 256 * 64;
    cut c = {.window = t->cols <= range ? t->cols : (uint32_t)range};
    c.windows = espl_ceil_div(t->cols, c.window);
    const uint32_t quads = espl_ceil_div(c.window, 4);
    c.chunk = espl_ceil_div(quads, CHUNKS);
    if (c.chunk < QUADS_MIN) c.chunk = QUADS_MIN;
    c.chunks = espl_ceil_div(quads, c.chunk);
    return c;
}

static espl_status record_partial(espl_graph *graph, espl_commands *commands, const espl_tensor *t, espl_span partial,
                                  uint32_t *in_out_first) {
    espl_device *device = espl_graph_device(graph);
    const cut c = cut_of(device, t);
    const uint32_t spec[] = {espl_reduce_local(device, UINT32_MAX), 1, 1, t->cols % 4 != 0};
    for (uint32_t w = 0; w < c.windows; w++) {
        const uint32_t from = w * c.window, count = t->cols - from < c.window ? t->cols - from : c.window;
        const uint32_t chunks = espl_ceil_div(espl_ceil_div(count, 4), c.chunk);
        const grad_norm_push push = {count, c.chunk, *in_out_first};
        espl_dispatch dispatch = {
            .label = "grad_norm_partial",
            .bind = {[GRAD_NORM_PARTIAL_BIND_G] = espl_span_part(t->span, from * 4ull, espl_round_up(count, 4) * 4),
                     [GRAD_NORM_PARTIAL_BIND_OUT] = partial},
            .bind_count = 2,
            .push = &push,
            .push_bytes = sizeof push,
            .groups = {chunks}};
        ESPL_TRY(espl_device_kernel(device, &espl_shader_grad_norm_partial, spec, ESPL_COUNT(spec), &dispatch.kernel));
        ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
        *in_out_first += chunks;
    }
    return ESPL_OK;
}

/* in: step, stats before, gradients; out: stats, partial sums. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    espl_device *device = espl_graph_device(graph);
    const espl_span partial = node->out[1]->span;
    uint32_t count = 0;
    for (uint32_t i = 2; i < ESPL_INPUTS_MAX && node->in[i]; i++)
        ESPL_TRY(record_partial(graph, commands, node->in[i], partial, &count));
    const grad_norm_push push = {.count = count};
    const uint32_t spec[] = {espl_reduce_local(device, count), 1, 1};
    espl_dispatch dispatch = {.label = "grad_norm",
                              .bind = {[GRAD_NORM_BIND_PARTIAL] = partial,
                                       [GRAD_NORM_BIND_STEP] = node->in[0]->span,
                                       [GRAD_NORM_BIND_STATS] = node->out[0]->span},
                              .bind_count = 3,
                              .push = &push,
                              .push_bytes = sizeof push};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_grad_norm, spec, ESPL_COUNT(spec), &dispatch.kernel));
    return espl_commands_dispatch(commands, &dispatch);
}

const espl_op espl_op_grad_norm = {.name = "grad_norm", .record = record};

static espl_status check(espl_context *ctx, const espl_tensor *t, uint32_t least) {
    if (t->role == ESPL_ROLE_STATE && t->dtype == ESPL_DTYPE_F32 && t->rows == 1 && t->cols >= least) return ESPL_OK;
    return espl_fail(ctx, ESPL_ARGUMENT, "grad_norm: %s is %u x %u %s, must be one row of F32 STATE, at least %u",
                     t->name, t->rows, t->cols, espl_dtype_name(t->dtype), least);
}

espl_tensor *espl_graph_grad_norm(espl_graph *graph, const espl_grad_norm *args) {
    if (!args->stats || !args->gradients[0] || espl_graph_status(graph) != ESPL_OK) return NULL;
    espl_device *device = espl_graph_device(graph);
    espl_tensor *in[ESPL_INPUTS_MAX] = {espl_graph_step(graph), args->stats};
    uint64_t chunks = 0;
    espl_status status = check(espl_device_context(device), args->stats, ESPL_STATS_WORDS);
    for (uint32_t i = 0; i < ESPL_GRAD_NORM_TENSORS && args->gradients[i] && status == ESPL_OK; i++) {
        status = check(espl_device_context(device), args->gradients[i], 1);
        const cut c = cut_of(device, args->gradients[i]);
        chunks += (uint64_t)c.windows * c.chunks;
        in[2 + i] = args->gradients[i];
    }
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    espl_tensor *out[] = {espl_graph_update(graph, args->stats),
                          espl_graph_scratch(graph, "sums of squares", 1, (uint32_t)chunks)};
    if (!out[0] || !out[1] ||
        espl_graph_node(graph, &espl_op_grad_norm, in, ESPL_INPUTS_MAX, out, 2, NULL, 0) != ESPL_OK)
        return NULL;
    return out[0];
}
