/* Normalizers: text to text. */
#include "host/file/tokenizer_parts.h"
#include <string.h>
#include <utf8proc.h>

typedef espl_status normalizer(espl_context *ctx, const espl_step *step, const char *text, size_t bytes,
                               espl_bytes *out);

static espl_status read_prepend(espl_context *ctx, espl_step *step, const json_t *object) {
    return espl_step_text(ctx, step, object, "prepend");
}

static espl_status prepend(espl_context *ctx, const espl_step *step, const char *text, size_t bytes, espl_bytes *out) {
    if (bytes) ESPL_TRY(espl_bytes_append(ctx, out, step->text, step->text_bytes));
    return espl_bytes_append(ctx, out, text, bytes);
}

static espl_status read_replace(espl_context *ctx, espl_step *step, const json_t *object) {
    ESPL_TRY(espl_step_pattern(ctx, step, object));
    return espl_step_text(ctx, step, object, "content");
}

static espl_status read_nfc(espl_context *ctx, espl_step *step, const json_t *object) {
    (void)ctx, (void)object;
    step->options = UTF8PROC_COMPOSE;
    return ESPL_OK;
}

static espl_status read_nfd(espl_context *ctx, espl_step *step, const json_t *object) {
    (void)ctx, (void)object;
    step->options = UTF8PROC_DECOMPOSE;
    return ESPL_OK;
}

static espl_status read_nfkc(espl_context *ctx, espl_step *step, const json_t *object) {
    (void)ctx, (void)object;
    step->options = UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
    return ESPL_OK;
}

static espl_status read_nfkd(espl_context *ctx, espl_step *step, const json_t *object) {
    (void)ctx, (void)object;
    step->options = UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
    return ESPL_OK;
}

/* ASCII is its own normal form under all four. */
static bool is_ascii(const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] >= 0x80) return false;
    return true;
}

static espl_status normal_form(espl_context *ctx, const espl_step *step, const char *text, size_t bytes,
                               espl_bytes *out) {
    if (is_ascii(text, bytes)) return espl_bytes_append(ctx, out, text, bytes);
    const utf8proc_option_t options = (utf8proc_option_t)(step->options | UTF8PROC_STABLE);
    const utf8proc_uint8_t *from = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t length = utf8proc_decompose(from, (utf8proc_ssize_t)bytes, NULL, 0, options);
    if (length < 0) return espl_fail(ctx, ESPL_INTERNAL, "utf8proc: %s", utf8proc_errmsg(length));
    utf8proc_int32_t *codes;
    ESPL_TRY(espl_new(ctx, ((size_t)length + 1) * sizeof *codes, &codes));
    espl_status status = ESPL_OK;
    length = utf8proc_decompose(from, (utf8proc_ssize_t)bytes, codes, length, options);
    /* Encodes in place: no code point takes more than the four bytes it has here. */
    if (length >= 0) length = utf8proc_reencode(codes, length, options);
    if (length < 0) status = espl_fail(ctx, ESPL_INTERNAL, "utf8proc: %s", utf8proc_errmsg(length));
    else status = espl_bytes_append(ctx, out, codes, (size_t)length);
    espl_free(ctx, &codes);
    return status;
}

static espl_status lowercase(espl_context *ctx, const espl_step *step, const char *text, size_t bytes,
                             espl_bytes *out) {
    (void)step;
    for (size_t at = 0; at < bytes;) {
        uint32_t code = espl_utf8_next(text, &at);
        char put[4];
        /* The one character whose small form is two. */
        if (code == 0x130) ESPL_TRY(espl_bytes_append(ctx, out, "i\xCC\x87", 3));
        else ESPL_TRY(espl_bytes_append(
            ctx, out, put, (size_t)espl_utf8_put((uint32_t)utf8proc_tolower((utf8proc_int32_t)code), put)));
    }
    return ESPL_OK;
}

