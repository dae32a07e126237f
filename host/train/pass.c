#include "host/train/pass.h"
#include "host/model/composition.h"
#include "host/ops/op_adamw.h"
#include "host/ops/op_cross_entropy.h"
#include "host/ops/op_fill.h"
#include "host/ops/op_grad_norm.h"
#include "host/ops/op_group_cross_entropy.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_mse.h"
#include "host/ops/op_sum.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- Optimiser state ---- */

espl_status espl_optimiser_init(espl_optimiser *optimiser, espl_store *store) {
    *optimiser = (espl_optimiser){.store = store};
    espl_arena_init(&optimiser->arena, store->device, ESPL_ARENA_STATE, "optimiser");
    espl_span *const spans[] = {&optimiser->gradients, &optimiser->m, &optimiser->v, &optimiser->stats};
    espl_status status = espl_arena_reserve(&optimiser->arena, 3 * store->flat.bytes + 4096);
    for (size_t i = 0; status == ESPL_OK && i < ESPL_COUNT(spans); i++) {
        const uint64_t bytes = i < 3 ? store->flat.bytes : ESPL_STATS_WORDS * 4;
        status = espl_arena_take(&optimiser->arena, bytes, spans[i]);
        if (status != ESPL_OK) break;
        spans[i]->bytes = bytes;
        status = espl_clear(store->device, *spans[i]);
    }
    if (status == ESPL_DEVICE_MEMORY)
        espl_fail_in(store->ctx, status, "gradients and moments of %" PRIu64 " parameters (an adapter, or a smaller rank, "
                     "has fewer)", store->flat_count);
    if (status != ESPL_OK) espl_optimiser_finish(optimiser);
    return status;
}

void espl_optimiser_finish(espl_optimiser *optimiser) {
    espl_arena_finish(&optimiser->arena);
    *optimiser = (espl_optimiser){0};
}

espl_status espl_optimiser_stats(espl_optimiser *optimiser, float out_stats[ESPL_STATS_WORDS]) {
    return espl_download(optimiser->store->device, optimiser->stats, out_stats, ESPL_STATS_WORDS * sizeof(float));
}

/* ---- Recording ---- */

_Static_assert((int)ESPL_TRAINED_MAX <= (int)ESPL_GRAD_NORM_TENSORS, "one norm is over all gradients");

static espl_tensor *flat_leaf(espl_graph *graph, const char *name, espl_span span, uint64_t from, uint64_t count) {
    return espl_graph_leaf(graph, ESPL_ROLE_STATE, name, 1, (uint32_t)count, 0, ESPL_DTYPE_F32,
                           espl_span_part(span, from * 4, espl_round_up(count, 4) * 4));
}

/* The values of a store from `from` on that one AdamW takes: the same decay and rate. */
static uint64_t group_end(const espl_store *store, uint64_t from, const espl_matrix **out_leader) {
    uint64_t end = store->flat_count;
    for (size_t i = 0; i < store->matrix_count; i++) {
        if (!store->matrices[i].frozen && store->matrices[i].flat == from) *out_leader = &store->matrices[i];
    }
    for (size_t i = 0; i < store->matrix_count; i++) {
        const espl_matrix *m = &store->matrices[i];
        const bool other = m->decay != (*out_leader)->decay || m->rate != (*out_leader)->rate;
        if (!m->frozen && m->flat > from && m->flat < end && other) end = m->flat;
    }
    return end;
}

/* A bias vector of q, k and v together, of which an adapter trains only q's part: the rest has no gradient, and is put back
 * after the step because weight decay would move it. A vector of the adapter's own has gaps likewise; they are 0. */
typedef struct held {
    espl_span from, to;
} held;

static espl_status record_hold(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    held h;
    (void)graph;
    memcpy(&h, node->attribute, sizeof h);
    return espl_commands_copy(commands, h.from, h.to);
}

static const espl_op op_hold = {.name = "hold", .record = record_hold};

