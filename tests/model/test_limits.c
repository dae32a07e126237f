/* Devices that can do less: small bindings and allocations change nothing but the number of dispatches and blocks; what does
 * not fit at all says how much was asked, how much there is, and what would help, before anything long has begun. */
#include "tests/model/model_test.h"
#include "host/gpu/gpu.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 4, TOKENS = 32, STEPS = 3 };

static espl_device *device_with(const char *limits) {
    espl_device *device;
    test_ok(espl_device_create(test_context(), &(espl_device_params){.select = getenv("ESPL_TEST_DEVICE"), .limits = limits,
                                                                     .validation = getenv("ESPL_TEST_VALIDATION")},
                               &device));
    return device;
}

static void device_end(espl_device **device) {
    assert_int_equal(espl_device_validation_count(*device), 0);
    espl_device_destroy(device);
}

static espl_dataset *dataset(void) {
    static int32_t ids[ROWS * STEPS * TOKENS];
    for (uint32_t i = 0; i < ESPL_COUNT(ids); i++) ids[i] = (int32_t)(1 + (i * 7 + i / 5) % 90);
    espl_dataset *made;
    test_ok(espl_dataset_from_ids(test_context(), ids, ids, ROWS * STEPS, TOKENS, &made));
    return made;
}

/* Losses of a few steps, and what it took. */
static espl_device_counters train_on(espl_device *device, const char *name, bool full, double out_losses[STEPS]) {
    char path[512];
    espl_model *model;
    espl_adapter *adapter = NULL;
    espl_trainer *trainer;
    espl_progress progress;
    espl_dataset *data = dataset();
    snprintf(path, sizeof path, "%s/%s", ESPL_GOLDEN, name);
    test_ok(espl_model_load(device, path, &(espl_model_params){.trainable = full}, &model));
    if (!full) {
        snprintf(path, sizeof path, "%s/%s/adapter", ESPL_GOLDEN, name);
        test_ok(espl_adapter_load(model, "a", path, &adapter));
        test_ok(espl_model_activate(model, "a"));
    }
    const espl_trainer_params params = {.steps = STEPS, .batch = ROWS, .learning_rate = 1e-3};
    test_ok(espl_trainer_create(model, adapter, data, &params, &trainer));
    for (int i = 0; i < STEPS; i++) {
        test_ok(espl_trainer_step(trainer, &progress));
        out_losses[i] = progress.loss;
    }
    const espl_device_counters counters = espl_device_count(device);
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&data);
    espl_model_destroy(&model);
    device_end(&device);
    return counters;
}

static espl_device_counters train(const char *limits, const char *name, bool full, double out_losses[STEPS]) {
    return train_on(device_with(limits), name, full, out_losses);
}

static void same_training(const char *name, bool full) {
    double whole[STEPS], split[STEPS], bound[STEPS];
    const espl_device_counters a = train(NULL, name, full, whole);
    const espl_device_counters b = train("allocation_bytes_max=98304,unified_memory=0", name, full, split);
    const espl_device_counters c = train("storage_range_max=16384", name, full, bound);
    printf("  %-12s blocks %llu, %llu in pieces; dispatches %llu, %llu in windows\n", name,
           (unsigned long long)a.device_allocations, (unsigned long long)b.device_allocations,
           (unsigned long long)a.dispatches_recorded, (unsigned long long)c.dispatches_recorded);
    assert_true(b.device_allocations > a.device_allocations);
    assert_true(c.dispatches_recorded > a.dispatches_recorded);
    for (int i = 0; i < STEPS; i++) {
        assert_true(whole[i] == split[i]); /* the same kernels on other addresses */
        if (!(fabs(whole[i] - bound[i]) <= 1e-6 * fabs(whole[i])))
            fail_msg("%s step %d: %.9g in windows, %.9g whole", name, i, bound[i], whole[i]);
    }
}

static void smaller_bindings_and_blocks(void **state) {
    (void)state;
    same_training("llama_lora", false);
    same_training("gpt2_lora", false);
    same_training("llama_full", true);
}

