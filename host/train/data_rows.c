/* Rows from JSON objects. */
#include "host/file/json.h"
#include "host/model/adapter.h"
#include "host/train/data_private.h"
#include <string.h>

/* ---- The four forms ---- */

static espl_status need_string(espl_context *ctx, const json_t *object, const char *key, const char **out_text) {
    ESPL_TRY(espl_json_need(ctx, object, key));
    return espl_json_string(ctx, object, key, "", out_text);
}

static espl_status push_before(espl_data_reader *reader) {
    for (size_t i = 0; i < reader->frame.before_count; i++)
        ESPL_TRY(espl_tokens_push(reader->ctx, &reader->tokens, reader->frame.before[i], false));
    return ESPL_OK;
}

static espl_status push_string(espl_data_reader *reader, const char *text, bool counted) {
    return espl_tokens_push_text(reader->ctx, &reader->tokens, reader->tokenizer, text, strlen(text), counted);
}

static espl_status push_end(espl_data_reader *reader) {
    const espl_tokens *tokens = &reader->tokens;
    if (reader->eos == ESPL_NO_TOKEN) return ESPL_OK;
    if (tokens->count && (uint32_t)tokens->ids[tokens->count - 1] == reader->eos) return ESPL_OK;
    return espl_tokens_push(reader->ctx, &reader->tokens, reader->eos, true);
}

static espl_status read_plain(espl_data_reader *reader, const json_t *object) {
    const char *text;
    ESPL_TRY(need_string(reader->ctx, object, "text", &text));
    ESPL_TRY(push_before(reader));
    ESPL_TRY(push_string(reader, text, true));
    for (size_t i = 0; i < reader->frame.behind_count; i++)
        ESPL_TRY(espl_tokens_push(reader->ctx, &reader->tokens, reader->frame.behind[i], true));
    return push_end(reader);
}

static espl_status push_pair(espl_data_reader *reader, const char *prompt, const char *completion) {
    ESPL_TRY(push_before(reader));
    ESPL_TRY(push_string(reader, prompt, false));
    ESPL_TRY(push_string(reader, completion, true));
    return push_end(reader);
}

static espl_status read_pair(espl_data_reader *reader, const json_t *object) {
    const char *prompt, *completion;
    ESPL_TRY(need_string(reader->ctx, object, "prompt", &prompt));
    ESPL_TRY(need_string(reader->ctx, object, "completion", &completion));
    return push_pair(reader, prompt, completion);
}

/* Taori et al. 2023, https://github.com/tatsu-lab/stanford_alpaca, with the line break behind "Response:" that
 * Alpaca-LoRA and its successors have. */
static espl_status read_instruction(espl_data_reader *reader, const json_t *object) {
    const char *instruction, *input, *output;
    ESPL_TRY(need_string(reader->ctx, object, "instruction", &instruction));
    ESPL_TRY(espl_json_string(reader->ctx, object, "input", "", &input));
    ESPL_TRY(need_string(reader->ctx, object, "output", &output));
    reader->prompt.count = 0;
    ESPL_TRY(espl_bytes_print(reader->ctx, &reader->prompt,
                              "Below is an instruction that describes a task%s. Write a response that appropriately "
                              "completes the request.\n\n### Instruction:\n%s%s%s\n\n### Response:\n",
                              *input ? ", paired with an input that provides further context" : "", instruction,
                              *input ? "\n\n### Input:\n" : "", input));
    return push_pair(reader, reader->prompt.data, output);
}

static espl_status read_messages(espl_data_reader *reader, const json_t *object) {
    espl_context *ctx = reader->ctx;
    json_t *list;
    ESPL_TRY(espl_json_array(ctx, object, "messages", &list));
    size_t count = json_array_size(list);
    ESPL_TRY(espl_grow(ctx, &reader->messages, &reader->messages_capacity, count, sizeof *reader->messages));
    for (size_t m = 0; m < count; m++) {
        const json_t *message = json_array_get(list, m);
        espl_status status = need_string(ctx, message, "role", &reader->messages[m].role);
        if (!status) status = need_string(ctx, message, "content", &reader->messages[m].content);
        if (status) return espl_fail_in(ctx, status, "message %zu", m + 1);
    }
    uint32_t bos = espl_tokenizer_bos(reader->tokenizer);
    espl_chat_options options = {
        .bos = bos == ESPL_NO_TOKEN ? NULL : espl_tokenizer_piece(reader->tokenizer, bos),
        .eos = reader->eos == ESPL_NO_TOKEN ? NULL : espl_tokenizer_piece(reader->tokenizer, reader->eos),
    };
    ESPL_TRY(espl_chat_render(ctx, &reader->chat, reader->messages, count, &options, &reader->rendered));
    return espl_chat_tokens(ctx, reader->tokenizer, &reader->rendered, reader->dataset->context, &reader->tokens);
}

