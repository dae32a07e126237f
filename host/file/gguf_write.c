/* Writing GGUF, see gguf.h: the header whole, then each tensor in pieces. */
#include "host/base/os.h"
#include "host/file/gguf.h"
#include <string.h>

enum { ALIGNMENT = 32, CHUNK_BYTES = 1 << 20, VERSION = 3, TYPE_STRING = 8, TYPE_F32 = 6, DIMENSIONS_MAX = 4 };

static espl_status put_number(espl_context *ctx, espl_bytes *out, uint64_t number, size_t bytes) {
    unsigned char text[8];
    for (size_t i = 0; i < bytes; i++) text[i] = (unsigned char)(number >> (8 * i));
    return espl_bytes_append(ctx, out, text, bytes);
}

static espl_status put_string(espl_context *ctx, espl_bytes *out, const char *text) {
    ESPL_TRY(put_number(ctx, out, strlen(text), 8));
    return espl_bytes_append(ctx, out, text, strlen(text));
}

static espl_status put_pair(espl_context *ctx, espl_bytes *out, const espl_gguf_pair *pair) {
    uint32_t bits;
    ESPL_TRY(put_string(ctx, out, pair->key));
    ESPL_TRY(put_number(ctx, out, pair->string ? TYPE_STRING : TYPE_F32, 4));
    if (pair->string) return put_string(ctx, out, pair->string);
    memcpy(&bits, &pair->number, sizeof bits);
    return put_number(ctx, out, bits, 4);
}

/* *out_type: the number of the dtype in the file; *out_bytes: of the data. */
static espl_status check_entry(espl_context *ctx, const espl_tensor_entry *entry, uint32_t *out_type, size_t *out_bytes) {
    static const struct {
        espl_dtype dtype;
        uint32_t type;
    } types[] = {{ESPL_DTYPE_F32, 0}, {ESPL_DTYPE_F16, 1}, {ESPL_DTYPE_BF16, 30}};
    size_t bytes = espl_dtype_bytes(entry->dtype), row = 0;
    while (row < ESPL_COUNT(types) && types[row].dtype != entry->dtype) row++;
    if (row == ESPL_COUNT(types) || entry->rank > DIMENSIONS_MAX || (!entry->data && !entry->read))
        return espl_fail(ctx, ESPL_ARGUMENT, "tensor \"%s\" of %u dimensions and dtype %s cannot be in a GGUF file",
                         entry->name, (unsigned)entry->rank, espl_dtype_name(entry->dtype));
    for (uint32_t i = 0; i < entry->rank; i++)
        if (!espl_mul(bytes, entry->shape[i], &bytes))
            return espl_fail(ctx, ESPL_ARGUMENT, "the shape of tensor \"%s\" overflows", entry->name);
    *out_type = types[row].type;
    *out_bytes = bytes;
    return ESPL_OK;
}

static espl_status put_header(espl_context *ctx, espl_bytes *out, const espl_tensor_entry *entries, size_t count,
                              const espl_gguf_pair *metadata, size_t metadata_count) {
    uint64_t offset = 0;
    ESPL_TRY(espl_bytes_append(ctx, out, "GGUF", 4));
    ESPL_TRY(put_number(ctx, out, VERSION, 4));
    ESPL_TRY(put_number(ctx, out, count, 8));
    ESPL_TRY(put_number(ctx, out, metadata_count, 8));
    for (size_t i = 0; i < metadata_count; i++) ESPL_TRY(put_pair(ctx, out, &metadata[i]));
    for (size_t i = 0; i < count; i++) {
        uint32_t type;
        size_t bytes;
        ESPL_TRY(check_entry(ctx, &entries[i], &type, &bytes));
        ESPL_TRY(put_string(ctx, out, entries[i].name));
        ESPL_TRY(put_number(ctx, out, entries[i].rank, 4));
        for (size_t d = entries[i].rank; d-- > 0;) ESPL_TRY(put_number(ctx, out, entries[i].shape[d], 8));
        ESPL_TRY(put_number(ctx, out, type, 4));
        ESPL_TRY(put_number(ctx, out, offset, 8));
        offset = espl_round_up(offset + bytes, ALIGNMENT);
    }
    while (out->count % ALIGNMENT) ESPL_TRY(espl_bytes_append(ctx, out, "", 1));
    return ESPL_OK;
}

static espl_status write_tensor(espl_context *ctx, espl_replace *file, const espl_tensor_entry *entry, void *chunk) {
    static const unsigned char zeros[ALIGNMENT];
    uint32_t type;
    size_t bytes;
    ESPL_TRY(check_entry(ctx, entry, &type, &bytes));
    for (size_t at = 0, part; at < bytes; at += part) {
        part = bytes - at < CHUNK_BYTES ? bytes - at : CHUNK_BYTES;
        if (entry->data) {
            ESPL_TRY(espl_os_replace_write(ctx, file, (const unsigned char *)entry->data + at, part));
            continue;
        }
        ESPL_TRY(entry->read(entry->user, entry, at, chunk, part));
        ESPL_TRY(espl_os_replace_write(ctx, file, chunk, part));
    }
    return espl_os_replace_write(ctx, file, zeros, (ALIGNMENT - bytes % ALIGNMENT) % ALIGNMENT);
}

espl_status espl_gguf_write(espl_context *ctx, const char *path, const espl_tensor_entry *entries, size_t count,
                            const espl_gguf_pair *metadata, size_t metadata_count) {
    espl_bytes header = {0};
    espl_replace file = {0};
    void *chunk = NULL;
    espl_status status;
    ESPL_GOTO(put_header(ctx, &header, entries, count, metadata, metadata_count));
    ESPL_GOTO(espl_new(ctx, CHUNK_BYTES, &chunk));
    ESPL_GOTO(espl_os_replace_begin(ctx, path, &file));
    ESPL_GOTO(espl_os_replace_write(ctx, &file, header.data, header.count));
    for (size_t i = 0; i < count; i++) ESPL_GOTO(write_tensor(ctx, &file, &entries[i], chunk));
    status = espl_os_replace_commit(ctx, &file);
fail:
    espl_os_replace_finish(ctx, &file);
    espl_bytes_finish(ctx, &header);
    espl_free(ctx, &chunk);
    return status;
}
