/* Values, device memory with guard bands, and comparison with the reference. */
#include "tests/ops/harness_private.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD_BYTES = 256 };

static espl_arena arena;
static espl_span guards[64];
static size_t guard_count;

void op_random(uint64_t stream, double low, double high, double *out_values, size_t count) {
    espl_random random = {.seed = 0x65737061, .stream = stream};
    bool plain = low == 0 && high == 0;
    for (size_t i = 0; i < count; i++) {
        double unit = espl_random_u32(&random) * 0x1p-32;
        if (plain) {
            double magnitude = 0.05 + 0.95 * unit;
            out_values[i] = espl_random_u32(&random) & 1 ? magnitude : -magnitude;
        } else {
            out_values[i] = low + (high - low) * unit;
        }
    }
}

double op_round(double value, espl_dtype dtype) {
    switch (dtype) {
    case ESPL_DTYPE_F32: return (double)(float)value;
    case ESPL_DTYPE_F16: return (double)espl_f32_from_f16(espl_f16_from_f32((float)value));
    case ESPL_DTYPE_BF16: return (double)espl_f32_from_bf16(espl_bf16_from_f32((float)value));
    default: return value;
    }
}

static void store(void *to, size_t index, espl_dtype dtype, double value) {
    float single = (float)value;
    int32_t integer = dtype == ESPL_DTYPE_I32 ? (int32_t)value : 0;
    uint16_t half = dtype == ESPL_DTYPE_F16 ? espl_f16_from_f32(single) : espl_bf16_from_f32(single);
    switch (dtype) {
    case ESPL_DTYPE_F32: memcpy((char *)to + index * 4, &single, 4); break;
    case ESPL_DTYPE_I32: memcpy((char *)to + index * 4, &integer, 4); break;
    default: memcpy((char *)to + index * 2, &half, 2); break;
    }
}

static double fetch(const void *from, size_t index, espl_dtype dtype) {
    float single;
    int32_t integer;
    uint16_t half;
    switch (dtype) {
    case ESPL_DTYPE_F32: memcpy(&single, (const char *)from + index * 4, 4); return (double)single;
    case ESPL_DTYPE_I32: memcpy(&integer, (const char *)from + index * 4, 4); return integer;
    default: memcpy(&half, (const char *)from + index * 2, 2); break;
    }
    return (double)(dtype == ESPL_DTYPE_F16 ? espl_f32_from_f16(half) : espl_f32_from_bf16(half));
}

/* The largest error that rounding to a dtype makes, relative to what is rounded: half a unit in the last place. */
static const double rounding[ESPL_DTYPE_COUNT] = {[ESPL_DTYPE_F16] = 0x1p-11, [ESPL_DTYPE_BF16] = 0x1p-8};

/* What f32 may lose: sums of some thousand terms in any order, each step rounding by 6e-8, and functions good to a few units
 * in the last place. Root of sum(error^2) / sum(expected^2), and |error| / largest |expected|. */
static const double f32_root_mean_square = 1e-6, f32_largest = 1e-5;

double op_rounding(espl_dtype dtype) {
    return rounding[dtype];
}

double op_bound_root_mean_square(double of_rounding, double looser) {
    return of_rounding + f32_root_mean_square * looser;
}

void op_compare_rounded(const char *label, const double *got, const double *expected, size_t count, double of_element,
                        double of_largest, double looser) {
    double square = 0, error_square = 0, largest = 0, worst_ratio = 0;
    size_t worst = 0;
    for (size_t i = 0; i < count; i++)
        if (!isnan(expected[i])) largest = fmax(largest, fabs(expected[i]));
    for (size_t i = 0; i < count; i++) {
        if (isnan(expected[i]) && isnan(got[i])) continue;
        const double error = fabs(got[i] - expected[i]);
        const double bound = of_element * fabs(expected[i]) + (of_largest + f32_largest * looser) * largest;
        if (!(error <= 1e300)) fail_msg("%s: [%zu] is %g, expected %g", label, i, got[i], expected[i]);
        square += expected[i] * expected[i], error_square += error * error;
        if (error > worst_ratio * bound) worst_ratio = bound > 0 ? error / bound : INFINITY, worst = i;
    }
    const double mean_square = error_square == 0 ? 0 : error_square / square;
    const double root = op_bound_root_mean_square(of_element + of_largest, looser);
    if (getenv("ESPL_TEST_PRINT"))
        fprintf(stderr, "%s: mean square %.2e, largest error %.2g of its bound\n", label, mean_square, worst_ratio);
    if (!(mean_square <= root * root) || !(worst_ratio <= 1))
        fail_msg("%s: normalised mean square error %.3g (bound %.3g), largest error %.3g times its bound at [%zu]: %.9g, "
                 "expected %.9g",
                 label, mean_square, root * root, worst_ratio, worst, got[worst], expected[worst]);
}

