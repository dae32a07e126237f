/* Finding the files of a tokenizer, loading and destroying it. */
#include "host/base/os.h"
#include "host/file/tokenizer_parts.h"
#include <string.h>

static espl_status create(espl_context *ctx, espl_tokenizer **out_tokenizer) {
    ESPL_TRY(espl_new(ctx, sizeof **out_tokenizer, out_tokenizer));
    espl_tokenizer *t = *out_tokenizer;
    t->ctx = ctx;
    t->bos = t->eos = t->unk = t->pad = ESPL_NO_TOKEN;
    return ESPL_OK;
}

void espl_tokenizer_destroy(espl_tokenizer **tokenizer) {
    espl_tokenizer *t = *tokenizer;
    if (!t) return;
    espl_context *ctx = t->ctx;
    espl_decoder_destroy(ctx, &t->decoder);
    if (t->model) t->model->destroy(ctx, &t->state);
    espl_vocabulary_finish(ctx, &t->vocabulary);
    espl_added_finish(ctx, &t->added);
    espl_steps_finish(ctx, &t->normalizers);
    espl_steps_finish(ctx, &t->splitters);
    espl_steps_finish(ctx, &t->decoders);
    espl_pieces_finish(ctx, &t->pieces);
    espl_pieces_finish(ctx, &t->pieces_scratch);
    for (size_t i = 0; i < ESPL_COUNT(t->templates); i++) espl_free(ctx, &t->templates[i].parts);
    espl_ids *const ids[] = {&t->ids, &t->words, &t->whole, &t->whole_words};
    for (size_t i = 0; i < ESPL_COUNT(ids); i++) espl_free(ctx, &ids[i]->data);
    espl_bytes *const bytes[] = {&t->clean, &t->normal, &t->scratch, &t->decoded, &t->types, &t->special};
    for (size_t i = 0; i < ESPL_COUNT(bytes); i++) espl_bytes_finish(ctx, bytes[i]);
    espl_free(ctx, tokenizer);
}

/* What every kind of file leaves to do. */
static espl_status finish_loading(espl_tokenizer *t) {
    ESPL_TRY(espl_added_prepare(t->ctx, &t->added, &t->normalizers));
    return espl_decoder_create(t->ctx, &t->decoders, false, &t->decoder);
}

/* status: of reading from memory; name: what the bytes are called in sentences. */
static espl_status finish_creating(espl_status status, const char *name, espl_tokenizer **in_out_tokenizer) {
    espl_context *ctx = (*in_out_tokenizer)->ctx;
    if (status == ESPL_OK) status = finish_loading(*in_out_tokenizer);
    if (status == ESPL_OK) return ESPL_OK;
    espl_fail_in(ctx, status, "%s", name);
    espl_tokenizer_destroy(in_out_tokenizer);
    return status;
}

espl_status espl_tokenizer_create_json(espl_context *ctx, const void *text, size_t bytes, const char *name,
                                       espl_tokenizer **out_tokenizer) {
    json_t *root = NULL;
    *out_tokenizer = NULL;
    ESPL_TRY(espl_json_parse(ctx, text, bytes, name, &root)); /* names it itself */
    espl_status status = create(ctx, out_tokenizer);
    if (status == ESPL_OK) status = finish_creating(espl_tokenizer_read_json(*out_tokenizer, root), name, out_tokenizer);
    espl_json_destroy(&root);
    return status;
}

espl_status espl_tokenizer_create_vocabulary(espl_context *ctx, const void *lines, size_t bytes, const char *name,
                                             espl_tokenizer **out_tokenizer) {
    ESPL_TRY(create(ctx, out_tokenizer));
    return finish_creating(espl_tokenizer_read_wordpiece(*out_tokenizer, lines, bytes, NULL), name, out_tokenizer);
}

espl_status espl_tokenizer_create_sentencepiece(espl_context *ctx, const void *model, size_t bytes, const char *name,
                                                espl_tokenizer **out_tokenizer) {
    ESPL_TRY(create(ctx, out_tokenizer));
    return finish_creating(espl_tokenizer_read_sentencepiece(*out_tokenizer, model, bytes, NULL), name, out_tokenizer);
}

typedef espl_status load_function(espl_tokenizer *t, const char *path, const json_t *config);

static espl_status load_json(espl_tokenizer *t, const char *path, const json_t *config) {
    json_t *root;
    ESPL_TRY(espl_json_load(t->ctx, path, &root));
    espl_status status = espl_tokenizer_read_json(t, root);
    if (status == ESPL_OK) status = espl_tokenizer_read_special(t, config);
    if (status != ESPL_OK) espl_fail_in(t->ctx, status, "%s", path);
    espl_json_destroy(&root);
    return status;
}

static espl_status load_sentencepiece(espl_tokenizer *t, const char *path, const json_t *config) {
    espl_mapping mapping;
    ESPL_TRY(espl_os_map(t->ctx, path, &mapping));
    espl_status status = espl_tokenizer_read_sentencepiece(t, mapping.data, mapping.bytes, config);
    if (status != ESPL_OK) espl_fail_in(t->ctx, status, "%s", path);
    espl_os_unmap(&mapping);
    return status;
}

/* XLM-RoBERTa's name for its file; a folder that names another class has other numbers. */
static espl_status load_bpe_model(espl_tokenizer *t, const char *path, const json_t *config) {
    if (!t->family && t->class_name)
        return espl_fail(t->ctx, ESPL_UNSUPPORTED, "%s: the numbers that \"%.80s\" gives its pieces are not known", path,
                         t->class_name);
    if (!t->family) t->family = &espl_family_xlm_roberta;
    return load_sentencepiece(t, path, config);
}

