/* Head folders of the Adapters library: head_config.json beside model_head.safetensors or pytorch_model_head.bin. Flexible
 * heads are lists of layers, "heads.<name>.<number>"; static ones the head of a transformers class under its own names, without
 * a configuration. What a head has in the base (BERT's pooler) is in neither.
 * Source: github.com/adapter-hub/adapters 1.2.0, heads/base.py, heads/language_modeling.py, head_utils.py, loading.py. */
#include "adapters/library.h"
#include "host/base/os.h"
#include "host/model/adapter.h"
#include <string.h>

static const struct {
    espl_head_kind kind;
    const char *type;
} types[] = {{ESPL_HEAD_CLASSIFICATION, "classification"}, {ESPL_HEAD_REGRESSION, "classification"},
             {ESPL_HEAD_TAGGING, "tagging"}};

static const char *type_of(const espl_model *model) {
    for (size_t i = 0; i < ESPL_COUNT(types); i++) {
        if (types[i].kind == model->task.kind) return types[i].type;
    }
    return NULL;
}

static espl_status need_type(const espl_model *model, const char **out_type) {
    *out_type = type_of(model);
    if (*out_type) return ESPL_OK;
    return espl_fail(model->ctx, ESPL_UNSUPPORTED, "the model's head is none for classes or numbers; the Adapters library's heads "
                     "for others are not read or written");
}

/* How a folder names the head's tensors. */
typedef struct form {
    const char *name; /* of a flexible head; NULL: static */
    bool two;         /* flexible: dense, activation and a last map; else the last map alone */
} form;

static bool in_base(const espl_model *model, const char *name) {
    return strncmp(name, model->config.family->prefix, strlen(model->config.family->prefix)) == 0;
}

/* NULL in *out_name: the folder has not that tensor of the head. */
static espl_status file_name(const espl_model *model, const form *f, const espl_entry *entry, char **out_name) {
    const espl_task_head *head = &model->task;
    const bool dense = entry->matrix == head->dense || entry->matrix == head->dense_bias;
    *out_name = NULL;
    if (!dense && entry->matrix != head->out && entry->matrix != head->out_bias) return ESPL_OK;
    if (!f->name) return in_base(model, entry->name) ? ESPL_OK : espl_copy_string(model->ctx, entry->name, strlen(entry->name), out_name);
    if (dense && !f->two) return ESPL_OK;
    return espl_format(model->ctx, out_name, "heads.%s.%d.%s", f->name, f->two && !dense ? 4 : 1, entry->vector ? "bias" : "weight");
}

/* ---- Reading ---- */

static espl_status check_activation(const espl_model *model, const json_t *config) {
    const char *name;
    uint32_t kind;
    ESPL_TRY(espl_json_string(model->ctx, config, "activation_function", "tanh", &name));
    if (espl_config_activation(name, &kind) && kind == model->task.activation) return ESPL_OK;
    return espl_fail(model->ctx, ESPL_UNSUPPORTED, "activation_function \"%s\" is not that of this model's head", name);
}

static espl_status read_flexible(const espl_model *model, const json_t *config, const char *type, form *f) {
    espl_context *ctx = model->ctx;
    const bool has_dense = model->task.names->dense != NULL;
    const char *own;
    uint32_t layers;
    bool pooler, bias;
    ESPL_TRY(espl_json_string(ctx, config, "head_type", "", &own));
    if (strcmp(own, type) != 0)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "the head is of the head_type \"%s\", the model's is %s", own, type);
    ESPL_TRY(espl_json_u32(ctx, config, "layers", strcmp(type, "tagging") == 0 ? 1 : 2, &layers));
    ESPL_TRY(espl_json_bool(ctx, config, "use_pooler", false, &pooler));
    ESPL_TRY(espl_json_bool(ctx, config, "bias", true, &bias));
    f->two = layers == 2;
    /* One layer behind BERT's pooler is the model's own; two of their own take the pooler's place. */
    const bool fits = f->two ? has_dense && !pooler : layers == 1 && has_dense == pooler && (!pooler || in_base(model, model->task.names->dense));
    if (!fits || bias != (model->task.out_bias != ESPL_NO_MATRIX))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "a head of %u layers with use_pooler %s and bias %s is not that of a %s model", layers,
                         pooler ? "true" : "false", bias ? "true" : "false", model->config.family->model_type);
    return f->two ? check_activation(model, config) : ESPL_OK;
}

static espl_status check_static(const espl_model *model, const json_t *file) {
    const char *own;
    json_t *described = json_object();
    espl_status status = espl_head_describe(model, described);
    if (status == ESPL_OK) status = espl_json_string(model->ctx, file, "model_class", "", &own);
    const char *name = json_string_value(json_array_get(json_object_get(described, "architectures"), 0));
    if (status == ESPL_OK && (!name || strcmp(name, own) != 0))
        status = espl_fail(model->ctx, ESPL_UNSUPPORTED, "the head is of a %s, the model is a %s", own, name ? name : "model without one");
    json_decref(described);
    return status;
}

