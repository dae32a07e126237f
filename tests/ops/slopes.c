/* Gradients of the reference by central differences, and the comparison of an operator's with them. */
#include "tests/ops/harness_private.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIRECTIONS = 12, FULL_ELEMENTS = 400 };

/* Derivative of sum(seed * output) along direction (of leaf i), by central differences: the step of 1e-4 leaves an
 * error near 1e-9 of smooth functions of numbers near one. */
static double slope(op_expectation *e, uint32_t i, const double *direction, size_t only) {
    const double step = 1e-4;
    size_t count = op_leaf_count(&e->test->leaf[i]);
    double *original = e->values[i], *moved = op_memory(count * sizeof *moved);
    double total = 0;
    for (int side = 0; side < 2; side++) {
        double h = side ? -step : step, *out = side ? e->minus : e->plus;
        memcpy(moved, original, count * sizeof *moved);
        if (direction)
            for (size_t c = 0; c < count; c++)
                moved[c] += h * direction[c];
        else
            moved[only] += h;
        e->values[i] = moved;
        memset(out, 0, e->output_count * sizeof *out);
        e->test->reference((const double *const *)e->values, e->test->args, out);
    }
    e->values[i] = original;
    for (size_t c = 0; c < e->output_count; c++)
        if (!isnan(e->plus[c])) total += e->seed[c] * (e->plus[c] - e->minus[c]);
    free(moved);
    return total / (2 * step);
}

static void direction_of(uint32_t leaf, uint32_t number, double *out, size_t count) {
    op_random(1000 + leaf * 64 + number, 0, 0, out, count);
    for (size_t c = 0; c < count; c++)
        out[c] = out[c] < 0 ? -1 : 1;
}

op_leaf_slope op_find_slope(op_expectation *e, uint32_t i) {
    size_t count = op_leaf_count(&e->test->leaf[i]);
    op_leaf_slope result = {.full = count <= FULL_ELEMENTS, .count = count <= FULL_ELEMENTS ? count : DIRECTIONS};
    result.expected = op_memory(result.count * sizeof(double));
    double *direction = op_memory(count * sizeof(double));
    for (size_t k = 0; k < result.count; k++) {
        if (!result.full) direction_of(i, (uint32_t)k, direction, count);
        result.expected[k] = slope(e, i, result.full ? NULL : direction, k);
    }
    free(direction);
    return result;
}

void op_check_gradient(const op_case *test, uint32_t i, const op_leaf_slope *slope, const double *got,
                       const double *extra, double of_rounding, const char *mode) {
    size_t count = op_leaf_count(&test->leaf[i]);
    char label[256];
    snprintf(label, sizeof label, "%s: gradient of %s%s", test->name, test->leaf[i].name, mode);
    for (size_t c = 0; c < count; c++)
        if (isnan(got[c])) fail_msg("%s: [%zu] is NaN", label, c);
    double *expected = op_memory(slope->count * sizeof(double)), *direction = op_memory(count * sizeof(double));
    double *products = op_memory(slope->count * sizeof(double)), norm = 0, error = 0;
    for (size_t c = 0; c < count; c++)
        norm += got[c] * got[c];
    for (size_t k = 0; k < slope->count; k++) {
        expected[k] = slope->expected[k];
        if (slope->full) {
            expected[k] += extra ? extra[k] : 0;
            products[k] = got[k];
            continue;
        }
        direction_of(i, (uint32_t)k, direction, count);
        for (size_t c = 0; c < count; c++) {
            products[k] += got[c] * direction[c];
            expected[k] += extra ? extra[c] * direction[c] : 0;
        }
        error += (products[k] - expected[k]) * (products[k] - expected[k]) / (double)slope->count;
    }
    double scale = test->looser == 0 ? 1 : test->looser;
    if (slope->full) {
        op_compare_rounded(label, products, expected, slope->count, 0, of_rounding, scale);
    } else {
        /* The mean square of products with +-1 is the sum of squares of what is multiplied. */
        if (getenv("ESPL_TEST_PRINT")) fprintf(stderr, "%s: mean square %.2e\n", label, error / norm);
        const double root = op_bound_root_mean_square(of_rounding, scale);
        if (!(error <= 4 * root * root * norm))
            fail_msg("%s: normalised mean square error about %.3g (bound %.3g)", label, error / norm, 4 * root * root);
    }
    free(expected), free(direction), free(products);
}

