/* host/task on the real files of the shared folder: every line, with the counts that SOURCES.md states or that follow
 * from the files (wc, grep), and BLEU and entity F1 of them as in golden/metrics.json. */
#include "host/file/json.h"
#include "host/task/task.h"
#include "tests/unit/unit.h"
#include <math.h>

static espl_task_set read_shared(espl_context *ctx, const char *task, const char *name, bool bio2) {
    char path[1024], file[64];
    espl_task_set set;
    snprintf(file, sizeof file, "data/%s/%s", task, name);
    unit_shared(path, sizeof path, file);
    unit_ok(ctx, espl_task_read(ctx, espl_task_find(task), path, &(espl_task_read_params){.bio2 = bio2}, &set));
    assert_int_equal(set.skipped, 0);
    return set;
}

static void glue(void **state) {
    (void)state;
    static const struct {
        const char *task, *name;
        uint32_t rows, ones; /* of label 1 */
        bool pair;
    } files[] = {
        {"cola", "train.tsv", 7250, 5088, false},  {"cola", "val.tsv", 1301, 935, false},
        {"mrpc", "train.tsv", 3676, 2488, true},   {"mrpc", "val.tsv", 400, 265, true},
        {"rte", "train.tsv", 2240, 1108, true},    {"rte", "val.tsv", 250, 133, true},
        {"sst2", "train.tsv", 10000, 5561, false}, {"sst2", "val.tsv", 800, 455, false},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t f = 0; f < ESPL_COUNT(files); f++) {
        espl_task_set set = read_shared(ctx, files[f].task, files[f].name, false);
        uint32_t ones = 0;
        for (uint32_t i = 0; i < set.count; i++) {
            ones += set.examples[i].label;
            assert_true(set.examples[i].text[0] && (set.examples[i].pair != NULL) == files[f].pair);
        }
        if (set.count != files[f].rows || ones != files[f].ones)
            fail_msg("%s/%s: %u rows, %u of label 1", files[f].task, files[f].name, set.count, ones);
        espl_task_set_finish(&set);
    }
    unit_finish(&heap, ctx);
}

static void scores(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_task_set set = read_shared(ctx, "stsb", "train.tsv", false);
    double sum = 0;
    assert_int_equal(set.count, 2999);
    assert_string_equal(set.examples[0].pair, "Two green and white trains on tracks.");
    for (uint32_t i = 0; i < set.count; i++)
        sum += set.examples[i].value;
    assert_true(fabs(sum - 7843.573333333334) < 1e-6);
    espl_task_set_finish(&set);
    set = read_shared(ctx, "stsb", "dev.tsv", false);
    assert_int_equal(set.count, 625);
    espl_task_set_finish(&set);
    unit_finish(&heap, ctx);
}

static void check_words(espl_context *ctx, const char *task, const char *name, bool bio2, uint32_t sentences,
                        uint32_t words, uint32_t labels) {
    espl_task_set set = read_shared(ctx, task, name, bio2);
    uint32_t count = 0;
    for (uint32_t i = 0; i < set.count; i++)
        count += set.examples[i].word_count;
    assert_int_equal(set.count, sentences);
    assert_int_equal(count, words);
    assert_int_equal(set.labels.count, labels);
    espl_task_set_finish(&set);
}

static void sentences(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    check_words(ctx, "wikigold", "train.conll", false, 1406, 32164, 9);
    check_words(ctx, "wikigold", "train.conll", true, 1406, 32164, 9);
    check_words(ctx, "wnut17", "train.conll", false, 3394, 62730, 13);
    check_words(ctx, "wnut17", "dev.conll", true, 1009, 15733, 13);
    unit_finish(&heap, ctx);
}

static void references(void **state) {
    (void)state;
    static const struct {
        const char *task, *name;
        uint32_t sources, references;
    } files[] = {{"e2e", "train.csv", 450, 3876},       {"e2e", "dev.csv", 80, 708},
                 {"dart", "train.jsonl", 1778, 4558},   {"dart", "val.jsonl", 300, 770},
                 {"webnlg", "train.jsonl", 1497, 3946}, {"webnlg", "dev.jsonl", 300, 791}};
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t f = 0; f < ESPL_COUNT(files); f++) {
        espl_task_set set = read_shared(ctx, files[f].task, files[f].name, false);
        uint32_t count = 0;
        for (uint32_t i = 0; i < set.count; i++)
            count += set.examples[i].reference_count;
        if (set.count != files[f].sources || count != files[f].references)
            fail_msg("%s/%s: %u sources, %u references", files[f].task, files[f].name, set.count, count);
        espl_task_set_finish(&set);
    }
    espl_task_set set = read_shared(ctx, "e2e", "train.csv", false);
    assert_string_equal(set.examples[0].text,
                        "name : The Cambridge Blue | Type : pub | food : English | price : cheap | "
                        "near : Café Brazil");
    espl_task_set_finish(&set);
    unit_finish(&heap, ctx);
}

