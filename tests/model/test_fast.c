/* Fast mode as a whole: weights and values in f16 or bf16, beside exact mode on the bundled model. */
#include "host/base/os.h"
#include "host/gpu/gpu.h"
#include "host/train/trainer.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 20, TOKENS = 32 };

static const char *const dtypes[] = {"f16", "bf16"};

/* dtype NULL: exact. */
static espl_model *load(const char *dtype) {
    espl_model *model;
    const espl_model_params params = {.mode = dtype ? ESPL_MODE_FAST : ESPL_MODE_EXACT, .dtype = dtype};
    test_ok(espl_model_load(test_device(), ESPL_TOOLS "/base", &params, &model));
    return model;
}

static test_setup begin(const char *dtype) {
    test_setup s = {.model = load(dtype)};
    test_ok(espl_dataset_load(test_context(), espl_model_tokenizer(s.model), ESPL_TOOLS "/base/style.txt",
                              &(espl_dataset_params){.context = TOKENS}, &s.dataset));
    test_ok(espl_adapter_add(s.model, "a", "lora:r=8,alpha=16,targets=all-linear,dropout=0.1", 1, &s.adapter));
    test_ok(espl_model_activate(s.model, "a"));
    test_ok(espl_trainer_create(s.model, s.adapter, s.dataset,
                                &(espl_trainer_params){.steps = STEPS, .batch = 2, .learning_rate = 3e-3, .warmup = 5, .seed = 1},
                                &s.trainer));
    return s;
}

static void run(test_setup *s, uint32_t from, uint32_t to, double *out_losses) {
    espl_progress progress;
    for (uint32_t i = from; i < to; i++) {
        test_ok(espl_trainer_step(s->trainer, &progress));
        out_losses[i] = progress.loss;
    }
}

/* The curve of fast mode keeps within 1 % of the exact one, and what a step keeps takes at most 0.6 of the memory. Once
 * more it has the same bits, and so it has when it was stopped and resumed. */
static void training(void **state) {
    (void)state;
    double exact[STEPS], fast[STEPS], again[STEPS];
    test_setup s = begin(NULL);
    run(&s, 0, STEPS, exact);
    const uint64_t exact_bytes = espl_trainer_activation_bytes(s.trainer);
    test_setup_end(&s);
    for (size_t d = 0; d < ESPL_COUNT(dtypes); d++) {
        s = begin(dtypes[d]);
        const uint64_t bytes = espl_trainer_activation_bytes(s.trainer);
        run(&s, 0, STEPS, fast);
        test_setup_end(&s);
        double worst = 0;
        for (int i = 0; i < STEPS; i++) worst = fmax(worst, fabs(fast[i] - exact[i]) / exact[i]);
        printf("  %s: loss %.4f -> %.4f, exact %.4f -> %.4f, largest difference %.3f %%, activations %.3f of %llu bytes\n",
               dtypes[d], fast[0], fast[STEPS - 1], exact[0], exact[STEPS - 1], 100 * worst,
               (double)bytes / (double)exact_bytes, (unsigned long long)exact_bytes);
        assert_true(worst > 0 && worst < 0.01);
        assert_true((double)bytes <= 0.6 * (double)exact_bytes);

        char *folder = test_path("fast_checkpoint");
        s = begin(dtypes[d]);
        run(&s, 0, STEPS / 2, again);
        test_ok(espl_trainer_save(s.trainer, folder));
        test_setup_end(&s);
        s = begin(dtypes[d]);
        test_ok(espl_trainer_resume(s.trainer, folder));
        run(&s, STEPS / 2, STEPS, again);
        test_setup_end(&s);
        assert_memory_equal(fast, again, sizeof fast);
        espl_os_remove_folder(test_context(), folder);
        free(folder);
    }
}

static void logits_of(espl_session *session, const int32_t *ids, uint32_t count, uint32_t piece, double *out_logits) {
    const float *logits;
    uint32_t vocabulary;
    espl_session_reset(session);
    for (uint32_t done = 0; done < count; done += piece)
        test_ok(espl_session_append(session, ids + done, count - done < piece ? count - done : piece));
    test_ok(espl_session_logits(session, &logits, &vocabulary));
    for (uint32_t i = 0; i < vocabulary; i++) out_logits[i] = (double)logits[i];
}

static uint64_t state_bytes(void) {
    return espl_device_count(test_device()).arena_bytes[ESPL_ARENA_STATE];
}

/* The same context takes half the memory; one token at a time or all at once gives the exact logits but for rounding:
 * some thirty roundings of half a unit in the last place each, which add up to a few of them. */
static void generation(void **state) {
    (void)state;
    enum { LENGTH = 40, VOCABULARY = 1024, CONTEXT = 256 };
    static double exact[VOCABULARY], got[VOCABULARY];
    static const uint32_t pieces[] = {LENGTH, 1, 17};
    static const double bounds[] = {4 * 0x1p-11, 4 * 0x1p-8};
    int32_t ids[LENGTH];
    uint64_t exact_bytes = 0;
    for (int i = 0; i < LENGTH; i++) ids[i] = 3 + 37 * i % 1000;
    for (size_t d = 0; d <= ESPL_COUNT(dtypes); d++) {
        espl_model *model = load(d ? dtypes[d - 1] : NULL);
        espl_session *session;
        const uint64_t before = state_bytes();
        test_ok(espl_session_create(model, &(espl_session_params){.context = CONTEXT}, &session));
        const uint64_t cache = 4 * 2 * 64 * (CONTEXT + 256) * (d ? 2u : 4u), bytes = state_bytes() - before;
        if (d == 0) exact_bytes = bytes - cache; /* the rest: step buffers */
        if (bytes != exact_bytes + cache)
            fail_msg("%llu bytes of state for a cache of %llu", (unsigned long long)bytes, (unsigned long long)cache);
        for (size_t p = 0; p < ESPL_COUNT(pieces); p++) {
            logits_of(session, ids, LENGTH, pieces[p], d ? got : exact);
            if (d == 0) continue;
            const double error = test_relative(got, exact, VOCABULARY);
            printf("  %s in pieces of %u: logits off by %.2e\n", dtypes[d - 1], pieces[p], error);
            assert_true(error > 0 && error < bounds[d - 1]);
        }
        espl_session_destroy(&session);
        espl_model_destroy(&model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(training), cmocka_unit_test(generation)};
    return test_main("fast mode", tests, ESPL_COUNT(tests));
}
