/* Averages of adapters, and LoRAs combined as PEFT's add_weighted_adapter does. */
#include "host/model/adapter.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void averages(void **state) {
    (void)state;
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *a, *b, *made;
    float both[TEST_VOCABULARY], now[TEST_VOCABULARY];
    const char *const names[] = {"a", "b"}, *const other[] = {"a", "c"};
    const espl_average_params cat = {.strategy = ESPL_AVERAGE_CAT};
    test_ok(espl_adapter_add(model, "a", "lora:r=3,alpha=5,init=random,targets=q_proj+down_proj", 1, &a));
    test_ok(espl_adapter_add(model, "b", "lora:r=3,alpha=5,init=random,targets=q_proj+down_proj,dropout=0.1", 2, &b));
    test_ok(espl_adapter_add(model, "c", "lora:r=4,targets=q_proj+down_proj", 2, &made));
    test_refused(espl_adapter_average(model, "m", other, (const double[]){1, 1}, 2, NULL, &made), ESPL_ARGUMENT, "differ in");
    test_refused(espl_adapter_average(model, "m", (const char *const[]){"z"}, (const double[]){1}, 1, NULL, &made),
                 ESPL_ARGUMENT, "there is no adapter \"z\"");
    test_ok(espl_adapter_add(model, "v", "vera:r=4", 1, &made));
    test_ok(espl_adapter_add(model, "w", "vera:r=4,key=1", 1, &made));
    test_refused(espl_adapter_average(model, "m", (const char *const[]){"v", "w"}, (const double[]){1, 1}, 2, NULL, &made),
                 ESPL_ARGUMENT, "have different base_model.vera_A");
    /* One of weight 1 is itself, and one of weight 0 nothing. */
    test_ok(espl_adapter_average(model, "m", names, (const double[]){1, 0}, 2, NULL, &made));
    size_t count;
    float *own = test_adapter_values(a, &count), *mean = test_adapter_values(made, &count);
    assert_memory_equal(own, mean, count * sizeof *own);
    free(own), free(mean);
    espl_adapter_delete(&made);
    /* Stacked ranks add what both add. */
    test_ok(espl_model_activate(model, "a+b"));
    test_logits(model, both);
    test_ok(espl_adapter_average(model, "m", names, (const double[]){1, 1}, 2, &cat, &made));
    assert_true(espl_adapter_parameters(made) == 2 * espl_adapter_parameters(a));
    test_ok(espl_model_activate(model, "m"));
    test_logits(model, now);
    if (!(test_off(now, both) < 1e-6)) fail_msg("stacked it is off by %g", test_off(now, both));
    espl_adapter_delete(&made);
    test_ok(espl_adapter_average(model, "m", names, (const double[]){0.5, -2}, 2, &cat, &made));
    test_ok(espl_model_activate(model, "m"));
    test_logits(model, now);
    assert_true(test_off(now, both) > 1e-3);
    espl_model_destroy(&model);
}

/* tests/golden/average: PEFT's add_weighted_adapter in float64 of the same A and B. The result's are rounded to f32, each value by
 * 2^-24 of it at the most, so that what they add is off by less than 2^-23. */
