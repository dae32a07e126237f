/* The store itself: declaring, laying out in device memory, values of an entry. */
#include "host/model/store.h"
#include <assert.h>
#include <string.h>

void espl_store_init(espl_store *store, espl_context *ctx, espl_device *device, espl_arena_kind kind, const char *name) {
    *store = (espl_store){.ctx = ctx, .device = device};
    espl_arena_init(&store->arena, device, kind, name);
}

void espl_store_finish(espl_store *store) {
    if (!store->ctx) return;
    for (size_t i = 0; i < store->matrix_count; i++) espl_free(store->ctx, &store->matrices[i].label);
    for (size_t i = 0; i < store->entry_count; i++) {
        espl_free(store->ctx, &store->entries[i].name);
        espl_free(store->ctx, &store->entries[i].alias);
    }
    espl_free(store->ctx, &store->matrices);
    espl_free(store->ctx, &store->entries);
    espl_arena_finish(&store->arena);
    *store = (espl_store){0};
}

espl_status espl_store_matrix(espl_store *store, const char *label, uint32_t rows, uint32_t cols, espl_dtype dtype,
                              bool decay, uint32_t *out_index) {
    ESPL_TRY(espl_grow(store->ctx, &store->matrices, &store->matrix_capacity, store->matrix_count + 1,
                       sizeof *store->matrices));
    espl_matrix *m = &store->matrices[store->matrix_count];
    *m = (espl_matrix){.rows = rows, .cols = cols, .stride = (uint32_t)espl_round_up(cols, 4), .dtype = dtype,
                       .decay = decay, .rate = 1};
    ESPL_TRY(espl_copy_string(store->ctx, label, strlen(label), &m->label));
    *out_index = (uint32_t)store->matrix_count++;
    return ESPL_OK;
}

espl_status espl_store_entry(espl_store *store, const char *name, uint32_t matrix, uint32_t from, uint32_t count,
                             bool vector) {
    ESPL_TRY(espl_grow(store->ctx, &store->entries, &store->entry_capacity, store->entry_count + 1,
                       sizeof *store->entries));
    espl_entry *entry = &store->entries[store->entry_count];
    *entry = (espl_entry){.matrix = matrix, .from = from, .count = count, .vector = vector, .rank = vector ? 1 : 2,
                          .shape = {count, vector ? 0 : store->matrices[matrix].cols}};
    ESPL_TRY(espl_copy_string(store->ctx, name, strlen(name), &entry->name));
    store->entry_count++;
    return ESPL_OK;
}

void espl_store_shape(espl_store *store, uint32_t rank, const uint32_t *shape) {
    espl_entry *entry = &store->entries[store->entry_count - 1];
    uint64_t values = 1;
    assert(rank <= ESPL_COUNT(entry->shape));
    entry->rank = rank;
    for (uint32_t i = 0; i < rank; i++) values *= entry->shape[i] = shape[i];
    assert(values == espl_entry_values(store, entry));
    (void)values;
}

static uint64_t matrix_bytes(const espl_matrix *m) {
    return (uint64_t)m->rows * m->stride * espl_dtype_bytes(m->dtype);
}

/* Those with the same decay and rate lie together: an optimiser takes each group at once. */
static bool same_group(const espl_matrix *a, const espl_matrix *b) {
    return a->decay == b->decay && a->rate == b->rate;
}

static void lay_flat(espl_store *store) {
    store->flat_count = 0;
    for (int decay = 1; decay >= 0; decay--) {
        for (size_t i = 0; i < store->matrix_count; i++) {
            const espl_matrix *leader = &store->matrices[i];
            bool first = leader->decay == (bool)decay && !leader->frozen;
            for (size_t j = 0; j < i; j++) first &= store->matrices[j].frozen || !same_group(&store->matrices[j], leader);
            for (size_t j = i; first && j < store->matrix_count; j++) {
                espl_matrix *m = &store->matrices[j];
                if (m->frozen || !same_group(m, leader)) continue;
                m->dtype = ESPL_DTYPE_F32;
                m->flat = store->flat_count;
                /* Spans must begin on 256 bytes. */
                store->flat_count += espl_round_up((uint64_t)m->rows * m->stride, 64);
            }
        }
    }
}

espl_status espl_store_place(espl_store *store, bool flat) {
    uint64_t bytes = 0;
    store->flat_count = 0;
    if (flat) lay_flat(store);
    for (size_t i = 0; i < store->matrix_count; i++) {
        if (!flat || store->matrices[i].frozen) bytes += espl_round_up(matrix_bytes(&store->matrices[i]), 256);
    }
    ESPL_TRY(espl_arena_reserve(&store->arena, bytes + store->flat_count * 4));
    if (store->flat_count) {
        ESPL_TRY(espl_arena_take(&store->arena, store->flat_count * 4, &store->flat));
        store->flat.bytes = store->flat_count * 4;
        ESPL_TRY(espl_clear(store->device, store->flat));
    }
    for (size_t i = 0; i < store->matrix_count; i++) {
        espl_matrix *m = &store->matrices[i];
        if (flat && !m->frozen) {
            m->span = espl_span_part(store->flat, m->flat * 4, matrix_bytes(m));
            continue;
        }
        if (!m->rows) continue;
        ESPL_TRY(espl_arena_take(&store->arena, matrix_bytes(m), &m->span));
        m->span.bytes = matrix_bytes(m);
        ESPL_TRY(espl_clear(store->device, m->span));
    }
    return ESPL_OK;
}

