/* What papers and peers promise of methods and no golden shows. */
#include "host/graph/graph_private.h"
#include "host/train/pass.h"
#include "tests/model/model_test.h"
#include "host/base/os.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Layers of the pass that run the backward of block `block`. */
static uint32_t backward_layers(const espl_graph *graph, uint32_t block) {
    char name[32];
    uint32_t forward = 0, count = 0;
    snprintf(name, sizeof name, "block %u", block);
    for (const espl_layer *layer = graph->first_layer; layer; layer = layer->next) {
        const char *at = strstr(layer->name, name);
        if (!at || !layer->commands) continue;
        if (at == layer->name && at[strlen(name)] == 0) forward++;
        else count++;
    }
    assert_int_equal(forward, 1);
    return count;
}

/* AdapterDrop: where the lowest adapters are left out, nothing runs backwards below the lowest that is there. */
static void adapter_drop(void **state) {
    (void)state;
    static const char *const specs[] = {"houlsby:rf=4", "houlsby:rf=4,leave_out=0", "houlsby:rf=4,leave_out=0+1"};
    uint64_t before = 0;
    for (uint32_t dropped = 0; dropped < ESPL_COUNT(specs); dropped++) {
        espl_model *model = test_model("qwen3_patterns", NULL);
        espl_adapter *adapter;
        espl_optimiser optimiser;
        espl_pass pass;
        assert_int_equal(model->config.layers, 3);
        test_ok(espl_adapter_add(model, "a", specs[dropped], 1, &adapter));
        test_ok(espl_model_activate(model, "a"));
        test_ok(espl_optimiser_init(&optimiser, &adapter->store));
        const uint64_t start = espl_device_count(test_device()).dispatches_recorded;
        test_ok(espl_pass_init(&pass, model, &(espl_pass_params){.batch = 1, .tokens = 5, .optimisers = &optimiser, .optimiser_count = 1}));
        const uint64_t dispatches = espl_device_count(test_device()).dispatches_recorded - start;
        printf("  %u blocks without: %llu dispatches\n", dropped, (unsigned long long)dispatches);
        for (uint32_t block = 0; block < 3; block++)
            assert_true((backward_layers(pass.graph, block) > 0) == (block >= dropped));
        if (dropped) assert_true(dispatches < before);
        before = dispatches;
        espl_pass_finish(&pass);
        espl_optimiser_finish(&optimiser);
        espl_model_destroy(&model);
    }
}

/* A batch's loss in training with the adapter's step info as it is. */
static double training_loss(espl_pass *pass, uint32_t step) {
    static const int32_t ids[] = {1, 80, 14, 33, 7}, labels[] = {80, 14, 33, 7, -100};
    espl_ticket ticket;
    double loss;
    pass->info.step = step;
    test_ok(espl_pass_micro(pass, &(espl_batch){.ids = ids, .labels = labels}, &ticket));
    test_ok(espl_pass_loss(pass, ticket, &loss));
    return loss;
}

static espl_pass *begin_pass(espl_pass *pass, espl_model *model) {
    test_ok(espl_pass_init(pass, model, &(espl_pass_params){.batch = 1, .tokens = 5, .dropout = true}));
    return pass;
}

/* Without its lowest blocks an adapter has the loss it would have if it had never been there, and fewer operators. */
static void dropped_at_run_time(espl_model *model, espl_adapter *adapter, const double *without, uint32_t most) {
    espl_adapter *lora;
    espl_pass pass;
    uint64_t before = 0;
    for (uint32_t n = 0; n <= most; n++) {
        test_ok(espl_adapter_drop(adapter, n));
        const uint64_t start = espl_device_count(test_device()).dispatches_recorded;
        test_ok(espl_pass_init(&pass, model, &(espl_pass_params){.batch = 1, .tokens = 5}));
        const uint64_t dispatches = espl_device_count(test_device()).dispatches_recorded - start;
        const double loss = training_loss(&pass, 0);
        if (!(fabs(loss - without[n]) < 1e-6 * loss)) fail_msg("without %u blocks the loss is %.9g, not %.9g", n, loss, without[n]);
        assert_true(n == 0 || dispatches < before);
        before = dispatches;
        espl_pass_finish(&pass);
    }
    test_refused(espl_adapter_drop(adapter, most + 1), ESPL_ARGUMENT, "4 blocks cannot be dropped: the model has 3");
    test_ok(espl_adapter_add(model, "l", "lora:r=2,targets=q_proj", 1, &lora));
    test_refused(espl_adapter_drop(lora, 1), ESPL_UNSUPPORTED, "\"l\" is of method lora");
}

/* Robust AdapterDrop: the loss of each step is that of the same adapter without its lowest blocks, as many as were drawn; every
 * number comes up, and nothing is recorded again. */