static void averages_as_peft(void **state) {
    (void)state;
    static const struct {
        const char *name, *adapters[3];
        double weights[3];
        size_t count;
        espl_average_params params;
        uint32_t made;
    } cases[] = {
        {"cat", {"a", "b"}, {0.5, -2}, 2, {.strategy = ESPL_AVERAGE_CAT}, 5},
        {"svd", {"a", "b"}, {0.7, -1.2}, 2, {.strategy = ESPL_AVERAGE_SVD}, 3},
        {"svd_1", {"a", "b", "c"}, {0.7, 1.2, -0.3}, 3, {.strategy = ESPL_AVERAGE_SVD, .rank = 1}, 1},
        {"linear", {"a", "c"}, {0.6, -1.5}, 2, {.strategy = ESPL_AVERAGE_ROOTS}, 2},
        {"ties", {"a", "c", "d"}, {0.6, -1.5, 1.1}, 3, {.strategy = ESPL_AVERAGE_TIES, .density = 0.7}, 2},
        {"ties_frequency", {"a", "c", "d"}, {0.6, 1.5, 1.1}, 3,
         {.strategy = ESPL_AVERAGE_TIES, .density = 0.7, .majority_sign = ESPL_MAJORITY_SIGN_FREQUENCY}, 2},
        {"ties_two", {"a", "c"}, {0.6, 0.9}, 2,
         {.strategy = ESPL_AVERAGE_TIES, .density = 1, .majority_sign = ESPL_MAJORITY_SIGN_FREQUENCY}, 2},
        {"ties_one", {"a"}, {-0.6}, 1, {.strategy = ESPL_AVERAGE_TIES, .density = 0.3}, 2},
        {"ties_svd", {"a", "b", "c"}, {0.7, 1.2, -0.3}, 3, {.strategy = ESPL_AVERAGE_TIES_SVD, .density = 0.6}, 3},
        {"ties_svd_frequency", {"a", "b", "c"}, {0.7, 1.2, 0.3}, 3,
         {.strategy = ESPL_AVERAGE_TIES_SVD, .rank = 5, .density = 0.9, .majority_sign = ESPL_MAJORITY_SIGN_FREQUENCY}, 5},
        {"magnitude_prune", {"a", "c", "d"}, {0.6, -1.5, 1.1}, 3, {.strategy = ESPL_AVERAGE_MAGNITUDE_PRUNE, .density = 0.35}, 2},
        {"magnitude_prune_svd", {"a", "b"}, {0.7, -1.2}, 2,
         {.strategy = ESPL_AVERAGE_MAGNITUDE_PRUNE_SVD, .rank = 4, .density = 0.5}, 4}};
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *made;
    espl_tensors *golden;
    static const char *const names[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < ESPL_COUNT(names); i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/average/%s", ESPL_GOLDEN, names[i]);
        test_ok(espl_adapter_load(model, names[i], path, &made));
    }
    test_ok(espl_tensors_open(test_context(), ESPL_GOLDEN "/average/deltas.safetensors", &golden));
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        size_t count;
        test_ok(espl_adapter_average(model, "m", cases[i].adapters, cases[i].weights, cases[i].count, &cases[i].params, &made));
        assert_int_equal(made->store.entries[0].count, cases[i].made);
        double *now = test_lora_change(made, 0, &count), *expected = test_values(golden, cases[i].name, NULL);
        const double difference = test_relative(now, expected, count);
        if (!(difference < 0x1p-23)) fail_msg("%s is off by %g", cases[i].name, difference);
        free(now), free(expected);
        espl_adapter_delete(&made);
    }
    espl_tensors_destroy(&golden);
    espl_model_destroy(&model);
}

