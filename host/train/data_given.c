/* Datasets of rows that the caller gives. */
#include "host/train/data_private.h"
#include <math.h>
#include <string.h>

/* ---- Questions ---- */

espl_status espl_span_check(espl_context *ctx, uint32_t row, const int32_t span[2], uint32_t length, uint32_t tokens, bool *out_counts) {
    bool outside[2];
    for (int i = 0; i < 2; i++) outside[i] = span[i] < 0 || (uint32_t)span[i] >= tokens;
    *out_counts = !outside[0] && !outside[1];
    if (outside[0] != outside[1])
        return espl_fail(ctx, ESPL_ARGUMENT, "row %u: of the answer from %d to %d one end is outside of its %u tokens, both or none can be",
                         row, span[0], span[1], tokens);
    if (*out_counts && ((uint32_t)span[0] >= length || (uint32_t)span[1] >= length))
        return espl_fail(ctx, ESPL_ARGUMENT, "row %u: the answer from %d to %d is in the padding behind its %u tokens", row, span[0],
                         span[1], length);
    return ESPL_OK;
}

espl_status espl_choices_check(espl_context *ctx, uint32_t rows, uint32_t choices, const int32_t *labels) {
    if (rows % choices)
        return espl_fail(ctx, ESPL_ARGUMENT, "%u rows are not of whole questions, which have %u choices", rows, choices);
    for (uint32_t q = 0; labels && q < rows / choices; q++) {
        if (labels[q] >= 0 && (uint32_t)labels[q] >= choices)
            return espl_fail(ctx, ESPL_ARGUMENT, "question %u has label %d, it has %u choices", q, labels[q], choices);
    }
    return ESPL_OK;
}

/* ---- Rows ---- */

espl_status espl_embeddings_check(espl_context *ctx, const int32_t *ids, const float *embeddings, uint32_t rows, uint32_t tokens,
                                  uint32_t width) {
    const uint64_t row = (uint64_t)tokens * width;
    if (!ids == !embeddings)
        return espl_fail(ctx, ESPL_ARGUMENT, "rows are given as ids or as embeddings, and here as %s", ids ? "both" : "neither");
    if (!embeddings) return ESPL_OK;
    if (row == 0 || row > UINT32_MAX)
        return espl_fail(ctx, ESPL_ARGUMENT, "rows of %u embeddings of %u numbers are not possible", tokens, width);
    for (uint64_t i = 0; i < rows * row; i++) {
        if (!isfinite(embeddings[i]))
            return espl_fail(ctx, ESPL_ARGUMENT, "the embedding in row %llu at %llu is not finite", (unsigned long long)(i / row),
                             (unsigned long long)(i % row / width));
    }
    return ESPL_OK;
}

static espl_status check_choices(espl_context *ctx, const espl_rows *rows) {
    if (rows->spans || rows->row_labels > 1)
        return espl_fail(ctx, ESPL_ARGUMENT, "questions of %u choices have one label, not %u for each row", rows->choices, rows->row_labels);
    return espl_choices_check(ctx, rows->rows, rows->choices, rows->row_labels ? rows->labels : NULL);
}

static espl_status check_rows(espl_context *ctx, const espl_rows *rows) {
    const uint32_t tokens = rows->tokens;
    if (rows->rows == 0 || tokens == 0)
        return espl_fail(ctx, ESPL_ARGUMENT, "a dataset of %u rows of %u tokens is empty", rows->rows, tokens);
    if (rows->spans ? rows->row_labels != 2 : rows->row_labels != 1 && rows->row_labels != 0 && rows->row_labels != tokens)
        return espl_fail(ctx, ESPL_ARGUMENT, "%u labels for rows of %u tokens are %s", rows->row_labels, tokens,
                         rows->spans ? "not the 2 ends of an answer" : "neither 1 nor one per token");
    if (rows->choices > 1) ESPL_TRY(check_choices(ctx, rows));
    ESPL_TRY(espl_embeddings_check(ctx, rows->ids, rows->embeddings, rows->rows, tokens, rows->width));
    for (uint32_t r = 0; r < rows->rows; r++) {
        const int32_t length = rows->lengths ? rows->lengths[r] : (int32_t)tokens;
        if (length < 1 || (uint32_t)length > tokens)
            return espl_fail(ctx, ESPL_ARGUMENT, "row %u has a length of %d, 1 to %u are possible", r, length, tokens);
        if (rows->tasks && rows->tasks[r] < 0)
            return espl_fail(ctx, ESPL_ARGUMENT, "row %u is of task %d, which is negative", r, rows->tasks[r]);
        for (uint32_t i = 0; i < tokens; i++) {
            const size_t at = (size_t)r * tokens + i;
            if (rows->ids && rows->ids[at] < 0)
                return espl_fail(ctx, ESPL_ARGUMENT, "id %d in row %u at %u is negative", rows->ids[at], r, i);
            if (rows->types && rows->types[at] < 0)
                return espl_fail(ctx, ESPL_ARGUMENT, "type %d in row %u at %u is negative", rows->types[at], r, i);
        }
    }
    return ESPL_OK;
}

