/* host/file/safetensors.h: round trips, sharded sets, and every way in which a file can be wrong. */
#include "host/base/os.h"
#include "host/file/safetensors.h"
#include "tests/unit/unit.h"

/* A file in memory: header length, header, `data` zero bytes. */
static size_t build(unsigned char *out, const char *header, size_t data) {
    uint64_t length = strlen(header);
    for (int i = 0; i < 8; i++) out[i] = (unsigned char)(length >> (8 * i));
    memcpy(out + 8, header, length);
    memset(out + 8 + length, 0, data);
    return 8 + (size_t)length + data;
}

static void check_refused(espl_context *ctx, const void *bytes, size_t count, const char *part) {
    espl_tensors *set;
    unit_fails(ctx, espl_tensors_open_memory(ctx, bytes, count, "x.safetensors", &set), ESPL_FORMAT, part);
    assert_null(set);
    assert_non_null(strstr(espl_context_message(ctx), "x.safetensors"));
}

#define ONE(dtype, shape, offsets) "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define TWO(offsets_a, offsets_b)                                          \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" offsets_a "}," \
    "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" offsets_b "}}"

static void hostile(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *part;
    } cases[] = {
        {ONE("F32", "[2]", "[0,8]"), 7, "of 7 bytes of data"},
        {ONE("F32", "[2]", "[0,8]"), 9, "end at byte 8 of 9"},
        {ONE("F32", "[2]", "[8,0]"), 8, "lies at 8..0"},
        {ONE("F32", "[2]", "[0,4]"), 4, "has 4 bytes, its shape and dtype need 8"},
        {ONE("F32", "[2]", "[-8,0]"), 8, "data_offsets"},
        {ONE("F32", "[2]", "[0,8,9]"), 8, "data_offsets"},
        {ONE("F32", "[2]", "[0,\"8\"]"), 8, "data_offsets"},
        {ONE("F32", "[2]", "[0,18446744073709551615]"), 8, "lies at 0..|data_offsets"},
        {ONE("F32", "[-2]", "[0,8]"), 8, "\"shape\" holds"},
        {ONE("F32", "[1.5]", "[0,8]"), 8, "\"shape\" holds"},
        {ONE("F32", "2", "[0,8]"), 8, "\"shape\" is not an array"},
        {ONE("F32", "[4294967296,4294967296,4294967296]", "[0,8]"), 8, "overflows"},
        {ONE("F32", "[4611686018427387904]", "[0,8]"), 8, "overflows"},
        {ONE("F32", "[9223372036854775807,9223372036854775807]", "[0,0]"), 0, "overflows"},
        {ONE("X7", "[2]", "[0,8]"), 8, "unknown dtype \"X7\""},
        {ONE("F4", "[3]", "[0,1]"), 1, "whole bytes"},
        {"{\"a\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "\"dtype\" is not a string"},
        {"{\"a\":[]}", 0, "not an object"},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "\"dtype\""},
        {TWO("[0,4]", "[2,6]"), 6, "inside another"},
        {TWO("[0,4]", "[0,4]"), 4, "inside another"},
        {TWO("[0,4]", "[5,9]"), 9, "after a hole"},
        {TWO("[1,5]", "[5,9]"), 9, "after a hole"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "duplicate"},
        {"{\"\xff\":{}}", 0, "unable to decode byte 0xff"},
        {"{\"a\":", 0, "line 1"},
        {"[]", 0, "does not begin with '{'"},
        {" {}", 0, "does not begin with '{'"},
        {"{\"__metadata__\":7}", 0, "__metadata__"},
        {"{\"__metadata__\":{\"k\":7}}", 0, "metadata \"k\""},
        {"{}", 3, "end at byte 0 of 3"},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    unsigned char bytes[1024];
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        size_t count = build(bytes, cases[i].header, cases[i].data);
        const char *bar = strchr(cases[i].part, '|');
        check_refused(ctx, bytes, count, bar ? bar + 1 : cases[i].part);
    }
    /* Every truncation of a good file. */
    size_t count = build(bytes, ONE("F32", "[2]", "[0,8]"), 8);
    for (size_t shorter = 0; shorter < count; shorter++) {
        unsigned char *exact = malloc(shorter ? shorter : 1); /* so that the sanitizer sees a read past the end */
        memcpy(exact, bytes, shorter);
        check_refused(ctx, exact, shorter, shorter < 8 ? "begins with 8" : "");
        free(exact);
    }
    static const uint64_t lengths[] = {UINT64_MAX, (uint64_t)INT64_MAX, 100000001, 1000};
    for (size_t i = 0; i < ESPL_COUNT(lengths); i++) {
        for (int b = 0; b < 8; b++) bytes[b] = (unsigned char)(lengths[i] >> (8 * b));
        check_refused(ctx, bytes, count, "does not fit");
    }
    unit_finish(&heap, ctx);
}

