/* A session's inside, for session.c and record.c. */
#ifndef ESPL_SESSION_H
#define ESPL_SESSION_H

#include "host/model/adapter.h"
#include "host/model/model.h"
#include <espalier/session.h>

enum { ESPL_RUNS = 5, ESPL_RUN_WHOLE = 4 /* of as many as came together, where they may not be cut */ };

/* A recorded run over so many tokens. */
typedef struct espl_run {
    espl_graph *graph; /* owned; NULL until first needed */
    uint32_t tokens;
    espl_tensor *ids, *positions, *own_positions, *mean, *last;
    espl_tensor *device_logits, *logits; /* logits: for the host, which may be the same */
    const espl_step_inputs *inputs; /* what adapters write before a run; owned by the graph */
    bool prepared; /* phase BEGIN has run since the session began */
} espl_run;

struct espl_session {
    espl_context *ctx; /* borrowed */
    espl_model *model; /* borrowed */
    espl_arena arena;
    espl_span *caches; /* owned, one per layer */
    espl_own_caches own_caches; /* owned; of the adapters that are active */
    uint32_t context, capacity, kv_columns, vocabulary;
    uint32_t before;   /* rows that an adapter puts before the text: the first of the caches */
    uint32_t prompt;   /* those of them that go through the blocks: the first of own caches, too */
    bool whole;        /* tokens that come together go through in one run */
    int32_t task;       /* of the text, for adapters */
    uint32_t announced; /* tokens of the first prompt, for which all is made with the session; 0: not known */
    uint32_t position; /* tokens of text */
    uint32_t opening;  /* those that it began with, together */
    uint32_t open; /* tokens of the pass that a host program has begun and not ended; 0: none */
    espl_run runs[ESPL_RUNS];
    espl_run prelude; /* over the rows before the text; prepared: they are in the caches */
    const float *logits; /* borrowed from the run that made them */
    int32_t *history; /* owned, [context] */
};

/* The shortest run that takes so many tokens, else the longest. */
uint32_t espl_session_choose(const espl_session *session, uint32_t count);
/* Makes a run and its commands if they are not there; count: the tokens it is needed for. */
espl_status espl_session_ready(espl_session *session, uint32_t which, uint32_t count);
/* ids are tokens, they fit, and no pass of a host program is open. */
espl_status espl_session_check(espl_session *session, const int32_t *ids, uint32_t count);
espl_status espl_session_need_closed(espl_session *session);
/* Tokens that still fit. */
static inline uint32_t espl_session_room(const espl_session *session) {
    return session->context - session->before - session->position;
}
/* Leaves of a run, and a builder for its nodes. */
espl_status espl_session_builder(espl_session *session, uint32_t tokens, espl_run *run, espl_builder *out_builder);
/* Builds the prelude if an adapter has rows before the text, without commands. Fails: LIMIT if they leave no room. */
espl_status espl_session_place_prelude(espl_session *session);
/* The same with commands. */
espl_status espl_session_ready_prelude(espl_session *session);
/* Runs it unless its rows are in the caches. */
espl_status espl_session_run_prelude(espl_session *session);
/* What adapters compute from weights and parameters alone. */
espl_status espl_session_prepare(espl_session *session, espl_run *run);
/* What changes from run to run. */
espl_status espl_session_set_ids(espl_session *session, uint32_t which, const int32_t *ids, uint32_t count);

#endif
