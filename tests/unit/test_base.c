/* host/base/base.h: messages, memory, checked sizes, number formats, random numbers. */
#include "host/base/base.h"
#include "tests/unit/unit.h"
#include <math.h>

static void message(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    assert_string_equal(espl_context_message(ctx), "");
    assert_int_equal(espl_fail(ctx, ESPL_FORMAT, "%d is not %s", 3, "four"), ESPL_FORMAT);
    assert_string_equal(espl_context_message(ctx), "3 is not four");
    assert_int_equal(espl_fail_in(ctx, ESPL_FORMAT, "file %s", "x"), ESPL_FORMAT);
    assert_string_equal(espl_context_message(ctx), "file x: 3 is not four");
    /* Named once, by whoever was first; also a file in a folder, but not one whose name goes on. */
    espl_fail(ctx, ESPL_IO, "a/x: could not be opened");
    espl_fail_in(ctx, ESPL_IO, "%s", "a/x");
    espl_fail_in(ctx, ESPL_IO, "%s", "a");
    assert_string_equal(espl_context_message(ctx), "a/x: could not be opened");
    espl_fail_in(ctx, ESPL_IO, "a/");
    assert_string_equal(espl_context_message(ctx), "a/: a/x: could not be opened");
    char big[3000];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = 0;
    espl_fail(ctx, ESPL_IO, "%s", big);
    espl_fail_in(ctx, ESPL_IO, "%s", big);
    assert_true(strlen(espl_context_message(ctx)) < 1100);
    assert_string_equal(espl_status_name(ESPL_DEVICE_LOST), "DEVICE_LOST");
    assert_string_equal(espl_status_name((espl_status)999), "UNKNOWN");
    unit_finish(&heap, ctx);
}

static void memory(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    unsigned char *block;
    unit_ok(ctx, espl_new(ctx, 100, &block));
    for (int i = 0; i < 100; i++) assert_int_equal(block[i], 0);
    block[99] = 7;
    unit_ok(ctx, espl_resize(ctx, &block, 1000));
    assert_int_equal(block[99], 7);
    espl_free(ctx, &block);
    assert_null(block);
    espl_free(ctx, &block);
    unit_ok(ctx, espl_new(ctx, 0, &block));
    assert_null(block);

    uint64_t *items = NULL;
    size_t capacity = 0;
    for (size_t i = 0; i < 1000; i++) {
        unit_ok(ctx, espl_grow(ctx, &items, &capacity, i + 1, sizeof *items));
        items[i] = i;
    }
    for (size_t i = 0; i < 1000; i++) assert_int_equal(items[i], i);
    unit_fails(ctx, espl_grow(ctx, &items, &capacity, SIZE_MAX, sizeof *items), ESPL_LIMIT, "too long");
    assert_int_equal(items[999], 999);
    espl_free(ctx, &items);

    espl_bytes bytes = {0};
    unit_ok(ctx, espl_bytes_append(ctx, &bytes, "ab", 2));
    unit_ok(ctx, espl_bytes_print(ctx, &bytes, "-%d", 12));
    assert_string_equal(bytes.data, "ab-12");
    assert_int_equal(bytes.count, 5);
    espl_bytes_finish(ctx, &bytes);
    espl_bytes_finish(ctx, &bytes);
    heap.fail_at = 1;
    heap.calls = 0;
    unit_fails(ctx, espl_new(ctx, 12345, &block), ESPL_HOST_MEMORY, "12345");
    assert_null(block);
    unit_finish(&heap, ctx);
}

static void sizes(void **state) {
    (void)state;
    size_t out = 0;
    assert_true(espl_mul(1u << 16, 1u << 15, &out) && out == (size_t)1 << 31);
    assert_false(espl_mul(SIZE_MAX, 2, &out));
    assert_true(espl_mul(SIZE_MAX, 0, &out) && out == 0);
    assert_true(espl_add(SIZE_MAX - 1, 1, &out) && out == SIZE_MAX);
    assert_false(espl_add(SIZE_MAX, 1, &out));
    assert_int_equal(espl_round_up(17, 16), 32);
    assert_int_equal(espl_ceil_div(UINT32_MAX, 2), 1u << 31);
}

static void dtypes(void **state) {
    (void)state;
    for (int i = 0; i < ESPL_DTYPE_COUNT; i++) {
        espl_dtype back;
        assert_true(espl_dtype_parse(espl_dtype_name((espl_dtype)i), &back));
        assert_int_equal(back, i);
    }
    espl_dtype none;
    assert_false(espl_dtype_parse("F8_E4M3", &none));
    assert_false(espl_dtype_parse("", &none));
}

