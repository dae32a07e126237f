/* Rows of a dataset side by side, as a pass takes them. */
#ifndef ESPL_BATCH_H
#define ESPL_BATCH_H

#include "host/train/data.h"
#include "host/train/pass.h"

typedef struct espl_row_buffer {
    espl_context *ctx;           /* borrowed */
    const espl_dataset *dataset; /* borrowed */
    int32_t *ids, *types, *lengths, *labels, *tasks; /* owned */
    float *embeddings, *values;  /* owned; embeddings or ids */
} espl_row_buffer;

espl_status espl_row_buffer_init(espl_row_buffer *buffer, espl_context *ctx, const espl_dataset *dataset, uint32_t rows);
void espl_row_buffer_finish(espl_row_buffer *buffer);
/* Copies a row to place `index`; returns how many of its labels count. counted false: none do. */
uint64_t espl_row_buffer_set(espl_row_buffer *buffer, uint32_t index, const espl_row *row, bool counted);
/* The rows from `first` on. */
espl_batch espl_row_buffer_at(const espl_row_buffer *buffer, uint32_t first);

/* Fails with ARGUMENT if ids or types are beyond the model's, embeddings of another width, or with labels true if labels and
 * values are not of the kind that its head takes. */
espl_status espl_batch_check(const espl_model *model, const espl_dataset *dataset, bool labels);

#endif
