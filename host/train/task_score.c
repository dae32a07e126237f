/* What a model is worth on a task: its outputs for all rows, their loss in double precision, the metrics. */
#include "host/model/composition.h"
#include "host/model/model.h"
#include "host/train/task_data.h"
#include <math.h>
#include <string.h>

/* Labels or numbers and what the model says, in the order of rows. */
typedef struct scored {
    const espl_task_data *data;
    espl_context *ctx;
    const float *outputs; /* borrowed; [rows, labels], tagging [rows, context, labels] */
    uint32_t labels;
    uint32_t *right, *guess;         /* owned; of rows, or of words */
    double *right_value, *guess_value; /* owned; of rows */
    size_t count;
    double loss;
} scored;

static espl_task_metric metric_without_value(espl_metric metric) {
    return (espl_task_metric){.name = espl_metric_name(metric),
                              .value = (double)NAN,
                              .more_is_better = espl_metric_better(metric, 1, 0)};
}

espl_task_metric espl_task_data_goal(const espl_task_data *data) {
    return metric_without_value(data->set.task->metrics[0]);
}

uint32_t espl_task_largest(const float *logits, uint32_t count) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static double cross_entropy(const float *logits, uint32_t count, uint32_t label) {
    const double top = (double)logits[espl_task_largest(logits, count)];
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += exp((double)logits[i] - top);
    return top + log(sum) - (double)logits[label];
}

static void add_label(scored *s, const float *logits, uint32_t label) {
    s->right[s->count] = label;
    s->guess[s->count] = espl_task_largest(logits, s->labels);
    s->loss += cross_entropy(logits, s->labels, label);
    s->count++;
}

static espl_status score_classes(scored *s, espl_task_result *result) {
    const espl_task_set *set = &s->data->set;
    for (uint32_t row = 0; row < set->count; row++)
        add_label(s, s->outputs + (size_t)row * s->labels, set->examples[row].label);
    for (uint32_t m = 0; m < result->metric_count; m++)
        ESPL_TRY(espl_metric_labels(s->ctx, set->task->metrics[m], s->right, s->guess, s->count, s->labels,
                                    &result->metrics[m].value));
    return ESPL_OK;
}

static espl_status score_values(scored *s, espl_task_result *result) {
    const espl_task_set *set = &s->data->set;
    for (uint32_t row = 0; row < set->count; row++) {
        s->right_value[row] = set->examples[row].value;
        s->guess_value[row] = (double)s->outputs[row];
        const double off = s->guess_value[row] - s->right_value[row];
        s->loss += off * off;
    }
    s->count = set->count;
    for (uint32_t m = 0; m < result->metric_count; m++)
        ESPL_TRY(espl_metric_values(s->ctx, set->task->metrics[m], s->right_value, s->guess_value, s->count,
                                    &result->metrics[m].value));
    return ESPL_OK;
}

static espl_status score_tags(scored *s, espl_task_result *result) {
    const espl_dataset *dataset = s->data->dataset;
    const uint32_t context = espl_dataset_context(dataset), rows = espl_dataset_rows(dataset, ESPL_PART_ALL);
    espl_entity_score entities = {0};
    espl_status status = ESPL_OK;
    for (uint32_t r = 0; r < rows; r++) {
        const espl_row row = espl_dataset_row(dataset, ESPL_PART_ALL, r);
        const size_t begin = s->count;
        for (uint32_t t = 0; t < context; t++)
            if (row.labels[t] >= 0)
                add_label(s, s->outputs + ((size_t)r * context + t) * s->labels, (uint32_t)row.labels[t]);
        ESPL_GOTO(espl_entity_add(s->ctx, &entities, &s->data->set.labels, s->right + begin, s->guess + begin,
                                  (uint32_t)(s->count - begin)));
    }
    espl_entity_sum(&entities);
    for (uint32_t m = 0; m < result->metric_count; m++)
        result->metrics[m].value = entities.total.f1;
fail:
    espl_entity_finish(s->ctx, &entities);
    return status;
}

static espl_status score(scored *s, size_t most, espl_task_result *result) {
    typedef espl_status score_kind(scored *, espl_task_result *);
    static score_kind *const kinds[] = {[ESPL_TASK_CLASSIFICATION] = score_classes,
                                        [ESPL_TASK_REGRESSION] = score_values,
                                        [ESPL_TASK_TAGGING] = score_tags};
    const espl_task *task = s->data->set.task;
    if (task->kind == ESPL_TASK_REGRESSION) {
        ESPL_TRY(espl_new(s->ctx, most * sizeof *s->right_value, &s->right_value));
        ESPL_TRY(espl_new(s->ctx, most * sizeof *s->guess_value, &s->guess_value));
    } else {
        ESPL_TRY(espl_new(s->ctx, most * sizeof *s->right, &s->right));
        ESPL_TRY(espl_new(s->ctx, most * sizeof *s->guess, &s->guess));
    }
    ESPL_TRY(kinds[task->kind](s, result));
    result->count = s->count;
    result->loss = s->count ? s->loss / (double)s->count : (double)NAN;
    return ESPL_OK;
}

espl_status espl_task_evaluate(espl_model *model, const espl_task_data *data, uint32_t batch,
                               espl_task_result *out_result) {
    *out_result = (espl_task_result){.loss = (double)NAN};
    if (!data->dataset)
        return espl_fail(data->ctx, ESPL_ARGUMENT, "%s was not encoded for a model", data->path);
    const espl_head_params head = espl_task_data_head(data);
    if (model->task.kind != head.kind || model->task.labels != head.labels)
        return espl_fail(data->ctx, ESPL_ARGUMENT, "%s was not encoded for a head like this model's", data->path);
    const espl_task *task = data->set.task;
    out_result->metric_count = task->metric_count;
    for (uint32_t m = 0; m < task->metric_count; m++)
        out_result->metrics[m] = metric_without_value(task->metrics[m]);
    if (espl_composition_replicas(model->composition) > 1)
        return espl_fail(data->ctx, ESPL_ARGUMENT, "a row's one answer is measured, and parallel gives one for each adapter");
    if (task->kind == ESPL_TASK_GENERATION) return espl_task_generation_score(model, data, batch, out_result);
    const size_t rows = data->set.count,
                 places = head.kind == ESPL_HEAD_TAGGING ? rows * espl_dataset_context(data->dataset) : rows;
    scored s = {.data = data, .ctx = data->ctx, .labels = head.labels};
    espl_status status;
    float *outputs = NULL;
    size_t count, bytes;
    if (!espl_mul(places, head.labels, &count) || !espl_mul(count, sizeof *outputs, &bytes))
        return espl_fail(data->ctx, ESPL_LIMIT, "%s: %zu outputs of %u labels are too many", data->path, places, head.labels);
    ESPL_TRY(espl_new(data->ctx, bytes, &outputs));
    s.outputs = outputs;
    ESPL_GOTO(espl_predict(model, data->dataset, batch, ESPL_PART_ALL, outputs));
    ESPL_GOTO(score(&s, places, out_result));
fail:
    espl_free(data->ctx, &outputs);
    espl_free(data->ctx, &s.right);
    espl_free(data->ctx, &s.guess);
    espl_free(data->ctx, &s.right_value);
    espl_free(data->ctx, &s.guess_value);
    return status;
}
