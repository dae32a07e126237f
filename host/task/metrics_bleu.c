/* BLEU as sacrebleu counts it, see metrics.h. A line is brought to 13a tokens with one space between them, so an n-gram
 * is a piece of that line and its bytes are its key. */
#include "host/file/map.h"
#include "host/file/utf8.h"
#include "host/task/metrics.h"
#include <math.h>
#include <string.h>

/* What mteval-v13a does to a line. First literal replacements, one after the other; then expressions, where the mark is
 * the first or the last byte of a match and gets a space before or behind it. */
static const struct {
    const char *from, *to; /* never longer than from */
} literals[] = {{"<skipped>", ""}, {"-\n", ""},   {"\n", " "},  {"&quot;", "\""},
                {"&amp;", "&"},    {"&lt;", "<"}, {"&gt;", ">"}};

static const struct {
    const char *pattern;
    bool mark_first, before, behind;
} expressions[ESPL_BLEU_RULES] = {
    {"[\\x20-\\x26\\x28-\\x2B\\x2F\\x3A-\\x40\\x5B-\\x60\\x7B-\\x7E]", true, true, true},
    {"[^0-9][.,]", false, true, true},
    {"[.,][^0-9]", true, true, true},
    {"[0-9]-", false, true, true},
};

espl_status espl_bleu_init(espl_context *ctx, espl_bleu *out_bleu) {
    espl_status status = ESPL_OK;
    *out_bleu = (espl_bleu){0};
    for (size_t i = 0; i < ESPL_BLEU_RULES && !status; i++)
        status =
            espl_expression_create(ctx, expressions[i].pattern, strlen(expressions[i].pattern), &out_bleu->rules[i]);
    if (status) espl_bleu_finish(ctx, out_bleu);
    return status;
}

void espl_bleu_finish(espl_context *ctx, espl_bleu *bleu) {
    for (size_t i = 0; i < ESPL_BLEU_RULES; i++)
        espl_expression_destroy(ctx, &bleu->rules[i]);
    *bleu = (espl_bleu){0};
}

/* ---- 13a tokens ---- */

static void replace_literal(espl_bytes *line, const char *from, const char *to) {
    size_t from_bytes = strlen(from), to_bytes = strlen(to), put = 0;
    for (size_t at = 0; at < line->count;) {
        if (line->count - at >= from_bytes && memcmp(line->data + at, from, from_bytes) == 0) {
            memcpy(line->data + put, to, to_bytes);
            put += to_bytes;
            at += from_bytes;
        } else {
            line->data[put++] = line->data[at++];
        }
    }
    line->count = put;
}

static espl_status apply_expression(espl_context *ctx, espl_bleu *bleu, size_t rule, const espl_bytes *line,
                                    espl_bytes *out) {
    size_t done = 0, begin, end;
    bool found;
    out->count = 0;
    for (;;) {
        ESPL_TRY(espl_expression_find(ctx, bleu->rules[rule], line->data, line->count, done, &found, &begin, &end));
        if (!found) return espl_bytes_append(ctx, out, line->data + done, line->count - done);
        size_t mark = expressions[rule].mark_first ? begin : end - 1;
        ESPL_TRY(espl_bytes_append(ctx, out, line->data + done, mark - done));
        if (expressions[rule].before) ESPL_TRY(espl_bytes_append(ctx, out, " ", 1));
        ESPL_TRY(espl_bytes_append(ctx, out, line->data + mark, 1));
        if (expressions[rule].behind) ESPL_TRY(espl_bytes_append(ctx, out, " ", 1));
        ESPL_TRY(espl_bytes_append(ctx, out, line->data + mark + 1, end - mark - 1));
        done = end;
    }
}

/* White space of Python's str.split. */
static bool is_space(uint32_t code) {
    return espl_char_is_space(code) || (code >= 0x1c && code <= 0x1f);
}

/* One space between words, none around them. Ends of words, relative to the line, go to *ends. */
static espl_status split_words(espl_context *ctx, espl_bytes *line, size_t **ends, size_t *capacity,
                               size_t *out_words) {
    size_t put = 0, words = 0;
    bool inside = false;
    for (size_t at = 0; at < line->count;) {
        size_t begin = at;
        if (is_space(espl_utf8_next(line->data, &at))) {
            inside = false;
            continue;
        }
        if (!inside) {
            ESPL_TRY(espl_grow(ctx, ends, capacity, words + 1, sizeof **ends));
            if (words++) line->data[put++] = ' ';
            inside = true;
        }
        memmove(line->data + put, line->data + begin, at - begin);
        put += at - begin;
        (*ends)[words - 1] = put;
    }
    line->count = put;
    *out_words = words;
    return ESPL_OK;
}

typedef struct counter {
    espl_bytes line, spare; /* owned */
    size_t *ends;           /* owned; [words] */
    size_t capacity, words;
    espl_map grams; /* owned; n-grams and how often each occurs */
} counter;

static void finish_counter(espl_context *ctx, counter *c) {
    espl_bytes_finish(ctx, &c->line);
    espl_bytes_finish(ctx, &c->spare);
    espl_free(ctx, &c->ends);
    espl_map_finish(ctx, &c->grams);
}

static void swap(espl_bytes *a, espl_bytes *b) {
    espl_bytes kept = *a;
    *a = *b;
    *b = kept;
}

