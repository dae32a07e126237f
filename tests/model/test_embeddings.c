/* Rows given as embeddings: where they are the vocabulary's own rows, everything has the bits that it has by ids. */
#include "host/base/os.h"
#include "host/model/adapter.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 16, TOKENS = 8, VOCABULARY = 83, CLASSES = 2, BATCH = 2 };

static int32_t ids[ROWS * TOKENS], types[ROWS * TOKENS], lengths[ROWS], classes[ROWS], successors[ROWS * TOKENS];

static void fill(void) {
    for (int32_t r = 0; r < ROWS; r++) {
        lengths[r] = 2 + r % (TOKENS - 1);
        classes[r] = r % CLASSES;
        for (int32_t i = 0; i < TOKENS; i++) ids[r * TOKENS + i] = i < lengths[r] ? 3 + (17 * r + 7 * i) % (VOCABULARY - 3) : 0;
        for (int32_t i = 0; i < TOKENS; i++) {
            successors[r * TOKENS + i] = i + 1 < lengths[r] ? ids[r * TOKENS + i + 1] : -100;
            types[r * TOKENS + i] = i < lengths[r] && i > lengths[r] / 2;
        }
    }
}

/* The vocabulary's rows of ids, from malloc. */
static float *embeddings_of(espl_model *model) {
    const size_t width = espl_model_describe(model).embedding_size;
    float *all = NULL, *made = malloc(ROWS * TOKENS * width * sizeof *made);
    for (size_t i = 0; i < model->store.entry_count; i++) {
        const espl_entry *e = &model->store.entries[i];
        if (e->matrix != model->embed) continue;
        all = malloc((size_t)espl_entry_values(&model->store, e) * sizeof *all);
        test_ok(espl_store_read(&model->store, e, all));
        break;
    }
    assert_true(all && made);
    for (size_t i = 0; i < ROWS * TOKENS; i++) memcpy(made + i * width, all + (size_t)ids[i] * width, width * sizeof *made);
    free(all);
    return made;
}

/* embeddings NULL: by ids. */
static espl_rows rows_for(espl_model *model, const float *embeddings) {
    const espl_model_info info = espl_model_describe(model);
    const bool encoder = !info.per_token;
    return (espl_rows){.rows = ROWS, .tokens = TOKENS, .ids = embeddings ? NULL : ids, .embeddings = embeddings,
                       .width = info.embedding_size, .types = encoder ? types : NULL, .lengths = lengths,
                       .labels = encoder ? classes : successors, .row_labels = encoder ? 1 : TOKENS};
}

static espl_dataset *dataset_for(espl_model *model, const float *embeddings) {
    const espl_rows rows = rows_for(model, embeddings);
    espl_dataset *dataset;
    test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &dataset));
    return dataset;
}

static size_t output_count(const espl_model *model) {
    const espl_model_info info = espl_model_describe(model);
    return (size_t)ROWS * info.replicas * (info.per_token ? TOKENS : 1) * info.outputs;
}

/* From malloc. */
static float *outputs_of(espl_model *model, const float *embeddings) {
    espl_dataset *dataset = dataset_for(model, embeddings);
    float *outputs = malloc(output_count(model) * sizeof *outputs);
    test_ok(espl_predict(model, dataset, BATCH, 0, outputs));
    espl_dataset_destroy(&dataset);
    return outputs;
}

/* What is computed of a model's rows. */
typedef struct results {
    float *outputs, *trained; /* from malloc */
    size_t output_count, trained_count;
    double loss, step_loss[3];
    char *probe; /* the path of its file; from malloc */
} results;

static results results_of(espl_model *model, espl_adapter *adapter, const float *embeddings, const char *name) {
    const bool encoder = !espl_model_describe(model).per_token;
    results r = {.outputs = outputs_of(model, embeddings), .output_count = output_count(model), .probe = test_path(name)};
    test_setup s = {.model = model, .adapter = adapter, .dataset = dataset_for(model, embeddings)};
    const espl_trainer_params params = {.steps = ESPL_COUNT(r.step_loss), .batch = BATCH, .learning_rate = 1e-2, .group_by_length = true,
                                        .seed = 3};
    uint64_t labels;
    espl_progress progress;
    test_ok(espl_evaluate(model, s.dataset, BATCH, 0, &r.loss, &labels));
    test_ok(espl_probe(model, adapter, &(espl_probe_params){.ids = embeddings ? NULL : ids, .embeddings = embeddings,
                                                            .labels = encoder ? classes : ids, .types = encoder ? types : NULL,
                                                            .lengths = lengths, .rows = ROWS, .tokens = TOKENS}, r.probe));
    test_ok(espl_trainer_create(model, adapter, s.dataset, &params, &s.trainer));
    for (size_t i = 0; i < ESPL_COUNT(r.step_loss); i++) {
        test_ok(espl_trainer_step(s.trainer, &progress));
        r.step_loss[i] = progress.loss;
    }
    r.trained = test_trained(&s, &r.trained_count);
    test_setup_end(&s);
    return r;
}

