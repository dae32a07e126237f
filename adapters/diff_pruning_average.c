/* Diff-pruned adapters added: of tensors added one by one only what all of them change would be left, as a gate between open and
 * closed is no gate. */
#include "adapters/diff_pruning.h"
#include <string.h>

static bool is_labelled(const espl_adapter *adapter, size_t entry, const char *label) {
    return entry < adapter->store.entry_count && strcmp(adapter->store.matrices[adapter->store.entries[entry].matrix].label, label) == 0;
}

/* sum += weight * change, where a gate is open. */
static espl_status add_changes(espl_adapter *adapter, size_t entry, double weight, float *sum, float *gates) {
    espl_context *ctx = adapter->model->ctx;
    const espl_entry *e = &adapter->store.entries[entry];
    const size_t count = (size_t)espl_entry_values(&adapter->store, e);
    float *delta = NULL, *alpha = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(ctx, count * sizeof *delta, &delta));
    ESPL_GOTO(espl_new(ctx, count * sizeof *alpha, &alpha));
    ESPL_GOTO(espl_store_read(&adapter->store, e, delta));
    ESPL_GOTO(espl_store_read(&adapter->store, e + 1, alpha));
    for (size_t i = 0; i < count; i++) {
        if (alpha[i] <= 0) continue;
        sum[i] += (float)(weight * delta[i]);
        gates[i] = espl_diff_settled;
    }
fail:
    espl_free(ctx, &delta);
    espl_free(ctx, &alpha);
    return status;
}

/* A tensor's delta and the log_alpha behind it. */
static espl_status average_pair(espl_adapter *result, espl_adapter *const *adapters, const double *weights, size_t count, size_t entry) {
    espl_context *ctx = result->model->ctx;
    const espl_entry *e = &result->store.entries[entry];
    const size_t values = (size_t)espl_entry_values(&result->store, e);
    float *sum = NULL, *gates = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(ctx, values * sizeof *sum, &sum));
    ESPL_GOTO(espl_new(ctx, values * sizeof *gates, &gates));
    for (size_t i = 0; i < values; i++) gates[i] = -espl_diff_settled;
    for (size_t a = 0; a < count; a++) ESPL_GOTO(add_changes(adapters[a], entry, weights[a], sum, gates));
    ESPL_GOTO(espl_store_write(&result->store, e, sum, ESPL_DTYPE_F32));
    ESPL_GOTO(espl_store_write(&result->store, e + 1, gates, ESPL_DTYPE_F32));
fail:
    espl_free(ctx, &sum);
    espl_free(ctx, &gates);
    return status;
}

espl_status espl_diff_average(espl_adapter *result, espl_adapter *const *adapters, const double *weights, size_t count) {
    for (size_t a = 0; a < count; a++) {
        if (!((const diff_state *)adapters[a]->state)->pruned)
            return espl_fail(result->model->ctx, ESPL_ARGUMENT, "\"%s\" is not pruned yet: only diff-pruned adapters that are can be "
                             "averaged", adapters[a]->name);
    }
    for (size_t i = 0; i < result->store.entry_count; i++) {
        if (is_labelled(result, i, "delta") && is_labelled(result, i + 1, "log_alpha"))
            ESPL_TRY(average_pair(result, adapters, weights, count, i));
    }
    ((diff_state *)result->state)->pruned = true;
    return ESPL_OK;
}
