/* The folder of diff-pruning: all deltas and alphas, or what is left once they are pruned, as numbers and values. */
#include "adapters/diff_pruning.h"
#include <stdlib.h>
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static size_t count_of(const espl_adapter *adapter, const espl_entry *base) {
    return (size_t)espl_entry_values(&adapter->model->store, base);
}

/* An entry of the adapter's store is delta or an alpha of one of the base's. */
static bool is_pair(const espl_adapter *adapter, const espl_entry *e) {
    const char *label = adapter->store.matrices[e->matrix].label;
    return strcmp(label, espl_diff_delta) == 0 || strcmp(label, espl_diff_alpha) == 0 || strcmp(label, espl_diff_group) == 0;
}

static espl_status name_of(const espl_adapter *adapter, const espl_entry *base, const char *kind, char **out_name) {
    return espl_format(context(adapter), out_name, "base_model.model.%s.%s", base->name, kind);
}

/* Numbers in `idx` are those of values in the order of the base's tensor. */
static espl_status scatter(espl_adapter *adapter, const espl_entry *base, const espl_tensor_view *idx, const espl_tensor_view *val,
                           float *changes) {
    const size_t count = count_of(adapter, base), there = idx->rank == 1 ? idx->shape[0] : 0;
    int32_t *numbers = NULL;
    float *values = NULL;
    espl_status status = ESPL_OK;
    if (idx->dtype != ESPL_DTYPE_I32 || val->dtype != ESPL_DTYPE_F32 || idx->rank != 1 || val->rank != 1 || val->shape[0] != there)
        return espl_fail(context(adapter), ESPL_FORMAT, "%s and %s are not a list of I32 and one of F32 of the same length", idx->name,
                         val->name);
    ESPL_GOTO(espl_new(context(adapter), there * sizeof *numbers, &numbers));
    ESPL_GOTO(espl_new(context(adapter), there * sizeof *values, &values));
    memcpy(numbers, idx->data, there * sizeof *numbers);
    memcpy(values, val->data, there * sizeof *values);
    for (size_t i = 0; i < there && status == ESPL_OK; i++) {
        if (numbers[i] < 0 || (size_t)numbers[i] >= count)
            status = espl_fail(context(adapter), ESPL_FORMAT, "%s has number %d of a tensor with %zu values", idx->name, numbers[i], count);
        else changes[numbers[i]] = values[i];
    }
    if (status == ESPL_OK) status = espl_diff_settle(adapter, base, changes);
fail:
    espl_free(context(adapter), &numbers);
    espl_free(context(adapter), &values);
    return status;
}

static espl_status read_sparse(espl_adapter *adapter, const espl_entry *base, const espl_tensors *set) {
    espl_context *ctx = context(adapter);
    const size_t bytes = count_of(adapter, base) * sizeof(float);
    espl_tensor_view idx, val;
    char *name = NULL;
    float *changes = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(ctx, bytes, &changes));
    ESPL_GOTO(name_of(adapter, base, "idx", &name));
    ESPL_GOTO(espl_tensors_find(set, name, &idx));
    espl_free(ctx, &name);
    ESPL_GOTO(name_of(adapter, base, "val", &name));
    ESPL_GOTO(espl_tensors_find(set, name, &val));
    ESPL_GOTO(scatter(adapter, base, &idx, &val, changes));
fail:
    espl_free(ctx, &name);
    espl_free(ctx, &changes);
    return status;
}

espl_status espl_diff_read(espl_adapter *adapter, const espl_tensors *set) {
    diff_state *state = adapter->state;
    const espl_entry *base;
    size_t first = 0, read = 0;
    char *name;
    base = espl_diff_next(adapter, &first);
    if (!base) return espl_store_load(&adapter->store, set, "");
    ESPL_TRY(name_of(adapter, base, "idx", &name));
    state->pruned = espl_tensors_has(set, name);
    espl_free(context(adapter), &name);
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        /* What modules_to_save named is there in both forms. */
        adapter->store.entries[i].optional = state->pruned && is_pair(adapter, &adapter->store.entries[i]);
        read += !adapter->store.entries[i].optional;
    }
    ESPL_TRY(espl_store_load(&adapter->store, set, ""));
    for (size_t at = 0; state->pruned && (base = espl_diff_next(adapter, &at)); read += 2) ESPL_TRY(read_sparse(adapter, base, set));
    if (read != espl_tensors_count(set))
        return espl_fail(context(adapter), ESPL_FORMAT, "there are %zu tensors, this adapter has %zu", espl_tensors_count(set), read);
    return ESPL_OK;
}

