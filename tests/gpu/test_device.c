/* Making a device: which one, with what lowered, what is kept on disk, and every allocation failing once. */
#define _POSIX_C_SOURCE 200809L /* setenv, mkdtemp, fork */
#include "gpu_test.h"
#include "host/base/os.h"
#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- Selection ---- */

static espl_status open_selected(espl_context *ctx, const char *select, char *out_name, size_t name_bytes) {
    espl_device *device;
    const espl_device_params params = {.select = select, .cache_folder = ""};
    espl_status status = espl_device_create(ctx, &params, &device);
    if (status == ESPL_OK) snprintf(out_name, name_bytes, "%s", espl_device_name(device));
    espl_device_destroy(&device);
    return status;
}

static json_t *list_devices(espl_context *ctx) {
    char *text;
    assert_ok(ctx, espl_device_list(ctx, true, &text));
    json_error_t error;
    json_t *list = json_loads(text, 0, &error);
    assert_non_null(list);
    espl_text_free(ctx, &text);
    assert_null(text);
    return list;
}

static void list_names_every_device(void **state) {
    (void)state;
    espl_context *ctx = test_context_open();
    json_t *list = list_devices(ctx);
    assert_true(json_array_size(list) > 0);
    char *table;
    assert_ok(ctx, espl_device_list(ctx, false, &table));
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *row = json_array_get(list, i), *capabilities = json_object_get(row, "capabilities");
        assert_int_equal(json_integer_value(json_object_get(row, "number")), i + 1);
        assert_non_null(strstr(table, json_string_value(json_object_get(row, "name"))));
        assert_true(json_integer_value(json_object_get(capabilities, "shared_bytes_max")) >= 16384);
        assert_true(json_is_boolean(json_object_get(capabilities, "timeline")));
    }
    espl_text_free(ctx, &table);
    json_decref(list);
    test_context_close(&ctx);
}

