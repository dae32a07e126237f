/* What only LoRA's relatives do: ranks of a DyLoRA, and those that AdaLoRA drops. */
#include "host/base/os.h"
#include "host/model/adapter.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Every value of every tensor, in the order of the store. */
static float *values_of(const espl_adapter *adapter, size_t *out_count) {
    espl_adapter *a = (espl_adapter *)(uintptr_t)adapter;
    size_t count = 0;
    float *values = malloc((size_t)espl_store_values(&a->store) * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < a->store.entry_count; i++) {
        test_ok(espl_store_read(&a->store, &a->store.entries[i], values + count));
        count += (size_t)espl_entry_values(&a->store, &a->store.entries[i]);
    }
    *out_count = count;
    return values;
}

static double train(espl_model *model, espl_adapter *adapter, uint32_t steps, double decay) {
    espl_dataset *data = test_row();
    espl_trainer *trainer;
    espl_progress progress = {0};
    double first = 0;
    test_ok(espl_trainer_create(model, adapter, data,
                                &(espl_trainer_params){.steps = steps, .learning_rate = 1e-2, .weight_decay = decay,
                                                       .schedule = ESPL_SCHEDULE_CONSTANT}, &trainer));
    while (!espl_trainer_is_done(trainer)) {
        test_ok(espl_trainer_step(trainer, &progress));
        if (progress.step == 1) first = progress.loss;
    }
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&data);
    return first;
}

/* ---- DyLoRA ---- */

static void exported_ranks(void **state) {
    (void)state;
    const struct {
        const char *model, *spec;
    } cases[] = {{"llama_lora", "dylora:r=6,alpha=5,targets=q_proj+v_proj+down_proj,init=random,save=lm_head"},
                 {"gpt2_lora", "dylora:r=5,targets=c_attn+c_proj,init=random,rslora,bias=all"}};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_model *model = test_model(cases[i].model, NULL);
        espl_adapter *adapter, *lora;
        float at_rank[TEST_VOCABULARY], exported[TEST_VOCABULARY], merged[TEST_VOCABULARY], last[TEST_VOCABULARY] = {0};
        test_ok(espl_adapter_add(model, "a", cases[i].spec, 3, &adapter));
        for (uint32_t rank = 1; rank <= 5; rank++) {
            char *folder = test_path("rank");
            test_ok(espl_model_activate(model, "a"));
            test_ok(espl_adapter_set_rank(adapter, rank));
            test_logits(model, at_rank);
            test_ok(espl_adapter_export_rank(adapter, rank, folder));
            test_ok(espl_adapter_load(model, "lora", folder, &lora));
            assert_string_equal(lora->method->name, "lora");
            test_ok(espl_model_activate(model, "lora"));
            test_logits(model, exported);
            if (!(test_off(at_rank, exported) < 1e-6)) fail_msg("rank %u: off by %g", rank, test_off(at_rank, exported));
            if (!(test_off(at_rank, last) > 1e-3)) fail_msg("rank %u is as rank %u", rank, rank - 1);
            memcpy(last, at_rank, sizeof last);
            test_ok(espl_model_activate(model, ""));
            test_ok(espl_adapter_merge(adapter));
            test_logits(model, merged);
            if (!(test_off(merged, exported) < 1e-5)) fail_msg("rank %u merged: off by %g", rank, test_off(merged, exported));
            test_ok(espl_adapter_unmerge(adapter));
            espl_adapter_delete(&lora);
            espl_os_remove_folder(test_context(), folder);
            free(folder);
        }
        espl_model_destroy(&model);
    }
}

/* The loss of a nested step is the sum of the ranks' losses by their shares. */
static void nested_sum(void **state) {
    (void)state;
    espl_model *model = test_model("llama_lora", NULL);
    espl_dataset *data = test_row();
    espl_adapter *adapter;
    const double share[] = {0.5, 0.2, 0.3};
    double sum = 0;
    test_ok(espl_adapter_add(model, "a", "{\"peft_type\":\"DYLORA\",\"r\":4,\"r_min\":2,\"pb\":\"list\",\"pb_p\":[5,2,3],"
                                         "\"loss_mode\":\"nested_sum\",\"init_lora_weights\":false}", 3, &adapter));
    test_ok(espl_model_activate(model, "a"));
    for (uint32_t rank = 2; rank <= 4; rank++) {
        double loss;
        uint64_t labels;
        test_ok(espl_adapter_set_rank(adapter, rank));
        test_ok(espl_evaluate(model, data, 1, 0, &loss, &labels));
        sum += share[rank - 2] * loss;
    }
    const double nested = train(model, adapter, 1, 0);
    if (!(fabs(nested - sum) < 1e-6 * sum)) fail_msg("nested loss %.9g, the sum is %.9g", nested, sum);
    espl_dataset_destroy(&data);
    espl_model_destroy(&model);
}

