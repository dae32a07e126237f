/* The values of diff-pruning on the host: which changes stay, and the sparse tensors of its folder. */
#include "adapters/diff_pruning.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static size_t count_of(const espl_adapter *adapter, const espl_entry *base) {
    return (size_t)espl_entry_values(&adapter->model->store, base);
}

/* The next base entry that is changed, from number *in_out_at on; NULL: there is none. */
static const espl_entry *next(const espl_adapter *adapter, size_t *in_out_at) {
    const diff_state *state = adapter->state;
    const espl_store *base = &adapter->model->store;
    for (; *in_out_at < base->entry_count; (*in_out_at)++) {
        const espl_entry *e = &base->entries[*in_out_at];
        if (state->pairs[e->matrix].delta != ESPL_NO_MATRIX) return (*in_out_at)++, e;
    }
    return NULL;
}

/* An entry of the adapter's store is delta or alpha of one of the base's. */
static bool is_pair(const espl_adapter *adapter, const espl_entry *e) {
    const char *label = adapter->store.matrices[e->matrix].label;
    return strcmp(label, "delta") == 0 || strcmp(label, "log_alpha") == 0;
}

static espl_entry in_store(const espl_entry *base, uint32_t matrix) {
    espl_entry e = *base;
    e.matrix = matrix;
    return e;
}

espl_status espl_diff_values(espl_adapter *adapter, const espl_entry *base, float **out_delta, float **out_alpha) {
    const diff_pair *pair = &((const diff_state *)adapter->state)->pairs[base->matrix];
    const espl_entry delta = in_store(base, pair->delta), alpha = in_store(base, pair->alpha);
    const size_t bytes = count_of(adapter, base) * sizeof(float);
    *out_delta = *out_alpha = NULL;
    espl_status status = espl_new(context(adapter), bytes, out_delta);
    if (status == ESPL_OK) status = espl_new(context(adapter), bytes, out_alpha);
    if (status == ESPL_OK) status = espl_store_read(&adapter->store, &delta, *out_delta);
    if (status == ESPL_OK) status = espl_store_read(&adapter->store, &alpha, *out_alpha);
    if (status == ESPL_OK) return ESPL_OK;
    espl_free(context(adapter), out_delta);
    espl_free(context(adapter), out_alpha);
    return status;
}

espl_status espl_diff_write_values(espl_adapter *adapter, const espl_entry *base, const float *delta, const float *alpha) {
    const diff_pair *pair = &((const diff_state *)adapter->state)->pairs[base->matrix];
    const espl_entry to_delta = in_store(base, pair->delta), to_alpha = in_store(base, pair->alpha);
    ESPL_TRY(espl_store_write(&adapter->store, &to_delta, delta, ESPL_DTYPE_F32));
    return espl_store_write(&adapter->store, &to_alpha, alpha, ESPL_DTYPE_F32);
}

float espl_diff_gate(float alpha) {
    const float z = 1 / (1 + expf(-alpha)) * (espl_diff_high - espl_diff_low) + espl_diff_low;
    return z < 0 ? 0 : z > 1 ? 1 : z;
}

/* ---- Pruning ---- */

static int by_falling_size(const void *a, const void *b) {
    const float left = *(const float *)a, right = *(const float *)b;
    return (left < right) - (left > right);
}

/* Calls f for every base entry that is changed, with its values. */
static espl_status each(espl_adapter *adapter, void *user,
                        espl_status (*f)(espl_adapter *adapter, const espl_entry *base, float *delta, float *alpha, void *user)) {
    const espl_entry *base;
    for (size_t at = 0; (base = next(adapter, &at));) {
        float *delta, *alpha;
        ESPL_TRY(espl_diff_values(adapter, base, &delta, &alpha));
        espl_status status = f(adapter, base, delta, alpha, user);
        espl_free(context(adapter), &delta);
        espl_free(context(adapter), &alpha);
        ESPL_TRY(status);
    }
    return ESPL_OK;
}

typedef struct sizes {
    float *values; /* owned */
    size_t count;
    float least; /* of those that stay */
} sizes;

static espl_status collect(espl_adapter *adapter, const espl_entry *base, float *delta, float *alpha, void *user) {
    sizes *all = user;
    const size_t count = count_of(adapter, base);
    for (size_t i = 0; i < count; i++) all->values[all->count++] = fabsf(espl_diff_gate(alpha[i]) * delta[i]);
    return ESPL_OK;
}

