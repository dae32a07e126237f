/* Labelled data as rows of a dataset. */
#include "host/train/task_data.h"
#include "host/model/model.h"
#include <string.h>

/* ---- Reading ---- */

static espl_status fail_task(espl_context *ctx, const char *name) {
    espl_bytes list = {0};
    espl_status status = ESPL_OK;
    const espl_task *task;
    for (size_t i = 0; (task = espl_task_at(i)) && !status; i++)
        status = espl_bytes_print(ctx, &list, "%s%s", i ? ", " : "", task->name);
    if (!status) status = espl_fail(ctx, ESPL_ARGUMENT, "there is no task \"%s\"; tasks are %s", name, list.data);
    espl_bytes_finish(ctx, &list);
    return status;
}

static espl_status find_task(espl_context *ctx, const char *name, const espl_task **out_task) {
    *out_task = espl_task_find(name);
    return *out_task ? ESPL_OK : fail_task(ctx, name);
}

static bool has_labels(const espl_task *task) {
    return task->kind == ESPL_TASK_CLASSIFICATION || task->kind == ESPL_TASK_TAGGING;
}

static espl_head_params head_of(espl_task_kind kind, const espl_labels *labels) {
    static const espl_head_kind heads[] = {[ESPL_TASK_CLASSIFICATION] = ESPL_HEAD_CLASSIFICATION,
                                           [ESPL_TASK_REGRESSION] = ESPL_HEAD_REGRESSION,
                                           [ESPL_TASK_TAGGING] = ESPL_HEAD_TAGGING,
                                           [ESPL_TASK_GENERATION] = ESPL_HEAD_LANGUAGE};
    if (kind == ESPL_TASK_REGRESSION) return (espl_head_params){.kind = ESPL_HEAD_REGRESSION, .labels = 1};
    return (espl_head_params){.kind = heads[kind], .labels = labels->count, .label_names = labels->names};
}

espl_status espl_task_head_of(espl_context *ctx, const char *name, espl_head_params *out_head) {
    const espl_task *task;
    *out_head = (espl_head_params){0};
    ESPL_TRY(find_task(ctx, name, &task));
    *out_head = head_of(task->kind, &task->labels);
    return ESPL_OK;
}

static espl_labels model_labels(const espl_model *model) {
    return (espl_labels){(const char *const *)model->task.label_names, model->task.labels};
}

espl_status espl_task_data_load(espl_context *ctx, const char *name, const char *path,
                                const espl_task_data_params *params, espl_task_data **out_data) {
    espl_task_data *data = NULL;
    espl_task_read_params read = {0};
    espl_labels labels;
    espl_status status;
    *out_data = NULL;
    const espl_task *task;
    ESPL_TRY(find_task(ctx, name, &task));
    if (params) {
        read.columns = params->columns;
        read.bio2 = params->bio2;
        if (params->labels_of_model && has_labels(task)) {
            labels = model_labels(params->labels_of_model);
            read.labels = &labels;
        } else if (params->labels_of && has_labels(task)) {
            read.labels = &params->labels_of->set.labels;
        }
    }
    ESPL_TRY(espl_new(ctx, sizeof *data, &data));
    *data = (espl_task_data){.ctx = ctx};
    ESPL_GOTO(espl_copy_string(ctx, path, strlen(path), &data->path));
    ESPL_GOTO(espl_task_read(ctx, task, path, &read, &data->set));
    if (data->set.count == 0) ESPL_GOTO(espl_fail(ctx, ESPL_FORMAT, "%s: there is no row", path));
    *out_data = data;
    return ESPL_OK;
fail:
    espl_task_data_destroy(&data);
    return status;
}

void espl_task_data_destroy(espl_task_data **in_out_data) {
    espl_task_data *data = *in_out_data;
    *in_out_data = NULL;
    if (!data) return;
    espl_dataset_destroy(&data->dataset);
    espl_task_set_finish(&data->set);
    espl_free(data->ctx, &data->path);
    espl_free(data->ctx, &data);
}

espl_head_params espl_task_data_head(const espl_task_data *data) {
    espl_head_params head = head_of(data->set.task->kind, &data->set.labels);
    head.pairs = data->set.pairs;
    return head;
}

