/* Time: no submission is longer than the slice that was asked for, also where a single dispatch would be. The bounds allow for
 * a machine that others use, too: what is held is that the longest piece is a small part of the whole. */
#include "gpu_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { COUNT = 1 << 16, SLICE_MS = 20, RUNS = 12 };

typedef struct fixture {
    espl_context *ctx;
    espl_device *device;
    espl_arena arena;
    espl_span v;
} fixture;

static void open_fixture(fixture *f, const char *limits) {
    static float zeros[COUNT];
    f->ctx = test_context_open();
    const espl_device_params params = {
        .cache_folder = "", .validation = true, .limits = limits, .slice_ms = SLICE_MS, .low_priority = true};
    assert_ok(f->ctx, espl_device_create(f->ctx, &params, &f->device));
    espl_arena_init(&f->arena, f->device, ESPL_ARENA_STATE, "cut");
    assert_ok(f->ctx, espl_arena_take(&f->arena, sizeof zeros, &f->v));
    assert_ok(f->ctx, espl_upload(f->device, f->v, zeros, sizeof zeros));
}

static void close_fixture(fixture *f) {
    espl_arena_finish(&f->arena);
    test_device_close(&f->device);
    test_context_close(&f->ctx);
}

static espl_commands *record(fixture *f, uint32_t rounds, uint32_t times) {
    espl_commands *commands;
    assert_ok(f->ctx, espl_commands_begin(f->device, "long", &commands));
    for (uint32_t i = 0; i < times; i++) assert_ok(f->ctx, record_increment(f->device, commands, f->v, COUNT, 1, rounds));
    assert_ok(f->ctx, espl_commands_end(commands));
    return commands;
}

static void run(fixture *f, espl_commands *commands) {
    espl_ticket ticket;
    assert_ok(f->ctx, espl_submit(f->device, &commands, 1, &ticket));
    assert_ok(f->ctx, espl_wait(f->device, ticket));
}

static void assert_values(fixture *f, float value) {
    static float values[COUNT];
    assert_ok(f->ctx, espl_download(f->device, f->v, values, sizeof values));
    for (int i = 0; i < COUNT; i++)
        if (values[i] != value) fail_msg("element %d is %g, not %g", i, (double)values[i], (double)value);
}

/* Rounds of a dispatch of about this long, by what short ones take on this machine. */
static uint32_t rounds_of(fixture *f, double milliseconds) {
    uint32_t rounds = 8;
    for (;; rounds *= 2) {
        espl_commands *commands = record(f, rounds, 1);
        run(f, commands); /* some drivers compile in the first */
        run(f, commands);
        const double time = espl_commands_milliseconds(commands);
        espl_commands_destroy(&commands);
        if (time >= 8) return (uint32_t)(rounds * milliseconds / time);
    }
}

static void check_cut(const char *limits, uint32_t times, double each_ms) {
    fixture f;
    open_fixture(&f, limits);
    if (!espl_device_capabilities(f.device)->timestamps) {
        print_message("skipped: this device measures no times\n");
        close_fixture(&f);
        return;
    }
    const uint32_t rounds = rounds_of(&f, each_ms);
    static float zeros[COUNT];
    assert_ok(f.ctx, espl_upload(f.device, f.v, zeros, sizeof zeros));
    espl_commands *commands = record(&f, rounds, times);
    double longest = INFINITY, whole = 0;
    uint64_t slices = 0;
    for (int i = 0; i < RUNS; i++) {
        const uint64_t before = espl_device_count(f.device).slices;
        run(&f, commands);
        slices = espl_device_count(f.device).slices - before;
        whole = espl_commands_milliseconds(commands);
        /* The first runs are those it learns from; of the others the best, since others use this machine. */
        if (i >= 4) longest = fmin(longest, espl_commands_longest_milliseconds(commands));
    }
    print_message("%u x %.0f ms asked in slices of %d ms: %.0f ms in %llu slices, longest piece %.1f ms, cut again %llu times\n",
                  times, each_ms, SLICE_MS, whole, (unsigned long long)slices, longest,
                  (unsigned long long)espl_device_count(f.device).cut_again);
    assert_true(espl_device_count(f.device).cut_again > 0);
    assert_true(longest < 2 * SLICE_MS);
    assert_true(longest < whole / 3);
    assert_true(slices >= 4);
    assert_values(&f, (float)(rounds * times) * RUNS);
    espl_commands_destroy(&commands);
    close_fixture(&f);
}

static void a_dispatch_longer_than_a_slice(void **state) {
    (void)state;
    check_cut(NULL, 1, 250);
    check_cut("timeline=0", 1, 250);
}

static void many_dispatches_longer_than_a_slice(void **state) {
    (void)state;
    check_cut(NULL, 40, 8);
}

/* Pieces that turn out to be short are joined: one slice again. */
static void short_work_is_joined(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, NULL);
    espl_commands *commands;
    /* Said to be long, so that it begins in many pieces. */
    assert_ok(f.ctx, espl_commands_begin(f.device, "short", &commands));
    for (int i = 0; i < 30; i++) assert_ok(f.ctx, record_increment_of(f.device, commands, f.v, 64, 1, 1, 1e9));
    assert_ok(f.ctx, espl_commands_end(commands));
    uint64_t first = 0, last = 0;
    for (int i = 0; i < RUNS; i++) {
        const uint64_t before = espl_device_count(f.device).slices;
        run(&f, commands);
        last = espl_device_count(f.device).slices - before;
        if (i == 0) first = last;
    }
    assert_true(first >= 30);
    if (espl_device_capabilities(f.device)->timestamps) assert_true(last < 4);
    espl_commands_destroy(&commands);
    close_fixture(&f);
}

/* Without memory to record anew, what was recorded goes on. */
static void no_memory_to_cut_again(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, NULL);
    for (long n = 0; n < 12; n++) {
        espl_commands *commands;
        static float zeros[COUNT];
        assert_ok(f.ctx, espl_upload(f.device, f.v, zeros, sizeof zeros));
        assert_ok(f.ctx, espl_commands_begin(f.device, "short", &commands));
        for (int i = 0; i < 5; i++) assert_ok(f.ctx, record_increment_of(f.device, commands, f.v, COUNT, 1, 1, 1e12));
        assert_ok(f.ctx, espl_commands_end(commands));
        run(&f, commands);
        memory.fail_after = n;
        for (int i = 0; i < 3; i++) run(&f, commands);
        memory.fail_after = -1;
        assert_values(&f, 20);
        espl_commands_destroy(&commands);
    }
    close_fixture(&f);
}

int main(void) {
    int missing = test_missing_device();
    if (missing) return missing;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dispatch_longer_than_a_slice),
        cmocka_unit_test(many_dispatches_longer_than_a_slice),
        cmocka_unit_test(short_work_is_joined),
        cmocka_unit_test(no_memory_to_cut_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
