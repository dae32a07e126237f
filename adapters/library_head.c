/* Which tensors a head folder of the Adapters library has, and heads that are trained with an adapter of that library. */
#include "adapters/library_head.h"
#include <string.h>

/* ---- Types ---- */

static const struct {
    espl_head_kind kind;
    const char *type;
} types[] = {{ESPL_HEAD_CLASSIFICATION, "classification"}, {ESPL_HEAD_REGRESSION, "classification"},
             {ESPL_HEAD_TAGGING, "tagging"}, {ESPL_HEAD_SPANS, "question_answering"}, {ESPL_HEAD_CHOICES, "multiple_choice"},
             {ESPL_HEAD_MASKED, "masked_lm"}, {ESPL_HEAD_LANGUAGE, "causal_lm"}};

const char *espl_head_type(const espl_model *model) {
    for (size_t i = 0; i < ESPL_COUNT(types); i++) {
        if (types[i].kind == model->task.kind) return types[i].type;
    }
    return NULL;
}

espl_status espl_head_check_type(const espl_model *model, const char *type) {
    const char *own = espl_head_type(model);
    bool known = false;
    for (size_t i = 0; i < ESPL_COUNT(types); i++) known |= strcmp(types[i].type, type) == 0;
    if (!known)
        return espl_fail(model->ctx, ESPL_UNSUPPORTED, "head_type \"%s\" is not one of: classification, tagging, question_answering, "
                         "multiple_choice, masked_lm, causal_lm", type);
    if (own && strcmp(own, type) == 0) return ESPL_OK;
    return espl_fail(model->ctx, ESPL_UNSUPPORTED, "the head is of the head_type \"%s\", the model's is %s", type, own ? own : "none");
}

/* ---- Tensors ---- */

bool espl_head_in_base(const espl_model *model, const char *name) {
    return strncmp(name, model->config.family->prefix, strlen(model->config.family->prefix)) == 0;
}

/* name is taken, also on failure. */
static espl_status add(espl_context *ctx, espl_head_parts *parts, const espl_entry *entry, bool tied, char *name) {
    if (parts->count == ESPL_HEAD_PARTS_MAX) {
        espl_free(ctx, &name);
        return espl_fail(ctx, ESPL_INTERNAL, "a head has more than %d tensors", ESPL_HEAD_PARTS_MAX);
    }
    parts->part[parts->count++] = (espl_head_part){.name = name, .entry = entry, .tied = tied};
    return ESPL_OK;
}

static espl_status add_flexible(const espl_model *model, const espl_head_form *form, espl_head_parts *parts, const espl_entry *entry,
                                bool tied, int number, const char *value) {
    char *name;
    ESPL_TRY(espl_format(model->ctx, &name, "heads.%s.%d.%s", form->name, number, value));
    return add(model->ctx, parts, entry, tied, name);
}

/* The layer of the last map of words: dense, activation, perhaps a norm, out. */
static int words_out(const espl_model *model, const espl_head_form *form) {
    return !form->two ? 0 : model->task.norm.weight == ESPL_NO_MATRIX ? 2 : 3;
}

/* Layers of flexible heads, by what the base's matrix is in them: dropout, dense, activation, dropout, out; or words'. */
static int layer_of(const espl_model *model, const espl_head_form *form, uint32_t matrix) {
    const espl_task_head *head = &model->task;
    if (matrix == head->dense || matrix == head->dense_bias) return head->labels ? 1 : 0;
    if (matrix == head->norm.weight || matrix == head->norm.bias) return 2;
    if (matrix != head->out && matrix != head->out_bias) return -1;
    return !head->labels ? words_out(model, form) : form->two ? 4 : 1;
}

static espl_status add_entry(const espl_model *model, const espl_head_form *form, espl_head_parts *parts, const espl_entry *entry) {
    const espl_task_head *head = &model->task;
    const bool dense = entry->matrix == head->dense || entry->matrix == head->dense_bias;
    const int layer = layer_of(model, form, entry->matrix);
    char *name;
    if (layer < 0 || (form->name ? dense && !form->two : espl_head_in_base(model, entry->name))) return ESPL_OK;
    if (form->name) return add_flexible(model, form, parts, entry, false, layer, strrchr(entry->name, '.') + 1);
    ESPL_TRY(espl_copy_string(model->ctx, entry->name, strlen(entry->name), &name));
    ESPL_TRY(add(model->ctx, parts, entry, false, name));
    if (entry->matrix != head->out_bias || head->labels) return ESPL_OK;
    ESPL_TRY(espl_format(model->ctx, &name, "%s.bias", head->names->out));
    if (strcmp(name, entry->name) != 0) return add(model->ctx, parts, entry, false, name); /* BERT's is in files under both */
    espl_free(model->ctx, &name);
    return ESPL_OK;
}