/* Every half to float and back; every float between two neighbouring halves goes to the nearer one, ties to even. */
static void halves(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        uint16_t half = (uint16_t)bits;
        float wide = espl_f32_from_f16(half), brain = espl_f32_from_bf16(half);
        bool nan16 = (bits & 0x7c00) == 0x7c00 && (bits & 0x3ff), nanb = (bits & 0x7f80) == 0x7f80 && (bits & 0x7f);
        assert_int_equal(isnan(wide) != 0, nan16);
        assert_int_equal(isnan(brain) != 0, nanb);
        if (nan16) assert_int_equal(espl_f16_from_f32(wide) & 0x7e00, 0x7e00);
        else assert_int_equal(espl_f16_from_f32(wide), half);
        if (nanb) assert_true(isnan(espl_f32_from_bf16(espl_bf16_from_f32(brain))));
        else assert_int_equal(espl_bf16_from_f32(brain), half);
        /* The definition, from sign, exponent and fraction. */
        int exponent = (half >> 10) & 31, fraction = half & 1023;
        double value = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        if (exponent < 31) assert_true((double)wide == (half & 0x8000 ? -value : value));
    }
}

static void half_rounding(void **state) {
    (void)state;
    for (uint16_t half = 0; half < 0x7bff; half++) {
        float low = espl_f32_from_f16(half), high = espl_f32_from_f16((uint16_t)(half + 1)), middle = (low + high) / 2;
        assert_int_equal(espl_f16_from_f32(nextafterf(middle, low)), half);
        assert_int_equal(espl_f16_from_f32(nextafterf(middle, high)), half + 1);
        assert_int_equal(espl_f16_from_f32(middle), half & 1 ? half + 1 : half);
        assert_int_equal(espl_f16_from_f32(-middle), 0x8000 | (half & 1 ? half + 1 : half));
    }
    for (uint32_t half = 0; half < 0x7f7f; half++) {
        float low = espl_f32_from_bf16((uint16_t)half), high = espl_f32_from_bf16((uint16_t)(half + 1));
        float middle = (float)(((double)low + (double)high) / 2);
        assert_int_equal(espl_bf16_from_f32(nextafterf(middle, low)), half);
        assert_int_equal(espl_bf16_from_f32(nextafterf(middle, high)), half + 1);
        assert_int_equal(espl_bf16_from_f32(middle), half & 1 ? half + 1 : half);
    }
    assert_int_equal(espl_f16_from_f32(65519.996f), 0x7bff);
    assert_int_equal(espl_f16_from_f32(65520.0f), 0x7c00);
    assert_int_equal(espl_f16_from_f32(1e30f), 0x7c00);
    assert_int_equal(espl_f16_from_f32(-INFINITY), 0xfc00);
    assert_int_equal(espl_f16_from_f32(0x1p-25f), 0);
    assert_int_equal(espl_f16_from_f32(0x1.000002p-25f), 1);
    assert_int_equal(espl_bf16_from_f32(3.4e38f), 0x7f80);
}

static void conversion(void **state) {
    (void)state;
    unsigned char from[3 * 8 + 1], to[3 * 8 + 1];
    const double values[3] = {1.5, -2, 0.25};
    /* From and to an odd address: data in files has no alignment. */
    memcpy(from + 1, values, sizeof values);
    static const espl_dtype floats[] = {ESPL_DTYPE_F32, ESPL_DTYPE_F16, ESPL_DTYPE_BF16, ESPL_DTYPE_F64};
    for (size_t i = 0; i < ESPL_COUNT(floats); i++) {
        double back[3];
        espl_convert(from + 1, ESPL_DTYPE_F64, to + 1, floats[i], 3);
        espl_convert(to + 1, floats[i], back, ESPL_DTYPE_F64, 3);
        assert_memory_equal(values, back, sizeof back);
    }
    const int64_t whole[2] = {-3, (int64_t)1 << 40};
    float single[2];
    espl_convert(whole, ESPL_DTYPE_I64, single, ESPL_DTYPE_F32, 2);
    assert_true(single[0] == -3 && single[1] == 0x1p40f);
    espl_convert(NULL, ESPL_DTYPE_F32, NULL, ESPL_DTYPE_F32, 0);
}

/* Known answers of Random123 1.14, tests/kat_vectors, philox4x32 10: counter (4 words), key (2), result (4). */
static void philox(void **state) {
    (void)state;
    uint32_t words[4];
    static const uint32_t zero[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    static const uint32_t ones[] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    espl_philox(0, 0, 0, words);
    assert_memory_equal(words, zero, sizeof words);
    espl_philox(UINT64_MAX, UINT64_MAX, UINT64_MAX, words);
    assert_memory_equal(words, ones, sizeof words);

    espl_random random = {.seed = 7, .stream = 1};
    double sum = 0, square = 0;
    uint32_t counts[5] = {0};
    enum { DRAWS = 100000 };
    for (int i = 0; i < DRAWS; i++) {
        float uniform = espl_random_uniform(&random), normal = espl_random_normal(&random);
        assert_true(uniform >= 0 && uniform < 1 && isfinite(normal));
        sum += (double)normal;
        square += (double)normal * (double)normal;
        counts[espl_random_below(&random, 5)]++;
    }
    assert_true(fabs(sum / DRAWS) < 0.02 && fabs(square / DRAWS - 1) < 0.03);
    for (size_t i = 0; i < 5; i++) assert_in_range(counts[i], DRAWS / 5 - 800, DRAWS / 5 + 800);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message), cmocka_unit_test(memory),        cmocka_unit_test(sizes),
        cmocka_unit_test(dtypes),  cmocka_unit_test(halves),        cmocka_unit_test(half_rounding),
        cmocka_unit_test(conversion), cmocka_unit_test(philox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
