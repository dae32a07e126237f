/* Regular expressions of tokenizer files, which are written for Oniguruma, run by PCRE2. */
#ifndef ESPL_EXPRESSION_H
#define ESPL_EXPRESSION_H

#include "host/base/base.h"

typedef struct espl_expression espl_expression;

/* pattern is UTF-8. It is rewritten first: \s \w \d \h \b and \uHHHH as Oniguruma defines them over Unicode, classes
 * inside classes flattened, ^ and $ at every line. Fails: HOST_MEMORY; UNSUPPORTED with the reason for what
 * cannot be rewritten ([a&&b], [a[^b]], x{1,2}+) or does not compile. */
espl_status espl_expression_create(espl_context *ctx, const char *pattern, size_t bytes, espl_expression **out);
void espl_expression_destroy(espl_context *ctx, espl_expression **expression);

/* Leftmost match at or after `from` in text, which must be valid UTF-8. *out_found says if there was one.
 * Fails: LIMIT if the search took more steps than PCRE2's limits allow; HOST_MEMORY. */
espl_status espl_expression_find(espl_context *ctx, espl_expression *expression, const char *text, size_t bytes,
                                 size_t from, bool *out_found, size_t *out_begin, size_t *out_end);

/* Walks all matches the way Oniguruma's find_iter does: an empty match directly behind the last one is passed over.
 * Start with {0}; *out_found false is the end. */
typedef struct espl_expression_walk {
    size_t from, last_end;
    bool any;
} espl_expression_walk;
espl_status espl_expression_next(espl_context *ctx, espl_expression *expression, const char *text, size_t bytes,
                                 espl_expression_walk *walk, bool *out_found, size_t *out_begin, size_t *out_end);

#endif