/* Three steps at rank 2: row and column 2 move, the others keep their bits although weight decay acts. */
static void frozen(void **state) {
    const bool decay = *state != NULL;
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *adapter;
    size_t count, at = 0;
    test_ok(espl_adapter_add(model, "a", decay ? "dylora:r=3,pb=fixed,p=2,update=frozen,init=random,frozen_decay"
                                               : "dylora:r=3,pb=fixed,p=2,update=frozen,init=random", 3, &adapter));
    test_ok(espl_model_activate(model, "a"));
    float *before = values_of(adapter, &count);
    train(model, adapter, 3, 0.1);
    float *after = values_of(adapter, &count);
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        const espl_entry *e = &adapter->store.entries[i];
        const uint32_t cols = adapter->store.matrices[e->matrix].cols;
        for (uint32_t r = 0; r < e->count; r++) {
            for (uint32_t c = 0; c < cols; c++, at++) {
                const bool moves = decay || (strstr(e->name, "lora_A") ? r : c) == 1;
                if ((before[at] != after[at]) != moves)
                    fail_msg("%s[%u,%u]: %.9g, then %.9g", e->name, r, c, (double)before[at], (double)after[at]);
            }
        }
    }
    free(before), free(after);
    espl_model_destroy(&model);
}

/* ---- AdaLoRA ---- */

/* What is left of the ranks after training is the target, the saved folder has no others and gives the same logits; and a
 * folder with dropped ranks trains on. */
static void pruned(void **state) {
    (void)state;
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *adapter, *loaded;
    float trained[TEST_VOCABULARY], now[TEST_VOCABULARY];
    size_t kept = 0;
    test_ok(espl_adapter_add(model, "a", "adalora:init_r=6,target_r=2,tinit=1,tfinal=2,orth=0.1,targets=q_proj+v_proj+o_proj", 3,
                             &adapter));
    test_ok(espl_model_activate(model, "a"));
    train(model, adapter, 8, 0);
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        const espl_entry *e = &adapter->store.entries[i];
        float values[6];
        if (!strstr(e->name, "lora_E")) continue;
        test_ok(espl_store_read(&adapter->store, e, values));
        for (int r = 0; r < 6; r++) kept += values[r] != 0;
    }
    assert_int_equal(kept, 2 * 6); /* target_r times the targets */
    test_logits(model, trained);
    char *folder = test_path("pruned");
    test_ok(espl_adapter_save(adapter, folder));
    const uint64_t before = espl_adapter_parameters(adapter);
    espl_adapter_delete(&adapter);
    test_ok(espl_adapter_load(model, "b", folder, &loaded));
    assert_true(espl_adapter_parameters(loaded) < before / 2);
    assert_int_equal(json_integer_value(json_object_get(loaded->config, "total_step")), 8);
    test_ok(espl_model_activate(model, "b"));
    test_logits(model, now);
    if (!(test_off(now, trained) < 1e-6)) fail_msg("without its dropped ranks it is off by %g", test_off(now, trained));
    train(model, loaded, 3, 0);
    test_logits(model, now);
    assert_true(test_off(now, trained) > 1e-5);
    test_ok(espl_adapter_save(loaded, folder));
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    espl_model_destroy(&model);
}

/* ---- Average ---- */

