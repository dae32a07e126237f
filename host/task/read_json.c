/* JSON lines: one object a line, columns are its keys. */
#include "host/task/read_private.h"
#include <string.h>

/* The column's value as text: strings as they are, numbers as JSON writes them (into the scratch). */
static espl_status text_of(espl_task_reader *reader, espl_task_role role, const json_t *value, espl_task_text *out_span) {
    if (json_is_string(value)) {
        *out_span = (espl_task_text){json_string_value(value), json_string_length(value)};
        return ESPL_OK;
    }
    if (!json_is_number(value) || role != ESPL_TASK_ROLE_LABEL)
        return espl_fail(reader->ctx, ESPL_FORMAT, "\"%.*s\" is %s, a string was expected",
                         (int)reader->columns.names[role].bytes, reader->columns.names[role].data,
                         espl_json_type_name(value));
    reader->scratch.count = 0;
    ESPL_TRY(espl_json_print(reader->ctx, value, &reader->scratch));
    while (reader->scratch.count && reader->scratch.data[reader->scratch.count - 1] == '\n')
        reader->scratch.count--;
    *out_span = (espl_task_text){reader->scratch.data, reader->scratch.count};
    return ESPL_OK;
}

/* A source: text, or triples as a line. */
static espl_status source_of(espl_task_reader *reader, const json_t *value, espl_task_text *out_span) {
    espl_source_form form = reader->task->source;
    if (form != ESPL_SOURCE_TRIPLES && form != ESPL_SOURCE_LOWER_TRIPLES)
        return text_of(reader, ESPL_TASK_ROLE_TEXT, value, out_span);
    reader->scratch.count = 0;
    ESPL_TRY(espl_linearize_triples(reader->ctx, value, form == ESPL_SOURCE_LOWER_TRIPLES, &reader->scratch));
    *out_span = (espl_task_text){reader->scratch.data, reader->scratch.count};
    return ESPL_OK;
}

/* The target is one text or a list of them. */
static espl_status read_generation(espl_task_reader *reader, json_t *const values[ESPL_TASK_ROLE_COUNT]) {
    espl_task_text fields[ESPL_TASK_ROLE_COUNT] = {{0}};
    const json_t *target = values[ESPL_TASK_ROLE_TARGET];
    ESPL_TRY(source_of(reader, values[ESPL_TASK_ROLE_TEXT], &fields[ESPL_TASK_ROLE_TEXT]));
    if (!json_is_array(target)) {
        ESPL_TRY(text_of(reader, ESPL_TASK_ROLE_TARGET, target, &fields[ESPL_TASK_ROLE_TARGET]));
        return espl_task_add(reader, fields);
    }
    if (json_array_size(target) == 0) return espl_fail(reader->ctx, ESPL_FORMAT, "the list of references is empty");
    for (size_t i = 0; i < json_array_size(target); i++) {
        ESPL_TRY(text_of(reader, ESPL_TASK_ROLE_TARGET, json_array_get(target, i), &fields[ESPL_TASK_ROLE_TARGET]));
        ESPL_TRY(espl_task_add(reader, fields));
    }
    return ESPL_OK;
}

static espl_status read_row(espl_task_reader *reader, json_t *const values[ESPL_TASK_ROLE_COUNT]) {
    espl_task_text fields[ESPL_TASK_ROLE_COUNT] = {{0}};
    for (espl_task_role role = 0; role < ESPL_TASK_ROLE_COUNT; role++) {
        if (values[role]) ESPL_TRY(text_of(reader, role, values[role], &fields[role]));
    }
    return espl_task_add(reader, fields);
}

/* Two lists of strings of one length. */
static espl_status read_sentence(espl_task_reader *reader, json_t *const values[ESPL_TASK_ROLE_COUNT]) {
    const json_t *words = values[ESPL_TASK_ROLE_TEXT], *tags = values[ESPL_TASK_ROLE_LABEL];
    size_t count = json_array_size(words);
    if (!json_is_array(words) || !json_is_array(tags))
        return espl_fail(reader->ctx, ESPL_FORMAT, "words and tags are %s and %s, two arrays were expected",
                         espl_json_type_name(words), espl_json_type_name(tags));
    if (count == 0 || count != json_array_size(tags))
        return espl_fail(reader->ctx, ESPL_FORMAT, "there are %zu words and %zu tags", count, json_array_size(tags));
    espl_task_text *spans;
    size_t word;
    espl_status status = ESPL_OK;
    ESPL_TRY(espl_new(reader->ctx, 2 * count * sizeof *spans, &spans));
    for (size_t i = 0; i < 2 * count && !status; i++) {
        const json_t *value = i < count ? json_array_get(words, i) : json_array_get(tags, i - count);
        spans[i] = (espl_task_text){json_string_value(value), json_string_length(value)};
        if (!json_is_string(value))
            status = espl_fail(reader->ctx, ESPL_FORMAT, "%s %zu is %s, a string was expected",
                               i < count ? "word" : "tag", (i < count ? i : i - count) + 1, espl_json_type_name(value));
    }
    if (!status) status = espl_task_add_sentence(reader, spans, spans + count, count, &word);
    espl_free(reader->ctx, &spans);
    return status;
}

static espl_status read_object(espl_task_reader *reader, const json_t *object) {
    json_t *values[ESPL_TASK_ROLE_COUNT] = {0};
    if (!json_is_object(object))
        return espl_fail(reader->ctx, ESPL_FORMAT, "%s, an object was expected", espl_json_type_name(object));
    for (espl_task_role role = 0; role < ESPL_TASK_ROLE_COUNT; role++) {
        espl_task_text name = reader->columns.names[role];
        if (!name.data) continue;
        reader->tag.count = 0; /* for its zero byte */
        ESPL_TRY(espl_bytes_append(reader->ctx, &reader->tag, name.data, name.bytes));
        values[role] = json_object_get(object, reader->tag.data);
        if (!values[role] || json_is_null(values[role]))
            return espl_fail(reader->ctx, ESPL_FORMAT, "\"%.*s\" is missing", (int)name.bytes, name.data);
    }
    switch (reader->task->kind) {
    case ESPL_TASK_TAGGING: return read_sentence(reader, values);
    case ESPL_TASK_GENERATION: return read_generation(reader, values);
    default: return read_row(reader, values);
    }
}

static bool is_blank(const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r') return false;
    }
    return true;
}

espl_status espl_task_read_jsonl(espl_task_reader *reader) {
    size_t line = 1;
    for (size_t at = 0, bytes; at < reader->bytes; at += bytes + 1, line++) {
        const char *text = reader->text + at, *end = memchr(text, '\n', reader->bytes - at);
        bytes = end ? (size_t)(end - text) : reader->bytes - at;
        if (is_blank(text, bytes)) continue;
        json_t *object;
        espl_status status = espl_json_parse(reader->ctx, text, bytes, "JSON", &object);
        if (!status) status = read_object(reader, object);
        espl_json_destroy(&object);
        if (status) return espl_task_fail_at(reader, line, status);
    }
    return ESPL_OK;
}
