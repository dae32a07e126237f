/* Reading JSON, see json.h. Writing is in json_print.c. */
#include "host/file/json.h"
#include "host/base/os.h"
#include <float.h>
#include <math.h>
#include <string.h>

espl_status espl_json_parse(espl_context *ctx, const void *text, size_t bytes, const char *name, json_t **out_root) {
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    json_error_t error;
    *out_root = json_loadb(text, bytes, flags, &error);
    if (!*out_root && json_error_code(&error) == json_error_numeric_overflow)
        *out_root = json_loadb(text, bytes, flags | JSON_DECODE_INT_AS_REAL, &error);
    if (*out_root) return ESPL_OK;
    if (json_error_code(&error) == json_error_out_of_memory)
        return espl_fail(ctx, ESPL_HOST_MEMORY, "%s: no host memory for a JSON text of %zu bytes", name, bytes);
    return espl_fail(ctx, ESPL_FORMAT, "%s: line %d column %d: %s", name, error.line, error.column, error.text);
}

espl_status espl_json_load(espl_context *ctx, const char *path, json_t **out_root) {
    *out_root = NULL;
    espl_mapping mapping;
    ESPL_TRY(espl_os_map(ctx, path, &mapping));
    espl_status status = espl_json_parse(ctx, mapping.data, mapping.bytes, path, out_root);
    espl_os_unmap(&mapping);
    return status;
}

void espl_json_destroy(json_t **root) {
    json_decref(*root);
    *root = NULL;
}

const char *espl_json_type_name(const json_t *value) {
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a number", [JSON_TRUE] = "true or false",
        [JSON_FALSE] = "true or false", [JSON_NULL] = "null",
    };
    return value ? names[json_typeof(value)] : "absent";
}

static espl_status fail_type(espl_context *ctx, const char *key, const json_t *value, const char *expected) {
    return espl_fail(ctx, ESPL_FORMAT, "\"%s\" is %s, %s was expected", key, espl_json_type_name(value), expected);
}

/* *out_value is NULL where the default is to be taken. */
static espl_status get(espl_context *ctx, const json_t *object, const char *key, json_t **out_value) {
    *out_value = NULL;
    if (!object) return ESPL_OK;
    if (!json_is_object(object))
        return espl_fail(ctx, ESPL_FORMAT, "%s stands where an object with \"%s\" was expected",
                         espl_json_type_name(object), key);
    json_t *value = json_object_get(object, key);
    if (value && !json_is_null(value)) *out_value = value;
    return ESPL_OK;
}

bool espl_json_as_i64(const json_t *value, int64_t *out_value) {
    if (json_is_integer(value)) {
        *out_value = json_integer_value(value);
        return true;
    }
    double number = json_is_real(value) ? json_real_value(value) : NAN;
    if (!(fabs(number) <= 0x1p53) || number != floor(number)) return false;
    *out_value = (int64_t)number;
    return true;
}

bool espl_json_number(const char *text, double *out_value) {
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
    const bool is = json_is_real(value);
    if (is) *out_value = json_real_value(value);
    json_decref(value);
    return is;
}

espl_status espl_json_i64(espl_context *ctx, const json_t *object, const char *key, int64_t default_value,
                          int64_t *out_value) {
    *out_value = default_value;
    json_t *value;
    ESPL_TRY(get(ctx, object, key, &value));
    if (!value || espl_json_as_i64(value, out_value)) return ESPL_OK;
    if (json_is_real(value))
        return espl_fail(ctx, ESPL_FORMAT, "\"%s\" is %g, an integer was expected", key, json_real_value(value));
    return fail_type(ctx, key, value, "an integer");
}