static void robust_drop(void **state) {
    enum { MOST = 3, STEPS = 40 };
    double without[MOST + 1];
    uint32_t drawn[MOST + 1] = {0};
    espl_model *model = test_model("qwen3_patterns", NULL);
    espl_adapter *robust, *some;
    espl_pass pass;
    (void)state;
    test_ok(espl_adapter_add(model, "robust", "houlsby:rf=4,robust=3", 1, &robust));
    for (uint32_t n = 0; n <= MOST; n++) {
        char spec[32];
        snprintf(spec, sizeof spec, "houlsby:rf=4,drop=%u", n);
        test_ok(espl_model_activate(model, ""));
        if (n < MOST) {
            test_ok(espl_adapter_add(model, "some", spec, 1, &some));
            for (size_t i = 0; i < some->store.entry_count; i++) {
                const espl_entry *to = &some->store.entries[i];
                char name[256];
                const char *at = strstr(to->name, ".some.");
                float values[1024];
                snprintf(name, sizeof name, "%.*s.robust.%s", (int)(at - to->name), to->name, at + strlen(".some."));
                assert_true(espl_entry_values(&some->store, to) <= ESPL_COUNT(values));
                test_ok(espl_store_read(&robust->store, espl_store_find(&robust->store, name), values));
                test_ok(espl_store_write(&some->store, to, values, ESPL_DTYPE_F32));
            }
            test_ok(espl_model_activate(model, "some"));
        }
        without[n] = training_loss(begin_pass(&pass, model), 0);
        espl_pass_finish(&pass);
        if (n < MOST) espl_adapter_delete(&some);
    }
    test_ok(espl_model_activate(model, "robust"));
    begin_pass(&pass, model);
    const uint64_t recorded = espl_device_count(test_device()).dispatches_recorded;
    for (uint32_t step = 0; step < STEPS; step++) {
        const double loss = training_loss(&pass, step);
        uint32_t n = 0;
        while (n <= MOST && !(loss - without[n] < 1e-6 * loss && without[n] - loss < 1e-6 * loss)) n++;
        if (n > MOST) fail_msg("step %u: the loss of %.9g is that of no number of blocks", step, loss);
        drawn[n]++;
    }
    assert_true(espl_device_count(test_device()).dispatches_recorded == recorded);
    for (uint32_t n = 0; n <= MOST; n++) assert_true(drawn[n] > 0);
    espl_pass_finish(&pass);
    dropped_at_run_time(model, robust, without, MOST);
    espl_model_destroy(&model);
}

/* Rows without what made them while they were learned are the same rows, in training passes and in sessions. */
static void ejected(void **state) {
    static const char *const specs[] = {"prefix:tokens=3,projection,encoder=7,save=lm_head", "prompt:tokens=2,residual=5,save=lm_head",
                                        "ptuning:tokens=3,encoder=5,save=lm_head", "ptuning:tokens=3,type=LSTM,encoder=8,save=lm_head"};
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(specs); i++) {
        espl_model *model = test_model("qwen3_patterns", NULL);
        espl_adapter *adapter, *flat;
        espl_pass pass;
        float logits[2][TEST_VOCABULARY];
        double loss[2];
        char *folder = test_path("flat");
        test_ok(espl_adapter_add(model, "a", specs[i], 1, &adapter));
        test_ok(espl_adapter_save(adapter, folder));
        test_ok(espl_adapter_load(model, "b", folder, &flat));
        assert_non_null(espl_store_find(&flat->store, "prompt_embeddings"));
        assert_int_equal(flat->store.entry_count, 2); /* and the head */
        for (int without = 0; without < 2; without++) {
            test_ok(espl_model_activate(model, without ? "b" : "a"));
            loss[without] = training_loss(begin_pass(&pass, model), 0);
            espl_pass_finish(&pass);
            test_logits(model, logits[without]);
        }
        if (loss[0] != loss[1]) fail_msg("%s: loss %.9g, without its map %.9g", specs[i], loss[0], loss[1]);
        assert_true(test_same(logits[0], logits[1]));
        espl_os_remove_folder(test_context(), folder);
        free(folder);
        espl_model_destroy(&model);
    }
}

/* Rows are counted one by one: the second has one special token too many, of which padding is none. */
static void pasta_rows(void **state) {
    (void)state;
    static const int32_t ids[] = {5, 9, 41, 8, 8, 5, 41, 5, 41, 41}, labels[] = {0, 1}, lengths[][2] = {{5, 4}, {5, 2}};
    espl_model *model = test_model("bert_classes_lora", NULL);
    espl_adapter *adapter;
    espl_probe_params probe = {.ids = ids, .labels = labels, .lengths = lengths[0], .rows = 2, .tokens = 5};
    char *out = test_path("conformance.safetensors");
    test_ok(espl_adapter_add(model, "a", "{\"peft_type\":\"PASTA\",\"special_token_ids\":[5,41],\"num_special\":2}", 1, &adapter));
    test_ok(espl_model_activate(model, "a"));
    test_refused(espl_probe(model, adapter, &probe, out), ESPL_LIMIT,
                 "row 1 of the batch has 4 special tokens, the adapter has vectors for 2 (pasta:special=4)");
    probe.lengths = lengths[1];
    test_ok(espl_probe(model, adapter, &probe, out));
    espl_os_remove_file(out);
    free(out);
    espl_model_destroy(&model);
}

