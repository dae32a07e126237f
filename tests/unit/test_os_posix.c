/* host/base/os_posix.c: what only such systems have: pipes, links, limits of size, the names of its folders. */
#define _XOPEN_SOURCE 700
#define ESPL_TEST_OS_FOLDER "test_os_posix.dir"
#include "tests/unit/test_os.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void not_plain(void **state) {
    espl_context *ctx = unit_context(*state);
    espl_mapping map;
    unit_fails(ctx, espl_os_map(ctx, "test_os_posix.dir/none", &map), ESPL_IO,
        "test_os_posix.dir/none: could not be opened: No such");
    assert_int_equal(mkfifo("test_os_posix.dir/pipe", 0600), 0);
    unit_fails(ctx, espl_os_map(ctx, "test_os_posix.dir/pipe", &map), ESPL_IO, "not a plain file");
    espl_replace zeroed = {0};
    espl_os_replace_finish(ctx, &zeroed);
    assert_int_not_equal(fcntl(0, F_GETFD), -1); /* standard input was not taken for the file */
    unit_finish(*state, ctx);
}

/* A file size limit stands in for a full disk: write fails half-way either way. */
static void full_disk(void **state) {
    espl_context *ctx = unit_context(*state);
    const char *path = "test_os_posix.dir/c";
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
        "test_os_posix.dir/c: could not be written");
    assert_int_equal(entries(folder), 1);
    unit_fails(ctx, espl_os_replace_commit(ctx, &replace), ESPL_ARGUMENT, "after a failure");
    espl_os_replace_finish(ctx, &replace);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    check_content(path, "precious");
    unit_finish(*state, ctx);
}

/* A link is removed as a link, wherever in the tree. */
static void links(void **state) {
    espl_context *ctx = unit_context(*state);
    unit_ok(ctx, espl_os_make_folder(ctx, "test_os_posix.dir/live"));
    unit_ok(ctx, espl_os_make_folder(ctx, "test_os_posix.dir/tree/branch"));
    unit_write("test_os_posix.dir/live/file", "2", 1);
    assert_int_equal(symlink("live", "test_os_posix.dir/link"), 0);
    assert_int_equal(symlink("../../live", "test_os_posix.dir/tree/branch/link"), 0);
    espl_os_remove_folder(ctx, "test_os_posix.dir/link");
    espl_os_remove_folder(ctx, "test_os_posix.dir/tree");
    assert_int_equal(entries(folder), 1);
    check_content("test_os_posix.dir/live/file", "2");
    unit_finish(*state, ctx);
}

static void environment(void **state) {
    espl_context *ctx = unit_context(*state);
    char *path;
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
    unit_finish(*state, ctx);
}

static void stop(void **state) {
    (void)state;
    espl_os_catch_stop();
    assert_false(espl_os_stop_asked());
    raise(SIGINT);
    assert_true(espl_os_stop_asked());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(not_plain, setup, teardown),
        cmocka_unit_test_setup_teardown(full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(links, setup, teardown),
        cmocka_unit_test_setup_teardown(environment, setup, teardown),
        cmocka_unit_test_setup_teardown(stop, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
