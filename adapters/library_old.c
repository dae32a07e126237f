/* Configurations of the Adapters library that mean something else than they say, or say it in a string: what that library makes
 * of them when it loads them (1.3.0, loading.py, utils.py, configuration/adapter_config.py). */
#include "adapters/library.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- Strings: "seq_bn[reduction_factor=8]|lora" ---- */

/* What differs from what a configuration means where it says nothing. */
static const struct {
    const char *name, *config;
} names[] = {
    {"seq_bn", "{\"mh_adapter\": false}"},
    {"double_seq_bn", "{\"mh_adapter\": true}"},
    {"par_bn", "{\"is_parallel\": true}"},
    {"scaled_par_bn", "{\"is_parallel\": true, \"scaling\": \"learned\"}"},
    {"seq_bn_inv", "{\"mh_adapter\": false, \"inv_adapter\": \"nice\", \"inv_adapter_reduction_factor\": 2}"},
    {"double_seq_bn_inv", "{\"mh_adapter\": true, \"inv_adapter\": \"nice\", \"inv_adapter_reduction_factor\": 2}"},
    {"compacter", "{\"phm_layer\": true, \"mh_adapter\": true}"},
    {"compacter++", "{\"phm_layer\": true, \"mh_adapter\": false}"},
    {"prefix_tuning", "{\"architecture\": \"prefix_tuning\"}"},
    {"prefix_tuning_flat", "{\"architecture\": \"prefix_tuning\", \"flat\": true}"},
    {"prompt_tuning", "{\"architecture\": \"prompt_tuning\"}"},
    {"lora", "{\"architecture\": \"lora\"}"},
    {"ia3", "{\"architecture\": \"lora\", \"composition_mode\": \"scale\"}"},
    {"vera", "{\"architecture\": \"lora\", \"vera_d\": 0.1, \"vera_b\": 0.0}"},
    {"dora", "{\"architecture\": \"lora\", \"use_dora\": true}"},
    {"mtl_lora", "{\"architecture\": \"mtl_lora\"}"},
    {"dvora", "{\"architecture\": \"lora\", \"use_dora\": true, \"vera_d\": 0.1, \"vera_b\": 0.0}"},
    {"loreft", "{\"architecture\": \"reft\", \"orthogonality\": true}"},
    {"noreft", "{\"architecture\": \"reft\", \"orthogonality\": false}"},
    {"direft", "{\"architecture\": \"reft\", \"orthogonality\": false, \"subtract_projection\": false}"},
    {"mam", "{\"architecture\": \"union\", \"configs\": [{\"architecture\": \"prefix_tuning\", \"bottleneck_size\": 800},"
            " {\"is_parallel\": true}]}"},
    {"unipelt", "{\"architecture\": \"union\", \"configs\": [{\"architecture\": \"prefix_tuning\", \"prefix_length\": 10, \"use_gating\": true},"
                " {\"mh_adapter\": false, \"use_gating\": true}, {\"architecture\": \"lora\", \"alpha\": 2, \"use_gating\": true}]}"},
    /* Its older words. */
    {"pfeiffer", "{\"mh_adapter\": false}"},
    {"houlsby", "{\"mh_adapter\": true}"},
    {"parallel", "{\"is_parallel\": true}"},
    {"scaled_parallel", "{\"is_parallel\": true, \"scaling\": \"learned\"}"},
    {"pfeiffer+inv", "{\"mh_adapter\": false, \"inv_adapter\": \"nice\", \"inv_adapter_reduction_factor\": 2}"},
    {"houlsby+inv", "{\"mh_adapter\": true, \"inv_adapter\": \"nice\", \"inv_adapter_reduction_factor\": 2}"}};

