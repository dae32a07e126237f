/* A pass over tokens inside a host program's command buffers. What is recorded refers to memory of the session alone, so a
 * recording serves every pass of the same run; ids and position come through the step buffer as ever. */
#include "host/serve/session.h"

enum { TOKENS_MAX = 256 };

espl_status espl_session_need_closed(espl_session *session) {
    if (!session->open) return ESPL_OK;
    return espl_fail(session->ctx, ESPL_ARGUMENT, "a pass over %u tokens was begun and not ended", session->open);
}

static espl_status find_run(espl_session *session, uint32_t tokens, uint32_t *out_which) {
    if (tokens == 0 || tokens > TOKENS_MAX)
        return espl_fail(session->ctx, ESPL_ARGUMENT, "a recorded pass is over 1 to %d tokens, not %u", TOKENS_MAX,
                         tokens);
    *out_which = espl_session_choose(session, tokens);
    return espl_session_ready(session, *out_which, tokens);
}

uint32_t espl_session_layers(const espl_session *session) {
    return espl_graph_layers(session->runs[0].graph, ESPL_PHASE_MICRO);
}

espl_status espl_session_record(espl_session *session, uint32_t tokens, uint32_t layer, void *command_buffer) {
    uint32_t which = 0;
    ESPL_TRY(find_run(session, tokens, &which));
    return espl_graph_append(session->runs[which].graph, ESPL_PHASE_MICRO, layer, command_buffer);
}

espl_status espl_session_locate(espl_session *session, uint32_t tokens, espl_location *out_logits) {
    uint32_t which = 0;
    *out_logits = (espl_location){0};
    ESPL_TRY(find_run(session, tokens, &which));
    const espl_tensor *t = session->runs[which].device_logits;
    *out_logits = (espl_location){espl_span_buffer(t->span), t->span.offset, t->cols * sizeof(float)};
    return ESPL_OK;
}

espl_status espl_session_begin(espl_session *session, const int32_t *ids, uint32_t count) {
    uint32_t which = 0;
    ESPL_TRY(espl_session_check(session, ids, count));
    ESPL_TRY(find_run(session, count, &which));
    if (session->position == 0) session->opening = count;
    ESPL_TRY(espl_session_set_ids(session, which, ids, count));
    ESPL_TRY(espl_graph_set_appended_step(session->runs[which].graph));
    session->open = count;
    return ESPL_OK;
}

espl_status espl_session_end(espl_session *session) {
    if (!session->open) return espl_fail(session->ctx, ESPL_ARGUMENT, "no pass was begun");
    session->position += session->open;
    session->logits = espl_graph_host(session->runs[espl_session_choose(session, session->open)].logits);
    session->open = 0;
    return ESPL_OK;
}
