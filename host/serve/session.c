/* Generation: a key-value cache per layer, and one recorded graph per length of run: single tokens, and prompts in
 * pieces of a few fixed lengths, the last one padded. What a padded piece leaves in the cache lies behind the position
 * and is overwritten before any query can see it. Where adapters take means over what comes together, a prompt beyond these
 * lengths has a run of its own. */
#include "host/serve/session.h"
#include "host/model/adapter.h"
#include "host/ops/op_embedding.h"
#include "host/ops/op_matmul.h"
#include <stdio.h>
#include <string.h>

static const uint32_t lengths[ESPL_RUN_WHOLE] = {1, 16, 64, 256};
enum { CONTEXT_DEFAULT_MAX = 4096, LENGTH_MAX = 256 };

/* ---- Making ---- */

espl_status espl_session_builder(espl_session *session, uint32_t tokens, espl_run *r, espl_builder *out_builder) {
    espl_model *model = session->model;
    espl_graph *graph = r->graph;
    espl_tensor **caches;
    ESPL_TRY(espl_graph_memory(graph, model->config.layers * sizeof *caches, &caches));
    for (uint32_t i = 0; i < model->config.layers; i++)
        caches[i] = espl_graph_leaf(graph, ESPL_ROLE_STATE, "cache", session->capacity, 2 * session->kv_columns, 0,
                                    model->value_dtype, session->caches[i]);
    r->ids = espl_graph_step_leaf(graph, "ids", 1, tokens, ESPL_DTYPE_I32);
    r->positions = espl_graph_step_leaf(graph, "positions", 1, 1, ESPL_DTYPE_I32);
    r->own_positions = espl_graph_step_leaf(graph, "positions in own caches", 1, 1, ESPL_DTYPE_I32);
    r->mean = espl_graph_step_leaf(graph, "mean", 1, tokens, ESPL_DTYPE_F32);
    *out_builder = (espl_builder){.model = model,
                                  .graph = graph,
                                  .batch = 1,
                                  .tokens = tokens,
                                  .ids = r->ids,
                                  .positions = r->positions,
                                  .caches = caches,
                                  .own_caches = &session->own_caches,
                                  .own_positions = r->own_positions,
                                  .mean = r->mean};
    return espl_graph_status(graph);
}

static espl_status build(espl_session *session, uint32_t tokens, espl_run *r) {
    espl_graph *graph = r->graph;
    espl_builder builder;
    ESPL_TRY(espl_session_builder(session, tokens, r, &builder));
    espl_tensor *hidden = espl_build_hidden(&builder);
    if (tokens > 1) {
        /* Only the last token's row goes through the head. */
        r->last = espl_graph_step_leaf(graph, "last", 1, 1, ESPL_DTYPE_I32);
        hidden = espl_graph_embedding(graph, &(espl_embedding){.ids = r->last, .table = hidden, .batch = 1});
    }
    const espl_output output = espl_build_output(&builder, hidden);
    r->device_logits =
        espl_graph_matmul(graph, &(espl_matmul){.a = output.input, .b = output.weight, .orientation = MATMUL_NT});
    if (r->device_logits) r->device_logits->keep = true;
    r->logits = espl_graph_to_host(graph, r->device_logits);
    r->inputs = builder.inputs;
    session->before = builder.before, session->prompt = builder.prompt, session->whole = builder.whole;
    return espl_graph_place(graph);
}

/* A run without its commands. */
static espl_status place(espl_session *session, uint32_t which, uint32_t count) {
    espl_run *r = &session->runs[which];
    const uint32_t vocabulary = espl_model_vocabulary(session->model);
    if (r->graph && r->tokens >= count) return ESPL_OK;
    if (vocabulary != session->vocabulary)
        return espl_fail(session->ctx, ESPL_ARGUMENT, "the adapters that are active now have %u tokens, the session was made for %u: refresh it",
                         vocabulary, session->vocabulary);
    char name[32];
    espl_graph_destroy(&r->graph);
    *r = (espl_run){.tokens = which < ESPL_RUN_WHOLE ? lengths[which] : (uint32_t)espl_round_up(count, LENGTH_MAX)};
    snprintf(name, sizeof name, "run of %u", r->tokens);
    ESPL_TRY(espl_graph_create(session->model->device, name, &r->graph));
    espl_status status = build(session, r->tokens, r);
    if (status != ESPL_OK) espl_graph_destroy(&r->graph);
    return status;
}

espl_status espl_session_ready(espl_session *session, uint32_t which, uint32_t count) {
    espl_run *r = &session->runs[which];
    ESPL_TRY(place(session, which, count));
    ESPL_TRY(espl_session_ready_prelude(session));
    const espl_status status = espl_graph_plan(r->graph);
    if (status != ESPL_OK) espl_graph_destroy(&r->graph);
    return status;
}

