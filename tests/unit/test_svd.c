/* espl_svd_product at awkward shapes, against what the best approximation has: orthogonal factors, an error that is orthogonal to
 * both, and no error at full rank; and espl_svd_matrix against it. */
#include "adapters/svd.h"
#include "tests/unit/unit.h"
#include <math.h>
#include <stdlib.h>

enum { MOST = 40 };

static void fill(double *values, size_t count, uint32_t seed) {
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (double)(seed >> 8) / (1 << 24) - 0.5;
    }
}

/* out [rows, cols] = b a of k ranks */
static void product(const double *b, const double *a, uint32_t rows, uint32_t cols, uint32_t k, double *to) {
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < cols; c++) {
            double sum = 0;
            for (uint32_t i = 0; i < k; i++) sum += b[r * k + i] * a[i * cols + c];
            to[r * cols + c] = sum;
        }
    }
}

static void check(espl_context *ctx, uint32_t in, uint32_t out, uint32_t k, uint32_t rank, bool deficient) {
    static double a[MOST * MOST], b[MOST * MOST], va[MOST * MOST], us[MOST * MOST], whole[MOST * MOST], part[MOST * MOST];
    fill(a, k * in, 7 * in + k);
    fill(b, out * k, 11 * out + k);
    if (deficient) memcpy(a, a + (k - 1) * in, in * sizeof *a); /* the first row is the last */
    unit_ok(ctx, espl_svd_product(ctx, a, b, in, out, k, rank, va, us));
    product(b, a, out, in, k, whole);
    product(us, va, out, in, rank, part);
    double norm = 0;
    for (uint32_t i = 0; i < in * out; i++) {
        norm += whole[i] * whole[i];
        whole[i] -= part[i]; /* what is left */
    }
    norm = sqrt(norm);
    double last = INFINITY;
    for (uint32_t r = 0; r < rank; r++) {
        double length = 0, sigma = 0, off = 0;
        for (uint32_t i = 0; i < in; i++) length += va[r * in + i] * va[r * in + i];
        for (uint32_t o = 0; o < out; o++) sigma += us[o * rank + r] * us[o * rank + r];
        assert_true(fabs(length - 1) < 1e-13 || sigma < 1e-26); /* with nothing left, any direction */
        assert_true(sigma <= last * (1 + 1e-12));
        last = sigma;
        for (uint32_t other = 0; other < r; other++) {
            double dot = 0;
            for (uint32_t i = 0; i < in; i++) dot += va[r * in + i] * va[other * in + i];
            if (in >= k && sigma > 1e-26) assert_true(fabs(dot) < 1e-13);
        }
        for (uint32_t o = 0; o < out; o++) {
            double sum = 0;
            for (uint32_t i = 0; i < in; i++) sum += whole[o * in + i] * va[r * in + i];
            off = fmax(off, fabs(sum));
        }
        assert_true(off < 1e-13 * (1 + norm));
    }
    double left = 0;
    for (uint32_t i = 0; i < in * out; i++) left += whole[i] * whole[i];
    const uint32_t most = in < out ? in : out, full = k < most ? k : most;
    if (rank >= full) assert_true(sqrt(left) < 1e-13 * (1 + norm));
    else if (!deficient) assert_true(sqrt(left) > 1e-6 * norm);
}

static void shapes(void **state) {
    (void)state;
    static const uint32_t cases[][4] = {{1, 1, 1, 1}, {7, 5, 3, 2}, {5, 7, 3, 3}, {31, 17, 8, 5}, {17, 31, 8, 9},
                                        {40, 1, 3, 1}, {1, 40, 3, 2}, {4, 6, 9, 4}, {32, 33, 16, 16}, {33, 32, 1, 4}};
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) check(ctx, cases[i][0], cases[i][1], cases[i][2], cases[i][3], false);
    check(ctx, 31, 17, 8, 8, true);
    check(ctx, 31, 17, 8, 7, true);
    unit_finish(&heap, ctx);
}