static espl_status settle(espl_adapter *adapter, const espl_entry *base, float *delta, float *alpha, void *user) {
    const sizes *all = user;
    const size_t count = count_of(adapter, base);
    for (size_t i = 0; i < count; i++) {
        const float changed = espl_diff_gate(alpha[i]) * delta[i];
        const bool stays = changed != 0 && fabsf(changed) >= all->least;
        delta[i] = stays ? changed : 0;
        alpha[i] = stays ? espl_diff_settled : -espl_diff_settled;
    }
    return espl_diff_write_values(adapter, base, delta, alpha);
}

espl_status espl_diff_prune(espl_adapter *adapter) {
    diff_state *state = adapter->state;
    const espl_entry *base;
    sizes all = {.values = NULL};
    size_t total = 0;
    for (size_t at = 0; (base = next(adapter, &at));) total += count_of(adapter, base);
    ESPL_TRY(espl_new(context(adapter), total * sizeof *all.values, &all.values));
    espl_status status = each(adapter, &all, collect);
    if (status == ESPL_OK) {
        const size_t kept = (size_t)ceil(state->share * (double)total);
        qsort(all.values, total, sizeof *all.values, by_falling_size);
        all.least = all.values[kept ? kept - 1 : 0];
        status = each(adapter, &all, settle);
    }
    if (status == ESPL_OK) state->pruned = true;
    espl_free(context(adapter), &all.values);
    return status;
}

/* ---- Folders ---- */

static espl_status name_of(const espl_adapter *adapter, const espl_entry *base, const char *kind, char **out_name) {
    return espl_format(context(adapter), out_name, "base_model.model.%s.%s", base->name, kind);
}

/* Numbers in `idx` are those of values in the order of the base's tensor. */
static espl_status scatter(espl_adapter *adapter, const espl_entry *base, const espl_tensor_view *idx, const espl_tensor_view *val,
                           float *delta, float *alpha) {
    const size_t count = count_of(adapter, base), there = idx->rank == 1 ? idx->shape[0] : 0;
    int32_t *numbers = NULL;
    float *values = NULL;
    espl_status status = ESPL_OK;
    if (idx->dtype != ESPL_DTYPE_I32 || val->dtype != ESPL_DTYPE_F32 || idx->rank != 1 || val->rank != 1 || val->shape[0] != there)
        return espl_fail(context(adapter), ESPL_FORMAT, "%s and %s are not a list of I32 and one of F32 of the same length", idx->name,
                         val->name);
    ESPL_GOTO(espl_new(context(adapter), there * sizeof *numbers, &numbers));
    ESPL_GOTO(espl_new(context(adapter), there * sizeof *values, &values));
    memcpy(numbers, idx->data, there * sizeof *numbers);
    memcpy(values, val->data, there * sizeof *values);
    for (size_t i = 0; i < count; i++) alpha[i] = -espl_diff_settled;
    for (size_t i = 0; i < there && status == ESPL_OK; i++) {
        if (numbers[i] < 0 || (size_t)numbers[i] >= count)
            status = espl_fail(context(adapter), ESPL_FORMAT, "%s has number %d of a tensor with %zu values", idx->name, numbers[i], count);
        else delta[numbers[i]] = values[i], alpha[numbers[i]] = espl_diff_settled;
    }
    if (status == ESPL_OK) status = espl_diff_write_values(adapter, base, delta, alpha);
fail:
    espl_free(context(adapter), &numbers);
    espl_free(context(adapter), &values);
    return status;
}

static espl_status read_sparse(espl_adapter *adapter, const espl_entry *base, const espl_tensors *set) {
    espl_context *ctx = context(adapter);
    const size_t bytes = count_of(adapter, base) * sizeof(float);
    espl_tensor_view idx, val;
    char *name = NULL;
    float *delta = NULL, *alpha = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(ctx, bytes, &delta));
    ESPL_GOTO(espl_new(ctx, bytes, &alpha));
    ESPL_GOTO(name_of(adapter, base, "idx", &name));
    ESPL_GOTO(espl_tensors_find(set, name, &idx));
    espl_free(ctx, &name);
    ESPL_GOTO(name_of(adapter, base, "val", &name));
    ESPL_GOTO(espl_tensors_find(set, name, &val));
    ESPL_GOTO(scatter(adapter, base, &idx, &val, delta, alpha));
fail:
    espl_free(ctx, &name);
    espl_free(ctx, &delta);
    espl_free(ctx, &alpha);
    return status;
}