/* The first reference of each source as the hypothesis, the others as its references. */
static void bleu(void **state) {
    (void)state;
    static const char *const sets[][3] = {{"e2e", "dev.csv", "e2e_dev"}, {"webnlg", "dev.jsonl", "webnlg_dev"}};
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    json_t *root;
    unit_ok(ctx, espl_json_load(ctx, ESPL_GOLDEN_DIR "/metrics.json", &root));
    for (size_t s = 0; s < ESPL_COUNT(sets); s++) {
        const json_t *wanted = json_object_get(json_object_get(root, "real"), sets[s][2]);
        espl_task_set set = read_shared(ctx, sets[s][0], sets[s][1], false);
        espl_bleu sums;
        unit_ok(ctx, espl_bleu_init(ctx, &sums));
        for (uint32_t i = 0; i < set.count; i++) {
            const espl_example *example = &set.examples[i];
            if (example->reference_count > 1)
                unit_ok(ctx, espl_bleu_add(ctx, &sums, example->references[0], example->references + 1,
                                           example->reference_count - 1));
        }
        assert_int_equal(sums.hypothesis_words, json_integer_value(json_object_get(wanted, "hypothesis_words")));
        assert_int_equal(sums.reference_words, json_integer_value(json_object_get(wanted, "reference_words")));
        assert_true(fabs(espl_bleu_score(&sums) - json_number_value(json_object_get(wanted, "score"))) < 1e-10);
        espl_bleu_finish(ctx, &sums);
        espl_task_set_finish(&set);
    }
    espl_json_destroy(&root);
    unit_finish(&heap, ctx);
}

static uint32_t label_of(const espl_labels *labels, const char *name) {
    uint32_t i = 0;
    while (i < labels->count && strcmp(labels->names[i], name) != 0)
        i++;
    assert_true(i < labels->count);
    return i;
}

/* Predictions with every fifth word O and every seventh tag beginning with I-, as make_metric_goldens.py has them. */
static void entities(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    json_t *root;
    unit_ok(ctx, espl_json_load(ctx, ESPL_GOLDEN_DIR "/metrics.json", &root));
    const json_t *wanted = json_object_get(json_object_get(root, "real"), "wnut17_dev");
    espl_task_set set = read_shared(ctx, "wnut17", "dev.conll", false);
    espl_entity_score score = {0};
    size_t at = 0;
    for (uint32_t i = 0; i < set.count; i++) {
        const espl_example *example = &set.examples[i];
        uint32_t predicted[256];
        assert_true(example->word_count <= ESPL_COUNT(predicted));
        for (uint32_t w = 0; w < example->word_count; w++, at++) {
            char name[64];
            snprintf(name, sizeof name, "%s", set.labels.names[example->tags[w]]);
            if (at % 5 == 0)
                strcpy(name, "O");
            else if (at % 7 == 0 && strcmp(name, "O") != 0)
                name[0] = 'I';
            predicted[w] = label_of(&set.labels, name);
        }
        unit_ok(ctx, espl_entity_add(ctx, &score, &set.labels, example->tags, predicted, example->word_count));
    }
    espl_entity_sum(&score);
    assert_true(fabs(score.total.f1 - json_number_value(json_object_get(wanted, "f1"))) < 1e-12);
    assert_int_equal(score.total.labelled, json_integer_value(json_object_get(wanted, "support")));
    assert_int_equal(score.row_count, 6);
    for (size_t i = 0; i < score.row_count; i++) {
        const json_t *row = json_object_get(json_object_get(wanted, "rows"), score.rows[i].type);
        assert_true(fabs(score.rows[i].f1 - json_number_value(json_array_get(row, 2))) < 1e-12);
    }
    espl_entity_finish(ctx, &score);
    espl_task_set_finish(&set);
    espl_json_destroy(&root);
    unit_finish(&heap, ctx);
}

int main(void) {
    char path[1024];
    size_t bytes;
    unit_shared(path, sizeof path, "data/SOURCES.md");
    char *found = unit_read(path, &bytes);
    free(found);
    if (!found) {
        printf("skipped: %s is absent\n", path);
        return UNIT_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(glue),       cmocka_unit_test(scores), cmocka_unit_test(sentences),
        cmocka_unit_test(references), cmocka_unit_test(bleu),   cmocka_unit_test(entities),
    };
    return cmocka_run_group_tests_name("task data", tests, NULL, NULL);
}
