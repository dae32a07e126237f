/* Head folders of the Adapters library, read: see library_head.h. */
#include "adapters/library_head.h"
#include <string.h>

/* ---- Does it fit? ---- */

/* What a flexible head's configuration says, with the library's defaults. */
static espl_status read_layers(espl_context *ctx, const json_t *config, espl_head_kind kind, espl_flexible_head *out) {
    const bool words = kind == ESPL_HEAD_MASKED || kind == ESPL_HEAD_LANGUAGE, masked = kind == ESPL_HEAD_MASKED;
    const uint32_t layers = kind == ESPL_HEAD_TAGGING || kind == ESPL_HEAD_SPANS || kind == ESPL_HEAD_LANGUAGE ? 1 : 2;
    bool shift;
    *out = (espl_flexible_head){0};
    ESPL_TRY(espl_json_u32(ctx, config, "layers", layers, &out->layers));
    ESPL_TRY(espl_json_bool(ctx, config, "bias", kind != ESPL_HEAD_LANGUAGE, &out->bias));
    ESPL_TRY(espl_json_bool(ctx, config, "use_pooler", false, &out->pooler));
    ESPL_TRY(espl_json_bool(ctx, config, "layer_norm", masked, &out->norm));
    ESPL_TRY(espl_json_bool(ctx, config, "shift_labels", kind == ESPL_HEAD_LANGUAGE, &shift));
    ESPL_TRY(espl_json_string(ctx, config, "activation_function", words ? "gelu" : "tanh", &out->activation));
    if (out->layers == 1) out->activation = NULL, out->norm = false;
    else if (out->layers != 2)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "a head of %u layers is not supported, heads of 1 and 2 are", out->layers);
    if (words && shift != (kind == ESPL_HEAD_LANGUAGE))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "a head of the head_type \"%s\" with shift_labels %s is not supported",
                         masked ? "masked_lm" : "causal_lm", shift ? "true" : "false");
    return ESPL_OK;
}

static bool has_activation(const espl_model *model, const char *name) {
    uint32_t kind;
    return name && espl_config_activation(name, &kind) && kind == model->task.activation;
}

/* Whether the model's head, the family's own or a flexible one, has these layers. One layer behind BERT's pooler is BERT's own;
 * two of their own take the pooler's place. */
static bool has_layers(const espl_model *model, const espl_flexible_head *f) {
    const espl_task_head *head = &model->task;
    const bool dense = head->dense != ESPL_NO_MATRIX, two = f->layers == 2, bias = head->out_bias != ESPL_NO_MATRIX;
    if (two && !(dense && has_activation(model, f->activation))) return false;
    if (espl_head_of_words(model)) return two == dense && f->norm == (head->norm.weight != ESPL_NO_MATRIX) && f->bias == bias;
    if (f->bias != bias) return false;
    if (espl_head_is_flexible(model)) return two == dense && f->pooler == (head->pooler != NULL);
    const bool pooler = dense && espl_head_in_base(model, head->names->dense);
    return two ? !f->pooler : dense == f->pooler && pooler == f->pooler;
}

static espl_status read_flexible(const espl_model *model, const json_t *file, espl_head_form *form) {
    espl_context *ctx = model->ctx;
    const json_t *config = json_object_get(file, "config");
    const char *type;
    espl_flexible_head f;
    ESPL_TRY(espl_json_need(ctx, file, "name"));
    ESPL_TRY(espl_json_string(ctx, file, "name", "", &form->name));
    ESPL_TRY(espl_json_string(ctx, config, "head_type", "", &type));
    ESPL_TRY(espl_head_check_type(model, type));
    ESPL_TRY(read_layers(ctx, config, model->task.kind, &f));
    form->two = f.layers == 2;
    if (has_layers(model, &f)) return ESPL_OK;
    /* GPT-2's own head for next tokens with a bias that is none. */
    form->bias = f.bias && model->task.kind == ESPL_HEAD_LANGUAGE;
    f.bias = f.bias && !form->bias;
    if (form->bias && has_layers(model, &f)) return ESPL_OK;
    return espl_fail(ctx, ESPL_UNSUPPORTED, "a head of %u layers with activation_function \"%s\", use_pooler %s, layer_norm %s and bias "
                     "%s is not that of this %s model; espl_head_read says which model has it", f.layers, f.activation ? f.activation : "",
                     f.pooler ? "true" : "false", f.norm ? "true" : "false", f.bias || form->bias ? "true" : "false",
                     model->config.family->model_type);
}

