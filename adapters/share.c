/* Tensors that several adapters have together: those that their method names (espl_method.shares). One of them owns the memory; in the
 * others' stores the matrices stand for the owner's (espl_matrix.owner), so that graphs have one leaf, whose gradient is the sum over
 * all that use it, and files, averages and merges of each read the same values. */
#include "adapters/make.h"
#include "adapters/targets.h"
#include <string.h>

static bool is_shareable(const espl_adapter *adapter, const espl_entry *entry) {
    for (const char *const *end = adapter->method->shares; end && *end; end++) {
        if (espl_target_ends_with(entry->name, *end)) return true;
    }
    return false;
}

/* Whether a matrix of other's stands for one of owner's. */
static bool has_from(const espl_adapter *other, const espl_store *owner) {
    for (size_t i = 0; i < other->store.matrix_count; i++) {
        if (other->store.matrices[i].owner == owner) return true;
    }
    return false;
}

/* The first adapter that has something of this one; NULL: none. */
static espl_adapter *first_with(const espl_adapter *owner) {
    espl_adapter *other = owner->model->adapters;
    while (other && !has_from(other, &owner->store)) other = other->next;
    return other;
}

/* Has its own memory again, with the values as they are. The memory is its own also where the device fails. */
static espl_status take_back(espl_adapter *adapter) {
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < adapter->store.matrix_count; i++) {
        espl_matrix *m = &adapter->store.matrices[i];
        if (!m->owner) continue;
        const espl_entry all = {.matrix = (uint32_t)i, .count = m->rows};
        float *values = NULL;
        if (status == ESPL_OK) status = espl_new(adapter->model->ctx, (size_t)m->rows * m->cols * sizeof *values, &values);
        if (status == ESPL_OK && adapter->model->device) status = espl_store_read(&adapter->store, &all, values);
        m->span = m->own;
        m->owner = NULL;
        if (status == ESPL_OK && adapter->model->device) status = espl_store_write(&adapter->store, &all, values, ESPL_DTYPE_F32);
        espl_free(adapter->model->ctx, &values);
    }
    return status;
}

/* Matrices of adapter become those of the same number in the owner's store. */
static void give(espl_adapter *adapter, const espl_store *owner, const espl_matrix *like, uint32_t matrix) {
    espl_matrix *m = &adapter->store.matrices[matrix];
    if (m->owner == owner) return;
    if (!m->owner) m->own = m->span;
    m->owner = owner;
    m->owner_index = matrix;
    m->span = like->span;
}

static void share(const espl_adapter *owner, espl_adapter *other) {
    for (size_t i = 0; i < owner->store.entry_count && other != owner; i++) {
        const espl_entry *entry = &owner->store.entries[i];
        if (is_shareable(owner, entry)) give(other, &owner->store, &owner->store.matrices[entry->matrix], entry->matrix);
    }
}

/* What is owner's is next's, which had it of owner, for all that have it. */
static espl_status pass_on(espl_adapter *owner, espl_adapter *next) {
    const espl_status status = take_back(next);
    for (espl_adapter *other = first_with(owner); other; other = first_with(owner)) share(next, other);
    share(next, owner);
    return status;
}

espl_status espl_adapter_unshare(espl_adapter *adapter) {
    espl_adapter *next = first_with(adapter);
    const espl_status status = next ? pass_on(adapter, next) : ESPL_OK;
    const espl_status taken = take_back(adapter);
    return status == ESPL_OK ? taken : status;
}

espl_adapter *espl_adapter_owner(espl_adapter *adapter) {
    for (espl_adapter *other = adapter->model->adapters; other; other = other->next) {
        if (has_from(adapter, &other->store)) return other;
    }
    return adapter;
}

espl_status espl_adapters_own(espl_adapter *const *adapters, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        espl_adapter *owner = espl_adapter_owner(adapters[i]);
        bool before = owner == adapters[i];
        for (uint32_t j = 0; j < i; j++) before |= adapters[j] == owner;
        if (!before) ESPL_TRY(pass_on(owner, adapters[i]));
    }
    return ESPL_OK;
}

/* ---- Sharing ---- */

static espl_status check(espl_adapter *reference, espl_adapter *other) {
    espl_context *ctx = reference->model->ctx;
    if (!other->method->shares)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "adapter \"%s\": %s has no tensors that several adapters have together; mtl_lora has",
                         other->name, other->method->name);
    ESPL_TRY(espl_adapter_check_equal(reference, other, false, "share tensors"));
    if (other->merge_order)
        return espl_fail(ctx, ESPL_ARGUMENT, "adapter \"%s\" is merged into the base, which has its tensors as they are: they cannot "
                         "be shared", other->name);
    const bool alone = espl_adapter_owner(other) == other && !first_with(other);
    if (alone || espl_adapter_owner(other) == espl_adapter_owner(reference)) return ESPL_OK;
    return espl_fail(ctx, ESPL_ARGUMENT, "adapter \"%s\" shares tensors with others than \"%s\": espl_adapter_unshare comes first",
                     other->name, reference->name);
}

static espl_status find(const espl_model *model, const char *name, espl_adapter **out_adapter) {
    *out_adapter = espl_adapter_find(model, name, strlen(name));
    return *out_adapter ? ESPL_OK : espl_fail(model->ctx, ESPL_ARGUMENT, "there is no adapter \"%s\"", name);
}

espl_status espl_adapter_share(espl_model *model, const char *const *names, size_t count, const char *reference) {
    espl_adapter *first, *other;
    bool among = !reference;
    if (count < 2) return espl_fail(model->ctx, ESPL_ARGUMENT, "%zu adapters cannot share tensors, two can", count);
    ESPL_TRY(find(model, reference ? reference : names[0], &first));
    for (size_t i = 0; i < count; i++) {
        ESPL_TRY(find(model, names[i], &other));
        ESPL_TRY(check(first, other));
        among |= other == first;
    }
    if (!among) return espl_fail(model->ctx, ESPL_ARGUMENT, "adapter \"%s\", whose tensors are to be shared, is none of those that share",
                                 first->name);
    for (size_t i = 0; i < count; i++) {
        ESPL_TRY(find(model, names[i], &other));
        share(espl_adapter_owner(first), other);
    }
    return ESPL_OK;
}
