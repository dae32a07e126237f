/* What goes around texts: templates of special tokens and places for one text or two, from the "post_processor" of a
 * tokenizer.json, and cutting to a length. The template decides the type of each token also where no special ones are
 * wanted.
 * Source: huggingface/tokenizers src/processors and src/utils/truncation.rs. */
#include "host/file/tokenizer_parts.h"
#include <string.h>

espl_status espl_template_add(espl_context *ctx, espl_template *template, espl_template_part part) {
    ESPL_TRY(espl_grow(ctx, &template->parts, &template->capacity, template->count + 1, sizeof *template->parts));
    template->parts[template->count++] = part;
    return ESPL_OK;
}

/* ---- reading ---- */

static espl_status read_type(espl_context *ctx, const json_t *part, uint8_t *out_type) {
    uint32_t type;
    ESPL_TRY(espl_json_u32(ctx, part, "type_id", 0, &type));
    if (type > UINT8_MAX) return espl_fail(ctx, ESPL_LIMIT, "a template has the type %u, the limit is 255", (unsigned)type);
    *out_type = (uint8_t)type;
    return ESPL_OK;
}

static espl_status add_special(espl_context *ctx, const json_t *special_tokens, const json_t *part,
                               espl_template *out) {
    const char *name = json_string_value(json_object_get(part, "id"));
    const json_t *ids = json_object_get(json_object_get(special_tokens, name), "ids");
    uint8_t type = 0;
    ESPL_TRY(read_type(ctx, part, &type));
    if (!json_is_array(ids)) return espl_fail(ctx, ESPL_FORMAT, "the special token \"%.80s\" has no ids", name);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        int64_t id;
        if (!espl_json_as_i64(json_array_get(ids, i), &id) || id < 0 || id >= ESPL_TOKEN_LIMIT)
            return espl_fail(ctx, ESPL_FORMAT, "the special token \"%.80s\" has an id that is none", name);
        ESPL_TRY(espl_template_add(ctx, out, (espl_template_part){.id = (uint32_t)id, .type = type}));
    }
    return ESPL_OK;
}

static espl_status read_list(espl_context *ctx, const json_t *object, const char *key, espl_template *out) {
    json_t *list, *special_tokens;
    size_t texts[2] = {0};
    ESPL_TRY(espl_json_array(ctx, object, key, &list));
    ESPL_TRY(espl_json_object(ctx, object, "special_tokens", &special_tokens));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i), *text = json_object_get(item, "Sequence");
        const json_t *special = json_object_get(item, "SpecialToken");
        const char *name = json_string_value(json_object_get(text ? text : special, "id"));
        espl_template_part part = {.id = ESPL_NO_TOKEN};
        if (special && name) {
            ESPL_TRY(add_special(ctx, special_tokens, special, out));
        } else if (name && (strcmp(name, "A") == 0 || strcmp(name, "B") == 0)) {
            part.sequence = name[0] == 'B';
            texts[part.sequence]++;
            ESPL_TRY(read_type(ctx, text, &part.type));
            ESPL_TRY(espl_template_add(ctx, out, part));
        } else {
            return espl_fail(ctx, ESPL_UNSUPPORTED, "part %zu of the template \"%s\" is not supported", i, key);
        }
    }
    const bool is_pair = strcmp(key, "pair") == 0;
    if ((is_pair && json_array_size(list) == 0) || (texts[0] == 1 && texts[1] == (is_pair ? 1 : 0))) return ESPL_OK;
    return espl_fail(ctx, ESPL_UNSUPPORTED, "the template \"%s\" has %zu places for the text and %zu for a second", key,
                     texts[0], texts[1]);
}

static espl_status read_template(espl_context *ctx, const json_t *object, espl_template out[2]) {
    ESPL_TRY(read_list(ctx, object, "single", &out[0]));
    return read_list(ctx, object, "pair", &out[1]);
}

