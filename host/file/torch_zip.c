/* The archive around a PyTorch checkpoint: the central directory of a zip file whose entries are stored as they are, so
 * that tensors can be used where they lie. A zip library would unpack into memory instead; nothing but the directory is
 * needed of one.
 * Source: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16, 4.5.3. */
#include "host/file/torch_read.h"
#include <string.h>

enum { END_BYTES = 22, END64_BYTES = 56, LOCATOR_BYTES = 20, CENTRAL_BYTES = 46, LOCAL_BYTES = 30, COMMENT_MAX = 65535 };

static uint64_t number(const unsigned char *at, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = bytes; i-- > 0;) value = value << 8 | at[i];
    return value;
}

typedef struct directory {
    uint64_t offset, bytes, count;
} directory;

/* The last record of the file, which a comment may follow. */
static const unsigned char *find_end(const espl_mapping *file) {
    for (size_t back = END_BYTES; back <= file->bytes && back <= END_BYTES + COMMENT_MAX; back++) {
        const unsigned char *at = file->data + file->bytes - back;
        if (memcmp(at, "PK\5\6", 4) == 0 && number(at + 20, 2) == back - END_BYTES) return at;
    }
    return NULL;
}

static bool find_directory(const espl_mapping *file, directory *out) {
    const unsigned char *end = find_end(file);
    if (!end) return false;
    *out = (directory){.offset = number(end + 16, 4), .bytes = number(end + 12, 4), .count = number(end + 10, 2)};
    const size_t before = (size_t)(end - file->data);
    if (before >= LOCATOR_BYTES && memcmp(end - LOCATOR_BYTES, "PK\6\7", 4) == 0) {
        const uint64_t place = number(end - LOCATOR_BYTES + 8, 8);
        if (place > before || before - place < END64_BYTES) return false;
        const unsigned char *end64 = file->data + place;
        if (memcmp(end64, "PK\6\6", 4)) return false;
        *out = (directory){.offset = number(end64 + 48, 8), .bytes = number(end64 + 40, 8),
                           .count = number(end64 + 32, 8)};
    }
    return out->offset <= before && out->bytes <= before - out->offset;
}

/* Sizes and place of one entry, where they are 0xffffffff from the extra field for large files. */
static bool read_places(const unsigned char *central, size_t extra_at, size_t extra_bytes, uint64_t out[3]) {
    static const size_t places[] = {24, 20, 42}; /* size, size packed, place: the order in the extra field */
    size_t at = extra_at;
    const size_t end = extra_at + extra_bytes;
    for (size_t i = 0; i < 3; i++) out[i] = number(central + places[i], 4);
    for (size_t bytes; end - at >= 4; at += 4 + bytes) {
        bytes = (size_t)number(central + at + 2, 2);
        if (bytes > end - at - 4) return false;
        if (number(central + at, 2) != 1) continue;
        size_t used = 0;
        for (size_t i = 0; i < 3; i++) {
            if (out[i] != UINT32_MAX) continue;
            if (bytes - used < 8) return false;
            out[i] = number(central + at + 4 + used, 8);
            used += 8;
        }
        return true;
    }
    return out[0] != UINT32_MAX && out[1] != UINT32_MAX && out[2] != UINT32_MAX;
}

static espl_status fail(espl_context *ctx, const char *name, const char *what) {
    return espl_fail(ctx, ESPL_FORMAT, "%s: the archive is damaged: %s", name, what);
}

/* One entry of the directory at `at`; *in_out_at moves behind it. */
static espl_status read_entry(espl_context *ctx, const espl_mapping *file, const char *name, size_t end,
                              size_t *in_out_at, espl_zip_entry *out) {
    const unsigned char *central = file->data + *in_out_at;
    if (end - *in_out_at < CENTRAL_BYTES || memcmp(central, "PK\1\2", 4)) return fail(ctx, name, "its directory");
    const size_t name_bytes = number(central + 28, 2), extra_bytes = number(central + 30, 2);
    const size_t bytes = CENTRAL_BYTES + name_bytes + extra_bytes + (size_t)number(central + 32, 2);
    uint64_t places[3];
    if (end - *in_out_at < bytes || !read_places(central, CENTRAL_BYTES + name_bytes, extra_bytes, places))
        return fail(ctx, name, "its directory");
    *in_out_at += bytes;
    *out = (espl_zip_entry){.name = (const char *)central + CENTRAL_BYTES, .name_bytes = name_bytes};
    if (number(central + 8, 2) & 1 || number(central + 10, 2) != 0 || places[0] != places[1])
        return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: the entry \"%.*s\" is compressed or encrypted; PyTorch stores its "
                         "entries as they are", name, (int)(name_bytes < 80 ? name_bytes : 80), out->name);
    if (places[2] > file->bytes || file->bytes - places[2] < LOCAL_BYTES ||
        memcmp(file->data + places[2], "PK\3\4", 4))
        return fail(ctx, name, "an entry lies outside");
    const unsigned char *local = file->data + places[2];
    const uint64_t begin = places[2] + LOCAL_BYTES + number(local + 26, 2) + number(local + 28, 2);
    if (begin > file->bytes || places[0] > file->bytes - begin) return fail(ctx, name, "an entry passes the end");
    out->data = file->data + begin;
    out->bytes = (size_t)places[0];
    return ESPL_OK;
}

espl_status espl_zip_read(espl_context *ctx, const espl_mapping *file, const char *name, espl_zip_entry **out_entries,
                          size_t *out_count) {
    directory where;
    size_t capacity = 0;
    espl_status status = ESPL_OK;
    *out_entries = NULL;
    *out_count = 0;
    if (!find_directory(file, &where)) return fail(ctx, name, "there is no directory at its end");
    size_t at = (size_t)where.offset;
    const size_t end = at + (size_t)where.bytes;
    for (uint64_t i = 0; i < where.count; i++) {
        ESPL_GOTO(espl_grow(ctx, out_entries, &capacity, *out_count + 1, sizeof **out_entries));
        ESPL_GOTO(read_entry(ctx, file, name, end, &at, &(*out_entries)[*out_count]));
        ++*out_count;
    }
    return ESPL_OK;
fail:
    espl_free(ctx, out_entries);
    *out_count = 0;
    return status;
}
