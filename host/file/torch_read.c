/* PyTorch's checkpoints as tensors. A pickle says for each tensor in which storage it lies, where, with which sizes and
 * strides; the storages are entries of the archive ("x/data/0"), or in the older form follow the pickles. A tensor that
 * lies contiguous is used in place, any other is copied. Several tensors may share a storage.
 * Source: torch/serialization.py (_save, _legacy_save), torch/_utils.py (_rebuild_tensor_v2). */
#include "host/file/torch_read.h"
#include "host/file/pickle.h"
#include "host/file/tensors_private.h"
#include <string.h>

typedef struct reader {
    espl_tensors *set;       /* borrowed */
    const tensor_file *file; /* borrowed */
    espl_pickle pickle;
    espl_map keys;  /* of storages, to the index in storages */
    espl_map names; /* of tensors, so far */
    espl_zip_entry *storages; /* owned */
    size_t storage_count, storage_capacity;
    size_t copied_bytes;
} reader;

static const struct {
    const char *name; /* of the type of its storage */
    const char *text; /* of the dtype */
    size_t bytes;
} types[] = {
    {"torch.FloatStorage", "F32", 4},  {"torch.HalfStorage", "F16", 2}, {"torch.BFloat16Storage", "BF16", 2},
    {"torch.DoubleStorage", "F64", 8}, {"torch.LongStorage", "I64", 8}, {"torch.IntStorage", "I32", 4},
    {"torch.ByteStorage", "U8", 1},    {"torch.ShortStorage", "I16", 2}, {"torch.CharStorage", "I8", 1},
    {"torch.BoolStorage", "BOOL", 1},
};

static espl_status fail(const reader *r, const char *name, const char *what) {
    return espl_fail(r->set->ctx, ESPL_FORMAT, "%s: tensor \"%s\": %s", r->file->path, name, what);
}

static espl_status add_storage(reader *r, const char *key, size_t key_bytes, const unsigned char *data, size_t bytes) {
    bool was_there;
    espl_context *ctx = r->set->ctx;
    ESPL_TRY(espl_grow(ctx, &r->storages, &r->storage_capacity, r->storage_count + 1, sizeof *r->storages));
    r->storages[r->storage_count] = (espl_zip_entry){.data = data, .bytes = bytes};
    ESPL_TRY(espl_map_add(ctx, &r->keys, key, key_bytes, (uint32_t)r->storage_count++, &was_there));
    return was_there ? espl_fail(ctx, ESPL_FORMAT, "%s: a storage is there twice", r->file->path) : ESPL_OK;
}

/* Index into types of a storage's type; false if the value is none that is known. */
static bool storage_type(const espl_pickle *p, const espl_pickle_value *storage, size_t *out_type) {
    const espl_pickle_value *word = espl_pickle_item_at(p, storage, 0), *type = espl_pickle_item_at(p, storage, 1);
    const espl_pickle_value *key = espl_pickle_item_at(p, storage, 2);
    if (storage->kind != ESPL_PICKLE_STORAGE || !key || key->kind != ESPL_PICKLE_STRING || key->bytes > 64) return false;
    if (word->kind != ESPL_PICKLE_STRING || word->bytes != 7 || memcmp(word->text, "storage", 7)) return false;
    for (*out_type = 0; type->kind == ESPL_PICKLE_GLOBAL && *out_type < ESPL_COUNT(types); ++*out_type)
        if (strcmp(types[*out_type].name, type->text) == 0) return true;
    return false;
}

/* ---- one tensor ---- */

typedef struct layout {
    uint64_t offset, sizes[64], strides[64]; /* in values */
    size_t rank;
} layout;

static espl_status read_list(const reader *r, const char *name, const espl_pickle_value *list, uint64_t out[64],
                             size_t *out_count) {
    if (!list || list->kind != ESPL_PICKLE_TUPLE || list->count > 64) return fail(r, name, "sizes or strides are no tuple of at most 64");
    *out_count = 0;
    for (uint32_t at = list->first; at != ESPL_PICKLE_END; at = r->pickle.items[at].next) {
        const espl_pickle_value *value = &r->pickle.values[r->pickle.items[at].value];
        if (value->kind != ESPL_PICKLE_INT || value->integer < 0)
            return fail(r, name, "sizes and strides are not integers from 0");
        out[(*out_count)++] = (uint64_t)value->integer;
    }
    return ESPL_OK;
}