espl_status espl_diff_read(espl_adapter *adapter, const espl_tensors *set) {
    diff_state *state = adapter->state;
    const espl_entry *base;
    size_t first = 0, read = 0;
    char *name;
    base = next(adapter, &first);
    if (!base) return espl_store_load(&adapter->store, set, "");
    ESPL_TRY(name_of(adapter, base, "idx", &name));
    state->pruned = espl_tensors_has(set, name);
    espl_free(context(adapter), &name);
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        /* What modules_to_save named is there in both forms. */
        adapter->store.entries[i].optional = state->pruned && is_pair(adapter, &adapter->store.entries[i]);
        read += !adapter->store.entries[i].optional;
    }
    ESPL_TRY(espl_store_load(&adapter->store, set, ""));
    for (size_t at = 0; state->pruned && (base = next(adapter, &at)); read += 2) ESPL_TRY(read_sparse(adapter, base, set));
    if (read != espl_tensors_count(set))
        return espl_fail(context(adapter), ESPL_FORMAT, "there are %zu tensors, this adapter has %zu", espl_tensors_count(set), read);
    return ESPL_OK;
}

/* Tensors to write, whose names and values are owned. */
typedef struct sparse {
    espl_tensor_entry *entries;
    size_t count;
} sparse;

static espl_status add_tensor(espl_adapter *adapter, sparse *to, const espl_entry *base, const char *kind, espl_dtype dtype,
                              uint32_t values, void *data) {
    char *name;
    espl_status status = name_of(adapter, base, kind, &name);
    if (status != ESPL_OK) {
        espl_free(context(adapter), &data);
        return status;
    }
    to->entries[to->count++] = (espl_tensor_entry){.name = name, .dtype = dtype, .rank = 1, .shape = {values}, .data = data};
    return ESPL_OK;
}

static espl_status gather(espl_adapter *adapter, const espl_entry *base, float *delta, float *alpha, void *user) {
    const size_t count = count_of(adapter, base);
    int32_t *numbers;
    float *values;
    uint32_t kept = 0;
    ESPL_TRY(espl_new(context(adapter), count * sizeof *numbers, &numbers));
    espl_status status = espl_new(context(adapter), count * sizeof *values, &values);
    if (status != ESPL_OK) {
        espl_free(context(adapter), &numbers);
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        if (alpha[i] <= 0) continue;
        numbers[kept] = (int32_t)i;
        values[kept++] = delta[i];
    }
    status = add_tensor(adapter, user, base, "idx", ESPL_DTYPE_I32, kept, numbers);
    if (status != ESPL_OK) {
        espl_free(context(adapter), &values);
        return status;
    }
    return add_tensor(adapter, user, base, "val", ESPL_DTYPE_F32, kept, values);
}

/* What modules_to_save named, as it is. */
static espl_status add_saved(espl_adapter *adapter, sparse *to) {
    espl_context *ctx = context(adapter);
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        const espl_entry *e = &adapter->store.entries[i];
        char *name;
        float *values = NULL;
        if (is_pair(adapter, e)) continue;
        ESPL_TRY(espl_copy_string(ctx, e->name, strlen(e->name), &name));
        espl_tensor_entry *t = &to->entries[to->count++];
        *t = (espl_tensor_entry){.name = name, .dtype = ESPL_DTYPE_F32, .rank = e->rank};
        memcpy(t->shape, e->shape, sizeof e->shape);
        ESPL_TRY(espl_new(ctx, (size_t)espl_entry_values(&adapter->store, e) * sizeof *values, &values));
        t->data = values;
        ESPL_TRY(espl_store_read(&adapter->store, e, values));
    }
    return ESPL_OK;
}

espl_status espl_diff_write(espl_adapter *adapter, const char *path) {
    const diff_state *state = adapter->state;
    espl_context *ctx = context(adapter);
    sparse all = {.entries = NULL};
    if (!state->pruned) return espl_store_save(&adapter->store, path);
    ESPL_TRY(espl_new(ctx, (adapter->store.entry_count + 1) * sizeof *all.entries, &all.entries));
    static const espl_tensors_metadata_pair format[] = {{"format", "pt"}};
    espl_status status = each(adapter, &all, gather);
    if (status == ESPL_OK) status = add_saved(adapter, &all);
    if (status == ESPL_OK) status = espl_tensors_write(ctx, path, all.entries, all.count, format, ESPL_COUNT(format));
    for (size_t i = 0; i < all.count; i++) {
        void *data = (void *)(uintptr_t)all.entries[i].data;
        char *name = (char *)(uintptr_t)all.entries[i].name;
        espl_free(ctx, &data);
        espl_free(ctx, &name);
    }
    espl_free(ctx, &all.entries);
    return status;
}
