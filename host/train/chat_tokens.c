/* Conversations as tokens. Tokenizing the pieces one by one would give other ids than the model was trained with: a
 * SentencePiece tokenizer puts a space before every piece, and a byte-level one could join the end of one with the
 * start of the next. So the whole text is tokenized, and where a piece begins among the ids is found by tokenizing
 * the text up to there: as far as the two agree, the tokens lie before it. */
#include "host/train/chat.h"

/* Does the tokenizer read a mark's spelling as the mark? */
static bool reads_mark(const espl_tokenizer *tokenizer, const char *spelling, size_t bytes, uint32_t id) {
    const uint32_t *ids;
    size_t count;
    return espl_tokens_encode(tokenizer, spelling, bytes, false, &ids, &count) == ESPL_OK && count == 1 && ids[0] == id;
}

/* How many tokens at `from` of the whole begin before byte `bytes` of its text, and whether the last of them goes on
 * beyond that byte. */
static espl_status tokens_before(const espl_tokenizer *tokenizer, const char *text, size_t bytes,
                                 const espl_tokens *whole, size_t from, size_t *out_count, bool *out_across) {
    const uint32_t *ids;
    size_t count, same = 0;
    ESPL_TRY(espl_tokens_encode(tokenizer, text, bytes, false, &ids, &count));
    while (same < count && from + same < whole->count && ids[same] == (uint32_t)whole->ids[from + same])
        same++;
    *out_across = same < count && from + same < whole->count;
    *out_count = same + *out_across;
    return ESPL_OK;
}

/* Pieces first .. last-1 in one go. */
static espl_status push_run(espl_context *ctx, const espl_tokenizer *tokenizer, const espl_chat_text *text,
                            size_t first, size_t last, size_t limit, espl_tokens *tokens) {
    size_t begin = first ? text->pieces[first - 1].end : 0, from = tokens->count, done = from;
    const char *data = text->text.data + begin;
    if (first == last) return ESPL_OK;
    ESPL_TRY(espl_tokens_push_text(ctx, tokens, tokenizer, data, text->pieces[last - 1].end - begin, false));
    if (limit && tokens->count > limit) return ESPL_OK;
    for (size_t p = first; p < last; p++) {
        bool assistant = text->pieces[p].assistant, across = false;
        size_t until = tokens->count - from;
        if (p + 1 < last) {
            if (text->pieces[p + 1].assistant == assistant) continue;
            ESPL_TRY(tokens_before(tokenizer, data, text->pieces[p].end - begin, tokens, from, &until, &across));
        }
        /* A token that belongs to both sides counts. */
        if (across && !assistant) until--;
        for (; done < from + until; done++)
            tokens->counted[done] = assistant;
    }
    return ESPL_OK;
}

espl_status espl_chat_tokens(espl_context *ctx, const espl_tokenizer *tokenizer, const espl_chat_text *text,
                             size_t limit, espl_tokens *tokens) {
    size_t first = 0;
    for (size_t p = 0; p < text->count; p++) {
        const espl_chat_piece *piece = &text->pieces[p];
        if (piece->mark == ESPL_CHAT_TEXT) continue;
        uint32_t id = piece->mark == ESPL_CHAT_BOS ? espl_tokenizer_bos(tokenizer) : espl_tokenizer_eos(tokenizer);
        size_t begin = p ? text->pieces[p - 1].end : 0;
        if (reads_mark(tokenizer, text->text.data + begin, piece->end - begin, id)) continue;
        ESPL_TRY(push_run(ctx, tokenizer, text, first, p, limit, tokens));
        ESPL_TRY(espl_tokens_push(ctx, tokens, id, piece->assistant));
        first = p + 1;
    }
    return push_run(ctx, tokenizer, text, first, text->count, limit, tokens);
}
