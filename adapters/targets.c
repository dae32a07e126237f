/* Which modules of a model an adapter's configuration selects, by PEFT's rules. */
#include "adapters/targets.h"
#include "adapters/spec.h"
#include "host/file/expression.h"
#include <stdio.h>
#include <string.h>

static espl_status matches(espl_context *ctx, const char *pattern, const char *before, const char *text, bool *out_match) {
    *out_match = false;
    char *whole = NULL;
    espl_expression *expression = NULL;
    size_t begin, end;
    ESPL_TRY(espl_format(ctx, &whole, "^(?:%s(?:%s))$", before, pattern));
    espl_status status = espl_expression_create(ctx, whole, strlen(whole), &expression);
    if (status == ESPL_OK)
        status = espl_expression_find(ctx, expression, text, strlen(text), 0, out_match, &begin, &end);
    espl_expression_destroy(ctx, &expression);
    espl_free(ctx, &whole);
    return status;
}

bool espl_target_ends_with(const char *text, const char *name) {
    const size_t n = strlen(text), m = strlen(name);
    return n >= m && strcmp(text + n - m, name) == 0 && (n == m || text[n - m - 1] == '.');
}

bool espl_target_word(const char *text, const char *word) {
    const size_t bytes = strlen(word);
    for (const char *at = text; *at; at += strcspn(at, " "), at += strspn(at, " ")) {
        if (strcspn(at, " ") == bytes && strncmp(at, word, bytes) == 0) return true;
    }
    return false;
}

/* A list of module names, or a regular expression for whole paths. */
static espl_status selects(espl_context *ctx, const json_t *modules, const char *key, const char *path, bool *out_selects) {
    *out_selects = false;
    if (!modules || json_is_null(modules)) return ESPL_OK;
    if (json_is_string(modules)) return matches(ctx, json_string_value(modules), "", path, out_selects);
    if (!json_is_array(modules))
        return espl_fail(ctx, ESPL_FORMAT, "\"%s\" is %s, a list or a string was expected", key,
                         espl_json_type_name(modules));
    for (size_t i = 0; i < json_array_size(modules); i++) {
        const json_t *name = json_array_get(modules, i);
        if (!json_is_string(name))
            return espl_fail(ctx, ESPL_FORMAT, "\"%s\" holds %s, strings were expected", key, espl_json_type_name(name));
        if (espl_target_ends_with(path, json_string_value(name))) *out_selects = true;
    }
    return ESPL_OK;
}

static espl_status layer_selected(espl_adapter *adapter, uint32_t block, bool *out_selected) {
    espl_context *ctx = adapter->model->ctx;
    const json_t *layers = json_object_get(adapter->config, "layers_to_transform");
    const json_t *pattern = json_object_get(adapter->config, "layers_pattern");
    const char *own = adapter->model->config.family->block;
    int64_t index;
    *out_selected = true;
    if (!layers || json_is_null(layers) || (json_is_array(layers) && json_array_size(layers) == 0)) return ESPL_OK;
    *out_selected = false;
    /* The list that holds the blocks: "layers", "h", "layer" of "encoder.layer.%u.". */
    const char *number = strstr(own, ".%u");
    size_t own_bytes = 0;
    while (own_bytes < (size_t)(number - own) && number[-1 - (ptrdiff_t)own_bytes] != '.') own_bytes++;
    own = number - own_bytes;
    bool pattern_fits = !pattern || json_is_null(pattern) || (json_is_array(pattern) && json_array_size(pattern) == 0) ||
                        (json_is_string(pattern) && json_string_length(pattern) == 0);
    for (size_t i = 0; !pattern_fits && i < (json_is_array(pattern) ? json_array_size(pattern) : 1); i++) {
        const json_t *one = json_is_array(pattern) ? json_array_get(pattern, i) : pattern;
        pattern_fits = json_is_string(one) && json_string_length(one) == own_bytes &&
                       strncmp(json_string_value(one), own, own_bytes) == 0;
    }
    if (!pattern_fits) return ESPL_OK;
    for (size_t i = 0; i < (json_is_array(layers) ? json_array_size(layers) : 1); i++) {
        if (!espl_json_as_i64(json_is_array(layers) ? json_array_get(layers, i) : layers, &index))
            return espl_fail(ctx, ESPL_FORMAT, "\"layers_to_transform\" must hold integers");
        if (index == block) *out_selected = true;
    }
    return ESPL_OK;
}

