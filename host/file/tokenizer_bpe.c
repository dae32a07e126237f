/* Byte-pair encoding. A piece of text starts as one symbol per character; the pair with the lowest rank (the leftmost
 * of equals) is merged until no pair has a rank. Symbols are a linked list in an array, candidate pairs a binary heap,
 * so a piece of n characters costs n log n.
 * Source: Sennrich et al. 2016; details as in huggingface/tokenizers src/models/bpe. */
#include "host/file/tokenizer_parts.h"
#include <string.h>

typedef struct merge {
    uint32_t left, right;
    uint32_t rank;   /* UINT32_MAX: free slot */
    uint32_t result; /* id */
} merge;

typedef struct symbol {
    uint32_t id;
    uint32_t previous, next; /* NONE at the ends */
    bool dead;
} symbol;

typedef struct candidate {
    uint32_t rank, place, result;
} candidate;

static const uint32_t NONE = UINT32_MAX;

typedef struct bpe {
    merge *merges; /* owned; open addressing */
    size_t merge_slots, merge_count;
    uint32_t *byte_ids; /* owned; 256 ids of <0x00> .. <0xFF> with byte_fallback, else NULL */
    char *unknown;      /* owned; or NULL */
    uint32_t unknown_id;
    char *prefix, *suffix; /* owned; continuing_subword_prefix, end_of_word_suffix, or NULL */
    bool fuse_unknown, ignore_merges;
    /* Reused between pieces. */
    symbol *symbols;
    size_t symbol_count, symbol_capacity;
    candidate *heap;
    size_t heap_count, heap_capacity;
    espl_bytes spelled;
} bpe;

/* ---- the table of merges ---- */

static size_t merge_slot(const bpe *state, uint32_t left, uint32_t right) {
    uint64_t hash = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    size_t mask = state->merge_slots - 1, slot = (size_t)(hash >> 32) & mask;
    for (; state->merges[slot].rank != NONE; slot = (slot + 1) & mask)
        if (state->merges[slot].left == left && state->merges[slot].right == right) break;
    return slot;
}

static espl_status reserve_merges(espl_context *ctx, bpe *state, size_t count) {
    size_t slots = 16;
    while (slots / 2 < count) slots *= 2;
    size_t bytes;
    if (count > UINT32_MAX / 4 || !espl_mul(slots, sizeof *state->merges, &bytes))
        return espl_fail(ctx, ESPL_LIMIT, "%zu merges are too many", count);
    ESPL_TRY(espl_new(ctx, bytes, &state->merges));
    memset(state->merges, 0xff, bytes);
    state->merge_slots = slots;
    return ESPL_OK;
}

static espl_status add_merge(espl_context *ctx, bpe *state, const espl_vocabulary *vocabulary, const char *left,
                             size_t left_bytes, const char *right, size_t right_bytes) {
    uint32_t rank = (uint32_t)state->merge_count++;
    merge made = {.rank = rank};
    made.left = espl_vocabulary_model_id(vocabulary, left, left_bytes);
    made.right = espl_vocabulary_model_id(vocabulary, right, right_bytes);
    size_t skip = state->prefix ? strlen(state->prefix) : 0;
    if (skip > right_bytes) skip = right_bytes;
    state->spelled.count = 0;
    ESPL_TRY(espl_bytes_append(ctx, &state->spelled, left, left_bytes));
    ESPL_TRY(espl_bytes_append(ctx, &state->spelled, right + skip, right_bytes - skip));
    made.result = espl_vocabulary_model_id(vocabulary, state->spelled.data, state->spelled.count);
    if (made.left == ESPL_NO_TOKEN || made.right == ESPL_NO_TOKEN || made.result == ESPL_NO_TOKEN)
        return espl_fail(ctx, ESPL_FORMAT, "merge %u: \"%.*s\" or \"%.*s\" or both joined are not in the vocabulary",
                         (unsigned)rank, (int)(left_bytes < 80 ? left_bytes : 80), left,
                         (int)(right_bytes < 80 ? right_bytes : 80), right);
    state->merges[merge_slot(state, made.left, made.right)] = made;
    return ESPL_OK;
}

