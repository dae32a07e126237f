/* WordPiece: the longest piece that the word begins with, then the longest that goes on ("##ing") and so forth. A word
 * that cannot be cut so, or is too long, becomes one unknown token.
 * Source: Wu et al. 2016 section 4.1; details as in huggingface/tokenizers src/models/wordpiece. Beside it the vocab.txt
 * of BERT, which says nothing but the pieces: the rest is BERT's own normalizer and splitter. */
#include "host/file/tokenizer_parts.h"
#include <string.h>

typedef struct wordpiece {
    char *unknown, *prefix; /* owned */
    uint32_t characters_max; /* of a word */
    size_t bytes_max;        /* of a piece */
    espl_bytes spelled;
} wordpiece;

static void destroy(espl_context *ctx, void **in_out_state) {
    wordpiece *state = *in_out_state;
    if (!state) return;
    espl_free(ctx, &state->unknown);
    espl_free(ctx, &state->prefix);
    espl_bytes_finish(ctx, &state->spelled);
    espl_free(ctx, in_out_state);
}

static espl_status fill(espl_context *ctx, wordpiece *state, const espl_vocabulary *vocabulary, const char *unknown,
                        const char *prefix, uint32_t characters_max) {
    ESPL_TRY(espl_copy_string(ctx, unknown, strlen(unknown), &state->unknown));
    ESPL_TRY(espl_copy_string(ctx, prefix, strlen(prefix), &state->prefix));
    state->characters_max = characters_max;
    for (size_t i = 0; i < vocabulary->pieces.count; i++)
        if (vocabulary->pieces.entries[i].bytes > state->bytes_max)
            state->bytes_max = vocabulary->pieces.entries[i].bytes;
    return ESPL_OK;
}

static espl_status create(espl_context *ctx, const espl_vocabulary *vocabulary, const char *unknown,
                          const char *prefix, uint32_t characters_max, void **out_state) {
    wordpiece *state;
    *out_state = NULL;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    *out_state = state;
    espl_status status = fill(ctx, state, vocabulary, unknown, prefix, characters_max);
    if (status != ESPL_OK) destroy(ctx, out_state);
    return status;
}

static espl_status read(espl_context *ctx, const json_t *object, espl_vocabulary *vocabulary, void **out_state) {
    json_t *table;
    const char *unknown, *prefix;
    uint32_t characters_max;
    *out_state = NULL;
    ESPL_TRY(espl_json_need(ctx, object, "vocab"));
    ESPL_TRY(espl_json_object(ctx, object, "vocab", &table));
    ESPL_TRY(espl_json_string(ctx, object, "unk_token", "[UNK]", &unknown));
    ESPL_TRY(espl_json_string(ctx, object, "continuing_subword_prefix", "##", &prefix));
    ESPL_TRY(espl_json_u32(ctx, object, "max_input_chars_per_word", 100, &characters_max));
    ESPL_TRY(espl_vocabulary_read(ctx, vocabulary, table));
    return create(ctx, vocabulary, unknown, prefix, characters_max, out_state);
}

/* The longest piece at `begin`; *out_end is begin if there is none. */
static espl_status longest(espl_context *ctx, wordpiece *state, const espl_vocabulary *vocabulary, const char *text,
                           size_t begin, size_t bytes, size_t *out_end, uint32_t *out_id) {
    espl_bytes *spelled = &state->spelled;
    size_t skip = begin ? strlen(state->prefix) : 0, end = bytes;
    spelled->count = 0;
    ESPL_TRY(espl_bytes_append(ctx, spelled, state->prefix, skip));
    if (end - begin > state->bytes_max) {
        end = begin + state->bytes_max;
        while (end > begin && ((unsigned char)text[end] & 0xc0) == 0x80) end--;
    }
    ESPL_TRY(espl_bytes_append(ctx, spelled, text + begin, end - begin));
    for (; end > begin; end = espl_utf8_before(text, end)) {
        *out_id = espl_vocabulary_model_id(vocabulary, spelled->data, skip + end - begin);
        if (*out_id != ESPL_NO_TOKEN) break;
    }
    *out_end = end;
    return ESPL_OK;
}

static bool is_too_long(const wordpiece *state, const char *text, size_t bytes) {
    size_t characters = 0;
    for (size_t at = 0; at < bytes; characters++) espl_utf8_next(text, &at);
    return characters > state->characters_max;
}