static espl_status read_strip(espl_context *ctx, espl_step *step, const json_t *object) {
    ESPL_TRY(espl_json_bool(ctx, object, "strip_left", true, &step->left));
    return espl_json_bool(ctx, object, "strip_right", true, &step->right);
}

static espl_status strip(espl_context *ctx, const espl_step *step, const char *text, size_t bytes, espl_bytes *out) {
    size_t begin = 0, end = bytes;
    for (size_t next = 0; step->left && begin < end; begin = next)
        if (!espl_char_is_space(espl_utf8_next(text, &next))) break;
    while (step->right && end > begin) {
        size_t before = espl_utf8_before(text, end), at = before;
        if (!espl_char_is_space(espl_utf8_next(text, &at))) break;
        end = before;
    }
    return espl_bytes_append(ctx, out, text + begin, end - begin);
}

/* ---- accents, and BERT ---- */

enum { MARK_ANY = 1u << UTF8PROC_CATEGORY_MN | 1u << UTF8PROC_CATEGORY_MC | 1u << UTF8PROC_CATEGORY_ME };

static espl_status without(espl_context *ctx, uint32_t categories, const char *text, size_t bytes, espl_bytes *out) {
    for (size_t at = 0; at < bytes;) {
        size_t begin = at;
        const utf8proc_int32_t code = (utf8proc_int32_t)espl_utf8_next(text, &at);
        if (!(categories >> utf8proc_category(code) & 1u)) ESPL_TRY(espl_bytes_append(ctx, out, text + begin, at - begin));
    }
    return ESPL_OK;
}

static espl_status strip_accents(espl_context *ctx, const espl_step *step, const char *text, size_t bytes,
                                 espl_bytes *out) {
    (void)step;
    return without(ctx, MARK_ANY, text, bytes, out);
}

static espl_status read_bert(espl_context *ctx, espl_step *step, const json_t *object) {
    step->options = UTF8PROC_DECOMPOSE;
    ESPL_TRY(espl_json_bool(ctx, object, "clean_text", true, &step->clean_text));
    ESPL_TRY(espl_json_bool(ctx, object, "handle_chinese_chars", true, &step->chinese));
    ESPL_TRY(espl_json_bool(ctx, object, "lowercase", true, &step->lowercase));
    return espl_json_bool(ctx, object, "strip_accents", step->lowercase, &step->strip_accents);
}

