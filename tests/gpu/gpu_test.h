/* What the tests of host/gpu share: a context whose allocator counts and can fail, a log that is kept, a device with
 * validation on, and small vectors. */
#ifndef ESPL_GPU_TEST_H
#define ESPL_GPU_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host/gpu/gpu.h"

enum { TEST_SKIPPED = 77 };

typedef struct test_memory {
    long living;     /* blocks handed out and not freed */
    long calls;      /* that asked for memory */
    long fail_after; /* calls that still succeed; negative: all */
} test_memory;

extern test_memory memory;
extern char last_line[1024];     /* newest log line of level WARNING or ERROR */
extern long warning_line_count;    /* since the context was opened */
extern long validation_line_count; /* of them from the validation layer, those at a device's end included */
extern long remade_line_count;     /* pipeline caches found unusable */

/* A context on the counting allocator; destroy it with test_context_close, which checks that nothing is left and that
 * validation had nothing to say. */
espl_context *test_context_open(void);
void test_context_close(espl_context **ctx);

/* A device with validation, no cache file and these limits; NULL if there is none (the caller skips). */
espl_device *test_device_open(espl_context *ctx, const char *limits);
/* Checks that validation had nothing to say. */
void test_device_close(espl_device **device);

/* 77 if this machine has no device: the program's exit status then. 0 if it has. */
int test_missing_device(void);

#define assert_ok(ctx, expr) test_assert_status(ctx, ESPL_OK, expr, #expr, __FILE__, __LINE__)
#define assert_fails(ctx, status, expr) test_assert_status(ctx, status, expr, #expr, __FILE__, __LINE__)
void test_assert_status(const espl_context *ctx, espl_status wanted, espl_status got, const char *expr,
                        const char *file, int line);
/* The newest failure's sentence has this part. */
void assert_message(const espl_context *ctx, const char *part);

extern const espl_shader espl_shader_axpy, espl_shader_increment, espl_shader_shared, espl_shader_half;

/* out = scale * x + y + shift over count elements; y.block NULL leaves y out. */
espl_status record_axpy(espl_device *device, espl_commands *commands, espl_span x, espl_span y, espl_span out,
                        uint32_t count, float scale);
/* v += by, `rounds` times. */
espl_status record_increment(espl_device *device, espl_commands *commands, espl_span v, uint32_t count, float by,
                             uint32_t rounds);
/* The same, said to be so many operations. */
espl_status record_increment_of(espl_device *device, espl_commands *commands, espl_span v, uint32_t count, float by,
                                uint32_t rounds, double operations);

#endif
