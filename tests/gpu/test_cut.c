/* Time: no submission is longer than the slice that was asked for, also where a single dispatch would be. No time is
 * asserted, since others use the machine: what is held is that the longest piece is a small part of the whole. */
#include "gpu_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { COUNT = 1 << 16, SLICE_MS = 20, RUNS = 12 };
enum { LEARNT = 4, SLICES = 8, ROUNDS_MAX = 1 << 20 }; /* sums of ROUNDS_MAX * RUNS are exact in f32 */

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

typedef struct measure {
    double whole, longest; /* milliseconds of the fastest run, since others use this machine; the longest piece of it */
    uint64_t slices;
} measure;

/* `times` dispatches of so many rounds, often enough that how they are cut has been learnt. */
static measure cut_of(fixture *f, uint32_t times, uint32_t rounds) {
    static float zeros[COUNT];
    assert_ok(f->ctx, espl_upload(f->device, f->v, zeros, sizeof zeros));
    espl_commands *commands = record(f, rounds, times);
    measure m = {.whole = INFINITY};
    for (int i = 0; i < RUNS; i++) {
        const uint64_t before = espl_device_count(f->device).slices;
        run(f, commands);
        const double whole = espl_commands_milliseconds(commands);
        if (i < LEARNT || whole >= m.whole) continue;
        m = (measure){whole, espl_commands_longest_milliseconds(commands), espl_device_count(f->device).slices - before};
    }
    assert_values(f, (float)(rounds * times) * RUNS);
    espl_commands_destroy(&commands);
    return m;
}

static bool is_long(const measure *m) {
    return m->whole >= SLICES * SLICE_MS;
}

static bool is_cut(const measure *m) {
    return m->slices >= SLICES / 2 && m->longest < m->whole / 3;
}

/* How fast this machine is just now is not known, and others may hold up work that is short: it grows until it is much longer
 * than a slice, and cut. */
static void check_cut(const char *limits, uint32_t times) {
    fixture f;
    open_fixture(&f, limits);
    measure m = {0};
    uint32_t rounds = 8;
    if (espl_device_capabilities(f.device)->timestamps)
        for (; rounds * times <= ROUNDS_MAX && !(is_long(&m) && is_cut(&m)); rounds *= 2) m = cut_of(&f, times, rounds);
    const bool asked = is_long(&m);
    print_message("%u dispatches of %u rounds in slices of %d ms: %.0f ms in %llu slices, longest piece %.1f ms%s\n", times,
                  rounds / 2, SLICE_MS, m.whole, (unsigned long long)m.slices, m.longest,
                  asked ? "" : "; skipped: this device measures no times, or is too fast for work that long");
    if (asked) {
        assert_true(espl_device_count(f.device).cut_again > 0);
        assert_true(is_cut(&m));
    }
    close_fixture(&f);
}

static void a_dispatch_longer_than_a_slice(void **state) {
    (void)state;
    check_cut(NULL, 1);
    check_cut("timeline=0", 1);
}

static void many_dispatches_longer_than_a_slice(void **state) {
    (void)state;
    check_cut(NULL, 40);
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
