/* Adapters of equal configuration added in parameter space: task arithmetic where weights do not sum to 1. They have
 * the same tensors in the same order, also where their names are in the tensors' names. */
#include "adapters/average.h"
#include "adapters/make.h"
#include <math.h>
#include <string.h>

/* What says how an adapter was trained and not what it is. */
static bool is_training_key(const char *key) {
    static const char *const keys[] = {"base_model_name_or_path", "inference_mode", "init_lora_weights", "init_weights",
                                       "init_ia3_weights",        "init",           "projection_prng_key", "revision",
                                       "peft_version",            "auto_mapping",   "task_type",           "init_weights_seed",
                                       "phm_c_init",              "phm_init",       "phm_init_range"};
    for (size_t i = 0; i < ESPL_COUNT(keys); i++) {
        if (strcmp(key, keys[i]) == 0) return true;
    }
    return strstr(key, "dropout") != NULL;
}

espl_status espl_adapter_check_equal(const espl_adapter *first, const espl_adapter *other, bool ranks, const char *what) {
    const char *key;
    json_t *value;
    if (first->method != other->method)
        return espl_fail(first->model->ctx, ESPL_ARGUMENT, "\"%s\" is of method %s, \"%s\" of %s: they cannot %s",
                         first->name, first->method->name, other->name, other->method->name, what);
    if (first->store.entry_count != other->store.entry_count)
        return espl_fail(first->model->ctx, ESPL_ARGUMENT, "\"%s\" has %zu tensors, \"%s\" %zu: they cannot %s", first->name,
                         first->store.entry_count, other->name, other->store.entry_count, what);
    json_object_foreach(first->config, key, value) {
        if (is_training_key(key) || (ranks && espl_average_lora_key(key))) continue;
        if (!json_equal(value, json_object_get(other->config, key)))
            return espl_fail(first->model->ctx, ESPL_ARGUMENT, "\"%s\" and \"%s\" differ in \"%s\": they cannot %s",
                             first->name, other->name, key, what);
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

static espl_status fill_entry(espl_adapter *result, size_t index, const average_inputs *in) {
    espl_context *ctx = result->model->ctx;
    const espl_entry *entry = &result->store.entries[index];
    const size_t count = (size_t)espl_entry_values(&result->store, entry);
    double *sum = NULL;
    float *values = NULL;
    bool done;
    espl_status status = espl_average_lora_fill(result, index, in, &done);
    if (status != ESPL_OK || done) return status;
    ESPL_GOTO(espl_new(ctx, count * sizeof *sum, &sum));
    ESPL_GOTO(espl_new(ctx, count * sizeof *values, &values));
    for (size_t i = 0; i < in->count; i++)
        ESPL_GOTO(add_entry(in->adapters[i], &in->adapters[i]->store.entries[index], espl_average_weight(in, i, entry), sum));
    for (size_t i = 0; i < count; i++) values[i] = (float)sum[i];
    ESPL_GOTO(espl_store_write(&result->store, entry, values, ESPL_DTYPE_F32));
fail:
    espl_free(ctx, &sum);
    espl_free(ctx, &values);
    return status;
}

/* A frozen matrix is no sum: all must have the same. */
static espl_status copy_frozen(espl_adapter *result, size_t index, const average_inputs *in) {
    espl_context *ctx = result->model->ctx;
    const espl_entry *entry = &result->store.entries[index];
    const size_t bytes = (size_t)espl_entry_values(&result->store, entry) * sizeof(float);
    float *first = NULL, *other = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(ctx, bytes, &first));
    ESPL_GOTO(espl_new(ctx, bytes, &other));
    for (size_t i = 0; i < in->count; i++) {
        espl_store *store = &in->adapters[i]->store;
        ESPL_GOTO(espl_store_read(store, &store->entries[index], i ? other : first));
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

/* As adapter_config.json has it, for a new adapter of this name. */
static espl_status print_config(const espl_adapter *first, const char *name, json_t *config, espl_bytes *out_text) {
    json_t *file = first->library ? json_pack("{s:O, s:s}", "config", config, "name", name) : json_incref(config);
    espl_status status = file ? espl_json_print(first->model->ctx, file, out_text)
                              : espl_fail(first->model->ctx, ESPL_HOST_MEMORY, "a configuration needs memory");
    espl_json_destroy(&file);
    return status;
}

static espl_status average(espl_model *model, const char *name, average_inputs *in, espl_adapter **out_adapter) {
    espl_context *ctx = model->ctx;
    espl_adapter *first = in->adapters[0];
    espl_bytes text = {0};
    json_t *config = json_deep_copy(first->form ? first->form : first->config);
    espl_status status = config ? ESPL_OK : espl_fail(ctx, ESPL_HOST_MEMORY, "a configuration needs memory");
    const bool ranks = in->way->of != AVERAGE_TENSORS;
    if (status != ESPL_OK) return status;
    for (size_t i = 1; i < in->count; i++) ESPL_GOTO(espl_adapter_check_equal(first, in->adapters[i], ranks, "be averaged"));
    if (in->params.strategy == ESPL_AVERAGE_NEGATE_B) ESPL_GOTO(espl_average_lora_check(in));
    if (ranks) ESPL_GOTO(espl_average_lora_config(in, config));
    ESPL_GOTO(print_config(first, name, config, &text));
    ESPL_GOTO(espl_adapter_make(model, name, text.data, 0, first, out_adapter));
    for (size_t i = 0; i < (*out_adapter)->store.entry_count; i++) {
        const bool frozen = (*out_adapter)->store.matrices[(*out_adapter)->store.entries[i].matrix].frozen;
        ESPL_GOTO(frozen ? copy_frozen(*out_adapter, i, in) : fill_entry(*out_adapter, i, in));
    }
    if (first->method->average) status = first->method->average(*out_adapter, in->adapters, in->weights, in->count);
fail:
    if (status != ESPL_OK) espl_adapter_delete(out_adapter);
    espl_bytes_finish(ctx, &text);
    json_decref(config);
    return status;
}

espl_status espl_adapter_average(espl_model *model, const char *name, const char *const *names, const double *weights,
                                 size_t count, const espl_average_params *params, espl_adapter **out_adapter) {
    average_inputs in = {.weights = weights, .count = count, .params = params ? *params : (espl_average_params){0}};
    espl_status status = ESPL_OK;
    *out_adapter = NULL;
    if (count == 0) return espl_fail(model->ctx, ESPL_ARGUMENT, "no adapters were named to be averaged");
    ESPL_TRY(espl_average_choose(model->ctx, &in));
    ESPL_TRY(espl_new(model->ctx, count * sizeof *in.adapters, &in.adapters));
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(weights[i])) ESPL_GOTO(espl_fail(model->ctx, ESPL_ARGUMENT, "the weight of \"%s\" is not finite", names[i]));
        in.adapters[i] = espl_adapter_find(model, names[i], strlen(names[i]));
        if (!in.adapters[i]) ESPL_GOTO(espl_fail(model->ctx, ESPL_ARGUMENT, "there is no adapter \"%s\"", names[i]));
    }
    status = average(model, name, &in, out_adapter);
fail:
    espl_free(model->ctx, &in.adapters);
    return status;
}
