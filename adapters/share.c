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

static bool shares(const espl_adapter *adapter) {
    for (size_t i = 0; i < adapter->store.matrix_count; i++) {
        if (adapter->store.matrices[i].owner) return true;
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

espl_status espl_adapter_unshare(espl_adapter *adapter) {
    espl_adapter *next = first_with(adapter);
    if (!next) return take_back(adapter);
    const espl_status status = take_back(next);
    for (espl_adapter *other = first_with(adapter); other; other = first_with(adapter)) {
        for (size_t i = 0; i < other->store.matrix_count; i++) {
            if (other->store.matrices[i].owner == &adapter->store) give(other, &next->store, &next->store.matrices[i], (uint32_t)i);
        }
    }
    return status;
}

/* ---- Sharing ---- */

static espl_status check_alike(const espl_adapter *reference, const espl_adapter *other) {
    espl_context *ctx = reference->model->ctx;
    if (!other->method->shares)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "adapter \"%s\": %s has no tensors that several adapters have together; mtl_lora has",
                         other->name, other->method->name);
    bool alike = other->method == reference->method && other->store.entry_count == reference->store.entry_count &&
                 other->store.matrix_count == reference->store.matrix_count;
    for (size_t i = 0; alike && i < other->store.entry_count; i++) {
        const espl_entry *a = &reference->store.entries[i], *b = &other->store.entries[i];
        if (!is_shareable(reference, a)) continue;
        alike = a->matrix == b->matrix && a->from == b->from && a->rank == b->rank && memcmp(a->shape, b->shape, sizeof a->shape) == 0;
        if (!alike)
            return espl_fail(ctx, ESPL_ARGUMENT, "adapters \"%s\" and \"%s\" cannot share %s: their configurations give it other sizes",
                             reference->name, other->name, a->name);
    }
    return alike ? ESPL_OK : espl_fail(ctx, ESPL_ARGUMENT, "adapters \"%s\" and \"%s\" cannot share tensors: they are of other methods or targets",
                                       reference->name, other->name);
}

/* owner: the store that the reference's are in. */
static espl_status check(const espl_adapter *reference, const espl_store *owner, const espl_adapter *other) {
    ESPL_TRY(check_alike(reference, other));
    if (&other->store == owner || has_from(other, owner) || !(shares(other) || first_with(other))) return ESPL_OK;
    return espl_fail(reference->model->ctx, ESPL_ARGUMENT, "adapter \"%s\" shares tensors with others than \"%s\": espl_adapter_unshare comes "
                     "first", other->name, reference->name);
}

static const espl_store *owner_of(const espl_adapter *reference) {
    for (size_t i = 0; i < reference->store.matrix_count; i++) {
        if (reference->store.matrices[i].owner) return reference->store.matrices[i].owner;
    }
    return &reference->store;
}

static void share(const espl_adapter *reference, const espl_store *owner, espl_adapter *other) {
    for (size_t i = 0; i < reference->store.entry_count && &other->store != owner; i++) {
        const espl_entry *entry = &reference->store.entries[i];
        if (is_shareable(reference, entry)) give(other, owner, &owner->matrices[entry->matrix], entry->matrix);
    }
}

static espl_status find(const espl_model *model, const char *name, espl_adapter **out_adapter) {
    *out_adapter = espl_adapter_find(model, name, strlen(name));
    return *out_adapter ? ESPL_OK : espl_fail(model->ctx, ESPL_ARGUMENT, "there is no adapter \"%s\"", name);
}

espl_status espl_adapter_share(espl_model *model, const char *const *names, size_t count, const char *reference) {
    espl_adapter *first, *other;
    if (count < 2) return espl_fail(model->ctx, ESPL_ARGUMENT, "%zu adapters cannot share tensors, two can", count);
    ESPL_TRY(find(model, reference ? reference : names[0], &first));
    const espl_store *owner = owner_of(first);
    for (size_t i = 0; i < count; i++) {
        ESPL_TRY(find(model, names[i], &other));
        ESPL_TRY(check(first, owner, other));
    }
    for (size_t i = 0; i < count; i++) {
        ESPL_TRY(find(model, names[i], &other));
        share(first, owner, other);
    }
    return ESPL_OK;
}
