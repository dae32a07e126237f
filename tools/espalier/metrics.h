/* The record of a training run: one JSON object per line,
 *   {"step", "loss", "lr", "tokens_per_second", "grad_norm", "skipped"}   after each step
 *   {"step", "validation_loss", "perplexity"}                             after each validation
 *   {"step", "validation_loss", "matthews", "accuracy"}                   the same of a task, with its metrics
 *   "settled": false in either of an adapter that has not the size of the result yet, and is no candidate for the best
 * A figure that is not finite is null. Each line is on its way to the disk before the next step begins. */
#ifndef METRICS_H
#define METRICS_H

#include "host/base/base.h"
#include <espalier/task.h>
#include <jansson.h>
#include <stdio.h>

typedef struct metrics {
    FILE *file;            /* owned; NULL before begin */
    bool failed;           /* a line was lost, which was said once */
    espl_task_metric goal; /* the figure that decides which validation is best, by its name in a line */
    json_t *best;          /* owned; the line of the best validation after a step; NULL if there is none */
    uint32_t since_best;   /* validations after it */
} metrics;

/* Keeps the lines of steps up to kept_steps, which may be 0, and drops the others: a run resumed from a checkpoint does
 * the steps after it again. */
espl_status metrics_begin(espl_context *ctx, const char *path, uint32_t kept_steps, const espl_task_metric *goal,
                          metrics *out_metrics);
void metrics_step(metrics *metrics, const espl_progress *progress);
/* result: of a language model without metrics. True if it is the best so far; the untrained model (step 0) and what is not settled
 * never are. */
bool metrics_validation(metrics *metrics, uint32_t step, bool settled, const espl_task_result *result);
void metrics_finish(metrics *metrics);

#endif
