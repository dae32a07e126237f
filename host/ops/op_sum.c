/* One workgroup over all elements. */
#include "host/ops/op_sum.h"
#include "host/ops/each.h"
#include "shaders/shaders.h"
#include "shaders/sum.h"
#include <string.h>

_Static_assert(sizeof(sum_push) <= ESPL_PUSH_BYTES_MAX, "push block");

typedef struct attribute {
    uint32_t word, factor_word;
} attribute;

/* in: x, step, stats before; out: stats. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    const espl_tensor *x = node->in[0];
    espl_device *device = espl_graph_device(graph);
    const sum_push push = {x->rows, x->cols, x->stride / 4, at.factor_word, at.word};
    const uint32_t spec[] = {espl_reduce_local(device, UINT32_MAX), 1, 1,
                             x->cols % 4 != 0, [SUM_SPEC_FACTOR] = at.factor_word != 0};
    espl_dispatch dispatch = {
        .label = "sum",
        .bind = {[SUM_BIND_X] = x->span, [SUM_BIND_STEP] = node->in[1]->span, [SUM_BIND_STATS] = node->out[0]->span},
        .bind_count = 3,
        .push = &push,
        .push_bytes = sizeof push};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_sum, spec, ESPL_COUNT(spec), &dispatch.kernel));
    return espl_commands_dispatch(commands, &dispatch);
}

const espl_op espl_op_sum = {.name = "sum", .record = record};

espl_tensor *espl_graph_sum(espl_graph *graph, const espl_sum *args) {
    espl_tensor *x = args->x, *stats = args->stats;
    if (!x || !stats || espl_graph_status(graph) != ESPL_OK) return NULL;
    espl_context *ctx = espl_device_context(espl_graph_device(graph));
    if (x->dtype != ESPL_DTYPE_F32 || stats->dtype != ESPL_DTYPE_F32 || stats->role != ESPL_ROLE_STATE ||
        stats->rows != 1 || args->word >= stats->cols || args->factor_word >= ESPL_STEP_WORDS)
        return espl_graph_fail(
            graph, espl_fail(ctx, ESPL_ARGUMENT, "sum: of x (%s, %s) into word %u of %s (%u x %u %s), factor word %u",
                             x->name, espl_dtype_name(x->dtype), args->word, stats->name, stats->rows, stats->cols,
                             espl_dtype_name(stats->dtype), args->factor_word));
    if ((uint64_t)x->rows * x->stride > UINT32_MAX)
        return espl_graph_fail(graph, espl_fail(ctx, ESPL_LIMIT, "sum: x is %u x %u", x->rows, x->cols));
    const attribute at = {args->word, args->factor_word};
    espl_tensor *out = espl_graph_update(graph, stats), *in[] = {x, espl_graph_step(graph), stats};
    if (!out || espl_graph_node(graph, &espl_op_sum, in, 3, &out, 1, &at, sizeof at) != ESPL_OK) return NULL;
    return out;
}
