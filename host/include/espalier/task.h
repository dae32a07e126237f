/* Labelled data of a task, rows for a trainer made of it, and what a model is worth on it. In the order of use:
 *
 *   espl_task_data_load    reads a file; its labels are known
 *   espl_task_data_head    the head that a model needs for it: espl_model_params.head
 *   espl_task_data_encode  its texts become rows by the model's tokenizer: for espl_trainer_create
 *   espl_task_evaluate     loss and the task's metrics, of the validation file
 *
 * Where there is a model whose head was trained for the task already, espl_task_head_of comes first, the model then, and its
 * labels are those that the data must have (labels_of_model). host/task/README.md has the table of tasks. */
#ifndef ESPALIER_TASK_H
#define ESPALIER_TASK_H

#include <espalier/trainer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct espl_task_data espl_task_data;

/* The head of a task: its kind, and its labels where the task itself names them (0 where files do); names are static.
 * Tasks of generation have ESPL_HEAD_LANGUAGE. Fails: ARGUMENT for a name that is no task, with all that are. */
espl_status espl_task_head_of(espl_context *context, const char *task, espl_head_params *out_head);

typedef struct espl_task_data_params {
    const char *columns; /* "text=sentence,label=class", numbers for files without a header; NULL: the task's */
    bool bio2;           /* tags in IOB1 become BIO2 */
    /* The labels must be those, in that order, of other data (the training file's for the validation file), or of a
     * model whose head has names for them; NULL: the task's own, else those that the file has, in byte order. */
    const espl_task_data *labels_of;
    const espl_model *labels_of_model;
} espl_task_data_params;

/* task: "cola", "mrpc", "stsb", "conll2003", "classification", ...; params may be NULL.
 * Fails: as espl_task_head_of; IO; HOST_MEMORY; FORMAT `dev.tsv:2: label "x" is none of 0, 1`. */
espl_status espl_task_data_load(espl_context *context, const char *task, const char *path,
                                const espl_task_data_params *params, espl_task_data **out_data);
/* Takes and clears; NULL is accepted. Trainers on its rows come first. */
void espl_task_data_destroy(espl_task_data **data);

/* Kind, count and names of labels, borrowed from the data. */
espl_head_params espl_task_data_head(const espl_task_data *data);
typedef struct espl_task_metric {
    const char *name; /* "matthews", "entity_f1", ... static */
    double value;     /* NaN where it is not defined: a correlation with a constant */
    bool more_is_better;
} espl_task_metric;
/* The metric that decides which checkpoint is best; its value is NaN. */
espl_task_metric espl_task_data_goal(const espl_task_data *data);
/* Rows of the file; of generation different sources. */
uint32_t espl_task_data_count(const espl_task_data *data);

/* Makes the rows: each text (and its pair) becomes `context` tokens at most, special ones included; longer ones are cut
 * as espl_texts.max_tokens says, and counted. In tagging the first token of each word carries its tag. context 0: 128,
 * or what the model has positions for. Tasks of generation have a row for each reference of each source: source,
 * begin-of-text id (or that of the end), reference, end-of-text id, with labels for the last two; a session continues the first
 * two alike.
 * Time and memory: one encode and 12 * context bytes per row (tagging 16).
 * Fails: ARGUMENT if the model's head is of another kind or has another number of labels (both are named), has no
 * tokenizer, or fewer positions than context; what espl_tokenizer_encode_texts fails with, naming the row. */
espl_status espl_task_data_encode(espl_task_data *data, espl_model *model, uint32_t context);
/* After encode; borrowed. All rows are training rows. */
const espl_dataset *espl_task_data_rows(const espl_task_data *data);
/* Rows that were longer than the context; of generation sources. */
uint32_t espl_task_data_cut(const espl_task_data *data);

enum { ESPL_TASK_RESULT_METRICS = 2 };
typedef struct espl_task_result {
    double loss;    /* mean, per row, in tagging per word, in generation per token of the references */
    uint64_t count; /* rows, words or tokens that the loss is the mean of */
    uint32_t metric_count;
    espl_task_metric metrics[ESPL_TASK_RESULT_METRICS]; /* the first decides which checkpoint is best */
} espl_task_result;
/* What the model with its active adapters gives for the encoded rows, `batch` at a time (0: 1). Words of which no token
 * is left are not scored, as in transformers. Tasks of generation write an answer to each source, greedily, one token at a
 * time until the end or until it fills the row. The same bits for the same model, device and batch.
 * Fails: ARGUMENT if the data was not encoded or not for such a head; as espl_predict. */
espl_status espl_task_evaluate(espl_model *model, const espl_task_data *data, uint32_t batch,
                               espl_task_result *out_result);

#ifdef __cplusplus
}
#endif
#endif
