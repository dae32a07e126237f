/* Rows, labels and scores of tasks (espalier/task.h), on a small random BERT whose vocabulary is written here; of generation on
 * the bundled model. */
#include "host/base/os.h"
#include "host/model/adapter.h"
#include "host/task/metrics.h"
#include "host/train/data.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\ncat\n##s\ndog\nruns\n.\n";
static const char config[] =
    "{\"architectures\": [\"BertModel\"], \"model_type\": \"bert\", \"vocab_size\": 10, \"hidden_size\": 8,"
    "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"intermediate_size\": 16, \"hidden_act\": \"gelu\","
    "\"max_position_embeddings\": 16, \"type_vocab_size\": 2, \"layer_norm_eps\": 1e-12, \"initializer_range\": 0.5,"
    "\"pad_token_id\": 0}";

static void write_text(const char *folder, const char *name, const char *text, char path[512]) {
    snprintf(path, 512, "%s/%s", folder, name);
    test_ok(espl_os_write_file(test_context(), path, text, strlen(text)));
}

/* From malloc. */
static char *make_folder(void) {
    char *folder = test_path("task-bert"), path[512];
    test_ok(espl_os_make_folder(test_context(), folder));
    write_text(folder, "vocab.txt", vocabulary, path);
    write_text(folder, "config.json", config, path);
    return folder;
}

static espl_model *open_model(const char *folder, const espl_head_params *head) {
    const espl_model_params params = {.random = true, .seed = 3, .head = *head};
    espl_model *model;
    test_ok(espl_model_load(test_device(), folder, &params, &model));
    return model;
}

/* Data of a file with this text, for a model of its own. */
static espl_task_data *load(const char *folder, const char *task, const char *name, const char *text) {
    char path[512];
    espl_task_data *data;
    write_text(folder, name, text, path);
    test_ok(espl_task_data_load(test_context(), task, path, NULL, &data));
    return data;
}

static void check_score(espl_model *model, const espl_task_data *data, uint64_t count, espl_task_result *out_result) {
    double loss;
    uint64_t labels;
    test_ok(espl_task_evaluate(model, data, 2, out_result));
    test_ok(espl_evaluate(model, espl_task_data_rows(data), 2, ESPL_PART_ALL, &loss, &labels));
    assert_int_equal(out_result->count, count);
    assert_true(fabs(loss - out_result->loss) < 1e-5 * fabs(loss));
}

static void classes(void **state) {
    (void)state;
    char *folder = make_folder();
    espl_task_data *data = load(folder, "classification", "rows.tsv",
                                "text\tlabel\nthe cat runs\tyes\nthe zebra\tno\nthe cat cat cat cat cat cat cat\tperhaps\n");
    const espl_head_params head = espl_task_data_head(data);
    assert_int_equal(head.labels, 3);
    assert_string_equal(head.label_names[0], "no"); /* byte order */
    espl_model *model = open_model(folder, &head);
    test_ok(espl_task_data_encode(data, model, 8));
    assert_int_equal(espl_task_data_cut(data), 1);
    const espl_row row = espl_dataset_row(espl_task_data_rows(data), ESPL_PART_ALL, 1);
    const int32_t ids[] = {2, 4, 1, 3, 0, 0, 0, 0}; /* [CLS] the [UNK] [SEP] */
    assert_memory_equal(row.ids, ids, sizeof ids);
    assert_int_equal(row.length, 4);
    assert_int_equal(row.labels[0], 0);
    espl_task_result result;
    check_score(model, data, 3, &result);
    /* The accuracy by hand, from what the model predicts. */
    float logits[9];
    test_ok(espl_predict(model, espl_task_data_rows(data), 1, ESPL_PART_ALL, logits));
    const uint32_t right[] = {2, 0, 1};
    double hits = 0;
    for (uint32_t r = 0; r < 3; r++) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < 3; i++)
            if (logits[3 * r + i] > logits[3 * r + best]) best = i;
        hits += best == right[r];
    }
    assert_string_equal(result.metrics[0].name, "accuracy");
    assert_true(fabs(result.metrics[0].value - hits / 3) < 1e-12);
    espl_task_data_destroy(&data);
    espl_model_destroy(&model);
    free(folder);
}

