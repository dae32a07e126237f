/* The values of diff-pruning on the host, and which changes stay. */
#include "adapters/diff_pruning.h"
#include <math.h>
#include <string.h>

/* An alpha of a gate that is open for good; its negative: closed. */
static const float settled = 1e4f;

const float espl_diff_low = -1.5f, espl_diff_high = 1.5f;
const char espl_diff_delta[] = "delta", espl_diff_alpha[] = "log_alpha", espl_diff_group[] = "group_log_alpha";

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static const diff_pair *pair_of(const espl_adapter *adapter, const espl_entry *base) {
    return &((const diff_state *)adapter->state)->pairs[base->matrix];
}

static espl_entry in_store(const espl_entry *base, uint32_t matrix) {
    espl_entry e = *base;
    e.matrix = matrix;
    return e;
}

/* The alpha of the entry's group. */
static espl_entry group_entry(const diff_pair *pair, const espl_entry *base) {
    uint32_t g = 0;
    while (g + 1 < pair->groups && pair->bounds[g] <= base->from) g++;
    return (espl_entry){.matrix = pair->group, .from = g, .count = 1, .vector = true};
}

static float gate(float alpha) {
    const float z = 1 / (1 + expf(-alpha)) * (espl_diff_high - espl_diff_low) + espl_diff_low;
    return z < 0 ? 0 : z > 1 ? 1 : z;
}

espl_status espl_diff_values_init(espl_adapter *adapter, const espl_entry *base, diff_values *values) {
    const diff_pair *pair = pair_of(adapter, base);
    const espl_entry delta = in_store(base, pair->delta), alpha = in_store(base, pair->alpha), group = group_entry(pair, base);
    float of_group = settled;
    *values = (diff_values){.count = (size_t)espl_entry_values(&adapter->model->store, base)};
    espl_status status = espl_new(context(adapter), values->count * sizeof(float), &values->delta);
    if (status == ESPL_OK) status = espl_new(context(adapter), values->count * sizeof(float), &values->alpha);
    if (status == ESPL_OK) status = espl_store_read(&adapter->store, &delta, values->delta);
    if (status == ESPL_OK) status = espl_store_read(&adapter->store, &alpha, values->alpha);
    if (status == ESPL_OK && pair->groups) status = espl_store_read(&adapter->store, &group, &of_group);
    values->gate = gate(of_group);
    if (status != ESPL_OK) espl_diff_values_finish(adapter, values);
    return status;
}

void espl_diff_values_finish(espl_adapter *adapter, diff_values *values) {
    espl_free(context(adapter), &values->delta);
    espl_free(context(adapter), &values->alpha);
}

float espl_diff_change(const diff_values *values, size_t i) {
    return values->gate * gate(values->alpha[i]) * values->delta[i];
}

const espl_entry *espl_diff_next(const espl_adapter *adapter, size_t *in_out_at) {
    const diff_state *state = adapter->state;
    const espl_store *base = &adapter->model->store;
    for (; *in_out_at < base->entry_count; (*in_out_at)++) {
        const espl_entry *e = &base->entries[*in_out_at];
        if (state->pairs[e->matrix].delta != ESPL_NO_MATRIX) return (*in_out_at)++, e;
    }
    return NULL;
}

espl_status espl_diff_each(espl_adapter *adapter, void *user,
                           espl_status (*f)(espl_adapter *adapter, const espl_entry *base, const diff_values *values, void *user)) {
    const espl_entry *base;
    for (size_t at = 0; (base = espl_diff_next(adapter, &at));) {
        diff_values values;
        ESPL_TRY(espl_diff_values_init(adapter, base, &values));
        espl_status status = f(adapter, base, &values, user);
        espl_diff_values_finish(adapter, &values);
        ESPL_TRY(status);
    }
    return ESPL_OK;
}

/* ---- Pruning ---- */

bool espl_diff_stays(float alpha) {
    return alpha > 0;
}

espl_status espl_diff_settle(espl_adapter *adapter, const espl_entry *base, const float *changes) {
    const diff_pair *pair = pair_of(adapter, base);
    const espl_entry delta = in_store(base, pair->delta), alpha = in_store(base, pair->alpha), group = group_entry(pair, base);
    const size_t count = (size_t)espl_entry_values(&adapter->model->store, base);
    float *alphas;
    ESPL_TRY(espl_new(context(adapter), count * sizeof *alphas, &alphas));
    for (size_t i = 0; i < count; i++) alphas[i] = changes[i] != 0 ? settled : -settled;
    espl_status status = espl_store_write(&adapter->store, &delta, changes, ESPL_DTYPE_F32);
    if (status == ESPL_OK) status = espl_store_write(&adapter->store, &alpha, alphas, ESPL_DTYPE_F32);
    if (status == ESPL_OK && pair->groups) status = espl_store_write(&adapter->store, &group, &settled, ESPL_DTYPE_F32);
    espl_free(context(adapter), &alphas);
    return status;
}

typedef struct sizes {
    float *values; /* owned */
    size_t count;
    float least; /* of those that stay */
} sizes;

static espl_status collect(espl_adapter *adapter, const espl_entry *base, const diff_values *values, void *user) {
    sizes *all = user;
    (void)adapter, (void)base;
    for (size_t i = 0; i < values->count; i++) all->values[all->count++] = fabsf(espl_diff_change(values, i));
    return ESPL_OK;
}

/* What value has n larger ones, or as large, beside it; moves them about (Hoare's selection). */
static float select_largest(float *values, size_t count, size_t n) {
    size_t low = 0, high = count; /* the wanted one is in [low, high) */
    while (high - low > 1) {
        const float pivot = values[low + (high - low) / 2];
        size_t i = low, j = high; /* behind the last that is not looked at */
        while (i < j) {
            while (values[i] > pivot) i++;
            while (pivot > values[j - 1]) j--;
            if (i >= j) break;
            const float other = values[i];
            values[i++] = values[--j], values[j] = other;
        }
        if (n < j) high = j;
        else if (n >= i) low = i;
        else return pivot;
    }
    return values[low];
}

static espl_status keep(espl_adapter *adapter, const espl_entry *base, const diff_values *values, void *user) {
    const sizes *all = user;
    float *changes;
    ESPL_TRY(espl_new(context(adapter), values->count * sizeof *changes, &changes));
    for (size_t i = 0; i < values->count; i++) {
        const float change = espl_diff_change(values, i);
        changes[i] = fabsf(change) >= all->least ? change : 0;
    }
    espl_status status = espl_diff_settle(adapter, base, changes);
    espl_free(context(adapter), &changes);
    return status;
}

espl_status espl_diff_prune(espl_adapter *adapter) {
    diff_state *state = adapter->state;
    const espl_entry *base;
    sizes all = {.values = NULL};
    size_t total = 0;
    for (size_t at = 0; (base = espl_diff_next(adapter, &at));) total += (size_t)espl_entry_values(&adapter->model->store, base);
    ESPL_TRY(espl_new(context(adapter), total * sizeof *all.values, &all.values));
    espl_status status = espl_diff_each(adapter, &all, collect);
    if (status == ESPL_OK) {
        const size_t kept = (size_t)ceil(state->share * (double)total);
        all.least = total ? select_largest(all.values, total, kept ? kept - 1 : 0) : 0;
        status = espl_diff_each(adapter, &all, keep);
    }
    if (status == ESPL_OK) state->pruned = true;
    espl_free(context(adapter), &all.values);
    return status;
}
