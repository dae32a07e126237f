/* Tokenizers on small files made here: what is read, what is refused, how text streams out. The numbers in the table
 * of splits come from huggingface/tokenizers 0.23.3. test_tokenizer_data.c has the real vocabularies. */
#include "host/base/os.h"
#include "host/file/tokenizer_parts.h"
#include "tests/unit/unit.h"

/* 0 a, 1 b, 2 c, 3 ab, 4 abc, 5 space, 6 mark, 7 unk */
#define VOCABULARY \
    "{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4,\" \":5,\"\\u2581\":6,\"<unk>\":7,\"\\u0120\":8,\"\\u0120a\":9}"
#define MERGES "[\"a b\",[\"ab\",\"c\"],\"\\u0120 a\"]"
#define MODEL(more) "\"model\":{\"type\":\"BPE\",\"vocab\":" VOCABULARY ",\"merges\":" MERGES more "}"
#define UNKNOWN ",\"unk_token\":\"<unk>\""

static void check_ids(espl_context *ctx, const char *json, const char *text, bool special, const char *expected) {
    espl_tokenizer *t;
    const uint32_t *ids;
    size_t count;
    char got[512] = "";
    unit_ok(ctx, espl_tokenizer_create_json(ctx, json, strlen(json), "t.json", &t));
    unit_ok(ctx, espl_tokenizer_encode(t, text, strlen(text), special, &ids, &count));
    for (size_t i = 0; i < count; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), i ? " %u" : "%u", (unsigned)ids[i]);
    if (strcmp(got, expected)) fail_msg("\"%s\" gives %s, expected %s, with %s", text, got, expected, json);
    espl_tokenizer_destroy(&t);
}

static void models(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    check_ids(ctx, "{" MODEL("") "}", "abcab", false, "4 3");
    check_ids(ctx, "{" MODEL("") "}", "", false, "");
    check_ids(ctx, "{" MODEL("") "}", "axb", false, "3"); /* no unknown token: x is dropped before merging */
    check_ids(ctx, "{" MODEL(UNKNOWN) "}", "axyb", false, "0 7 7 1");
    check_ids(ctx, "{" MODEL(UNKNOWN ",\"fuse_unk\":true") "}", "axyb", false, "0 7 1");
    check_ids(ctx, "{" MODEL(",\"ignore_merges\":true") "}", "abc", false, "4");
    check_ids(ctx, "{" MODEL(UNKNOWN) "}", "a\xff" "b", false, "0 7 1"); /* one U+FFFD */
    check_ids(ctx, "{" MODEL(UNKNOWN) "}", "\xe2\x82" "b", false, "7 1");
    check_ids(ctx,
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"<0xC3>\":1,\"<0xA9>\":2,\"<unk>\":3},\"merges\":[],"
                   "\"byte_fallback\":true,\"fuse_unk\":true,\"unk_token\":\"<unk>\"}}", "a\xc3\xa9\xe2\x82\xac", false,
              "0 1 2 3");
    check_ids(ctx, "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b</w>\":1,\"ab</w>\":2},\"merges\":[\"a b</w>\"],"
                   "\"end_of_word_suffix\":\"</w>\"}}", "aab", false, "0 2");
    unit_finish(&heap, ctx);
}

#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}"
#define SPLIT(kind, pattern, behavior) \
    "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"" kind "\":\"" pattern "\"},\"behavior\":\"" behavior "\"}"
#define PREPEND "{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"}"

