/* Tokenizers of encoders, one folder each in tests/golden/tokenizers, against what their own libraries make of awkward
 * texts, pairs, words and lengths (tools/golden/make_tokenizers.py). */
#include "host/file/json.h"
#include "tests/unit/unit.h"
#include <espalier/tokenizer.h>

static const char *const names[] = {
    "bert_uncased_txt", "bert_uncased_json", "bert_cased_txt", "electra_odd_txt", "bert_processing_json",
    "roberta_files", "roberta_prefix_files", "roberta_prefix_json", "xlm_roberta_json", "xlm_roberta_model",
    "albert_json", "albert_model", "deberta_v2_json", "deberta_v2_model", "t5_json", "t5_model", "unigram_bytes_json",
};

static int failures;

/* One line per case that differs; the test fails at the end. */
static void compare(const char *name, const json_t *item, const char *key, const void *got, size_t item_bytes,
                    size_t count) {
    const json_t *expected = json_object_get(item, key);
    bool same = json_array_size(expected) == count;
    for (size_t i = 0; same && i < count; i++) {
        json_int_t value = json_integer_value(json_array_get(expected, i));
        same = item_bytes == 1 ? ((const uint8_t *)got)[i] == value : ((const uint32_t *)got)[i] == (uint32_t)value;
    }
    if (same) return;
    failures++;
    char *text = json_dumps(item, JSON_COMPACT);
    printf("%s: %s differ: got", name, key);
    for (size_t i = 0; i < count; i++)
        printf(" %d", item_bytes == 1 ? ((const uint8_t *)got)[i] : (int)((const uint32_t *)got)[i]);
    printf(", expected %.1500s\n", text);
    free(text);
}

static void check(espl_context *ctx, espl_tokenizer *t, const char *name, const json_t *item) {
    const json_t *text = json_object_get(item, "text"), *pair = json_object_get(item, "pair");
    const json_t *list = json_object_get(item, "words"), *special = json_object_get(item, "special");
    const char *words[16];
    espl_encoding made;
    espl_texts texts = {.text = json_string_value(text), .text_bytes = json_string_length(text),
                        .pair = json_string_value(pair), .pair_bytes = json_string_length(pair),
                        .words = list ? words : NULL, .word_count = json_array_size(list),
                        .max_tokens = (size_t)json_integer_value(json_object_get(item, "max")),
                        .add_special = !special || json_is_true(special)};
    assert_true(texts.word_count <= ESPL_COUNT(words));
    for (size_t i = 0; i < texts.word_count; i++) words[i] = json_string_value(json_array_get(list, i));
    unit_ok(ctx, espl_tokenizer_encode_texts(t, &texts, &made));
    compare(name, item, "ids", made.ids, 4, made.count);
    if (json_object_get(item, "types")) compare(name, item, "types", made.types, 1, made.count);
    if (json_object_get(item, "mask")) compare(name, item, "mask", made.special, 1, made.count);
    if (list) compare(name, item, "word_ids", made.words, 4, made.count);
    const json_t *decoded = json_object_get(item, "decoded");
    const char *back;
    size_t bytes;
    if (!decoded) return;
    unit_ok(ctx, espl_tokenizer_decode(t, made.ids, made.count, false, &back, &bytes));
    if (bytes == json_string_length(decoded) && !memcmp(back, json_string_value(decoded), bytes)) return;
    failures++;
    printf("%s: decoded \"%s\", expected \"%s\"\n", name, back, json_string_value(decoded));
}

static void families(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t i = 0; i < ESPL_COUNT(names); i++) {
        char path[1024];
        espl_tokenizer *t;
        json_t *cases, *item;
        size_t index;
        snprintf(path, sizeof path, "%s/tokenizers/%s", ESPL_GOLDEN_DIR, names[i]);
        unit_ok(ctx, espl_tokenizer_load(ctx, path, &t));
        snprintf(path, sizeof path, "%s/tokenizers/%s/cases.json", ESPL_GOLDEN_DIR, names[i]);
        unit_ok(ctx, espl_json_load(ctx, path, &cases));
        assert_true(json_array_size(cases) > 50);
        json_array_foreach(cases, index, item) check(ctx, t, names[i], item);
        json_decref(cases);
        espl_tokenizer_destroy(&t);
    }
    assert_int_equal(failures, 0);
    unit_finish(&heap, ctx);
}

static espl_status body(espl_context *ctx, void *user) {
    espl_tokenizer *t;
    espl_encoding made;
    const espl_texts texts = {.text = "Führer x\xff", .text_bytes = 10, .pair = "中", .pair_bytes = 3, .add_special = true};
    espl_status status = espl_tokenizer_load(ctx, user, &t);
    if (status == ESPL_OK) status = espl_tokenizer_encode_texts(t, &texts, &made);
    espl_tokenizer_destroy(&t);
    return status;
}

static void allocation(void **state) {
    (void)state;
    static const char *const swept[] = {"bert_uncased_txt", "albert_json", "albert_model", "bert_processing_json"};
    for (size_t i = 0; i < ESPL_COUNT(swept); i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/tokenizers/%s", ESPL_GOLDEN_DIR, swept[i]);
        unit_sweep(body, path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(families), cmocka_unit_test(allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
