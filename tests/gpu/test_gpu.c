/* Memory, kernels, recording and submission, once for each way a device can be: as it is, with fences instead of a
 * timeline, with memory that the host cannot map, without timestamps. */
#include "gpu_test.h"
#include <stdlib.h>
#include <string.h>

enum { COUNT = 1000 };

typedef struct fixture {
    espl_context *ctx;
    espl_device *device;
    espl_arena arena;
} fixture;

static const char *limits; /* of the round that runs */

static int set_up(void **state) {
    static fixture f;
    f.ctx = test_context_open();
    f.device = test_device_open(f.ctx, limits);
    espl_arena_init(&f.arena, f.device, ESPL_ARENA_ACTIVATIONS, "test");
    *state = &f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    espl_arena_finish(&f->arena);
    test_device_close(&f->device);
    test_context_close(&f->ctx);
    return 0;
}

/* A span of COUNT floats, each `value`. */
static espl_span vector_of(fixture *f, float value) {
    espl_span span;
    float values[COUNT];
    for (int i = 0; i < COUNT; i++) values[i] = value;
    assert_ok(f->ctx, espl_arena_take(&f->arena, sizeof values, &span));
    assert_ok(f->ctx, espl_upload(f->device, span, values, sizeof values));
    return span;
}

static void assert_vector(fixture *f, espl_span span, float value) {
    float values[COUNT];
    assert_ok(f->ctx, espl_download(f->device, span, values, sizeof values));
    for (int i = 0; i < COUNT; i++)
        if (values[i] != value) fail_msg("element %d is %g, not %g", i, (double)values[i], (double)value);
}

static espl_commands *begin(fixture *f, const char *name) {
    espl_commands *commands;
    assert_ok(f->ctx, espl_commands_begin(f->device, name, &commands));
    return commands;
}

static void axpy(fixture *f, espl_commands *commands, espl_span x, espl_span y, espl_span out, float scale) {
    assert_ok(f->ctx, record_axpy(f->device, commands, x, y, out, COUNT, scale));
}

static espl_ticket submit(fixture *f, espl_commands *commands) {
    espl_ticket ticket;
    assert_ok(f->ctx, espl_submit(f->device, &commands, 1, &ticket));
    return ticket;
}

static void end_and_run(fixture *f, espl_commands **commands) {
    assert_ok(f->ctx, espl_commands_end(*commands));
    assert_ok(f->ctx, espl_wait(f->device, submit(f, *commands)));
    espl_commands_destroy(commands);
}

/* ---- Memory ---- */

static void arena_gives_aligned_spans(void **state) {
    fixture *f = *state;
    espl_span a, b, c;
    assert_ok(f->ctx, espl_arena_take(&f->arena, 4, &a));
    assert_ok(f->ctx, espl_arena_take(&f->arena, 300, &b));
    assert_ok(f->ctx, espl_arena_take(&f->arena, 1 << 20, &c));
    assert_ptr_equal(a.block, b.block);
    assert_int_equal(a.bytes, 4);
    assert_int_equal(b.offset % 256, 0);
    assert_true(b.offset >= a.offset + 4);
    assert_true(f->arena.bytes >= (1 << 20) + 768);
    assert_int_equal(espl_device_count(f->device).arena_bytes[ESPL_ARENA_ACTIVATIONS], f->arena.bytes);
    espl_arena_finish(&f->arena);
    assert_int_equal(espl_device_count(f->device).arena_bytes[ESPL_ARENA_ACTIVATIONS], 0);
    espl_arena_finish(&f->arena);
}

static void reserved_arena_is_one_block(void **state) {
    fixture *f = *state;
    uint64_t before = espl_device_count(f->device).device_allocations;
    espl_span span;
    assert_ok(f->ctx, espl_arena_reserve(&f->arena, 5 << 20));
    for (int i = 0; i < 5; i++) assert_ok(f->ctx, espl_arena_take(&f->arena, 1 << 20, &span));
    assert_int_equal(espl_device_count(f->device).device_allocations - before, 1);
    assert_int_equal(f->arena.bytes, 5 << 20);
}

