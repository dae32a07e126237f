/* From the words of a spec to the JSON that an adapter's folder holds. */
#include "adapters/spec.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

espl_status espl_spec_list(espl_adapter *adapter, const char *key, const char *value) {
    json_t *list = json_array();
    for (const char *at = value; *at;) {
        const size_t bytes = strcspn(at, "+");
        espl_status status = espl_json_push(adapter->model->ctx, list, json_stringn(at, bytes));
        if (status != ESPL_OK) {
            json_decref(list);
            return status;
        }
        at += bytes + (at[bytes] != 0);
    }
    return espl_json_set(adapter->model->ctx, adapter->config, key, list);
}

espl_status espl_spec_number(espl_adapter *adapter, const char *spec_key, const char *key, const char *value, bool whole) {
    double number;
    if (!espl_json_number(value, &number) || (whole && number != floor(number)))
        return espl_fail(adapter->model->ctx, ESPL_ARGUMENT, "%s: %s=%s is not a%s number", adapter->method->name,
                         spec_key, value ? value : "", whole ? " whole" : "");
    /* As PEFT writes them: 16, not 16.0. */
    const bool integer = number == floor(number) && fabs(number) < 1e15;
    return espl_json_set(adapter->model->ctx, adapter->config, key, integer ? json_integer((json_int_t)number)
                                                                         : json_real(number));
}

espl_status espl_spec_bool(espl_adapter *adapter, const char *key, const char *value) {
    const bool on = !value || !*value || strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
    if (!on && strcmp(value, "false") != 0 && strcmp(value, "0") != 0)
        return espl_fail(adapter->model->ctx, ESPL_ARGUMENT, "%s: %s is neither true nor false", adapter->method->name, value);
    return espl_json_set(adapter->model->ctx, adapter->config, key, json_boolean(on));
}

espl_status espl_spec_text(espl_adapter *adapter, const char *spec_key, const char *key, const char *value) {
    if (!value || !*value)
        return espl_fail(adapter->model->ctx, ESPL_ARGUMENT, "%s: %s needs a value", adapter->method->name, spec_key);
    return espl_json_set(adapter->model->ctx, adapter->config, key, json_string(value));
}

static espl_status set_numbers(espl_adapter *adapter, const char *spec_key, const char *key, const char *value) {
    espl_context *ctx = adapter->model->ctx;
    json_t *list = json_array();
    for (const char *at = value ? value : "x"; *at;) {
        char *end;
        const long number = strtol(at, &end, 10);
        espl_status status = end == at || (*end && *end != '+')
                                 ? espl_fail(ctx, ESPL_ARGUMENT, "%s: %s=%s is no list of whole numbers joined by +",
                                             adapter->method->name, spec_key, value ? value : "")
                                 : espl_json_push(ctx, list, json_integer(number));
        if (status != ESPL_OK) {
            json_decref(list);
            return status;
        }
        at = end + (*end == '+');
    }
    return espl_json_set(ctx, adapter->config, key, list);
}

static espl_status set_reals(espl_adapter *adapter, const char *spec_key, const char *key, const char *value) {
    espl_context *ctx = adapter->model->ctx;
    if (!value || !strchr(value, '+')) return espl_spec_number(adapter, spec_key, key, value, false);
    ESPL_TRY(espl_spec_list(adapter, key, value));
    json_t *list = json_object_get(adapter->config, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        double number;
        if (!espl_json_number(text, &number))
            return espl_fail(ctx, ESPL_ARGUMENT, "%s: %s=%s: %s is not a number", adapter->method->name, spec_key, value, text);
        if (json_array_set_new(list, i, json_real(number)) != 0)
            return espl_fail(ctx, ESPL_HOST_MEMORY, "the configuration of an adapter needs memory");
    }
    return ESPL_OK;
}

/* Whether values, ", " between, has this text. */
static bool is_one(const char *values, const char *text) {
    const size_t bytes = strlen(text);
    for (const char *at = values; at; at = strstr(at, ", ")) {
        at += *at == ',' ? 2 : 0;
        if (strncmp(at, text, bytes) == 0 && (at[bytes] == 0 || at[bytes] == ',')) return true;
    }
    return false;
}

static espl_status set_text(espl_adapter *adapter, const espl_spec_row *row, const char *value) {
    const bool init = row->kind == ESPL_SPEC_INIT;
    if (init && value && *value && !is_one(row->values, value))
        return espl_fail(adapter->model->ctx, ESPL_ARGUMENT, "%s: %s=%s is not one of %s", adapter->method->name, row->spec_key,
                         value, row->values);
    if (init && value && (strcmp(value, "default") == 0 || strcmp(value, "random") == 0))
        return espl_json_set(adapter->model->ctx, adapter->config, row->key, json_boolean(*value == 'd'));
    return espl_spec_text(adapter, row->spec_key, row->key, value);
}

static espl_status set_row(espl_adapter *adapter, const espl_spec_row *row, const char *value) {
    const char *key = row->spec_key;
    double number;
    switch (row->kind) {
    case ESPL_SPEC_WHOLE: return espl_spec_number(adapter, key, row->key, value, true);
    case ESPL_SPEC_NUMBER: return espl_spec_number(adapter, key, row->key, value, false);
    case ESPL_SPEC_BOOL: return espl_spec_bool(adapter, row->key, value);
    case ESPL_SPEC_LIST:
        if (!value || !*value) return espl_spec_text(adapter, key, row->key, value);
        return espl_spec_list(adapter, row->key, value);
    case ESPL_SPEC_NUMBERS: return set_numbers(adapter, key, row->key, value);
    case ESPL_SPEC_REALS: return set_reals(adapter, key, row->key, value);
    case ESPL_SPEC_SCALING:
        if (!espl_json_number(value, &number)) return set_text(adapter, row, value);
        return espl_json_set(adapter->model->ctx, adapter->config, row->key, json_real(number));
    case ESPL_SPEC_MODULES:
        if (!value || strcmp(value, "all-linear") == 0) return espl_spec_text(adapter, key, row->key, value);
        return espl_spec_list(adapter, row->key, value);
    default: return set_text(adapter, row, value);
    }
}

espl_status espl_spec_set(espl_adapter *adapter, const char *key, const char *value) {
    espl_context *ctx = adapter->model->ctx;
    espl_bytes known = {0};
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < ESPL_METHOD_KEYS; i++) {
        for (const espl_spec_row *row = adapter->method->keys[i]; status == ESPL_OK && row && row->key; row++) {
            if (strcmp(row->spec_key, key) == 0) {
                espl_bytes_finish(ctx, &known);
                return set_row(adapter, row, value);
            }
            status = espl_bytes_print(ctx, &known, "%s%s", known.count ? ", " : "", row->spec_key);
        }
    }
    if (status == ESPL_OK)
        status = espl_fail(ctx, ESPL_ARGUMENT, "%s: \"%s\" is not one of %s", adapter->method->name, key, known.data);
    espl_bytes_finish(ctx, &known);
    return status;
}

espl_status espl_spec_default(espl_adapter *adapter, const char *key, json_t *value) {
    if (value && json_object_get(adapter->config, key)) {
        json_decref(value);
        return ESPL_OK;
    }
    return espl_json_set(adapter->model->ctx, adapter->config, key, value);
}

espl_status espl_spec_defaults(espl_adapter *adapter, const espl_spec_value *values, size_t count) {
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < count; i++) {
        espl_status one = espl_spec_default(adapter, values[i].key, values[i].value);
        if (one != ESPL_OK) status = one;
    }
    return status;
}
