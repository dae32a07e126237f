/* The life of an adapter: add or load, activate, merge and take out, save, delete. */
#include "host/model/adapter.h"
#include "host/base/os.h"
#include <stdio.h>
#include <string.h>


/* ---- Configuration ---- */

/* what: "method" or "peft_type". */
static espl_status fail_unknown(espl_context *ctx, const char *what, const char *name, size_t bytes) {
    const bool types = strcmp(what, "peft_type") == 0;
    espl_bytes known = {0};
    espl_status status = ESPL_OK;
    for (size_t i = 0; status == ESPL_OK && i < espl_method_count; i++) {
        const char *one = types ? espl_methods[i]->peft_type : espl_methods[i]->name;
        if (one) status = espl_bytes_print(ctx, &known, "%s%s", known.count ? ", " : "", one);
    }
    if (status == ESPL_OK)
        status = espl_fail(ctx, types ? ESPL_UNSUPPORTED : ESPL_ARGUMENT, "%s \"%.*s\" is not one of: %s", what, (int)bytes,
                           name, known.data);
    espl_bytes_finish(ctx, &known);
    return status;
}

/* "lora:r=8,alpha=16" -> method and keys. */
static espl_status parse_spec(espl_adapter *adapter, const char *spec) {
    espl_context *ctx = adapter->model->ctx;
    const char *colon = strchr(spec, ':');
    const size_t name_bytes = colon ? (size_t)(colon - spec) : strlen(spec);
    for (size_t i = 0; i < espl_method_count && !adapter->method; i++) {
        if (strlen(espl_methods[i]->name) == name_bytes && strncmp(espl_methods[i]->name, spec, name_bytes) == 0)
            adapter->method = espl_methods[i];
    }
    if (!adapter->method) return fail_unknown(ctx, "method", spec, name_bytes);
    adapter->config = json_object();
    ESPL_TRY(espl_json_set(ctx, adapter->config, "peft_type", json_string(adapter->method->peft_type)));
    for (const char *at = colon ? colon + 1 : ""; *at;) {
        const char *comma = strchr(at, ',');
        const size_t bytes = comma ? (size_t)(comma - at) : strlen(at);
        char *key;
        ESPL_TRY(espl_copy_string(ctx, at, bytes, &key));
        char *value = strchr(key, '=');
        if (value) *value++ = 0;
        espl_status status = adapter->method->set(adapter, key, value);
        espl_free(ctx, &key);
        ESPL_TRY(status);
        at += bytes + (comma != NULL);
    }
    return ESPL_OK;
}

static espl_status parse_config(espl_adapter *adapter, json_t *config) {
    espl_context *ctx = adapter->model->ctx;
    const char *type;
    adapter->config = config;
    ESPL_TRY(espl_json_need(ctx, config, "peft_type"));
    ESPL_TRY(espl_json_string(ctx, config, "peft_type", NULL, &type));
    for (size_t i = 0; i < espl_method_count; i++) {
        if (espl_methods[i]->peft_type && strcmp(espl_methods[i]->peft_type, type) == 0) adapter->method = espl_methods[i];
    }
    if (!adapter->method) return fail_unknown(ctx, "peft_type", type, strlen(type));
    return ESPL_OK;
}

/* ---- Replaced matrices ---- */

static espl_status replace(espl_adapter *adapter, uint32_t slot, const espl_entry *base, const char *file_name) {
    espl_model *model = adapter->model;
    const espl_matrix *m = &model->store.matrices[base->matrix];
    uint32_t index = adapter->replacement[slot];
    if (index == ESPL_NO_MATRIX) {
        ESPL_TRY(espl_store_matrix(&adapter->store, m->label, m->rows, m->cols, ESPL_DTYPE_F32, m->decay, &index));
        adapter->replacement[slot] = index;
    }
    return espl_store_entry(&adapter->store, file_name, index, base->from, base->count, base->vector);
}

espl_status espl_adapter_replace(espl_adapter *adapter, const espl_entry *base, const char *file_name) {
    return replace(adapter, base->matrix, base, file_name);
}

static const espl_entry *head_entry(const espl_model *model) {
    const uint32_t matrix = model->head == ESPL_NO_MATRIX ? model->embed : model->head;
    for (size_t i = 0; i < model->store.entry_count; i++) {
        if (model->store.entries[i].matrix == matrix) return &model->store.entries[i];
    }
    return NULL;
}

espl_status espl_adapter_replace_head(espl_adapter *adapter, const char *file_name) {
    const espl_model *model = adapter->model;
    const uint32_t slot = model->head == ESPL_NO_MATRIX ? (uint32_t)model->store.matrix_count : model->head;
    return replace(adapter, slot, head_entry(model), file_name);
}

