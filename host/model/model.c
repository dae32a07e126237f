/* From a Hugging Face folder to weights on the device. */
#include "host/model/model.h"
#include "host/model/adapter.h"
#include "host/base/os.h"
#include "host/model/family.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- Declaring what the configuration implies ---- */

static bool has_bias(const espl_config *config, espl_bias_rule rule) {
    return rule == ESPL_BIAS_ALWAYS || (rule == ESPL_BIAS_ATTENTION && config->attention_bias) ||
           (rule == ESPL_BIAS_MLP && config->mlp_bias);
}

/* Parts begin on multiples of 4 so that every column slice can be read in quads; rows between them stay zero. */
static void shape_linears(espl_model *model) {
    const espl_config *c = &model->config;
    const uint32_t q = c->heads * c->head_size, kv = c->kv_heads * c->head_size;
    const uint32_t in[ESPL_LINEAR_COUNT] = {c->hidden, q, c->hidden, c->intermediate};
    const uint32_t counts[ESPL_LINEAR_COUNT][ESPL_LINEAR_PARTS] = {
        {q, kv, kv}, {c->hidden}, {c->intermediate, c->intermediate}, {c->hidden}};
    for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
        espl_linear_shape *shape = &model->linear[l];
        shape->in = in[l];
        uint32_t at = 0;
        for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
            if (!c->family->linear[l][p].name) break;
            at = (uint32_t)espl_round_up(at, 4);
            shape->part[p] = (espl_columns){at, counts[l][p]};
            if (l == ESPL_LINEAR_QKV && !c->family->linear[l][1].name) shape->part[p].count = q + 2 * kv;
            at += shape->part[p].count;
        }
        shape->out = at;
    }
}

espl_status espl_model_declare(espl_model *model, const char *name, uint32_t rows, uint32_t cols, bool vector,
                               espl_dtype dtype, uint32_t *out_index) {
    ESPL_TRY(espl_store_matrix(&model->store, name, rows, cols, vector ? ESPL_DTYPE_F32 : dtype, !vector, out_index));
    return espl_store_entry(&model->store, name, *out_index, 0, vector ? cols : rows, vector);
}

/* One matrix that is one tensor of the file: prefix + block + module + ".weight" or ".bias". */
static espl_status add_whole(espl_model *model, const char *block, const char *module, const char *suffix, uint32_t rows,
                             uint32_t cols, bool vector, uint32_t *out_index) {
    *out_index = ESPL_NO_MATRIX;
    if (!module) return ESPL_OK;
    char *name;
    ESPL_TRY(espl_format(model->ctx, &name, "%s%s%s%s", model->config.family->prefix, block, module, suffix));
    espl_status status = espl_model_declare(model, name, rows, cols, vector, model->dtype, out_index);
    espl_free(model->ctx, &name);
    return status;
}

espl_status espl_model_declare_norm(espl_model *model, const char *module, uint32_t size, espl_norm_weights *out_norm) {
    char *name;
    *out_norm = (espl_norm_weights){ESPL_NO_MATRIX, ESPL_NO_MATRIX};
    if (!module) return ESPL_OK;
    ESPL_TRY(espl_format(model->ctx, &name, "%s.weight", module));
    espl_status status = espl_model_declare(model, name, 1, size, true, ESPL_DTYPE_F32, &out_norm->weight);
    espl_free(model->ctx, &name);
    if (status != ESPL_OK || model->config.family->norm != ESPL_NORM_LAYER) return status;
    ESPL_TRY(espl_format(model->ctx, &name, "%s.bias", module));
    status = espl_model_declare(model, name, 1, size, true, ESPL_DTYPE_F32, &out_norm->bias);
    espl_free(model->ctx, &name);
    return status;
}

static espl_status add_norm(espl_model *model, const char *block, const char *module, uint32_t size,
                            espl_norm_weights *out_norm) {
    char *name = NULL;
    if (module) ESPL_TRY(espl_format(model->ctx, &name, "%s%s%s", model->config.family->prefix, block, module));
    espl_status status = espl_model_declare_norm(model, name, size, out_norm);
    espl_free(model->ctx, &name);
    return status;
}