/* "left right": the only space is the one between. */
static espl_status add_merge_line(espl_context *ctx, bpe *state, const espl_vocabulary *vocabulary, const char *line,
                                  size_t bytes) {
    const char *space = memchr(line, ' ', bytes);
    size_t left_bytes = space ? (size_t)(space - line) : 0;
    if (!space || memchr(space + 1, ' ', bytes - left_bytes - 1))
        return espl_fail(ctx, ESPL_FORMAT, "merge %zu, \"%.*s\", is not two pieces with a space between",
                         state->merge_count, (int)(bytes < 80 ? bytes : 80), line);
    return add_merge(ctx, state, vocabulary, line, left_bytes, space + 1, bytes - left_bytes - 1);
}

static espl_status read_merges(espl_context *ctx, bpe *state, const json_t *merges, const espl_vocabulary *vocabulary) {
    ESPL_TRY(reserve_merges(ctx, state, json_array_size(merges)));
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const json_t *item = json_array_get(merges, i);
        const json_t *left = json_array_get(item, 0), *right = json_array_get(item, 1);
        if (json_is_string(item))
            ESPL_TRY(add_merge_line(ctx, state, vocabulary, json_string_value(item), json_string_length(item)));
        else if (json_is_string(left) && json_is_string(right) && json_array_size(item) == 2)
            ESPL_TRY(add_merge(ctx, state, vocabulary, json_string_value(left), json_string_length(left),
                               json_string_value(right), json_string_length(right)));
        else return espl_fail(ctx, ESPL_FORMAT, "merge %zu is neither \"a b\" nor [a, b]", i);
    }
    return ESPL_OK;
}

/* ---- loading ---- */

static void destroy(espl_context *ctx, void **in_out_state) {
    bpe *state = *in_out_state;
    if (!state) return;
    espl_free(ctx, &state->merges);
    espl_free(ctx, &state->byte_ids);
    espl_free(ctx, &state->unknown);
    espl_free(ctx, &state->prefix);
    espl_free(ctx, &state->suffix);
    espl_free(ctx, &state->symbols);
    espl_free(ctx, &state->heap);
    espl_bytes_finish(ctx, &state->spelled);
    espl_free(ctx, in_out_state);
}

/* NULL for absent, null and "". */
static espl_status read_affix(espl_context *ctx, const json_t *object, const char *key, char **out_text) {
    const char *text;
    ESPL_TRY(espl_json_string(ctx, object, key, "", &text));
    return *text ? espl_copy_string(ctx, text, strlen(text), out_text) : ESPL_OK;
}

static espl_status read_fields(espl_context *ctx, bpe *state, const json_t *object, espl_vocabulary *vocabulary) {
    json_t *table, *merges;
    double dropout;
    bool byte_fallback;
    ESPL_TRY(espl_json_f64(ctx, object, "dropout", 0, &dropout));
    if (dropout > 0) return espl_fail(ctx, ESPL_UNSUPPORTED, "a BPE model with dropout %g is not supported", dropout);
    ESPL_TRY(espl_json_need(ctx, object, "vocab"));
    ESPL_TRY(espl_json_need(ctx, object, "merges"));
    ESPL_TRY(espl_json_object(ctx, object, "vocab", &table));
    ESPL_TRY(espl_json_array(ctx, object, "merges", &merges));
    ESPL_TRY(espl_json_bool(ctx, object, "fuse_unk", false, &state->fuse_unknown));
    ESPL_TRY(espl_json_bool(ctx, object, "byte_fallback", false, &byte_fallback));
    ESPL_TRY(espl_json_bool(ctx, object, "ignore_merges", false, &state->ignore_merges));
    ESPL_TRY(read_affix(ctx, object, "unk_token", &state->unknown));
    ESPL_TRY(read_affix(ctx, object, "continuing_subword_prefix", &state->prefix));
    ESPL_TRY(read_affix(ctx, object, "end_of_word_suffix", &state->suffix));
    ESPL_TRY(espl_vocabulary_read(ctx, vocabulary, table));
    if (byte_fallback) ESPL_TRY(espl_byte_pieces(ctx, vocabulary, &state->byte_ids));
    state->unknown_id = ESPL_NO_TOKEN;
    if (state->unknown)
        state->unknown_id = espl_vocabulary_model_id(vocabulary, state->unknown, strlen(state->unknown));
    return read_merges(ctx, state, merges, vocabulary);
}

