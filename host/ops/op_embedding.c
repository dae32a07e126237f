/* Tables and the tokens' rows may be larger than what can be bound: each dispatch has a window of each and does the tokens
 * that are in all of them. */
#include "host/ops/op_embedding.h"
#include "host/ops/op_fill.h"
#include "host/ops/each.h"
#include "host/ops/window.h"
#include "shaders/embedding.h"
#include "shaders/lib/step.h"
#include "shaders/shaders.h"
#include <string.h>

_Static_assert(sizeof(embedding_push) <= ESPL_PUSH_BYTES_MAX, "push block");
_Static_assert(ESPL_DTYPE_F32 == 0 && ESPL_DTYPE_F16 == 1 && ESPL_DTYPE_BF16 == 2, "shaders/lib/typed.glsl");

/* Without a table every id from 0 on is a row. */
enum { EVERY_ID = INT32_MAX };

typedef struct attribute {
    uint32_t sequence; /* tokens of one */
    float scale;
    uint32_t of_positions, fresh; /* backward: which table; its gradient begins here */
    uint32_t position_from;
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

/* in: ids, table, positions, position_table; out: y. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *ids = node->in[0], *table = node->in[1], *positions = node->in[2], *position_table = node->in[3];
    const espl_tensor *y = node->out[0];
    espl_device *device = espl_graph_device(graph);
    espl_each each = espl_each_of(device, y->rows, y->cols, false);
    const uint32_t spec[] = {each.spec[0],
                             1,
                             1,
                             each.spec[3],
                             each.spec[4],
                             table ? table->dtype : 0,
                             position_table ? position_table->dtype : 0,
                             position_table != NULL,
                             positions != NULL,
                             table != NULL,
                             y->dtype};
    const uint32_t vocabulary = table ? table->rows : EVERY_ID;
    embedding_push push = {.cols = y->cols,
                           .sequence = at.sequence,
                           .vocabulary = vocabulary,
                           .position_count = position_table ? position_table->rows : 1,
                           .table_stride = table ? table->stride / 4 : 0,
                           .position_stride = position_table ? position_table->stride / 4 : 0,
                           .y_stride = y->stride / 4,
                           .scale = at.scale,
                           .position_from = at.position_from};
    espl_dispatch dispatch = {.label = "embedding",
                              .bind = {[EMBEDDING_BIND_IDS] = ids->span,
                                       [EMBEDDING_BIND_POSITIONS] = positions ? positions->span : (espl_span){0}},
                              .bind_count = 5,
                              .push = &push,
                              .push_bytes = sizeof push};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_embedding, spec, ESPL_COUNT(spec), &dispatch.kernel));
    uint32_t rows, window, places;
    ESPL_TRY(espl_window_units(device, "embedding", y->rows, &(espl_window_part){y, 1}, 1, &rows));
    ESPL_TRY(espl_window_units(device, "embedding", vocabulary, &(espl_window_part){table, 1}, 1, &window));
    ESPL_TRY(espl_window_units(device, "embedding", push.position_count, &(espl_window_part){position_table, 1}, 1, &places));
    for (push.from = 0; push.from < y->rows; push.from = push.tokens) {
        push.tokens = push.from + espl_window_count(push.from, y->rows, rows);
        each = espl_each_of(device, push.tokens - push.from, y->cols, false);
        memcpy(dispatch.groups, each.groups, sizeof dispatch.groups);
        dispatch.bind[EMBEDDING_BIND_Y] = espl_rows_span(y, push.from, push.tokens - push.from);
        for (push.first = 0; push.first < vocabulary; push.first += push.count) {
            push.count = espl_window_count(push.first, vocabulary, window);
            dispatch.bind[EMBEDDING_BIND_TABLE] = espl_rows_span(table, push.first, push.count);
            for (push.position_first = 0; push.position_first < push.position_count;
                 push.position_first += push.position_rows) {
                push.position_rows = espl_window_count(push.position_first, push.position_count, places);
                dispatch.bind[EMBEDDING_BIND_POSITION_TABLE] =
                    espl_rows_span(position_table, push.position_first, push.position_rows);
                ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
            }
        }
    }
    return ESPL_OK;
}

/* in: ids, positions, dy, dtable before, table (for the number of its rows); out: dtable. */
static espl_status record_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    const espl_tensor *ids = node->in[0], *positions = node->in[1], *dy = node->in[2], *table = node->in[4];
    const espl_tensor *dtable = node->out[0];
    espl_device *device = espl_graph_device(graph);
    espl_each each = espl_each_of(device, dy->rows, dy->cols, false);
    const uint32_t spec[] = {each.spec[0], 1, 1, each.spec[3], each.spec[4], at.of_positions, 0, 0, positions != NULL};
    embedding_push push = {.cols = dy->cols,
                           .sequence = at.sequence,
                           .vocabulary = table ? table->rows : EVERY_ID,
                           .position_count = dtable->rows,
                           .table_stride = dtable->stride / 4,
                           .y_stride = dy->stride / 4,
                           .scale = at.of_positions ? 1.0f : at.scale,
                           .position_from = at.position_from};
    espl_dispatch dispatch = {.label = "embedding_bwd",
                              .bind = {[EMBEDDING_BWD_BIND_IDS] = ids->span,
                                       [EMBEDDING_BWD_BIND_POSITIONS] = positions ? positions->span : (espl_span){0}},
                              .bind_count = 4,
                              .push = &push,
                              .push_bytes = sizeof push};
    ESPL_TRY(espl_device_kernel(device, &espl_shader_embedding_bwd, spec, ESPL_COUNT(spec), &dispatch.kernel));
    uint32_t sequences, window;
    ESPL_TRY(espl_window_units(device, "embedding_bwd", dy->rows / at.sequence, &(espl_window_part){dy, at.sequence}, 1,
                               &sequences));
    ESPL_TRY(espl_window_units(device, "embedding_bwd", dtable->rows, &(espl_window_part){dtable, 1}, 1, &window));
    if (at.fresh) ESPL_TRY(espl_record_zero(commands, dtable));
    for (push.from = 0; push.from < dy->rows; push.from = push.tokens) {
        push.tokens = push.from + espl_window_count(push.from, dy->rows, sequences * at.sequence);
        each = espl_each_of(device, push.tokens - push.from, dy->cols, false);
        memcpy(dispatch.groups, each.groups, sizeof dispatch.groups);
        dispatch.bind[EMBEDDING_BWD_BIND_DY] = espl_rows_span(dy, push.from, push.tokens - push.from);
        for (push.first = 0; push.first < dtable->rows; push.first += push.count) {
            push.count = espl_window_count(push.first, dtable->rows, window);
            dispatch.bind[EMBEDDING_BWD_BIND_DTABLE] = espl_rows_span(dtable, push.first, push.count);
            ESPL_TRY(espl_commands_dispatch(commands, &dispatch));
        }
    }
    return ESPL_OK;
}

