/* Keys of specs and their values in words. */
#include "adapters/spec.h"
#include "host/model/config.h"
#include <string.h>

static espl_status print_activations(espl_context *ctx, espl_bytes *text) {
    const char *name;
    for (size_t i = 0; (name = espl_config_activation_name(i)) != NULL; i++)
        ESPL_TRY(espl_bytes_print(ctx, text, "%s%s", i ? ", " : "", name));
    return ESPL_OK;
}

espl_status espl_spec_takes(espl_context *ctx, const espl_spec_row *row, espl_bytes *text) {
    static const char *const words[] = {[ESPL_SPEC_WHOLE] = "a whole number",
                                        [ESPL_SPEC_NUMBER] = "a number",
                                        [ESPL_SPEC_BOOL] = "true, false; alone: true",
                                        [ESPL_SPEC_TEXT] = "",
                                        [ESPL_SPEC_INIT] = "",
                                        [ESPL_SPEC_ACTIVATION] = "",
                                        [ESPL_SPEC_LIST] = "names, + between",
                                        [ESPL_SPEC_NUMBERS] = "whole numbers, + between",
                                        [ESPL_SPEC_REALS] = "a number, or several, + between",
                                        [ESPL_SPEC_SCALING] = "a number",
                                        [ESPL_SPEC_MODULES] = "all-linear, or names of modules, + between"};
    _Static_assert(ESPL_COUNT(words) == ESPL_SPEC_KIND_COUNT, "words for each kind");
    const char *word = words[row->kind], *between = !row->values || !*word ? "" : row->kind == ESPL_SPEC_LIST ? ": " : ", ";
    if (row->kind == ESPL_SPEC_ACTIVATION) return print_activations(ctx, text);
    return espl_bytes_print(ctx, text, "%s%s%s", word, between, row->values ? row->values : "");
}

static espl_status print_value(espl_context *ctx, const espl_spec_row *row, const json_t *value, espl_bytes *text) {
    if (!value) return espl_bytes_print(ctx, text, "-");
    if (json_is_string(value)) return espl_bytes_print(ctx, text, "%s", json_string_value(value));
    if (json_is_integer(value)) return espl_bytes_print(ctx, text, "%lld", (long long)json_integer_value(value));
    if (json_is_real(value)) return espl_bytes_print(ctx, text, "%.9g", json_real_value(value));
    if (!json_is_boolean(value)) return espl_bytes_print(ctx, text, "none");
    const char *const init[] = {"random", "default"}, *const other[] = {"false", "true"};
    return espl_bytes_print(ctx, text, "%s", (row->kind == ESPL_SPEC_INIT ? init : other)[json_is_true(value)]);
}

espl_status espl_spec_print(espl_context *ctx, const espl_spec_row *row, const json_t *config, espl_bytes *text) {
    const json_t *value = json_object_get(config, row->key);
    if (json_array_size(value) == 0) return print_value(ctx, row, value, text);
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (i) ESPL_TRY(espl_bytes_print(ctx, text, "+"));
        ESPL_TRY(print_value(ctx, row, json_array_get(value, i), text));
    }
    return ESPL_OK;
}