/* All kernels of training, cut wherever a millisecond ends or one is thought to: the same bits. */
static void slices_change_no_bit(void **state) {
    (void)state;
    static const char *const names[] = {"llama_full", "gpt2_full", "qwen3_patterns"};
    for (size_t i = 0; i < ESPL_COUNT(names); i++) {
        double whole[STEPS], cut[STEPS];
        const bool full = strstr(names[i], "full") != NULL;
        const espl_device_counters a = train(NULL, names[i], full, whole);
        espl_device *device;
        test_ok(espl_device_create(test_context(), &(espl_device_params){.select = getenv("ESPL_TEST_DEVICE"), .slice_ms = 1,
                                                                         .low_priority = true}, &device));
        espl_device_expect(device, 1000); /* operations per millisecond: a very slow device */
        const espl_device_counters b = train_on(device, names[i], full, cut);
        printf("  %-14s slices %llu, %llu of a millisecond\n", names[i], (unsigned long long)a.slices,
               (unsigned long long)b.slices);
        assert_true(b.slices > 4 * a.slices);
        for (int step = 0; step < STEPS; step++)
            if (whole[step] != cut[step]) fail_msg("%s step %d: %.9g cut, %.9g whole", names[i], step, cut[step], whole[step]);
    }
}

static void weights_that_do_not_fit(void **state) {
    (void)state;
    espl_device *device = device_with("heap_bytes=3000000,unified_memory=0");
    espl_model *model;
    test_refused(espl_model_load(device, ESPL_TOOLS "/base", NULL, &model), ESPL_DEVICE_MEMORY, "dtype f16 or bf16 would fit");
    test_refused(espl_model_load(device, ESPL_TOOLS "/base", NULL, &model), ESPL_DEVICE_MEMORY, "the weights need 3");
    assert_int_equal(espl_device_count(device).arena_bytes[ESPL_ARENA_WEIGHTS], 0);
    assert_int_equal(espl_device_count(device).submissions, 0);
    test_ok(espl_model_load(device, ESPL_TOOLS "/base", &(espl_model_params){.dtype = "f16"}, &model));
    espl_model_destroy(&model);
    device_end(&device);
    device = device_with("heap_bytes=1000000");
    test_refused(espl_model_load(device, ESPL_TOOLS "/base", NULL, &model), ESPL_DEVICE_MEMORY, "no dtype makes it fit");
    device_end(&device);
}

static void cache_that_does_not_fit(void **state) {
    (void)state;
    espl_device *device = device_with("heap_bytes=4600000");
    espl_model *model;
    espl_session *session;
    test_ok(espl_model_load(device, ESPL_TOOLS "/base", NULL, &model));
    test_refused(espl_session_create(model, &(espl_session_params){.context = 512}, &session), ESPL_DEVICE_MEMORY,
                 "a context of 512 tokens (a shorter one needs less): ");
    test_ok(espl_session_create(model, &(espl_session_params){.context = 16}, &session));
    espl_session_destroy(&session);
    espl_model_destroy(&model);
    device_end(&device);
}

static void batch_that_does_not_fit(void **state) {
    (void)state;
    espl_device *device = device_with("heap_bytes=5400000");
    espl_model *model;
    espl_adapter *adapter;
    espl_trainer *trainer;
    espl_dataset *data = dataset();
    test_ok(espl_model_load(device, ESPL_TOOLS "/base", NULL, &model));
    test_ok(espl_adapter_add(model, "a", "lora:r=1,targets=q_proj", 1, &adapter));
    test_ok(espl_model_activate(model, "a"));
    espl_trainer_params params = {.steps = 1, .batch = ROWS};
    test_refused(espl_trainer_create(model, adapter, data, &params, &trainer), ESPL_DEVICE_MEMORY,
                 "4 rows of 32 tokens (fewer of either need less, so does recompute): ");
    params.batch = 1;
    params.recompute = true;
    test_ok(espl_trainer_create(model, adapter, data, &params, &trainer));
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&data);
    espl_model_destroy(&model);
    device_end(&device);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(smaller_bindings_and_blocks), cmocka_unit_test(slices_change_no_bit), cmocka_unit_test(weights_that_do_not_fit),
                                       cmocka_unit_test(cache_that_does_not_fit),
                                       cmocka_unit_test(batch_that_does_not_fit)};
    return test_main("limits", tests, ESPL_COUNT(tests));
}
