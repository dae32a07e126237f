/* Training as a whole: the same bits again, after resuming and with recomputation; nothing recorded or allocated in a step;
 * nothing computed for a frozen base; steps that are not finite; sessions against the training pass. */
#include "host/base/os.h"
#include "host/train/trainer.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 7, TOKENS = 11 };

static espl_dataset *data(void) {
    static int32_t ids[ROWS * TOKENS], labels[ROWS * TOKENS];
    espl_random random = {.seed = 4};
    for (int i = 0; i < ROWS * TOKENS; i++) ids[i] = (int32_t)espl_random_below(&random, 97);
    for (int i = 0; i < ROWS * TOKENS; i++) labels[i] = i % TOKENS < TOKENS - 1 && i % 5 ? ids[i + 1] : -100;
    espl_dataset *dataset;
    test_ok(espl_dataset_from_ids(test_context(), ids, labels, ROWS, TOKENS, &dataset));
    return dataset;
}

static const char spec[] = "lora:r=3,alpha=5,targets=all-linear,dropout=0.2";

static test_setup begin(const char *model_name, const char *method, const espl_trainer_params *params) {
    test_setup s = {.model = test_model(model_name, &(espl_model_params){.trainable = !method}), .dataset = data()};
    if (method) {
        test_ok(espl_adapter_add(s.model, "a", method, 1, &s.adapter));
        test_ok(espl_model_activate(s.model, "a"));
    }
    test_ok(espl_trainer_create(s.model, s.adapter, s.dataset, params, &s.trainer));
    return s;
}

static espl_progress steps(test_setup *s, uint32_t count) {
    espl_progress progress = {0};
    for (uint32_t i = 0; i < count; i++) test_ok(espl_trainer_step(s->trainer, &progress));
    return progress;
}

static const espl_trainer_params usual = {.steps = 6, .batch = 2, .accumulate = 2, .learning_rate = 1e-2, .warmup = 2,
                                          .seed = 3, .weight_decay = 0.1};

/* Dropout included, which is drawn anew where an activation is computed again. */
static void same_bits(void **state) {
    (void)state;
    static const char *const methods[] = {spec, "dora:r=3,targets=q_proj+down_proj,dropout=0.2", "adalora:init_r=4,target_r=2,dropout=0.1",
                                          "ia3", "houlsby:rf=4", "compacter:rf=3", "mam", "unipelt", "prefix:tokens=2,projection,encoder=5",
                                          "ptuning:tokens=3,type=LSTM,encoder=8,dropout=0.1", "adalink:r=3", "loreft:r=3", "tiny_attention",
                                          "flop:k=3", "diff_pruning:prune_at=0.5"};
    for (size_t i = 0; i < ESPL_COUNT(methods); i++) {
        float *first = NULL;
        for (int round = 0; round < 3; round++) {
            espl_trainer_params params = usual;
            size_t count;
            params.recompute = round == 2;
            test_setup s = begin("llama_lora", methods[i], &params);
            steps(&s, 6);
            assert_true(espl_trainer_is_done(s.trainer));
            float *second = test_trained(&s, &count);
            if (first && memcmp(first, second, count * sizeof *first) != 0)
                fail_msg("%s: other bits %s", methods[i], params.recompute ? "with recomputation" : "when trained again");
            if (!first) first = second;
            else free(second);
            test_setup_end(&s);
        }
        free(first);
    }
}