static espl_status encode(espl_context *ctx, void *opaque, const espl_vocabulary *vocabulary, const char *text,
                          size_t bytes, espl_ids *out_ids) {
    wordpiece *state = opaque;
    const size_t before = out_ids->count;
    bool good = !is_too_long(state, text, bytes);
    for (size_t begin = 0, end; good && begin < bytes; begin = end) {
        uint32_t id = 0;
        ESPL_TRY(longest(ctx, state, vocabulary, text, begin, bytes, &end, &id));
        good = end > begin;
        if (good) ESPL_TRY(espl_ids_append(ctx, out_ids, id));
    }
    if (good) return ESPL_OK;
    uint32_t unknown = espl_vocabulary_model_id(vocabulary, state->unknown, strlen(state->unknown));
    if (unknown == ESPL_NO_TOKEN)
        return espl_fail(ctx, ESPL_FORMAT, "the text needs the unknown token \"%.40s\", the vocabulary lacks it",
                         state->unknown);
    out_ids->count = before;
    return espl_ids_append(ctx, out_ids, unknown);
}

static uint32_t unknown(const void *opaque, const espl_vocabulary *vocabulary) {
    const wordpiece *state = opaque;
    return espl_vocabulary_id(vocabulary, state->unknown, strlen(state->unknown));
}

const espl_token_model espl_model_wordpiece = {
    .type = "WordPiece", .read = read, .encode = encode, .destroy = destroy, .unknown = unknown};

/* ---- vocab.txt ---- */

static espl_status read_lines(espl_context *ctx, espl_vocabulary *vocabulary, const char *lines, size_t bytes) {
    uint64_t id = 0;
    if (!espl_utf8_is_valid(lines, bytes)) return espl_fail(ctx, ESPL_FORMAT, "is not UTF-8");
    for (size_t at = 0; at < bytes; id++) {
        const char *line = lines + at, *end = memchr(line, '\n', bytes - at);
        size_t length = end ? (size_t)(end - line) : bytes - at;
        at += length + 1;
        if (length && line[length - 1] == '\r') length--;
        if (memchr(line, 0, length)) return espl_fail(ctx, ESPL_FORMAT, "line %zu has a zero byte", (size_t)id + 1);
        ESPL_TRY(espl_vocabulary_add(ctx, vocabulary, line, length, id, false));
    }
    return ESPL_OK;
}

/* The parts as a tokenizer.json would say them. */
static espl_status add_bert_steps(espl_tokenizer *t, const json_t *config) {
    espl_context *ctx = t->ctx;
    bool lower, accents, chinese;
    ESPL_TRY(espl_json_bool(ctx, config, "do_lower_case", true, &lower));
    ESPL_TRY(espl_json_bool(ctx, config, "strip_accents", lower, &accents));
    ESPL_TRY(espl_json_bool(ctx, config, "tokenize_chinese_chars", true, &chinese));
    json_t *normalizer = json_pack("{s:s,s:b,s:b,s:b,s:b}", "type", "BertNormalizer", "clean_text", 1,
                                   "handle_chinese_chars", (int)chinese, "strip_accents", (int)accents, "lowercase",
                                   (int)lower);
    json_t *splitter = json_pack("{s:s}", "type", "BertPreTokenizer");
    espl_status status = normalizer && splitter ? ESPL_OK : espl_fail(ctx, ESPL_HOST_MEMORY, "no memory for JSON");
    if (status == ESPL_OK) status = espl_normalizers_read(ctx, &t->normalizers, normalizer);
    if (status == ESPL_OK) status = espl_splitters_read(ctx, &t->splitters, splitter);
    espl_json_destroy(&normalizer);
    espl_json_destroy(&splitter);
    return status;
}

espl_status espl_tokenizer_read_wordpiece(espl_tokenizer *t, const char *lines, size_t bytes, const json_t *config) {
    espl_context *ctx = t->ctx;
    bool basic;
    if (!t->family) t->family = &espl_family_bert;
    ESPL_TRY(espl_json_bool(ctx, config, "do_basic_tokenize", true, &basic));
    if (!basic) return espl_fail(ctx, ESPL_UNSUPPORTED, "\"do_basic_tokenize\": false is not supported");
    ESPL_TRY(read_lines(ctx, &t->vocabulary, lines, bytes));
    ESPL_TRY(add_bert_steps(t, config));
    ESPL_TRY(espl_decoders_add_wordpiece(ctx, &t->decoders, "##"));
    ESPL_TRY(espl_tokenizer_read_added(t, config));
    ESPL_TRY(espl_tokenizer_read_special(t, config));
    size_t ignored;
    const char *piece = espl_vocabulary_piece(&t->vocabulary, t->unk, &ignored);
    t->model = &espl_model_wordpiece;
    ESPL_TRY(create(ctx, &t->vocabulary, piece ? piece : "[UNK]", "##", 100, &t->state));
    return espl_tokenizer_read_around(t, config, false, false);
}
