/* SentencePiece .model files, encoded by the SentencePiece library itself: its normalizer, its BPE and its unigram
 * model. Decoding needs only the pieces and is done here, so that it can be done token by token. */
#include "host/file/tokenizer_parts.h"
#include "third_party/sentencepiece_shim.h"
#include <string.h>

/* A sign that nobody takes for text. */
const char espl_sentencepiece_unknown[] = " \xE2\x81\x87 ";

typedef struct sentencepiece {
    espl_spm *spm; /* owned */
    bool fairseq;  /* see espl_tokenizer_family */
} sentencepiece;

/* The model's number for one of the file, -1 for none. fairseq: <unk> <s> </s> a b becomes <s> <pad> </s> <unk> a b. */
static uint32_t token_of(const sentencepiece *state, int id) {
    static const uint32_t first[] = {3, 0, 2};
    if (id < 0) return ESPL_NO_TOKEN;
    if (!state->fairseq) return (uint32_t)id;
    return (size_t)id < ESPL_COUNT(first) ? first[id] : (uint32_t)id + 1;
}

typedef struct taker {
    espl_context *ctx;
    const sentencepiece *state;
    espl_ids *ids;
} taker;

static int take(void *user, const int *ids, size_t count) {
    taker *to = user;
    for (size_t i = 0; i < count; i++) {
        espl_status status = espl_ids_append(to->ctx, to->ids, token_of(to->state, ids[i]));
        if (status != ESPL_OK) return (int)status;
    }
    return 0;
}

static espl_status encode(espl_context *ctx, void *state, const espl_vocabulary *vocabulary, const char *text,
                          size_t bytes, espl_ids *out_ids) {
    (void)vocabulary;
    const sentencepiece *model = state;
    char message[256] = "";
    taker to = {.ctx = ctx, .state = model, .ids = out_ids};
    int result = espl_spm_encode(model->spm, text, bytes, take, &to, message, sizeof message);
    if (result < 0) return espl_fail(ctx, ESPL_INTERNAL, "SentencePiece could not encode: %s", message);
    return (espl_status)result;
}

static void destroy(espl_context *ctx, void **state) {
    sentencepiece *model = *state;
    if (model && model->spm) espl_spm_destroy(model->spm);
    espl_free(ctx, state);
}

const espl_token_model espl_model_sentencepiece = {.type = "SentencePiece", .encode = encode, .destroy = destroy};

static espl_status read_pieces(espl_tokenizer *tokenizer) {
    espl_context *ctx = tokenizer->ctx;
    const sentencepiece *state = tokenizer->state;
    int size = espl_spm_size(state->spm);
    for (int id = 0; id < size; id++) {
        enum espl_spm_kind kind;
        size_t bytes;
        const char *piece = espl_spm_piece(state->spm, id, &bytes, &kind);
        if (!espl_utf8_is_valid(piece, bytes)) return espl_fail(ctx, ESPL_FORMAT, "piece %d of the model is not UTF-8", id);
        ESPL_TRY(espl_vocabulary_add(ctx, &tokenizer->vocabulary, piece, bytes, token_of(state, id), false));
        if (kind == ESPL_SPM_CONTROL) tokenizer->vocabulary.tokens[token_of(state, id)].special = true;
    }
    if (!state->fairseq) return ESPL_OK;
    ESPL_TRY(espl_vocabulary_add(ctx, &tokenizer->vocabulary, "<pad>", strlen("<pad>"), 1, false));
    tokenizer->vocabulary.tokens[1].special = true;
    return ESPL_OK;
}

/* What AlbertTokenizer does before its model: `` and '' are quotes, accents and case go. */
static espl_status add_albert_steps(espl_tokenizer *t, const json_t *config) {
    static const char quotes[] =
        "[{\"type\":\"Replace\",\"pattern\":{\"String\":\"``\"},\"content\":\"\\\"\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\"''\"},\"content\":\"\\\"\"}]";
    bool keep_accents, lower;
    json_t *parts = NULL, *sequence = NULL;
    espl_status status;
    ESPL_TRY(espl_json_bool(t->ctx, config, "keep_accents", false, &keep_accents));
    ESPL_TRY(espl_json_bool(t->ctx, config, "do_lower_case", true, &lower));
    ESPL_GOTO(espl_json_parse(t->ctx, quotes, sizeof quotes - 1, "quotes", &parts));
    if (!keep_accents) ESPL_GOTO(espl_json_push(t->ctx, parts, json_pack("{s:s}", "type", "NFKD")));
    if (!keep_accents) ESPL_GOTO(espl_json_push(t->ctx, parts, json_pack("{s:s}", "type", "StripAccents")));
    if (lower) ESPL_GOTO(espl_json_push(t->ctx, parts, json_pack("{s:s}", "type", "Lowercase")));
    sequence = json_pack("{s:s,s:O}", "type", "Sequence", "normalizers", parts);
    status = sequence ? espl_normalizers_read(t->ctx, &t->normalizers, sequence)
                      : espl_fail(t->ctx, ESPL_HOST_MEMORY, "no memory for JSON");
fail:
    espl_json_destroy(&sequence);
    espl_json_destroy(&parts);
    return status;
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
    sentencepiece *state;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    tokenizer->model = &espl_model_sentencepiece;
    tokenizer->state = state;
    espl_status status = espl_sentencepiece_check(ctx, model, bytes);
    if (status != ESPL_OK) return espl_fail_in(ctx, status, "not a SentencePiece model");
    state->spm = espl_spm_create(model, bytes, message, sizeof message);
    if (!state->spm) return espl_fail(ctx, ESPL_FORMAT, "not a SentencePiece model: %s", message);
    state->fairseq = tokenizer->family && tokenizer->family->fairseq;
    if (state->fairseq && (espl_spm_unk(state->spm) != 0 || espl_spm_bos(state->spm) != 1 || espl_spm_eos(state->spm) != 2))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "the pieces of an XLM-RoBERTa begin with <unk>, <s>, </s>");
    ESPL_TRY(read_pieces(tokenizer));
    ESPL_TRY(find_strip(tokenizer, &strip));
    ESPL_TRY(espl_decoders_add_sentencepiece(ctx, &tokenizer->decoders, strip));
    if (tokenizer->family && tokenizer->family->albert) ESPL_TRY(add_albert_steps(tokenizer, config));
    ESPL_TRY(espl_tokenizer_read_added(tokenizer, config));
    tokenizer->bos = token_of(state, espl_spm_bos(state->spm));
    tokenizer->eos = token_of(state, espl_spm_eos(state->spm));
    tokenizer->unk = token_of(state, espl_spm_unk(state->spm));
    tokenizer->pad = token_of(state, espl_spm_pad(state->spm));
    ESPL_TRY(espl_tokenizer_read_special(tokenizer, config));
    const bool has_bos = espl_spm_bos(state->spm) >= 0;
    return espl_tokenizer_read_around(tokenizer, config, has_bos, !has_bos);
}