static void selection_by_number_name_and_uuid(void **state) {
    (void)state;
    espl_context *ctx = test_context_open();
    json_t *list = list_devices(ctx), *first = json_array_get(list, 0);
    const char *name = json_string_value(json_object_get(first, "name"));
    const char *uuid = json_string_value(json_object_get(first, "uuid"));
    char part[8], bare[40], got[256];
    size_t length = 0;
    assert_ok(ctx, open_selected(ctx, "1", got, sizeof got));
    assert_string_equal(got, name);
    assert_ok(ctx, open_selected(ctx, uuid, got, sizeof got));
    assert_string_equal(got, name);
    for (const char *c = uuid; *c; c++)
        if (*c != '-') bare[length++] = (char)(*c >= 'a' ? *c - 'a' + 'A' : *c);
    bare[length] = 0;
    assert_ok(ctx, open_selected(ctx, bare, got, sizeof got));
    /* Part of the name in the other case; unless several devices share it. */
    snprintf(part, sizeof part, "%s", name);
    for (char *c = part; *c; c++)
        if (*c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
    if (json_array_size(list) == 1) {
        assert_ok(ctx, open_selected(ctx, part, got, sizeof got));
        assert_string_equal(got, name);
    }
    assert_fails(ctx, ESPL_ARGUMENT, open_selected(ctx, "no such device", got, sizeof got));
    assert_message(ctx, "device 'no such device' fits none; there are 1: ");
    assert_message(ctx, name);
    assert_fails(ctx, ESPL_ARGUMENT, open_selected(ctx, "0", got, sizeof got));
    assert_fails(ctx, ESPL_ARGUMENT, open_selected(ctx, "00000000000000000000000000000000", got, sizeof got));
    json_decref(list);
    test_context_close(&ctx);
}

static void limits_lower_and_refuse(void **state) {
    (void)state;
    espl_context *ctx = test_context_open();
    espl_device *device = test_device_open(ctx, "shared_bytes_max=16384,timeline=0,vulkan_minor=1,invocations_max=4000000000");
    const espl_capabilities *c = espl_device_capabilities(device);
    assert_int_equal(c->shared_bytes_max, 16384);
    assert_false(c->timeline);
    assert_int_equal(c->vulkan_minor, 1);
    assert_true(c->invocations_max < 4000000000u);
    test_device_close(&device);
    static const char *const wrong[] = {"nonsense=1", "shared_bytes_max", "shared_bytes_max=", "timeline=x", "subgroup_size=1",
                                        "="};
    for (size_t i = 0; i < ESPL_COUNT(wrong); i++) {
        const espl_device_params params = {.cache_folder = "", .limits = wrong[i]};
        assert_fails(ctx, ESPL_ARGUMENT, espl_device_create(ctx, &params, &device));
        assert_message(ctx, "limits: '");
        assert_null(device);
    }
    assert_fails(ctx, ESPL_UNSUPPORTED,
                 espl_device_create(ctx, &(espl_device_params){.cache_folder = "", .limits = "vulkan_minor=0"}, &device));
    assert_message(ctx, "limits: Vulkan 1.0, 1.1 is needed");
    test_context_close(&ctx);
}

static void environment_fills_what_is_left_open(void **state) {
    (void)state;
    espl_context *ctx = test_context_open();
    espl_device *device;
    setenv("ESPALIER_DEVICE", "no such device", 1);
    setenv("ESPALIER_LIMITS", "timestamps=0", 1);
    setenv("ESPALIER_CACHE", "", 1);
    assert_fails(ctx, ESPL_ARGUMENT, espl_device_create(ctx, NULL, &device));
    assert_ok(ctx, espl_device_create(ctx, &(espl_device_params){.select = "1"}, &device));
    assert_false(espl_device_capabilities(device)->timestamps);
    espl_device_destroy(&device);
    unsetenv("ESPALIER_DEVICE");
    unsetenv("ESPALIER_LIMITS");
    unsetenv("ESPALIER_CACHE");
    test_context_close(&ctx);
}

static void a_machine_without_drivers_has_an_empty_list(void **state) {
    (void)state;
    static const char *const names[] = {"VK_ICD_FILENAMES", "VK_DRIVER_FILES"};
    char kept[ESPL_COUNT(names)][1024];
    for (size_t i = 0; i < ESPL_COUNT(names); i++) {
        const char *value = getenv(names[i]);
        snprintf(kept[i], sizeof kept[i], "%s", value ? value : "");
        setenv(names[i], "/nowhere.json", 1);
    }
    espl_context *ctx = test_context_open();
    espl_device *device;
    char *text;
    assert_ok(ctx, espl_device_list(ctx, true, &text));
    assert_string_equal(text, "[]\n");
    espl_text_free(ctx, &text);
    assert_ok(ctx, espl_device_list(ctx, false, &text));
    assert_string_equal(text, "no Vulkan device\n");
    espl_text_free(ctx, &text);
    assert_fails(ctx, ESPL_UNSUPPORTED, espl_device_create(ctx, NULL, &device));
    assert_message(ctx, "no Vulkan device on this machine");
    test_context_close(&ctx);
    for (size_t i = 0; i < ESPL_COUNT(names); i++) {
        if (kept[i][0]) setenv(names[i], kept[i], 1);
        else unsetenv(names[i]);
    }
}

/* ---- The cache on disk ---- */

/* Name of the one file in a folder; "" if there is none. */
static void only_file(const char *folder, char *out_path, size_t path_bytes) {
    out_path[0] = 0;
    DIR *open = opendir(folder);
    if (!open) return;
    for (struct dirent *entry; (entry = readdir(open));) {
        if (entry->d_name[0] == '.') continue;
        assert_string_equal(out_path, "");
        snprintf(out_path, path_bytes, "%s/%s", folder, entry->d_name);
    }
    closedir(open);
}

static void use_kernel(espl_context *ctx, const char *folder) {
    espl_device *device;
    const espl_kernel *kernel;
    const espl_device_params params = {.cache_folder = folder, .validation = true};
    assert_ok(ctx, espl_device_create(ctx, &params, &device));
    assert_ok(ctx, espl_device_kernel(device, &espl_shader_axpy, (uint32_t[]){64, 1, 1, 1, 0}, 5, &kernel));
    test_device_close(&device);
}

static void pipeline_cache_survives_corruption(void **state) {
    (void)state;
    espl_context *ctx = test_context_open();
    char top[] = "/tmp/espl-gpu-XXXXXX", folder[64], path[320];
    assert_non_null(mkdtemp(top));
    snprintf(folder, sizeof folder, "%s/a/b", top);
    use_kernel(ctx, folder); /* makes the folders */
    only_file(folder, path, sizeof path);
    assert_non_null(strstr(path, ".pipelines"));
    espl_mapping whole;
    assert_ok(ctx, espl_os_map(ctx, path, &whole));
    size_t bytes = whole.bytes;
    unsigned char *good = malloc(bytes);
    memcpy(good, whole.data, bytes);
    espl_os_unmap(&whole);
    use_kernel(ctx, folder); /* reads it */
    assert_int_equal(remade_line_count, 0);

    /* Flipped in our header, in the driver's header, in the last byte; cut short; empty; with more behind it. */
    const size_t flips[] = {0, 9, 17, 24, 28, 32, 40, bytes - 1};
    for (size_t i = 0; i < ESPL_COUNT(flips); i++) {
        good[flips[i]] ^= 0x41;
        assert_ok(ctx, espl_os_write_file(ctx, path, good, bytes));
        good[flips[i]] ^= 0x41;
        use_kernel(ctx, folder);
        assert_int_equal(remade_line_count, i + 1);
        assert_ok(ctx, espl_os_map(ctx, path, &whole));
        assert_true(whole.bytes >= 24 && memcmp(whole.data, "ESPLVKPC", 8) == 0); /* made anew */
        espl_os_unmap(&whole);
    }
    remade_line_count = 0;
    for (long i = 0; i < 7; i++) {
        assert_ok(ctx, espl_os_write_file(ctx, path, good, (size_t)i * bytes / 7));
        use_kernel(ctx, folder);
        assert_int_equal(remade_line_count, i + 1);
    }
    assert_int_equal(warning_line_count, 0);

    /* A folder that cannot be made is a warning, the device works. */
    char below_file[400];
    snprintf(below_file, sizeof below_file, "%s/c", path);
    use_kernel(ctx, below_file);
    assert_int_equal(warning_line_count, 1);
    assert_non_null(strstr(last_line, "compiled kernels were not kept"));
    free(good);
    espl_os_remove_folder(ctx, folder);
    snprintf(folder, sizeof folder, "%s/a", top);
    espl_os_remove_folder(ctx, folder);
    espl_os_remove_folder(ctx, top);
    test_context_close(&ctx);
}

/* A file that is whole and was written by another driver, or by this one for another device: what the driver's own header
 * says is looked at, too. */
static void pipeline_cache_of_another_driver(void **state) {
    (void)state;
    enum { OURS = 24 }; /* magic, bytes, hash */
    espl_context *ctx = test_context_open();
    char folder[] = "/tmp/espl-gpu-XXXXXX", path[320];
    assert_non_null(mkdtemp(folder));
    use_kernel(ctx, folder);
    only_file(folder, path, sizeof path);
    espl_mapping whole;
    assert_ok(ctx, espl_os_map(ctx, path, &whole));
    const size_t bytes = whole.bytes;
    unsigned char *data = malloc(bytes);
    memcpy(data, whole.data, bytes);
    espl_os_unmap(&whole);
    const size_t changed[] = {OURS + 4, OURS + 8, OURS + 12, OURS + 16, OURS + 31}; /* version, vendor, device, UUID */
    for (size_t i = 0; i <= ESPL_COUNT(changed); i++) {
        const size_t at = i < ESPL_COUNT(changed) ? changed[i] : 0; /* at last as it was */
        if (at) data[at] ^= 1;
        uint64_t hash = 0xcbf29ce484222325u;
        for (size_t k = OURS; k < bytes; k++) hash = (hash ^ data[k]) * 0x100000001b3u;
        memcpy(data + 16, &hash, sizeof hash);
        assert_ok(ctx, espl_os_write_file(ctx, path, data, bytes));
        use_kernel(ctx, folder);
        if (at) data[at] ^= 1;
        assert_int_equal(remade_line_count, at ? i + 1 : ESPL_COUNT(changed));
    }
    assert_int_equal(warning_line_count, 0);
    free(data);
    espl_os_remove_folder(ctx, folder);
    test_context_close(&ctx);
}

/* A process that does nothing but make kernels and keep them. */
static void keep_on_writing(const char *folder) {
    espl_context *ctx = test_context_open();
    for (uint32_t i = 1;; i++) {
        espl_device *device;
        const espl_kernel *kernel;
        const espl_device_params params = {.cache_folder = folder};
        assert_ok(ctx, espl_device_create(ctx, &params, &device));
        assert_ok(ctx, espl_device_kernel(device, &espl_shader_axpy, (uint32_t[]){i, 1, 1, 1, 0}, 5, &kernel));
        espl_device_destroy(&device);
    }
}

static const char *program;

static void pipeline_cache_survives_a_killed_process(void **state) {
    (void)state;
    enum { KILLS = 12 };
    espl_context *ctx = test_context_open();
    char folder[] = "/tmp/espl-gpu-XXXXXX";
    assert_non_null(mkdtemp(folder));
    use_kernel(ctx, folder);
    for (long i = 0; i < KILLS; i++) {
        const pid_t child = fork();
        if (child == 0) {
            execl(program, program, "keep on writing", folder, (char *)NULL);
            _exit(127);
        }
        assert_true(child > 0);
        nanosleep(&(struct timespec){.tv_nsec = 60000000 + 17000000 * i}, NULL);
        int ended;
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &ended, 0), child);
        assert_true(WIFSIGNALED(ended)); /* else it came to an end by itself */
        use_kernel(ctx, folder);
        assert_int_equal(remade_line_count, 0);
    }
    assert_int_equal(warning_line_count, 0);
    espl_os_remove_folder(ctx, folder);
    test_context_close(&ctx);
}