/* Every entry of a replaced matrix starts with the base's values. */
static espl_status copy_base(espl_adapter *adapter) {
    espl_model *model = adapter->model;
    for (uint32_t slot = 0; slot <= model->store.matrix_count; slot++) {
        if (adapter->replacement[slot] == ESPL_NO_MATRIX) continue;
        const uint32_t matrix = slot == model->store.matrix_count ? model->embed : slot;
        for (size_t i = 0; i < model->store.entry_count; i++) {
            espl_entry entry = model->store.entries[i];
            if (entry.matrix != matrix) continue;
            float *values;
            ESPL_TRY(espl_new(model->ctx, (size_t)espl_entry_values(&model->store, &entry) * sizeof *values, &values));
            espl_status status = espl_store_read(&model->store, &entry, values);
            entry.matrix = adapter->replacement[slot];
            if (status == ESPL_OK) status = espl_store_write(&adapter->store, &entry, values, ESPL_DTYPE_F32);
            espl_free(model->ctx, &values);
            ESPL_TRY(status);
        }
    }
    return ESPL_OK;
}

/* ---- Making ---- */

static espl_status check_name(espl_model *model, const char *name) {
    if (!*name || strpbrk(name, "+/")) /* '+' joins names, '/' would leave a folder */
        return espl_fail(model->ctx, ESPL_ARGUMENT, "\"%s\" cannot be the name of an adapter", name);
    for (espl_adapter *other = model->adapters; other; other = other->next) {
        if (strcmp(other->name, name) == 0)
            return espl_fail(model->ctx, ESPL_ARGUMENT, "there is an adapter \"%s\" already", name);
    }
    return ESPL_OK;
}

static espl_status begin(espl_model *model, const char *name, espl_adapter **out_adapter) {
    *out_adapter = NULL;
    ESPL_TRY(check_name(model, name));
    espl_adapter *adapter;
    ESPL_TRY(espl_new(model->ctx, sizeof *adapter, &adapter));
    *out_adapter = adapter;
    adapter->model = model;
    espl_store_init(&adapter->store, model->device, ESPL_ARENA_WEIGHTS, "adapter");
    ESPL_TRY(espl_copy_string(model->ctx, name, strlen(name), &adapter->name));
    const size_t slots = model->store.matrix_count + 1;
    ESPL_TRY(espl_new(model->ctx, slots * sizeof *adapter->replacement, &adapter->replacement));
    for (size_t i = 0; i < slots; i++) adapter->replacement[i] = ESPL_NO_MATRIX;
    return ESPL_OK;
}

static void destroy(espl_adapter *adapter) {
    if (!adapter) return;
    espl_context *ctx = adapter->model->ctx;
    if (adapter->method && adapter->state) adapter->method->finish(adapter);
    espl_store_finish(&adapter->store);
    for (size_t i = 0; i < adapter->original_count; i++) espl_free(ctx, &adapter->originals[i].values);
    espl_free(ctx, &adapter->originals);
    espl_json_destroy(&adapter->config);
    espl_free(ctx, &adapter->replacement);
    espl_free(ctx, &adapter->name);
    espl_free(ctx, &adapter);
}

static espl_status finish_making(espl_adapter *adapter, uint64_t seed) {
    ESPL_TRY(adapter->method->declare(adapter));
    if (adapter->store.entry_count == 0)
        return espl_fail(adapter->model->ctx, ESPL_ARGUMENT, "no module of this %s model is a target of the adapter",
                         adapter->model->config.family->model_type);
    ESPL_TRY(espl_store_place(&adapter->store, true));
    ESPL_TRY(copy_base(adapter));
    return adapter->method->initialise ? adapter->method->initialise(adapter, seed) : ESPL_OK;
}

static void attach(espl_adapter *adapter) {
    espl_adapter **end = &adapter->model->adapters;
    while (*end) end = &(*end)->next;
    *end = adapter;
}

espl_status espl_adapter_add(espl_model *model, const char *name, const char *spec, uint64_t seed,
                             espl_adapter **out_adapter) {
    *out_adapter = NULL;
    espl_adapter *adapter;
    espl_status status = begin(model, name, &adapter);
    if (status == ESPL_OK && spec[0] == '{') {
        json_t *config = NULL;
        status = espl_json_parse(model->ctx, spec, strlen(spec), "adapter configuration", &config);
        if (status == ESPL_OK) status = parse_config(adapter, config);
    } else if (status == ESPL_OK) {
        status = parse_spec(adapter, spec);
    }
    if (status == ESPL_OK) status = finish_making(adapter, seed);
    if (status != ESPL_OK) {
        destroy(adapter);
        return status;
    }
    attach(adapter);
    *out_adapter = adapter;
    return ESPL_OK;
}

