/* Heads for tasks: made where a folder lacks them, trained with adapters and alone, saved, refused where they do not fit. */
#include "host/base/os.h"
#include "host/model/model.h"
#include "host/ops/op_activation.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 8, TOKENS = 6, LABELS = 3 };

/* The class is decided by the second token; rows are padded to different lengths. */
static int32_t ids[ROWS * TOKENS], types[ROWS * TOKENS], lengths[ROWS], classes[ROWS], tags[ROWS * TOKENS];
static float values[ROWS];

static void fill(void) {
    for (int32_t r = 0; r < ROWS; r++) {
        lengths[r] = 2 + r % (TOKENS - 1);
        classes[r] = r % LABELS;
        values[r] = 0.5f * (float)classes[r] - 0.25f;
        for (int32_t i = 0; i < TOKENS; i++) {
            const bool there = i < lengths[r];
            ids[r * TOKENS + i] = !there ? 0 : i == 1 ? 20 + classes[r] : 5 + (7 * r + 3 * i) % 11;
            types[r * TOKENS + i] = there && i > 1;
            tags[r * TOKENS + i] = !there ? -100 : ids[r * TOKENS + i] % LABELS;
        }
    }
}

static espl_rows rows_for(espl_head_kind kind) {
    espl_rows rows = {.rows = ROWS, .tokens = TOKENS, .ids = ids, .types = types, .lengths = lengths};
    const bool per_token = kind == ESPL_HEAD_TAGGING || kind == ESPL_HEAD_MASKED;
    if (kind == ESPL_HEAD_REGRESSION) rows.values = values, rows.row_values = 1;
    else rows.labels = per_token ? kind == ESPL_HEAD_TAGGING ? tags : ids : classes, rows.row_labels = per_token ? TOKENS : 1;
    return rows;
}

/* Loss before and after some steps; with dropout, as the configuration says. */
static void train(espl_model *model, espl_adapter *adapter, espl_head_kind kind, double *before, double *after) {
    const espl_rows rows = rows_for(kind);
    espl_dataset *data;
    espl_trainer *trainer;
    espl_progress progress;
    uint64_t labels;
    test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &data));
    test_ok(espl_evaluate(model, data, 3, 0, before, &labels));
    const espl_trainer_params params = {.steps = 120, .batch = 4, .learning_rate = 2e-2, .schedule = ESPL_SCHEDULE_CONSTANT};
    test_ok(espl_trainer_create(model, adapter, data, &params, &trainer));
    while (!espl_trainer_is_done(trainer)) {
        test_ok(espl_trainer_step(trainer, &progress));
        assert_true(isfinite(progress.loss) && progress.skipped == 0);
    }
    espl_trainer_destroy(&trainer);
    test_ok(espl_evaluate(model, data, 3, 0, after, &labels));
    assert_int_equal(labels, kind == ESPL_HEAD_TAGGING ? 2 + 3 + 4 + 5 + 6 + 2 + 3 + 4 : ROWS);
    espl_dataset_destroy(&data);
}

/* The bert of the masked golden has no classifier: it starts from random numbers, the same ones by the same seed. */
static void made(void **state) {
    (void)state;
    static const char *const names[] = {"bad", "middling", "good"};
    static const espl_head_kind kinds[] = {ESPL_HEAD_CLASSIFICATION, ESPL_HEAD_REGRESSION, ESPL_HEAD_TAGGING};
    for (size_t i = 0; i < ESPL_COUNT(kinds); i++) {
        const bool value = kinds[i] == ESPL_HEAD_REGRESSION;
        espl_model_params params = {.seed = 3, .head = {.kind = kinds[i], .labels = value ? 0 : LABELS,
                                                        .label_names = value ? NULL : names}};
        espl_model *model = test_model("bert_masked_full", &params);
        const espl_model_info info = espl_model_describe(model);
        assert_int_equal(info.head, kinds[i]);
        assert_int_equal(info.outputs, value ? 1 : LABELS);
        assert_int_equal(info.per_token, kinds[i] == ESPL_HEAD_TAGGING);
        if (!value) assert_string_equal(espl_model_label(model, 2), "good");
        assert_null(espl_model_label(model, LABELS));
        espl_adapter *adapter;
        double before, after;
        test_ok(espl_adapter_add(model, "a", "lora:r=4,alpha=8,targets=query+value", 1, &adapter));
        test_ok(espl_model_activate(model, "a"));
        train(model, adapter, kinds[i], &before, &after);
        printf("  head %d with LoRA: loss %.3f, after 120 steps %.3f\n", (int)kinds[i], before, after);
        assert_true(after < 0.5 * before);
        espl_model_destroy(&model);
    }
}