static void too_large_an_allocation_is_a_limit(void **state) {
    fixture *f = *state;
    espl_span span;
    assert_fails(f->ctx, ESPL_LIMIT, espl_arena_take(&f->arena, UINT64_MAX - 5, &span));
    uint64_t most = espl_device_capabilities(f->device)->allocation_bytes_max;
    if (most < UINT64_MAX / 4) {
        assert_fails(f->ctx, ESPL_DEVICE_MEMORY, espl_arena_take(&f->arena, most + 256, &span));
        assert_message(f->ctx, "test (activations)");
    }
    assert_null(span.block);
}

static void staging_is_always_mapped(void **state) {
    fixture *f = *state;
    espl_arena staging;
    espl_span span, other;
    espl_arena_init(&staging, f->device, ESPL_ARENA_STAGING, "staging");
    assert_ok(f->ctx, espl_arena_take(&staging, 100, &span));
    assert_non_null(espl_span_host(span));
    assert_ok(f->ctx, espl_arena_take(&f->arena, 100, &other));
    assert_int_equal(espl_span_host(other) != NULL, espl_device_capabilities(f->device)->unified_memory);
    assert_null(espl_span_host((espl_span){0}));
    espl_arena_finish(&staging);
}

/* More than both halves of the ring, and not a multiple of one; on a device that allocates less at once, as much as that. */
static void large_copies_arrive_whole(void **state) {
    fixture *f = *state;
    const uint64_t most = espl_device_capabilities(f->device)->allocation_bytes_max / 4 - 64;
    const size_t words = most < (17u << 20) / 4 + 3 ? (size_t)most - 1 : (17u << 20) / 4 + 3;
    uint32_t *sent = malloc(4 * words), *got = calloc(words, 4);
    for (size_t i = 0; i < words; i++) sent[i] = (uint32_t)i * 2654435761u;
    espl_span span;
    assert_ok(f->ctx, espl_arena_take(&f->arena, 4 * words + 8, &span));
    assert_ok(f->ctx, espl_upload(f->device, espl_span_part(span, 8, 4 * words), sent, 4 * words));
    assert_ok(f->ctx, espl_download(f->device, espl_span_part(span, 8, 4 * words), got, 4 * words));
    assert_memory_equal(sent, got, 4 * words);
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_upload(f->device, span, sent, 6));
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_download(f->device, espl_span_part(span, 2, 4), got, 4));
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_download(f->device, (espl_span){0}, got, 4));
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_download(f->device, espl_span_part(span, 0, 4), got, 8));
    free(sent);
    free(got);
}

/* ---- Kernels ---- */

static void kernels_are_found_by_value(void **state) {
    fixture *f = *state;
    uint32_t spec[] = {64, 1, 1, 1, 0};
    const espl_kernel *a, *b, *c;
    assert_ok(f->ctx, espl_device_kernel(f->device, &espl_shader_axpy, spec, 5, &a));
    assert_ok(f->ctx, espl_device_kernel(f->device, &espl_shader_axpy, (uint32_t[]){64, 1, 1, 1, 0}, 5, &b));
    spec[4] = 7;
    assert_ok(f->ctx, espl_device_kernel(f->device, &espl_shader_axpy, spec, 5, &c));
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    assert_int_equal(espl_device_count(f->device).kernels_created, 2);
}

static void kernels_beyond_the_device_are_refused(void **state) {
    fixture *f = *state;
    const espl_capabilities *c = espl_device_capabilities(f->device);
    const espl_kernel *kernel;
    uint32_t spec[] = {c->invocations_max, 2, 1, 1, 0};
    assert_fails(f->ctx, ESPL_UNSUPPORTED, espl_device_kernel(f->device, &espl_shader_axpy, spec, 5, &kernel));
    assert_message(f->ctx, "axpy: ");
    assert_message(f->ctx, "invocations in a workgroup");
    assert_null(kernel);
    uint32_t shared[] = {64, 1, 1, c->shared_bytes_max / 256};
    assert_ok(f->ctx, espl_device_kernel(f->device, &espl_shader_shared, shared, 4, &kernel));
    shared[3]++;
    assert_fails(f->ctx, ESPL_UNSUPPORTED, espl_device_kernel(f->device, &espl_shader_shared, shared, 4, &kernel));
    assert_message(f->ctx, "bytes of shared memory");
    espl_status half = espl_device_kernel(f->device, &espl_shader_half, (uint32_t[]){64}, 1, &kernel);
    assert_int_equal(half, c->f16_arithmetic ? ESPL_OK : ESPL_UNSUPPORTED);
    if (!c->f16_arithmetic) assert_message(f->ctx, "needs Float16");
    assert_fails(f->ctx, ESPL_ARGUMENT,
                 espl_device_kernel(f->device, &espl_shader_axpy, spec, ESPL_SPEC_MAX + 1, &kernel));
}

