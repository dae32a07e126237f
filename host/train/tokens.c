/* Rows of tokens. */
#include "host/train/tokens.h"
#include <string.h>

void espl_tokens_finish(espl_context *ctx, espl_tokens *tokens) {
    espl_free(ctx, &tokens->ids);
    espl_free(ctx, &tokens->counted);
    *tokens = (espl_tokens){0};
}

static espl_status make_room(espl_context *ctx, espl_tokens *tokens, size_t extra) {
    size_t needed;
    if (!espl_add(tokens->count, extra, &needed))
        return espl_fail(ctx, ESPL_LIMIT, "%zu more tokens are too many", extra);
    ESPL_TRY(espl_grow(ctx, &tokens->ids, &tokens->ids_capacity, needed, sizeof *tokens->ids));
    return espl_grow(ctx, &tokens->counted, &tokens->counted_capacity, needed, sizeof *tokens->counted);
}

espl_status espl_tokens_push(espl_context *ctx, espl_tokens *tokens, uint32_t id, bool counted) {
    ESPL_TRY(make_room(ctx, tokens, 1));
    tokens->ids[tokens->count] = (int32_t)id;
    tokens->counted[tokens->count] = counted;
    tokens->count++;
    return ESPL_OK;
}

espl_status espl_tokens_push_text(espl_context *ctx, espl_tokens *tokens, const espl_tokenizer *tokenizer,
                                  const char *text, size_t bytes, bool counted) {
    const uint32_t *ids;
    size_t count;
    if (bytes == 0) return ESPL_OK;
    ESPL_TRY(espl_tokens_encode(tokenizer, text, bytes, false, &ids, &count));
    ESPL_TRY(make_room(ctx, tokens, count));
    for (size_t i = 0; i < count; i++)
        tokens->ids[tokens->count + i] = (int32_t)ids[i];
    if (count) memset(tokens->counted + tokens->count, counted, count);
    tokens->count += count;
    return ESPL_OK;
}

espl_status espl_tokens_encode(const espl_tokenizer *tokenizer, const char *text, size_t bytes, bool add_special,
                               const uint32_t **out_ids, size_t *out_count) {
    /* Only the tokenizer's scratch memory changes. */
    return espl_tokenizer_encode((espl_tokenizer *)tokenizer, text, bytes, add_special, out_ids, out_count);
}

espl_status espl_tokens_frame(espl_context *ctx, const espl_tokenizer *tokenizer, espl_frame *out_frame) {
    *out_frame = (espl_frame){0};
    espl_tokens plain = {0};
    const uint32_t *ids;
    size_t count;
    espl_status status;
    ESPL_GOTO(espl_tokens_push_text(ctx, &plain, tokenizer, "a", 1, false));
    ESPL_GOTO(espl_tokens_encode(tokenizer, "a", 1, true, &ids, &count));
    size_t around = count - plain.count;
    for (size_t before = 0; count >= plain.count && before <= around; before++) {
        bool same = true;
        for (size_t i = 0; i < plain.count; i++)
            same = same && ids[before + i] == (uint32_t)plain.ids[i];
        if (!same || before > ESPL_COUNT(out_frame->before) || around - before > ESPL_COUNT(out_frame->behind))
            continue;
        out_frame->before_count = before;
        out_frame->behind_count = around - before;
        memcpy(out_frame->before, ids, before * sizeof *ids);
        memcpy(out_frame->behind, ids + count - out_frame->behind_count, out_frame->behind_count * sizeof *ids);
        goto fail;
    }
    status = espl_fail(ctx, ESPL_UNSUPPORTED, "the tokenizer changes a text when it adds special tokens around it");
fail:
    espl_tokens_finish(ctx, &plain);
    return status;
}