static void finish(results *r) {
    espl_os_remove_file(r->probe);
    free(r->outputs), free(r->trained), free(r->probe);
}

/* Every tensor of the probes' files, but for the inputs and one that may be left out. */
static void compare_probes(const results *a, const results *b, const char *except) {
    espl_tensors *first, *second;
    size_t compared = 0;
    test_ok(espl_tensors_open(test_context(), a->probe, &first));
    test_ok(espl_tensors_open(test_context(), b->probe, &second));
    assert_true(espl_tensors_has(second, "embeddings") && !espl_tensors_has(second, "ids"));
    for (size_t i = 0; i < espl_tensors_count(first); i++) {
        const char *name = espl_tensors_name(first, i);
        espl_tensor_view one, other;
        if (strcmp(name, "ids") == 0 || (except && strcmp(name, except) == 0)) continue;
        test_ok(espl_tensors_find(first, name, &one));
        test_ok(espl_tensors_find(second, name, &other));
        assert_int_equal(one.bytes, other.bytes);
        if (memcmp(one.data, other.data, one.bytes) != 0) fail_msg("%s is another", name);
        compared++;
    }
    assert_true(compared > 3);
    espl_tensors_destroy(&first);
    espl_tensors_destroy(&second);
}

/* Predictions, losses, gradients and what is trained have the same bits; other embeddings have others. */
static void compare(const results *by_ids, const results *same, const results *other) {
    assert_int_equal(by_ids->output_count, same->output_count);
    assert_memory_equal(by_ids->outputs, same->outputs, by_ids->output_count * sizeof *by_ids->outputs);
    assert_memory_equal(&by_ids->loss, &same->loss, sizeof by_ids->loss);
    assert_memory_equal(by_ids->step_loss, same->step_loss, sizeof by_ids->step_loss);
    assert_memory_equal(by_ids->trained, same->trained, by_ids->trained_count * sizeof *by_ids->trained);
    compare_probes(by_ids, same, NULL);
    assert_memory_not_equal(other->outputs, same->outputs, by_ids->output_count * sizeof *by_ids->outputs);
    assert_memory_not_equal(other->trained, same->trained, by_ids->trained_count * sizeof *by_ids->trained);
    assert_true(isfinite(other->loss) && other->loss != same->loss);
}

/* With methods that know how many rows there are, that see embeddings, that do neither: dropout as config.json says. */
static void as_by_ids(void **state) {
    static const char *const models[] = {"llama_lora", "gpt2_lora", "bert_classes_lora", "electra_classes_lora", "albert_classes_lora"};
    static const char *const methods[] = {"prompt:tokens=3", "ptuning:tokens=2", "lora:r=3", "adalink:r=3"};
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(models) * ESPL_COUNT(methods); i++) {
        const char *name = models[i / ESPL_COUNT(methods)], *method = methods[i % ESPL_COUNT(methods)];
        results r[3]; /* by ids; by embeddings; by others */
        print_message("  %s %s\n", name, method);
        for (size_t how = 0; how < ESPL_COUNT(r); how++) {
            espl_model *model = test_model(name, NULL);
            espl_adapter *adapter;
            char file[32];
            float *embeddings = embeddings_of(model);
            if (how == 2) embeddings[5] += 0.25f;
            test_ok(espl_adapter_add(model, "a", method, 1, &adapter));
            test_ok(espl_model_activate(model, "a"));
            snprintf(file, sizeof file, "embeddings%zu", how);
            r[how] = results_of(model, adapter, how ? embeddings : NULL, file);
            free(embeddings);
        }
        compare(&r[0], &r[1], &r[2]);
        for (size_t how = 0; how < ESPL_COUNT(r); how++) finish(&r[how]);
    }
}

