/* Heads with labels between PEFT, which has them among the adapter's tensors (modules_to_save), and the Adapters library, which
 * has a folder's second pair of files for them. */
#include "adapters/convert.h"
#include <string.h>

/* Of the names of saved modules: PEFT wraps a model twice, but once for rows before the text. */
static const char *wrapped_by(const espl_loose_adapter *adapter) {
    const char *type = json_string_value(json_object_get(adapter->config, "peft_type"));
    return type && strcmp(type, "PREFIX_TUNING") == 0 ? "base_model." : "base_model.model.";
}

/* ---- From the library ---- */

/* PEFT saves "classifier" and "score" whole whatever is asked for, and would wrap parts of them twice. */
static espl_status save_module(const espl_model *model, const espl_entry *entry, json_t *modules) {
    const char *end = espl_head_in_base(model, entry->name) ? strrchr(entry->name, '.') : strchr(entry->name, '.');
    const size_t bytes = (size_t)(end - entry->name);
    for (size_t i = 0; i < json_array_size(modules); i++) {
        const char *there = json_string_value(json_array_get(modules, i));
        if (strlen(there) == bytes && strncmp(there, entry->name, bytes) == 0) return ESPL_OK;
    }
    return espl_json_push(model->ctx, modules, json_stringn(entry->name, bytes));
}

static espl_status take_part(const espl_model *model, const espl_library_head *head, const espl_head_part *part, json_t *modules,
                             espl_loose_adapter *out) {
    espl_tensor_view view;
    float *values;
    char *name;
    if (!part->entry) return ESPL_OK; /* zeros */
    ESPL_TRY(save_module(model, part->entry, modules));
    ESPL_TRY(espl_tensors_find(head->set, part->name, &view));
    const size_t count = view.bytes / espl_dtype_bytes(view.dtype);
    ESPL_TRY(espl_format(model->ctx, &name, "%s%s", wrapped_by(out), part->entry->name));
    espl_status status = espl_new(model->ctx, count * sizeof *values, &values);
    if (status != ESPL_OK) {
        espl_free(model->ctx, &name);
        return status;
    }
    espl_convert(view.data, view.dtype, values, ESPL_DTYPE_F32, count);
    return espl_loose_own(model->ctx, out, name, view.shape[0], view.rank > 1 ? view.shape[1] : 0, values);
}

static espl_status take(const espl_model *model, const espl_library_head *head, espl_loose_adapter *out) {
    json_t *modules = json_array();
    espl_status status;
    ESPL_GOTO(espl_json_set(model->ctx, out->config, "task_type",
                            json_string(espl_adapter_task_type(model->task.kind))));
    for (size_t i = 0; i < head->parts.count; i++) ESPL_GOTO(take_part(model, head, &head->parts.part[i], modules, out));
    status = espl_json_set(model->ctx, out->config, "modules_to_save", json_incref(modules));
fail:
    json_decref(modules);
    return status;
}

espl_status espl_convert_head_read(espl_context *ctx, const char *folder, const espl_convert_base *base, espl_loose_adapter *out) {
    espl_library_head head = {0};
    espl_model *model = NULL;
    espl_head_params params;
    json_t *file;
    ESPL_TRY(espl_library_head_config(ctx, folder, &file));
    const espl_head_kind kind = espl_library_head_kind(file);
    espl_status status = ESPL_OK;
    const bool flexible = json_is_object(json_object_get(file, "config"));
    if (!file || (kind == ESPL_HEAD_LANGUAGE && !flexible)) goto fail; /* the base's own: the library trains no map into the vocabulary */
    if (kind == ESPL_HEAD_LANGUAGE || kind == ESPL_HEAD_MASKED)
        ESPL_GOTO(espl_fail(ctx, ESPL_UNSUPPORTED, "the head for words beside the adapter has no form in PEFT; without its "
                            "head_config.json the adapter is converted alone"));
    ESPL_GOTO(espl_library_head_params(ctx, file, &params));
    ESPL_GOTO(espl_model_outline(ctx, base->folder, &params, &model));
    ESPL_GOTO(espl_library_head_open(model, folder, &head));
    status = take(model, &head, out);
fail:
    espl_library_head_close(ctx, &head);
    espl_model_destroy(&model);
    espl_json_destroy(&file);
    return status;
}

/* ---- To the library ---- */

static bool is(const espl_loose_adapter *adapter, const char *tensor, const char *name) {
    const char *prefix = wrapped_by(adapter);
    return strncmp(tensor, prefix, strlen(prefix)) == 0 && strcmp(tensor + strlen(prefix), name) == 0;
}

static const espl_tensor_entry *find(const espl_loose_adapter *adapter, const char *name) {
    for (size_t i = 0; i < adapter->count; i++) {
        if (is(adapter, adapter->entries[i].name, name)) return &adapter->entries[i];
    }
    return NULL;
}

/* The matrix or the bias of a module; NULL without such a module, too. */
static espl_status find_weight(espl_context *ctx, const espl_loose_adapter *adapter, const char *module, const espl_tensor_entry **out) {
    char *name;
    *out = NULL;
    if (!module) return ESPL_OK;
    ESPL_TRY(espl_format(ctx, &name, "%s.weight", module));
    *out = find(adapter, name);
    espl_free(ctx, &name);
    return ESPL_OK;
}

