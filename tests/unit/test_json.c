/* host/file/json.h: reading with sentences, writing like Python. */
#include "host/base/os.h"
#include "host/file/json.h"
#include "tests/unit/unit.h"
#include <locale.h>

static json_t *parse(espl_context *ctx, const char *text) {
    json_t *root;
    unit_ok(ctx, espl_json_parse(ctx, text, strlen(text), "test.json", &root));
    return root;
}

static void getters(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    json_t *root = parse(ctx, "{\"n\": 768, \"neg\": -1, \"half\": 8.5, \"whole\": 8.0, \"s\": \"text\", \"b\": true,"
                              " \"none\": null, \"o\": {}, \"a\": [], \"big\": 5000000000, \"huge\": 1e300}");
    uint32_t u32 = 1;
    uint64_t u64 = 1;
    int64_t i64 = 1;
    double f64 = 1;
    float f32 = 1;
    bool flag = true;
    const char *text = NULL;
    json_t *value = NULL;
    unit_ok(ctx, espl_json_u32(ctx, root, "n", 0, &u32));
    assert_int_equal(u32, 768);
    unit_ok(ctx, espl_json_u32(ctx, root, "absent", 5, &u32));
    assert_int_equal(u32, 5);
    unit_ok(ctx, espl_json_u32(ctx, root, "none", 6, &u32));
    assert_int_equal(u32, 6);
    unit_ok(ctx, espl_json_u32(ctx, NULL, "n", 7, &u32));
    assert_int_equal(u32, 7);
    unit_ok(ctx, espl_json_u32(ctx, root, "whole", 0, &u32));
    assert_int_equal(u32, 8);
    unit_fails(ctx, espl_json_u32(ctx, root, "s", 0, &u32), ESPL_FORMAT, "\"s\" is a string, an integer was expected");
    unit_fails(ctx, espl_json_u32(ctx, root, "half", 0, &u32), ESPL_FORMAT, "\"half\" is 8.5");
    unit_fails(ctx, espl_json_u32(ctx, root, "neg", 0, &u32), ESPL_FORMAT, "\"neg\" is -1");
    unit_fails(ctx, espl_json_u32(ctx, root, "big", 0, &u32), ESPL_FORMAT, "5000000000");
    unit_fails(ctx, espl_json_u32(ctx, root, "huge", 0, &u32), ESPL_FORMAT, "1e+300");
    unit_ok(ctx, espl_json_u64(ctx, root, "big", 0, &u64));
    assert_true(u64 == 5000000000u);
    unit_ok(ctx, espl_json_i64(ctx, root, "neg", 0, &i64));
    assert_int_equal(i64, -1);
    unit_ok(ctx, espl_json_f64(ctx, root, "n", 0, &f64));
    assert_true(f64 == 768);
    unit_fails(ctx, espl_json_f64(ctx, root, "b", 0, &f64), ESPL_FORMAT, "\"b\" is true or false, a number");
    unit_fails(ctx, espl_json_f32(ctx, root, "huge", 0, &f32), ESPL_FORMAT, "32-bit");
    unit_ok(ctx, espl_json_bool(ctx, root, "b", false, &flag));
    assert_true(flag);
    unit_fails(ctx, espl_json_bool(ctx, root, "n", false, &flag), ESPL_FORMAT, "an integer, true or false");
    unit_ok(ctx, espl_json_string(ctx, root, "s", "d", &text));
    assert_string_equal(text, "text");
    unit_ok(ctx, espl_json_object(ctx, root, "o", &value));
    assert_non_null(value);
    unit_ok(ctx, espl_json_array(ctx, root, "absent", &value));
    assert_null(value);
    unit_fails(ctx, espl_json_array(ctx, root, "o", &value), ESPL_FORMAT, "an object, an array");
    unit_fails(ctx, espl_json_need(ctx, root, "none"), ESPL_FORMAT, "\"none\" is missing");
    unit_fails(ctx, espl_json_u32(ctx, json_object_get(root, "a"), "n", 0, &u32), ESPL_FORMAT, "an array stands where");
    espl_json_destroy(&root);
    espl_json_destroy(&root);
    unit_finish(&heap, ctx);
}

static void hostile(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    json_t *root;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "test.json: line 1"},          {"{\"a\":1,\"a\":2}", "duplicate"}, {"{\"a\":1} x", "end of file"},
        {"{\"a\":1,}", "line 1"},           {"\"\xff\"", "0xff"},             {"{\"a\": nul}", "line 1"},
        {"\"\\ud800\"", "Unicode"},         {"[1e999]", "overflow"},           {"{\"a\\u0000b\":1}", "NUL"},
    };
    for (size_t i = 0; i < ESPL_COUNT(cases); i++)
        unit_fails(ctx, espl_json_parse(ctx, cases[i].text, strlen(cases[i].text), "test.json", &root), ESPL_FORMAT,
                   cases[i].part);
    enum { DEEP = 1000000 };
    char *deep = malloc(DEEP);
    memset(deep, '[', DEEP);
    unit_fails(ctx, espl_json_parse(ctx, deep, DEEP, "test.json", &root), ESPL_FORMAT, "depth");
    free(deep);
    root = parse(ctx, "{\"m\": 1000000000000000019884624838656, \"n\": 3}");
    uint32_t n;
    unit_ok(ctx, espl_json_u32(ctx, root, "n", 0, &n));
    assert_int_equal(n, 3);
    espl_json_destroy(&root);
    unit_fails(ctx, espl_json_load(ctx, "no-such.json", &root), ESPL_IO, "no-such.json");
    assert_null(root);
    unit_finish(&heap, ctx);
}