static const struct {
    const char *key; /* that tells the form */
    espl_status (*read)(espl_data_reader *reader, const json_t *object);
} row_forms[] = {
    {"messages", read_messages}, {"prompt", read_pair}, {"instruction", read_instruction}, {"text", read_plain}};

static espl_status read_form(espl_data_reader *reader, const json_t *object) {
    if (!json_is_object(object))
        return espl_fail(reader->ctx, ESPL_FORMAT, "%s, an object was expected", espl_json_type_name(object));
    for (size_t f = 0; f < ESPL_COUNT(row_forms); f++) {
        if (json_object_get(object, row_forms[f].key)) return row_forms[f].read(reader, object);
    }
    return espl_fail(reader->ctx, ESPL_FORMAT,
                     "none of \"text\", \"prompt\", \"messages\", \"instruction\" is among the keys");
}

/* ---- A row ---- */

/* Where adapters have a part for each task. */
static espl_status add_task(espl_data_reader *reader, const json_t *object) {
    espl_dataset *dataset = reader->dataset;
    const char *name;
    uint32_t task;
    if (!reader->tasks_of || !espl_model_has_tasks(reader->tasks_of)) return ESPL_OK;
    ESPL_TRY(need_string(reader->ctx, object, "task", &name));
    ESPL_TRY(espl_model_task(reader->tasks_of, name, &task));
    ESPL_TRY(espl_grow(reader->ctx, &dataset->tasks, &reader->tasks_capacity, dataset->rows + (size_t)1, sizeof *dataset->tasks));
    dataset->tasks[dataset->rows] = (int32_t)task;
    return ESPL_OK;
}

static espl_status add_row(espl_data_reader *reader) {
    espl_context *ctx = reader->ctx;
    espl_dataset *dataset = reader->dataset;
    const espl_tokens *tokens = &reader->tokens;
    uint32_t context = dataset->context;
    size_t labels = 0, at, needed;
    if (tokens->count > context)
        return espl_fail(ctx, ESPL_LIMIT, "%zu tokens do not fit a context of %u", tokens->count, context);
    for (size_t i = 1; i < tokens->count; i++)
        labels += tokens->counted[i];
    if (labels == 0) return espl_fail(ctx, ESPL_FORMAT, "no token of this row is to be learnt");
    if (dataset->rows == UINT32_MAX || !espl_mul(dataset->rows, context, &at) || !espl_add(at, context, &needed))
        return espl_fail(ctx, ESPL_LIMIT, "there are too many rows");
    ESPL_TRY(espl_grow(ctx, &dataset->ids, &reader->ids_capacity, needed, sizeof *dataset->ids));
    ESPL_TRY(espl_grow(ctx, &dataset->labels, &reader->labels_capacity, needed, sizeof *dataset->labels));
    ESPL_TRY(espl_grow(ctx, &dataset->lengths, &reader->lengths_capacity, dataset->rows + (size_t)1,
                       sizeof *dataset->lengths));
    dataset->lengths[dataset->rows] = (int32_t)tokens->count;
    for (size_t i = 0; i < context; i++) {
        bool counts = i + 1 < tokens->count && tokens->counted[i + 1];
        dataset->ids[at + i] = i < tokens->count ? tokens->ids[i] : reader->pad;
        dataset->labels[at + i] = counts ? tokens->ids[i + 1] : ESPL_NO_LABEL;
    }
    dataset->rows++;
    return ESPL_OK;
}

