#include "adapters/folder.h"
#include "adapters/fields.h"
#include "adapters/library.h"
#include "adapters/library_head.h"
#include "host/base/os.h"
#include <stdio.h>
#include <string.h>

static const char *type_of(size_t method, const char *what) {
    const espl_method *m = espl_methods[method];
    return strcmp(what, "peft_type") == 0 ? m->peft_type : strcmp(what, "method") == 0 ? m->name : m->architecture;
}

espl_status espl_folder_unknown(espl_context *ctx, const char *what, const char *name, size_t bytes) {
    const bool method = strcmp(what, "method") == 0;
    espl_bytes known = {0};
    espl_status status = ESPL_OK;
    for (size_t i = 0; status == ESPL_OK && i < espl_method_count; i++) {
        const char *one = type_of(i, what);
        for (size_t j = 0; one && j < i; j++) {
            if (type_of(j, what) && strcmp(type_of(j, what), one) == 0) one = NULL; /* several methods are of one type */
        }
        if (one) status = espl_bytes_print(ctx, &known, "%s%s", known.count ? ", " : "", one);
    }
    if (status == ESPL_OK)
        status = espl_fail(ctx, method ? ESPL_ARGUMENT : ESPL_UNSUPPORTED, "%s \"%.*s\" is not one of: %s%s", what, (int)bytes,
                           name, known.data, method ? "; full trains the model itself and has no keys" : "");
    espl_bytes_finish(ctx, &known);
    return status;
}

/* ---- Files ---- */

const espl_folder_names espl_folder_peft = {"adapter_config.json", "adapter_model", "adapter_model"};
const espl_folder_names espl_folder_library = {"adapter_config.json", "adapter", "pytorch_adapter"};

static const espl_folder_names *files_of(const espl_adapter *adapter) {
    if (adapter->method->files) return adapter->method->files;
    return adapter->library ? &espl_folder_library : &espl_folder_peft;
}

static bool is_there(const char *folder, const char *name) {
    char path[1024];
    return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path && espl_os_is_file(path);
}

const char *espl_folder_config(const espl_method *own) {
    return !own ? espl_folder_peft.config : own->files->config ? own->files->config : own->files->pickled;
}

const espl_method *espl_folder_own_method(const char *folder) {
    if (is_there(folder, espl_folder_peft.config)) return NULL;
    for (size_t i = 0; i < espl_method_count; i++) {
        if (espl_methods[i]->files && is_there(folder, espl_folder_config(espl_methods[i]))) return espl_methods[i];
    }
    return NULL;
}

/* ---- Configuration ---- */

espl_status espl_folder_begin(espl_adapter *adapter) {
    espl_context *ctx = adapter->model->ctx;
    if (adapter->method->peft_type)
        return espl_json_set(ctx, adapter->config, "peft_type", json_string(adapter->method->peft_type));
    adapter->library = true;
    return espl_copy_string(ctx, adapter->name, strlen(adapter->name), &adapter->file_name);
}

static const espl_method *method_of_type(const char *peft_type, const json_t *config) {
    for (size_t i = 0; i < espl_method_count; i++) {
        const espl_method *m = espl_methods[i];
        if (m->peft_type && strcmp(m->peft_type, peft_type) == 0 && (!m->recognise || m->recognise(config))) return m;
    }
    return NULL;
}

static espl_status read_peft(espl_adapter *adapter, json_t *config) {
    espl_context *ctx = adapter->model->ctx;
    const char *type;
    adapter->config = config;
    ESPL_TRY(espl_json_need(ctx, config, "peft_type"));
    ESPL_TRY(espl_json_string(ctx, config, "peft_type", NULL, &type));
    adapter->method = method_of_type(type, config);
    return adapter->method ? espl_fields_check(adapter) : espl_folder_unknown(ctx, "peft_type", type, strlen(type));
}

static espl_status read_library(espl_adapter *adapter, json_t *file) {
    espl_context *ctx = adapter->model->ctx;
    json_t *config = json_object_get(file, "config");
    const json_t *attention = json_object_get(config, "selfattn_lora"); /* it is there by default */
    const bool fused = espl_library_fused(adapter->model->config.family) && (!attention || json_is_true(attention));
    /* A union lists its parts in the library's own words. Parts of one map for q, k and v PEFT's LoRA has not. */
    const espl_library_form *form = adapter->owner ? NULL : espl_library_find(config);
    if (form && fused && strcmp(form->peft_type, "LORA") == 0) form = NULL;
    const char *name, *architecture;
    adapter->library = true;
    ESPL_TRY(espl_json_string(ctx, file, "name", adapter->name, &name));
    ESPL_TRY(espl_copy_string(ctx, name, strlen(name), &adapter->file_name));
    ESPL_TRY(espl_json_string(ctx, config, "architecture", "bottleneck", &architecture));
    if (form) {
        adapter->form = json_incref(config);
        ESPL_TRY(espl_library_to_peft(ctx, form, &adapter->model->config, file, &adapter->config));
        if (fused)
            return espl_fail(ctx, ESPL_UNSUPPORTED, "\"selfattn_lora\": q, k and v are one map of a %s model, whose parts have factors of "
                             "their own in the Adapters library: convert the folder to PEFT's format",
                             adapter->model->config.family->model_type);
        adapter->method = method_of_type(form->peft_type, adapter->config);
        return ESPL_OK;
    }
    adapter->config = json_incref(config);
    for (size_t i = 0; i < espl_method_count && !adapter->method; i++) {
        const espl_method *m = espl_methods[i];
        if (m->architecture && strcmp(m->architecture, architecture) == 0 && (!m->recognise || m->recognise(config)))
            adapter->method = m;
    }
    return adapter->method ? ESPL_OK : espl_folder_unknown(ctx, "architecture", architecture, strlen(architecture));
}

