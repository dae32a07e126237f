#include "host/model/head.h"
#include "host/model/composition.h"
#include "host/ops/op_activation.h"
#include "host/ops/op_layernorm.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_pick.h"
#include <string.h>

/* ---- Which ---- */

/* Numbers of a head whose number is given; 0: by labels. */
static uint32_t fixed_outputs(espl_head_kind kind) {
    return kind == ESPL_HEAD_SPANS ? 2 : kind == ESPL_HEAD_CHOICES ? 1 : 0;
}

static espl_status check_kind(const espl_model *model, espl_head_kind kind) {
    const bool encoder = model->config.family->bidirectional;
    const uint32_t outputs = fixed_outputs(kind), asked = model->params.head.labels, choices = model->params.head.choices;
    if (kind > ESPL_HEAD_CHOICES)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "head %d is not known", (int)kind);
    if (outputs && asked && asked != outputs)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "a head for %s has %u outputs, not %u", kind == ESPL_HEAD_SPANS ? "spans" : "choices",
                         outputs, asked);
    if (choices && (kind != ESPL_HEAD_CHOICES || choices < 2 || choices > 1u << 16))
        return espl_fail(model->ctx, ESPL_ARGUMENT, "%u choices are not possible%s", choices,
                         kind == ESPL_HEAD_CHOICES ? ": from 2 to 65536 are" : " for a head of another kind");
    if ((kind == ESPL_HEAD_LANGUAGE && encoder) || (kind == ESPL_HEAD_MASKED && !encoder))
        return espl_fail(model->ctx, ESPL_UNSUPPORTED, "a %s model has no head for %s", model->config.family->model_type,
                         encoder ? "the next token" : "masked tokens");
    return ESPL_OK;
}

static espl_status read_dropout(const espl_model *model, const char *key, float by_default, float *out_p) {
    ESPL_TRY(espl_json_f32(model->ctx, model->json, key, by_default, out_p));
    if (*out_p >= 0 && *out_p < 1) return ESPL_OK;
    return espl_fail(model->ctx, ESPL_FORMAT, "\"%s\" is %g, must be from 0 to below 1", key, (double)*out_p);
}

/* As transformers reads them, or for flexible heads that library; heads without a key have none. */
static espl_status read_dropouts(espl_model *model) {
    espl_task_head *head = &model->task;
    const espl_head_names *names = head->names;
    const bool flexible = espl_head_is_flexible(model);
    if (names->no_dropout) return ESPL_OK;
    const char *key = names->key_dropout ? names->key_dropout : model->config.family->key_head_dropout;
    float by_default = flexible ? 0 : names->dropout > 0 ? names->dropout : model->config.dropout;
    if (!key) return ESPL_OK;
    if (names->key_dropout_else) ESPL_TRY(espl_json_f32(model->ctx, model->json, names->key_dropout_else, by_default, &by_default));
    ESPL_TRY(read_dropout(model, key, by_default, &head->dropout));
    head->dropout_first = names->dropout_first ? head->dropout : 0;
    return names->key_dropout_first ? read_dropout(model, names->key_dropout_first, 0, &head->dropout_first) : ESPL_OK;
}

/* ---- Flexible ---- */

bool espl_head_is_flexible(const espl_model *model) {
    return model->task.names == &model->task.flexible;
}

bool espl_head_of_words(const espl_model *model) {
    return model->task.kind == ESPL_HEAD_MASKED || model->task.kind == ESPL_HEAD_LANGUAGE;
}

static espl_status check_flexible(const espl_model *model, const espl_head_names *family) {
    const espl_flexible_head *f = &model->params.head.flexible;
    const bool words = espl_head_of_words(model), rows = !words && !espl_head_per_token(model);
    if (f->layers > 2)
        return espl_fail(model->ctx, ESPL_UNSUPPORTED, "a flexible head of %u layers is not supported, 1 and 2 are", f->layers);
    if (f->norm && (!words || f->layers < 2))
        return espl_fail(model->ctx, ESPL_ARGUMENT, "a norm is behind the dense map of a head for words");
    if (f->pooler && !(rows && family->dense && strncmp(family->dense, model->config.family->prefix,
                                                        strlen(model->config.family->prefix)) == 0))
        return espl_fail(model->ctx, ESPL_ARGUMENT, "a %s model has no pooler for a head of this kind", model->config.family->model_type);
    return ESPL_OK;
}

