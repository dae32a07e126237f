/* Any bytes as a vocab.txt, up to the first zero byte, and the rest of them as a text for it. */
#include "host/file/tokenizer_parts.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    espl_context *ctx = fuzz_context();
    const uint8_t *end = bytes ? memchr(data, 0, bytes) : NULL;
    const size_t lines = end ? (size_t)(end - data) : bytes;
    espl_tokenizer *t;
    espl_encoding made;
    if (espl_tokenizer_create_vocabulary(ctx, data, lines, "fuzz", &t) == ESPL_OK) {
        const espl_texts texts = {.text = (const char *)data + lines, .text_bytes = bytes - lines, .pair = "a\xff", .pair_bytes = 2,
                                  .add_special = true, .max_tokens = 9};
        if (espl_tokenizer_encode_texts(t, &texts, &made) == ESPL_OK) FUZZ_CHECK(made.count <= 9);
    } else {
        FUZZ_CHECK(t == NULL && espl_context_message(ctx)[0]);
    }
    espl_tokenizer_destroy(&t);
    espl_context_destroy(&ctx);
    return 0;
}