espl_status espl_target_selected(espl_adapter *adapter, uint32_t block, const char *path, bool *out_selected) {
    espl_context *ctx = adapter->model->ctx;
    const json_t *targets = json_object_get(adapter->config, "target_modules");
    const json_t *exclude = json_object_get(adapter->config, "exclude_modules");
    bool excluded;
    *out_selected = false;
    ESPL_TRY(selects(ctx, exclude, "exclude_modules", path, &excluded));
    if (excluded) return ESPL_OK;
    if (json_is_string(targets) && strcmp(json_string_value(targets), "all-linear") == 0) {
        *out_selected = true;
        return ESPL_OK;
    }
    ESPL_TRY(selects(ctx, targets, "target_modules", path, out_selected));
    if (*out_selected) ESPL_TRY(layer_selected(adapter, block, out_selected));
    return ESPL_OK;
}

espl_status espl_target_pattern(espl_context *ctx, const json_t *config, const char *key, const char *path,
                                double *in_out_value) {
    json_t *map, *value;
    const char *pattern;
    ESPL_TRY(espl_json_object(ctx, config, key, &map));
    json_object_foreach(map, pattern, value) {
        bool match;
        ESPL_TRY(matches(ctx, pattern, "(?:.*\\.)?", path, &match));
        if (!match) continue;
        if (!json_is_number(value))
            return espl_fail(ctx, ESPL_FORMAT, "\"%s\" holds %s, numbers were expected", key,
                             espl_json_type_name(value));
        *in_out_value = json_number_value(value);
        return ESPL_OK;
    }
    return ESPL_OK;
}

espl_status espl_target_listed(espl_adapter *adapter, const char *key, const char *path, bool *out_listed) {
    return selects(adapter->model->ctx, json_object_get(adapter->config, key), key, path, out_listed);
}

/* Whether a base tensor is a part of a block. */
static bool in_block(const espl_model *model, const espl_entry *entry) {
    const espl_family *family = model->config.family;
    const size_t prefix = strlen(family->prefix), block = strcspn(family->block, "%");
    return strncmp(entry->name, family->prefix, prefix) == 0 && strncmp(entry->name + prefix, family->block, block) == 0;
}

/* Whether a module of a block ends with this name; outside: a map of the base that does and is in none (an embedding, a pooler, a
 * head), or "". */
static bool find_module(const espl_model *model, const char *name, char outside[256]) {
    bool found = false;
    *outside = 0;
    for (size_t i = 0; i < model->store.entry_count; i++) {
        const espl_entry *entry = &model->store.entries[i];
        char path[256];
        const char *dot = strrchr(entry->name, '.');
        snprintf(path, sizeof path, "%.*s", (int)(dot ? dot - entry->name : 0), entry->name);
        if (!espl_target_ends_with(path, name)) continue;
        if (in_block(model, entry)) found = true;
        else if (!entry->vector) memcpy(outside, path, sizeof path);
        else if (strcmp(path, outside) != 0) found = true; /* a norm, and no map's bias */
    }
    return found;
}

static espl_status fail_outside(const espl_adapter *adapter, const char *path) {
    return espl_fail(adapter->model->ctx, ESPL_UNSUPPORTED,
                     "%s: target_modules names %s, which is in no block of this %s model; only maps in blocks have adapters",
                     adapter->method->name, path, adapter->model->config.family->model_type);
}