/* from NULL: stays NULL, or with `zero` becomes zeros. */
static espl_status copy_rows(espl_context *ctx, const void *from, bool zero, uint32_t rows, uint32_t columns,
                             void *out_pointer) {
    size_t count, bytes;
    if (!from && !zero) return ESPL_OK;
    if (!espl_mul(rows, columns, &count) || !espl_mul(count, 4, &bytes))
        return espl_fail(ctx, ESPL_LIMIT, "%u rows of %u values are too many", rows, columns);
    void *copy;
    ESPL_TRY(espl_new(ctx, bytes, &copy));
    if (from) memcpy(copy, from, bytes);
    memcpy(out_pointer, &copy, sizeof copy);
    return ESPL_OK;
}

/* Answers that do not count lose their places, for which the row has no tokens. */
static espl_status take_spans(espl_dataset *dataset) {
    for (uint32_t r = 0; r < dataset->rows; r++) {
        int32_t *span = dataset->labels + (size_t)r * 2;
        bool counts;
        ESPL_TRY(espl_span_check(dataset->ctx, r, span, dataset->lengths ? (uint32_t)dataset->lengths[r] : dataset->context,
                                 dataset->context, &counts));
        if (!counts) span[0] = span[1] = ESPL_NO_LABEL;
    }
    return ESPL_OK;
}

/* A question's label stands at its first row. */
static espl_status copy_labels(espl_dataset *dataset, const espl_rows *rows) {
    const int32_t *labels = rows->row_labels ? rows->labels : NULL;
    if (dataset->choices == 1) /* a row with values counts although it has no class */
        return copy_rows(dataset->ctx, labels, true, rows->rows, dataset->label_count, &dataset->labels);
    ESPL_TRY(espl_new(dataset->ctx, rows->rows * sizeof *dataset->labels, &dataset->labels));
    for (uint32_t r = 0; r < rows->rows; r++)
        dataset->labels[r] = r % dataset->choices || !labels ? ESPL_NO_LABEL : labels[r / dataset->choices];
    return ESPL_OK;
}

espl_status espl_dataset_from_rows(espl_context *context, const espl_rows *rows, double validation_share, uint64_t seed,
                                   espl_dataset **out_dataset) {
    *out_dataset = NULL;
    ESPL_TRY(check_rows(context, rows));
    const uint32_t n = rows->rows, tokens = rows->tokens;
    espl_dataset *dataset = NULL;
    espl_status status;
    ESPL_GOTO(espl_new(context, sizeof *dataset, &dataset));
    *dataset = (espl_dataset){.ctx = context,
                              .rows = n,
                              .context = tokens,
                              .label_count = rows->row_labels ? rows->row_labels : 1,
                              .value_count = rows->values ? rows->row_values : 0,
                              .width = rows->embeddings ? rows->width : 0,
                              .choices = rows->choices ? rows->choices : 1,
                              .spans = rows->spans};
    ESPL_GOTO(copy_rows(context, rows->ids, false, n, tokens, &dataset->ids));
    ESPL_GOTO(copy_rows(context, rows->embeddings, false, n, tokens * dataset->width, &dataset->embeddings));
    ESPL_GOTO(copy_rows(context, rows->types, false, n, tokens, &dataset->types));
    ESPL_GOTO(copy_rows(context, rows->lengths, false, n, 1, &dataset->lengths));
    ESPL_GOTO(copy_rows(context, rows->tasks, false, n, 1, &dataset->tasks));
    ESPL_GOTO(copy_labels(dataset, rows));
    if (dataset->spans) ESPL_GOTO(take_spans(dataset));
    ESPL_GOTO(copy_rows(context, rows->values, false, n, dataset->value_count, &dataset->values));
    ESPL_GOTO(espl_data_split(dataset, validation_share, false, seed));
    *out_dataset = dataset;
fail:
    if (status) espl_dataset_destroy(&dataset);
    return status;
}

espl_status espl_dataset_from_ids(espl_context *context, const int32_t *ids, const int32_t *labels, uint32_t rows,
                                  uint32_t row_tokens, espl_dataset **out_dataset) {
    const espl_rows all = {.rows = rows, .tokens = row_tokens, .ids = ids, .labels = labels, .row_labels = row_tokens};
    return espl_dataset_from_rows(context, &all, -1, 0, out_dataset);
}