/* Of so many tokens, those that go through together. */
static uint32_t next_piece(const espl_session *session, uint32_t left) {
    return left < LENGTH_MAX || session->whole ? left : LENGTH_MAX;
}

/* Memory for single tokens: whatever comes, they are needed, and it shows what active adapters cannot do. Commands wait for the
 * first use, unless the prompt is announced. */
static espl_status begin(espl_session *session) {
    session->vocabulary = espl_model_vocabulary(session->model);
    ESPL_TRY(place(session, 0, 1));
    ESPL_TRY(espl_session_place_prelude(session));
    if (session->announced == 0) return ESPL_OK;
    if (session->announced > espl_session_room(session))
        return espl_fail(session->ctx, ESPL_LIMIT, "a prompt of %u tokens does not fit a context of %u", session->announced,
                         espl_session_room(session));
    for (uint32_t left = session->announced, piece; left > 0; left -= piece) {
        piece = next_piece(session, left);
        ESPL_TRY(espl_session_ready(session, espl_session_choose(session, piece), piece));
    }
    return espl_session_ready(session, 0, 1);
}

static espl_status create(espl_session *session, const espl_session_params *params) {
    if (session->model->task.kind != ESPL_HEAD_LANGUAGE)
        return espl_fail(session->ctx, ESPL_ARGUMENT, "this %s model has no head for the next token: it generates nothing",
                         session->model->config.family->model_type);
    const espl_config *c = &session->model->config;
    session->context = params ? params->context : 0;
    if (session->context == 0)
        session->context = c->context_max < CONTEXT_DEFAULT_MAX ? c->context_max : CONTEXT_DEFAULT_MAX;
    if (session->context > c->context_max)
        return espl_fail(session->ctx, ESPL_LIMIT, "a context of %u tokens is beyond the model's %u", session->context,
                         c->context_max);
    session->announced = params ? params->prompt : 0;
    session->task = params ? (int32_t)params->task : 0;
    session->capacity = session->own_caches.rows = session->context + LENGTH_MAX;
    session->kv_columns = (uint32_t)espl_round_up(c->kv_heads * c->head_size, 4);
    const uint64_t bytes = (uint64_t)session->capacity * 2 * session->kv_columns * espl_dtype_bytes(session->model->value_dtype);
    ESPL_TRY(espl_new(session->ctx, c->layers * sizeof *session->caches, &session->caches));
    ESPL_TRY(espl_new(session->ctx, session->context * sizeof *session->history, &session->history));
    ESPL_TRY(espl_arena_reserve(&session->arena, bytes * c->layers));
    for (uint32_t i = 0; i < c->layers; i++)
        ESPL_TRY(espl_arena_take(&session->arena, bytes, &session->caches[i]));
    return begin(session);
}

espl_status espl_session_create(espl_model *model, const espl_session_params *params, espl_session **out_session) {
    *out_session = NULL;
    espl_session *session;
    ESPL_TRY(espl_new(model->ctx, sizeof *session, &session));
    session->ctx = model->ctx;
    session->model = model;
    espl_arena_init(&session->arena, model->device, ESPL_ARENA_STATE, "key-value cache");
    espl_arena_init(&session->own_caches.arena, model->device, ESPL_ARENA_STATE, "adapters' caches");
    espl_status status = create(session, params);
    if (status == ESPL_DEVICE_MEMORY)
        espl_fail_in(model->ctx, status, "a context of %u tokens (a shorter one needs less)", session->context);
    if (status != ESPL_OK) {
        espl_session_destroy(&session);
        return status;
    }
    *out_session = session;
    return ESPL_OK;
}

void espl_session_destroy(espl_session **in_out_session) {
    espl_session *session = *in_out_session;
    if (!session) return;
    espl_context *ctx = session->ctx;
    for (uint32_t i = 0; i < ESPL_RUNS; i++)
        espl_graph_destroy(&session->runs[i].graph);
    espl_graph_destroy(&session->prelude.graph);
    espl_own_caches_finish(&session->own_caches, ctx);
    espl_arena_finish(&session->arena);
    espl_free(ctx, &session->caches);
    espl_free(ctx, &session->history);
    espl_free(ctx, in_out_session);
}

espl_status espl_session_refresh(espl_session *session) {
    ESPL_TRY(espl_session_need_closed(session));
    for (uint32_t i = 0; i < ESPL_RUNS; i++)
        espl_graph_destroy(&session->runs[i].graph);
    espl_graph_destroy(&session->prelude.graph);
    espl_own_caches_finish(&session->own_caches, session->ctx);
    espl_arena_init(&session->own_caches.arena, session->model->device, ESPL_ARENA_STATE, "adapters' caches");
    espl_session_reset(session);
    return begin(session);
}

