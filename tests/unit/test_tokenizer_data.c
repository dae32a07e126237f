/* Tokenizers on real vocabularies against numbers made by the original programs (shared/data/SOURCES.md says which).
 * Skipped without the shared folder. */
#include "host/base/os.h"
#include "host/file/json.h"
#include "tests/unit/unit.h"
#include <espalier/tokenizer.h>

static espl_tokenizer *load(espl_context *ctx, const char *name) {
    char path[1024];
    espl_tokenizer *t;
    unit_shared(path, sizeof path, name);
    unit_ok(ctx, espl_tokenizer_load(ctx, path, &t));
    return t;
}

static json_t *load_json(espl_context *ctx, const char *name) {
    char path[1024];
    json_t *root;
    unit_shared(path, sizeof path, name);
    unit_ok(ctx, espl_json_load(ctx, path, &root));
    return root;
}

static void check(espl_context *ctx, espl_tokenizer *t, const char *text, size_t bytes, bool special,
                  const uint32_t *expected, size_t expected_count) {
    const uint32_t *ids;
    size_t count;
    unit_ok(ctx, espl_tokenizer_encode(t, text, bytes, special, &ids, &count));
    for (size_t i = 0; i < count && i < expected_count; i++)
        if (ids[i] != expected[i])
            fail_msg("\"%s\": number %zu is %u, not %u", text, i, (unsigned)ids[i], (unsigned)expected[i]);
    if (count != expected_count) fail_msg("\"%s\": %zu numbers, not %zu", text, count, expected_count);
}

/* fuse: runs of token 0 in the expectation count once. cases.json gives one unknown token per byte for the
 * tinystories tokenizer, whose file says fuse_unk and whose own library makes one of them. */
static void check_array(espl_context *ctx, espl_tokenizer *t, const json_t *text, const json_t *array, bool special,
                        bool fuse) {
    uint32_t expected[4096];
    size_t count = 0;
    assert_true(json_array_size(array) < 4096);
    for (size_t i = 0; i < json_array_size(array); i++) {
        uint32_t id = (uint32_t)json_integer_value(json_array_get(array, i));
        if (!fuse || id || count == 0 || expected[count - 1]) expected[count++] = id;
    }
    check(ctx, t, json_string_value(text), json_string_length(text), special, expected, count);
}

static void check_cases(const char *tokenizer, const char *key, bool special, bool fuse) {
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_tokenizer *t = load(ctx, tokenizer);
    json_t *root = load_json(ctx, "data/tokenizers/cases.json"), *item;
    size_t index, seen = 0;
    json_array_foreach(json_object_get(root, "cases"), index, item) {
        const json_t *ids = json_object_get(item, key);
        if (!ids) continue;
        seen++;
        check_array(ctx, t, json_object_get(item, "text"), ids, special, fuse);
    }
    assert_int_equal(seen, 44);
    json_decref(root);
    espl_tokenizer_destroy(&t);
    unit_finish(&heap, ctx);
}

/* llama.cpp's test files: texts between separators, lines of numbers. */
static void check_gguf(const char *tokenizer, const char *name) {
    static const char separator[] = "\n__ggml_vocab_test__\n";
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_tokenizer *t = load(ctx, tokenizer);
    char path[1024], stem[600];
    size_t bytes, out_bytes, cases = 0;
    snprintf(stem, sizeof stem, "data/tokenizers/%s.gguf.inp", name);
    unit_shared(path, sizeof path, stem);
    char *input = unit_read(path, &bytes);
    snprintf(stem, sizeof stem, "data/tokenizers/%s.gguf.out", name);
    unit_shared(path, sizeof path, stem);
    char *output = unit_read(path, &out_bytes), *line = output, *text = input;
    assert_true(input && output);
    for (char *end; text; text = end ? end + sizeof separator - 1 : NULL, cases++) {
        uint32_t expected[4096];
        size_t count = 0;
        end = strstr(text, separator);
        if (end) *end = 0;
        char *line_end = strchr(line, '\n');
        assert_true(line_end || !end); /* only the last line may lack its end */
        if (line_end) *line_end = 0;
        for (char *at = line, *next; expected[count] = (uint32_t)strtoul(at, &next, 10), next != at; at = next) count++;
        check(ctx, t, text, strlen(text), false, expected, count);
        line = line_end ? line_end + 1 : line;
    }
    assert_int_equal(cases, 47);
    free(input);
    free(output);
    espl_tokenizer_destroy(&t);
    unit_finish(&heap, ctx);
}

