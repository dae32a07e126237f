/* host/task/metrics.h against golden/metrics.json, which scikit-learn, scipy, seqeval and sacrebleu made. */
#include "host/file/json.h"
#include "host/task/metrics.h"
#include "tests/unit/unit.h"
#include <math.h>

enum { MOST = 128 };

static json_t *golden(espl_context *ctx, const char *key, json_t **out_root) {
    unit_ok(ctx, espl_json_load(ctx, ESPL_GOLDEN_DIR "/metrics.json", out_root));
    json_t *part = json_object_get(*out_root, key);
    assert_non_null(part);
    return part;
}

/* null stands for NaN. */
static void check_number(const json_t *object, const char *key, double value) {
    const json_t *wanted = json_object_get(object, key);
    const char *name = json_string_value(json_object_get(object, "name"));
    if (!wanted) fail_msg("%s lacks %s", name, key);
    if (json_is_null(wanted)) {
        if (!isnan(value)) fail_msg("%s: %s is %.17g, not NaN", name, key, value);
    } else if (!(fabs(value - json_number_value(wanted)) <= 1e-12 * fmax(1, fabs(value)))) {
        fail_msg("%s: %s is %.17g, wanted %.17g", name ? name : "", key, value, json_number_value(wanted));
    }
}

static size_t read_numbers(const json_t *array, double *out_numbers, uint32_t *out_indices) {
    size_t count = json_array_size(array);
    assert_in_range(count, 1, MOST);
    for (size_t i = 0; i < count; i++) {
        out_numbers[i] = json_number_value(json_array_get(array, i));
        if (out_indices) out_indices[i] = (uint32_t)out_numbers[i];
    }
    return count;
}

static void of_labels(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    json_t *root, *cases = golden(ctx, "labels", &root);
    assert_true(json_array_size(cases) > 10);
    for (size_t c = 0; c < json_array_size(cases); c++) {
        const json_t *row = json_array_get(cases, c);
        double numbers[MOST], value;
        uint32_t labels[MOST], predicted[MOST];
        size_t count = read_numbers(json_object_get(row, "labels"), numbers, labels);
        assert_int_equal(read_numbers(json_object_get(row, "predicted"), numbers, predicted), count);
        uint32_t label_count = (uint32_t)json_integer_value(json_object_get(row, "label_count"));
        for (espl_metric m = ESPL_METRIC_ACCURACY; m <= ESPL_METRIC_MATTHEWS; m++) {
            if (m == ESPL_METRIC_F1 && label_count != 2) continue;
            unit_ok(ctx, espl_metric_labels(ctx, m, labels, predicted, count, label_count, &value));
            check_number(row, espl_metric_name(m), value);
        }
    }
    espl_json_destroy(&root);
    unit_finish(&heap, ctx);
}

static void of_values(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    json_t *root, *cases = golden(ctx, "values", &root);
    assert_true(json_array_size(cases) > 8);
    for (size_t c = 0; c < json_array_size(cases); c++) {
        const json_t *row = json_array_get(cases, c);
        double values[MOST], predicted[MOST], value;
        size_t count = read_numbers(json_object_get(row, "values"), values, NULL);
        assert_int_equal(read_numbers(json_object_get(row, "predicted"), predicted, NULL), count);
        unit_ok(ctx, espl_metric_values(ctx, ESPL_METRIC_PEARSON, values, predicted, count, &value));
        check_number(row, "pearson", value);
        unit_ok(ctx, espl_metric_values(ctx, ESPL_METRIC_SPEARMAN, values, predicted, count, &value));
        check_number(row, "spearman", value);
    }
    espl_json_destroy(&root);
    unit_finish(&heap, ctx);
}

/* ---- Entities ---- */

/* Tags of a golden sentence as indices of a growing list of names. */
static uint32_t read_tags(const json_t *sentence, const char **names, uint32_t *name_count, uint32_t *out_tags) {
    uint32_t count = (uint32_t)json_array_size(sentence);
    assert_in_range(count, 0, MOST);
    for (uint32_t w = 0; w < count; w++) {
        const char *tag = json_string_value(json_array_get(sentence, w));
        uint32_t n = 0;
        while (n < *name_count && strcmp(names[n], tag) != 0)
            n++;
        if (n == *name_count) names[(*name_count)++] = tag;
        assert_true(*name_count < MOST);
        out_tags[w] = n;
    }
    return count;
}

