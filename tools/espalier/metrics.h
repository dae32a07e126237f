/* The record of a training run: one JSON object per line,
 *   {"step", "loss", "lr", "tokens_per_second", "grad_norm", "skipped"}   after each step
 *   {"step", "validation_loss", "perplexity"}                             after each validation
 * A figure that is not finite is null. Each line is on its way to the disk before the next step begins. */
#ifndef METRICS_H
#define METRICS_H

#include "host/base/base.h"
#include <espalier/trainer.h>
#include <stdio.h>

typedef struct metrics {
    FILE *file;       /* owned; NULL before begin */
    bool failed;      /* a line was lost, which was said once */
    double best_loss; /* lowest validation loss in the file; infinity if there is none */
} metrics;

/* Keeps the lines of steps up to kept_steps, which may be 0, and drops the others: a run resumed from a checkpoint does
 * the steps after it again. */
espl_status metrics_begin(espl_context *ctx, const char *path, uint32_t kept_steps, metrics *out_metrics);
void metrics_step(metrics *metrics, const espl_progress *progress);
void metrics_validation(metrics *metrics, uint32_t step, double loss);
void metrics_finish(metrics *metrics);

#endif