/* Tensors to write, whose names and values are owned. */
typedef struct sparse {
    espl_tensor_entry *entries;
    size_t count;
} sparse;

static espl_status add_tensor(espl_adapter *adapter, sparse *to, const espl_entry *base, const char *kind, espl_dtype dtype,
                              uint32_t values, void *data) {
    char *name;
    espl_status status = name_of(adapter, base, kind, &name);
    if (status != ESPL_OK) {
        espl_free(context(adapter), &data);
        return status;
    }
    to->entries[to->count++] = (espl_tensor_entry){.name = name, .dtype = dtype, .rank = 1, .shape = {values}, .data = data};
    return ESPL_OK;
}

static espl_status gather(espl_adapter *adapter, const espl_entry *base, const diff_values *all, void *user) {
    int32_t *numbers;
    float *values;
    uint32_t kept = 0;
    ESPL_TRY(espl_new(context(adapter), all->count * sizeof *numbers, &numbers));
    espl_status status = espl_new(context(adapter), all->count * sizeof *values, &values);
    if (status != ESPL_OK) {
        espl_free(context(adapter), &numbers);
        return status;
    }
    for (size_t i = 0; i < all->count; i++) {
        if (!espl_diff_stays(all->alpha[i])) continue;
        numbers[kept] = (int32_t)i;
        values[kept++] = all->delta[i];
    }
    status = add_tensor(adapter, user, base, "idx", ESPL_DTYPE_I32, kept, numbers);
    if (status != ESPL_OK) {
        espl_free(context(adapter), &values);
        return status;
    }
    return add_tensor(adapter, user, base, "val", ESPL_DTYPE_F32, kept, values);
}

/* What modules_to_save named, as it is. */
static espl_status add_saved(espl_adapter *adapter, sparse *to) {
    espl_context *ctx = context(adapter);
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        const espl_entry *e = &adapter->store.entries[i];
        char *name;
        float *values = NULL;
        if (is_pair(adapter, e)) continue;
        ESPL_TRY(espl_copy_string(ctx, e->name, strlen(e->name), &name));
        espl_tensor_entry *t = &to->entries[to->count++];
        *t = (espl_tensor_entry){.name = name, .dtype = ESPL_DTYPE_F32, .rank = e->rank};
        memcpy(t->shape, e->shape, sizeof e->shape);
        ESPL_TRY(espl_new(ctx, (size_t)espl_entry_values(&adapter->store, e) * sizeof *values, &values));
        t->data = values;
        ESPL_TRY(espl_store_read(&adapter->store, e, values));
    }
    return ESPL_OK;
}

espl_status espl_diff_write(espl_adapter *adapter, const char *path, espl_replace *out_replace) {
    const diff_state *state = adapter->state;
    espl_context *ctx = context(adapter);
    sparse all = {.entries = NULL};
    if (!state->pruned) return espl_store_replace(&adapter->store, path, out_replace);
    ESPL_TRY(espl_new(ctx, (adapter->store.entry_count + 1) * sizeof *all.entries, &all.entries));
    static const espl_tensors_metadata_pair format[] = {{"format", "pt"}};
    espl_status status = espl_diff_each(adapter, &all, gather);
    if (status == ESPL_OK) status = add_saved(adapter, &all);
    if (status == ESPL_OK)
        status = espl_tensors_replace(ctx, path, all.entries, all.count, format, ESPL_COUNT(format), out_replace);
    for (size_t i = 0; i < all.count; i++) {
        void *data = (void *)(uintptr_t)all.entries[i].data;
        char *name = (char *)(uintptr_t)all.entries[i].name;
        espl_free(ctx, &data);
        espl_free(ctx, &name);
    }
    espl_free(ctx, &all.entries);
    return status;
}