static espl_status check_static(const espl_model *model, const json_t *file) {
    char *name;
    const char *own;
    ESPL_TRY(espl_json_string(model->ctx, file, "model_class", "", &own));
    ESPL_TRY(espl_head_class(model, &name));
    espl_status status = strcmp(name, own) == 0 ? ESPL_OK
                         : espl_fail(model->ctx, ESPL_UNSUPPORTED, "the head is of a %s, the model is a %s", own, name);
    espl_free(model->ctx, &name);
    return status;
}

static const json_t *labels_of(const json_t *file) {
    const json_t *config = json_object_get(file, "config");
    return json_is_object(config) ? config : file;
}

espl_status espl_library_head_params(espl_context *ctx, const json_t *file, espl_head_params *out_params) {
    const json_t *from = labels_of(file);
    json_t *names;
    *out_params = (espl_head_params){.kind = espl_library_head_kind(file)};
    if (out_params->kind == ESPL_HEAD_CHOICES) return espl_json_u32(ctx, from, "num_choices", 0, &out_params->choices);
    ESPL_TRY(espl_json_object(ctx, from, "label2id", &names));
    return espl_json_u32(ctx, from, "num_labels", names ? (uint32_t)json_object_size(names) : 2, &out_params->labels);
}

static espl_status check_labels(const espl_model *model, const json_t *file) {
    espl_context *ctx = model->ctx;
    const json_t *from = labels_of(file);
    espl_head_params own;
    json_t *names, *value;
    const char *name;
    if (!model->task.labels) return ESPL_OK;
    ESPL_TRY(espl_library_head_params(ctx, file, &own));
    if (own.choices && own.choices != model->task.choices)
        return espl_fail(ctx, ESPL_FORMAT, "the head's questions have %u choices, the model's %u", own.choices, model->task.choices);
    if (!own.labels) return ESPL_OK;
    ESPL_TRY(espl_json_object(ctx, from, "label2id", &names));
    if (own.labels != model->task.labels)
        return espl_fail(ctx, ESPL_FORMAT, "the head has %u labels, the model's has %u", own.labels, model->task.labels);
    json_object_foreach(names, name, value) {
        int64_t id;
        if (!espl_json_as_i64(value, &id) || id < 0 || id >= own.labels)
            return espl_fail(ctx, ESPL_FORMAT, "label2id: \"%s\" is not one of %u labels", name, own.labels);
    }
    return ESPL_OK;
}

/* ---- Tensors ---- */

static espl_status check_shape(espl_context *ctx, const espl_entry *entry, const espl_tensor_view *view) {
    if (view->rank == entry->rank && memcmp(view->shape, entry->shape, entry->rank * sizeof *view->shape) == 0) return ESPL_OK;
    return espl_fail(ctx, ESPL_FORMAT, "%s has %u x %u values, the model's head %u x %u", view->name, view->shape[0], view->shape[1],
                     entry->shape[0], entry->rank > 1 ? entry->shape[1] : 1);
}

/* In f32, as dtype holds them; freed with espl_free. */
static espl_status values_of(espl_context *ctx, const espl_tensor_view *view, espl_dtype dtype, float **out_values, size_t *out_count) {
    const size_t count = view->bytes / espl_dtype_bytes(view->dtype);
    void *rounded;
    *out_count = count;
    *out_values = NULL;
    ESPL_TRY(espl_new(ctx, count * espl_dtype_bytes(dtype), &rounded));
    espl_status status = espl_new(ctx, count * sizeof **out_values, out_values);
    espl_convert(view->data, view->dtype, rounded, dtype, count);
    if (status == ESPL_OK) espl_convert(rounded, dtype, *out_values, ESPL_DTYPE_F32, count);
    espl_free(ctx, &rounded);
    return status;
}

