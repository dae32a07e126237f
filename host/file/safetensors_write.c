/* Writing safetensors, see safetensors.h: the header first, then the data of each tensor in the order of the header,
 * never more than one chunk of it in memory. */
#include "host/base/os.h"
#include "host/file/json.h"
#include "host/file/map.h"
#include "host/file/safetensors.h"
#include "host/file/tensors_private.h"
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 1 << 20 };

/* The reference library puts larger dtypes first, by its own enumeration, so that each tensor starts aligned. */
static const uint8_t dtype_order[ESPL_DTYPE_COUNT] = {
    [ESPL_DTYPE_I64] = 0, [ESPL_DTYPE_F64] = 1,  [ESPL_DTYPE_F32] = 2, [ESPL_DTYPE_I32] = 3,
    [ESPL_DTYPE_BF16] = 4, [ESPL_DTYPE_F16] = 5, [ESPL_DTYPE_U8] = 6,
};

static int compare_entries(const void *a, const void *b) {
    const espl_tensor_entry *left, *right;
    memcpy(&left, a, sizeof left);
    memcpy(&right, b, sizeof right);
    int by_dtype = dtype_order[left->dtype] - dtype_order[right->dtype];
    return by_dtype ? by_dtype : strcmp(left->name, right->name);
}

static espl_status tensor_bytes(espl_context *ctx, const espl_tensor_entry *entry, size_t *out_bytes) {
    if ((unsigned)entry->dtype >= ESPL_DTYPE_COUNT || entry->rank > ESPL_TENSOR_RANK_MAX)
        return espl_fail(ctx, ESPL_ARGUMENT, "tensor \"%s\" has dtype %d and %u dimensions", entry->name,
                         (int)entry->dtype, (unsigned)entry->rank);
    size_t bytes = espl_dtype_bytes(entry->dtype);
    for (uint32_t i = 0; i < entry->rank; i++) {
        if (!espl_mul(bytes, entry->shape[i], &bytes))
            return espl_fail(ctx, ESPL_ARGUMENT, "the shape of tensor \"%s\" overflows", entry->name);
    }
    if (bytes && !entry->data && !entry->read)
        return espl_fail(ctx, ESPL_ARGUMENT, "tensor \"%s\" has neither data nor a read function", entry->name);
    *out_bytes = bytes;
    return ESPL_OK;
}

/* Quoted and escaped; jansson also checks that it is UTF-8. */
static espl_status append_string(espl_context *ctx, const char *text, espl_bytes *out) {
    json_t *value = text ? json_string(text) : NULL;
    if (!value) return espl_fail(ctx, ESPL_ARGUMENT, "a tensor name or a metadata string is not UTF-8");
    char *quoted = json_dumps(value, JSON_ENCODE_ANY);
    espl_status status = quoted ? espl_bytes_append(ctx, out, quoted, strlen(quoted))
                                : espl_fail(ctx, ESPL_HOST_MEMORY, "no host memory to quote a string");
    free(quoted);
    json_decref(value);
    return status;
}

static espl_status print_metadata(espl_context *ctx, const espl_tensors_metadata_pair *pairs, size_t count,
                                  espl_bytes *out) {
    if (count == 0) return ESPL_OK;
    ESPL_TRY(espl_bytes_print(ctx, out, "\"__metadata__\":{"));
    for (size_t i = 0; i < count; i++) {
        if (i) ESPL_TRY(espl_bytes_append(ctx, out, ",", 1));
        ESPL_TRY(append_string(ctx, pairs[i].key, out));
        ESPL_TRY(espl_bytes_append(ctx, out, ":", 1));
        ESPL_TRY(append_string(ctx, pairs[i].value, out));
    }
    return espl_bytes_append(ctx, out, "}", 1);
}

static espl_status print_entry(espl_context *ctx, const espl_tensor_entry *entry, size_t *in_out_at, espl_bytes *out) {
    size_t bytes, end;
    ESPL_TRY(tensor_bytes(ctx, entry, &bytes));
    if (!espl_add(*in_out_at, bytes, &end))
        return espl_fail(ctx, ESPL_ARGUMENT, "the tensors up to \"%s\" overflow a file", entry->name);
    ESPL_TRY(append_string(ctx, entry->name, out));
    ESPL_TRY(espl_bytes_print(ctx, out, ":{\"dtype\":\"%s\",\"shape\":[", espl_dtype_name(entry->dtype)));
    for (uint32_t i = 0; i < entry->rank; i++)
        ESPL_TRY(espl_bytes_print(ctx, out, i ? ",%u" : "%u", (unsigned)entry->shape[i]));
    ESPL_TRY(espl_bytes_print(ctx, out, "],\"data_offsets\":[%zu,%zu]}", *in_out_at, end));
    *in_out_at = end;
    return ESPL_OK;
}

