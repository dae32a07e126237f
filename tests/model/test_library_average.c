/* Adapters of the Adapters library combined: tensor by tensor, and LoRAs by what they add, against sums in double. */
#include "adapters/lora.h"
#include "host/base/os.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *values_of(espl_adapter *adapter, size_t index, size_t *out_count) {
    const espl_entry *entry = &adapter->store.entries[index];
    *out_count = (size_t)espl_entry_values(&adapter->store, entry);
    float *values = malloc(*out_count * sizeof *values);
    assert_non_null(values);
    test_ok(espl_store_read(&adapter->store, entry, values));
    return values;
}

/* Adapters whose names are in their tensors' names: with weights 2 and -1 twice the first less the second; with NEGATE_B A's are
 * added. */
static void tensors(void **state) {
    (void)state;
    static const struct {
        const char *model, *spec;
        espl_average strategy;
    } cases[] = {{"bert_classes_lora", "pfeiffer", ESPL_AVERAGE_LINEAR},
                 {"bert_classes_lora", "{\"config\": {\"architecture\": \"lora\", \"r\": 2}}", ESPL_AVERAGE_LINEAR},
                 {"bert_classes_lora", "{\"config\": {\"architecture\": \"lora\", \"r\": 2}}", ESPL_AVERAGE_NEGATE_B},
                 {"gpt2_lora", "{\"config\": {\"architecture\": \"lora\", \"r\": 2}}", ESPL_AVERAGE_NEGATE_B}, /* parts of one map */
                 {"llama_lora", "lora:r=3,init=random", ESPL_AVERAGE_NEGATE_B}};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_model *model = test_model(cases[i].model, NULL);
        espl_adapter *all[3];
        test_ok(espl_adapter_add(model, "a", cases[i].spec, 1, &all[0]));
        test_ok(espl_adapter_add(model, "b", cases[i].spec, 2, &all[1]));
        test_ok(espl_adapter_average(model, "m", (const char *const[]){"a", "b"}, (const double[]){2, -1}, 2,
                                     &(espl_average_params){.strategy = cases[i].strategy}, &all[2]));
        assert_int_equal(all[2]->store.entry_count, all[0]->store.entry_count);
        for (size_t e = 0; e < all[0]->store.entry_count; e++) {
            const bool added = cases[i].strategy == ESPL_AVERAGE_NEGATE_B && strstr(all[0]->store.entries[e].name, ".lora_A");
            const double sign = added ? 1 : -1;
            float *values[3];
            size_t counts[3];
            for (int k = 0; k < 3; k++) values[k] = values_of(all[k], e, &counts[k]);
            assert_true(counts[0] == counts[1] && counts[0] == counts[2]);
            for (size_t v = 0; v < counts[0]; v++) assert_true(values[2][v] == (float)(2.0 * values[0][v] + sign * (double)values[1][v]));
            for (int k = 0; k < 3; k++) free(values[k]);
        }
        espl_model_destroy(&model);
    }
}

/* sum += weight * alpha / r * B A, of an adapter whose A is that entry; B is the next. [out, in] */
static void add_change(espl_adapter *adapter, size_t index, double weight, double alpha, double *sum) {
    size_t a_count, b_count;
    float *a = values_of(adapter, index, &a_count), *b = values_of(adapter, index + 1, &b_count);
    const size_t rank = adapter->store.entries[index].count, in = a_count / rank, out = b_count / rank;
    for (size_t o = 0; o < out; o++) {
        for (size_t r = 0; r < rank; r++) {
            for (size_t i = 0; i < in; i++)
                sum[o * in + i] += weight * alpha / (double)rank * (double)b[o * rank + r] * (double)a[r * in + i];
        }
    }
    free(a), free(b);
}

/* The square of the largest singular value, by powers of m^T m. */
static double largest_square(const double *m, size_t out, size_t in) {
    double *x = malloc(in * sizeof *x), *y = malloc(out * sizeof *y), square = 0;
    assert_true(x && y);
    for (size_t i = 0; i < in; i++) x[i] = 1 + (double)(i % 7);
    for (int step = 0; step < 2000; step++) {
        double norm = 0;
        for (size_t i = 0; i < in; i++) norm += x[i] * x[i];
        for (size_t i = 0; i < in; i++) x[i] /= sqrt(norm);
        square = 0;
        for (size_t o = 0; o < out; o++) {
            y[o] = 0;
            for (size_t i = 0; i < in; i++) y[o] += m[o * in + i] * x[i];
            square += y[o] * y[o];
        }
        for (size_t i = 0; i < in; i++) {
            x[i] = 0;
            for (size_t o = 0; o < out; o++) x[i] += m[o * in + i] * y[o];
        }
    }
    free(x), free(y);
    return square;
}

/* CAT, and SVD of as many ranks as the sum has, are the sum, and so is what trims nothing; SVD of one rank is off by all but the largest singular value. The
 * folder says an alpha of its rank. */