/* Truncated at every word: refused before a driver sees it. */
static void broken_modules_are_refused(void **state) {
    fixture *f = *state;
    const espl_kernel *kernel;
    espl_shader broken = espl_shader_axpy;
    for (broken.bytes = 0; broken.bytes < espl_shader_axpy.bytes; broken.bytes += 4)
        assert_fails(f->ctx, ESPL_ARGUMENT, espl_device_kernel(f->device, &broken, NULL, 0, &kernel));
    broken.bytes = espl_shader_axpy.bytes - 2;
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_device_kernel(f->device, &broken, NULL, 0, &kernel));
    static uint32_t words[4096];
    memcpy(words, espl_shader_axpy.words, espl_shader_axpy.bytes);
    words[5] = 0xffff0011u;
    broken = (espl_shader){"broken", words, espl_shader_axpy.bytes};
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_device_kernel(f->device, &broken, NULL, 0, &kernel));
    assert_message(f->ctx, "shader broken: an instruction runs past the end");
}

static void shared_memory_kernel_sums(void **state) {
    fixture *f = *state;
    const espl_kernel *kernel;
    const uint32_t spec[] = {32, 1, 1, 4};
    assert_ok(f->ctx, espl_device_kernel(f->device, &espl_shader_shared, spec, 4, &kernel));
    espl_span x = vector_of(f, 0.5f), out = vector_of(f, 0);
    espl_commands *commands = begin(f, "sums");
    const espl_dispatch sums = {
        .kernel = kernel, .label = "sum", .bind = {x, out}, .bind_count = 2, .groups = {COUNT / 128}};
    assert_ok(f->ctx, espl_commands_dispatch(commands, &sums));
    end_and_run(f, &commands);
    float got[COUNT / 128];
    assert_ok(f->ctx, espl_download(f->device, out, got, sizeof got));
    for (int i = 0; i < COUNT / 128; i++) assert_true(got[i] == 64);
}

/* ---- Recording ---- */

static void dispatch_computes(void **state) {
    fixture *f = *state;
    espl_span x = vector_of(f, 3), y = vector_of(f, 10), out = vector_of(f, -1), rest = vector_of(f, -2);
    espl_commands *commands = begin(f, "one");
    axpy(f, commands, x, y, out, 2);
    assert_int_equal(espl_commands_dispatch_count(commands), 1);
    end_and_run(f, &commands);
    assert_vector(f, out, 16);
    assert_vector(f, rest, -2);
    /* With the specialization that leaves y out, nothing is bound there. */
    commands = begin(f, "without y");
    axpy(f, commands, x, (espl_span){0}, out, 2);
    end_and_run(f, &commands);
    assert_vector(f, out, 6);
}

