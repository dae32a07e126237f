/* Diff-pruned adapters added: of tensors added one by one only what all of them change would be left, as a gate between open and
 * closed is no gate. */
#include "adapters/diff_pruning.h"

static espl_status add_changes(espl_adapter *adapter, const espl_entry *base, double weight, float *sum) {
    diff_values values;
    ESPL_TRY(espl_diff_values_init(adapter, base, &values));
    for (size_t i = 0; i < values.count; i++) sum[i] += (float)(weight * espl_diff_change(&values, i));
    espl_diff_values_finish(adapter, &values);
    return ESPL_OK;
}

static espl_status average_entry(espl_adapter *result, espl_adapter *const *adapters, const double *weights, size_t count,
                                 const espl_entry *base) {
    espl_context *ctx = result->model->ctx;
    float *sum;
    ESPL_TRY(espl_new(ctx, (size_t)espl_entry_values(&result->model->store, base) * sizeof *sum, &sum));
    espl_status status = ESPL_OK;
    for (size_t a = 0; a < count && status == ESPL_OK; a++) status = add_changes(adapters[a], base, weights[a], sum);
    if (status == ESPL_OK) status = espl_diff_settle(result, base, sum);
    espl_free(ctx, &sum);
    return status;
}

espl_status espl_diff_average(espl_adapter *result, espl_adapter *const *adapters, const double *weights, size_t count) {
    const espl_entry *base;
    for (size_t a = 0; a < count; a++) {
        if (!((const diff_state *)adapters[a]->state)->pruned)
            return espl_fail(result->model->ctx, ESPL_ARGUMENT, "\"%s\" is not pruned yet: only diff-pruned adapters that are can be "
                             "averaged", adapters[a]->name);
    }
    for (size_t at = 0; (base = espl_diff_next(result, &at));) ESPL_TRY(average_entry(result, adapters, weights, count, base));
    ((diff_state *)result->state)->pruned = true;
    return ESPL_OK;
}
