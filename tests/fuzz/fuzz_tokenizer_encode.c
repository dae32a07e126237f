/* Any bytes as text through two tokenizers, of the byte-level and of the SentencePiece style, that lose nothing: what
 * is decoded, whole or streamed, must be the text with its invalid parts replaced. */
#include "host/file/tokenizer_parts.h"
#include "tests/fuzz/fuzz.h"

static espl_context *ctx;
static espl_tokenizer *tokenizers[2];

/* All 256 bytes, a few merges, an added token. */
static void create_byte_level(void) {
    espl_bytes json = {0};
    espl_status status = espl_bytes_print(ctx, &json, "{\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (unsigned byte = 0; byte < 256 && status == ESPL_OK; byte++) {
        uint32_t code = espl_byte_level_code((unsigned char)byte);
        status = espl_bytes_print(ctx, &json, "\"\\u%04x\":%u,", (unsigned)code, byte);
    }
    FUZZ_CHECK(status == ESPL_OK);
    status = espl_bytes_print(ctx, &json,
        "\"ab\":256,\"abc\":257,\"\\u0120a\":258,\"\\u0120\\u0120\":259,\"aa\":260,\"aaaa\":261},"
        "\"merges\":[\"a b\",\"ab c\",\"\\u0120 a\",\"\\u0120 \\u0120\",\"a a\",\"aa aa\"]},"
        "\"added_tokens\":[{\"id\":300,\"content\":\"<s>\",\"normalized\":false}],"
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"decoder\":{\"type\":\"ByteLevel\"}}");
    FUZZ_CHECK(status == ESPL_OK);
    FUZZ_CHECK(espl_tokenizer_create_json(ctx, json.data, json.count, "level", &tokenizers[0]) == ESPL_OK);
    espl_bytes_finish(ctx, &json);
}

static void create_fallback(void) {
    espl_bytes json = {0};
    espl_status status = espl_bytes_print(ctx, &json,
        "{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{");
    for (unsigned byte = 0; byte < 256 && status == ESPL_OK; byte++)
        status = espl_bytes_print(ctx, &json, "\"<0x%02X>\":%u,", byte, byte);
    FUZZ_CHECK(status == ESPL_OK);
    status = espl_bytes_print(ctx, &json,
        "\"a\":256,\"b\":257,\"\\u0001\":258,\"ab\":259,\"\\u0001a\":260,\"\\u0001\\u0001\":261},"
        "\"merges\":[\"a b\",\"\\u0001 a\",\"\\u0001 \\u0001\"]},"
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\\u0001\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u0001\"}]},"
        "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u0001\"},"
        "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
        "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}}");
    FUZZ_CHECK(status == ESPL_OK);
    FUZZ_CHECK(espl_tokenizer_create_json(ctx, json.data, json.count, "fallback", &tokenizers[1]) == ESPL_OK);
    espl_bytes_finish(ctx, &json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (!ctx) {
        ctx = fuzz_context();
        create_byte_level();
        create_fallback();
    }
    if (bytes < 1) return 0;
    espl_tokenizer *t = tokenizers[data[0] & 1];
    espl_bytes expected = {0}, streamed = {0};
    espl_detokenizer *d;
    const uint32_t *ids;
    const char *text;
    size_t count, got;
    FUZZ_CHECK(espl_utf8_append_lossy(ctx, &expected, (const char *)data + 1, bytes - 1) == ESPL_OK);
    /* The second tokenizer's mark for a space is U+0001, which it cannot tell from a space. */
    for (size_t i = 0; (data[0] & 1) && i < expected.count; i++)
        if (expected.data[i] == 1) expected.data[i] = ' ';
    FUZZ_CHECK(espl_tokenizer_encode(t, (const char *)data + 1, bytes - 1, true, &ids, &count) == ESPL_OK);
    FUZZ_CHECK(espl_tokenizer_decode(t, ids, count, true, &text, &got) == ESPL_OK);
    FUZZ_CHECK(got == expected.count && memcmp(text, expected.data, got) == 0);
    FUZZ_CHECK(espl_detokenizer_create(t, true, &d) == ESPL_OK);
    for (size_t i = 0; i < count; i++) {
        FUZZ_CHECK(espl_detokenizer_push(d, ids[i], &text, &got) == ESPL_OK && espl_utf8_is_valid(text, got));
        FUZZ_CHECK(espl_bytes_append(ctx, &streamed, text, got) == ESPL_OK);
    }
    FUZZ_CHECK(espl_detokenizer_end(d, &text, &got) == ESPL_OK);
    FUZZ_CHECK(espl_bytes_append(ctx, &streamed, text, got) == ESPL_OK);
    FUZZ_CHECK(streamed.count == expected.count && memcmp(streamed.data, expected.data, streamed.count) == 0);
    espl_detokenizer_destroy(&d);
    espl_bytes_finish(ctx, &expected);
    espl_bytes_finish(ctx, &streamed);
    return 0;
}