/* The head of masked tokens alone: its map, norm and bias, and not the embeddings that it shares. */
static void masked_alone(void **state) {
    (void)state;
    static const struct {
        const char *model;
        uint32_t hidden, embedding;
    } cases[] = {{"bert_masked_full", 24, 24}, {"distilbert_masked_full", 24, 24}, {"deberta_masked_full", 24, 24},
                 {"albert_masked_full", 24, 24}, {"electra_masked_full", 24, 18}, {"roberta_masked_lora", 36, 36}};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        const uint32_t d = cases[i].embedding;
        espl_model *model = test_model(cases[i].model, NULL);
        espl_adapter *adapter, *loaded;
        char *folder = test_path("masked");
        test_ok(espl_adapter_add(model, "a", "head", 1, &adapter));
        assert_int_equal(espl_adapter_parameters(adapter), d * cases[i].hidden + 3 * d + espl_model_describe(model).vocabulary);
        test_ok(espl_adapter_save(adapter, folder));
        test_ok(espl_adapter_load(model, "b", folder, &loaded));
        assert_int_equal(espl_adapter_parameters(loaded), espl_adapter_parameters(adapter));
        espl_os_remove_folder(test_context(), folder);
        free(folder);
        espl_model_destroy(&model);
    }
}

/* All weights, saved as a folder that names its labels, and loaded without being told of them. */
static void saved(void **state) {
    (void)state;
    const espl_rows rows = rows_for(ESPL_HEAD_CLASSIFICATION);
    float first[ROWS * LABELS], second[ROWS * LABELS];
    espl_dataset *data;
    espl_model_params params = {.trainable = true, .head = {.kind = ESPL_HEAD_CLASSIFICATION, .labels = LABELS}};
    espl_model *model = test_model("roberta_masked_lora", &params);
    espl_rows plain = rows;
    plain.types = NULL;
    test_ok(espl_dataset_from_rows(test_context(), &plain, 0, 0, &data));
    assert_true(espl_model_describe(model).outputs == LABELS);
    test_ok(espl_predict(model, data, 3, 0, first));
    espl_trainer *trainer;
    espl_progress progress;
    test_ok(espl_trainer_create(model, NULL, data, &(espl_trainer_params){.steps = 3, .batch = 4}, &trainer));
    while (!espl_trainer_is_done(trainer)) test_ok(espl_trainer_step(trainer, &progress));
    espl_trainer_destroy(&trainer);
    test_ok(espl_predict(model, data, 8, 0, first));
    char *folder = test_path("head");
    test_ok(espl_model_save(model, folder));
    espl_model_destroy(&model);
    test_ok(espl_model_load(test_device(), folder, NULL, &model));
    assert_int_equal(espl_model_describe(model).head, ESPL_HEAD_CLASSIFICATION);
    assert_string_equal(espl_model_label(model, 0), "LABEL_0");
    /* Batches of another size give the same numbers: padding rows and columns have no influence. */
    test_ok(espl_predict(model, data, 3, 0, second));
    for (size_t i = 0; i < ESPL_COUNT(first); i++) assert_true(fabsf(first[i] - second[i]) < 1e-5f);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    espl_dataset_destroy(&data);
    espl_model_destroy(&model);
}

