/* From a Hugging Face folder to weights on the device. */
#include "host/model/adapter.h"
#include "host/file/tokenizer_files.h"
#include "host/model/composition.h"
#include "host/model/family.h"
#include "host/model/load.h"
#include <stdio.h>
#include <string.h>

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

static espl_status load_tokenizer(espl_model *model) {
    return espl_tokenizer_is_in(model->folder) ? espl_tokenizer_load(model->ctx, model->folder, &model->tokenizer) : ESPL_OK;
}

static espl_status read_config(espl_model *model) {
    char *path;
    ESPL_TRY(espl_format(model->ctx, &path, "%s/config.json", model->folder));
    const bool text = model->folder[0] == '{' && !model->device;
    espl_status status = text ? espl_json_parse(model->ctx, model->folder, strlen(model->folder), "config.json", &model->json)
                              : espl_json_load(model->ctx, path, &model->json);
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
    if (status == ESPL_OK) status = espl_model_declare_all(model);
    if (status == ESPL_OK) {
        status = espl_model_fill(model, set);
        if (status == ESPL_FORMAT || status == ESPL_DEVICE_MEMORY) espl_fail_in(model->ctx, status, "%s", model->folder);
    }
    espl_tensors_destroy(&set);
    ESPL_TRY(status);
    return load_tokenizer(model);
}

static espl_status outline(espl_model *model) {
    ESPL_TRY(read_config(model));
    model->dtype = model->value_dtype = ESPL_DTYPE_F32;
    ESPL_TRY(espl_model_declare_all(model));
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
    model->params.head.flexible.activation = NULL;
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

espl_status espl_model_outline(espl_context *ctx, const char *folder, const espl_head_params *head, espl_model **out_model) {
    const espl_model_params params = {.head = head ? *head : (espl_head_params){0}};
    return make(ctx, NULL, folder, &params, outline, out_model);
}

void espl_model_destroy(espl_model **in_out_model) {
    espl_model *model = *in_out_model;
    if (!model) return;
    espl_context *ctx = model->ctx;
    while (model->adapters) {
        espl_adapter *adapter = model->adapters;
        espl_adapter_delete(&adapter);
    }
    espl_composition_destroy(ctx, &model->composition);
    espl_store_finish(&model->store);
    espl_tokenizer_destroy(&model->tokenizer);
    espl_json_destroy(&model->json);
    espl_head_finish(model);
    espl_free(ctx, &model->blocks);
    espl_free(ctx, &model->folder);
    espl_free(ctx, in_out_model);
}
/* ---- Saving and telling ---- */

static espl_status begin_config(espl_model *model, const char *folder, espl_replace *out_replace) {
    json_t *config = json_copy(model->json);
    espl_status status = espl_json_set(model->ctx, config, "torch_dtype", json_string("float32"));
    if (status == ESPL_OK && json_object_get(config, "dtype"))
        status = espl_json_set(model->ctx, config, "dtype", json_string("float32"));
    if (status == ESPL_OK) /* a merge may have untied them */
        status = espl_json_set(model->ctx, config, "tie_word_embeddings", json_boolean(model->config.tied));
    if (status == ESPL_OK) status = espl_head_describe(model, config);
    if (status == ESPL_OK) status = espl_json_replace(model->ctx, folder, "config.json", config, out_replace);
    espl_json_destroy(&config);
    return status;
}

espl_status espl_model_save(espl_model *model, const char *folder) {
    /* All are on the disk before any takes its place: where they do not fit, the folder stays as it was. */
    enum { GENERATION = ESPL_TOKENIZER_FILES, WEIGHTS, CONFIG, FILES };
    espl_replace files[FILES] = {0};
    char *weights = NULL;
    espl_status status = ESPL_OK;
    if (espl_head_is_flexible(model))
        return espl_fail(model->ctx, ESPL_UNSUPPORTED, "a flexible head of the Adapters library has no place in a model's folder; "
                         "espl_model_save_head writes it");
    ESPL_GOTO(espl_os_make_folder(model->ctx, folder));
    ESPL_GOTO(espl_tokenizer_copy(model->ctx, model->folder, folder, files));
    ESPL_GOTO(espl_file_copy(model->ctx, "generation_config.json", model->folder, folder, &files[GENERATION]));
    ESPL_GOTO(begin_config(model, folder, &files[CONFIG]));
    ESPL_GOTO(espl_format(model->ctx, &weights, "%s/model.safetensors", folder));
    ESPL_GOTO(espl_store_replace(&model->store, weights, &files[WEIGHTS]));
    status = espl_os_replace_commit_all(model->ctx, files, FILES);
fail:
    espl_os_replace_finish_all(model->ctx, files, FILES);
    espl_free(model->ctx, &weights);
    return status;
}

const espl_adapter *espl_model_embeddings(const espl_model *model) {
    const espl_adapter *adapter = model->adapters;
    while (adapter && !(adapter->active && adapter->tokens)) adapter = adapter->next;
    return adapter;
}

uint32_t espl_model_vocabulary(const espl_model *model) {
    const espl_adapter *own = espl_model_embeddings(model);
    return own ? own->tokens : model->config.vocabulary;
}

espl_tokenizer *espl_model_tokenizer(const espl_model *model) {
    const espl_adapter *own = espl_model_embeddings(model);
    return own && own->own_vocabulary ? own->tokenizer : model->tokenizer;
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
                             .embedding_size = c->embedding,
                             .layers = c->layers * c->repeat,
                             .heads = c->heads,
                             .kv_heads = c->kv_heads,
                             .head_size = c->head_size,
                             .intermediate_size = c->intermediate,
                             .vocabulary = espl_model_vocabulary(model),
                             .context_max = c->context_max,
                             .parameters = espl_store_values(&model->store),
                             .bytes = espl_store_bytes(&model->store),
                             .dtype = espl_dtype_name(model->dtype),
                             .mode = model->params.mode,
                             .head = model->task.kind,
                             .outputs = espl_head_outputs(model),
                             .per_token = espl_head_per_token(model),
                             .choices = espl_head_choices(model),
                             .replicas = espl_composition_replicas(model->composition)};
}
