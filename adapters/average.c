/* Adapters of equal configuration added in parameter space: task arithmetic where weights do not sum to 1. */
#include "adapters/lora.h"
#include <string.h>

static espl_adapter *find(espl_model *model, const char *name) {
    espl_adapter *adapter = model->adapters;
    while (adapter && strcmp(adapter->name, name) != 0) adapter = adapter->next;
    return adapter;
}

/* What says how an adapter was trained and not what it is. */
static bool is_training_key(const char *key) {
    static const char *const keys[] = {"base_model_name_or_path", "inference_mode", "init_lora_weights", "init_weights",
                                       "init_ia3_weights",        "init",           "projection_prng_key", "revision",
                                       "peft_version",            "auto_mapping",   "task_type"};
    for (size_t i = 0; i < ESPL_COUNT(keys); i++) {
        if (strcmp(key, keys[i]) == 0) return true;
    }
    return strstr(key, "dropout") != NULL;
}

static espl_status check_equal(const espl_adapter *first, const espl_adapter *other) {
    const char *key;
    json_t *value;
    if (first->method != other->method)
        return espl_fail(first->model->ctx, ESPL_ARGUMENT, "\"%s\" is of method %s, \"%s\" of %s: they cannot be averaged",
                         first->name, first->method->name, other->name, other->method->name);
    json_object_foreach(first->config, key, value) {
        if (!is_training_key(key) && !json_equal(value, json_object_get(other->config, key)))
            return espl_fail(first->model->ctx, ESPL_ARGUMENT, "\"%s\" and \"%s\" differ in \"%s\": they cannot be averaged",
                             first->name, other->name, key);
    }
    return ESPL_OK;
}

/* target[i] += weight * (the adapter's entry)[i], the whole of it. */
static espl_status add_entry(espl_adapter *adapter, const espl_entry *entry, double weight, double *sum) {
    const size_t count = (size_t)espl_entry_values(&adapter->store, entry);
    float *values;
    ESPL_TRY(espl_new(adapter->model->ctx, count * sizeof *values, &values));
    espl_status status = espl_store_read(&adapter->store, entry, values);
    for (size_t i = 0; status == ESPL_OK && i < count; i++) sum[i] += weight * values[i];
    espl_free(adapter->model->ctx, &values);
    return status;
}

static double scale_of(const espl_adapter *adapter, const espl_entry *a) {
    const lora_state *state = adapter->state;
    for (uint32_t block = 0; block < adapter->model->config.layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            const lora_group *group = &state->groups[block][l];
            for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && a->matrix == group->a; p++) {
                if (group->target[p].rank && group->target[p].from == a->from) return group->target[p].scale;
            }
        }
    }
    return 1;
}

/* A: the rows of all under each other, times weight and scale; B: the columns of all beside each other. */
static espl_status stack_entry(espl_adapter *adapter, const espl_entry *entry, double weight, uint32_t rank, uint32_t from,
                               uint32_t all, double *sum) {
    const bool a = strstr(entry->name, ".lora_A.");
    const uint32_t cols = a ? adapter->store.matrices[entry->matrix].cols : rank;
    const double factor = a ? weight * scale_of(adapter, entry) : 1;
    float *values;
    ESPL_TRY(espl_new(adapter->model->ctx, (size_t)espl_entry_values(&adapter->store, entry) * sizeof *values, &values));
    espl_status status = espl_store_read(&adapter->store, entry, values);
    for (size_t r = 0; status == ESPL_OK && r < entry->count; r++) {
        double *to = a ? sum + (from + r) * cols : sum + r * all + from;
        for (size_t c = 0; c < cols; c++) to[c] = factor * values[r * cols + c];
    }
    espl_free(adapter->model->ctx, &values);
    return status;
}

typedef struct inputs {
    espl_adapter **adapters; /* owned array */
    const double *weights;
    size_t count;
    uint32_t rank; /* of each; 0: not stacked */
} inputs;

static espl_status fill_entry(espl_adapter *result, const espl_entry *entry, const inputs *in) {
    espl_context *ctx = result->model->ctx;
    const size_t count = (size_t)espl_entry_values(&result->store, entry);
    const bool stacked = in->rank && (strstr(entry->name, ".lora_A.") || strstr(entry->name, ".lora_B."));
    double *sum = NULL;
    float *values = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(ctx, count * sizeof *sum, &sum));
    ESPL_GOTO(espl_new(ctx, count * sizeof *values, &values));
    for (size_t i = 0; i < in->count; i++) {
        const espl_entry *source = espl_store_find(&in->adapters[i]->store, entry->name);
        ESPL_GOTO(stacked ? stack_entry(in->adapters[i], source, in->weights[i], in->rank, (uint32_t)i * in->rank,
                                        (uint32_t)in->count * in->rank, sum)
                          : add_entry(in->adapters[i], source, in->weights[i], sum));
    }
    for (size_t i = 0; i < count; i++) values[i] = (float)sum[i];
    ESPL_GOTO(espl_store_write(&result->store, entry, values, ESPL_DTYPE_F32));
