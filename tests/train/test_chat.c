/* Conversations: texts against what transformers renders from the published templates, ids against tokenizers. */
#include "host/base/os.h"
#include "host/train/chat.h"
#include "tests/train/common.h"
#include "tests/train/fixtures.h"

static const espl_chat_message talk[] = {{"system", "Be brief."},
                                         {"user", "Hello"},
                                         {"assistant", "Hi there"},
                                         {"user", "Who are you"},
                                         {"assistant", "  the assistant  "},
                                         {"user", " Another question "}};

static void test_rendering(void **state) {
    fixture *f = *state;
    espl_chat_text text = {0};
    const espl_chat_options options = {.bos = "<s>", .eos = "</s>", .generate = true};
    for (size_t c = 0; c < sizeof chat_cases / sizeof *chat_cases; c++) {
        bool known;
        espl_chat chat = espl_chat_recognize(chat_cases[c].template_text, &known);
        assert_true(known);
        assert_string_equal(espl_chat_name(&chat), chat_cases[c].name);
        assert_int_equal(espl_chat_render(f->ctx, &chat, talk, 6, &options, &text), ESPL_OK);
        if (*chat_cases[c].with_system) assert_string_equal(text.text.data, chat_cases[c].with_system);
        assert_int_equal(espl_chat_render(f->ctx, &chat, talk + 1, 5, &options, &text), ESPL_OK);
        assert_string_equal(text.text.data, chat_cases[c].without);
        assert_int_equal(text.pieces[text.count - 1].end, text.text.count);
    }
    espl_chat_text_finish(f->ctx, &text);
}

/* The pieces of the assistant, each in brackets. */
static void check_said(fixture *f, const char *form, const char *wanted) {
    espl_chat_text text = {0};
    espl_bytes said = {0};
    const espl_chat_message messages[] = {{"user", "U"}, {"assistant", "A"}, {"user", "V"}, {"assistant", "B"}};
    espl_chat chat = espl_chat_recognize(form, NULL);
    assert_int_equal(
        espl_chat_render(f->ctx, &chat, messages, 4, &(espl_chat_options){.bos = "<s>", .eos = "</s>"}, &text),
        ESPL_OK);
    size_t at = 0;
    for (size_t p = 0; p < text.count; p++) {
        const espl_chat_piece *piece = &text.pieces[p];
        if (piece->assistant) espl_bytes_print(f->ctx, &said, "(%.*s)", (int)(piece->end - at), text.text.data + at);
        at = piece->end;
    }
    assert_string_equal(said.data, wanted);
    espl_bytes_finish(f->ctx, &said);
    espl_chat_text_finish(f->ctx, &text);
}

static void test_said(void **state) {
    check_said(*state, "chatml", "(A<|im_end|>)(B<|im_end|>)");
    check_said(*state, "llama3", "(A<|eot_id|>)(B<|eot_id|>)");
    check_said(*state, "llama2", "( A )(</s>)( B )(</s>)");
    check_said(*state, "mistral", "(A)(</s>)(B)(</s>)");
    check_said(*state, "zephyr", "(A)(</s>)(B)(</s>)");
}

/* mask: which of the wanted ids count, as text of 0 and 1. */
static void check_tokens(fixture *f, const espl_tokenizer *tokenizer, const char *form,
                         const espl_chat_message *messages, size_t count, const int32_t *wanted, size_t wanted_count,
                         const char *mask) {
    espl_chat_text text = {0};
    espl_tokens tokens = {0};
    espl_chat chat = espl_chat_recognize(form, NULL);
    assert_int_equal(strlen(mask), wanted_count);
    assert_int_equal(
        espl_chat_render(f->ctx, &chat, messages, count, &(espl_chat_options){.bos = "<s>", .eos = "</s>"}, &text),
        ESPL_OK);
    assert_int_equal(espl_chat_tokens(f->ctx, tokenizer, &text, 0, &tokens), ESPL_OK);
    assert_int_equal(tokens.count, wanted_count);
    assert_memory_equal(tokens.ids, wanted, wanted_count * sizeof *wanted);
    for (size_t i = 0; i < wanted_count; i++) {
        if (tokens.counted[i] != mask[i] - '0') fail_msg("%s: token %zu has mask %d", form, i, tokens.counted[i]);
    }
    espl_tokens_finish(f->ctx, &tokens);
    espl_chat_text_finish(f->ctx, &text);
}

