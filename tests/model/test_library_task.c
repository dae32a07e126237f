/* Heads that are trained together with adapters of the Adapters library's folders: saved beside them in that library's head
 * files, loaded with them, taken into averages and merges. */
#include "host/base/os.h"
#include "host/file/json.h"
#include "host/model/adapter.h"
#include "tests/model/model_test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 4, TOKENS = 6, MOST = ROWS * TOKENS * 128 };

static const int32_t ids[ROWS * TOKENS] = {3, 7, 11, 30, 22, 5, 3, 8, 61, 62, 5, 0, 4, 9, 13, 52, 24, 6, 3, 41, 17, 0, 0, 0};
static const int32_t lengths[ROWS] = {6, 5, 6, 3};

/* Rows with a class each, or one for each token, or the token itself. */
static espl_dataset *rows_for(const espl_model *model) {
    int32_t labels[ROWS * TOKENS];
    const uint32_t each = espl_head_per_token(model) ? TOKENS : 1;
    espl_dataset *dataset;
    for (uint32_t i = 0; i < ROWS * each; i++) labels[i] = model->task.labels ? (int32_t)(i % model->task.labels) : ids[i];
    test_ok(espl_dataset_from_rows(test_context(), &(espl_rows){.rows = ROWS, .tokens = TOKENS, .ids = ids, .lengths = lengths,
                                                                .labels = labels, .row_labels = each}, 0, 0, &dataset));
    return dataset;
}

/* What the model gives for the rows; the number of values. */
static size_t predict(espl_model *model, float values[MOST]) {
    espl_dataset *dataset;
    const size_t count = (size_t)ROWS * (espl_head_per_token(model) ? TOKENS : 1) * espl_head_outputs(model);
    assert_true(count <= MOST);
    test_ok(espl_dataset_from_rows(test_context(), &(espl_rows){.rows = ROWS, .tokens = TOKENS, .ids = ids, .lengths = lengths},
                                   0, 0, &dataset));
    test_ok(espl_predict(model, dataset, 2, 0, values));
    espl_dataset_destroy(&dataset);
    return count;
}

static void train(espl_model *model, espl_adapter *adapter, uint32_t steps) {
    espl_dataset *dataset = rows_for(model);
    espl_trainer *trainer;
    espl_progress progress;
    test_ok(espl_trainer_create(model, adapter, dataset, &(espl_trainer_params){.steps = steps, .batch = 2, .learning_rate = 1e-2},
                                &trainer));
    for (uint32_t i = 0; i < steps; i++) test_ok(espl_trainer_step(trainer, &progress));
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&dataset);
}

/* The head's tensors are in its own file alone. */
static void check_files(const char *folder, const char *tensor) {
    char path[512];
    espl_tensors *set;
    snprintf(path, sizeof path, "%s/model_head.safetensors", folder);
    test_ok(espl_tensors_open(test_context(), path, &set));
    assert_true(espl_tensors_has(set, tensor));
    espl_tensors_destroy(&set);
    snprintf(path, sizeof path, "%s/adapter.safetensors", folder);
    test_ok(espl_tensors_open(test_context(), path, &set));
    assert_false(espl_tensors_has(set, tensor));
    espl_tensors_destroy(&set);
}

typedef struct life_case {
    const char *model, *spec, *head; /* head: a tensor that is trained */
    const char *written;             /* and its name in the head's file; NULL: the same */
    espl_head_params params;
} life_case;

#define FLEXIBLE(...) .params = {.kind = ESPL_HEAD_CLASSIFICATION, .labels = 3, .flexible = {.layers = 2, .bias = true, __VA_ARGS__}}

static const life_case cases[] = {
    {"bert_classes_lora", "pfeiffer:rf=8", "classifier.weight", .written = NULL},
    {"bert_classes_lora", "houlsby:rf=8", "classifier.weight", .written = NULL},
    {"roberta_classes_lora", "compacter:rf=2", "classifier.dense.weight", .written = NULL},
    {"bert_classes_lora", "library_lora:r=2", "classifier.weight", .written = NULL},
    {"bert_classes_lora", "library_prompt:length=2", "classifier.weight", .written = NULL},
    {"bert_classes_lora", "loreft:r=2", "classifier.weight", .written = NULL},
    {"roberta_classes_lora", "library_prefix:length=3,bottleneck=7|parallel:rf=8", "classifier.dense.weight", .written = NULL},
    {"bert_classes_lora", "{\"config\": {\"architecture\": \"lora\", \"r\": 2}, \"name\": \"a\"}", "classifier.weight", .written = NULL},
    {"bert_classes_lora", "{\"config\": {\"architecture\": \"lora\", \"composition_mode\": \"scale\"}, \"name\": \"a\"}",
     "classifier.weight", .written = NULL},
    {"roberta_classes_lora", "pfeiffer:rf=8", "classifier.out_proj.weight", .written = NULL},
    {"distilbert_classes_lora", "pfeiffer:rf=8", "pre_classifier.weight", .written = NULL},
    {"deberta_classes_lora", "pfeiffer:rf=8", "pooler.dense.weight", .written = NULL},
    {"bert_tags_lora", "pfeiffer:rf=8", "classifier.weight", .written = NULL},
    {"llama_classes_lora", "pfeiffer:rf=8", "score.weight", .written = NULL},
    {"bert_masked_full", "pfeiffer:rf=8", "cls.predictions.transform.dense.weight", .written = NULL},
    {"roberta_masked_lora", "library_lora:r=2", "lm_head.layer_norm.bias", .written = NULL},
    {"gpt2_lora", "pfeiffer:rf=8", "head.dense.weight", "heads.a.1.weight", FLEXIBLE(.activation = "relu")},
    {"albert_classes_lora", "houlsby:rf=8", "head.out.bias", "heads.a.4.bias", FLEXIBLE(.pooler = true)},
    {"llama_lora", "library_lora:r=2", "head.norm.weight", "heads.a.2.weight",
     .params = {.flexible = {.layers = 2, .norm = true, .bias = true}}},
    {"bert_masked_full", "pfeiffer:rf=8", "head.dense.bias", "heads.a.0.bias", .params = {.flexible = {.layers = 2, .bias = true}}},
};

