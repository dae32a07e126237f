/* Reading safetensors, see safetensors.h. Each file is parsed into records, which are then put in the order of their
 * data to see that they cover it exactly. */
#include "host/base/os.h"
#include "host/file/json.h"
#include "host/file/map.h"
#include "host/file/safetensors.h"
#include <stdlib.h>
#include <string.h>

enum { HEADER_LIMIT = 100000000, LENGTH_BYTES = 8 };

typedef struct tensor_record {
    const char *name;       /* borrowed from the header of its file */
    const char *dtype_text; /* borrowed from the header */
    const json_t *shape;    /* borrowed from the header */
    espl_tensor_view view;  /* dtype is valid if usable is OK */
    uint64_t begin, end;    /* in the data of its file */
    espl_status usable;     /* UNSUPPORTED dtype, LIMIT for rank or dimension */
    size_t file;            /* index */
} tensor_record;

typedef struct tensor_file {
    espl_mapping mapping;
    bool mapped;
    json_t *header; /* owned */
    char *path;     /* owned */
} tensor_file;

struct espl_tensors {
    espl_context *ctx; /* borrowed */
    char *path;        /* owned; for messages */
    tensor_file *files;
    size_t file_count, file_capacity;
    tensor_record *records;
    size_t count, capacity;
    espl_map names; /* to the index of the record */
};

/* Every dtype the format knows; a size in bits because some are below a byte. */
static const struct {
    const char *name;
    uint32_t bits;
} foreign_dtypes[] = {
    {"BOOL", 8},     {"I8", 8},       {"F8_E4M3", 8},     {"F8_E5M2", 8},     {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"I16", 16},  {"U16", 16},        {"U32", 32},        {"U64", 64},    {"C64", 64},
    {"F4", 4},       {"F6_E2M3", 6},  {"F6_E3M2", 6},
};

static espl_status fail_tensor(espl_tensors *set, const tensor_file *file, const char *name, const char *what) {
    return espl_fail(set->ctx, ESPL_FORMAT, "%s: tensor \"%s\": %s", file->path, name, what);
}

static espl_status read_dtype(espl_tensors *set, const tensor_file *file, const json_t *object, tensor_record *record,
                              uint32_t *out_bits) {
    record->dtype_text = json_string_value(json_object_get(object, "dtype"));
    if (!record->dtype_text) return fail_tensor(set, file, record->name, "\"dtype\" is not a string");
    if (espl_dtype_parse(record->dtype_text, &record->view.dtype)) {
        *out_bits = (uint32_t)espl_dtype_bytes(record->view.dtype) * 8;
        return ESPL_OK;
    }
    for (size_t i = 0; i < ESPL_COUNT(foreign_dtypes); i++) {
        if (strcmp(record->dtype_text, foreign_dtypes[i].name)) continue;
        record->usable = ESPL_UNSUPPORTED;
        *out_bits = foreign_dtypes[i].bits;
        return ESPL_OK;
    }
    return espl_fail(set->ctx, ESPL_FORMAT, "%s: tensor \"%s\" has the unknown dtype \"%.40s\"", file->path,
                     record->name, record->dtype_text);
}

