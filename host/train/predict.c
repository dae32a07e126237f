/* Rows through a pass without gradients: their loss, and what the head gives for them. */
#include "host/train/trainer.h"
#include <math.h>
#include <string.h>

/* What is done with each batch. */
typedef struct run {
    espl_pass *pass;
    espl_row_buffer *buffer;
    espl_part part;
    uint32_t batch;
    double sum;       /* of losses */
    uint64_t counted; /* labels */
    float *outputs;   /* of a batch, or NULL: not asked for */
    float *values;    /* of all rows so far */
} run;

/* A short last batch is filled with rows that do not count. */
static espl_status run_rows(run *r) {
    const espl_dataset *dataset = r->buffer->dataset;
    const uint32_t rows = espl_dataset_rows(dataset, r->part);
    espl_ticket ticket;
    ESPL_TRY(espl_graph_submit(r->pass->graph, ESPL_PHASE_BEGIN, &ticket));
    for (uint32_t first = 0; first < rows; first += r->batch) {
        const uint32_t there = rows - first < r->batch ? rows - first : r->batch;
        for (uint32_t i = 0; i < r->batch; i++) {
            const espl_row row = espl_dataset_row(dataset, r->part, i < there ? first + i : first);
            r->counted += espl_row_buffer_set(r->buffer, i, &row, i < there);
        }
        double sum;
        espl_batch batch = espl_row_buffer_at(r->buffer, 0);
        if (r->outputs) batch.labels = NULL, batch.values = NULL;
        ESPL_TRY(espl_pass_micro(r->pass, &batch, &ticket));
        ESPL_TRY(espl_pass_loss(r->pass, ticket, &sum));
        r->sum += sum;
        if (!r->outputs) continue;
        const espl_tensor *logits = r->pass->logits;
        const size_t count = (size_t)(logits->rows / r->batch) * there * logits->cols;
        ESPL_TRY(espl_tensor_read(r->pass->graph, logits, r->outputs));
        memcpy(r->values, r->outputs, count * sizeof *r->values);
        r->values += count;
    }
    return ESPL_OK;
}

espl_status espl_trainer_evaluate(espl_trainer *t, double *out_loss) {
    const espl_part part = espl_dataset_rows(t->dataset, ESPL_PART_VALIDATION) ? ESPL_PART_VALIDATION : ESPL_PART_TRAIN;
    *out_loss = NAN;
    ESPL_TRY(espl_trainer_need_whole_step(t, "evaluated"));
    if (!t->evaluation.graph) {
        const espl_pass_params pass = {.batch = t->params.batch, .tokens = espl_dataset_context(t->dataset)};
        ESPL_TRY(espl_pass_init(&t->evaluation, t->model, &pass));
    }
    run r = {.pass = &t->evaluation, .buffer = &t->buffer, .part = part, .batch = t->params.batch};
    ESPL_TRY(run_rows(&r));
    if (r.counted) *out_loss = r.sum / (double)r.counted;
    return ESPL_OK;
}

static espl_status run_model(espl_model *model, const espl_dataset *dataset, uint32_t batch, int part, run *r) {
    espl_context *ctx = model->ctx;
    espl_pass pass = {0};
    espl_row_buffer buffer = {0};
    espl_status status = ESPL_OK;
    if (batch == 0) batch = 1;
    if (part < ESPL_PART_ALL || part > ESPL_PART_VALIDATION)
        return espl_fail(ctx, ESPL_ARGUMENT, "part %d of a dataset is not 0, 1 or 2", part);
    const espl_pass_params params = {.batch = batch, .tokens = espl_dataset_context(dataset), .keep_logits = r->values != NULL};
    ESPL_GOTO(espl_pass_init(&pass, model, &params));
    ESPL_GOTO(espl_row_buffer_init(&buffer, ctx, dataset, batch));
    r->pass = &pass, r->buffer = &buffer, r->part = (espl_part)part, r->batch = batch;
    if (r->values)
        ESPL_GOTO(espl_new(ctx, (size_t)pass.logits->rows * pass.logits->cols * sizeof *r->outputs, &r->outputs));
    ESPL_GOTO(run_rows(r));
fail:
    espl_pass_finish(&pass);
    espl_row_buffer_finish(&buffer);
    espl_free(ctx, &r->outputs);
    return status;
}

espl_status espl_evaluate(espl_model *model, const espl_dataset *dataset, uint32_t batch, int part, double *out_loss,
                          uint64_t *out_labels) {
    run r = {0};
    *out_loss = NAN;
    *out_labels = 0;
    ESPL_TRY(espl_batch_check(model, dataset, true));
    if (model->task.kind == ESPL_HEAD_NONE)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "the model has no head: there is no loss to measure");
    ESPL_TRY(run_model(model, dataset, batch, part, &r));
    if (r.counted) *out_loss = r.sum / (double)r.counted;
    *out_labels = r.counted;
    return ESPL_OK;
}

espl_status espl_predict(espl_model *model, const espl_dataset *dataset, uint32_t batch, int part, float *out_values) {
    run r = {.values = out_values};
    ESPL_TRY(espl_batch_check(model, dataset, false));
    return run_model(model, dataset, batch, part, &r);
}