/* Whether the values follow each other in the storage; sizes of 1 have no use for their stride. */
static bool is_contiguous(const layout *l) {
    uint64_t step = 1;
    for (size_t i = l->rank; i-- > 0; step *= l->sizes[i])
        if (l->sizes[i] != 1 && l->strides[i] != step) return false;
    return true;
}

/* The first value past the last one; false if that overflows. */
static bool find_end(const layout *l, size_t *out_end) {
    size_t end = 0;
    if (l->offset > SIZE_MAX / 2) return false;
    end = (size_t)l->offset + 1;
    for (size_t i = 0; i < l->rank; i++) {
        size_t reach;
        if (l->sizes[i] == 0) return *out_end = 0, true;
        if (l->sizes[i] > SIZE_MAX || l->strides[i] > SIZE_MAX) return false;
        if (!espl_mul((size_t)l->sizes[i] - 1, (size_t)l->strides[i], &reach) || !espl_add(end, reach, &end)) return false;
    }
    *out_end = end;
    return true;
}

static espl_status copy_values(reader *r, const layout *l, const unsigned char *data, size_t item, size_t count,
                               tensor_record *record) {
    uint64_t index[64] = {0}, at = l->offset;
    r->copied_bytes += count * item; /* both are below the size of the file */
    if (r->copied_bytes > r->file->mapping.bytes)
        return espl_fail(r->set->ctx, ESPL_LIMIT, "%s: copies of tensors that do not lie contiguous need more than the %zu "
                         "bytes of the file", r->file->path, r->file->mapping.bytes);
    ESPL_TRY(espl_new(r->set->ctx, count * item, &record->owned_data));
    for (size_t i = 0; i < count; i++) {
        memcpy(record->owned_data + i * item, data + at * item, item);
        for (size_t d = l->rank; d-- > 0;) {
            at += l->strides[d];
            if (++index[d] < l->sizes[d]) break;
            at -= l->strides[d] * l->sizes[d];
            index[d] = 0;
        }
    }
    record->view.data = record->owned_data;
    return ESPL_OK;
}

/* The storage's bytes hold everything that the layout reaches. */
static espl_status place(reader *r, const layout *l, const espl_zip_entry *storage, size_t item, tensor_record *record) {
    size_t count, end, end_bytes;
    ESPL_TRY(espl_tensor_shape(r->set, r->file, l->sizes, l->rank, record, &count));
    if (!find_end(l, &end) || !espl_mul(end, item, &end_bytes) || end_bytes > storage->bytes || count > storage->bytes / item)
        return fail(r, record->name, "its values lie outside of its storage");
    record->view.bytes = count * item;
    record->view.data = storage->data + (count ? l->offset * item : 0);
    return count && !is_contiguous(l) ? copy_values(r, l, storage->data, item, count, record) : ESPL_OK;
}

static espl_status read_tensor(reader *r, const espl_pickle_value *tensor, tensor_record *record) {
    const espl_pickle *p = &r->pickle;
    const espl_pickle_value *storage = espl_pickle_item_at(p, tensor, 0), *offset = espl_pickle_item_at(p, tensor, 1);
    layout l = {0};
    size_t type, strides;
    if (!offset || offset->kind != ESPL_PICKLE_INT || offset->integer < 0 || !storage_type(p, storage, &type))
        return fail(r, record->name, "its description is not one that is known");
    l.offset = (uint64_t)offset->integer;
    ESPL_TRY(read_list(r, record->name, espl_pickle_item_at(p, tensor, 2), l.sizes, &l.rank));
    ESPL_TRY(read_list(r, record->name, espl_pickle_item_at(p, tensor, 3), l.strides, &strides));
    if (strides != l.rank) return fail(r, record->name, "it has not as many strides as sizes");
    const espl_pickle_value *key = espl_pickle_item_at(p, storage, 2), *view = espl_pickle_item_at(p, storage, 5);
    if (view && view->kind != ESPL_PICKLE_NONE) return fail(r, record->name, "its storage is part of another");
    const espl_map_entry *entry = espl_map_find(&r->keys, key->text, key->bytes);
    if (!entry) return fail(r, record->name, "the file lacks its storage");
    record->dtype_text = types[type].text;
    if (!espl_dtype_parse(types[type].text, &record->view.dtype)) record->usable = ESPL_UNSUPPORTED;
    return place(r, &l, &r->storages[entry->value], types[type].bytes, record);
}