/* {"cls": ["<s>", 0], "sep": ["</s>", 2]}; two separators between texts and type 0 throughout for RoBERTa. */
static espl_status read_cls_sep(espl_context *ctx, const json_t *object, bool roberta, espl_template out[2]) {
    static const char *const keys[] = {"cls", "sep"};
    espl_template_part parts[2];
    for (size_t i = 0; i < ESPL_COUNT(keys); i++) {
        int64_t id;
        if (!espl_json_as_i64(json_array_get(json_object_get(object, keys[i]), 1), &id) || id < 0 ||
            id >= ESPL_TOKEN_LIMIT)
            return espl_fail(ctx, ESPL_FORMAT, "\"%s\" is not a pair of a token and its number", keys[i]);
        parts[i] = (espl_template_part){.id = (uint32_t)id};
    }
    const espl_template_part text = {.id = ESPL_NO_TOKEN};
    for (size_t i = 0; i < 2; i++) {
        ESPL_TRY(espl_template_add(ctx, &out[i], parts[0]));
        ESPL_TRY(espl_template_add(ctx, &out[i], text));
        ESPL_TRY(espl_template_add(ctx, &out[i], parts[1]));
    }
    const uint8_t type = roberta ? 0 : 1;
    parts[1].type = type;
    if (roberta) ESPL_TRY(espl_template_add(ctx, &out[1], parts[1]));
    ESPL_TRY(espl_template_add(ctx, &out[1], (espl_template_part){.id = ESPL_NO_TOKEN, .sequence = 1, .type = type}));
    return espl_template_add(ctx, &out[1], parts[1]);
}

static espl_status read_roberta(espl_context *ctx, const json_t *object, espl_template out[2]) {
    return read_cls_sep(ctx, object, true, out);
}

static espl_status read_bert(espl_context *ctx, const json_t *object, espl_template out[2]) {
    return read_cls_sep(ctx, object, false, out);
}

static const struct {
    const char *type;
    espl_status (*read)(espl_context *ctx, const json_t *object, espl_template out[2]);
} processors[] = {
    {"TemplateProcessing", read_template},
    {"RobertaProcessing", read_roberta},
    {"BertProcessing", read_bert},
    {"ByteLevel", NULL}, /* changes offsets, which are not kept here */
};

espl_status espl_templates_read(espl_context *ctx, espl_template templates[2], const json_t *object) {
    const char *type;
    if (!object || json_is_null(object)) return ESPL_OK;
    ESPL_TRY(espl_json_need(ctx, object, "type"));
    ESPL_TRY(espl_json_string(ctx, object, "type", "", &type));
    if (strcmp(type, "Sequence") == 0) {
        json_t *parts;
        ESPL_TRY(espl_json_need(ctx, object, "processors"));
        ESPL_TRY(espl_json_array(ctx, object, "processors", &parts));
        for (size_t i = 0; i < json_array_size(parts); i++)
            ESPL_TRY(espl_templates_read(ctx, templates, json_array_get(parts, i)));
        return ESPL_OK;
    }
    for (size_t i = 0; i < ESPL_COUNT(processors); i++) {
        if (strcmp(type, processors[i].type)) continue;
        if (!processors[i].read) return ESPL_OK;
        if (templates[0].count || templates[1].count)
            return espl_fail(ctx, ESPL_UNSUPPORTED, "a post_processor with a second template, %s, is not supported", type);
        return processors[i].read(ctx, object, templates);
    }
    return espl_fail(ctx, ESPL_UNSUPPORTED, "the post_processor \"%.80s\" is not supported", type);
}

/* ---- encoding ---- */

/* How many tokens of each text stay so that both have at most `limit`: the longer one is cut first. */
static void cut(size_t counts[2], bool is_pair, size_t limit) {
    if (counts[0] + counts[1] <= limit) return;
    if (!is_pair) {
        counts[0] = limit;
        return;
    }
    const size_t longer = counts[0] > counts[1] ? 0 : 1, shorter = 1 - longer;
    /* The shorter one keeps all it has if that is at most half; of an odd number the longer one gets more. */
    if (counts[shorter] > limit / 2) counts[shorter] = limit / 2;
    counts[longer] = limit - counts[shorter];
}