static espl_status check_labels(espl_model *model, const json_t *from) {
    espl_context *ctx = model->ctx;
    uint32_t labels;
    json_t *names, *value;
    const char *name;
    ESPL_TRY(espl_json_object(ctx, from, "label2id", &names));
    ESPL_TRY(espl_json_u32(ctx, from, "num_labels", names ? (uint32_t)json_object_size(names) : 2, &labels));
    if (labels != model->task.labels)
        return espl_fail(ctx, ESPL_FORMAT, "the head has %u labels, the model's has %u", labels, model->task.labels);
    json_object_foreach(names, name, value) {
        int64_t id;
        char *copy;
        if (!espl_json_as_i64(value, &id) || id < 0 || id >= labels)
            return espl_fail(ctx, ESPL_FORMAT, "label2id: \"%s\" is not one of %u labels", name, labels);
        ESPL_TRY(espl_copy_string(ctx, name, strlen(name), &copy));
        espl_free(ctx, &model->task.label_names[id]);
        model->task.label_names[id] = copy;
    }
    return ESPL_OK;
}

static espl_status read_tensor(espl_model *model, const espl_entry *entry, const char *name, const espl_tensors *set, bool change) {
    espl_context *ctx = model->ctx;
    espl_tensor_view view;
    void *values;
    ESPL_TRY(espl_tensors_find(set, name, &view));
    if (view.rank != entry->rank || memcmp(view.shape, entry->shape, entry->rank * sizeof *view.shape) != 0)
        return espl_fail(ctx, ESPL_FORMAT, "%s has %u x %u values, the model's head %u x %u", name, view.shape[0], view.shape[1],
                         entry->shape[0], entry->rank > 1 ? entry->shape[1] : 1);
    if (!change) return ESPL_OK;
    ESPL_TRY(espl_new(ctx, view.bytes, &values));
    memcpy(values, view.data, view.bytes); /* the file's are not aligned */
    espl_status status = espl_store_write(&model->store, entry, values, view.dtype);
    espl_free(ctx, &values);
    return status;
}

/* change false: only looks whether all fits. */
static espl_status read_tensors(espl_model *model, const form *f, const espl_tensors *set, bool change) {
    size_t found = 0;
    for (size_t i = 0; i < model->store.entry_count; i++) {
        char *name;
        ESPL_TRY(file_name(model, f, &model->store.entries[i], &name));
        if (!name) continue;
        espl_status status = read_tensor(model, &model->store.entries[i], name, set, change);
        espl_free(model->ctx, &name);
        ESPL_TRY(status);
        found++;
    }
    if (found == espl_tensors_count(set)) return ESPL_OK;
    return espl_fail(model->ctx, ESPL_FORMAT, "it has %zu tensors, the head of its configuration %zu", espl_tensors_count(set), found);
}

static espl_status open_head(espl_context *ctx, const char *folder, espl_tensors **out_set) {
    char *path;
    ESPL_TRY(espl_format(ctx, &path, "%s/model_head.safetensors", folder));
    if (!espl_os_is_file(path)) {
        espl_free(ctx, &path);
        ESPL_TRY(espl_format(ctx, &path, "%s/pytorch_model_head", folder));
    }
    espl_status status = espl_tensors_open(ctx, path, out_set);
    espl_free(ctx, &path);
    return status;
}

espl_status espl_model_load_head(espl_model *model, const char *folder) {
    espl_context *ctx = model->ctx;
    const char *type;
    char *path = NULL;
    json_t *file = NULL;
    espl_tensors *set = NULL;
    form f = {0};
    espl_status status;
    ESPL_GOTO(need_type(model, &type));
    ESPL_GOTO(espl_format(ctx, &path, "%s/head_config.json", folder));
    ESPL_GOTO(espl_json_load(ctx, path, &file));
    const json_t *config = json_object_get(file, "config");
    if (json_is_object(config)) {
        ESPL_GOTO(espl_json_need(ctx, file, "name"));
        ESPL_GOTO(espl_json_string(ctx, file, "name", "", &f.name));
        ESPL_GOTO(read_flexible(model, config, type, &f));
    } else {
        ESPL_GOTO(check_static(model, file));
    }
    ESPL_GOTO(open_head(ctx, folder, &set));
    ESPL_GOTO(read_tensors(model, &f, set, false));
    ESPL_GOTO(check_labels(model, json_is_object(config) ? config : file));
    status = read_tensors(model, &f, set, true);
fail:
    if (status != ESPL_OK) espl_fail_in(ctx, status, "%s", folder);
    espl_tensors_destroy(&set);
    espl_json_destroy(&file);
    espl_free(ctx, &path);
    return status;
}

/* ---- Writing ---- */

/* The head as it is now: an active adapter may have trained it. */
static espl_status current(const espl_model *model, const espl_entry *base, float **out_values) {
    espl_entry entry = *base;
    espl_store *store = (espl_store *)(uintptr_t)&model->store;
    for (espl_adapter *adapter = model->adapters; adapter; adapter = adapter->next) {
        if (!adapter->active || adapter->replacement[base->matrix] == ESPL_NO_MATRIX) continue;
        entry.matrix = adapter->replacement[base->matrix];
        store = &adapter->store;
        break;
    }
    ESPL_TRY(espl_new(model->ctx, (size_t)espl_entry_values(store, &entry) * sizeof **out_values, out_values));
    espl_status status = espl_store_read(store, &entry, *out_values);
    if (status != ESPL_OK) espl_free(model->ctx, out_values);
    return status;
}

