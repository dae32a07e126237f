/* Sampling: what stays and with which weight, against transformers' processors; the draw itself by chi-square. */
#include "host/serve/sample.h"
#include "tests/train/common.h"
#include "tests/train/fixtures.h"
#include <math.h>

/* Probabilities that the sampler would draw with. */
static void probabilities(const espl_sampler *sampler, double *out) {
    double total = 0;
    for (uint32_t i = 0; i < sampler->vocabulary; i++)
        out[i] = 0;
    for (uint32_t i = 0; i < sampler->count; i++)
        total += sampler->candidates[i].weight;
    for (uint32_t i = 0; i < sampler->count; i++)
        out[sampler->candidates[i].id] = sampler->candidates[i].weight / total;
}

static void test_processors(void **state) {
    (void)state;
    espl_context *ctx = quiet_context();
    for (size_t c = 0; c < sizeof sample_cases / sizeof *sample_cases; c++) {
        espl_sampling params = {.temperature = sample_cases[c].temperature,
                                .top_k = sample_cases[c].top_k,
                                .top_p = sample_cases[c].top_p,
                                .min_p = sample_cases[c].min_p,
                                .repetition_penalty = sample_cases[c].penalty};
        espl_sampler sampler;
        espl_random random = {.seed = c};
        int32_t id;
        double found[SAMPLE_COUNT];
        assert_int_equal(espl_sampler_init(ctx, &params, SAMPLE_COUNT, &sampler), ESPL_OK);
        for (int again = 0; again < 2; again++) { /* nothing is left over from the call before */
            assert_int_equal(espl_sample(&sampler, sample_logits, sample_history,
                                         sizeof sample_history / sizeof *sample_history, &random, &id),
                             ESPL_OK);
            probabilities(&sampler, found);
            for (int i = 0; i < SAMPLE_COUNT; i++) {
                double wanted = sample_cases[c].probability[i];
                if ((wanted == 0) != (found[i] == 0) || fabs(found[i] - wanted) > 2e-6 * wanted + 1e-9)
                    fail_msg("case %zu id %d: %.9g, transformers gives %.9g", c, i, found[i], wanted);
            }
            assert_true(id >= 0 && id < SAMPLE_COUNT && found[id] > 0);
        }
        espl_sampler_finish(&sampler);
    }
    espl_context_destroy(&ctx);
}

static void test_chi_square(void **state) {
    (void)state;
    enum { DRAWS = 200000 };
    const espl_sampling cases[] = {{.temperature = 1},
                                   {.temperature = 2, .top_k = 12},
                                   {.temperature = 1.5, .top_p = 0.9},
                                   {.temperature = 3, .top_k = 40, .top_p = 0.95, .min_p = 0.05}};
    espl_context *ctx = quiet_context();
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        espl_sampler sampler;
        espl_random random = {.seed = 42, .stream = c};
        uint32_t hits[SAMPLE_COUNT] = {0}, cells = 0;
        double wanted[SAMPLE_COUNT], chi = 0, rest = 0, rest_hits = 0;
        assert_int_equal(espl_sampler_init(ctx, &cases[c], SAMPLE_COUNT, &sampler), ESPL_OK);
        for (int i = 0; i < DRAWS; i++) {
            int32_t id;
            assert_int_equal(espl_sample(&sampler, sample_logits, NULL, 0, &random, &id), ESPL_OK);
            hits[id]++;
        }
        probabilities(&sampler, wanted);
        for (int i = 0; i < SAMPLE_COUNT; i++) {
            double expected = wanted[i] * DRAWS;
            if (expected == 0) assert_int_equal(hits[i], 0);
            if (expected < 10) {
                rest += expected;
                rest_hits += hits[i];
                continue;
            }
            chi += (hits[i] - expected) * (hits[i] - expected) / expected;
            cells++;
        }
        if (rest > 5) {
            chi += (rest_hits - rest) * (rest_hits - rest) / rest;
            cells++;
        }
        /* Wilson-Hilferty: 3.1 standard deviations is one in a thousand; the seed is fixed. */
        double n = cells - 1, z = (cbrt(chi / n) - (1 - 2 / (9 * n))) / sqrt(2 / (9 * n));
        if (fabs(z) > 3.1) fail_msg("case %zu: chi-square %.2f with %u cells", c, chi, cells);
        espl_sampler_finish(&sampler);
    }
    espl_context_destroy(&ctx);
}

static void test_greedy(void **state) {
    (void)state;
    espl_context *ctx = quiet_context();
    espl_sampler sampler;
    const espl_sampling plain = {0}, penalty = {.repetition_penalty = 2};
    const float logits[] = {-1, 3, 2, 3, -5}, negative[] = {-2, -1, -1.5f};
    const int32_t history[] = {1, 1, 99, -4}, other[] = {1};
    int32_t id;
    espl_random random = {0};
    assert_int_equal(espl_sampler_init(ctx, &plain, 5, &sampler), ESPL_OK);
    assert_int_equal(espl_sample(&sampler, logits, history, 4, &random, &id), ESPL_OK);
    assert_int_equal(id, 1); /* the lower of two equals */
    assert_int_equal(random.index, 0);
    espl_sampler_finish(&sampler);
    assert_int_equal(espl_sampler_init(ctx, &penalty, 5, &sampler), ESPL_OK);
    assert_int_equal(espl_sample(&sampler, logits, history, 4, &random, &id), ESPL_OK);
    assert_int_equal(id, 3);
    espl_sampler_finish(&sampler);
    assert_int_equal(espl_sampler_init(ctx, &penalty, 3, &sampler), ESPL_OK);
    assert_int_equal(espl_sample(&sampler, negative, other, 1, &random, &id), ESPL_OK);
    assert_int_equal(id, 2); /* -1 became -2 */
    espl_sampler_finish(&sampler);
    espl_context_destroy(&ctx);
}

