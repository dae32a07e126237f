/* Conversations as text: the forms, and how one is chosen. */
#include "host/train/chat.h"
#include "host/base/os.h"
#include "host/file/json.h"
#include <string.h>

typedef enum system_place { SYSTEM_OWN, SYSTEM_IN_FIRST, SYSTEM_IN_LAST } system_place;

/* In the texts: %b begin token, %e end token. */
struct espl_chat_form {
    const char *name;
    const char *signs[2]; /* in the template's text; all of them */
    const char *start;    /* once */
    struct {
        const char *before, *behind;
    } system, user, assistant;
    const char *said;   /* before what the assistant says, part of it */
    const char *ending; /* marks the end of what the assistant says, part of it; assistant.behind follows */
    system_place place; /* the system message alone, or inside a user's message */
    bool strip;         /* white space around contents goes */
    bool strip_said;    /* around those of the assistant only */
    bool turns;         /* user and assistant must alternate, the user first */
};

#define HEADER(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"

/* The first whose signs are all there. */
static const espl_chat_form forms[] = {
    {.name = "chatml",
     .signs = {"<|im_start|>"},
     .system = {"<|im_start|>system\n", "<|im_end|>\n"},
     .user = {"<|im_start|>user\n", "<|im_end|>\n"},
     .assistant = {"<|im_start|>assistant\n", "\n"},
     .ending = "<|im_end|>"},
    {.name = "llama3",
     .signs = {"<|start_header_id|>"},
     .start = "%b",
     .system = {HEADER("system"), "<|eot_id|>"},
     .user = {HEADER("user"), "<|eot_id|>"},
     .assistant = {HEADER("assistant"), ""},
     .ending = "<|eot_id|>",
     .strip = true},
    {.name = "llama2",
     .signs = {"[INST]", "<<SYS>>"},
     .system = {"<<SYS>>\n", "\n<</SYS>>\n\n"},
     .user = {"%b[INST] ", " [/INST]"},
     .assistant = {"", ""},
     .said = " ",
     .ending = " %e",
     .place = SYSTEM_IN_FIRST,
     .strip = true,
     .turns = true},
    {.name = "mistral-v1",
     .signs = {" [INST] ", " [/INST]"},
     .start = "%b",
     .system = {"", "\n\n"},
     .user = {" [INST] ", " [/INST]"},
     .assistant = {"", ""},
     .said = " ",
     .ending = "%e",
     .place = SYSTEM_IN_FIRST,
     .turns = true},
    {.name = "mistral",
     .signs = {"[INST]", " [/INST]"},
     .start = "%b",
     .system = {"", "\n\n"},
     .user = {"[INST] ", " [/INST]"},
     .assistant = {"", ""},
     .ending = "%e",
     .place = SYSTEM_IN_FIRST,
     .turns = true},
    {.name = "mistral-v3",
     .signs = {"[INST]", "[/INST]"},
     .start = "%b",
     .system = {"", "\n\n"},
     .user = {"[INST] ", "[/INST]"},
     .assistant = {"", ""},
     .said = " ",
     .ending = "%e",
     .place = SYSTEM_IN_LAST,
     .strip_said = true,
     .turns = true},
    {.name = "zephyr",
     .signs = {"<|user|>", "eos_token"},
     .system = {"<|system|>\n", "%e\n"},
     .user = {"<|user|>\n", "%e\n"},
     .assistant = {"<|assistant|>\n", "\n"},
     .ending = "%e"},
};

/* ChatML templates of Qwen carry a system message of their own: <|im_start|>system\n...<|im_end|> in one string. */
static void find_system(const char *template_text, espl_chat *chat) {
    static const char begin[] = "<|im_start|>system\\n", end[] = "<|im_end|>";
    const char *at = template_text;
    while ((at = strstr(at, begin))) {
        at += sizeof begin - 1;
        size_t bytes = strcspn(at, "'\"\\{}<");
        if (bytes == 0 || strncmp(at + bytes, end, sizeof end - 1) != 0) continue;
        chat->system = at;
        chat->system_bytes = bytes;
        return;
    }
}

espl_chat espl_chat_recognize(const char *template_text, bool *out_known) {
    espl_chat chat = {.form = &forms[0]};
    if (out_known) *out_known = true;
    for (size_t f = 0; template_text && f < ESPL_COUNT(forms); f++) {
        bool named = strcmp(template_text, forms[f].name) == 0, found = true;
        for (size_t s = 0; s < ESPL_COUNT(forms[f].signs) && forms[f].signs[s]; s++)
            found = found && strstr(template_text, forms[f].signs[s]);
        if (!named && !found) continue;
        chat.form = &forms[f];
        if (f == 0 && !named) find_system(template_text, &chat);
        return chat;
    }
    if (out_known) *out_known = false;
    return chat;
}