/* As many vectors of PASTA as there are special tokens in the task's rows, for none of which it is asked. */
static void special_tokens(void **state) {
    static const struct {
        const char *vocabulary_name, *vocabulary, *config;
        uint32_t single, pair;
    } models[] = {
        {"vocab.txt", vocabulary, config, 2, 3},
        {"vocab.json", "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3, \"<mask>\": 4, \"a\": 5, \"b\": 6}",
         "{\"architectures\": [\"RobertaModel\"], \"model_type\": \"roberta\", \"vocab_size\": 7, \"hidden_size\": 8,"
         "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"intermediate_size\": 16, \"max_position_embeddings\": 18,"
         "\"type_vocab_size\": 1, \"pad_token_id\": 1}", 2, 4}};
    (void)state;
    for (size_t m = 0; m < ESPL_COUNT(models); m++) {
        for (int pair = 0; pair < 2; pair++) {
            char *folder = test_path("task-special"), path[512];
            const uint32_t wanted = pair ? models[m].pair : models[m].single;
            test_ok(espl_os_make_folder(test_context(), folder));
            write_text(folder, models[m].vocabulary_name, models[m].vocabulary, path);
            if (m) write_text(folder, "merges.txt", "#version: 0.2\n", path);
            write_text(folder, "config.json", models[m].config, path);
            espl_task_data *data = pair ? load(folder, "rte", "rows.tsv", "sentence1\tsentence2\tlabel\na\tb\tentailment\n")
                                        : load(folder, "cola", "rows.tsv", "sentence\tlabel\na\t1\n");
            const espl_head_params head = espl_task_data_head(data);
            espl_model *model = open_model(folder, &head);
            espl_adapter *adapter;
            espl_task_result result;
            test_ok(espl_adapter_add(model, "a", "pasta", 1, &adapter));
            assert_int_equal(json_integer_value(json_object_get(adapter->config, "num_special")), wanted);
            test_ok(espl_model_activate(model, "a"));
            test_ok(espl_task_data_encode(data, model, 0));
            test_ok(espl_task_evaluate(model, data, 1, &result));
            espl_task_data_destroy(&data);
            espl_model_destroy(&model);
            espl_os_remove_folder(test_context(), folder);
            free(folder);
        }
    }
}

static void pairs_with_numbers(void **state) {
    (void)state;
    char *folder = make_folder(), path[512];
    write_text(folder, "pairs.tsv", "a\tb\tscore\nthe cat\tthe dog\t0.5\nruns\t.\t-1\nthe\tcats\t2\n", path);
    const espl_task_data_params params = {.columns = "text=a,pair=b,label=score"};
    espl_task_data *data;
    test_ok(espl_task_data_load(test_context(), "regression", path, &params, &data));
    const espl_head_params head = espl_task_data_head(data);
    espl_model *model = open_model(folder, &head);
    test_ok(espl_task_data_encode(data, model, 0));
    const espl_dataset *rows = espl_task_data_rows(data);
    assert_int_equal(espl_dataset_context(rows), 16); /* as many as there are positions */
    const espl_row row = espl_dataset_row(rows, ESPL_PART_ALL, 0);
    const int32_t ids[] = {2, 4, 5, 3, 4, 7, 3, 0}, types[] = {0, 0, 0, 0, 1, 1, 1, 0};
    assert_memory_equal(row.ids, ids, sizeof ids);
    assert_memory_equal(row.types, types, sizeof types);
    assert_true(row.values[0] == 0.5f);
    espl_task_result result;
    float values[3];
    test_ok(espl_task_evaluate(model, data, 2, &result));
    test_ok(espl_predict(model, rows, 2, ESPL_PART_ALL, values));
    const double wanted[] = {0.5, -1, 2};
    double loss = 0;
    for (uint32_t r = 0; r < 3; r++)
        loss += ((double)values[r] - wanted[r]) * ((double)values[r] - wanted[r]) / 3;
    assert_true(fabs(loss - result.loss) < 1e-12);
    assert_string_equal(result.metrics[0].name, "pearson");
    assert_true(fabs(result.metrics[0].value) <= 1);
    espl_task_data_destroy(&data);
    espl_model_destroy(&model);
    free(folder);
}

