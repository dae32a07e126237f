/* Head folders of the Adapters library, written: see library_head.h. */
#include "adapters/library.h"
#include "adapters/library_head.h"
#include <stdio.h>
#include <string.h>

/* Where a tensor of the base is now: with this adapter, or NULL: with those that are active. */
static espl_store *current(const espl_model *model, const espl_adapter *adapter, const espl_head_part *part, espl_entry *out_entry) {
    const espl_adapter *first = adapter ? adapter : model->adapters, *end = adapter ? adapter->next : NULL;
    *out_entry = *part->entry;
    for (const espl_adapter *one = first; one != end; one = one->next) {
        const uint32_t own = part->tied ? espl_adapter_head(one) : one->replacement[part->entry->matrix];
        if ((one != adapter && (!one->active || one->some_rows)) || own == ESPL_NO_MATRIX) continue;
        out_entry->matrix = own;
        return (espl_store *)(uintptr_t)&one->store;
    }
    return (espl_store *)(uintptr_t)&model->store;
}

espl_status espl_library_head_put(espl_context *ctx, const json_t *file, const espl_tensor_entry *entries, size_t count,
                                  const char *folder, espl_replace *out_files) {
    static const espl_tensors_metadata_pair format = {"format", "pt"};
    char *path = NULL;
    espl_status status;
    ESPL_GOTO(espl_json_replace(ctx, folder, "head_config.json", file, &out_files[1]));
    ESPL_GOTO(espl_format(ctx, &path, "%s/model_head.safetensors", folder));
    status = espl_tensors_replace(ctx, path, entries, count, &format, 1, &out_files[0]);
fail:
    espl_free(ctx, &path);
    return status;
}

static espl_status remove_file(espl_context *ctx, const char *folder, const char *name) {
    char *path;
    ESPL_TRY(espl_format(ctx, &path, "%s/%s", folder, name));
    if (espl_os_is_file(path)) espl_os_remove_file(path);
    espl_free(ctx, &path);
    return ESPL_OK;
}

espl_status espl_library_remove_old(espl_context *ctx, const char *folder, const char *pickled, bool head) {
    char name[64];
    snprintf(name, sizeof name, "%s.bin", pickled);
    ESPL_TRY(remove_file(ctx, folder, name));
    ESPL_TRY(remove_file(ctx, folder, "pytorch_model_head.bin"));
    if (head) return ESPL_OK;
    ESPL_TRY(remove_file(ctx, folder, "model_head.safetensors"));
    return remove_file(ctx, folder, "head_config.json");
}

static espl_status put_parts(const espl_model *model, const espl_adapter *adapter, const espl_head_parts *parts, const json_t *file,
                             const char *folder, espl_replace *out_files) {
    espl_context *ctx = model->ctx;
    espl_tensor_entry entries[ESPL_HEAD_PARTS_MAX];
    float *values[ESPL_HEAD_PARTS_MAX] = {NULL};
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < parts->count; i++) {
        const espl_head_part *part = &parts->part[i];
        espl_entry entry;
        espl_store *store = current(model, adapter, part, &entry);
        ESPL_GOTO(espl_new(ctx, (size_t)espl_entry_values(store, &entry) * sizeof *values[i], &values[i]));
        ESPL_GOTO(espl_store_read(store, &entry, values[i]));
        entries[i] = (espl_tensor_entry){.name = part->name, .dtype = ESPL_DTYPE_F32, .rank = entry.rank, .data = values[i]};
        memcpy(entries[i].shape, entry.shape, entry.rank * sizeof *entry.shape);
    }
    status = espl_library_head_put(ctx, file, entries, parts->count, folder, out_files);
fail:
    for (size_t i = 0; i < parts->count; i++) espl_free(ctx, &values[i]);
    return status;
}

static const char *activation_name(uint32_t kind) {
    static const char *const names[] = {"tanh", "relu", "gelu", "gelu_new", "swish"};
    for (size_t i = 0; i < ESPL_COUNT(names); i++) {
        uint32_t own;
        if (espl_config_activation(names[i], &own) && own == kind) return names[i];
    }
    return NULL;
}

/* By their numbers, from which the library has how many choices a static head is made flexible with; NULL: no memory. */
static json_t *choice_labels(uint32_t choices) {
    json_t *labels = json_object();
    for (uint32_t i = 0; labels && i < choices; i++) {
        char name[24];
        snprintf(name, sizeof name, "LABEL_%u", i);
        if (json_object_set_new(labels, name, json_integer(i))) {
            json_decref(labels);
            return NULL;
        }
    }
    return labels;
}

/* What only some types have. */
static json_t *more_config(const espl_model *model, const espl_head_form *form) {
    const espl_task_head *head = &model->task;
    const bool pooler = espl_head_is_flexible(model) ? head->pooler != NULL : !form->two && head->names->dense;
    if (espl_head_per_token(model)) return json_pack("{s:i}", "num_labels", (int)head->labels);
    if (head->choices) return json_pack("{s:i, s:b}", "num_choices", (int)head->choices, "use_pooler", pooler);
    return json_pack("{s:i, s:b, s:b}", "num_labels", (int)head->labels, "bias", head->out_bias != ESPL_NO_MATRIX, "use_pooler", pooler);
}

