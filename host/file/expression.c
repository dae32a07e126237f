/* See expression.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "host/file/expression.h"
#include "host/file/utf8.h"
#include <pcre2.h>
#include <string.h>

enum { MATCH_LIMIT = 20000000, DEPTH_LIMIT = 100000, HEAP_LIMIT_KIB = 256 * 1024 };

struct espl_expression {
    pcre2_general_context *general; /* owned; memory through the espl_context */
    pcre2_match_context *limits;    /* owned */
    pcre2_code *code;               /* owned */
    pcre2_match_data *match;        /* owned */
};

#define SPACES                                                                                     \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define WORDS "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}"
/* Outside of a class Oniguruma asks its Latin-1 table first, which counts the raised digits and the fractions. */
#define WORDS_LATIN WORDS "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

/* Escapes whose meaning differs; NULL inside: cannot be listed in a class, PCRE2's own is near enough. */
static const struct {
    char letter;
    const char *outside, *inside;
} escapes[] = {
    {'s', "[" SPACES "]", SPACES},
    {'S', "[^" SPACES "]", NULL},
    {'w', "[" WORDS_LATIN "]", WORDS},
    {'W', "[^" WORDS_LATIN "]", NULL},
    {'d', "\\p{Nd}", "\\p{Nd}"},
    {'D', "\\P{Nd}", "\\P{Nd}"},
    {'h', "[0-9A-Fa-f]", "0-9A-Fa-f"},
    {'H', "[^0-9A-Fa-f]", NULL},
    {'b', "(?:(?<=[" WORDS_LATIN "])(?![" WORDS_LATIN "])|(?<![" WORDS_LATIN "])(?=[" WORDS_LATIN "]))", NULL},
    {'B', "(?:(?<=[" WORDS_LATIN "])(?=[" WORDS_LATIN "])|(?<![" WORDS_LATIN "])(?![" WORDS_LATIN "]))", NULL},
};

typedef struct rewriter {
    espl_context *ctx;
    const char *text;
    size_t bytes, at;
    espl_bytes *out;
} rewriter;

static espl_status put(rewriter *r, const char *text) {
    return espl_bytes_append(r->ctx, r->out, text, strlen(text));
}

static espl_status copy(rewriter *r, size_t count) {
    if (count > r->bytes - r->at) count = r->bytes - r->at;
    ESPL_TRY(espl_bytes_append(r->ctx, r->out, r->text + r->at, count));
    r->at += count;
    return ESPL_OK;
}

static bool starts(const rewriter *r, const char *with) {
    size_t count = strlen(with);
    return r->bytes - r->at >= count && memcmp(r->text + r->at, with, count) == 0;
}

static espl_status rewrite_escape(rewriter *r, bool in_class) {
    if (r->bytes - r->at < 2) return copy(r, 1);
    char letter = r->text[r->at + 1];
    for (size_t i = 0; i < ESPL_COUNT(escapes); i++) {
        if (escapes[i].letter != letter) continue;
        const char *with = in_class ? escapes[i].inside : escapes[i].outside;
        if (!with) return copy(r, 2);
        r->at += 2;
        return put(r, with);
    }
    if (letter == 'u' && r->bytes - r->at >= 6) {
        ESPL_TRY(espl_bytes_print(r->ctx, r->out, "\\x{%.4s}", r->text + r->at + 2));
        r->at += 6;
        return ESPL_OK;
    }
    return copy(r, 2);
}

static espl_status rewrite_class(rewriter *r) {
    size_t depth = 1;
    ESPL_TRY(copy(r, starts(r, "[^") ? 2 : 1));
    if (starts(r, "]")) {
        r->at++;
        ESPL_TRY(put(r, "\\]"));
    }
    while (r->at < r->bytes && depth) {
        const char *end = NULL;
        if (starts(r, "[:")) end = memchr(r->text + r->at + 2, ':', r->bytes - r->at - 2);
        if (starts(r, "\\")) {
            ESPL_TRY(rewrite_escape(r, true));
        } else if (end && end + 1 < r->text + r->bytes && end[1] == ']') {
            ESPL_TRY(copy(r, (size_t)(end + 2 - r->text) - r->at));
        } else if (starts(r, "[^") || starts(r, "&&")) {
            return espl_fail(r->ctx, ESPL_UNSUPPORTED, "the expression \"%.200s\" uses \"%.2s\" inside a class",
                             r->text, r->text + r->at);
        } else if (starts(r, "[")) {
            depth++, r->at++;
        } else if (starts(r, "]")) {
            r->at++;
            if (--depth == 0) ESPL_TRY(put(r, "]"));
        } else {
            ESPL_TRY(copy(r, 1));
        }
    }
    return ESPL_OK;
}

/* x{1,2}+ repeats in Oniguruma and is possessive in PCRE2. */
static espl_status rewrite_interval(rewriter *r) {
    size_t end = r->at + 1;
    while (end < r->bytes && strchr("0123456789,", r->text[end])) end++;
    if (end + 1 < r->bytes && r->text[end] == '}' && r->text[end + 1] == '+')
        return espl_fail(r->ctx, ESPL_UNSUPPORTED, "the expression \"%.200s\" uses \"}+\"", r->text);
    return copy(r, 1);
}

