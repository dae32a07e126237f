/* CoNLL columns: a word a line, the word in one column and the tag in another; an empty line or -DOCSTART- ends a
 * sentence. Columns are separated by tabs where the line has one, else by spaces. */
#include "host/task/read_private.h"
#include <string.h>

typedef struct sentence {
    espl_task_reader *reader;
    espl_task_text *words, *tags; /* owned */
    size_t count, words_capacity, tags_capacity;
    size_t line;  /* of the first word */
    size_t fault; /* the line that a failure is about */
    size_t width; /* columns of every line; 0 before the first */
} sentence;

/* The piece before the next separator at *at; runs of spaces separate once. */
static espl_task_text next_column(const char **at, const char *end, char separator) {
    const char *begin = *at, *stop = memchr(begin, separator, (size_t)(end - begin));
    if (!stop) stop = end;
    *at = stop < end ? stop + 1 : end;
    while (separator == ' ' && *at < end && **at == ' ')
        ++*at;
    return (espl_task_text){begin, (size_t)(stop - begin)};
}

static espl_status end_sentence(sentence *s) {
    if (s->count == 0) return ESPL_OK;
    size_t word;
    espl_status status = espl_task_add_sentence(s->reader, s->words, s->tags, s->count, &word);
    if (status) s->fault = s->line + word;
    s->count = 0;
    return status;
}

static espl_status add_word(sentence *s, espl_task_text word, espl_task_text tag) {
    espl_context *ctx = s->reader->ctx;
    ESPL_TRY(espl_grow(ctx, &s->words, &s->words_capacity, s->count + 1, sizeof *s->words));
    ESPL_TRY(espl_grow(ctx, &s->tags, &s->tags_capacity, s->count + 1, sizeof *s->tags));
    s->words[s->count] = word;
    s->tags[s->count++] = tag;
    return ESPL_OK;
}

static espl_status read_line(sentence *s, const char *text, size_t bytes, size_t line) {
    const espl_task_columns *columns = &s->reader->columns;
    uint32_t word_at = columns->numbered ? columns->numbers[ESPL_TASK_ROLE_TEXT] : 1;
    uint32_t tag_at = columns->numbered ? columns->numbers[ESPL_TASK_ROLE_LABEL] : 0; /* 0: the last */
    const char *at = text, *end = text + bytes;
    char separator = memchr(text, '\t', bytes) ? '\t' : ' ';
    espl_task_text word = {0}, tag = {0};
    size_t width = 0;
    while (at < end) {
        espl_task_text column = next_column(&at, end, separator);
        width++;
        if (width == word_at) word = column;
        if (width == tag_at || tag_at == 0) tag = column;
    }
    if (width == 0) return end_sentence(s);
    if (bytes >= 10 && memcmp(text, "-DOCSTART-", 10) == 0) return end_sentence(s);
    if (width < 2 || !word.data || !tag.data || (s->width && width != s->width))
        return espl_fail(s->reader->ctx, ESPL_FORMAT, "%zu column%s, %s", width, width == 1 ? "" : "s",
                         s->width ? "lines before have another number" : "a word and a tag were expected");
    s->width = width;
    if (s->count == 0) s->line = line;
    return add_word(s, word, tag);
}

static espl_status read_lines(sentence *s) {
    espl_task_reader *reader = s->reader;
    size_t line = 1;
    for (size_t at = 0, bytes; at < reader->bytes; at += bytes + 1, line++) {
        const char *text = reader->text + at, *stop = memchr(text, '\n', reader->bytes - at);
        size_t used = bytes = stop ? (size_t)(stop - text) : reader->bytes - at;
        if (used && text[used - 1] == '\r') used--;
        while (used && text[used - 1] == ' ')
            used--;
        s->fault = line;
        ESPL_TRY(read_line(s, text, used, line));
    }
    return end_sentence(s);
}

espl_status espl_task_read_conll(espl_task_reader *reader) {
    sentence s = {.reader = reader};
    if (reader->own_columns && !reader->columns.numbered)
        return espl_fail(reader->ctx, ESPL_ARGUMENT, "%s: columns of a CoNLL file are numbers: text=1,label=4",
                         reader->path);
    espl_status status = read_lines(&s);
    if (status) espl_task_fail_at(reader, s.fault, status);
    espl_free(reader->ctx, &s.tags);
    espl_free(reader->ctx, &s.words);
    return status;
}