/* Names in files of before PEFT 0.15 lack ".base_layer". */
static espl_status add_aliases(espl_adapter *adapter) {
    static const char mark[] = ".base_layer.";
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        espl_entry *entry = &adapter->store.entries[i];
        const char *at = strstr(entry->name, mark);
        if (at)
            ESPL_TRY(espl_format(adapter->model->ctx, &entry->alias, "%.*s.%s", (int)(at - entry->name), entry->name,
                                 at + strlen(mark)));
    }
    return ESPL_OK;
}

static espl_status load_tensors(espl_adapter *adapter, const char *folder) {
    espl_context *ctx = adapter->model->ctx;
    char *path;
    espl_tensors *set = NULL;
    ESPL_TRY(espl_format(ctx, &path, "%s/adapter_model.safetensors", folder));
    espl_status status = espl_tensors_open(ctx, path, &set); /* names the path itself */
    if (status != ESPL_OK) {
        espl_free(ctx, &path);
        return status;
    }
    status = add_aliases(adapter);
    if (status == ESPL_OK) status = espl_store_load(&adapter->store, set, "");
    for (size_t i = 0; status == ESPL_OK && i < espl_tensors_count(set); i++) {
        if (!espl_store_find(&adapter->store, espl_tensors_name(set, i)))
            status = espl_fail(ctx, ESPL_FORMAT, "%s is not a tensor that this adapter's configuration gives this model",
                               espl_tensors_name(set, i));
    }
    if (status != ESPL_OK) espl_fail_in(ctx, status, "%s", path);
    espl_tensors_destroy(&set);
    espl_free(ctx, &path);
    return status;
}

espl_status espl_adapter_load(espl_model *model, const char *name, const char *folder, espl_adapter **out_adapter) {
    *out_adapter = NULL;
    espl_adapter *adapter;
    espl_status status = begin(model, name, &adapter);
    char *path = NULL;
    json_t *config = NULL;
    if (status == ESPL_OK) status = espl_format(model->ctx, &path, "%s/adapter_config.json", folder);
    if (status == ESPL_OK) status = espl_json_load(model->ctx, path, &config);
    if (status == ESPL_OK) {
        status = parse_config(adapter, config);
        if (status == ESPL_OK) status = finish_making(adapter, 0);
        if (status != ESPL_OK) espl_fail_in(model->ctx, status, "%s", path);
    }
    if (status == ESPL_OK) status = load_tensors(adapter, folder);
    espl_free(model->ctx, &path);
    if (status != ESPL_OK) {
        destroy(adapter);
        return status;
    }
    attach(adapter);
    *out_adapter = adapter;
    return ESPL_OK;
}

void espl_adapter_delete(espl_adapter **in_out_adapter) {
    espl_adapter *adapter = *in_out_adapter;
    if (!adapter) return;
    espl_model *model = adapter->model;
    /* Those merged after it hide its originals. */
    for (espl_adapter *other = model->adapters; adapter->merge_order && other; other = other->next) {
        if (other->merge_order > adapter->merge_order) {
            espl_adapter_unmerge(other);
            other = model->adapters;
        }
    }
    if (adapter->merge_order) espl_adapter_unmerge(adapter);
    for (espl_adapter **at = &model->adapters; *at; at = &(*at)->next) {
        if (*at == adapter) {
            *at = adapter->next;
            break;
        }
    }
    destroy(adapter);
    *in_out_adapter = NULL;
}

const char *espl_adapter_name(const espl_adapter *adapter) {
    return adapter->name;
}

uint64_t espl_adapter_parameters(const espl_adapter *adapter) {
    return espl_store_values(&adapter->store);
}

/* ---- Saving ---- */

espl_status espl_adapter_save(espl_adapter *adapter, const char *folder) {
    espl_context *ctx = adapter->model->ctx;
    espl_replace config = {0};
    char *weights = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_os_make_folder(ctx, folder));
    ESPL_GOTO(espl_json_set(ctx, adapter->config, "inference_mode", json_true()));
    /* Both are on the disk before either takes its place: where they do not fit, the folder stays as it was. */
    ESPL_GOTO(espl_json_replace(ctx, folder, "adapter_config.json", adapter->config, &config));
    ESPL_GOTO(espl_format(ctx, &weights, "%s/adapter_model.safetensors", folder));
    ESPL_GOTO(espl_store_save(&adapter->store, weights));
    ESPL_GOTO(espl_os_replace_commit(ctx, &config));
