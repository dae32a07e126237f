/* What only LoRA's relatives do: ranks of a DyLoRA, and those that AdaLoRA drops. */
#include "host/base/os.h"
#include "host/model/adapter.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    float *before = test_adapter_values(adapter, &count);
    train(model, adapter, 3, 0.1);
    float *after = test_adapter_values(adapter, &count);
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
                                       cmocka_unit_test(pruned), cmocka_unit_test(refused)};
    return test_main("lora's relatives", tests, ESPL_COUNT(tests));
}
