/* The gate between decoded bytes and the caller: lets through what is certain. Text that could be the start of a stop
 * string waits, as does a UTF-8 character that is not complete. The stop string that is complete first ends the text
 * just before it; of several complete at the same byte it is the longest. So it does not matter how the bytes were
 * cut into pieces. */
#ifndef ESPL_STOP_H
#define ESPL_STOP_H

#include "host/base/base.h"

typedef struct espl_stop {
    espl_context *ctx;   /* borrowed */
    espl_bytes *strings; /* owned, [count] */
    size_t count;
    espl_bytes waiting; /* not yet certain */
    espl_bytes certain; /* what the last call gave out */
    bool hit;
} espl_stop;

/* strings are copied. Fails: ARGUMENT for an empty one and for one that is not UTF-8, with its number. */
espl_status espl_stop_init(espl_context *ctx, const char *const *strings, size_t count, espl_stop *out_stop);
void espl_stop_finish(espl_stop *stop);
/* For the next text. */
void espl_stop_reset(espl_stop *stop);

/* *out_text: valid UTF-8 with a zero byte behind it, borrowed until the next call; bad bytes have become U+FFFD.
 * *out_hit: a stop string was complete; whatever is pushed later gives nothing. */
espl_status espl_stop_push(espl_stop *stop, const char *bytes, size_t count, const char **out_text, size_t *out_bytes,
                           bool *out_hit);
/* The end of the text: gives out what waited. */
espl_status espl_stop_flush(espl_stop *stop, const char **out_text, size_t *out_bytes);

#endif
