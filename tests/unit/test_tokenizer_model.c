/* Damaged SentencePiece .model files: each is refused with a sentence, or loads and can be used. */
#include "host/base/os.h"
#include "host/file/tokenizer_parts.h"
#include "tests/unit/unit.h"

/* Whether it loads; then a text goes through it. */
static bool goes_through(espl_context *ctx, const char *model, size_t bytes) {
    espl_tokenizer *t;
    const uint32_t *ids;
    const char *back;
    size_t count;
    const espl_status status = espl_tokenizer_create_sentencepiece(ctx, model, bytes, "damaged", &t);
    if (status != ESPL_OK) {
        assert_true(t == NULL && strstr(espl_context_message(ctx), "damaged: ") == espl_context_message(ctx));
        assert_true(status == ESPL_FORMAT || status == ESPL_UNSUPPORTED);
        return false;
    }
    unit_ok(ctx, espl_tokenizer_encode(t, "Hello \xef\xac\x81 aaa", 13, true, &ids, &count));
    unit_ok(ctx, espl_tokenizer_decode(t, ids, count, true, &back, &bytes));
    assert_true(espl_utf8_is_valid(back, bytes));
    espl_tokenizer_destroy(&t);
    return true;
}

static void map(espl_context *ctx, espl_mapping *out_file) {
    unit_ok(ctx, espl_os_map(ctx, ESPL_GOLDEN_DIR "/tokenizers/t5_model/spiece.model", out_file));
}

static void cut_off(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_mapping file;
    map(ctx, &file);
    for (size_t bytes = 0; bytes < file.bytes; bytes += 7) goes_through(ctx, (const char *)file.data, bytes);
    assert_true(goes_through(ctx, (const char *)file.data, file.bytes));
    espl_os_unmap(&file);
    unit_finish(&heap, ctx);
}

static void one_byte_wrong(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_mapping file;
    map(ctx, &file);
    char *copy = malloc(file.bytes);
    assert_non_null(copy);
    for (size_t i = 0; i < file.bytes; i++) {
        memcpy(copy, file.data, file.bytes);
        copy[i] ^= (char)(1 << i % 8);
        goes_through(ctx, copy, file.bytes);
    }
    free(copy);
    espl_os_unmap(&file);
    unit_finish(&heap, ctx);
}

enum { UNITS = 256 };

/* The last normalizer of a file counts: this trie and no replacement but "". */
static void with_trie(espl_context *ctx, const espl_mapping *file, const uint32_t *units, size_t bytes, espl_bytes *out) {
    unsigned char head[] = {0x1a, 0, 0, 0x12, 0, 0, (unsigned char)bytes, (unsigned char)(bytes >> 8), 0, 0};
    const size_t map_bytes = 4 + 4 * UNITS + 1, normalizer_bytes = map_bytes + 3;
    head[1] = (unsigned char)(normalizer_bytes & 0x7f) | 0x80, head[2] = (unsigned char)(normalizer_bytes >> 7);
    head[4] = (unsigned char)(map_bytes & 0x7f) | 0x80, head[5] = (unsigned char)(map_bytes >> 7);
    out->count = 0;
    unit_ok(ctx, espl_bytes_append(ctx, out, file->data, file->bytes));
    unit_ok(ctx, espl_bytes_append(ctx, out, head, sizeof head));
    for (size_t i = 0; i < UNITS; i++) {
        const unsigned char unit[] = {(unsigned char)units[i], (unsigned char)(units[i] >> 8), (unsigned char)(units[i] >> 16),
                                      (unsigned char)(units[i] >> 24)};
        unit_ok(ctx, espl_bytes_append(ctx, out, unit, sizeof unit));
    }
    unit_ok(ctx, espl_bytes_append(ctx, out, "", 1));
}

/* A unit is a byte | distance to its children << 10 | 0x100 where a key ends; of the bytes there is an a alone. */
static void hostile_tries(void **state) {
    (void)state;
    static const struct {
        uint32_t root, of_a, bytes;
        const char *part; /* NULL: nothing wrong */
    } cases[] = {
        {0, 0, 4 * UNITS, NULL},
        {0, 0, 4 * UNITS + 1, "says 1025 bytes of trie in 1025"},
        {0, 0, 4 * UNITS - 2, "says 1022 bytes of trie in 1025"},
        {0, 0, 4 * UNITS - 4, "trie of 255 units leads to unit 255"},
        {256 << 10, 0, 4 * UNITS, "trie of 256 units leads to unit 511"},
        {0x1fffff << 10 | 0x200, 0, 4 * UNITS, "leads to unit 536870911"},
        {0, 97 | 256 << 10, 4 * UNITS, "leads to unit"},
        {0, 97 | (97 ^ 98) << 10 | 0x100, 4 * UNITS, "beyond its 1 bytes of replacements"},
        {0, 97 | 97 << 10 | 0x100, 4 * UNITS, "more than 32 keys that begin one another"},
        {0, 97 | 97 << 10, 4 * UNITS, NULL}, /* round and round, but for as long as the text only */
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_mapping file;
    espl_bytes model = {0};
    map(ctx, &file);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        uint32_t units[UNITS] = {[0] = cases[i].root, ['a'] = cases[i].of_a, ['b'] = 1u << 30};
        with_trie(ctx, &file, units, cases[i].bytes, &model);
        const bool loads = goes_through(ctx, model.data, model.count);
        if (loads != !cases[i].part || (cases[i].part && !strstr(espl_context_message(ctx), cases[i].part)))
            fail_msg("case %zu: %s", i, loads ? "loads" : espl_context_message(ctx));
    }
    espl_bytes_finish(ctx, &model);
    espl_os_unmap(&file);
    unit_finish(&heap, ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cut_off), cmocka_unit_test(one_byte_wrong),
                                       cmocka_unit_test(hostile_tries)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
