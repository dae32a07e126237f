/* A store and files: its entries from a set of tensors, and as tensors to be written. */
#include "host/model/store.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

/* "[3, 4]" */
static const char *shape_text(char *text, size_t bytes, uint32_t rank, const uint32_t *shape) {
    size_t at = (size_t)snprintf(text, bytes, "[");
    for (uint32_t i = 0; i < rank && at < bytes; i++)
        at += (size_t)snprintf(text + at, bytes - at, "%s%u", i ? ", " : "", shape[i]);
    if (at < bytes) snprintf(text + at, bytes - at, "]");
    return text;
}

static espl_status load_entry(espl_store *store, const espl_entry *entry, const espl_tensors *set, const char *prefix) {
    char *name = NULL;
    ESPL_TRY(espl_format(store->ctx, &name, "%s%s", prefix, entry->name));
    if (!espl_tensors_has(set, name) && entry->alias) {
        espl_free(store->ctx, &name);
        ESPL_TRY(espl_format(store->ctx, &name, "%s%s", prefix, entry->alias));
        if (!espl_tensors_has(set, name)) {
            espl_free(store->ctx, &name);
            ESPL_TRY(espl_format(store->ctx, &name, "%s%s", prefix, entry->name));
        }
    }
    espl_tensor_view view;
    espl_status status = ESPL_OK;
    if (entry->optional && !espl_tensors_has(set, name)) goto done;
    status = espl_tensors_find(set, name, &view);
    if (status != ESPL_OK) goto done;
    bool fits = view.rank == entry->rank;
    for (uint32_t i = 0; fits && i < entry->rank; i++) fits = view.shape[i] == entry->shape[i];
    if (!fits) {
        char there[64], expected[64];
        status = espl_fail(store->ctx, ESPL_FORMAT, "%s is %s, %s was expected", name,
                           shape_text(there, sizeof there, view.rank, view.shape),
                           shape_text(expected, sizeof expected, entry->rank, entry->shape));
    } else if (view.dtype != ESPL_DTYPE_F32 && view.dtype != ESPL_DTYPE_F16 && view.dtype != ESPL_DTYPE_BF16 &&
               view.dtype != ESPL_DTYPE_F64) {
        status = espl_fail(store->ctx, ESPL_FORMAT, "%s is %s, floating point was expected", name,
                           espl_dtype_name(view.dtype));
    } else {
        status = espl_store_write(store, entry, view.data, view.dtype);
    }
done:
    espl_free(store->ctx, &name);
    return status;
}

espl_status espl_store_load(espl_store *store, const espl_tensors *set, const char *prefix) {
    for (size_t i = 0; i < store->entry_count; i++) {
        if (!store->entries[i].apart) ESPL_TRY(load_entry(store, &store->entries[i], set, prefix));
    }
    return ESPL_OK;
}

static espl_status read_source(void *user, const espl_tensor_entry *entry, size_t offset, void *out, size_t bytes) {
    espl_store_source *source = user;
    espl_store *store = source->store;
    const size_t all = (size_t)espl_entry_values(store, &source->entry) * sizeof(float);
    (void)entry;
    if (!source->values) {
        ESPL_TRY(espl_new(store->ctx, all, &source->values));
        ESPL_TRY(source->flat.block ? espl_store_read_like(store, &source->entry, source->flat, source->values)
                                    : espl_store_read(store, &source->entry, source->values));
    }
    memcpy(out, (unsigned char *)source->values + offset, bytes);
    if (offset + bytes == all) espl_free(store->ctx, &source->values);
    return ESPL_OK;
}

/* Takes name. */
static void describe(espl_store *store, const espl_entry *entry, espl_span flat, const char *name, espl_tensor_entry *out_tensor,
                     espl_store_source *out_source) {
    *out_source = (espl_store_source){.store = store, .entry = *entry, .flat = flat};
    *out_tensor = (espl_tensor_entry){.name = name, .dtype = ESPL_DTYPE_F32, .rank = entry->rank, .read = read_source,
                                      .user = out_source};
    for (uint32_t i = 0; i < entry->rank; i++) out_tensor->shape[i] = entry->shape[i];
}

espl_status espl_store_entries(espl_store *store, const char *name_format, espl_span flat, espl_tensor_entry *entries,
                               espl_store_source *sources) {
    const char *mark = strstr(name_format, "%s");
    assert(mark);
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *entry = &store->entries[i];
        char *name = NULL;
        ESPL_TRY(espl_format(store->ctx, &name, "%.*s%s%s", (int)(mark - name_format), name_format, entry->name, mark + 2));
        describe(store, entry, flat, name, &entries[i], &sources[i]);
    }
    return ESPL_OK;
}

size_t espl_store_carried_count(const espl_store *store) {
    size_t count = 0;
    for (size_t i = 0; i < store->matrix_count; i++) count += store->matrices[i].carried;
    return count;
}

static espl_entry whole_matrix(const espl_store *store, size_t index) {
    const espl_matrix *m = &store->matrices[index];
    return (espl_entry){.matrix = (uint32_t)index, .count = m->rows, .rank = 2, .shape = {m->rows, m->cols}};
}

espl_status espl_store_carried(espl_store *store, espl_tensor_entry *entries, espl_store_source *sources) {
    for (size_t i = 0, n = 0; i < store->matrix_count; i++) {
        if (!store->matrices[i].carried) continue;
        const espl_entry entry = whole_matrix(store, i);
        char *name = NULL;
        ESPL_TRY(espl_format(store->ctx, &name, "carried.%zu", i));
        describe(store, &entry, (espl_span){0}, name, &entries[n], &sources[n]);
        n++;
    }
    return ESPL_OK;
}

espl_status espl_store_load_carried(espl_store *store, const espl_tensors *set) {
    for (size_t i = 0; i < store->matrix_count; i++) {
        if (!store->matrices[i].carried) continue;
        char name[32];
        espl_entry entry = whole_matrix(store, i);
        snprintf(name, sizeof name, "carried.%zu", i);
        entry.name = name;
        ESPL_TRY(load_entry(store, &entry, set, ""));
    }
    return ESPL_OK;
}

void espl_store_entries_finish(espl_context *ctx, espl_tensor_entry *entries, espl_store_source *sources, size_t count) {
    for (size_t i = 0; i < count; i++) {
        void *name = (void *)(uintptr_t)entries[i].name;
        espl_free(ctx, &name);
        espl_free(ctx, &sources[i].values);
    }
}

/* Those apart go to the end. */
static size_t written_first(const espl_store *store, espl_tensor_entry *entries) {
    size_t count = 0;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_tensor_entry one = entries[i];
        if (store->entries[i].apart) continue;
        entries[i] = entries[count];
        entries[count++] = one;
    }
    return count;
}

espl_status espl_store_replace(espl_store *store, const char *path, espl_replace *out_replace) {
    espl_tensor_entry *entries = NULL;
    espl_store_source *sources = NULL;
    espl_status status = espl_new(store->ctx, store->entry_count * sizeof *entries, &entries);
    if (status == ESPL_OK) status = espl_new(store->ctx, store->entry_count * sizeof *sources, &sources);
    if (status == ESPL_OK) status = espl_store_entries(store, "%s", (espl_span){0}, entries, sources);
    const espl_tensors_metadata_pair format = {"format", "pt"};
    if (status == ESPL_OK)
        status = espl_tensors_replace(store->ctx, path, entries, written_first(store, entries), &format, 1, out_replace);
    if (entries && sources) espl_store_entries_finish(store->ctx, entries, sources, store->entry_count);
    espl_free(store->ctx, &entries);
    espl_free(store->ctx, &sources);
    return status;
}