static espl_status choose_activation(const espl_model *model, const char *name, uint32_t *out_kind) {
    if (espl_config_activation(name, out_kind)) return ESPL_OK;
    return espl_fail(model->ctx, ESPL_UNSUPPORTED, "activation \"%s\" is not supported", name);
}

/* The library's layers under names of our own: no folder of transformers has them. family: the family's own head, or NULL. */
static espl_status choose_flexible(espl_model *model, const espl_head_names *family) {
    const espl_flexible_head *f = &model->params.head.flexible;
    espl_task_head *head = &model->task;
    const bool words = espl_head_of_words(model), two = f->layers == 2;
    ESPL_TRY(check_flexible(model, family));
    head->flexible = (espl_head_names){.dense = two ? "head.dense" : NULL,
                                       .norm = f->norm ? "head.norm" : NULL,
                                       .out = !words ? "head.out" : family ? family->out : NULL,
                                       .out_bias = f->bias ? "head.out.bias" : NULL,
                                       .last = family && family->last,
                                       .key_dropout = "classifier_dropout",
                                       .key_dropout_else = "hidden_dropout_prob",
                                       .dropout_first = two && !words};
    head->names = &head->flexible;
    head->pooler = f->pooler ? family->dense : NULL;
    ESPL_TRY(choose_activation(model, f->activation ? f->activation : words ? "gelu" : "tanh", &head->activation));
    if (f->pooler) ESPL_TRY(choose_activation(model, family->activation, &head->pooler_activation));
    return espl_json_f32(model->ctx, model->json, "layer_norm_eps", 1e-12f, &head->norm_eps);
}

/* ---- Choice ---- */

const espl_head_names *espl_head_names_of(const espl_family *family, espl_head_kind kind) {
    const espl_head_names *heads = family->heads;
    switch (kind) {
    case ESPL_HEAD_MASKED: return &heads[ESPL_HEAD_NAMES_MASKED];
    case ESPL_HEAD_TAGGING: return &heads[ESPL_HEAD_NAMES_TOKENS];
    case ESPL_HEAD_SPANS: return &heads[ESPL_HEAD_NAMES_SPANS];
    case ESPL_HEAD_CHOICES: return &heads[ESPL_HEAD_NAMES_CHOICES];
    case ESPL_HEAD_CLASSIFICATION:
    case ESPL_HEAD_REGRESSION: return &heads[ESPL_HEAD_NAMES_SEQUENCE];
    default: return NULL;
    }
}

/* A family of which this kind of head may be made in other ways. */
static espl_status check_names(const espl_model *model, const espl_head_names *names) {
    const char *which = "first";
    bool dense = true;
    if (!names->out)
        return espl_fail(model->ctx, ESPL_UNSUPPORTED, "a %s model has no head for %s", model->config.family->model_type,
                         model->task.kind == ESPL_HEAD_SPANS ? "spans" : "choices");
    if (names->key_which) ESPL_TRY(espl_json_string(model->ctx, model->json, names->key_which, which, &which));
    if (names->key_dense) ESPL_TRY(espl_json_bool(model->ctx, model->json, names->key_dense, dense, &dense));
    if (dense && strcmp(which, "first") == 0) return ESPL_OK;
    return espl_fail(model->ctx, ESPL_UNSUPPORTED, "%s: \"%s\", %s: %s is not supported", names->key_which, which, names->key_dense,
                     dense ? "true" : "false");
}

