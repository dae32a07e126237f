/* LoRAs of which a share of the values is kept: what is drawn at random, and the largest. Held against PEFT in test_average.c is what
 * does not draw. */
#include "host/model/adapter.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OUT = 48, IN = 48, RANK = 16 }; /* of q_proj of llama_lora */
static const char *const both[] = {"a", "b"};

/* Two LoRAs whose scale is 1, so that A and B of weight 1 count as they are. */
static espl_model *make_two(espl_adapter *out_adapters[2]) {
    espl_model *model = test_model("llama_lora", NULL);
    for (uint32_t i = 0; i < 2; i++)
        test_ok(espl_adapter_add(model, both[i], "lora:r=16,alpha=16,init=random,targets=q_proj", i + 1, &out_adapters[i]));
    return model;
}

/* All values of what the strategy makes of both. */
static float *combined(espl_model *model, double a, double b, espl_average_params params, size_t *out_count) {
    espl_adapter *made;
    test_ok(espl_adapter_average(model, "m", both, (const double[]){a, b}, 2, &params, &made));
    float *values = test_adapter_values(made, out_count);
    espl_adapter_delete(&made);
    return values;
}

static bool same(espl_model *model, espl_average_params one, espl_average_params other) {
    size_t count;
    float *x = combined(model, 0.7, -1.2, one, &count), *y = combined(model, 0.7, -1.2, other, &count);
    const bool equal = memcmp(x, y, count * sizeof *x) == 0;
    free(x), free(y);
    return equal;
}

/* The number of values kept is binomial: of a right generator one seed in two million is beyond five deviations, and these seeds
 * are always the same. */
static void check_share(size_t kept, size_t count, double density) {
    const double deviations = ((double)kept - density * (double)count) / sqrt((double)count * density * (1 - density));
    if (!(fabs(deviations) < 5)) fail_msg("%zu of %zu are kept, %g deviations from a share of %g", kept, count, deviations, density);
}

/* DARE's A and B: what is kept is the value over the density to the last bit, whatever is drawn for the other adapter. */
static void random_factors(void **state) {
    (void)state;
    static const double densities[] = {0.1, 0.3, 0.5, 0.9};
    espl_adapter *adapters[2];
    espl_model *model = make_two(adapters);
    size_t count, others = 0, apart = 0;
    float *whole = test_adapter_values(adapters[0], &count);
    for (size_t d = 0; d < ESPL_COUNT(densities); d++) {
        const espl_average_params params = {.strategy = ESPL_AVERAGE_DARE_LINEAR, .density = densities[d], .seed = 7};
        float *values = combined(model, 1, 0, params, &count), *other = combined(model, 0, 1, params, &count);
        size_t kept = 0;
        for (size_t i = 0; i < count; i++) {
            assert_true(whole[i] != 0 && (values[i] == 0 || values[i] == (float)(whole[i] / densities[d])));
            kept += values[i] != 0, others += other[i] != 0, apart += (values[i] != 0) != (other[i] != 0);
        }
        check_share(kept, count, densities[d]);
        /* Tensors are drawn apart: two blocks' A, of RANK * IN values, do not keep the same ones. */
        const size_t next = RANK * (IN + OUT);
        size_t equal = 0;
        for (size_t i = 0; i < RANK * IN; i++) equal += (values[i] != 0) == (values[next + i] != 0);
        check_share(equal, RANK * IN, densities[d] * densities[d] + (1 - densities[d]) * (1 - densities[d]));
        free(values), free(other);
    }
    assert_true(others > 0 && apart > 0);
    free(whole);
    espl_model_destroy(&model);
}

/* The change of a weight by DARE's *_SVD, where the rank is enough for all of it. A's rows and columns have length 1 and B's rows that
 * of the change's, so that rounding both to f32, by 2^-24 of each value, is off by 2^-23 of that length at the most. */
static void random_changes(void **state) {
    (void)state;
    const espl_average_params params = {.strategy = ESPL_AVERAGE_DARE_LINEAR_SVD, .rank = OUT, .density = 0.4, .seed = 3};
    espl_adapter *adapters[2], *made;
    espl_model *model = make_two(adapters);
    size_t count, kept = 0;
    test_ok(espl_adapter_average(model, "m", both, (const double[]){1, 0}, 2, &params, &made));
    double *whole = test_lora_change(adapters[0], 0, &count), *now = test_lora_change(made, 0, &count), square = 0;
    for (size_t i = 0; i < count; i++) square += whole[i] * whole[i];
    const double bound = 0x1p-23 * sqrt(square) / params.density;
    for (size_t i = 0; i < count; i++) {
        const double off = fabs(now[i] - whole[i] / params.density);
        if (!(off < bound || fabs(now[i]) < bound)) fail_msg("value %zu of %g has become %g", i, whole[i], now[i]);
        kept += off < bound;
    }
    check_share(kept, count, params.density);
    free(whole), free(now);
    espl_model_destroy(&model);
}