static espl_status add_part(espl_model *model, uint32_t block, uint32_t linear, uint32_t part, espl_block_weights *weights) {
    const espl_linear_name *names = model->config.family->linear[linear];
    const espl_columns at = model->linear[linear].part[part];
    char *module, *name = NULL;
    ESPL_TRY(espl_model_module(model, block, linear, part, &module));
    espl_status status = espl_format(model->ctx, &name, "%s.weight", module);
    if (status == ESPL_OK)
        status = model->config.family->stored_in_out
                     ? espl_store_entry(&model->store, name, weights->weight[linear], 0, model->linear[linear].in, false)
                     : espl_store_entry(&model->store, name, weights->weight[linear], at.from, at.count, false);
    espl_free(model->ctx, &name);
    if (status == ESPL_OK && has_bias(&model->config, names[part].bias)) {
        status = espl_format(model->ctx, &name, "%s.bias", module);
        if (status == ESPL_OK)
            status = espl_store_entry(&model->store, name, weights->bias[linear], at.from, at.count, true);
        espl_free(model->ctx, &name);
    }
    espl_free(model->ctx, &module);
    return status;
}

static espl_status add_linear(espl_model *model, uint32_t block, uint32_t linear, espl_block_weights *weights) {
    const espl_family *family = model->config.family;
    const espl_linear_shape *shape = &model->linear[linear];
    char label[64];
    snprintf(label, sizeof label, "block %u linear %u", block, linear);
    const uint32_t rows = family->stored_in_out ? shape->in : shape->out;
    const uint32_t cols = family->stored_in_out ? shape->out : shape->in;
    ESPL_TRY(espl_store_matrix(&model->store, label, rows, cols, model->dtype, true, &weights->weight[linear]));
    weights->bias[linear] = ESPL_NO_MATRIX;
    if (has_bias(&model->config, family->linear[linear][0].bias))
        ESPL_TRY(espl_store_matrix(&model->store, label, 1, shape->out, ESPL_DTYPE_F32, false, &weights->bias[linear]));
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && shape->part[p].count; p++)
        ESPL_TRY(add_part(model, block, linear, p, weights));
    return ESPL_OK;
}

static espl_status declare_embedding(espl_model *model) {
    const espl_config *c = &model->config;
    const espl_family *family = c->family;
    const char *projection = c->embedding != c->hidden || family->always_projected ? family->embed_projection : NULL;
    if (c->embedding != c->hidden && !projection)
        return espl_fail(model->ctx, ESPL_UNSUPPORTED, "%u columns of the embedding for a hidden size of %u", c->embedding,
                         c->hidden);
    ESPL_TRY(add_whole(model, "", family->embed, ".weight", c->vocabulary, c->embedding, false, &model->embed));
    ESPL_TRY(add_whole(model, "", family->position, ".weight", c->position_rows, c->embedding, false, &model->position));
    ESPL_TRY(add_whole(model, "", c->types ? family->types : NULL, ".weight", c->types, c->embedding, false, &model->types));
    ESPL_TRY(add_norm(model, "", family->embed_norm, c->embedding, &model->embed_norm));
    ESPL_TRY(add_whole(model, "", projection, ".weight", c->hidden, c->embedding, false, &model->embed_projection));
    return add_whole(model, "", projection, ".bias", 1, c->hidden, true, &model->embed_projection_bias);
}

/* The module of the output projection where it is not the embedding; NULL for heads without one. */
static const char *output_module(const espl_model *model) {
    return model->task.kind == ESPL_HEAD_LANGUAGE ? "lm_head" : model->task.kind == ESPL_HEAD_MASKED ? model->task.names->out : NULL;
}

static espl_status declare_output(espl_model *model) {
    const espl_config *c = &model->config;
    const char *module = output_module(model);
    model->head = model->spare_head = ESPL_NO_MATRIX;
    if (c->tied || !module) return ESPL_OK;
    char *name;
    ESPL_TRY(espl_format(model->ctx, &name, "%s.weight", module));
    espl_status status = espl_model_declare(model, name, c->vocabulary, c->embedding, false, model->dtype, &model->head);
    espl_free(model->ctx, &name);
    return status;
}