/* Tensors that a file may hold and that are refused only when asked for. */
static void foreign(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    unsigned char bytes[1024];
    espl_tensors *set;
    espl_tensor_view view;
    size_t count = build(bytes,
                         "{\"f8\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]},"
                         "\"deep\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[4,5]},"
                         "\"wide\":{\"dtype\":\"U8\",\"shape\":[4294967296,0],\"data_offsets\":[5,5]},"
                         "\"one\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[5,6]},"
                         "\"none\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[6,6]}}", 6);
    unit_ok(ctx, espl_tensors_open_memory(ctx, bytes, count, "x", &set));
    assert_int_equal(espl_tensors_count(set), 5);
    assert_true(espl_tensors_has(set, "f8"));
    unit_fails(ctx, espl_tensors_find(set, "f8", &view), ESPL_UNSUPPORTED, "F8_E4M3");
    unit_fails(ctx, espl_tensors_find(set, "deep", &view), ESPL_LIMIT, "9 dimensions");
    unit_fails(ctx, espl_tensors_find(set, "wide", &view), ESPL_LIMIT, "2^32");
    unit_fails(ctx, espl_tensors_find(set, "nothing", &view), ESPL_FORMAT, "no tensor \"nothing\"");
    unit_fails(ctx, espl_tensors_at(set, 5, &view), ESPL_ARGUMENT, "5 of 5");
    unit_ok(ctx, espl_tensors_find(set, "one", &view));
    assert_true(view.rank == 0 && view.bytes == 1);
    unit_ok(ctx, espl_tensors_find(set, "none", &view));
    assert_true(view.rank == 2 && view.shape[0] == 0 && view.shape[1] == 3 && view.bytes == 0);
    espl_tensors_destroy(&set);
    espl_tensors_destroy(&set);
    unit_finish(&heap, ctx);
}

static espl_status read_ramp(void *user, const espl_tensor_entry *entry, size_t offset, void *out, size_t bytes) {
    (void)entry;
    size_t *expected = user;
    assert_int_equal(offset, *expected);
    assert_true(bytes <= 1 << 20);
    for (size_t i = 0; i < bytes; i++) ((unsigned char *)out)[i] = (unsigned char)((offset + i) * 7);
    *expected += bytes;
    return ESPL_OK;
}

static espl_status read_fault(void *user, const espl_tensor_entry *entry, size_t offset, void *out, size_t bytes) {
    (void)user, (void)entry, (void)offset, (void)out, (void)bytes;
    return ESPL_STOPPED;
}

static const float values[6] = {1, 2, 3, 4, 5, 6};
static const espl_tensors_metadata_pair pairs[] = {{"format", "pt"}, {"note", "\"é\""}};

