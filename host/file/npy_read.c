/* An array of NumPy's as a set of one tensor, "array": a header that is the text of a Python dict with the keys 'descr',
 * 'fortran_order' and 'shape', and the values behind it. Read: little-endian numbers in the order of C.
 * Source: numpy/lib/format.py (versions 1.0 to 3.0). */
#include "host/file/tensors_private.h"
#include <string.h>

static const struct {
    const char *descr, *text; /* NumPy's and our name of the dtype */
    size_t bytes;
} types[] = {{"<f4", "F32", 4}, {"<f2", "F16", 2}, {"<f8", "F64", 8}, {"<i8", "I64", 8}, {"<i4", "I32", 4}};

static espl_status fail(const espl_tensors *set, const tensor_file *file, const char *what) {
    return espl_fail(set->ctx, ESPL_FORMAT, "%s: the header of this array of NumPy's %s", file->path, what);
}

/* What follows 'key': and spaces; NULL without the key. */
static const char *value_of(const char *header, const char *key) {
    const char *at = strstr(header, key);
    return at ? at + strlen(key) + strspn(at + strlen(key), " ") : NULL;
}

/* "(100, 768)" */
static bool read_shape(const char *at, uint64_t shape[64], size_t *out_rank) {
    *out_rank = 0;
    if (!at || *at++ != '(') return false;
    while (*at != ')') {
        uint64_t value = 0;
        const size_t digits = strspn(at, "0123456789");
        if (digits == 0 || digits > 18 || *out_rank == 64) return false;
        for (size_t i = 0; i < digits; i++) value = value * 10 + (uint64_t)(at[i] - '0');
        shape[(*out_rank)++] = value;
        at += digits;
        if (*at != ',' && *at != ')') return false;
        at += *at == ',';
        at += strspn(at, " ");
    }
    return true;
}

static espl_status read_header(espl_tensors *set, tensor_file *file, const char *header, size_t begin, tensor_record *record) {
    const char *descr = value_of(header, "'descr':"), *fortran = value_of(header, "'fortran_order':");
    uint64_t shape[64];
    size_t rank, type = 0, count, bytes;
    if (!descr || !fortran || !read_shape(value_of(header, "'shape':"), shape, &rank)) return fail(set, file, "is not one that is known");
    const size_t quoted = *descr == '\'' ? strcspn(descr + 1, "'") : 0;
    for (; type < ESPL_COUNT(types); type++) {
        if (quoted == strlen(types[type].descr) && memcmp(descr + 1, types[type].descr, quoted) == 0) break;
    }
    if (type == ESPL_COUNT(types))
        return espl_fail(set->ctx, ESPL_UNSUPPORTED, "%s: NumPy's dtype %.*s is not supported", file->path, (int)quoted + 2, descr);
    if (strncmp(fortran, "False", 5) != 0)
        return espl_fail(set->ctx, ESPL_UNSUPPORTED, "%s: an array in Fortran's order is not supported", file->path);
    record->dtype_text = types[type].text;
    if (!espl_dtype_parse(types[type].text, &record->view.dtype)) record->usable = ESPL_UNSUPPORTED;
    ESPL_TRY(espl_tensor_name(set, file, "array", 5, record));
    ESPL_TRY(espl_tensor_shape(set, file, shape, rank, record, &count));
    if (!espl_mul(count, types[type].bytes, &bytes) || bytes != file->mapping.bytes - begin)
        return espl_fail(set->ctx, ESPL_FORMAT, "%s: %zu values of %zu bytes are announced, %zu bytes follow the header", file->path,
                         count, types[type].bytes, file->mapping.bytes - begin);
    record->view.data = file->mapping.data + begin;
    record->view.bytes = bytes;
    return ESPL_OK;
}

espl_status espl_npy_read(espl_tensors *set, tensor_file *file) {
    const unsigned char *data = file->mapping.data;
    const size_t lead = data[6] == 1 ? 10 : 12;
    if (data[6] < 1 || data[6] > 3) return fail(set, file, "is of a version that is not known");
    size_t bytes = (size_t)data[8] | (size_t)data[9] << 8;
    if (lead == 12) bytes |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
    if (bytes > file->mapping.bytes - lead) return fail(set, file, "is longer than the file");
    char *header;
    ESPL_TRY(espl_copy_string(set->ctx, (const char *)data + lead, bytes, &header));
    tensor_record record = {0};
    espl_status status = read_header(set, file, header, lead + bytes, &record);
    if (status == ESPL_OK) status = espl_tensors_add(set, &record);
    if (status != ESPL_OK) espl_free(set->ctx, &record.owned_name);
    espl_free(set->ctx, &header);
    return status;
}