espl_status espl_target_none(const espl_adapter *adapter) {
    espl_context *ctx = adapter->model->ctx;
    const json_t *targets = json_object_get(adapter->config, "target_modules");
    espl_bytes text = {0};
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < json_array_size(targets); i++) {
        const char *name = json_string_value(json_array_get(targets, i));
        char outside[256];
        if (name && !find_module(adapter->model, name, outside) && *outside) return fail_outside(adapter, outside);
    }
    if (json_is_string(targets)) status = espl_bytes_print(ctx, &text, " \"%s\"", json_string_value(targets));
    for (size_t i = 0; i < json_array_size(targets) && status == ESPL_OK; i++)
        status = espl_bytes_print(ctx, &text, "%s %s", i ? "," : "", json_string_value(json_array_get(targets, i)));
    if (status == ESPL_OK)
        status = espl_fail(ctx, ESPL_ARGUMENT, "%s: no module of this %s model is selected by target_modules%s", adapter->method->name,
                           adapter->model->config.family->model_type, text.data ? text.data : "");
    espl_bytes_finish(ctx, &text);
    return status;
}

espl_status espl_target_check(const espl_adapter *adapter) {
    const espl_model *model = adapter->model;
    const char *method = adapter->method->name, *type = model->config.family->model_type;
    const json_t *targets = json_object_get(adapter->config, "target_modules");
    for (size_t i = 0; i < json_array_size(targets); i++) {
        const char *name = json_string_value(json_array_get(targets, i));
        char outside[256];
        if (!name) continue;
        const bool found = find_module(model, name, outside);
        if (*outside && !found) return fail_outside(adapter, outside);
        if (*outside)
            espl_log(model->ctx, ESPL_LOG_WARNING,
                     "%s: %s, which target_modules names too, is in no block of this %s model and stays as it is", method, outside, type);
        else if (!found)
            espl_log(model->ctx, ESPL_LOG_WARNING, "%s: this %s model has no module %s, which target_modules names", method, type, name);
    }
    return ESPL_OK;
}

/* PEFT saves every module whose path ends with the name, whatever stands before it, and all below it. */
static bool saves(const char *path, const char *name) {
    for (const char *end = path; *end; end++) {
        end += strcspn(end, ".");
        const size_t n = (size_t)(end - path), m = strlen(name);
        if (n >= m && strncmp(end - m, name, m) == 0) return true;
        if (!*end) break;
    }
    return false;
}

/* PEFT adds both names for every task head; a model has one of them. */
static bool is_head_name(const char *name) {
    return strcmp(name, "classifier") == 0 || strcmp(name, "score") == 0;
}

espl_status espl_target_saved(espl_adapter *adapter) {
    espl_context *ctx = adapter->model->ctx;
    const espl_model *model = adapter->model;
    /* PEFT wraps a model twice, but once for rows before the text. */
    const char *wrapped = adapter->before ? "base_model." : "base_model.model.";
    char name[320];
    json_t *modules;
    ESPL_TRY(espl_json_array(ctx, adapter->config, "modules_to_save", &modules));
    for (size_t i = 0; i < json_array_size(modules); i++) {
        const char *module = json_string_value(json_array_get(modules, i));
        if (!module) return espl_fail(ctx, ESPL_FORMAT, "\"modules_to_save\" must hold strings");
        size_t found = 0;
        if (strcmp(module, "lm_head") == 0 && model->task.kind == ESPL_HEAD_LANGUAGE) {
            snprintf(name, sizeof name, "%slm_head.weight", wrapped);
            ESPL_TRY(espl_adapter_replace_head(adapter, name));
            continue;
        }
        for (size_t j = 0; j < model->store.entry_count; j++) {
            const espl_entry *base = &model->store.entries[j];
            const espl_matrix *m = &model->store.matrices[base->matrix];
            char path[256];
            const char *dot = strrchr(base->name, '.');
            snprintf(path, sizeof path, "%.*s", (int)(dot - base->name), base->name);
            if (!saves(path, module)) continue;
            found++;
            if (base->count != (base->vector ? m->cols : m->rows))
                return espl_fail(ctx, ESPL_UNSUPPORTED, "modules_to_save: %s shares its matrix with others; train it with a "
                                 "target instead", module);
            snprintf(name, sizeof name, "%s%s", wrapped, base->name);
            if (!espl_store_find(&adapter->store, name)) ESPL_TRY(espl_adapter_replace(adapter, base, name));
        }
        if (!found && !(model->task.labels && is_head_name(module)))
            return espl_fail(ctx, ESPL_ARGUMENT, "modules_to_save: the model has no module %s", module);
    }
    return ESPL_OK;
}


