/* See gpu_test.h. */
#include "gpu_test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

test_memory memory;
char last_line[1024];
long warning_line_count, validation_line_count, remade_line_count;

static void *counting_resize(void *user, void *block, size_t bytes) {
    (void)user;
    if (bytes == 0) {
        if (block) memory.living--;
        free(block);
        return NULL;
    }
    memory.calls++;
    if (memory.fail_after == 0) return NULL;
    if (memory.fail_after > 0) memory.fail_after--;
    void *moved = realloc(block, bytes);
    if (moved && !block) memory.living++;
    return moved;
}

static void keep_line(void *user, espl_log_level level, const char *line) {
    (void)user;
    remade_line_count += strstr(line, "will be written anew") != NULL;
    if (level > ESPL_LOG_WARNING) return;
    warning_line_count++;
    validation_line_count += strncmp(line, "validation:", 11) == 0;
    snprintf(last_line, sizeof last_line, "%s", line);
    /* Where the layer is missing the tests still run; saying so once is enough. */
    static bool said;
    bool missing = strstr(line, "is not installed") != NULL;
    if (!missing || !said) fprintf(stderr, "  log: %s\n", line);
    said |= missing;
}

espl_context *test_context_open(void) {
    memory = (test_memory){.fail_after = -1};
    last_line[0] = 0;
    warning_line_count = validation_line_count = remade_line_count = 0;
    espl_context *ctx;
    const espl_context_params params = {.resize = counting_resize, .log = keep_line};
    assert_int_equal(espl_context_create(&params, &ctx), ESPL_OK);
    return ctx;
}

void test_context_close(espl_context **ctx) {
    espl_context_destroy(ctx);
    assert_int_equal(memory.living, 0);
    assert_int_equal(validation_line_count, 0);
}

espl_device *test_device_open(espl_context *ctx, const char *limits) {
    espl_device *device;
    /* slice_ms: a software driver slices only if asked to. */
    const espl_device_params params = {.cache_folder = "", .validation = true, .limits = limits, .slice_ms = 50};
    assert_ok(ctx, espl_device_create(ctx, &params, &device));
    return device;
}

void test_device_close(espl_device **device) {
    assert_int_equal(espl_device_validation_count(*device), 0);
    espl_device_destroy(device);
    assert_null(*device);
}

int test_missing_device(void) {
    espl_context *ctx = test_context_open();
    espl_device *device;
    const espl_device_params params = {.cache_folder = ""};
    espl_status status = espl_device_create(ctx, &params, &device);
    if (status == ESPL_OK) printf("device: %s (%s)\n", espl_device_name(device), espl_device_driver(device));
    else fprintf(stderr, "no device: %s\n", espl_context_message(ctx));
    espl_device_destroy(&device);
    espl_context_destroy(&ctx);
    return status == ESPL_UNSUPPORTED ? TEST_SKIPPED : status != ESPL_OK;
}

void test_assert_status(const espl_context *ctx, espl_status wanted, espl_status got, const char *expr,
                        const char *file, int line) {
    if (got == wanted) return;
    print_error("%s:%d: %s gives %s, not %s: %s\n", file, line, expr, espl_status_name(got), espl_status_name(wanted),
                espl_context_message(ctx));
    _fail(file, line);
}

void assert_message(const espl_context *ctx, const char *part) {
    if (strstr(espl_context_message(ctx), part)) return;
    fail_msg("the message \"%s\" lacks \"%s\"", espl_context_message(ctx), part);
}

espl_status record_axpy(espl_device *device, espl_commands *commands, espl_span x, espl_span y, espl_span out,
                        uint32_t count, float scale) {
    const uint32_t local = 64;
    const uint32_t spec[] = {local, 1, 1, y.block != NULL, 0};
    const struct {
        uint32_t count;
        float scale;
    } push = {count, scale};
    const espl_kernel *kernel;
    ESPL_TRY(espl_device_kernel(device, &espl_shader_axpy, spec, ESPL_COUNT(spec), &kernel));
    return espl_commands_dispatch(commands, &(espl_dispatch){.kernel = kernel,
                                                             .label = "axpy",
                                                             .bind = {x, y, out},
                                                             .bind_count = 3,
                                                             .push = &push,
                                                             .push_bytes = sizeof push,
                                                             .groups = {espl_ceil_div(count, local)}});
}

espl_status record_increment(espl_device *device, espl_commands *commands, espl_span v, uint32_t count, float by,
                             uint32_t rounds) {
    return record_increment_of(device, commands, v, count, by, rounds, 0);
}

espl_status record_increment_of(espl_device *device, espl_commands *commands, espl_span v, uint32_t count, float by,
                                uint32_t rounds, double operations) {
    const uint32_t local = 64;
    const uint32_t spec[] = {local, 1, 1, rounds};
    const struct {
        uint32_t count;
        float by;
    } push = {count, by};
    const espl_kernel *kernel;
    ESPL_TRY(espl_device_kernel(device, &espl_shader_increment, spec, ESPL_COUNT(spec), &kernel));
    return espl_commands_dispatch(commands, &(espl_dispatch){.kernel = kernel,
                                                             .label = "increment",
                                                             .operations = operations,
                                                             .bind = {v},
                                                             .bind_count = 1,
                                                             .push = &push,
                                                             .push_bytes = sizeof push,
                                                             .groups = {espl_ceil_div(count, local)}});
}