static void round_trip(void **state) {
    (void)state;
    enum { LARGE = 2500001 };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    size_t progress = 0;
    const espl_tensor_entry entries[] = {
        {.name = "z.weight", .dtype = ESPL_DTYPE_F32, .rank = 2, .shape = {2, 3}, .data = values},
        {.name = "ramp", .dtype = ESPL_DTYPE_U8, .rank = 1, .shape = {LARGE}, .read = read_ramp, .user = &progress},
        {.name = "a\"é", .dtype = ESPL_DTYPE_BF16, .rank = 1, .shape = {3}, .data = values},
        {.name = "step", .dtype = ESPL_DTYPE_I64, .data = values},
        {.name = "empty", .dtype = ESPL_DTYPE_F16, .rank = 1},
    };
    const char *path = "test_st.safetensors";
    unit_ok(ctx, espl_tensors_write(ctx, path, entries, ESPL_COUNT(entries), pairs, 2));
    assert_int_equal(progress, LARGE);
    espl_tensors *set;
    espl_tensor_view view;
    unit_ok(ctx, espl_tensors_open(ctx, path, &set));
    assert_int_equal(espl_tensors_count(set), ESPL_COUNT(entries));
    assert_string_equal(espl_tensors_metadata(set, "format"), "pt");
    assert_string_equal(espl_tensors_metadata(set, "note"), "\"é\"");
    assert_null(espl_tensors_metadata(set, "other"));
    static const char *const order[] = {"step", "z.weight", "a\"é", "empty", "ramp"};
    for (size_t i = 0; i < ESPL_COUNT(order); i++) assert_string_equal(espl_tensors_name(set, i), order[i]);
    unit_ok(ctx, espl_tensors_find(set, "z.weight", &view));
    assert_true(view.dtype == ESPL_DTYPE_F32 && view.rank == 2 && view.shape[0] == 2 && view.shape[1] == 3);
    assert_memory_equal(view.data, values, sizeof values);
    assert_int_equal((uintptr_t)view.data % 4, 0);
    unit_ok(ctx, espl_tensors_find(set, "ramp", &view));
    for (size_t i = 0; i < LARGE; i++) assert_int_equal(view.data[i], (i * 7) & 255);
    espl_tensors_destroy(&set);

    /* A write that fails leaves the file as it was. */
    const espl_tensor_entry faulty = {.name = "a", .dtype = ESPL_DTYPE_U8, .rank = 1, .shape = {9}, .read = read_fault};
    assert_int_equal(espl_tensors_write(ctx, path, &faulty, 1, NULL, 0), ESPL_STOPPED);
    unit_ok(ctx, espl_tensors_open(ctx, path, &set));
    assert_int_equal(espl_tensors_count(set), ESPL_COUNT(entries));
    espl_tensors_destroy(&set);

    const espl_tensor_entry twice[] = {entries[0], entries[0]};
    unit_fails(ctx, espl_tensors_write(ctx, path, twice, 2, NULL, 0), ESPL_ARGUMENT, "given twice");
    espl_tensor_entry bad = entries[0];
    bad.name = "__metadata__";
    unit_fails(ctx, espl_tensors_write(ctx, path, &bad, 1, NULL, 0), ESPL_ARGUMENT, "__metadata__");
    bad.name = "\xff";
    unit_fails(ctx, espl_tensors_write(ctx, path, &bad, 1, NULL, 0), ESPL_ARGUMENT, "UTF-8");
    bad = entries[0];
    bad.data = NULL;
    unit_fails(ctx, espl_tensors_write(ctx, path, &bad, 1, NULL, 0), ESPL_ARGUMENT, "neither data");
    bad.rank = 9;
    unit_fails(ctx, espl_tensors_write(ctx, path, &bad, 1, NULL, 0), ESPL_ARGUMENT, "9 dimensions");
    unit_ok(ctx, espl_tensors_write(ctx, path, NULL, 0, NULL, 0));
    unit_ok(ctx, espl_tensors_open(ctx, path, &set));
    assert_int_equal(espl_tensors_count(set), 0);
    assert_false(espl_tensors_has(set, "a"));
    espl_tensors_destroy(&set);
    espl_os_remove_file(path);
    unit_finish(&heap, ctx);
}

static void write_text(const char *path, const char *text) {
    unit_write(path, text, strlen(text));
}

static const char shards[] = "test_st.shards";
static const char index_path[] = "test_st.shards/model.safetensors.index.json";
#define INDEX(a, b) "{\"metadata\":{\"total_size\":8},\"weight_map\":{\"a\":\"" a "\",\"b\":\"" b "\"}}"

