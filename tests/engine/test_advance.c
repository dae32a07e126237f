/* Training a little per frame: the same bits as whole steps, never a wait inside a call, nothing beyond the budget but a piece
 * that is alone above it, and a trainer that keeps its word while a step is under way. */
#include "tests/engine/engine.h"
#include "host/base/os.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 4 };

/* ---- A loader that counts ---- */

static struct {
    PFN_vkGetInstanceProcAddr get;
    PFN_vkGetDeviceProcAddr get_device;
    PFN_vkWaitSemaphores wait_semaphores;
    PFN_vkWaitForFences wait_fences;
    PFN_vkQueueSubmit submit;
    int waits, submits;
    bool lost;
} calls;

static VkResult VKAPI_PTR wait_semaphores(VkDevice device, const VkSemaphoreWaitInfo *info, uint64_t timeout) {
    calls.waits++;
    return calls.wait_semaphores(device, info, timeout);
}

static VkResult VKAPI_PTR wait_fences(VkDevice device, uint32_t count, const VkFence *fences, VkBool32 all, uint64_t timeout) {
    calls.waits++;
    return calls.wait_fences(device, count, fences, all, timeout);
}

static VkResult VKAPI_PTR submit(VkQueue queue, uint32_t count, const VkSubmitInfo *infos, VkFence fence) {
    calls.submits++;
    return calls.lost ? VK_ERROR_DEVICE_LOST : calls.submit(queue, count, infos, fence);
}

#define REPLACE(member, type, vulkan_name)                \
    if (strcmp(name, vulkan_name) == 0) {                 \
        if (function) calls.member = (type)function;      \
        return function ? (PFN_vkVoidFunction)member : NULL; \
    }

static PFN_vkVoidFunction VKAPI_PTR get_device_function(VkDevice device, const char *name) {
    PFN_vkVoidFunction function = calls.get_device(device, name);
    REPLACE(wait_semaphores, PFN_vkWaitSemaphores, "vkWaitSemaphores")
    REPLACE(wait_semaphores, PFN_vkWaitSemaphores, "vkWaitSemaphoresKHR")
    REPLACE(wait_fences, PFN_vkWaitForFences, "vkWaitForFences")
    REPLACE(submit, PFN_vkQueueSubmit, "vkQueueSubmit")
    return function;
}

static PFN_vkVoidFunction VKAPI_PTR get_function(VkInstance instance, const char *name) {
    PFN_vkVoidFunction function = calls.get(instance, name);
    if (strcmp(name, "vkGetDeviceProcAddr") != 0) return function;
    calls.get_device = (PFN_vkGetDeviceProcAddr)function;
    return (PFN_vkVoidFunction)get_device_function;
}

static engine_training begin(engine *e, uint32_t steps, double piece_ms) {
    espl_device_import_params params = engine_import_params(e, NULL);
    PFN_vkGetInstanceProcAddr get = get_function;
    espl_device *device;
    memset(&calls, 0, sizeof calls);
    calls.get = e->own.get;
    memcpy(&params.get_instance_proc_addr, &get, sizeof get);
    engine_ok(e, espl_device_import(e->ctx, &params, &device));
    return engine_training_open(e, device, steps, piece_ms);
}

static float *whole_steps(engine *e, double losses[STEPS], size_t *out_count) {
    engine_training t = begin(e, STEPS, 0);
    espl_progress progress;
    bool done;
    for (int i = 0; i < STEPS; i++) {
        engine_ok(e, espl_trainer_step(t.trainer, &progress));
        losses[i] = progress.loss;
    }
    engine_refused(e, espl_trainer_advance(t.trainer, 1, &progress, &done), ESPL_ARGUMENT, "piece_ms 0");
    float *values = engine_parameters(e, &t, out_count);
    engine_training_close(&t);
    return values;
}

/* One frame: the call, which does not wait; something drawn behind it, which does. Returns whether a step was completed. */
static bool frame(engine *e, engine_training *t, double budget_ms, espl_progress *progress, uint32_t number) {
    bool done;
    const int waits = calls.waits;
    engine_ok(e, espl_trainer_advance(t->trainer, budget_ms, progress, &done));
    assert_int_equal(calls.waits, waits);
    engine_begin(e);
    engine_draw_frame(e, number);
    engine_submit(e);
    assert_int_equal(engine_wrong_pixels(e, number), 0);
    return done;
}

static void same_bits(bool timeline) {
    static const struct {
        double budget_ms, piece_ms;
    } cases[] = {{1e-6, 1e-3}, {0.3, 0.1}, {2, 0.5}, {5, 2}, {1e9, 1e-2}};
    engine e;
    double expected[STEPS];
    size_t count;
    engine_open(&e, timeline);
    float *values = whole_steps(&e, expected, &count);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        engine_training t = begin(&e, STEPS, cases[i].piece_ms);
        uint32_t frames = 0, steps = 0;
        while (!espl_trainer_is_done(t.trainer)) {
            espl_progress progress;
            assert_true(frames < 100000);
            if (!frame(&e, &t, cases[i].budget_ms, &progress, frames++)) {
                assert_int_equal(progress.step, steps);
                continue;
            }
            assert_int_equal(progress.step, steps + 1);
            assert_memory_equal(&progress.loss, &expected[steps], sizeof progress.loss);
            steps++;
        }
        print_message("%g ms in pieces of %g ms: %u frames for %d steps\n", cases[i].budget_ms, cases[i].piece_ms, frames, STEPS);
        float *got = engine_parameters(&e, &t, &count);
        assert_memory_equal(got, values, count * sizeof *got);
        free(got);
        engine_training_close(&t);
    }
    free(values);
    engine_close(&e);
}