espl_status espl_folder_check_new(const espl_adapter *adapter) {
    const char *own = adapter->form ? "init_weights" : "init_lora_weights";
    const char *init = json_string_value(json_object_get(adapter->form ? adapter->form : adapter->config, own));
    const bool scales = json_object_get(adapter->config, "init_ia3_weights") != NULL;
    if (!adapter->library) ESPL_TRY(espl_fields_check_new(adapter));
    if (!init || strcmp(init, !adapter->form ? "gaussian" : scales ? "ia3" : "lora") == 0) return ESPL_OK;
    return espl_fail(adapter->model->ctx, ESPL_UNSUPPORTED, "%s \"%s\" is not offered", own, init);
}

espl_status espl_folder_read_config(espl_adapter *adapter, json_t *config) {
    const json_t *own = json_object_get(config, "config");
    if (json_object_get(config, "peft_type") || !own) return read_peft(adapter, config);
    espl_status status = espl_library_renew(adapter->model->ctx, config);
    own = json_object_get(config, "config");
    if (status == ESPL_OK)
        status = json_is_object(own) ? read_library(adapter, config)
                                     : espl_fail(adapter->model->ctx, ESPL_FORMAT, "\"config\" is %s, an object or a string was expected",
                                                 espl_json_type_name(own));
    json_decref(config);
    return status;
}

/* What the file holds, a new reference. */
static espl_status written_config(espl_adapter *adapter, json_t **out_config) {
    espl_context *ctx = adapter->model->ctx;
    *out_config = NULL;
    if (!adapter->library) {
        ESPL_TRY(espl_json_set(ctx, adapter->config, "inference_mode", json_true()));
        *out_config = json_incref(adapter->config);
        return ESPL_OK;
    }
    ESPL_TRY(espl_library_file(ctx, adapter->form ? adapter->form : adapter->config, &adapter->model->config, adapter->model->json,
                               adapter->model->folder, adapter->file_name, out_config));
    return adapter->method->to_file ? adapter->method->to_file(ctx, *out_config) : ESPL_OK;
}

/* ---- Tensors ---- */

/* Of the library's two files safetensors comes first; the library itself reads pytorch_adapter.bin unless told otherwise. */
static espl_status weights_path(const espl_adapter *adapter, const char *folder, char **out_path) {
    espl_context *ctx = adapter->model->ctx;
    const espl_folder_names *files = files_of(adapter);
    if (!adapter->library) return espl_format(ctx, out_path, "%s/%s", folder, files->weights);
    ESPL_TRY(espl_format(ctx, out_path, "%s/%s.safetensors", folder, files->weights));
    if (espl_os_is_file(*out_path)) return ESPL_OK;
    espl_free(ctx, out_path);
    return espl_format(ctx, out_path, "%s/%s", folder, files->pickled);
}

/* The name that the file has, of those of an entry without the model's prefix, or from before 2020. */
static espl_status add_library_alias(const espl_adapter *adapter, const espl_tensors *set, espl_entry *entry) {
    espl_context *ctx = adapter->model->ctx;
    const char *prefix = adapter->model->config.family->prefix;
    const size_t bytes = strncmp(entry->name, prefix, strlen(prefix)) == 0 ? strlen(prefix) : 0;
    char *name;
    if (espl_tensors_has(set, entry->name)) return ESPL_OK;
    ESPL_TRY(espl_copy_string(ctx, entry->name, strlen(entry->name), &name));
    for (size_t i = 0; name && !espl_tensors_has(set, name) && !espl_tensors_has(set, name + bytes); i++) {
        espl_free(ctx, &name);
        ESPL_TRY(espl_library_old_name(ctx, entry->name, i, &name));
    }
    if (!name) return ESPL_OK; /* missing, which the reader says */
    espl_status status = espl_format(ctx, &entry->alias, "%s", name + (espl_tensors_has(set, name) ? 0 : bytes));
    espl_free(ctx, &name);
    return status;
}

