/* Any bytes as a .model. The SentencePiece library gets what our check of it lets pass. */
#include "host/file/tokenizer_parts.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const char text[] = "Hello,  w\xc3\xb6rld! \xef\xac\x81 \xe2\x91\xa0 e\xcc\x81 \xff \xf0\x9f\x9a\x80";
    espl_context *ctx = fuzz_context();
    espl_tokenizer *t;
    const uint32_t *ids;
    const char *back;
    size_t count;
    if (espl_tokenizer_create_sentencepiece(ctx, data, bytes, "fuzz", &t) == ESPL_OK) {
        if (espl_tokenizer_encode(t, text, sizeof text, true, &ids, &count) == ESPL_OK) {
            FUZZ_CHECK(espl_tokenizer_decode(t, ids, count, true, &back, &bytes) == ESPL_OK);
            FUZZ_CHECK(espl_utf8_is_valid(back, bytes));
        }
    } else {
        FUZZ_CHECK(t == NULL && espl_context_message(ctx)[0]);
    }
    espl_tokenizer_destroy(&t);
    espl_context_destroy(&ctx);
    return 0;
}
