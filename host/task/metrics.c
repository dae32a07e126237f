/* Metrics of labels and of numbers, see metrics.h. */
#include "host/task/metrics.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    bool more;
} metric_rows[ESPL_METRIC_COUNT] = {
#define ESPL_METRIC_ROW(name, text, more) {text, more},
    ESPL_METRIC_LIST(ESPL_METRIC_ROW)
#undef ESPL_METRIC_ROW
};

const char *espl_metric_name(espl_metric metric) {
    return metric_rows[metric].name;
}

bool espl_metric_find(const char *name, espl_metric *out_metric) {
    for (size_t m = 0; m < ESPL_METRIC_COUNT; m++) {
        if (strcmp(metric_rows[m].name, name) != 0) continue;
        *out_metric = (espl_metric)m;
        return true;
    }
    return false;
}

bool espl_metric_better(espl_metric metric, double value, double best) {
    if (isnan(value) || isnan(best)) return !isnan(value);
    return metric_rows[metric].more ? value > best : value < best;
}

double espl_metric_perplexity(double mean_loss) {
    return exp(mean_loss);
}

/* ---- Labels ---- */

typedef struct label_counts {
    uint64_t labelled, predicted, right;
} label_counts;

static double quotient(double part, double whole) {
    return whole == 0 ? 0 : part / whole;
}

static double f1(const label_counts *counts) {
    return quotient(2 * (double)counts->right, (double)counts->labelled + (double)counts->predicted);
}

static double accuracy(const label_counts *counts, uint32_t label_count, size_t count) {
    uint64_t right = 0;
    for (uint32_t i = 0; i < label_count; i++)
        right += counts[i].right;
    return (double)right / (double)count;
}

static double f1_of_one(const label_counts *counts, uint32_t label_count, size_t count) {
    (void)count;
    return label_count > 1 ? f1(&counts[1]) : 0;
}

static double f1_macro(const label_counts *counts, uint32_t label_count, size_t count) {
    double sum = 0, present = 0;
    (void)count;
    for (uint32_t i = 0; i < label_count; i++) {
        if (counts[i].labelled + counts[i].predicted == 0) continue;
        sum += f1(&counts[i]);
        present++;
    }
    return sum / present;
}

/* Covariances of the indicator vectors of all labels, Gorodkin 2004; each times count squared. */
static double matthews(const label_counts *counts, uint32_t label_count, size_t count) {
    double all = (double)count, right = 0, both = 0, labelled = 0, predicted = 0;
    for (uint32_t i = 0; i < label_count; i++) {
        double l = (double)counts[i].labelled, p = (double)counts[i].predicted;
        right += (double)counts[i].right;
        both += l * p;
        labelled += l * l;
        predicted += p * p;
    }
    double spread = (all * all - labelled) * (all * all - predicted);
    return spread == 0 ? 0 : (right * all - both) / sqrt(spread);
}

espl_status espl_metric_labels(espl_context *ctx, espl_metric metric, const uint32_t *labels, const uint32_t *predicted,
                               size_t count, uint32_t label_count, double *out_value) {
    static double (*const of_counts[ESPL_METRIC_COUNT])(const label_counts *, uint32_t, size_t) = {
        [ESPL_METRIC_ACCURACY] = accuracy, [ESPL_METRIC_F1] = f1_of_one,      [ESPL_METRIC_F1_MACRO] = f1_macro,
        [ESPL_METRIC_F1_MICRO] = accuracy, [ESPL_METRIC_MATTHEWS] = matthews,
    };
    *out_value = NAN;
    if (!of_counts[metric])
        return espl_fail(ctx, ESPL_ARGUMENT, "%s is not a metric of labels", espl_metric_name(metric));
    if (count == 0) return espl_fail(ctx, ESPL_ARGUMENT, "%s of no rows", espl_metric_name(metric));
    for (size_t i = 0; i < count; i++) {
        uint32_t larger = labels[i] > predicted[i] ? labels[i] : predicted[i];
        if (larger >= label_count)
            return espl_fail(ctx, ESPL_ARGUMENT, "row %zu has label %u, there are %u labels", i, larger, label_count);
    }
    label_counts *counts;
    ESPL_TRY(espl_new(ctx, label_count * sizeof *counts, &counts));
    for (size_t i = 0; i < count; i++) {
        counts[labels[i]].labelled++;
        counts[predicted[i]].predicted++;
        counts[labels[i]].right += labels[i] == predicted[i];
    }
    *out_value = of_counts[metric](counts, label_count, count);
    espl_free(ctx, &counts);
    return ESPL_OK;
}