static void averages(void **state) {
    (void)state;
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *a, *b, *made;
    float both[TEST_VOCABULARY], now[TEST_VOCABULARY];
    const char *const names[] = {"a", "b"}, *const other[] = {"a", "c"};
    test_ok(espl_adapter_add(model, "a", "lora:r=3,alpha=5,init=random,targets=q_proj+down_proj", 1, &a));
    test_ok(espl_adapter_add(model, "b", "lora:r=3,alpha=5,init=random,targets=q_proj+down_proj,dropout=0.1", 2, &b));
    test_ok(espl_adapter_add(model, "c", "lora:r=4,targets=q_proj+down_proj", 2, &made));
    test_refused(espl_adapter_average(model, "m", other, (const double[]){1, 1}, 2, ESPL_AVERAGE_LINEAR, 0, &made), ESPL_ARGUMENT,
                 "differ in");
    test_refused(espl_adapter_average(model, "m", (const char *const[]){"z"}, (const double[]){1}, 1, ESPL_AVERAGE_LINEAR, 0, &made),
                 ESPL_ARGUMENT, "there is no adapter \"z\"");
    test_ok(espl_adapter_add(model, "v", "vera:r=4", 1, &made));
    test_ok(espl_adapter_add(model, "w", "vera:r=4,key=1", 1, &made));
    test_refused(espl_adapter_average(model, "m", (const char *const[]){"v", "w"}, (const double[]){1, 1}, 2, ESPL_AVERAGE_LINEAR, 0,
                                      &made), ESPL_ARGUMENT, "have different base_model.vera_A");
    /* One of weight 1 is itself, and one of weight 0 nothing. */
    test_ok(espl_adapter_average(model, "m", names, (const double[]){1, 0}, 2, ESPL_AVERAGE_LINEAR, 0, &made));
    size_t count;
    float *own = values_of(a, &count), *mean = values_of(made, &count);
    assert_memory_equal(own, mean, count * sizeof *own);
    free(own), free(mean);
    espl_adapter_delete(&made);
    /* Stacked ranks add what both add. */
    test_ok(espl_model_activate(model, "a+b"));
    test_logits(model, both);
    test_ok(espl_adapter_average(model, "m", names, (const double[]){1, 1}, 2, ESPL_AVERAGE_CAT, 0, &made));
    assert_true(espl_adapter_parameters(made) == 2 * espl_adapter_parameters(a));
    test_ok(espl_model_activate(model, "m"));
    test_logits(model, now);
    if (!(test_off(now, both) < 1e-6)) fail_msg("stacked it is off by %g", test_off(now, both));
    espl_adapter_delete(&made);
    test_ok(espl_adapter_average(model, "m", names, (const double[]){0.5, -2}, 2, ESPL_AVERAGE_CAT, 0, &made));
    test_ok(espl_model_activate(model, "m"));
    test_logits(model, now);
    assert_true(test_off(now, both) > 1e-3);
    espl_model_destroy(&model);
}

/* What a LoRA adds to the weight of a target by its folder's words: alpha / r B A. entry: its A. */
static double *change_of(espl_adapter *adapter, size_t entry, size_t *out_count) {
    const espl_entry *a = &adapter->store.entries[entry], *b = a + 1;
    const uint32_t rank = a->count, in = adapter->store.matrices[a->matrix].cols, out = b->count;
    float *av = malloc((size_t)rank * in * sizeof *av), *bv = malloc((size_t)rank * out * sizeof *bv);
    double *change = calloc((size_t)in * out, sizeof *change);
    const double scale = json_number_value(json_object_get(adapter->config, "lora_alpha")) / rank;
    assert_true(av && bv && change && scale > 0);
    assert_true(!json_is_true(json_object_get(adapter->config, "use_rslora")));
    assert_int_equal(json_object_size(json_object_get(adapter->config, "alpha_pattern")), 0);
    test_ok(espl_store_read(&adapter->store, a, av));
    test_ok(espl_store_read(&adapter->store, b, bv));
    for (size_t o = 0; o < out; o++) {
        for (size_t r = 0; r < rank; r++) {
            for (size_t i = 0; i < in; i++) change[o * in + i] += scale * bv[o * rank + r] * av[r * in + i];
        }
    }
    free(av), free(bv);
    *out_count = (size_t)in * out;
    return change;
}

