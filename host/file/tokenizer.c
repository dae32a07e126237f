/* The way of a text through a tokenizer, see tokenizer_parts.h, and finding its files. */
#include "host/base/os.h"
#include "host/file/tokenizer_parts.h"
#include <string.h>

/* ---- encoding ---- */

/* A part between added tokens, after the normalizers. */
static espl_status encode_part(espl_tokenizer *t, const char *text, size_t bytes, bool first) {
    espl_pieces *pieces = &t->pieces;
    pieces->text.count = 0;
    pieces->count = 0;
    ESPL_TRY(espl_bytes_append(t->ctx, &pieces->text, text, bytes));
    ESPL_TRY(espl_pieces_append(t->ctx, pieces, 0, bytes, first));
    ESPL_TRY(espl_split(t->ctx, &t->splitters, pieces, &t->pieces_scratch));
    for (size_t i = 0; i < pieces->count; i++) {
        const espl_span *span = &pieces->spans[i];
        ESPL_TRY(t->model->encode(t->ctx, t->state, &t->vocabulary, pieces->text.data + span->begin,
                                  span->end - span->begin, &t->ids));
    }
    return ESPL_OK;
}

typedef espl_status part_function(espl_tokenizer *t, const char *text, size_t bytes, bool first);

/* Appends the ids of the added tokens of a set; what lies between goes to `part`. */
static espl_status cut_added(espl_tokenizer *t, const espl_added_set *set, const char *text, size_t bytes, bool first,
                             part_function *part) {
    size_t from = 0, done = 0, begin, end;
    uint32_t id;
    while (espl_added_next(&t->added, set, text, bytes, &from, done, &begin, &end, &id)) {
        if (done < begin) ESPL_TRY(part(t, text + done, begin - done, first && done == 0));
        ESPL_TRY(espl_ids_append(t->ctx, &t->ids, id));
        done = end;
    }
    return done < bytes ? part(t, text + done, bytes - done, first && done == 0) : ESPL_OK;
}

static espl_status normalize_part(espl_tokenizer *t, const char *text, size_t bytes, bool first) {
    ESPL_TRY(espl_normalize(t->ctx, &t->normalizers, text, bytes, &t->scratch, &t->normal, &first));
    return cut_added(t, &t->added.normalized, t->normal.data, t->normal.count, first, encode_part);
}

espl_status espl_tokenizer_encode(espl_tokenizer *t, const char *text, size_t bytes, bool add_special,
                                  const uint32_t **out_ids, size_t *out_count) {
    *out_ids = NULL;
    *out_count = 0;
    if (bytes > INT32_MAX / 8)
        return espl_fail(t->ctx, ESPL_LIMIT, "a text of %zu bytes is longer than %d", bytes, INT32_MAX / 8);
    t->ids.count = 0;
    t->clean.count = 0;
    ESPL_TRY(espl_utf8_append_lossy(t->ctx, &t->clean, text, bytes));
    for (size_t i = 0; add_special && i < t->prefix.count; i++)
        ESPL_TRY(espl_ids_append(t->ctx, &t->ids, t->prefix.data[i]));
    ESPL_TRY(cut_added(t, &t->added.plain, t->clean.data, t->clean.count, true, normalize_part));
    for (size_t i = 0; add_special && i < t->suffix.count; i++)
        ESPL_TRY(espl_ids_append(t->ctx, &t->ids, t->suffix.data[i]));
    *out_ids = t->ids.data;
    *out_count = t->ids.count;
    return ESPL_OK;
}

/* ---- decoding ---- */

struct espl_detokenizer {
    espl_tokenizer *tokenizer; /* borrowed */
    espl_decoder *decoder;     /* owned */
    espl_bytes text;
    bool keep_special;
};

