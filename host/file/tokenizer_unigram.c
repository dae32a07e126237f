/* Unigram: of all ways to cut a text into pieces the one whose scores (logarithms of probabilities) have the largest
 * sum, found by Viterbi over the bytes. A character without a piece costs the smallest score less 10; such characters
 * next to each other become one unknown token.
 * Sums are doubles, as in huggingface/tokenizers src/models/unigram, for which tokenizer.json is written; the
 * SentencePiece library sums in float, which decides some ties otherwise, so it serves its own .model files only.
 * Source: Kudo 2018, "Subword regularization". */
#include "host/file/tokenizer_parts.h"
#include <math.h>
#include <string.h>

typedef struct node {
    double score;
    size_t start; /* SIZE_MAX: not reached */
    uint32_t id;  /* ESPL_NO_TOKEN: a character without a piece */
} node;

typedef struct unigram {
    double *scores; /* owned; by id */
    size_t score_count, score_capacity;
    double unknown_score;
    uint32_t unknown_id;
    uint32_t *byte_ids; /* owned; with byte_fallback, else NULL */
    bool *has_bytes;    /* owned; whether a piece of so many bytes exists, 0 .. bytes_max */
    size_t bytes_max;
    /* Reused between pieces of text. */
    node *nodes;
    size_t node_capacity;
    size_t *ends; /* of the best path, from its end */
    size_t end_capacity;
} unigram;

static void destroy(espl_context *ctx, void **in_out_state) {
    unigram *state = *in_out_state;
    if (!state) return;
    espl_free(ctx, &state->scores);
    espl_free(ctx, &state->byte_ids);
    espl_free(ctx, &state->has_bytes);
    espl_free(ctx, &state->nodes);
    espl_free(ctx, &state->ends);
    espl_free(ctx, in_out_state);
}

/* ---- loading ---- */

static espl_status add_piece(espl_context *ctx, unigram *state, espl_vocabulary *vocabulary, const json_t *item,
                             size_t id) {
    const json_t *piece = json_array_get(item, 0), *score = json_array_get(item, 1);
    if (json_array_size(item) != 2 || !json_is_string(piece) || !json_is_number(score))
        return espl_fail(ctx, ESPL_FORMAT, "piece %zu of the vocabulary is not a pair of text and score", id);
    ESPL_TRY(espl_vocabulary_add(ctx, vocabulary, json_string_value(piece), json_string_length(piece), id, false));
    ESPL_TRY(espl_grow(ctx, &state->scores, &state->score_capacity, id + 1, sizeof *state->scores));
    state->scores[id] = json_number_value(score);
    state->score_count = id + 1;
    if (state->scores[id] < state->unknown_score) state->unknown_score = state->scores[id];
    if (json_string_length(piece) > state->bytes_max) state->bytes_max = json_string_length(piece);
    return ESPL_OK;
}

static espl_status read_fields(espl_context *ctx, unigram *state, const json_t *object, espl_vocabulary *vocabulary) {
    json_t *list;
    bool byte_fallback;
    ESPL_TRY(espl_json_need(ctx, object, "vocab"));
    ESPL_TRY(espl_json_array(ctx, object, "vocab", &list));
    ESPL_TRY(espl_json_u32(ctx, object, "unk_id", ESPL_NO_TOKEN, &state->unknown_id));
    ESPL_TRY(espl_json_bool(ctx, object, "byte_fallback", false, &byte_fallback));
    if (state->unknown_id != ESPL_NO_TOKEN && state->unknown_id >= json_array_size(list))
        return espl_fail(ctx, ESPL_FORMAT, "\"unk_id\" is %u, the vocabulary has %zu pieces",
                         (unsigned)state->unknown_id, json_array_size(list));
    state->unknown_score = INFINITY;
    for (size_t id = 0; id < json_array_size(list); id++)
        ESPL_TRY(add_piece(ctx, state, vocabulary, json_array_get(list, id), id));
    state->unknown_score -= 10;
    if (byte_fallback) ESPL_TRY(espl_byte_pieces(ctx, vocabulary, &state->byte_ids));
    ESPL_TRY(espl_new(ctx, state->bytes_max + 1, &state->has_bytes));
    for (size_t i = 0; i < vocabulary->pieces.count; i++) state->has_bytes[vocabulary->pieces.entries[i].bytes] = true;
    return ESPL_OK;
}