static void parts(void **state) {
    (void)state;
    static const struct {
        const char *part, *text, *expected;
    } cases[] = {
        {"\"normalizer\":" REPLACE, "a b", "0 6 1"},
        {"\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" PREPEND "," REPLACE "]}", "ab c", "6 3 6 2"},
        {"\"normalizer\":{\"type\":\"Lowercase\"}", "ABC", "4"},
        /* fullwidth A and b, circled c */
        {"\"normalizer\":{\"type\":\"NFKC\"}", "\xef\xbc\xa1\xef\xbd\x82\xe2\x93\x92", "7 1 2"},
        {"\"normalizer\":{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":false}", " \xc2\xa0" "a ", "0 5"},
        {"\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[xy]+\"},\"content\":\"c\"}", "abxyx", "4"},
        {SPLIT("Regex", "b", "Isolated"), "abc", "0 1 2"},
        {SPLIT("String", "b", "Removed"), "abc", "0 2"},
        {SPLIT("String", "b", "MergedWithPrevious"), "abc", "3 2"},
        {SPLIT("String", "b", "MergedWithNext"), "abc", "0 1 2"},
        {SPLIT("Regex", "[ab]", "Contiguous"), "abc", "3 2"},
        {SPLIT("Regex", "[ab]+", "Removed\",\"invert\":true,\"x\":\""), "cab ab", "3 3"},
        {"\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"}", "a b\xe3\x80\x80" "c", "0 1 2"},
        {"\"pre_tokenizer\":{\"type\":\"Whitespace\"}", "ab,c", "3 7 2"},
        {"\"pre_tokenizer\":{\"type\":\"Digits\",\"individual_digits\":true}", "a12", "0 7 7"},
        {"\"pre_tokenizer\":{\"type\":\"Punctuation\"}", "ab.c", "3 7 2"},
        {"\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"first\"}", "a b",
         "6 0 6 1"},
        {"\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", "a a", "9 9"},
        {"\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}", "a a", "0 9"},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        char json[2000];
        snprintf(json, sizeof json, "{%s,%s}", cases[i].part, MODEL(UNKNOWN));
        check_ids(ctx, json, cases[i].text, false, cases[i].expected);
    }
    unit_finish(&heap, ctx);
}

#define TOKEN(id, text, more) "{\"id\":" #id ",\"content\":\"" text "\"," more "}"
#define ADDED                                                                               \
    "\"added_tokens\":[" TOKEN(20, "<s>", "\"special\":true") "," TOKEN(21, "<s", "\"normalized\":false") "," \
    TOKEN(22, "cc", "\"single_word\":true,\"normalized\":false") ","                          \
    TOKEN(23, "<m>", "\"lstrip\":true,\"rstrip\":true,\"special\":true") "]"
#define TEMPLATE                                                                                        \
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}}," \
    "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"x\"}}],\"special_tokens\":{"               \
    "\"<s>\":{\"ids\":[20]},\"x\":{\"ids\":[23,20]}}}"

static void added(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    static const char json[] = "{" ADDED "," TEMPLATE "," MODEL(UNKNOWN) "}";
    check_ids(ctx, json, "a<s>b<sa", false, "0 20 1 21 0");
    check_ids(ctx, json, "a  <m>  b", false, "0 23 1");
    check_ids(ctx, json, "cc acc cc", false, "22 5 0 2 2 5 22");
    check_ids(ctx, json, "a", true, "20 0 23 20");
    check_ids(ctx, json, "", true, "20 23 20");
    espl_tokenizer *t;
    unit_ok(ctx, espl_tokenizer_create_json(ctx, json, sizeof json - 1, "t.json", &t));
    assert_int_equal(espl_tokenizer_size(t), 24);
    assert_int_equal(espl_tokenizer_find(t, "<s>"), 20);
    assert_int_equal(espl_tokenizer_find(t, "abc"), 4);
    assert_true(espl_tokenizer_find(t, "none") == ESPL_NO_TOKEN && espl_tokenizer_bos(t) == ESPL_NO_TOKEN);
    assert_int_equal(espl_tokenizer_unk(t), 7);
    assert_string_equal(espl_tokenizer_piece(t, 22), "cc");
    assert_null(espl_tokenizer_piece(t, 15));
    assert_null(espl_tokenizer_piece(t, 99));
    assert_true(espl_tokenizer_is_special(t, 20) && !espl_tokenizer_is_special(t, 21));
    espl_tokenizer_destroy(&t);
    espl_tokenizer_destroy(&t);
    unit_finish(&heap, ctx);
}

#define CHARSMAP(text) "\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"" text "\"}"
#define PLACE(name) "{\"Sequence\":{\"id\":\"" name "\"}}"
#define TEMPLATES(single, pair) \
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":" single ",\"pair\":" pair ",\"special_tokens\":{}}"
#define BERT "{\"type\":\"BertProcessing\",\"cls\":[\"a\",0],\"sep\":[\"b\",1]}"