/* Of a whole model only the vocabulary's own gradient is another: none comes from the rows. */
static void whole_model(void **state) {
    static const char word[] = "grad.bert.embeddings.word_embeddings.weight";
    results r[2];
    (void)state;
    for (size_t how = 0; how < ESPL_COUNT(r); how++) {
        espl_model *model = test_model("bert_classes_full", &(espl_model_params){.trainable = true});
        float *embeddings = embeddings_of(model);
        r[how] = results_of(model, NULL, how ? embeddings : NULL, how ? "whole1" : "whole0");
        free(embeddings);
    }
    compare_probes(&r[0], &r[1], word);
    for (size_t how = 0; how < ESPL_COUNT(r); how++) {
        espl_tensors *set;
        size_t count;
        double largest = 0;
        test_ok(espl_tensors_open(test_context(), r[how].probe, &set));
        double *gradient = test_values(set, word, &count);
        for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs(gradient[i]));
        assert_int_equal(largest > 0, how == 0);
        free(gradient);
        espl_tensors_destroy(&set);
        finish(&r[how]);
    }
}

static void compare_outputs(espl_model *model, const float *embeddings) {
    const size_t count = output_count(model);
    float *by_ids = outputs_of(model, NULL), *same = outputs_of(model, embeddings);
    assert_memory_equal(by_ids, same, count * sizeof *same);
    free(by_ids), free(same);
}

/* In 16 bits they are rounded as the vocabulary's rows were. */
static void rounded(void **state) {
    static const char *const models[] = {"llama_lora", "gpt2_lora", "bert_classes_lora"}, *const dtypes[] = {"f16", "bf16"};
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(models) * ESPL_COUNT(dtypes); i++) {
        const char *name = models[i / ESPL_COUNT(dtypes)];
        espl_model *wide = test_model(name, NULL);
        float *embeddings = embeddings_of(wide);
        espl_model_destroy(&wide);
        espl_model *model = test_model(name, &(espl_model_params){.mode = ESPL_MODE_FAST, .dtype = dtypes[i % ESPL_COUNT(dtypes)]});
        compare_outputs(model, embeddings);
        free(embeddings);
        espl_model_destroy(&model);
    }
}

/* Rows that go through several adapters, each with tensors written for each batch. */
static void in_parallel(void **state) {
    espl_model *model = test_model("gpt2_lora", NULL);
    espl_adapter *adapter;
    (void)state;
    test_ok(espl_adapter_add(model, "a", "lora:r=2", 1, &adapter));
    test_ok(espl_adapter_add(model, "b", "houlsby:rf=4", 2, &adapter));
    test_ok(espl_model_activate(model, "parallel(a,b)"));
    float *embeddings = embeddings_of(model);
    compare_outputs(model, embeddings);
    free(embeddings);
    espl_model_destroy(&model);
}

static void refuse_rows(const espl_rows *rows, const char *part) {
    espl_dataset *dataset;
    test_refused(espl_dataset_from_rows(test_context(), rows, 0, 0, &dataset), ESPL_ARGUMENT, part);
    assert_null(dataset);
}

static void refuse_model(espl_model *model, const espl_rows *rows, const char *part) {
    espl_dataset *dataset;
    double loss;
    uint64_t labels;
    test_ok(espl_dataset_from_rows(test_context(), rows, 0, 0, &dataset));
    test_refused(espl_evaluate(model, dataset, BATCH, 0, &loss, &labels), ESPL_ARGUMENT, part);
    espl_dataset_destroy(&dataset);
}

static void refused_rows(void **state) {
    espl_model *model = test_model("llama_lora", NULL);
    float *embeddings = embeddings_of(model);
    const espl_rows good = rows_for(model, embeddings);
    const size_t at = (3 * TOKENS + 2) * good.width + 1;
    int32_t beyond[ROWS * TOKENS];
    espl_rows rows = good;
    (void)state;
    rows.ids = ids;
    refuse_rows(&rows, "rows are given as ids or as embeddings, and here as both");
    rows.ids = NULL, rows.embeddings = NULL;
    refuse_rows(&rows, "and here as neither");
    rows = good, rows.width = 0;
    refuse_rows(&rows, "rows of 8 embeddings of 0 numbers");
    const float kept = embeddings[at];
    embeddings[at] = NAN;
    refuse_rows(&good, "the embedding in row 3 at 2 is not finite");
    embeddings[at] = -INFINITY;
    refuse_rows(&good, "the embedding in row 3 at 2 is not finite");
    embeddings[at] = kept;
    rows = good, rows.width = 7;
    refuse_model(model, &rows, "embeddings of the data have 7 numbers, the model's have 48");
    memcpy(beyond, successors, sizeof beyond);
    beyond[4] = 97;
    rows = good, rows.labels = beyond;
    refuse_model(model, &rows, "the data has label 97, the model's head has 97");
    rows = good, rows.labels = NULL, rows.row_labels = 0;
    refuse_model(model, &rows, "a row of the data has 1 labels");
    free(embeddings);
    espl_model_destroy(&model);
}