/* Expected text from Python 3.11: json.dumps(value, indent=2, sort_keys=True). */
static void printing(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    json_t *root = parse(ctx, "{\"z\": [], \"a\": {}, \"list\": [1, [true, null]], \"r\": 16.0, \"alpha\": 0.1,"
                              " \"tiny\": 0.00001, \"eps\": 1e-5, \"big\": 1e16, \"near\": 123456789012345.0,"
                              " \"third\": 0.3333333333333333,"
                              " \"t\": \"\\u00e9\\n\\\"\\\\\\u007f\\ud83d\\ude80\\u0001\","
                              " \"zero\": -0.0, \"deep\": {\"k\": 5e-324}}");
    static const char expected[] =
        "{\n  \"a\": {},\n  \"alpha\": 0.1,\n  \"big\": 1e+16,\n  \"deep\": {\n    \"k\": 5e-324\n"
        "  },\n  \"eps\": 1e-05,\n  \"list\": [\n    1,\n    [\n      true,\n      null\n    ]\n  ],\n"
        "  \"near\": 123456789012345.0,\n  \"r\": 16.0,\n"
        "  \"t\": \"\\u00e9\\n\\\"\\\\\\u007f\\ud83d\\ude80\\u0001\",\n  \"third\": 0.3333333333333333,\n"
        "  \"tiny\": 1e-05,\n  \"z\": [],\n  \"zero\": -0.0\n}";
    const char *const locales[] = {"C", "de_DE.UTF-8", "fr_FR.UTF-8"};
    for (size_t i = 0; i < ESPL_COUNT(locales); i++) {
        espl_bytes text = {0};
        if (!setlocale(LC_ALL, locales[i])) continue;
        unit_ok(ctx, espl_json_print(ctx, root, &text));
        assert_string_equal(text.data, expected);
        espl_bytes_finish(ctx, &text);
    }
    setlocale(LC_ALL, "C");
    unit_ok(ctx, espl_json_save(ctx, "test_json.out", root));
    json_t *back;
    unit_ok(ctx, espl_json_load(ctx, "test_json.out", &back));
    assert_true(json_equal(root, back));
    espl_json_destroy(&back);
    espl_json_destroy(&root);
    root = json_object();
    unit_ok(ctx, espl_json_set(ctx, root, "a", json_integer(1)));
    unit_fails(ctx, espl_json_set(ctx, root, "b", NULL), ESPL_HOST_MEMORY, "\"b\"");
    espl_json_destroy(&root);
    espl_os_remove_file("test_json.out");
    unit_finish(&heap, ctx);
}

static espl_status print_body(espl_context *ctx, void *user) {
    espl_bytes text = {0};
    espl_status status = espl_json_print(ctx, user, &text);
    espl_bytes_finish(ctx, &text);
    return status;
}

static void allocation(void **state) {
    (void)state;
    json_t *root = json_loads("{\"b\": [1, 2.5, \"x\"], \"a\": {\"c\": null}}", 0, NULL);
    unit_sweep(print_body, root);
    json_decref(root);
}

/* Numbers that stand alone, in words of specs. */
static void number(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double value;
    } cases[] = {{"0.5", 0.5}, {"16", 16}, {"-3e-4", -3e-4}, {"1e3", 1000}, {"100000000000000000000", 1e20}};
    static const char *const others[] = {NULL, "", "1.2.3", "0,5", "1 2", "5x", "nan", "inf", "0x10", "1e999", "true", "\"1\"",
                                         "[1]"};
    const char *const locales[] = {"C", "de_DE.UTF-8", "fr_FR.UTF-8"};
    for (size_t l = 0; l < ESPL_COUNT(locales); l++) {
        if (!setlocale(LC_ALL, locales[l])) continue;
        double value = 0;
        for (size_t i = 0; i < ESPL_COUNT(cases); i++)
            assert_true(espl_json_number(cases[i].text, &value) && value == cases[i].value);
        for (size_t i = 0; i < ESPL_COUNT(others); i++) assert_false(espl_json_number(others[i], &value));
    }
    setlocale(LC_ALL, "C");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(getters), cmocka_unit_test(number), cmocka_unit_test(hostile),
                                       cmocka_unit_test(printing), cmocka_unit_test(allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
