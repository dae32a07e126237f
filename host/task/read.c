/* Reading a task's file: columns, the file as text, the layout. */
#include "host/base/os.h"
#include "host/file/utf8.h"
#include "host/task/read_private.h"
#include <stdlib.h>
#include <string.h>

static const char *const role_names[ESPL_TASK_ROLE_COUNT] = {"text", "pair", "label", "target"};

const char *espl_task_role_name(espl_task_role role) {
    return role_names[role];
}

bool espl_task_role_needed(espl_task_kind kind, espl_task_role role) {
    return role == ESPL_TASK_ROLE_TEXT || role == (kind == ESPL_TASK_GENERATION ? ESPL_TASK_ROLE_TARGET : ESPL_TASK_ROLE_LABEL);
}

espl_status espl_task_fail_at(espl_task_reader *reader, size_t line, espl_status status) {
    return espl_fail_in(reader->ctx, status, "%s:%zu", reader->path, line);
}

int espl_task_text_shown(espl_task_text text) {
    enum { MOST = 60 };
    size_t bytes = text.bytes;
    if (bytes > MOST) {
        bytes = MOST;
        while (bytes && ((unsigned char)text.data[bytes] & 0xc0) == 0x80)
            bytes--;
    }
    return (int)bytes;
}

/* ---- Columns ---- */

/* Digits alone are a number; 0 where the text is something else or too large. */
static uint32_t column_number(espl_task_text name) {
    uint32_t number = 0;
    for (size_t i = 0; i < name.bytes; i++) {
        if (name.data[i] < '0' || name.data[i] > '9' || number > 99999) return 0;
        number = number * 10 + (uint32_t)(name.data[i] - '0');
    }
    return number;
}

static espl_status fail_columns(espl_context *ctx, const char *columns) {
    return espl_fail(ctx, ESPL_ARGUMENT,
                     "columns \"%s\" are not of the form text=name,label=name with the roles text, "
                     "pair, label, target",
                     columns);
}

static espl_status parse_columns(espl_context *ctx, const char *text, espl_task_kind kind, espl_task_columns *out) {
    *out = (espl_task_columns){.numbered = true};
    for (const char *at = text; *at;) {
        size_t bytes = strcspn(at, ","), name_bytes = strcspn(at, "=,");
        size_t role = 0;
        while (role < ESPL_TASK_ROLE_COUNT &&
               (strlen(role_names[role]) != name_bytes || memcmp(role_names[role], at, name_bytes) != 0))
            role++;
        if (role == ESPL_TASK_ROLE_COUNT || bytes < name_bytes + 2 || out->names[role].data) return fail_columns(ctx, text);
        out->names[role] = (espl_task_text){at + name_bytes + 1, bytes - name_bytes - 1};
        out->numbers[role] = column_number(out->names[role]);
        out->numbered = out->numbered && out->numbers[role];
        at += bytes + (at[bytes] == ',');
    }
    for (espl_task_role role = 0; role < ESPL_TASK_ROLE_COUNT; role++) {
        if (espl_task_role_needed(kind, role) && !out->names[role].data)
            return espl_fail(ctx, ESPL_ARGUMENT, "columns \"%s\" lack %s=", text, role_names[role]);
    }
    return ESPL_OK;
}

static espl_status choose_columns(espl_task_reader *reader, const espl_task_read_params *params) {
    const espl_task *task = reader->task;
    const char *columns = params->columns ? params->columns : task->columns;
    if (columns) ESPL_TRY(parse_columns(reader->ctx, columns, task->kind, &reader->columns));
    reader->own_columns = params->columns != NULL;
    reader->has_numbered = !params->columns && task->numbered;
    if (!reader->has_numbered) return ESPL_OK;
    return parse_columns(reader->ctx, task->numbered, task->kind, &reader->numbered);
}

static espl_status choose_labels(espl_task_reader *reader, const espl_task_read_params *params) {
    const espl_labels *labels = params->labels ? params->labels : &reader->task->labels;
    reader->gather = labels->count == 0;
    for (uint32_t i = 0; i < labels->count; i++) {
        bool was_there = false;
        ESPL_TRY(espl_map_add(reader->ctx, &reader->labels, labels->names[i], strlen(labels->names[i]), i, &was_there));
        if (was_there) return espl_fail(reader->ctx, ESPL_ARGUMENT, "label \"%s\" is given twice", labels->names[i]);
    }
    return ESPL_OK;
}

/* ---- The file ---- */