/* A folder says which head it was saved with, whatever the one it was loaded from says. */
static void saved_as(void **state) {
    (void)state;
    static const struct {
        const char *name;
        espl_head_kind kind;
        uint32_t labels;
        const char *architecture;
    } cases[] = {
        {"bert_classes_lora", ESPL_HEAD_MASKED, 0, "BertForMaskedLM"},
        {"bert_classes_lora", ESPL_HEAD_NONE, 0, "BertModel"},
        {"bert_classes_lora", ESPL_HEAD_TAGGING, LABELS, "BertForTokenClassification"},
        {"bert_classes_lora", ESPL_HEAD_REGRESSION, LABELS, "BertForSequenceClassification"},
        {"bert_value_full", ESPL_HEAD_CLASSIFICATION, 1, "BertForSequenceClassification"},
        {"gpt2_lora", ESPL_HEAD_LANGUAGE, 0, "GPT2LMHeadModel"},
        {"gpt2_value_full", ESPL_HEAD_LANGUAGE, 0, "GPT2LMHeadModel"},
    };
    espl_rows rows = rows_for(ESPL_HEAD_CLASSIFICATION);
    rows.types = NULL;
    static float first[ROWS * TOKENS * 100], second[ROWS * TOKENS * 100];
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        char *folder = test_path("saved_as");
        espl_dataset *data;
        memset(first, 0, sizeof first), memset(second, 0, sizeof second);
        test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &data));
        espl_model *model = test_model(cases[i].name, &(espl_model_params){.seed = 3, .head = {.kind = cases[i].kind,
                                                                                              .labels = cases[i].labels}});
        assert_true(espl_model_describe(model).outputs <= 100);
        test_ok(espl_predict(model, data, ROWS, 0, first));
        test_ok(espl_model_save(model, folder));
        espl_model_destroy(&model);
        test_ok(espl_model_load(test_device(), folder, &(espl_model_params){.seed = 4}, &model));
        const json_t *architectures = json_object_get(model->json, "architectures");
        assert_string_equal(json_string_value(json_array_get(architectures, 0)), cases[i].architecture);
        assert_int_equal(espl_model_describe(model).head, cases[i].kind);
        test_ok(espl_predict(model, data, ROWS, 0, second));
        assert_memory_equal(first, second, sizeof first);
        espl_dataset_destroy(&data);
        espl_model_destroy(&model);
        espl_os_remove_folder(test_context(), folder);
        free(folder);
    }
}

/* Python may write the numbers of labels as 1.0. */
static void label_numbers(void **state) {
    (void)state;
    char path[512], *folder = test_path("labels");
    espl_model *model = test_model("bert_classes_lora", NULL);
    json_t *file, *value;
    const char *name;
    test_ok(espl_model_save_head(model, folder, "h"));
    snprintf(path, sizeof path, "%s/head_config.json", folder);
    test_ok(espl_json_load(test_context(), path, &file));
    json_t *ids_of = json_object_get(json_object_get(file, "config"), "label2id"), *reals = json_object();
    assert_int_equal(json_object_size(ids_of), LABELS);
    json_object_foreach(ids_of, name, value) {
        char other[64];
        snprintf(other, sizeof other, "%s of old", name);
        json_object_set_new(reals, other, json_real((double)json_integer_value(value)));
    }
    json_object_set_new(json_object_get(file, "config"), "label2id", reals);
    test_ok(espl_json_save(test_context(), path, file));
    test_ok(espl_model_load_head(model, folder));
    json_object_foreach(reals, name, value) assert_string_equal(espl_model_label(model, (uint32_t)json_real_value(value)), name);
    json_decref(file);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    espl_model_destroy(&model);
}

/* As many as config.json has, or what is usual. */
static void label_counts(void **state) {
    (void)state;
    static const char bert[] = "{\"model_type\": \"bert\", \"hidden_size\": 24, \"num_hidden_layers\": 2,"
                               " \"num_attention_heads\": 3, \"intermediate_size\": 40, \"vocab_size\": 29%s}";
    static const struct {
        const char *more;
        espl_head_kind kind;
        uint32_t labels;
    } cases[] = {{"", ESPL_HEAD_CLASSIFICATION, 2},
                 {"", ESPL_HEAD_REGRESSION, 1},
                 {", \"num_labels\": 3", ESPL_HEAD_CLASSIFICATION, 3},
                 {", \"num_labels\": 3", ESPL_HEAD_REGRESSION, 3},
                 {", \"id2label\": {\"0\": \"a\", \"1\": \"b\", \"2\": \"c\", \"3\": \"d\"}", ESPL_HEAD_REGRESSION, 4}};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        char text[sizeof bert + 128];
        espl_model *model;
        snprintf(text, sizeof text, bert, cases[i].more);
        test_ok(espl_model_outline(test_context(), text, &(espl_head_params){.kind = cases[i].kind}, &model));
        assert_int_equal(model->task.labels, cases[i].labels);
        espl_model_destroy(&model);
    }
}