/* Drawn the same way, DARE_TIES is the mean over those of the two that have the sign of their sum. */
static void random_signs(void **state) {
    (void)state;
    const espl_average_params params = {.strategy = ESPL_AVERAGE_DARE_LINEAR, .density = 0.6, .seed = 11};
    espl_average_params ties = params;
    espl_adapter *adapters[2];
    espl_model *model = make_two(adapters);
    size_t count, conflicts = 0;
    ties.strategy = ESPL_AVERAGE_DARE_TIES;
    float *a = combined(model, 1, 0, params, &count), *b = combined(model, 0, 1, params, &count);
    float *elected = combined(model, 1, 1, ties, &count);
    for (size_t i = 0; i < count; i++) {
        const bool conflict = a[i] * b[i] < 0, alone = a[i] == 0 || b[i] == 0;
        const double sum = (double)a[i] + (double)b[i], larger = fabsf(a[i]) > fabsf(b[i]) ? a[i] : b[i];
        const double expected = conflict ? larger : alone ? sum : sum / 2;
        if (!(fabs(elected[i] - expected) <= 0x1p-22 * fabs(expected))) /* a, b and it are rounded to f32 */
            fail_msg("value %zu of %g and %g has become %g", i, a[i], b[i], elected[i]);
        conflicts += conflict;
    }
    assert_true(conflicts > count / 20);
    free(a), free(b), free(elected);
    espl_model_destroy(&model);
}

/* The same seed gives the same bits and another one others; with all values kept DARE is what it trims for. */
static void repeated(void **state) {
    (void)state;
    espl_adapter *adapters[2];
    espl_model *model = make_two(adapters);
    static const espl_average dare[] = {ESPL_AVERAGE_DARE_LINEAR, ESPL_AVERAGE_DARE_TIES, ESPL_AVERAGE_DARE_LINEAR_SVD,
                                        ESPL_AVERAGE_DARE_TIES_SVD};
    static const espl_average whole[] = {ESPL_AVERAGE_ROOTS, ESPL_AVERAGE_TIES, ESPL_AVERAGE_MAGNITUDE_PRUNE_SVD, ESPL_AVERAGE_TIES_SVD};
    for (size_t i = 0; i < ESPL_COUNT(dare); i++) {
        const espl_average_params params = {.strategy = dare[i], .density = 0.5, .seed = 1}, all = {.strategy = dare[i], .density = 1};
        espl_average_params other = params;
        other.seed = 2;
        assert_true(same(model, params, params));
        assert_true(!same(model, params, other));
        assert_true(same(model, all, (espl_average_params){.strategy = whole[i], .density = 1}));
        assert_true(!same(model, params, (espl_average_params){.strategy = whole[i], .density = 0.5}));
    }
    espl_model_destroy(&model);
}

/* The largest are kept, as many as the share's whole part says, the first ones of equal magnitude. */
static void largest(void **state) {
    (void)state;
    static const struct {
        double density;
        size_t kept, negative; /* of A's 768 values, 100 of which are -3 and the others 2; and how many of the 100 */
    } cases[] = {{0.001, 0, 0}, {0.002, 1, 1}, {0.1, 76, 76}, {0.5, 384, 100}, {0.9999, 767, 100}, {1, 768, 100}};
    espl_adapter *adapters[2];
    espl_model *model = make_two(adapters);
    const espl_entry *entry = &adapters[0]->store.entries[0];
    float values[RANK * IN];
    for (size_t i = 0; i < ESPL_COUNT(values); i++) values[i] = i % 7 == 3 && i < 700 ? -3 : 2;
    test_ok(espl_store_write(&adapters[0]->store, entry, values, ESPL_DTYPE_F32));
    for (size_t c = 0; c < ESPL_COUNT(cases); c++) {
        const espl_average_params params = {.strategy = ESPL_AVERAGE_MAGNITUDE_PRUNE, .density = cases[c].density};
        size_t count, kept = 0, negative = 0;
        float *now = combined(model, 1, 0, params, &count);
        for (size_t i = 0, at[2] = {0}; i < ESPL_COUNT(values); i++) {
            const bool first = values[i] < 0 ? at[0]++ < cases[c].negative : at[1]++ < cases[c].kept - cases[c].negative;
            assert_true(now[i] == (first ? values[i] : 0));
            kept += now[i] != 0, negative += now[i] < 0;
        }
        assert_int_equal(kept, cases[c].kept);
        assert_int_equal(negative, cases[c].negative);
        free(now);
    }
    espl_model_destroy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_factors), cmocka_unit_test(random_changes),
                                       cmocka_unit_test(random_signs), cmocka_unit_test(repeated), cmocka_unit_test(largest)};
    return test_main("averages of a share of the values", tests, ESPL_COUNT(tests));
}
