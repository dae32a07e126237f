/* vocab.json and merges.txt, the files of GPT-2 and RoBERTa. */
#include "host/file/tokenizer_parts.h"

espl_status espl_tokenizer_read_gpt2(espl_tokenizer *tokenizer, json_t *vocabulary, const char *merges, size_t bytes,
                                     const json_t *config) {
    espl_context *ctx = tokenizer->ctx;
    bool prefix_space;
    ESPL_TRY(espl_json_bool(ctx, config, "add_prefix_space", false, &prefix_space));
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
    return espl_tokenizer_read_around(tokenizer, config, false, false);
}