static void check_rows(const json_t *wanted, espl_entity_score *score) {
    const json_t *rows = json_object_get(wanted, "rows");
    espl_entity_sum(score);
    check_number(wanted, "precision", score->total.precision);
    check_number(wanted, "recall", score->total.recall);
    check_number(wanted, "f1", score->total.f1);
    assert_int_equal(score->total.labelled, json_integer_value(json_object_get(wanted, "support")));
    assert_int_equal(score->row_count, json_object_size(rows));
    for (size_t i = 0; i < score->row_count; i++) {
        const espl_entity_row *row = &score->rows[i];
        const json_t *numbers = json_object_get(rows, row->type);
        const double found[4] = {row->precision, row->recall, row->f1, (double)row->labelled};
        if (i) assert_true(strcmp(score->rows[i - 1].type, row->type) < 0);
        for (size_t n = 0; n < 4; n++) {
            double number = json_number_value(json_array_get(numbers, n));
            if (!numbers || fabs(found[n] - number) > 1e-12)
                fail_msg("%s: %s[%zu] is %g, wanted %g", json_string_value(json_object_get(wanted, "name")), row->type,
                         n, found[n], number);
        }
    }
}

static void of_entities(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    json_t *root, *cases = golden(ctx, "entities", &root);
    assert_true(json_array_size(cases) > 10);
    for (size_t c = 0; c < json_array_size(cases); c++) {
        const json_t *row = json_array_get(cases, c);
        const json_t *labelled = json_object_get(row, "labelled"), *predicted = json_object_get(row, "predicted");
        const char *names[MOST];
        uint32_t name_count = 0, tags[2][MOST];
        espl_entity_score score = {0};
        for (size_t s = 0; s < json_array_size(labelled); s++) {
            uint32_t count = read_tags(json_array_get(labelled, s), names, &name_count, tags[0]);
            assert_int_equal(read_tags(json_array_get(predicted, s), names, &name_count, tags[1]), count);
            unit_ok(ctx, espl_entity_add(ctx, &score, &(espl_labels){names, name_count}, tags[0], tags[1], count));
        }
        check_rows(row, &score);
        espl_entity_finish(ctx, &score);
    }
    espl_json_destroy(&root);
    unit_finish(&heap, ctx);
}

/* ---- BLEU ---- */

static void check_bleu(const json_t *wanted, const espl_bleu *bleu) {
    check_number(wanted, "score", espl_bleu_score(bleu));
    check_number(wanted, "hypothesis_words", (double)bleu->hypothesis_words);
    check_number(wanted, "reference_words", (double)bleu->reference_words);
    for (size_t n = 0; n < ESPL_BLEU_ORDERS; n++) {
        assert_int_equal(bleu->correct[n], json_integer_value(json_array_get(json_object_get(wanted, "correct"), n)));
        assert_int_equal(bleu->total[n], json_integer_value(json_array_get(json_object_get(wanted, "total"), n)));
    }
}

static void of_generation(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    json_t *root, *cases = golden(ctx, "bleu", &root);
    assert_true(json_array_size(cases) > 12);
    for (size_t c = 0; c < json_array_size(cases); c++) {
        const json_t *row = json_array_get(cases, c), *texts = json_object_get(row, "hypotheses");
        espl_bleu bleu;
        unit_ok(ctx, espl_bleu_init(ctx, &bleu));
        for (size_t h = 0; h < json_array_size(texts); h++) {
            const json_t *list = json_array_get(json_object_get(row, "references"), h);
            const char *references[MOST];
            for (size_t r = 0; r < json_array_size(list); r++)
                references[r] = json_string_value(json_array_get(list, r));
            unit_ok(ctx, espl_bleu_add(ctx, &bleu, json_string_value(json_array_get(texts, h)), references,
                                       (uint32_t)json_array_size(list)));
        }
        check_bleu(row, &bleu);
        espl_bleu_finish(ctx, &bleu);
    }
    espl_json_destroy(&root);
    unit_finish(&heap, ctx);
}

/* ---- What is refused, what is undefined, which is better ---- */

