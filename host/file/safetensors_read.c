/* Reading a safetensors file: its header is parsed into records, which are then put in the order of their data to see
 * that they cover it exactly. */
#include "host/file/tensors_private.h"
#include <stdlib.h>
#include <string.h>

enum { HEADER_LIMIT = 100000000, LENGTH_BYTES = 8 };

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
    const json_t *list = json_object_get(object, "shape");
    uint64_t shape[64];
    size_t total, rank = json_array_size(list);
    if (!json_is_array(list)) return fail_tensor(set, file, record->name, "\"shape\" is not an array");
    if (rank > ESPL_COUNT(shape)) return fail_tensor(set, file, record->name, "\"shape\" has more than 64 dimensions");
    for (size_t i = 0; i < rank; i++) {
        int64_t dimension;
        if (!espl_json_as_i64(json_array_get(list, i), &dimension) || dimension < 0)
            return fail_tensor(set, file, record->name, "\"shape\" holds something else than integers from 0");
        shape[i] = (uint64_t)dimension;
    }
    ESPL_TRY(espl_tensor_shape(set, file, shape, rank, record, &total));
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
    if (length > file->mapping.bytes - LENGTH_BYTES && (file->mapping.bytes == LENGTH_BYTES || bytes[LENGTH_BYTES] != '{'))
        return espl_fail(set->ctx, ESPL_FORMAT, "%s: begins as none of the files of tensors that are read (safetensors, PyTorch's, GGUF, "
                         "NumPy's)", file->path);
    if (length > HEADER_LIMIT || length > file->mapping.bytes - LENGTH_BYTES)
        return espl_fail(set->ctx, ESPL_FORMAT, "%s: a header of %llu bytes does not fit a file of %zu (limit %d)",
                         file->path, (unsigned long long)length, file->mapping.bytes, (int)HEADER_LIMIT);
    if (length == 0 || bytes[LENGTH_BYTES] != '{')
        return espl_fail(set->ctx, ESPL_FORMAT, "%s: the header does not begin with '{'", file->path);
    return espl_json_parse(set->ctx, bytes + LENGTH_BYTES, (size_t)length, file->path, &file->header);
}

espl_status espl_safetensors_read(espl_tensors *set, tensor_file *file) {
    ESPL_TRY(read_header(set, file));
    ESPL_TRY(check_metadata(set, file));
    size_t length = 0, first = set->count;
    for (int i = LENGTH_BYTES; i-- > 0;) length = length << 8 | file->mapping.data[i];
    size_t data_bytes = file->mapping.bytes - LENGTH_BYTES - length;
    const char *name;
    json_t *object;
    json_object_foreach(file->header, name, object) {
        if (strcmp(name, "__metadata__") == 0) continue;
        tensor_record record = {.name = name, .file = (size_t)(file - set->files)};
        ESPL_TRY(read_record(set, file, object, data_bytes, &record));
        ESPL_TRY(espl_tensors_add(set, &record));
    }
    return check_cover(set, file, first, data_bytes);
}