/* Other names of an entry: files of before PEFT 0.15 lack ".base_layer"; ours once had a head beside rows before the text as if
 * PEFT wrapped that model twice. */
static espl_status add_aliases(espl_adapter *adapter, const espl_tensors *set) {
    static const char mark[] = ".base_layer.", wrapped[] = "base_model.";
    espl_context *ctx = adapter->model->ctx;
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        espl_entry *entry = &adapter->store.entries[i];
        const char *at = strstr(entry->name, mark);
        if (at)
            ESPL_TRY(espl_format(ctx, &entry->alias, "%.*s.%s", (int)(at - entry->name), entry->name, at + strlen(mark)));
        else if (adapter->library)
            ESPL_TRY(add_library_alias(adapter, set, entry));
        else if (adapter->before && strncmp(entry->name, wrapped, strlen(wrapped)) == 0)
            ESPL_TRY(espl_format(ctx, &entry->alias, "%smodel.%s", wrapped, entry->name + strlen(wrapped)));
    }
    return ESPL_OK;
}

/* The Adapters library writes the tensors of a prefix once more under each layer that has it. */
static espl_status is_repeated(const espl_adapter *adapter, const char *name, bool *out_repeated) {
    static const char mark[] = "prefix_tuning.pool.";
    const char *at = adapter->library ? strstr(name, mark) : NULL;
    char *once;
    *out_repeated = false;
    if (!at) return ESPL_OK;
    ESPL_TRY(espl_format(adapter->model->ctx, &once, "%sprefix_tuning.%s", adapter->model->config.family->prefix, at + strlen(mark)));
    *out_repeated = espl_store_find(&adapter->store, once) != NULL;
    espl_free(adapter->model->ctx, &once);
    return ESPL_OK;
}

static espl_status check_names(const espl_adapter *adapter, const espl_tensors *set) {
    for (size_t i = 0; i < espl_tensors_count(set); i++) {
        const char *name = espl_tensors_name(set, i);
        bool repeated;
        const espl_entry *entry = espl_store_find(&adapter->store, name);
        if (entry && !entry->apart) continue;
        ESPL_TRY(is_repeated(adapter, name, &repeated));
        if (!repeated)
            return espl_fail(adapter->model->ctx, ESPL_FORMAT, "%s is not a tensor that this adapter's configuration gives this model",
                             name);
    }
    return ESPL_OK;
}

espl_status espl_folder_read_tensors(espl_adapter *adapter, const char *folder) {
    espl_context *ctx = adapter->model->ctx;
    char *path;
    espl_tensors *set = NULL;
    ESPL_TRY(weights_path(adapter, folder, &path));
    espl_status status = espl_tensors_open(ctx, path, &set); /* names the path itself */
    if (status != ESPL_OK) {
        espl_free(ctx, &path);
        return status;
    }
    status = add_aliases(adapter, set);
    if (status == ESPL_OK)
        status = adapter->method->read ? adapter->method->read(adapter, set) : espl_store_load(&adapter->store, set, "");
    if (status == ESPL_OK && !adapter->method->read) status = check_names(adapter, set);
    if (status != ESPL_OK) espl_fail_in(ctx, status, "%s", path);
    espl_tensors_destroy(&set);
    espl_free(ctx, &path);
    return status;
}

espl_status espl_adapter_save(espl_adapter *adapter, const char *folder) {
    return adapter->method->save ? adapter->method->save(adapter, folder) : espl_folder_write(adapter, folder);
}

espl_status espl_folder_write(espl_adapter *adapter, const char *folder) {
    espl_context *ctx = adapter->model->ctx;
    enum { WEIGHTS, HEAD, CONFIG = HEAD + ESPL_HEAD_FILES, FILES };
    espl_replace files[FILES] = {0};
    char *weights = NULL;
    json_t *config = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_os_make_folder(ctx, folder));
    ESPL_GOTO(written_config(adapter, &config));
    /* All are on the disk before any takes its place: where they do not fit, the folder stays as it was. */
    ESPL_GOTO(espl_json_replace(ctx, folder, files_of(adapter)->config, config, &files[CONFIG]));
    ESPL_GOTO(espl_format(ctx, &weights, "%s/%s.safetensors", folder, files_of(adapter)->weights));
    ESPL_GOTO(adapter->method->write ? adapter->method->write(adapter, weights, &files[WEIGHTS])
                                     : espl_store_replace(&adapter->store, weights, &files[WEIGHTS]));
    ESPL_GOTO(espl_adapter_write_head(adapter, folder, &files[HEAD]));
    const bool has_head = files[HEAD].path != NULL;
    ESPL_GOTO(espl_os_replace_commit_all(ctx, files, FILES));
    if (adapter->library) status = espl_library_remove_old(ctx, folder, files_of(adapter)->pickled, has_head);
fail:
    espl_os_replace_finish_all(ctx, files, FILES);
    espl_json_destroy(&config);
    espl_free(ctx, &weights);
    return status;
}