/* What a method carries from step to step is in a checkpoint: AdaLoRA's importance and what it dropped; wherever it stops. */
static void resume_carried(void **state) {
    (void)state;
    static const char adalora[] = "adalora:init_r=6,target_r=2,tinit=1,tfinal=2,targets=q_proj+v_proj+o_proj";
    espl_trainer_params params = usual;
    params.steps = 8;
    size_t count;
    char *folder = test_path("carried");
    test_setup s = begin("llama_lora", adalora, &params);
    steps(&s, 8);
    float *whole = test_trained(&s, &count);
    test_setup_end(&s);
    for (uint32_t stop = 1; stop < 8; stop += 2) {
        s = begin("llama_lora", adalora, &params);
        steps(&s, stop);
        test_ok(espl_trainer_save(s.trainer, folder));
        test_setup_end(&s);
        s = begin("llama_lora", adalora, &params);
        test_ok(espl_trainer_resume(s.trainer, folder));
        steps(&s, 8 - stop);
        float *resumed = test_trained(&s, &count);
        if (memcmp(whole, resumed, count * sizeof *whole) != 0) fail_msg("stopped after step %u it has other bits", stop);
        free(resumed);
        test_setup_end(&s);
    }
    free(whole);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

static void resume_same_bits(void **state) {
    (void)state;
    size_t count;
    char *folder = test_path("checkpoint");
    test_setup s = begin("qwen3_patterns", spec, &usual);
    steps(&s, 3);
    test_ok(espl_trainer_save(s.trainer, folder));
    steps(&s, 3);
    float *whole = test_trained(&s, &count);
    test_setup_end(&s);
    s = begin("qwen3_patterns", spec, &usual);
    test_ok(espl_trainer_resume(s.trainer, folder));
    const espl_progress progress = steps(&s, 3);
    assert_int_equal(progress.step, 6);
    float *resumed = test_trained(&s, &count);
    assert_memory_equal(whole, resumed, count * sizeof *whole);
    test_setup_end(&s);
    free(whole), free(resumed);
    espl_trainer_params other = usual;
    other.learning_rate = 2e-2;
    s = begin("qwen3_patterns", spec, &other);
    test_refused(espl_trainer_resume(s.trainer, folder), ESPL_ARGUMENT, "learning_rate 0.01, this run has 0.02");
    test_setup_end(&s);
    s = begin("llama_lora", spec, &usual);
    test_refused(espl_trainer_resume(s.trainer, folder), ESPL_ARGUMENT, "model_type \"qwen3\", this run has \"llama\"");
    test_setup_end(&s);
    s = begin("qwen3_patterns", "lora:r=3,alpha=7,targets=all-linear,dropout=0.2", &usual);
    test_refused(espl_trainer_resume(s.trainer, folder), ESPL_ARGUMENT, "lora_alpha 5, this run has 7");
    test_setup_end(&s);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

static uint64_t host_allocations;

static void *counting_resize(void *user, void *block, size_t bytes) {
    (void)user;
    host_allocations++;
    if (bytes) return realloc(block, bytes);
    free(block);
    return NULL;
}

/* A step after the first records nothing, makes nothing and asks for no memory. */
static void nothing_per_step(void **state) {
    (void)state;
    espl_context *ctx;
    espl_device *device;
    espl_model *model;
    espl_adapter *adapter;
    espl_trainer *trainer;
    espl_dataset *dataset;
    espl_progress progress;
    int32_t ids[2 * TOKENS];
    for (int i = 0; i < 2 * TOKENS; i++) ids[i] = i;
    test_ok(espl_context_create(&(espl_context_params){.resize = counting_resize}, &ctx));
    /* Slices longer than a busy machine makes any step: what takes longer than its slice is recorded anew. */
    assert_int_equal(espl_device_create(ctx, &(espl_device_params){.select = getenv("ESPL_TEST_DEVICE"), .slice_ms = 100000}, &device),
                     ESPL_OK);
    assert_int_equal(espl_model_load(device, ESPL_GOLDEN "/llama_lora", NULL, &model), ESPL_OK);
    assert_int_equal(espl_adapter_add(model, "a", spec, 1, &adapter), ESPL_OK);
    assert_int_equal(espl_model_activate(model, "a"), ESPL_OK);
    assert_int_equal(espl_dataset_from_ids(ctx, ids, ids, 2, TOKENS, &dataset), ESPL_OK);
    assert_int_equal(espl_trainer_create(model, adapter, dataset, &(espl_trainer_params){.steps = 9, .accumulate = 3}, &trainer),
                     ESPL_OK);
    assert_int_equal(espl_trainer_step(trainer, &progress), ESPL_OK);
    const espl_device_counters before = espl_device_count(device);
    const uint64_t allocations = host_allocations;
    for (int i = 0; i < 5; i++) assert_int_equal(espl_trainer_step(trainer, &progress), ESPL_OK);
    const espl_device_counters after = espl_device_count(device);
    assert_int_equal(before.commands_recorded, after.commands_recorded);
    assert_int_equal(before.dispatches_recorded, after.dispatches_recorded);
    assert_int_equal(before.device_allocations, after.device_allocations);
    assert_int_equal(before.kernels_created, after.kernels_created);
    assert_int_equal(allocations, host_allocations);
    assert_true(after.submissions > before.submissions);
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&dataset);
    espl_model_destroy(&model);
    espl_device_destroy(&device);
    espl_context_destroy(&ctx);
}

/* With adapters in the upper block alone, the walk ends there, and no gradient of a base weight is computed. */
static void frozen_base_costs_nothing(void **state) {
    (void)state;
    static const struct {
        const char *method;
        uint32_t matmuls, attentions;
    } cases[] = {
        /* Forward: four products in each of two blocks, and A and B of the adapter. Backward: d u, d B, d A of the
         * adapter, and for q_proj also the input gradients of down, up and o above it. */
        {"{\"peft_type\":\"LORA\",\"target_modules\":[\"down_proj\"],\"layers_to_transform\":[1]}", 8 + 2 + 3, 0},
        {"{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\"],\"layers_to_transform\":[1]}", 8 + 2 + 3 + 3, 1},
    };
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        test_setup s = begin("llama_lora", cases[i].method, &usual);
        espl_bytes text = {0};
        test_ok(espl_graph_print(s.trainer->train.pass[0].graph, &text));
        const uint32_t matmuls = espl_graph_count_nodes(s.trainer->train.pass[0].graph, "matmul");
        const uint32_t attentions = espl_graph_count_nodes(s.trainer->train.pass[0].graph, "attention_bwd");
        if (matmuls != cases[i].matmuls || attentions != cases[i].attentions)
            fail_msg("%s: %u products and %u attention gradients, expected %u and %u in\n%s", cases[i].method, matmuls,
                     attentions, cases[i].matmuls, cases[i].attentions, text.data);
        assert_null(strstr(text.data, "d block"));
        assert_null(strstr(text.data, "block 0 backward"));
        espl_bytes_finish(test_context(), &text);
        test_setup_end(&s);
    }
}