static espl_status push(espl_tokenizer *t, espl_decoder *decoder, uint32_t id, bool keep_special, espl_bytes *out) {
    size_t bytes;
    const char *piece = espl_vocabulary_piece(&t->vocabulary, id, &bytes);
    if (!piece || (t->vocabulary.tokens[id].special && !keep_special)) return ESPL_OK;
    if (t->model == &espl_model_sentencepiece && id == t->unk) {
        piece = espl_sentencepiece_unknown;
        bytes = strlen(piece);
    }
    return espl_decoder_push(t->ctx, decoder, piece, bytes, out);
}

espl_status espl_tokenizer_decode(espl_tokenizer *t, const uint32_t *ids, size_t count, bool keep_special,
                                  const char **out_text, size_t *out_bytes) {
    *out_text = "";
    *out_bytes = 0;
    t->decoded.count = 0;
    espl_decoder_reset(t->decoder);
    ESPL_TRY(espl_bytes_append(t->ctx, &t->decoded, "", 0));
    for (size_t i = 0; i < count; i++) ESPL_TRY(push(t, t->decoder, ids[i], keep_special, &t->decoded));
    ESPL_TRY(espl_decoder_end(t->ctx, t->decoder, &t->decoded));
    *out_text = t->decoded.data;
    *out_bytes = t->decoded.count;
    return ESPL_OK;
}

espl_status espl_detokenizer_create(espl_tokenizer *tokenizer, bool keep_special, espl_detokenizer **out_detokenizer) {
    espl_detokenizer *made;
    *out_detokenizer = NULL;
    ESPL_TRY(espl_new(tokenizer->ctx, sizeof *made, &made));
    made->tokenizer = tokenizer;
    made->keep_special = keep_special;
    espl_status status = espl_decoder_create(tokenizer->ctx, &tokenizer->decoders, true, &made->decoder);
    if (status != ESPL_OK) espl_free(tokenizer->ctx, &made);
    *out_detokenizer = made;
    return status;
}

void espl_detokenizer_destroy(espl_detokenizer **detokenizer) {
    if (!*detokenizer) return;
    espl_context *ctx = (*detokenizer)->tokenizer->ctx;
    espl_decoder_destroy(ctx, &(*detokenizer)->decoder);
    espl_bytes_finish(ctx, &(*detokenizer)->text);
    espl_free(ctx, detokenizer);
}

static espl_status begin_output(espl_detokenizer *d, const char **out_text, size_t *out_bytes) {
    *out_text = "";
    *out_bytes = 0;
    d->text.count = 0;
    return espl_bytes_append(d->tokenizer->ctx, &d->text, "", 0);
}

espl_status espl_detokenizer_push(espl_detokenizer *d, uint32_t id, const char **out_text, size_t *out_bytes) {
    ESPL_TRY(begin_output(d, out_text, out_bytes));
    ESPL_TRY(push(d->tokenizer, d->decoder, id, d->keep_special, &d->text));
    *out_text = d->text.data;
    *out_bytes = d->text.count;
    return ESPL_OK;
}

espl_status espl_detokenizer_end(espl_detokenizer *d, const char **out_text, size_t *out_bytes) {
    ESPL_TRY(begin_output(d, out_text, out_bytes));
    ESPL_TRY(espl_decoder_end(d->tokenizer->ctx, d->decoder, &d->text));
    *out_text = d->text.data;
    *out_bytes = d->text.count;
    return ESPL_OK;
}

/* ---- asking ---- */

uint32_t espl_tokenizer_size(const espl_tokenizer *tokenizer) {
    return (uint32_t)tokenizer->vocabulary.count;
}
uint32_t espl_tokenizer_bos(const espl_tokenizer *tokenizer) {
    return tokenizer->bos;
}
uint32_t espl_tokenizer_eos(const espl_tokenizer *tokenizer) {
    return tokenizer->eos;
}
uint32_t espl_tokenizer_unk(const espl_tokenizer *tokenizer) {
    return tokenizer->unk;
}
uint32_t espl_tokenizer_pad(const espl_tokenizer *tokenizer) {
    return tokenizer->pad;
}
uint32_t espl_tokenizer_find(const espl_tokenizer *tokenizer, const char *piece) {
    return espl_vocabulary_id(&tokenizer->vocabulary, piece, strlen(piece));
}
const char *espl_tokenizer_piece(const espl_tokenizer *tokenizer, uint32_t id) {
    size_t bytes;
    return espl_vocabulary_piece(&tokenizer->vocabulary, id, &bytes);
}
bool espl_tokenizer_is_special(const espl_tokenizer *tokenizer, uint32_t id) {
    return id < tokenizer->vocabulary.count && tokenizer->vocabulary.tokens[id].special;
}

