/* Sessions with rows before the text (prompt tuning, P-tuning, prefix tuning): the logits of the evaluation pass at every
 * position, however the text arrives; the ids that generation of peft and of the Adapters library gives; one session through several
 * adapters. What depends on the whole of a text (means of gates, last positions) is that of what came together. */
#include "host/base/os.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH = 19, VOCABULARY = 97 };
/* Some three times the worst of all positions on llvmpipe. */
static const double bound_exact = 5e-6;

/* Folders of tests/golden that have an adapter, and whose model it stands on. */
typedef struct golden_case {
    const char *name, *model;
    bool together; /* only a text that comes together has the evaluation's logits */
    bool generated;
} golden_case;
static golden_case cases[] = {
    {.name = "prompt_llama", .model = "llama_lora", .generated = true},
    {.name = "prompt_gpt2", .model = "gpt2_lora", .generated = true},
    {.name = "ptuning_llama", .model = "llama_tied_rope_scaling", .generated = true},
    {.name = "prefix_llama", .model = "llama_lora", .generated = true},
    {.name = "prefix_gpt2", .model = "gpt2_lora", .generated = true},
    {.name = "prefix_qwen3", .model = "qwen3_patterns", .generated = true},
    {.name = "generation/prefix_gpt2", .model = "gpt2_lora", .generated = true},
    {.name = "generation/gated_prefix_gpt2", .model = "gpt2_lora", .together = true, .generated = true},
    {.name = "generation/gated_union_gpt2", .model = "gpt2_lora", .together = true, .generated = true},
    {.name = "generation/unipelt_gpt2", .model = "gpt2_lora", .together = true, .generated = true},
    {.name = "generation/gated_lora_llama", .model = "llama_lora", .together = true, .generated = true},
    {.name = "mam_llama", .model = "llama_lora"},
    {.name = "pasta_llama", .model = "llama_lora"}, /* its vectors are counted from the beginning of the text */
    {.name = "unipelt_llama", .model = "llama_lora", .together = true},
    {.name = "library_prefix_flat", .model = "llama_lora", .together = true},
    {.name = "library_prefix_left_out", .model = "gpt2_lora", .together = true},
    {.name = "loreft_llama", .model = "llama_lora", .together = true, .generated = true},
    {.name = "direft_llama", .model = "llama_lora", .together = true, .generated = true},
    {.name = "noreft_gpt2", .model = "gpt2_lora", .together = true},
};

static void sequence(int32_t ids[LENGTH]) {
    espl_random random = {.seed = 8};
    for (int i = 0; i < LENGTH; i++) ids[i] = (int32_t)espl_random_below(&random, VOCABULARY);
    ids[2] = 5, ids[11] = 41; /* special to pasta_llama */
}

static espl_model *load_model(const char *name, const char *dtype) {
    char path[512];
    espl_model *model;
    snprintf(path, sizeof path, "%s/%s", ESPL_GOLDEN, name);
    const espl_model_params params = {.mode = dtype ? ESPL_MODE_FAST : ESPL_MODE_EXACT, .dtype = dtype};
    test_ok(espl_model_load(test_device(), path, &params, &model));
    return model;
}

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static espl_adapter *load_adapter(espl_model *model, const char *name) {
    char path[512];
    espl_adapter *adapter;
    snprintf(path, sizeof path, "%s/%s/adapter", ESPL_GOLDEN, name);
    test_ok(espl_adapter_load(model, last_part(name), path, &adapter));
    return adapter;
}

/* What the evaluation pass gives at each position, with the adapters that are active. */
static double *evaluated(espl_model *model, const int32_t *ids, uint32_t count) {
    espl_tensors *probe;
    char *out = test_path("session.safetensors");
    test_ok(espl_probe(model, NULL, &(espl_probe_params){.ids = ids, .rows = 1, .tokens = count}, out));
    test_ok(espl_tensors_open(test_context(), out, &probe));
    double *logits = test_values(probe, "logits", NULL);
    espl_tensors_destroy(&probe);
    espl_os_remove_file(out);
    free(out);
    return logits;
}

static double off(espl_session *session, const double *expected) {
    const float *logits;
    uint32_t count;
    double got[VOCABULARY];
    test_ok(espl_session_logits(session, &logits, &count));
    assert_int_equal(count, VOCABULARY);
    for (int i = 0; i < VOCABULARY; i++) got[i] = logits[i];
    return test_relative(got, expected, VOCABULARY);
}

