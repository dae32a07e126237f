/* What the unit tests share: a context whose allocator counts blocks and can fail on demand, and paths. */
#ifndef ESPL_TESTS_UNIT_H
#define ESPL_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <espalier/context.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNIT_SKIPPED = 77 };

typedef struct unit_heap {
    size_t live;    /* blocks not freed */
    size_t calls;   /* that asked for memory */
    size_t fail_at; /* this call and later ones get none; 0: never */
} unit_heap;

static inline void *unit_resize(void *user, void *block, size_t bytes) {
    unit_heap *heap = user;
    if (bytes == 0) {
        if (block) heap->live--;
        free(block);
        return NULL;
    }
    if (heap->fail_at && ++heap->calls >= heap->fail_at) return NULL;
    if (!heap->fail_at) heap->calls++;
    void *moved = realloc(block, bytes);
    if (moved && !block) heap->live++;
    return moved;
}

static inline void unit_log(void *user, espl_log_level level, const char *line) {
    (void)user, (void)level, (void)line;
}

static inline espl_context *unit_context(unit_heap *heap) {
    const espl_context_params params = {.resize = unit_resize, .resize_user = heap, .log = unit_log};
    espl_context *ctx;
    *heap = (unit_heap){0};
    assert_int_equal(espl_context_create(&params, &ctx), ESPL_OK);
    return ctx;
}

static inline void unit_finish(unit_heap *heap, espl_context *ctx) {
    espl_context_destroy(&ctx);
    assert_int_equal(heap->live, 0);
}

/* Runs body with its first, second, ... request for memory failing, until it succeeds. Each failure must be
 * HOST_MEMORY and must leave no block behind. body cleans up after itself in both cases. */
static inline void unit_sweep(espl_status (*body)(espl_context *ctx, void *user), void *user) {
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    const size_t before = heap.live;
    espl_status status = ESPL_HOST_MEMORY;
    for (size_t n = 1; status != ESPL_OK; n++) {
        heap.fail_at = n;
        heap.calls = 0;
        status = body(ctx, user);
        if (status != ESPL_OK && status != ESPL_HOST_MEMORY)
            fail_msg("request %zu: %s: %s", n, espl_status_name(status), espl_context_message(ctx));
        if (status == ESPL_OK && heap.calls >= n) fail_msg("request %zu failed and was not noticed", n);
        if (heap.live != before) fail_msg("request %zu: %zu blocks are left", n, heap.live - before);
        assert_true(n < 1000000);
    }
    heap.fail_at = 0;
    unit_finish(&heap, ctx);
}

/* status and part of the message; the macro keeps the caller's line. */
#define unit_fails(ctx, call, expected, part)                                                         \
    do {                                                                                              \
        assert_int_equal(call, expected);                                                             \
        if (!strstr(espl_context_message(ctx), part)) fail_msg("message: %s", espl_context_message(ctx)); \
    } while (0)

#define unit_ok(ctx, call)                                                                                  \
    do {                                                                                                    \
        espl_status unit_status_ = (call);                                                                  \
        if (unit_status_) fail_msg("%s: %s", espl_status_name(unit_status_), espl_context_message(ctx));    \
    } while (0)

/* A file of the shared folder: $ESPL_SHARED or the one beside the repository. */
static inline void unit_shared(char *out_path, size_t bytes, const char *name) {
    const char *folder = getenv("ESPL_SHARED");
    snprintf(out_path, bytes, "%s/%s", folder ? folder : ESPL_SHARED_DIR, name);
}

/* Plain stdio, so that a test does not write with what it tests. */
static inline void unit_write(const char *path, const void *data, size_t bytes) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

/* Zero-terminated; the caller frees. NULL if there is no such file. */
static inline char *unit_read(const char *path, size_t *out_bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    long bytes = ftell(file);
    rewind(file);
    char *data = malloc((size_t)bytes + 1);
    *out_bytes = fread(data, 1, (size_t)bytes, file);
    data[*out_bytes] = 0;
    fclose(file);
    return data;
}

#endif