/* NULL: no memory. */
static json_t *labelled_config(const espl_model *model, const espl_head_form *form, json_t *labels) {
    json_t *config = json_pack("{s:s, s:i, s:s?, s:O, s:n}", "head_type", espl_head_type(model), "layers", form->two ? 2 : 1,
                               "activation_function", form->two ? activation_name(model->task.activation) : NULL, "label2id", labels,
                               "dropout_prob");
    json_t *more = more_config(model, form);
    const bool failed = !config || !more || json_object_update(config, more);
    json_decref(more);
    if (failed) json_decref(config);
    return failed ? NULL : config;
}

static json_t *words_config(const espl_model *model) {
    const espl_config *c = &model->config;
    const espl_task_head *head = &model->task;
    const bool masked = head->kind == ESPL_HEAD_MASKED, two = head->dense != ESPL_NO_MATRIX;
    json_t *config = json_pack("{s:s, s:i, s:i, s:i, s:s?, s:b, s:b, s:b, s:n}", "head_type", espl_head_type(model), "vocab_size",
                               (int)c->vocabulary, "embedding_size", (int)c->embedding, "layers", two ? 2 : 1, "activation_function",
                               two ? activation_name(head->activation) : NULL, "layer_norm", head->norm.weight != ESPL_NO_MATRIX,
                               "bias", head->out_bias != ESPL_NO_MATRIX, "shift_labels", !masked, "label2id");
    if (!masked && config && json_object_set_new(config, "dropout_prob", json_null())) {
        json_decref(config);
        return NULL;
    }
    return config;
}

/* What the library would write; labels are in config, or for a static head in the file itself. */
espl_status espl_library_head_describe(const espl_model *model, const espl_head_form *form, json_t **out_file) {
    espl_context *ctx = model->ctx;
    const uint32_t choices = model->task.choices;
    char *model_class = NULL;
    json_t *described = json_object(), *config = json_null(), *labels;
    espl_status status = ESPL_OK;
    *out_file = NULL;
    ESPL_GOTO(espl_head_describe(model, described));
    if (choices) ESPL_GOTO(espl_json_set(ctx, described, "label2id", choice_labels(choices)));
    labels = json_object_get(described, "label2id");
    ESPL_GOTO(form->name ? espl_format(ctx, &model_class, "%sAdapterModel", model->config.family->class_name)
                         : espl_head_class(model, &model_class));
    if (form->name) config = labels ? labelled_config(model, form, labels) : words_config(model);
    if (config)
        *out_file = json_pack("{s:O, s:i, s:s, s:s, s:s, s:s?, s:s}", "config", config, "hidden_size", (int)model->config.hidden,
                              "model_class", model_class, "model_name", model->folder, "model_type", model->config.family->model_type,
                              "name", form->name, "version", espl_library_version);
    if (!*out_file) ESPL_GOTO(espl_fail(ctx, ESPL_HOST_MEMORY, "the configuration of a head needs memory"));
    if (!form->name && labels) ESPL_GOTO(espl_json_set(ctx, *out_file, "label2id", json_incref(labels)));
    if (!form->name && labels) ESPL_GOTO(espl_json_set(ctx, *out_file, "num_labels", json_integer(choices ? choices : model->task.labels)));
fail:
    espl_free(ctx, &model_class);
    json_decref(config);
    json_decref(described);
    return status;
}

espl_status espl_library_head_write(const espl_model *model, const espl_adapter *adapter, const espl_head_form *form,
                                    const char *folder, espl_replace *out_files) {
    espl_context *ctx = model->ctx;
    espl_head_parts parts = {.count = 0};
    json_t *file = NULL;
    espl_status status;
    ESPL_GOTO(espl_head_parts_of(model, form, &parts));
    ESPL_GOTO(espl_library_head_describe(model, form, &file));
    status = put_parts(model, adapter, &parts, file, folder, out_files);
fail:
    espl_head_parts_finish(ctx, &parts);
    espl_json_destroy(&file);
    return status;
}

espl_status espl_model_save_head(const espl_model *model, const char *folder, const char *name) {
    espl_context *ctx = model->ctx;
    espl_replace files[ESPL_HEAD_FILES] = {0};
    espl_status status = ESPL_OK;
    if (!espl_head_type(model)) return espl_fail(ctx, ESPL_UNSUPPORTED, "the model has no head for words or labels");
    if (!name && espl_head_is_flexible(model))
        return espl_fail(ctx, ESPL_ARGUMENT, "a flexible head is written under a name");
    const char *dense = model->task.names ? model->task.names->dense : NULL;
    const bool two = dense && (!model->task.labels || !espl_head_in_base(model, dense));
    ESPL_GOTO(espl_os_make_folder(ctx, folder));
    ESPL_GOTO(espl_library_head_write(model, NULL, &(espl_head_form){.name = name, .two = two}, folder, files));
    ESPL_GOTO(espl_os_replace_commit_all(ctx, files, ESPL_HEAD_FILES));
    status = remove_file(ctx, folder, "pytorch_model_head.bin");
fail:
    espl_os_replace_finish_all(ctx, files, ESPL_HEAD_FILES);
    return status;
}