/* ---- the whole ---- */

static espl_status add_tensor(reader *r, const char *name, size_t bytes, const espl_pickle_value *value) {
    tensor_record record = {0};
    bool was_there;
    ESPL_TRY(espl_map_add(r->set->ctx, &r->names, name, bytes, 0, &was_there));
    if (was_there) return espl_fail(r->set->ctx, ESPL_FORMAT, "%s: the name of a tensor is there twice", r->file->path);
    ESPL_TRY(espl_tensor_name(r->set, r->file, name, bytes, &record));
    espl_status status = read_tensor(r, value, &record);
    if (status == ESPL_OK) status = espl_tensors_add(r->set, &record);
    if (status == ESPL_OK) return ESPL_OK;
    espl_free(r->set->ctx, &record.owned_name);
    espl_free(r->set->ctx, &record.owned_data);
    return status;
}

/* root is a dict of names and tensors, and whatever else it holds is left out; or a tensor alone. */
static espl_status read_root(reader *r, uint32_t root) {
    const espl_pickle_value *dict = &r->pickle.values[root];
    if (dict->kind == ESPL_PICKLE_TENSOR) return add_tensor(r, ESPL_TENSOR_ALONE, strlen(ESPL_TENSOR_ALONE), dict);
    if (dict->kind != ESPL_PICKLE_DICT)
        return espl_fail(r->set->ctx, ESPL_UNSUPPORTED, "%s: holds no dict of tensors by name", r->file->path);
    const size_t first = r->set->count;
    for (uint32_t at = dict->first; at != ESPL_PICKLE_END;) {
        const espl_pickle_value *key = &r->pickle.values[r->pickle.items[at].value];
        const uint32_t next = r->pickle.items[at].next;
        const espl_pickle_value *value = &r->pickle.values[r->pickle.items[next].value];
        at = r->pickle.items[next].next;
        if (key->kind != ESPL_PICKLE_STRING || value->kind != ESPL_PICKLE_TENSOR) continue;
        ESPL_TRY(add_tensor(r, key->text, key->bytes, value));
    }
    if (r->set->count > first || dict->count == 0) return ESPL_OK;
    return espl_fail(r->set->ctx, ESPL_UNSUPPORTED, "%s: the dict it holds has no tensors by name", r->file->path);
}

static void finish(reader *r) {
    espl_pickle_finish(&r->pickle);
    espl_map_finish(r->set->ctx, &r->keys);
    espl_map_finish(r->set->ctx, &r->names);
    espl_free(r->set->ctx, &r->storages);
}

static reader begin(espl_tensors *set, const tensor_file *file, const unsigned char *data, size_t bytes) {
    reader r = {.set = set, .file = file};
    r.pickle = (espl_pickle){.ctx = set->ctx, .name = file->path, .data = data, .bytes = bytes};
    return r;
}

static bool ends_in(const espl_zip_entry *entry, const char *suffix) {
    const size_t bytes = strlen(suffix);
    return entry->name_bytes >= bytes && memcmp(entry->name + entry->name_bytes - bytes, suffix, bytes) == 0;
}