static void tags(void **state) {
    (void)state;
    char *folder = make_folder();
    espl_task_data *data = load(folder, "tagging", "words.conll", "the O\ncats B-A\nruns O\n\ndog B-A\ncats I-A\n\n");
    const espl_head_params head = espl_task_data_head(data);
    assert_int_equal(head.labels, 3); /* B-A I-A O */
    espl_model *model = open_model(folder, &head);
    test_ok(espl_task_data_encode(data, model, 8));
    /* [CLS] the cat ##s runs [SEP]: the second token of a word has no tag. */
    const int32_t first[] = {-100, 2, 0, -100, 2, -100, -100, -100};
    const espl_row row = espl_dataset_row(espl_task_data_rows(data), ESPL_PART_ALL, 0);
    assert_memory_equal(row.labels, first, sizeof first);
    espl_task_result result;
    check_score(model, data, 5, &result);
    assert_string_equal(result.metrics[0].name, "entity_f1");
    /* Cut to [CLS] dog [SEP]: the second word cannot be scored. */
    test_ok(espl_task_data_encode(data, model, 3));
    assert_int_equal(espl_task_data_cut(data), 2);
    check_score(model, data, 2, &result);
    espl_task_data_destroy(&data);
    espl_model_destroy(&model);
    free(folder);
}

enum { CONTEXT = 40 };

/* What the evaluation pass, without a cache, writes behind the first `source` ids of a row: from malloc. */
static char *written(espl_model *model, const int32_t *row, uint32_t source, uint32_t end) {
    const uint32_t vocabulary_size = model->config.vocabulary;
    float *logits = malloc((size_t)CONTEXT * vocabulary_size * sizeof *logits);
    int32_t ids[CONTEXT];
    uint32_t count = source;
    const char *text;
    size_t bytes;
    assert_non_null(logits);
    memcpy(ids, row, sizeof ids);
    while (count < CONTEXT) {
        espl_dataset *dataset;
        test_ok(espl_dataset_from_ids(test_context(), ids, ids, 1, CONTEXT, &dataset));
        test_ok(espl_predict(model, dataset, 1, ESPL_PART_ALL, logits));
        espl_dataset_destroy(&dataset);
        const float *at = logits + (size_t)(count - 1) * vocabulary_size;
        uint32_t best = 0;
        for (uint32_t v = 1; v < vocabulary_size; v++)
            if (at[v] > at[best]) best = v;
        if (best == end) break;
        ids[count++] = (int32_t)best;
    }
    free(logits);
    test_ok(espl_tokenizer_decode(model->tokenizer, (const uint32_t *)ids + source, count - source, false, &text, &bytes));
    char *kept = malloc(bytes + 1);
    assert_non_null(kept);
    memcpy(kept, text, bytes + 1);
    return kept;
}

/* The papers' rows, and BLEU of what is written without a session; beside LoRA, with rows before the text. */
static void generation(void **state) {
    static const char file[] = "prompt,completion\nThe cat,The cat sat on the mat.\nA dog,A dog ran.\nThe cat,It sat.\n";
    static const char *const sources[] = {"The cat", "The cat", "A dog"},
                      *const answers[] = {" The cat sat on the mat.", " It sat.", " A dog ran."};
    (void)state;
    char *folder = make_folder();
    const char *const methods[] = {"lora:r=4,init=random", "prompt:tokens=3"};
    espl_task_data *data = load(folder, "generation", "rows.csv", file);
    espl_head_params head = espl_task_data_head(data);
    assert_int_equal(head.kind, ESPL_HEAD_LANGUAGE);
    assert_int_equal(espl_task_data_count(data), 2);
    assert_string_equal(espl_task_data_goal(data).name, "bleu");
    espl_model *model;
    test_ok(espl_model_load(test_device(), ESPL_TOOLS "/base", &(espl_model_params){.head = head}, &model));
    const uint32_t begin = (uint32_t)model->config.bos, end = (uint32_t)model->config.eos; /* its tokenizer names none */
    test_ok(espl_task_data_encode(data, model, CONTEXT));
    const espl_dataset *rows = espl_task_data_rows(data);
    assert_int_equal(espl_dataset_rows(rows, ESPL_PART_ALL), 3);
    uint32_t source[3];
    uint64_t labels = 0;
    for (uint32_t r = 0; r < 3; r++) {
        const espl_row row = espl_dataset_row(rows, ESPL_PART_ALL, r);
        uint32_t expected[CONTEXT], at = 0;
        const uint32_t *ids;
        size_t count;
        test_ok(espl_tokenizer_encode(model->tokenizer, sources[r], strlen(sources[r]), true, &ids, &count));
        for (size_t i = 0; i < count; i++) expected[at++] = ids[i];
        expected[at++] = begin;
        source[r] = at;
        test_ok(espl_tokenizer_encode(model->tokenizer, answers[r], strlen(answers[r]), false, &ids, &count));
        for (size_t i = 0; i < count; i++) expected[at++] = ids[i];
        expected[at++] = end;
        assert_int_equal(row.length, at);
        for (uint32_t t = 0; t < CONTEXT; t++) {
            if (t < at) assert_int_equal(row.ids[t], expected[t]);
            assert_int_equal(row.labels[t], t + 1 >= source[r] && t + 1 < at ? (int32_t)expected[t + 1] : ESPL_NO_LABEL);
        }
        labels += at - source[r];
    }
    for (size_t m = 0; m < ESPL_COUNT(methods); m++) {
        static const char *const cat[] = {"The cat sat on the mat.", "It sat."}, *const dog[] = {"A dog ran."};
        espl_adapter *adapter;
        espl_bleu bleu;
        espl_task_result result;
        test_ok(espl_adapter_add(model, "a", methods[m], 5, &adapter));
        test_ok(espl_model_activate(model, "a"));
        char *first = written(model, espl_dataset_row(rows, ESPL_PART_ALL, 0).ids, source[0], end);
        char *second = written(model, espl_dataset_row(rows, ESPL_PART_ALL, 2).ids, source[2], end);
        test_ok(espl_bleu_init(test_context(), &bleu));
        test_ok(espl_bleu_add(test_context(), &bleu, first, cat, 2));
        test_ok(espl_bleu_add(test_context(), &bleu, second, dog, 1));
        check_score(model, data, labels, &result);
        printf("  %s: bleu %g, perplexity %g: \"%s\" \"%s\"\n", methods[m], result.metrics[0].value, result.metrics[1].value,
               first, second);
        assert_true(result.metrics[0].value == espl_bleu_score(&bleu));
        assert_true(result.metrics[0].value > 0);
        assert_true(fabs(result.metrics[1].value - exp(result.loss)) < 1e-9 * exp(result.loss));
        espl_bleu_finish(test_context(), &bleu);
        free(first), free(second);
        espl_adapter_delete(&adapter);
    }
    /* A source alone fills the first rows of its context, the answers are cut. */
    test_ok(espl_task_data_encode(data, model, source[0]));
    assert_int_equal(espl_task_data_cut(data), 2);
    espl_task_result result;
    test_ok(espl_task_evaluate(model, data, 2, &result));
    test_refused(espl_task_data_encode(data, model, 1), ESPL_ARGUMENT, "no place for a source and an answer");
    espl_task_data_destroy(&data);
    espl_model_destroy(&model);
    free(folder);
}