static espl_status read(espl_context *ctx, const json_t *object, espl_vocabulary *vocabulary, void **out_state) {
    bpe *state;
    *out_state = NULL;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    *out_state = state;
    espl_status status = read_fields(ctx, state, object, vocabulary);
    if (status != ESPL_OK) destroy(ctx, out_state);
    return status;
}

static espl_status read_lines(espl_context *ctx, bpe *state, const char *lines, size_t bytes,
                              const espl_vocabulary *vocabulary) {
    size_t count = 1;
    for (size_t i = 0; i < bytes; i++) count += lines[i] == '\n';
    ESPL_TRY(reserve_merges(ctx, state, count));
    for (size_t at = 0; at < bytes;) {
        const char *line = lines + at, *end = memchr(line, '\n', bytes - at);
        size_t length = end ? (size_t)(end - line) : bytes - at;
        at += length + 1;
        if (length && line[length - 1] == '\r') length--;
        if (length == 0 || (length >= 8 && memcmp(line, "#version", 8) == 0)) continue;
        ESPL_TRY(add_merge_line(ctx, state, vocabulary, line, length));
    }
    return ESPL_OK;
}

espl_status espl_bpe_create_from_lines(espl_context *ctx, const char *lines, size_t bytes,
                                       const espl_vocabulary *vocabulary, void **out_state) {
    bpe *state;
    *out_state = NULL;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    *out_state = state;
    state->unknown_id = ESPL_NO_TOKEN;
    espl_status status = read_lines(ctx, state, lines, bytes, vocabulary);
    if (status != ESPL_OK) destroy(ctx, out_state);
    return status;
}

static uint32_t unknown(const void *opaque, const espl_vocabulary *vocabulary) {
    const bpe *state = opaque;
    return state->unknown ? espl_vocabulary_id(vocabulary, state->unknown, strlen(state->unknown)) : ESPL_NO_TOKEN;
}

/* ---- encoding ---- */

static bool comes_before(const candidate *a, const candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->place < b->place;
}

static espl_status heap_push(espl_context *ctx, bpe *state, candidate item) {
    ESPL_TRY(espl_grow(ctx, &state->heap, &state->heap_capacity, state->heap_count + 1, sizeof *state->heap));
    size_t at = state->heap_count++;
    for (size_t parent; at && comes_before(&item, &state->heap[parent = (at - 1) / 2]); at = parent)
        state->heap[at] = state->heap[parent];
    state->heap[at] = item;
    return ESPL_OK;
}

static candidate heap_pop(bpe *state) {
    candidate top = state->heap[0], last = state->heap[--state->heap_count];
    size_t at = 0, count = state->heap_count;
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && comes_before(&state->heap[child + 1], &state->heap[child])) child++;
        if (!comes_before(&state->heap[child], &last)) break;
        state->heap[at] = state->heap[child];
    }
    if (count) state->heap[at] = last;
    return top;
}

static const merge *merge_at(const bpe *state, uint32_t place) {
    const symbol *left = &state->symbols[place];
    if (left->next == NONE) return NULL;
    const merge *found = &state->merges[merge_slot(state, left->id, state->symbols[left->next].id)];
    return found->rank == NONE ? NULL : found;
}

static espl_status consider(espl_context *ctx, bpe *state, uint32_t place) {
    const merge *found = place == NONE ? NULL : merge_at(state, place);
    if (!found) return ESPL_OK;
    return heap_push(ctx, state, (candidate){.rank = found->rank, .place = place, .result = found->result});
}

static espl_status merge_all(espl_context *ctx, bpe *state) {
    state->heap_count = 0;
    for (uint32_t i = 0; i < state->symbol_count; i++) ESPL_TRY(consider(ctx, state, i));
    while (state->heap_count) {
        candidate top = heap_pop(state);
        symbol *left = &state->symbols[top.place];
        /* A candidate outlives the pair it was made for: see whether the pair there now gives the same. */
        const merge *found = left->dead ? NULL : merge_at(state, top.place);
        if (!found || found->result != top.result) continue;
        symbol *right = &state->symbols[left->next];
        right->dead = true;
        left->id = top.result;
        left->next = right->next;
        if (left->next != NONE) state->symbols[left->next].previous = top.place;
        ESPL_TRY(consider(ctx, state, left->previous));
        ESPL_TRY(consider(ctx, state, top.place));
    }
    return ESPL_OK;
}

