/* Plain text as rows, pieces that keep the ids, the two parts, epochs, rows given as ids. */
#include "host/train/data_private.h"
#include "tests/train/common.h"

#define PATH "data_text.txt"

static espl_dataset *load(fixture *f, const espl_tokenizer *tokenizer, const char *text, size_t bytes,
                          const espl_dataset_params *params) {
    espl_dataset *dataset = NULL;
    put_file(PATH, text, bytes);
    if (espl_dataset_load(f->ctx, tokenizer, PATH, params, &dataset) != ESPL_OK)
        fail_msg("%s", espl_context_message(f->ctx));
    remove(PATH);
    return dataset;
}

/* 268 is <s>; the other letters have no merges, so a token is a byte. */
static void test_rows(void **state) {
    fixture *f = *state;
    espl_dataset *d = load(f, f->level, "bcdefghijk", 10, &(espl_dataset_params){.context = 4, .validation_share = -1});
    const int32_t ids[3][4] = {{268, 'b', 'c', 'd'}, {'e', 'f', 'g', 'h'}, {'i', 'j', 'k', 269}};
    const int32_t labels[3][4] = {{'b', 'c', 'd', 'e'}, {'f', 'g', 'h', 'i'}, {'j', 'k', -100, -100}};
    assert_int_equal(espl_dataset_rows(d, ESPL_PART_ALL), 3);
    for (uint32_t r = 0; r < 3; r++) {
        espl_row row = espl_dataset_row(d, ESPL_PART_TRAIN, r);
        assert_memory_equal(row.ids, ids[r], sizeof ids[r]);
        assert_memory_equal(row.labels, labels[r], sizeof labels[r]);
    }
    espl_dataset_info info = espl_dataset_describe(d);
    assert_int_equal(info.train_rows, 3);
    assert_int_equal(info.validation_rows, 0);
    assert_int_equal(info.context, 4);
    assert_int_equal(info.train_labels, 10);
    assert_int_equal(info.validation_labels, 0);
    assert_int_equal(espl_dataset_shape_of(d).vocabulary, 270);
    espl_dataset_destroy(&d);
    assert_null(d);
    /* No tail: 9 tokens are two rows of 4, the last token is only a label. */
    d = load(f, f->level, "bcdefghi", 8, &(espl_dataset_params){.context = 4, .validation_share = 0.5});
    info = espl_dataset_describe(d);
    assert_int_equal(info.train_rows, 1);
    assert_int_equal(info.validation_rows, 1);
    assert_int_equal(espl_dataset_row(d, ESPL_PART_VALIDATION, 0).labels[3], 'i');
    espl_dataset_destroy(&d);
}

static void test_line_ends(void **state) {
    fixture *f = *state;
    const espl_dataset_params params = {.context = 8};
    espl_dataset *a = load(f, f->level, "\xEF\xBB\xBFx\r\ny\r\n\r\nz\rw", 14, &params);
    espl_dataset *b = load(f, f->level, "x\ny\n\nz\rw", 8, &params);
    espl_dataset *c = load(f, f->level, "x\ny\n\nz\nw", 8, &params);
    assert_true(espl_dataset_hash(a) == espl_dataset_hash(b));
    assert_false(espl_dataset_hash(a) == espl_dataset_hash(c));
    espl_dataset_destroy(&a);
    espl_dataset_destroy(&b);
    espl_dataset_destroy(&c);
}

/* Words, ends of sentences, line breaks and spaces in any order. */
static char *make_text(size_t bytes, uint64_t seed) {
    static const char *const parts[] = {"the ", "and ",         "Hi",    " \n",          ".\n",
                                        "\n\n", "caf\xC3\xA9 ", "the\n", "  ",           ". ",
                                        "you ", "hall\n",       "</s>",  "\xE2\x82\xAC", "42 "};
    espl_random random = {.seed = seed};
    char *text = calloc(1, bytes + 8);
    for (size_t at = 0; at < bytes; at += strlen(text + at)) {
        const char *part = parts[espl_random_below(&random, 15)];
        memcpy(text + at, part, strlen(part));
    }
    return text;
}

static void check_pieces(fixture *f, const espl_tokenizer *tokenizer, const char *text, size_t bytes,
                         size_t piece_bytes, size_t pieces_least) {
    espl_tokens whole = {0}, tokens = {0};
    size_t pieces;
    assert_int_equal(espl_tokens_push_text(f->ctx, &whole, tokenizer, text, bytes, true), ESPL_OK);
    assert_int_equal(espl_data_encode(f->ctx, tokenizer, text, bytes, piece_bytes, &tokens, &pieces), ESPL_OK);
    assert_int_equal(tokens.count, whole.count);
    assert_memory_equal(tokens.ids, whole.ids, whole.count * sizeof *whole.ids);
    assert_true(pieces >= pieces_least);
    espl_tokens_finish(f->ctx, &whole);
    espl_tokens_finish(f->ctx, &tokens);
}

static void test_pieces(void **state) {
    fixture *f = *state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        size_t bytes = 40000;
        char *text = make_text(bytes, seed);
        bytes = strlen(text);
        check_pieces(f, f->level, text, bytes, 3000, 10);
        check_pieces(f, f->spaced, text, bytes, 3000, 10);
        check_pieces(f, f->level, text, bytes, 50000, 1);
        free(text);
    }
    /* Nowhere to cut: one piece, and not slowly. */
    char *text = malloc(100000);
    memset(text, 'x', 100000);
    check_pieces(f, f->level, text, 100000, 5000, 1);
    for (size_t i = 0; i < 100000; i += 2)
        memcpy(text + i, ".\n", 2);
    check_pieces(f, f->level, text, 100000, 5000, 1);
    free(text);
}