/* "x/data.pkl" is the pickle, "x/data/KEY" are the storages. */
static espl_status read_entries(espl_tensors *set, const tensor_file *file, const espl_zip_entry *entries, size_t count) {
    const espl_zip_entry *pickle = NULL;
    espl_status status;
    uint32_t root;
    for (size_t i = 0; i < count && !pickle; i++)
        if (ends_in(&entries[i], "/data.pkl")) pickle = &entries[i];
    if (!pickle) return espl_fail(set->ctx, ESPL_FORMAT, "%s: the archive has no data.pkl, it is not PyTorch's", file->path);
    const size_t stem = pickle->name_bytes - strlen(".pkl");
    reader r = begin(set, file, pickle->data, pickle->bytes);
    for (size_t i = 0; i < count; i++) {
        const espl_zip_entry *entry = &entries[i];
        if (ends_in(entry, "/byteorder") && !(entry->bytes == 6 && memcmp(entry->data, "little", 6) == 0)) {
            status = espl_fail(set->ctx, ESPL_UNSUPPORTED, "%s: its numbers are not little endian", file->path);
            goto fail;
        }
        if (entry->name_bytes <= stem + 1 || memcmp(entry->name, pickle->name, stem) || entry->name[stem] != '/') continue;
        ESPL_GOTO(add_storage(&r, entry->name + stem + 1, entry->name_bytes - stem - 1, entry->data, entry->bytes));
    }
    ESPL_GOTO(espl_pickle_read(&r.pickle, &root));
    status = read_root(&r, root);
fail:
    finish(&r);
    return status;
}

espl_status espl_torch_read(espl_tensors *set, tensor_file *file) {
    espl_zip_entry *entries;
    size_t count;
    ESPL_TRY(espl_zip_read(set->ctx, &file->mapping, file->path, &entries, &count));
    espl_status status = read_entries(set, file, entries, count);
    espl_free(set->ctx, &entries);
    return status;
}

/* ---- the form before PyTorch 1.6 ---- */

/* The storages follow the pickles in the order of a list of keys: u64 count of values | values. Their width is known from
 * the tensors. */
static espl_status read_old_storages(reader *r, uint32_t list) {
    espl_pickle *p = &r->pickle;
    espl_map widths = {0};
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < p->count; i++) {
        size_t type;
        if (p->values[i].kind != ESPL_PICKLE_STORAGE || !storage_type(p, &p->values[i], &type)) continue;
        const espl_pickle_value *key = espl_pickle_item_at(p, &p->values[i], 2);
        ESPL_GOTO(espl_map_add(r->set->ctx, &widths, key->text, key->bytes, (uint32_t)types[type].bytes, NULL));
    }
    for (uint32_t at = p->values[list].first; at != ESPL_PICKLE_END; at = p->items[at].next) {
        const espl_pickle_value *key = &p->values[p->items[at].value];
        const espl_map_entry *width = NULL;
        uint64_t count = 0;
        if (key->kind == ESPL_PICKLE_STRING) width = espl_map_find(&widths, key->text, key->bytes);
        const size_t left = p->bytes - p->at;
        for (size_t i = 8; left >= 8 && i-- > 0;) count = count << 8 | p->data[p->at + i];
        if (!width || left < 8 || count > (left - 8) / width->value) {
            status = espl_fail(r->set->ctx, ESPL_FORMAT, "%s: a storage passes the end of the file", r->file->path);
            goto fail;
        }
        ESPL_GOTO(add_storage(r, key->text, key->bytes, p->data + p->at + 8, (size_t)count * width->value));
        p->at += 8 + (size_t)count * width->value;
    }
fail:
    espl_map_finish(r->set->ctx, &widths);
    return status;
}

espl_status espl_torch_read_old(espl_tensors *set, tensor_file *file) {
    reader r = begin(set, file, file->mapping.data, file->mapping.bytes);
    uint32_t root = 0, roots[5]; /* magic number, version, the machine, what was saved, keys of storages */
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < ESPL_COUNT(roots); i++) ESPL_GOTO(espl_pickle_read(&r.pickle, &roots[i]));
    root = roots[3];
    ESPL_GOTO(read_old_storages(&r, roots[4]));
    status = read_root(&r, root);
fail:
    finish(&r);
    return status;
}