static void products(void **state) {
    static const struct {
        espl_average_params params;
        uint32_t made;
    } cases[] = {{{.strategy = ESPL_AVERAGE_CAT}, 5},
                 {{.strategy = ESPL_AVERAGE_SVD, .rank = 5}, 5},
                 {{.strategy = ESPL_AVERAGE_SVD, .rank = 1}, 1},
                 {{.strategy = ESPL_AVERAGE_DARE_LINEAR_SVD, .rank = 5, .density = 1}, 5}};
    static const double weights[] = {0.7, -1.2}, alphas[] = {8, 5};
    static const char *const names[] = {"a", "b"};
    const char *method = *state;
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *all[2], *made;
    for (uint32_t i = 0; i < 2; i++) {
        char text[256];
        const char *config = "{\"config\": {\"architecture\": \"lora\", \"r\": %u, \"alpha\": %g, \"attn_matrices\": [\"q\", \"v\"]}}";
        if (strcmp(method, "lora") == 0) snprintf(text, sizeof text, config, i + 2, alphas[i]);
        else snprintf(text, sizeof text, "library_lora:r=%u,alpha=%g,attention=q+v", i + 2, alphas[i]);
        test_ok(espl_adapter_add(model, names[i], text, 1 + i, &all[i]));
        assert_string_equal(all[i]->method->name, method);
        for (size_t e = 0; e < all[i]->store.entry_count; e++) { /* B's are 0 */
            size_t count;
            float *values = values_of(all[i], e, &count);
            for (size_t v = 0; v < count; v++) values[v] = (float)sin((double)(v * (7 + i) + e));
            test_ok(espl_store_write(&all[i]->store, &all[i]->store.entries[e], values, ESPL_DTYPE_F32));
            free(values);
        }
    }
    for (size_t c = 0; c < ESPL_COUNT(cases); c++) {
        char *folder = test_path("average");
        test_ok(espl_adapter_average(model, "m", names, weights, 2, &cases[c].params, &made));
        test_ok(espl_adapter_save(made, folder));
        espl_adapter_delete(&made);
        test_ok(espl_adapter_load(model, "m", folder, &made));
        for (size_t e = 0; e < made->store.entry_count; e += 2) {
            const espl_entry *a = &made->store.entries[e];
            const size_t in = made->store.matrices[a->matrix].cols, out = a[1].count, size = in * out;
            double *sum = calloc(size, sizeof *sum), *got = calloc(size, sizeof *got), off = 0, norm = 0;
            assert_true(sum && got);
            assert_int_equal(a->count, cases[c].made);
            for (uint32_t i = 0; i < 2; i++) add_change(all[i], e, weights[i], alphas[i], sum);
            add_change(made, e, 1, cases[c].made, got);
            for (size_t i = 0; i < size; i++) off += (got[i] - sum[i]) * (got[i] - sum[i]), norm += sum[i] * sum[i];
            const double left = cases[c].made == 1 ? norm - largest_square(sum, out, in) : 0;
            if (!(fabs(off - left) < 1e-6 * norm)) fail_msg("%s: off by %g of %g, expected %g", a->name, off, norm, left);
            free(sum), free(got);
        }
        const lora_state *lora = made->state;
        assert_true(lora->groups[0][ESPL_LINEAR_QKV].target[0].scale == 1);
        espl_adapter_delete(&made);
        espl_os_remove_folder(test_context(), folder);
        free(folder);
    }
    espl_model_destroy(&model);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *model, *spec;
        espl_average strategy;
    } cases[] = {{"bert_classes_lora", "pfeiffer", ESPL_AVERAGE_NEGATE_B}, {"llama_lora", "library_lora:gated", ESPL_AVERAGE_NEGATE_B},
                 {"llama_lora", "library_lora:gated", ESPL_AVERAGE_SVD}, {"llama_lora", "library_dora", ESPL_AVERAGE_CAT},
                 {"gpt2_lora", "library_lora", ESPL_AVERAGE_SVD}, {"llama_lora", "vera:r=4", ESPL_AVERAGE_NEGATE_B},
                 {"gpt2_lora", "library_lora", ESPL_AVERAGE_TIES}, {"llama_lora", "library_dora", ESPL_AVERAGE_DARE_TIES_SVD}};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_model *model = test_model(cases[i].model, NULL);
        espl_adapter *adapter;
        test_ok(espl_adapter_add(model, "a", cases[i].spec, 1, &adapter));
        test_refused(espl_adapter_average(model, "m", (const char *const[]){"a"}, (const double[]){1}, 1,
                                          &(espl_average_params){.strategy = cases[i].strategy, .density = 0.5}, &adapter),
                     ESPL_UNSUPPORTED, "A and B are combined of LoRAs without gates");
        espl_model_destroy(&model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tensors), {"products, lora", products, NULL, NULL, "lora"},
                                       {"products, library_lora", products, NULL, NULL, "library_lora"}, cmocka_unit_test(refused)};
    return test_main("averages of the Adapters library's adapters", tests, ESPL_COUNT(tests));
}
