/* What a prediction is worth: the metrics of the tasks, each equal to a published implementation (README.md names them,
 * tests/unit/test_metrics.c shows it). All sums in double precision; the same bits for the same input. */
#ifndef ESPL_METRICS_H
#define ESPL_METRICS_H

#include "host/base/base.h"
#include "host/file/expression.h"

/* name, text, whether more is better */
#define ESPL_METRIC_LIST(X)             \
    X(ACCURACY, "accuracy", true)       \
    X(F1, "f1", true)                   \
    X(F1_MACRO, "f1_macro", true)       \
    X(F1_MICRO, "f1_micro", true)       \
    X(MATTHEWS, "matthews", true)       \
    X(PEARSON, "pearson", true)         \
    X(SPEARMAN, "spearman", true)       \
    X(ENTITY_F1, "entity_f1", true)     \
    X(BLEU, "bleu", true)               \
    X(PERPLEXITY, "perplexity", false)

typedef enum espl_metric {
#define ESPL_METRIC_ENUM(name, text, more) ESPL_METRIC_##name,
    ESPL_METRIC_LIST(ESPL_METRIC_ENUM)
#undef ESPL_METRIC_ENUM
    ESPL_METRIC_COUNT
} espl_metric;

const char *espl_metric_name(espl_metric metric);
/* false if name names none. */
bool espl_metric_find(const char *name, espl_metric *out_metric);
/* Whether a checkpoint with `value` replaces the best one so far. NaN replaces nothing, any number replaces it. */
bool espl_metric_better(espl_metric metric, double value, double best);

/* ACCURACY, F1 (of label 1), F1_MACRO (mean over the labels that occur in either array), F1_MICRO (equals the accuracy,
 * for every row has one label) or MATTHEWS of count pairs of labels, each < label_count. 0/0 is 0 everywhere: F1
 * without label 1 in either, Matthews when all labels or all predictions are one.
 * Cost:  count steps, 24 bytes per label. Fails: ARGUMENT for count 0, a label out of range, another metric;
 * HOST_MEMORY. Source: scikit-learn's accuracy_score, f1_score, matthews_corrcoef. */
espl_status espl_metric_labels(espl_context *ctx, espl_metric metric, const uint32_t *labels,
                               const uint32_t *predicted, size_t count, uint32_t label_count, double *out_value);

/* PEARSON or SPEARMAN (equal values share the average of their ranks) of count pairs of numbers, from -1 to 1. NaN
 * where it is not defined: fewer than 2 pairs, all values or all predictions equal, a number that is not finite.
 * Cost:  Spearman sorts and takes 32 bytes per pair. Fails: ARGUMENT for count 0 or another metric; HOST_MEMORY.
 * Source: scipy.stats pearsonr and spearmanr. */
espl_status espl_metric_values(espl_context *ctx, espl_metric metric, const double *values, const double *predicted,
                               size_t count, double *out_value);

/* e to the mean loss per token (in nats); infinity beyond a double. */
double espl_metric_perplexity(double mean_loss);

/* Names of labels, by index. Borrowed. */
typedef struct espl_labels {
    const char *const *names;
    uint32_t count;
} espl_labels;

/* Entities in tag sequences (B-, I-, E-, S- and O), as conlleval cuts them: an I- behind O or behind another type
 * begins an entity. An entity counts as right if its type, begin and end are. Start with {0}.
 * Source: seqeval's classification_report, mode not strict, micro average. */
typedef struct espl_entity_row {
    char *type; /* owned; NULL in the total */
    uint64_t labelled, predicted, right;
    double precision, recall, f1; /* 0 where 0/0; set by espl_entity_sum */
} espl_entity_row;
typedef struct espl_entity_walk { /* a sequence of tags, as far as it was read */
    size_t begin, type_bytes;
    const char *type;
    uint32_t letter;
} espl_entity_walk;
typedef struct espl_entity_score {
    espl_entity_row *rows; /* owned; [row_count], by type in byte order */
    size_t row_count, capacity, at;
    espl_entity_walk labelled, predicted;
    espl_entity_row total; /* the micro average: total.f1 is ENTITY_F1 */
} espl_entity_score;
/* One sentence of count tags. Fails: ARGUMENT for a tag >= labels->count, nothing was counted then; HOST_MEMORY, the
 * score can only be finished then. */
espl_status espl_entity_add(espl_context *ctx, espl_entity_score *score, const espl_labels *labels,
                            const uint32_t *tags, const uint32_t *predicted, uint32_t count);
/* Sets total and the quotients of all rows from the counts; more sentences may follow. */
void espl_entity_sum(espl_entity_score *score);
void espl_entity_finish(espl_context *ctx, espl_entity_score *score);

/* BLEU of a corpus: 1- to 4-grams clipped by the reference that has most of each, the reference length nearest to the
 * hypothesis' (the shorter of two), 13a tokens, exponential smoothing, no effective order.
 * Source: sacrebleu's corpus_bleu with its defaults. */
enum { ESPL_BLEU_ORDERS = 4, ESPL_BLEU_RULES = 4 };
typedef struct espl_bleu {
    uint64_t correct[ESPL_BLEU_ORDERS], total[ESPL_BLEU_ORDERS], hypothesis_words, reference_words;
    espl_expression *rules[ESPL_BLEU_RULES]; /* owned */
} espl_bleu;
/* Fails: HOST_MEMORY. */
espl_status espl_bleu_init(espl_context *ctx, espl_bleu *out_bleu);
/* One hypothesis and its references, UTF-8 (bad parts count as U+FFFD). Fails: ARGUMENT for no reference; HOST_MEMORY;
 * after a failure the counts are as before. */
espl_status espl_bleu_add(espl_context *ctx, espl_bleu *bleu, const char *hypothesis, const char *const *references,
                          uint32_t reference_count);
/* 0 to 100 of what was added so far; 0 for nothing. */
double espl_bleu_score(const espl_bleu *bleu);
void espl_bleu_finish(espl_context *ctx, espl_bleu *bleu);

#endif