static void test_split(void **state) {
    fixture *f = *state;
    char text[1002];
    for (int i = 0; i < 1001; i++)
        text[i] = (char)('b' + i % 7);
    espl_dataset *d = load(f, f->level, text, 1000, &(espl_dataset_params){.context = 10});
    /* 1001 tokens are 100 rows; the last 5 are for validation, in order. */
    assert_int_equal(espl_dataset_rows(d, ESPL_PART_TRAIN), 95);
    assert_int_equal(espl_dataset_rows(d, ESPL_PART_VALIDATION), 5);
    for (uint32_t r = 0; r < 100; r++) {
        espl_row row =
            r < 95 ? espl_dataset_row(d, ESPL_PART_TRAIN, r) : espl_dataset_row(d, ESPL_PART_VALIDATION, r - 95);
        assert_ptr_equal(row.ids, espl_dataset_row(d, ESPL_PART_ALL, r).ids);
    }
    espl_dataset_destroy(&d);
}

static void test_epochs(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    uint32_t order[COUNT], again[COUNT];
    uint8_t seen[COUNT];
    uint32_t same = 0;
    for (uint64_t epoch = 0; epoch < 5; epoch++) {
        espl_epoch_order(7, epoch, COUNT, order);
        espl_epoch_order(7, epoch, COUNT, again);
        assert_memory_equal(order, again, sizeof order);
        memset(seen, 0, sizeof seen);
        for (int i = 0; i < COUNT; i++)
            seen[order[i]]++;
        for (int i = 0; i < COUNT; i++)
            assert_int_equal(seen[i], 1);
        espl_epoch_order(7, epoch + 1, COUNT, again);
        for (int i = 0; i < COUNT; i++)
            same += order[i] == again[i];
        espl_epoch_order(8, epoch, COUNT, again);
        for (int i = 0; i < COUNT; i++)
            same += order[i] == again[i];
    }
    assert_in_range(same, 0, 40); /* 10 are expected by chance */
    /* Every order of three rows is about as frequent. */
    uint32_t hits[27] = {0};
    for (uint64_t seed = 0; seed < 6000; seed++) {
        espl_epoch_order(seed, 0, 3, order);
        hits[order[0] * 9 + order[1] * 3 + order[2]]++;
    }
    for (uint32_t i = 0; i < 27; i++)
        assert_true(hits[i] == 0 || (hits[i] > 880 && hits[i] < 1120));
    espl_epoch_order(1, 0, 0, order);
    espl_epoch_order(1, 0, 1, order);
    assert_int_equal(order[0], 0);
}

static void test_from_ids(void **state) {
    fixture *f = *state;
    const int32_t ids[] = {1, 2, 3, 4, 5, 6}, labels[] = {2, 3, -100, 5, -1, 9}, bad[] = {1, 2, 3, 4, -5, 6};
    espl_dataset *d;
    assert_int_equal(espl_dataset_from_ids(f->ctx, ids, labels, 2, 3, &d), ESPL_OK);
    espl_dataset_info info = espl_dataset_describe(d);
    assert_int_equal(info.train_rows, 2);
    assert_int_equal(info.validation_rows, 0);
    assert_int_equal(info.train_labels, 4);
    assert_int_equal(espl_dataset_shape_of(d).vocabulary, 7);
    assert_int_equal(espl_dataset_shape_of(d).label_end, 10);
    assert_memory_equal(espl_dataset_row(d, ESPL_PART_TRAIN, 1).ids, ids + 3, 3 * sizeof *ids);
    assert_memory_equal(espl_dataset_row(d, ESPL_PART_ALL, 1).labels, labels + 3, 3 * sizeof *ids);
    espl_dataset_destroy(&d);
    assert_int_equal(espl_dataset_from_ids(f->ctx, bad, labels, 2, 3, &d), ESPL_ARGUMENT);
    assert_string_equal(espl_context_message(f->ctx), "id -5 in row 1 at 1 is negative");
    assert_null(d);
    assert_int_equal(espl_dataset_from_ids(f->ctx, ids, labels, 0, 3, &d), ESPL_ARGUMENT);
    espl_dataset_destroy(&d);
}

static void check_refused(fixture *f, const char *text, const espl_dataset_params *params, espl_status wanted,
                          const char *sentence) {
    espl_dataset *d;
    put_file(PATH, text, strlen(text));
    assert_int_equal(espl_dataset_load(f->ctx, f->level, PATH, params, &d), wanted);
    assert_null(d);
    assert_string_equal(espl_context_message(f->ctx), sentence);
    remove(PATH);
}

static void test_refused(void **state) {
    fixture *f = *state;
    espl_dataset *d;
    check_refused(f, "", NULL, ESPL_FORMAT, PATH ":1: the file is empty");
    check_refused(f, "\xEF\xBB\xBF", NULL, ESPL_FORMAT, PATH ":1: the file is empty");
    check_refused(f, "text", &(espl_dataset_params){.validation_share = 1}, ESPL_ARGUMENT,
                  "a validation share of 1 leaves nothing to train on");
    assert_int_equal(espl_dataset_load(f->ctx, f->level, "not there.txt", NULL, &d), ESPL_IO);
    assert_non_null(strstr(espl_context_message(f->ctx), "not there.txt"));
    assert_int_equal(espl_dataset_load(f->ctx, NULL, PATH, NULL, &d), ESPL_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),    cmocka_unit_test(test_line_ends), cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_split),   cmocka_unit_test(test_epochs),    cmocka_unit_test(test_from_ids),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, load_fixture, drop_fixture);
}
