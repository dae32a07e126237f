/* See metrics.h. */
#include "tools/espalier/metrics.h"
#include "host/base/os.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The step of a line, or UINT32_MAX if it is no line of ours (cut off by a crash, for one). */
static uint32_t step_of(const json_t *line) {
    const json_t *step = json_object_get(line, "step");
    json_int_t value = json_is_integer(step) ? json_integer_value(step) : -1;
    return value >= 0 && value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

static double goal_of(const metrics *metrics, const json_t *line) {
    const json_t *value = json_object_get(line, metrics->goal.name);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* Any number is better than none. */
static bool is_better(const metrics *metrics, const json_t *line) {
    double value = goal_of(metrics, line), best = goal_of(metrics, metrics->best);
    if (isnan(value) || step_of(line) == 0 || json_is_false(json_object_get(line, "settled"))) return false;
    return isnan(best) || (metrics->goal.more_is_better ? value > best : value < best);
}

/* Keeps line if it is the best validation. */
static bool compare_line(metrics *metrics, json_t *line) {
    bool better = is_better(metrics, line);
    metrics->since_best = better ? 0 : metrics->since_best + (metrics->best != NULL);
    if (!better) return false;
    json_decref(metrics->best);
    metrics->best = json_incref(line);
    return true;
}

static espl_status keep_lines(espl_context *ctx, const espl_mapping *old, uint32_t kept_steps, espl_bytes *kept,
                              metrics *metrics) {
    const char *at = (const char *)old->data, *end = at + old->bytes;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (!line_end) break;
        json_t *line = json_loadb(at, (size_t)(line_end - at), 0, NULL);
        espl_status status = ESPL_OK;
        if (step_of(line) <= kept_steps) {
            status = espl_bytes_append(ctx, kept, at, (size_t)(line_end + 1 - at));
            if (json_object_get(line, "validation_loss")) compare_line(metrics, line);
        }
        json_decref(line);
        if (status) return status;
        at = line_end + 1;
    }
    return ESPL_OK;
}

espl_status metrics_begin(espl_context *ctx, const char *path, uint32_t kept_steps, const espl_task_metric *goal,
                          metrics *out_metrics) {
    *out_metrics = (metrics){.goal = *goal};
    espl_bytes kept = {0};
    espl_status status = ESPL_OK;
    if (kept_steps > 0 && espl_os_is_file(path)) {
        espl_mapping old;
        ESPL_TRY(espl_os_map(ctx, path, &old));
        status = keep_lines(ctx, &old, kept_steps, &kept, out_metrics);
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

bool metrics_validation(metrics *metrics, uint32_t step, bool settled, const espl_task_result *result) {
    json_t *line = json_pack("{s:i, s:o}", "step", (int)step, "validation_loss", number(result->loss));
    if (line && !result->metric_count) json_object_set_new(line, "perplexity", number(exp(result->loss)));
    for (uint32_t m = 0; line && m < result->metric_count; m++)
        json_object_set_new(line, result->metrics[m].name, number(result->metrics[m].value));
    if (line && !settled) json_object_set_new(line, "settled", json_false());
    bool better = compare_line(metrics, line);
    write_line(metrics, line);
    return better;
}

void metrics_finish(metrics *metrics) {
    if (metrics->file) fclose(metrics->file);
    metrics->file = NULL;
    json_decref(metrics->best);
    metrics->best = NULL;
}
