/* Heads that answer questions: the place of an answer in each row, and the right one of rows that follow each other. */
#include "host/base/os.h"
#include "host/model/model.h"
#include "host/train/data.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 48, TOKENS = 12, CHOICES = 3, QUESTIONS = ROWS / CHOICES, FIRST = 30, LAST = 31, RIGHT = 40, OUTSIDE = 5 };

/* Answers begin at a token FIRST and end at a token LAST; the right choice is the row that has RIGHT. Rows have different lengths. */
static int32_t ids[ROWS * TOKENS], lengths[ROWS], spans[ROWS * 2], right[QUESTIONS];

static void fill(void) {
    espl_random random = {.seed = 11};
    for (uint32_t r = 0; r < ROWS; r++) {
        lengths[r] = r == 7 ? TOKENS : 4 + (int32_t)espl_random_below(&random, r % 3 ? 4 : TOKENS - 4);
        for (int32_t i = 0; i < TOKENS; i++)
            ids[r * TOKENS + (uint32_t)i] = i < lengths[r] ? 5 + (int32_t)espl_random_below(&random, 20) : 0;
        spans[2 * r] = 1 + (int32_t)espl_random_below(&random, 2);
        spans[2 * r + 1] = spans[2 * r] + 1 + (int32_t)espl_random_below(&random, (uint32_t)(lengths[r] - spans[2 * r] - 1));
        ids[r * TOKENS + (uint32_t)spans[2 * r]] = FIRST;
        ids[r * TOKENS + (uint32_t)spans[2 * r + 1]] = LAST;
    }
    spans[2 * OUTSIDE] = TOKENS, spans[2 * OUTSIDE + 1] = -1;
    for (uint32_t q = 0; q < QUESTIONS; q++) {
        right[q] = (int32_t)espl_random_below(&random, CHOICES);
        ids[(q * CHOICES + (uint32_t)right[q]) * TOKENS + 3] = RIGHT; /* over the end of an answer here and there */
    }
}

static espl_rows rows_for(espl_head_kind kind) {
    espl_rows rows = {.rows = ROWS, .tokens = TOKENS, .ids = ids, .lengths = lengths};
    if (kind == ESPL_HEAD_SPANS) rows.labels = spans, rows.row_labels = 2, rows.spans = true;
    else rows.labels = right, rows.row_labels = 1, rows.choices = CHOICES;
    return rows;
}

static espl_dataset *data_for(espl_head_kind kind, double share) {
    const espl_rows rows = rows_for(kind);
    espl_dataset *data;
    test_ok(espl_dataset_from_rows(test_context(), &rows, share, 5, &data));
    return data;
}

static espl_model *model_for(const char *name, espl_head_kind kind) {
    espl_model_params params = {.seed = 3, .head = {.kind = kind, .choices = kind == ESPL_HEAD_CHOICES ? CHOICES : 0}};
    return test_model(name, &params);
}

/* -log softmax at `label` of count logits, `stride` apart. */
static double cross_entropy(const float *logits, uint32_t count, uint32_t stride, int32_t label) {
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += exp((double)logits[i * stride]);
    return log(sum) - (double)logits[(uint32_t)label * stride];
}

/* The loss and the share of right answers by what the model gave for rows in their order. */
static double score(espl_head_kind kind, const float *outputs, double *out_right) {
    const bool one = kind == ESPL_HEAD_CHOICES;
    const uint32_t groups = one ? QUESTIONS : ROWS, columns = one ? 1 : 2, count = one ? CHOICES : TOKENS;
    const int32_t *labels = one ? right : spans;
    double loss = 0, counted = 0, hits = 0;
    for (uint32_t g = 0; g < groups; g++) {
        for (uint32_t c = 0; c < columns; c++) {
            const float *logits = outputs + (size_t)g * count * columns + c;
            const int32_t label = labels[g * columns + c];
            uint32_t best = 0;
            if (!one && g == OUTSIDE) continue;
            for (uint32_t i = 1; i < count; i++) best = logits[i * columns] > logits[best * columns] ? i : best;
            loss += cross_entropy(logits, count, columns, label);
            hits += best == (uint32_t)label, counted++;
        }
    }
    *out_right = hits / counted;
    return loss / counted;
}

/* Whatever shares a batch, losses and outputs are those of the rows in their order, padding among the tokens of an answer's. One
 * row of TOKENS in each batch of 16 or more makes every pass so long. */