static espl_status named(espl_context *ctx, const char *text, size_t bytes, json_t **out_config) {
    for (size_t i = 0; i < ESPL_COUNT(names); i++) {
        if (strlen(names[i].name) == bytes && strncmp(names[i].name, text, bytes) == 0)
            return espl_json_parse(ctx, names[i].config, strlen(names[i].config), names[i].name, out_config);
    }
    espl_bytes known = {0};
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < ESPL_COUNT(names); i++) ESPL_GOTO(espl_bytes_print(ctx, &known, "%s%s", i ? ", " : "", names[i].name));
    status = espl_fail(ctx, ESPL_UNSUPPORTED, "\"config\" names \"%.*s\", which is not one of %s", (int)bytes, text, known.data);
fail:
    espl_bytes_finish(ctx, &known);
    return status;
}

/* A value as Python spells it: a number, a quoted text, True, False, None, a list of such. */
static espl_status value_of(espl_context *ctx, const char *text, size_t bytes, json_t **out_value) {
    static const char *const words[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    for (size_t i = 0; i < ESPL_COUNT(words); i++) {
        if (strlen(words[i][0]) == bytes && strncmp(words[i][0], text, bytes) == 0)
            return espl_json_parse(ctx, words[i][1], strlen(words[i][1]), "\"config\"", out_value);
    }
    char *copy;
    ESPL_TRY(espl_copy_string(ctx, text, bytes, &copy));
    for (char *at = copy; *at; at++) {
        if (*at == '\'') *at = '"'; /* which JSON has alone */
    }
    espl_status status = espl_json_parse(ctx, copy, bytes, "\"config\"", out_value);
    espl_free(ctx, &copy);
    return status;
}

static void trim(const char **text, size_t *bytes) {
    while (*bytes && isspace((unsigned char)**text)) (*text)++, (*bytes)--;
    while (*bytes && isspace((unsigned char)(*text)[*bytes - 1])) (*bytes)--;
}

static espl_status set_pair(espl_context *ctx, const char *pair, size_t bytes, json_t *config) {
    const char *equals = memchr(pair, '=', bytes), *value = equals ? equals + 1 : NULL;
    size_t key_bytes = equals ? (size_t)(equals - pair) : 0, value_bytes = equals ? bytes - key_bytes - 1 : 0;
    json_t *parsed;
    char *key;
    trim(&pair, &key_bytes);
    if (value) trim(&value, &value_bytes);
    if (!key_bytes || !value_bytes)
        return espl_fail(ctx, ESPL_FORMAT, "\"config\" has \"%.*s\" where key=value was expected", (int)bytes, pair);
    ESPL_TRY(value_of(ctx, value, value_bytes, &parsed));
    espl_status status = espl_copy_string(ctx, pair, key_bytes, &key);
    if (status == ESPL_OK) status = espl_json_set(ctx, config, key, parsed);
    else json_decref(parsed);
    espl_free(ctx, &key);
    return status;
}

/* Of a pair, to a comma outside of lists and texts. */
static size_t pair_bytes(const char *text, size_t bytes) {
    int depth = 0;
    char quote = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (quote) quote = text[i] == quote ? 0 : quote;
        else if (text[i] == '\'' || text[i] == '"') quote = text[i];
        else if (text[i] == '[') depth++;
        else if (text[i] == ']') depth--;
        else if (text[i] == ',' && depth == 0) return i;
    }
    return bytes;
}

/* One of the parts that | joins. */
static espl_status parse_part(espl_context *ctx, const char *text, size_t bytes, json_t **out_config) {
    trim(&text, &bytes);
    const char *open = memchr(text, '[', bytes);
    const size_t name_bytes = open ? (size_t)(open - text) : bytes;
    ESPL_TRY(named(ctx, text, name_bytes, out_config));
    if (open && text[bytes - 1] != ']') return espl_fail(ctx, ESPL_FORMAT, "\"config\" has \"[\" without \"]\": %.*s", (int)bytes, text);
    for (const char *at = open ? open + 1 : text + bytes, *end = text + bytes - (open != NULL); at < end;) {
        const size_t pair = pair_bytes(at, (size_t)(end - at));
        ESPL_TRY(set_pair(ctx, at, pair, *out_config));
        at += pair + 1;
    }
    return ESPL_OK;
}