void op_compare(const char *label, const double *got, const double *expected, size_t count, espl_dtype dtype,
                double looser) {
    const double scale = dtype == ESPL_DTYPE_I32 ? 0 : looser == 0 ? 1 : looser;
    op_compare_rounded(label, got, expected, count, rounding[dtype], 0, scale);
}

/* ---- Memory ---- */

size_t op_leaf_count(const op_leaf *leaf) {
    return (size_t)leaf->rows * leaf->cols;
}

void *op_memory(size_t bytes) {
    void *memory = calloc(bytes ? bytes : 1, 1);
    assert_non_null(memory);
    return memory;
}

void op_fill_words(void *memory, uint32_t word, size_t bytes) {
    for (size_t i = 0; i + 4 <= bytes; i += 4)
        memcpy((char *)memory + i, &word, 4);
}

espl_span op_span(uint32_t rows, uint32_t stride, espl_dtype dtype) {
    uint64_t bytes = espl_round_up((uint64_t)rows * stride * espl_dtype_bytes(dtype), 4);
    espl_span span;
    if (!arena.device) espl_arena_init(&arena, op_device(), ESPL_ARENA_STATE, "test");
    op_ok(espl_arena_take(&arena, bytes + GUARD_BYTES, &span));
    unsigned char guard[GUARD_BYTES];
    op_fill_words(guard, WORD_GUARD, GUARD_BYTES);
    assert_true(guard_count < ESPL_COUNT(guards));
    guards[guard_count] = espl_span_part(span, bytes, GUARD_BYTES);
    op_ok(espl_upload(op_device(), guards[guard_count++], guard, GUARD_BYTES));
    return espl_span_part(span, 0, bytes);
}

void op_check_guards(const char *label) {
    uint32_t guard[GUARD_BYTES / 4];
    for (size_t g = 0; g < guard_count; g++) {
        op_ok(espl_download(op_device(), guards[g], guard, GUARD_BYTES));
        for (size_t i = 0; i < GUARD_BYTES / 4; i++)
            if (guard[i] != WORD_GUARD) fail_msg("%s: wrote %zu bytes beyond tensor %zu", label, i * 4, g);
    }
}

void op_spans_finish(void) {
    guard_count = 0;
    espl_arena_finish(&arena);
    memset(&arena, 0, sizeof arena);
}

espl_span op_span_of(const espl_tensor *t) {
    while (!t->span.block && t->base)
        t = t->base;
    assert_non_null(t->span.block);
    return espl_span_part(t->span, 0, (uint64_t)t->rows * t->stride * espl_dtype_bytes(t->dtype));
}

void *op_padded(const espl_tensor *t, const double *values, size_t *out_bytes) {
    size_t element = espl_dtype_bytes(t->dtype);
    *out_bytes = (size_t)t->rows * t->stride * element;
    void *memory = op_memory(*out_bytes);
    op_fill_words(memory, WORD_PADDING, *out_bytes);
    for (size_t r = 0; r < t->rows; r++)
        for (size_t c = 0; c < t->cols; c++)
            store(memory, r * t->stride + c, t->dtype, values[r * t->cols + c]);
    return memory;
}

void op_write(const espl_tensor *t, const double *values) {
    size_t bytes;
    void *memory = op_padded(t, values, &bytes);
    op_ok(espl_upload(op_device(), op_span_of(t), memory, bytes));
    free(memory);
}

void op_read_checked(const espl_tensor *t, double *out_values, uint32_t padding, bool made, const char *label) {
    size_t first = made && t->dtype != ESPL_DTYPE_F32 ? (size_t)espl_round_up(t->cols, 4) : t->cols;
    size_t element = espl_dtype_bytes(t->dtype), bytes = (size_t)t->rows * t->stride * element;
    unsigned char *memory = op_memory(bytes), expected[4];
    memcpy(expected, &padding, 4);
    op_ok(espl_download(op_device(), op_span_of(t), memory, bytes));
    for (size_t r = 0; r < t->rows; r++)
        for (size_t c = 0; c < t->stride; c++) {
            size_t i = r * t->stride + c;
            if (c < t->cols)
                out_values[r * t->cols + c] = fetch(memory, i, t->dtype);
            else if (padding && c >= first && memcmp(memory + i * element, expected + i * element % 4, element) != 0)
                fail_msg("%s: %s: padding at row %zu column %zu was written", label, t->name, r, c);
        }
    free(memory);
}

void op_read(const espl_tensor *t, double *out_values) {
    op_read_checked(t, out_values, 0, true, "");
}

void op_fill_tensor(const espl_tensor *t, uint32_t word, bool zero_values) {
    size_t element = espl_dtype_bytes(t->dtype), bytes = (size_t)t->rows * t->stride * element;
    unsigned char *memory = op_memory(bytes);
    op_fill_words(memory, word, bytes);
    if (zero_values)
        for (size_t r = 0; r < t->rows; r++)
            memset(memory + r * t->stride * element, 0, t->cols * element);
    op_ok(espl_upload(op_device(), op_span_of(t), memory, bytes));
    free(memory);
}