/* What lies in the padding changes nothing. */
static void padding(void **state) {
    (void)state;
    float first[ROWS * LABELS], second[ROWS * LABELS];
    int32_t other[ROWS * TOKENS];
    espl_dataset *data;
    espl_model *model = test_model("bert_classes_lora", NULL);
    espl_rows rows = rows_for(ESPL_HEAD_CLASSIFICATION);
    test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &data));
    test_ok(espl_predict(model, data, 8, 0, first));
    espl_dataset_destroy(&data);
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < TOKENS; i++) other[r * TOKENS + i] = i < lengths[r] ? ids[r * TOKENS + i] : 40 + i;
    }
    rows.ids = other;
    test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &data));
    test_ok(espl_predict(model, data, 8, 0, second));
    assert_memory_equal(first, second, sizeof first);
    espl_dataset_destroy(&data);
    espl_model_destroy(&model);
}

/* An adapter takes the head along and finds it again on a model whose own head is another. */
static void adapters(void **state) {
    (void)state;
    const espl_rows rows = rows_for(ESPL_HEAD_CLASSIFICATION);
    float first[ROWS * LABELS], second[ROWS * LABELS];
    double before, after;
    espl_dataset *data;
    espl_adapter *adapter;
    espl_model_params params = {.seed = 3, .head = {.kind = ESPL_HEAD_CLASSIFICATION, .labels = LABELS}};
    espl_model *model = test_model("bert_masked_full", &params);
    test_ok(espl_adapter_add(model, "a", "lora:r=2,alpha=4,targets=query,save=pooler.dense", 1, &adapter));
    test_ok(espl_model_activate(model, "a"));
    train(model, adapter, ESPL_HEAD_CLASSIFICATION, &before, &after);
    assert_true(after < before);
    test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &data));
    test_ok(espl_predict(model, data, 8, 0, first));
    char *folder = test_path("adapter_with_head");
    test_ok(espl_adapter_save(adapter, folder));
    espl_model_destroy(&model);
    params.seed = 4;
    model = test_model("bert_masked_full", &params);
    test_ok(espl_adapter_load(model, "b", folder, &adapter));
    test_ok(espl_model_activate(model, "b"));
    test_ok(espl_predict(model, data, 8, 0, second));
    assert_memory_equal(first, second, sizeof first);
    test_ok(espl_model_activate(model, ""));
    test_ok(espl_adapter_merge(adapter));
    test_ok(espl_predict(model, data, 8, 0, second));
    for (size_t i = 0; i < ESPL_COUNT(first); i++) assert_true(fabsf(first[i] - second[i]) < 1e-4f);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    espl_dataset_destroy(&data);
    espl_model_destroy(&model);
}