static void same_bits_with_a_timeline(void **state) {
    (void)state;
    same_bits(true);
}

static void same_bits_with_fences(void **state) {
    (void)state;
    same_bits(false);
}

/* While a step is under way it can be finished, and nothing else. */
static void under_way(void **state) {
    (void)state;
    engine e;
    double expected[STEPS], loss;
    size_t count;
    espl_progress progress;
    bool done;
    engine_open(&e, true);
    float *values = whole_steps(&e, expected, &count);
    engine_training t = begin(&e, STEPS, 0.1);
    engine_ok(&e, espl_trainer_evaluate(t.trainer, &loss));
    assert_false(frame(&e, &t, 1e-6, &progress, 0));
    engine_refused(&e, espl_trainer_save(t.trainer, "half"), ESPL_ARGUMENT, "step 1 is under way and cannot be saved");
    assert_false(espl_os_is_folder("half"));
    engine_refused(&e, espl_trainer_resume(t.trainer, "half"), ESPL_ARGUMENT, "step 1 is under way");
    engine_refused(&e, espl_trainer_evaluate(t.trainer, &loss), ESPL_ARGUMENT, "cannot be evaluated");
    const int submits = calls.submits;
    engine_ok(&e, espl_trainer_advance(t.trainer, 0, &progress, &done));
    engine_ok(&e, espl_trainer_advance(t.trainer, -1, &progress, &done));
    assert_int_equal(calls.submits, submits);
    engine_refused(&e, espl_trainer_advance(t.trainer, INFINITY, &progress, &done), ESPL_ARGUMENT, "a budget of inf");
    engine_refused(&e, espl_trainer_advance(t.trainer, NAN, &progress, &done), ESPL_ARGUMENT, "a budget of");
    engine_ok(&e, espl_trainer_step(t.trainer, &progress)); /* the rest of it */
    assert_int_equal(progress.step, 1);
    assert_memory_equal(&progress.loss, &expected[0], sizeof loss);
    engine_ok(&e, espl_trainer_save(t.trainer, "half"));
    engine_ok(&e, espl_trainer_evaluate(t.trainer, &loss));
    for (uint32_t i = 0; !espl_trainer_is_done(t.trainer); i++) frame(&e, &t, 1, &progress, i);
    engine_ok(&e, espl_trainer_advance(t.trainer, 1, &progress, &done)); /* after the last one */
    assert_false(done);
    assert_int_equal(progress.step, STEPS);
    float *got = engine_parameters(&e, &t, &count);
    assert_memory_equal(got, values, count * sizeof *got);
    free(got);
    engine_training_close(&t);

    t = begin(&e, STEPS, 0.1); /* from that checkpoint */
    engine_ok(&e, espl_trainer_resume(t.trainer, "half"));
    for (uint32_t i = 0; !espl_trainer_is_done(t.trainer); i++) frame(&e, &t, 1, &progress, i);
    got = engine_parameters(&e, &t, &count);
    assert_memory_equal(got, values, count * sizeof *got);
    espl_os_remove_folder(e.ctx, "half");
    free(got), free(values);
    engine_training_close(&t);
    engine_close(&e);
}

/* Once times are known a frame has several pieces; what is still running counts; a step then records and makes nothing. */
static void within_the_budget(void **state) {
    (void)state;
    engine e;
    espl_progress progress;
    bool done;
    engine_open(&e, true);
    engine_training t = begin(&e, 1000, 0.1);
    for (uint32_t i = 0; !frame(&e, &t, 1, &progress, i);) i++;
    const espl_device_counters before = espl_device_count(t.device);
    uint32_t frames[2] = {0};
    for (int large = 0; large < 2; large++)
        while (!frame(&e, &t, large ? 1e9 : 1e-6, &progress, frames[large])) frames[large]++;
    assert_true(frames[1] <= 2 && frames[0] > 20); /* all in one and the look at its end; every piece alone */
    const espl_device_counters after = espl_device_count(t.device);
    assert_int_equal(before.commands_recorded, after.commands_recorded);
    assert_int_equal(before.device_allocations, after.device_allocations);
    /* The device is lost in the middle: said, and everything can still be destroyed. */
    assert_false(frame(&e, &t, 1e-6, &progress, 0));
    calls.lost = true;
    engine_refused(&e, espl_trainer_advance(t.trainer, 1, &progress, &done), ESPL_DEVICE_LOST, "VK_ERROR_DEVICE_LOST");
    engine_refused(&e, espl_trainer_advance(t.trainer, 1, &progress, &done), ESPL_DEVICE_LOST, "was lost");
    engine_training_close(&t);
    engine_close(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits_with_a_timeline), cmocka_unit_test(same_bits_with_fences),
                                       cmocka_unit_test(under_way), cmocka_unit_test(within_the_budget)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
