/* Training: data, schedule, optimiser, checkpoints, and the door for checking (probe). */
#ifndef ESPALIER_TRAINER_H
#define ESPALIER_TRAINER_H

#include <espalier/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct espl_trainer espl_trainer;
typedef struct espl_dataset espl_dataset;

/* By the file's extension: JSON lines (.jsonl, or .json holding one array of the same objects), else plain text.
 *   text           the whole file, packed into rows of `context` tokens; every token is a label
 *   {"text": s}    one row each
 *   {"prompt": s, "completion": s}          loss on the completion (and the end-of-text id) only
 *   {"messages": [{"role","content"}...]}   loss on what the assistant says only; template named in tokenizer_config.json
 *                                           where known, else ChatML
 *   {"instruction","input","output"}        as prompt and completion, Alpaca's template
 * With params.tasks_of an object also has "task": the name of the row's task.
 * Fails: IO; FORMAT with the line number; LIMIT for a row longer than context with its length; ARGUMENT for a task that no active
 * adapter has. */
typedef struct espl_dataset_params {
    uint32_t context;        /* tokens in a row; 0: 256 */
    double validation_share; /* of the rows, taken by seed; 0: 0.05; negative: none */
    uint64_t seed;
    /* The model's folder, whose chat template renders "messages"; NULL: a form that fits the vocabulary, else ChatML. */
    const char *model_folder;
    /* Borrowed for the call: whose active adapters know the rows' tasks by name (espl_model_task). Where none has a part for each
     * task, and with NULL, "task" is not looked at. */
    const espl_model *tasks_of;
} espl_dataset_params;
espl_status espl_dataset_load(espl_context *context, const espl_tokenizer *tokenizer, const char *path,
                              const espl_dataset_params *params, espl_dataset **out_dataset);
/* Rows given by the caller (copied), of any kind that a model's head takes. */
typedef struct espl_rows {
    uint32_t rows, tokens;
    const int32_t *ids;     /* [rows, tokens], padded on the right with any id; NULL: embeddings are given */
    const int32_t *types;   /* [rows, tokens], token types; NULL: 0 */
    const int32_t *lengths; /* [rows], 1 to tokens: how many are not padding; NULL: all */
    const int32_t *labels;  /* [rows, row_labels]; negative does not count */
    uint32_t row_labels;    /* 1: a class for each row. tokens: for each token the id to be predicted after it (LANGUAGE), in
                               its place (MASKED), or its class (TAGGING). 0: no labels, for values or prediction. 2: with spans */
    /* For SPANS: labels are the places, from 0, of the first and the last token of the row's answer. A row does not count if both
     * are outside of its `tokens` (negative or beyond); one alone, or one in the padding, is refused. */
    bool spans;
    /* For CHOICES: so many rows that follow each other are one question, of which one is right: labels is [rows / choices], from 0.
     * Questions move as a whole into the parts and in an epoch's order; batches are multiples. 0, 1: each row by itself */
    uint32_t choices;
    const float *values;    /* [rows, row_values], for REGRESSION; NULL: none */
    uint32_t row_values;
    const int32_t *tasks;   /* [rows], for adapters with a part for each task (espl_model_task); NULL: 0 */
    const float *embeddings; /* [rows, tokens, width], finite, padded on the right with any numbers; in place of ids */
    uint32_t width;          /* of the embeddings: the model's embedding_size (espl_model_describe) */
} espl_rows;
/* Embeddings stand in place of the rows that the vocabulary has for ids: before positions, token types, the embedding's norm,
 * an adapter at the embedding (adalink) and rows before the text. All else is as for ids, labels too: those of a LANGUAGE head
 * are ids, for each token the one to be predicted after it. They are not changed by what is trained or merged into the
 * vocabulary, and an adapter that goes by ids (pasta) refuses them when a pass is recorded.
 * validation_share as in espl_dataset_params, but 0 and negative: none; drawn by seed. Fails: ARGUMENT naming the row. */
espl_status espl_dataset_from_rows(espl_context *context, const espl_rows *rows, double validation_share, uint64_t seed,
                                   espl_dataset **out_dataset);
/* The same for language models: ids[i] in 0.., labels[i] the id to be predicted at i or negative. */
espl_status espl_dataset_from_ids(espl_context *context, const int32_t *ids, const int32_t *labels, uint32_t rows,
                                  uint32_t row_tokens, espl_dataset **out_dataset);