/* What the goldens of test_tokenizer_families.c do not reach. */
static void texts(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    static const char json[] = "{\"post_processor\":" BERT "," MODEL(UNKNOWN) "}";
    static const char *const words[] = {"a", "", "bc"};
    espl_tokenizer *t;
    espl_encoding made;
    unit_ok(ctx, espl_tokenizer_create_json(ctx, json, sizeof json - 1, "t.json", &t));
    espl_texts texts = {.text = "a", .text_bytes = 1, .max_tokens = 1, .add_special = true};
    unit_fails(ctx, espl_tokenizer_encode_texts(t, &texts, &made), ESPL_ARGUMENT, "at most 1 tokens");
    assert_null(made.ids);
    texts.max_tokens = 2;
    unit_ok(ctx, espl_tokenizer_encode_texts(t, &texts, &made));
    assert_int_equal(made.count, 2);
    texts.words = words;
    unit_fails(ctx, espl_tokenizer_encode_texts(t, &texts, &made), ESPL_ARGUMENT, "both a text and words");
    texts = (espl_texts){.words = words, .word_count = 3, .max_tokens = 2};
    unit_ok(ctx, espl_tokenizer_encode_texts(t, &texts, &made));
    assert_int_equal(made.count, 2);
    assert_true(made.ids[1] == 1 && made.words[0] == 0 && made.words[1] == 2 && made.special[0] == 0);
    espl_tokenizer_destroy(&t);
    check_ids(ctx, "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1],[\"b\",-1],[\"ab\",-2],[\"?\",0]],\"unk_id\":3}}",
              "abxyab", false, "2 3 2"); /* of equal sums the one whose last piece is longest */
    check_ids(ctx, "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0,\"##b\":1,\"[UNK]\":2},"
                   "\"max_input_chars_per_word\":3}}", "abb", false, "0 1 1");
    check_ids(ctx, "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0,\"##b\":1,\"[UNK]\":2},"
                   "\"max_input_chars_per_word\":3}}", "abbb", false, "2");
    unit_finish(&heap, ctx);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *json;
        espl_status status;
        const char *part;
    } cases[] = {
        {"{\"model\":{\"type\":\"WordLevel\",\"vocab\":{}}}", ESPL_UNSUPPORTED, "t.json: the model \"WordLevel\""},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":[]}}", ESPL_FORMAT, "\"vocab\""},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",1],[\"b\"]]}}", ESPL_FORMAT, "piece 1 of the vocabulary"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",1]],\"unk_id\":1}}", ESPL_FORMAT, "\"unk_id\" is 1"},
        {"{\"normalizer\":{\"type\":\"Precompiled\"}," MODEL("") "}", ESPL_FORMAT, "\"precompiled_charsmap\" is missing"},
        {"{" CHARSMAP("AAA") "," MODEL("") "}", ESPL_FORMAT, "3 letters"},
        {"{" CHARSMAP("A.AA") "," MODEL("") "}", ESPL_FORMAT, "at letter 1"},
        {"{" CHARSMAP("") "," MODEL("") "}", ESPL_FORMAT, "0 bytes of trie in 0"},
        {"{" CHARSMAP("CAAAAAAAAAA=") "," MODEL("") "}", ESPL_FORMAT, "8 bytes of trie in 4"},
        {"{" TEMPLATES("[]", "[]") "," MODEL("") "}", ESPL_UNSUPPORTED, "\"single\" has 0 places"},
        {"{" TEMPLATES("[" PLACE("A") "]", "[" PLACE("A") "]") "," MODEL("") "}", ESPL_UNSUPPORTED,
         "\"pair\" has 1 places for the text and 0"},
        {"{\"post_processor\":{\"type\":\"Sequence\",\"processors\":[" BERT "," BERT "]}," MODEL("") "}", ESPL_UNSUPPORTED,
         "second template, BertProcessing"},
        {"{\"normalizer\":{\"type\":\"Nmt\"}," MODEL("") "}", ESPL_UNSUPPORTED, "the normalizer \"Nmt\""},
        {"{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}," MODEL("") "}", ESPL_UNSUPPORTED,
         "the pre_tokenizer \"Uni"},
        {"{\"decoder\":{\"type\":\"CTC\"}," MODEL("") "}", ESPL_UNSUPPORTED, "the decoder \"CTC\""},
        {"{\"post_processor\":{\"type\":\"Odd\"}," MODEL("") "}", ESPL_UNSUPPORTED, "the post_processor \"Odd\""},
        {"{" SPLIT("Regex", "(", "Isolated") "," MODEL("") "}", ESPL_UNSUPPORTED, "not understood"},
        {"{" SPLIT("Regex", "a{1,2}+", "Isolated") "," MODEL("") "}", ESPL_UNSUPPORTED, "}+"},
        {"{" SPLIT("Regex", "[a&&b]", "Isolated") "," MODEL("") "}", ESPL_UNSUPPORTED, "&&"},
        {"{" MODEL(",\"dropout\":0.1") "}", ESPL_UNSUPPORTED, "dropout"},
        {"{}", ESPL_FORMAT, "\"model\" is missing"},
        {"[]", ESPL_FORMAT, "is an object"},
        {"{", ESPL_FORMAT, "t.json: line 1"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", ESPL_FORMAT, "\"a\""},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":4000000000},\"merges\":[]}}", ESPL_LIMIT, "4000000000"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1},\"merges\":[\"a b\"]}}", ESPL_FORMAT, "merge 0"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1},\"merges\":[\"aa\"]}}", ESPL_FORMAT, "merge 0"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1},\"merges\":[7]}}", ESPL_FORMAT, "merge 0"},
        {"{\"added_tokens\":[{\"content\":\"x\"}]," MODEL("") "}", ESPL_FORMAT, "\"id\" is missing"},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_tokenizer *t;
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        unit_fails(ctx, espl_tokenizer_create_json(ctx, cases[i].json, strlen(cases[i].json), "t.json", &t),
                   cases[i].status, cases[i].part);
        assert_null(t);
    }
    unit_fails(ctx, espl_tokenizer_load(ctx, "no-such-folder", &t), ESPL_IO, "no-such-folder");
    unit_fails(ctx, espl_tokenizer_load(ctx, "no-such.json", &t), ESPL_IO, "no-such.json");
    unit_write("test_tok.model", "garbage", 7);
    unit_fails(ctx, espl_tokenizer_load(ctx, "test_tok.model", &t), ESPL_FORMAT, "test_tok.model: not a SentencePiece");
    espl_os_remove_file("test_tok.model");
    unit_finish(&heap, ctx);
}

