/* One kernel forward, two backward (shaders/attention*.comp), each cut to the shape by specialization constants: how
 * many rows a lane has, how many lanes share a row's dimensions or keys, how many keys are taken per step. */
#include "host/ops/op_attention.h"
#include "host/ops/op_dropout.h"
#include "host/ops/window.h"
#include "shaders/attention.h"
#include "shaders/shaders.h"
#include <math.h>
#include <string.h>

_Static_assert(sizeof(attention_push) <= ESPL_PUSH_BYTES_MAX, "push block");

enum { HEAD_SIZE_MAX = 256, GROUPS_MAX = 65535, SPEC_COUNT = ATTENTION_SPEC_PARTS + 1, FEW_ROWS = 16 };
enum { ACCUMULATE_Q = 4, WANTED_Q = 4 }; /* beside the bits of K and V that shaders/attention.h names */

typedef struct attribute {
    uint32_t q_from, k_from, v_from, batch, heads, kv_heads, head_size, window, causal;
    float scale, dropout;
    uint32_t dropout_site;
    uint32_t accumulate, wanted; /* backward */
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

/* ---- Variants ---- */

typedef enum kernel_kind { FORWARD, BACKWARD_Q, BACKWARD_KV } kernel_kind;

typedef struct variant {
    uint32_t row_lanes, lane_rows, dim_split, key_split, block;
} variant;

/* Lanes that share a head so that each has at most quads_max of its quads. */
static uint32_t dim_split_of(uint32_t quads, uint32_t quads_max) {
    uint32_t split = 1;
    while (espl_ceil_div(quads, split) > quads_max)
        split *= 2;
    return split;
}

static uint32_t power_of_two_from(uint32_t value) {
    uint32_t power = 1;
    while (power < value)
        power *= 2;
    return power;
}

/* lavapipe: inside a loop any load costs as much as some 8 to 16 multiply-adds, also one that all lanes share (22.3: 5
 * ns per 8 lanes), so every value loaded is used for several rows; the loops are unrolled, and its compiler takes
 * seconds for the larger ones (up to 18 s for the backward of heads of 128, once per machine), which bounds them.
 * Columns: quads of a head up to, rows and block forward, backward. */
static const struct {
    uint32_t quads, rows, block, backward_rows, backward_block;
} cpu_tiles[] = {{4, 4, 2, 2, 2}, {8, 8, 2, 4, 1}, {16, 4, 2, 2, 1}, {32, 2, 1, 2, 1}, {UINT32_MAX, 1, 1, 1, 1}};

static variant cpu_variant(kernel_kind kind, uint32_t quads, uint32_t rows) {
    if (kind == FORWARD && rows <= FEW_ROWS)
        return (variant){1, quads <= 8 && rows > 1 ? 2 : 1, 1, 8, quads <= 8 ? 2 : 1};
    uint32_t i = 0;
    while (quads > cpu_tiles[i].quads)
        i++;
    uint32_t lane_rows = kind == FORWARD ? cpu_tiles[i].rows : cpu_tiles[i].backward_rows;
    while (lane_rows > 1 && lane_rows * 8 >= 2 * rows)
        lane_rows /= 2;
    /* Without the split the compiler takes a minute for heads of 256. */
    if (kind != FORWARD && quads > 32) return (variant){8, 1, dim_split_of(quads, 16), 1, 4};
    return (variant){8, lane_rows, 1, 1, kind == FORWARD ? cpu_tiles[i].block : cpu_tiles[i].backward_block};
}

/* GPUs: registers are what is short, so a lane has few quads of its row's two vectors forward, of the three or four
 * backward, and few keys under way, of which compilers load a whole block first. With 4 quads and blocks of 8 backward,
 * RADV, NVK, Turnip and Honeykrisp of Mesa 26.1 all kept values in memory; with these none does (tests/drivers). Heads
 * that are no multiple of 4 are read by elements, which takes more. Columns: quads, block, block of such heads. */
static const struct {
    uint32_t quads, block, block_unaligned;
} gpu_tiles[] = {[FORWARD] = {8, 8, 4}, [BACKWARD_Q] = {2, 4, 4}, [BACKWARD_KV] = {2, 2, 2}};

/* 64 lanes; few rows: 128, of which as many as possible share the keys. Shared memory: at most (4 + 16 * 4 / BLOCK) *
 * BLOCK * 128 bytes = 12 KiB. */
static variant gpu_variant(kernel_kind kind, uint32_t head_size, uint32_t rows) {
    const uint32_t quads = espl_ceil_div(head_size, 4);
    const uint32_t block = head_size % 4 ? gpu_tiles[kind].block_unaligned : gpu_tiles[kind].block;
    if (kind == FORWARD && rows <= FEW_ROWS) {
        const uint32_t split = dim_split_of(quads, 4), row_lanes = power_of_two_from(rows);
        const uint32_t used = split * row_lanes;
        return used <= 64 ? (variant){row_lanes, 1, split, 128 / used, block} : (variant){128 / split, 1, split, 1, block};
    }
    const uint32_t split = dim_split_of(quads, gpu_tiles[kind].quads);
    return (variant){64 / split, 1, split, 1, block};
}

/* Matrix units, forward, for many rows of which all is in one format of 16 bits and heads are whole quads; not on software
 * drivers. */
enum { MATRIX_HEAD_MAX = 128, MATRIX_BLOCK = 32, MATRIX_SUBGROUPS = 4 };
static const espl_shader *const matrix_shaders[ESPL_DTYPE_COUNT] = {
    [ESPL_DTYPE_F16] = ESPL_OPTIONAL_attention_coopmat_f16, [ESPL_DTYPE_BF16] = ESPL_OPTIONAL_attention_coopmat_bf16};

static uint32_t matrix_parts(espl_dtype dtype) {
    return dtype == ESPL_DTYPE_F16 ? 2 : 3;
}

/* As attention_coopmat.comp declares it. */
static uint32_t matrix_shared_bytes(const espl_matrix_shape *s, uint32_t head_size, uint32_t tile, uint32_t parts) {
    const uint32_t head_row = (uint32_t)espl_round_up(head_size, s->n > s->k ? s->n : s->k) / 4 + 2;
    return 8 * ((tile + MATRIX_BLOCK) * head_row + parts * tile * (MATRIX_BLOCK / 4 + 2) + tile * (MATRIX_BLOCK / 2 + 2));
}

/* The shape and the variant, as many subgroups as shared memory is for; NULL and the variant as it was: not this way. */
static const espl_matrix_shape *matrix_variant(const espl_device *device, const attribute *at, espl_tensor *const *in,
                                               const espl_tensor *o, variant *v) {
    const espl_capabilities *c = espl_device_capabilities(device);
    const espl_dtype dtype = o->dtype;
    if (c->cpu || !matrix_shaders[dtype] || at->head_size % 4 || at->head_size > MATRIX_HEAD_MAX) return NULL;
    for (uint32_t i = 0; i < 3; i++)
        if (in[i]->dtype != dtype) return NULL;
    const espl_matrix_shape *s = espl_device_matrix_shape(device, dtype, c->subgroup_size, MATRIX_BLOCK, MATRIX_BLOCK);
    const uint32_t split = s ? c->subgroup_size / s->m : 0;
    if (!s || MATRIX_BLOCK / 4 % split) return NULL;
    for (uint32_t tile = MATRIX_SUBGROUPS * s->m; tile >= s->m; tile /= 2) {
        if (tile * split > c->invocations_max || tile * split > c->local_size_max[0] ||
            matrix_shared_bytes(s, at->head_size, tile, matrix_parts(dtype)) > c->shared_bytes_max)
            continue;
        *v = (variant){tile, 1, split, 1, MATRIX_BLOCK};
        return s;
    }
    return NULL;
}

/* Fills the dispatch but for the other bindings. in: q, k, v, positions, lengths. rows: what lanes have, queries times
 * heads of a group, or keys. */
static espl_status prepare(espl_device *device, kernel_kind kind, const attribute *at, const attention_push *push,
                           espl_tensor *const *in, const espl_tensor *o, espl_dispatch *dispatch) {
    static const struct {
        const espl_shader *shader;
        uint32_t spec_count;
    } kernels[] = {{&espl_shader_attention, ATTENTION_SPEC_ACCUMULATE},
                   {&espl_shader_attention_bwd_q, ATTENTION_SPEC_WANTED + 1},
                   {&espl_shader_attention_bwd_kv, ATTENTION_SPEC_WANTED + 1}};
    const uint32_t group = at->heads / at->kv_heads, quads = (at->head_size + 3) / 4;
    const uint32_t rows = kind == BACKWARD_KV ? push->capacity : push->queries * group;
    const bool cpu = espl_device_capabilities(device)->cpu;
    variant v = cpu ? cpu_variant(kind, quads, rows) : gpu_variant(kind, at->head_size, rows);
    const espl_matrix_shape none = {0},
                            *shape = kind == FORWARD && rows > FEW_ROWS ? matrix_variant(device, at, in, o, &v) : NULL;
    const espl_shader *shader = shape ? matrix_shaders[o->dtype] : kernels[kind].shader;
    const uint32_t spec_count = shape ? SPEC_COUNT : kernels[kind].spec_count;
    if (!shape) shape = &none;
    const bool backward_q = kind == BACKWARD_Q;
    const uint32_t spec[SPEC_COUNT] = {
        [0] = v.row_lanes * v.dim_split * v.key_split,
        [1] = 1,
        [2] = 1,
        [ATTENTION_SPEC_HEAD] = at->head_size,
        [ATTENTION_SPEC_GROUP] = group,
        [ATTENTION_SPEC_ROW_LANES] = v.row_lanes,
        [ATTENTION_SPEC_LANE_ROWS] = v.lane_rows,
        [ATTENTION_SPEC_DIM_SPLIT] = v.dim_split,
        [ATTENTION_SPEC_KEY_SPLIT] = v.key_split,
        [ATTENTION_SPEC_BLOCK] = v.block,
        [ATTENTION_SPEC_CAUSAL] = at->causal,
        [ATTENTION_SPEC_POSITIONS] = in[3] != NULL,
        [ATTENTION_SPEC_LENGTHS] = in[4] != NULL,
        [ATTENTION_SPEC_Q_TYPE] = in[0]->dtype,
        [ATTENTION_SPEC_K_TYPE] = in[1]->dtype,
        [ATTENTION_SPEC_V_TYPE] = in[2]->dtype,
        [ATTENTION_SPEC_O_TYPE] = o->dtype,
        [ATTENTION_SPEC_DROPOUT] = at->dropout > 0,
        [ATTENTION_SPEC_ACCUMULATE] = backward_q ? (at->accumulate & ACCUMULATE_Q) != 0 : at->accumulate & 3,
        [ATTENTION_SPEC_WANTED] = backward_q ? (at->wanted & WANTED_Q) != 0 : at->wanted & 3,
        [ATTENTION_SPEC_MATRIX_M] = shape->m,
        [ATTENTION_SPEC_MATRIX_N] = shape->n,
        [ATTENTION_SPEC_MATRIX_K] = shape->k,
        [ATTENTION_SPEC_PARTS] = matrix_parts(o->dtype),
    };
    if (in[3]) dispatch->bind[ATTENTION_BIND_POSITIONS] = in[3]->span;
    if (in[4]) dispatch->bind[ATTENTION_BIND_LENGTHS] = in[4]->span;
    /* Half of it where causal, and keys may be missing: who recorded cannot know. Scores and values; back some more. */
    dispatch->operations = (kind == FORWARD ? 4.0 : kind == BACKWARD_Q ? 6.0 : 8.0) * at->batch * at->heads *
                           at->head_size * push->queries * push->capacity;
    dispatch->push = push;
    dispatch->push_bytes = sizeof *push;
    dispatch->groups[0] = espl_ceil_div(rows, v.row_lanes * v.lane_rows);
    dispatch->groups[1] = at->kv_heads;
    for (uint32_t i = 0; i < 2; i++)
        if (dispatch->groups[i] > GROUPS_MAX)
            return espl_fail(espl_device_context(device), ESPL_LIMIT, "attention: %u x %u workgroups of a sequence",
                             dispatch->groups[0], dispatch->groups[1]);
    return espl_device_kernel(device, shader, spec, spec_count, &dispatch->kernel);
}

/* Dispatches windows of the batch: parts[i] is bound at binding[i], as many of its rows as these sequences have. */
static espl_status dispatch_windows(espl_device *device, espl_commands *commands, uint32_t batch, attention_push *push,
                                    const espl_window_part *parts, const uint32_t *binding, size_t count,
                                    espl_dispatch *dispatch) {
    const double all_operations = dispatch->operations;
    uint32_t window;
    ESPL_TRY(espl_window_units(device, dispatch->label, batch, parts, count, &window));
    if (window > GROUPS_MAX) window = GROUPS_MAX / 64 * 64; /* of which any number of rows is a multiple of 256 bytes */
    for (push->first = 0; push->first < batch; push->first += dispatch->groups[2]) {
        dispatch->groups[2] = espl_window_count(push->first, batch, window);
        dispatch->operations = all_operations * dispatch->groups[2] / batch;
        for (size_t i = 0; i < count; i++)
            dispatch->bind[binding[i]] =
                espl_rows_span(parts[i].t, push->first * parts[i].rows, dispatch->groups[2] * parts[i].rows);
        ESPL_TRY(espl_commands_dispatch(commands, dispatch));
    }
    return ESPL_OK;
}

static attention_push push_of(const attribute *at, espl_tensor *const *qkv, const espl_tensor *o,
                              const espl_tensor *lse, const espl_tensor *mask) {
    return (attention_push){
        .queries = qkv[0]->rows / at->batch,
        .capacity = qkv[1]->rows / at->batch,
        .window = at->window,
        .q_from = at->q_from,
        .k_from = at->k_from,
        .v_from = at->v_from,
        .q_stride = qkv[0]->stride,
        .k_stride = qkv[1]->stride,
        .v_stride = qkv[2]->stride,
        .o_stride = o->stride,
        .lse_stride = lse->stride,
        .mask_stride = mask ? mask->stride : 0,
        .mask_words = espl_dropout_mask_words(qkv[1]->rows / at->batch),
        .scale = at->scale,
        .kept_scale = 1.0f / (1.0f - at->dropout),
    };
}

/* ---- Forward and backward ---- */

/* in: q, k, v, positions, lengths, step; out: o, lse, the mask of dropout. Without dropout the last of both are absent. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    espl_tensor *const *in = node->in, *o = node->out[0], *lse = node->out[1], *mask = node->out[2];
    espl_device *device = espl_graph_device(graph);
    attention_push push = push_of(&at, in, o, lse, mask);
    espl_dispatch dispatch = {.label = "attention", .bind_count = ATTENTION_BIND_COUNT};
    const espl_window_part parts[] = {
        {in[0], push.queries}, {in[1], push.capacity}, {in[2], push.capacity}, {mask, push.queries}, {o, push.queries},
        {lse, push.queries}};
    static const uint32_t binding[] = {ATTENTION_BIND_Q,    ATTENTION_BIND_K,   ATTENTION_BIND_V,
                                       ATTENTION_BIND_MASK, ATTENTION_BIND_OUT, ATTENTION_BIND_OUT_LSE};
    if (mask) ESPL_TRY(espl_record_dropout_mask(graph, commands, in[5], mask, at.dropout, at.dropout_site));
    ESPL_TRY(prepare(device, FORWARD, &at, &push, in, o, &dispatch));
    return dispatch_windows(device, commands, at.batch, &push, parts, binding, ESPL_COUNT(parts), &dispatch);
}

/* in: q, k, v, positions, lengths, o, lse, do, step; out: rowsum, dq, dk, dv, of which these three may be one tensor, mask. */
static espl_status record_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    const attribute at = attribute_of(node);
    espl_device *device = espl_graph_device(graph);
    espl_tensor *const *in = node->in, *rowsum = node->out[0];
    espl_tensor *dq = node->out[1], *dk = node->out[2], *dv = node->out[3], *mask = node->out[4];
    attention_push push = push_of(&at, in, in[5], in[6], mask);
    push.do_stride = in[7]->stride;
    push.rowsum_stride = rowsum->stride;
    if (dq) push.dq_from = at.q_from, push.dq_stride = dq->stride;
    if (dk) push.dk_from = at.k_from, push.dk_stride = dk->stride;
    if (dv) push.dv_from = at.v_from, push.dv_stride = dv->stride;
    const uint32_t queries = push.queries, capacity = push.capacity;
    espl_window_part parts[] = {{in[0], queries}, {in[1], capacity}, {in[2], capacity}, {in[6], queries},
                                {in[7], queries}, {rowsum, queries}, {in[5], queries},  {dq, queries},
                                {mask, queries}};
    static const uint32_t binding[] = {ATTENTION_BIND_Q,   ATTENTION_BIND_K,  ATTENTION_BIND_V,
                                       ATTENTION_BIND_LSE, ATTENTION_BIND_DO, ATTENTION_BIND_ROWSUM,
                                       ATTENTION_BIND_O,   ATTENTION_BIND_DQ, ATTENTION_BIND_MASK};
    if (mask) ESPL_TRY(espl_record_dropout_mask(graph, commands, in[8], mask, at.dropout, at.dropout_site));
    _Static_assert(ATTENTION_BIND_O == ATTENTION_BIND_DK && ATTENTION_BIND_DQ == ATTENTION_BIND_DV, "bindings");
    espl_dispatch dispatch = {.label = "attention_bwd_q", .bind_count = ATTENTION_BIND_BWD_COUNT};
    ESPL_TRY(prepare(device, BACKWARD_Q, &at, &push, in, in[5], &dispatch));
    ESPL_TRY(dispatch_windows(device, commands, at.batch, &push, parts, binding, ESPL_COUNT(parts), &dispatch));
    if (!dk && !dv) return ESPL_OK;
    dispatch.label = "attention_bwd_kv";
    parts[6] = (espl_window_part){dk, capacity};
    parts[7] = (espl_window_part){dv, capacity};
    ESPL_TRY(prepare(device, BACKWARD_KV, &at, &push, in, in[5], &dispatch));
    return dispatch_windows(device, commands, at.batch, &push, parts, binding, ESPL_COUNT(parts), &dispatch);
}

