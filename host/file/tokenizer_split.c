/* Splitters (Hugging Face calls them pre-tokenizers): text in pieces to text in smaller pieces. */
#include "host/file/tokenizer_parts.h"
#include <string.h>

/* Source: openai/gpt-2 src/encoder.py. */
static const char byte_level_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

uint32_t espl_byte_level_code(unsigned char byte) {
    if ((byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173)) return byte;
    /* The 68 others follow each other from 256 on: 0-32, 127-160, 173. */
    return 256 + (byte <= 32 ? (uint32_t)byte : byte == 173 ? 67u : (uint32_t)byte - 127 + 33);
}

int espl_byte_level_byte(uint32_t code) {
    if ((code >= 33 && code <= 126) || (code >= 161 && code <= 255 && code != 173)) return (int)code;
    if (code < 256 || code >= 256 + 68) return -1;
    uint32_t place = code - 256;
    return (int)(place <= 32 ? place : place == 67 ? 173 : place - 33 + 127);
}

static espl_status append_span(espl_context *ctx, espl_pieces *pieces, size_t begin, size_t end, bool first) {
    ESPL_TRY(espl_grow(ctx, &pieces->spans, &pieces->capacity, pieces->count + 1, sizeof *pieces->spans));
    pieces->spans[pieces->count++] = (espl_span){.begin = begin, .end = end, .first = first};
    return ESPL_OK;
}

espl_status espl_pieces_append(espl_context *ctx, espl_pieces *pieces, size_t begin, size_t end, bool first) {
    return begin == end ? ESPL_OK : append_span(ctx, pieces, begin, end, first);
}

void espl_pieces_finish(espl_context *ctx, espl_pieces *pieces) {
    espl_bytes_finish(ctx, &pieces->text);
    espl_free(ctx, &pieces->spans);
    *pieces = (espl_pieces){0};
}

/* ---- cutting one span ---- */

typedef struct cutter {
    espl_context *ctx;
    const espl_step *step;
    espl_span span;
    espl_pieces *out; /* spans are appended; merging changes only those from `start` on */
    size_t start;
    bool previous; /* whether the part before was a match */
    /* Merging with the next part: a match that waits for what follows it. */
    bool waiting;
    size_t wait_begin, wait_end;
} cutter;

static espl_status cut_append(cutter *c, size_t begin, size_t end) {
    return append_span(c->ctx, c->out, begin, end, c->span.first && begin == c->span.begin);
}

/* In the reference each part looks at the one behind it, from the end: a match joins the part behind unless that is a
 * match too. Read forwards: a match waits, and is joined by what is no match. */
static espl_status merge_with_next(cutter *c, size_t begin, size_t end, bool match) {
    if (c->waiting && !match) begin = c->wait_begin;
    else if (c->waiting) ESPL_TRY(cut_append(c, c->wait_begin, c->wait_end));
    c->waiting = match;
    c->wait_begin = begin;
    c->wait_end = end;
    return match ? ESPL_OK : cut_append(c, begin, end);
}

/* Takes the parts of the span in order, matches and what lies between them. */
static espl_status cut_part(cutter *c, size_t begin, size_t end, bool match) {
    match = match != c->step->invert;
    bool extend = false;
    switch (c->step->behavior) {
    case ESPL_SPLIT_ISOLATED: break;
    case ESPL_SPLIT_REMOVED:
        if (match) return ESPL_OK;
        break;
    case ESPL_SPLIT_MERGED_WITH_NEXT: return merge_with_next(c, begin, end, match);
    case ESPL_SPLIT_MERGED_WITH_PREVIOUS: extend = match && !c->previous; break;
    case ESPL_SPLIT_CONTIGUOUS: extend = match == c->previous; break;
    }
    c->previous = match;
    if (!extend || c->out->count == c->start) return cut_append(c, begin, end);
    c->out->spans[c->out->count - 1].end = end;
    return ESPL_OK;
}

static espl_status cut_span(espl_context *ctx, const espl_step *step, const char *text, espl_span span,
                            espl_pieces *out) {
    cutter c = {.ctx = ctx, .step = step, .span = span, .out = out, .start = out->count};
    espl_expression_walk walk = {0};
    size_t bytes = span.end - span.begin, done = 0;
    for (;;) {
        bool found;
        size_t begin = 0, end = 0;
        ESPL_TRY(espl_step_next(ctx, step, text + span.begin, bytes, &walk, &found, &begin, &end));
        if (!found) break;
        if (done < begin) ESPL_TRY(cut_part(&c, span.begin + done, span.begin + begin, false));
        ESPL_TRY(cut_part(&c, span.begin + begin, span.begin + end, true));
        done = end;
    }
    if (done < bytes) ESPL_TRY(cut_part(&c, span.begin + done, span.end, false));
    if (c.waiting) ESPL_TRY(cut_append(&c, c.wait_begin, c.wait_end));
    /* Empty matches took part in the merging; as pieces they are nothing. */
    size_t kept = c.start;
    for (size_t i = c.start; i < out->count; i++)
        if (out->spans[i].begin < out->spans[i].end) out->spans[kept++] = out->spans[i];
    out->count = kept;
    return ESPL_OK;
}