static espl_status read_shape(espl_tensors *set, const tensor_file *file, const json_t *object, tensor_record *record,
                              uint32_t bits, uint64_t *out_bytes) {
    record->shape = json_object_get(object, "shape");
    if (!json_is_array(record->shape)) return fail_tensor(set, file, record->name, "\"shape\" is not an array");
    size_t rank = json_array_size(record->shape), total = 1;
    if (rank > ESPL_TENSOR_RANK_MAX) record->usable = ESPL_LIMIT;
    record->view.rank = rank > ESPL_TENSOR_RANK_MAX ? 0 : (uint32_t)rank;
    for (size_t i = 0; i < ESPL_TENSOR_RANK_MAX; i++) record->view.shape[i] = 1;
    for (size_t i = 0; i < rank; i++) {
        int64_t dimension;
        if (!espl_json_as_i64(json_array_get(record->shape, i), &dimension) || dimension < 0)
            return fail_tensor(set, file, record->name, "\"shape\" holds something else than integers from 0");
        if ((uint64_t)dimension > SIZE_MAX || !espl_mul(total, (size_t)dimension, &total))
            return fail_tensor(set, file, record->name, "the product of \"shape\" overflows");
        if (dimension > UINT32_MAX) record->usable = ESPL_LIMIT;
        else if (i < ESPL_TENSOR_RANK_MAX) record->view.shape[i] = (uint32_t)dimension;
    }
    size_t all_bits;
    if (!espl_mul(total, bits, &all_bits))
        return fail_tensor(set, file, record->name, "the product of \"shape\" overflows");
    if (all_bits % 8) return fail_tensor(set, file, record->name, "its values do not fill whole bytes");
    *out_bytes = all_bits / 8;
    return ESPL_OK;
}

static espl_status read_record(espl_tensors *set, const tensor_file *file, const json_t *object, size_t data_bytes,
                               tensor_record *record) {
    uint32_t bits = 0;
    uint64_t bytes = 0;
    if (!json_is_object(object)) return fail_tensor(set, file, record->name, "its description is not an object");
    ESPL_TRY(read_dtype(set, file, object, record, &bits));
    ESPL_TRY(read_shape(set, file, object, record, bits, &bytes));
    const json_t *offsets = json_object_get(object, "data_offsets");
    int64_t begin, end;
    if (json_array_size(offsets) != 2 || !espl_json_as_i64(json_array_get(offsets, 0), &begin) ||
        !espl_json_as_i64(json_array_get(offsets, 1), &end) || begin < 0)
        return fail_tensor(set, file, record->name, "\"data_offsets\" is not a pair of integers from 0");
    if (begin > end || (uint64_t)end > data_bytes)
        return espl_fail(set->ctx, ESPL_FORMAT, "%s: tensor \"%s\" lies at %lld..%lld of %zu bytes of data", file->path,
                         record->name, (long long)begin, (long long)end, data_bytes);
    if ((uint64_t)(end - begin) != bytes)
        return espl_fail(set->ctx, ESPL_FORMAT, "%s: tensor \"%s\" has %lld bytes, its shape and dtype need %llu",
                         file->path, record->name, (long long)(end - begin), (unsigned long long)bytes);
    record->begin = (uint64_t)begin;
    record->end = (uint64_t)end;
    record->view.name = record->name;
    record->view.bytes = (size_t)bytes;
    record->view.data = file->mapping.data + (file->mapping.bytes - data_bytes) + begin;
    return ESPL_OK;
}

static int compare_places(const void *a, const void *b) {
    const tensor_record *left = a, *right = b;
    if (left->begin != right->begin) return left->begin < right->begin ? -1 : 1;
    if (left->end != right->end) return left->end < right->end ? -1 : 1;
    return strcmp(left->name, right->name);
}

/* Sorts the records from first on by place and looks for holes and overlaps. */
static espl_status check_cover(espl_tensors *set, const tensor_file *file, size_t first, size_t data_bytes) {
    uint64_t at = 0;
    if (set->count > first)
        qsort(set->records + first, set->count - first, sizeof *set->records, compare_places);
    for (size_t i = first; i < set->count; i++) {
        const tensor_record *record = &set->records[i];
        if (record->begin != at)
            return espl_fail(set->ctx, ESPL_FORMAT, "%s: tensor \"%s\" begins at byte %llu of the data, %s %llu",
                             file->path, record->name, (unsigned long long)record->begin,
                             record->begin < at ? "inside another that ends at" : "after a hole from",
                             (unsigned long long)at);
        at = record->end;
    }
    if (at == data_bytes) return ESPL_OK;
    return espl_fail(set->ctx, ESPL_FORMAT, "%s: the tensors end at byte %llu of %zu bytes of data", file->path,
                     (unsigned long long)at, data_bytes);
}

