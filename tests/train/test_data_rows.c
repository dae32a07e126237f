/* Rows from JSON: what counts in each form, where errors are said to be, the split by seed, memory that runs out. */
#include "host/train/data.h"
#include "tests/train/common.h"
#include "tests/train/fixtures.h"

#define LINES "data_rows.jsonl"
#define ARRAY "data_rows.json"
#define BOS   268
#define EOS   269

static espl_dataset *load(fixture *f, const espl_tokenizer *tokenizer, const char *path, const char *text,
                          const espl_dataset_params *params) {
    espl_dataset *dataset = NULL;
    put_file(path, text, strlen(text));
    if (espl_dataset_load(f->ctx, tokenizer, path, params, &dataset) != ESPL_OK)
        fail_msg("%s", espl_context_message(f->ctx));
    remove(path);
    return dataset;
}

/* The row has these ids, padding after them, and labels from token number `first` up to `last`. */
static void check_row(const espl_dataset *d, uint32_t index, const int32_t *ids, uint32_t count, uint32_t first,
                      uint32_t last) {
    espl_row row = espl_dataset_row(d, ESPL_PART_ALL, index);
    for (uint32_t i = 0; i < espl_dataset_context(d); i++) {
        assert_int_equal(row.ids[i], i < count ? ids[i] : EOS);
        assert_int_equal(row.labels[i], i + 1 >= first && i + 1 <= last ? ids[i + 1] : ESPL_NO_LABEL);
    }
}

static void test_forms(void **state) {
    fixture *f = *state;
    const char *text = "\xEF\xBB\xBF{\"text\": \"xyz\", \"other\": [1, {}]}\r\n"
                       "\r\n"
                       "{\"prompt\": \"xy\", \"completion\": \"z\"}\r\n"
                       "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", "
                       "\"content\": \"\\nthe end.\"}]}\n"
                       "{\"text\": \"x</s>\"}";
    const int32_t plain[] = {BOS, 'x', 'y', 'z', EOS}, ended[] = {BOS, 'x', EOS};
    espl_dataset *d = load(f, f->level, LINES, text, &(espl_dataset_params){.context = 32, .validation_share = -1});
    assert_int_equal(espl_dataset_rows(d, ESPL_PART_ALL), 4);
    check_row(d, 0, plain, 5, 1, 4);
    check_row(d, 1, plain, 5, 3, 4);
    check_row(d, 2, ids_level_chat, 27, 18, 25);
    check_row(d, 3, ended, 3, 1, 2);
    assert_int_equal(espl_dataset_describe(d).train_labels, 4 + 2 + 8 + 2);
    espl_dataset_destroy(&d);
}

/* Prompt and completion do not merge: "t" "he" are three tokens, not "the". */
static void test_separate(void **state) {
    fixture *f = *state;
    const int32_t ids[] = {BOS, 't', 'h', 'e', EOS};
    espl_dataset *d =
        load(f, f->level, LINES, "{\"prompt\": \"t\", \"completion\": \"he\"}", &(espl_dataset_params){.context = 5});
    check_row(d, 0, ids, 5, 2, 4);
    espl_dataset_destroy(&d);
}

static void test_instruction(void **state) {
    fixture *f = *state;
    const char *text = "[\n{\"instruction\": \"I\", \"input\": \"\", \"output\": \"O\"},\n"
                       " {\"instruction\": \"a,]}\\\"\\\\\", \"input\": \"b\", \"output\": \"c\"}\n]\n";
    espl_dataset *d = load(f, f->level, ARRAY, text, &(espl_dataset_params){.context = 300, .validation_share = -1});
    const char *wanted[] = {
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nI\n\n### Response:\nO</s>",
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\na,]}\"\\\n\n### Input:\nb\n\n"
        "### Response:\nc</s>"};
    assert_int_equal(espl_dataset_rows(d, ESPL_PART_ALL), 2);
    for (uint32_t r = 0; r < 2; r++) {
        espl_row row = espl_dataset_row(d, ESPL_PART_ALL, r);
        uint32_t count = 0, ids[300], labels = 0;
        for (uint32_t i = 1; i < 300; i++) {
            ids[count++] = (uint32_t)row.ids[i];
            if (row.ids[i] == EOS) break;
        }
        for (uint32_t i = 0; i < 300; i++)
            labels += row.labels[i] >= 0;
        const char *found;
        size_t bytes;
        assert_int_equal(espl_tokenizer_decode(f->level, ids, count, true, &found, &bytes), ESPL_OK);
        assert_string_equal(found, wanted[r]);
        assert_int_equal(labels, 2);
        assert_int_equal(row.labels[count - 2], r ? 'c' : 'O');
    }
    espl_dataset_destroy(&d);
}