static bool is_entered(const espl_store *store, uint32_t matrix, uint32_t column, uint32_t *out_end) {
    *out_end = store->matrices[matrix].cols;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        if (e->matrix != matrix) continue;
        if (!e->vector) return true; /* a matrix that has one row */
        if (e->from <= column && column < e->from + e->count) {
            *out_end = e->from + e->count;
            return true;
        }
        if (e->from > column && e->from < *out_end) *out_end = e->from;
    }
    return false;
}

/* The base's matrix that one of the adapter's stands for, or ESPL_NO_MATRIX. */
static uint32_t replaced(const espl_adapter *adapter, uint32_t matrix) {
    for (uint32_t base = 0; base < adapter->replacement_count; base++) {
        if (adapter->replacement[base] == matrix) return base;
    }
    return ESPL_NO_MATRIX;
}

/* after: restore values; else clear gradients. */
static void hold(espl_graph *graph, const espl_model *model, const espl_optimiser *o, bool after) {
    const espl_adapter *adapter = model->adapters;
    while (adapter && &adapter->store != o->store) adapter = adapter->next;
    for (uint32_t mine = 0; adapter && mine < o->store->matrix_count; mine++) {
        const espl_matrix *m = &o->store->matrices[mine];
        const uint32_t base = replaced(adapter, mine);
        if (m->rows != 1 || m->frozen || (after && base == ESPL_NO_MATRIX)) continue;
        for (uint32_t column = 0, end; column < m->cols; column = end) {
            if (is_entered(o->store, mine, column, &end)) continue;
            const uint64_t from = column * 4ull, bytes = (end - column) * 4ull;
            espl_tensor *leaf = flat_leaf(graph, m->label, after ? o->store->flat : o->gradients, m->flat, m->stride);
            if (!after) {
                espl_graph_fill(graph, &(espl_fill){.t = leaf, .from = column, .count = end - column});
                continue;
            }
            espl_tensor *updated = espl_graph_update(graph, leaf);
            const held h = {espl_span_part(model->store.matrices[base].span, from, bytes),
                            espl_span_part(m->span, from, bytes)};
            espl_graph_node(graph, &op_hold, &leaf, 1, &updated, 1, &h, sizeof h);
        }
    }
}

static void add_adamw(espl_graph *graph, const espl_optimiser *o, bool decay_all, espl_tensor *stats) {
    const uint64_t all = o->store->flat_count;
    for (uint64_t from = 0, end; from < all; from = end) {
        const espl_matrix *leader = NULL;
        end = group_end(o->store, from, &leader);
        espl_graph_adamw(graph, &(espl_adamw){.p = flat_leaf(graph, "parameters", o->store->flat, from, end - from),
                                              .gradient = flat_leaf(graph, "gradients", o->gradients, from, end - from),
                                              .m = flat_leaf(graph, "exp_avg", o->m, from, end - from),
                                              .v = flat_leaf(graph, "exp_avg_sq", o->v, from, end - from),
                                              .stats = stats,
                                              .rate = leader->rate,
                                              .decay = leader->decay || decay_all});
    }
}

static espl_status add_optimisers(espl_builder *builder, const espl_pass_params *params, espl_tensor *stats) {
    espl_graph *graph = builder->graph;
    const espl_optimiser *o = params->optimisers;
    espl_grad_norm norm = {.stats = stats};
    espl_graph_layer(graph, "optimiser", ESPL_PHASE_END, false);
    ESPL_TRY(espl_build_update(builder, ESPL_UPDATE_BEFORE));
    for (uint32_t i = 0; i < params->optimiser_count; i++) {
        hold(graph, builder->model, &o[i], false);
        norm.gradients[i] = flat_leaf(graph, "gradients", o[i].gradients, 0, o[i].store->flat_count);
    }
    espl_graph_grad_norm(graph, &norm);
    for (uint32_t i = 0; i < params->optimiser_count; i++) {
        add_adamw(graph, &o[i], params->decay_all, stats);
        hold(graph, builder->model, &o[i], true);
    }
    return espl_build_update(builder, ESPL_UPDATE_AFTER);
}