static espl_status check_metadata(espl_tensors *set, const tensor_file *file) {
    json_t *metadata = json_object_get(file->header, "__metadata__"), *value;
    const char *key;
    if (!metadata) return ESPL_OK;
    if (!json_is_object(metadata))
        return espl_fail(set->ctx, ESPL_FORMAT, "%s: \"__metadata__\" is not an object", file->path);
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return espl_fail(set->ctx, ESPL_FORMAT, "%s: metadata \"%s\" is not a string", file->path, key);
    }
    return ESPL_OK;
}

static espl_status read_header(espl_tensors *set, tensor_file *file) {
    const unsigned char *bytes = file->mapping.data;
    uint64_t length = 0;
    if (file->mapping.bytes < LENGTH_BYTES)
        return espl_fail(set->ctx, ESPL_FORMAT, "%s: has %zu bytes, a safetensors file begins with 8", file->path,
                         file->mapping.bytes);
    for (int i = LENGTH_BYTES; i-- > 0;) length = length << 8 | bytes[i];
    if (length > HEADER_LIMIT || length > file->mapping.bytes - LENGTH_BYTES)
        return espl_fail(set->ctx, ESPL_FORMAT, "%s: a header of %llu bytes does not fit a file of %zu (limit %d)",
                         file->path, (unsigned long long)length, file->mapping.bytes, (int)HEADER_LIMIT);
    if (length == 0 || bytes[LENGTH_BYTES] != '{')
        return espl_fail(set->ctx, ESPL_FORMAT, "%s: the header does not begin with '{'", file->path);
    return espl_json_parse(set->ctx, bytes + LENGTH_BYTES, (size_t)length, file->path, &file->header);
}

/* file->mapping is filled; adds its tensors to the set. */
static espl_status read_file(espl_tensors *set, tensor_file *file) {
    ESPL_TRY(read_header(set, file));
    ESPL_TRY(check_metadata(set, file));
    size_t length = 0, first = set->count;
    for (int i = LENGTH_BYTES; i-- > 0;) length = length << 8 | file->mapping.data[i];
    size_t data_bytes = file->mapping.bytes - LENGTH_BYTES - length;
    const char *name;
    json_t *object;
    json_object_foreach(file->header, name, object) {
        if (strcmp(name, "__metadata__") == 0) continue;
        ESPL_TRY(espl_grow(set->ctx, &set->records, &set->capacity, set->count + 1, sizeof *set->records));
        tensor_record record = {.name = name, .file = (size_t)(file - set->files)};
        ESPL_TRY(read_record(set, file, object, data_bytes, &record));
        set->records[set->count++] = record;
    }
    ESPL_TRY(check_cover(set, file, first, data_bytes));
    for (size_t i = first; i < set->count; i++) {
        bool was_there;
        const char *key = set->records[i].name;
        ESPL_TRY(espl_map_add(set->ctx, &set->names, key, strlen(key), (uint32_t)i, &was_there));
        if (was_there) return fail_tensor(set, file, key, "another file of the set has it as well");
    }
    return ESPL_OK;
}

/* Opens one file into the next place of set->files; path is taken, also on failure. */
static espl_status add_file(espl_tensors *set, char *path) {
    espl_status status = espl_grow(set->ctx, &set->files, &set->file_capacity, set->file_count + 1, sizeof *set->files);
    if (status != ESPL_OK) {
        espl_free(set->ctx, &path);
        return status;
    }
    tensor_file *file = &set->files[set->file_count++];
    *file = (tensor_file){.path = path};
    ESPL_TRY(espl_os_map(set->ctx, path, &file->mapping));
    file->mapped = true;
    return read_file(set, file);
}

/* A shard lies beside its index: nothing in a downloaded folder may point elsewhere. */
static bool is_plain_name(const char *name) {
    return name[0] && !strpbrk(name, "/\\:") && strcmp(name, ".") && strcmp(name, "..");
}

