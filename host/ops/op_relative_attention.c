/* One kernel forward; backward one for queries (and row sums), one for keys and values, one for the relative rows. Every
 * pair of query and key reads a relative row of its own, so lanes have one row each, or a part of one. */
#include "host/ops/op_relative_attention.h"
#include "host/ops/op_dropout.h"
#include "host/ops/window.h"
#include "shaders/relative_attention.h"
#include "shaders/shaders.h"
#include <math.h>
#include <string.h>

_Static_assert(sizeof(relative_push) <= ESPL_PUSH_BYTES_MAX, "push block");

enum { HEAD_SIZE_MAX = 256, GROUPS_MAX = 65535, SPEC_COUNT = RELATIVE_SPEC_WANTED + 1 };
enum { IN_Q, IN_KV, IN_RELATIVE, IN_BUCKETS, IN_LENGTHS, IN_STEP, IN_COUNT }; /* of both; STEP with dropout alone */
enum { IN_LSE = IN_COUNT, IN_DO, IN_BWD_COUNT };                              /* backward also */
enum { Q, K, V, RQ, RK, PARTS };                                             /* bits of wanted and accumulate */

typedef struct attribute {
    uint32_t q_from, k_from, v_from, rq_from, rk_from, batch, heads, head_size;
    float scale, dropout;
    uint32_t dropout_site;
    uint32_t wanted, accumulate;
} attribute;

static attribute attribute_of(const espl_node *node) {
    attribute at;
    memcpy(&at, node->attribute, sizeof at);
    return at;
}

/* Sequences [first, first + count) of a node. */
typedef struct sequences {
    attribute at;
    espl_tensor *const *in;
    const espl_tensor *o, *lse, *mask; /* o: forward; mask: with dropout */
    uint32_t first, count;
} sequences;

/* Of a tensor with rows for each sequence. */
static espl_span span_of(const sequences *s, const espl_tensor *t) {
    const uint32_t rows = t ? t->rows / s->at.batch : 0;
    return espl_rows_span(t, s->first * rows, s->count * rows);
}

static relative_push push_of(const sequences *s) {
    const attribute *at = &s->at;
    const espl_tensor *const o = s->o, *const lse = s->lse;
    espl_tensor *const *in = s->in;
    return (relative_push){.first = s->first,
                           .batch = s->count,
                           .tokens = in[IN_Q]->rows / at->batch,
                           .keys = in[IN_KV]->rows / at->batch,
                           .rows = in[IN_RELATIVE]->rows,
                           .zero = in[IN_BUCKETS]->cols / 2,
                           .q_from = at->q_from,
                           .q_stride = in[IN_Q]->stride,
                           .k_from = at->k_from,
                           .v_from = at->v_from,
                           .kv_stride = in[IN_KV]->stride,
                           .rq_from = at->rq_from,
                           .rk_from = at->rk_from,
                           .r_stride = in[IN_RELATIVE]->stride,
                           .o_stride = o ? o->stride : 0,
                           .lse_stride = lse->stride,
                           .mask_stride = s->mask ? s->mask->stride : 0,
                           .mask_words = espl_dropout_mask_words(in[IN_KV]->rows / at->batch),
                           .scale = at->scale,
                           .kept_scale = 1.0f / (1.0f - at->dropout)};
}

/* Lanes of a workgroup, powers of two, and quads of a head that one may have, forward and backward. On GPUs registers are
 * short: all kept values in memory with heads of 64, Honeykrisp of Mesa 26.1 also with 4 quads backward (tests/drivers). A
 * software driver's lanes sum up over shared memory slowly. */
typedef struct tile {
    uint32_t lanes, quads[2];
} tile;

static const tile cpu_tile = {8, {HEAD_SIZE_MAX / 4, HEAD_SIZE_MAX / 4}}, gpu_tile = {64, {4, 2}};

