#include "host/file/tokenizer_files.h"
#include <stdio.h>

static const struct {
    const char *name;
    bool alone; /* enough to be one */
} names[ESPL_TOKENIZER_FILES] = {{"tokenizer.json", true},          {"tokenizer_config.json", false}, {"special_tokens_map.json", false},
                                 {"tokenizer.model", true},         {"vocab.json", true},             {"merges.txt", false},
                                 {"added_tokens.json", false},      {"chat_template.jinja", false},   {"vocab.txt", true},
                                 {"spiece.model", true},            {"spm.model", true},              {"sentencepiece.bpe.model", true}};

enum { PATH_BYTES = 4096 };

static bool path_of(const char *folder, const char *name, char out_path[PATH_BYTES]) {
    return snprintf(out_path, PATH_BYTES, "%s/%s", folder, name) < PATH_BYTES;
}

static bool is_there(const char *folder, const char *name) {
    char path[PATH_BYTES];
    return path_of(folder, name, path) && espl_os_is_file(path);
}

bool espl_tokenizer_is_in(const char *folder) {
    for (size_t i = 0; i < ESPL_COUNT(names); i++) {
        if (names[i].alone && is_there(folder, names[i].name)) return true;
    }
    return false;
}

espl_status espl_file_copy(espl_context *ctx, const char *name, const char *from, const char *to, espl_replace *out_file) {
    char source[PATH_BYTES], target[PATH_BYTES];
    espl_mapping mapping;
    if (!is_there(from, name)) return ESPL_OK;
    if (!path_of(from, name, source) || !path_of(to, name, target))
        return espl_fail(ctx, ESPL_LIMIT, "the path of %s in %s has %d bytes or more", name, to, PATH_BYTES);
    ESPL_TRY(espl_os_map(ctx, source, &mapping));
    espl_status status = espl_os_replace_begin(ctx, target, out_file);
    if (status == ESPL_OK) status = espl_os_replace_write(ctx, out_file, mapping.data, mapping.bytes);
    espl_os_unmap(&mapping);
    return status;
}

espl_status espl_tokenizer_copy(espl_context *ctx, const char *from, const char *to, espl_replace out_files[ESPL_TOKENIZER_FILES]) {
    for (size_t i = 0; i < ESPL_COUNT(names); i++) ESPL_TRY(espl_file_copy(ctx, names[i].name, from, to, &out_files[i]));
    return ESPL_OK;
}

void espl_tokenizer_remove_others(const char *folder, const char *kept) {
    char path[PATH_BYTES];
    for (size_t i = 0; i < ESPL_COUNT(names); i++) {
        if (kept && is_there(kept, names[i].name)) continue;
        if (path_of(folder, names[i].name, path)) espl_os_remove_file(path);
    }
}
