/* Reading GGUF, see gguf.h. The header is walked once with every length held against what is left of the file. */
#include "host/file/gguf.h"
#include "host/file/tensors_private.h"
#include <stdio.h>
#include <string.h>

enum { ALIGNMENT = 32, DIMENSIONS_MAX = 4 };

typedef struct reader {
    espl_tensors *set; /* borrowed */
    tensor_file *file; /* borrowed */
    size_t at;
} reader;

/* Index: the number of the type in the file. Where the library has the dtype the text is its name. */
static const struct {
    const char *text;
    uint32_t block, bytes; /* values in a block, bytes of it; 0: no type has the number */
} types[] = {
    {"F32", 1, 4},       {"F16", 1, 2},        {"Q4_0", 32, 18},    {"Q4_1", 32, 20},    {NULL, 0, 0},
    {NULL, 0, 0},        {"Q5_0", 32, 22},     {"Q5_1", 32, 24},    {"Q8_0", 32, 34},    {"Q8_1", 32, 36},
    {"Q2_K", 256, 84},   {"Q3_K", 256, 110},   {"Q4_K", 256, 144},  {"Q5_K", 256, 176},  {"Q6_K", 256, 210},
    {"Q8_K", 256, 292},  {"IQ2_XXS", 256, 66}, {"IQ2_XS", 256, 74}, {"IQ3_XXS", 256, 98}, {"IQ1_S", 256, 50},
    {"IQ4_NL", 32, 18},  {"IQ3_S", 256, 110},  {"IQ2_S", 256, 82},  {"IQ4_XS", 256, 136}, {"I8", 1, 1},
    {"I16", 1, 2},       {"I32", 1, 4},        {"I64", 1, 8},       {"F64", 1, 8},       {"IQ1_M", 256, 56},
    {"BF16", 1, 2},
};

static espl_status fail(const reader *r, const char *what) {
    return espl_fail(r->set->ctx, ESPL_FORMAT, "%s: the header is damaged at byte %zu: %s", r->file->path, r->at, what);
}

static size_t left(const reader *r) {
    return r->file->mapping.bytes - r->at;
}

static espl_status read_number(reader *r, size_t bytes, uint64_t *out_number) {
    *out_number = 0;
    if (left(r) < bytes) return fail(r, "it ends too soon");
    for (size_t i = bytes; i-- > 0;) *out_number = *out_number << 8 | r->file->mapping.data[r->at + i];
    r->at += bytes;
    return ESPL_OK;
}

static espl_status read_string(reader *r, const char **out_text, size_t *out_bytes) {
    uint64_t bytes;
    ESPL_TRY(read_number(r, 8, &bytes));
    if (bytes > left(r)) return fail(r, "a string passes the end");
    *out_text = (const char *)r->file->mapping.data + r->at;
    *out_bytes = (size_t)bytes;
    r->at += (size_t)bytes;
    return ESPL_OK;
}

/* ---- metadata ---- */

typedef enum kind { KIND_UNSIGNED, KIND_SIGNED, KIND_F32, KIND_F64, KIND_BOOL, KIND_STRING, KIND_ARRAY } kind;
static const struct {
    kind kind;
    size_t bytes;
} value_types[] = {
    {KIND_UNSIGNED, 1}, {KIND_SIGNED, 1}, {KIND_UNSIGNED, 2}, {KIND_SIGNED, 2}, {KIND_UNSIGNED, 4},
    {KIND_SIGNED, 4},   {KIND_F32, 4},    {KIND_BOOL, 1},     {KIND_STRING, 0}, {KIND_ARRAY, 0},
    {KIND_UNSIGNED, 8}, {KIND_SIGNED, 8}, {KIND_F64, 8},
};

static espl_status read_type(reader *r, size_t *out_type) {
    uint64_t type;
    ESPL_TRY(read_number(r, 4, &type));
    *out_type = (size_t)type;
    return type < ESPL_COUNT(value_types) ? ESPL_OK : fail(r, "a type of metadata is not known");
}

/* Arrays hold vocabularies; nobody here asks for them. */
static espl_status skip_array(reader *r) {
    size_t type, bytes;
    uint64_t count;
    const char *text;
    ESPL_TRY(read_type(r, &type));
    ESPL_TRY(read_number(r, 8, &count));
    if (value_types[type].kind == KIND_ARRAY) return fail(r, "an array of arrays");
    if (value_types[type].kind == KIND_STRING) {
        for (uint64_t i = 0; i < count; i++) ESPL_TRY(read_string(r, &text, &bytes));
        return ESPL_OK;
    }
    if (count > left(r) / value_types[type].bytes) return fail(r, "an array passes the end");
    r->at += (size_t)count * value_types[type].bytes;
    return ESPL_OK;
}

/* The shortest text that gives the same number; out_text has room for 40. */
static espl_status read_scalar(reader *r, size_t type, char *out_text) {
    const size_t bytes = value_types[type].bytes;
    uint64_t bits;
    double real;
    float single;
    ESPL_TRY(read_number(r, bytes, &bits));
    const uint32_t low = (uint32_t)bits;
    const uint64_t sign = bytes < 8 ? (uint64_t)1 << (8 * bytes - 1) : 0;
    memcpy(&real, &bits, sizeof real);
    memcpy(&single, &low, sizeof single);
    switch (value_types[type].kind) {
    case KIND_UNSIGNED: snprintf(out_text, 40, "%llu", (unsigned long long)bits); break;
    case KIND_SIGNED: snprintf(out_text, 40, "%lld", (long long)((bits ^ sign) - sign)); break;
    case KIND_F32: snprintf(out_text, 40, "%.9g", (double)single); break;
    case KIND_F64: snprintf(out_text, 40, "%.17g", real); break;
    default: snprintf(out_text, 40, "%s", bits ? "true" : "false"); break;
    }
    return ESPL_OK;
}

