/* SentencePiece .model files, encoded by the SentencePiece library itself: its normalizer, its BPE and its unigram
 * model. Decoding needs only the pieces and is done here, so that it can be done token by token. */
#include "host/file/tokenizer_parts.h"
#include "third_party/sentencepiece_shim.h"
#include <string.h>

/* A sign that nobody takes for text. */
const char espl_sentencepiece_unknown[] = " \xE2\x81\x87 ";

typedef struct taker {
    espl_context *ctx;
    espl_ids *ids;
} taker;

static int take(void *user, const int *ids, size_t count) {
    taker *to = user;
    for (size_t i = 0; i < count; i++) {
        espl_status status = espl_ids_append(to->ctx, to->ids, (uint32_t)ids[i]);
        if (status != ESPL_OK) return (int)status;
    }
    return 0;
}

static espl_status encode(espl_context *ctx, void *state, const espl_vocabulary *vocabulary, const char *text,
                          size_t bytes, espl_ids *out_ids) {
    (void)vocabulary;
    char message[256] = "";
    taker to = {.ctx = ctx, .ids = out_ids};
    int result = espl_spm_encode(state, text, bytes, take, &to, message, sizeof message);
    if (result < 0) return espl_fail(ctx, ESPL_INTERNAL, "SentencePiece could not encode: %s", message);
    return (espl_status)result;
}

static void destroy(espl_context *ctx, void **state) {
    (void)ctx;
    espl_spm_destroy(*state);
    *state = NULL;
}

const espl_token_model espl_model_sentencepiece = {.type = "SentencePiece", .encode = encode, .destroy = destroy};

static espl_status read_pieces(espl_tokenizer *tokenizer) {
    espl_context *ctx = tokenizer->ctx;
    int size = espl_spm_size(tokenizer->state);
    for (int id = 0; id < size; id++) {
        enum espl_spm_kind kind;
        size_t bytes;
        const char *piece = espl_spm_piece(tokenizer->state, id, &bytes, &kind);
        ESPL_TRY(espl_vocabulary_add(ctx, &tokenizer->vocabulary, piece, bytes, (uint64_t)id, false));
        if (kind == ESPL_SPM_CONTROL) tokenizer->vocabulary.tokens[id].special = true;
    }
    return ESPL_OK;
}

static uint32_t token_of(int id) {
    return id < 0 ? ESPL_NO_TOKEN : (uint32_t)id;
}

/* The model's normalizer is not visible through the library; what it does to spaces is, by trying. */
static espl_status find_strip(espl_tokenizer *tokenizer, uint32_t *out_strip) {
    espl_context *ctx = tokenizer->ctx;
    const espl_vocabulary *vocabulary = &tokenizer->vocabulary;
    espl_ids plain = {0}, spaced = {0};
    size_t bytes = 0;
    *out_strip = 0;
    espl_status status = encode(ctx, tokenizer->state, vocabulary, "a", 1, &plain);
    if (status == ESPL_OK) status = encode(ctx, tokenizer->state, vocabulary, "  a", 3, &spaced);
    if (status == ESPL_OK && plain.count) {
        const char *first = espl_vocabulary_piece(vocabulary, plain.data[0], &bytes);
        if (bytes >= 3 && memcmp(first, "\xE2\x96\x81", 3) == 0) *out_strip = 1;
        bool same = plain.count == spaced.count && !memcmp(plain.data, spaced.data, plain.count * sizeof *plain.data);
        if (same) *out_strip = UINT32_MAX;
    }
    espl_free(ctx, &plain.data);
    espl_free(ctx, &spaced.data);
    return status;
}

espl_status espl_tokenizer_read_sentencepiece(espl_tokenizer *tokenizer, const void *model, size_t bytes,
                                              const json_t *config) {
    espl_context *ctx = tokenizer->ctx;
    char message[256] = "";
    uint32_t strip;
    bool add_bos, add_eos;
    tokenizer->model = &espl_model_sentencepiece;
    tokenizer->state = espl_spm_create(model, bytes, message, sizeof message);
    if (!tokenizer->state) return espl_fail(ctx, ESPL_FORMAT, "not a SentencePiece model: %s", message);
    ESPL_TRY(read_pieces(tokenizer));
    ESPL_TRY(find_strip(tokenizer, &strip));
    ESPL_TRY(espl_decoders_add_sentencepiece(ctx, &tokenizer->decoders, strip));
    ESPL_TRY(espl_tokenizer_read_added(tokenizer, config));
    tokenizer->bos = token_of(espl_spm_bos(tokenizer->state));
    tokenizer->eos = token_of(espl_spm_eos(tokenizer->state));
    tokenizer->unk = token_of(espl_spm_unk(tokenizer->state));
    tokenizer->pad = token_of(espl_spm_pad(tokenizer->state));
    ESPL_TRY(espl_tokenizer_read_special(tokenizer, config));
    bool has_bos = espl_spm_bos(tokenizer->state) >= 0;
    ESPL_TRY(espl_json_bool(ctx, config, "add_bos_token", has_bos, &add_bos));
    ESPL_TRY(espl_json_bool(ctx, config, "add_eos_token", !has_bos, &add_eos));
    if (add_bos && tokenizer->bos != ESPL_NO_TOKEN) ESPL_TRY(espl_ids_append(ctx, &tokenizer->prefix, tokenizer->bos));
    if (add_eos && tokenizer->eos != ESPL_NO_TOKEN) ESPL_TRY(espl_ids_append(ctx, &tokenizer->suffix, tokenizer->eos));
    return ESPL_OK;
}