static espl_status add_symbol(espl_context *ctx, bpe *state, uint32_t id) {
    ESPL_TRY(espl_grow(ctx, &state->symbols, &state->symbol_capacity, state->symbol_count + 1, sizeof *state->symbols));
    uint32_t place = (uint32_t)state->symbol_count++;
    if (place) state->symbols[place - 1].next = place;
    state->symbols[place] = (symbol){.id = id, .previous = place ? place - 1 : NONE, .next = NONE};
    return ESPL_OK;
}

static espl_status add_bytes(espl_context *ctx, bpe *state, const char *text, size_t bytes, bool *out_done) {
    *out_done = false;
    if (!state->byte_ids) return ESPL_OK;
    for (size_t i = 0; i < bytes; i++)
        if (state->byte_ids[(unsigned char)text[i]] == ESPL_NO_TOKEN) return ESPL_OK;
    for (size_t i = 0; i < bytes; i++) ESPL_TRY(add_symbol(ctx, state, state->byte_ids[(unsigned char)text[i]]));
    *out_done = true;
    return ESPL_OK;
}

/* The character with what the model writes around it: "##a" inside a word, "a</w>" at its end. */
static espl_status spell(espl_context *ctx, bpe *state, const char *text, size_t bytes, bool is_first, bool is_last) {
    state->spelled.count = 0;
    if (state->prefix && !is_first)
        ESPL_TRY(espl_bytes_append(ctx, &state->spelled, state->prefix, strlen(state->prefix)));
    ESPL_TRY(espl_bytes_append(ctx, &state->spelled, text, bytes));
    if (state->suffix && is_last)
        ESPL_TRY(espl_bytes_append(ctx, &state->spelled, state->suffix, strlen(state->suffix)));
    return ESPL_OK;
}

static espl_status begin_symbols(espl_context *ctx, bpe *state, const espl_vocabulary *vocabulary, const char *text,
                                 size_t bytes) {
    bool unknown_waits = false;
    state->symbol_count = 0;
    for (size_t at = 0; at < bytes;) {
        size_t begin = at;
        bool done;
        espl_utf8_next(text, &at);
        ESPL_TRY(spell(ctx, state, text + begin, at - begin, begin == 0, at == bytes));
        uint32_t id = espl_vocabulary_model_id(vocabulary, state->spelled.data, state->spelled.count);
        if (id != ESPL_NO_TOKEN) {
            if (unknown_waits) ESPL_TRY(add_symbol(ctx, state, state->unknown_id));
            unknown_waits = false;
            ESPL_TRY(add_symbol(ctx, state, id));
            continue;
        }
        /* An unknown that waits is overtaken by byte tokens, as in the reference. */
        ESPL_TRY(add_bytes(ctx, state, state->spelled.data, state->spelled.count, &done));
        if (done || !state->unknown) continue;
        if (state->unknown_id == ESPL_NO_TOKEN)
            return espl_fail(ctx, ESPL_FORMAT, "the text needs the unknown token \"%.40s\", the vocabulary lacks it",
                             state->unknown);
        if (unknown_waits && !state->fuse_unknown) ESPL_TRY(add_symbol(ctx, state, state->unknown_id));
        unknown_waits = true;
    }
    return unknown_waits ? add_symbol(ctx, state, state->unknown_id) : ESPL_OK;
}

static espl_status encode(espl_context *ctx, void *opaque, const espl_vocabulary *vocabulary, const char *text,
                          size_t bytes, espl_ids *out_ids) {
    bpe *state = opaque;
    if (state->ignore_merges) {
        uint32_t id = espl_vocabulary_model_id(vocabulary, text, bytes);
        if (id != ESPL_NO_TOKEN) return espl_ids_append(ctx, out_ids, id);
    }
    ESPL_TRY(begin_symbols(ctx, state, vocabulary, text, bytes));
    ESPL_TRY(merge_all(ctx, state));
    for (uint32_t i = state->symbol_count ? 0 : NONE; i != NONE; i = state->symbols[i].next)
        ESPL_TRY(espl_ids_append(ctx, out_ids, state->symbols[i].id));
    return ESPL_OK;
}

const espl_token_model espl_model_bpe = {
    .type = "BPE", .read = read, .encode = encode, .destroy = destroy, .unknown = unknown};