static void test_tokens(void **state) {
    fixture *f = *state;
    /* "assistant\n" "\nthe end.": the two line breaks are one token, which counts. */
    const espl_chat_message level[] = {{"user", "Hi"}, {"assistant", "\nthe end."}};
    check_tokens(f, f->level, "chatml", level, 2, ids_level_chat, sizeof ids_level_chat / sizeof *ids_level_chat,
                 "000000000000000000111111110");
    const espl_chat_message spaced[] = {
        {"user", "Hi"}, {"assistant", "the end"}, {"user", "Hi"}, {"assistant", "at the end"}};
    check_tokens(f, f->spaced, "llama2", spaced, 4, ids_spaced_chat, sizeof ids_spaced_chat / sizeof *ids_spaced_chat,
                 "00000000000000000111111100000000000000000111111111");
}

static void check_refused(fixture *f, const char *form, const espl_chat_message *messages, size_t count,
                          const char *sentence) {
    espl_chat_text text = {0};
    espl_chat chat = espl_chat_recognize(form, NULL);
    assert_int_equal(espl_chat_render(f->ctx, &chat, messages, count, &(espl_chat_options){0}, &text), ESPL_FORMAT);
    assert_string_equal(espl_context_message(f->ctx), sentence);
    espl_chat_text_finish(f->ctx, &text);
}

static void test_refused(void **state) {
    fixture *f = *state;
    check_refused(f, NULL, (espl_chat_message[]){{"user", "a"}, {"robot", "b"}}, 2,
                  "message 2 has role \"robot\"; known are system, user, assistant");
    check_refused(f, NULL, (espl_chat_message[]){{"user", "a"}, {"system", "b"}}, 2,
                  "message 2 has role \"system\", which only the first may have");
    check_refused(f, NULL, (espl_chat_message[]){{"system", "a"}}, 1,
                  "a conversation needs a message of user or assistant");
    check_refused(f, NULL, NULL, 0, "a conversation needs a message of user or assistant");
    check_refused(f, "llama2", (espl_chat_message[]){{"user", "a"}, {"user", "b"}}, 2,
                  "message 2 is of user; in the form llama2 user and assistant take turns, the user first");
}

static void test_recognizing(void **state) {
    fixture *f = *state;
    bool known = true;
    espl_chat chat = espl_chat_recognize("{% for m in messages %}{{ m }}{% endfor %}", &known);
    assert_false(known);
    assert_string_equal(espl_chat_name(&chat), "chatml");
    chat = espl_chat_recognize(NULL, &known);
    assert_false(known);
    chat = espl_chat_guess(f->level);
    assert_string_equal(espl_chat_name(&chat), "chatml");
}

static void test_load(void **state) {
    fixture *f = *state;
    char *text;
    assert_int_equal(espl_os_make_folder(f->ctx, "chat_folder"), ESPL_OK);
    assert_int_equal(espl_chat_load(f->ctx, "chat_folder", &text), ESPL_OK);
    assert_null(text);
    const char *files[] = {"{\"chat_template\": \"one\"}",
                           "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"no\"},"
                           "{\"name\": \"default\", \"template\": \"one\"}]}"};
    for (int i = 0; i < 2; i++) {
        put_file("chat_folder/tokenizer_config.json", files[i], strlen(files[i]));
        assert_int_equal(espl_chat_load(f->ctx, "chat_folder", &text), ESPL_OK);
        assert_string_equal(text, "one");
        espl_free(f->ctx, &text);
    }
    put_file("chat_folder/tokenizer_config.json", "{\"chat_template\": 3}", 20);
    assert_int_equal(espl_chat_load(f->ctx, "chat_folder", &text), ESPL_FORMAT);
    assert_non_null(strstr(espl_context_message(f->ctx), "chat_folder/tokenizer_config.json: "));
    put_file("chat_folder/chat_template.jinja", "two", 3);
    assert_int_equal(espl_chat_load(f->ctx, "chat_folder", &text), ESPL_OK);
    assert_string_equal(text, "two");
    espl_free(f->ctx, &text);
    espl_os_remove_folder(f->ctx, "chat_folder");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rendering), cmocka_unit_test(test_said),        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_recognizing), cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests(tests, load_fixture, drop_fixture);
}
