#include "tests/model/model_test.h"
#include "host/base/os.h"
#include "host/gpu/gpu.h"
#include "host/train/trainer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static espl_context *context;
static espl_device *device;

static char warning[512];

static void keep_warning(void *user, espl_log_level level, const char *line) {
    (void)user;
    if (level <= ESPL_LOG_WARNING) fprintf(stderr, "%s\n", line);
    if (level == ESPL_LOG_WARNING) snprintf(warning, sizeof warning, "%s", line);
}

espl_context *test_context(void) {
    if (!context && espl_context_create(&(espl_context_params){.log = keep_warning}, &context) != ESPL_OK) exit(1);
    return context;
}

char *test_warning(void) {
    return warning;
}

espl_device *test_device(void) {
    if (device) return device;
    espl_context *ctx = test_context();
    const espl_device_params params = {.select = getenv("ESPL_TEST_DEVICE"), .validation = getenv("ESPL_TEST_VALIDATION")};
    if (espl_device_create(ctx, &params, &device) != ESPL_OK) {
        printf("skipped: %s\n", espl_context_message(ctx));
        exit(77);
    }
    return device;
}

void test_ok(espl_status status) {
    if (status != ESPL_OK) fail_msg("%s: %s", espl_status_name(status), espl_context_message(context));
}

void test_refused(espl_status status, espl_status expected, const char *part) {
    if (status != expected || !strstr(espl_context_message(context), part))
        fail_msg("%s \"%s\", expected %s with \"%s\"", espl_status_name(status), espl_context_message(context),
                 espl_status_name(expected), part);
}

int test_main(const char *name, const struct CMUnitTest *tests, size_t count) {
    test_device();
    printf("%s on %s, %s\n", name, espl_device_name(device), espl_device_driver(device));
    cmocka_set_test_filter(getenv("ESPL_TEST_ONLY"));
    int failed = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
    const uint64_t messages = espl_device_validation_count(device);
    if (messages) printf("%llu validation messages\n", (unsigned long long)messages);
    espl_device_destroy(&device);
    espl_context_destroy(&context);
    return failed != 0 || messages != 0;
}

double *test_values(espl_tensors *set, const char *name, size_t *out_count) {
    espl_tensor_view view;
    test_ok(espl_tensors_find(set, name, &view));
    const size_t count = view.bytes / espl_dtype_bytes(view.dtype);
    double *values = malloc((count + 1) * sizeof *values);
    assert_non_null(values);
    if (view.dtype == ESPL_DTYPE_I32 || view.dtype == ESPL_DTYPE_I64) {
        for (size_t i = 0; i < count; i++) {
            int64_t wide = 0;
            int32_t narrow = 0;
            if (view.dtype == ESPL_DTYPE_I64) memcpy(&wide, view.data + i * 8, 8);
            else memcpy(&narrow, view.data + i * 4, 4);
            values[i] = view.dtype == ESPL_DTYPE_I64 ? (double)wide : narrow;
        }
    } else {
        espl_convert(view.data, view.dtype, values, ESPL_DTYPE_F64, count);
    }
    if (out_count) *out_count = count;
    return values;
}

double test_relative(const double *a, const double *b, size_t count) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    if (difference == 0) return 0;
    return sqrt(difference / norm);
}

espl_model *test_model(const char *name, const espl_model_params *params) {
    char path[512];
    espl_model *model;
    snprintf(path, sizeof path, "%s/%s", ESPL_GOLDEN, name);
    test_ok(espl_model_load(test_device(), path, params, &model));
    return model;
}

const int32_t test_ids[TEST_TOKENS] = {1, 80, 14, 33, 7, 96, 2, 55, 41};

espl_dataset *test_row(void) {
    int32_t labels[TEST_TOKENS];
    espl_dataset *dataset;
    for (int i = 0; i < TEST_TOKENS; i++) labels[i] = i + 1 < TEST_TOKENS ? test_ids[i + 1] : -100;
    test_ok(espl_dataset_from_ids(test_context(), test_ids, labels, 1, TEST_TOKENS, &dataset));
    return dataset;
}