static void test_chat_template(void **state) {
    fixture *f = *state;
    espl_dataset *d;
    const char *text = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, "
                       "{\"role\": \"assistant\", \"content\": \"the end\"}]}";
    put_file(LINES, text, strlen(text));
    assert_int_equal(
        espl_dataset_load_chat(f->ctx, f->spaced, "llama2", LINES, &(espl_dataset_params){.context = 40}, &d), ESPL_OK);
    espl_row row = espl_dataset_row(d, ESPL_PART_TRAIN, 0);
    assert_memory_equal(row.ids, ids_spaced_chat, 24 * sizeof *row.ids);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(row.labels[i], i >= 16 && i < 23 ? ids_spaced_chat[i + 1] : ESPL_NO_LABEL);
    espl_dataset_destroy(&d);
    remove(LINES);
}

static void test_split(void **state) {
    fixture *f = *state;
    char text[20000] = "";
    size_t at = 0;
    for (int i = 0; i < 200; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "{\"text\": \"%c%c\"}\n", 'A' + i / 20, 'b' + i % 20);
    uint64_t hashes[3];
    for (int run = 0; run < 3; run++) {
        espl_dataset_params params = {.context = 4, .validation_share = 0.1, .seed = run == 2 ? 6 : 5};
        espl_dataset *d = load(f, f->level, LINES, text, &params);
        assert_int_equal(espl_dataset_rows(d, ESPL_PART_TRAIN), 180);
        assert_int_equal(espl_dataset_rows(d, ESPL_PART_VALIDATION), 20);
        const int32_t *all = espl_dataset_row(d, ESPL_PART_ALL, 0).ids;
        uint8_t seen[200] = {0};
        uint32_t in_tail = 0;
        for (uint32_t r = 0; r < 200; r++) {
            espl_row row =
                r < 180 ? espl_dataset_row(d, ESPL_PART_TRAIN, r) : espl_dataset_row(d, ESPL_PART_VALIDATION, r - 180);
            size_t place = (size_t)(row.ids - all) / 4;
            seen[place]++;
            in_tail += r >= 180 && place >= 180;
        }
        for (int r = 0; r < 200; r++)
            assert_int_equal(seen[r], 1);
        assert_in_range(in_tail, 0, 10); /* drawn, not the last ones */
        hashes[run] = espl_dataset_hash(d);
        espl_dataset_destroy(&d);
    }
    assert_true(hashes[0] == hashes[1]);
    assert_false(hashes[0] == hashes[2]);
}

static void check_refused(fixture *f, const char *path, const char *text, espl_status wanted, const char *sentence) {
    espl_dataset *d;
    put_file(path, text, strlen(text));
    assert_int_equal(espl_dataset_load(f->ctx, f->level, path, &(espl_dataset_params){.context = 8}, &d), wanted);
    assert_null(d);
    if (strncmp(espl_context_message(f->ctx), sentence, strlen(sentence)) != 0)
        fail_msg("%s\ninstead of: %s", espl_context_message(f->ctx), sentence);
    remove(path);
}

static void test_refused_lines(void **state) {
    fixture *f = *state;
    check_refused(f, LINES, "", ESPL_FORMAT, LINES ":1: the file is empty");
    check_refused(f, LINES, "\n \r\n", ESPL_FORMAT, LINES ":1: there is no row");
    check_refused(f, LINES, "{\"text\": \"a\"}\n\n{\"text\": \"a\"", ESPL_FORMAT, LINES ":3: line 1 column ");
    check_refused(f, LINES, "{\"text\": \"a\"}\n[]", ESPL_FORMAT, LINES ":2: an array, an object was expected");
    check_refused(f, LINES, "{\"text\": 4}", ESPL_FORMAT, LINES ":1: \"text\" is an integer, a string was expected");
    check_refused(f, LINES, "{\"content\": \"a\"}", ESPL_FORMAT,
                  LINES ":1: none of \"text\", \"prompt\", \"messages\", \"instruction\" is among the keys");
    check_refused(f, LINES, "{\"prompt\": \"a\"}", ESPL_FORMAT, LINES ":1: \"completion\" is missing");
    check_refused(f, LINES, "{\"instruction\": \"a\", \"input\": \"b\"}", ESPL_FORMAT,
                  LINES ":1: \"output\" is missing");
    check_refused(f, LINES, "{\"text\": \"abcdefg\"}\n", ESPL_LIMIT, LINES ":1: 9 tokens do not fit a context of 8");
    check_refused(f, LINES, "{\"messages\": [{\"role\": \"user\"}]}", ESPL_FORMAT,
                  LINES ":1: message 1: \"content\" is missing");
    check_refused(f, LINES, "{\"messages\": [{\"role\": \"cat\", \"content\": \"miaow\"}]}", ESPL_FORMAT,
                  LINES ":1: message 1 has role \"cat\"; known are system, user, assistant");
    check_refused(f, LINES, "{\"messages\": \"Hi\"}", ESPL_FORMAT,
                  LINES ":1: \"messages\" is a string, an array was expected");
    check_refused(f, LINES, "{\"messages\": [3]}", ESPL_FORMAT, LINES ":1: message 1: ");
    espl_dataset *d;
    const char *text = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}";
    put_file(LINES, text, strlen(text));
    assert_int_equal(espl_dataset_load(f->ctx, f->level, LINES, NULL, &d), ESPL_FORMAT);
    assert_string_equal(espl_context_message(f->ctx), LINES ":1: no token of this row is to be learnt");
    remove(LINES);
}

