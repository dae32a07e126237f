#include "tests/model/model_test.h"
#include "host/base/os.h"
#include "host/gpu/gpu.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static espl_context *context;
static espl_device *device;

espl_context *test_context(void) {
    if (!context && espl_context_create(NULL, &context) != ESPL_OK) exit(1);
    return context;
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

char *test_path(const char *name) {
    const size_t bytes = strlen(name) + 64;
    char *path = malloc(bytes);
    assert_non_null(path);
    snprintf(path, bytes, "model_test_%s", name);
    return path;
}
