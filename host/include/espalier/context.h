/* A context carries what would otherwise be global: the allocator, the log, the last message. Every other object is
 * made from one and must be destroyed before it. A context and all that was made from it belong to one thread at a
 * time; several contexts may live side by side. */
#ifndef ESPALIER_CONTEXT_H
#define ESPALIER_CONTEXT_H

#include <espalier/status.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct espl_context espl_context;

typedef enum espl_log_level { ESPL_LOG_ERROR, ESPL_LOG_WARNING, ESPL_LOG_INFO, ESPL_LOG_DEBUG } espl_log_level;

typedef struct espl_context_params {
    /* Grows, shrinks or frees a block: block may be NULL, bytes may be 0 (free; returns NULL). NULL: the C library. */
    void *(*resize)(void *user, void *block, size_t bytes);
    void *resize_user;
    /* Receives one line without a line end. NULL: warnings and errors go to stderr. */
    void (*log)(void *user, espl_log_level level, const char *line);
    void *log_user;
} espl_context_params;

/* params may be NULL. Fails: HOST_MEMORY. */
espl_status espl_context_create(const espl_context_params *params, espl_context **out_context);
/* Takes and clears; NULL is accepted. */
void espl_context_destroy(espl_context **context);

/* The sentence of the newest failure, "" before the first; borrowed, changes with the next failure. */
const char *espl_context_message(const espl_context *context);

#ifdef __cplusplus
}
#endif
#endif