void espl_session_reset(espl_session *session) {
    session->position = session->opening = session->open = 0;
    for (uint32_t i = 0; i < ESPL_RUNS; i++)
        session->runs[i].prepared = false;
    session->prelude.prepared = false;
}

uint32_t espl_session_position(const espl_session *session) {
    return session->position;
}

/* ---- Running ---- */

espl_status espl_session_prepare(espl_session *session, espl_run *r) {
    espl_ticket ticket;
    if (r->prepared) return ESPL_OK;
    r->prepared = true;
    ESPL_TRY(espl_graph_submit(r->graph, ESPL_PHASE_BEGIN, &ticket));
    return espl_wait(session->model->device, ticket);
}

uint32_t espl_session_choose(const espl_session *session, uint32_t count) {
    uint32_t which = 0;
    while (which < ESPL_RUN_WHOLE && lengths[which] < count)
        which++;
    return which < ESPL_RUN_WHOLE || session->whole ? which : ESPL_RUN_WHOLE - 1;
}

static void write_mean(espl_run *r, uint32_t count) {
    float *mean = espl_graph_step_pointer(r->graph, r->mean);
    for (uint32_t i = 0; i < r->tokens; i++) mean[i] = i < count ? 1.0f / (float)count : 0;
}

espl_status espl_session_set_ids(espl_session *session, uint32_t which, const int32_t *ids, uint32_t count) {
    espl_run *r = &session->runs[which];
    ESPL_TRY(espl_session_run_prelude(session));
    ESPL_TRY(espl_session_prepare(session, r));
    int32_t *step_ids = espl_graph_step_pointer(r->graph, r->ids);
    memset(step_ids, 0, r->tokens * sizeof *step_ids);
    memcpy(step_ids, ids, count * sizeof *ids);
    *(int32_t *)espl_graph_step_pointer(r->graph, r->positions) = (int32_t)(session->before + session->position);
    *(int32_t *)espl_graph_step_pointer(r->graph, r->own_positions) = (int32_t)(session->prompt + session->position);
    if (r->last) *(int32_t *)espl_graph_step_pointer(r->graph, r->last) = (int32_t)count - 1;
    write_mean(r, count);
    /* Behind the position these count for nothing yet. */
    memcpy(session->history + session->position, ids, count * sizeof *ids);
    const int32_t length = (int32_t)count;
    const espl_step_info info = {.ids = step_ids, .lengths = &length, .history = session->history, .tasks = &session->task,
                                 .batch = 1, .tokens = r->tokens, .position = session->position, .opening = session->opening};
    return espl_step_inputs_write(r->inputs, r->graph, &info);
}

espl_status espl_session_check(espl_session *session, const int32_t *ids, uint32_t count) {
    ESPL_TRY(espl_session_need_closed(session));
    if (count > espl_session_room(session))
        return espl_fail(session->ctx, ESPL_LIMIT, "%u tokens after %u do not fit a context of %u", count,
                         session->before + session->position, session->context);
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= session->vocabulary)
            return espl_fail(session->ctx, ESPL_ARGUMENT, "token %d is not in the vocabulary of %u", ids[i],
                             session->vocabulary);
    }
    return ESPL_OK;
}

static espl_status run_piece(espl_session *session, const int32_t *ids, uint32_t count, espl_ticket *out_ticket) {
    const uint32_t which = espl_session_choose(session, count);
    ESPL_TRY(espl_session_ready(session, which, count));
    ESPL_TRY(espl_session_set_ids(session, which, ids, count));
    ESPL_TRY(espl_graph_submit(session->runs[which].graph, ESPL_PHASE_MICRO, out_ticket));
    session->position += count;
    return ESPL_OK;
}

espl_status espl_session_append(espl_session *session, const int32_t *ids, uint32_t count) {
    if (count == 0) return ESPL_OK;
    ESPL_TRY(espl_session_check(session, ids, count));
    uint32_t last = 0;
    espl_ticket ticket = 0;
    if (session->position == 0) session->opening = count;
    for (uint32_t done = 0; done < count;) {
        const uint32_t piece = next_piece(session, count - done);
        last = espl_session_choose(session, piece);
        ESPL_TRY(run_piece(session, ids + done, piece, &ticket));
        done += piece;
    }
    ESPL_TRY(espl_wait(session->model->device, ticket));
    session->logits = espl_graph_host(session->runs[last].logits);
    return ESPL_OK;
}

espl_status espl_session_logits(espl_session *session, const float **out_logits, uint32_t *out_count) {
    if (session->position == 0)
        return espl_fail(session->ctx, ESPL_ARGUMENT, "there are no logits before the first token");
    *out_logits = session->logits;
    *out_count = session->vocabulary;
    return ESPL_OK;
}
