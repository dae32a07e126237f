#include "host/train/batch.h"
#include <string.h>

espl_status espl_row_buffer_init(espl_row_buffer *buffer, espl_context *ctx, const espl_dataset *dataset, uint32_t rows) {
    const size_t tokens = (size_t)rows * espl_dataset_context(dataset);
    const espl_dataset_shape shape = espl_dataset_shape_of(dataset);
    *buffer = (espl_row_buffer){.ctx = ctx, .dataset = dataset};
    espl_status status = ESPL_OK;
    if (shape.width) ESPL_GOTO(espl_new(ctx, tokens * shape.width * sizeof *buffer->embeddings, &buffer->embeddings));
    else ESPL_GOTO(espl_new(ctx, tokens * sizeof *buffer->ids, &buffer->ids));
    ESPL_GOTO(espl_new(ctx, tokens * sizeof *buffer->types, &buffer->types));
    ESPL_GOTO(espl_new(ctx, rows * sizeof *buffer->lengths, &buffer->lengths));
    ESPL_GOTO(espl_new(ctx, rows * sizeof *buffer->tasks, &buffer->tasks));
    ESPL_GOTO(espl_new(ctx, (size_t)rows * shape.labels * sizeof *buffer->labels, &buffer->labels));
    if (shape.values) ESPL_GOTO(espl_new(ctx, (size_t)rows * shape.values * sizeof *buffer->values, &buffer->values));
fail:
    if (status != ESPL_OK) espl_row_buffer_finish(buffer);
    return status;
}

void espl_row_buffer_finish(espl_row_buffer *buffer) {
    if (!buffer->ctx) return;
    espl_free(buffer->ctx, &buffer->ids);
    espl_free(buffer->ctx, &buffer->embeddings);
    espl_free(buffer->ctx, &buffer->types);
    espl_free(buffer->ctx, &buffer->lengths);
    espl_free(buffer->ctx, &buffer->labels);
    espl_free(buffer->ctx, &buffer->tasks);
    espl_free(buffer->ctx, &buffer->values);
}

uint64_t espl_row_buffer_set(espl_row_buffer *buffer, uint32_t index, const espl_row *row, bool counted) {
    const uint32_t context = espl_dataset_context(buffer->dataset);
    const espl_dataset_shape shape = espl_dataset_shape_of(buffer->dataset);
    const size_t at = (size_t)index * context;
    uint64_t labels = 0;
    if (row->ids) memcpy(buffer->ids + at, row->ids, context * sizeof *buffer->ids);
    else memcpy(buffer->embeddings + at * shape.width, row->embeddings, (size_t)context * shape.width * sizeof *row->embeddings);
    if (row->types) memcpy(buffer->types + at, row->types, context * sizeof *buffer->types);
    else memset(buffer->types + at, 0, context * sizeof *buffer->types);
    buffer->lengths[index] = (int32_t)row->length;
    buffer->tasks[index] = row->task;
    for (uint32_t i = 0; i < shape.labels; i++) {
        const int32_t label = counted ? row->labels[i] : ESPL_NO_LABEL;
        buffer->labels[(size_t)index * shape.labels + i] = label;
        labels += label >= 0;
    }
    if (shape.values)
        memcpy(buffer->values + (size_t)index * shape.values, row->values, shape.values * sizeof *buffer->values);
    return labels;
}

espl_batch espl_row_buffer_at(const espl_row_buffer *buffer, uint32_t first) {
    const size_t at = (size_t)first * espl_dataset_context(buffer->dataset);
    const espl_dataset_shape shape = espl_dataset_shape_of(buffer->dataset);
    return (espl_batch){.ids = buffer->ids ? buffer->ids + at : NULL,
                        .embeddings = buffer->embeddings ? buffer->embeddings + at * shape.width : NULL,
                        .types = buffer->types + at,
                        .lengths = buffer->lengths + first,
                        .tasks = buffer->tasks + first,
                        .labels = buffer->labels + (size_t)first * shape.labels,
                        .values = buffer->values ? buffer->values + (size_t)first * shape.values : NULL,
                        .tokens = espl_dataset_context(buffer->dataset)};
}

espl_status espl_batch_check(const espl_model *model, const espl_dataset *dataset, bool labels) {
    const espl_dataset_shape shape = espl_dataset_shape_of(dataset);
    const espl_config *c = &model->config;
    const uint32_t vocabulary = espl_model_vocabulary(model);
    const uint32_t row_labels = espl_head_row_labels(model, espl_dataset_context(dataset)), choices = espl_head_choices(model);
    const bool spans = model->task.kind == ESPL_HEAD_SPANS;
    const uint32_t values = model->task.kind == ESPL_HEAD_REGRESSION ? model->task.labels : 0;
    if (shape.vocabulary > vocabulary)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "the data has token %u, the model's vocabulary has %u",
                         shape.vocabulary - 1, vocabulary);
    if (shape.width && shape.width != c->embedding)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "embeddings of the data have %u numbers, the model's have %u", shape.width,
                         c->embedding);
    if (shape.types > (c->types ? c->types : 1))
        return espl_fail(model->ctx, ESPL_ARGUMENT, "the data has token type %u, the model has %u", shape.types - 1,
                         c->types);
    if (!labels || model->task.kind == ESPL_HEAD_NONE) return ESPL_OK;
    if (shape.labels != row_labels || shape.values != values)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "a row of the data has %u labels and %u values, the model's head takes "
                         "%u and %u", shape.labels, shape.values, row_labels, values);
    if (shape.spans != spans)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "labels of the data %s, the model's head %s", shape.spans ? "are answers' ends" :
                         "are no answers' ends", spans ? "takes these" : "takes none");
    if (shape.choices != choices)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "%u rows of the data have a label together, the model's head takes %u", shape.choices,
                         choices);
    /* Where the loss is over rows, labels are among them: the data has seen to it. */
    if (!espl_head_loss_of_outputs(model) && shape.label_end > espl_head_outputs(model))
        return espl_fail(model->ctx, ESPL_ARGUMENT, "the data has label %u, the model's head has %u", shape.label_end - 1,
                         espl_head_outputs(model));
    return ESPL_OK;
}
