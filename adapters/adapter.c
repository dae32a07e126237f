/* The life of an adapter: add or load, activate, delete. */
#include "adapters/folder.h"
#include "adapters/library.h"
#include "adapters/library_head.h"
#include "adapters/make.h"
#include "adapters/spec.h"
#include "adapters/targets.h"
#include "adapters/union.h"
#include "host/model/composition.h"
#include "host/base/os.h"
#include <stdio.h>
#include <string.h>

/* ---- Configuration ---- */

/* "lora:r=8,alpha=16" -> method and keys. */
espl_status espl_adapter_parse(espl_adapter *adapter, const char *spec) {
    espl_context *ctx = adapter->model->ctx;
    if (strchr(spec, '|')) {
        adapter->method = &espl_method_union;
        adapter->config = json_object();
        ESPL_TRY(espl_folder_begin(adapter));
        return espl_union_parse(adapter, spec);
    }
    const char *colon = strchr(spec, ':');
    const size_t name_bytes = colon ? (size_t)(colon - spec) : strlen(spec);
    for (size_t i = 0; i < espl_method_count && !adapter->method; i++) {
        if (strlen(espl_methods[i]->name) == name_bytes && strncmp(espl_methods[i]->name, spec, name_bytes) == 0)
            adapter->method = espl_methods[i];
    }
    if (!adapter->method) return espl_folder_unknown(ctx, "method", spec, name_bytes);
    adapter->config = json_object();
    ESPL_TRY(espl_folder_begin(adapter));
    for (const char *at = colon ? colon + 1 : ""; *at;) {
        const char *comma = strchr(at, ',');
        const size_t bytes = comma ? (size_t)(comma - at) : strlen(at);
        char *key;
        ESPL_TRY(espl_copy_string(ctx, at, bytes, &key));
        char *value = strchr(key, '=');
        if (value) *value++ = 0;
        espl_status status = adapter->method->set ? adapter->method->set(adapter, key, value) : espl_spec_set(adapter, key, value);
        espl_free(ctx, &key);
        ESPL_TRY(status);
        at += bytes + (comma != NULL);
    }
    return ESPL_OK;
}

/* ---- Making ---- */

static espl_status check_name(espl_model *model, const char *name) {
    /* These are of compositions; '/' would leave a folder. */
    if (!*name || strpbrk(name, "+(),:/") || strcmp(name, ESPL_COMPOSITION_BASE_NAME) == 0)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "\"%s\" cannot be the name of an adapter", name);
    if (espl_adapter_find(model, name, strlen(name)))
        return espl_fail(model->ctx, ESPL_ARGUMENT, "there is an adapter \"%s\" already", name);
    return ESPL_OK;
}

espl_status espl_adapter_begin(espl_model *model, const char *name, espl_adapter **out_adapter) {
    *out_adapter = NULL;
    espl_adapter *adapter;
    ESPL_TRY(espl_new(model->ctx, sizeof *adapter, &adapter));
    *out_adapter = adapter;
    adapter->model = model;
    espl_store_init(&adapter->store, model->ctx, model->device, ESPL_ARENA_WEIGHTS, "adapter");
    ESPL_TRY(espl_copy_string(model->ctx, name, strlen(name), &adapter->name));
    ESPL_TRY(espl_new(model->ctx, model->store.matrix_count * sizeof *adapter->replacement, &adapter->replacement));
    adapter->replacement_count = (uint32_t)model->store.matrix_count;
    for (uint32_t i = 0; i < adapter->replacement_count; i++) adapter->replacement[i] = ESPL_NO_MATRIX;
    return ESPL_OK;
}

void espl_adapter_destroy(espl_adapter *adapter) {
    if (!adapter) return;
    espl_context *ctx = adapter->model->ctx;
    while (adapter->members) {
        espl_adapter *member = adapter->members;
        adapter->members = member->next;
        espl_adapter_destroy(member);
    }
    if (adapter->method && adapter->state) adapter->method->finish(adapter);
    espl_store_finish(&adapter->store);
    for (size_t i = 0; i < adapter->original_count; i++) espl_free(ctx, &adapter->originals[i].values);
    espl_free(ctx, &adapter->originals);
    espl_json_destroy(&adapter->config);
    espl_json_destroy(&adapter->form);
    espl_tokenizer_destroy(&adapter->tokenizer);
    espl_free(ctx, &adapter->replacement);
    espl_free(ctx, &adapter->file_name);
    espl_free(ctx, &adapter->name);
    espl_free(ctx, &adapter);
}

/* PEFT's type of task for a head, and the modules that it saves then: by the ends of their names. For choices it has no type of its
 * own. */