static void gpt2_cases(void **state) {
    (void)state;
    check_cases("data/tokenizers/gpt2-vocab.json", "gpt2", false, false);
}
static void bert_cases(void **state) {
    (void)state;
    check_cases("data/tokenizers/bert-uncased-vocab.txt", "bert", false, false);
}
static void bert_gguf(void **state) {
    (void)state;
    check_gguf("data/tokenizers/bert-uncased-vocab.txt", "ggml-vocab-bert-bge");
}
static void llama_cases(void **state) {
    (void)state;
    check_cases("data/tokenizers/llama-tokenizer.model", "llama", false, false);
}
static void t5_cases(void **state) {
    (void)state;
    check_cases("data/tokenizers/t5-spiece.model", "t5", false, false);
}
static void tinystories_cases(void **state) {
    (void)state;
    check_cases("data/tinystories-656k", "tinystories656k", true, true);
}
static void gpt2_gguf(void **state) {
    (void)state;
    check_gguf("data/tokenizers/gpt2-vocab.json", "ggml-vocab-gpt-2");
}
static void llama_gguf(void **state) {
    (void)state;
    check_gguf("data/tokenizers/llama-tokenizer.model", "ggml-vocab-llama-spm");
}

static void tinystories_golden(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_tokenizer *t = load(ctx, "data/tinystories-656k");
    json_t *root = load_json(ctx, "data/tinystories-656k/golden.json"), *item;
    size_t index, token;
    json_array_foreach(json_object_get(root, "loss"), index, item)
        check_array(ctx, t, json_object_get(item, "text"), json_object_get(item, "ids"), true, false);
    json_array_foreach(json_object_get(root, "cases"), index, item) {
        json_t *prompt = json_object_get(item, "prompt_ids"), *more = json_object_get(item, "greedy_ids"), *id;
        check_array(ctx, t, json_object_get(item, "prompt"), prompt, true, false);
        uint32_t ids[4096];
        size_t count = 0, bytes;
        const char *text;
        json_array_foreach(prompt, token, id) ids[count++] = (uint32_t)json_integer_value(id);
        json_array_foreach(more, token, id) ids[count++] = (uint32_t)json_integer_value(id);
        unit_ok(ctx, espl_tokenizer_decode(t, ids, count, false, &text, &bytes));
        /* The golden text keeps the space that the decoder strips. */
        assert_string_equal(text, json_string_value(json_object_get(item, "text")) + 1);
    }
    assert_int_equal(espl_tokenizer_bos(t), 1);
    assert_int_equal(espl_tokenizer_eos(t), 2);
    assert_int_equal(espl_tokenizer_unk(t), 0);
    assert_int_equal(espl_tokenizer_size(t), 2048);
    json_decref(root);
    espl_tokenizer_destroy(&t);
    unit_finish(&heap, ctx);
}

/* decode(encode(text)) is the text for every kind that loses nothing, whole and streamed, a megabyte at once. */
static void there_and_back(void **state) {
    (void)state;
    static const char *const names[] = {"data/tokenizers/gpt2-vocab.json", "data/tokenizers/llama-tokenizer.model"};
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    char path[1024];
    size_t bytes = 0, got, at;
    unit_shared(path, sizeof path, "data/tinyshakespeare/train.txt");
    char *text = unit_read(path, &bytes);
    assert_non_null(text);
    for (size_t i = 0; i < ESPL_COUNT(names); i++) {
        espl_tokenizer *t = load(ctx, names[i]);
        espl_detokenizer *d;
        const uint32_t *ids;
        const char *back;
        size_t count;
        unit_ok(ctx, espl_tokenizer_encode(t, text, bytes, true, &ids, &count));
        unit_ok(ctx, espl_tokenizer_decode(t, ids, count, false, &back, &got));
        assert_int_equal(got, bytes);
        assert_memory_equal(back, text, bytes);
        unit_ok(ctx, espl_detokenizer_create(t, false, &d));
        at = 0;
        for (size_t k = 0; k < count; k++) {
            unit_ok(ctx, espl_detokenizer_push(d, ids[k], &back, &got));
            assert_true(at + got <= bytes && memcmp(text + at, back, got) == 0);
            at += got;
        }
        assert_int_equal(at, bytes);
        espl_detokenizer_destroy(&d);
        espl_tokenizer_destroy(&t);
    }
    free(text);
    unit_finish(&heap, ctx);
}

static espl_status load_body(espl_context *ctx, void *user) {
    espl_tokenizer *t;
    espl_status status = espl_tokenizer_load(ctx, user, &t);
    espl_tokenizer_destroy(&t);
    return status;
}

static void sentencepiece_allocation(void **state) {
    (void)state;
    char path[1024];
    unit_shared(path, sizeof path, "data/tokenizers/t5-spiece.model");
    unit_sweep(load_body, path);
}

int main(void) {
    char path[1024];
    unit_shared(path, sizeof path, "data/tokenizers/cases.json");
    if (!espl_os_is_file(path)) {
        printf("skipped: all of test_tokenizer_data, because there is no %s\n", path);
        return UNIT_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_cases),         cmocka_unit_test(llama_cases), cmocka_unit_test(t5_cases),
        cmocka_unit_test(tinystories_cases),  cmocka_unit_test(gpt2_gguf),   cmocka_unit_test(llama_gguf),
        cmocka_unit_test(bert_cases),         cmocka_unit_test(bert_gguf),
        cmocka_unit_test(tinystories_golden), cmocka_unit_test(there_and_back),
        cmocka_unit_test(sentencepiece_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