/* Largest difference of a text that arrives in such pieces. */
static double text_off(espl_session *session, const int32_t *ids, uint32_t piece, const double *expected) {
    double worst = 0;
    espl_session_reset(session);
    for (uint32_t done = 0; done < LENGTH;) {
        const uint32_t count = LENGTH - done < piece ? LENGTH - done : piece;
        test_ok(espl_session_append(session, ids + done, count));
        done += count;
        assert_int_equal(espl_session_position(session), done);
        worst = fmax(worst, off(session, expected + (size_t)(done - 1) * VOCABULARY));
    }
    return worst;
}

/* In 16 bits, half units in the last place, as many as the goldens may be off: both passes round what blocks make, at other
 * values where sums in another order do. Sessions without such rows are as far from the evaluation. */
static void agrees(void **state) {
    const struct {
        const char *dtype;
        double bound;
    } precisions[] = {{NULL, bound_exact}, {"f16", 16 * 0x1p-11}, {"bf16", 16 * 0x1p-8}};
    static const uint32_t pieces[] = {1, LENGTH, 5, 17};
    const golden_case *c = *state;
    int32_t ids[LENGTH];
    sequence(ids);
    for (size_t p = 0; p < ESPL_COUNT(precisions); p++) {
        espl_model *model = load_model(c->model, precisions[p].dtype);
        espl_session *session;
        load_adapter(model, c->name);
        double *base = evaluated(model, ids, LENGTH);
        test_ok(espl_model_activate(model, last_part(c->name)));
        double *expected = evaluated(model, ids, LENGTH);
        test_ok(espl_session_create(model, NULL, &session));
        double worst = 0;
        for (size_t i = 0; i < ESPL_COUNT(pieces); i++) {
            if (!c->together || pieces[i] == LENGTH) worst = fmax(worst, text_off(session, ids, pieces[i], expected));
        }
        const double without = text_off(session, ids, LENGTH, base);
        printf("  %s, %s: %.1e; without it %.1e\n", c->name, precisions[p].dtype ? precisions[p].dtype : "exact",
               worst, without);
        assert_true(worst < precisions[p].bound);
        assert_true(without > 0.03);
        free(base), free(expected);
        espl_session_destroy(&session);
        espl_model_destroy(&model);
    }
}

/* Greedy ids and the logits before each, of peft and of the Adapters library in double precision. */
static void generates(void **state) {
    const golden_case *c = *state;
    char path[512];
    espl_tensors *golden;
    espl_session *session;
    size_t prompt_count, count;
    snprintf(path, sizeof path, "%s/%s/golden.safetensors", ESPL_GOLDEN, c->name);
    test_ok(espl_tensors_open(test_context(), path, &golden));
    double *prompt = test_values(golden, "prompt", &prompt_count), *expected = test_values(golden, "generated", &count);
    double *logits = test_values(golden, "generated_logits", NULL), worst = 0;
    espl_tensors_destroy(&golden);
    espl_model *model = load_model(c->model, NULL);
    load_adapter(model, c->name);
    test_ok(espl_model_activate(model, last_part(c->name)));
    test_ok(espl_session_create(model, NULL, &session));
    int32_t ids[LENGTH];
    assert_true(prompt_count <= LENGTH);
    for (size_t i = 0; i < prompt_count; i++) ids[i] = (int32_t)prompt[i];
    test_ok(espl_session_append(session, ids, (uint32_t)prompt_count));
    for (size_t i = 0; i < count; i++) {
        const float *values;
        uint32_t vocabulary;
        int32_t best = 0;
        worst = fmax(worst, off(session, logits + i * VOCABULARY));
        test_ok(espl_session_logits(session, &values, &vocabulary));
        for (int32_t v = 1; v < VOCABULARY; v++)
            if (values[v] > values[best]) best = v;
        assert_int_equal(best, (int32_t)expected[i]);
        test_ok(espl_session_append(session, &best, 1));
    }
    printf("  %s: %zu greedy ids, logits %.1e\n", c->name, count, worst);
    assert_true(count > 0 && worst < 2e-5);
    free(prompt), free(expected), free(logits);
    espl_session_destroy(&session);
    espl_model_destroy(&model);
}