fail:
    espl_free(ctx, &sum);
    espl_free(ctx, &values);
    return status;
}

/* A frozen matrix is no sum: all must have the same. */
static espl_status copy_frozen(espl_adapter *result, const espl_entry *entry, const inputs *in) {
    espl_context *ctx = result->model->ctx;
    const size_t bytes = (size_t)espl_entry_values(&result->store, entry) * sizeof(float);
    float *first = NULL, *other = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(ctx, bytes, &first));
    ESPL_GOTO(espl_new(ctx, bytes, &other));
    for (size_t i = 0; i < in->count; i++) {
        espl_store *store = &in->adapters[i]->store;
        ESPL_GOTO(espl_store_read(store, espl_store_find(store, entry->name), i ? other : first));
        if (i && memcmp(first, other, bytes) != 0)
            ESPL_GOTO(espl_fail(ctx, ESPL_ARGUMENT, "\"%s\" and \"%s\" have different %s: they cannot be averaged",
                                in->adapters[0]->name, in->adapters[i]->name, entry->name));
    }
    ESPL_GOTO(espl_store_write(&result->store, entry, first, ESPL_DTYPE_F32));
fail:
    espl_free(ctx, &first);
    espl_free(ctx, &other);
    return status;
}

/* CAT: scales are in A, so that alpha is the rank. */
static espl_status stacked_config(const espl_adapter *first, inputs *in, json_t *config) {
    espl_context *ctx = first->model->ctx;
    if (strcmp(first->method->name, "lora") != 0 || json_object_size(json_object_get(config, "rank_pattern")))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "ranks are stacked for adapters of method lora without \"rank_pattern\", not for "
                         "\"%s\"", first->name);
    ESPL_TRY(espl_json_u32(ctx, config, "r", 8, &in->rank));
    const json_int_t all = (json_int_t)(in->rank * in->count);
    ESPL_TRY(espl_json_set(ctx, config, "r", json_integer(all)));
    ESPL_TRY(espl_json_set(ctx, config, "lora_alpha", json_integer(all)));
    ESPL_TRY(espl_json_set(ctx, config, "use_rslora", json_false()));
    return espl_json_set(ctx, config, "alpha_pattern", json_object());
}

static espl_status average(espl_model *model, const char *name, inputs *in, espl_average strategy, espl_adapter **out_adapter) {
    espl_context *ctx = model->ctx;
    espl_adapter *first = in->adapters[0];
    espl_bytes text = {0};
    json_t *config = json_deep_copy(first->config);
    espl_status status = config ? ESPL_OK : espl_fail(ctx, ESPL_HOST_MEMORY, "a configuration needs memory");
    if (status != ESPL_OK) return status;
    if (first->library)
        ESPL_GOTO(espl_fail(ctx, ESPL_UNSUPPORTED, "\"%s\" has the Adapters library's format, which is not averaged", first->name));
    for (size_t i = 1; i < in->count; i++) ESPL_GOTO(check_equal(first, in->adapters[i]));
    if (strategy == ESPL_AVERAGE_CAT) ESPL_GOTO(stacked_config(first, in, config));
    ESPL_GOTO(espl_json_print(ctx, config, &text));
    ESPL_GOTO(espl_adapter_add(model, name, text.data, 0, out_adapter));
    for (size_t i = 0; i < (*out_adapter)->store.entry_count; i++) {
        const espl_entry *entry = &(*out_adapter)->store.entries[i];
        const bool frozen = (*out_adapter)->store.matrices[entry->matrix].frozen;
        ESPL_GOTO(frozen ? copy_frozen(*out_adapter, entry, in) : fill_entry(*out_adapter, entry, in));
    }
fail:
    if (status != ESPL_OK) espl_adapter_delete(out_adapter);
    espl_bytes_finish(ctx, &text);
    json_decref(config);
    return status;
}

espl_status espl_adapter_average(espl_model *model, const char *name, const char *const *names, const double *weights,
                                 size_t count, espl_average strategy, espl_adapter **out_adapter) {
    inputs in = {.weights = weights, .count = count};
    espl_status status = ESPL_OK;
    *out_adapter = NULL;
    if (count == 0) return espl_fail(model->ctx, ESPL_ARGUMENT, "no adapters were named to be averaged");
    ESPL_TRY(espl_new(model->ctx, count * sizeof *in.adapters, &in.adapters));
    for (size_t i = 0; i < count; i++) {
        in.adapters[i] = find(model, names[i]);
        if (!in.adapters[i]) ESPL_GOTO(espl_fail(model->ctx, ESPL_ARGUMENT, "there is no adapter \"%s\"", names[i]));
    }
    status = average(model, name, &in, strategy, out_adapter);
fail:
    espl_free(model->ctx, &in.adapters);
    return status;
}
