/* UTF-8 and the character classes that tokenizers speak of. */
#ifndef ESPL_UTF8_H
#define ESPL_UTF8_H

#include "host/base/base.h"

#define ESPL_UTF8_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* Length of the valid sequence at text (1 to 4), or minus the length of the bad part there: the longest start of a
 * valid sequence, at least 1, as Unicode 15 section 3.9 and Python's errors="replace" cut it. bytes > 0.
 * *out_incomplete (may be NULL): the bad part ends with the text and more bytes could complete it. */
int espl_utf8_length(const char *text, size_t bytes, bool *out_incomplete);
bool espl_utf8_is_valid(const char *text, size_t bytes);
/* Appends text with each bad part replaced by U+FFFD. */
espl_status espl_utf8_append_lossy(espl_context *ctx, espl_bytes *out, const char *text, size_t bytes);

/* For text known to be valid: the code point at *in_out_at, which moves behind it. */
uint32_t espl_utf8_next(const char *text, size_t *in_out_at);
/* Start of the code point that ends at `at` > 0. */
size_t espl_utf8_before(const char *text, size_t at);
/* Returns 1 to 4 bytes. */
int espl_utf8_put(uint32_t code, char out_text[4]);

typedef bool espl_char_test(uint32_t code);
espl_char_test espl_char_is_space;       /* the property White_Space */
espl_char_test espl_char_is_word;        /* \w of Rust: letters, marks, Nd, Nl, connectors, joiners */
espl_char_test espl_char_is_numeric;     /* Nd Nl No */
espl_char_test espl_char_is_digit;       /* Nd */
espl_char_test espl_char_is_punctuation; /* ASCII symbols and P* */

#endif