/* Valid UTF-8 without zero bytes, or a sentence with the line. */
static espl_status check_text(espl_task_reader *reader) {
    const char *text = reader->text;
    size_t line = 1, line_begin = 0;
    for (size_t at = 0; at < reader->bytes;) {
        int length = espl_utf8_length(text + at, reader->bytes - at, NULL);
        if (length < 0 || text[at] == 0)
            return espl_fail(reader->ctx, ESPL_FORMAT,
                             "%s:%zu: byte %zu of the line is 0x%02x, which is not UTF-8 text", reader->path, line,
                             at - line_begin + 1, (unsigned)(unsigned char)text[at]);
        at += (size_t)length;
        if (text[at - 1] != '\n') continue;
        line++;
        line_begin = at;
    }
    return ESPL_OK;
}

static const struct {
    const char *extension;
    espl_layout layout, tagging;
} extensions[] = {
    {".tsv", ESPL_LAYOUT_TSV, ESPL_LAYOUT_CONLL},          {".csv", ESPL_LAYOUT_CSV, ESPL_LAYOUT_BY_EXTENSION},
    {".jsonl", ESPL_LAYOUT_JSONL, ESPL_LAYOUT_JSONL},      {".conll", ESPL_LAYOUT_BY_EXTENSION, ESPL_LAYOUT_CONLL},
    {".bio", ESPL_LAYOUT_BY_EXTENSION, ESPL_LAYOUT_CONLL}, {".txt", ESPL_LAYOUT_BY_EXTENSION, ESPL_LAYOUT_CONLL}};

static espl_layout choose_layout(const espl_task_reader *reader) {
    bool tagging = reader->task->kind == ESPL_TASK_TAGGING;
    size_t path_bytes = strlen(reader->path);
    if (reader->task->layout) return reader->task->layout;
    for (size_t i = 0; i < ESPL_COUNT(extensions); i++) {
        size_t bytes = strlen(extensions[i].extension);
        if (path_bytes >= bytes && strcmp(reader->path + path_bytes - bytes, extensions[i].extension) == 0)
            return tagging ? extensions[i].tagging : extensions[i].layout;
    }
    return ESPL_LAYOUT_BY_EXTENSION;
}

static espl_status read_text(espl_task_reader *reader, const espl_mapping *map) {
    static espl_status (*const readers[])(espl_task_reader *) = {
        [ESPL_LAYOUT_TSV] = espl_task_read_tsv,
        [ESPL_LAYOUT_CSV] = espl_task_read_csv,
        [ESPL_LAYOUT_JSONL] = espl_task_read_jsonl,
        [ESPL_LAYOUT_CONLL] = espl_task_read_conll,
    };
    espl_layout layout = choose_layout(reader);
    if (layout == ESPL_LAYOUT_BY_EXTENSION)
        return espl_fail(reader->ctx, ESPL_FORMAT, "%s: the name does not end in %s", reader->path,
                         reader->task->kind == ESPL_TASK_TAGGING ? ".conll, .bio, .txt, .tsv or .jsonl"
                                                                 : ".tsv, .csv or .jsonl");
    size_t mark = map->bytes >= 3 && memcmp(map->data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    reader->text = (const char *)map->data + mark;
    reader->bytes = map->bytes - mark;
    if (reader->bytes == 0) return espl_fail(reader->ctx, ESPL_FORMAT, "%s:1: the file is empty", reader->path);
    ESPL_TRY(check_text(reader));
    ESPL_TRY(readers[layout](reader));
    if (reader->set->count == 0) return espl_fail(reader->ctx, ESPL_FORMAT, "%s:1: there is no row", reader->path);
    return espl_task_complete(reader);
}

espl_status espl_task_read(espl_context *ctx, const espl_task *task, const char *path,
                           const espl_task_read_params *params, espl_task_set *out_set) {
    const espl_task_read_params filled = params ? *params : (espl_task_read_params){0};
    *out_set = (espl_task_set){.task = task, .ctx = ctx};
    espl_task_reader reader = {.ctx = ctx, .task = task, .path = path, .set = out_set, .bio2 = filled.bio2};
    espl_mapping map = {0};
    espl_status status;
    ESPL_GOTO(choose_columns(&reader, &filled));
    ESPL_GOTO(choose_labels(&reader, &filled));
    ESPL_GOTO(espl_os_map(ctx, path, &map));
    ESPL_GOTO(read_text(&reader, &map));
fail:
    if (map.data) espl_os_unmap(&map);
    espl_map_finish(ctx, &reader.labels);
    espl_map_finish(ctx, &reader.sources);
    espl_free(ctx, &reader.references);
    espl_bytes_finish(ctx, &reader.scratch);
    espl_bytes_finish(ctx, &reader.tag);
    if (status) espl_task_set_finish(out_set);
    return status;
}
