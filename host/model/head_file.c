/* The head in config.json: its class, its labels; read and written. */
#include "host/model/head.h"
#include "host/model/model.h"
#include <stdio.h>
#include <string.h>

/* ---- Read ---- */

/* Architectures are the family's name and one of these. */
static const struct {
    const char *name;
    espl_head_kind kind;
} classes[] = {{"ForCausalLM", ESPL_HEAD_LANGUAGE},
               {"LMHeadModel", ESPL_HEAD_LANGUAGE},
               {"ForMaskedLM", ESPL_HEAD_MASKED},
               {"ForPreTraining", ESPL_HEAD_MASKED},
               {"ForSequenceClassification", ESPL_HEAD_CLASSIFICATION},
               {"ForSequenceClassification", ESPL_HEAD_REGRESSION},
               {"ForTokenClassification", ESPL_HEAD_TAGGING},
               {"ForQuestionAnswering", ESPL_HEAD_SPANS},
               {"ForMultipleChoice", ESPL_HEAD_CHOICES},
               {"Model", ESPL_HEAD_NONE}};

espl_status espl_head_kind_of_file(const espl_model *model, espl_head_kind *out_kind) {
    const espl_family *family = model->config.family;
    json_t *list;
    *out_kind = family->bidirectional ? ESPL_HEAD_NONE : ESPL_HEAD_LANGUAGE;
    ESPL_TRY(espl_json_array(model->ctx, model->json, "architectures", &list));
    const char *name = json_string_value(json_array_get(list, 0));
    const size_t bytes = strlen(family->class_name);
    if (!name || strncmp(name, family->class_name, bytes) != 0) return ESPL_OK;
    for (size_t i = 0; i < ESPL_COUNT(classes); i++) {
        if (strcmp(name + bytes, classes[i].name) != 0) continue;
        /* ELECTRA's pre-trained models are discriminators: they predict no tokens. */
        const bool discriminator = strcmp(classes[i].name, "ForPreTraining") == 0 && family->key_embedding &&
                                   !family->shared_blocks;
        const bool bare = classes[i].kind == ESPL_HEAD_NONE && !family->bidirectional;
        if (!discriminator && !bare) *out_kind = classes[i].kind;
        break;
    }
    if (*out_kind != ESPL_HEAD_CLASSIFICATION) return ESPL_OK;
    const char *problem;
    uint32_t labels;
    ESPL_TRY(espl_json_string(model->ctx, model->json, "problem_type", "", &problem));
    ESPL_TRY(espl_json_u32(model->ctx, model->json, "num_labels", 2, &labels));
    const json_t *names = json_object_get(model->json, "id2label");
    if (names && json_is_object(names)) labels = (uint32_t)json_object_size(names);
    if (strcmp(problem, "multi_label_classification") == 0)
        return espl_fail(model->ctx, ESPL_UNSUPPORTED, "problem_type \"%s\" is not supported", problem);
    if (strcmp(problem, "regression") == 0 || (!*problem && labels == 1)) *out_kind = ESPL_HEAD_REGRESSION;
    return ESPL_OK;
}

espl_status espl_head_name_labels(espl_model *model, uint32_t outputs) {
    espl_task_head *head = &model->task;
    const espl_head_params *params = &model->params.head;
    json_t *names;
    ESPL_TRY(espl_json_object(model->ctx, model->json, "id2label", &names));
    const uint32_t in_config = names ? (uint32_t)json_object_size(names) : 0;
    head->labels = outputs ? outputs : params->labels;
    if (!head->labels) head->labels = in_config;
    if (!head->labels)
        ESPL_TRY(espl_json_u32(model->ctx, model->json, "num_labels", head->kind == ESPL_HEAD_REGRESSION ? 1 : 2, &head->labels));
    if (head->labels == 0 || head->labels > 1u << 20)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "%u labels are not possible", head->labels);
    ESPL_TRY(espl_new(model->ctx, head->labels * sizeof *head->label_names, &head->label_names));
    for (uint32_t i = 0; i < head->labels; i++) {
        char key[16];
        snprintf(key, sizeof key, "%u", i);
        const char *name = params->label_names ? params->label_names[i]
                           : in_config == head->labels ? json_string_value(json_object_get(names, key)) : NULL;
        ESPL_TRY(name ? espl_copy_string(model->ctx, name, strlen(name), &head->label_names[i])
                      : espl_format(model->ctx, &head->label_names[i], "LABEL_%u", i));
    }
    return ESPL_OK;
}

void espl_head_finish(espl_model *model) {
    for (uint32_t i = 0; model->task.label_names && i < model->task.labels; i++)
        espl_free(model->ctx, &model->task.label_names[i]);
    espl_free(model->ctx, &model->task.label_names);
}

const char *espl_model_label(const espl_model *model, uint32_t label) {
    return label < model->task.labels ? model->task.label_names[label] : NULL;
}

/* ---- Written ---- */

static espl_status describe_labels(const espl_model *model, json_t *config) {
    const espl_task_head *head = &model->task;
    json_t *names = json_object(), *ids = json_object();
    espl_status status = espl_json_set(model->ctx, config, "id2label", names);
    if (status == ESPL_OK) status = espl_json_set(model->ctx, config, "label2id", ids);
    else json_decref(ids);
    for (uint32_t i = 0; status == ESPL_OK && i < head->labels; i++) {
        char key[16];
        snprintf(key, sizeof key, "%u", i);
        status = espl_json_set(model->ctx, names, key, json_string(head->label_names[i]));
        if (status == ESPL_OK) status = espl_json_set(model->ctx, ids, head->label_names[i], json_integer(i));
    }
    /* Said also for classes: config.json may have had the other, and one label alone means a number. */
    if (status == ESPL_OK && (head->kind == ESPL_HEAD_CLASSIFICATION || head->kind == ESPL_HEAD_REGRESSION))
        status = espl_json_set(model->ctx, config, "problem_type", json_string(head->kind == ESPL_HEAD_REGRESSION
                                                                                  ? "regression" : "single_label_classification"));
    return status;
}

espl_status espl_head_class(const espl_model *model, char **out_name) {
    const char *family = model->config.family->class_name;
    const char *own = json_string_value(json_array_get(json_object_get(model->json, "architectures"), 0));
    const char *end = own && strncmp(own, family, strlen(family)) == 0 ? own + strlen(family) : "";
    const char *first = model->task.kind == ESPL_HEAD_LANGUAGE ? model->config.family->class_language : NULL;
    for (size_t i = 0; i < ESPL_COUNT(classes); i++) {
        if (classes[i].kind != model->task.kind || strcmp(classes[i].name, "ForPreTraining") == 0) continue;
        if (!first || strcmp(classes[i].name, end) == 0) first = classes[i].name;
    }
    return espl_format(model->ctx, out_name, "%s%s", family, first);
}

espl_status espl_head_describe(const espl_model *model, json_t *config) {
    char *name;
    ESPL_TRY(espl_head_class(model, &name));
    espl_status status = espl_json_set(model->ctx, config, "architectures", json_pack("[s]", name));
    espl_free(model->ctx, &name);
    /* Choices have no names: what config.json says of labels is of another head. */
    return status == ESPL_OK && model->task.labels && !model->task.choices ? describe_labels(model, config) : status;
}
