/* Training data as the trainer sees it: rows of `context` token ids, or embeddings in their place, with, for each
 * position, the id to be predicted after it. What is read from which file stands in espalier/trainer.h; here is how it becomes rows:
 *
 * Plain text. A byte-order mark is dropped and CRLF becomes LF. The tokens t[0] t[1] ... of the whole file, with what
 *   the tokenizer puts before and behind a text (<s>), are cut into rows: row r holds ids t[r*context .. ] and labels
 *   one further, so its last label is the first id of the next row. A tail of at least 2 tokens becomes a padded row.
 *   The last share of the rows is the validation part.
 * JSON rows. Prompt and completion are tokenized separately and joined: [before the text] prompt completion [end of
 *   text]. The end-of-text id is added where the tokenizer has one and the row does not end with it already. A {"text"}
 *   row counts every token, the others what is to be answered and its end. A row with n tokens has n ids, n-1 labels
 *   and padding (pad, else end of text, else 0). The validation part is drawn by seed.
 *   instruction/input/output is Alpaca's prompt, ending in "### Response:\n".
 * messages are described in host/train/chat.h.
 *
 * The tokenizer is one of the same context; its failures then have their sentence there.
 *
 * The validation part has round(share * rows) rows, at least one, but leaves one row for training. */
#ifndef ESPL_DATA_H
#define ESPL_DATA_H

#include "host/base/base.h"
#include <espalier/trainer.h>

#define ESPL_NO_LABEL (-100)

typedef enum espl_part { ESPL_PART_ALL, ESPL_PART_TRAIN, ESPL_PART_VALIDATION } espl_part;

/* espl_dataset_load for a model whose chat template is known: a Jinja text, the name of a form of chat.h, or NULL to go
 * by the vocabulary. */
espl_status espl_dataset_load_chat(espl_context *ctx, const espl_tokenizer *tokenizer, const char *chat_template,
                                   const char *path, const espl_dataset_params *params, espl_dataset **out_dataset);

uint32_t espl_dataset_context(const espl_dataset *dataset);
uint32_t espl_dataset_rows(const espl_dataset *dataset, espl_part part);
/* What rows hold, for a model to be held against. */
typedef struct espl_dataset_shape {
    uint32_t labels, values; /* of a row; labels: context, 1, or with spans 2 */
    uint32_t width;          /* of embeddings; 0: rows have ids */
    uint32_t choices;        /* rows that are one question: they stay beside each other, and the first has the label */
    bool spans;              /* labels are places in the row */
    uint32_t vocabulary, types, label_end; /* greater than every id, type, label */
} espl_dataset_shape;
espl_dataset_shape espl_dataset_shape_of(const espl_dataset *dataset);
/* Ids or embeddings [rows, tokens, width] are given, not both, and embeddings are finite. Fails: ARGUMENT naming the row. */
espl_status espl_embeddings_check(espl_context *ctx, const int32_t *ids, const float *embeddings, uint32_t rows, uint32_t tokens,
                                  uint32_t width);
/* Of all ids, labels and the parts: a checkpoint is resumed on the same data only. */
uint64_t espl_dataset_hash(const espl_dataset *dataset);

/* One row, borrowed from the dataset; a negative label does not count. */
typedef struct espl_row {
    const int32_t *ids, *labels; /* context, NULL with embeddings; shape.labels */
    const float *embeddings;     /* context * shape.width; NULL: none */
    const int32_t *types;        /* context; NULL: 0 */
    const float *values;         /* shape.values; NULL: none */
    int32_t task;
    uint32_t length;             /* ids behind it are padding that nothing looks at */
} espl_row;
/* index < espl_dataset_rows(dataset, part). Within a part rows are in the order of the file. */
espl_row espl_dataset_row(const espl_dataset *dataset, espl_part part, uint32_t index);

/* The order of an epoch: a permutation of 0 .. count-1 in the caller's memory. It depends on seed, epoch and count
 * alone, so a resumed run makes it again. */
void espl_epoch_order(uint64_t seed, uint64_t epoch, uint32_t count, uint32_t *out_order);
/* The same of the rows of a part, whose questions move as a whole. */
void espl_dataset_order(const espl_dataset *dataset, espl_part part, uint64_t seed, uint64_t epoch, uint32_t *out_order);

/* Whether an answer counts, for which both of its ends are in the row: *out_counts. Both may be outside (negative, or not below
 * tokens). Fails: ARGUMENT naming the row if one of them is, or if one is in the padding behind length. */
espl_status espl_span_check(espl_context *ctx, uint32_t row, const int32_t span[2], uint32_t length, uint32_t tokens, bool *out_counts);
/* ARGUMENT unless the rows are whole questions and each label is below choices. labels, NULL: none: one for each question. */
espl_status espl_choices_check(espl_context *ctx, uint32_t rows, uint32_t choices, const int32_t *labels);

/* Puts these rows of a part into falling length; rows of one length stay as they follow each other, and questions, of whose rows the
 * longest counts, together. keys: scratch for two times as many. */
void espl_dataset_sort(const espl_dataset *dataset, espl_part part, uint32_t *in_out_order, uint32_t count, uint64_t *keys);

/* How rows of an epoch are put beside rows of like length. */
typedef struct espl_grouping {
    uint64_t seed, epoch;
    uint32_t batch, group; /* rows; batches that are sorted together */
} espl_grouping;
/* Gives the rows of an epoch's order batches of like length: groups of batches are sorted by length, and then the batches of a
 * group are shuffled whole, because a run that saw long rows first would learn worse than one in random order. Batches are
 * counted from the beginning of the first epoch: rows of one that two epochs share stay where they are. keys: as above. */
void espl_dataset_group(const espl_dataset *dataset, espl_part part, const espl_grouping *by, uint32_t count,
                        uint32_t *in_out_order, uint64_t *keys);

#endif
