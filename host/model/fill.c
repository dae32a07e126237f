/* Where values come from: files, whatever they call a tensor; random numbers; what the host computes. */
#include "host/model/load.h"
#include "host/model/relative.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- Random ---- */

static bool is_norm_weight(const espl_entry *entry) {
    const size_t n = strlen(entry->name);
    return entry->vector && n > 7 && strcmp(entry->name + n - 7, ".weight") == 0;
}

/* Every entry, or with a set those that it lacks and may lack. */
static espl_status fill_random(espl_model *model, const espl_tensors *set) {
    espl_store *store = &model->store;
    espl_bytes missing = {0};
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *entry = &store->entries[i];
        if (set && (!entry->optional || espl_tensors_has(set, entry->alias ? entry->alias : entry->name))) continue;
        if (set) ESPL_GOTO(espl_bytes_print(model->ctx, &missing, "%s%s", missing.count ? ", " : "", entry->name));
        const size_t count = (size_t)espl_entry_values(store, entry);
        float *values;
        ESPL_GOTO(espl_new(model->ctx, count * sizeof *values, &values));
        espl_random random = {.seed = model->params.seed, .stream = i};
        for (size_t j = 0; j < count; j++)
            values[j] = !entry->vector ? espl_random_normal(&random) * (float)model->config.initializer_range
                                       : is_norm_weight(entry) ? 1.0f : 0.0f;
        status = espl_store_write(store, entry, values, ESPL_DTYPE_F32);
        espl_free(model->ctx, &values);
        ESPL_GOTO(status);
    }
    if (missing.count)
        espl_log(model->ctx, ESPL_LOG_WARNING, "%s: the weights lack %s: newly initialised by seed %llu, unless an adapter has its own",
                 model->folder, missing.data, (unsigned long long)model->params.seed);
fail:
    espl_bytes_finish(model->ctx, &missing);
    return status;
}

/* ---- What files call a tensor ---- */

static espl_status try_name(espl_model *model, const espl_tensors *set, espl_entry *entry, const char *name, bool *found) {
    *found = espl_tensors_has(set, name);
    if (!*found) return ESPL_OK;
    espl_free(model->ctx, &entry->alias);
    return espl_copy_string(model->ctx, name, strlen(name), &entry->alias);
}

/* As the entry is named; without the family's prefix (files of a bare model); each also with "gamma" and "beta" for weight
 * and bias (files from TensorFlow). */
static espl_status find_name(espl_model *model, const espl_tensors *set, espl_entry *entry) {
    static const char *const legacy[][2] = {{".weight", ".gamma"}, {".bias", ".beta"}};
    const char *prefix = model->config.family->prefix;
    const bool inside = strncmp(entry->name, prefix, strlen(prefix)) == 0;
    bool found = espl_tensors_has(set, entry->name);
    for (int bare = 0; !found && bare <= inside; bare++) {
        const char *name = entry->name + (bare ? strlen(prefix) : 0);
        if (bare) ESPL_TRY(try_name(model, set, entry, name, &found));
        for (size_t i = 0; !found && i < ESPL_COUNT(legacy); i++) {
            const size_t bytes = strlen(name), ending = strlen(legacy[i][0]);
            if (bytes < ending || strcmp(name + bytes - ending, legacy[i][0]) != 0) continue;
            char *old;
            ESPL_TRY(espl_format(model->ctx, &old, "%.*s%s", (int)(bytes - ending), name, legacy[i][1]));
            espl_status status = try_name(model, set, entry, old, &found);
            espl_free(model->ctx, &old);
            ESPL_TRY(status);
        }
    }
    return ESPL_OK;
}

/* A tied matrix is stored under the embedding's name or the language head's, whatever head is asked for. */
static espl_status find_tied(espl_model *model, const espl_tensors *set) {
    espl_entry *embed = NULL;
    for (size_t i = 0; i < model->store.entry_count && !embed; i++) {
        if (model->store.entries[i].matrix == model->embed) embed = &model->store.entries[i];
    }
    const espl_family *family = model->config.family;
    const char *module = family->bidirectional ? family->heads[ESPL_HEAD_NAMES_MASKED].out : "lm_head";
    if (!model->config.tied || !module || embed->alias || espl_tensors_has(set, embed->name)) return ESPL_OK;
    char *name;
    ESPL_TRY(espl_format(model->ctx, &name, "%s.weight", module));
    if (espl_tensors_has(set, name)) embed->alias = name;
    else espl_free(model->ctx, &name);
    return ESPL_OK;
}

static espl_status find_names(espl_model *model, const espl_tensors *set) {
    for (size_t i = 0; i < model->store.entry_count; i++) ESPL_TRY(find_name(model, set, &model->store.entries[i]));
    return find_tied(model, set);
}

/* ---- All of them ---- */

static espl_status fill_computed(espl_model *model) {
    const espl_config *c = &model->config;
    if (model->frequencies != ESPL_NO_MATRIX) {
        const espl_entry whole = {.matrix = model->frequencies, .count = c->rotary_pairs, .vector = true};
        ESPL_TRY(espl_store_write(&model->store, &whole, c->frequencies, ESPL_DTYPE_F32));
    }
    if (model->buckets == ESPL_NO_MATRIX) return ESPL_OK;
    const espl_entry whole = {.matrix = model->buckets, .count = 2 * c->context_max - 1, .vector = true};
    float *rows;
    ESPL_TRY(espl_new(model->ctx, whole.count * sizeof *rows, &rows));
    for (uint32_t i = 0; i < whole.count; i++)
        rows[i] = (float)espl_relative_row(c, (int32_t)i - (int32_t)(c->context_max - 1));
    espl_status status = espl_store_write(&model->store, &whole, rows, ESPL_DTYPE_F32);
    espl_free(model->ctx, &rows);
    return status;
}

/* Bytes of the weights if matrices had this dtype. */
static uint64_t bytes_as(const espl_model *model, espl_dtype dtype) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < model->store.matrix_count; i++) {
        const espl_matrix *m = &model->store.matrices[i];
        const espl_dtype own = m->dtype == model->dtype && m->decay ? dtype : m->dtype;
        bytes += espl_round_up((uint64_t)m->rows * m->stride * espl_dtype_bytes(own), 256);
    }
    return bytes;
}

/* Before anything is read: a file of gigabytes takes minutes. */
static espl_status check_room(espl_model *model) {
    const uint64_t needs = bytes_as(model, model->dtype), left = espl_device_memory_left(model->device);
    const uint64_t half = bytes_as(model, ESPL_DTYPE_F16);
    if (needs <= left) return ESPL_OK;
    char advice[160] = "no dtype makes it fit";
    if (half <= left && half < needs)
        snprintf(advice, sizeof advice, "dtype f16 or bf16 would fit with %" PRIu64 " bytes%s", half,
                 model->params.trainable || model->params.random ? ", which only adapters can be trained on" : "");
    return espl_fail(model->ctx, ESPL_DEVICE_MEMORY,
                     "the weights need %" PRIu64 " bytes as %s, %" PRIu64 " of %s are free; %s", needs,
                     espl_dtype_name(model->dtype), left, espl_device_name(model->device), advice);
}

espl_status espl_model_fill(espl_model *model, const espl_tensors *set) {
    ESPL_TRY(check_room(model));
    ESPL_TRY(espl_store_place(&model->store, model->params.trainable));
    if (set) {
        ESPL_TRY(find_names(model, set));
        ESPL_TRY(espl_store_load(&model->store, set, ""));
    }
    ESPL_TRY(fill_random(model, set));
    return fill_computed(model);
}