/* accumulate: of the parts that the kernel writes, in their order. */
static espl_status dispatch_one(espl_graph *graph, espl_commands *commands, const espl_shader *shader, const sequences *s,
                                const relative_push *push, uint32_t accumulate, espl_dispatch *dispatch) {
    const attribute *at = &s->at;
    espl_tensor *const *in = s->in;
    espl_device *device = espl_graph_device(graph);
    const bool backward = dispatch->bind_count == RELATIVE_BIND_BWD_COUNT;
    const tile *tile = espl_device_capabilities(device)->cpu ? &cpu_tile : &gpu_tile;
    uint32_t split = 1;
    while (espl_ceil_div(at->head_size / 4, split) > tile->quads[backward])
        split *= 2;
    const uint32_t row_lanes = tile->lanes / split;
    const uint32_t spec[SPEC_COUNT] = {[0] = tile->lanes,
                                       [1] = 1,
                                       [2] = 1,
                                       [RELATIVE_SPEC_HEAD] = at->head_size,
                                       [RELATIVE_SPEC_ROW_LANES] = row_lanes,
                                       [RELATIVE_SPEC_DIM_SPLIT] = split,
                                       [RELATIVE_SPEC_LENGTHS] = in[IN_LENGTHS] != NULL,
                                       [RELATIVE_SPEC_BEFORE] = push->keys > push->tokens,
                                       [RELATIVE_SPEC_X_TYPE] = in[IN_Q]->dtype,
                                       [RELATIVE_SPEC_R_TYPE] = in[IN_RELATIVE]->dtype,
                                       [RELATIVE_SPEC_O_TYPE] = s->o ? s->o->dtype : 0,
                                       [RELATIVE_SPEC_DROPOUT] = s->mask != NULL,
                                       [RELATIVE_SPEC_ACCUMULATE] = accumulate,
                                       [RELATIVE_SPEC_WANTED] = at->wanted >> Q & 1};
    dispatch->label = shader->name;
    dispatch->push = push;
    dispatch->push_bytes = sizeof *push;
    dispatch->bind[RELATIVE_BIND_Q] = span_of(s, in[IN_Q]);
    dispatch->bind[RELATIVE_BIND_KV] = span_of(s, in[IN_KV]);
    dispatch->bind[RELATIVE_BIND_LSE] = span_of(s, s->lse);
    dispatch->bind[RELATIVE_BIND_MASK] = span_of(s, s->mask);
    dispatch->bind[RELATIVE_BIND_RELATIVE] = in[IN_RELATIVE]->span;
    dispatch->bind[RELATIVE_BIND_BUCKETS] = in[IN_BUCKETS]->span;
    if (in[IN_LENGTHS]) dispatch->bind[RELATIVE_BIND_LENGTHS] = in[IN_LENGTHS]->span;
    /* Scores of three products, and one or two sums over them. */
    dispatch->operations = (backward ? 12.0 : 8.0) * s->count * push->tokens * push->keys * at->heads * at->head_size;
    const bool of_relative = shader == &espl_shader_relative_attention_bwd_r;
    const bool of_keys = shader == &espl_shader_relative_attention_bwd_kv;
    dispatch->groups[0] = of_relative ? push->rows : espl_ceil_div(of_keys ? push->keys : push->tokens, row_lanes);
    dispatch->groups[1] = at->heads;
    dispatch->groups[2] = of_relative ? 1 : s->count;
    ESPL_TRY(espl_device_kernel(device, shader, spec, backward ? SPEC_COUNT : RELATIVE_SPEC_ACCUMULATE, &dispatch->kernel));
    return espl_commands_dispatch(commands, dispatch);
}

static espl_status record_mask(espl_graph *graph, espl_commands *commands, const sequences *s) {
    if (!s->mask) return ESPL_OK;
    return espl_record_dropout_mask(graph, commands, s->in[IN_STEP], s->mask, s->at.dropout, s->at.dropout_site);
}

/* out: o, lse, mask; the last may be absent. */
static espl_status record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    sequences s = {.at = attribute_of(node), .in = node->in, .o = node->out[0], .lse = node->out[1],
                   .mask = node->out[2]};
    const uint32_t batch = s.at.batch, tokens = s.in[IN_Q]->rows / batch, keys = s.in[IN_KV]->rows / batch;
    const espl_window_part parts[] = {{s.in[IN_Q], tokens}, {s.in[IN_KV], keys}, {s.o, tokens}, {s.lse, tokens}, {s.mask, tokens}};
    uint32_t window;
    ESPL_TRY(espl_window_units(espl_graph_device(graph), node->op->name, batch, parts, ESPL_COUNT(parts), &window));
    ESPL_TRY(record_mask(graph, commands, &s));
    for (; s.first < batch; s.first += s.count) {
        s.count = espl_window_count(s.first, batch, window);
        const relative_push push = push_of(&s);
        espl_dispatch dispatch = {.bind = {[RELATIVE_BIND_O] = span_of(&s, s.o)}, .bind_count = RELATIVE_BIND_COUNT};
        ESPL_TRY(dispatch_one(graph, commands, &espl_shader_relative_attention, &s, &push, 0, &dispatch));
    }
    return ESPL_OK;
}