/* ---- Failing allocations ---- */

/* Everything that allocates, once; destroys whatever was made. */
static espl_status whole_life(espl_context *ctx, const char *limits, const char *folder) {
    espl_device *device = NULL;
    espl_commands *commands = NULL;
    espl_arena arena = {0};
    espl_span v;
    espl_ticket ticket;
    const espl_profile_row *rows;
    size_t row_count;
    float values[64] = {0};
    const espl_device_params params = {.cache_folder = folder, .limits = limits, .validation = true};
    espl_status status;
    ESPL_GOTO(espl_device_create(ctx, &params, &device));
    espl_arena_init(&arena, device, ESPL_ARENA_STATE, "life");
    ESPL_GOTO(espl_arena_take(&arena, sizeof values, &v));
    ESPL_GOTO(espl_upload(device, v, values, sizeof values));
    espl_device_profile(device, true);
    ESPL_GOTO(espl_commands_begin(device, "life", &commands));
    for (int i = 0; i < 20; i++) ESPL_GOTO(record_increment(device, commands, v, 64, 1, 1));
    ESPL_GOTO(espl_commands_end(commands));
    ESPL_GOTO(espl_submit(device, &commands, 1, &ticket));
    ESPL_GOTO(espl_wait(device, ticket));
    ESPL_GOTO(espl_device_profile_rows(device, &rows, &row_count));
    ESPL_GOTO(espl_download(device, v, values, sizeof values));
    assert_true(values[63] == 20);
fail:
    espl_commands_destroy(&commands);
    espl_arena_finish(&arena);
    espl_device_destroy(&device);
    return status;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    espl_context *ctx = test_context_open();
    char folder[] = "/tmp/espl-gpu-XXXXXX";
    assert_non_null(mkdtemp(folder));
    static const char *const limits[] = {"", "timeline=0,unified_memory=0"};
    for (size_t round = 0; round < ESPL_COUNT(limits); round++) {
        long base = memory.living;
        long failures = 0;
        for (long n = 0;; n++) {
            memory.calls = 0;
            memory.fail_after = n;
            espl_status status = whole_life(ctx, limits[round], folder);
            bool reached = memory.fail_after == 0 && memory.calls > n;
            memory.fail_after = -1;
            assert_int_equal(memory.living, base);
            if (!reached) {
                assert_ok(ctx, status);
                break;
            }
            /* What only costs a measurement or the cache file is allowed to go on. */
            if (status == ESPL_OK) continue;
            assert_int_equal(status, ESPL_HOST_MEMORY);
            failures++;
        }
        assert_true(failures > 15);
    }
    for (long n = 0;; n++) {
        char *text;
        memory.calls = 0;
        memory.fail_after = n;
        espl_status status = espl_device_list(ctx, n & 1, &text);
        bool reached = memory.calls > n;
        memory.fail_after = -1;
        espl_text_free(ctx, &text);
        assert_int_equal(status, reached ? ESPL_HOST_MEMORY : ESPL_OK);
        if (!reached) break;
    }
    espl_os_remove_folder(ctx, folder);
    test_context_close(&ctx);
}

int main(int argc, char **argv) {
    program = argv[0];
    if (argc == 3) keep_on_writing(argv[2]);
    int missing = test_missing_device();
    if (missing) return missing;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_names_every_device),
        cmocka_unit_test(selection_by_number_name_and_uuid),
        cmocka_unit_test(limits_lower_and_refuse),
        cmocka_unit_test(environment_fills_what_is_left_open),
        cmocka_unit_test(a_machine_without_drivers_has_an_empty_list),
        cmocka_unit_test(pipeline_cache_survives_corruption),
        cmocka_unit_test(pipeline_cache_of_another_driver),
        cmocka_unit_test(pipeline_cache_survives_a_killed_process),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