static espl_status declare(espl_model *model) {
    const espl_config *c = &model->config;
    const espl_family *family = c->family;
    shape_linears(model);
    if (!family->linear[ESPL_LINEAR_QKV][1].name && (c->heads * c->head_size) % 4)
        return espl_fail(model->ctx, ESPL_UNSUPPORTED, "fused queries of %u columns are not a multiple of 4",
                         c->heads * c->head_size);
    ESPL_TRY(declare_embedding(model));
    ESPL_TRY(espl_new(model->ctx, c->layers * sizeof *model->blocks, &model->blocks));
    for (uint32_t i = 0; i < c->layers; i++) {
        espl_block_weights *w = &model->blocks[i];
        char block[64];
        snprintf(block, sizeof block, family->block, i);
        ESPL_TRY(add_norm(model, block, family->attention_norm, c->hidden, &w->norm[ESPL_NORM_ATTENTION]));
        ESPL_TRY(add_norm(model, block, family->mlp_norm, c->hidden, &w->norm[ESPL_NORM_MLP]));
        ESPL_TRY(add_whole(model, block, family->q_norm, ".weight", 1, c->head_size, true, &w->q_norm));
        ESPL_TRY(add_whole(model, block, family->k_norm, ".weight", 1, c->head_size, true, &w->k_norm));
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) ESPL_TRY(add_linear(model, i, l, w));
    }
    ESPL_TRY(add_norm(model, "", family->final_norm, c->hidden, &model->final_norm));
    ESPL_TRY(declare_output(model));
    return espl_head_declare(model);
}

espl_status espl_model_module(const espl_model *model, uint32_t block, uint32_t linear, uint32_t part, char **out_path) {
    const espl_family *family = model->config.family;
    char within[64];
    snprintf(within, sizeof within, family->block, block);
    return espl_format(model->ctx, out_path, "%s%s%s", family->prefix, within, family->linear[linear][part].name);
}

espl_status espl_model_block_path(const espl_model *model, uint32_t block, char **out_path) {
    const espl_family *family = model->config.family;
    char within[64];
    snprintf(within, sizeof within, family->block, block);
    return espl_format(model->ctx, out_path, "%s%.*s", family->prefix, (int)strlen(within) - 1, within);
}

/* ---- Filling it ---- */

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
        espl_log(model->ctx, ESPL_LOG_WARNING, "%s: the weights lack %s: newly initialised by seed %llu", model->folder,
                 missing.data, (unsigned long long)model->params.seed);
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

/* A tied matrix is stored under the embedding's name or the head's. */
static espl_status find_tied(espl_model *model, const espl_tensors *set) {
    espl_entry *embed = NULL;
    for (size_t i = 0; i < model->store.entry_count && !embed; i++) {
        if (model->store.entries[i].matrix == model->embed) embed = &model->store.entries[i];
    }
    const char *module = output_module(model);
    if (!model->config.tied || !module || embed->alias || espl_tensors_has(set, embed->name)) return ESPL_OK;
    return espl_format(model->ctx, &embed->alias, "%s.weight", module);
}

static espl_status find_names(espl_model *model, const espl_tensors *set) {
    for (size_t i = 0; i < model->store.entry_count; i++) ESPL_TRY(find_name(model, set, &model->store.entries[i]));
    return find_tied(model, set);
}

/* Of the first query projection of the files: what "as stored" means. */
static espl_status find_stored_dtype(const espl_model *model, const espl_tensors *set, espl_dtype *out_dtype) {
    *out_dtype = ESPL_DTYPE_F32;
    for (size_t i = 0; set && i < espl_tensors_count(set); i++) {
        espl_tensor_view view;
        if (!strstr(espl_tensors_name(set, i), model->config.family->linear[ESPL_LINEAR_QKV][0].name)) continue;
        ESPL_TRY(espl_tensors_at(set, i, &view));
        if (view.dtype == ESPL_DTYPE_F16 || view.dtype == ESPL_DTYPE_BF16) *out_dtype = view.dtype;
        break;
    }
    return ESPL_OK;
}