/* An adapter that was not trained adds nothing. */
static void zeros(void **state) {
    (void)state;
    const double a[6] = {1, 2, 3, 4, 5, 6}, b[4] = {0};
    double va[6], us[4];
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    unit_ok(ctx, espl_svd_product(ctx, a, b, 3, 2, 2, 2, va, us));
    for (int i = 0; i < 4; i++) assert_true(us[i] == 0);
    unit_finish(&heap, ctx);
}

static double square(const double *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i] * values[i];
    return sum;
}

/* Singular values: of a random matrix, of that and one of three ranks that is larger, or four equal ones and smaller equal ones. */
typedef enum spectrum { FLAT, LOW, EQUAL } spectrum;

static void fill_matrix(double *m, uint32_t in, uint32_t out, spectrum kind) {
    double *a = malloc(3 * in * sizeof *a), *b = malloc(3 * out * sizeof *b);
    assert_true(a && b);
    fill(a, 3 * in, 1), fill(b, 3 * out, 2), fill(m, (size_t)in * out, 3);
    for (size_t o = 0; o < out; o++) {
        for (size_t i = 0; i < in; i++) {
            for (size_t r = 0; kind == LOW && r < 3; r++) m[o * in + i] += 100 * b[o * 3 + r] * a[r * in + i];
            if (kind == EQUAL) m[o * in + i] = o == i ? (o < 4 ? 3 : 1) : 0;
        }
    }
    free(a), free(b);
}

/* As close as what espl_svd_product makes of it, but for the rounding of two sums of `count` squares. Rows are orthonormal. */
static void check_matrix(espl_context *ctx, uint32_t in, uint32_t out, uint32_t rank, spectrum kind) {
    const size_t count = (size_t)in * out;
    double *m = malloc(count * sizeof *m), *one = calloc((size_t)in * in, sizeof *one);
    double *va = malloc((size_t)rank * in * sizeof *va), *us = malloc((size_t)rank * out * sizeof *us);
    assert_true(m && one && va && us);
    fill_matrix(m, in, out, kind);
    for (size_t i = 0; i < in; i++) one[i * in + i] = 1;
    unit_ok(ctx, espl_svd_product(ctx, one, m, in, out, in, rank, va, us));
    const double whole = square(m, count), least = whole - square(us, (size_t)rank * out);
    unit_ok(ctx, espl_svd_matrix(ctx, m, in, out, rank, va, us));
    for (size_t o = 0; o < out; o++) {
        for (size_t r = 0; r < rank; r++) {
            for (size_t i = 0; i < in; i++) m[o * in + i] -= us[o * rank + r] * va[r * in + i];
        }
    }
    const double left = square(m, count);
    if (!(left <= least + (double)count * 0x1p-52 * whole))
        fail_msg("%u x %u, rank %u: %g is left, not %g", out, in, rank, left, least);
    for (size_t r = 0; r < rank; r++) {
        for (size_t other = 0; other <= r; other++) {
            double dot = 0;
            for (size_t i = 0; i < in; i++) dot += va[r * in + i] * va[other * in + i];
            assert_true(fabs(dot - (r == other)) < 1e-12);
        }
    }
    free(m), free(one), free(va), free(us);
}

static void matrices(void **state) {
    (void)state;
    static const uint32_t cases[][3] = {{1, 1, 1}, {7, 5, 2}, {5, 7, 5}, {81, 131, 2}, {131, 81, 2}, {140, 130, 8}};
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        for (spectrum kind = FLAT; kind <= EQUAL; kind++) check_matrix(ctx, cases[i][0], cases[i][1], cases[i][2], kind);
    }
    const double nothing[6] = {0};
    double va[3], us[2];
    unit_ok(ctx, espl_svd_matrix(ctx, nothing, 3, 2, 1, va, us));
    assert_true(us[0] == 0 && us[1] == 0);
    unit_finish(&heap, ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(zeros), cmocka_unit_test(matrices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
