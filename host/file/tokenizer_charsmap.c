/* The normalizer that SentencePiece compiles into its models, as tokenizer.json carries it ("Precompiled"):
 *   base64( u32 bytes of the trie | trie: u32 units of a double array | replacements, each with a zero byte )
 * The trie maps a sequence of bytes to the place of its replacement. A unit holds a label, the distance to its children
 * and whether a value hangs below it.
 * Read as huggingface/tokenizers does it: a grapheme of less than six bytes as a whole, by the shortest key that it
 * begins with; else each of its characters so. SentencePiece itself takes the longest key.
 * Source: github.com/s-yata/darts-clone for the units, huggingface/spm_precompiled for their use. */
#include "host/file/tokenizer_parts.h"
#include <string.h>
#include <utf8proc.h>

static uint32_t unit_at(const espl_step *step, size_t index) {
    const unsigned char *at = (const unsigned char *)step->text + 4 * index;
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static size_t unit_count(const espl_step *step) {
    return unit_at(step, 0) / 4;
}

static int digit_of(char letter) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = letter ? strchr(digits, letter) : NULL;
    return at ? (int)(at - digits) : -1;
}

static espl_status decode_base64(espl_context *ctx, const char *text, size_t bytes, espl_bytes *out) {
    uint32_t bits = 0;
    if (bytes % 4) return espl_fail(ctx, ESPL_FORMAT, "\"precompiled_charsmap\" is not base64: %zu letters", bytes);
    while (bytes && text[bytes - 1] == '=') bytes--;
    for (size_t i = 0; i < bytes; i++) {
        int digit = digit_of(text[i]);
        if (digit < 0) return espl_fail(ctx, ESPL_FORMAT, "\"precompiled_charsmap\" is not base64 at letter %zu", i);
        bits = bits << 6 | (uint32_t)digit;
        const unsigned char byte = (unsigned char)(bits >> (2 * (3 - i % 4)));
        if (i % 4) ESPL_TRY(espl_bytes_append(ctx, out, &byte, 1));
    }
    return ESPL_OK;
}

espl_status espl_charsmap_read(espl_context *ctx, espl_step *step, const json_t *object) {
    const char *text;
    espl_bytes map = {0};
    ESPL_TRY(espl_json_need(ctx, object, "precompiled_charsmap"));
    ESPL_TRY(espl_json_string(ctx, object, "precompiled_charsmap", "", &text));
    espl_status status = decode_base64(ctx, text, strlen(text), &map);
    if (status == ESPL_OK) status = espl_bytes_append(ctx, &map, "", 1); /* ends the last replacement */
    if (status != ESPL_OK) {
        espl_bytes_finish(ctx, &map);
        return status;
    }
    step->text = map.data; /* taken: freed with the step */
    step->text_bytes = map.count;
    const size_t rest = map.count < 5 ? 0 : map.count - 5, units = map.count < 5 ? 0 : unit_at(step, 0);
    if (units == 0 || units > rest || units % 4)
        return espl_fail(ctx, ESPL_FORMAT, "\"precompiled_charsmap\" says %zu bytes of trie in %zu", units, rest);
    return ESPL_OK;
}

/* The replacement for the shortest key that text begins with, ended by a zero byte; NULL if there is none. */
static const char *look_up(const espl_step *step, const char *text, size_t bytes) {
    const size_t count = unit_count(step), replacements = 4 + 4 * count;
    uint32_t unit = unit_at(step, 1);
    size_t place = 0;
    for (size_t i = 0; i < bytes; i++) {
        const uint32_t label = (unsigned char)text[i];
        place ^= (size_t)(unit >> 10) << ((unit & 0x200) >> 6);
        place ^= label;
        if (label == 0 || place >= count) return NULL;
        unit = unit_at(step, 1 + place);
        if ((unit & 0x800000ff) != label) return NULL;
        if (!(unit & 0x100)) continue;
        place ^= (size_t)(unit >> 10) << ((unit & 0x200) >> 6);
        if (place >= count) return NULL;
        size_t offset = unit_at(step, 1 + place) & 0x7fffffff;
        return offset < step->text_bytes - replacements ? step->text + replacements + offset : NULL;
    }
    return NULL;
}

static espl_status apply_grapheme(espl_context *ctx, const espl_step *step, const char *text, size_t bytes,
                                  espl_bytes *out) {
    const char *whole = bytes < 6 ? look_up(step, text, bytes) : NULL;
    /* The file's replacements may be anything; text stays UTF-8. */
    if (whole) return espl_utf8_append_lossy(ctx, out, whole, strlen(whole));
    for (size_t at = 0; at < bytes;) {
        size_t begin = at;
        espl_utf8_next(text, &at);
        const char *part = look_up(step, text + begin, at - begin);
        if (part) ESPL_TRY(espl_utf8_append_lossy(ctx, out, part, strlen(part)));
        else ESPL_TRY(espl_bytes_append(ctx, out, text + begin, at - begin));
    }
    return ESPL_OK;
}

espl_status espl_charsmap_apply(espl_context *ctx, const espl_step *step, const char *text, size_t bytes,
                                espl_bytes *out) {
    utf8proc_int32_t state = 0;
    size_t begin = 0;
    for (size_t at = 0; at < bytes;) {
        size_t next = at, after;
        const utf8proc_int32_t code = (utf8proc_int32_t)espl_utf8_next(text, &next);
        after = next;
        bool breaks = next == bytes;
        if (!breaks)
            breaks = utf8proc_grapheme_break_stateful(code, (utf8proc_int32_t)espl_utf8_next(text, &after), &state);
        at = next;
        if (!breaks) continue;
        ESPL_TRY(apply_grapheme(ctx, step, text + begin, at - begin, out));
        begin = at;
    }
    return ESPL_OK;
}