static void dependent_work_waits_and_other_work_does_not(void **state) {
    fixture *f = *state;
    espl_span a = vector_of(f, 1), b = vector_of(f, 2), c = vector_of(f, 0), d = vector_of(f, 0);
    const uint64_t bytes = COUNT * sizeof(float);
    struct {
        espl_span x, y, out;
        uint32_t barriers; /* after it */
    } steps[] = {
        {a, b, c, 0}, /* c = 3 */
        {a, b, d, 0}, /* reads what was read, writes elsewhere: d = 3 */
        {c, b, d, 1}, /* reads c, writes d again: d = 5 */
        {a, b, c, 2}, /* writes what was just read: c = 3 */
        {a, d, b, 3}, /* d was written before the last barrier, but b was read after it: b = 6 */
        {b, c, a, 4}, /* a = 9 */
    };
    espl_commands *commands = begin(f, "hazards");
    for (size_t i = 0; i < ESPL_COUNT(steps); i++) {
        axpy(f, commands, steps[i].x, steps[i].y, steps[i].out, 1);
        assert_int_equal(espl_commands_barrier_count(commands), steps[i].barriers);
    }
    assert_ok(f->ctx, espl_commands_copy(commands, espl_span_part(c, 0, bytes), d));
    assert_int_equal(espl_commands_barrier_count(commands), 4); /* only reads c beside a reader; d was before */
    assert_ok(f->ctx, espl_commands_fill(commands, c, 0));
    assert_int_equal(espl_commands_barrier_count(commands), 5);
    end_and_run(f, &commands);
    assert_vector(f, a, 9);
    assert_vector(f, b, 6);
    assert_vector(f, d, 3);
    assert_vector(f, c, 0);
}

static void parts_of_one_block_do_not_wait(void **state) {
    fixture *f = *state;
    espl_span v;
    assert_ok(f->ctx, espl_arena_take(&f->arena, 8 * 256, &v));
    espl_commands *commands = begin(f, "parts");
    for (uint32_t i = 0; i < 8; i++) {
        assert_ok(f->ctx, espl_commands_fill(commands, espl_span_part(v, i * 256, 256), 0));
        assert_int_equal(espl_commands_barrier_count(commands), 0);
    }
    for (uint32_t i = 0; i < 8; i++)
        assert_ok(f->ctx, record_increment(f->device, commands, espl_span_part(v, i * 256, 256), 64, (float)i, 1));
    assert_int_equal(espl_commands_barrier_count(commands), 1);
    end_and_run(f, &commands);
    float got[512];
    assert_ok(f->ctx, espl_download(f->device, v, got, sizeof got));
    for (int i = 0; i < 512; i++) assert_true(got[i] == (float)(i / 64));
}

/* Long enough for several descriptor pools and more accesses than the list holds. */
static void long_recordings_work(void **state) {
    fixture *f = *state;
    espl_span v = vector_of(f, 0), w;
    const uint32_t steps = 700;
    assert_ok(f->ctx, espl_arena_take(&f->arena, (uint64_t)steps * 256, &w));
    espl_commands *commands = begin(f, "long");
    for (uint32_t i = 0; i < steps; i++) {
        assert_ok(f->ctx, espl_commands_fill(commands, espl_span_part(w, i * 256ull, 256), i));
    }
    assert_true(espl_commands_barrier_count(commands) <= 3);
    for (uint32_t i = 0; i < steps; i++) assert_ok(f->ctx, record_increment(f->device, commands, v, COUNT, 1, 1));
    assert_true(espl_commands_barrier_count(commands) >= steps - 1);
    end_and_run(f, &commands);
    assert_vector(f, v, (float)steps);
}