/* ---- the splitters ---- */

typedef espl_status splitter(espl_context *ctx, const espl_step *step, espl_pieces *pieces, espl_pieces *scratch);

static void swap_spans(espl_pieces *a, espl_pieces *b) {
    espl_pieces kept = *a;
    a->spans = b->spans, a->count = b->count, a->capacity = b->capacity;
    b->spans = kept.spans, b->count = kept.count, b->capacity = kept.capacity;
}

static espl_status cut_all(espl_context *ctx, const espl_step *step, espl_pieces *pieces, espl_pieces *scratch) {
    scratch->count = 0;
    for (size_t i = 0; i < pieces->count; i++)
        ESPL_TRY(cut_span(ctx, step, pieces->text.data, pieces->spans[i], scratch));
    swap_spans(pieces, scratch);
    return ESPL_OK;
}

static espl_status read_behavior(espl_context *ctx, espl_step *step, const json_t *object, const char *default_name) {
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *name;
    ESPL_TRY(espl_json_string(ctx, object, "behavior", default_name, &name));
    for (size_t i = 0; name && i < ESPL_COUNT(names); i++) {
        if (strcmp(name, names[i])) continue;
        step->behavior = (espl_split_behavior)i;
        return ESPL_OK;
    }
    return espl_fail(ctx, ESPL_UNSUPPORTED, "the behavior \"%.40s\" is not supported", name ? name : "");
}

static espl_status read_split(espl_context *ctx, espl_step *step, const json_t *object) {
    ESPL_TRY(espl_step_pattern(ctx, step, object));
    ESPL_TRY(read_behavior(ctx, step, object, NULL));
    return espl_json_bool(ctx, object, "invert", false, &step->invert);
}

static espl_status read_digits(espl_context *ctx, espl_step *step, const json_t *object) {
    bool individual;
    ESPL_TRY(espl_json_bool(ctx, object, "individual_digits", false, &individual));
    step->test = espl_char_is_numeric;
    step->behavior = individual ? ESPL_SPLIT_ISOLATED : ESPL_SPLIT_CONTIGUOUS;
    return ESPL_OK;
}

static espl_status read_punctuation(espl_context *ctx, espl_step *step, const json_t *object) {
    step->test = espl_char_is_punctuation;
    return read_behavior(ctx, step, object, "Isolated");
}

static espl_status read_whitespace_split(espl_context *ctx, espl_step *step, const json_t *object) {
    (void)ctx, (void)object;
    step->test = espl_char_is_space;
    step->behavior = ESPL_SPLIT_REMOVED;
    return ESPL_OK;
}

/* Everything that is neither a word nor a run of symbols, which is space, is removed. Here the reference means the \w
 * of Rust, which has the two joiners, and not the fractions, of Oniguruma's. */
#define RUST_WORDS "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200c}\\x{200d}"
static espl_status read_whitespace(espl_context *ctx, espl_step *step, const json_t *object) {
    static const char pattern[] = "[" RUST_WORDS "]+|[^\\s" RUST_WORDS "]+";
    (void)object;
    step->behavior = ESPL_SPLIT_REMOVED;
    step->invert = true;
    return espl_expression_create(ctx, pattern, sizeof pattern - 1, &step->expression);
}

static espl_status read_byte_level(espl_context *ctx, espl_step *step, const json_t *object) {
    bool use_regex;
    ESPL_TRY(espl_json_bool(ctx, object, "add_prefix_space", true, &step->prefix_space));
    ESPL_TRY(espl_json_bool(ctx, object, "use_regex", true, &use_regex));
    if (!use_regex) return ESPL_OK;
    return espl_expression_create(ctx, byte_level_pattern, sizeof byte_level_pattern - 1, &step->expression);
}

/* Copies the pieces into scratch, each with `prefix` before it where wanted(...) says so, and swaps. */
static void begin_rewrite(espl_pieces *scratch) {
    scratch->count = 0;
    scratch->text.count = 0;
}

static void end_rewrite(espl_pieces *pieces, espl_pieces *scratch) {
    espl_pieces kept = *pieces;
    *pieces = *scratch;
    *scratch = kept;
}

static espl_status byte_level_prefix(espl_context *ctx, espl_pieces *pieces, espl_pieces *scratch) {
    begin_rewrite(scratch);
    for (size_t i = 0; i < pieces->count; i++) {
        const espl_span *span = &pieces->spans[i];
        size_t begin = scratch->text.count;
        if (pieces->text.data[span->begin] != ' ') ESPL_TRY(espl_bytes_append(ctx, &scratch->text, " ", 1));
        ESPL_TRY(espl_bytes_append(ctx, &scratch->text, pieces->text.data + span->begin, span->end - span->begin));
        ESPL_TRY(espl_pieces_append(ctx, scratch, begin, scratch->text.count, span->first));
    }
    end_rewrite(pieces, scratch);
    return ESPL_OK;
}

