/* Token numbers and their spelling. */
#include "host/file/tokenizer_parts.h"
#include <string.h>

espl_status espl_ids_append(espl_context *ctx, espl_ids *ids, uint32_t id) {
    ESPL_TRY(espl_grow(ctx, &ids->data, &ids->capacity, ids->count + 1, sizeof *ids->data));
    ids->data[ids->count++] = id;
    return ESPL_OK;
}

espl_status espl_vocabulary_add(espl_context *ctx, espl_vocabulary *vocabulary, const char *piece, size_t bytes,
                                uint64_t id, bool added) {
    if (id >= ESPL_TOKEN_LIMIT)
        return espl_fail(ctx, ESPL_LIMIT, "token \"%.80s\" has the number %llu, the limit is %d", piece,
                         (unsigned long long)id, ESPL_TOKEN_LIMIT - 1);
    size_t before = vocabulary->count;
    ESPL_TRY(espl_grow(ctx, &vocabulary->tokens, &vocabulary->capacity, (size_t)id + 1, sizeof *vocabulary->tokens));
    espl_map *map = added ? &vocabulary->added : &vocabulary->pieces;
    bool was_there;
    ESPL_TRY(espl_map_add(ctx, map, piece, bytes, (uint32_t)id, &was_there));
    if (was_there) return ESPL_OK;
    if (id >= before) {
        memset(vocabulary->tokens + before, 0, ((size_t)id + 1 - before) * sizeof *vocabulary->tokens);
        vocabulary->count = (size_t)id + 1;
    }
    espl_token *token = &vocabulary->tokens[id];
    if (!token->place) *token = (espl_token){.place = (uint32_t)map->count, .added = added};
    return ESPL_OK;
}

espl_status espl_vocabulary_read(espl_context *ctx, espl_vocabulary *vocabulary, json_t *object) {
    const char *piece;
    json_t *value;
    if (!json_is_object(object)) return espl_fail(ctx, ESPL_FORMAT, "the vocabulary is not an object");
    json_object_foreach(object, piece, value) {
        int64_t id;
        if (!espl_json_as_i64(value, &id) || id < 0)
            return espl_fail(ctx, ESPL_FORMAT, "token \"%.80s\" has %s for a number", piece,
                             espl_json_type_name(value));
        ESPL_TRY(espl_vocabulary_add(ctx, vocabulary, piece, strlen(piece), (uint64_t)id, false));
    }
    return ESPL_OK;
}

static uint32_t find(const espl_map *map, const char *piece, size_t bytes) {
    const espl_map_entry *entry = espl_map_find(map, piece, bytes);
    return entry ? entry->value : ESPL_NO_TOKEN;
}

uint32_t espl_vocabulary_model_id(const espl_vocabulary *vocabulary, const char *piece, size_t bytes) {
    return find(&vocabulary->pieces, piece, bytes);
}

uint32_t espl_vocabulary_id(const espl_vocabulary *vocabulary, const char *piece, size_t bytes) {
    uint32_t id = find(&vocabulary->added, piece, bytes);
    return id != ESPL_NO_TOKEN ? id : find(&vocabulary->pieces, piece, bytes);
}

const char *espl_vocabulary_piece(const espl_vocabulary *vocabulary, uint32_t id, size_t *out_bytes) {
    *out_bytes = 0;
    if (id >= vocabulary->count || !vocabulary->tokens[id].place) return NULL;
    const espl_token *token = &vocabulary->tokens[id];
    const espl_map *map = token->added ? &vocabulary->added : &vocabulary->pieces;
    *out_bytes = map->entries[token->place - 1].bytes;
    return espl_map_key(map, token->place - 1);
}

espl_status espl_byte_pieces(espl_context *ctx, const espl_vocabulary *vocabulary, uint32_t **out_ids) {
    ESPL_TRY(espl_new(ctx, 256 * sizeof **out_ids, out_ids));
    for (unsigned byte = 0; byte < 256; byte++) {
        static const char digits[] = "0123456789ABCDEF";
        const char piece[] = {'<', '0', 'x', digits[byte / 16], digits[byte % 16], '>'};
        (*out_ids)[byte] = espl_vocabulary_model_id(vocabulary, piece, sizeof piece);
    }
    return ESPL_OK;
}

void espl_vocabulary_finish(espl_context *ctx, espl_vocabulary *vocabulary) {
    espl_map_finish(ctx, &vocabulary->pieces);
    espl_map_finish(ctx, &vocabulary->added);
    espl_free(ctx, &vocabulary->tokens);
    *vocabulary = (espl_vocabulary){0};
}
