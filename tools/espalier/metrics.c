/* See metrics.h. */
#include "tools/espalier/metrics.h"
#include "host/base/os.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The step of a line, or UINT32_MAX if it is no line of ours (cut off by a crash, for one). */
static uint32_t step_of(const char *line, size_t bytes, double *out_validation_loss) {
    json_t *root = json_loadb(line, bytes, 0, NULL);
    const json_t *step = json_object_get(root, "step"), *loss = json_object_get(root, "validation_loss");
    json_int_t value = json_is_integer(step) ? json_integer_value(step) : -1;
    *out_validation_loss = json_is_number(loss) ? json_number_value(loss) : (double)INFINITY;
    json_decref(root);
    return value >= 0 && value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

static espl_status keep_lines(espl_context *ctx, const espl_mapping *old, uint32_t kept_steps, espl_bytes *kept,
                              double *best_loss) {
    const char *at = (const char *)old->data, *end = at + old->bytes;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (!line_end) break;
        double loss;
        if (step_of(at, (size_t)(line_end - at), &loss) <= kept_steps) {
            ESPL_TRY(espl_bytes_append(ctx, kept, at, (size_t)(line_end + 1 - at)));
            if (loss < *best_loss) *best_loss = loss;
        }
        at = line_end + 1;
    }
    return ESPL_OK;
}

espl_status metrics_begin(espl_context *ctx, const char *path, uint32_t kept_steps, metrics *out_metrics) {
    *out_metrics = (metrics){.best_loss = INFINITY};
    espl_bytes kept = {0};
    espl_status status = ESPL_OK;
    if (kept_steps > 0 && espl_os_is_file(path)) {
        espl_mapping old;
        ESPL_TRY(espl_os_map(ctx, path, &old));
        status = keep_lines(ctx, &old, kept_steps, &kept, &out_metrics->best_loss);
        espl_os_unmap(&old);
    }
    if (!status) status = espl_os_write_file(ctx, path, kept.count ? kept.data : "", kept.count);
    espl_bytes_finish(ctx, &kept);
    if (status) return status;
    out_metrics->file = espl_os_append(path);
    if (out_metrics->file) return ESPL_OK;
    return espl_fail(ctx, ESPL_IO, "%s: could not be opened: %s", path, strerror(errno));
}

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

/* Takes root. A lost line must not cost the training: it is said once. */
static void write_line(metrics *metrics, json_t *root) {
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(root);
    if (!metrics->file) {
        free(text);
        return;
    }
    bool good = text && fprintf(metrics->file, "%s\n", text) > 0 && fflush(metrics->file) == 0;
    if (!good && !metrics->failed) fprintf(stderr, "espalier: warning: metrics are being lost: %s\n", strerror(errno));
    metrics->failed |= !good;
    free(text);
}

void metrics_step(metrics *metrics, const espl_progress *progress) {
    write_line(metrics, json_pack("{s:i, s:o, s:o, s:o, s:o, s:i}", "step", (int)progress->step, "loss",
                                  number(progress->loss), "lr", number(progress->learning_rate), "tokens_per_second",
                                  number(progress->tokens_per_second), "grad_norm", number(progress->gradient_norm),
                                  "skipped", (int)progress->skipped));
}

void metrics_validation(metrics *metrics, uint32_t step, double loss) {
    write_line(metrics, json_pack("{s:i, s:o, s:o}", "step", (int)step, "validation_loss", number(loss), "perplexity",
                                  number(exp(loss))));
}

void metrics_finish(metrics *metrics) {
    if (metrics->file) fclose(metrics->file);
    metrics->file = NULL;
}
