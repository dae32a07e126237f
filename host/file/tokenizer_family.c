/* What the classes of transformers know and their files do not say: names of special tokens, what goes around texts,
 * where the numbers of a SentencePiece file lie. One row per class. */
#include "host/file/tokenizer_parts.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROLES(bos, eos, unk, sep, pad, cls, mask)                                                                  \
    {[ESPL_ROLE_BOS] = bos, [ESPL_ROLE_EOS] = eos, [ESPL_ROLE_UNK] = unk, [ESPL_ROLE_SEP] = sep,                   \
     [ESPL_ROLE_PAD] = pad, [ESPL_ROLE_CLS] = cls, [ESPL_ROLE_MASK] = mask}

static const espl_family_tokens bert = {
    .roles = ROLES(NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"),
    .single = "cls A sep", .pair = "cls A sep B:1 sep:1"};
static const espl_family_tokens deberta = {
    .roles = ROLES("[CLS]", "[SEP]", "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"),
    .single = "cls A sep", .pair = "cls A sep B:1 sep:1"};
static const espl_family_tokens albert = {
    .roles = ROLES("[CLS]", "[SEP]", "<unk>", "[SEP]", "<pad>", "[CLS]", "[MASK]"),
    .single = "cls A sep", .pair = "cls A sep B:1 sep:1", .mask_takes_space = true};
static const espl_family_tokens roberta = {
    .roles = ROLES("<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"),
    .single = "cls A sep", .pair = "cls A sep sep B sep", .mask_takes_space = true};
static const espl_family_tokens t5 = {
    .roles = ROLES(NULL, "</s>", "<unk>", NULL, "<pad>", NULL, NULL), .single = "A eos", .pair = "A eos B eos"};

const espl_tokenizer_family espl_family_bert = {"bert", "BertTokenizer", &bert, .albert = false};
const espl_tokenizer_family espl_family_xlm_roberta = {"xlm-roberta", "XLMRobertaTokenizer", &roberta, .fairseq = true};
static const espl_tokenizer_family families[] = {
    {"distilbert", "DistilBertTokenizer", &bert, .albert = false},
    {"electra", "ElectraTokenizer", &bert, .albert = false},
    {"roberta", "RobertaTokenizer", &roberta, .albert = false},
    {"albert", "AlbertTokenizer", &albert, .albert = true},
    {"deberta", "DebertaTokenizer", &deberta, .albert = false},
    {"deberta-v2", "DebertaV2Tokenizer", &deberta, .albert = false},
    {"t5", "T5Tokenizer", &t5, .extra_ids = 100},
    {"mt5", "T5Tokenizer", &t5, .extra_ids = 0},
};

static bool same_class(const char *name, const char *class_name) {
    const size_t bytes = strlen(class_name);
    return strncmp(name, class_name, bytes) == 0 && (name[bytes] == 0 || strcmp(name + bytes, "Fast") == 0);
}

const espl_tokenizer_family *espl_family_find(const json_t *config, const json_t *model_config,
                                              const char **out_class) {
    const char *class_name = json_string_value(json_object_get(config, "tokenizer_class"));
    const char *model_type = json_string_value(json_object_get(model_config, "model_type"));
    if (!class_name) class_name = json_string_value(json_object_get(model_config, "tokenizer_class"));
    if (out_class) *out_class = class_name ? class_name : model_type;
    for (size_t i = 0; i < ESPL_COUNT(families) + 2; i++) {
        const espl_tokenizer_family *family = i == 0   ? &espl_family_bert
                                              : i == 1 ? &espl_family_xlm_roberta
                                                       : &families[i - 2];
        if (class_name ? same_class(class_name, family->class_name)
                       : model_type && strcmp(model_type, family->model_type) == 0)
            return family;
    }
    return NULL;
}

/* ---- special tokens ---- */

static const char *const role_keys[ESPL_ROLE_COUNT] = {
    [ESPL_ROLE_BOS] = "bos_token", [ESPL_ROLE_EOS] = "eos_token", [ESPL_ROLE_UNK] = "unk_token",
    [ESPL_ROLE_SEP] = "sep_token", [ESPL_ROLE_PAD] = "pad_token", [ESPL_ROLE_CLS] = "cls_token",
    [ESPL_ROLE_MASK] = "mask_token"};

/* "bos_token": "<s>" or {"content": "<s>", ...}, else what the family says; NULL if there is none. */
static const char *role_text(const espl_tokenizer *t, const json_t *config, espl_role role) {
    const json_t *value = json_object_get(config, role_keys[role]);
    if (json_is_object(value)) value = json_object_get(value, "content");
    if (json_is_string(value)) return json_string_value(value);
    return t->family ? t->family->tokens->roles[role] : NULL;
}

static uint32_t role_id(const espl_tokenizer *t, const json_t *config, espl_role role) {
    const char *text = role_text(t, config, role);
    return text ? espl_vocabulary_id(&t->vocabulary, text, strlen(text)) : ESPL_NO_TOKEN;
}

espl_status espl_tokenizer_read_special(espl_tokenizer *t, const json_t *config) {
    uint32_t *const ids[ESPL_ROLE_COUNT] = {[ESPL_ROLE_BOS] = &t->bos, [ESPL_ROLE_EOS] = &t->eos,
                                            [ESPL_ROLE_UNK] = &t->unk, [ESPL_ROLE_PAD] = &t->pad};
    for (size_t role = 0; role < ESPL_ROLE_COUNT; role++) {
        const char *text = role_text(t, config, (espl_role)role);
        const uint32_t id = role_id(t, config, (espl_role)role);
        const bool named = json_object_get(config, role_keys[role]) != NULL;
        if (!text || !ids[role] || (id == ESPL_NO_TOKEN && !named)) continue;
        *ids[role] = id;
        if (id == ESPL_NO_TOKEN)
            espl_log(t->ctx, ESPL_LOG_WARNING, "the %s \"%.80s\" is not in the vocabulary", role_keys[role], text);
    }
    return ESPL_OK;
}

static espl_status add_token(espl_tokenizer *t, const char *text, bool takes_space) {
    json_t *object = json_pack("{s:s,s:b,s:b}", "content", text, "special", 1, "lstrip", (int)takes_space);
    if (!object) return espl_fail(t->ctx, ESPL_HOST_MEMORY, "no memory for a token");
    /* One that the vocabulary lacks comes behind all others. */
    espl_status status = espl_added_add(t->ctx, &t->added, &t->vocabulary, object, t->vocabulary.count);
    espl_json_destroy(&object);
    return status;
}

/* Without a list of added tokens: those of the roles, and the sentinels of T5. */
static espl_status add_roles(espl_tokenizer *t, const json_t *config) {
    uint32_t extra_ids;
    for (size_t role = 0; role < ESPL_ROLE_COUNT; role++) {
        const char *text = role_text(t, config, (espl_role)role);
        const json_t *object = json_object_get(config, role_keys[role]);
        bool takes_space = t->family && t->family->tokens->mask_takes_space && role == ESPL_ROLE_MASK;
        if (json_is_object(object)) ESPL_TRY(espl_json_bool(t->ctx, object, "lstrip", takes_space, &takes_space));
        if (text && *text) ESPL_TRY(add_token(t, text, takes_space));
    }
    ESPL_TRY(espl_json_u32(t->ctx, config, "extra_ids", t->family ? t->family->extra_ids : 0, &extra_ids));
    if (extra_ids > 10000) return espl_fail(t->ctx, ESPL_LIMIT, "\"extra_ids\" is %u, the limit is 10000", extra_ids);
    for (uint32_t i = extra_ids; i-- > 0;) {
        char text[32];
        snprintf(text, sizeof text, "<extra_id_%u>", (unsigned)i);
        ESPL_TRY(add_token(t, text, false));
    }
    return ESPL_OK;
}

espl_status espl_tokenizer_read_added(espl_tokenizer *t, const json_t *config) {
    espl_context *ctx = t->ctx;
    json_t *table, *object;
    const char *key;
    ESPL_TRY(espl_json_object(ctx, config, "added_tokens_decoder", &table));
    if (!table && t->family && (config || t->class_name)) return add_roles(t, config);
    json_object_foreach(table, key, object) {
        char *end;
        unsigned long long id = strtoull(key, &end, 10);
        if (*end || end == key || key[0] == '-')
            return espl_fail(ctx, ESPL_FORMAT, "added_tokens_decoder: \"%.40s\" is not a token number", key);
        ESPL_TRY(espl_added_add(ctx, &t->added, &t->vocabulary, object, id));
    }
    return ESPL_OK;
}

/* ---- templates ---- */

/* One word of a template of the table above: "A", "B:1", "sep". */
static espl_status add_word(espl_tokenizer *t, const json_t *config, const char *word, size_t bytes,
                            espl_template *out) {
    espl_template_part part = {.id = ESPL_NO_TOKEN};
    if (bytes > 2 && word[bytes - 2] == ':') {
        part.type = (uint8_t)(word[bytes - 1] - '0');
        bytes -= 2;
    }
    if (bytes == 1) {
        part.sequence = word[0] == 'B';
        return espl_template_add(t->ctx, out, part);
    }
    for (size_t role = 0; role < ESPL_ROLE_COUNT; role++) {
        if (strncmp(role_keys[role], word, bytes)) continue;
        part.id = role_id(t, config, (espl_role)role);
        if (part.id != ESPL_NO_TOKEN) return espl_template_add(t->ctx, out, part);
        const char *text = role_text(t, config, (espl_role)role);
        return espl_fail(t->ctx, ESPL_FORMAT, "the vocabulary lacks the %s \"%.40s\" of a %s", role_keys[role],
                         text ? text : "", t->family->class_name);
    }
    return espl_fail(t->ctx, ESPL_INTERNAL, "a template has the word \"%.*s\"", (int)bytes, word);
}

espl_status espl_tokenizer_read_around(espl_tokenizer *t, const json_t *config, bool add_bos, bool add_eos) {
    if (!t->family) {
        ESPL_TRY(espl_json_bool(t->ctx, config, "add_bos_token", add_bos, &add_bos));
        ESPL_TRY(espl_json_bool(t->ctx, config, "add_eos_token", add_eos, &add_eos));
        for (uint8_t texts = 0; texts < 2; texts++) {
            for (uint8_t i = 0; i <= texts; i++) {
                const espl_template_part text = {.id = ESPL_NO_TOKEN, .sequence = i, .type = i};
                const espl_template_part bos = {.id = t->bos, .type = i}, eos = {.id = t->eos, .type = i};
                if (add_bos && bos.id != ESPL_NO_TOKEN) ESPL_TRY(espl_template_add(t->ctx, &t->templates[texts], bos));
                ESPL_TRY(espl_template_add(t->ctx, &t->templates[texts], text));
                if (add_eos && eos.id != ESPL_NO_TOKEN) ESPL_TRY(espl_template_add(t->ctx, &t->templates[texts], eos));
            }
        }
        return ESPL_OK;
    }
    const char *const templates[] = {t->family->tokens->single, t->family->tokens->pair};
    for (size_t i = 0; i < ESPL_COUNT(templates); i++) {
        for (const char *at = templates[i]; *at;) {
            const size_t bytes = strcspn(at, " ");
            ESPL_TRY(add_word(t, config, at, bytes, &t->templates[i]));
            at += bytes + (at[bytes] == ' ');
        }
    }
    return ESPL_OK;
}
