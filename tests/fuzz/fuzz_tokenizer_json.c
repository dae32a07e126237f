/* Any bytes as a tokenizer.json, then a fixed text through whatever came out of it. */
#include "host/file/tokenizer_parts.h"
#include "tests/fuzz/fuzz.h"

static const char text[] = " Hello, w\xc3\xb6rld 12\xc2\xbd <s> ab\n\n\t\xe4\xb8\xad\xff  don't ";

static void use(espl_context *ctx, espl_tokenizer *t) {
    const uint32_t *ids;
    const char *decoded;
    size_t count, bytes;
    espl_detokenizer *d;
    if (espl_tokenizer_encode(t, text, sizeof text - 1, true, &ids, &count) != ESPL_OK) return;
    FUZZ_CHECK(espl_detokenizer_create(t, false, &d) == ESPL_OK);
    for (size_t i = 0; i < count; i++) {
        if (espl_detokenizer_push(d, ids[i], &decoded, &bytes) != ESPL_OK) break;
        FUZZ_CHECK(espl_utf8_is_valid(decoded, bytes));
    }
    (void)espl_detokenizer_end(d, &decoded, &bytes);
    espl_detokenizer_destroy(&d);
    if (espl_tokenizer_decode(t, ids, count, true, &decoded, &bytes) == ESPL_OK)
        FUZZ_CHECK(espl_utf8_is_valid(decoded, bytes));
    (void)ctx;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    espl_context *ctx = fuzz_context();
    espl_tokenizer *t;
    if (espl_tokenizer_create_json(ctx, data, bytes, "fuzz", &t) == ESPL_OK) use(ctx, t);
    else FUZZ_CHECK(t == NULL && espl_context_message(ctx)[0]);
    espl_tokenizer_destroy(&t);
    espl_context_destroy(&ctx);
    return 0;
}
