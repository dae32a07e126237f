/* See utf8.h. */
#include "host/file/utf8.h"
#include <string.h>
#include <utf8proc.h>

int espl_utf8_length(const char *text, size_t bytes, bool *out_incomplete) {
    const unsigned char *at = (const unsigned char *)text;
    unsigned char first = at[0], low = 0x80, high = 0xbf;
    int needed;
    if (out_incomplete) *out_incomplete = false;
    if (first < 0x80) return 1;
    if (first < 0xc2 || first > 0xf4) return -1;
    needed = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    /* The second byte excludes overlong forms, surrogates and what lies above U+10FFFF. */
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    for (int i = 1; i < needed; i++, low = 0x80, high = 0xbf) {
        if ((size_t)i == bytes) {
            if (out_incomplete) *out_incomplete = true;
            return -i;
        }
        if (at[i] < low || at[i] > high) return -i;
    }
    return needed;
}

bool espl_utf8_is_valid(const char *text, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        int length = espl_utf8_length(text + at, bytes - at, NULL);
        if (length < 0) return false;
        at += (size_t)length;
    }
    return true;
}

espl_status espl_utf8_append_lossy(espl_context *ctx, espl_bytes *out, const char *text, size_t bytes) {
    size_t begin = 0;
    for (size_t at = 0; at < bytes;) {
        int length = espl_utf8_length(text + at, bytes - at, NULL);
        if (length < 0) {
            ESPL_TRY(espl_bytes_append(ctx, out, text + begin, at - begin));
            ESPL_TRY(espl_bytes_append(ctx, out, ESPL_UTF8_REPLACEMENT, 3));
            begin = at + (size_t)-length;
        }
        at += (size_t)(length < 0 ? -length : length);
    }
    return espl_bytes_append(ctx, out, begin < bytes ? text + begin : "", bytes - begin);
}

uint32_t espl_utf8_next(const char *text, size_t *in_out_at) {
    const unsigned char *at = (const unsigned char *)text + *in_out_at;
    uint32_t first = at[0];
    if (first < 0x80) return *in_out_at += 1, first;
    if (first < 0xe0) return *in_out_at += 2, (first & 0x1f) << 6 | (at[1] & 0x3fu);
    if (first < 0xf0) return *in_out_at += 3, (first & 0xf) << 12 | (at[1] & 0x3fu) << 6 | (at[2] & 0x3fu);
    *in_out_at += 4;
    return (first & 7) << 18 | (at[1] & 0x3fu) << 12 | (at[2] & 0x3fu) << 6 | (at[3] & 0x3fu);
}

size_t espl_utf8_before(const char *text, size_t at) {
    do at--;
    while (at && ((unsigned char)text[at] & 0xc0) == 0x80);
    return at;
}

int espl_utf8_put(uint32_t code, char out_text[4]) {
    return (int)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)out_text);
}

bool espl_char_is_space(uint32_t code) {
    if (code < 0x80) return code == ' ' || (code >= 9 && code <= 13);
    return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

static bool in_categories(uint32_t code, uint32_t mask) {
    return mask >> utf8proc_category((utf8proc_int32_t)code) & 1u;
}

#define BIT(name) (1u << UTF8PROC_CATEGORY_##name)

bool espl_char_is_word(uint32_t code) {
    if (code == 0x200c || code == 0x200d) return true;
    return in_categories(code, BIT(LU) | BIT(LL) | BIT(LT) | BIT(LM) | BIT(LO) | BIT(MN) | BIT(MC) | BIT(ME) | BIT(ND) |
                                   BIT(NL) | BIT(PC));
}

bool espl_char_is_numeric(uint32_t code) {
    return in_categories(code, BIT(ND) | BIT(NL) | BIT(NO));
}

bool espl_char_is_digit(uint32_t code) {
    return in_categories(code, BIT(ND));
}

bool espl_char_is_punctuation(uint32_t code) {
    if (code < 0x80)
        return code > 0x20 && code < 0x7f && !(code >= 0x30 && code <= 0x39) &&
               !((code | 32) >= 0x61 && (code | 32) <= 0x7a);
    return in_categories(code, BIT(PC) | BIT(PD) | BIT(PS) | BIT(PE) | BIT(PI) | BIT(PF) | BIT(PO));
}