espl_chat espl_chat_guess(const espl_tokenizer *tokenizer) {
    static const struct {
        const char *piece, *form;
    } rows[] = {{"<|im_start|>", "chatml"}, {"<|start_header_id|>", "llama3"}, {"[INST]", "mistral-v3"}};
    for (size_t r = 0; r < ESPL_COUNT(rows); r++) {
        if (espl_tokenizer_find(tokenizer, rows[r].piece) != ESPL_NO_TOKEN)
            return espl_chat_recognize(rows[r].form, NULL);
    }
    return espl_chat_recognize(NULL, NULL);
}

const char *espl_chat_name(const espl_chat *chat) {
    return chat->form->name;
}

static espl_status template_of_config(espl_context *ctx, const json_t *config, char **out_text) {
    const json_t *found = json_object_get(config, "chat_template");
    const char *text = NULL;
    if (json_is_array(found)) {
        for (size_t i = 0; i < json_array_size(found); i++) {
            const json_t *entry = json_array_get(found, i);
            const char *name;
            ESPL_TRY(espl_json_string(ctx, entry, "name", "", &name));
            if (strcmp(name, "default") == 0) ESPL_TRY(espl_json_string(ctx, entry, "template", NULL, &text));
        }
    } else {
        ESPL_TRY(espl_json_string(ctx, config, "chat_template", NULL, &text));
    }
    return text ? espl_copy_string(ctx, text, strlen(text), out_text) : ESPL_OK;
}

espl_status espl_chat_load(espl_context *ctx, const char *folder, char **out_text) {
    *out_text = NULL;
    char *path = NULL;
    json_t *config = NULL;
    espl_mapping map = {0};
    espl_status status;
    ESPL_GOTO(espl_format(ctx, &path, "%s/chat_template.jinja", folder));
    if (espl_os_is_file(path)) {
        ESPL_GOTO(espl_os_map(ctx, path, &map));
        ESPL_GOTO(espl_copy_string(ctx, (const char *)map.data, map.bytes, out_text));
        goto fail;
    }
    espl_free(ctx, &path);
    ESPL_GOTO(espl_format(ctx, &path, "%s/tokenizer_config.json", folder));
    if (!espl_os_is_file(path)) goto fail;
    ESPL_GOTO(espl_json_load(ctx, path, &config));
    status = template_of_config(ctx, config, out_text);
    if (status) status = espl_fail_in(ctx, status, "%s", path);
fail:
    if (map.data) espl_os_unmap(&map);
    espl_json_destroy(&config);
    espl_free(ctx, &path);
    return status;
}

/* ---- Rendering ---- */

typedef struct renderer {
    espl_context *ctx;
    const espl_chat_form *form;
    const espl_chat_options *options;
    espl_chat_text *out;
} renderer;

static espl_status put(renderer *r, const char *text, size_t bytes, espl_chat_mark mark, bool assistant) {
    espl_chat_text *out = r->out;
    if (bytes == 0) return ESPL_OK;
    ESPL_TRY(espl_bytes_append(r->ctx, &out->text, text, bytes));
    espl_chat_piece *last = out->count ? &out->pieces[out->count - 1] : NULL;
    if (last && mark == ESPL_CHAT_TEXT && last->mark == mark && last->assistant == assistant) {
        last->end = out->text.count;
        return ESPL_OK;
    }
    ESPL_TRY(espl_grow(r->ctx, &out->pieces, &out->capacity, out->count + 1, sizeof *out->pieces));
    out->pieces[out->count++] = (espl_chat_piece){.end = out->text.count, .mark = mark, .assistant = assistant};
    return ESPL_OK;
}

/* A text of the table, with %b and %e. */
static espl_status put_form(renderer *r, const char *text, bool assistant) {
    while (text && *text) {
        size_t plain = strcspn(text, "%");
        ESPL_TRY(put(r, text, plain, ESPL_CHAT_TEXT, assistant));
        text += plain;
        if (!*text) break;
        bool begin = text[1] == 'b';
        const char *token = begin ? r->options->bos : r->options->eos;
        if (token) ESPL_TRY(put(r, token, strlen(token), begin ? ESPL_CHAT_BOS : ESPL_CHAT_EOS, assistant));
        text += 2;
    }
    return ESPL_OK;
}