/* Of one part its configuration, of several a union. */
static espl_status parse(espl_context *ctx, const char *text, json_t **out_config) {
    json_t *configs = json_array();
    espl_status status = ESPL_OK;
    *out_config = NULL;
    for (const char *at = text;;) {
        const size_t bytes = strcspn(at, "|");
        json_t *part = NULL;
        status = parse_part(ctx, at, bytes, &part);
        if (status == ESPL_OK) status = espl_json_push(ctx, configs, part);
        else json_decref(part);
        if (status != ESPL_OK || !at[bytes]) break;
        at += bytes + 1;
    }
    if (status == ESPL_OK)
        *out_config = json_array_size(configs) == 1 ? json_incref(json_array_get(configs, 0))
                                                    : json_pack("{s:s, s:O}", "architecture", "union", "configs", configs);
    if (status == ESPL_OK && !*out_config) status = espl_fail(ctx, ESPL_HOST_MEMORY, "the configuration of an adapter needs memory");
    json_decref(configs);
    return status;
}

/* ---- Older versions ---- */

static bool before_1_1(const json_t *file) {
    static const char mark[] = "adapters.";
    const char *own = json_string_value(json_object_get(file, "version"));
    unsigned major, minor;
    if (!own || strncmp(own, mark, sizeof mark - 1) != 0) return false;
    return sscanf(own + sizeof mark - 1, "%u.%u", &major, &minor) == 2 && (major < 1 || (major == 1 && minor < 1));
}

/* LoRA was trained with an alpha of r whatever the file says. */
static espl_status renew_alpha(espl_context *ctx, const json_t *file, json_t *config) {
    const char *architecture = json_string_value(json_object_get(config, "architecture"));
    json_t *r = json_object_get(config, "r");
    if (!architecture || strcmp(architecture, "lora") != 0 || !r || !before_1_1(file)) return ESPL_OK;
    return espl_json_set(ctx, config, "alpha", json_incref(r));
}

espl_status espl_library_renew_activation(espl_context *ctx, json_t *file) {
    static const char *const renamed[][2] = {{"gelu", "gelu_new"}, {"gelu_orig", "gelu"}};
    json_t *config = json_object_get(file, "config");
    const char *own = json_string_value(json_object_get(config, "non_linearity"));
    for (size_t i = 0; own && !json_object_get(file, "version") && i < ESPL_COUNT(renamed); i++) {
        if (strcmp(own, renamed[i][0]) == 0) return espl_json_set(ctx, config, "non_linearity", json_string(renamed[i][1]));
    }
    return ESPL_OK;
}

espl_status espl_library_renew(espl_context *ctx, json_t *file) {
    const char *text = json_string_value(json_object_get(file, "config"));
    json_t *config;
    if (text) {
        ESPL_TRY(parse(ctx, text, &config));
        ESPL_TRY(espl_json_set(ctx, file, "config", config));
    }
    return renew_alpha(ctx, file, json_object_get(file, "config"));
}

/* ---- Names of tensors ---- */

espl_status espl_library_old_name(espl_context *ctx, const char *name, size_t which, char **out_name) {
    static const char *const now[] = {"adapters.", "invertible_adapters."};
    static const struct {
        const char *was;
        size_t now;
    } rows[] = {{"attention_text_task_adapters.", 0}, {"attention_text_lang_adapters.", 0}, {"layer_text_task_adapters.", 0},
                {"layer_text_lang_adapters.", 0},     {"invertible_lang_adapters.", 1}};
    *out_name = NULL;
    if (which >= ESPL_COUNT(rows)) return ESPL_OK;
    const char *mark = now[rows[which].now], *at = strstr(name, mark);
    if (!at || (at > name && at[-1] != '.')) return espl_format(ctx, out_name, "%s", name);
    return espl_format(ctx, out_name, "%.*s%s%s", (int)(at - name), name, rows[which].was, at + strlen(mark));
}