/* tests/golden/average: PEFT's add_weighted_adapter in float64. */
static void averages_as_peft(void **state) {
    (void)state;
    static const struct {
        const char *name, *adapters[3];
        double weights[3];
        size_t count;
        espl_average strategy;
        uint32_t rank, made;
    } cases[] = {{"cat", {"a", "b"}, {0.5, -2}, 2, ESPL_AVERAGE_CAT, 0, 5},
                 {"svd", {"a", "b"}, {0.7, -1.2}, 2, ESPL_AVERAGE_SVD, 0, 3},
                 {"svd_1", {"a", "b", "c"}, {0.7, 1.2, -0.3}, 3, ESPL_AVERAGE_SVD, 1, 1},
                 {"linear", {"a", "c"}, {0.6, -1.5}, 2, ESPL_AVERAGE_ROOTS, 0, 2}};
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *made;
    espl_tensors *golden;
    static const char *const names[] = {"a", "b", "c"};
    for (size_t i = 0; i < ESPL_COUNT(names); i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/average/%s", ESPL_GOLDEN, names[i]);
        test_ok(espl_adapter_load(model, names[i], path, &made));
    }
    test_ok(espl_tensors_open(test_context(), ESPL_GOLDEN "/average/deltas.safetensors", &golden));
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        size_t count;
        test_ok(espl_adapter_average(model, "m", cases[i].adapters, cases[i].weights, cases[i].count, cases[i].strategy, cases[i].rank,
                                     &made));
        assert_int_equal(made->store.entries[0].count, cases[i].made);
        double *now = change_of(made, 0, &count), *expected = test_values(golden, cases[i].name, NULL);
        const double difference = test_relative(now, expected, count);
        if (!(difference < 2e-7)) fail_msg("%s is off by %g", cases[i].name, difference);
        free(now), free(expected);
        espl_adapter_delete(&made);
    }
    test_refused(espl_adapter_average(model, "m", (const char *const[]){"a", "b"}, (const double[]){1, 1}, 2, ESPL_AVERAGE_ROOTS, 0, &made),
                 ESPL_ARGUMENT, "only cat and svd combine these");
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
        espl_average strategy;
        uint32_t rank;
    } cases[] = {{1, {0}, {0.7}, ESPL_AVERAGE_CAT, 0},
                 {1, {0}, {0.7}, ESPL_AVERAGE_SVD, 0},
                 {1, {0}, {0.7}, ESPL_AVERAGE_ROOTS, 0},
                 {1, {0}, {-1}, ESPL_AVERAGE_CAT, 0},
                 {1, {0}, {-1}, ESPL_AVERAGE_SVD, 0},
                 {1, {0}, {-1}, ESPL_AVERAGE_ROOTS, 0},
                 {2, {0, 0}, {1, -1}, ESPL_AVERAGE_CAT, 0},
                 {2, {0, 0}, {1, -1}, ESPL_AVERAGE_SVD, 0},
                 {2, {0, 0}, {1, -1}, ESPL_AVERAGE_ROOTS, 0},
                 {1, {2}, {-0.4}, ESPL_AVERAGE_SVD, 0},
                 {2, {2, 1}, {0.5, 3}, ESPL_AVERAGE_SVD, 6},
                 {3, {0, 1, 2}, {0.5, -2, 0.3}, ESPL_AVERAGE_SVD, 8},
                 {3, {0, 1, 1}, {0.5, -2, 0.3}, ESPL_AVERAGE_CAT, 0}};
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *one[ESPL_COUNT(inputs)], *made;
    for (size_t i = 0; i < ESPL_COUNT(inputs); i++) test_ok(espl_adapter_add(model, inputs[i].name, inputs[i].spec, i + 1, &one[i]));
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        const char *names[3] = {NULL};
        for (size_t j = 0; j < cases[i].count; j++) names[j] = inputs[cases[i].input[j]].name;
        test_ok(espl_adapter_average(model, "m", names, cases[i].weights, cases[i].count, cases[i].strategy, cases[i].rank, &made));
        for (size_t entry = 0; entry < made->store.entry_count; entry += 2) {
            size_t count;
            double *now = change_of(made, entry, &count), difference = 0, largest = 0;
            for (size_t j = 0; j < cases[i].count; j++) {
                double *change = change_of(one[cases[i].input[j]], entry, &count);
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
    test_refused(espl_adapter_average(model, "m", (const char *const[]){"p"}, (const double[]){1}, 1, ESPL_AVERAGE_CAT, 0, &made),
                 ESPL_UNSUPPORTED, "\"p\" has ranks from 1 to 3: only svd combines these");
    test_ok(espl_adapter_add(model, "v", "vera:r=4", 1, &made));
    for (espl_average strategy = ESPL_AVERAGE_CAT; strategy <= ESPL_AVERAGE_ROOTS; strategy++)
        test_refused(espl_adapter_average(model, "m", (const char *const[]){"v", "v"}, (const double[]){1, 1}, 2, strategy, 0, &made),
                     ESPL_UNSUPPORTED, "\"v\" is a vera: A and B are combined of LoRAs");
    espl_model_destroy(&model);
}

static void refused(void **state) {
    (void)state;
    const struct {
        const char *spec;
        espl_status status;
        const char *part;
    } cases[] = {
        {"dylora:r=4,r_min=5", ESPL_ARGUMENT, "ranks from 5 to 4 are not in 1 to 4096"},
        {"dylora:pb=normal", ESPL_ARGUMENT, "pb \"normal\" is not one of uniform, geometric, fixed, list"},
        {"dylora:pb=geometric,p=2", ESPL_ARGUMENT, "pb_p 2 is not a probability between 0 and 1"},
        {"dylora:r=4,r_max=6", ESPL_ARGUMENT, "dylora: r is 4 and r_max 6, which say the same"},
        {"adalora:r=4", ESPL_ARGUMENT, "\"r\" is not one of init_r, target_r, tinit, tfinal, deltaT, total, beta1, beta2, orth, init, alpha"},
        {"dylora:pb=fixed,p=9", ESPL_ARGUMENT, "pb_p 9 is not a rank from r_min to r_max"},
        {"dylora:r=3,pb=list,p=0.5+0.25", ESPL_ARGUMENT, "needs 3 numbers in \"pb_p\", there are 2"},
        {"dylora:r=2,pb=list,p=0.5+x", ESPL_ARGUMENT, "p=0.5+x: x is not a number"},
        {"{\"peft_type\":\"DYLORA\",\"r\":2,\"pb\":\"list\",\"pb_p\":[1,\"a\"]}", ESPL_FORMAT, "number 1 of \"pb_p\" is none"},
        {"dylora:pb=list", ESPL_ARGUMENT, "needs 8 numbers in \"pb_p\", there are 0"},
        {"dylora:update=frozen,loss=nested_sum", ESPL_UNSUPPORTED, "they do not go together"},
        {"{\"peft_type\":\"VERA\",\"save_projection\":false}", ESPL_UNSUPPORTED, "a folder without its projections"},
        {"adalora:tinit=5,tfinal=5,total=10", ESPL_ARGUMENT, "tinit 5 and tfinal 5 leave nothing of total_step 10"},
        {"adalora:target_r=9,init_r=8", ESPL_ARGUMENT, "target_r 9 of init_r 8"},
        {"{\"peft_type\":\"ADALORA\",\"use_dora\":true}", ESPL_UNSUPPORTED, "\"use_dora\" is not supported"},
        {"{\"peft_type\":\"ADALORA\",\"init_r\":2,\"rank_pattern\":{\"model.layers.0.self_attn.q_proj.lora_E\":[true]}}",
         ESPL_FORMAT, "must be a list of 2 booleans"},
        {"vera:r=0", ESPL_ARGUMENT, "rank 0 is not from 1"},
        {"vera:targets=nothing", ESPL_ARGUMENT, "no module of this llama model is selected"},
        {"{\"peft_type\":\"VERA\",\"bias\":\"all\"}", ESPL_UNSUPPORTED, "only \"bias\": \"none\""},
        {"{\"peft_type\":\"DYLORA\",\"rank_pattern\":{\"q_proj\":2}}", ESPL_UNSUPPORTED, "\"rank_pattern\" is not supported"},
    };
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *adapter;
    for (size_t i = 0; i < ESPL_COUNT(cases); i++)
        test_refused(espl_adapter_add(model, "a", cases[i].spec, 0, &adapter), cases[i].status, cases[i].part);
    test_ok(espl_adapter_add(model, "a", "lora", 0, &adapter));
    test_refused(espl_adapter_set_rank(adapter, 1), ESPL_ARGUMENT, "is of method lora, which has one rank");
    espl_adapter_delete(&adapter);
    test_ok(espl_adapter_add(model, "a", "dylora:r=3", 0, &adapter));
    test_refused(espl_adapter_set_rank(adapter, 4), ESPL_ARGUMENT, "has ranks 1 to 3, not 4");
    test_refused(espl_adapter_export_rank(adapter, 0, "nowhere"), ESPL_ARGUMENT, "has ranks 1 to 3, not 0");
    espl_model_destroy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(exported_ranks), cmocka_unit_test(nested_sum),
                                       {"frozen", frozen, NULL, NULL, NULL}, {"frozen, decay", frozen, NULL, NULL, ""},
                                       cmocka_unit_test(pruned), cmocka_unit_test(averages), cmocka_unit_test(averages_as_peft),
                                       cmocka_unit_test(sums), cmocka_unit_test(refused)};
    return test_main("lora's relatives", tests, ESPL_COUNT(tests));
}