/* Takes and clears; NULL is accepted. Trainers of it come first. */
void espl_dataset_destroy(espl_dataset **dataset);
/* Counts of rows and of label tokens in the training and in the validation part. */
typedef struct espl_dataset_info {
    uint32_t train_rows, validation_rows, context;
    uint64_t train_labels, validation_labels; /* an answer has 2, a question of several choices 1 */
} espl_dataset_info;
espl_dataset_info espl_dataset_describe(const espl_dataset *dataset);

typedef enum espl_schedule { ESPL_SCHEDULE_LINEAR, ESPL_SCHEDULE_CONSTANT, ESPL_SCHEDULE_COSINE } espl_schedule;

typedef struct espl_trainer_params {
    uint32_t steps;          /* optimiser steps; 0: by epochs */
    double epochs;           /* 0: 1 */
    uint32_t batch;          /* rows in a micro-batch, whole questions of CHOICES; 0: 1, or one question */
    uint32_t accumulate;     /* micro-batches in a step; 0: 1 */
    double learning_rate;    /* 0: 2e-4 */
    espl_schedule schedule;  /* falls to 0 at the last step but for CONSTANT */
    uint32_t warmup;         /* steps of linear rise */
    double beta1, beta2, epsilon, weight_decay; /* 0: 0.9, 0.999, 1e-8, 0 */
    double max_norm;         /* of the gradient; 0: 1; negative: no clipping */
    bool recompute;          /* per block: less memory, about a third more time */
    uint64_t seed;           /* of row order and dropout */
    bool no_shuffle;
    /* Rows of like length share a batch, and a batch goes through a recording that is hardly longer than its longest row: up
     * to 8 are made, in the memory of one. For data in which rows have lengths, that is all but plain text. Batches follow each
     * other in random order; which rows share one is less random. With no_shuffle the order stays as it is. Where answers are looked
     * for (SPANS) padding takes part in the softmax as in transformers, so there the length of the recording is in the loss. */
    bool group_by_length;
    /* For espl_trainer_advance: milliseconds of work that go to the device at a time; operators that take longer are cut, shorter
     * ones joined, by measured times. 0: not in pieces, and espl_trainer_advance is refused. Shorter pieces fill a budget
     * better, longer ones make a step faster; a quarter of the budget is a good beginning. */
    double piece_ms;
    /* Adapters that are trained together with the first, up to 4: borrowed for the call, active, in a composition with it (each gets
     * what its rows give). The norm of gradients is over all. Methods with steps of their own kind are trained alone. */
    espl_adapter *const *also;
    uint32_t also_count;
} espl_trainer_params;

/* adapter: what is trained (with params->also); NULL: the model itself, loaded with params.trainable. Both, and dataset, are borrowed.
 * Records everything: the first step takes as long as the others. With piece_ms, also runs everything 4 to
 * 20 times without effect and waits for it, to know times.
 * Fails: ARGUMENT (an adapter that is not active, data that is not of the model's head or vocabulary, a model that is not trainable),
 * LIMIT (more tokens than the model's context), DEVICE_MEMORY saying what needs less. */
espl_status espl_trainer_create(espl_model *model, espl_adapter *adapter, const espl_dataset *dataset,
                                const espl_trainer_params *params, espl_trainer **out_trainer);
/* Takes and clears, after the device is done; NULL is accepted. */
void espl_trainer_destroy(espl_trainer **trainer);

typedef struct espl_progress {
    uint32_t step, steps; /* done, in all */
    double epoch;
    double loss;             /* mean over the step's label tokens */
    double gradient_norm;    /* before clipping */
    double learning_rate;    /* of the step done */
    uint64_t rows, tokens;   /* so far; tokens without padding */
    double tokens_per_second, seconds_left; /* over the recent steps of this process */
    uint32_t skipped;        /* steps without change because a gradient was not finite */
} espl_progress;
/* One optimiser step, or the rest of the one under way. Blocks until the device is done. After the last one it changes
 * nothing and returns OK. Records nothing and allocates nothing, but where commands took longer than their slice.
 * Fails: DEVICE_LOST; what an adapter says of a row (more special tokens than it has vectors: LIMIT). */
