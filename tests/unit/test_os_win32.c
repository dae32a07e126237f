/* host/base/os_win32.c: what only Windows has: two separators, drives, reserved names, files held by others. */
#define ESPL_TEST_OS_FOLDER "test_os_win32.dir"
#include "tests/unit/test_os.h"
#include <windows.h>

static void separators(void **state) {
    espl_context *ctx = unit_context(*state);
    espl_mapping map;
    unit_ok(ctx, espl_os_make_folder(ctx, "test_os_win32.dir\\x/y\\\\z\\"));
    unit_ok(ctx, espl_os_write_file(ctx, "test_os_win32.dir\\x\\y/z\\file", "1", 1));
    check_content("test_os_win32.dir/x/y/z/file", "1");
    assert_string_equal(espl_os_file_name("C:\\a/b\\c.txt"), "c.txt");
    assert_string_equal(espl_os_file_name("C:c.txt"), "c.txt");
    assert_string_equal(espl_os_file_name("a:b"), "b");
    unit_ok(ctx, espl_os_make_folder(ctx, "C:\\"));
    unit_fails(ctx, espl_os_map(ctx, "NUL", &map), ESPL_IO, "not a plain file");
    unit_fails(ctx, espl_os_map(ctx, "\xff\xfe", &map), ESPL_IO, "could not be opened");
    char path[5000];
    memset(path, 'a', sizeof path - 1);
    path[sizeof path - 1] = 0;
    unit_fails(ctx, espl_os_map(ctx, path, &map), ESPL_IO, "aaaa"); /* the sentence is cut before the reason */
    assert_false(espl_os_is_file(path) || espl_os_is_folder(path));
    unit_finish(*state, ctx);
}

/* A scanner that holds the target for a moment is waited for; a file held for good stays as it is. */
static DWORD WINAPI let_go(void *handle) {
    Sleep(100);
    CloseHandle(handle);
    return 0;
}

static void held(void **state) {
    espl_context *ctx = unit_context(*state);
    static const char path[] = "test_os_win32.dir/held";
    unit_ok(ctx, espl_os_write_file(ctx, path, "old", 3));
    HANDLE file = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    assert_true(file != INVALID_HANDLE_VALUE);
    unit_fails(ctx, espl_os_write_file(ctx, path, "new", 3), ESPL_IO, "could not be replaced");
    assert_int_equal(entries(folder), 1);
    HANDLE thread = CreateThread(NULL, 0, let_go, file, 0, NULL);
    unit_ok(ctx, espl_os_write_file(ctx, path, "new", 3));
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
    check_content(path, "new");
    unit_finish(*state, ctx);
}

static void read_only(void **state) {
    espl_context *ctx = unit_context(*state);
    unit_ok(ctx, espl_os_make_folder(ctx, "test_os_win32.dir/tree"));
    unit_write("test_os_win32.dir/tree/file", "1", 1);
    assert_true(SetFileAttributesA("test_os_win32.dir/tree/file", FILE_ATTRIBUTE_READONLY));
    espl_os_remove_folder(ctx, "test_os_win32.dir/tree");
    assert_false(espl_os_is_folder("test_os_win32.dir/tree"));
    unit_finish(*state, ctx);
}

static void environment(void **state) {
    espl_context *ctx = unit_context(*state);
    char *path;
    SetEnvironmentVariableW(L"LOCALAPPDATA", L"C:\\Users\\J\u00f6rg");
    unit_ok(ctx, espl_os_cache_folder(ctx, &path));
    assert_string_equal(path, "C:\\Users\\J\xc3\xb6rg/espalier");
    espl_free(ctx, &path);
    SetEnvironmentVariableW(L"LOCALAPPDATA", NULL);
    unit_ok(ctx, espl_os_cache_folder(ctx, &path));
    assert_null(path);
    void *library = espl_os_library_open("kernel32.dll");
    assert_non_null(library);
    assert_non_null(espl_os_library_symbol(library, "Sleep"));
    assert_null(espl_os_library_symbol(library, "NoSuchFunction"));
    espl_os_library_close(library);
    unit_finish(*state, ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(separators, setup, teardown),
        cmocka_unit_test_setup_teardown(held, setup, teardown),
        cmocka_unit_test_setup_teardown(read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(environment, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