static espl_status read(espl_context *ctx, const json_t *object, espl_vocabulary *vocabulary, void **out_state) {
    unigram *state;
    *out_state = NULL;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    *out_state = state;
    espl_status status = read_fields(ctx, state, object, vocabulary);
    if (status != ESPL_OK) destroy(ctx, out_state);
    return status;
}

static uint32_t unknown(const void *opaque, const espl_vocabulary *vocabulary) {
    (void)vocabulary;
    return ((const unigram *)opaque)->unknown_id;
}

/* ---- encoding ---- */

static void offer(node *to, double score, size_t start, uint32_t id) {
    if (to->start == SIZE_MAX || score > to->score) *to = (node){.score = score, .start = start, .id = id};
}

/* Every piece that begins at `begin`, shortest first: of equal sums the first stays. */
static void extend(const unigram *state, const espl_vocabulary *vocabulary, const char *text, size_t begin,
                   size_t bytes) {
    const double here = state->nodes[begin].score;
    size_t one = begin, limit = bytes - begin < state->bytes_max ? bytes : begin + state->bytes_max;
    bool has_single = false;
    espl_utf8_next(text, &one);
    for (size_t end = one; end <= limit;) {
        uint32_t id = ESPL_NO_TOKEN;
        if (state->has_bytes[end - begin]) id = espl_vocabulary_model_id(vocabulary, text + begin, end - begin);
        if (id != ESPL_NO_TOKEN) offer(&state->nodes[end], here + state->scores[id], begin, id);
        has_single = has_single || (end == one && id != ESPL_NO_TOKEN);
        if (end == bytes) break;
        espl_utf8_next(text, &end);
    }
    if (!has_single) offer(&state->nodes[one], here + state->unknown_score, begin, ESPL_NO_TOKEN);
}

static espl_status append_unknown(espl_context *ctx, const unigram *state, const espl_vocabulary *vocabulary,
                                  const char *text, size_t bytes, espl_ids *out_ids) {
    uint32_t id = espl_vocabulary_model_id(vocabulary, text, bytes);
    bool spelled = id == ESPL_NO_TOKEN && state->byte_ids;
    for (size_t i = 0; spelled && i < bytes; i++)
        spelled = state->byte_ids[(unsigned char)text[i]] != ESPL_NO_TOKEN;
    if (!spelled) {
        if (id == ESPL_NO_TOKEN) id = state->unknown_id;
        if (id == ESPL_NO_TOKEN)
            return espl_fail(ctx, ESPL_FORMAT, "the text needs an unknown token, the vocabulary names none");
        return espl_ids_append(ctx, out_ids, id);
    }
    for (size_t i = 0; i < bytes; i++)
        ESPL_TRY(espl_ids_append(ctx, out_ids, state->byte_ids[(unsigned char)text[i]]));
    return ESPL_OK;
}

static espl_status encode(espl_context *ctx, void *opaque, const espl_vocabulary *vocabulary, const char *text,
                          size_t bytes, espl_ids *out_ids) {
    unigram *state = opaque;
    ESPL_TRY(espl_grow(ctx, &state->nodes, &state->node_capacity, bytes + 1, sizeof *state->nodes));
    for (size_t i = 0; i <= bytes; i++) state->nodes[i] = (node){.start = SIZE_MAX};
    for (size_t at = 0; at < bytes; espl_utf8_next(text, &at)) extend(state, vocabulary, text, at, bytes);
    size_t count = 0;
    for (size_t end = bytes; end > 0; end = state->nodes[end].start) {
        ESPL_TRY(espl_grow(ctx, &state->ends, &state->end_capacity, count + 1, sizeof *state->ends));
        state->ends[count++] = end;
    }
    while (count) {
        const node *best = &state->nodes[state->ends[--count]];
        size_t begin = best->start, end = state->ends[count];
        bool is_unknown = best->id == ESPL_NO_TOKEN || best->id == state->unknown_id;
        if (!is_unknown) {
            ESPL_TRY(espl_ids_append(ctx, out_ids, best->id));
            continue;
        }
        for (; count; end = state->ends[--count]) {
            const node *next = &state->nodes[state->ends[count - 1]];
            if (state->unknown_id == ESPL_NO_TOKEN || (next->id != ESPL_NO_TOKEN && next->id != state->unknown_id)) break;
        }
        ESPL_TRY(append_unknown(ctx, state, vocabulary, text + begin, end - begin, out_ids));
    }
    return ESPL_OK;
}

const espl_token_model espl_model_unigram = {
    .type = "Unigram", .read = read, .encode = encode, .destroy = destroy, .unknown = unknown};
