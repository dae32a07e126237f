#include "tests/model/pair_test.h"
#include <math.h>
#include <stdlib.h>

const int32_t test_pair_lengths[PAIR_ROWS] = {9, 4, 7, 9, 5};
const double test_pair_bound = 2e-5;

static uint32_t vocabulary;

void test_pair_fill(espl_adapter *adapter, uint64_t seed) {
    espl_random random = {.seed = seed};
    espl_store *store = &adapter->store;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        const size_t count = (size_t)espl_entry_values(store, e);
        float *values = malloc(count * sizeof *values);
        test_ok(espl_store_read(store, e, values));
        for (size_t j = 0; j < count; j++) values[j] += 0.1f * (float)espl_random_normal(&random);
        if (!store->matrices[e->matrix].frozen) test_ok(espl_store_write(store, e, values, ESPL_DTYPE_F32));
        free(values);
    }
}

espl_model *test_pair_load(const test_pair *p) {
    espl_adapter *adapter;
    espl_model *model = test_model(p->model, NULL);
    vocabulary = espl_model_describe(model).vocabulary;
    test_ok(espl_adapter_add(model, "a", p->a, 1, &adapter));
    test_pair_fill(adapter, 11);
    test_ok(espl_adapter_add(model, "b", p->b, 2, &adapter));
    test_pair_fill(adapter, 12);
    return model;
}

void test_pair_ids(int32_t ids[PAIR_ROWS * PAIR_TOKENS]) {
    espl_random random = {.seed = 5};
    for (int i = 0; i < PAIR_ROWS * PAIR_TOKENS; i++) ids[i] = (int32_t)espl_random_below(&random, vocabulary);
}

espl_dataset *test_pair_rows(const int32_t *tasks) {
    int32_t ids[PAIR_ROWS * PAIR_TOKENS];
    espl_dataset *dataset;
    test_pair_ids(ids);
    const espl_rows rows = {.rows = PAIR_ROWS, .tokens = PAIR_TOKENS, .ids = ids, .lengths = test_pair_lengths, .tasks = tasks};
    test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &dataset));
    return dataset;
}

float *test_pair_predict(espl_model *model, const char *expression, const int32_t *tasks, size_t *out_row) {
    const espl_model_info info = espl_model_describe(model);
    espl_dataset *dataset = test_pair_rows(tasks);
    *out_row = (size_t)(info.per_token ? PAIR_TOKENS : 1) * info.outputs;
    test_ok(espl_model_activate(model, expression));
    float *values = malloc(espl_model_describe(model).replicas * PAIR_ROWS * *out_row * sizeof *values);
    test_ok(espl_predict(model, dataset, PAIR_ROWS, 0, values));
    espl_dataset_destroy(&dataset);
    return values;
}

double test_pair_off(const float *a, const float *b, size_t count) {
    double above = 0, below = 0;
    for (size_t i = 0; i < count; i++) above += ((double)a[i] - b[i]) * ((double)a[i] - b[i]), below += (double)b[i] * b[i];
    return sqrt(above / (below > 0 ? below : 1));
}

size_t test_pair_compared(const espl_model *model, size_t row, int r) {
    return espl_model_describe(model).per_token ? row / PAIR_TOKENS * (size_t)test_pair_lengths[r] : row;
}