static espl_status record_bwd_window(espl_graph *graph, espl_commands *commands, const espl_node *node, const sequences *s) {
    const espl_tensor *d_o = node->in[IN_DO], *rowsum = node->out[0], *dq = node->out[1], *dkv = node->out[2], *dr = node->out[3];
    relative_push push = push_of(s);
    push.do_stride = d_o->stride;
    push.rowsum_stride = rowsum->stride;
    push.grad_stride = dq ? dq->stride : 0;
    espl_dispatch dispatch = {.bind = {[RELATIVE_BIND_DO] = span_of(s, d_o),
                                       [RELATIVE_BIND_ROWSUM] = span_of(s, rowsum),
                                       [RELATIVE_BIND_GRAD] = span_of(s, dq)},
                              .bind_count = RELATIVE_BIND_BWD_COUNT};
    ESPL_TRY(dispatch_one(graph, commands, &espl_shader_relative_attention_bwd_q, s, &push, s->at.accumulate >> Q & 1,
                          &dispatch));
    if (dkv) {
        push.grad_stride = dkv->stride;
        dispatch.bind[RELATIVE_BIND_GRAD] = span_of(s, dkv);
        ESPL_TRY(dispatch_one(graph, commands, &espl_shader_relative_attention_bwd_kv, s, &push, s->at.accumulate >> K & 3,
                              &dispatch));
    }
    if (!dr) return ESPL_OK;
    push.grad_stride = dr->stride;
    dispatch.bind[RELATIVE_BIND_GRAD] = dr->span;
    return dispatch_one(graph, commands, &espl_shader_relative_attention_bwd_r, s, &push,
                        s->first ? 3 : s->at.accumulate >> RQ & 3, &dispatch);
}

/* out: rowsum, dq, dkv, drelative, mask; all but the first may be absent. */
static espl_status record_bwd(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    sequences s = {.at = attribute_of(node), .in = node->in, .lse = node->in[IN_LSE], .mask = node->out[4]};
    const uint32_t batch = s.at.batch, tokens = s.in[IN_Q]->rows / batch, keys = s.in[IN_KV]->rows / batch;
    const espl_window_part parts[] = {{s.in[IN_Q], tokens},        {s.in[IN_KV], keys},    {s.lse, tokens},
                                      {node->in[IN_DO], tokens}, {node->out[0], tokens}, {node->out[1], tokens},
                                      {node->out[2], keys},      {s.mask, tokens}};
    uint32_t window;
    ESPL_TRY(espl_window_units(espl_graph_device(graph), node->op->name, batch, parts, ESPL_COUNT(parts), &window));
    ESPL_TRY(record_mask(graph, commands, &s));
    for (; s.first < batch; s.first += s.count) {
        s.count = espl_window_count(s.first, batch, window);
        ESPL_TRY(record_bwd_window(graph, commands, node, &s));
    }
    return ESPL_OK;
}

static const espl_op espl_op_relative_attention_bwd = {.name = "relative_attention_bwd", .record = record_bwd};

/* NULL without dropout. */
static espl_tensor *mask_of(espl_graph *graph, const attribute *at, const espl_tensor *q, const espl_tensor *kv) {
    return at->dropout > 0 ? espl_graph_dropout_mask(graph, q->rows, at->heads, kv->rows / at->batch) : NULL;
}

static espl_status vjp(espl_graph *graph, const espl_node *node) {
    attribute at = attribute_of(node);
    espl_tensor *q = node->in[IN_Q], *kv = node->in[IN_KV], *relative = node->in[IN_RELATIVE];
    espl_tensor *const input[PARTS] = {q, kv, kv, relative, relative};
    espl_tensor *target[PARTS] = {NULL};
    const uint32_t cols = at.heads * at.head_size, from[PARTS] = {at.q_from, at.k_from, at.v_from, at.rq_from, at.rk_from};
    espl_tensor *rowsum = espl_graph_scratch(graph, "rowsum", node->out[1]->rows, node->out[1]->cols);
    at.wanted = at.accumulate = 0;
    for (uint32_t part = 0; part < PARTS; part++) {
        bool accumulate;
        if (!espl_grad_wanted(input[part])) continue;
        target[part] = espl_grad_target(graph, input[part], from[part], cols, &accumulate);
        at.wanted |= 1u << part;
        at.accumulate |= (uint32_t)accumulate << part;
    }
    if (espl_graph_status(graph) != ESPL_OK) return espl_graph_status(graph);
    espl_tensor *in[IN_BWD_COUNT] = {q, kv, relative, node->in[IN_BUCKETS], node->in[IN_LENGTHS], node->in[IN_STEP],
                                     node->out[1], espl_grad_of(node->out[0])};
    espl_tensor *out[] = {rowsum, target[Q], target[V], target[RK], mask_of(graph, &at, q, kv)};
    return espl_graph_node(graph, &espl_op_relative_attention_bwd, in, IN_BWD_COUNT, out, ESPL_COUNT(out), &at, sizeof at);
}

const espl_op espl_op_relative_attention = {.name = "relative_attention", .record = record, .vjp = vjp};

/* ---- Builder ---- */