static void wrong_arguments_are_refused_and_nothing_recorded(void **state) {
    fixture *f = *state;
    const espl_capabilities *c = espl_device_capabilities(f->device);
    espl_span x = vector_of(f, 1), out = vector_of(f, 5);
    const espl_kernel *kernel;
    const uint32_t spec[] = {64, 1, 1, 0, 0};
    const struct {
        uint32_t count;
        float scale;
    } push = {COUNT, 1};
    assert_ok(f->ctx, espl_device_kernel(f->device, &espl_shader_axpy, spec, 5, &kernel));
    const espl_dispatch good = {.kernel = kernel, .label = "good", .bind = {x, {0}, out}, .bind_count = 3,
                                .push = &push, .push_bytes = sizeof push, .groups = {16}};
    espl_commands *commands = begin(f, "refusals");
    espl_dispatch bad = good;
    bad.bind_count = 2;
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_commands_dispatch(commands, &bad));
    assert_message(f->ctx, "good: 2 bindings given, kernel axpy has 3");
    bad = good;
    bad.push_bytes = 4;
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_commands_dispatch(commands, &bad));
    assert_message(f->ctx, "4 bytes of push constants given, kernel axpy has 8");
    bad = good;
    bad.bind[0].bytes = UINT64_MAX - 4;
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_commands_dispatch(commands, &bad));
    assert_message(f->ctx, "binding 0");
    bad = good;
    bad.bind[2].offset += 2;
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_commands_dispatch(commands, &bad));
    assert_message(f->ctx, "binding 2");
    bad = good;
    bad.groups[1] = c->group_count_max[1] + 1;
    if (bad.groups[1]) {
        assert_fails(f->ctx, ESPL_ARGUMENT, espl_commands_dispatch(commands, &bad));
        assert_message(f->ctx, "workgroups in y");
    }
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_commands_copy(commands, x, espl_span_part(out, 0, 8)));
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_commands_copy(commands, x, espl_span_part(x, 0, x.bytes)));
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_commands_fill(commands, espl_span_part(x, 2, 4), 0));
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_commands_fill(commands, (espl_span){0}, 0));
    assert_int_equal(espl_commands_dispatch_count(commands), 0);
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_submit(f->device, &commands, 1, NULL));
    assert_message(f->ctx, "refusals has not ended");
    assert_ok(f->ctx, espl_commands_end(commands));
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_commands_dispatch(commands, &good));
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_commands_end(commands));
    assert_ok(f->ctx, espl_wait(f->device, submit(f, commands)));
    espl_commands_destroy(&commands);
    assert_vector(f, out, 5);
    /* Destroyed while recording. */
    commands = begin(f, "never ended");
    assert_ok(f->ctx, espl_commands_dispatch(commands, &good));
    espl_commands_destroy(&commands);
    espl_commands_destroy(&commands);
}

static void bindings_beyond_the_range_are_a_limit(void **state) {
    (void)state;
    espl_context *ctx = test_context_open();
    espl_device *device = test_device_open(ctx, "storage_range_max=512");
    espl_arena arena;
    espl_span v;
    espl_commands *commands;
    espl_arena_init(&arena, device, ESPL_ARENA_STATE, "small windows");
    assert_ok(ctx, espl_arena_take(&arena, 1024, &v));
    assert_ok(ctx, espl_commands_begin(device, "limit", &commands));
    assert_fails(ctx, ESPL_LIMIT, record_increment(device, commands, v, 256, 1, 1));
    assert_message(ctx, "binding 0 has 1024 bytes, the device binds at most 512");
    assert_ok(ctx, record_increment(device, commands, espl_span_part(v, 512, 512), 128, 1, 1));
    espl_commands_destroy(&commands);
    espl_arena_finish(&arena);
    test_device_close(&device);
    test_context_close(&ctx);
}

/* ---- Submission ---- */

static void replays_and_order(void **state) {
    fixture *f = *state;
    espl_span v = vector_of(f, 1), w = vector_of(f, 0);
    espl_commands *add = begin(f, "add"), *twice = begin(f, "twice");
    assert_ok(f->ctx, record_increment(f->device, add, v, COUNT, 1, 1));
    axpy(f, twice, v, v, w, 1);
    assert_ok(f->ctx, espl_commands_copy(twice, w, v));
    assert_ok(f->ctx, espl_commands_end(add));
    assert_ok(f->ctx, espl_commands_end(twice));
    /* ((1 + 1) * 2 + 1) * 2 in one submission, twice the same commands within it. */
    espl_commands *list[] = {add, twice, add, twice};
    espl_ticket first = espl_device_newest_ticket(f->device), ticket = 0;
    assert_ok(f->ctx, espl_submit(f->device, list, 4, &ticket));
    assert_int_equal(ticket, first + 1);
    assert_vector(f, v, 10);
    /* Many at once, without waiting between them. */
    const unsigned runs = 50;
    first = espl_device_newest_ticket(f->device);
    for (unsigned i = 0; i < runs; i++) assert_ok(f->ctx, espl_submit(f->device, list, 1, &ticket));
    assert_int_equal(ticket, first + runs);
    assert_ok(f->ctx, espl_wait(f->device, ticket));
    assert_true(espl_is_done(f->device, ticket) && espl_is_done(f->device, 0));
    assert_vector(f, v, (float)(10 + runs));
    assert_fails(f->ctx, ESPL_ARGUMENT, espl_wait(f->device, espl_device_newest_ticket(f->device) + 1));
    assert_ok(f->ctx, espl_submit(f->device, NULL, 0, &ticket));
    assert_int_equal(ticket, espl_device_newest_ticket(f->device));
    espl_commands_destroy(&add);
    espl_commands_destroy(&twice);
}