/* Where the base's own pooler is saved, only a flexible head holds it. */
static espl_status choose_form(const espl_loose_adapter *adapter, const char *name, espl_convert_head *out) {
    const char *dense = out->model->task.names->dense;
    const espl_tensor_entry *saved;
    ESPL_TRY(find_weight(out->model->ctx, adapter, dense, &saved));
    if (saved && espl_head_in_base(out->model, dense)) out->form = (espl_head_form){.name = name, .two = true};
    return ESPL_OK;
}

static espl_status check_part(espl_context *ctx, const espl_loose_adapter *adapter, const espl_entry *entry) {
    const espl_tensor_entry *own = find(adapter, entry->name);
    if (!own)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "the Adapters library's head has the base's %s, which this adapter does not save",
                         entry->name);
    if (own->rank == entry->rank && memcmp(own->shape, entry->shape, entry->rank * sizeof *entry->shape) == 0) return ESPL_OK;
    return espl_fail(ctx, ESPL_FORMAT, "%s has %u x %u values, the base's has %u x %u", own->name, own->shape[0],
                     own->rank > 1 ? own->shape[1] : 1, entry->shape[0], entry->rank > 1 ? entry->shape[1] : 1);
}

/* By PEFT's type of task; NONE for others. */
static espl_head_kind kind_of(const char *type) {
    static const espl_head_kind kinds[] = {ESPL_HEAD_CLASSIFICATION, ESPL_HEAD_TAGGING, ESPL_HEAD_SPANS};
    for (size_t i = 0; i < ESPL_COUNT(kinds); i++) {
        if (strcmp(type, espl_adapter_task_type(kinds[i])) == 0) return kinds[i];
    }
    return ESPL_HEAD_NONE;
}

/* To PEFT a head for choices is one for classes; only the base tells. */
static espl_status refuse_choices(espl_context *ctx, const espl_convert_base *base) {
    espl_model *model;
    ESPL_TRY(espl_model_outline(ctx, base->folder, NULL, &model));
    const bool choices = model->task.kind == ESPL_HEAD_CHOICES;
    espl_model_destroy(&model);
    if (!choices) return ESPL_OK;
    return espl_fail(ctx, ESPL_UNSUPPORTED, "the Adapters library's head for multiple choice says how many rows are one question, PEFT's "
                     "folder does not");
}

espl_status espl_convert_head_open(espl_context *ctx, const espl_loose_adapter *adapter, const espl_convert_base *base,
                                   const espl_config *config, const char *name, espl_convert_head *out) {
    const espl_tensor_entry *last;
    const char *type;
    json_t *modules;
    *out = (espl_convert_head){.model = NULL};
    ESPL_TRY(espl_json_array(ctx, adapter->config, "modules_to_save", &modules));
    ESPL_TRY(espl_json_string(ctx, adapter->config, "task_type", "", &type));
    const espl_head_kind kind = kind_of(type);
    const char *module = espl_head_names_of(config->family, kind == ESPL_HEAD_NONE ? ESPL_HEAD_CLASSIFICATION : kind)->out;
    ESPL_TRY(find_weight(ctx, adapter, module, &last));
    if (!last && json_array_size(modules) == 0) return ESPL_OK;
    if (!last || kind == ESPL_HEAD_NONE)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "the Adapters library has no place for \"modules_to_save\" but for a head with labels: "
                         "task_type is \"%s\", and there is %s %s.weight", type, last ? "a" : "no", module ? module : "classifier");
    if (kind == ESPL_HEAD_CLASSIFICATION) ESPL_TRY(refuse_choices(ctx, base));
    ESPL_TRY(espl_model_outline(ctx, base->folder, &(espl_head_params){.kind = kind, .labels = last->shape[0]}, &out->model));
    ESPL_TRY(choose_form(adapter, name, out));
    ESPL_TRY(espl_head_parts_of(out->model, &out->form, &out->parts));
    for (size_t i = 0; i < out->parts.count; i++) ESPL_TRY(check_part(ctx, adapter, out->parts.part[i].entry));
    return ESPL_OK;
}

bool espl_convert_head_has(const espl_convert_head *head, const espl_loose_adapter *adapter, const char *name) {
    for (size_t i = 0; i < head->parts.count; i++) {
        if (is(adapter, name, head->parts.part[i].entry->name)) return true;
    }
    return false;
}

espl_status espl_convert_head_write(const espl_convert_head *head, const espl_loose_adapter *adapter, const char *folder,
                                    espl_replace *out_config) {
    espl_tensor_entry entries[ESPL_HEAD_PARTS_MAX];
    json_t *file;
    if (!head->model) return ESPL_OK;
    for (size_t i = 0; i < head->parts.count; i++) {
        entries[i] = *find(adapter, head->parts.part[i].entry->name);
        entries[i].name = head->parts.part[i].name;
    }
    ESPL_TRY(espl_library_head_describe(head->model, &head->form, &file));
    espl_status status = espl_library_head_put(head->model->ctx, file, entries, head->parts.count, folder, out_config);
    espl_json_destroy(&file);
    return status;
}

void espl_convert_head_close(espl_context *ctx, espl_convert_head *head) {
    espl_head_parts_finish(ctx, &head->parts);
    espl_model_destroy(&head->model);
}
