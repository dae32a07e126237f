/* TSV and CSV: records of fields, with or without a header. */
#include "host/task/read_private.h"
#include <string.h>

typedef struct table {
    espl_task_reader *reader;
    char separator;
    bool quotes;
    size_t at, line;   /* of the next record */
    espl_task_text *fields; /* owned; of the newest record */
    size_t count, capacity;
    uint32_t columns[ESPL_TASK_ROLE_COUNT]; /* 1 is the first, 0: the role has none */
    size_t width;                      /* fields a row must have */
} table;

/* ---- Records ---- */

static espl_status push_field(table *t, espl_task_text field) {
    ESPL_TRY(espl_grow(t->reader->ctx, &t->fields, &t->capacity, t->count + 1, sizeof *t->fields));
    t->fields[t->count++] = field;
    return ESPL_OK;
}

/* From the quote at t->at to behind the closing one. Text goes to the scratch, which may move: fields hold no data yet.
 */
static espl_status read_quoted(table *t) {
    espl_task_reader *reader = t->reader;
    size_t begin = reader->scratch.count, begin_line = t->line;
    for (t->at++;;) {
        const char *text = reader->text + t->at;
        const char *quote = memchr(text, '"', reader->bytes - t->at);
        if (!quote) {
            t->line = begin_line;
            return espl_fail(reader->ctx, ESPL_FORMAT, "the quote that opens field %zu is not closed", t->count + 1);
        }
        size_t bytes = (size_t)(quote - text);
        for (size_t i = 0; i < bytes; i++)
            t->line += text[i] == '\n';
        ESPL_TRY(espl_bytes_append(reader->ctx, &reader->scratch, text, bytes));
        t->at += bytes + 1;
        if (t->at == reader->bytes || reader->text[t->at] != '"') break;
        ESPL_TRY(espl_bytes_append(reader->ctx, &reader->scratch, "\"", 1));
        t->at++;
    }
    return push_field(t, (espl_task_text){NULL, reader->scratch.count - begin});
}

static bool at_line_end(const table *t) {
    const char *text = t->reader->text + t->at;
    size_t left = t->reader->bytes - t->at;
    return left == 0 || *text == '\n' || (*text == '\r' && (left == 1 || text[1] == '\n'));
}

static espl_status read_field(table *t) {
    espl_task_reader *reader = t->reader;
    if (t->quotes && t->at < reader->bytes && reader->text[t->at] == '"') {
        ESPL_TRY(read_quoted(t));
        if (at_line_end(t) || reader->text[t->at] == t->separator) return ESPL_OK;
        return espl_fail(reader->ctx, ESPL_FORMAT, "'%c' follows the closing quote of field %zu", reader->text[t->at],
                         t->count);
    }
    size_t begin = t->at;
    while (!at_line_end(t) && reader->text[t->at] != t->separator)
        t->at++;
    return push_field(t, (espl_task_text){reader->text + begin, t->at - begin});
}

/* The next record into t->fields; *out_line is where it begins. No fields: an empty line. */
static espl_status read_record(table *t, size_t *out_line) {
    espl_task_reader *reader = t->reader;
    *out_line = t->line;
    t->count = reader->scratch.count = 0;
    while (t->count || !at_line_end(t)) {
        espl_status status = read_field(t);
        if (status) return espl_task_fail_at(reader, t->line, status);
        if (at_line_end(t)) break;
        t->at++;
    }
    if (t->at < reader->bytes) t->at += reader->text[t->at] == '\r' && reader->bytes - t->at > 1 ? 2 : 1;
    t->line++;
    size_t used = 0;
    for (size_t f = 0; f < t->count; f++) {
        if (t->fields[f].data) continue;
        t->fields[f].data = reader->scratch.data + used;
        used += t->fields[f].bytes;
    }
    return ESPL_OK;
}

/* ---- The header ---- */

static espl_status fail_header(table *t, espl_task_text name, const char *what) {
    espl_task_reader *reader = t->reader;
    espl_bytes list = {0};
    espl_status status = ESPL_OK;
    for (size_t f = 0; f < t->count && f < 20 && !status; f++)
        status = espl_bytes_print(reader->ctx, &list, "%s%.*s", f ? ", " : "", espl_task_text_shown(t->fields[f]),
                                  t->fields[f].data);
    if (!status)
        status = espl_fail(reader->ctx, ESPL_FORMAT, "%s column \"%.*s\" in the header: %s", what, (int)name.bytes,
                           name.data, list.data);
    espl_bytes_finish(reader->ctx, &list);
    return status;
}