static espl_status tokenize(espl_context *ctx, espl_bleu *bleu, const char *text, counter *c) {
    size_t bytes = strlen(text);
    while (bytes) {
        size_t before = espl_utf8_before(text, bytes), at = before;
        if (espl_utf8_length(text + before, bytes - before, NULL) < 0 || !is_space(espl_utf8_next(text, &at))) break;
        bytes = before;
    }
    c->line.count = 0;
    ESPL_TRY(espl_utf8_append_lossy(ctx, &c->line, text, bytes));
    for (size_t i = 0; i < ESPL_COUNT(literals); i++)
        replace_literal(&c->line, literals[i].from, literals[i].to);
    c->spare.count = 0;
    ESPL_TRY(espl_bytes_append(ctx, &c->spare, " ", 1));
    ESPL_TRY(espl_bytes_append(ctx, &c->spare, c->line.data, c->line.count));
    ESPL_TRY(espl_bytes_append(ctx, &c->spare, " ", 1));
    for (size_t i = 0; i < ESPL_BLEU_RULES; i++) {
        swap(&c->line, &c->spare);
        ESPL_TRY(apply_expression(ctx, bleu, i, &c->line, &c->spare));
    }
    swap(&c->line, &c->spare);
    return split_words(ctx, &c->line, &c->ends, &c->capacity, &c->words);
}

/* ---- n-grams ---- */

static espl_status count_text(espl_context *ctx, espl_bleu *bleu, const char *text, counter *c) {
    ESPL_TRY(tokenize(ctx, bleu, text, c));
    espl_map_finish(ctx, &c->grams);
    for (size_t first = 0; first < c->words; first++) {
        size_t begin = first ? c->ends[first - 1] + 1 : 0;
        for (size_t last = first; last < c->words && last < first + ESPL_BLEU_ORDERS; last++) {
            bool was_there = false;
            const char *key = c->line.data + begin;
            ESPL_TRY(espl_map_add(ctx, &c->grams, key, c->ends[last] - begin, 1, &was_there));
            if (was_there) espl_map_find(&c->grams, key, c->ends[last] - begin)->value++;
        }
    }
    return ESPL_OK;
}

/* The larger count of each n-gram. */
static espl_status merge(espl_context *ctx, const espl_map *from, espl_map *into) {
    for (size_t i = 0; i < from->count; i++) {
        const espl_map_entry *entry = &from->entries[i];
        bool was_there = false;
        ESPL_TRY(espl_map_add(ctx, into, espl_map_key(from, i), entry->bytes, entry->value, &was_there));
        espl_map_entry *kept = espl_map_find(into, espl_map_key(from, i), entry->bytes);
        if (entry->value > kept->value) kept->value = entry->value;
    }
    return ESPL_OK;
}

static size_t order_of(const char *gram, size_t bytes) {
    size_t order = 0;
    for (size_t i = 0; i < bytes; i++)
        order += gram[i] == ' ';
    return order;
}

static void add_counts(espl_bleu *bleu, const counter *hypothesis, const espl_map *best, size_t reference_words) {
    for (size_t i = 0; i < hypothesis->grams.count; i++) {
        const espl_map_entry *entry = &hypothesis->grams.entries[i];
        const char *gram = espl_map_key(&hypothesis->grams, i);
        const espl_map_entry *reference = espl_map_find(best, gram, entry->bytes);
        size_t order = order_of(gram, entry->bytes);
        bleu->total[order] += entry->value;
        if (reference) bleu->correct[order] += entry->value < reference->value ? entry->value : reference->value;
    }
    bleu->hypothesis_words += hypothesis->words;
    bleu->reference_words += reference_words;
}

static size_t distance(size_t a, size_t b) {
    return a < b ? b - a : a - b;
}

espl_status espl_bleu_add(espl_context *ctx, espl_bleu *bleu, const char *hypothesis, const char *const *references,
                          uint32_t reference_count) {
    counter given = {0}, reference = {0};
    espl_map best = {0};
    size_t nearest = 0;
    espl_status status;
    if (reference_count == 0) return espl_fail(ctx, ESPL_ARGUMENT, "BLEU needs a reference for each hypothesis");
    ESPL_GOTO(count_text(ctx, bleu, hypothesis, &given));
    for (uint32_t r = 0; r < reference_count; r++) {
        ESPL_GOTO(count_text(ctx, bleu, references[r], &reference));
        ESPL_GOTO(merge(ctx, &reference.grams, &best));
        size_t far = distance(reference.words, given.words), nearest_far = distance(nearest, given.words);
        if (r == 0 || far < nearest_far || (far == nearest_far && reference.words < nearest)) nearest = reference.words;
    }
    add_counts(bleu, &given, &best, nearest);
fail:
    espl_map_finish(ctx, &best);
    finish_counter(ctx, &reference);
    finish_counter(ctx, &given);
    return status;
}

double espl_bleu_score(const espl_bleu *bleu) {
    double logs = 0, halved = 1, hypothesis = (double)bleu->hypothesis_words, reference = (double)bleu->reference_words;
    /* A higher order without an n-gram makes the product 0, a lower one without a match cannot stand alone. */
    if (bleu->correct[0] == 0 || bleu->total[ESPL_BLEU_ORDERS - 1] == 0) return 0;
    for (size_t n = 0; n < ESPL_BLEU_ORDERS; n++) {
        double total = (double)bleu->total[n];
        if (bleu->correct[n] == 0) halved *= 2;
        logs += log(bleu->correct[n] ? 100 * (double)bleu->correct[n] / total : 100 / (halved * total));
    }
    return (hypothesis < reference ? exp(1 - reference / hypothesis) : 1) * exp(logs / ESPL_BLEU_ORDERS);
}