static espl_status rewrite(espl_context *ctx, const char *pattern, size_t bytes, espl_bytes *out) {
    rewriter r = {.ctx = ctx, .text = pattern, .bytes = bytes, .out = out};
    /* Verbs before an expression would change how all of it runs: "(*UCP)" and its like are PCRE2's alone. */
    if (starts(&r, "(*"))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "the expression \"%.200s\" begins with \"(*\"", pattern);
    ESPL_TRY(espl_bytes_append(ctx, out, "", 0));
    while (r.at < bytes) {
        char next = pattern[r.at];
        if (next == '\\') ESPL_TRY(rewrite_escape(&r, false));
        else if (next == '[') ESPL_TRY(rewrite_class(&r));
        else if (next == '{') ESPL_TRY(rewrite_interval(&r));
        else ESPL_TRY(copy(&r, 1));
    }
    return ESPL_OK;
}

static void *pcre_allocate(size_t bytes, void *user) {
    void *block = NULL;
    return espl_resize(user, &block, bytes ? bytes : 1) == ESPL_OK ? block : NULL;
}

static void pcre_free(void *block, void *user) {
    espl_free(user, &block);
}

static espl_status no_memory(espl_context *ctx) {
    return espl_fail(ctx, ESPL_HOST_MEMORY, "no host memory for a regular expression");
}

static espl_status compile(espl_context *ctx, espl_expression *made, const espl_bytes *pattern) {
    int error;
    PCRE2_SIZE where;
    made->general = pcre2_general_context_create(pcre_allocate, pcre_free, ctx);
    if (!made->general) return no_memory(ctx);
    made->limits = pcre2_match_context_create(made->general);
    pcre2_compile_context *how = pcre2_compile_context_create(made->general);
    if (!made->limits || !how) {
        pcre2_compile_context_free(how);
        return no_memory(ctx);
    }
    pcre2_set_newline(how, PCRE2_NEWLINE_LF);
    pcre2_set_match_limit(made->limits, MATCH_LIMIT);
    pcre2_set_depth_limit(made->limits, DEPTH_LIMIT);
    pcre2_set_heap_limit(made->limits, HEAP_LIMIT_KIB);
    made->code = pcre2_compile((PCRE2_SPTR)pattern->data, pattern->count,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &where, how);
    pcre2_compile_context_free(how);
    if (!made->code && error == PCRE2_ERROR_HEAP_FAILED) return no_memory(ctx);
    if (!made->code) {
        PCRE2_UCHAR reason[160] = "";
        pcre2_get_error_message(error, reason, sizeof reason);
        return espl_fail(ctx, ESPL_UNSUPPORTED, "the expression \"%.300s\" is not understood at byte %zu: %s",
                         pattern->data, where, (const char *)reason);
    }
    /* Faster where the machine allows it; without it the interpreter gives the same matches. */
    pcre2_jit_compile(made->code, PCRE2_JIT_COMPLETE);
    made->match = pcre2_match_data_create(1, made->general);
    return made->match ? ESPL_OK : no_memory(ctx);
}

espl_status espl_expression_create(espl_context *ctx, const char *pattern, size_t bytes, espl_expression **out) {
    espl_expression *made;
    espl_bytes rewritten = {0};
    *out = NULL;
    ESPL_TRY(espl_new(ctx, sizeof *made, &made));
    espl_status status = rewrite(ctx, pattern, bytes, &rewritten);
    if (status == ESPL_OK) status = compile(ctx, made, &rewritten);
    espl_bytes_finish(ctx, &rewritten);
    if (status != ESPL_OK) espl_expression_destroy(ctx, &made);
    *out = made;
    return status;
}

void espl_expression_destroy(espl_context *ctx, espl_expression **expression) {
    if (!*expression) return;
    pcre2_match_data_free((*expression)->match);
    pcre2_code_free((*expression)->code);
    pcre2_match_context_free((*expression)->limits);
    pcre2_general_context_free((*expression)->general);
    espl_free(ctx, expression);
}

espl_status espl_expression_find(espl_context *ctx, espl_expression *expression, const char *text, size_t bytes,
                                 size_t from, bool *out_found, size_t *out_begin, size_t *out_end) {
    *out_found = false;
    /* The text was checked once; checking it on every call would make a long text quadratic. */
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int result = pcre2_match(expression->code, (PCRE2_SPTR)text, bytes, from, options, expression->match,
                             expression->limits);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT)
        result = pcre2_match(expression->code, (PCRE2_SPTR)text, bytes, from, options | PCRE2_NO_JIT, expression->match,
                             expression->limits);
    if (result == PCRE2_ERROR_NOMATCH) return ESPL_OK;
    if (result == PCRE2_ERROR_NOMEMORY) return no_memory(ctx);
    if (result < 0)
        return espl_fail(ctx, ESPL_LIMIT, "an expression gave up at byte %zu of %zu (PCRE2 error %d)", from, bytes,
                         result);
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(expression->match);
    if (place[0] < from || place[1] < place[0])
        return espl_fail(ctx, ESPL_UNSUPPORTED, "an expression moved its match to bytes %zu..%zu", place[0], place[1]);
    *out_found = true;
    *out_begin = place[0];
    *out_end = place[1];
    return ESPL_OK;
}

espl_status espl_expression_next(espl_context *ctx, espl_expression *expression, const char *text, size_t bytes,
                                 espl_expression_walk *walk, bool *out_found, size_t *out_begin, size_t *out_end) {
    *out_found = false;
    while (walk->from <= bytes) {
        ESPL_TRY(espl_expression_find(ctx, expression, text, bytes, walk->from, out_found, out_begin, out_end));
        if (!*out_found) return ESPL_OK;
        if (*out_begin != *out_end || !walk->any || walk->last_end != *out_end) {
            walk->any = true;
            walk->from = walk->last_end = *out_end;
            return ESPL_OK;
        }
        *out_found = false;
        if (walk->from == bytes) break;
        espl_utf8_next(text, &walk->from);
    }
    return ESPL_OK;
}