static espl_status read_pair(reader *r, json_t *metadata) {
    const char *key, *text;
    size_t key_bytes, bytes, type;
    char number[40];
    json_t *value = NULL;
    ESPL_TRY(read_string(r, &key, &key_bytes));
    ESPL_TRY(read_type(r, &type));
    if (value_types[type].kind == KIND_ARRAY) return skip_array(r);
    if (value_types[type].kind == KIND_STRING) {
        ESPL_TRY(read_string(r, &text, &bytes));
        value = memchr(text, 0, bytes) ? NULL : json_stringn(text, bytes);
    } else {
        ESPL_TRY(read_scalar(r, type, number));
        value = json_string(number);
    }
    char copy[256];
    if (!value || key_bytes >= sizeof copy || memchr(key, 0, key_bytes)) {
        json_decref(value);
        return fail(r, "a pair of metadata is not text");
    }
    memcpy(copy, key, key_bytes);
    copy[key_bytes] = 0;
    return json_object_set_new(metadata, copy, value) == 0 ? ESPL_OK : fail(r, "a key of metadata is not text");
}

/* ---- tensors ---- */

/* name | u32 dimensions | u64 of each, innermost first | u32 type | u64 offset in the data */
static espl_status read_description(reader *r, tensor_record *record) {
    const char *name = NULL;
    size_t name_bytes = 0, count;
    uint64_t rank, type, innermost = 1, shape[DIMENSIONS_MAX];
    ESPL_TRY(read_string(r, &name, &name_bytes));
    if (name_bytes > 1024) return fail(r, "a name of more than 1024 bytes");
    ESPL_TRY(espl_tensor_name(r->set, r->file, name, name_bytes, record));
    ESPL_TRY(read_number(r, 4, &rank));
    if (rank > DIMENSIONS_MAX) return fail(r, "a tensor of more than 4 dimensions");
    for (size_t i = (size_t)rank; i-- > 0;) ESPL_TRY(read_number(r, 8, &shape[i]));
    if (rank) innermost = shape[rank - 1];
    ESPL_TRY(espl_tensor_shape(r->set, r->file, shape, (size_t)rank, record, &count));
    ESPL_TRY(read_number(r, 4, &type));
    ESPL_TRY(read_number(r, 8, &record->begin));
    if (type >= ESPL_COUNT(types) || types[type].block == 0)
        return espl_fail(r->set->ctx, ESPL_UNSUPPORTED, "%s: tensor \"%s\" has the type %llu, which is not known",
                         r->file->path, record->name, (unsigned long long)type);
    if (innermost % types[type].block) return fail(r, "a row that does not fill its blocks");
    if (!espl_mul(count / types[type].block, types[type].bytes, &record->view.bytes)) return fail(r, "a size overflows");
    record->dtype_text = types[type].text;
    if (!espl_dtype_parse(types[type].text, &record->view.dtype)) record->usable = ESPL_UNSUPPORTED;
    return ESPL_OK;
}

static espl_status read_descriptions(reader *r, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        tensor_record record = {0};
        espl_status status = read_description(r, &record);
        if (status == ESPL_OK) status = espl_tensors_add(r->set, &record);
        if (status != ESPL_OK) {
            espl_free(r->set->ctx, &record.owned_name);
            return status;
        }
    }
    return ESPL_OK;
}

/* The data begins at the next aligned byte behind the descriptions. */
static espl_status place(reader *r, size_t first, uint32_t alignment) {
    const uint64_t begin = espl_round_up(r->at, alignment), end = r->file->mapping.bytes;
    for (size_t i = first; i < r->set->count; i++) {
        tensor_record *record = &r->set->records[i];
        if (begin > end || record->begin > end - begin || record->view.bytes > end - begin - record->begin ||
            record->begin % alignment)
            return espl_fail(r->set->ctx, ESPL_FORMAT, "%s: tensor \"%s\" of %zu bytes at %llu of the data does not lie in the "
                             "file, aligned to %u", r->file->path, record->name, record->view.bytes,
                             (unsigned long long)record->begin, (unsigned)alignment);
        record->view.data = r->file->mapping.data + begin + record->begin;
    }
    return ESPL_OK;
}

espl_status espl_gguf_read(espl_tensors *set, tensor_file *file) {
    reader r = {.set = set, .file = file, .at = 4};
    const size_t first = set->count;
    uint64_t version, tensor_count, pair_count;
    uint32_t alignment = ALIGNMENT;
    ESPL_TRY(read_number(&r, 4, &version));
    if (version != 2 && version != 3)
        return espl_fail(set->ctx, ESPL_UNSUPPORTED, "%s: is GGUF of version %llu (2 and 3 are read)", file->path,
                         (unsigned long long)version);
    ESPL_TRY(read_number(&r, 8, &tensor_count));
    ESPL_TRY(read_number(&r, 8, &pair_count));
    json_t *metadata = json_object();
    file->header = json_pack("{s:o}", "__metadata__", metadata);
    if (!file->header) return espl_fail(set->ctx, ESPL_HOST_MEMORY, "no host memory for metadata");
    for (uint64_t i = 0; i < pair_count; i++) ESPL_TRY(read_pair(&r, metadata));
    const char *aligned = json_string_value(json_object_get(metadata, "general.alignment"));
    if (aligned && (sscanf(aligned, "%u", &alignment) != 1 || alignment == 0 || alignment & (alignment - 1)))
        return fail(&r, "the alignment is no power of two");
    ESPL_TRY(read_descriptions(&r, tensor_count));
    return place(&r, first, alignment);
}
