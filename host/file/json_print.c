/* Writing JSON the way Python's json module does, so that a file saved here and one saved by PEFT can be compared with
 * diff. jansson's own writer prints 0.1 as 0.10000000000000001. */
#include "host/base/os.h"
#include "host/file/json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_LIMIT = 2048 };

espl_status espl_json_set(espl_context *ctx, json_t *object, const char *key, json_t *value) {
    if (value && json_object_set_new(object, key, value) == 0) return ESPL_OK;
    return espl_fail(ctx, ESPL_HOST_MEMORY, "no host memory for the JSON value \"%s\"", key);
}

espl_status espl_json_push(espl_context *ctx, json_t *array, json_t *value) {
    if (value && json_array_append_new(array, value) == 0) return ESPL_OK;
    return espl_fail(ctx, ESPL_HOST_MEMORY, "no host memory for item %zu of a JSON array", json_array_size(array));
}

/* The locale of the host program may print a decimal comma, of one byte or more. */
static void force_decimal_point(char *text) {
    char *to = text;
    bool in_point = false;
    for (const char *from = text; *from; from++) {
        bool plain = strchr("0123456789+-e", *from) != NULL;
        if (plain) *to++ = *from;
        else if (!in_point) *to++ = '.';
        in_point = !plain;
    }
    *to = 0;
}

static espl_status print_real(espl_context *ctx, double value, espl_bytes *out) {
    if (!isfinite(value)) return espl_fail(ctx, ESPL_ARGUMENT, "a JSON number cannot be %g", value);
    /* Fewest digits that read back as the same double; laid out by Python's rule for exponents. */
    char text[400];
    int digits = 1;
    for (; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, value);
        if (strtod(text, NULL) == value) break;
    }
    snprintf(text, sizeof text, "%.*e", digits - 1, value);
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent >= -4 && exponent < 16) {
        int decimals = digits - 1 - exponent;
        snprintf(text, sizeof text, "%.*f", decimals < 1 ? 1 : decimals, value);
    }
    force_decimal_point(text);
    return espl_bytes_append(ctx, out, text, strlen(text));
}

/* Strings of jansson are valid UTF-8, so the length of a sequence follows from its first byte. */
static uint32_t next_code_point(const unsigned char *text, size_t *in_out_at) {
    uint32_t first = text[(*in_out_at)++];
    if (first < 0x80) return first;
    int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    uint32_t code = first & (0x3fu >> more);
    while (more--) code = code << 6 | (text[(*in_out_at)++] & 0x3fu);
    return code;
}