static const espl_op espl_op_attention_bwd = {.name = "attention_bwd", .record = record_bwd};

/* NULL without dropout. */
static espl_tensor *mask_of(espl_graph *graph, const attribute *at, espl_tensor *const *in) {
    return at->dropout > 0 ? espl_graph_dropout_mask(graph, in[0]->rows, at->heads, in[1]->rows / at->batch) : NULL;
}

/* A target that is added to is not an input as well: its memory lives from its first writer to its last reader, this
 * node is between, and there are only so many inputs. */
static espl_status vjp(espl_graph *graph, const espl_node *node) {
    attribute at = attribute_of(node);
    espl_tensor *const *in = node->in, *grad = espl_grad_of(node->out[0]);
    const uint32_t q_cols = at.heads * at.head_size, kv_cols = at.kv_heads * at.head_size;
    bool add_q = false, add_k = false, add_v = false;
    espl_tensor *out[] = {espl_graph_scratch(graph, "rowsum", node->out[1]->rows, node->out[1]->cols), NULL, NULL,
                          NULL, mask_of(graph, &at, in)};
    if (espl_grad_wanted(in[0])) out[1] = espl_grad_target(graph, in[0], at.q_from, q_cols, &add_q);
    if (espl_grad_wanted(in[1])) out[2] = espl_grad_target(graph, in[1], at.k_from, kv_cols, &add_k);
    if (espl_grad_wanted(in[2])) out[3] = espl_grad_target(graph, in[2], at.v_from, kv_cols, &add_v);
    if (espl_graph_status(graph) != ESPL_OK) return espl_graph_status(graph);
    at.accumulate = (uint32_t)add_k | (uint32_t)add_v << 1 | (add_q ? (uint32_t)ACCUMULATE_Q : 0);
    at.wanted = (uint32_t)(out[2] != NULL) | (uint32_t)(out[3] != NULL) << 1 | (out[1] ? (uint32_t)WANTED_Q : 0);
    espl_tensor *bwd_in[] = {in[0], in[1], in[2], in[3], in[4], node->out[0], node->out[1], grad, in[5]};
    return espl_graph_node(graph, &espl_op_attention_bwd, bwd_in, ESPL_COUNT(bwd_in), out, ESPL_COUNT(out), &at,
                           sizeof at);
}

