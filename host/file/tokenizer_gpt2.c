/* vocab.json and merges.txt, the files of GPT-2, and what tokenizer_config.json adds to files without special tokens
 * of their own. */
#include "host/file/tokenizer_parts.h"
#include <stdlib.h>
#include <string.h>

/* "bos_token": "<s>" or {"content": "<s>", ...}; NULL if absent. */
static const char *token_text(const json_t *config, const char *key) {
    const json_t *value = json_object_get(config, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    return json_string_value(value);
}

espl_status espl_tokenizer_read_special(espl_tokenizer *tokenizer, const json_t *config) {
    const struct {
        const char *key;
        uint32_t *id;
    } rows[] = {{"bos_token", &tokenizer->bos},
                {"eos_token", &tokenizer->eos},
                {"unk_token", &tokenizer->unk},
                {"pad_token", &tokenizer->pad}};
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) {
        const char *text = token_text(config, rows[i].key);
        if (!text) continue;
        *rows[i].id = espl_vocabulary_id(&tokenizer->vocabulary, text, strlen(text));
        if (*rows[i].id == ESPL_NO_TOKEN)
            espl_log(tokenizer->ctx, ESPL_LOG_WARNING, "the %s \"%.80s\" is not in the vocabulary", rows[i].key, text);
    }
    return ESPL_OK;
}

espl_status espl_tokenizer_read_added(espl_tokenizer *tokenizer, const json_t *config) {
    espl_context *ctx = tokenizer->ctx;
    json_t *table, *object;
    const char *key;
    ESPL_TRY(espl_json_object(ctx, config, "added_tokens_decoder", &table));
    json_object_foreach(table, key, object) {
        char *end;
        unsigned long long id = strtoull(key, &end, 10);
        if (*end || end == key || key[0] == '-')
            return espl_fail(ctx, ESPL_FORMAT, "added_tokens_decoder: \"%.40s\" is not a token number", key);
        ESPL_TRY(espl_added_add(ctx, &tokenizer->added, &tokenizer->vocabulary, object, id));
    }
    return ESPL_OK;
}

espl_status espl_tokenizer_read_gpt2(espl_tokenizer *tokenizer, json_t *vocabulary, const char *merges, size_t bytes,
                                     const json_t *config) {
    espl_context *ctx = tokenizer->ctx;
    bool prefix_space, add_bos, add_eos;
    ESPL_TRY(espl_json_bool(ctx, config, "add_prefix_space", false, &prefix_space));
    ESPL_TRY(espl_json_bool(ctx, config, "add_bos_token", false, &add_bos));
    ESPL_TRY(espl_json_bool(ctx, config, "add_eos_token", false, &add_eos));
    ESPL_TRY(espl_vocabulary_read(ctx, &tokenizer->vocabulary, vocabulary));
    tokenizer->model = &espl_model_bpe;
    ESPL_TRY(espl_bpe_create_from_lines(ctx, merges, bytes, &tokenizer->vocabulary, &tokenizer->state));
    ESPL_TRY(espl_splitters_add_byte_level(ctx, &tokenizer->splitters, prefix_space));
    ESPL_TRY(espl_decoders_add_byte_level(ctx, &tokenizer->decoders));
    ESPL_TRY(espl_tokenizer_read_added(tokenizer, config));
    /* GPT-2 has one special token for all purposes. */
    static const char end_of_text[] = "<|endoftext|>";
    uint32_t id = espl_vocabulary_id(&tokenizer->vocabulary, end_of_text, sizeof end_of_text - 1);
    tokenizer->bos = tokenizer->eos = tokenizer->unk = id;
    if (id != ESPL_NO_TOKEN) tokenizer->vocabulary.tokens[id].special = true;
    ESPL_TRY(espl_tokenizer_read_special(tokenizer, config));
    if (add_bos && tokenizer->bos != ESPL_NO_TOKEN) ESPL_TRY(espl_ids_append(ctx, &tokenizer->prefix, tokenizer->bos));
    if (add_eos && tokenizer->eos != ESPL_NO_TOKEN) ESPL_TRY(espl_ids_append(ctx, &tokenizer->suffix, tokenizer->eos));
    return ESPL_OK;
}