/* Every tensor of the index must come from the file that the index names. */
static espl_status check_index(espl_tensors *set, json_t *weight_map) {
    const char *tensor;
    json_t *value;
    json_object_foreach(weight_map, tensor, value) {
        const espl_map_entry *entry = espl_map_find(&set->names, tensor, strlen(tensor));
        const char *path = entry ? set->files[set->records[entry->value].file].path : "";
        const char *name = json_string_value(value);
        if (strcmp(espl_os_file_name(path), name ? name : ""))
            return espl_fail(set->ctx, ESPL_FORMAT, "%s: \"%s\" is not in the file that the index names", set->path,
                             tensor);
    }
    return ESPL_OK;
}

static espl_status open_shards(espl_tensors *set, const char *index_path, json_t *weight_map) {
    const char *tensor;
    const int folder_bytes = (int)(espl_os_file_name(index_path) - index_path);
    espl_map seen = {0};
    espl_status status = ESPL_OK;
    json_t *value;
    json_object_foreach(weight_map, tensor, value) {
        const char *name = json_string_value(value);
        char *path;
        bool was_there;
        if (!name || !is_plain_name(name)) {
            status = espl_fail(set->ctx, ESPL_FORMAT, "%s: tensor \"%s\" is not in a file beside the index (\"%.80s\")",
                               index_path, tensor, name ? name : "");
            goto fail;
        }
        ESPL_GOTO(espl_map_add(set->ctx, &seen, name, strlen(name), 0, &was_there));
        if (was_there) continue;
        ESPL_GOTO(espl_format(set->ctx, &path, "%.*s%s", folder_bytes, index_path, name));
        ESPL_GOTO(add_file(set, path));
    }
    status = check_index(set, weight_map);
fail:
    espl_map_finish(set->ctx, &seen);
    return status;
}

static espl_status open_index(espl_tensors *set, const char *path) {
    json_t *root, *weight_map;
    ESPL_TRY(espl_json_load(set->ctx, path, &root));
    espl_status status = espl_json_need(set->ctx, root, "weight_map");
    if (status == ESPL_OK) status = espl_json_object(set->ctx, root, "weight_map", &weight_map);
    if (status != ESPL_OK) espl_fail_in(set->ctx, status, "%s", path);
    else status = open_shards(set, path, weight_map);
    espl_json_destroy(&root);
    return status;
}

static bool has_suffix(const char *text, const char *suffix) {
    size_t bytes = strlen(text), suffix_bytes = strlen(suffix);
    return bytes >= suffix_bytes && strcmp(text + bytes - suffix_bytes, suffix) == 0;
}

static espl_status open_path(espl_tensors *set, const char *path) {
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
    if (espl_os_is_folder(path)) {
        for (size_t i = 0; i < ESPL_COUNT(names); i++) {
            char *inside;
            ESPL_TRY(espl_format(set->ctx, &inside, "%s/%s", path, names[i]));
            if (!espl_os_is_file(inside)) {
                espl_free(set->ctx, &inside);
                continue;
            }
            if (i == 0) return add_file(set, inside);
            espl_status status = open_index(set, inside);
            espl_free(set->ctx, &inside);
            return status;
        }
        return espl_fail(set->ctx, ESPL_IO, "%s: has neither %s nor %s", path, names[0], names[1]);
    }
    if (has_suffix(path, ".index.json")) return open_index(set, path);
    char *copy;
    ESPL_TRY(espl_copy_string(set->ctx, path, strlen(path), &copy));
    return add_file(set, copy);
}

static espl_status create_set(espl_context *ctx, const char *path, espl_tensors **out_set) {
    espl_tensors *set;
    *out_set = NULL;
    ESPL_TRY(espl_new(ctx, sizeof *set, &set));
    set->ctx = ctx;
    espl_status status = espl_copy_string(ctx, path, strlen(path), &set->path);
    if (status != ESPL_OK) espl_tensors_destroy(&set);
    *out_set = set;
    return status;
}

