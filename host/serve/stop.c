/* The gate: see stop.h. */
#include "host/serve/stop.h"
#include "host/file/utf8.h"
#include <string.h>

espl_status espl_stop_init(espl_context *ctx, const char *const *strings, size_t count, espl_stop *out_stop) {
    *out_stop = (espl_stop){.ctx = ctx};
    espl_status status;
    size_t bytes;
    if (!espl_mul(count, sizeof *out_stop->strings, &bytes))
        return espl_fail(ctx, ESPL_LIMIT, "%zu stop strings are too many", count);
    ESPL_GOTO(espl_new(ctx, bytes, &out_stop->strings));
    out_stop->count = count;
    for (size_t s = 0; s < count; s++) {
        size_t length = strings[s] ? strlen(strings[s]) : 0;
        if (length == 0 || !espl_utf8_is_valid(strings[s], length)) {
            status = espl_fail(ctx, ESPL_ARGUMENT, "stop string %zu is %s", s + 1, length ? "not UTF-8" : "empty");
            goto fail;
        }
        ESPL_GOTO(espl_bytes_append(ctx, &out_stop->strings[s], strings[s], length));
    }
    /* Both exist from here on, so that a text of nothing can be given out. */
    ESPL_GOTO(espl_bytes_append(ctx, &out_stop->waiting, "", 0));
    ESPL_GOTO(espl_bytes_append(ctx, &out_stop->certain, "", 0));
    return ESPL_OK;
fail:
    espl_stop_finish(out_stop);
    return status;
}

void espl_stop_finish(espl_stop *stop) {
    if (stop->ctx) {
        for (size_t s = 0; stop->strings && s < stop->count; s++)
            espl_bytes_finish(stop->ctx, &stop->strings[s]);
        espl_free(stop->ctx, &stop->strings);
        espl_bytes_finish(stop->ctx, &stop->waiting);
        espl_bytes_finish(stop->ctx, &stop->certain);
    }
    *stop = (espl_stop){0};
}

void espl_stop_reset(espl_stop *stop) {
    stop->waiting.count = 0;
    stop->certain.count = 0;
    stop->hit = false;
}

static bool ends_with(const espl_bytes *text, const char *end, size_t count) {
    return count <= text->count && memcmp(text->data + text->count - count, end, count) == 0;
}

/* Longest end of the waiting text that is a stop string, or (part) the start of one. */
static size_t longest_end(const espl_stop *stop, bool part) {
    size_t longest = 0;
    for (size_t s = 0; s < stop->count; s++) {
        const espl_bytes *string = &stop->strings[s];
        for (size_t count = string->count - part; count > longest; count--) {
            if (ends_with(&stop->waiting, string->data, count)) longest = count;
            if (!part) break;
        }
    }
    return longest;
}

/* The first count bytes of the waiting text become certain, whole characters of them. */
static espl_status let_through(espl_stop *stop, size_t count, bool last) {
    size_t at = 0;
    while (at < count) {
        bool incomplete = false;
        int length = espl_utf8_length(stop->waiting.data + at, stop->waiting.count - at, &incomplete);
        if (length < 0 && incomplete && !last) break;
        if (length < 0) {
            ESPL_TRY(espl_bytes_append(stop->ctx, &stop->certain, ESPL_UTF8_REPLACEMENT, 3));
        } else {
            ESPL_TRY(espl_bytes_append(stop->ctx, &stop->certain, stop->waiting.data + at, (size_t)length));
        }
        at += (size_t)(length < 0 ? -length : length);
    }
    memmove(stop->waiting.data, stop->waiting.data + at, stop->waiting.count - at);
    stop->waiting.count -= at;
    return ESPL_OK;
}

static void begin_call(espl_stop *stop) {
    stop->certain.count = 0;
    stop->certain.data[0] = 0;
}

espl_status espl_stop_push(espl_stop *stop, const char *bytes, size_t count, const char **out_text, size_t *out_bytes,
                           bool *out_hit) {
    begin_call(stop);
    for (size_t i = 0; i < count && !stop->hit; i++) {
        ESPL_TRY(espl_bytes_append(stop->ctx, &stop->waiting, bytes + i, 1));
        size_t found = longest_end(stop, false);
        if (!found) continue;
        stop->hit = true;
        stop->waiting.count -= found;
        ESPL_TRY(let_through(stop, stop->waiting.count, true));
    }
    if (!stop->hit) ESPL_TRY(let_through(stop, stop->waiting.count - longest_end(stop, true), false));
    *out_text = stop->certain.data;
    *out_bytes = stop->certain.count;
    *out_hit = stop->hit;
    return ESPL_OK;
}

espl_status espl_stop_flush(espl_stop *stop, const char **out_text, size_t *out_bytes) {
    begin_call(stop);
    ESPL_TRY(let_through(stop, stop->hit ? 0 : stop->waiting.count, true));
    stop->waiting.count = 0;
    *out_text = stop->certain.data;
    *out_bytes = stop->certain.count;
    return ESPL_OK;
}
