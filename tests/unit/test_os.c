/* host/base/os.h: mapping, replacing files and folders; what every system does alike. */
#include "host/base/os.h"
#include "tests/unit/unit.h"
#include "tests/unit/test_os.h"

static void mapping(void **state) {
    espl_context *ctx = unit_context(*state);
    espl_mapping map;
    unit_write("test_os.dir/a", "hello", 5);
    unit_ok(ctx, espl_os_map(ctx, "test_os.dir/a", &map));
    assert_int_equal(map.bytes, 5);
    assert_memory_equal(map.data, "hello", 5);
    espl_os_unmap(&map);
    espl_os_unmap(&map);
    unit_write("test_os.dir/empty", "", 0);
    unit_ok(ctx, espl_os_map(ctx, "test_os.dir/empty", &map));
    assert_int_equal(map.bytes, 0);
    assert_string_equal((const char *)map.data, "");
    espl_os_unmap(&map);
    unit_fails(ctx, espl_os_map(ctx, "test_os.dir/none", &map), ESPL_IO,
        "test_os.dir/none: could not be opened: ");
    unit_fails(ctx, espl_os_map(ctx, folder, &map), ESPL_IO, "not a plain file");
    unit_finish(*state, ctx);
}

static void replacing(void **state) {
    espl_context *ctx = unit_context(*state);
    const char *path = "test_os.dir/b";
    espl_replace replace;
    unit_ok(ctx, espl_os_write_file(ctx, path, "old", 3));
    check_content(path, "old");
    unit_ok(ctx, espl_os_replace_begin(ctx, path, &replace));
    unit_ok(ctx, espl_os_replace_write(ctx, &replace, "new ", 4));
    unit_ok(ctx, espl_os_replace_write(ctx, &replace, "text", 4));
    assert_int_equal(replace.bytes, 8);
    check_content(path, "old");
    assert_int_equal(entries(folder), 2);
    unit_ok(ctx, espl_os_replace_commit(ctx, &replace));
    espl_os_replace_finish(ctx, &replace);
    check_content(path, "new text");
    assert_int_equal(entries(folder), 1);

    unit_ok(ctx, espl_os_replace_begin(ctx, path, &replace));
    unit_ok(ctx, espl_os_replace_write(ctx, &replace, "lost", 4));
    espl_os_replace_finish(ctx, &replace);
    check_content(path, "new text");
    assert_int_equal(entries(folder), 1);
    unit_fails(ctx, espl_os_replace_write(ctx, &replace, "x", 1), ESPL_ARGUMENT, "before begin");

    espl_replace zeroed = {0};
    espl_os_replace_finish(ctx, &zeroed);
    unit_fails(ctx, espl_os_write_file(ctx, "test_os.dir/no/where", "x", 1), ESPL_IO, "could not be created");
    unit_finish(*state, ctx);
}

static void folders(void **state) {
    espl_context *ctx = unit_context(*state);
    unit_ok(ctx, espl_os_make_folder(ctx, "test_os.dir/x/y/z"));
    unit_ok(ctx, espl_os_make_folder(ctx, "test_os.dir/x//y/z/"));
    assert_true(espl_os_is_folder("test_os.dir/x/y/z") && !espl_os_is_file("test_os.dir/x/y/z"));
    unit_write("test_os.dir/f", "1", 1);
    assert_true(espl_os_is_file("test_os.dir/f") && !espl_os_is_folder("test_os.dir/f"));
    unit_fails(ctx, espl_os_make_folder(ctx, "test_os.dir/f/g"), ESPL_IO, "made a folder");

    unit_ok(ctx, espl_os_make_folder(ctx, "test_os.dir/live"));
    unit_write("test_os.dir/live/file", "2", 1);
    assert_false(espl_os_folder_is_empty("test_os.dir/live"));
    espl_os_remove_folder(ctx, "test_os.dir/live");
    espl_os_remove_folder(ctx, "test_os.dir/live");
    assert_false(espl_os_is_folder("test_os.dir/live"));
    assert_true(espl_os_folder_is_empty("test_os.dir/live"));
    unit_write("test_os.dir/x/y/file", "3", 1);
    espl_os_remove_folder(ctx, "test_os.dir/x");
    assert_false(espl_os_is_folder("test_os.dir/x"));

    char *temporary;
    unit_ok(ctx, espl_os_temporary_folder(ctx, &temporary));
    assert_true(espl_os_is_folder(temporary) && espl_os_folder_is_empty(temporary));
    espl_os_remove_folder(ctx, temporary);
    assert_false(espl_os_is_folder(temporary));
    espl_free(ctx, &temporary);
    unit_finish(*state, ctx);
}