static void sharded(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    unit_ok(ctx, espl_os_make_folder(ctx, shards));
    espl_tensor_entry entry = {.name = "a", .dtype = ESPL_DTYPE_F32, .rank = 1, .shape = {2}, .data = values};
    unit_ok(ctx, espl_tensors_write(ctx, "test_st.shards/1.safetensors", &entry, 1, pairs, 1));
    entry.name = "b";
    entry.data = values + 2;
    unit_ok(ctx, espl_tensors_write(ctx, "test_st.shards/2.safetensors", &entry, 1, pairs + 1, 1));
    entry.name = "a";
    unit_ok(ctx, espl_tensors_write(ctx, "test_st.shards/3.safetensors", &entry, 1, NULL, 0));
    espl_tensors *set;
    espl_tensor_view view;
    unit_fails(ctx, espl_tensors_open(ctx, shards, &set), ESPL_IO, "has no model.safetensors, no pytorch_model.bin");
    write_text(index_path, INDEX("1.safetensors", "2.safetensors"));
    unit_ok(ctx, espl_tensors_open(ctx, shards, &set));
    assert_int_equal(espl_tensors_count(set), 2);
    unit_ok(ctx, espl_tensors_find(set, "b", &view));
    assert_memory_equal(view.data, values + 2, 8);
    assert_string_equal(espl_tensors_metadata(set, "format"), "pt");
    assert_non_null(espl_tensors_metadata(set, "note"));
    espl_tensors_destroy(&set);
    static const struct {
        const char *text;
        espl_status status;
        const char *part;
    } cases[] = {
        {INDEX("1.safetensors", "9.safetensors"), ESPL_IO, "9.safetensors: could not be opened"},
        {INDEX("1.safetensors", "../test_st.shards/2.safetensors"), ESPL_FORMAT, "not in a file beside"},
        {INDEX("1.safetensors", ".."), ESPL_FORMAT, "not in a file beside"},
        {INDEX("1.safetensors", ""), ESPL_FORMAT, "not in a file beside"},
        {INDEX("1.safetensors", "sub/2.safetensors"), ESPL_FORMAT, "not in a file beside"},
        {INDEX("1.safetensors", "c:2.safetensors"), ESPL_FORMAT, "not in a file beside"},
        {INDEX("1.safetensors", "3.safetensors"), ESPL_FORMAT, "another file of the set"},
        {INDEX("2.safetensors", "1.safetensors"), ESPL_FORMAT, "not in the file that the index names"},
        {INDEX("1.safetensors", "1.safetensors"), ESPL_FORMAT, "\"b\" is not in the file"},
        {"{\"weight_map\":{\"a\":7}}", ESPL_FORMAT, "not in a file beside"},
        {"{\"weight_map\":[]}", ESPL_FORMAT, "an array, an object was expected"},
        {"{}", ESPL_FORMAT, "\"weight_map\" is missing"},
    };
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        write_text(index_path, cases[i].text);
        unit_fails(ctx, espl_tensors_open(ctx, shards, &set), cases[i].status, cases[i].part);
        assert_null(set);
    }
    espl_os_remove_folder(ctx, shards);
    unit_finish(&heap, ctx);
}

static espl_status open_body(espl_context *ctx, void *user) {
    espl_tensors *set;
    espl_status status = espl_tensors_open(ctx, user, &set);
    if (status != ESPL_OK) assert_null(set);
    espl_tensors_destroy(&set);
    return status;
}

static espl_status write_body(espl_context *ctx, void *user) {
    const espl_tensor_entry entries[] = {
        {.name = "a", .dtype = ESPL_DTYPE_F32, .rank = 1, .shape = {2}, .data = values},
        {.name = "b", .dtype = ESPL_DTYPE_F32, .rank = 1, .shape = {2}, .data = values},
    };
    return espl_tensors_write(ctx, user, entries, 2, pairs, 2);
}

static void allocation(void **state) {
    (void)state;
    char path[] = "test_st_sweep.safetensors", folder[] = "test_st_sweep";
    unit_sweep(write_body, path);
    unit_sweep(open_body, path);
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    unit_ok(ctx, espl_os_make_folder(ctx, folder));
    unit_ok(ctx, write_body(ctx, "test_st_sweep/1.safetensors"));
    write_text("test_st_sweep/model.safetensors.index.json", INDEX("1.safetensors", "1.safetensors"));
    unit_sweep(open_body, folder);
    espl_os_remove_folder(ctx, folder);
    espl_os_remove_file(path);
    unit_finish(&heap, ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile), cmocka_unit_test(foreign),    cmocka_unit_test(round_trip),
        cmocka_unit_test(sharded), cmocka_unit_test(allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