static void measured(void **state) {
    (void)state;
    static const espl_head_kind kinds[] = {ESPL_HEAD_SPANS, ESPL_HEAD_CHOICES};
    for (size_t i = 0; i < ESPL_COUNT(kinds); i++) {
        espl_model *model = model_for("bert_masked_full", kinds[i]);
        espl_dataset *data = data_for(kinds[i], 0);
        const espl_model_info info = espl_model_describe(model);
        const bool one = kinds[i] == ESPL_HEAD_CHOICES;
        static float outputs[ROWS * TOKENS * 2], again[ROWS * TOKENS * 2];
        double loss, hits;
        uint64_t labels;
        assert_int_equal(info.outputs, one ? 1 : 2);
        assert_int_equal(info.choices, one ? CHOICES : 1);
        assert_int_equal(info.per_token, !one);
        test_ok(espl_predict(model, data, ROWS, 0, outputs));
        const double expected = score(kinds[i], outputs, &hits);
        for (uint32_t batch = 0; batch <= ROWS; batch += batch < 6 ? 3 : 21) { /* 0, 3, 6, 27, 48 */
            test_ok(espl_evaluate(model, data, batch, 0, &loss, &labels));
            assert_int_equal(labels, one ? QUESTIONS : 2 * (ROWS - 1));
            if (!(fabs(loss - expected) < 2e-6)) fail_msg("head %d, batch %u: loss %.9g, %.9g was expected", (int)kinds[i], batch, loss, expected);
            if (!one) continue; /* tokens behind a pass have no outputs */
            test_ok(espl_predict(model, data, batch, 0, again));
            for (uint32_t r = 0; r < ROWS; r++) assert_true(fabsf(outputs[r] - again[r]) < 1e-5f);
        }
        espl_dataset_destroy(&data);
        espl_model_destroy(&model);
    }
}

/* The parts and the orders of an epoch, by length or not, have questions as a whole. */
static void whole(void **state) {
    (void)state;
    espl_dataset *data = data_for(ESPL_HEAD_CHOICES, 0.25);
    const espl_dataset_info info = espl_dataset_describe(data);
    const uint32_t count = info.train_rows;
    assert_int_equal(info.validation_rows, ROWS / 4);
    assert_int_equal(info.train_labels, QUESTIONS * 3 / 4);
    uint32_t order[ROWS], before[ROWS];
    uint64_t keys[2 * ROWS];
    for (uint64_t epoch = 0; epoch < 4; epoch++) {
        bool seen[ROWS] = {false}, moved = false;
        espl_dataset_order(data, ESPL_PART_TRAIN, 9, epoch, order);
        memcpy(before, order, sizeof order);
        if (epoch > 1)
            espl_dataset_group(data, ESPL_PART_TRAIN, &(espl_grouping){.seed = 9, .epoch = epoch, .batch = 6, .group = 4}, count, order, keys);
        for (uint32_t r = 0; r < count; r++) {
            const espl_row row = espl_dataset_row(data, ESPL_PART_TRAIN, order[r]), first = espl_dataset_row(data, ESPL_PART_TRAIN, order[r - r % CHOICES]);
            assert_ptr_equal(row.ids, first.ids + r % CHOICES * TOKENS);
            assert_true((row.labels[0] >= 0) == (r % CHOICES == 0));
            assert_false(seen[order[r]]);
            seen[order[r]] = true;
            moved |= epoch > 1 ? order[r] != before[r] : order[r] != r;
        }
        assert_true(moved);
    }
    espl_dataset_destroy(&data);
}