static void replay_allocates_nothing(void **state) {
    fixture *f = *state;
    enum { N = 100 };
    espl_span v = vector_of(f, 0);
    espl_commands *list[N];
    for (int i = 0; i < N; i++) {
        list[i] = begin(f, "replay");
        assert_ok(f->ctx, record_increment(f->device, list[i], v, COUNT, 1, 1));
        assert_ok(f->ctx, espl_commands_end(list[i]));
    }
    espl_ticket ticket;
    long calls = 0;
    for (int step = 0; step < 5; step++) {
        if (step == 2) calls = memory.calls;
        assert_ok(f->ctx, espl_submit(f->device, list, N, &ticket));
        assert_ok(f->ctx, espl_wait(f->device, ticket));
    }
    assert_int_equal(memory.calls, calls);
    for (int i = 0; i < N; i++) espl_commands_destroy(&list[i]);
    assert_vector(f, v, 5 * N);
}

static void slices_follow_measured_times(void **state) {
    fixture *f = *state;
    enum { N = 20 };
    espl_span v = vector_of(f, 0);
    espl_commands *list[N];
    for (int i = 0; i < N; i++) {
        list[i] = begin(f, "slice");
        assert_ok(f->ctx, record_increment(f->device, list[i], v, COUNT, 1, 1));
        assert_ok(f->ctx, espl_commands_end(list[i]));
        assert_true(espl_commands_milliseconds(list[i]) < 0);
    }
    uint64_t before = espl_device_count(f->device).slices;
    espl_ticket ticket;
    assert_ok(f->ctx, espl_submit(f->device, list, N, &ticket));
    assert_int_equal(espl_device_count(f->device).slices - before, N); /* none was ever measured */
    assert_ok(f->ctx, espl_wait(f->device, ticket));
    if (espl_device_capabilities(f->device)->timestamps) {
        double sum = 0;
        for (int i = 0; i < N; i++) {
            double time = espl_commands_milliseconds(list[i]);
            assert_true(time >= 0);
            sum += time;
        }
        before = espl_device_count(f->device).slices;
        assert_ok(f->ctx, espl_submit(f->device, list, N, &ticket));
        assert_true(espl_device_count(f->device).slices - before <= 1 + (uint64_t)(2 * sum / 50));
        assert_ok(f->ctx, espl_wait(f->device, ticket));
    }
    for (int i = 0; i < N; i++) espl_commands_destroy(&list[i]);
}

/* What is taken away while the device works on it stays until it is done, and nobody waits. */
static void destruction_while_running(void **state) {
    fixture *f = *state;
    espl_arena arena;
    espl_span v, kept = vector_of(f, 0);
    espl_arena_init(&arena, f->device, ESPL_ARENA_STATE, "short-lived");
    const uint64_t bytes = 1 << 20;
    assert_ok(f->ctx, espl_arena_take(&arena, bytes, &v));
    uint64_t used = espl_device_count(f->device).arena_bytes[ESPL_ARENA_STATE];
    espl_commands *commands = begin(f, "slow");
    assert_ok(f->ctx, espl_commands_fill(commands, v, 0));
    assert_ok(f->ctx, record_increment(f->device, commands, v, (uint32_t)(bytes / 4), 1, 1000));
    assert_ok(f->ctx, espl_commands_copy(commands, espl_span_part(v, bytes - kept.bytes, kept.bytes), kept));
    assert_ok(f->ctx, espl_commands_end(commands));
    espl_ticket ticket = submit(f, commands);
    espl_commands_destroy(&commands);
    espl_arena_finish(&arena);
    uint64_t after = espl_device_count(f->device).arena_bytes[ESPL_ARENA_STATE];
    assert_true(after == used || espl_is_done(f->device, ticket));
    assert_ok(f->ctx, espl_wait(f->device, ticket));
    assert_int_equal(espl_device_count(f->device).arena_bytes[ESPL_ARENA_STATE], used - bytes);
    assert_vector(f, kept, 1000);
}