/* PEFT's defaults by method, model type and key (types of ours as the method they are like); lists joined by '+'. */
static const struct {
    const char *peft_types, *key, *model_types, *modules;
} defaults[] = {
    {"LORA DYLORA VERA ADALORA", "target_modules", "llama mistral qwen2 qwen3", "q_proj+v_proj"},
    {"LORA DYLORA VERA ADALORA", "target_modules", "gpt2", "c_attn"},
    {"LORA DYLORA VERA", "target_modules", "bert roberta xlm-roberta electra albert", "query+value"},
    {"ADALORA", "target_modules", "bert electra albert", "query+value"},
    {"ADALORA", "target_modules", "roberta xlm-roberta", "query+key+value+dense"},
    {"LORA DYLORA VERA ADALORA", "target_modules", "distilbert", "q_lin+v_lin"},
    {"LORA DYLORA VERA ADALORA", "target_modules", "deberta-v2", "query_proj+value_proj"},
    {"IA3", "target_modules", "llama mistral", "k_proj+v_proj+down_proj"},
    {"IA3", "target_modules", "qwen2 qwen3", "q_proj+v_proj+down_proj"},
    {"IA3", "feedforward_modules", "llama mistral qwen2 qwen3", "down_proj"},
    {"IA3", "target_modules", "gpt2", "c_attn+mlp.c_proj"},
    {"IA3", "feedforward_modules", "gpt2", "mlp.c_proj"},
    {"IA3", "target_modules", "bert roberta xlm-roberta electra", "key+value+output.dense"},
    {"IA3", "feedforward_modules", "bert roberta xlm-roberta electra deberta-v2", "output.dense"},
    {"IA3", "target_modules", "deberta-v2", "key_proj+value_proj+output.dense"},
    {"IA3", "target_modules", "albert", "key+value+ffn_output"},
    {"IA3", "feedforward_modules", "albert", "ffn_output"},
    {"IA3", "target_modules", "distilbert", "k_lin+v_lin+ffn.lin2"},
    {"IA3", "feedforward_modules", "distilbert", "ffn.lin2"},
    {"LN_TUNING", "target_modules", "llama mistral", "input_layernorm+post_attention_layernorm+norm"},
    {"LN_TUNING", "target_modules", "qwen2 qwen3", "post_attention_layernorm"},
    {"LN_TUNING", "target_modules", "gpt2", "ln_1+ln_2+ln_f"},
    {"LN_TUNING", "target_modules", "bert roberta xlm-roberta electra albert deberta-v2", "LayerNorm"},
    {"LN_TUNING", "target_modules", "distilbert", "LayerNorm+sa_layer_norm+output_layer_norm"},
};

espl_status espl_target_default(espl_adapter *adapter, const char *key) {
    const json_t *given = json_object_get(adapter->config, key);
    const char *type = adapter->method->peft_type, *model_type = adapter->model->config.family->model_type;
    if (given && !json_is_null(given)) return ESPL_OK;
    for (size_t i = 0; i < ESPL_COUNT(defaults); i++) {
        if (espl_target_word(defaults[i].peft_types, type) && strcmp(defaults[i].key, key) == 0 &&
            espl_target_word(defaults[i].model_types, model_type))
            return espl_spec_list(adapter, key, defaults[i].modules);
    }
    return espl_fail(adapter->model->ctx, ESPL_ARGUMENT, "%s: there is no default of \"%s\" for %s models; name the modules",
                     adapter->method->name, key, model_type);
}