static espl_status get_unsigned(espl_context *ctx, const json_t *object, const char *key, uint64_t limit,
                                uint64_t *in_out_value) {
    json_t *value;
    int64_t number;
    ESPL_TRY(get(ctx, object, key, &value));
    if (!value) return ESPL_OK;
    ESPL_TRY(espl_json_i64(ctx, object, key, 0, &number));
    if (number < 0 || (uint64_t)number > limit)
        return espl_fail(ctx, ESPL_FORMAT, "\"%s\" is %lld, an integer from 0 to %llu was expected", key,
                         (long long)number, (unsigned long long)limit);
    *in_out_value = (uint64_t)number;
    return ESPL_OK;
}

espl_status espl_json_u32(espl_context *ctx, const json_t *object, const char *key, uint32_t default_value,
                          uint32_t *out_value) {
    uint64_t value = default_value;
    *out_value = default_value;
    ESPL_TRY(get_unsigned(ctx, object, key, UINT32_MAX, &value));
    *out_value = (uint32_t)value;
    return ESPL_OK;
}

espl_status espl_json_u64(espl_context *ctx, const json_t *object, const char *key, uint64_t default_value,
                          uint64_t *out_value) {
    *out_value = default_value;
    return get_unsigned(ctx, object, key, INT64_MAX, out_value);
}

espl_status espl_json_f64(espl_context *ctx, const json_t *object, const char *key, double default_value,
                          double *out_value) {
    *out_value = default_value;
    json_t *value;
    ESPL_TRY(get(ctx, object, key, &value));
    if (!value) return ESPL_OK;
    if (!json_is_number(value)) return fail_type(ctx, key, value, "a number");
    *out_value = json_number_value(value);
    return ESPL_OK;
}

espl_status espl_json_f32(espl_context *ctx, const json_t *object, const char *key, float default_value,
                          float *out_value) {
    *out_value = default_value;
    double number;
    ESPL_TRY(espl_json_f64(ctx, object, key, (double)default_value, &number));
    if (fabs(number) > (double)FLT_MAX && fabs(number) <= DBL_MAX)
        return espl_fail(ctx, ESPL_FORMAT, "\"%s\" is %g, beyond a 32-bit float", key, number);
    *out_value = (float)number;
    return ESPL_OK;
}

espl_status espl_json_bool(espl_context *ctx, const json_t *object, const char *key, bool default_value,
                           bool *out_value) {
    *out_value = default_value;
    json_t *value;
    ESPL_TRY(get(ctx, object, key, &value));
    if (!value) return ESPL_OK;
    if (!json_is_boolean(value)) return fail_type(ctx, key, value, "true or false");
    *out_value = json_is_true(value);
    return ESPL_OK;
}

espl_status espl_json_string(espl_context *ctx, const json_t *object, const char *key, const char *default_value,
                             const char **out_value) {
    *out_value = default_value;
    json_t *value;
    ESPL_TRY(get(ctx, object, key, &value));
    if (!value) return ESPL_OK;
    if (!json_is_string(value)) return fail_type(ctx, key, value, "a string");
    *out_value = json_string_value(value);
    return ESPL_OK;
}

espl_status espl_json_object(espl_context *ctx, const json_t *object, const char *key, json_t **out_value) {
    ESPL_TRY(get(ctx, object, key, out_value));
    if (!*out_value || json_is_object(*out_value)) return ESPL_OK;
    json_t *value = *out_value;
    *out_value = NULL;
    return fail_type(ctx, key, value, "an object");
}

espl_status espl_json_array(espl_context *ctx, const json_t *object, const char *key, json_t **out_value) {
    ESPL_TRY(get(ctx, object, key, out_value));
    if (!*out_value || json_is_array(*out_value)) return ESPL_OK;
    json_t *value = *out_value;
    *out_value = NULL;
    return fail_type(ctx, key, value, "an array");
}

espl_status espl_json_need(espl_context *ctx, const json_t *object, const char *key) {
    json_t *value;
    ESPL_TRY(get(ctx, object, key, &value));
    return value ? ESPL_OK : espl_fail(ctx, ESPL_FORMAT, "\"%s\" is missing", key);
}