/* What the host writes before each micro-batch. */
static void add_inputs(espl_pass *pass, const espl_model *model, const espl_pass_params *params) {
    espl_graph *graph = pass->graph;
    const uint32_t tokens = params->batch * params->tokens, copies = pass->replicas;
    const uint32_t labels = params->batch / espl_head_choices(model) * espl_head_row_labels(model, params->tokens);
    pass->ids = espl_graph_step_leaf(graph, "ids", 1, tokens, ESPL_DTYPE_I32);
    if (params->embeddings)
        pass->embeddings = espl_graph_step_leaf(graph, "embeddings", tokens, model->config.embedding, ESPL_DTYPE_F32);
    pass->labels = espl_graph_step_leaf(graph, "labels", 1, copies * labels, ESPL_DTYPE_I32);
    if (model->config.types) pass->types = espl_graph_step_leaf(graph, "types", 1, tokens, ESPL_DTYPE_I32);
    if (espl_head_needs_lengths(model))
        pass->lengths = espl_graph_step_leaf(graph, "lengths", 1, params->batch, ESPL_DTYPE_I32);
    if (model->task.kind == ESPL_HEAD_REGRESSION)
        pass->values = espl_graph_step_leaf(graph, "values", 1, copies * params->batch * model->task.labels, ESPL_DTYPE_F32);
}

/* NULL: the head has none. */
static espl_tensor *add_loss(const espl_pass *pass, const espl_model *model, const espl_output *output) {
    espl_graph *graph = pass->graph;
    if (pass->values)
        return espl_graph_mse(graph, &(espl_mse){.x = pass->logits, .targets = pass->values, .labels = pass->labels});
    if (espl_head_loss_of_outputs(model) && pass->logits)
        return espl_graph_group_cross_entropy(graph, &(espl_group_cross_entropy){.x = pass->logits, .labels = pass->labels,
                                                                                 .groups = pass->labels->cols / pass->logits->cols});
    if (!output->weight) return NULL;
    return espl_graph_cross_entropy(graph, &(espl_cross_entropy){.h = output->input, .w = output->weight, .bias = output->bias,
                                                                 .labels = pass->labels});
}

static espl_status build(espl_pass *pass, espl_model *model, const espl_pass_params *params) {
    espl_graph *graph = pass->graph;
    const espl_optimiser *o = params->optimiser_count ? params->optimisers : NULL;
    add_inputs(pass, model, params);
    espl_tensor *stats = NULL;
    if (o) {
        stats = flat_leaf(graph, "statistics", o->stats, 0, ESPL_STATS_WORDS);
        espl_graph_layer(graph, "zero gradients", ESPL_PHASE_BEGIN, false);
        for (uint32_t i = 0; i < params->optimiser_count; i++)
            espl_graph_fill(graph, &(espl_fill){.t = flat_leaf(graph, "gradients", o[i].gradients, 0, o[i].store->flat_count)});
        /* Counters of steps stay. */
        espl_graph_fill(graph, &(espl_fill){.t = flat_leaf(graph, "loss", o->stats, 0, ESPL_STATS_STEPS)});
    }
    espl_builder builder = {.model = model,
                            .graph = graph,
                            .batch = params->batch,
                            .tokens = params->tokens,
                            .training = params->dropout,
                            .recompute = params->recompute,
                            .ids = pass->ids,
                            .embeddings = pass->embeddings,
                            .types = pass->types,
                            .lengths = pass->lengths,
                            .scores = params->keep_scores ? &pass->scores : NULL,
                            .trained_count = params->optimiser_count};
    for (uint32_t i = 0; i < params->optimiser_count; i++) builder.trained[i] = (espl_trained){o[i].store, o[i].gradients};
    const espl_output output = espl_build_output(&builder, espl_build_hidden(&builder));
    if (params->keep_logits || espl_head_loss_of_outputs(model) || !output.weight) {
        pass->logits = output.input;
        if (output.weight)
            pass->logits = espl_graph_matmul(graph, &(espl_matmul){.a = output.input, .b = output.weight,
                                                                   .bias = output.bias, .orientation = MATMUL_NT});
        if (pass->logits && params->keep_logits) pass->logits->keep = true;
    }
    espl_tensor *losses = add_loss(pass, model, &output);
    ESPL_TRY(espl_graph_status(graph));
    if (losses) pass->losses = espl_graph_to_host(graph, losses);
    if (!losses && o)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "the model has no head: there is no loss to train on");
    if (o) {
        espl_graph_sum(graph, &(espl_sum){.x = losses, .stats = stats, .word = ESPL_STATS_LOSS,
                                          .factor_word = ESPL_STEP_LOSS_SCALE});
        ESPL_TRY(espl_graph_backward(graph, losses));
        ESPL_TRY(add_optimisers(&builder, params, stats));
        pass->stats = espl_graph_to_host(graph, stats);
    }
    espl_graph_cut(graph, params->piece_ms);
    espl_graph_share(graph, params->shared);
    ESPL_TRY(espl_graph_plan(graph));
    pass->step = espl_graph_step_pointer(graph, espl_graph_step(graph));
    pass->inputs = builder.inputs;
    pass->info = (espl_step_info){.batch = params->batch, .tokens = params->tokens, .training = params->dropout};
    return ESPL_OK;
}