/* Ideographs, of which each is a word. The bounds are those of the reference: its block E begins at 2B920. */
static bool is_chinese(uint32_t code) {
    static const uint32_t blocks[][2] = {{0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
                                         {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f}};
    for (size_t i = 0; i < ESPL_COUNT(blocks); i++)
        if (code >= blocks[i][0] && code <= blocks[i][1]) return true;
    return false;
}

static bool is_control(uint32_t code) {
    const uint32_t categories = 1u << UTF8PROC_CATEGORY_CC | 1u << UTF8PROC_CATEGORY_CF | 1u << UTF8PROC_CATEGORY_CO;
    return code == 0xfffd || (categories >> utf8proc_category((utf8proc_int32_t)code) & 1u);
}

/* Control characters go, white space becomes a space, ideographs get spaces around them. */
static espl_status clean(espl_context *ctx, const espl_step *step, const char *text, size_t bytes, espl_bytes *out) {
    for (size_t at = 0; at < bytes;) {
        size_t begin = at;
        const uint32_t code = espl_utf8_next(text, &at);
        const bool space = code == '\t' || code == '\n' || code == '\r' || espl_char_is_space(code);
        const bool chinese = step->chinese && is_chinese(code);
        if (step->clean_text && (code == 0 || (is_control(code) && code != '\t' && code != '\n' && code != '\r')))
            continue;
        if (chinese) ESPL_TRY(espl_bytes_append(ctx, out, " ", 1));
        if (step->clean_text && space) ESPL_TRY(espl_bytes_append(ctx, out, " ", 1));
        else ESPL_TRY(espl_bytes_append(ctx, out, text + begin, at - begin));
        if (chinese) ESPL_TRY(espl_bytes_append(ctx, out, " ", 1));
    }
    return ESPL_OK;
}

static espl_status bert(espl_context *ctx, const espl_step *step, const char *text, size_t bytes, espl_bytes *out) {
    espl_bytes from = {0}, to = {0};
    espl_status status = espl_bytes_append(ctx, &from, "", 0);
    if (status == ESPL_OK) status = clean(ctx, step, text, bytes, &from);
    if (status == ESPL_OK && step->strip_accents) status = normal_form(ctx, step, from.data, from.count, &to);
    if (status == ESPL_OK && step->strip_accents) {
        from.count = 0;
        status = without(ctx, 1u << UTF8PROC_CATEGORY_MN, to.count ? to.data : "", to.count, &from);
    }
    if (status == ESPL_OK && step->lowercase) status = lowercase(ctx, step, from.data, from.count, out);
    else if (status == ESPL_OK) status = espl_bytes_append(ctx, out, from.data, from.count);
    espl_bytes_finish(ctx, &from);
    espl_bytes_finish(ctx, &to);
    return status;
}

static const espl_step_row rows[] = {
    {"Prepend", read_prepend}, {"Replace", read_replace}, {"NFC", read_nfc},     {"NFD", read_nfd},
    {"NFKC", read_nfkc},       {"NFKD", read_nfkd},       {"Lowercase", NULL},   {"Strip", read_strip},
    {"StripAccents", NULL},    {"BertNormalizer", read_bert}, {"Precompiled", espl_charsmap_read},
};
static normalizer *const functions[ESPL_COUNT(rows)] = {
    prepend, espl_step_replace, normal_form, normal_form, normal_form, normal_form, lowercase, strip,
    strip_accents, bert, espl_charsmap_apply,
};

espl_status espl_normalizers_read(espl_context *ctx, espl_steps *steps, const json_t *object) {
    return espl_steps_read(ctx, steps, object, rows, ESPL_COUNT(rows), "normalizers", "normalizer");
}

/* Whether the step takes away what the text begins with. */
static espl_status takes_start(espl_context *ctx, const espl_step *step, const char *text, size_t bytes,
                               bool *out_takes) {
    size_t begin = 0, end = 0;
    espl_expression_walk walk = {0};
    *out_takes = false;
    normalizer *const function = functions[step->row];
    if (bytes && (function == strip_accents || function == bert || function == espl_charsmap_apply)) {
        espl_bytes one = {0};
        espl_utf8_next(text, &end);
        espl_status status = function(ctx, step, text, end, &one);
        *out_takes = status == ESPL_OK && one.count == 0;
        espl_bytes_finish(ctx, &one);
        return status;
    }
    if (step->left && bytes) *out_takes = espl_char_is_space(espl_utf8_next(text, &end));
    if (!step->literal && !step->expression) return ESPL_OK;
    if (step->text_bytes || bytes == 0) return ESPL_OK;
    ESPL_TRY(espl_step_next(ctx, step, text, bytes, &walk, out_takes, &begin, &end));
    *out_takes = *out_takes && begin == 0 && end > 0;
    return ESPL_OK;
}

espl_status espl_normalize(espl_context *ctx, const espl_steps *steps, const char *text, size_t bytes,
                           espl_bytes *scratch, espl_bytes *out, bool *in_out_first) {
    out->count = 0;
    ESPL_TRY(espl_bytes_append(ctx, out, text, bytes));
    for (size_t i = 0; i < steps->count; i++) {
        bool takes = false;
        scratch->count = 0;
        ESPL_TRY(espl_bytes_append(ctx, scratch, "", 0));
        if (*in_out_first) ESPL_TRY(takes_start(ctx, &steps->items[i], out->data, out->count, &takes));
        *in_out_first = *in_out_first && !takes;
        ESPL_TRY(functions[steps->items[i].row](ctx, &steps->items[i], out->data, out->count, scratch));
        espl_bytes swap = *out;
        *out = *scratch;
        *scratch = swap;
    }
    return ESPL_OK;
}