espl_status espl_head_choose(espl_model *model) {
    espl_task_head *head = &model->task;
    *head = (espl_task_head){.kind = model->params.head.kind,
                             .pairs = model->params.head.pairs,
                             .dense = ESPL_NO_MATRIX,
                             .dense_bias = ESPL_NO_MATRIX,
                             .out = ESPL_NO_MATRIX,
                             .out_bias = ESPL_NO_MATRIX,
                             .pooler_dense = ESPL_NO_MATRIX,
                             .pooler_bias = ESPL_NO_MATRIX,
                             .norm = {ESPL_NO_MATRIX, ESPL_NO_MATRIX}};
    if (head->kind == ESPL_HEAD_DEFAULT) ESPL_TRY(espl_head_kind_of_file(model, &head->kind));
    ESPL_TRY(check_kind(model, head->kind));
    head->names = espl_head_names_of(model->config.family, head->kind);
    if (head->names) ESPL_TRY(check_names(model, head->names));
    if (head->kind == ESPL_HEAD_CHOICES) head->choices = model->params.head.choices ? model->params.head.choices : 2;
    head->activation = model->config.activation;
    head->norm_eps = model->config.norm_eps;
    if (model->params.head.flexible.layers && head->kind != ESPL_HEAD_NONE) ESPL_TRY(choose_flexible(model, head->names));
    if (!head->names) return ESPL_OK;
    if (head->names->activation) {
        const char *activation = head->names->activation, *key = head->names->key_activation;
        if (key) ESPL_TRY(espl_json_string(model->ctx, model->json, key, activation, &activation));
        ESPL_TRY(choose_activation(model, activation, &head->activation));
    }
    if (espl_head_of_words(model)) return ESPL_OK;
    ESPL_TRY(read_dropouts(model));
    return espl_head_name_labels(model, fixed_outputs(head->kind));
}

/* ---- Its matrices ---- */

static espl_status declare(espl_model *model, const char *module, const char *suffix, uint32_t rows, uint32_t cols,
                           bool vector, uint32_t *out_index) {
    if (!module) return ESPL_OK;
    char *name;
    ESPL_TRY(espl_format(model->ctx, &name, "%s%s", module, suffix));
    espl_status status = espl_model_declare(model, name, rows, cols, vector, ESPL_DTYPE_F32, out_index);
    espl_free(model->ctx, &name);
    return status;
}

espl_status espl_head_declare(espl_model *model) {
    espl_task_head *head = &model->task;
    const espl_head_names *names = head->names;
    const espl_config *c = &model->config;
    const bool words = espl_head_of_words(model);
    if (!names) return ESPL_OK;
    const size_t first = model->store.entry_count;
    const uint32_t width = words ? c->embedding : c->hidden;
    ESPL_TRY(declare(model, head->pooler, ".weight", c->hidden, c->hidden, false, &head->pooler_dense));
    ESPL_TRY(declare(model, head->pooler, ".bias", 1, c->hidden, true, &head->pooler_bias));
    ESPL_TRY(declare(model, names->dense, ".weight", width, c->hidden, false, &head->dense));
    ESPL_TRY(declare(model, names->dense, ".bias", 1, width, true, &head->dense_bias));
    ESPL_TRY(declare(model, names->norm, ".weight", 1, width, true, &head->norm.weight));
    ESPL_TRY(declare(model, names->norm, ".bias", 1, width, true, &head->norm.bias));
    if (!words) ESPL_TRY(declare(model, names->out, ".weight", head->labels, width, false, &head->out));
    ESPL_TRY(declare(model, names->out_bias, "", 1, words ? c->vocabulary : head->labels, true, &head->out_bias));
    for (size_t i = first; i < model->store.entry_count; i++) model->store.entries[i].optional = true;
    return ESPL_OK;
}

/* ---- Operators ---- */

static espl_tensor *activated(espl_builder *b, uint32_t dense, uint32_t bias, uint32_t activation, espl_tensor *x) {
    return espl_graph_activation(b->graph, &(espl_activation){.x = espl_build_map(b, dense, bias, x), .kind = activation});
}

static espl_output build_one(espl_builder *b, espl_tensor *x) {
    const espl_model *model = b->model;
    const espl_task_head *head = &model->task;
    const espl_head_names *names = head->names;
    const bool words = espl_head_of_words(model);
    if (head->kind == ESPL_HEAD_NONE) return (espl_output){.input = x};
    if (!names)
        return (espl_output){.input = espl_build_join(b, ESPL_SITE_HEAD_IN, ESPL_NO_BLOCK, x), .weight = espl_build_head(b)};
    if (!espl_head_per_token(model))
        x = espl_graph_pick(b->graph, &(espl_pick){.x = x, .lengths = b->lengths, .batch = b->batch, .last = names->last});
    if (head->pooler) x = activated(b, head->pooler_dense, head->pooler_bias, head->pooler_activation, x);
    x = espl_build_dropout(b, x, head->dropout_first);
    if (names->dense) x = activated(b, head->dense, head->dense_bias, head->activation, x);
    if (names->norm)
        x = espl_graph_layernorm(b->graph, &(espl_layernorm){.x = x, .w = espl_build_base(b, head->norm.weight),
                                                             .b = espl_build_base(b, head->norm.bias), .eps = head->norm_eps});
    x = espl_build_dropout(b, x, head->dropout);
    if (words) x = espl_build_join(b, ESPL_SITE_HEAD_IN, ESPL_NO_BLOCK, x);
    return (espl_output){.input = x,
                         .weight = words ? espl_build_head(b) : espl_build_base(b, head->out),
                         .bias = espl_build_base(b, head->out_bias)};
}

