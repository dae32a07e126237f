/* Decoders: pieces to text, one piece at a time. Up to a step that joins (Fuse, ByteLevel) each piece passes the steps
 * as a whole; behind it the text is one stream that arrives in parts. */
#include "host/file/tokenizer_parts.h"
#include <string.h>

/* What a step remembers between pieces. */
typedef struct memory {
    size_t pieces;   /* seen so far */
    uint32_t cut;    /* characters that Strip has taken from the start */
    bool started;    /* Strip has met something to keep */
    espl_bytes held; /* bytes of an unfinished run or character, or text that may yet be stripped */
} memory;

struct espl_decoder {
    const espl_steps *steps; /* borrowed */
    bool eager;
    memory *memories; /* owned; one per step */
    size_t pieces;
};

typedef struct stage {
    espl_context *ctx;
    espl_decoder *decoder;
    size_t index;
    bool joined; /* an earlier step joins */
    espl_bytes *out;
} stage;

static espl_status feed(stage at, const char *text, size_t bytes);

static espl_status feed_next(stage at, const char *text, size_t bytes);

/* ---- the steps ---- */

typedef espl_status decode_step(stage at, const espl_step *step, memory *memory, const char *text, size_t bytes);
typedef espl_status decode_end(stage at, const espl_step *step, memory *memory);

static espl_status read_replace(espl_context *ctx, espl_step *step, const json_t *object) {
    ESPL_TRY(espl_step_pattern(ctx, step, object));
    return espl_step_text(ctx, step, object, "content");
}

static espl_status replace_now(stage at, const espl_step *step, const char *text, size_t bytes) {
    espl_bytes made = {0};
    espl_status status = espl_step_replace(at.ctx, step, text, bytes, &made);
    if (status == ESPL_OK) status = feed_next(at, made.data, made.count);
    espl_bytes_finish(at.ctx, &made);
    return status;
}

static espl_status replace(stage at, const espl_step *step, memory *memory, const char *text, size_t bytes) {
    /* In a stream a match may reach into what has not come yet. */
    if (at.joined) return espl_bytes_append(at.ctx, &memory->held, text, bytes);
    return replace_now(at, step, text, bytes);
}

static espl_status replace_end(stage at, const espl_step *step, memory *memory) {
    return memory->held.count ? replace_now(at, step, memory->held.data, memory->held.count) : ESPL_OK;
}

