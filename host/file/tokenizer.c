/* The way of a text through a tokenizer, see tokenizer_parts.h. */
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

espl_status espl_tokenizer_encode_text(espl_tokenizer *t, const char *text, size_t bytes) {
    if (bytes > INT32_MAX / 8)
        return espl_fail(t->ctx, ESPL_LIMIT, "a text of %zu bytes is longer than %d", bytes, INT32_MAX / 8);
    t->clean.count = 0;
    ESPL_TRY(espl_utf8_append_lossy(t->ctx, &t->clean, text, bytes));
    return cut_added(t, &t->added.plain, t->clean.data, t->clean.count, true, normalize_part);
}

espl_status espl_tokenizer_encode(espl_tokenizer *t, const char *text, size_t bytes, bool add_special,
                                  const uint32_t **out_ids, size_t *out_count) {
    espl_encoding encoding;
    const espl_texts texts = {.text = text, .text_bytes = bytes, .add_special = add_special};
    espl_status status = espl_tokenizer_encode_texts(t, &texts, &encoding);
    *out_ids = encoding.ids;
    *out_count = encoding.count;
    return status;
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