/* PASTA's dropout is on the vector that is added: without it training's loss is the evaluation's, with it one per step. */
static void pasta_dropout(void **state) {
    (void)state;
    static const char *const specs[] = {
        "{\"peft_type\":\"PASTA\",\"special_token_ids\":[1,80],\"num_special\":2,\"init\":\"normal\",\"dropout\":0}",
        "{\"peft_type\":\"PASTA\",\"special_token_ids\":[1,80],\"num_special\":2,\"init\":\"normal\",\"dropout\":0.5}"};
    double loss[2][2];
    for (int i = 0; i < 2; i++) {
        espl_model *model = test_model("qwen3_patterns", NULL);
        espl_adapter *adapter;
        espl_pass pass;
        test_ok(espl_adapter_add(model, "a", specs[i], 1, &adapter));
        test_ok(espl_model_activate(model, "a"));
        begin_pass(&pass, model);
        for (uint32_t step = 0; step < 2; step++) {
            pass.step[ESPL_STEP_COUNTER] = step;
            loss[i][step] = training_loss(&pass, step);
        }
        espl_pass_finish(&pass);
        espl_model_destroy(&model);
    }
    assert_true(loss[0][0] == loss[0][1]);
    assert_true(loss[1][0] != loss[0][0] && loss[1][1] != loss[0][0] && loss[1][0] != loss[1][1]);
}

/* What is not finite does not go into the base: nothing is merged, and the base keeps its bits. */
static void merge_nan(void **state) {
    (void)state;
    static const char *const specs[] = {"lora:r=2,init=random", "dora:r=2,init=random", "vera:r=3", "adalora:init_r=3,target_r=2",
                                        "dylora:r=2", "adalink:r=2", "ia3", "diff_pruning:prune_at=1", "bitfit:types=q_proj"};
    for (size_t i = 0; i < ESPL_COUNT(specs); i++) {
        espl_model *model = test_model("qwen2_bias_all", NULL);
        espl_adapter *adapter;
        float base[TEST_VOCABULARY], now[TEST_VOCABULARY], values[8192];
        test_logits(model, base);
        test_ok(espl_adapter_add(model, "a", specs[i], 1, &adapter));
        for (size_t e = 0; e < adapter->store.entry_count; e++) {
            const espl_entry *entry = &adapter->store.entries[e];
            assert_true(espl_entry_values(&adapter->store, entry) <= ESPL_COUNT(values));
            test_ok(espl_store_read(&adapter->store, entry, values));
            const float kept = values[0];
            values[0] = NAN;
            test_ok(espl_store_write(&adapter->store, entry, values, ESPL_DTYPE_F32));
            const espl_status status = espl_adapter_merge(adapter);
            if (status == ESPL_OK) fail_msg("%s: %s with a NaN was merged", specs[i], entry->name);
            test_refused(status, ESPL_ARGUMENT, "would be ");
            test_refused(status, ESPL_ARGUMENT, "nan"); /* of either sign */
            test_refused(espl_adapter_unmerge(adapter), ESPL_ARGUMENT, "is not merged");
            test_logits(model, now);
            assert_true(test_same(now, base));
            values[0] = kept;
            test_ok(espl_store_write(&adapter->store, entry, values, ESPL_DTYPE_F32));
        }
        test_ok(espl_adapter_merge(adapter));
        espl_model_destroy(&model);
    }
}

/* FLOP in place of every map of a block: the base's products do not run, fused or not. Of llama_lora q, k and v are one
 * product, gate and up another. */
static void flop_replaces(void **state) {
    (void)state;
    static const struct {
        const char *spec;
        uint32_t products; /* the base's, in two blocks */
    } rows[] = {{"flop:k=3", 0}, {"flop:k=3,targets=q_proj+k_proj+v_proj", 2 * 3}, {"flop:k=3,targets=down_proj", 2 * 3},
                {"flop:k=3,targets=q_proj+v_proj", 2 * 4}}; /* k's is still the base's */
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) {
        espl_model *model = test_model("llama_lora", NULL);
        espl_adapter *adapter;
        espl_pass pass;
        assert_int_equal(model->config.layers, 2);
        test_ok(espl_adapter_add(model, "a", rows[i].spec, 1, &adapter));
        test_ok(espl_model_activate(model, "a"));
        begin_pass(&pass, model);
        const uint32_t gates = espl_graph_count_nodes(pass.graph, "hard_concrete");
        const uint32_t products = espl_graph_count_nodes(pass.graph, "matmul") - 2 * gates; /* P and Q of each */
        assert_true(gates > 0);
        if (products != rows[i].products) fail_msg("%s: %u products of the base, expected %u", rows[i].spec, products, rows[i].products);
        espl_pass_finish(&pass);
        espl_model_destroy(&model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(adapter_drop), cmocka_unit_test(robust_drop), cmocka_unit_test(ejected),
                                       cmocka_unit_test(pasta_rows), cmocka_unit_test(pasta_dropout), cmocka_unit_test(merge_nan),
                                       cmocka_unit_test(flop_replaces)};
    return test_main("conformance", tests, ESPL_COUNT(tests));
}