static espl_status read_row(espl_data_reader *reader, const json_t *object, size_t line) {
    reader->tokens.count = 0;
    espl_status status = read_form(reader, object);
    if (!status) status = add_task(reader, object);
    if (!status) status = add_row(reader);
    return status ? espl_fail_in(reader->ctx, status, "%s:%zu", reader->path, line) : ESPL_OK;
}

/* ---- Lines ---- */

static bool is_blank(const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (!strchr(" \t\r\n", text[i]) || !text[i]) return false;
    }
    return true;
}

static espl_status read_line(espl_data_reader *reader, const char *text, size_t bytes, size_t line) {
    char *name = NULL;
    json_t *object = NULL;
    espl_status status;
    ESPL_GOTO(espl_format(reader->ctx, &name, "%s:%zu", reader->path, line));
    ESPL_GOTO(espl_json_parse(reader->ctx, text, bytes, name, &object));
    ESPL_GOTO(read_row(reader, object, line));
fail:
    espl_json_destroy(&object);
    espl_free(reader->ctx, &name);
    return status;
}

espl_status espl_data_read_lines(espl_data_reader *reader, const char *text, size_t bytes) {
    size_t line = 1;
    for (size_t at = 0; at < bytes; line++) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t length = end ? (size_t)(end - text) - at : bytes - at;
        if (!is_blank(text + at, length)) ESPL_TRY(read_line(reader, text + at, length, line));
        at += length + 1;
    }
    if (reader->dataset->rows == 0) return espl_fail(reader->ctx, ESPL_FORMAT, "%s:1: there is no row", reader->path);
    return ESPL_OK;
}

/* ---- An array. jansson does not tell on which line a value stood, so the elements are found here; what is in them is
 * jansson's. ---- */

typedef struct scanner {
    const char *text;
    size_t bytes, at, line;
} scanner;

static void skip_white(scanner *s) {
    while (s->at < s->bytes && strchr(" \t\r\n", s->text[s->at]) && s->text[s->at])
        s->line += s->text[s->at++] == '\n';
}

/* To the comma or bracket behind the element at the scanner. */
static void skip_element(scanner *s) {
    size_t depth = 0;
    bool in_string = false;
    for (; s->at < s->bytes; s->at++) {
        char c = s->text[s->at];
        s->line += c == '\n';
        if (in_string) {
            if (c == '\\' && s->at + 1 < s->bytes) s->at++;
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (depth == 0 && (c == ',' || c == ']')) {
            return;
        } else if (c == '}' || c == ']') {
            if (depth == 0) return;
            depth--;
        }
    }
}

/* The file is not what it should be: the JSON reader knows the line and column. */
static espl_status fail_whole(espl_data_reader *reader, const char *text, size_t bytes, size_t line, const char *why) {
    json_t *root = NULL;
    espl_status status = espl_json_parse(reader->ctx, text, bytes, reader->path, &root);
    if (!status) status = espl_fail(reader->ctx, ESPL_FORMAT, "%s:%zu: %s", reader->path, line, why);
    espl_json_destroy(&root);
    return status;
}

espl_status espl_data_read_array(espl_data_reader *reader, const char *text, size_t bytes) {
    scanner s = {.text = text, .bytes = bytes, .line = 1};
    skip_white(&s);
    if (s.at == bytes || text[s.at] != '[')
        return espl_fail(reader->ctx, ESPL_FORMAT,
                         "%s:%zu: an array of objects was expected (JSON lines are named .jsonl)", reader->path,
                         s.line);
    s.at++;
    skip_white(&s);
    if (s.at < bytes && text[s.at] == ']') return fail_whole(reader, text, bytes, s.line, "the array is empty");
    for (;;) {
        skip_white(&s);
        size_t begin = s.at, line = s.line;
        skip_element(&s);
        json_t *element = NULL;
        espl_status status = espl_json_parse(reader->ctx, text + begin, s.at - begin, reader->path, &element);
        if (status == ESPL_FORMAT || (!status && s.at == bytes))
            status = fail_whole(reader, text, bytes, line, "this is not an array of objects");
        else if (!status)
            status = read_row(reader, element, line);
        espl_json_destroy(&element);
        ESPL_TRY(status);
        if (text[s.at++] == ']') break;
    }
    skip_white(&s);
    if (s.at < bytes) return fail_whole(reader, text, bytes, s.line, "something follows the array");
    return ESPL_OK;
}