static const struct task_type {
    espl_head_kind kind;
    const char *type, *modules[2];
} task_types[] = {{ESPL_HEAD_CLASSIFICATION, "SEQ_CLS", {"classifier", "score"}}, {ESPL_HEAD_REGRESSION, "SEQ_CLS", {"classifier", "score"}},
                  {ESPL_HEAD_TAGGING, "TOKEN_CLS", {"classifier", "score"}},      {ESPL_HEAD_SPANS, "QUESTION_ANS", {"qa_outputs"}},
                  {ESPL_HEAD_CHOICES, "SEQ_CLS", {"classifier", "score"}}};

static const struct task_type *task_type_of(espl_head_kind kind) {
    for (size_t i = 0; i < ESPL_COUNT(task_types); i++) {
        if (task_types[i].kind == kind) return &task_types[i];
    }
    return NULL;
}

const char *espl_adapter_task_type(espl_head_kind kind) {
    const struct task_type *own = task_type_of(kind);
    return own ? own->type : NULL;
}

/* A head with labels is trained and saved with the adapter, as PEFT does it for these types of task. */
static espl_status add_task(espl_adapter *adapter) {
    espl_context *ctx = adapter->model->ctx;
    const espl_task_head *head = &adapter->model->task;
    if (head->kind == ESPL_HEAD_LANGUAGE || adapter->library) return ESPL_OK;
    const struct task_type *own = task_type_of(head->kind);
    const json_t *given = json_object_get(adapter->config, "task_type");
    if (!given)
        ESPL_TRY(espl_json_set(ctx, adapter->config, "task_type", own ? json_string(own->type) : json_null()));
    else if (json_is_string(given) && own && strcmp(json_string_value(given), own->type) != 0)
        return espl_fail(ctx, ESPL_ARGUMENT, "the adapter's task_type is %s, the model's head is for %s",
                         json_string_value(given), own->type);
    if (!own || (given && !json_is_string(given))) return ESPL_OK;
    json_t *modules = json_object_get(adapter->config, "modules_to_save");
    if (!json_is_array(modules)) {
        ESPL_TRY(espl_json_set(ctx, adapter->config, "modules_to_save", json_array()));
        modules = json_object_get(adapter->config, "modules_to_save");
    }
    for (size_t i = 0; i < ESPL_COUNT(own->modules) && own->modules[i]; i++) {
        bool there = false;
        for (size_t j = 0; j < json_array_size(modules); j++) {
            const char *name = json_string_value(json_array_get(modules, j));
            there |= name && strcmp(name, own->modules[i]) == 0;
        }
        if (!there) ESPL_TRY(espl_json_push(ctx, modules, json_string(own->modules[i])));
    }
    return ESPL_OK;
}

espl_status espl_adapter_initialise(espl_adapter *adapter, uint64_t seed) {
    const json_t *own = json_object_get(adapter->form ? adapter->form : adapter->config, "init_weights_seed");
    if (!adapter->method->initialise) return ESPL_OK;
    return adapter->method->initialise(adapter, json_is_integer(own) ? (uint64_t)json_integer_value(own) : seed);
}

/* Embeddings are no adapter's: heads stand beside others. */
static bool has_library_head(const espl_adapter *adapter) {
    return adapter->library && !adapter->tokens;
}

/* head: one that was read, or NULL: as the adapter `like` has one, or by default (espl_adapter_declare_head). */
static espl_status finish_making(espl_adapter *adapter, uint64_t seed, const espl_library_head *head, const espl_adapter *like) {
    ESPL_TRY(add_task(adapter));
    ESPL_TRY(adapter->method->declare(adapter));
    if (adapter->store.entry_count == 0)
        return espl_fail(adapter->model->ctx, ESPL_ARGUMENT, "%s: no module of this %s model is a target of the adapter",
                         adapter->method->name, adapter->model->config.family->model_type);
    ESPL_TRY(espl_target_check(adapter));
    if (has_library_head(adapter)) ESPL_TRY(espl_adapter_declare_head(adapter, head, like));
    if (!adapter->model->device) return ESPL_OK; /* an outline */
    ESPL_TRY(espl_store_place(&adapter->store, true));
    ESPL_TRY(espl_adapter_initialise(adapter, seed));
    return espl_adapter_copy_base(adapter);
}

static void attach(espl_adapter *adapter) {
    espl_adapter **end = &adapter->model->adapters;
    while (*end) end = &(*end)->next;
    *end = adapter;
}