/* Joins what push and end give, with a bar after each push. */
static void check_stream(espl_context *ctx, const char *json, const uint32_t *ids, size_t count, const char *decoded,
                         const char *streamed) {
    espl_tokenizer *t;
    espl_detokenizer *d;
    const char *text;
    size_t bytes;
    char got[512] = "";
    unit_ok(ctx, espl_tokenizer_create_json(ctx, json, strlen(json), "t.json", &t));
    unit_ok(ctx, espl_tokenizer_decode(t, ids, count, false, &text, &bytes));
    assert_string_equal(text, decoded);
    assert_int_equal(bytes, strlen(decoded));
    unit_ok(ctx, espl_detokenizer_create(t, false, &d));
    for (int round = 0; round < 2; round++) {
        got[0] = 0;
        for (size_t i = 0; i < count; i++) {
            unit_ok(ctx, espl_detokenizer_push(d, ids[i], &text, &bytes));
            snprintf(got + strlen(got), sizeof got - strlen(got), "%s|", text);
        }
        unit_ok(ctx, espl_detokenizer_end(d, &text, &bytes));
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s", text);
        assert_string_equal(got, streamed);
    }
    espl_detokenizer_destroy(&d);
    espl_detokenizer_destroy(&d);
    espl_tokenizer_destroy(&t);
}

static void decoding(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    /* The bytes of U+20AC are E2 82 AC: in the byte-level alphabet U+00E2 U+0124 U+00AC. */
    static const char byte_level[] =
        "{\"decoder\":{\"type\":\"ByteLevel\"},\"added_tokens\":[{\"id\":9,\"content\":\"<e>\",\"special\":true}],"
        "\"model\":{\"type\":\"BPE\",\"merges\":[],"
        "\"vocab\":{\"a\":0,\"\\u00e2\":1,\"\\u0124\":2,\"\\u00ac\":3,\"\\u0120a\":4}}}";
    check_stream(ctx, byte_level, (const uint32_t[]){0, 1, 2, 3, 4}, 5, "a\xe2\x82\xac a", "a|||\xe2\x82\xac| a|");
    check_stream(ctx, byte_level, (const uint32_t[]){1, 2}, 2, ESPL_UTF8_REPLACEMENT, "||" ESPL_UTF8_REPLACEMENT);
    check_stream(ctx, byte_level, (const uint32_t[]){1, 0, 9, 77, 0}, 5, ESPL_UTF8_REPLACEMENT "aa",
                 "|" ESPL_UTF8_REPLACEMENT "a|||a|");
    static const char fallback[] =
        "{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},"
        "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
        "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},"
        "\"model\":{\"type\":\"BPE\",\"merges\":[],"
        "\"vocab\":{\"\\u2581a\":0,\"<0xC3>\":1,\"<0xA9>\":2,\"b\":3}}}";
    check_stream(ctx, fallback, (const uint32_t[]){0, 1, 2, 0}, 4, "a\xc3\xa9 a", "a||\xc3\xa9| a|");
    /* An invalid run: decode replaces all of it, the stream keeps the character that was whole. */
    check_stream(ctx, fallback, (const uint32_t[]){1, 2, 2, 3}, 4,
                 ESPL_UTF8_REPLACEMENT ESPL_UTF8_REPLACEMENT ESPL_UTF8_REPLACEMENT "b",
                 "|\xc3\xa9|" ESPL_UTF8_REPLACEMENT "|b|");
    check_stream(ctx, "{" MODEL("") "}", (const uint32_t[]){0, 3, 4}, 3, "a ab abc", "a| ab| abc|");
    static const char stripped[] =
        "{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},"
        "{\"type\":\"Strip\",\"content\":\" \",\"start\":0,\"stop\":2}]}," MODEL("") "}";
    check_stream(ctx, stripped, (const uint32_t[]){0, 5, 5, 5, 1, 5, 5, 5}, 8, "a   b ", "a||| |  b||| |");
    unit_finish(&heap, ctx);
}