static void refusals(void **state) {
    (void)state;
    char *folder = make_folder(), path[512];
    espl_task_data *data = load(folder, "classification", "two.tsv", "text\tlabel\nthe\tno\ncat\tyes\n"), *other;
    espl_head_params head;
    espl_task_result result;
    test_refused(espl_task_head_of(test_context(), "glue", &head), ESPL_ARGUMENT, "no task \"glue\"");
    head = (espl_head_params){.kind = ESPL_HEAD_CLASSIFICATION, .labels = 4};
    espl_model *model = open_model(folder, &head);
    test_refused(espl_task_data_encode(data, model, 8), ESPL_ARGUMENT, "has 4 labels, the task classification has 2");
    test_refused(espl_task_evaluate(model, data, 1, &result), ESPL_ARGUMENT, "was not encoded");
    espl_model_destroy(&model);
    head = (espl_head_params){.kind = ESPL_HEAD_TAGGING, .labels = 2};
    model = open_model(folder, &head);
    test_refused(espl_task_data_encode(data, model, 8), ESPL_ARGUMENT, "is for tags, the task classification needs one for classes");
    espl_model_destroy(&model);
    head = espl_task_data_head(data);
    model = open_model(folder, &head);
    test_refused(espl_task_data_encode(data, model, 17), ESPL_ARGUMENT, "context of 17 is more than the model's 16");
    write_text(folder, "three.tsv", "text\tlabel\nthe\tno\ncat\tperhaps\n", path);
    const espl_task_data_params of_data = {.labels_of = data}, of_model = {.labels_of_model = model};
    test_refused(espl_task_data_load(test_context(), "classification", path, &of_data, &other), ESPL_FORMAT, "none of no, yes");
    test_refused(espl_task_data_load(test_context(), "classification", path, &of_model, &other), ESPL_FORMAT, "none of no, yes");
    assert_null(other);
    espl_task_data_destroy(&data);
    espl_model_destroy(&model);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(classes), cmocka_unit_test(special_tokens), cmocka_unit_test(pairs_with_numbers),
                                       cmocka_unit_test(tags), cmocka_unit_test(generation), cmocka_unit_test(refusals)};
    return test_main("task", tests, ESPL_COUNT(tests));
}
