/* What the steps of all three lists share: reading, patterns, replacing. */
#include "host/file/tokenizer_parts.h"
#include <string.h>

espl_status espl_steps_add(espl_context *ctx, espl_steps *steps, size_t row, espl_step **out_step) {
    ESPL_TRY(espl_grow(ctx, &steps->items, &steps->capacity, steps->count + 1, sizeof *steps->items));
    *out_step = &steps->items[steps->count++];
    **out_step = (espl_step){.row = row};
    return ESPL_OK;
}

void espl_steps_finish(espl_context *ctx, espl_steps *steps) {
    for (size_t i = 0; i < steps->count; i++) {
        espl_free(ctx, &steps->items[i].text);
        espl_free(ctx, &steps->items[i].literal);
        espl_expression_destroy(ctx, &steps->items[i].expression);
    }
    espl_free(ctx, &steps->items);
    *steps = (espl_steps){0};
}

espl_status espl_step_text(espl_context *ctx, espl_step *step, const json_t *object, const char *key) {
    const char *text;
    ESPL_TRY(espl_json_need(ctx, object, key));
    ESPL_TRY(espl_json_string(ctx, object, key, "", &text));
    step->text_bytes = json_string_length(json_object_get(object, key));
    return espl_copy_string(ctx, text, step->text_bytes, &step->text);
}

espl_status espl_step_pattern(espl_context *ctx, espl_step *step, const json_t *object) {
    json_t *pattern;
    ESPL_TRY(espl_json_need(ctx, object, "pattern"));
    ESPL_TRY(espl_json_object(ctx, object, "pattern", &pattern));
    const json_t *literal = json_object_get(pattern, "String"), *regex = json_object_get(pattern, "Regex");
    if (json_is_string(literal) && json_string_length(literal)) {
        step->literal_bytes = json_string_length(literal);
        return espl_copy_string(ctx, json_string_value(literal), step->literal_bytes, &step->literal);
    }
    if (json_is_string(regex))
        return espl_expression_create(ctx, json_string_value(regex), json_string_length(regex), &step->expression);
    return espl_fail(ctx, ESPL_FORMAT, "\"pattern\" is neither {\"String\": text} nor {\"Regex\": text}");
}

espl_status espl_step_metaspace(espl_context *ctx, espl_step *step, const json_t *object) {
    const char *scheme;
    bool prefix_space;
    ESPL_TRY(espl_step_text(ctx, step, object, "replacement"));
    size_t one = 0;
    if (step->text_bytes) espl_utf8_next(step->text, &one);
    if (one == 0 || one != step->text_bytes)
        return espl_fail(ctx, ESPL_FORMAT, "\"replacement\" is \"%.40s\", one character was expected", step->text);
    ESPL_TRY(espl_json_bool(ctx, object, "add_prefix_space", true, &prefix_space));
    ESPL_TRY(espl_json_string(ctx, object, "prepend_scheme", prefix_space ? "always" : "never", &scheme));
    ESPL_TRY(espl_json_bool(ctx, object, "split", true, &step->split));
    static const char *const schemes[] = {"always", "first", "never"};
    for (size_t i = 0; i < ESPL_COUNT(schemes); i++) {
        if (strcmp(scheme, schemes[i])) continue;
        step->prepend = (espl_prepend_scheme)i;
        return ESPL_OK;
    }
    return espl_fail(ctx, ESPL_UNSUPPORTED, "the prepend_scheme \"%.40s\" is not supported", scheme);
}

espl_status espl_steps_read(espl_context *ctx, espl_steps *steps, const json_t *object, const espl_step_row *rows,
                            size_t row_count, const char *sequence_key, const char *what) {
    if (!object || json_is_null(object)) return ESPL_OK;
    const char *type;
    ESPL_TRY(espl_json_need(ctx, object, "type"));
    ESPL_TRY(espl_json_string(ctx, object, "type", "", &type));
    if (strcmp(type, "Sequence") == 0) {
        json_t *parts;
        ESPL_TRY(espl_json_need(ctx, object, sequence_key));
        ESPL_TRY(espl_json_array(ctx, object, sequence_key, &parts));
        for (size_t i = 0; i < json_array_size(parts); i++)
            ESPL_TRY(espl_steps_read(ctx, steps, json_array_get(parts, i), rows, row_count, sequence_key, what));
        return ESPL_OK;
    }
    for (size_t row = 0; row < row_count; row++) {
        if (strcmp(type, rows[row].type)) continue;
        espl_step *step;
        ESPL_TRY(espl_steps_add(ctx, steps, row, &step));
        espl_status status = rows[row].read ? rows[row].read(ctx, step, object) : ESPL_OK;
        return status == ESPL_OK ? status : espl_fail_in(ctx, status, "%s %s", what, type);
    }
    return espl_fail(ctx, ESPL_UNSUPPORTED, "the %s \"%.80s\" is not supported", what, type);
}

static const char *find_bytes(const char *text, size_t bytes, const char *what, size_t what_bytes) {
    const char *end = text + bytes;
    while ((size_t)(end - text) >= what_bytes) {
        text = memchr(text, what[0], (size_t)(end - text) - what_bytes + 1);
        if (!text) return NULL;
        if (memcmp(text, what, what_bytes) == 0) return text;
        text++;
    }
    return NULL;
}

espl_status espl_step_next(espl_context *ctx, const espl_step *step, const char *text, size_t bytes,
                           espl_expression_walk *walk, bool *out_found, size_t *out_begin, size_t *out_end) {
    *out_found = false;
    if (step->expression)
        return espl_expression_next(ctx, step->expression, text, bytes, walk, out_found, out_begin, out_end);
    if (step->literal) {
        const char *found = find_bytes(text + walk->from, bytes - walk->from, step->literal, step->literal_bytes);
        if (!found) return ESPL_OK;
        *out_begin = (size_t)(found - text);
        *out_end = walk->from = *out_begin + step->literal_bytes;
        *out_found = true;
        return ESPL_OK;
    }
    while (walk->from < bytes && !*out_found) {
        *out_begin = walk->from;
        *out_found = step->test(espl_utf8_next(text, &walk->from));
        *out_end = walk->from;
    }
    return ESPL_OK;
}

espl_status espl_step_replace(espl_context *ctx, const espl_step *step, const char *text, size_t bytes,
                              espl_bytes *out) {
    espl_expression_walk walk = {0};
    size_t done = 0;
    for (;;) {
        bool found;
        size_t begin = 0, end = 0;
        ESPL_TRY(espl_step_next(ctx, step, text, bytes, &walk, &found, &begin, &end));
        if (!found) return espl_bytes_append(ctx, out, text + done, bytes - done);
        ESPL_TRY(espl_bytes_append(ctx, out, text + done, begin - done));
        ESPL_TRY(espl_bytes_append(ctx, out, step->text, step->text_bytes));
        done = end;
    }
}