/* One session through prompts, prefixes, others and none: what a session of their own gives, to the bit. */
static void switches(void **state) {
    static const char *const turns[] = {"prompt_llama", "", "prefix_llama", "l", "l+prompt_llama", "v2", "prefix_llama+l", "v2",
                                        "tiny_attention_llama", "tiny_attention_llama+prompt_llama",
                                        "tiny_attention_llama+prefix_llama", "prompt_llama"};
    (void)state;
    int32_t ids[LENGTH];
    espl_adapter *adapter;
    espl_session *session;
    sequence(ids);
    espl_model *model = load_model("llama_lora", NULL);
    load_adapter(model, "prompt_llama");
    load_adapter(model, "prefix_llama");
    load_adapter(model, "tiny_attention_llama");
    test_ok(espl_adapter_add(model, "l", "lora:r=3,targets=all-linear,init=random", 1, &adapter));
    test_ok(espl_adapter_add(model, "v2", "ptuning2:tokens=9", 7, &adapter));
    test_ok(espl_session_create(model, NULL, &session));
    for (size_t i = 0; i < ESPL_COUNT(turns); i++) {
        float kept[VOCABULARY];
        const float *logits;
        uint32_t count;
        espl_session *own;
        test_ok(espl_model_activate(model, turns[i]));
        double *expected = evaluated(model, ids, LENGTH);
        test_ok(espl_session_refresh(session));
        assert_int_equal(espl_session_position(session), 0);
        if (!(text_off(session, ids, LENGTH, expected) < bound_exact)) fail_msg("\"%s\" differs from the evaluation", turns[i]);
        free(expected);
        test_ok(espl_session_logits(session, &logits, &count));
        memcpy(kept, logits, sizeof kept);
        test_ok(espl_session_create(model, NULL, &own));
        test_ok(espl_session_append(own, ids, LENGTH));
        test_ok(espl_session_logits(own, &logits, &count));
        assert_memory_equal(kept, logits, sizeof kept);
        espl_session_destroy(&own);
    }
    espl_session_destroy(&session);
    espl_model_destroy(&model);
}

/* Trained on while a session is there: the next text has the new rows. */
static void follows_training(void **state) {
    static const char *const specs[] = {"prompt:tokens=4", "prefix:tokens=3", "ptuning:tokens=3,type=LSTM,encoder=8"};
    (void)state;
    int32_t ids[LENGTH];
    sequence(ids);
    for (size_t i = 0; i < ESPL_COUNT(specs); i++) {
        espl_adapter *adapter;
        espl_session *session;
        espl_dataset *dataset;
        espl_trainer *trainer;
        espl_progress progress;
        espl_model *model = load_model("llama_lora", NULL);
        test_ok(espl_adapter_add(model, "a", specs[i], 7, &adapter));
        test_ok(espl_model_activate(model, "a"));
        test_ok(espl_session_create(model, NULL, &session));
        double *before = evaluated(model, ids, LENGTH);
        assert_true(text_off(session, ids, LENGTH, before) < bound_exact);
        test_ok(espl_dataset_from_ids(test_context(), ids, ids, 1, LENGTH, &dataset));
        test_ok(espl_trainer_create(model, adapter, dataset, &(espl_trainer_params){.steps = 1, .learning_rate = 0.3}, &trainer));
        test_ok(espl_trainer_step(trainer, &progress));
        double *after = evaluated(model, ids, LENGTH);
        assert_true(test_relative(after, before, LENGTH * VOCABULARY) > 1e-2);
        assert_true(text_off(session, ids, LENGTH, after) < bound_exact);
        free(before), free(after);
        espl_trainer_destroy(&trainer);
        espl_dataset_destroy(&dataset);
        espl_session_destroy(&session);
        espl_model_destroy(&model);
    }
}