static const espl_op espl_op_embedding_bwd = {.name = "embedding_bwd", .record = record_bwd};

static espl_status add_bwd(espl_graph *graph, const espl_node *node, espl_tensor *table, bool of_positions) {
    if (!espl_grad_wanted(table)) return ESPL_OK;
    attribute at = attribute_of(node);
    bool accumulate;
    at.of_positions = of_positions;
    espl_tensor *dtable = espl_grad_target(graph, table, 0, 0, &accumulate);
    if (!dtable) return espl_graph_status(graph);
    at.fresh = !accumulate;
    espl_tensor *in[] = {node->in[0], node->in[2], espl_grad_of(node->out[0]), accumulate ? dtable->base : NULL, node->in[1]};
    return espl_graph_node(graph, &espl_op_embedding_bwd, in, ESPL_COUNT(in), &dtable, 1, &at, sizeof at);
}

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    if (node->in[1]) ESPL_TRY(add_bwd(graph, node, node->in[1], false));
    return add_bwd(graph, node, node->in[3], true);
}

const espl_op espl_op_embedding = {.name = "embedding", .record = record, .vjp = vjp};

static espl_status check_table(espl_context *ctx, const espl_tensor *table, uint32_t cols) {
    /* Also rows of a value, as the last token's hidden state is picked. */
    if (table->role == ESPL_ROLE_STEP)
        return espl_fail(ctx, ESPL_ARGUMENT, "embedding: the table %s must be a weight, a parameter or a value", table->name);
    if (!espl_dtype_is_float(table->dtype))
        return espl_fail(ctx, ESPL_ARGUMENT, "embedding: the table %s is %s", table->name,
                         espl_dtype_name(table->dtype));
    if (table->cols != cols)
        return espl_fail(ctx, ESPL_ARGUMENT, "embedding: the table %s has %u columns, the other %u", table->name,
                         table->cols, cols);
    return ESPL_OK;
}

static espl_status check(espl_context *ctx, const espl_embedding *args, uint32_t batch) {
    const espl_tensor *ids = args->ids, *positions = args->positions;
    if (ids->dtype != ESPL_DTYPE_I32 || ids->rows != 1 || ids->cols % batch)
        return espl_fail(ctx, ESPL_ARGUMENT, "embedding: ids are %u x %u %s, must be one row of I32 for %u sequences",
                         ids->rows, ids->cols, espl_dtype_name(ids->dtype), batch);
    if (positions && (positions->dtype != ESPL_DTYPE_I32 || positions->rows != 1 || positions->cols != batch))
        return espl_fail(ctx, ESPL_ARGUMENT, "embedding: positions are %u x %u %s, must be one row of %u I32",
                         positions->rows, positions->cols, espl_dtype_name(positions->dtype), batch);
    const uint32_t cols = args->table ? args->table->cols : args->position_table->cols;
    if (args->table) ESPL_TRY(check_table(ctx, args->table, cols));
    return args->position_table ? check_table(ctx, args->position_table, cols) : ESPL_OK;
}

espl_tensor *espl_graph_embedding(espl_graph *graph, const espl_embedding *args) {
    if (!args->ids || (!args->table && !args->position_table) || espl_graph_status(graph) != ESPL_OK) return NULL;
    const uint32_t batch = args->batch ? args->batch : 1;
    espl_status status = check(espl_device_context(espl_graph_device(graph)), args, batch);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    const attribute at = {.sequence = args->ids->cols / batch,
                          .scale = args->scale == 0.0f ? 1.0f : args->scale,
                          .position_from = args->position_from};
    espl_tensor *y = espl_graph_output(graph, "embedding", args->ids->cols,
                                       (args->table ? args->table : args->position_table)->cols);
    espl_tensor *in[] = {args->ids, args->table, args->positions, args->position_table};
    if (!y || espl_graph_node(graph, &espl_op_embedding, in, ESPL_COUNT(in), &y, 1, &at, sizeof at) != ESPL_OK)
        return NULL;
    return y;
}