/* A head that a folder lacks, trained with an adapter, which has it for PEFT and finds it again; and in a model's folder. */
static void trained(void **state) {
    (void)state;
    static const struct {
        espl_head_kind kind;
        const char *class_name, *spec, *config;
    } cases[] = {{ESPL_HEAD_SPANS, "BertForQuestionAnswering", "", "{\"task_type\": \"QUESTION_ANS\", \"modules_to_save\": [\"qa_outputs\"]}"},
                 {ESPL_HEAD_CHOICES, "BertForMultipleChoice", ",save=pooler.dense",
                  "{\"task_type\": \"SEQ_CLS\", \"modules_to_save\": [\"pooler.dense\", \"classifier\", \"score\"]}"}};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        const bool one = cases[i].kind == ESPL_HEAD_CHOICES;
        espl_model *model = model_for("bert_masked_full", cases[i].kind);
        espl_dataset *data = data_for(cases[i].kind, 0);
        espl_adapter *adapter;
        espl_trainer *trainer;
        espl_progress progress;
        static float outputs[ROWS * TOKENS * 2], again[ROWS * TOKENS * 2];
        double hits;
        char spec[128];
        snprintf(spec, sizeof spec, "lora:r=4,alpha=8,targets=query+value+intermediate.dense%s", cases[i].spec);
        test_ok(espl_adapter_add(model, "a", spec, 1, &adapter));
        test_ok(espl_model_activate(model, "a"));
        const espl_trainer_params params = {.steps = 80, .batch = 12, .accumulate = 2, .learning_rate = 2e-2, .group_by_length = true};
        test_ok(espl_trainer_create(model, adapter, data, &params, &trainer));
        while (!espl_trainer_is_done(trainer)) test_ok(espl_trainer_step(trainer, &progress));
        espl_trainer_destroy(&trainer);
        test_ok(espl_predict(model, data, ROWS, 0, outputs));
        const double loss = score(cases[i].kind, outputs, &hits);
        printf("  head %d: loss %.3f, %.0f %% right\n", (int)cases[i].kind, loss, 100 * hits);
        assert_true(hits > 0.9);
        char *folder = test_path("answers"), *saved = test_path("answers_model"), path[512];
        json_t *config, *expected = json_loads(cases[i].config, 0, NULL), *value;
        const char *key;
        test_ok(espl_adapter_save(adapter, folder));
        snprintf(path, sizeof path, "%s/adapter_config.json", folder);
        test_ok(espl_json_load(test_context(), path, &config));
        json_object_foreach(expected, key, value) assert_true(json_equal(value, json_object_get(config, key)));
        json_decref(config), json_decref(expected);
        test_ok(espl_adapter_merge(adapter));
        test_ok(espl_model_save(model, saved));
        espl_model_destroy(&model);
        for (int from_model = 0; from_model < 2; from_model++) {
            const espl_model_params again_params = {.seed = 4, .head = {.kind = from_model ? ESPL_HEAD_DEFAULT : cases[i].kind,
                                                                        .choices = one ? CHOICES : 0}};
            if (from_model) test_ok(espl_model_load(test_device(), saved, &again_params, &model));
            else model = test_model("bert_masked_full", &again_params);
            assert_int_equal(model->task.kind, cases[i].kind);
            if (from_model) assert_string_equal(json_string_value(json_array_get(json_object_get(model->json, "architectures"), 0)), cases[i].class_name);
            if (!from_model) test_ok(espl_adapter_load(model, "a", folder, &adapter));
            if (!from_model) test_ok(espl_model_activate(model, "a"));
            test_ok(espl_predict(model, data, ROWS, 0, again));
            for (uint32_t v = 0; v < (one ? ROWS : ROWS * TOKENS * 2); v++) assert_true(fabsf(outputs[v] - again[v]) < 1e-4f);
            espl_model_destroy(&model);
        }
        espl_os_remove_folder(test_context(), folder), espl_os_remove_folder(test_context(), saved);
        free(folder), free(saved);
        espl_dataset_destroy(&data);
    }
}

/* The last map and what is before it, of each family; those that have no such class are refused. */
static void families(void **state) {
    (void)state;
    static const struct {
        const char *model;
        espl_head_kind kind;
        const char *out, *dense; /* out NULL: refused */
    } cases[] = {{"roberta_masked_lora", ESPL_HEAD_SPANS, "qa_outputs.weight", NULL},
                 {"xlm_roberta_tags_full", ESPL_HEAD_CHOICES, "classifier.weight", "roberta.pooler.dense.weight"},
                 {"distilbert_masked_full", ESPL_HEAD_CHOICES, "classifier.weight", "pre_classifier.weight"},
                 {"albert_masked_full", ESPL_HEAD_SPANS, "qa_outputs.weight", NULL},
                 {"albert_masked_full", ESPL_HEAD_CHOICES, "classifier.weight", "albert.pooler.weight"},
                 {"electra_masked_full", ESPL_HEAD_SPANS, "qa_outputs.weight", NULL},
                 {"deberta_masked_full", ESPL_HEAD_SPANS, "qa_outputs.weight", NULL},
                 {"deberta_masked_full", ESPL_HEAD_CHOICES, "classifier.weight", "pooler.dense.weight"},
                 {"llama_lora", ESPL_HEAD_SPANS, NULL, NULL},
                 {"gpt2_lora", ESPL_HEAD_CHOICES, NULL, NULL}};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        char path[512];
        espl_model *model;
        snprintf(path, sizeof path, "%s/%s", ESPL_GOLDEN, cases[i].model);
        const espl_status status = espl_model_outline(test_context(), path, &(espl_head_params){.kind = cases[i].kind}, &model);
        if (!cases[i].out) {
            test_refused(status, ESPL_UNSUPPORTED, cases[i].kind == ESPL_HEAD_SPANS ? "model has no head for spans" : "model has no head for choices");
            continue;
        }
        test_ok(status);
        const espl_entry *out = espl_store_find(&model->store, cases[i].out);
        if (!out) fail_msg("%s lacks %s", cases[i].model, cases[i].out);
        assert_int_equal(out->shape[0], cases[i].kind == ESPL_HEAD_SPANS ? 2 : 1);
        assert_int_equal(out->shape[1], model->config.hidden);
        if (cases[i].dense) assert_non_null(espl_store_find(&model->store, cases[i].dense));
        assert_true(model->task.kind == ESPL_HEAD_CHOICES || model->task.dropout == 0);
        espl_model_destroy(&model);
    }
}