static espl_status put_content(renderer *r, const char *content, size_t bytes, bool assistant) {
    static const char white[] = " \t\n\r\v\f";
    if (r->form->strip || (assistant && r->form->strip_said)) {
        size_t skip = strspn(content, white);
        skip = skip < bytes ? skip : bytes;
        content += skip;
        bytes -= skip;
        while (bytes && strchr(white, content[bytes - 1]))
            bytes--;
    }
    return put(r, content, bytes, ESPL_CHAT_TEXT, assistant);
}

static espl_status put_system(renderer *r, const char *content, size_t bytes) {
    ESPL_TRY(put_form(r, r->form->system.before, false));
    /* Templates that fold it into a user's message keep its white space. */
    ESPL_TRY(r->form->place == SYSTEM_OWN ? put_content(r, content, bytes, false)
                                          : put(r, content, bytes, ESPL_CHAT_TEXT, false));
    return put_form(r, r->form->system.behind, false);
}

static espl_status put_message(renderer *r, const espl_chat_message *message, const char *system) {
    const espl_chat_form *form = r->form;
    if (strcmp(message->role, "user") == 0) {
        ESPL_TRY(put_form(r, form->user.before, false));
        if (system) ESPL_TRY(put_system(r, system, strlen(system)));
        ESPL_TRY(put_content(r, message->content, strlen(message->content), false));
        return put_form(r, form->user.behind, false);
    }
    ESPL_TRY(put_form(r, form->assistant.before, false));
    ESPL_TRY(put_form(r, form->said, true));
    ESPL_TRY(put_content(r, message->content, strlen(message->content), true));
    ESPL_TRY(put_form(r, form->ending, true));
    return put_form(r, form->assistant.behind, false);
}

static espl_status check(espl_context *ctx, const espl_chat_form *form, const espl_chat_message *messages,
                         size_t count) {
    size_t first = count && strcmp(messages[0].role, "system") == 0;
    if (first == count) return espl_fail(ctx, ESPL_FORMAT, "a conversation needs a message of user or assistant");
    for (size_t i = first; i < count; i++) {
        const char *role = messages[i].role;
        bool user = strcmp(role, "user") == 0;
        if (strcmp(role, "system") == 0)
            return espl_fail(ctx, ESPL_FORMAT, "message %zu has role \"system\", which only the first may have", i + 1);
        if (!user && strcmp(role, "assistant") != 0)
            return espl_fail(ctx, ESPL_FORMAT, "message %zu has role \"%.64s\"; known are system, user, assistant",
                             i + 1, role);
        if (form->turns && user != ((i - first) % 2 == 0))
            return espl_fail(ctx, ESPL_FORMAT,
                             "message %zu is of %s; in the form %s user and assistant take turns, the user first",
                             i + 1, role, form->name);
    }
    return ESPL_OK;
}

espl_status espl_chat_render(espl_context *ctx, const espl_chat *chat, const espl_chat_message *messages, size_t count,
                             const espl_chat_options *options, espl_chat_text *out_text) {
    const espl_chat_form *form = chat->form;
    out_text->text.count = 0;
    out_text->count = 0;
    ESPL_TRY(check(ctx, form, messages, count));
    renderer r = {ctx, form, options, out_text};
    size_t first = strcmp(messages[0].role, "system") == 0;
    const char *system = first ? messages[0].content : NULL;
    size_t holder = count; /* the message that takes the system message in */
    for (size_t i = first; i < count && form->place != SYSTEM_OWN; i++) {
        if (strcmp(messages[i].role, "user") != 0) continue;
        holder = i;
        if (form->place == SYSTEM_IN_FIRST) break;
    }
    ESPL_TRY(put_form(&r, form->start, false));
    if (form->place == SYSTEM_OWN && system) ESPL_TRY(put_system(&r, system, strlen(system)));
    if (!system && chat->system_bytes) ESPL_TRY(put_system(&r, chat->system, chat->system_bytes));
    for (size_t i = first; i < count; i++)
        ESPL_TRY(put_message(&r, &messages[i], i == holder ? system : NULL));
    return options->generate ? put_form(&r, form->assistant.before, false) : ESPL_OK;
}

void espl_chat_text_finish(espl_context *ctx, espl_chat_text *text) {
    espl_bytes_finish(ctx, &text->text);
    espl_free(ctx, &text->pieces);
    *text = (espl_chat_text){0};
}