static void refusals(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    const uint32_t labels[2] = {0, 2};
    const double numbers[3] = {1, 2, NAN}, fine[3] = {1, 2, 3};
    double value;
    unit_fails(ctx, espl_metric_labels(ctx, ESPL_METRIC_F1, labels, labels, 0, 2, &value), ESPL_ARGUMENT, "no rows");
    unit_fails(ctx, espl_metric_labels(ctx, ESPL_METRIC_F1, labels, labels, 2, 2, &value), ESPL_ARGUMENT,
               "row 1 has label 2, there are 2 labels");
    unit_fails(ctx, espl_metric_labels(ctx, ESPL_METRIC_BLEU, labels, labels, 2, 3, &value), ESPL_ARGUMENT, "bleu");
    unit_fails(ctx, espl_metric_values(ctx, ESPL_METRIC_PEARSON, fine, fine, 0, &value), ESPL_ARGUMENT, "no rows");
    unit_fails(ctx, espl_metric_values(ctx, ESPL_METRIC_F1, fine, fine, 3, &value), ESPL_ARGUMENT, "f1");
    for (espl_metric m = ESPL_METRIC_PEARSON; m <= ESPL_METRIC_SPEARMAN; m++) {
        unit_ok(ctx, espl_metric_values(ctx, m, fine, numbers, 3, &value));
        assert_true(isnan(value));
        unit_ok(ctx, espl_metric_values(ctx, m, fine, fine, 1, &value));
        assert_true(isnan(value));
    }
    const char *const names[] = {"O", "B-X", "\xc3\xa9-X", ""};
    const uint32_t tags[3] = {1, 2, 3};
    espl_entity_score score = {0};
    unit_fails(ctx, espl_entity_add(ctx, &score, &(espl_labels){names, 3}, tags, tags, 3), ESPL_ARGUMENT,
               "word 2 has tag 3, there are 3 tags");
    espl_entity_sum(&score);
    assert_true(score.total.f1 == 0);
    unit_ok(ctx, espl_entity_add(ctx, &score, &(espl_labels){names, 4}, tags, tags, 3));
    espl_entity_finish(ctx, &score);
    espl_bleu bleu;
    unit_ok(ctx, espl_bleu_init(ctx, &bleu));
    assert_true(espl_bleu_score(&bleu) == 0);
    unit_fails(ctx, espl_bleu_add(ctx, &bleu, "a", NULL, 0), ESPL_ARGUMENT, "reference");
    /* Bad bytes are words of their own: one in front of a b c d, one behind. */
    const char *const reference = "\xef\xbf\xbd a b c d \xef\xbf\xbd";
    unit_ok(ctx, espl_bleu_add(ctx, &bleu, "\xff a b c d \xc3", &reference, 1));
    assert_int_equal(bleu.correct[0], 6);
    assert_true(fabs(espl_bleu_score(&bleu) - 100) < 1e-9);
    espl_bleu_finish(ctx, &bleu);
    unit_finish(&heap, ctx);
}

static void better(void **state) {
    (void)state;
    espl_metric metric;
    for (espl_metric m = 0; m < ESPL_METRIC_COUNT; m++) {
        bool more = m != ESPL_METRIC_PERPLEXITY;
        assert_true(espl_metric_find(espl_metric_name(m), &metric) && metric == m);
        assert_int_equal(espl_metric_better(m, 2, 1), more);
        assert_int_equal(espl_metric_better(m, 1, 2), !more);
        assert_false(espl_metric_better(m, 1, 1));
        assert_false(espl_metric_better(m, NAN, 1));
        assert_false(espl_metric_better(m, NAN, NAN));
        assert_true(espl_metric_better(m, -1, NAN));
    }
    assert_false(espl_metric_find("accurate", &metric));
    assert_true(espl_metric_perplexity(0) == 1);
    assert_true(fabs(espl_metric_perplexity(3) - 20.085536923187668) < 1e-13);
    assert_true(isinf(espl_metric_perplexity(1000)));
}

static espl_status all(espl_context *ctx, void *user) {
    (void)user;
    const uint32_t labels[4] = {0, 1, 2, 1};
    const double numbers[4] = {0, 1, 2, 1};
    const char *const names[] = {"O", "B-one", "I-two"}, *const references[] = {"a b c d", "a b, c"};
    espl_entity_score score = {0};
    espl_bleu bleu = {0};
    double value;
    espl_status status;
    ESPL_GOTO(espl_metric_labels(ctx, ESPL_METRIC_MATTHEWS, labels, labels, 4, 3, &value));
    ESPL_GOTO(espl_metric_values(ctx, ESPL_METRIC_SPEARMAN, numbers, numbers, 4, &value));
    ESPL_GOTO(espl_entity_add(ctx, &score, &(espl_labels){names, 3}, labels, labels, 4));
    ESPL_GOTO(espl_bleu_init(ctx, &bleu));
    ESPL_GOTO(espl_bleu_add(ctx, &bleu, "a b c, d e f g h", references, 2));
fail:
    espl_bleu_finish(ctx, &bleu);
    espl_entity_finish(ctx, &score);
    return status;
}

static void memory(void **state) {
    (void)state;
    unit_sweep(all, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_labels),     cmocka_unit_test(of_values), cmocka_unit_test(of_entities),
        cmocka_unit_test(of_generation), cmocka_unit_test(refusals),  cmocka_unit_test(better),
        cmocka_unit_test(memory),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