/* The map into the vocabulary: of its own, or the embedding. */
static espl_status add_output(const espl_model *model, const espl_head_form *form, espl_head_parts *parts) {
    const espl_entry *entry = espl_model_output_entry(model);
    const bool tied = model->config.tied;
    const int layer = words_out(model, form);
    char *name;
    if (form->name) {
        ESPL_TRY(add_flexible(model, form, parts, entry, tied, layer, "weight"));
        return form->bias ? add_flexible(model, form, parts, NULL, false, layer, "bias") : ESPL_OK;
    }
    ESPL_TRY(espl_format(model->ctx, &name, "%s.weight", espl_model_output_module(model)));
    return add(model->ctx, parts, entry, tied, name);
}

espl_status espl_head_parts_of(const espl_model *model, const espl_head_form *form, espl_head_parts *out_parts) {
    *out_parts = (espl_head_parts){.count = 0};
    for (size_t i = 0; i < model->store.entry_count; i++) ESPL_TRY(add_entry(model, form, out_parts, &model->store.entries[i]));
    return espl_model_output_module(model) ? add_output(model, form, out_parts) : ESPL_OK;
}

void espl_head_parts_finish(espl_context *ctx, espl_head_parts *parts) {
    for (size_t i = 0; i < parts->count; i++) espl_free(ctx, &parts->part[i].name);
    parts->count = 0;
}

/* ---- With an adapter ---- */

/* The library trains no map into the vocabulary, nor its bias. */
static bool is_trained(const espl_model *model, const espl_entry *entry) {
    return model->task.labels || (entry->matrix != model->head && entry->matrix != model->task.out_bias);
}

/* What the method itself stands in the base's place is in its own file. */
static espl_status stand(espl_adapter *adapter, const espl_entry *entry) {
    if (adapter->replacement[entry->matrix] != ESPL_NO_MATRIX) return ESPL_OK;
    ESPL_TRY(espl_adapter_replace(adapter, entry, entry->name));
    adapter->store.entries[adapter->store.entry_count - 1].apart = true;
    adapter->store.matrices[adapter->replacement[entry->matrix]].frozen = !is_trained(adapter->model, entry);
    return ESPL_OK;
}

/* trained: only what is trained, of a head that is the model's so far. */
static espl_status stand_parts(espl_adapter *adapter, const espl_head_parts *parts, bool trained) {
    for (size_t i = 0; i < parts->count; i++) {
        const espl_head_part *part = &parts->part[i];
        if (!part->entry || part->tied || (trained && !is_trained(adapter->model, part->entry))) continue;
        ESPL_TRY(stand(adapter, part->entry));
    }
    return ESPL_OK;
}

espl_status espl_adapter_declare_head(espl_adapter *adapter, const espl_library_head *head, const espl_adapter *like) {
    const espl_model *model = adapter->model;
    const espl_head_form form = {.name = NULL};
    espl_head_parts parts;
    if (head) return stand_parts(adapter, &head->parts, false);
    for (size_t i = 0; like && i < like->store.entry_count; i++) {
        const espl_entry *entry = &like->store.entries[i];
        if (entry->apart) ESPL_TRY(stand(adapter, espl_store_find(&model->store, entry->name)));
    }
    if (like || !espl_head_type(model)) return ESPL_OK;
    espl_status status = espl_head_parts_of(model, &form, &parts);
    if (status == ESPL_OK) status = stand_parts(adapter, &parts, true);
    espl_head_parts_finish(model->ctx, &parts);
    return status;
}

/* A dense map that is the base's own (BERT's pooler) is in flexible heads alone. */
espl_status espl_adapter_write_head(const espl_adapter *adapter, const char *folder, espl_replace *out_files) {
    espl_head_form form = {.name = NULL};
    bool any = false;
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        const espl_entry *entry = &adapter->store.entries[i];
        if (!entry->apart) continue;
        any = true;
        if (adapter->model->task.labels && espl_head_in_base(adapter->model, entry->name))
            form = (espl_head_form){.name = adapter->file_name, .two = true};
    }
    if (espl_head_is_flexible(adapter->model))
        form = (espl_head_form){.name = adapter->file_name, .two = adapter->model->task.dense != ESPL_NO_MATRIX};
    return any ? espl_library_head_write(adapter->model, adapter, &form, folder, out_files) : ESPL_OK;
}
