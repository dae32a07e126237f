/* The context and what fails through it. */
#include "host/base/base.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct espl_context {
    espl_context_params params;
    char message[1024];
};

static void *default_resize(void *user, void *block, size_t bytes) {
    (void)user;
    if (bytes == 0) {
        free(block);
        return NULL;
    }
    return realloc(block, bytes);
}

static void default_log(void *user, espl_log_level level, const char *line) {
    (void)user;
    if (level <= ESPL_LOG_WARNING) fprintf(stderr, "espalier: %s\n", line);
}

espl_status espl_context_create(const espl_context_params *params, espl_context **out_context) {
    *out_context = NULL;
    espl_context_params filled = params ? *params : (espl_context_params){0};
    if (!filled.resize) filled.resize = default_resize;
    if (!filled.log) filled.log = default_log;
    espl_context *ctx = filled.resize(filled.resize_user, NULL, sizeof *ctx);
    if (!ctx) return ESPL_HOST_MEMORY;
    memset(ctx, 0, sizeof *ctx);
    ctx->params = filled;
    *out_context = ctx;
    return ESPL_OK;
}

void espl_context_destroy(espl_context **context) {
    if (!*context) return;
    espl_context_params params = (*context)->params;
    params.resize(params.resize_user, *context, 0);
    *context = NULL;
}

const char *espl_context_message(const espl_context *context) {
    return context->message;
}

espl_status espl_fail(espl_context *ctx, espl_status status, const char *format, ...) {
    assert(status != ESPL_OK);
    va_list args;
    va_start(args, format);
    vsnprintf(ctx->message, sizeof ctx->message, format, args);
    va_end(args);
    ctx->params.log(ctx->params.log_user, ESPL_LOG_DEBUG, ctx->message);
    return status;
}

espl_status espl_fail_in(espl_context *ctx, espl_status status, const char *format, ...) {
    char before[sizeof ctx->message];
    char what[sizeof ctx->message];
    memcpy(before, ctx->message, sizeof before);
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    /* Who could not open a file named it, and who asked for it does so again: once is enough. */
    const size_t bytes = strlen(what);
    if (strncmp(before, what, bytes) == 0 && (before[bytes] == ':' || before[bytes] == '/')) return status;
    /* Cut rather than lose: the sentence is for people. */
    int used = snprintf(ctx->message, sizeof ctx->message, "%.500s: ", what);
    if (used > 0) snprintf(ctx->message + used, sizeof ctx->message - (size_t)used, "%.500s", before);
    return status;
}

void espl_log(espl_context *ctx, espl_log_level level, const char *format, ...) {
    char line[sizeof ctx->message];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    ctx->params.log(ctx->params.log_user, level, line);
}

static const struct {
    const char *name, *meaning;
} status_rows[ESPL_STATUS_COUNT] = {
#define ESPL_STATUS_ROW(name, meaning) [ESPL_##name] = {#name, meaning},
    ESPL_STATUS_LIST(ESPL_STATUS_ROW)
#undef ESPL_STATUS_ROW
};

const char *espl_status_name(espl_status status) {
    return (unsigned)status < ESPL_STATUS_COUNT ? status_rows[status].name : "UNKNOWN";
}

const char *espl_status_meaning(espl_status status) {
    return (unsigned)status < ESPL_STATUS_COUNT ? status_rows[status].meaning : "not a status of this library";
}

espl_status espl_resize(espl_context *ctx, void *in_out_pointer, size_t bytes) {
    void *block;
    memcpy(&block, in_out_pointer, sizeof block);
    void *moved = ctx->params.resize(ctx->params.resize_user, block, bytes);
    if (!moved && bytes) return espl_fail(ctx, ESPL_HOST_MEMORY, "no host memory for %zu bytes", bytes);
    memcpy(in_out_pointer, &moved, sizeof moved);
    return ESPL_OK;
}