/* A tensor that the model's head has not, or has elsewhere: zeros, or the embedding. */
static espl_status check_same(const espl_model *model, const espl_entry *entry, const espl_tensor_view *view) {
    espl_context *ctx = model->ctx;
    float *theirs = NULL, *ours = NULL;
    size_t count, different = 0;
    const espl_dtype dtype = entry ? model->store.matrices[entry->matrix].dtype : ESPL_DTYPE_F32;
    espl_status status = ESPL_OK;
    ESPL_GOTO(values_of(ctx, view, dtype, &theirs, &count));
    ESPL_GOTO(espl_new(ctx, count * sizeof *ours, &ours));
    if (entry) ESPL_GOTO(espl_store_read((espl_store *)(uintptr_t)&model->store, entry, ours));
    for (size_t i = 0; i < count; i++) different += theirs[i] != ours[i];
    if (different && entry)
        status = espl_fail(ctx, ESPL_UNSUPPORTED, "%s differs from the token embedding in %zu values, but is the same in this model",
                           view->name, different);
    else if (different)
        status = espl_fail(ctx, ESPL_UNSUPPORTED, "%s has %zu values that are not 0, the head of a %s model has no bias", view->name,
                           different, model->config.family->model_type);
fail:
    espl_free(ctx, &theirs);
    espl_free(ctx, &ours);
    return status;
}

static espl_status check_part(const espl_model *model, const espl_head_part *part, const espl_tensors *set) {
    espl_tensor_view view;
    ESPL_TRY(espl_tensors_find(set, part->name, &view));
    if (part->entry) ESPL_TRY(check_shape(model->ctx, part->entry, &view));
    if (!espl_dtype_is_float(view.dtype) && view.dtype != ESPL_DTYPE_F64)
        return espl_fail(model->ctx, ESPL_FORMAT, "%s is %s, floating point was expected", view.name, espl_dtype_name(view.dtype));
    return part->tied || !part->entry ? check_same(model, part->entry, &view) : ESPL_OK;
}

static espl_status check_parts(const espl_model *model, const espl_library_head *head) {
    for (size_t i = 0; i < head->parts.count; i++) ESPL_TRY(check_part(model, &head->parts.part[i], head->set));
    if (head->parts.count == espl_tensors_count(head->set)) return ESPL_OK;
    return espl_fail(model->ctx, ESPL_FORMAT, "it has %zu tensors, the head of its configuration %zu", espl_tensors_count(head->set),
                     head->parts.count);
}

/* ---- Opening and taking ---- */

static espl_status config_path(espl_context *ctx, const char *folder, char **out_path) {
    return espl_format(ctx, out_path, "%s/head_config.json", folder);
}

static espl_status open_config(espl_context *ctx, const char *folder, json_t **out_file) {
    char *path;
    ESPL_TRY(config_path(ctx, folder, &path));
    espl_status status = espl_json_load(ctx, path, out_file);
    espl_free(ctx, &path);
    return status;
}