void test_logits(espl_model *model, float out[TEST_VOCABULARY]) {
    espl_session *session;
    const float *logits;
    uint32_t count;
    test_ok(espl_session_create(model, NULL, &session));
    test_ok(espl_session_append(session, test_ids, TEST_TOKENS));
    test_ok(espl_session_logits(session, &logits, &count));
    assert_int_equal(count, TEST_VOCABULARY);
    memcpy(out, logits, TEST_VOCABULARY * sizeof *out);
    espl_session_destroy(&session);
}

double test_off(const float a[TEST_VOCABULARY], const float b[TEST_VOCABULARY]) {
    double wide_a[TEST_VOCABULARY], wide_b[TEST_VOCABULARY];
    for (int i = 0; i < TEST_VOCABULARY; i++) wide_a[i] = a[i], wide_b[i] = b[i];
    return test_relative(wide_a, wide_b, TEST_VOCABULARY);
}

bool test_same(const float a[TEST_VOCABULARY], const float b[TEST_VOCABULARY]) {
    return memcmp(a, b, TEST_VOCABULARY * sizeof *a) == 0;
}

char *test_path(const char *name) {
    const size_t bytes = strlen(name) + 64;
    char *path = malloc(bytes);
    assert_non_null(path);
    snprintf(path, bytes, "model_test_%s", name);
    return path;
}

void test_copy_file(const char *from_folder, const char *to_folder, const char *name) {
    char path[640];
    espl_mapping file;
    snprintf(path, sizeof path, "%s/%s", from_folder, name);
    test_ok(espl_os_map(test_context(), path, &file));
    snprintf(path, sizeof path, "%s/%s", to_folder, name);
    test_ok(espl_os_make_folder(test_context(), to_folder));
    test_ok(espl_os_write_file(test_context(), path, (const char *)file.data, file.bytes));
    espl_os_unmap(&file);
}

void test_setup_end(test_setup *setup) {
    espl_trainer_destroy(&setup->trainer);
    espl_dataset_destroy(&setup->dataset);
    espl_model_destroy(&setup->model);
}

static float *values_of(espl_store *store, size_t *out_count) {
    *out_count = (size_t)espl_store_values(store);
    float *values = malloc(*out_count * sizeof *values), *at = values;
    assert_non_null(values);
    for (size_t i = 0; i < store->entry_count; i++) {
        test_ok(espl_store_read(store, &store->entries[i], at));
        at += espl_entry_values(store, &store->entries[i]);
    }
    return values;
}

float *test_trained(const test_setup *setup, size_t *out_count) {
    return values_of(espl_trainer_store(setup->trainer, 0), out_count);
}

float *test_adapter_values(espl_adapter *adapter, size_t *out_count) {
    return values_of(&adapter->store, out_count);
}

double *test_lora_change(espl_adapter *adapter, size_t entry, size_t *out_count) {
    const espl_entry *a = &adapter->store.entries[entry], *b = a + 1;
    const uint32_t rank = a->count, in = adapter->store.matrices[a->matrix].cols, out = b->count;
    float *av = malloc((size_t)rank * in * sizeof *av), *bv = malloc((size_t)rank * out * sizeof *bv);
    double *change = calloc((size_t)in * out, sizeof *change);
    const double scale = json_number_value(json_object_get(adapter->config, "lora_alpha")) / rank;
    assert_true(av && bv && change && scale > 0);
    assert_true(!json_is_true(json_object_get(adapter->config, "use_rslora")));
    assert_int_equal(json_object_size(json_object_get(adapter->config, "alpha_pattern")), 0);
    test_ok(espl_store_read(&adapter->store, a, av));
    test_ok(espl_store_read(&adapter->store, b, bv));
    for (size_t o = 0; o < out; o++) {
        for (size_t r = 0; r < rank; r++) {
            for (size_t i = 0; i < in; i++) change[o * in + i] += scale * bv[o * rank + r] * av[r * in + i];
        }
    }
    free(av), free(bv);
    *out_count = (size_t)in * out;
    return change;
}