espl_status espl_tensors_open(espl_context *ctx, const char *path, espl_tensors **out_set) {
    ESPL_TRY(create_set(ctx, path, out_set));
    espl_status status = open_path(*out_set, path);
    if (status != ESPL_OK) espl_tensors_destroy(out_set);
    return status;
}

espl_status espl_tensors_open_memory(espl_context *ctx, const void *data, size_t bytes, const char *name,
                                     espl_tensors **out_set) {
    espl_status status;
    ESPL_TRY(create_set(ctx, name, out_set));
    espl_tensors *set = *out_set;
    ESPL_GOTO(espl_grow(ctx, &set->files, &set->file_capacity, 1, sizeof *set->files));
    set->files[set->file_count++] = (tensor_file){.mapping = {.data = data, .bytes = bytes}};
    ESPL_GOTO(espl_copy_string(ctx, name, strlen(name), &set->files[0].path));
    ESPL_GOTO(read_file(set, &set->files[0]));
    return ESPL_OK;
fail:
    espl_tensors_destroy(out_set);
    return status;
}

void espl_tensors_destroy(espl_tensors **in_out_set) {
    espl_tensors *set = *in_out_set;
    if (!set) return;
    espl_context *ctx = set->ctx;
    for (size_t i = 0; i < set->file_count; i++) {
        espl_json_destroy(&set->files[i].header);
        if (set->files[i].mapped) espl_os_unmap(&set->files[i].mapping);
        espl_free(ctx, &set->files[i].path);
    }
    espl_free(ctx, &set->files);
    espl_free(ctx, &set->records);
    espl_map_finish(ctx, &set->names);
    espl_free(ctx, &set->path);
    espl_free(ctx, in_out_set);
}

size_t espl_tensors_count(const espl_tensors *set) {
    return set->count;
}

const char *espl_tensors_name(const espl_tensors *set, size_t index) {
    return index < set->count ? set->records[index].name : "";
}

espl_status espl_tensors_at(const espl_tensors *set, size_t index, espl_tensor_view *out_view) {
    *out_view = (espl_tensor_view){0};
    if (index >= set->count)
        return espl_fail(set->ctx, ESPL_ARGUMENT, "%s: tensor %zu of %zu was asked for", set->path, index, set->count);
    const tensor_record *record = &set->records[index];
    if (record->usable == ESPL_UNSUPPORTED)
        return espl_fail(set->ctx, ESPL_UNSUPPORTED, "%s: tensor \"%s\" has the dtype %s, which is not supported",
                         set->path, record->name, record->dtype_text);
    if (record->usable == ESPL_LIMIT)
        return espl_fail(set->ctx, ESPL_LIMIT, "%s: tensor \"%s\" has %zu dimensions (at most %d, each below 2^32)",
                         set->path, record->name, json_array_size(record->shape), ESPL_TENSOR_RANK_MAX);
    *out_view = record->view;
    return ESPL_OK;
}

bool espl_tensors_has(const espl_tensors *set, const char *name) {
    return espl_map_find(&set->names, name, strlen(name)) != NULL;
}

espl_status espl_tensors_find(const espl_tensors *set, const char *name, espl_tensor_view *out_view) {
    const espl_map_entry *entry = espl_map_find(&set->names, name, strlen(name));
    if (entry) return espl_tensors_at(set, entry->value, out_view);
    *out_view = (espl_tensor_view){0};
    return espl_fail(set->ctx, ESPL_FORMAT, "%s: there is no tensor \"%s\"", set->path, name);
}

const char *espl_tensors_metadata(const espl_tensors *set, const char *key) {
    for (size_t i = 0; i < set->file_count; i++) {
        const json_t *metadata = json_object_get(set->files[i].header, "__metadata__");
        const char *value = json_string_value(json_object_get(metadata, key));
        if (value) return value;
    }
    return NULL;
}