static espl_status byte_level(espl_context *ctx, const espl_step *step, espl_pieces *pieces, espl_pieces *scratch) {
    if (step->prefix_space) ESPL_TRY(byte_level_prefix(ctx, pieces, scratch));
    if (step->expression) ESPL_TRY(cut_all(ctx, step, pieces, scratch));
    begin_rewrite(scratch);
    for (size_t i = 0; i < pieces->count; i++) {
        const espl_span *span = &pieces->spans[i];
        size_t begin = scratch->text.count;
        for (size_t at = span->begin; at < span->end; at++) {
            char put[4];
            int length = espl_utf8_put(espl_byte_level_code((unsigned char)pieces->text.data[at]), put);
            ESPL_TRY(espl_bytes_append(ctx, &scratch->text, put, (size_t)length));
        }
        ESPL_TRY(espl_pieces_append(ctx, scratch, begin, scratch->text.count, span->first));
    }
    end_rewrite(pieces, scratch);
    return ESPL_OK;
}

static espl_status read_metaspace(espl_context *ctx, espl_step *step, const json_t *object) {
    ESPL_TRY(espl_step_metaspace(ctx, step, object));
    step->behavior = ESPL_SPLIT_MERGED_WITH_NEXT;
    step->literal_bytes = step->text_bytes;
    return espl_copy_string(ctx, step->text, step->text_bytes, &step->literal);
}

static espl_status metaspace(espl_context *ctx, const espl_step *step, espl_pieces *pieces, espl_pieces *scratch) {
    begin_rewrite(scratch);
    for (size_t i = 0; i < pieces->count; i++) {
        const espl_span *span = &pieces->spans[i];
        const char *text = pieces->text.data + span->begin;
        size_t bytes = span->end - span->begin, begin = scratch->text.count;
        bool marked = text[0] == ' ' || (bytes >= step->text_bytes && !memcmp(text, step->text, step->text_bytes));
        bool wanted = step->prepend == ESPL_PREPEND_ALWAYS || (step->prepend == ESPL_PREPEND_FIRST && span->first);
        if (wanted && !marked) ESPL_TRY(espl_bytes_append(ctx, &scratch->text, step->text, step->text_bytes));
        for (size_t at = 0; at < bytes; at++) {
            if (text[at] == ' ') ESPL_TRY(espl_bytes_append(ctx, &scratch->text, step->text, step->text_bytes));
            else ESPL_TRY(espl_bytes_append(ctx, &scratch->text, text + at, 1));
        }
        ESPL_TRY(espl_pieces_append(ctx, scratch, begin, scratch->text.count, span->first));
    }
    end_rewrite(pieces, scratch);
    return step->split ? cut_all(ctx, step, pieces, scratch) : ESPL_OK;
}

/* What BERT calls a word: no space in it, and each symbol on its own. */
static espl_status bert(espl_context *ctx, const espl_step *step, espl_pieces *pieces, espl_pieces *scratch) {
    const espl_step spaces = {.test = espl_char_is_space, .behavior = ESPL_SPLIT_REMOVED};
    const espl_step symbols = {.test = espl_char_is_punctuation, .behavior = ESPL_SPLIT_ISOLATED};
    (void)step;
    ESPL_TRY(cut_all(ctx, &spaces, pieces, scratch));
    return cut_all(ctx, &symbols, pieces, scratch);
}

static const espl_step_row rows[] = {
    {"ByteLevel", read_byte_level}, {"Split", read_split},
    {"Digits", read_digits},        {"Punctuation", read_punctuation},
    {"Whitespace", read_whitespace}, {"WhitespaceSplit", read_whitespace_split},
    {"Metaspace", read_metaspace},   {"BertPreTokenizer", NULL},
};
static splitter *const functions[ESPL_COUNT(rows)] = {
    byte_level, cut_all, cut_all, cut_all, cut_all, cut_all, metaspace, bert,
};

espl_status espl_splitters_read(espl_context *ctx, espl_steps *steps, const json_t *object) {
    return espl_steps_read(ctx, steps, object, rows, ESPL_COUNT(rows), "pretokenizers", "pre_tokenizer");
}

espl_status espl_splitters_add_byte_level(espl_context *ctx, espl_steps *steps, bool add_prefix_space) {
    espl_step *step;
    ESPL_TRY(espl_steps_add(ctx, steps, 0, &step));
    step->prefix_space = add_prefix_space;
    return espl_expression_create(ctx, byte_level_pattern, sizeof byte_level_pattern - 1, &step->expression);
}

espl_status espl_split(espl_context *ctx, const espl_steps *steps, espl_pieces *pieces, espl_pieces *scratch) {
    for (size_t i = 0; i < steps->count; i++)
        ESPL_TRY(functions[steps->items[i].row](ctx, &steps->items[i], pieces, scratch));
    return ESPL_OK;
}
