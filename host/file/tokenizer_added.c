/* Added tokens: strings that become one token before anything else looks at the text. The leftmost match wins, the
 * longest of those that begin there; matches do not overlap.
 * Tokens marked "normalized" are looked for, normalized themselves, in the text after the normalizers.
 * Source: huggingface/tokenizers src/tokenizer/added_vocabulary.rs. */
#include "host/file/tokenizer_parts.h"
#include <string.h>

espl_status espl_added_add(espl_context *ctx, espl_added *added, espl_vocabulary *vocabulary, const json_t *object,
                           uint64_t id) {
    espl_added_token token = {0};
    const char *text;
    ESPL_TRY(espl_json_need(ctx, object, "content"));
    ESPL_TRY(espl_json_string(ctx, object, "content", "", &text));
    ESPL_TRY(espl_json_bool(ctx, object, "single_word", false, &token.single_word));
    ESPL_TRY(espl_json_bool(ctx, object, "lstrip", false, &token.lstrip));
    ESPL_TRY(espl_json_bool(ctx, object, "rstrip", false, &token.rstrip));
    ESPL_TRY(espl_json_bool(ctx, object, "special", false, &token.special));
    ESPL_TRY(espl_json_bool(ctx, object, "normalized", !token.special, &token.normalized));
    token.bytes = strlen(text);
    if (token.bytes == 0) return ESPL_OK;
    token.id = espl_vocabulary_model_id(vocabulary, text, token.bytes);
    if (token.id == ESPL_NO_TOKEN) {
        ESPL_TRY(espl_vocabulary_add(ctx, vocabulary, text, token.bytes, id, true));
        token.id = espl_vocabulary_id(vocabulary, text, token.bytes);
    }
    if (token.special) vocabulary->tokens[token.id].special = true;
    ESPL_TRY(espl_grow(ctx, &added->tokens, &added->capacity, added->count + 1, sizeof *added->tokens));
    ESPL_TRY(espl_copy_string(ctx, text, token.bytes, &token.text));
    added->tokens[added->count++] = token;
    return ESPL_OK;
}

static espl_status add_pattern(espl_context *ctx, espl_added_set *set, const char *text, size_t bytes, size_t index) {
    bool was_there;
    if (bytes == 0) return ESPL_OK;
    ESPL_TRY(espl_map_add(ctx, &set->patterns, text, bytes, (uint32_t)index, &was_there));
    if (was_there) return ESPL_OK;
    set->first_bytes[(unsigned char)text[0]] = true;
    size_t at = 0;
    while (at < set->length_count && set->lengths[at] > bytes) at++;
    if (at < set->length_count && set->lengths[at] == bytes) return ESPL_OK;
    ESPL_TRY(espl_grow(ctx, &set->lengths, &set->length_capacity, set->length_count + 1, sizeof *set->lengths));
    memmove(set->lengths + at + 1, set->lengths + at, (set->length_count++ - at) * sizeof *set->lengths);
    set->lengths[at] = (uint32_t)bytes;
    return ESPL_OK;
}

espl_status espl_added_prepare(espl_context *ctx, espl_added *added, const espl_steps *normalizers) {
    espl_bytes scratch = {0}, normal = {0};
    espl_status status = ESPL_OK;
    /* Of two tokens with one pattern the first counts, and special ones go first. */
    for (size_t pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < added->count; i++) {
            const espl_added_token *token = &added->tokens[i];
            if (token->special == (pass == 1)) continue;
            if (!token->normalized) {
                ESPL_GOTO(add_pattern(ctx, &added->plain, token->text, token->bytes, i));
                continue;
            }
            bool first = false;
            ESPL_GOTO(espl_normalize(ctx, normalizers, token->text, token->bytes, &scratch, &normal, &first));
            ESPL_GOTO(add_pattern(ctx, &added->normalized, normal.data, normal.count, i));
        }
    }
fail:
    espl_bytes_finish(ctx, &scratch);
    espl_bytes_finish(ctx, &normal);
    return status;
}

static bool touches_word(const char *text, size_t bytes, size_t begin, size_t end) {
    size_t before = begin ? espl_utf8_before(text, begin) : 0;
    return (begin && espl_char_is_word(espl_utf8_next(text, &before))) ||
           (end < bytes && espl_char_is_word(espl_utf8_next(text, &end)));
}

static bool match_at(const espl_added_set *set, const char *text, size_t bytes, size_t at, size_t *out_end,
                     uint32_t *out_index) {
    for (size_t i = 0; i < set->length_count; i++) {
        if (set->lengths[i] > bytes - at) continue;
        const espl_map_entry *entry = espl_map_find(&set->patterns, text + at, set->lengths[i]);
        if (!entry) continue;
        *out_end = at + set->lengths[i];
        *out_index = entry->value;
        return true;
    }
    return false;
}

bool espl_added_next(const espl_added *added, const espl_added_set *set, const char *text, size_t bytes,
                     size_t *in_out_from, size_t done, size_t *out_begin, size_t *out_end, uint32_t *out_id) {
    if (set->length_count == 0) return false;
    for (size_t at = *in_out_from; at < bytes; at++) {
        uint32_t index;
        size_t begin = at, end;
        if (!set->first_bytes[(unsigned char)text[at]] || !match_at(set, text, bytes, at, &end, &index)) continue;
        const espl_added_token *token = &added->tokens[index];
        if (token->single_word && touches_word(text, bytes, begin, end)) {
            at = end - 1;
            continue;
        }
        /* Space that the match before has taken stays there. */
        while (token->lstrip && begin > done) {
            size_t before = espl_utf8_before(text, begin), next = before;
            if (!espl_char_is_space(espl_utf8_next(text, &next))) break;
            begin = before;
        }
        for (size_t next = end; token->rstrip && end < bytes; end = next)
            if (!espl_char_is_space(espl_utf8_next(text, &next))) break;
        *in_out_from = *out_end = end;
        *out_begin = begin;
        *out_id = token->id;
        return true;
    }
    return false;
}

void espl_added_finish(espl_context *ctx, espl_added *added) {
    for (size_t i = 0; i < added->count; i++) espl_free(ctx, &added->tokens[i].text);
    espl_free(ctx, &added->tokens);
    espl_map_finish(ctx, &added->plain.patterns);
    espl_free(ctx, &added->plain.lengths);
    espl_map_finish(ctx, &added->normalized.patterns);
    espl_free(ctx, &added->normalized.lengths);
    *added = (espl_added){0};
}