static void refused_rows(espl_rows rows, const char *sentence) {
    espl_dataset *data;
    test_refused(espl_dataset_from_rows(test_context(), &rows, 0, 0, &data), ESPL_ARGUMENT, sentence);
    fill();
}

static void refused(void **state) {
    (void)state;
    espl_rows rows = rows_for(ESPL_HEAD_SPANS);
    spans[2 * 3 + 1] = TOKENS + 3;
    spans[2 * 3] = 2;
    refused_rows(rows, "row 3: of the answer from 2 to 15 one end is outside of its 12 tokens, both or none can be");
    spans[2 * 3] = 2, spans[2 * 3 + 1] = TOKENS - 1, lengths[3] = 5;
    refused_rows(rows, "row 3: the answer from 2 to 11 is in the padding behind its 5 tokens");
    rows.row_labels = 1;
    refused_rows(rows, "1 labels for rows of 12 tokens are not the 2 ends of an answer");
    rows = rows_for(ESPL_HEAD_CHOICES);
    rows.rows = ROWS - 1;
    refused_rows(rows, "47 rows are not of whole questions, which have 3 choices");
    rows.rows = ROWS;
    right[2] = 3;
    refused_rows(rows, "question 2 has label 3, it has 3 choices");
    rows.row_labels = TOKENS;
    refused_rows(rows, "questions of 3 choices have one label, not 12 for each row");

    espl_model *model = model_for("bert_masked_full", ESPL_HEAD_CHOICES);
    espl_dataset *data = data_for(ESPL_HEAD_CHOICES, 0), *answers = data_for(ESPL_HEAD_SPANS, 0), *alone;
    static float outputs[ROWS];
    double loss;
    uint64_t labels;
    test_refused(espl_evaluate(model, data, 4, 0, &loss, &labels), ESPL_ARGUMENT,
                 "a batch of 4 rows is not of whole questions, which have 3 choices");
    test_refused(espl_predict(model, data, 7, 0, outputs), ESPL_ARGUMENT, "a batch of 7 rows");
    test_refused(espl_evaluate(model, answers, 3, 0, &loss, &labels), ESPL_ARGUMENT, "2 labels and 0 values");
    rows = rows_for(ESPL_HEAD_CHOICES);
    rows.choices = 2, rows.row_labels = 0;
    test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &alone));
    test_refused(espl_evaluate(model, alone, 3, 0, &loss, &labels), ESPL_ARGUMENT, "2 rows of the data have a label together, the model's head takes 3");
    const espl_probe_params probe = {.ids = ids, .labels = right, .rows = 4, .tokens = TOKENS};
    test_refused(espl_probe(model, NULL, &probe, "never"), ESPL_ARGUMENT, "4 rows are not of whole questions");
    espl_dataset_destroy(&alone), espl_dataset_destroy(&answers), espl_dataset_destroy(&data);
    espl_model_destroy(&model);

    char path[512];
    snprintf(path, sizeof path, "%s/bert_masked_full", ESPL_GOLDEN);
    espl_head_params head = {.kind = ESPL_HEAD_SPANS, .labels = 3};
    test_refused(espl_model_outline(test_context(), path, &head, &model), ESPL_ARGUMENT, "a head for spans has 2 outputs, not 3");
    head = (espl_head_params){.kind = ESPL_HEAD_CHOICES, .choices = 1};
    test_refused(espl_model_outline(test_context(), path, &head, &model), ESPL_ARGUMENT, "1 choices are not possible");
    head = (espl_head_params){.kind = ESPL_HEAD_TAGGING, .choices = 2};
    test_refused(espl_model_outline(test_context(), path, &head, &model), ESPL_ARGUMENT, "2 choices are not possible for a head of another kind");
    head = (espl_head_params){.kind = ESPL_HEAD_SPANS};
    test_ok(espl_model_load(test_device(), path, &(espl_model_params){.head = head}, &model));
    const espl_probe_params spans_probe = {.ids = ids, .labels = (const int32_t[]){4, -1}, .rows = 1, .tokens = TOKENS};
    test_refused(espl_probe(model, NULL, &spans_probe, "never"), ESPL_ARGUMENT, "row 0: of the answer from 4 to -1");
    espl_model_destroy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(measured), cmocka_unit_test(whole), cmocka_unit_test(trained),
                                       cmocka_unit_test(families), cmocka_unit_test(refused)};
    fill();
    return test_main("questions", tests, ESPL_COUNT(tests));
}