uint32_t espl_task_data_count(const espl_task_data *data) {
    return data->set.count;
}

/* ---- Rows ---- */

/* Arrays of espl_rows while they are filled. */
typedef struct encoder {
    const espl_task_data *data;
    espl_tokenizer *tokenizer;
    uint32_t context;
    bool has_types;
    int32_t pad;
    int32_t *ids, *types, *lengths, *labels; /* owned */
    float *values;                           /* owned */
    uint32_t cut;
} encoder;

static espl_status make_arrays(encoder *e) {
    espl_context *ctx = e->data->ctx;
    const espl_task_kind kind = e->data->set.task->kind;
    const size_t rows = e->data->set.count;
    size_t tokens, bytes;
    if (!espl_mul(rows, e->context, &tokens) || !espl_mul(tokens, sizeof *e->ids, &bytes))
        return espl_fail(ctx, ESPL_LIMIT, "%s: %zu rows of %u tokens are too many", e->data->path, rows, e->context);
    ESPL_TRY(espl_new(ctx, bytes, &e->ids));
    ESPL_TRY(espl_new(ctx, bytes, &e->types));
    ESPL_TRY(espl_new(ctx, rows * sizeof *e->lengths, &e->lengths));
    if (kind == ESPL_TASK_REGRESSION) return espl_new(ctx, rows * sizeof *e->values, &e->values);
    return espl_new(ctx, kind == ESPL_TASK_TAGGING ? bytes : rows * sizeof *e->labels, &e->labels);
}

static void free_arrays(encoder *e) {
    espl_context *ctx = e->data->ctx;
    espl_free(ctx, &e->ids);
    espl_free(ctx, &e->types);
    espl_free(ctx, &e->lengths);
    espl_free(ctx, &e->labels);
    espl_free(ctx, &e->values);
}

static espl_texts texts_of(const espl_example *example, size_t max_tokens) {
    espl_texts texts = {.max_tokens = max_tokens, .add_special = true};
    if (example->words) {
        texts.words = example->words;
        texts.word_count = example->word_count;
    } else {
        texts.text = example->text;
        texts.text_bytes = strlen(example->text);
        texts.pair = example->pair;
        texts.pair_bytes = example->pair ? strlen(example->pair) : 0;
    }
    return texts;
}

/* The first token of each word carries its tag. */
static void set_tags(const espl_example *example, const espl_encoding *encoding, int32_t *labels, uint32_t context) {
    uint32_t before = ESPL_NO_TOKEN;
    for (uint32_t t = 0; t < context; t++) {
        const uint32_t word = t < encoding->count && encoding->words ? encoding->words[t] : ESPL_NO_TOKEN;
        labels[t] = word != ESPL_NO_TOKEN && word != before ? (int32_t)example->tags[word] : ESPL_NO_LABEL;
        before = word;
    }
}

/* The encoder cuts silently; a row that it filled to the brim is encoded again without a limit to know whether it did. */
static espl_status count_cut(encoder *e, const espl_example *example) {
    const espl_texts texts = texts_of(example, 0);
    espl_encoding whole;
    ESPL_TRY(espl_tokenizer_encode_texts(e->tokenizer, &texts, &whole));
    e->cut += whole.count > e->context;
    return ESPL_OK;
}

static espl_status encode_row(encoder *e, uint32_t row) {
    const espl_example *example = &e->data->set.examples[row];
    const espl_texts texts = texts_of(example, e->context);
    const size_t at = (size_t)row * e->context;
    espl_encoding encoding;
    ESPL_TRY(espl_tokenizer_encode_texts(e->tokenizer, &texts, &encoding));
    if (encoding.count == 0) return espl_fail(e->data->ctx, ESPL_FORMAT, "there is no token");
    for (uint32_t t = 0; t < e->context; t++) {
        const bool there = t < encoding.count;
        e->ids[at + t] = there ? (int32_t)encoding.ids[t] : e->pad;
        e->types[at + t] = there && e->has_types ? encoding.types[t] : 0;
    }
    e->lengths[row] = (int32_t)encoding.count;
    switch (e->data->set.task->kind) {
    case ESPL_TASK_CLASSIFICATION: e->labels[row] = (int32_t)example->label; break;
    case ESPL_TASK_REGRESSION: e->values[row] = (float)example->value; break;
    case ESPL_TASK_TAGGING: set_tags(example, &encoding, e->labels + at, e->context); break;
    case ESPL_TASK_GENERATION: break; /* its rows are made by task_generate.c */
    }
    return encoding.count == e->context ? count_cut(e, example) : ESPL_OK;
}

