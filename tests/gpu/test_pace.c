/* The pace of a device that is made up: what a piece takes of a budget follows what the last submissions took. */
#include "gpu_test.h"
#include "host/gpu/state.h"
#include <stdlib.h>
#include <string.h>

enum { PIECES = 4 };

static const VkQueryPool pool = (VkQueryPool)(uintptr_t)1;
static double clock_ms, ended_ms;

/* A pair's beginning is even. Stamps are in nanoseconds. */
static VkResult VKAPI_PTR results(VkDevice device, VkQueryPool from, uint32_t first, uint32_t count, size_t bytes, void *out,
                                  VkDeviceSize stride, VkQueryResultFlags flags) {
    uint64_t stamp[2] = {(uint64_t)((first % 2 ? ended_ms : clock_ms) * 1e6), 1};
    (void)device, (void)stride, (void)flags;
    assert_ptr_equal(from, pool);
    assert_int_equal(count, 1);
    assert_int_equal(bytes, sizeof stamp);
    memcpy(out, stamp, sizeof stamp);
    return VK_SUCCESS;
}

typedef struct fixture {
    espl_device device;
    espl_commands pieces[PIECES];
    espl_commands *list[PIECES];
    espl_ticket ticket;
} fixture;

/* Pieces that take 1 ms each. */
static fixture *open_fixture(void) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->device.vk.GetQueryPoolResults = results;
    f->device.facts.timestamp_bits = 64;
    f->device.facts.properties.limits.timestampPeriod = 1;
    f->device.pace = (espl_pace){.factor = 1};
    for (uint32_t i = 0; i < PIECES; i++) {
        f->pieces[i] = (espl_commands){.likely = 1, .samples = 3, .timer = {pool, 2 * i}};
        f->list[i] = &f->pieces[i];
    }
    return f;
}

static void go_out(fixture *f, size_t count) {
    espl_pace_expect(&f->device, f->list, count, ++f->ticket);
}

static void end(fixture *f, double took_ms) {
    clock_ms += 100;
    ended_ms = clock_ms + took_ms;
    f->device.signal.completed = f->ticket;
    espl_pace_learn(&f->device);
}

static double pace(const fixture *f) {
    return espl_pace_of(&f->device, &f->pieces[0]);
}

static void assert_close(double value, double expected) {
    assert_true(value > 0.999 * expected && value < 1.001 * expected);
}

static void up_at_once_down_slowly(void **state) {
    (void)state;
    fixture *f = open_fixture();
    assert_close(pace(f), 1);
    go_out(f, 4);
    end(f, 8);
    assert_close(pace(f), 2);
    for (int i = 0; i < 34; i++) {
        go_out(f, 4);
        end(f, 4);
    }
    assert_true(pace(f) > 1.4 && pace(f) < 1.6);
    for (int i = 0; i < 400; i++) {
        go_out(f, 4);
        end(f, 2);
    }
    assert_true(pace(f) > 0.49 && pace(f) < 0.51);
    go_out(f, 4);
    end(f, 4000);
    assert_close(pace(f), 3);
    free(f);
}

/* What goes out while the device is busy is one with what keeps it so; a submission under way says nothing yet. */
static void several_at_once(void **state) {
    (void)state;
    fixture *f = open_fixture();
    go_out(f, 2);
    espl_pace_learn(&f->device);
    assert_close(pace(f), 1);
    go_out(f, 4);
    end(f, 9);
    assert_close(pace(f), 1.5);
    free(f);
}

static void what_says_nothing(void **state) {
    (void)state;
    fixture *f = open_fixture();
    f->pieces[1].samples = 0; /* its first run may hold the driver's compiler */
    go_out(f, 4);
    end(f, 50);
    assert_close(pace(f), 1);
    f->pieces[1].samples = 1;
    go_out(f, 4);
    espl_pace_forget(&f->device, f->pieces[3].timer); /* recorded anew meanwhile */
    end(f, 50);
    assert_close(pace(f), 1);
    f->pieces[0].likely = -1;
    assert_true(pace(f) < 0);
    free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(up_at_once_down_slowly),
        cmocka_unit_test(several_at_once),
        cmocka_unit_test(what_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