static espl_status print_string(espl_context *ctx, const char *text, size_t bytes, espl_bytes *out) {
    static const char short_escapes[][2] = {{'"', '"'}, {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'}, {'\t', 't'},
                                            {'\b', 'b'}, {'\f', 'f'}};
    ESPL_TRY(espl_bytes_append(ctx, out, "\"", 1));
    for (size_t at = 0; at < bytes;) {
        uint32_t code = next_code_point((const unsigned char *)text, &at);
        const char *escape = NULL;
        for (size_t i = 0; i < ESPL_COUNT(short_escapes); i++)
            if (code == (unsigned char)short_escapes[i][0]) escape = &short_escapes[i][1];
        if (escape) ESPL_TRY(espl_bytes_print(ctx, out, "\\%c", *escape));
        else if (code >= 0x20 && code < 0x7f) ESPL_TRY(espl_bytes_print(ctx, out, "%c", (int)code));
        else if (code < 0x10000) ESPL_TRY(espl_bytes_print(ctx, out, "\\u%04x", (unsigned)code));
        else ESPL_TRY(espl_bytes_print(ctx, out, "\\u%04x\\u%04x", 0xd7c0u + (unsigned)(code >> 10),
                                       0xdc00u + (unsigned)(code & 0x3ff)));
    }
    return espl_bytes_append(ctx, out, "\"", 1);
}

static espl_status print_line_start(espl_context *ctx, size_t depth, espl_bytes *out) {
    ESPL_TRY(espl_bytes_append(ctx, out, "\n", 1));
    return espl_bytes_print(ctx, out, "%*s", (int)(2 * depth), "");
}

static espl_status print_value(espl_context *ctx, const json_t *value, size_t depth, espl_bytes *out);

static int compare_keys(const void *a, const void *b) {
    const char *left, *right;
    memcpy(&left, a, sizeof left);
    memcpy(&right, b, sizeof right);
    return strcmp(left, right);
}

static espl_status print_object(espl_context *ctx, json_t *object, size_t depth, espl_bytes *out) {
    size_t count = json_object_size(object), filled = 0;
    if (count == 0) return espl_bytes_append(ctx, out, "{}", 2);
    const char **keys, *key;
    json_t *item;
    espl_status status = ESPL_OK;
    ESPL_TRY(espl_new(ctx, count * sizeof *keys, &keys));
    json_object_foreach(object, key, item) keys[filled++] = key;
    qsort(keys, count, sizeof *keys, compare_keys);
    ESPL_GOTO(espl_bytes_append(ctx, out, "{", 1));
    for (size_t i = 0; i < count; i++) {
        if (i) ESPL_GOTO(espl_bytes_append(ctx, out, ",", 1));
        ESPL_GOTO(print_line_start(ctx, depth + 1, out));
        ESPL_GOTO(print_string(ctx, keys[i], strlen(keys[i]), out));
        ESPL_GOTO(espl_bytes_append(ctx, out, ": ", 2));
        ESPL_GOTO(print_value(ctx, json_object_get(object, keys[i]), depth + 1, out));
    }
    ESPL_GOTO(print_line_start(ctx, depth, out));
    ESPL_GOTO(espl_bytes_append(ctx, out, "}", 1));
fail:
    espl_free(ctx, &keys);
    return status;
}

static espl_status print_array(espl_context *ctx, const json_t *array, size_t depth, espl_bytes *out) {
    size_t count = json_array_size(array);
    if (count == 0) return espl_bytes_append(ctx, out, "[]", 2);
    ESPL_TRY(espl_bytes_append(ctx, out, "[", 1));
    for (size_t i = 0; i < count; i++) {
        if (i) ESPL_TRY(espl_bytes_append(ctx, out, ",", 1));
        ESPL_TRY(print_line_start(ctx, depth + 1, out));
        ESPL_TRY(print_value(ctx, json_array_get(array, i), depth + 1, out));
    }
    ESPL_TRY(print_line_start(ctx, depth, out));
    return espl_bytes_append(ctx, out, "]", 1);
}

static espl_status print_value(espl_context *ctx, const json_t *value, size_t depth, espl_bytes *out) {
    if (!value) return espl_fail(ctx, ESPL_ARGUMENT, "a JSON value to be printed is NULL");
    if (depth > DEPTH_LIMIT) return espl_fail(ctx, ESPL_LIMIT, "a JSON value is nested deeper than %d", DEPTH_LIMIT);
    switch (json_typeof(value)) {
    /* jansson iterates objects only through a non-const pointer; nothing is changed. */
    case JSON_OBJECT: return print_object(ctx, (json_t *)(uintptr_t)value, depth, out);
    case JSON_ARRAY: return print_array(ctx, value, depth, out);
    case JSON_STRING: return print_string(ctx, json_string_value(value), json_string_length(value), out);
    case JSON_INTEGER: return espl_bytes_print(ctx, out, "%lld", (long long)json_integer_value(value));
    case JSON_REAL: return print_real(ctx, json_real_value(value), out);
    case JSON_TRUE: return espl_bytes_append(ctx, out, "true", 4);
    case JSON_FALSE: return espl_bytes_append(ctx, out, "false", 5);
    case JSON_NULL: return espl_bytes_append(ctx, out, "null", 4);
    }
    return espl_fail(ctx, ESPL_INTERNAL, "a JSON value has the unknown type %d", (int)json_typeof(value));
}

espl_status espl_json_print(espl_context *ctx, const json_t *root, espl_bytes *out_text) {
    return print_value(ctx, root, 0, out_text);
}

espl_status espl_json_save(espl_context *ctx, const char *path, const json_t *root) {
    espl_bytes text = {0};
    espl_status status = espl_json_print(ctx, root, &text);
    if (status == ESPL_OK) status = espl_os_write_file(ctx, path, text.data, text.count);
    espl_bytes_finish(ctx, &text);
    return status;
}

espl_status espl_json_replace(espl_context *ctx, const char *folder, const char *name, const json_t *root,
                              espl_replace *out_replace) {
    espl_bytes text = {0};
    char *path = NULL;
    espl_status status = espl_json_print(ctx, root, &text);
    if (status == ESPL_OK) status = espl_format(ctx, &path, "%s/%s", folder, name);
    if (status == ESPL_OK) status = espl_os_replace_begin(ctx, path, out_replace);
    if (status == ESPL_OK) status = espl_os_replace_write(ctx, out_replace, text.data, text.count);
    espl_free(ctx, &path);
    espl_bytes_finish(ctx, &text);
    return status;
}