/* What is made of LoRAs adds the sum of what each adds, by its weight. */
static void sums(void **state) {
    (void)state;
    static const struct {
        const char *name, *spec;
    } inputs[] = {{"a", "lora:r=2,alpha=5,init=random,targets=q_proj+k_proj"},
                  {"b", "lora:r=3,alpha=4,init=random,targets=q_proj+k_proj"},
                  {"p", "{\"peft_type\":\"LORA\",\"r\":1,\"lora_alpha\":3,\"rank_pattern\":{\"k_proj\":3},\"init_lora_weights\":false,"
                        "\"target_modules\":[\"q_proj\",\"k_proj\"]}"}};
    static const struct {
        size_t count, input[3];
        double weights[3];
        espl_average_params params;
    } cases[] = {{1, {0}, {0.7}, {.strategy = ESPL_AVERAGE_CAT}},
                 {1, {0}, {0.7}, {.strategy = ESPL_AVERAGE_SVD}},
                 {1, {0}, {0.7}, {.strategy = ESPL_AVERAGE_ROOTS}},
                 {1, {0}, {-1}, {.strategy = ESPL_AVERAGE_CAT}},
                 {1, {0}, {-1}, {.strategy = ESPL_AVERAGE_SVD}},
                 {1, {0}, {-1}, {.strategy = ESPL_AVERAGE_ROOTS}},
                 {2, {0, 0}, {1, -1}, {.strategy = ESPL_AVERAGE_CAT}},
                 {2, {0, 0}, {1, -1}, {.strategy = ESPL_AVERAGE_SVD}},
                 {2, {0, 0}, {1, -1}, {.strategy = ESPL_AVERAGE_ROOTS}},
                 {1, {2}, {-0.4}, {.strategy = ESPL_AVERAGE_SVD}},
                 {2, {2, 1}, {0.5, 3}, {.strategy = ESPL_AVERAGE_SVD, .rank = 6}},
                 {3, {0, 1, 2}, {0.5, -2, 0.3}, {.strategy = ESPL_AVERAGE_SVD, .rank = 8}},
                 {3, {0, 1, 1}, {0.5, -2, 0.3}, {.strategy = ESPL_AVERAGE_CAT}},
                 /* PEFT leaves one adapter whole, whatever the density */
                 {1, {0}, {0.7}, {.strategy = ESPL_AVERAGE_TIES, .density = 0.1}},
                 {1, {0}, {-0.7}, {.strategy = ESPL_AVERAGE_DARE_LINEAR, .density = 0.1}},
                 {1, {0}, {-0.7}, {.strategy = ESPL_AVERAGE_DARE_TIES, .density = 0.1}},
                 {1, {0}, {0.7}, {.strategy = ESPL_AVERAGE_MAGNITUDE_PRUNE, .density = 0.1}},
                 {1, {2}, {-0.7}, {.strategy = ESPL_AVERAGE_TIES_SVD, .density = 0.1}},
                 {1, {1}, {0.7}, {.strategy = ESPL_AVERAGE_DARE_LINEAR_SVD, .density = 0.1}},
                 {1, {1}, {0.7}, {.strategy = ESPL_AVERAGE_DARE_TIES_SVD, .density = 0.1}},
                 {1, {1}, {-0.7}, {.strategy = ESPL_AVERAGE_MAGNITUDE_PRUNE_SVD, .density = 0.1}},
                 /* and where all values stay, none is divided by a share */
                 {2, {2, 1}, {0.5, 3}, {.strategy = ESPL_AVERAGE_DARE_LINEAR_SVD, .rank = 6, .density = 1}},
                 {2, {2, 1}, {0.5, 3}, {.strategy = ESPL_AVERAGE_MAGNITUDE_PRUNE_SVD, .rank = 6, .density = 1}}};
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *one[ESPL_COUNT(inputs)], *made;
    for (size_t i = 0; i < ESPL_COUNT(inputs); i++) test_ok(espl_adapter_add(model, inputs[i].name, inputs[i].spec, i + 1, &one[i]));
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        const char *names[3] = {NULL};
        for (size_t j = 0; j < cases[i].count; j++) names[j] = inputs[cases[i].input[j]].name;
        test_ok(espl_adapter_average(model, "m", names, cases[i].weights, cases[i].count, &cases[i].params, &made));
        for (size_t entry = 0; entry < made->store.entry_count; entry += 2) {
            size_t count;
            double *now = test_lora_change(made, entry, &count), difference = 0, largest = 0;
            for (size_t j = 0; j < cases[i].count; j++) {
                double *change = test_lora_change(one[cases[i].input[j]], entry, &count);
                for (size_t k = 0; k < count; k++) {
                    now[k] -= cases[i].weights[j] * change[k];
                    largest = fmax(largest, fabs(change[k]));
                }
                free(change);
            }
            for (size_t k = 0; k < count; k++) difference = isnan(now[k]) ? INFINITY : fmax(difference, fabs(now[k]));
            if (!(largest > 0.1 && difference < 1e-6 * largest))
                fail_msg("row %zu, %s: off by %g of %g", i, made->store.entries[entry].name, difference, largest);
            free(now);
        }
        espl_adapter_delete(&made);
    }
    espl_model_destroy(&model);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *names[2];
        size_t count;
        espl_average_params params;
        espl_status status;
        const char *part;
    } cases[] = {
        {{"a", "b"}, 2, {.strategy = ESPL_AVERAGE_ROOTS}, ESPL_ARGUMENT, "\"a\" has rank 2, \"b\" has rank 3: roots needs equal ones"},
        {{"a", "b"}, 2, {.strategy = ESPL_AVERAGE_TIES, .density = 0.5}, ESPL_ARGUMENT,
         "\"a\" has rank 2, \"b\" has rank 3: ties needs equal ones, cat and svd do not"},
        {{"a", "b"}, 2, {.strategy = ESPL_AVERAGE_DARE_LINEAR, .density = 0.5}, ESPL_ARGUMENT, "dare_linear needs equal ones"},
        {{"a", "b"}, 2, {.strategy = ESPL_AVERAGE_DARE_TIES, .density = 0.5}, ESPL_ARGUMENT, "dare_ties needs equal ones"},
        {{"a", "b"}, 2, {.strategy = ESPL_AVERAGE_MAGNITUDE_PRUNE, .density = 0.5}, ESPL_ARGUMENT, "magnitude_prune needs equal ones"},
        {{"p"}, 1, {.strategy = ESPL_AVERAGE_CAT}, ESPL_UNSUPPORTED, "\"p\" has ranks from 1 to 3: cat needs one for all of it"},
        {{"a", "a"}, 2, {.strategy = ESPL_AVERAGE_TIES}, ESPL_ARGUMENT, "ties: density 0 is not above 0 and at most 1"},
        {{"a", "a"}, 2, {.strategy = ESPL_AVERAGE_DARE_TIES_SVD, .density = -0.5}, ESPL_ARGUMENT, "dare_ties_svd: density -0.5 is not"},
        {{"a", "a"}, 2, {.strategy = ESPL_AVERAGE_DARE_LINEAR, .density = 1.5}, ESPL_ARGUMENT, "dare_linear: density 1.5 is not"},
        {{"a"}, 1, {.strategy = ESPL_AVERAGE_MAGNITUDE_PRUNE_SVD, .density = NAN}, ESPL_ARGUMENT, "nan is not above 0"},
        {{"a"}, 1, {.strategy = (espl_average)99}, ESPL_ARGUMENT, "there is no strategy 99"}};
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *made;
    test_ok(espl_adapter_add(model, "a", "lora:r=2,targets=q_proj+k_proj", 1, &made));
    test_ok(espl_adapter_add(model, "b", "lora:r=3,targets=q_proj+k_proj", 1, &made));
    test_ok(espl_adapter_add(model, "p", "{\"peft_type\":\"LORA\",\"r\":1,\"rank_pattern\":{\"k_proj\":3},"
                             "\"target_modules\":[\"q_proj\",\"k_proj\"]}", 1, &made));
    test_ok(espl_adapter_add(model, "v", "vera:r=4", 1, &made));
    for (size_t i = 0; i < ESPL_COUNT(cases); i++)
        test_refused(espl_adapter_average(model, "m", cases[i].names, (const double[]){1, 1}, cases[i].count, &cases[i].params, &made),
                     cases[i].status, cases[i].part);
    for (espl_average strategy = ESPL_AVERAGE_CAT; strategy <= ESPL_AVERAGE_MAGNITUDE_PRUNE_SVD; strategy++)
        test_refused(espl_adapter_average(model, "m", (const char *const[]){"v", "v"}, (const double[]){1, 1}, 2,
                                          &(espl_average_params){.strategy = strategy, .density = 0.5}, &made),
                     ESPL_UNSUPPORTED, "\"v\" is a vera: A and B are combined of LoRAs");
    espl_model_destroy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(averages), cmocka_unit_test(averages_as_peft), cmocka_unit_test(sums),
                                       cmocka_unit_test(refused)};
    return test_main("averages of adapters", tests, ESPL_COUNT(tests));
}