fail:
    espl_os_replace_finish(ctx, &config);
    espl_free(ctx, &weights);
    return status;
}

/* ---- Activation and merging ---- */

static espl_adapter *find(const espl_model *model, const char *name, size_t bytes) {
    for (espl_adapter *adapter = model->adapters; adapter; adapter = adapter->next) {
        if (strlen(adapter->name) == bytes && strncmp(adapter->name, name, bytes) == 0) return adapter;
    }
    return NULL;
}

espl_status espl_model_activate(espl_model *model, const char *names) {
    /* Twice: nothing changes unless every name is there. */
    for (int change = 0; change < 2; change++) {
        for (espl_adapter *adapter = model->adapters; change && adapter; adapter = adapter->next) adapter->active = false;
        for (const char *at = names; *at;) {
            const size_t bytes = strcspn(at, "+");
            espl_adapter *adapter = find(model, at, bytes);
            if (!adapter)
                return espl_fail(model->ctx, ESPL_ARGUMENT, "there is no adapter \"%.*s\"", (int)bytes, at);
            if (adapter->merge_order)
                return espl_fail(model->ctx, ESPL_ARGUMENT, "adapter \"%s\" is merged into the base: activating it would "
                                 "count it twice", adapter->name);
            if (change) adapter->active = true;
            at += bytes + (at[bytes] != 0);
        }
    }
    return ESPL_OK;
}

/* Writes new values of a base tensor and keeps the old ones. Both arrays hold what the entry holds in files. */
static espl_status change_base(espl_adapter *adapter, const espl_entry *entry, const float *values) {
    espl_model *model = adapter->model;
    ESPL_TRY(espl_grow(model->ctx, &adapter->originals, &adapter->original_capacity, adapter->original_count + 1,
                       sizeof *adapter->originals));
    espl_original *original = &adapter->originals[adapter->original_count];
    *original = (espl_original){.entry = entry};
    ESPL_TRY(espl_new(model->ctx, (size_t)espl_entry_values(&model->store, entry) * sizeof(float), &original->values));
    adapter->original_count++;
    ESPL_TRY(espl_store_read(&model->store, entry, original->values));
    return espl_store_write(&model->store, entry, values, ESPL_DTYPE_F32);
}

static void transpose(const float *from, uint32_t rows, uint32_t cols, float *to) {
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < cols; c++) to[(size_t)c * rows + r] = from[(size_t)r * cols + c];
    }
}

/* The entries of the base at a place: its weight, and its bias or NULL. */
static void entries_at(const espl_model *model, const espl_place *place, const espl_entry **out_weight,
                       const espl_entry **out_bias) {
    const bool embed = place->block == ESPL_NO_BLOCK, in_out = !embed && model->config.family->stored_in_out;
    const uint32_t weight = embed ? model->embed : model->blocks[place->block].weight[place->linear];
    const uint32_t bias = embed ? ESPL_NO_MATRIX : model->blocks[place->block].bias[place->linear];
    const uint32_t from = embed ? 0 : model->linear[place->linear].part[place->part].from;
    *out_weight = *out_bias = NULL;
    for (size_t i = 0; i < model->store.entry_count; i++) {
        const espl_entry *e = &model->store.entries[i];
        if (e->matrix == weight && (in_out || e->from == from)) *out_weight = e;
        if (e->matrix == bias && e->from == from) *out_bias = e;
    }
}

static espl_status merge_place(espl_adapter *adapter, const espl_place *place) {
    espl_model *model = adapter->model;
    espl_context *ctx = model->ctx;
    const bool in_out = place->block != ESPL_NO_BLOCK && model->config.family->stored_in_out;
    const size_t count = (size_t)place->out * place->in;
    const espl_entry *weight_entry, *bias_entry;
    float *stored = NULL, *weight = NULL, *bias = NULL;
    bool changed = false;
    espl_status status = ESPL_OK;
    entries_at(model, place, &weight_entry, &bias_entry);
    ESPL_GOTO(espl_new(ctx, count * sizeof *stored, &stored));
    ESPL_GOTO(espl_new(ctx, count * sizeof *weight, &weight));
    ESPL_GOTO(espl_store_read(&model->store, weight_entry, stored));
    if (in_out) transpose(stored, place->in, place->out, weight);
    else memcpy(weight, stored, count * sizeof *weight);
    if (bias_entry) {
        ESPL_GOTO(espl_new(ctx, place->out * sizeof *bias, &bias));
        ESPL_GOTO(espl_store_read(&model->store, bias_entry, bias));
    }
    ESPL_GOTO(adapter->method->merge(adapter, place, weight, bias, &changed));
    if (!changed) goto fail;
    if (in_out) transpose(weight, place->out, place->in, stored);
    else memcpy(stored, weight, count * sizeof *stored);
    ESPL_GOTO(change_base(adapter, weight_entry, stored));
    if (bias_entry) ESPL_GOTO(change_base(adapter, bias_entry, bias));
fail:
    espl_free(ctx, &stored);
    espl_free(ctx, &weight);
    espl_free(ctx, &bias);
    return status;
}

