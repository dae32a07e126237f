/* Sources of data-to-text sets as one line, see task.h. The spelling is that of the E2E files that prefix tuning (Li
 * and Liang 2021) and LoRA (Hu et al. 2021) used, and of LoRA's conversions of DART and WebNLG. */
#include "host/file/utf8.h"
#include "host/task/read_private.h"
#include <string.h>
#include <utf8proc.h>

static const struct {
    const char *from, *to;
} attributes[] = {{"eatType", "Type"}, {"priceRange", "price"}, {"familyFriendly", "family friendly"}};

static espl_status put(espl_context *ctx, espl_bytes *out, const char *text) {
    return espl_bytes_append(ctx, out, text, strlen(text));
}

espl_status espl_linearize_meaning(espl_context *ctx, espl_task_text meaning, espl_bytes *out) {
    const char *at = meaning.data, *end = at + meaning.bytes;
    for (bool first = true; first || at < end; first = false) {
        const char *open = memchr(at, '[', (size_t)(end - at));
        const char *close = open ? memchr(open, ']', (size_t)(end - open)) : NULL;
        if (!close || open == at)
            return espl_fail(ctx, ESPL_FORMAT, "\"%.*s\" stands where attribute[value] was expected",
                             espl_task_text_shown((espl_task_text){at, (size_t)(end - at)}), at);
        size_t bytes = (size_t)(open - at);
        const char *name = NULL;
        for (size_t a = 0; a < ESPL_COUNT(attributes); a++) {
            if (strlen(attributes[a].from) == bytes && memcmp(attributes[a].from, at, bytes) == 0)
                name = attributes[a].to;
        }
        if (!first) ESPL_TRY(put(ctx, out, " | "));
        ESPL_TRY(espl_bytes_append(ctx, out, name ? name : at, name ? strlen(name) : bytes));
        ESPL_TRY(put(ctx, out, " : "));
        ESPL_TRY(espl_bytes_append(ctx, out, open + 1, (size_t)(close - open - 1)));
        at = close + 1;
        if (at < end && *at == ',')
            at++;
        else if (at < end)
            return espl_fail(ctx, ESPL_FORMAT, "\"%.*s\" stands where a comma was expected",
                             espl_task_text_shown((espl_task_text){at, (size_t)(end - at)}), at);
        while (at < end && *at == ' ')
            at++;
    }
    return ESPL_OK;
}

static espl_status put_lower(espl_context *ctx, espl_bytes *out, const char *text, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        char letter[4];
        uint32_t code = espl_utf8_next(text, &at);
        int length = espl_utf8_put((uint32_t)utf8proc_tolower((utf8proc_int32_t)code), letter);
        ESPL_TRY(espl_bytes_append(ctx, out, letter, (size_t)length));
    }
    return ESPL_OK;
}

espl_status espl_linearize_triples(espl_context *ctx, const json_t *triples, bool lower, espl_bytes *out) {
    if (!json_is_array(triples) || json_array_size(triples) == 0)
        return espl_fail(ctx, ESPL_FORMAT, "the triples are %s, a list of [subject, relation, object] was expected",
                         json_is_array(triples) ? "an empty list" : espl_json_type_name(triples));
    for (size_t t = 0; t < json_array_size(triples); t++) {
        const json_t *triple = json_array_get(triples, t);
        if (json_array_size(triple) != 3)
            return espl_fail(ctx, ESPL_FORMAT, "triple %zu is not a list of subject, relation and object", t + 1);
        if (t) ESPL_TRY(put(ctx, out, " | "));
        for (size_t p = 0; p < 3; p++) {
            const json_t *part = json_array_get(triple, p);
            if (!json_is_string(part))
                return espl_fail(ctx, ESPL_FORMAT, "part %zu of triple %zu is %s, a string was expected", p + 1, t + 1,
                                 espl_json_type_name(part));
            if (p) ESPL_TRY(put(ctx, out, " : "));
            const char *text = json_string_value(part);
            size_t bytes = json_string_length(part);
            ESPL_TRY(p == 1 && lower ? put_lower(ctx, out, text, bytes) : espl_bytes_append(ctx, out, text, bytes));
        }
    }
    return ESPL_OK;
}