espl_status espl_pass_init(espl_pass *pass, espl_model *model, const espl_pass_params *params) {
    const uint32_t choices = espl_head_choices(model);
    *pass = (espl_pass){.per_token = espl_head_per_token(model),
                        .replicas = espl_composition_replicas(model->composition),
                        .row_labels = espl_head_row_labels(model, 0),
                        .choices = choices};
    if (params->batch == 0 || params->tokens == 0 || (uint64_t)params->batch * params->tokens > 1u << 24)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "a batch of %u rows of %u tokens is not possible", params->batch,
                         params->tokens);
    if (params->batch % choices)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "a batch of %u rows is not of whole questions, which have %u choices", params->batch,
                         choices);
    if (params->tokens > model->config.context_max)
        return espl_fail(model->ctx, ESPL_LIMIT, "%u tokens are beyond the model's context of %u", params->tokens,
                         model->config.context_max);
    ESPL_TRY(espl_graph_create(model->device, params->optimiser_count ? "training pass" : "evaluation pass", &pass->graph));
    espl_status status = build(pass, model, params);
    if (status == ESPL_DEVICE_MEMORY)
        espl_fail_in(model->ctx, status, "%u rows of %u tokens (fewer of either need less%s)", params->batch, params->tokens,
                     params->optimiser_count && !params->recompute ? ", so does recompute" : "");
    if (status != ESPL_OK) espl_pass_finish(pass);
    return status;
}

void espl_pass_finish(espl_pass *pass) {
    if (pass->graph) espl_scores_finish(espl_device_context(espl_graph_device(pass->graph)), &pass->scores);
    espl_graph_destroy(&pass->graph);
    *pass = (espl_pass){0};
}

/* ---- Running ---- */

void espl_pass_set(espl_pass *pass, uint32_t word, float value) {
    memcpy(&pass->step[word], &value, sizeof value);
}

/* The first `count` of every `stride` values, as many times as there are copies. from NULL: every value is `otherwise`. */
static void write_input(espl_pass *pass, const espl_tensor *t, const void *from, uint32_t count, uint32_t stride, uint32_t copies,
                        int32_t otherwise) {
    if (!t) return;
    const uint32_t rows = t->cols / count / copies;
    int32_t *to = espl_graph_step_pointer(pass->graph, t);
    for (uint32_t i = 0; !from && i < t->cols; i++) to[i] = otherwise;
    for (uint32_t i = 0; from && i < copies * rows; i++)
        memcpy(to + (size_t)i * count, (const int32_t *)from + (size_t)(i % rows) * stride, count * sizeof *to);
}

