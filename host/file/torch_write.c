/* The form of PyTorch's files before 1.6: pickles of a magic number, a version, the machine, the tensor and the keys of storages,
 * then for each storage u64 count of values | values.
 * Source: torch/serialization.py (_legacy_save), torch/_utils.py (_rebuild_tensor_v2); Python's pickletools for the codes. */
#include "host/file/torch_write.h"
#include "host/file/tensors_private.h"
#include <string.h>

/* Protocol 2: strings are X u32 bytes, whole numbers 8a 08 and eight bytes; ( begins and t ends a tuple; c MODULE \n NAME \n is a
 * function, R calls it; Q makes what is above a storage; '.' is the end. */
static espl_status text(espl_context *ctx, espl_bytes *out, const char *value) {
    const size_t bytes = strlen(value);
    const unsigned char head[] = {'X', (unsigned char)bytes, 0, 0, 0};
    ESPL_TRY(espl_bytes_append(ctx, out, head, sizeof head));
    return espl_bytes_append(ctx, out, value, bytes);
}

static void little_endian(uint64_t value, unsigned char out[8]) {
    for (int i = 0; i < 8; i++) out[i] = (unsigned char)(value >> (8 * i));
}

static espl_status number(espl_context *ctx, espl_bytes *out, uint64_t value) {
    unsigned char code[10] = {0x8a, 8};
    little_endian(value, code + 2);
    return espl_bytes_append(ctx, out, code, sizeof code);
}

static espl_status codes(espl_context *ctx, espl_bytes *out, const char *bytes) {
    return espl_bytes_append(ctx, out, bytes, strlen(bytes));
}

/* _rebuild_tensor_v2(storage, offset 0, sizes, strides, requires_grad False, OrderedDict()) */
static espl_status describe(espl_context *ctx, const espl_tensor_entry *entry, uint64_t values, espl_bytes *out) {
    uint64_t strides[ESPL_TENSOR_RANK_MAX], step = 1;
    for (uint32_t i = entry->rank; i-- > 0; step *= entry->shape[i]) strides[i] = step;
    ESPL_TRY(codes(ctx, out, "\x80\x02" "ctorch._utils\n_rebuild_tensor_v2\n(("));
    ESPL_TRY(text(ctx, out, "storage"));
    ESPL_TRY(codes(ctx, out, "ctorch\nFloatStorage\n"));
    ESPL_TRY(text(ctx, out, "0"));
    ESPL_TRY(text(ctx, out, "cpu"));
    ESPL_TRY(number(ctx, out, values));
    ESPL_TRY(codes(ctx, out, "NtQ"));
    ESPL_TRY(number(ctx, out, 0));
    ESPL_TRY(codes(ctx, out, "("));
    for (uint32_t i = 0; i < entry->rank; i++) ESPL_TRY(number(ctx, out, entry->shape[i]));
    ESPL_TRY(codes(ctx, out, "t("));
    for (uint32_t i = 0; i < entry->rank; i++) ESPL_TRY(number(ctx, out, strides[i]));
    return codes(ctx, out, "t\x89" "ccollections\nOrderedDict\n)RtR.");
}

static espl_status describe_file(espl_context *ctx, const espl_tensor_entry *entry, espl_bytes *out) {
    static const char magic[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", version[] = "\x80\x02M\xe9\x03.";
    uint64_t values = 1;
    unsigned char count[8];
    for (uint32_t i = 0; i < entry->rank; i++) values *= entry->shape[i];
    little_endian(values, count);
    ESPL_TRY(codes(ctx, out, magic));
    ESPL_TRY(codes(ctx, out, version));
    ESPL_TRY(codes(ctx, out, "\x80\x02}(")); /* of the machine */
    ESPL_TRY(text(ctx, out, "protocol_version"));
    ESPL_TRY(codes(ctx, out, "M\xe9\x03"));
    ESPL_TRY(text(ctx, out, "little_endian"));
    ESPL_TRY(codes(ctx, out, "\x88u."));
    ESPL_TRY(describe(ctx, entry, values, out));
    ESPL_TRY(codes(ctx, out, "\x80\x02]"));
    ESPL_TRY(text(ctx, out, "0"));
    ESPL_TRY(codes(ctx, out, "a."));
    return espl_bytes_append(ctx, out, count, sizeof count);
}

espl_status espl_torch_replace(espl_context *ctx, const char *path, const espl_tensor_entry *entry, espl_replace *out_replace) {
    espl_bytes head = {0};
    espl_status status = describe_file(ctx, entry, &head);
    if (status == ESPL_OK) status = espl_os_replace_begin(ctx, path, out_replace);
    if (status == ESPL_OK) status = espl_os_replace_write(ctx, out_replace, head.data, head.count);
    if (status == ESPL_OK) status = espl_tensor_entry_write(ctx, out_replace, entry);
    espl_bytes_finish(ctx, &head);
    return status;
}