const espl_op espl_op_attention = {.name = "attention", .record = record, .vjp = vjp};

/* ---- Builder ---- */

static espl_status check_part(espl_context *ctx, const char *name, const espl_tensor *t, uint32_t from, uint32_t heads,
                              const attribute *at) {
    if (!espl_dtype_is_float(t->dtype))
        return espl_fail(ctx, ESPL_ARGUMENT, "attention: %s is %s, it must be F32, F16 or BF16", name,
                         espl_dtype_name(t->dtype));
    if (from % 4 || from + (uint64_t)heads * at->head_size > t->cols)
        return espl_fail(ctx, ESPL_ARGUMENT,
                         "attention: %s takes %u heads of %u from column %u (a multiple of 4), a row has %u values",
                         name, heads, at->head_size, from, t->cols);
    if (t->rows % at->batch || (uint64_t)t->rows * t->stride > UINT32_MAX)
        return espl_fail(ctx, ESPL_ARGUMENT, "attention: %s has %u rows of %u for a batch of %u", name, t->rows,
                         t->stride, at->batch);
    return ESPL_OK;
}

static espl_status check_step(espl_context *ctx, const char *name, const espl_tensor *t, uint32_t batch) {
    if (t && (t->dtype != ESPL_DTYPE_I32 || t->rows != 1 || t->cols < batch))
        return espl_fail(ctx, ESPL_ARGUMENT, "attention: %s is %s [%u, %u], it must be I32 [1, %u]", name,
                         espl_dtype_name(t->dtype), t->rows, t->cols, batch);
    return ESPL_OK;
}