static espl_status check(espl_context *ctx, const espl_relative_attention *args) {
    const espl_tensor *q = args->q, *kv = args->kv, *r = args->relative, *buckets = args->buckets, *lengths = args->lengths;
    const uint64_t cols = (uint64_t)args->heads * args->head_size;
    if (args->head_size == 0 || args->head_size > HEAD_SIZE_MAX || args->head_size % 4)
        return espl_fail(ctx, ESPL_ARGUMENT, "relative_attention: heads of %u, multiples of 4 up to %u are possible",
                         args->head_size, (unsigned)HEAD_SIZE_MAX);
    if (!espl_dtype_is_float(q->dtype) || kv->dtype != q->dtype || !espl_dtype_is_float(r->dtype) || args->batch == 0 ||
        q->rows % args->batch || kv->rows % args->batch || kv->rows < q->rows)
        return espl_fail(ctx, ESPL_ARGUMENT, "relative_attention: q is %u x %u %s, kv %u x %u %s, relative %u x %u %s, for %u "
                         "sequences", q->rows, q->cols, espl_dtype_name(q->dtype), kv->rows, kv->cols,
                         espl_dtype_name(kv->dtype), r->rows, r->cols, espl_dtype_name(r->dtype), args->batch);
    if ((args->q_from | args->k_from | args->v_from | args->rq_from | args->rk_from) % 4 || args->q_from + cols > q->cols ||
        args->k_from + cols > kv->cols || args->v_from + cols > kv->cols || args->rq_from + cols > r->cols ||
        args->rk_from + cols > r->cols)
        return espl_fail(ctx, ESPL_ARGUMENT, "relative_attention: %u heads of %u from column %u of q with %u, %u and %u of kv "
                         "with %u, %u and %u of relative with %u (multiples of 4)", args->heads, args->head_size, args->q_from, q->cols,
                         args->k_from, args->v_from, kv->cols, args->rq_from, args->rk_from, r->cols);
    if (buckets->dtype != ESPL_DTYPE_F32 || buckets->rows != 1 || buckets->cols % 2 == 0 ||
        buckets->cols / 2 + 1 < q->rows / args->batch)
        return espl_fail(ctx, ESPL_ARGUMENT, "relative_attention: %u x %u buckets of %s for sequences of %u", buckets->rows,
                         buckets->cols, espl_dtype_name(buckets->dtype), q->rows / args->batch);
    if (!(args->dropout >= 0 && args->dropout < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "relative_attention: dropout is %g, must be in [0, 1)", (double)args->dropout);
    if (lengths && (lengths->dtype != ESPL_DTYPE_I32 || lengths->rows != 1 || lengths->cols != args->batch))
        return espl_fail(ctx, ESPL_ARGUMENT, "relative_attention: lengths are %u x %u %s, must be one row of %u I32",
                         lengths->rows, lengths->cols, espl_dtype_name(lengths->dtype), args->batch);
    if (args->heads > GROUPS_MAX || args->batch > GROUPS_MAX || r->rows > GROUPS_MAX ||
        (uint64_t)q->rows * q->stride > UINT32_MAX || (uint64_t)kv->rows * kv->stride > UINT32_MAX)
        return espl_fail(ctx, ESPL_LIMIT, "relative_attention: %u heads, %u sequences, %u relative rows, q of %u rows of %u, kv of "
                         "%u rows of %u", args->heads, args->batch, r->rows, q->rows, q->stride, kv->rows, kv->stride);
    return ESPL_OK;
}

espl_tensor *espl_graph_relative_attention(espl_graph *graph, const espl_relative_attention *args) {
    if (!args->q || !args->kv || !args->relative || !args->buckets || espl_graph_status(graph) != ESPL_OK) return NULL;
    espl_status status = check(espl_device_context(espl_graph_device(graph)), args);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    const attribute at = {.q_from = args->q_from,
                          .k_from = args->k_from,
                          .v_from = args->v_from,
                          .rq_from = args->rq_from,
                          .rk_from = args->rk_from,
                          .batch = args->batch,
                          .heads = args->heads,
                          .head_size = args->head_size,
                          .dropout = args->dropout,
                          .dropout_site = args->dropout_site,
                          .scale = args->scale != 0.0f ? args->scale : 1.0f / sqrtf((float)args->head_size)};
    espl_tensor *in[IN_COUNT] = {args->q, args->kv, args->relative, args->buckets, args->lengths,
                                 at.dropout > 0 ? espl_graph_step(graph) : NULL};
    espl_tensor *out[] = {espl_graph_output(graph, "attention", args->q->rows, at.heads * at.head_size),
                          espl_graph_value(graph, "lse", args->q->rows, at.heads, ESPL_DTYPE_F32),
                          mask_of(graph, &at, args->q, args->kv)};
    if (!out[0] || !out[1] ||
        espl_graph_node(graph, &espl_op_relative_attention, in, IN_COUNT, out, ESPL_COUNT(out), &at, sizeof at) != ESPL_OK)
        return NULL;
    return out[0];
}