/* ---- Numbers ---- */

/* Where the numbers lie; scaled so that no square overflows or vanishes. */
typedef struct centre {
    double mean, largest, norm;
} centre;

/* false where no correlation is defined. */
static bool find_centre(const double *x, size_t count, centre *out) {
    bool constant = true;
    double scale = 0, sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(x[i])) return false;
        constant = constant && x[i] == x[0];
        scale = fmax(scale, fabs(x[i]));
    }
    if (constant) return false;
    for (size_t i = 0; i < count; i++)
        sum += x[i] / scale;
    *out = (centre){.mean = sum / (double)count * scale};
    for (size_t i = 0; i < count; i++)
        out->largest = fmax(out->largest, fabs(x[i] - out->mean));
    for (size_t i = 0; i < count; i++) {
        double part = (x[i] - out->mean) / out->largest;
        squares += part * part;
    }
    out->norm = sqrt(squares);
    return true;
}

static double pearson(const double *x, const double *y, size_t count) {
    centre cx, cy;
    double sum = 0;
    if (count < 2 || !find_centre(x, count, &cx) || !find_centre(y, count, &cy)) return NAN;
    for (size_t i = 0; i < count; i++)
        sum += (x[i] - cx.mean) / cx.largest / cx.norm * ((y[i] - cy.mean) / cy.largest / cy.norm);
    return fmin(1, fmax(-1, sum));
}

typedef struct ranked {
    double value;
    size_t index;
} ranked;

static int by_value(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    return (x->value > y->value) - (x->value < y->value);
}

static bool all_finite(const double *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(x[i])) return false;
    }
    return true;
}

static void rank(const double *x, size_t count, ranked *order, double *out_ranks) {
    for (size_t i = 0; i < count; i++)
        order[i] = (ranked){x[i], i};
    qsort(order, count, sizeof *order, by_value);
    for (size_t begin = 0, end; begin < count; begin = end) {
        for (end = begin + 1; end < count && order[end].value == order[begin].value;)
            end++;
        for (size_t i = begin; i < end; i++)
            out_ranks[order[i].index] = ((double)begin + (double)end + 1) / 2;
    }
}

static espl_status spearman(espl_context *ctx, const double *x, const double *y, size_t count, double *out_value) {
    if (!all_finite(x, count) || !all_finite(y, count)) return ESPL_OK;
    ranked *order = NULL;
    double *ranks = NULL;
    size_t bytes;
    espl_status status;
    if (!espl_mul(count, sizeof *order, &bytes)) return espl_fail(ctx, ESPL_LIMIT, "%zu rows are too many", count);
    ESPL_GOTO(espl_new(ctx, bytes, &order));
    ESPL_GOTO(espl_new(ctx, count * 2 * sizeof *ranks, &ranks));
    rank(x, count, order, ranks);
    rank(y, count, order, ranks + count);
    *out_value = pearson(ranks, ranks + count, count);
fail:
    espl_free(ctx, &ranks);
    espl_free(ctx, &order);
    return status;
}

espl_status espl_metric_values(espl_context *ctx, espl_metric metric, const double *values, const double *predicted,
                               size_t count, double *out_value) {
    *out_value = NAN;
    if (metric != ESPL_METRIC_PEARSON && metric != ESPL_METRIC_SPEARMAN)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s is not a metric of numbers", espl_metric_name(metric));
    if (count == 0) return espl_fail(ctx, ESPL_ARGUMENT, "%s of no rows", espl_metric_name(metric));
    if (metric == ESPL_METRIC_SPEARMAN) return spearman(ctx, values, predicted, count, out_value);
    *out_value = pearson(values, predicted, count);
    return ESPL_OK;
}
