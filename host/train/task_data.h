/* Inside of espl_task_data. */
#ifndef ESPL_TASK_DATA_H
#define ESPL_TASK_DATA_H

#include "host/task/task.h"
#include "host/train/data.h"
#include <espalier/task.h>

struct espl_task_data {
    espl_context *ctx; /* borrowed */
    espl_task_set set;
    char *path;            /* owned; for messages */
    espl_dataset *dataset; /* owned; NULL before encode */
    uint32_t cut;
};

/* ---- Tasks of generation (task_generate.c) ---- */

/* One row for each reference: source, begin-of-text id, the reference and its end, which alone have labels. *out_cut: sources
 * of which a row is longer than context. Fails: UNSUPPORTED if the tokenizer has no end-of-text id. */
espl_status espl_task_generation_rows(const espl_task_data *data, espl_model *model, uint32_t context,
                                      espl_dataset **out_dataset, uint32_t *out_cut);
/* Loss over the references of all rows, and what greedy generation from each source is worth. */
espl_status espl_task_generation_score(espl_model *model, const espl_task_data *data, uint32_t batch,
                                       espl_task_result *result);

/* ---- task_score.c ---- */

/* Index of the largest, the lowest among equals. */
uint32_t espl_task_largest(const float *logits, uint32_t count);

#endif