static espl_status append(espl_tokenizer *t, uint32_t id, uint32_t word, uint8_t type, bool special) {
    const unsigned char bytes[] = {type, special};
    ESPL_TRY(espl_ids_append(t->ctx, &t->whole, id));
    ESPL_TRY(espl_ids_append(t->ctx, &t->whole_words, word));
    ESPL_TRY(espl_bytes_append(t->ctx, &t->types, &bytes[0], 1));
    return espl_bytes_append(t->ctx, &t->special, &bytes[1], 1);
}

/* begins: of the two texts in t->ids. */
static espl_status put_together(espl_tokenizer *t, const espl_template *template, const size_t begins[2],
                                const size_t counts[2], bool add_special) {
    for (size_t i = 0; i < template->count; i++) {
        const espl_template_part *part = &template->parts[i];
        if (part->id != ESPL_NO_TOKEN) {
            if (add_special) ESPL_TRY(append(t, part->id, ESPL_NO_TOKEN, part->type, true));
            continue;
        }
        for (size_t k = begins[part->sequence]; k < begins[part->sequence] + counts[part->sequence]; k++)
            ESPL_TRY(append(t, t->ids.data[k], t->words.data[k], part->type, false));
    }
    return ESPL_OK;
}

/* t->ids grows by a text, t->words with it. */
static espl_status encode_one(espl_tokenizer *t, const char *text, size_t bytes, uint32_t word) {
    ESPL_TRY(espl_tokenizer_encode_text(t, text, bytes));
    while (t->words.count < t->ids.count) ESPL_TRY(espl_ids_append(t->ctx, &t->words, word));
    return ESPL_OK;
}

static espl_status encode_texts(espl_tokenizer *t, const espl_texts *texts, size_t counts[2]) {
    t->ids.count = t->words.count = t->whole.count = t->whole_words.count = t->types.count = t->special.count = 0;
    for (size_t i = 0; i < texts->word_count; i++)
        ESPL_TRY(encode_one(t, texts->words[i], strlen(texts->words[i]), (uint32_t)i));
    if (texts->text) ESPL_TRY(encode_one(t, texts->text, texts->text_bytes, ESPL_NO_TOKEN));
    counts[0] = t->ids.count;
    if (texts->pair) ESPL_TRY(encode_one(t, texts->pair, texts->pair_bytes, ESPL_NO_TOKEN));
    counts[1] = t->ids.count - counts[0];
    return ESPL_OK;
}

espl_status espl_tokenizer_encode_texts(espl_tokenizer *t, const espl_texts *texts, espl_encoding *out_encoding) {
    static espl_template_part plain_parts[] = {{.id = ESPL_NO_TOKEN},
                                               {.id = ESPL_NO_TOKEN, .sequence = 1, .type = 1}};
    const bool is_pair = texts->pair != NULL;
    const espl_template plain = {.parts = plain_parts, .count = is_pair ? 2 : 1};
    const espl_template *template = t->templates[is_pair].count ? &t->templates[is_pair] : &plain;
    size_t counts[2], added = 0;
    *out_encoding = (espl_encoding){0};
    if (texts->text && texts->words)
        return espl_fail(t->ctx, ESPL_ARGUMENT, "both a text and words were given to the tokenizer");
    for (size_t i = 0; texts->add_special && i < template->count; i++) added += template->parts[i].id != ESPL_NO_TOKEN;
    if (texts->max_tokens && texts->max_tokens < added)
        return espl_fail(t->ctx, ESPL_ARGUMENT, "at most %zu tokens were asked for, the special ones alone are %zu",
                         texts->max_tokens, added);
    ESPL_TRY(encode_texts(t, texts, counts));
    const size_t begins[2] = {0, counts[0]};
    if (texts->max_tokens) cut(counts, is_pair, texts->max_tokens - added);
    ESPL_TRY(put_together(t, template, begins, counts, texts->add_special));
    *out_encoding = (espl_encoding){.ids = t->whole.data, .words = t->whole_words.data,
                                    .types = (const uint8_t *)t->types.data,
                                    .special = (const uint8_t *)t->special.data, .count = t->whole.count};
    return ESPL_OK;
}
