/* Generation: a sequence with its key-value cache. */
#ifndef ESPALIER_SESSION_H
#define ESPALIER_SESSION_H

#include <espalier/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct espl_session espl_session;

typedef struct espl_session_params {
    uint32_t context; /* tokens the cache holds; 0: the model's maximum, at most 4096 */
} espl_session_params;

/* Uses the model's adapters as they are active now. params may be NULL. */
espl_status espl_session_create(espl_model *model, const espl_session_params *params, espl_session **out_session);
void espl_session_destroy(espl_session **session);
/* Follows a changed activation; the cache is emptied. */
espl_status espl_session_refresh(espl_session *session);
/* Empties the cache. */
void espl_session_reset(espl_session *session);

/* Runs ids through the model; their keys and values join the cache. Afterwards the logits of the last one are ready.
 * Fails: LIMIT if the cache would overflow, with the numbers; nothing has changed then. */
espl_status espl_session_append(espl_session *session, const int32_t *ids, uint32_t count);
/* Logits after the last append: as many values as the vocabulary; borrowed until the next append. */
espl_status espl_session_logits(espl_session *session, const float **out_logits, uint32_t *out_count);
uint32_t espl_session_position(const espl_session *session);

/* Order of application: repetition penalty, temperature, top-k, top-p, min-p; as Hugging Face's processors. */
typedef struct espl_sampling {
    double temperature;        /* 0: greedy (the lowest id among equals) */
    uint32_t top_k;            /* 0: off */
    double top_p, min_p;       /* 0: off */
    double repetition_penalty; /* 0 or 1: off; over prompt and output */
    uint64_t seed;
} espl_sampling;

typedef struct espl_generate_params {
    const char *prompt;
    espl_sampling sampling;
    uint32_t max_tokens;          /* 0: 128 */
    const char *const *stop;      /* strings that end the text and are not part of it */
    size_t stop_count;
    bool ignore_end;              /* go on past the end-of-text id */
    /* Called with text as it becomes certain (whole UTF-8 characters, never part of a stop string); false stops. */
    bool (*write)(void *user, const char *text, size_t bytes);
    void *write_user;
} espl_generate_params;

typedef struct espl_generate_result {
    uint32_t prompt_tokens, tokens;
    double prompt_seconds, seconds; /* of the prompt, of the tokens after the first */
    const char *reason;             /* "end", "stop", "length", "caller" */
} espl_generate_result;
/* Tokenizes, resets the session, generates. */
espl_status espl_generate(espl_session *session, const espl_generate_params *params, espl_generate_result *out_result);

#ifdef __cplusplus
}
#endif
#endif
