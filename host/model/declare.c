/* Which matrices and tensors a configuration implies. */
#include "host/model/load.h"
#include <stdio.h>
#include <string.h>

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

/* module.weight and, of a layer norm, module.bias. */
static espl_status declare_norm(espl_model *model, const char *module, uint32_t size, espl_norm_weights *out_norm) {
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
    espl_status status = declare_norm(model, name, size, out_norm);
    espl_free(model->ctx, &name);
    return status;
}

/* Its file's [out, in, rows] is a matrix as it lies there. */
static espl_status add_convolution(espl_model *model) {
    const espl_config *c = &model->config;
    const char *module = c->convolution_kernel ? c->family->convolution : NULL;
    const uint32_t shape[] = {c->hidden, c->hidden, c->convolution_kernel};
    ESPL_TRY(add_whole(model, "", module, ".weight", c->hidden, c->hidden * c->convolution_kernel, false, &model->convolution));
    if (module) espl_store_shape(&model->store, ESPL_COUNT(shape), shape);
    ESPL_TRY(add_whole(model, "", module, ".bias", 1, c->hidden, true, &model->convolution_bias));
    return add_norm(model, "", module ? c->family->convolution_norm : NULL, c->hidden, &model->convolution_norm);
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
    ESPL_TRY(add_whole(model, "", c->position_rows ? family->position : NULL, ".weight", c->position_rows, c->embedding,
                       false, &model->position));
    ESPL_TRY(add_whole(model, "", c->types ? family->types : NULL, ".weight", c->types, c->embedding, false, &model->types));
    ESPL_TRY(add_norm(model, "", family->embed_norm, c->embedding, &model->embed_norm));
    ESPL_TRY(add_whole(model, "", projection, ".weight", c->hidden, c->embedding, false, &model->embed_projection));
    return add_whole(model, "", projection, ".bias", 1, c->hidden, true, &model->embed_projection_bias);
}

const char *espl_model_output_module(const espl_model *model) {
    const espl_task_head *head = &model->task;
    return head->kind == ESPL_HEAD_LANGUAGE ? "lm_head" : head->kind == ESPL_HEAD_MASKED ? head->names->out : NULL;
}

const espl_entry *espl_model_output_entry(const espl_model *model) {
    const uint32_t matrix = model->config.tied ? model->embed : model->head;
    for (size_t i = 0; i < model->store.entry_count; i++) {
        if (model->store.entries[i].matrix == matrix) return &model->store.entries[i];
    }
    return NULL;
}

static espl_status declare_output(espl_model *model) {
    const espl_config *c = &model->config;
    const char *module = espl_model_output_module(model);
    char *name;
    model->head = ESPL_NO_MATRIX;
    if (!module) return ESPL_OK;
    if (c->tied) {
        ESPL_TRY(espl_store_matrix(&model->store, module, 0, c->embedding, model->dtype, true, &model->head));
        model->store.matrices[model->head].frozen = true;
        return ESPL_OK;
    }
    ESPL_TRY(espl_format(model->ctx, &name, "%s.weight", module));
    espl_status status = espl_model_declare(model, name, c->vocabulary, c->embedding, false, model->dtype, &model->head);
    espl_free(model->ctx, &name);
    return status;
}

/* What the host computes and no file has: rotary frequencies, rows of distances. */
static espl_status add_computed(espl_model *model) {
    const espl_config *c = &model->config;
    model->frequencies = model->buckets = ESPL_NO_MATRIX;
    if (c->family->rotary) {
        ESPL_TRY(espl_store_matrix(&model->store, "rotary frequencies", 1, c->rotary_pairs, ESPL_DTYPE_F32, false,
                                   &model->frequencies));
        model->store.matrices[model->frequencies].frozen = true;
    }
    if (c->relative_rows) {
        ESPL_TRY(espl_store_matrix(&model->store, "rows of distances", 1, 2 * c->context_max - 1, ESPL_DTYPE_F32, false,
                                   &model->buckets));
        model->store.matrices[model->buckets].frozen = true;
    }
    return ESPL_OK;
}

espl_status espl_model_declare_all(espl_model *model) {
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
    ESPL_TRY(add_whole(model, "", c->relative_rows ? family->relative : NULL, ".weight", c->relative_rows, c->hidden, false,
                       &model->relative));
    ESPL_TRY(add_norm(model, "", c->relative_norm ? family->relative_norm : NULL, c->hidden, &model->relative_norm));
    ESPL_TRY(add_convolution(model));
    ESPL_TRY(declare_output(model));
    ESPL_TRY(espl_head_declare(model));
    return add_computed(model);
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

/* ---- Tied and untied ---- */

espl_status espl_model_untie(espl_model *model) {
    espl_store *store = &model->store;
    const uint32_t rows = model->config.vocabulary;
    const espl_entry embed = {.matrix = model->embed, .count = rows}, head = {.matrix = model->head, .count = rows};
    float *values = NULL;
    char *name = NULL;
    espl_status status = ESPL_OK;
    if (!store->matrices[model->head].rows) ESPL_GOTO(espl_store_add_rows(store, model->head, rows));
    ESPL_GOTO(espl_new(model->ctx, (size_t)espl_entry_values(store, &embed) * sizeof *values, &values));
    ESPL_GOTO(espl_store_read(store, &embed, values));
    ESPL_GOTO(espl_store_write(store, &head, values, ESPL_DTYPE_F32));
    ESPL_GOTO(espl_format(model->ctx, &name, "%s.weight", espl_model_output_module(model)));
    ESPL_GOTO(espl_store_entry(store, name, model->head, 0, rows, false));
    model->config.tied = false;
fail:
    espl_free(model->ctx, &name);
    espl_free(model->ctx, &values);
    return status;
}

void espl_model_tie(espl_model *model) {
    char name[128];
    snprintf(name, sizeof name, "%s.weight", espl_model_output_module(model));
    espl_store_remove_entry(&model->store, name);
    model->config.tied = true;
}