/* Of weights, which are f32 where they are trained, and in fast mode of values: as asked for, else as stored, else f16. */
static espl_status choose_dtype(espl_model *model, const espl_tensors *set) {
    static const struct {
        const char *name;
        espl_dtype dtype;
    } rows[] = {{"f32", ESPL_DTYPE_F32}, {"f16", ESPL_DTYPE_F16}, {"bf16", ESPL_DTYPE_BF16}};
    const char *asked = model->params.dtype;
    const bool fast = model->params.mode == ESPL_MODE_FAST;
    if (asked && *asked) {
        size_t i = 0;
        while (i < ESPL_COUNT(rows) && strcmp(asked, rows[i].name) != 0)
            i++;
        if (i == ESPL_COUNT(rows))
            return espl_fail(model->ctx, ESPL_ARGUMENT, "dtype \"%s\" is not one of f32, f16, bf16", asked);
        model->dtype = rows[i].dtype;
    } else {
        ESPL_TRY(find_stored_dtype(model, set, &model->dtype));
        if (fast && model->dtype == ESPL_DTYPE_F32) model->dtype = ESPL_DTYPE_F16;
    }
    model->value_dtype = fast ? model->dtype : ESPL_DTYPE_F32;
    if (model->params.trainable || model->params.random) model->dtype = ESPL_DTYPE_F32;
    return ESPL_OK;
}

static espl_status add_frequencies(espl_model *model) {
    model->frequencies = ESPL_NO_MATRIX;
    if (!model->config.family->rotary) return ESPL_OK;
    ESPL_TRY(espl_store_matrix(&model->store, "rotary frequencies", 1, model->config.rotary_pairs, ESPL_DTYPE_F32, false,
                               &model->frequencies));
    model->store.matrices[model->frequencies].frozen = true;
    return ESPL_OK;
}

