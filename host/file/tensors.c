/* The door to tensor files, see tensors.h: telling formats apart, sets of several files, asking. */
#include "host/file/tensors_private.h"
#include <string.h>

/* ---- what the readers call ---- */

espl_status espl_tensors_add(espl_tensors *set, const tensor_record *record) {
    ESPL_TRY(espl_grow(set->ctx, &set->records, &set->capacity, set->count + 1, sizeof *set->records));
    set->records[set->count++] = *record;
    return ESPL_OK;
}

espl_status espl_tensor_name(espl_tensors *set, const tensor_file *file, const char *name, size_t bytes,
                             tensor_record *record) {
    /* As the keys of JSON are: text that a message can hold. */
    json_t *text = bytes && memchr(name, 0, bytes) ? NULL : json_stringn(name, bytes);
    if (!text) return espl_fail(set->ctx, ESPL_FORMAT, "%s: the name of a tensor is not UTF-8", file->path);
    json_decref(text);
    ESPL_TRY(espl_copy_string(set->ctx, name, bytes, &record->owned_name));
    record->name = record->view.name = record->owned_name;
    return ESPL_OK;
}

espl_status espl_tensor_shape(espl_tensors *set, const tensor_file *file, const uint64_t *shape, size_t rank,
                              tensor_record *record, size_t *out_count) {
    size_t total = 1;
    record->dimensions = rank;
    if (rank > ESPL_TENSOR_RANK_MAX) record->usable = ESPL_LIMIT;
    record->view.rank = rank > ESPL_TENSOR_RANK_MAX ? 0 : (uint32_t)rank;
    for (size_t i = 0; i < ESPL_TENSOR_RANK_MAX; i++) record->view.shape[i] = 1;
    for (size_t i = 0; i < rank; i++) {
        if (shape[i] > SIZE_MAX || !espl_mul(total, (size_t)shape[i], &total))
            return espl_fail(set->ctx, ESPL_FORMAT, "%s: tensor \"%s\": the product of its shape overflows", file->path,
                             record->name);
        if (shape[i] > UINT32_MAX) record->usable = ESPL_LIMIT;
        else if (i < ESPL_TENSOR_RANK_MAX) record->view.shape[i] = (uint32_t)shape[i];
    }
    *out_count = total;
    return ESPL_OK;
}

/* ---- one file ---- */

/* By the first bytes. A safetensors file begins with the length of its header and '{'; its length could spell the sign of
 * an archive. The old form begins with a pickled number, which spells its sign. */
static espl_tensor_reader *reader_of(const espl_mapping *mapping) {
    static const struct {
        const char *sign;
        size_t bytes;
        espl_tensor_reader *read;
    } signs[] = {{"GGUF", 4, espl_gguf_read},
                 {"\x93NUMPY", 6, espl_npy_read},
                 {"PK\x03\x04", 4, espl_torch_read},
                 {"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15, espl_torch_read_old}};
    for (size_t i = 0; i < ESPL_COUNT(signs); i++) {
        if (mapping->bytes < 16 || memcmp(mapping->data, signs[i].sign, signs[i].bytes)) continue;
        if (signs[i].read != espl_torch_read || mapping->data[8] != '{') return signs[i].read;
    }
    return espl_safetensors_read;
}

/* file->mapping is filled; adds its tensors to the set. */
static espl_status read_file(espl_tensors *set, tensor_file *file) {
    size_t first = set->count;
    ESPL_TRY(reader_of(&file->mapping)(set, file));
    for (size_t i = first; i < set->count; i++) {
        bool was_there;
        const char *key = set->records[i].name;
        set->records[i].file = (size_t)(file - set->files);
        ESPL_TRY(espl_map_add(set->ctx, &set->names, key, strlen(key), (uint32_t)i, &was_there));
        if (was_there)
            return espl_fail(set->ctx, ESPL_FORMAT, "%s: tensor \"%s\": %s has it as well", file->path, key,
                             set->file_count > 1 ? "another file of the set" : "the file");
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

/* Takes path. */
static espl_status open_file(espl_tensors *set, char *path) {
    if (!has_suffix(path, ".index.json")) return add_file(set, path);
    espl_status status = open_index(set, path);
    espl_free(set->ctx, &path);
    return status;
}

/* The first that is there of "stem.safetensors", its index, "stem.bin", its index; *out_found false for none. */
static espl_status open_stem(espl_tensors *set, const char *folder, const char *stem, bool *out_found) {
    static const char *const suffixes[] = {".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json"};
    *out_found = false;
    for (size_t i = 0; i < ESPL_COUNT(suffixes); i++) {
        char *path;
        ESPL_TRY(espl_format(set->ctx, &path, "%s%s%s", folder, stem, suffixes[i]));
        *out_found = espl_os_is_file(path);
        if (*out_found) return open_file(set, path);
        espl_free(set->ctx, &path);
    }
    return ESPL_OK;
}

static espl_status open_path(espl_tensors *set, const char *path) {
    static const char *const stems[] = {"/model", "/pytorch_model"};
    bool found = false;
    char *copy;
    if (espl_os_is_folder(path)) {
        for (size_t i = 0; i < ESPL_COUNT(stems) && !found; i++) ESPL_TRY(open_stem(set, path, stems[i], &found));
        if (found) return ESPL_OK;
        return espl_fail(set->ctx, ESPL_IO, "%s: has no model.safetensors, no pytorch_model.bin and no index of either",
                         path);
    }
    if (!espl_os_is_file(path)) ESPL_TRY(open_stem(set, path, "", &found));
    if (found) return ESPL_OK;
    if (!espl_os_is_file(path) && !strchr(espl_os_file_name(path), '.'))
        return espl_fail(set->ctx, ESPL_IO, "%s: there is neither %s.safetensors nor %s.bin", path, espl_os_file_name(path),
                         espl_os_file_name(path));
    ESPL_TRY(espl_copy_string(set->ctx, path, strlen(path), &copy));
    return open_file(set, copy);
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
    for (size_t i = 0; i < set->count; i++) {
        espl_free(ctx, &set->records[i].owned_name);
        espl_free(ctx, &set->records[i].owned_data);
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
                         set->path, record->name, record->dimensions, ESPL_TENSOR_RANK_MAX);
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