/* Trained, saved, loaded into another model of the same weights: the same bits; what it trained is its own and the head. */
static void life(void **state) {
    const life_case *c = *state;
    char path[512];
    float before[MOST], trained[MOST], after[MOST];
    const espl_model_params params = {.seed = 3, .head = c->params};
    espl_model *model = test_model(c->model, &params);
    espl_adapter *adapter;
    char *folder = test_path("life");
    const size_t count = predict(model, before), bytes = count * sizeof *before;
    test_ok(espl_adapter_add(model, "a", c->spec, 5, &adapter));
    const espl_entry *base = espl_store_find(&model->store, c->head);
    assert_non_null(base);
    const uint32_t own = adapter->replacement[base->matrix];
    assert_true(own != ESPL_NO_MATRIX && !adapter->store.matrices[own].frozen);
    test_ok(espl_model_activate(model, "a"));
    train(model, adapter, 4);
    predict(model, trained);
    assert_memory_not_equal(before, trained, bytes);
    test_ok(espl_adapter_save(adapter, folder));
    check_files(folder, c->written ? c->written : c->head);
    espl_adapter_delete(&adapter);
    predict(model, after);
    assert_memory_equal(before, after, bytes);
    espl_model_destroy(&model);

    espl_model_params again = {.seed = 3, .head = {.kind = c->params.kind, .labels = c->params.labels}};
    snprintf(path, sizeof path, "%s/%s", ESPL_GOLDEN, c->model);
    test_ok(espl_head_read(test_context(), path, folder, &again.head));
    assert_int_equal(again.head.flexible.layers, c->params.flexible.layers);
    model = test_model(c->model, &again);
    test_ok(espl_adapter_load(model, "b", folder, &adapter));
    test_ok(espl_model_activate(model, "b"));
    predict(model, after);
    assert_memory_equal(trained, after, bytes);
    espl_model_destroy(&model);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

/* An adapter of tests/golden with a head of it in one folder. */
static char *together(const char *adapter, const char *head) {
    char from[512];
    char *folder = test_path(head);
    snprintf(from, sizeof from, "%s/%s/adapter", ESPL_GOLDEN, adapter);
    test_copy_file(from, folder, "adapter_config.json");
    test_copy_file(from, folder, "pytorch_adapter.bin");
    snprintf(from, sizeof from, "%s/heads/%s", ESPL_GOLDEN, head);
    test_copy_file(from, folder, "head_config.json");
    test_copy_file(from, folder, "pytorch_model_head.bin");
    return folder;
}

/* The library's own two-layer head, whose dense map takes the pooler's place: as if it was loaded into the model, written again
 * in the same form, and without a trace in the model. */
static void two_layers(void **state) {
    (void)state;
    float before[MOST], wanted[MOST], got[MOST];
    char *folder = together("library_lora_bert", "bert_two"), *again = test_path("again");
    espl_model *model = test_model("bert_classes_lora", NULL);
    espl_adapter *adapter;
    const size_t bytes = predict(model, before) * sizeof *before;
    test_ok(espl_adapter_load(model, "a", folder, &adapter));
    predict(model, got);
    assert_memory_equal(before, got, bytes);
    test_ok(espl_model_activate(model, "a"));
    predict(model, got);
    test_ok(espl_adapter_save(adapter, again));
    check_files(again, "heads.a.4.weight");
    check_files(again, "heads.a.1.weight");
    espl_model_destroy(&model);

    model = test_model("bert_classes_lora", NULL);
    test_ok(espl_adapter_load(model, "a", ESPL_GOLDEN "/library_lora_bert/adapter", &adapter));
    test_ok(espl_model_load_head(model, ESPL_GOLDEN "/heads/bert_two"));
    test_ok(espl_model_activate(model, "a"));
    predict(model, wanted);
    assert_memory_equal(wanted, got, bytes);
    espl_model_destroy(&model);

    model = test_model("bert_classes_lora", NULL);
    test_ok(espl_adapter_load(model, "a", again, &adapter));
    test_ok(espl_model_activate(model, "a"));
    predict(model, got);
    assert_memory_equal(wanted, got, bytes);
    espl_model_destroy(&model);
    espl_os_remove_folder(test_context(), folder), espl_os_remove_folder(test_context(), again);
    free(folder), free(again);
}

/* Of another sort than the model's: it stays in the folder. Of the model's sort it must fit. */
static void others(void **state) {
    (void)state;
    char *folder = together("library_lora_bert", "bert_masked");
    espl_model *model = test_model("bert_classes_lora", NULL);
    espl_adapter *adapter;
    test_ok(espl_adapter_load(model, "a", folder, &adapter));
    assert_true(adapter->replacement[model->task.out] == ESPL_NO_MATRIX);
    espl_model_destroy(&model);
    free(folder);
    folder = together("library_lora_bert", "bert_two");
    const espl_model_params five = {.random = true, .head = {.kind = ESPL_HEAD_CLASSIFICATION, .labels = 5}};
    test_ok(espl_model_load(test_device(), ESPL_GOLDEN "/bert_classes_lora", &five, &model));
    test_refused(espl_adapter_load(model, "a", folder, &adapter), ESPL_FORMAT, "the model's head 5 x");
    assert_null(adapter);
    espl_model_destroy(&model);
    test_ok(espl_model_load(test_device(), ESPL_GOLDEN "/bert_classes_lora", &(espl_model_params){.head = {.kind = ESPL_HEAD_NONE}}, &model));
    test_ok(espl_adapter_load(model, "a", folder, &adapter));
    espl_model_destroy(&model);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

/* A head for masked tokens beside an adapter is the adapter's. */
static void masked(void **state) {
    (void)state;
    float before[MOST], wanted[MOST], got[MOST];
    char *folder = test_path("masked"), *again = test_path("masked again");
    espl_model *model = test_model("bert_masked_full", NULL);
    espl_adapter *adapter;
    const size_t bytes = predict(model, before) * sizeof *before;
    test_ok(espl_adapter_add(model, "a", "pfeiffer:rf=8", 5, &adapter));
    test_ok(espl_adapter_save(adapter, folder));
    espl_adapter_delete(&adapter);
    test_ok(espl_model_load_head(model, ESPL_GOLDEN "/heads/bert_masked"));
    test_ok(espl_model_save_head(model, folder, "a"));
    test_ok(espl_adapter_load(model, "a", folder, &adapter));
    test_ok(espl_model_activate(model, "a"));
    predict(model, wanted);
    espl_model_destroy(&model);

    model = test_model("bert_masked_full", NULL);
    test_ok(espl_adapter_load(model, "a", folder, &adapter));
    predict(model, got);
    assert_memory_equal(before, got, bytes);
    test_ok(espl_model_activate(model, "a"));
    predict(model, got);
    assert_memory_equal(wanted, got, bytes);
    test_ok(espl_adapter_save(adapter, again));
    check_files(again, "cls.predictions.transform.dense.weight");
    espl_model_destroy(&model);
    espl_os_remove_folder(test_context(), folder), espl_os_remove_folder(test_context(), again);
    free(folder), free(again);
}

/* An average has a head where its parts have; those with and without one are not averaged. */
static void averaged(void **state) {
    (void)state;
    float wanted[MOST], got[MOST];
    char *folder = test_path("average");
    espl_model *model = test_model("bert_classes_lora", NULL);
    espl_adapter *adapter, *made;
    test_ok(espl_adapter_add(model, "a", "pfeiffer:rf=8", 5, &adapter));
    test_ok(espl_model_activate(model, "a"));
    train(model, adapter, 2);
    const size_t bytes = predict(model, wanted) * sizeof *wanted;
    test_ok(espl_adapter_average(model, "m", (const char *const[]){"a"}, (const double[]){1}, 1, NULL, &made));
    test_ok(espl_model_activate(model, "m"));
    predict(model, got);
    assert_memory_equal(wanted, got, bytes);
    test_ok(espl_adapter_save(adapter, folder));
    char path[512];
    snprintf(path, sizeof path, "%s/head_config.json", folder);
    espl_os_remove_file(path);
    espl_adapter *bare;
    test_ok(espl_adapter_load(model, "bare", folder, &bare));
    test_refused(espl_adapter_average(model, "n", (const char *const[]){"a", "bare"}, (const double[]){1, 1}, 2, NULL, &made),
                 ESPL_ARGUMENT, "tensors, \"bare\"");
    test_ok(espl_adapter_average(model, "n", (const char *const[]){"bare"}, (const double[]){1}, 1, NULL, &made));
    assert_int_equal(made->store.entry_count, bare->store.entry_count);
    espl_model_destroy(&model);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

int main(void) {
    struct CMUnitTest tests[ESPL_COUNT(cases) + 4] = {cmocka_unit_test(two_layers), cmocka_unit_test(others), cmocka_unit_test(masked),
                                                      cmocka_unit_test(averaged)};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++)
        tests[4 + i] = (struct CMUnitTest){cases[i].spec, life, NULL, NULL, (void *)(uintptr_t)&cases[i]};
    return test_main("heads with adapters of the Adapters library", tests, ESPL_COUNT(tests));
}