espl_tensor *espl_build_own_output(espl_builder *b, espl_tensor *x) {
    const espl_output one = build_one(b, x);
    if (espl_head_of_words(b->model)) return one.input;
    return espl_graph_matmul(b->graph, &(espl_matmul){.a = one.input, .b = one.weight, .bias = one.bias, .orientation = MATMUL_NT});
}

enum { IDENTITY_MAX = 1024 }; /* 4 MiB, written before each submission */

espl_output espl_build_output(espl_builder *b, espl_tensor *x) {
    const espl_model *model = b->model;
    if (!model->composition || !espl_composition_has_heads(model->composition)) return build_one(b, x);
    const espl_output own = {.input = espl_build_outputs(b, model->composition, x)};
    b->head_of = NULL;
    if (espl_head_of_words(model))
        return (espl_output){.input = own.input, .weight = espl_build_head(b), .bias = espl_build_base(b, model->task.out_bias)};
    if (espl_head_loss_of_outputs(model)) return own;
    if (model->task.labels > IDENTITY_MAX) {
        espl_graph_fail(b->graph, espl_fail(model->ctx, ESPL_LIMIT, "%u labels: rows have heads of their own for at most %d",
                                            model->task.labels, IDENTITY_MAX));
        return (espl_output){0};
    }
    return (espl_output){.input = own.input, .weight = espl_build_identities(b, model->task.labels, 1)};
}

/* ---- Telling ---- */

bool espl_head_has_matrix(const espl_model *model, uint32_t matrix) {
    const espl_task_head *head = &model->task;
    const uint32_t all[] = {model->head, head->dense, head->dense_bias, head->out, head->out_bias, head->norm.weight, head->norm.bias,
                            head->pooler_dense, head->pooler_bias};
    for (size_t i = 0; i < ESPL_COUNT(all); i++) {
        if (matrix == all[i]) return true;
    }
    return false;
}

bool espl_adapter_has_head(const espl_adapter *adapter) {
    if (adapter->tokens) return false;
    for (uint32_t i = 0; i < adapter->replacement_count; i++) {
        if (adapter->replacement[i] != ESPL_NO_MATRIX && espl_head_has_matrix(adapter->model, i)) return true;
    }
    return false;
}

bool espl_head_needs_lengths(const espl_model *model) {
    return model->config.family->bidirectional || !espl_head_per_token(model) || model->task.kind == ESPL_HEAD_SPANS;
}

bool espl_head_per_token(const espl_model *model) {
    const espl_head_kind kind = model->task.kind;
    return kind != ESPL_HEAD_CLASSIFICATION && kind != ESPL_HEAD_REGRESSION && kind != ESPL_HEAD_CHOICES;
}

uint32_t espl_head_row_labels(const espl_model *model, uint32_t tokens) {
    return model->task.kind == ESPL_HEAD_SPANS ? 2 : espl_head_per_token(model) ? tokens : 1;
}

uint32_t espl_head_choices(const espl_model *model) {
    return model->task.choices ? model->task.choices : 1;
}

bool espl_head_loss_of_outputs(const espl_model *model) {
    const espl_head_kind kind = model->task.kind;
    return kind == ESPL_HEAD_REGRESSION || kind == ESPL_HEAD_SPANS || kind == ESPL_HEAD_CHOICES;
}

uint32_t espl_head_outputs(const espl_model *model) {
    return model->task.labels ? model->task.labels
           : model->task.kind == ESPL_HEAD_NONE ? model->config.hidden : espl_model_vocabulary(model);
}