static espl_status check(espl_context *ctx, const espl_attention *args, const attribute *at) {
    if (at->head_size == 0 || at->head_size > HEAD_SIZE_MAX)
        return espl_fail(ctx, ESPL_ARGUMENT, "attention: heads of %u, between 1 and %u are possible", at->head_size,
                         (unsigned)HEAD_SIZE_MAX);
    if (at->batch == 0 || at->heads == 0 || at->heads % at->kv_heads)
        return espl_fail(ctx, ESPL_ARGUMENT, "attention: %u query heads over %u key heads, batch %u", at->heads,
                         at->kv_heads, at->batch);
    if (!(at->dropout >= 0 && at->dropout < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "attention: dropout is %g, must be in [0, 1)", (double)at->dropout);
    ESPL_TRY(check_part(ctx, "q", args->q, at->q_from, at->heads, at));
    ESPL_TRY(check_part(ctx, "k", args->k, at->k_from, at->kv_heads, at));
    ESPL_TRY(check_part(ctx, "v", args->v, at->v_from, at->kv_heads, at));
    if (args->k->rows != args->v->rows)
        return espl_fail(ctx, ESPL_ARGUMENT, "attention: k has %u rows, v has %u", args->k->rows, args->v->rows);
    ESPL_TRY(check_step(ctx, "positions", args->positions, at->batch));
    return check_step(ctx, "lengths", args->lengths, at->batch);
}

espl_tensor *espl_graph_attention(espl_graph *graph, const espl_attention *args) {
    if (!args->q || !args->k || !args->v || espl_graph_status(graph) != ESPL_OK) return NULL;
    const attribute at = {.q_from = args->q_from,
                          .k_from = args->k_from,
                          .v_from = args->v_from,
                          .batch = args->batch,
                          .heads = args->heads,
                          .kv_heads = args->kv_heads ? args->kv_heads : args->heads,
                          .head_size = args->head_size,
                          .window = args->window,
                          .causal = args->causal,
                          .dropout = args->dropout,
                          .dropout_site = args->dropout_site,
                          .scale = args->scale != 0.0f ? args->scale : 1.0f / sqrtf((float)args->head_size)};
    espl_status status = check(espl_device_context(espl_graph_device(graph)), args, &at);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    espl_tensor *in[] = {args->q, args->k, args->v, args->positions, args->lengths,
                         at.dropout > 0 ? espl_graph_step(graph) : NULL};
    const uint32_t cols = at.heads * at.head_size;
    /* Two heads of an odd size would share a 16-bit word. */
    espl_tensor *out[] = {at.head_size % 2 ? espl_graph_value(graph, "attention", args->q->rows, cols, ESPL_DTYPE_F32)
                                           : espl_graph_output(graph, "attention", args->q->rows, cols),
                          espl_graph_value(graph, "log sum exp", args->q->rows, at.heads, ESPL_DTYPE_F32), mask_of(graph, &at, in)};
    if (!out[0] || !out[1] ||
        espl_graph_node(graph, &espl_op_attention, in, ESPL_COUNT(in), out, ESPL_COUNT(out), &at, sizeof at) != ESPL_OK)
        return NULL;
    return out[0];
}