/* ---- loading ---- */

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
    espl_ids *const ids[] = {&t->prefix, &t->suffix, &t->ids};
    for (size_t i = 0; i < ESPL_COUNT(ids); i++) espl_free(ctx, &ids[i]->data);
    espl_bytes *const bytes[] = {&t->clean, &t->normal, &t->scratch, &t->decoded};
    for (size_t i = 0; i < ESPL_COUNT(bytes); i++) espl_bytes_finish(ctx, bytes[i]);
    espl_free(ctx, tokenizer);
}

/* What every kind of file leaves to do. */
static espl_status finish_loading(espl_tokenizer *t) {
    ESPL_TRY(espl_added_prepare(t->ctx, &t->added, &t->normalizers));
    return espl_decoder_create(t->ctx, &t->decoders, false, &t->decoder);
}

espl_status espl_tokenizer_create_json(espl_context *ctx, const void *text, size_t bytes, const char *name,
                                       espl_tokenizer **out_tokenizer) {
    json_t *root = NULL;
    espl_status status;
    ESPL_TRY(create(ctx, out_tokenizer));
    ESPL_GOTO(espl_json_parse(ctx, text, bytes, name, &root));
    status = espl_tokenizer_read_json(*out_tokenizer, root);
    if (status == ESPL_OK) status = finish_loading(*out_tokenizer);
    if (status != ESPL_OK) espl_fail_in(ctx, status, "%s", name);
fail:
    espl_json_destroy(&root);
    if (status != ESPL_OK) espl_tokenizer_destroy(out_tokenizer);
    return status;
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
    {"tokenizer.model", ".model", load_sentencepiece},
    {"spiece.model", ".model", load_sentencepiece},
    {"sentencepiece.bpe.model", ".model", load_sentencepiece},
    {"vocab.json", "vocab.json", load_gpt2},
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
    return espl_fail(ctx, ESPL_IO, is_folder ? "%s: has no tokenizer.json, no .model and no vocab.json"
                                             : "%s: is not named like a tokenizer (*.json, *.model)", path);
}

/* tokenizer_config.json beside the file; NULL without one. */
static espl_status load_config(espl_context *ctx, const char *file, json_t **out_config) {
    char *path;
    *out_config = NULL;
    ESPL_TRY(espl_format(ctx, &path, "%.*stokenizer_config.json", (int)(espl_os_file_name(file) - file), file));
    espl_status status = espl_os_is_file(path) ? espl_json_load(ctx, path, out_config) : ESPL_OK;
    espl_free(ctx, &path);
    return status;
}

espl_status espl_tokenizer_load(espl_context *ctx, const char *path, espl_tokenizer **out_tokenizer) {
    char *file = NULL;
    json_t *config = NULL;
    load_function *load;
    espl_status status;
    *out_tokenizer = NULL;
    ESPL_GOTO(find_file(ctx, path, &file, &load));
    ESPL_GOTO(load_config(ctx, file, &config));
    ESPL_GOTO(create(ctx, out_tokenizer));
    ESPL_GOTO(load(*out_tokenizer, file, config));
    ESPL_GOTO(finish_loading(*out_tokenizer));
fail:
    espl_json_destroy(&config);
    espl_free(ctx, &file);
    if (status != ESPL_OK) espl_tokenizer_destroy(out_tokenizer);
    return status;
}
