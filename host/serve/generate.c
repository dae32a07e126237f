/* Text behind a prompt: sampled ids, their text as it becomes certain, and when to stop. */
#include "host/base/os.h"
#include "host/serve/sample.h"
#include "host/serve/session.h"
#include "host/serve/stop.h"
#include <string.h>

typedef struct writer {
    espl_session *session;
    const espl_generate_params *params;
    espl_sampler sampler;
    espl_stop stop;
    espl_detokenizer *detokenizer;
    bool stopped, refused;
} writer;

static void give(writer *w, const char *text, size_t bytes) {
    if (bytes && !w->refused && w->params->write && !w->params->write(w->params->write_user, text, bytes))
        w->refused = true;
}

static espl_status write_token(writer *w, int32_t id) {
    const char *text;
    size_t bytes;
    ESPL_TRY(espl_detokenizer_push(w->detokenizer, (uint32_t)id, &text, &bytes));
    ESPL_TRY(espl_stop_push(&w->stop, text, bytes, &text, &bytes, &w->stopped));
    give(w, text, bytes);
    return ESPL_OK;
}

static espl_status write_rest(writer *w) {
    const char *text;
    size_t bytes;
    if (w->stopped) return ESPL_OK;
    ESPL_TRY(espl_detokenizer_end(w->detokenizer, &text, &bytes));
    ESPL_TRY(espl_stop_push(&w->stop, text, bytes, &text, &bytes, &w->stopped));
    give(w, text, bytes);
    ESPL_TRY(espl_stop_flush(&w->stop, &text, &bytes));
    give(w, text, bytes);
    return ESPL_OK;
}

static bool is_end(const espl_session *session, int32_t id) {
    const espl_tokenizer *tokenizer = espl_model_tokenizer(session->model);
    return (uint32_t)id == espl_tokenizer_eos(tokenizer) || id == session->model->config.eos;
}

static espl_status prompt(espl_session *session, const char *text, espl_generate_result *result) {
    const uint32_t *ids;
    size_t count;
    /* An empty prompt without a begin token still needs one token to start from. */
    const uint32_t start = session->model->config.bos >= 0 ? (uint32_t)session->model->config.bos : 0;
    ESPL_TRY(espl_tokenizer_encode(espl_model_tokenizer(session->model), text, strlen(text), true, &ids, &count));
    if (count == 0) ids = &start, count = 1;
    espl_session_reset(session);
    if (count > espl_session_room(session))
        return espl_fail(session->ctx, ESPL_LIMIT, "a prompt of %zu tokens does not fit a context of %u", count,
                         espl_session_room(session));
    const double begin = espl_os_seconds();
    ESPL_TRY(espl_session_append(session, (const int32_t *)ids, (uint32_t)count));
    result->prompt_tokens = (uint32_t)count;
    result->prompt_seconds = espl_os_seconds() - begin;
    return ESPL_OK;
}

static espl_status tokens(writer *w, espl_generate_result *result) {
    espl_session *session = w->session;
    const espl_generate_params *params = w->params;
    const uint32_t most = params->max_tokens ? params->max_tokens : 128;
    espl_random random = {.seed = params->sampling.seed};
    double begin = 0;
    result->reason = "length";
    for (uint32_t i = 0; i < most; i++) {
        int32_t id;
        ESPL_TRY(espl_sample(&w->sampler, session->logits, session->history, session->position, &random, &id));
        if (!params->ignore_end && is_end(session, id)) {
            result->reason = "end";
            break;
        }
        result->tokens++;
        ESPL_TRY(write_token(w, id));
        if (w->stopped || w->refused || i + 1 == most || espl_session_room(session) == 0) break;
        if (i == 0) begin = espl_os_seconds();
        ESPL_TRY(espl_session_append(session, &id, 1));
    }
    if (begin > 0) result->seconds = espl_os_seconds() - begin;
    ESPL_TRY(write_rest(w));
    if (w->stopped) result->reason = "stop";
    if (w->refused) result->reason = "caller";
    return ESPL_OK;
}

espl_status espl_generate(espl_session *session, const espl_generate_params *params, espl_generate_result *out_result) {
    *out_result = (espl_generate_result){.reason = ""};
    espl_model *model = session->model;
    if (!espl_model_tokenizer(model))
        return espl_fail(session->ctx, ESPL_ARGUMENT, "%s has no tokenizer: text cannot be generated", model->folder);
    ESPL_TRY(espl_session_need_closed(session));
    writer w = {.session = session, .params = params};
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_sampler_init(session->ctx, &params->sampling, espl_model_vocabulary(model), &w.sampler));
    ESPL_GOTO(espl_stop_init(session->ctx, params->stop, params->stop_count, &w.stop));
    ESPL_GOTO(espl_detokenizer_create(espl_model_tokenizer(model), false, &w.detokenizer));
    ESPL_GOTO(prompt(session, params->prompt ? params->prompt : "", out_result));
    /* What follows is text behind the prompt, not the beginning of one: a first space stays. */
    const int32_t *last = &session->history[session->position - 1];
    const char *ignored;
    size_t ignored_bytes;
    ESPL_GOTO(espl_detokenizer_push(w.detokenizer, (uint32_t)*last, &ignored, &ignored_bytes));
    ESPL_GOTO(tokens(&w, out_result));
fail:
    espl_detokenizer_destroy(&w.detokenizer);
    if (w.stop.ctx) espl_stop_finish(&w.stop);
    if (w.sampler.ctx) espl_sampler_finish(&w.sampler);
    return status;
}