/* Bytes of the weights if matrices had this dtype. */
static uint64_t bytes_as(const espl_model *model, espl_dtype dtype) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < model->store.matrix_count; i++) {
        const espl_matrix *m = &model->store.matrices[i];
        bytes += espl_round_up((uint64_t)m->rows * m->stride * espl_dtype_bytes(m->decay ? dtype : m->dtype), 256);
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

static espl_status fill(espl_model *model, const espl_tensors *set) {
    ESPL_TRY(check_room(model));
    ESPL_TRY(espl_store_place(&model->store, model->params.trainable));
    if (set) {
        ESPL_TRY(find_names(model, set));
        ESPL_TRY(espl_store_load(&model->store, set, ""));
    }
    ESPL_TRY(fill_random(model, set));
    if (model->frequencies == ESPL_NO_MATRIX) return ESPL_OK;
    const espl_entry whole = {.matrix = model->frequencies, .count = model->config.rotary_pairs, .vector = true};
    return espl_store_write(&model->store, &whole, model->config.frequencies, ESPL_DTYPE_F32);
}

static espl_status load_tokenizer(espl_model *model) {
    static const char *const files[] = {"tokenizer.json",          "tokenizer.model", "spiece.model", "spm.model",
                                        "sentencepiece.bpe.model", "vocab.json",      "vocab.txt"};
    for (size_t i = 0; i < ESPL_COUNT(files); i++) {
        char *path;
        ESPL_TRY(espl_format(model->ctx, &path, "%s/%s", model->folder, files[i]));
        const bool there = espl_os_is_file(path);
        espl_free(model->ctx, &path);
        if (there) return espl_tokenizer_load(model->ctx, model->folder, &model->tokenizer);
    }
    return ESPL_OK;
}

static espl_status read_config(espl_model *model) {
    char *path;
    ESPL_TRY(espl_format(model->ctx, &path, "%s/config.json", model->folder));
    espl_status status = espl_json_load(model->ctx, path, &model->json);
    if (status == ESPL_OK) {
        status = espl_config_read(model->ctx, model->json, &model->config);
        if (status != ESPL_OK) espl_fail_in(model->ctx, status, "%s", path);
    }
    if (status == ESPL_OK) {
        status = espl_head_choose(model);
        if (status != ESPL_OK) espl_fail_in(model->ctx, status, "%s", path);
    }
    espl_free(model->ctx, &path);
    return status;
}

static espl_status load(espl_model *model) {
    espl_tensors *set = NULL;
    ESPL_TRY(read_config(model));
    if (!model->params.random) ESPL_TRY(espl_tensors_open(model->ctx, model->folder, &set));
    espl_status status = choose_dtype(model, set);
    if (status == ESPL_OK) status = declare(model);
    if (status == ESPL_OK) status = add_frequencies(model);
    if (status == ESPL_OK) {
        status = fill(model, set);
        if (status == ESPL_FORMAT || status == ESPL_DEVICE_MEMORY) espl_fail_in(model->ctx, status, "%s", model->folder);
    }
    espl_tensors_destroy(&set);
    ESPL_TRY(status);
    return load_tokenizer(model);
}

static espl_status outline(espl_model *model) {
    ESPL_TRY(read_config(model));
    model->dtype = model->value_dtype = ESPL_DTYPE_F32;
    ESPL_TRY(declare(model));
    return load_tokenizer(model);
}

static espl_status make(espl_context *ctx, espl_device *device, const char *folder, const espl_model_params *params,
                        espl_status (*fill_in)(espl_model *), espl_model **out_model) {
    *out_model = NULL;
    espl_model *model;
    ESPL_TRY(espl_new(ctx, sizeof *model, &model));
    model->ctx = ctx;
    model->device = device;
    if (params) model->params = *params;
    espl_store_init(&model->store, ctx, device, ESPL_ARENA_WEIGHTS, "weights");
    espl_status status = espl_copy_string(ctx, folder, strlen(folder), &model->folder);
    if (status == ESPL_OK) status = fill_in(model);
    /* Only used while loading, and only borrowed. */
    model->params.dtype = NULL;
    model->params.head.label_names = NULL;
    if (status != ESPL_OK) {
        espl_model_destroy(&model);
        return status;
    }
    *out_model = model;
    return ESPL_OK;
}

espl_status espl_model_load(espl_device *device, const char *folder, const espl_model_params *params,
                            espl_model **out_model) {
    return make(espl_device_context(device), device, folder, params, load, out_model);
}

espl_status espl_model_outline(espl_context *ctx, const char *folder, espl_model **out_model) {
    return make(ctx, NULL, folder, NULL, outline, out_model);
}

void espl_model_destroy(espl_model **in_out_model) {
    espl_model *model = *in_out_model;
    if (!model) return;
    espl_context *ctx = model->ctx;
    while (model->adapters) {
        espl_adapter *adapter = model->adapters;
        espl_adapter_delete(&adapter);
    }
    espl_store_finish(&model->store);
    espl_tokenizer_destroy(&model->tokenizer);
    espl_json_destroy(&model->json);
    espl_head_finish(model);
    espl_free(ctx, &model->blocks);
    espl_free(ctx, &model->folder);
    espl_free(ctx, in_out_model);
}

/* ---- Tied and untied ---- */

espl_status espl_model_untie(espl_model *model) {
    espl_store *store = &model->store;
    const espl_config *c = &model->config;
    const char *module = output_module(model);
    if (!module)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "the model has no output projection that could be untied");
    if (model->spare_head == ESPL_NO_MATRIX)
        ESPL_TRY(espl_store_add(store, "lm_head", c->vocabulary, store->matrices[model->embed].cols,
                                store->matrices[model->embed].dtype, &model->spare_head));
    ESPL_TRY(espl_json_set(model->ctx, model->json, "tie_word_embeddings", json_false()));
    const espl_entry embed = {.matrix = model->embed, .count = c->vocabulary};
    const espl_entry head = {.matrix = model->spare_head, .count = c->vocabulary};
    float *values;
    ESPL_TRY(espl_new(model->ctx, (size_t)espl_entry_values(store, &embed) * sizeof *values, &values));
    espl_status status = espl_store_read(store, &embed, values);
    if (status == ESPL_OK) status = espl_store_write(store, &head, values, ESPL_DTYPE_F32);
    espl_free(model->ctx, &values);
    char *name = NULL;
    if (status == ESPL_OK) status = espl_format(model->ctx, &name, "%s.weight", module);
    if (status == ESPL_OK) status = espl_store_entry(store, name, model->spare_head, 0, c->vocabulary, false);
    espl_free(model->ctx, &name);
    ESPL_TRY(status);
    model->head = model->spare_head;
    model->config.tied = false;
    return ESPL_OK;
}

void espl_model_tie(espl_model *model) {
    char name[128];
    snprintf(name, sizeof name, "%s.weight", output_module(model));
    espl_store_remove_entry(&model->store, name);
    model->head = ESPL_NO_MATRIX;
    model->config.tied = true;
    json_object_set_new_nocheck(model->json, "tie_word_embeddings", json_true());
}

