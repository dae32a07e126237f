/* Matrices of an adapter that stand in place of the base's: biases, norms, heads, modules_to_save. */
#include "adapters/make.h"

static espl_status replace(espl_adapter *adapter, uint32_t *slot, const espl_entry *base, const char *file_name) {
    const espl_matrix *m = &adapter->model->store.matrices[base->matrix];
    if (*slot == ESPL_NO_MATRIX)
        ESPL_TRY(espl_store_matrix(&adapter->store, m->label, m->rows, m->cols, ESPL_DTYPE_F32, m->decay, slot));
    return espl_store_entry(&adapter->store, file_name, *slot, base->from, base->count, base->vector);
}

espl_status espl_adapter_replace(espl_adapter *adapter, const espl_entry *base, const char *file_name) {
    return replace(adapter, &adapter->replacement[base->matrix], base, file_name);
}

espl_status espl_adapter_replace_head(espl_adapter *adapter, const char *file_name) {
    const espl_model *model = adapter->model;
    uint32_t *slot = model->head == ESPL_NO_MATRIX ? &adapter->head_replacement : &adapter->replacement[model->head];
    return replace(adapter, slot, espl_model_output_entry(model), file_name);
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
    for (uint32_t base = 0; base < adapter->replacement_count; base++)
        ESPL_TRY(copy_matrix(adapter, base, adapter->replacement[base]));
    return copy_matrix(adapter, adapter->model->embed, adapter->head_replacement);
}