/* A loss that overflows gives gradients that are not finite: nothing changes, the step counts as skipped. */
static void not_finite(void **state) {
    (void)state;
    test_setup s = begin("llama_lora", "lora:r=3,targets=q_proj,init=random", &(espl_trainer_params){.steps = 4, .warmup = 0});
    espl_store *store = espl_trainer_store(s.trainer, 0);
    size_t count;
    float *huge = calloc((size_t)espl_entry_values(store, &store->entries[0]), sizeof *huge);
    assert_non_null(huge);
    huge[0] = INFINITY;
    steps(&s, 1);
    float *kept = malloc((size_t)espl_entry_values(store, &store->entries[0]) * sizeof *kept);
    assert_non_null(kept);
    test_ok(espl_store_read(store, &store->entries[0], kept));
    test_ok(espl_store_write(store, &store->entries[0], huge, ESPL_DTYPE_F32));
    float *before = test_trained(&s, &count);
    espl_progress progress = steps(&s, 1);
    float *after = test_trained(&s, &count);
    assert_int_equal(progress.skipped, 1);
    assert_true(!isfinite(progress.gradient_norm));
    assert_memory_equal(before, after, count * sizeof *before);
    test_ok(espl_store_write(store, &store->entries[0], kept, ESPL_DTYPE_F32));
    progress = steps(&s, 1);
    assert_int_equal(progress.skipped, 1);
    assert_true(isfinite(progress.loss) && isfinite(progress.gradient_norm));
    free(huge), free(kept), free(before), free(after);
    test_setup_end(&s);
}

static float *values_of(espl_store *store, size_t *out_count) {
    size_t count = 0;
    float *values = malloc((size_t)espl_store_values(store) * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < store->entry_count; i++) {
        test_ok(espl_store_read(store, &store->entries[i], values + count));
        count += (size_t)espl_entry_values(store, &store->entries[i]);
    }
    *out_count = count;
    return values;
}

/* Only the adapter that is trained changes: neither the base nor another one, be it active or not. */
static void one_is_trained(void **state) {
    (void)state;
    static const struct {
        const char *trained, *other;
    } rows[] = {{"lora:r=3,targets=q_proj", "lora:r=2,targets=q_proj+v_proj,init=random"},
                {"lora:r=3,targets=q_proj,save=lm_head", "ia3"},
                {"ln", "houlsby:rf=4"},
                {"prefix:tokens=2,projection,encoder=5", "lora:r=2,init=random"},
                {"adalora:init_r=4,target_r=2", "adalora:init_r=3,target_r=1"},
                {"vera:r=4", "dora:r=2,init=random"},
                {"dylora:r=3", "dylora:r=2,init=random"},
                {"flop:k=3,targets=q_proj", "flop:k=2,targets=v_proj"},
                {"diff_pruning:prune_at=0.5", "diff_pruning"},
                {"houlsby:rf=4,inv=nice", "loreft:r=2|pfeiffer:rf=8"}};
    for (size_t i = 0; i < 2 * ESPL_COUNT(rows); i++) {
        const char *trained = rows[i / 2].trained, *other = rows[i / 2].other, *active = i % 2 ? "a+b" : "a";
        espl_model *model = test_model("llama_lora", NULL);
        espl_adapter *adapter[2];
        test_ok(espl_adapter_add(model, "a", trained, 1, &adapter[0]));
        test_ok(espl_adapter_add(model, "b", other, 2, &adapter[1]));
        espl_store *stores[] = {&adapter[0]->store, &adapter[1]->store, &model->store};
        test_setup s = {.model = model, .adapter = adapter[0], .dataset = data()};
        float *before[ESPL_COUNT(stores)];
        size_t count;
        for (size_t j = 0; j < ESPL_COUNT(stores); j++) before[j] = values_of(stores[j], &count);
        test_ok(espl_model_activate(model, "b"));
        test_refused(espl_trainer_create(model, adapter[0], s.dataset, &usual, &s.trainer), ESPL_ARGUMENT, "adapter \"a\" is not active");
        test_ok(espl_model_activate(model, active));
        test_ok(espl_trainer_create(model, adapter[0], s.dataset, &usual, &s.trainer));
        steps(&s, 4);
        for (size_t j = 0; j < ESPL_COUNT(stores); j++) {
            float *after = values_of(stores[j], &count);
            const bool same = memcmp(before[j], after, count * sizeof *after) == 0;
            if (same == (j == 0))
                fail_msg("training %s of %s: %s %s", trained, active, j == 0 ? "it" : j == 1 ? other : "the base",
                         same ? "is as before" : "changed");
            free(before[j]), free(after);
        }
        test_setup_end(&s);
    }
}