static espl_status merge_places(espl_adapter *adapter) {
    const espl_model *model = adapter->model;
    const espl_config *c = &model->config;
    if (!adapter->method->join) return ESPL_OK; /* all of it are replacements */
    const espl_place embed = {.block = ESPL_NO_BLOCK, .out = c->vocabulary, .in = c->hidden};
    if (adapter->method->properties.sites & 1u << ESPL_SITE_EMBED) ESPL_TRY(merge_place(adapter, &embed));
    for (uint32_t block = 0; block < c->layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && model->linear[l].part[p].count; p++)
                ESPL_TRY(merge_place(adapter, &(espl_place){block, l, p, model->linear[l].part[p].count,
                                                            model->linear[l].in}));
        }
    }
    return ESPL_OK;
}

static espl_status merge_replacements(espl_adapter *adapter) {
    espl_model *model = adapter->model;
    if (adapter->replacement[model->store.matrix_count] != ESPL_NO_MATRIX)
        return espl_fail(model->ctx, ESPL_UNSUPPORTED, "adapter \"%s\" has a head of its own, the base's is tied to its "
                         "embedding: merging would change both", adapter->name);
    for (size_t i = 0; i < model->store.entry_count; i++) {
        const espl_entry *base = &model->store.entries[i];
        espl_entry mine = *base;
        mine.matrix = adapter->replacement[base->matrix];
        if (mine.matrix == ESPL_NO_MATRIX) continue;
        float *values;
        ESPL_TRY(espl_new(model->ctx, (size_t)espl_entry_values(&model->store, base) * sizeof *values, &values));
        espl_status status = espl_store_read(&adapter->store, &mine, values);
        if (status == ESPL_OK) status = change_base(adapter, base, values);
        espl_free(model->ctx, &values);
        ESPL_TRY(status);
    }
    return ESPL_OK;
}

static uint32_t merged_count(const espl_model *model) {
    uint32_t newest = 0;
    for (const espl_adapter *adapter = model->adapters; adapter; adapter = adapter->next)
        newest = adapter->merge_order > newest ? adapter->merge_order : newest;
    return newest;
}

static espl_status put_back(espl_adapter *adapter) {
    espl_status status = ESPL_OK;
    while (status == ESPL_OK && adapter->original_count) {
        espl_original *original = &adapter->originals[adapter->original_count - 1];
        status = espl_store_write(&adapter->model->store, original->entry, original->values, ESPL_DTYPE_F32);
        if (status != ESPL_OK) break;
        espl_free(adapter->model->ctx, &original->values);
        adapter->original_count--;
    }
    return status;
}

espl_status espl_adapter_merge(espl_adapter *adapter) {
    espl_model *model = adapter->model;
    if (adapter->merge_order)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "adapter \"%s\" is merged already", adapter->name);
    if (adapter->method->join && !adapter->method->merge)
        return espl_fail(model->ctx, ESPL_UNSUPPORTED, "adapter \"%s\": %s is no change of the base's weights and cannot be "
                         "merged into them", adapter->name, adapter->method->name);
    espl_status status = merge_replacements(adapter);
    if (status == ESPL_OK) status = merge_places(adapter);
    if (status != ESPL_OK) {
        put_back(adapter);
        return status;
    }
    adapter->merge_order = merged_count(model) + 1;
    adapter->active = false;
    return ESPL_OK;
}

espl_status espl_adapter_unmerge(espl_adapter *adapter) {
    espl_model *model = adapter->model;
    if (!adapter->merge_order)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "adapter \"%s\" is not merged", adapter->name);
    if (adapter->merge_order != merged_count(model))
        return espl_fail(model->ctx, ESPL_ARGUMENT, "adapter \"%s\" was merged before another one, which must be taken out "
                         "first", adapter->name);
    ESPL_TRY(put_back(adapter));
    adapter->merge_order = 0;
    return ESPL_OK;
}