static espl_status load_wordpiece(espl_tokenizer *t, const char *path, const json_t *config) {
    espl_mapping mapping;
    ESPL_TRY(espl_os_map(t->ctx, path, &mapping));
    espl_status status = espl_tokenizer_read_wordpiece(t, (const char *)mapping.data, mapping.bytes, config);
    if (status != ESPL_OK) espl_fail_in(t->ctx, status, "%s", path);
    espl_os_unmap(&mapping);
    return status;
}

/* path ends in vocab.json; the merges have the same name with merges.txt. */
static espl_status load_gpt2(espl_tokenizer *t, const char *path, const json_t *config) {
    char *merges_path;
    json_t *vocabulary = NULL;
    espl_mapping merges = {0};
    espl_status status;
    int stem = (int)(strlen(path) - strlen("vocab.json"));
    ESPL_TRY(espl_format(t->ctx, &merges_path, "%.*smerges.txt", stem, path));
    ESPL_GOTO(espl_json_load(t->ctx, path, &vocabulary));
    ESPL_GOTO(espl_os_map(t->ctx, merges_path, &merges));
    status = espl_tokenizer_read_gpt2(t, vocabulary, (const char *)merges.data, merges.bytes, config);
    if (status != ESPL_OK) espl_fail_in(t->ctx, status, "%s", path);
fail:
    espl_os_unmap(&merges);
    espl_json_destroy(&vocabulary);
    espl_free(t->ctx, &merges_path);
    return status;
}

/* In the order of preference within a folder; a single file goes by the end of its name, a .json that is none of these
 * is taken for a tokenizer.json. */
static const struct {
    const char *name, *suffix;
    load_function *load;
} kinds[] = {
    {"tokenizer.json", "tokenizer.json", load_json},
    {"tokenizer.model", "tokenizer.model", load_sentencepiece},
    {"spiece.model", "spiece.model", load_sentencepiece},
    {"spm.model", "spm.model", load_sentencepiece},
    {"sentencepiece.bpe.model", "sentencepiece.bpe.model", load_bpe_model},
    {"", ".model", load_sentencepiece},
    {"vocab.json", "vocab.json", load_gpt2},
    {"vocab.txt", "vocab.txt", load_wordpiece},
    {"", ".json", load_json},
};

static bool has_suffix(const char *text, const char *suffix) {
    size_t bytes = strlen(text), suffix_bytes = strlen(suffix);
    return bytes >= suffix_bytes && strcmp(text + bytes - suffix_bytes, suffix) == 0;
}

/* *out_file is path itself or the file in it; *out_load NULL if nothing fits. */
static espl_status find_file(espl_context *ctx, const char *path, char **out_file, load_function **out_load) {
    bool is_folder = espl_os_is_folder(path);
    *out_file = NULL;
    *out_load = NULL;
    for (size_t i = 0; i < ESPL_COUNT(kinds); i++) {
        if (is_folder && kinds[i].name[0]) {
            ESPL_TRY(espl_format(ctx, out_file, "%s/%s", path, kinds[i].name));
            if (espl_os_is_file(*out_file)) *out_load = kinds[i].load;
        } else if (!is_folder && has_suffix(path, kinds[i].suffix)) {
            ESPL_TRY(espl_copy_string(ctx, path, strlen(path), out_file));
            *out_load = kinds[i].load;
        }
        if (*out_load) return ESPL_OK;
        espl_free(ctx, out_file);
    }
    return espl_fail(ctx, ESPL_IO, is_folder ? "%s: has no tokenizer.json, no .model, no vocab.json and no vocab.txt"
                                             : "%s: is not named like a tokenizer (*.json, *.model, *vocab.txt)", path);
}

/* The file of that name beside `file`; NULL without one. */
static espl_status load_beside(espl_context *ctx, const char *file, const char *name, json_t **out_config) {
    char *path;
    *out_config = NULL;
    ESPL_TRY(espl_format(ctx, &path, "%.*s%s", (int)(espl_os_file_name(file) - file), file, name));
    espl_status status = espl_os_is_file(path) ? espl_json_load(ctx, path, out_config) : ESPL_OK;
    espl_free(ctx, &path);
    return status;
}

espl_status espl_tokenizer_load(espl_context *ctx, const char *path, espl_tokenizer **out_tokenizer) {
    char *file = NULL;
    json_t *config = NULL, *model_config = NULL;
    load_function *load;
    espl_status status;
    *out_tokenizer = NULL;
    ESPL_GOTO(find_file(ctx, path, &file, &load));
    ESPL_GOTO(load_beside(ctx, file, "tokenizer_config.json", &config));
    ESPL_GOTO(load_beside(ctx, file, "config.json", &model_config));
    ESPL_GOTO(create(ctx, out_tokenizer));
    (*out_tokenizer)->family = espl_family_find(config, model_config, &(*out_tokenizer)->class_name);
    ESPL_GOTO(load(*out_tokenizer, file, config));
    ESPL_GOTO(finish_loading(*out_tokenizer));
fail:
    espl_json_destroy(&config);
    espl_json_destroy(&model_config);
    espl_free(ctx, &file);
    if (status != ESPL_OK) espl_tokenizer_destroy(out_tokenizer);
    else (*out_tokenizer)->class_name = NULL;
    return status;
}