/* ---- Saving and telling ---- */

static const char *const companions[] = {"tokenizer.json",     "tokenizer_config.json", "special_tokens_map.json",
                                         "generation_config.json", "tokenizer.model",   "vocab.json",
                                         "vocab.txt", "spiece.model", "spm.model", "sentencepiece.bpe.model",
                                         "merges.txt",         "added_tokens.json",     "chat_template.jinja"};

/* Begins to replace folder/name by the model's own file of that name, if there is one. */
static espl_status begin_copy(espl_model *model, const char *name, const char *folder, espl_replace *out_replace) {
    char *from = NULL, *to = NULL;
    espl_mapping mapping = {0};
    espl_status status = espl_format(model->ctx, &from, "%s/%s", model->folder, name);
    if (status == ESPL_OK) status = espl_format(model->ctx, &to, "%s/%s", folder, name);
    if (status == ESPL_OK && espl_os_is_file(from)) {
        status = espl_os_map(model->ctx, from, &mapping);
        if (status == ESPL_OK) status = espl_os_replace_begin(model->ctx, to, out_replace);
        if (status == ESPL_OK) status = espl_os_replace_write(model->ctx, out_replace, mapping.data, mapping.bytes);
        espl_os_unmap(&mapping);
    }
    espl_free(model->ctx, &from);
    espl_free(model->ctx, &to);
    return status;
}

static espl_status begin_config(espl_model *model, const char *folder, espl_replace *out_replace) {
    json_t *config = json_copy(model->json);
    espl_status status = espl_json_set(model->ctx, config, "torch_dtype", json_string("float32"));
    if (status == ESPL_OK && json_object_get(config, "dtype"))
        status = espl_json_set(model->ctx, config, "dtype", json_string("float32"));
    if (status == ESPL_OK) status = espl_head_describe(model, config);
    if (status == ESPL_OK) status = espl_json_replace(model->ctx, folder, "config.json", config, out_replace);
    espl_json_destroy(&config);
    return status;
}

espl_status espl_model_save(espl_model *model, const char *folder) {
    /* All are on the disk before any takes its place: where they do not fit, the folder stays as it was. */
    espl_replace pending[ESPL_COUNT(companions) + 1] = {0};
    char *weights = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_os_make_folder(model->ctx, folder));
    for (size_t i = 0; i < ESPL_COUNT(companions); i++)
        ESPL_GOTO(begin_copy(model, companions[i], folder, &pending[i]));
    ESPL_GOTO(begin_config(model, folder, &pending[ESPL_COUNT(companions)]));
    ESPL_GOTO(espl_format(model->ctx, &weights, "%s/model.safetensors", folder));
    ESPL_GOTO(espl_store_save(&model->store, weights));
    for (size_t i = 0; i < ESPL_COUNT(pending); i++) {
        if (pending[i].path) ESPL_GOTO(espl_os_replace_commit(model->ctx, &pending[i]));
    }
fail:
    for (size_t i = 0; i < ESPL_COUNT(pending); i++) espl_os_replace_finish(model->ctx, &pending[i]);
    espl_free(model->ctx, &weights);
    return status;
}

espl_tokenizer *espl_model_tokenizer(const espl_model *model) {
    return model->tokenizer;
}

espl_device *espl_model_device(const espl_model *model) {
    return model->device;
}

const char *espl_model_folder(const espl_model *model) {
    return model->folder;
}

espl_model_info espl_model_describe(const espl_model *model) {
    const espl_config *c = &model->config;
    return (espl_model_info){.model_type = c->family->model_type,
                             .hidden_size = c->hidden,
                             .layers = c->layers * c->repeat,
                             .heads = c->heads,
                             .kv_heads = c->kv_heads,
                             .head_size = c->head_size,
                             .intermediate_size = c->intermediate,
                             .vocabulary = c->vocabulary,
                             .context_max = c->context_max,
                             .parameters = espl_store_values(&model->store),
                             .bytes = espl_store_bytes(&model->store),
                             .dtype = espl_dtype_name(model->dtype),
                             .mode = model->params.mode,
                             .head = model->task.kind,
                             .outputs = espl_head_outputs(model),
                             .per_token = espl_head_per_token(model)};
}