/* A prompt beyond the longest run: with gates it is not cut, last positions are the whole prompt's. Then a longer one. */
static void long_prompts(void **state) {
    enum { MOST = 390, BUNDLED_VOCABULARY = 1024 };
    static const char *const specs[] = {"library_lora:r=2,gated,init=bert", "library_prefix:length=5,gated",
                                        "library_prefix:length=5,gated,shared=false", "library_prefix:length=5",
                                        "library_prefix:length=5,leave_out=0", "library_prefix:length=5,gated,leave_out=1",
                                        "noreft:r=2,prefix=3,suffix=300,dropout=0"};
    static const uint32_t counts[] = {257, MOST, 17};
    (void)state;
    int32_t ids[MOST];
    espl_random random = {.seed = 9};
    for (int i = 0; i < MOST; i++) ids[i] = (int32_t)espl_random_below(&random, BUNDLED_VOCABULARY);
    espl_model *model = load_model("../../tools/base", NULL);
    for (size_t i = 0; i < ESPL_COUNT(specs); i++) {
        espl_adapter *adapter;
        espl_session *session;
        test_ok(espl_adapter_add(model, "a", specs[i], 3, &adapter));
        test_ok(espl_model_activate(model, "a"));
        test_ok(espl_session_create(model, NULL, &session));
        for (size_t n = 0; n < ESPL_COUNT(counts); n++) {
            const float *logits;
            uint32_t vocabulary;
            double got[BUNDLED_VOCABULARY];
            double *expected = evaluated(model, ids, counts[n]);
            espl_session_reset(session);
            test_ok(espl_session_append(session, ids, counts[n]));
            test_ok(espl_session_logits(session, &logits, &vocabulary));
            for (int v = 0; v < BUNDLED_VOCABULARY; v++) got[v] = logits[v];
            const double error = test_relative(got, expected + (size_t)(counts[n] - 1) * BUNDLED_VOCABULARY, BUNDLED_VOCABULARY);
            if (!(error < bound_exact)) fail_msg("%s: %u tokens together are off by %.1e", specs[i], counts[n], error);
            free(expected);
        }
        espl_session_destroy(&session);
        espl_adapter_delete(&adapter);
    }
    espl_model_destroy(&model);
}

static void refuses(void **state) {
    (void)state;
    int32_t ids[LENGTH];
    espl_session *session;
    sequence(ids);
    espl_model *model = load_model("llama_lora", NULL);
    load_adapter(model, "prompt_llama");
    load_adapter(model, "prefix_llama");
    test_ok(espl_model_activate(model, "prefix_llama"));
    test_refused(espl_session_create(model, &(espl_session_params){.context = 4}, &session), ESPL_LIMIT,
                 "4 rows of adapter \"prefix_llama\" before the text leave no room in a context of 4");
    test_ok(espl_session_create(model, &(espl_session_params){.context = 12}, &session));
    test_refused(espl_session_append(session, ids, 9), ESPL_LIMIT, "9 tokens after 4 do not fit a context of 12");
    test_ok(espl_session_append(session, ids, 8));
    test_refused(espl_session_append(session, ids, 1), ESPL_LIMIT, "1 tokens after 12 do not fit a context of 12");
    espl_adapter *adapter;
    test_ok(espl_adapter_add(model, "gated", "pfeiffer:rf=8,gated", 1, &adapter));
    test_ok(espl_model_activate(model, "prompt_llama+gated"));
    test_refused(espl_session_refresh(session), ESPL_UNSUPPORTED, "pfeiffer: generation with gates behind a prompt");
    test_refused(espl_model_activate(model, "prompt_llama+prefix_llama"), ESPL_UNSUPPORTED, "is a second adapter with rows before the text");
    test_ok(espl_model_activate(model, "batchsplit(prefix_llama:1)"));
    test_refused(espl_session_refresh(session), ESPL_UNSUPPORTED, "a session has the same 4 rows before every text");
    test_refused(espl_session_append(session, ids, 1), ESPL_UNSUPPORTED, "a session has the same 4 rows before every text");
    test_ok(espl_model_activate(model, ""));
    test_ok(espl_session_refresh(session));
    test_ok(espl_session_append(session, ids, 12));
    espl_session_destroy(&session);
    espl_model_destroy(&model);
}

int main(void) {
    struct CMUnitTest tests[2 * ESPL_COUNT(cases) + 4];
    size_t count = 0;
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        tests[count++] = (struct CMUnitTest){cases[i].name, agrees, NULL, NULL, &cases[i]};
        if (cases[i].generated) tests[count++] = (struct CMUnitTest){"generates", generates, NULL, NULL, &cases[i]};
    }
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(switches);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(follows_training);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(long_prompts);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(refuses);
    return test_main("sessions with rows before the text", tests, count);
}