static void test_refused_arrays(void **state) {
    fixture *f = *state;
    check_refused(f, ARRAY, "\n{\"text\": \"a\"}", ESPL_FORMAT, ARRAY ":2: an array of objects was expected");
    check_refused(f, ARRAY, "[\n]", ESPL_FORMAT, ARRAY ":2: the array is empty");
    check_refused(f, ARRAY, "[", ESPL_FORMAT, ARRAY ": line 1 column 1: ");
    check_refused(f, ARRAY, "[{\"text\": \"a\"},\n\n{\"text\": \"b\"\n]", ESPL_FORMAT, ARRAY ": line 4 column 1: ");
    check_refused(f, ARRAY, "[{\"text\": \"a\"},\n]", ESPL_FORMAT, ARRAY ": line 2 column 1: ");
    check_refused(f, ARRAY, "[{\"text\": \"a\"}] 7", ESPL_FORMAT, ARRAY ": line 1 column ");
    check_refused(f, ARRAY, "[{\"text\": \"a\"}\n", ESPL_FORMAT, ARRAY ": line ");
    check_refused(f, ARRAY, "[{\"text\": \"a\"},\n {\"txt\": \"a\"}]", ESPL_FORMAT, ARRAY ":2: none of ");
    check_refused(f, ARRAY, "[{\"text\": \"a\"},\n\n 7]", ESPL_FORMAT, ARRAY ":3: an integer, an object was expected");
}

/* ---- Memory ---- */

typedef struct ration {
    int left;
} ration;

static void *rationed(void *user, void *block, size_t bytes) {
    ration *r = user;
    if (bytes == 0) {
        free(block);
        return NULL;
    }
    if (r->left-- <= 0) return NULL;
    return realloc(block, bytes);
}

static void test_no_memory(void **state) {
    fixture *f = *state;
    const char *text = "{\"prompt\": \"xy\", \"completion\": \"z\"}\n{\"instruction\": \"a\", \"output\": \"b\"}\n"
                       "{\"messages\": [{\"role\": \"assistant\", \"content\": \"Hi\"}]}";
    for (int path = 0; path < 2; path++) {
        const char *name = path ? "data_rows.txt" : LINES;
        put_file(name, text, strlen(text));
        int allowed = 0;
        espl_status status = ESPL_HOST_MEMORY;
        for (; status && allowed < 200; allowed++) {
            ration r = {.left = 1};
            espl_context *ctx;
            espl_dataset *d;
            assert_int_equal(
                espl_context_create(&(espl_context_params){.resize = rationed, .resize_user = &r, .log = quiet}, &ctx),
                ESPL_OK);
            r.left = allowed;
            status = espl_dataset_load(ctx, f->level, name, NULL, &d);
            assert_true(status == ESPL_OK || status == ESPL_HOST_MEMORY);
            assert_true((d == NULL) == (status != ESPL_OK));
            espl_dataset_destroy(&d);
            espl_context_destroy(&ctx);
        }
        assert_in_range(allowed, 8, 199);
        remove(name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),          cmocka_unit_test(test_separate),  cmocka_unit_test(test_instruction),
        cmocka_unit_test(test_chat_template),  cmocka_unit_test(test_split),     cmocka_unit_test(test_refused_lines),
        cmocka_unit_test(test_refused_arrays), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, load_fixture, drop_fixture);
}