espl_status espl_store_add_rows(espl_store *store, uint32_t matrix, uint32_t rows) {
    espl_matrix *m = &store->matrices[matrix];
    assert(m->frozen && !m->rows);
    ESPL_TRY(espl_arena_take(&store->arena, (uint64_t)rows * m->stride * espl_dtype_bytes(m->dtype), &m->span));
    m->rows = rows;
    return ESPL_OK;
}

void espl_store_remove_entry(espl_store *store, const char *name) {
    for (size_t i = 0; i < store->entry_count; i++) {
        espl_entry *entry = &store->entries[i];
        if (strcmp(entry->name, name) != 0) continue;
        espl_free(store->ctx, &entry->name);
        espl_free(store->ctx, &entry->alias);
        memmove(entry, entry + 1, (store->entry_count - i - 1) * sizeof *entry);
        store->entry_count--;
        return;
    }
}

/* The part of a span laid out like m that holds the entry, and how rows lie in it. */
static espl_span entry_window(const espl_matrix *m, const espl_entry *entry, espl_span span) {
    const uint64_t item = espl_dtype_bytes(m->dtype);
    if (entry->vector) return espl_span_part(span, entry->from * item, espl_round_up(entry->count * item, 4));
    return espl_span_part(span, (uint64_t)entry->from * m->stride * item, (uint64_t)entry->count * m->stride * item);
}

uint64_t espl_entry_values(const espl_store *store, const espl_entry *entry) {
    return entry->vector ? entry->count : (uint64_t)entry->count * store->matrices[entry->matrix].cols;
}

static espl_status transfer(espl_store *store, const espl_entry *entry, espl_span span, const void *write,
                            espl_dtype write_dtype, float *read) {
    const espl_matrix *m = &store->matrices[entry->matrix];
    const uint32_t rows = entry->vector ? 1 : entry->count, cols = entry->vector ? entry->count : m->cols;
    const espl_span window = entry_window(m, entry, span);
    const size_t item = espl_dtype_bytes(m->dtype), row = entry->vector ? (size_t)window.bytes : m->stride * item;
    unsigned char *copy;
    ESPL_TRY(espl_new(store->ctx, (size_t)window.bytes, &copy));
    espl_status status = ESPL_OK;
    if (write) {
        const unsigned char *from = write;
        for (uint32_t r = 0; r < rows; r++)
            espl_convert(from + (size_t)r * cols * espl_dtype_bytes(write_dtype), write_dtype, copy + r * row, m->dtype,
                         cols);
        status = espl_upload(store->device, window, copy, window.bytes);
    } else {
        status = espl_download(store->device, window, copy, window.bytes);
        for (uint32_t r = 0; status == ESPL_OK && r < rows; r++)
            espl_convert(copy + r * row, m->dtype, read + (size_t)r * cols, ESPL_DTYPE_F32, cols);
    }
    espl_free(store->ctx, &copy);
    return status;
}

espl_status espl_store_write(espl_store *store, const espl_entry *entry, const void *values, espl_dtype dtype) {
    return transfer(store, entry, store->matrices[entry->matrix].span, values, dtype, NULL);
}

espl_status espl_store_read(espl_store *store, const espl_entry *entry, float *out_values) {
    return transfer(store, entry, store->matrices[entry->matrix].span, NULL, ESPL_DTYPE_F32, out_values);
}

static espl_span like(const espl_store *store, const espl_entry *entry, espl_span flat) {
    const espl_matrix *m = &store->matrices[entry->matrix];
    return espl_span_part(flat, m->flat * 4, matrix_bytes(m));
}

/* What is frozen has no place in memory like the flat span: its own stands for the store's, others hold nothing of it. */
static bool is_outside(const espl_store *store, const espl_entry *entry, espl_span flat, bool *out_own) {
    *out_own = flat.block == store->flat.block && flat.offset == store->flat.offset;
    return store->matrices[entry->matrix].frozen;
}

espl_status espl_store_read_like(espl_store *store, const espl_entry *entry, espl_span flat, float *out_values) {
    bool own;
    if (is_outside(store, entry, flat, &own)) {
        memset(out_values, 0, (size_t)espl_entry_values(store, entry) * sizeof *out_values);
        return own ? espl_store_read(store, entry, out_values) : ESPL_OK;
    }
    return transfer(store, entry, like(store, entry, flat), NULL, ESPL_DTYPE_F32, out_values);
}

espl_status espl_store_write_like(espl_store *store, const espl_entry *entry, espl_span flat, const float *values) {
    bool own;
    if (is_outside(store, entry, flat, &own))
        return own ? espl_store_write(store, entry, values, ESPL_DTYPE_F32) : ESPL_OK;
    return transfer(store, entry, like(store, entry, flat), values, ESPL_DTYPE_F32, NULL);
}

uint64_t espl_store_values(const espl_store *store) {
    uint64_t values = 0;
    for (size_t i = 0; i < store->entry_count; i++) values += espl_entry_values(store, &store->entries[i]);
    return values;
}

uint64_t espl_store_bytes(const espl_store *store) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < store->matrix_count; i++) bytes += matrix_bytes(&store->matrices[i]);
    return bytes;
}

const espl_entry *espl_store_find(const espl_store *store, const char *name) {
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *entry = &store->entries[i];
        if (strcmp(entry->name, name) == 0 || (entry->alias && strcmp(entry->alias, name) == 0)) return entry;
    }
    return NULL;
}