static int hex_digit(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Value of "<0xE2>", or -1. */
static int byte_of_piece(const char *text, size_t bytes) {
    if (bytes != 6 || memcmp(text, "<0x", 3) || text[5] != '>') return -1;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* The run as a whole is text, or every byte of it becomes U+FFFD. */
static espl_status byte_fallback_end(stage at, const espl_step *step, memory *memory) {
    (void)step;
    espl_bytes *run = &memory->held;
    size_t count = run->count;
    if (count == 0) return ESPL_OK;
    espl_status status = ESPL_OK;
    if (espl_utf8_is_valid(run->data, count)) status = feed_next(at, run->data, count);
    else
        for (size_t i = 0; i < count && status == ESPL_OK; i++) status = feed_next(at, ESPL_UTF8_REPLACEMENT, 3);
    run->count = 0;
    return status;
}

static espl_status byte_fallback(stage at, const espl_step *step, memory *memory, const char *text, size_t bytes) {
    int value = byte_of_piece(text, bytes);
    if (value < 0) {
        ESPL_TRY(byte_fallback_end(at, step, memory));
        return feed_next(at, text, bytes);
    }
    const char byte = (char)(unsigned char)value;
    ESPL_TRY(espl_bytes_append(at.ctx, &memory->held, &byte, 1));
    if (!at.decoder->eager && !step->eager) return ESPL_OK;
    bool incomplete;
    int length = espl_utf8_length(memory->held.data, memory->held.count, &incomplete);
    if (incomplete) return ESPL_OK;
    /* The newest byte broke the character: what stood before it is lost, it may itself begin the next one. */
    if (length < 0 && (size_t)-length < memory->held.count) {
        for (int i = 0; i < -length; i++) ESPL_TRY(feed_next(at, ESPL_UTF8_REPLACEMENT, 3));
        memory->held.count = 0;
        return byte_fallback(at, step, memory, text, bytes);
    }
    return byte_fallback_end(at, step, memory);
}

static espl_status fuse(stage at, const espl_step *step, memory *memory, const char *text, size_t bytes) {
    (void)step, (void)memory;
    return feed_next(at, text, bytes);
}

static espl_status read_strip(espl_context *ctx, espl_step *step, const json_t *object) {
    ESPL_TRY(espl_step_text(ctx, step, object, "content"));
    size_t one = 0;
    if (step->text_bytes) espl_utf8_next(step->text, &one);
    if (one == 0 || one != step->text_bytes)
        return espl_fail(ctx, ESPL_FORMAT, "\"content\" is \"%.40s\", one character was expected", step->text);
    ESPL_TRY(espl_json_u32(ctx, object, "start", 0, &step->start));
    return espl_json_u32(ctx, object, "stop", 0, &step->stop);
}

/* Up to step->start characters go from the front, over all parts of a stream; none from a piece that is the literal. */
static size_t strip_front(const espl_step *step, memory *memory, const char *text, size_t bytes) {
    size_t begin = 0;
    if (step->literal && bytes == step->literal_bytes && !memcmp(text, step->literal, bytes)) memory->started = true;
    while (!memory->started && begin < bytes) {
        bool same = bytes - begin >= step->text_bytes && !memcmp(text + begin, step->text, step->text_bytes);
        if (!same || memory->cut == step->start) {
            memory->started = true;
            break;
        }
        memory->cut++;
        begin += step->text_bytes;
    }
    return begin;
}

/* How many bytes at the end Strip would take if the text ended here. */
static size_t strip_back(const espl_step *step, const char *text, size_t bytes) {
    size_t end = bytes;
    for (uint32_t i = 0; i < step->stop && end >= step->text_bytes; i++) {
        if (memcmp(text + end - step->text_bytes, step->text, step->text_bytes)) break;
        end -= step->text_bytes;
    }
    return bytes - end;
}

static espl_status strip(stage at, const espl_step *step, memory *memory, const char *text, size_t bytes) {
    if (!at.joined) memory->cut = 0, memory->started = false;
    size_t begin = strip_front(step, memory, text, bytes);
    text += begin, bytes -= begin;
    if (!at.joined) return feed_next(at, text, bytes - strip_back(step, text, bytes));
    if (step->stop == 0) return feed_next(at, text, bytes);
    ESPL_TRY(espl_bytes_append(at.ctx, &memory->held, text, bytes));
    size_t kept = strip_back(step, memory->held.data, memory->held.count), given = memory->held.count - kept;
    ESPL_TRY(feed_next(at, memory->held.data, given));
    memmove(memory->held.data, memory->held.data + given, kept);
    memory->held.count = kept;
    return ESPL_OK;
}

static espl_status metaspace(stage at, const espl_step *step, memory *memory, const char *text, size_t bytes) {
    bool drop = memory->pieces == 0 && step->prepend != ESPL_PREPEND_NEVER;
    espl_bytes made = {0};
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < bytes && status == ESPL_OK;) {
        bool same = bytes - i >= step->text_bytes && !memcmp(text + i, step->text, step->text_bytes);
        if (!same || !drop) status = espl_bytes_append(at.ctx, &made, same ? " " : text + i, 1);
        i += same ? step->text_bytes : 1;
    }
    if (status == ESPL_OK) status = feed_next(at, made.data, made.count);
    espl_bytes_finish(at.ctx, &made);
    return status;
}

static espl_status read_wordpiece(espl_context *ctx, espl_step *step, const json_t *object) {
    ESPL_TRY(espl_step_text(ctx, step, object, "prefix"));
    return espl_json_bool(ctx, object, "cleanup", true, &step->clean_text);
}

/* In place: each pair's first becomes its second, which is shorter, one pair after the other. */
static void clean_up(char *text, size_t *in_out_bytes) {
    static const char *const pairs[][2] = {
        {" .", "."},     {" ?", "?"},      {" !", "!"},           {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
        {" 'm", "'m"},   {" do not", " don't"}, {" 's", "'s"},    {" 've", "'ve"}, {" 're", "'re"},
    };
    for (size_t p = 0; p < ESPL_COUNT(pairs); p++) {
        const size_t from = strlen(pairs[p][0]), to = strlen(pairs[p][1]), bytes = *in_out_bytes;
        size_t kept = 0;
        for (size_t at = 0; at < bytes;) {
            const bool found = bytes - at >= from && memcmp(text + at, pairs[p][0], from) == 0;
            if (found) memmove(text + kept, pairs[p][1], to);
            else text[kept] = text[at];
            kept += found ? to : 1;
            at += found ? from : 1;
        }
        *in_out_bytes = kept;
    }
}

/* A piece with the prefix goes on with the word before, any other begins one. */
static espl_status wordpiece(stage at, const espl_step *step, memory *memory, const char *text, size_t bytes) {
    espl_bytes made = {0};
    const bool goes_on = bytes >= step->text_bytes && !memcmp(text, step->text, step->text_bytes);
    const size_t skip = memory->pieces && goes_on ? step->text_bytes : 0;
    espl_status status = espl_bytes_append(at.ctx, &made, " ", memory->pieces && !goes_on ? 1 : 0);
    if (status == ESPL_OK) status = espl_bytes_append(at.ctx, &made, text + skip, bytes - skip);
    if (status == ESPL_OK && step->clean_text) clean_up(made.data, &made.count);
    if (status == ESPL_OK) status = feed_next(at, made.data, made.count);
    espl_bytes_finish(at.ctx, &made);
    return status;
}

static espl_status byte_level_flush(stage at, memory *memory, bool at_end) {
    espl_bytes text = {0};
    size_t count = memory->held.count, ready = 0;
    while (ready < count) {
        bool incomplete;
        int length = espl_utf8_length(memory->held.data + ready, count - ready, &incomplete);
        if (incomplete && !at_end) break;
        ready += (size_t)(length < 0 ? -length : length);
    }
    espl_status status = espl_utf8_append_lossy(at.ctx, &text, memory->held.data, ready);
    if (status == ESPL_OK) status = feed_next(at, text.data, text.count);
    if (status == ESPL_OK && ready) memmove(memory->held.data, memory->held.data + ready, count - ready);
    if (status == ESPL_OK) memory->held.count = count - ready;
    espl_bytes_finish(at.ctx, &text);
    return status;
}

static espl_status byte_level_end(stage at, const espl_step *step, memory *memory) {
    (void)step;
    return memory->held.count ? byte_level_flush(at, memory, true) : ESPL_OK;
}

static espl_status byte_level(stage at, const espl_step *step, memory *memory, const char *text, size_t bytes) {
    (void)step;
    bool all = true;
    for (size_t i = 0; i < bytes && all;) all = espl_byte_level_byte(espl_utf8_next(text, &i)) >= 0;
    /* A piece with a character that stands for no byte is an added token, and text already. */
    if (!all) ESPL_TRY(espl_bytes_append(at.ctx, &memory->held, text, bytes));
    for (size_t i = 0; i < bytes && all;) {
        const char byte = (char)(unsigned char)espl_byte_level_byte(espl_utf8_next(text, &i));
        ESPL_TRY(espl_bytes_append(at.ctx, &memory->held, &byte, 1));
    }
    return memory->held.count ? byte_level_flush(at, memory, false) : ESPL_OK;
}

/* ---- the list ---- */

enum { ROW_BYTE_LEVEL, ROW_REPLACE, ROW_BYTE_FALLBACK, ROW_FUSE, ROW_STRIP, ROW_METASPACE, ROW_WORDPIECE };
static const espl_step_row rows[] = {
    [ROW_BYTE_LEVEL] = {"ByteLevel", NULL}, [ROW_REPLACE] = {"Replace", read_replace},
    [ROW_BYTE_FALLBACK] = {"ByteFallback", NULL}, [ROW_FUSE] = {"Fuse", NULL},
    [ROW_STRIP] = {"Strip", read_strip}, [ROW_METASPACE] = {"Metaspace", espl_step_metaspace},
    [ROW_WORDPIECE] = {"WordPiece", read_wordpiece},
};
static const struct {
    decode_step *step;
    decode_end *end;
    bool joins;
    bool needs_pieces; /* cannot stand behind a step that joins */
} functions[ESPL_COUNT(rows)] = {
    [ROW_BYTE_LEVEL] = {byte_level, byte_level_end, true, true},
    [ROW_REPLACE] = {replace, replace_end, false, false},
    [ROW_BYTE_FALLBACK] = {byte_fallback, byte_fallback_end, false, true},
    [ROW_FUSE] = {fuse, NULL, true, false},
    [ROW_STRIP] = {strip, NULL, false, false},
    [ROW_METASPACE] = {metaspace, NULL, false, true},
    [ROW_WORDPIECE] = {wordpiece, NULL, false, true},
};

espl_status espl_decoders_read(espl_context *ctx, espl_steps *steps, const json_t *object) {
    ESPL_TRY(espl_steps_read(ctx, steps, object, rows, ESPL_COUNT(rows), "decoders", "decoder"));
    bool joined = false;
    for (size_t i = 0; i < steps->count; i++) {
        size_t row = steps->items[i].row;
        if (joined && functions[row].needs_pieces)
            return espl_fail(ctx, ESPL_UNSUPPORTED, "the decoder \"%s\" behind one that joins all pieces is not "
                             "supported", rows[row].type);
        joined = joined || functions[row].joins;
    }
    return ESPL_OK;
}

espl_status espl_decoders_add_byte_level(espl_context *ctx, espl_steps *steps) {
    espl_step *step;
    return espl_steps_add(ctx, steps, ROW_BYTE_LEVEL, &step);
}

espl_status espl_decoders_add_wordpiece(espl_context *ctx, espl_steps *steps, const char *prefix) {
    espl_step *step;
    ESPL_TRY(espl_steps_add(ctx, steps, ROW_WORDPIECE, &step));
    step->text_bytes = strlen(prefix);
    step->clean_text = true;
    return espl_copy_string(ctx, prefix, step->text_bytes, &step->text);
}

espl_status espl_decoders_add_sentencepiece(espl_context *ctx, espl_steps *steps, uint32_t strip_count) {
    espl_step *step;
    ESPL_TRY(espl_steps_add(ctx, steps, ROW_REPLACE, &step));
    step->literal_bytes = 3;
    step->text_bytes = 1;
    ESPL_TRY(espl_copy_string(ctx, "\xE2\x96\x81", 3, &step->literal));
    ESPL_TRY(espl_copy_string(ctx, " ", 1, &step->text));
    ESPL_TRY(espl_steps_add(ctx, steps, ROW_BYTE_FALLBACK, &step));
    step->eager = true;
    ESPL_TRY(espl_steps_add(ctx, steps, ROW_FUSE, &step));
    ESPL_TRY(espl_steps_add(ctx, steps, ROW_STRIP, &step));
    step->start = strip_count;
    step->text_bytes = 1;
    step->literal_bytes = strlen(espl_sentencepiece_unknown);
    ESPL_TRY(espl_copy_string(ctx, espl_sentencepiece_unknown, step->literal_bytes, &step->literal));
    return espl_copy_string(ctx, " ", 1, &step->text);
}

static espl_status feed(stage at, const char *text, size_t bytes) {
    const espl_steps *steps = at.decoder->steps;
    if (at.index == steps->count) return espl_bytes_append(at.ctx, at.out, bytes ? text : "", bytes);
    const espl_step *step = &steps->items[at.index];
    memory *memory = &at.decoder->memories[at.index];
    espl_status status = functions[step->row].step(at, step, memory, bytes ? text : "", bytes);
    memory->pieces++;
    return status;
}

static espl_status feed_next(stage at, const char *text, size_t bytes) {
    at.joined = at.joined || functions[at.decoder->steps->items[at.index].row].joins;
    at.index++;
    return feed(at, text, bytes);
}

espl_status espl_decoder_create(espl_context *ctx, const espl_steps *steps, bool eager, espl_decoder **out_decoder) {
    espl_decoder *decoder;
    *out_decoder = NULL;
    ESPL_TRY(espl_new(ctx, sizeof *decoder, &decoder));
    decoder->steps = steps;
    decoder->eager = eager;
    espl_status status = espl_new(ctx, steps->count * sizeof *decoder->memories, &decoder->memories);
    if (status != ESPL_OK) espl_free(ctx, &decoder);
    *out_decoder = decoder;
    return status;
}

void espl_decoder_destroy(espl_context *ctx, espl_decoder **decoder) {
    if (!*decoder) return;
    for (size_t i = 0; (*decoder)->memories && i < (*decoder)->steps->count; i++)
        espl_bytes_finish(ctx, &(*decoder)->memories[i].held);
    espl_free(ctx, &(*decoder)->memories);
    espl_free(ctx, decoder);
}

espl_status espl_decoder_push(espl_context *ctx, espl_decoder *decoder, const char *piece, size_t bytes,
                              espl_bytes *out) {
    stage first = {.ctx = ctx, .decoder = decoder, .out = out};
    /* Without decoders the reference joins the pieces with spaces. */
    if (decoder->steps->count == 0 && decoder->pieces) ESPL_TRY(espl_bytes_append(ctx, out, " ", 1));
    decoder->pieces++;
    return feed(first, piece, bytes);
}

espl_status espl_decoder_end(espl_context *ctx, espl_decoder *decoder, espl_bytes *out) {
    stage at = {.ctx = ctx, .decoder = decoder, .out = out};
    for (; at.index < decoder->steps->count; at.index++) {
        const espl_step *step = &decoder->steps->items[at.index];
        decode_end *end = functions[step->row].end;
        if (end) ESPL_TRY(end(at, step, &decoder->memories[at.index]));
        at.joined = at.joined || functions[step->row].joins;
    }
    espl_decoder_reset(decoder);
    return ESPL_OK;
}

void espl_decoder_reset(espl_decoder *decoder) {
    decoder->pieces = 0;
    for (size_t i = 0; i < decoder->steps->count; i++) {
        memory *memory = &decoder->memories[i];
        memory->pieces = 0;
        memory->cut = 0;
        memory->started = false;
        memory->held.count = 0;
    }
}