espl_status espl_adapter_make(espl_model *model, const char *name, const char *spec, uint64_t seed, const espl_adapter *like,
                              espl_adapter **out_adapter) {
    *out_adapter = NULL;
    espl_adapter *adapter = NULL;
    espl_status status = check_name(model, name);
    if (status == ESPL_OK) status = espl_adapter_begin(model, name, &adapter);
    if (status == ESPL_OK && spec[0] == '{') {
        json_t *config = NULL;
        status = espl_json_parse(model->ctx, spec, strlen(spec), "adapter configuration", &config);
        if (status == ESPL_OK) status = espl_folder_read_config(adapter, config);
        if (status == ESPL_OK) status = espl_folder_check_new(adapter);
    } else if (status == ESPL_OK) {
        status = espl_adapter_parse(adapter, spec);
    }
    if (status == ESPL_OK) status = finish_making(adapter, seed, NULL, like);
    if (status != ESPL_OK) {
        espl_adapter_destroy(adapter);
        return status;
    }
    attach(adapter);
    *out_adapter = adapter;
    return ESPL_OK;
}

espl_status espl_adapter_add(espl_model *model, const char *name, const char *spec, uint64_t seed, espl_adapter **out_adapter) {
    return espl_adapter_make(model, name, spec, seed, NULL, out_adapter);
}

static espl_status begin_config(espl_context *ctx, json_t **out_config) {
    *out_config = json_object();
    return *out_config ? ESPL_OK : espl_fail(ctx, ESPL_HOST_MEMORY, "a configuration needs memory");
}

/* What adapter_config.json says; *out_head is the head in that folder, with no parts where there is none. */
static espl_status read_config(espl_adapter *adapter, const char *folder, espl_library_head *out_head) {
    espl_context *ctx = adapter->model->ctx;
    char *path;
    json_t *config;
    bool is = false;
    const espl_method *own = espl_folder_own_method(folder);
    ESPL_TRY(espl_format(ctx, &path, "%s/%s", folder, espl_folder_config(own)));
    const bool none = own && !own->files->config; /* embeddings, beside which there is no head */
    espl_status status = none ? begin_config(ctx, &config) : espl_json_load(ctx, path, &config);
    if (status == ESPL_OK) {
        status = own ? own->from_file(ctx, folder, config) : espl_library_renew_activation(ctx, config);
        if (status == ESPL_OK) status = espl_folder_read_config(adapter, config);
        else json_decref(config);
        if (status != ESPL_OK) espl_fail_in(ctx, status, "%s", path);
    }
    if (status == ESPL_OK && adapter->library && !none) status = espl_library_head_is(adapter->model, folder, &is);
    if (status == ESPL_OK && is) status = espl_library_head_open(adapter->model, folder, out_head);
    if (status == ESPL_OK) {
        status = finish_making(adapter, 0, out_head, NULL);
        if (status != ESPL_OK) espl_fail_in(ctx, status, "%s", path);
    }
    espl_free(ctx, &path);
    return status;
}

espl_status espl_adapter_load(espl_model *model, const char *name, const char *folder, espl_adapter **out_adapter) {
    *out_adapter = NULL;
    espl_adapter *adapter = NULL;
    espl_library_head head = {0};
    espl_status status = check_name(model, name);
    if (status == ESPL_OK) status = espl_adapter_begin(model, name, &adapter);
    if (status == ESPL_OK) status = read_config(adapter, folder, &head);
    if (status == ESPL_OK) status = espl_folder_read_tensors(adapter, folder);
    if (status == ESPL_OK && head.parts.count) status = espl_library_head_take(&head, model, adapter);
    espl_library_head_close(model->ctx, &head);
    if (status != ESPL_OK) {
        espl_adapter_destroy(adapter);
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
    espl_composition_forget(model, adapter);
    (void)espl_adapter_unshare(adapter); /* others keep what they have of it; what a lost device cannot give them is gone */
    /* Those merged after it hide its originals. What a lost device cannot give back is gone. */
    while (adapter->merge_order && espl_adapter_unmerge(espl_adapter_merged_last(model)) == ESPL_OK) {}
    for (espl_adapter **at = &model->adapters; *at; at = &(*at)->next) {
        if (*at == adapter) {
            *at = adapter->next;
            break;
        }
    }
    espl_adapter_destroy(adapter);
    *in_out_adapter = NULL;
}

const char *espl_adapter_name(const espl_adapter *adapter) {
    return adapter->name;
}

const char *espl_adapter_method(const espl_adapter *adapter) {
    return adapter->method->name;
}

bool espl_adapter_is_active(const espl_adapter *adapter) {
    return adapter->active;
}

uint64_t espl_adapter_parameters(const espl_adapter *adapter) {
    const espl_store *store = &adapter->store;
    uint64_t values = 0;
    for (size_t i = 0; i < store->entry_count; i++) {
        if (!store->matrices[store->entries[i].matrix].frozen) values += espl_entry_values(store, &store->entries[i]);
    }
    return values;
}