/* Columns by the names in the record; *out_found says if all are there. */
static espl_status find_names(table *t, bool *out_found) {
    const espl_task_columns *columns = &t->reader->columns;
    *out_found = true;
    for (espl_task_role role = 0; role < ESPL_TASK_ROLE_COUNT; role++) {
        espl_task_text name = columns->names[role];
        uint32_t found = 0;
        for (size_t f = 0; name.data && f < t->count; f++) {
            if (t->fields[f].bytes != name.bytes || memcmp(t->fields[f].data, name.data, name.bytes) != 0) continue;
            if (found) return fail_header(t, name, "there is more than one");
            found = (uint32_t)f + 1;
        }
        t->columns[role] = found;
        if (!name.data || found) continue;
        *out_found = false;
        if (!t->reader->has_numbered) return fail_header(t, name, "there is no");
    }
    return ESPL_OK;
}

/* What the first record says: names, or that there are none. */
static espl_status read_header(table *t, bool *out_is_header) {
    espl_task_reader *reader = t->reader;
    const espl_task_columns *numbers = reader->columns.numbered ? &reader->columns : &reader->numbered;
    *out_is_header = false;
    t->width = t->count;
    if (!reader->columns.numbered) ESPL_TRY(find_names(t, out_is_header));
    if (*out_is_header) return ESPL_OK;
    memcpy(t->columns, numbers->numbers, sizeof t->columns);
    if (!reader->task->extra_fields) return ESPL_OK;
    t->width = 0;
    for (espl_task_role role = 0; role < ESPL_TASK_ROLE_COUNT; role++)
        t->width = t->columns[role] > t->width ? t->columns[role] : t->width;
    return ESPL_OK;
}

/* ---- Rows ---- */

static espl_status add_row(table *t, bool header) {
    espl_task_reader *reader = t->reader;
    espl_task_text fields[ESPL_TASK_ROLE_COUNT] = {{0}};
    if (header && reader->task->skip_short_rows && t->count < t->width) {
        reader->set->skipped++;
        return ESPL_OK;
    }
    bool longer = !header && reader->task->extra_fields;
    if (longer ? t->count < t->width : t->count != t->width)
        return espl_fail(reader->ctx, ESPL_FORMAT, "%zu field%s, %zu%s were expected%s", t->count,
                         t->count == 1 ? "" : "s", t->width, longer ? " or more" : "",
                         header ? " as in the header" : "");
    for (espl_task_role role = 0; role < ESPL_TASK_ROLE_COUNT; role++) {
        if (!t->columns[role]) continue;
        if (t->columns[role] > t->count)
            return espl_fail(reader->ctx, ESPL_FORMAT, "%zu field%s, %s is to be column %u", t->count,
                             t->count == 1 ? "" : "s", espl_task_role_name(role), t->columns[role]);
        fields[role] = t->fields[t->columns[role] - 1];
    }
    return espl_task_add(reader, fields);
}

static espl_status read_rows(table *t) {
    bool begun = false, header = false;
    while (t->at < t->reader->bytes) {
        size_t line;
        espl_status status = ESPL_OK;
        ESPL_TRY(read_record(t, &line));
        if (t->count == 0) continue;
        bool first = !begun;
        begun = true;
        if (first) status = read_header(t, &header);
        if (!status && !(first && header)) status = add_row(t, header);
        if (status) return espl_task_fail_at(t->reader, line, status);
    }
    return ESPL_OK;
}

static espl_status read_table(espl_task_reader *reader, char separator, bool quotes) {
    table t = {.reader = reader, .separator = separator, .quotes = quotes, .line = 1};
    espl_status status = read_rows(&t);
    espl_free(reader->ctx, &t.fields);
    return status;
}

espl_status espl_task_read_tsv(espl_task_reader *reader) {
    return read_table(reader, '\t', false);
}

espl_status espl_task_read_csv(espl_task_reader *reader) {
    return read_table(reader, ',', true);
}
