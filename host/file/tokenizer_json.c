/* tokenizer.json of Hugging Face. Whatever the file asks for is either done or refused by name. */
#include "host/file/tokenizer_parts.h"
#include <string.h>

static const espl_token_model *const models[] = {
    &espl_model_bpe, &espl_model_wordpiece, &espl_model_unigram};

static espl_status read_model(espl_tokenizer *tokenizer, const json_t *root) {
    espl_context *ctx = tokenizer->ctx;
    json_t *object;
    const char *type;
    ESPL_TRY(espl_json_need(ctx, root, "model"));
    ESPL_TRY(espl_json_object(ctx, root, "model", &object));
    /* Files before 2020 name no type; only BPE has merges. */
    ESPL_TRY(espl_json_string(ctx, object, "type", json_object_get(object, "merges") ? "BPE" : NULL, &type));
    for (size_t i = 0; type && i < ESPL_COUNT(models); i++) {
        if (strcmp(type, models[i]->type)) continue;
        tokenizer->model = models[i];
        return models[i]->read(ctx, object, &tokenizer->vocabulary, &tokenizer->state);
    }
    return espl_fail(ctx, ESPL_UNSUPPORTED, "the model \"%.80s\" is not supported", type ? type : "(none)");
}

static espl_status read_added(espl_tokenizer *tokenizer, const json_t *root) {
    espl_context *ctx = tokenizer->ctx;
    json_t *list;
    ESPL_TRY(espl_json_array(ctx, root, "added_tokens", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *object = json_array_get(list, i);
        uint64_t id;
        ESPL_TRY(espl_json_need(ctx, object, "id"));
        ESPL_TRY(espl_json_u64(ctx, object, "id", 0, &id));
        ESPL_TRY(espl_added_add(ctx, &tokenizer->added, &tokenizer->vocabulary, object, id));
    }
    return ESPL_OK;
}

espl_status espl_tokenizer_read_json(espl_tokenizer *tokenizer, const json_t *root) {
    espl_context *ctx = tokenizer->ctx;
    if (!json_is_object(root)) return espl_fail(ctx, ESPL_FORMAT, "a tokenizer.json is an object");
    ESPL_TRY(read_model(tokenizer, root));
    ESPL_TRY(espl_normalizers_read(ctx, &tokenizer->normalizers, json_object_get(root, "normalizer")));
    ESPL_TRY(espl_splitters_read(ctx, &tokenizer->splitters, json_object_get(root, "pre_tokenizer")));
    ESPL_TRY(espl_decoders_read(ctx, &tokenizer->decoders, json_object_get(root, "decoder")));
    ESPL_TRY(read_added(tokenizer, root));
    ESPL_TRY(espl_templates_read(ctx, tokenizer->templates, json_object_get(root, "post_processor")));
    tokenizer->unk = tokenizer->model->unknown(tokenizer->state, &tokenizer->vocabulary);
    return ESPL_OK;
}