static void profile_sums_by_label(void **state) {
    fixture *f = *state;
    espl_span v = vector_of(f, 0), w = vector_of(f, 0);
    espl_device_profile(f->device, true);
    espl_commands *commands = begin(f, "profiled");
    for (int i = 0; i < 150; i++) assert_ok(f->ctx, record_increment(f->device, commands, v, COUNT, 1, 1));
    axpy(f, commands, v, v, w, 1);
    assert_ok(f->ctx, espl_commands_end(commands));
    espl_device_profile(f->device, false);
    espl_commands *list[] = {commands, commands};
    espl_ticket ticket;
    assert_ok(f->ctx, espl_submit(f->device, list, 2, &ticket));
    const espl_profile_row *rows;
    size_t count;
    assert_ok(f->ctx, espl_device_profile_rows(f->device, &rows, &count));
    if (espl_device_capabilities(f->device)->timestamps) {
        assert_int_equal(count, 2);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(rows[i].count, strcmp(rows[i].label, "axpy") == 0 ? 2 : 300);
        assert_true(rows[0].milliseconds >= rows[1].milliseconds && rows[1].milliseconds >= 0);
    } else {
        assert_int_equal(count, 0);
    }
    espl_commands_destroy(&commands);
    assert_vector(f, w, 600);
}

static void software_goes_without_slices(void **state) {
    (void)state;
    espl_context *ctx = test_context_open();
    espl_device *device;
    espl_commands *list[2];
    espl_ticket ticket;
    assert_ok(ctx, espl_device_create(ctx, &(espl_device_params){.cache_folder = "", .validation = true}, &device));
    for (int i = 0; i < 2; i++) {
        assert_ok(ctx, espl_commands_begin(device, "empty", &list[i]));
        assert_ok(ctx, espl_commands_end(list[i]));
    }
    assert_ok(ctx, espl_submit(device, list, 2, &ticket));
    assert_ok(ctx, espl_wait(device, ticket));
    bool cpu = espl_device_capabilities(device)->cpu;
    assert_int_equal(espl_device_count(device).slices, cpu ? 1 : 2);
    if (cpu) assert_true(espl_commands_milliseconds(list[0]) < 0);
    for (int i = 0; i < 2; i++) espl_commands_destroy(&list[i]);
    test_device_close(&device);
    test_context_close(&ctx);
}

int main(void) {
    int missing = test_missing_device();
    if (missing) return missing;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(arena_gives_aligned_spans),
        TEST(reserved_arena_is_one_block),
        TEST(too_large_an_allocation_is_a_limit),
        TEST(staging_is_always_mapped),
        TEST(large_copies_arrive_whole),
        TEST(kernels_are_found_by_value),
        TEST(kernels_beyond_the_device_are_refused),
        TEST(broken_modules_are_refused),
        TEST(shared_memory_kernel_sums),
        TEST(dispatch_computes),
        TEST(dependent_work_waits_and_other_work_does_not),
        TEST(parts_of_one_block_do_not_wait),
        TEST(long_recordings_work),
        TEST(wrong_arguments_are_refused_and_nothing_recorded),
        TEST(replays_and_order),
        TEST(replay_allocates_nothing),
        TEST(slices_follow_measured_times),
        TEST(destruction_while_running),
        TEST(profile_sums_by_label),
    };
    const struct CMUnitTest once[] = {
        cmocka_unit_test(bindings_beyond_the_range_are_a_limit),
        cmocka_unit_test(software_goes_without_slices),
    };
    const char *const rounds[] = {"", "timeline=0", "unified_memory=0", "timestamps=0"};
    int failures = 0;
    for (size_t i = 0; i < ESPL_COUNT(rounds); i++) {
        limits = rounds[i];
        failures += cmocka_run_group_tests_name(*limits ? limits : "as it is", tests, NULL, NULL);
    }
    failures += cmocka_run_group_tests_name("once", once, NULL, NULL);
    return failures != 0;
}