/* The first tokens of every `stride`, and the numbers of the rows that they are. */
static void write_embeddings(espl_pass *pass, const float *from, uint32_t stride) {
    const espl_tensor *t = pass->embeddings;
    const uint32_t tokens = pass->info.tokens;
    int32_t *ids = espl_graph_step_pointer(pass->graph, pass->ids);
    float *to = espl_graph_step_pointer(pass->graph, t);
    for (uint32_t i = 0; i < t->rows; i++) {
        const size_t row = (size_t)(i / tokens) * stride + i % tokens;
        memcpy(to + (size_t)i * t->stride, from + row * t->cols, t->cols * sizeof *to);
        ids[i] = (int32_t)i;
    }
}

espl_status espl_pass_write(espl_pass *pass, const espl_batch *batch) {
    const uint32_t tokens = pass->info.tokens, stride = batch->tokens ? batch->tokens : tokens;
    if (pass->embeddings) write_embeddings(pass, batch->embeddings, stride);
    else write_input(pass, pass->ids, batch->ids, tokens, stride, 1, 0);
    write_input(pass, pass->types, batch->types, tokens, stride, 1, 0);
    write_input(pass, pass->lengths, batch->lengths, 1, 1, 1, (int32_t)tokens);
    write_input(pass, pass->labels, batch->labels, pass->row_labels ? pass->row_labels : tokens,
                pass->choices * (pass->row_labels ? pass->row_labels : stride), pass->replicas, -1);
    write_input(pass, pass->values, batch->values, 1, 1, pass->replicas, 0);
    pass->info.ids = pass->embeddings ? NULL : espl_graph_step_pointer(pass->graph, pass->ids);
    pass->info.lengths = batch->lengths;
    pass->info.tasks = batch->tasks;
    return espl_step_inputs_write(pass->inputs, pass->graph, &pass->info);
}

espl_status espl_pass_micro_some(espl_pass *pass, const espl_batch *batch, espl_budget *budget, espl_mark *in_out_mark,
                                 espl_ticket *out_ticket) {
    if (in_out_mark->commands == 0) ESPL_TRY(espl_pass_write(pass, batch));
    ESPL_TRY(espl_graph_submit_some(pass->graph, ESPL_PHASE_MICRO, budget, in_out_mark, out_ticket));
    if (espl_graph_is_submitted(pass->graph, ESPL_PHASE_MICRO, in_out_mark)) pass->step[ESPL_STEP_COUNTER]++;
    return ESPL_OK;
}

espl_status espl_pass_micro(espl_pass *pass, const espl_batch *batch, espl_ticket *out_ticket) {
    espl_budget all = {.left_ms = INFINITY};
    espl_mark begin = {0};
    *out_ticket = 0;
    return espl_pass_micro_some(pass, batch, &all, &begin, out_ticket);
}

espl_status espl_pass_loss(espl_pass *pass, espl_ticket ticket, double *out_sum) {
    ESPL_TRY(espl_wait(espl_graph_device(pass->graph), ticket));
    *out_sum = 0;
    if (!pass->losses) return ESPL_OK;
    const float *losses = espl_graph_host(pass->losses);
    for (uint32_t i = 0; i < pass->losses->rows; i++) *out_sum += losses[(size_t)i * pass->losses->stride];
    return ESPL_OK;
}

espl_status espl_pass_stats(espl_pass *pass, espl_ticket ticket, float out_stats[ESPL_STATS_WORDS]) {
    ESPL_TRY(espl_wait(espl_graph_device(pass->graph), ticket));
    memcpy(out_stats, espl_graph_host(pass->stats), ESPL_STATS_WORDS * sizeof *out_stats);
    return ESPL_OK;
}