static espl_status open_tensors(espl_context *ctx, const char *folder, espl_tensors **out_set) {
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

espl_status espl_library_head_open(const espl_model *model, const char *folder, espl_library_head *out_head) {
    espl_context *ctx = model->ctx;
    espl_status status = ESPL_OK;
    *out_head = (espl_library_head){.file = NULL};
    if (!espl_head_type(model)) ESPL_GOTO(espl_fail(ctx, ESPL_UNSUPPORTED, "the model has no head for words or labels"));
    ESPL_GOTO(open_config(ctx, folder, &out_head->file));
    if (json_is_object(json_object_get(out_head->file, "config"))) ESPL_GOTO(read_flexible(model, out_head->file, &out_head->form));
    else ESPL_GOTO(check_static(model, out_head->file));
    ESPL_GOTO(open_tensors(ctx, folder, &out_head->set));
    ESPL_GOTO(espl_head_parts_of(model, &out_head->form, &out_head->parts));
    ESPL_GOTO(check_parts(model, out_head));
    status = check_labels(model, out_head->file);
fail:
    if (status != ESPL_OK) espl_fail_in(ctx, status, "%s", folder);
    return status;
}

static espl_status take_labels(espl_model *model, const json_t *from) {
    json_t *names = json_object_get(from, "label2id"), *value;
    const char *name;
    json_object_foreach(names, name, value) {
        char **label, *copy;
        int64_t id = 0;
        espl_json_as_i64(value, &id); /* check_labels has seen it */
        label = &model->task.label_names[id];
        ESPL_TRY(espl_copy_string(model->ctx, name, strlen(name), &copy));
        espl_free(model->ctx, label);
        *label = copy;
    }
    return ESPL_OK;
}

static espl_status take_part(const espl_head_part *part, const espl_tensors *set, espl_store *store, uint32_t matrix) {
    espl_entry entry = *part->entry;
    espl_tensor_view view;
    float *values;
    size_t count;
    entry.matrix = matrix;
    ESPL_TRY(espl_tensors_find(set, part->name, &view));
    espl_status status = values_of(store->ctx, &view, ESPL_DTYPE_F32, &values, &count);
    if (status == ESPL_OK) status = espl_store_write(store, &entry, values, ESPL_DTYPE_F32);
    espl_free(store->ctx, &values);
    return status;
}

espl_status espl_library_head_take(const espl_library_head *head, espl_model *model, espl_adapter *adapter) {
    if (model->task.labels && !model->task.choices) ESPL_TRY(take_labels(model, labels_of(head->file)));
    for (size_t i = 0; i < head->parts.count; i++) {
        const espl_head_part *part = &head->parts.part[i];
        if (part->tied || !part->entry) continue;
        const uint32_t base = part->entry->matrix;
        ESPL_TRY(take_part(part, head->set, adapter ? &adapter->store : &model->store, adapter ? adapter->replacement[base] : base));
    }
    return ESPL_OK;
}

void espl_library_head_close(espl_context *ctx, espl_library_head *head) {
    espl_head_parts_finish(ctx, &head->parts);
    espl_tensors_destroy(&head->set);
    espl_json_destroy(&head->file);
}

/* ---- Which model has it ---- */

static espl_status find_activation(espl_context *ctx, espl_flexible_head *flexible) {
    const char *known;
    for (size_t i = 0; flexible->activation && (known = espl_config_activation_name(i)) != NULL; i++) {
        if (strcmp(known, flexible->activation) != 0) continue;
        flexible->activation = known; /* outlives the file */
        return ESPL_OK;
    }
    if (!flexible->activation) return ESPL_OK;
    return espl_fail(ctx, ESPL_UNSUPPORTED, "activation_function \"%s\" is not supported", flexible->activation);
}

static espl_status choose_head(espl_context *ctx, const char *model_folder, const json_t *config, espl_head_kind kind,
                               espl_head_params *params) {
    espl_model *model;
    espl_flexible_head flexible;
    ESPL_TRY(espl_model_outline(ctx, model_folder, params, &model));
    const bool rows = kind == ESPL_HEAD_CLASSIFICATION && model->task.kind == ESPL_HEAD_REGRESSION;
    espl_status status = ESPL_OK;
    if (model->task.kind != kind && !rows) goto fail; /* for other work than the model's: not its head */
    if (kind == ESPL_HEAD_CHOICES && !params->choices) ESPL_GOTO(espl_json_u32(ctx, config, "num_choices", 0, &params->choices));
    ESPL_GOTO(read_layers(ctx, config, model->task.kind, &flexible));
    if (has_layers(model, &flexible)) goto fail;
    ESPL_GOTO(find_activation(ctx, &flexible));
    params->flexible = flexible;
fail:
    espl_model_destroy(&model);
    return status;
}

espl_status espl_head_read(espl_context *ctx, const char *model_folder, const char *head_folder, espl_head_params *in_out_params) {
    json_t *file;
    ESPL_TRY(espl_library_head_config(ctx, head_folder, &file));
    const json_t *config = json_object_get(file, "config");
    espl_status status = ESPL_OK;
    if (json_is_object(config)) status = choose_head(ctx, model_folder, config, espl_library_head_kind(file), in_out_params);
    if (status != ESPL_OK) espl_fail_in(ctx, status, "%s", head_folder);
    espl_json_destroy(&file);
    return status;
}

espl_status espl_model_load_head(espl_model *model, const char *folder) {
    espl_library_head head;
    espl_status status = espl_library_head_open(model, folder, &head);
    if (status == ESPL_OK) status = espl_library_head_take(&head, model, NULL);
    espl_library_head_close(model->ctx, &head);
    return status;
}

/* ---- Beside an adapter ---- */

espl_status espl_library_head_config(espl_context *ctx, const char *folder, json_t **out_file) {
    char *path;
    *out_file = NULL;
    ESPL_TRY(config_path(ctx, folder, &path));
    const bool there = espl_os_is_file(path);
    espl_free(ctx, &path);
    return there ? open_config(ctx, folder, out_file) : ESPL_OK;
}

espl_head_kind espl_library_head_kind(const json_t *file) {
    static const struct {
        const char *end;
        espl_head_kind kind;
    } rows[] = {{"masked_lm", ESPL_HEAD_MASKED},     {"ForMaskedLM", ESPL_HEAD_MASKED},   {"ForPreTraining", ESPL_HEAD_MASKED},
                {"causal_lm", ESPL_HEAD_LANGUAGE},   {"ForCausalLM", ESPL_HEAD_LANGUAGE}, {"LMHeadModel", ESPL_HEAD_LANGUAGE},
                {"seq2seq_lm", ESPL_HEAD_LANGUAGE},  {"tagging", ESPL_HEAD_TAGGING},      {"ForTokenClassification", ESPL_HEAD_TAGGING},
                {"question_answering", ESPL_HEAD_SPANS}, {"ForQuestionAnswering", ESPL_HEAD_SPANS},
                {"multiple_choice", ESPL_HEAD_CHOICES},  {"ForMultipleChoice", ESPL_HEAD_CHOICES}};
    const json_t *config = json_object_get(file, "config");
    const json_t *named = json_is_object(config) ? json_object_get(config, "head_type") : json_object_get(file, "model_class");
    const char *name = json_string_value(named);
    for (size_t i = 0; name && i < ESPL_COUNT(rows); i++) {
        const size_t bytes = strlen(name), end = strlen(rows[i].end);
        if (bytes >= end && strcmp(name + bytes - end, rows[i].end) == 0) return rows[i].kind;
    }
    return ESPL_HEAD_CLASSIFICATION;
}

espl_status espl_library_head_is(const espl_model *model, const char *folder, bool *out_is) {
    json_t *file = NULL;
    const bool has_head = espl_head_type(model) != NULL, labels = model->task.labels != 0;
    ESPL_TRY(espl_library_head_config(model->ctx, folder, &file));
    const espl_head_kind kind = espl_library_head_kind(file);
    const bool words = kind == ESPL_HEAD_MASKED || kind == ESPL_HEAD_LANGUAGE;
    *out_is = file && has_head && words != labels;
    if (file && !*out_is)
        espl_log(model->ctx, ESPL_LOG_WARNING, "%s: the head there, for %s, is not taken: the model %s", folder, words ? "words" : "labels",
                 !has_head ? "has none" : labels ? "has one for labels" : "has one for words");
    espl_json_destroy(&file);
    return ESPL_OK;
}