static void test_refused(void **state) {
    (void)state;
    espl_context *ctx = quiet_context();
    espl_sampler sampler;
    espl_random random = {0};
    int32_t id;
    const espl_sampling bad[] = {{.temperature = -1}, {.temperature = NAN},       {.top_p = 1.5},
                                 {.min_p = -0.1},     {.repetition_penalty = -1}, {.temperature = INFINITY}};
    for (size_t c = 0; c < sizeof bad / sizeof *bad; c++)
        assert_int_equal(espl_sampler_init(ctx, &bad[c], 10, &sampler), ESPL_ARGUMENT);
    assert_int_equal(espl_sampler_init(ctx, &(espl_sampling){.top_p = 1.5}, 10, &sampler), ESPL_ARGUMENT);
    assert_string_equal(espl_context_message(ctx), "top_p is 1.5, it must be from 0 to 1");
    assert_int_equal(espl_sampler_init(ctx, &(espl_sampling){0}, 0, &sampler), ESPL_ARGUMENT);
    const float logits[] = {0, NAN, 1}, infinite[] = {0, 1, -INFINITY};
    assert_int_equal(espl_sampler_init(ctx, &(espl_sampling){0}, 3, &sampler), ESPL_OK);
    assert_int_equal(espl_sample(&sampler, logits, NULL, 0, &random, &id), ESPL_FORMAT);
    assert_string_equal(espl_context_message(ctx), "logit 1 of 3 is not a number; no token can be drawn");
    assert_int_equal(espl_sample(&sampler, infinite, NULL, 0, &random, &id), ESPL_FORMAT);
    espl_sampler_finish(&sampler);
    espl_context_destroy(&ctx);
}

/* A large vocabulary in every arrangement that is hard for a selection, against a sort. */
static int descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

static void test_large(void **state) {
    (void)state;
    enum { COUNT = 150000 };
    espl_context *ctx = quiet_context();
    float *logits = malloc(COUNT * sizeof *logits), *sorted = malloc(COUNT * sizeof *sorted);
    for (int kind = 0; kind < 4; kind++) {
        espl_random random = {.seed = 3};
        for (int i = 0; i < COUNT; i++) {
            float chance = espl_random_normal(&random);
            logits[i] = kind == 0 ? chance : kind == 1 ? (float)i * 1e-4f : kind == 2 ? (float)-i * 1e-4f : 0.5f;
        }
        memcpy(sorted, logits, COUNT * sizeof *sorted);
        qsort(sorted, COUNT, sizeof *sorted, descending);
        espl_sampler sampler;
        int32_t id;
        assert_int_equal(espl_sampler_init(ctx, &(espl_sampling){.temperature = 1, .top_k = 50}, COUNT, &sampler),
                         ESPL_OK);
        assert_int_equal(espl_sample(&sampler, logits, NULL, 0, &random, &id), ESPL_OK);
        assert_true(logits[id] >= sorted[49]);
        assert_int_equal(sampler.count, kind == 3 ? COUNT : 50);
        espl_sampler_finish(&sampler);

        double total = 0, above = 0;
        uint32_t wanted = 0;
        for (int i = 0; i < COUNT; i++)
            total += exp((double)sorted[i] - (double)sorted[0]);
        while (wanted < COUNT && above < 0.9 * total)
            above += exp((double)sorted[wanted++] - (double)sorted[0]);
        assert_int_equal(espl_sampler_init(ctx, &(espl_sampling){.temperature = 1, .top_p = 0.9}, COUNT, &sampler),
                         ESPL_OK);
        assert_int_equal(espl_sample(&sampler, logits, NULL, 0, &random, &id), ESPL_OK);
        assert_in_range(sampler.count, wanted - 1, wanted + 1); /* the sums differ in their last digits */
        espl_sampler_finish(&sampler);
    }
    /* A temperature that overflows whatever is divided by it. */
    espl_sampler sampler;
    espl_random random = {0};
    int32_t id;
    logits[77] = 9;
    assert_int_equal(espl_sampler_init(ctx, &(espl_sampling){.temperature = 1e-310}, COUNT, &sampler), ESPL_OK);
    assert_int_equal(espl_sample(&sampler, logits, NULL, 0, &random, &id), ESPL_OK);
    assert_int_equal(id, 77);
    espl_sampler_finish(&sampler);
    free(logits);
    free(sorted);
    espl_context_destroy(&ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_processors), cmocka_unit_test(test_chi_square), cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
