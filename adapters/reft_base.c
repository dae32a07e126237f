#include "adapters/reft_base.h"
#include "host/base/base.h"
#include <math.h>

static espl_status write(espl_store *store, const espl_entry *entry, float *values) {
    espl_status status = espl_store_write(store, entry, values, ESPL_DTYPE_F32);
    espl_free(store->ctx, &values);
    return status;
}

espl_status espl_reft_original(espl_store *store, const espl_entry *entry) {
    const uint32_t cols = store->matrices[entry->matrix].cols;
    float *values;
    ESPL_TRY(espl_new(store->ctx, (size_t)entry->count * cols * sizeof *values, &values));
    for (uint32_t i = 0; i < entry->count; i++) values[(size_t)i * cols + i] = -1;
    return write(store, entry, values);
}

/* matrix = matrix - 2 (matrix a) a^T / (a . a), rows of n. */
static void reflect(float *matrix, const double *a, uint32_t n) {
    double norm = 0;
    for (uint32_t c = 0; c < n; c++) norm += a[c] * a[c];
    for (uint32_t r = 0; norm > 0 && r < n; r++) {
        float *row = matrix + (size_t)r * n;
        double product = 0;
        for (uint32_t c = 0; c < n; c++) product += row[c] * a[c];
        for (uint32_t c = 0; c < n; c++) row[c] = (float)(row[c] - 2 * product / norm * a[c]);
    }
}

espl_status espl_reft_base(espl_store *store, const espl_entry *entry, uint32_t rank, uint64_t seed) {
    const uint32_t n = entry->count;
    espl_random random = {.seed = seed, .stream = (uint64_t)(entry - store->entries)};
    float *values = NULL;
    double *a = NULL;
    espl_status status = espl_new(store->ctx, (size_t)n * n * sizeof *values, &values);
    if (status == ESPL_OK) status = espl_new(store->ctx, n * sizeof *a, &a);
    for (uint32_t i = 0; status == ESPL_OK && i < n; i++) values[(size_t)i * n + i] = 1;
    for (uint32_t j = 0; status == ESPL_OK && j < rank; j++) {
        /* Takes e_j to a random direction of those from j on. */
        double norm = 0;
        for (uint32_t c = 0; c < n; c++) {
            a[c] = c < j ? 0 : espl_random_normal(&random);
            norm += a[c] * a[c];
        }
        a[j] += a[j] < 0 ? -sqrt(norm) : sqrt(norm);
        reflect(values, a, n);
    }
    espl_free(store->ctx, &a);
    if (status == ESPL_OK) return write(store, entry, values);
    espl_free(store->ctx, &values);
    return status;
}
