/* Rows through a pass without gradients: their loss, and what the head gives for them. */
#include "host/train/trainer.h"
#include "host/model/composition.h"
#include <math.h>
#include <string.h>

/* What is done with each batch. */
typedef struct run {
    espl_passes *passes;
    espl_row_buffer *buffer;
    espl_part part;
    uint32_t batch;
    bool by_length;   /* rows of like length share batches, and a batch goes through a pass that is hardly longer */
    uint32_t *order;  /* owned: of the part's rows; by_length: the longest first */
    double sum;       /* of losses */
    uint64_t counted; /* labels */
    float *outputs;   /* owned: of a batch; NULL: not asked for */
    float *values;    /* of all rows */
} run;

static espl_status sort_rows(run *r) {
    const espl_dataset *dataset = r->buffer->dataset;
    const uint32_t rows = espl_dataset_rows(dataset, r->part);
    uint64_t *keys;
    ESPL_TRY(espl_new(r->buffer->ctx, rows * sizeof *r->order, &r->order));
    for (uint32_t i = 0; i < rows; i++) r->order[i] = i;
    if (!r->by_length) return ESPL_OK;
    ESPL_TRY(espl_new(r->buffer->ctx, 2 * (size_t)rows * sizeof *keys, &keys));
    espl_dataset_sort(dataset, r->part, r->order, rows, keys);
    espl_free(r->buffer->ctx, &keys);
    return ESPL_OK;
}

/* The outputs of rows order[first ..] to their places. Where tokens have outputs, those behind the pass are 0. */
static espl_status read_outputs(run *r, const espl_pass *pass, uint32_t first, uint32_t there) {
    const espl_tensor *logits = pass->logits;
    const uint32_t context = pass->per_token ? espl_dataset_context(r->buffer->dataset) : 1;
    const uint32_t rows = espl_dataset_rows(r->buffer->dataset, r->part), batch = r->batch * pass->replicas;
    const size_t count = (size_t)(logits->rows / batch) * logits->cols, all = (size_t)context * logits->cols;
    ESPL_TRY(espl_tensor_read(pass->graph, logits, r->outputs));
    for (uint32_t i = 0; i < there * pass->replicas; i++) {
        const uint32_t replica = i / there, row = i % there;
        float *to = r->values + ((size_t)replica * rows + r->order[first + row]) * all;
        memcpy(to, r->outputs + ((size_t)replica * r->batch + row) * count, count * sizeof *to);
        memset(to + count, 0, (all - count) * sizeof *to);
    }
    return ESPL_OK;
}

/* A short last batch is filled with rows that do not count. */
static espl_status run_rows(run *r) {
    const espl_dataset *dataset = r->buffer->dataset;
    const uint32_t rows = espl_dataset_rows(dataset, r->part);
    espl_ticket ticket;
    ESPL_TRY(sort_rows(r));
    ESPL_TRY(espl_graph_submit(r->passes->pass[0].graph, ESPL_PHASE_BEGIN, &ticket));
    for (uint32_t first = 0; first < rows; first += r->batch) {
        const uint32_t there = rows - first < r->batch ? rows - first : r->batch;
        for (uint32_t i = 0; i < r->batch; i++) {
            const espl_row row = espl_dataset_row(dataset, r->part, r->order[i < there ? first + i : first]);
            r->counted += espl_row_buffer_set(r->buffer, i, &row, i < there);
        }
        double sum;
        espl_batch batch = espl_row_buffer_at(r->buffer, 0);
        if (r->outputs) batch.labels = NULL, batch.values = NULL;
        ESPL_TRY(espl_passes_micro(r->passes, &batch, &ticket));
        espl_pass *pass = &r->passes->pass[r->passes->now];
        ESPL_TRY(espl_pass_loss(pass, ticket, &sum));
        r->sum += sum;
        if (r->outputs) ESPL_TRY(read_outputs(r, pass, first, there));
    }
    return ESPL_OK;
}

/* Answers are looked for among a row's padding, too, so their loss is that of rows of the data's length. */
static bool goes_by_length(const espl_model *model, bool loss) {
    return !espl_composition_goes_by_place(model->composition) && !(loss && model->task.kind == ESPL_HEAD_SPANS);
}

espl_status espl_trainer_evaluate(espl_trainer *t, double *out_loss) {
    const espl_part part = espl_dataset_rows(t->dataset, ESPL_PART_VALIDATION) ? ESPL_PART_VALIDATION : ESPL_PART_TRAIN;
    const bool by_length = goes_by_length(t->model, true);
    *out_loss = NAN;
    ESPL_TRY(espl_trainer_need_whole_step(t, "evaluated"));
    if (t->evaluation.count == 0) {
        const espl_pass_params params = {.batch = t->params.batch};
        ESPL_TRY(espl_passes_init(&t->evaluation, t->model, &params, t->dataset, part, by_length));
    }
    run r = {.passes = &t->evaluation, .buffer = &t->buffer, .part = part, .by_length = by_length, .batch = t->params.batch};
    espl_status status = run_rows(&r);
    espl_free(t->ctx, &r.order);
    if (status == ESPL_OK && r.counted) *out_loss = r.sum / (double)r.counted;
    return status;
}

static espl_status run_model(espl_model *model, const espl_dataset *dataset, uint32_t batch, int part, run *r) {
    espl_context *ctx = model->ctx;
    espl_passes passes = {0};
    espl_row_buffer buffer = {0};
    espl_status status = ESPL_OK;
    if (batch == 0) batch = espl_head_choices(model);
    r->by_length = goes_by_length(model, r->values == NULL);
    if (part < ESPL_PART_ALL || part > ESPL_PART_VALIDATION)
        return espl_fail(ctx, ESPL_ARGUMENT, "part %d of a dataset is not 0, 1 or 2", part);
    const espl_pass_params params = {.batch = batch, .keep_logits = r->values != NULL};
    ESPL_GOTO(espl_passes_init(&passes, model, &params, dataset, (espl_part)part, r->by_length));
    ESPL_GOTO(espl_row_buffer_init(&buffer, ctx, dataset, batch));
    r->passes = &passes, r->buffer = &buffer, r->part = (espl_part)part, r->batch = batch;
    if (r->values) {
        const espl_tensor *logits = passes.pass[0].logits;
        ESPL_GOTO(espl_new(ctx, (size_t)logits->rows * logits->cols * sizeof *r->outputs, &r->outputs));
    }
    ESPL_GOTO(run_rows(r));
fail:
    espl_passes_finish(&passes);
    espl_row_buffer_finish(&buffer);
    espl_free(ctx, &r->outputs);
    espl_free(ctx, &r->order);
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