static espl_status encode_all(encoder *e, espl_dataset **out_dataset) {
    const espl_task_data *data = e->data;
    const espl_task_kind kind = data->set.task->kind;
    ESPL_TRY(make_arrays(e));
    for (uint32_t row = 0; row < data->set.count; row++) {
        const espl_status status = encode_row(e, row);
        if (status) return espl_fail_in(data->ctx, status, "%s: row %u", data->path, row + 1);
    }
    const espl_rows rows = {
        .rows = data->set.count,
        .tokens = e->context,
        .ids = e->ids,
        .types = e->has_types ? e->types : NULL,
        .lengths = e->lengths,
        .labels = e->labels,
        .row_labels = kind == ESPL_TASK_TAGGING ? e->context : kind == ESPL_TASK_CLASSIFICATION ? 1 : 0,
        .values = e->values,
        .row_values = e->values ? 1 : 0,
    };
    return espl_dataset_from_rows(data->ctx, &rows, 0, 0, out_dataset);
}

static espl_status encode_texts(const espl_task_data *data, espl_model *model, uint32_t context, espl_dataset **out_dataset,
                                uint32_t *out_cut) {
    espl_tokenizer *tokenizer = espl_model_tokenizer(model);
    const uint32_t pad = espl_tokenizer_pad(tokenizer);
    encoder e = {.data = data,
                 .tokenizer = tokenizer,
                 .context = context,
                 .has_types = model->config.types > 1,
                 .pad = pad == ESPL_NO_TOKEN ? 0 : (int32_t)pad};
    const espl_status status = encode_all(&e, out_dataset);
    free_arrays(&e);
    *out_cut = e.cut;
    return status;
}

static espl_status check_head(const espl_task_data *data, const espl_model *model) {
    static const char *const heads[] = {"none", "none", "next tokens", "masked tokens", "classes", "numbers", "tags"};
    const espl_head_params wanted = espl_task_data_head(data);
    if (model->task.kind != wanted.kind)
        return espl_fail(data->ctx, ESPL_ARGUMENT, "the model's head is for %s, the task %s needs one for %s",
                         heads[model->task.kind], data->set.task->name, heads[wanted.kind]);
    if (model->task.labels != wanted.labels)
        return espl_fail(data->ctx, ESPL_ARGUMENT, "the model's head has %u labels, the task %s has %u in %s",
                         model->task.labels, data->set.task->name, wanted.labels, data->path);
    return ESPL_OK;
}

espl_status espl_task_data_encode(espl_task_data *data, espl_model *model, uint32_t context) {
    const espl_config *config = &model->config;
    ESPL_TRY(check_head(data, model));
    if (!espl_model_tokenizer(model))
        return espl_fail(data->ctx, ESPL_ARGUMENT, "%s: there is no tokenizer, so text cannot be read",
                         espl_model_folder(model));
    if (context == 0) context = config->context_max < 128 ? config->context_max : 128;
    if (context > config->context_max)
        return espl_fail(data->ctx, ESPL_ARGUMENT, "a context of %u is more than the model's %u positions", context,
                         config->context_max);
    espl_dataset *dataset = NULL;
    uint32_t cut = 0;
    ESPL_TRY(data->set.task->kind == ESPL_TASK_GENERATION ? espl_task_generation_rows(data, model, context, &dataset, &cut)
                                                          : encode_texts(data, model, context, &dataset, &cut));
    espl_dataset_destroy(&data->dataset);
    data->dataset = dataset;
    data->cut = cut;
    return ESPL_OK;
}

const espl_dataset *espl_task_data_rows(const espl_task_data *data) {
    return data->dataset;
}

uint32_t espl_task_data_cut(const espl_task_data *data) {
    return data->cut;
}