/* It learns: the loss of a few rows falls, with adapters and in full. */
static void learns(void **state) {
    (void)state;
    const espl_trainer_params params = {.steps = 40, .batch = 4, .learning_rate = 2e-2, .schedule = ESPL_SCHEDULE_COSINE};
    const char *const methods[] = {"lora:r=8,alpha=16,targets=all-linear", NULL};
    for (size_t i = 0; i < ESPL_COUNT(methods); i++) {
        test_setup s = begin(methods[i] ? "llama_lora" : "gpt2_full", methods[i], &params);
        double before, after;
        test_ok(espl_trainer_evaluate(s.trainer, &before));
        steps(&s, 40);
        test_ok(espl_trainer_evaluate(s.trainer, &after));
        printf("  %s: loss %.3f -> %.3f\n", methods[i] ? methods[i] : "full", before, after);
        assert_true(after < 0.5 * before);
        test_setup_end(&s);
    }
}

/* One token at a time, in pieces, or at once: the same logits to rounding, and those of the evaluation pass. */
static void sessions_agree(void **state) {
    (void)state;
    enum { LENGTH = 23, VOCABULARY = 97 };
    static const char *const models[] = {"llama_lora", "qwen3_patterns", "gpt2_lora", "llama_tied_rope_scaling"};
    int32_t ids[LENGTH];
    espl_random random = {.seed = 8};
    for (int i = 0; i < LENGTH; i++) ids[i] = (int32_t)espl_random_below(&random, VOCABULARY);
    for (size_t m = 0; m < ESPL_COUNT(models); m++) {
        espl_model *model = test_model(models[m], NULL);
        espl_session *session;
        espl_tensors *probe;
        const float *logits;
        uint32_t count;
        char *out = test_path("session.safetensors");
        test_ok(espl_probe(model, NULL, &(espl_probe_params){.ids = ids, .rows = 1, .tokens = LENGTH}, out));
        test_ok(espl_tensors_open(test_context(), out, &probe));
        double *expected = test_values(probe, "logits", NULL);
        test_ok(espl_session_create(model, NULL, &session));
        const uint32_t pieces[] = {LENGTH, 1, 5, 17};
        for (size_t p = 0; p < ESPL_COUNT(pieces); p++) {
            espl_session_reset(session);
            for (uint32_t done = 0; done < LENGTH; done += pieces[p])
                test_ok(espl_session_append(session, ids + done, LENGTH - done < pieces[p] ? LENGTH - done : pieces[p]));
            test_ok(espl_session_logits(session, &logits, &count));
            double got[VOCABULARY];
            for (int i = 0; i < VOCABULARY; i++) got[i] = logits[i];
            assert_true(test_relative(got, expected + (LENGTH - 1) * VOCABULARY, VOCABULARY) < 2e-6);
        }
        test_refused(espl_session_append(session, ids, 0xffffff), ESPL_LIMIT, "tokens after 23 do not fit a context of");
        assert_int_equal(espl_session_position(session), LENGTH);
        free(expected);
        espl_tensors_destroy(&probe);
        espl_os_remove_file(out);
        free(out);
        espl_session_destroy(&session);
        espl_model_destroy(&model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits),
                                       cmocka_unit_test(resume_same_bits),
                                       cmocka_unit_test(resume_carried),
                                       cmocka_unit_test(nothing_per_step),
                                       cmocka_unit_test(frozen_base_costs_nothing),
                                       cmocka_unit_test(not_finite),
                                       cmocka_unit_test(one_is_trained),
                                       cmocka_unit_test(learns),
                                       cmocka_unit_test(sessions_agree)};
    return test_main("training", tests, ESPL_COUNT(tests));
}