/* Names that are not ASCII, and a path longer than Windows' old limit of 260. */
static void names(void **state) {
    espl_context *ctx = unit_context(*state);
    static const char part[] = "/\xc3\xa9tude \xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e \xf0\x9f\x8c\xb3 with a name of some length";
    char path[600] = "test_os.dir";
    espl_mapping map;
    for (int depth = 0; depth < 6; depth++) {
        strcat(path, part);
        unit_ok(ctx, espl_os_make_folder(ctx, path));
        assert_true(espl_os_is_folder(path) && espl_os_folder_is_empty(path));
    }
    assert_true(strlen(path) > 300);
    strcat(path, "/\xc3\xbc.txt");
    unit_ok(ctx, espl_os_write_file(ctx, path, "long", 4));
    FILE *lines = espl_os_append(path);
    assert_non_null(lines);
    assert_true(fputs("er\n", lines) >= 0 && fclose(lines) == 0);
    unit_ok(ctx, espl_os_map(ctx, path, &map));
    assert_int_equal(map.bytes, 7);
    assert_memory_equal(map.data, "longer\n", 7);
    espl_os_unmap(&map);
    unit_ok(ctx, espl_os_write_file(ctx, path, "again", 5)); /* over one that is there */
    assert_string_equal(espl_os_file_name(path), "\xc3\xbc.txt");
    assert_string_equal(espl_os_file_name("plain"), "plain");
    assert_string_equal(espl_os_file_name("folder/"), "");
    unit_finish(*state, ctx); /* teardown takes it all away */
    assert_false(espl_os_folder_is_empty(folder));
}

static void clocks(void **state) {
    espl_context *ctx = unit_context(*state);
    const double start = espl_os_seconds(), worked = espl_os_thread_seconds();
    assert_null(espl_os_library_open("libno-such-library.so"));
    espl_os_library_close(NULL);
    assert_true(espl_os_seconds() >= start);
    volatile double sum = 0;
    while (espl_os_thread_seconds() == worked) sum += 1;
    assert_true(espl_os_thread_seconds() - worked < 60);
    unit_finish(*state, ctx);
}

static espl_status write_body(espl_context *ctx, void *user) {
    (void)user;
    espl_replace replace;
    ESPL_TRY(espl_os_replace_begin(ctx, "test_os.dir/sweep", &replace));
    espl_status status = espl_os_replace_write(ctx, &replace, "abc", 3);
    if (status == ESPL_OK) status = espl_os_replace_commit(ctx, &replace);
    espl_os_replace_finish(ctx, &replace);
    return status;
}

static espl_status folder_body(espl_context *ctx, void *user) {
    char *path;
    (void)user;
    ESPL_TRY(espl_os_make_folder(ctx, "test_os.dir/deep/er"));
    espl_os_remove_folder(ctx, "test_os.dir/deep");
    ESPL_TRY(espl_os_cache_folder(ctx, &path));
    espl_free(ctx, &path);
    ESPL_TRY(espl_os_temporary_folder(ctx, &path));
    espl_os_remove_folder(ctx, path);
    espl_free(ctx, &path);
    return ESPL_OK;
}

static void allocation(void **state) {
    (void)state;
    unit_sweep(write_body, NULL);
    unit_sweep(folder_body, NULL);
    check_content("test_os.dir/sweep", "abc");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mapping, setup, teardown),
        cmocka_unit_test_setup_teardown(replacing, setup, teardown),
        cmocka_unit_test_setup_teardown(folders, setup, teardown),
        cmocka_unit_test_setup_teardown(names, setup, teardown),
        cmocka_unit_test_setup_teardown(clocks, setup, teardown),
        cmocka_unit_test_setup_teardown(allocation, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