espl_status espl_new(espl_context *ctx, size_t bytes, void *out_pointer) {
    void *block = NULL;
    memcpy(out_pointer, &block, sizeof block);
    if (bytes == 0) return ESPL_OK;
    ESPL_TRY(espl_resize(ctx, &block, bytes));
    memset(block, 0, bytes);
    memcpy(out_pointer, &block, sizeof block);
    return ESPL_OK;
}

void espl_free(espl_context *ctx, void *in_out_pointer) {
    void *block, *none = NULL;
    memcpy(&block, in_out_pointer, sizeof block);
    if (block) ctx->params.resize(ctx->params.resize_user, block, 0);
    memcpy(in_out_pointer, &none, sizeof none);
}

espl_status espl_copy_string(espl_context *ctx, const char *text, size_t bytes, char **out_text) {
    ESPL_TRY(espl_new(ctx, bytes + 1, out_text));
    if (bytes) memcpy(*out_text, text, bytes);
    return ESPL_OK;
}

static espl_status bytes_vprint(espl_context *ctx, espl_bytes *bytes, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0) return espl_fail(ctx, ESPL_INTERNAL, "a message could not be formatted: %s", format);
    ESPL_TRY(espl_grow(ctx, &bytes->data, &bytes->capacity, bytes->count + (size_t)length + 1, 1));
    vsnprintf(bytes->data + bytes->count, (size_t)length + 1, format, args);
    bytes->count += (size_t)length;
    return ESPL_OK;
}

espl_status espl_format(espl_context *ctx, char **out_text, const char *format, ...) {
    espl_bytes bytes = {0};
    va_list args;
    va_start(args, format);
    espl_status status = bytes_vprint(ctx, &bytes, format, args);
    va_end(args);
    *out_text = bytes.data;
    return status;
}

espl_status espl_grow(espl_context *ctx, void *in_out_items, size_t *in_out_capacity, size_t needed_count,
                      size_t item_bytes) {
    if (needed_count <= *in_out_capacity) return ESPL_OK;
    size_t capacity = *in_out_capacity ? *in_out_capacity : 8, bytes;
    while (capacity < needed_count) {
        if (!espl_mul(capacity, 2, &capacity))
            return espl_fail(ctx, ESPL_LIMIT, "an array of %zu items is too long", needed_count);
    }
    if (!espl_mul(capacity, item_bytes, &bytes))
        return espl_fail(ctx, ESPL_LIMIT, "an array of %zu items is too long", needed_count);
    ESPL_TRY(espl_resize(ctx, in_out_items, bytes));
    *in_out_capacity = capacity;
    return ESPL_OK;
}

espl_status espl_bytes_append(espl_context *ctx, espl_bytes *bytes, const void *data, size_t count) {
    size_t needed;
    if (!espl_add(bytes->count, count, &needed) || !espl_add(needed, 1, &needed))
        return espl_fail(ctx, ESPL_LIMIT, "%zu bytes and %zu more are too many", bytes->count, count);
    ESPL_TRY(espl_grow(ctx, &bytes->data, &bytes->capacity, needed, 1));
    if (count) memcpy(bytes->data + bytes->count, data, count);
    bytes->count += count;
    bytes->data[bytes->count] = 0;
    return ESPL_OK;
}

espl_status espl_bytes_print(espl_context *ctx, espl_bytes *bytes, const char *format, ...) {
    va_list args;
    va_start(args, format);
    espl_status status = bytes_vprint(ctx, bytes, format, args);
    va_end(args);
    return status;
}

void espl_bytes_finish(espl_context *ctx, espl_bytes *bytes) {
    espl_free(ctx, &bytes->data);
    *bytes = (espl_bytes){0};
}

bool espl_mul(size_t a, size_t b, size_t *out_product) {
    if (b && a > SIZE_MAX / b) return false;
    *out_product = a * b;
    return true;
}

bool espl_add(size_t a, size_t b, size_t *out_sum) {
    if (a > SIZE_MAX - b) return false;
    *out_sum = a + b;
    return true;
}
