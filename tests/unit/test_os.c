/* host/base/os.h: mapping, replacing files and folders, what is left behind when the disk is full. */
#define _POSIX_C_SOURCE 200809L
#include "host/base/os.h"
#include "tests/unit/unit.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const char folder[] = "test_os.dir";

static int entries(const char *path) {
    int count = 0;
    DIR *listing = opendir(path);
    if (!listing) return -1;
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;) count += entry->d_name[0] != '.';
    closedir(listing);
    return count;
}

static void check_content(const char *path, const char *expected) {
    size_t bytes;
    char *content = unit_read(path, &bytes);
    assert_non_null(content);
    assert_string_equal(content, expected);
    free(content);
}

static int setup(void **state) {
    unit_heap *heap = calloc(1, sizeof *heap);
    espl_context *ctx = unit_context(heap);
    espl_os_remove_folder(ctx, folder);
    unit_ok(ctx, espl_os_make_folder(ctx, folder));
    espl_context_destroy(&ctx);
    *state = heap;
    return 0;
}

static int teardown(void **state) {
    espl_context *ctx = unit_context(*state);
    espl_os_remove_folder(ctx, folder);
    unit_finish(*state, ctx);
    free(*state);
    return 0;
}

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
        "test_os.dir/none: could not be opened: No such");
    unit_fails(ctx, espl_os_map(ctx, folder, &map), ESPL_IO, "not a plain file");
    assert_int_equal(mkfifo("test_os.dir/pipe", 0600), 0);
    unit_fails(ctx, espl_os_map(ctx, "test_os.dir/pipe", &map), ESPL_IO, "not a plain file");
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
    assert_int_not_equal(fcntl(0, F_GETFD), -1); /* standard input was not taken for the file */
    unit_fails(ctx, espl_os_write_file(ctx, "test_os.dir/no/where", "x", 1), ESPL_IO, "could not be created");
    unit_finish(*state, ctx);
}

/* A file size limit stands in for a full disk: write fails half-way either way. */
static void full_disk(void **state) {
    espl_context *ctx = unit_context(*state);
    const char *path = "test_os.dir/c";
    static char block[100000];
    espl_replace replace;
    struct rlimit before, small;
    unit_ok(ctx, espl_os_write_file(ctx, path, "precious", 8));
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 150000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    unit_ok(ctx, espl_os_replace_begin(ctx, path, &replace));
    unit_ok(ctx, espl_os_replace_write(ctx, &replace, block, sizeof block));
    unit_fails(ctx, espl_os_replace_write(ctx, &replace, block, sizeof block), ESPL_IO,
        "test_os.dir/c: could not be written");
    assert_int_equal(entries(folder), 1);
    unit_fails(ctx, espl_os_replace_commit(ctx, &replace), ESPL_ARGUMENT, "after a failure");
    espl_os_replace_finish(ctx, &replace);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    check_content(path, "precious");
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
    /* A link to a folder is removed as a link. */
    assert_int_equal(symlink("live", "test_os.dir/link"), 0);
    espl_os_remove_folder(ctx, "test_os.dir/link");
    check_content("test_os.dir/live/file", "2");
    espl_os_remove_folder(ctx, "test_os.dir/live");
    espl_os_remove_folder(ctx, "test_os.dir/live");
    assert_false(espl_os_is_folder("test_os.dir/live"));
    espl_os_remove_folder(ctx, "test_os.dir/x/y/z");
    espl_os_remove_folder(ctx, "test_os.dir/x/y");
    espl_os_remove_folder(ctx, "test_os.dir/x");
    unit_finish(*state, ctx);
}

static void environment(void **state) {
    espl_context *ctx = unit_context(*state);
    char *path;
    double start = espl_os_seconds();
    setenv("HOME", "/home/someone", 1);
    unsetenv("XDG_CACHE_HOME");
    unit_ok(ctx, espl_os_cache_folder(ctx, &path));
    assert_string_equal(path, "/home/someone/.cache/espalier");
    espl_free(ctx, &path);
    setenv("XDG_CACHE_HOME", "/cache", 1);
    unit_ok(ctx, espl_os_cache_folder(ctx, &path));
    assert_string_equal(path, "/cache/espalier");
    espl_free(ctx, &path);
    unsetenv("HOME");
    unsetenv("XDG_CACHE_HOME");
    unit_ok(ctx, espl_os_cache_folder(ctx, &path));
    assert_null(path);
    assert_null(espl_os_library_open("libno-such-library.so"));
    espl_os_library_close(NULL);
    assert_true(espl_os_seconds() >= start);
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
    espl_os_remove_folder(ctx, "test_os.dir/deep/er");
    espl_os_remove_folder(ctx, "test_os.dir/deep");
    setenv("HOME", "/home/someone", 1);
    ESPL_TRY(espl_os_cache_folder(ctx, &path));
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
        cmocka_unit_test_setup_teardown(full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(folders, setup, teardown),
        cmocka_unit_test_setup_teardown(environment, setup, teardown),
        cmocka_unit_test_setup_teardown(allocation, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
