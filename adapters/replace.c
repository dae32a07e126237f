/* Matrices of an adapter that stand in place of the base's: biases, norms, heads, modules_to_save. */
#include "adapters/make.h"

/* In place of matrix `replaced`, whose values are those of the entry. */
static espl_status replace(espl_adapter *adapter, uint32_t replaced, const espl_entry *base, const char *file_name) {
    const espl_matrix *m = &adapter->model->store.matrices[base->matrix];
    uint32_t *own = &adapter->replacement[replaced];
    if (*own == ESPL_NO_MATRIX)
        ESPL_TRY(espl_store_matrix(&adapter->store, m->label, m->rows, m->cols, ESPL_DTYPE_F32, m->decay, own));
    return espl_store_entry(&adapter->store, file_name, *own, base->from, base->count, base->vector);
}

espl_status espl_adapter_replace(espl_adapter *adapter, const espl_entry *base, const char *file_name) {
    return replace(adapter, base->matrix, base, file_name);
}

espl_status espl_adapter_replace_head(espl_adapter *adapter, const char *file_name) {
    return replace(adapter, adapter->model->head, espl_model_output_entry(adapter->model), file_name);
}

uint32_t espl_adapter_head(const espl_adapter *adapter) {
    const uint32_t head = adapter->model->head;
    return head == ESPL_NO_MATRIX ? ESPL_NO_MATRIX : adapter->replacement[head];
}

/* The entries of base matrix `from` into matrix `to` of the adapter. */
static espl_status copy_matrix(espl_adapter *adapter, uint32_t from, uint32_t to) {
    espl_model *model = adapter->model;
    for (size_t i = 0; to != ESPL_NO_MATRIX && i < model->store.entry_count; i++) {
        espl_entry entry = model->store.entries[i];
        if (entry.matrix != from) continue;
        float *values;
        ESPL_TRY(espl_new(model->ctx, (size_t)espl_entry_values(&model->store, &entry) * sizeof *values, &values));
        espl_status status = espl_store_read(&model->store, &entry, values);
        entry.matrix = to;
        if (status == ESPL_OK) status = espl_store_write(&adapter->store, &entry, values, ESPL_DTYPE_F32);
        espl_free(model->ctx, &values);
        ESPL_TRY(status);
    }
    return ESPL_OK;
}

espl_status espl_adapter_copy_base(espl_adapter *adapter) {
    const espl_model *model = adapter->model;
    if (adapter->tokens) return ESPL_OK; /* rows of its own */
    for (uint32_t base = 0; base < adapter->replacement_count; base++) {
        const bool tied = base == model->head && model->config.tied;
        ESPL_TRY(copy_matrix(adapter, tied ? model->embed : base, adapter->replacement[base]));
    }
    return ESPL_OK;
}

/* ---- Beside others ---- */

static bool replaces(const espl_adapter *adapter, const espl_entry *base) {
    if (adapter->replacement[base->matrix] != ESPL_NO_MATRIX) return true;
    return adapter->method->replaces && adapter->method->replaces(adapter, base);
}

static bool changes(const espl_adapter *adapter, const espl_entry *base) {
    return replaces(adapter, base) || (adapter->method->weight && !adapter->model->store.matrices[base->matrix].frozen);
}

/* Of a matrix that is replaced as a whole, the tensors that are the adapter's. */
static bool holds(const espl_adapter *adapter, const espl_entry *base) {
    const uint32_t own = adapter->replacement[base->matrix];
    bool there = own == ESPL_NO_MATRIX;
    for (size_t i = 0; !there && i < adapter->store.entry_count; i++)
        there = adapter->store.entries[i].matrix == own && adapter->store.entries[i].from == base->from;
    return there;
}

static espl_status refuse(const espl_adapter *a, const espl_adapter *b, const char *part, const char *name) {
    return espl_fail(a->model->ctx, ESPL_ARGUMENT, "adapters \"%s\" and \"%s\" cannot be active together: each has values of its own "
                     "in place of %s%s", a->name, b->name, part, name);
}

/* Into the vocabulary. */
static bool has_map(const espl_adapter *adapter) {
    return espl_head_of_words(adapter->model) && espl_adapter_head(adapter) != ESPL_NO_MATRIX;
}

espl_status espl_adapter_check_beside(const espl_adapter *a, const espl_adapter *b, bool heads) {
    const espl_model *model = a->model;
    const espl_entry *fused = NULL; /* both replace its matrix, one of them for other parts of it */
    const bool others_map = (a->own_vocabulary && has_map(b)) || (b->own_vocabulary && has_map(a));
    if (others_map) return refuse(a, b, "the tokens of ", espl_model_output_entry(model)->name);
    if (heads && model->config.tied && espl_adapter_head(a) != ESPL_NO_MATRIX && espl_adapter_head(b) != ESPL_NO_MATRIX)
        return refuse(a, b, "the output projection, which is tied to ", espl_model_output_entry(model)->name);
    for (size_t i = 0; i < model->store.entry_count; i++) {
        const espl_entry *base = &model->store.entries[i];
        if (!heads && espl_head_has_matrix(model, base->matrix)) continue;
        if (!(replaces(a, base) && changes(b, base)) && !(changes(a, base) && replaces(b, base))) continue;
        if (holds(a, base) && holds(b, base)) return refuse(a, b, "", base->name);
        if (!fused || (holds(b, base) && !holds(b, fused))) fused = base;
    }
    return fused ? refuse(a, b, "the fused tensor that has ", fused->name) : ESPL_OK;
}