static espl_status write_tensors(const espl_model *model, const form *f, const char *path) {
    enum { MOST = 4 }; /* dense and out, with biases */
    static const espl_tensors_metadata_pair format = {"format", "pt"};
    espl_context *ctx = model->ctx;
    espl_tensor_entry entries[MOST];
    char *names[MOST] = {NULL};
    float *values[MOST] = {NULL};
    size_t count = 0;
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < model->store.entry_count && count < MOST; i++) {
        const espl_entry *entry = &model->store.entries[i];
        ESPL_GOTO(file_name(model, f, entry, &names[count]));
        if (!names[count]) continue;
        ESPL_GOTO(current(model, entry, &values[count]));
        entries[count] = (espl_tensor_entry){.name = names[count], .dtype = ESPL_DTYPE_F32, .rank = entry->rank, .data = values[count]};
        memcpy(entries[count++].shape, entry->shape, entry->rank * sizeof *entry->shape);
    }
    status = espl_tensors_write(ctx, path, entries, count, &format, 1);
fail:
    for (size_t i = 0; i < MOST; i++) {
        espl_free(ctx, &names[i]);
        espl_free(ctx, &values[i]);
    }
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

/* What the library would write; labels are in config, or for a static head in the file itself. */
static espl_status write_config(const espl_model *model, const form *f, const char *type, json_t **out_file) {
    espl_context *ctx = model->ctx;
    const espl_task_head *head = &model->task;
    const char *model_class;
    json_t *described = json_object(), *config = json_null();
    espl_status status = espl_head_describe(model, described);
    json_t *labels = json_object_get(described, "label2id");
    if (f->name && status == ESPL_OK) {
        config = json_pack("{s:s, s:i, s:i, s:s?, s:O, s:b, s:n}", "head_type", type, "num_labels", (int)head->labels, "layers",
                           f->two ? 2 : 1, "activation_function", f->two ? activation_name(head->activation) : NULL, "label2id", labels,
                           "bias", head->out_bias != ESPL_NO_MATRIX, "dropout_prob");
        if (strcmp(type, "classification") == 0)
            status = espl_json_set(ctx, config, "use_pooler", json_boolean(!f->two && head->names->dense));
        else json_object_del(config, "bias");
    }
    char *flexible = NULL;
    if (status == ESPL_OK) status = espl_format(ctx, &flexible, "%sAdapterModel", model->config.family->class_name);
    model_class = f->name ? flexible : json_string_value(json_array_get(json_object_get(described, "architectures"), 0));
    *out_file = NULL;
    if (status == ESPL_OK) {
        *out_file = json_pack("{s:O, s:i, s:s?, s:s, s:s, s:s?, s:s}", "config", config, "hidden_size", (int)model->config.hidden,
                              "model_class", model_class, "model_name", model->folder, "model_type", model->config.family->model_type,
                              "name", f->name, "version", espl_library_version);
        if (!*out_file) status = espl_fail(ctx, ESPL_HOST_MEMORY, "the configuration of a head needs memory");
    }
    if (status == ESPL_OK && !f->name) status = espl_json_set(ctx, *out_file, "label2id", json_incref(labels));
    if (status == ESPL_OK && !f->name) status = espl_json_set(ctx, *out_file, "num_labels", json_integer(head->labels));
    espl_free(ctx, &flexible);
    json_decref(config);
    json_decref(described);
    return status;
}

espl_status espl_model_save_head(const espl_model *model, const char *folder, const char *name) {
    espl_context *ctx = model->ctx;
    const char *type;
    espl_replace file = {0};
    char *path = NULL;
    json_t *json = NULL;
    espl_status status;
    ESPL_GOTO(need_type(model, &type));
    const char *dense = model->task.names->dense;
    const form f = {.name = name, .two = dense && !in_base(model, dense)};
    ESPL_GOTO(espl_os_make_folder(ctx, folder));
    ESPL_GOTO(write_config(model, &f, type, &json));
    ESPL_GOTO(espl_json_replace(ctx, folder, "head_config.json", json, &file));
    ESPL_GOTO(espl_format(ctx, &path, "%s/model_head.safetensors", folder));
    ESPL_GOTO(write_tensors(model, &f, path));
    ESPL_GOTO(espl_os_replace_commit(ctx, &file));
    espl_free(ctx, &path);
    ESPL_GOTO(espl_format(ctx, &path, "%s/pytorch_model_head.bin", folder));
    if (espl_os_is_file(path)) espl_os_remove_file(path); /* the library would read it */
fail:
    espl_os_replace_finish(ctx, &file);
    espl_json_destroy(&json);
    espl_free(ctx, &path);
    return status;
}