espl_status espl_trainer_step(espl_trainer *trainer, espl_progress *out_progress);
/* A part of a step, for a host program that has something else to do on the device, such as the next frame: puts on the
 * queue what is expected to take at most budget_ms milliseconds there, by the time it took before, and returns without
 * waiting. What earlier calls submitted and the device has not finished counts against the budget. A piece that is alone
 * above the budget, or whose time is not known, goes by itself while nothing else is running; with budget_ms 0 or below nothing is
 * submitted.
 * *out_done: the step is complete, *out_progress is its; the next call begins another. Else *out_progress has step and
 * steps only. The bits are those of espl_trainer_step. While a step is under way espl_trainer_save, _resume and _evaluate fail
 * with ARGUMENT; parameters change in its last pieces, so adapters should be saved, merged or used between steps too.
 * Fails: ARGUMENT (piece_ms is 0), DEVICE_LOST. */
espl_status espl_trainer_advance(espl_trainer *trainer, double budget_ms, espl_progress *out_progress, bool *out_done);
bool espl_trainer_is_done(const espl_trainer *trainer);
/* False while a method that makes itself smaller (diff_pruning, adalora, flop) has not come to the size of its result: what is
 * measured until then is of a larger adapter. */
bool espl_trainer_is_settled(const espl_trainer *trainer);
uint64_t espl_trainer_activation_bytes(const espl_trainer *trainer);

/* Mean loss per label token over the validation part (the training part if there is none); perplexity is exp of it. The first call
 * records. Fails: ARGUMENT while a step is under way, else as espl_trainer_step. */
espl_status espl_trainer_evaluate(espl_trainer *trainer, double *out_loss);
/* Parameters, optimiser state and position, into folder, complete or not at all; resume continues to the same bits as an
 * uninterrupted run. Fails: IO; ARGUMENT if the checkpoint is of another model, adapter, data or settings (named). */
espl_status espl_trainer_save(espl_trainer *trainer, const char *folder);
espl_status espl_trainer_resume(espl_trainer *trainer, const char *folder);

/* Mean loss per label token of rows of a dataset with the active adapters, without a trainer. batch: as the trainer's. part: 0 all
 * rows, 1 training, 2 validation. Records for each call. Fails: ARGUMENT for data that is not of the model's head or vocabulary, LIMIT,
 * DEVICE_MEMORY. */
espl_status espl_evaluate(espl_model *model, const espl_dataset *dataset, uint32_t batch, int part, double *out_loss,
                          uint64_t *out_labels);
/* What the model's head gives for those rows, in their order: logits (of CHOICES one for each row), numbers (REGRESSION), hidden
 * states (NONE);
 * [rows, outputs], or [rows, context, outputs] where every token has an output (espl_model_describe). The part is
 * as in espl_evaluate. out_values is the caller's, rows (* context) * outputs floats, with parallel that for each of its children, one
 * after the other. Labels are not looked at. Fails: as espl_evaluate. */
espl_status espl_predict(espl_model *model, const espl_dataset *dataset, uint32_t batch, int part, float *out_values);

/* The door for checking: one batch through the model with adapter (or NULL); writes a safetensors file with ids (or embeddings),
 * labels, logits [rows, tokens, vocabulary], loss [1] (before any step), grad.<name> of every trainable tensor under its PEFT (or
 * file) name, and with steps > 0 param<steps>.<name> after that many AdamW steps on this batch (no clipping, weight_decay as
 * given). score.<gate> [rows] of every gate of an adapter, score.<fusion> [rows, tokens, adapters] of every AdapterFusion. With ids
 * labels may be NULL for LANGUAGE: each token's successor. Plain labels as Hugging Face means them: labels[i] is the token at i, the
 * shift is done inside, negative does not count; other heads take labels as espl_rows has them. trainable model or adapter needed
 * for gradients; else logits, scores and loss only. Fails: ARGUMENT naming a token, label or length that the model has not, IO. */
typedef struct espl_probe_params {
    const int32_t *ids, *labels; /* [rows, tokens]; labels of CLASSIFICATION [rows], SPANS [rows, 2], CHOICES [rows / choices] */
    const float *embeddings;     /* in place of ids, as in espl_rows: [rows, tokens, the model's embedding_size] */
    uint32_t rows, tokens;
    const int32_t *types, *lengths; /* as in espl_rows */
    const int32_t *tasks;           /* as in espl_rows */
    const float *values;            /* REGRESSION: [rows, labels] */
    uint32_t steps;
    double learning_rate, weight_decay;
    bool recompute;
} espl_probe_params;
espl_status espl_probe(espl_model *model, espl_adapter *adapter, const espl_probe_params *params, const char *path);

#ifdef __cplusplus
}
#endif
#endif
