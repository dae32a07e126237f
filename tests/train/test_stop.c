/* The gate for streamed text: the same result however the bytes are cut, held against a search in the whole text. */
#include "host/base/base.h"
#include "host/serve/stop.h"
#include "tests/train/common.h"

/* Pushes text in pieces whose lengths come from random (0: all at once); what came out goes to out. */
static bool run(espl_stop *stop, const char *text, size_t bytes, espl_random *random, espl_bytes *out) {
    const char *given;
    size_t count;
    bool hit = false;
    espl_stop_reset(stop);
    out->count = 0;
    for (size_t at = 0; at < bytes;) {
        size_t piece = random ? espl_random_below(random, 4) : bytes;
        piece = piece < bytes - at ? piece : bytes - at;
        assert_int_equal(espl_stop_push(stop, text + at, piece, &given, &count, &hit), ESPL_OK);
        assert_int_equal(strlen(given), count);
        assert_int_equal(espl_bytes_append(stop->ctx, out, given, count), ESPL_OK);
        at += piece;
    }
    assert_int_equal(espl_stop_flush(stop, &given, &count), ESPL_OK);
    assert_int_equal(espl_bytes_append(stop->ctx, out, given, count), ESPL_OK);
    return hit;
}

static void check(const char *const *strings, size_t count, const char *text, const char *wanted, bool wanted_hit) {
    espl_context *ctx = quiet_context();
    espl_stop stop;
    espl_bytes out = {0};
    espl_random random = {.seed = 1};
    assert_int_equal(espl_stop_init(ctx, strings, count, &stop), ESPL_OK);
    for (int round = 0; round < 50; round++) {
        bool hit = run(&stop, text, strlen(text), round ? &random : NULL, &out);
        assert_int_equal(hit, wanted_hit);
        assert_string_equal(out.data, wanted);
    }
    espl_bytes_finish(ctx, &out);
    espl_stop_finish(&stop);
    espl_context_destroy(&ctx);
}

static void test_hits(void **state) {
    (void)state;
    const char *one[] = {"STOP"}, *overlap[] = {"abab!", "ba?"}, *nested[] = {"xyz", "y"}, *tail[] = {"bc", "abc"};
    check(NULL, 0, "plain text", "plain text", false);
    check(one, 1, "go STOP on", "go ", true);
    check(one, 1, "go STO on", "go STO on", false);
    check(one, 1, "STOSTOP", "STO", true);
    check(one, 1, "SSTOP", "S", true);
    check(one, 1, "ends with STO", "ends with STO", false);
    check(one, 1, "STOP", "", true);
    check(overlap, 2, "ababab!", "ab", true);
    check(overlap, 2, "ababa?", "aba", true);
    check(overlap, 2, "ababx", "ababx", false);
    check(nested, 2, "axyz", "ax", true); /* "y" is complete first */
    check(tail, 2, "xabc", "x", true);    /* both at once: the longest */
}

static void test_characters(void **state) {
    (void)state;
    const char *strings[] = {"\xE2\x82\xAC!", "\n\n"};
    check(strings, 2, "5 \xE2\x82\xAC or \xF0\x9F\x8C\xB3\n", "5 \xE2\x82\xAC or \xF0\x9F\x8C\xB3\n", false);
    check(strings, 2, "5 \xE2\x82\xAC!", "5 ", true);
    check(strings, 2, "bad \xE2\x82 and \xFF end\xF0\x9F", "bad \xEF\xBF\xBD and \xEF\xBF\xBD end\xEF\xBF\xBD", false);
    check(strings, 2, "bad \xE2\x82\n\nx", "bad \xEF\xBF\xBD", true);
}

/* Every piece given out is whole characters, and nothing comes early. */
static void test_whole_characters(void **state) {
    (void)state;
    espl_context *ctx = quiet_context();
    espl_stop stop;
    const char *strings[] = {"ab"}, *given;
    size_t count;
    bool hit;
    assert_int_equal(espl_stop_init(ctx, strings, 1, &stop), ESPL_OK);
    assert_int_equal(espl_stop_push(&stop, "x\xC3", 2, &given, &count, &hit), ESPL_OK);
    assert_string_equal(given, "x");
    assert_int_equal(espl_stop_push(&stop, "\xA9za", 3, &given, &count, &hit), ESPL_OK);
    assert_string_equal(given, "\xC3\xA9z");
    assert_int_equal(espl_stop_push(&stop, "c", 1, &given, &count, &hit), ESPL_OK);
    assert_string_equal(given, "ac");
    assert_int_equal(espl_stop_push(&stop, "ab", 2, &given, &count, &hit), ESPL_OK);
    assert_true(hit && count == 0);
    assert_int_equal(espl_stop_push(&stop, "more", 4, &given, &count, &hit), ESPL_OK);
    assert_true(hit && count == 0);
    assert_int_equal(espl_stop_flush(&stop, &given, &count), ESPL_OK);
    assert_int_equal(count, 0);
    espl_stop_finish(&stop);
    espl_context_destroy(&ctx);
}

/* Two letters and short strings: every overlap there is, against the definition. */
static void test_random(void **state) {
    (void)state;
    espl_context *ctx = quiet_context();
    espl_random random = {.seed = 9};
    espl_bytes out = {0};
    for (int round = 0; round < 3000; round++) {
        char text[33] = {0}, words[3][6] = {{0}};
        const char *strings[3] = {words[0], words[1], words[2]};
        for (int i = 0; i < 32; i++)
            text[i] = "ab"[espl_random_below(&random, 2)];
        for (int s = 0; s < 3; s++) {
            uint32_t length = 3 + espl_random_below(&random, 3);
            for (uint32_t i = 0; i < length; i++)
                words[s][i] = "ab"[espl_random_below(&random, 2)];
        }
        size_t end = 0, longest = 0;
        while (end < 32 && !longest) {
            end++;
            for (int s = 0; s < 3; s++) {
                size_t length = strlen(words[s]);
                if (length <= end && length > longest && memcmp(text + end - length, words[s], length) == 0)
                    longest = length;
            }
        }
        espl_stop stop;
        assert_int_equal(espl_stop_init(ctx, strings, 3, &stop), ESPL_OK);
        bool hit = run(&stop, text, 32, &random, &out);
        assert_int_equal(hit, longest > 0);
        assert_int_equal(out.count, end - longest);
        assert_memory_equal(out.data, text, out.count);
        espl_stop_finish(&stop);
    }
    espl_bytes_finish(ctx, &out);
    espl_context_destroy(&ctx);
}

static void test_refused(void **state) {
    (void)state;
    espl_context *ctx = quiet_context();
    espl_stop stop;
    const char *empty[] = {"x", ""}, *bad[] = {"\xFF"};
    assert_int_equal(espl_stop_init(ctx, empty, 2, &stop), ESPL_ARGUMENT);
    assert_string_equal(espl_context_message(ctx), "stop string 2 is empty");
    assert_int_equal(espl_stop_init(ctx, bad, 1, &stop), ESPL_ARGUMENT);
    espl_context_destroy(&ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hits),   cmocka_unit_test(test_characters), cmocka_unit_test(test_whole_characters),
        cmocka_unit_test(test_random), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