static void refused(void **state) {
    (void)state;
    espl_model *model, *none = NULL;
    espl_dataset *data;
    espl_adapter *adapter;
    espl_session *session;
    double loss;
    uint64_t labels;
    float outputs[ROWS * TOKENS * 64];
    char path[512];
    snprintf(path, sizeof path, "%s/bert_masked_full", ESPL_GOLDEN);
    espl_model_params params = {.head = {.kind = ESPL_HEAD_LANGUAGE}};
    test_refused(espl_model_load(test_device(), path, &params, &model), ESPL_UNSUPPORTED, "no head for the next token");
    snprintf(path, sizeof path, "%s/llama_lora", ESPL_GOLDEN);
    params.head.kind = ESPL_HEAD_MASKED;
    test_refused(espl_model_load(test_device(), path, &params, &model), ESPL_UNSUPPORTED, "no head for masked tokens");
    model = test_model("bert_classes_lora", NULL);
    test_refused(espl_session_create(model, NULL, &session), ESPL_ARGUMENT, "no head for the next token");
    test_refused(espl_adapter_add(model, "t", "{\"peft_type\": \"LORA\", \"task_type\": \"TOKEN_CLS\"}", 0, &adapter),
                 ESPL_ARGUMENT, "task_type is TOKEN_CLS");
    espl_rows rows = rows_for(ESPL_HEAD_TAGGING);
    test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &data));
    test_refused(espl_evaluate(model, data, 1, 0, &loss, &labels), ESPL_ARGUMENT, "6 labels and 0 values");
    espl_dataset_destroy(&data);
    rows = rows_for(ESPL_HEAD_CLASSIFICATION);
    classes[1] = LABELS;
    test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &data));
    test_refused(espl_evaluate(model, data, 1, 0, &loss, &labels), ESPL_ARGUMENT, "label 3, the model's head has 3");
    espl_dataset_destroy(&data);
    fill();
    types[3] = 2;
    test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &data));
    test_refused(espl_predict(model, data, 1, 0, outputs), ESPL_ARGUMENT, "token type 2, the model has 2");
    espl_dataset_destroy(&data);
    fill();
    lengths[2] = 0;
    test_refused(espl_dataset_from_rows(test_context(), &rows, 0, 0, &data), ESPL_ARGUMENT, "row 2 has a length of 0");
    fill();
    none = test_model("bert_masked_full", &(espl_model_params){.head = {.kind = ESPL_HEAD_NONE}});
    test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &data));
    assert_int_equal(espl_model_describe(none).outputs, 24);
    test_ok(espl_predict(none, data, 4, 0, outputs));
    test_refused(espl_evaluate(none, data, 1, 0, &loss, &labels), ESPL_ARGUMENT, "no head");
    espl_dataset_destroy(&data);
    espl_model_destroy(&none);
    espl_model_destroy(&model);
    model = test_model("deberta_classes_lora", NULL);
    test_refused(espl_adapter_add(model, "p", "library_prompt:combine=prefix_after_bos", 0, &adapter), ESPL_UNSUPPORTED,
                 "it takes no rows between [CLS] and the text, only before both (combine=prefix)");
    espl_model_destroy(&model);
    static const char deberta[] =
        "{\"model_type\": \"deberta-v2\", \"architectures\": [\"DebertaV2ForMaskedLM\"], \"hidden_size\": 24, \"num_hidden_layers\": 2,"
        " \"num_attention_heads\": 3, \"intermediate_size\": 40, \"vocab_size\": 29, \"max_position_embeddings\": 24,"
        " \"relative_attention\": true, \"share_att_key\": true, \"pos_att_type\": \"c2p|p2c\", \"conv_kernel_size\": %s}";
    const struct {
        const char *convolution, *sentence;
    } convolutions[] = {{"4", "conv_kernel_size 4 with conv_groups 1: an odd one"},
                        {"3, \"conv_groups\": 2", "conv_kernel_size 3 with conv_groups 2"},
                        {"3, \"conv_act\": \"none\"", "conv_act \"none\" is not supported"}};
    for (size_t i = 0; i < ESPL_COUNT(convolutions); i++) {
        char text[sizeof deberta + 64];
        snprintf(text, sizeof text, deberta, convolutions[i].convolution);
        test_refused(espl_model_outline(test_context(), text, NULL, &model), ESPL_UNSUPPORTED, convolutions[i].sentence);
    }
}

/* DeBERTa's pooler has an activation of its own. */
static void pooler_activation(void **state) {
    (void)state;
    static const char deberta[] =
        "{\"model_type\": \"deberta-v2\", \"architectures\": [\"DebertaV2ForSequenceClassification\"], \"hidden_size\": 24,"
        " \"num_hidden_layers\": 2, \"num_attention_heads\": 3, \"intermediate_size\": 40, \"vocab_size\": 29,"
        " \"hidden_act\": \"relu\", \"relative_attention\": true, \"share_att_key\": true, \"pos_att_type\": \"c2p|p2c\"%s}";
    static const struct {
        const char *more;
        uint32_t activation;
    } cases[] = {{"", ACTIVATION_GELU}, {", \"pooler_hidden_act\": \"tanh\"", ACTIVATION_TANH}};
    char text[sizeof deberta + 64];
    espl_model *model;
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        snprintf(text, sizeof text, deberta, cases[i].more);
        test_ok(espl_model_outline(test_context(), text, NULL, &model));
        assert_int_equal(model->task.activation, cases[i].activation);
        espl_model_destroy(&model);
    }
    snprintf(text, sizeof text, deberta, ", \"pooler_hidden_act\": \"mish\"");
    test_refused(espl_model_outline(test_context(), text, NULL, &model), ESPL_UNSUPPORTED, "activation \"mish\" is not supported");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(made), cmocka_unit_test(masked_alone), cmocka_unit_test(saved),
                                       cmocka_unit_test(saved_as), cmocka_unit_test(label_numbers),
                                       cmocka_unit_test(label_counts), cmocka_unit_test(padding), cmocka_unit_test(adapters),
                                       cmocka_unit_test(refused), cmocka_unit_test(pooler_activation)};
    fill();
    return test_main("heads", tests, ESPL_COUNT(tests));
}
