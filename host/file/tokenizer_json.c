/* tokenizer.json of Hugging Face. Whatever the file asks for is either done or refused by name. */
#include "host/file/tokenizer_parts.h"
#include <string.h>

static const espl_token_model *const models[] = {&espl_model_bpe};

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

/* ---- the template around one text ---- */

static espl_status insert_front(espl_context *ctx, espl_ids *ids, const uint32_t *front, size_t count) {
    for (size_t i = 0; i < count; i++) ESPL_TRY(espl_ids_append(ctx, ids, 0));
    if (count == 0) return ESPL_OK;
    memmove(ids->data + count, ids->data, (ids->count - count) * sizeof *ids->data);
    memcpy(ids->data, front, count * sizeof *front);
    return ESPL_OK;
}

static espl_status append_special(espl_context *ctx, const json_t *special_tokens, const char *name, espl_ids *out) {
    const json_t *ids = json_object_get(json_object_get(special_tokens, name), "ids");
    if (!json_is_array(ids)) return espl_fail(ctx, ESPL_FORMAT, "the special token \"%.80s\" has no ids", name);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        int64_t id;
        if (!espl_json_as_i64(json_array_get(ids, i), &id) || id < 0 || id >= ESPL_TOKEN_LIMIT)
            return espl_fail(ctx, ESPL_FORMAT, "the special token \"%.80s\" has an id that is none", name);
        ESPL_TRY(espl_ids_append(ctx, out, (uint32_t)id));
    }
    return ESPL_OK;
}

static espl_status collect_template(espl_context *ctx, const json_t *object, espl_ids *prefix, espl_ids *suffix) {
    json_t *single, *special_tokens;
    espl_ids *to = prefix;
    ESPL_TRY(espl_json_array(ctx, object, "single", &single));
    ESPL_TRY(espl_json_object(ctx, object, "special_tokens", &special_tokens));
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *part = json_array_get(single, i);
        const char *special = json_string_value(json_object_get(json_object_get(part, "SpecialToken"), "id"));
        const char *sequence = json_string_value(json_object_get(json_object_get(part, "Sequence"), "id"));
        if (special) {
            ESPL_TRY(append_special(ctx, special_tokens, special, to));
        } else if (sequence && strcmp(sequence, "A") == 0 && to == prefix) {
            to = suffix;
        } else {
            return espl_fail(ctx, ESPL_UNSUPPORTED, "part %zu of the template \"single\" is not supported", i);
        }
    }
    if (to == suffix) return ESPL_OK;
    return espl_fail(ctx, ESPL_UNSUPPORTED, "the template \"single\" has no place for the text");
}

/* {"cls": ["<s>", 0], "sep": ["</s>", 2]} */
static espl_status collect_pair(espl_context *ctx, const json_t *object, espl_ids *prefix, espl_ids *suffix) {
    static const char *const keys[] = {"cls", "sep"};
    for (size_t i = 0; i < ESPL_COUNT(keys); i++) {
        int64_t id;
        if (!espl_json_as_i64(json_array_get(json_object_get(object, keys[i]), 1), &id) || id < 0 ||
            id >= ESPL_TOKEN_LIMIT)
            return espl_fail(ctx, ESPL_FORMAT, "\"%s\" is not a pair of a token and its number", keys[i]);
        ESPL_TRY(espl_ids_append(ctx, i == 0 ? prefix : suffix, (uint32_t)id));
    }
    return ESPL_OK;
}

static espl_status collect_nothing(espl_context *ctx, const json_t *object, espl_ids *prefix, espl_ids *suffix) {
    (void)ctx, (void)object, (void)prefix, (void)suffix;
    return ESPL_OK;
}

static const struct {
    const char *type;
    espl_status (*collect)(espl_context *ctx, const json_t *object, espl_ids *prefix, espl_ids *suffix);
} processors[] = {
    {"TemplateProcessing", collect_template}, {"RobertaProcessing", collect_pair}, {"BertProcessing", collect_pair},
    {"ByteLevel", collect_nothing}, /* changes offsets, which are not kept here */
};

/* Each processor puts its tokens around what those before it have made. */
static espl_status read_processor(espl_tokenizer *tokenizer, const json_t *object) {
    espl_context *ctx = tokenizer->ctx;
    const char *type;
    if (!object || json_is_null(object)) return ESPL_OK;
    ESPL_TRY(espl_json_need(ctx, object, "type"));
    ESPL_TRY(espl_json_string(ctx, object, "type", "", &type));
    if (strcmp(type, "Sequence") == 0) {
        json_t *parts;
        ESPL_TRY(espl_json_need(ctx, object, "processors"));
        ESPL_TRY(espl_json_array(ctx, object, "processors", &parts));
        for (size_t i = 0; i < json_array_size(parts); i++)
            ESPL_TRY(read_processor(tokenizer, json_array_get(parts, i)));
        return ESPL_OK;
    }
    for (size_t i = 0; i < ESPL_COUNT(processors); i++) {
        if (strcmp(type, processors[i].type)) continue;
        espl_ids front = {0};
        espl_status status = processors[i].collect(ctx, object, &front, &tokenizer->suffix);
        if (status == ESPL_OK) status = insert_front(ctx, &tokenizer->prefix, front.data, front.count);
        espl_free(ctx, &front.data);
        return status;
    }
    return espl_fail(ctx, ESPL_UNSUPPORTED, "the post_processor \"%.80s\" is not supported", type);
}

espl_status espl_tokenizer_read_json(espl_tokenizer *tokenizer, const json_t *root) {
    espl_context *ctx = tokenizer->ctx;
    if (!json_is_object(root)) return espl_fail(ctx, ESPL_FORMAT, "a tokenizer.json is an object");
    ESPL_TRY(read_model(tokenizer, root));
    ESPL_TRY(espl_normalizers_read(ctx, &tokenizer->normalizers, json_object_get(root, "normalizer")));
    ESPL_TRY(espl_splitters_read(ctx, &tokenizer->splitters, json_object_get(root, "pre_tokenizer")));
    ESPL_TRY(espl_decoders_read(ctx, &tokenizer->decoders, json_object_get(root, "decoder")));
    ESPL_TRY(read_added(tokenizer, root));
    ESPL_TRY(read_processor(tokenizer, json_object_get(root, "post_processor")));
    const char *unknown = espl_bpe_unknown(tokenizer->state);
    if (unknown) tokenizer->unk = espl_vocabulary_id(&tokenizer->vocabulary, unknown, strlen(unknown));
    return ESPL_OK;
}