static espl_status json_body(espl_context *ctx, void *user) {
    espl_tokenizer *t;
    espl_detokenizer *d = NULL;
    const uint32_t *ids;
    const char *text;
    size_t count;
    espl_status status = espl_tokenizer_create_json(ctx, user, strlen(user), "t.json", &t);
    if (status == ESPL_OK) status = espl_tokenizer_encode(t, "ab <m> \xc3\xa9 cab", 14, true, &ids, &count);
    if (status == ESPL_OK) status = espl_tokenizer_decode(t, ids, count, true, &text, &count);
    if (status == ESPL_OK) status = espl_detokenizer_create(t, false, &d);
    if (status == ESPL_OK) status = espl_detokenizer_push(d, 3, &text, &count);
    if (status == ESPL_OK) status = espl_detokenizer_end(d, &text, &count);
    if (d) espl_detokenizer_destroy(&d);
    espl_tokenizer_destroy(&t);
    return status;
}

static espl_status load_body(espl_context *ctx, void *user) {
    espl_tokenizer *t;
    espl_status status = espl_tokenizer_load(ctx, user, &t);
    espl_tokenizer_destroy(&t);
    return status;
}

static void allocation(void **state) {
    (void)state;
    static char byte_level[] =
        "{" ADDED "," TEMPLATE ",\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"},"
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Replace\","
        "\"pattern\":{\"Regex\":\"x+\"},\"content\":\"y\"}]}," MODEL(UNKNOWN) "}";
    static char mark[] =
        "{" ADDED ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\"},"
        "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},"
        "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" "
            "\",\"start\":1,"
        "\"stop\":1}]}," MODEL(UNKNOWN ",\"byte_fallback\":true") "}";
    unit_sweep(json_body, byte_level);
    unit_sweep(json_body, mark);
    static char folder[] = "test_tok.dir";
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    unit_ok(ctx, espl_os_make_folder(ctx, folder));
    static const char vocab[] = VOCABULARY, merges[] = "#version: 0.2\na b\nab c\n";
    static const char config[] = "{\"bos_token\":{\"content\":\"a\"},\"add_bos_token\":true,\"eos_token\":\"b\"}";
    unit_write("test_tok.dir/vocab.json", vocab, sizeof vocab - 1);
    unit_write("test_tok.dir/merges.txt", merges, sizeof merges - 1);
    unit_write("test_tok.dir/tokenizer_config.json", config, sizeof config - 1);
    unit_sweep(load_body, folder);
    espl_tokenizer *t;
    const uint32_t *ids;
    size_t count;
    unit_ok(ctx, espl_tokenizer_load(ctx, folder, &t));
    unit_ok(ctx, espl_tokenizer_encode(t, "abc a", 5, true, &ids, &count));
    assert_memory_equal(ids, ((const uint32_t[]){0, 4, 8, 0}), 4 * sizeof *ids);
    assert_int_equal(count, 4);
    assert_int_equal(espl_tokenizer_eos(t), 1);
    espl_tokenizer_destroy(&t);
    espl_os_remove_folder(ctx, folder);
    unit_finish(&heap, ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(models),   cmocka_unit_test(parts),    cmocka_unit_test(added),
                                       cmocka_unit_test(texts), cmocka_unit_test(refused),  cmocka_unit_test(decoding),
                                           cmocka_unit_test(allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
