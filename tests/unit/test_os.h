/* What the tests of host/base/os.h share: a folder of their own, made before and taken away after each test. */
#ifndef ESPL_TEST_OS_H
#define ESPL_TEST_OS_H

#include "host/base/os.h"
#include "tests/unit/unit.h"
#include <dirent.h>

/* Tests run beside each other. */
#ifndef ESPL_TEST_OS_FOLDER
#define ESPL_TEST_OS_FOLDER "test_os.dir"
#endif
static const char folder[] = ESPL_TEST_OS_FOLDER;

static inline int entries(const char *path) {
    int count = 0;
    DIR *listing = opendir(path);
    if (!listing) return -1;
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(listing);
    return count;
}

static inline void check_content(const char *path, const char *expected) {
    size_t bytes;
    char *content = unit_read(path, &bytes);
    assert_non_null(content);
    assert_string_equal(content, expected);
    free(content);
}

static inline int setup(void **state) {
    unit_heap *heap = calloc(1, sizeof *heap);
    espl_context *ctx = unit_context(heap);
    espl_os_remove_folder(ctx, folder);
    unit_ok(ctx, espl_os_make_folder(ctx, folder));
    espl_context_destroy(&ctx);
    *state = heap;
    return 0;
}

static inline int teardown(void **state) {
    espl_context *ctx = unit_context(*state);
    espl_os_remove_folder(ctx, folder);
    unit_finish(*state, ctx);
    free(*state);
    return 0;
}

#endif
