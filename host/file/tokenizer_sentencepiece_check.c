/* What the SentencePiece library takes on trust: that the trie of a normalizer in a .model stays within its own bytes. The
 * file is a protocol buffer; its messages are walked as far as these tries, whose form tokenizer_charsmap.c describes.
 * Source: sentencepiece_model.proto and normalizer.cc of SentencePiece, darts.h of darts-clone. */
#include "host/file/tokenizer_parts.h"
#include <string.h>

enum {
    MATCHES_MAX = 32,  /* keys that a text may begin with; the library has room for no more */
    PASSES_MAX = 256,  /* more than a key has bytes */
};

typedef struct span {
    const unsigned char *at, *end;
} span;

/* ---- Protocol buffers ---- */

static bool take_varint(span *message, uint64_t *out_value) {
    *out_value = 0;
    for (unsigned shift = 0; shift < 64 && message->at < message->end; shift += 7) {
        const unsigned char byte = *message->at++;
        *out_value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

/* The number of the field and, where it is one of bytes, these; false if it does not end within the message. */
static bool take_field(span *message, uint64_t *out_number, span *out_bytes) {
    enum { VARINT = 0, EIGHT_BYTES = 1, BYTES = 2, FOUR_BYTES = 5 };
    uint64_t tag, size = 0;
    if (!take_varint(message, &tag)) return false;
    const unsigned type = tag & 7;
    *out_number = tag >> 3;
    *out_bytes = (span){NULL, NULL};
    if (type == VARINT) return take_varint(message, &size);
    if (type == BYTES && !take_varint(message, &size)) return false;
    if (type == EIGHT_BYTES) size = 8;
    if (type == FOUR_BYTES) size = 4;
    if ((type != BYTES && size == 0) || size > (size_t)(message->end - message->at)) return false;
    if (type == BYTES) *out_bytes = (span){message->at, message->at + size};
    message->at += size;
    return true;
}

/* ---- Tries ---- */

typedef struct trie {
    const unsigned char *units;
    size_t count, text_bytes; /* units; bytes of replacements behind them */
    /* [count]: where a search may stand before its next byte: 1 + keys passed on the way at most; 0: never there. */
    uint8_t *passed; /* owned */
} trie;

static uint32_t u32_at(const unsigned char *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* A search that has passed `keys` keys goes on from place: any byte leads to a unit of the trie. */
static espl_status reach(espl_context *ctx, trie *t, size_t place, uint32_t keys, bool *out_changed) {
    if ((place | 0xff) >= t->count)
        return espl_fail(ctx, ESPL_FORMAT, "a normalizer's trie of %zu units leads to unit %zu", t->count, place | 0xff);
    if (keys > MATCHES_MAX)
        return espl_fail(ctx, ESPL_FORMAT, "a normalizer's trie has more than %d keys that begin one another", MATCHES_MAX);
    if (t->passed[place] > keys) return ESPL_OK;
    t->passed[place] = (uint8_t)(keys + 1);
    *out_changed = true;
    return ESPL_OK;
}

static size_t children_of(const trie *t, size_t index) {
    const uint32_t unit = u32_at(t->units + 4 * index);
    return index ^ (size_t)(unit >> 10) << ((unit & 0x200) >> 6);
}

/* The unit at index, if a search can come to it. */
static espl_status follow(espl_context *ctx, trie *t, size_t index, bool *out_changed) {
    const uint32_t unit = u32_at(t->units + 4 * index);
    const size_t from = index ^ (unit & 0xff), to = children_of(t, index);
    if (unit & 0x80000000 || from >= t->count || !t->passed[from]) return ESPL_OK;
    uint32_t keys = t->passed[from] - 1u;
    if (unit & 0x100) {
        const size_t text = to < t->count ? u32_at(t->units + 4 * to) & 0x7fffffff : SIZE_MAX;
        if (text >= t->text_bytes)
            return espl_fail(ctx, ESPL_FORMAT, "a normalizer's trie leads beyond its %zu bytes of replacements", t->text_bytes);
        keys++;
    }
    return reach(ctx, t, to, keys, out_changed);
}

static espl_status check_trie(espl_context *ctx, trie *t) {
    bool changed = false;
    ESPL_TRY(reach(ctx, t, children_of(t, 0), 0, &changed));
    for (int pass = 0; changed; pass++) {
        if (pass == PASSES_MAX) return espl_fail(ctx, ESPL_FORMAT, "a normalizer's trie has no end");
        changed = false;
        for (size_t i = 0; i < t->count; i++) ESPL_TRY(follow(ctx, t, i, &changed));
    }
    return ESPL_OK;
}

static espl_status check_charsmap(espl_context *ctx, span map) {
    const size_t bytes = (size_t)(map.end - map.at), rest = bytes < 4 ? 0 : bytes - 4;
    if (bytes == 0) return ESPL_OK;
    const size_t units = bytes < 4 ? 0 : u32_at(map.at);
    if (units < 4 || units % 4 || units >= rest)
        return espl_fail(ctx, ESPL_FORMAT, "a normalizer says %zu bytes of trie in %zu", units, rest);
    trie t = {.units = map.at + 4, .count = units / 4, .text_bytes = rest - units};
    ESPL_TRY(espl_new(ctx, t.count, &t.passed));
    espl_status status = check_trie(ctx, &t);
    espl_free(ctx, &t.passed);
    return status;
}

/* ---- Models ---- */

static espl_status check_normalizer(espl_context *ctx, span message) {
    enum { CHARSMAP = 2 };
    uint64_t number;
    span bytes;
    while (message.at < message.end) {
        if (!take_field(&message, &number, &bytes)) return espl_fail(ctx, ESPL_FORMAT, "a normalizer is cut off");
        if (number == CHARSMAP) ESPL_TRY(check_charsmap(ctx, bytes));
    }
    return ESPL_OK;
}

espl_status espl_sentencepiece_check(espl_context *ctx, const void *model, size_t bytes) {
    enum { NORMALIZER = 3, DENORMALIZER = 5 };
    const unsigned char *begin = model;
    span message = {begin, begin + bytes}, part;
    uint64_t number;
    while (message.at < message.end) {
        const size_t at = (size_t)(message.at - begin);
        if (!take_field(&message, &number, &part))
            return espl_fail(ctx, ESPL_FORMAT, "what begins at byte %zu of %zu does not end", at, bytes);
        if (number == NORMALIZER || number == DENORMALIZER) ESPL_TRY(check_normalizer(ctx, part));
    }
    return ESPL_OK;
}