static espl_status print_header(espl_context *ctx, const espl_tensor_entry **sorted, size_t count,
                                const espl_tensors_metadata_pair *metadata, size_t metadata_count, espl_bytes *out) {
    size_t at = 0;
    ESPL_TRY(espl_bytes_append(ctx, out, "\0\0\0\0\0\0\0\0{", 9));
    ESPL_TRY(print_metadata(ctx, metadata, metadata_count, out));
    for (size_t i = 0; i < count; i++) {
        if (i || metadata_count) ESPL_TRY(espl_bytes_append(ctx, out, ",", 1));
        ESPL_TRY(print_entry(ctx, sorted[i], &at, out));
    }
    ESPL_TRY(espl_bytes_append(ctx, out, "}", 1));
    while (out->count % 8) ESPL_TRY(espl_bytes_append(ctx, out, " ", 1));
    uint64_t length = out->count - 8;
    for (int i = 0; i < 8; i++) out->data[i] = (char)(unsigned char)(length >> (8 * i));
    return ESPL_OK;
}

static espl_status check_names(espl_context *ctx, const espl_tensor_entry *entries, size_t count,
                               const espl_tensors_metadata_pair *metadata, size_t metadata_count) {
    espl_map seen = {0};
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < count + metadata_count; i++) {
        const char *name = i < count ? entries[i].name : metadata[i - count].key;
        bool was_there;
        if (i == count) espl_map_finish(ctx, &seen);
        if (!name || (i < count && strcmp(name, "__metadata__") == 0)) {
            status = espl_fail(ctx, ESPL_ARGUMENT, "a tensor cannot be named \"%s\"", name ? name : "(null)");
            goto fail;
        }
        ESPL_GOTO(espl_map_add(ctx, &seen, name, strlen(name), 0, &was_there));
        if (was_there) {
            status = espl_fail(ctx, ESPL_ARGUMENT, "\"%s\" is given twice", name);
            goto fail;
        }
    }
fail:
    espl_map_finish(ctx, &seen);
    return status;
}

espl_status espl_tensor_entry_write(espl_context *ctx, espl_replace *replace, const espl_tensor_entry *entry) {
    size_t bytes;
    unsigned char *chunk;
    ESPL_TRY(tensor_bytes(ctx, entry, &bytes));
    if (entry->data) return espl_os_replace_write(ctx, replace, entry->data, bytes);
    ESPL_TRY(espl_new(ctx, CHUNK_BYTES, &chunk));
    espl_status status = ESPL_OK;
    for (size_t at = 0, part; at < bytes && status == ESPL_OK; at += part) {
        part = bytes - at < CHUNK_BYTES ? bytes - at : CHUNK_BYTES;
        status = entry->read(entry->user, entry, at, chunk, part);
        if (status == ESPL_OK) status = espl_os_replace_write(ctx, replace, chunk, part);
    }
    espl_free(ctx, &chunk);
    return status;
}

espl_status espl_tensors_replace(espl_context *ctx, const char *path, const espl_tensor_entry *entries, size_t count,
                                 const espl_tensors_metadata_pair *metadata, size_t metadata_count, espl_replace *out_replace) {
    espl_bytes header = {0};
    const espl_tensor_entry **sorted = NULL;
    espl_status status;
    ESPL_GOTO(check_names(ctx, entries, count, metadata, metadata_count));
    ESPL_GOTO(espl_new(ctx, count * sizeof *sorted, &sorted));
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        ESPL_GOTO(tensor_bytes(ctx, &entries[i], &bytes));
        sorted[i] = &entries[i];
    }
    if (count) qsort(sorted, count, sizeof *sorted, compare_entries);
    ESPL_GOTO(print_header(ctx, sorted, count, metadata, metadata_count, &header));
    ESPL_GOTO(espl_os_replace_begin(ctx, path, out_replace));
    ESPL_GOTO(espl_os_replace_write(ctx, out_replace, header.data, header.count));
    for (size_t i = 0; i < count; i++) ESPL_GOTO(espl_tensor_entry_write(ctx, out_replace, sorted[i]));
fail:
    espl_free(ctx, &sorted);
    espl_bytes_finish(ctx, &header);
    return status;
}

espl_status espl_tensors_write(espl_context *ctx, const char *path, const espl_tensor_entry *entries, size_t count,
                               const espl_tensors_metadata_pair *metadata, size_t metadata_count) {
    espl_replace replace = {0};
    espl_status status = espl_tensors_replace(ctx, path, entries, count, metadata, metadata_count, &replace);
    if (status == ESPL_OK) status = espl_os_replace_commit(ctx, &replace);
    espl_os_replace_finish(ctx, &replace);
    return status;
}
