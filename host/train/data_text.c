/* Plain text as one stream of tokens.
 *
 * A large text is tokenized in pieces, so that the tokenizer's own memory stays small, and yet gets the ids of the
 * whole. Where a cut changes nothing depends on the tokenizer: GPT-2's expression joins neither "word" and " word" nor
 * "word" and a line break; newer ones join "." and a line break; SentencePiece puts a space before every piece. So
 * candidates (before a line break, or a space between letters) are tried: the text about a cut, a kilobyte on either
 * side, must give the ids of its two halves joined, less at most two that every piece gets in front (SentencePiece's
 * space before a line break). Tokens do not reach as far as a kilobyte, so what holds there holds in the whole. If
 * no candidate passes, the piece grows, in the end to the whole text.
 *
 * Unigram models are the exception that is none: SentencePiece sums their scores in float from the start of the text,
 * and after some hundred thousand characters picks worse segments for want of digits. There pieces are the better. */
#include "host/train/data_private.h"
#include <string.h>

#define WINDOW       ((size_t)1024)
#define CANDIDATES   64
#define EXTRA_MOST   2
#define SEARCH_BYTES ((size_t)64 << 10)

typedef struct cut {
    size_t at;
    size_t extra_count; /* ids in front of the piece that the whole does not have */
    int32_t extra[EXTRA_MOST];
} cut;

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_white(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_candidate(const char *text, size_t bytes, size_t at) {
    if (text[at] == '\n') return !is_white(text[at - 1]);
    return text[at] == ' ' && is_letter(text[at - 1]) && at + 1 < bytes && is_letter(text[at + 1]);
}

/* Bytes that continue a UTF-8 character. */
static bool is_inside(char c) {
    return ((unsigned char)c & 0xC0) == 0x80;
}

static espl_status try_cut(espl_context *ctx, const espl_tokenizer *tokenizer, const char *text, size_t bytes,
                           size_t at, cut *out_cut, bool *out_passed) {
    size_t begin = at > WINDOW ? at - WINDOW : 0, end = bytes - at > WINDOW ? at + WINDOW : bytes;
    while (begin && is_inside(text[begin]))
        begin--;
    while (end < bytes && is_inside(text[end]))
        end++;
    espl_tokens left = {0}, right = {0};
    const uint32_t *ids;
    size_t count;
    espl_status status;
    *out_passed = false;
    ESPL_GOTO(espl_tokens_push_text(ctx, &left, tokenizer, text + begin, at - begin, false));
    ESPL_GOTO(espl_tokens_push_text(ctx, &right, tokenizer, text + at, end - at, false));
    ESPL_GOTO(espl_tokens_encode(tokenizer, text + begin, end - begin, false, &ids, &count));
    if (count > left.count + right.count || count < left.count) goto fail;
    size_t extra = left.count + right.count - count;
    if (extra > EXTRA_MOST) goto fail;
    for (size_t i = 0; i < left.count; i++) {
        if (ids[i] != (uint32_t)left.ids[i]) goto fail;
    }
    for (size_t i = left.count; i < count; i++) {
        if (ids[i] != (uint32_t)right.ids[i - left.count + extra]) goto fail;
    }
    *out_cut = (cut){.at = at, .extra_count = extra};
    memcpy(out_cut->extra, right.ids, extra * sizeof *right.ids);
    *out_passed = true;
fail:
    espl_tokens_finish(ctx, &left);
    espl_tokens_finish(ctx, &right);
    return status;
}

/* The first good cut at or after `from`; at the end of the text there is always one. */
static espl_status find_cut(espl_context *ctx, const espl_tokenizer *tokenizer, const char *text, size_t bytes,
                            size_t from, size_t piece_bytes, cut *out_cut) {
    for (; from < bytes && bytes - from > piece_bytes / 2; from += piece_bytes) {
        size_t stop = bytes - from > SEARCH_BYTES ? from + SEARCH_BYTES : bytes;
        uint32_t tried = 0;
        bool passed = false;
        for (size_t at = from; at < stop && tried < CANDIDATES; at++) {
            /* The first half of the attempts is for line breaks: spaces are more frequent and would use them up. */
            if (!is_candidate(text, bytes, at) || (text[at] == ' ' && tried % 2 == 0 && at - from < 4 * WINDOW))
                continue;
            tried++;
            ESPL_TRY(try_cut(ctx, tokenizer, text, bytes, at, out_cut, &passed));
            if (passed) return ESPL_OK;
        }
    }
    *out_cut = (cut){.at = bytes};
    return ESPL_OK;
}

espl_status espl_data_encode(espl_context *ctx, const espl_tokenizer *tokenizer, const char *text, size_t bytes,
                             size_t piece_bytes, espl_tokens *tokens, size_t *out_pieces) {
    size_t before = tokens->count;
    cut begin = {0}, end;
    *out_pieces = 0;
    while (begin.at < bytes) {
        end = (cut){.at = bytes};
        if (bytes - begin.at > piece_bytes)
            ESPL_TRY(find_cut(ctx, tokenizer, text, bytes, begin.at + piece_bytes, piece_bytes, &end));
        const uint32_t *ids;
        size_t count;
        ESPL_TRY(espl_tokens_encode(tokenizer, text + begin.at, end.at - begin.at, false, &ids, &count));
        bool same = count >= begin.extra_count;
        for (size_t i = 0; same && i < begin.extra_count; i++)
            same = ids[i] == (uint32_t)begin.extra[i];
        if (!same) {
            /* Not seen with any tokenizer; the whole in one go is right by definition. */
            tokens->count = before;
            begin = (cut){0};
            piece_bytes = bytes;
            *out_pieces = 0;
            continue;
        }
        size_t kept = count - begin.extra_count;
        ESPL_TRY(espl_grow(ctx, &tokens->ids, &tokens->ids_capacity, tokens->count + kept, sizeof *tokens->ids));
        for (size_t i = 0; i < kept; i++)
            tokens->ids[tokens->count + i] = (int32_t)ids[begin.extra_count + i];
        tokens->count += kept;
        ++*out_pieces;
        begin = end;
    }
    return ESPL_OK;
}

/* Line ends as Python and every editor read them. */
static espl_status unix_lines(espl_context *ctx, const char *text, size_t bytes, espl_bytes *out) {
    size_t at = 0;
    while (at < bytes) {
        const char *found = memchr(text + at, '\r', bytes - at);
        size_t plain = found ? (size_t)(found - text) - at : bytes - at;
        ESPL_TRY(espl_bytes_append(ctx, out, text + at, plain));
        at += plain;
        if (!found) break;
        if (at + 1 == bytes || text[at + 1] != '\n') ESPL_TRY(espl_bytes_append(ctx, out, "\r", 1));
        at++;
    }
    return ESPL_OK;
}

static espl_status push_ids(espl_context *ctx, espl_tokens *tokens, const uint32_t *ids, size_t count) {
    ESPL_TRY(espl_grow(ctx, &tokens->ids, &tokens->ids_capacity, tokens->count + count, sizeof *tokens->ids));
    for (size_t i = 0; i < count; i++)
        tokens->ids[tokens->count++] = (int32_t)ids[i];
    return ESPL_OK;
}

/* The tokens become the rows of reader->dataset, which takes them. */
static espl_status pack(espl_data_reader *reader, espl_tokens *tokens) {
    espl_dataset *dataset = reader->dataset;
    size_t context = dataset->context, count = tokens->count;
    if (count < 2)
        return espl_fail(reader->ctx, ESPL_FORMAT, "%s:1: %zu tokens give no row, at least 2 are needed", reader->path,
                         count);
    size_t full = (count - 1) / context, rest = count - full * context;
    if (full >= UINT32_MAX) return espl_fail(reader->ctx, ESPL_LIMIT, "%s: %zu rows are too many", reader->path, full);
    if (rest >= 2) {
        dataset->tail_length = (uint32_t)rest;
        ESPL_TRY(espl_new(reader->ctx, 2 * context * sizeof *dataset->tail, &dataset->tail));
        for (size_t i = 0; i < context; i++) {
            const int32_t *from = tokens->ids + full * context + i;
            dataset->tail[i] = i < rest ? from[0] : reader->pad;
            dataset->tail[context + i] = i + 1 < rest ? from[1] : ESPL_NO_LABEL;
        }
    }
    ESPL_TRY(espl_resize(reader->ctx, &tokens->ids, count * sizeof *tokens->ids));
    dataset->rows = (uint32_t)full + (rest >= 2);
    dataset->ids = tokens->ids;
    tokens->ids = NULL;
    return ESPL_OK;
}

espl_status espl_data_read_text(espl_data_reader *reader, const char *text, size_t bytes, size_t piece_bytes) {
    espl_context *ctx = reader->ctx;
    espl_bytes unix_text = {0};
    espl_tokens tokens = {0};
    size_t pieces;
    espl_status status;
    if (memchr(text, '\r', bytes)) {
        ESPL_GOTO(unix_lines(ctx, text, bytes, &unix_text));
        text = unix_text.data;
        bytes = unix_text.count;
    }
    ESPL_GOTO(push_ids(ctx, &tokens, reader->frame.before, reader->frame.before_count));
    status = espl_data_encode(ctx, reader->tokenizer, text, bytes, piece_bytes, &tokens, &pieces);
    if (status) {
        status = espl_fail_in(ctx, status, "%s", reader->path);
        goto fail;
    }
    ESPL_GOTO(push_ids(ctx, &tokens, reader->frame.behind, reader->frame.behind_count));
    ESPL_GOTO(pack(reader, &tokens));
fail:
    espl_tokens_finish(ctx, &tokens);
    espl_bytes_finish(ctx, &unix_text);
    return status;
}