static void refused_probes(void **state) {
    espl_model *model = test_model("llama_lora", NULL);
    float *embeddings = embeddings_of(model);
    const espl_probe_params good = {.embeddings = embeddings, .labels = ids, .rows = ROWS, .tokens = TOKENS};
    int32_t beyond[ROWS * TOKENS];
    char *path = test_path("refused");
    espl_probe_params probe = good;
    (void)state;
    memcpy(beyond, ids, sizeof beyond);
    beyond[9] = 97;
    probe.ids = ids;
    test_refused(espl_probe(model, NULL, &probe, path), ESPL_ARGUMENT, "here as both");
    probe.ids = NULL, probe.embeddings = NULL;
    test_refused(espl_probe(model, NULL, &probe, path), ESPL_ARGUMENT, "here as neither");
    probe = good, probe.labels = NULL;
    test_refused(espl_probe(model, NULL, &probe, path), ESPL_ARGUMENT, "labels are needed");
    probe.labels = beyond;
    test_refused(espl_probe(model, NULL, &probe, path), ESPL_ARGUMENT, "label 97 is not below 97");
    embeddings[48 * TOKENS] = INFINITY;
    test_refused(espl_probe(model, NULL, &good, path), ESPL_ARGUMENT, "the embedding in row 1 at 0 is not finite");
    assert_false(espl_os_is_file(path));
    free(path), free(embeddings);
    espl_model_destroy(&model);
}

/* An adapter that goes by ids, alone or as a part. */
static void refused_by_adapter(void **state) {
    static const char *const specs[] = {"pasta", "lora:r=2|pasta"};
    static const char sentence[] = "pasta: adapter \"special\" goes by ids of tokens, and rows given as embeddings have none";
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(specs); i++) {
        espl_model *model;
        espl_adapter *adapter;
        espl_trainer *trainer;
        test_ok(espl_model_load(test_device(), ESPL_TOOLS "/base", NULL, &model));
        float *embeddings = embeddings_of(model);
        const espl_rows rows = rows_for(model, embeddings);
        espl_dataset *dataset = dataset_for(model, embeddings);
        test_ok(espl_adapter_add(model, "special", specs[i], 1, &adapter));
        test_ok(espl_model_activate(model, "special"));
        refuse_model(model, &rows, sentence);
        test_refused(espl_trainer_create(model, adapter, dataset, NULL, &trainer), ESPL_ARGUMENT, sentence);
        assert_null(trainer);
        espl_dataset_destroy(&dataset);
        free(embeddings);
        espl_model_destroy(&model);
    }
}

/* A checkpoint of other embeddings is of other data. */
static void refused_checkpoint(void **state) {
    const espl_trainer_params params = {.steps = 4, .batch = BATCH};
    char *folder = test_path("embeddings_checkpoint");
    test_setup s = {.model = test_model("llama_lora", NULL)};
    espl_progress progress;
    (void)state;
    test_ok(espl_adapter_add(s.model, "a", "lora:r=2", 1, &s.adapter));
    test_ok(espl_model_activate(s.model, "a"));
    float *embeddings = embeddings_of(s.model);
    for (int other = 0; other < 2; other++) {
        embeddings[TOKENS * 48 * ROWS - 1] += (float)other;
        s.dataset = dataset_for(s.model, embeddings);
        test_ok(espl_trainer_create(s.model, s.adapter, s.dataset, &params, &s.trainer));
        if (other) {
            test_refused(espl_trainer_resume(s.trainer, folder), ESPL_ARGUMENT, "data");
            break;
        }
        test_ok(espl_trainer_step(s.trainer, &progress));
        test_ok(espl_trainer_save(s.trainer, folder));
        test_ok(espl_trainer_resume(s.trainer, folder));
        espl_trainer_destroy(&s.trainer);
        espl_dataset_destroy(&s.dataset);
    }
    free(folder), free(embeddings);
    test_setup_end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_by_ids), cmocka_unit_test(whole_model), cmocka_unit_test(rounded),
                                       cmocka_unit_test(in_parallel), cmocka_unit_test(refused_rows), cmocka_unit_test(refused_probes),
                                       cmocka_unit_test(refused_by_adapter), cmocka_unit_test(refused_checkpoint)};
    fill();
    return test_main("rows given as embeddings", tests, ESPL_COUNT(tests));
}
