/* What stands behind the last hidden state for a task, by the names of the family (config.h, espl_head_names): perhaps the
 * first or last token of each row, dense, activation, norm, dropout, and a last product into labels or the vocabulary.
 * Its matrices lie in the model's store in f32. The output projection of language models is espl_model.head. */
#ifndef ESPL_HEAD_H
#define ESPL_HEAD_H

#include "host/model/config.h"
#include <espalier/model.h>

#define ESPL_NO_MATRIX UINT32_MAX

typedef struct espl_norm_weights {
    uint32_t weight, bias; /* matrices */
} espl_norm_weights;

typedef struct espl_task_head {
    espl_head_kind kind; /* never DEFAULT */
    const espl_head_names *names; /* NULL: NONE, and LANGUAGE unless flexible */
    espl_head_names flexible;     /* what names is then */
    uint32_t labels;     /* outputs of heads that are not for words; 0: for words, or none */
    uint32_t choices;    /* rows that are one question; 0: not CHOICES */
    char **label_names;  /* owned, labels of them */
    uint32_t activation;
    float dropout, dropout_first; /* before the last map, before dense */
    bool pairs; /* rows have two texts */
    uint32_t dense, dense_bias, out, out_bias; /* matrices; out of words: none, it is espl_model.head or the embedding */
    espl_norm_weights norm;
    float norm_eps;
    const char *pooler; /* flexible: the family's module before it; NULL: none */
    uint32_t pooler_dense, pooler_bias, pooler_activation;
} espl_task_head;

struct espl_model;

/* Finds out the kind and the labels from what the caller asks and config.json says. Needs model->config.
 * Fails: ARGUMENT, UNSUPPORTED for a kind that the family has not; FORMAT. */
espl_status espl_head_choose(struct espl_model *model);
/* The family's row for a kind; NULL: none is needed. */
const espl_head_names *espl_head_names_of(const espl_family *family, espl_head_kind kind);
/* The kind that "architectures" names. Fails: FORMAT, UNSUPPORTED. */
espl_status espl_head_kind_of_file(const struct espl_model *model, espl_head_kind *out_kind);
/* As many labels as outputs; 0: as the caller or config.json says. Their names likewise. */
espl_status espl_head_name_labels(struct espl_model *model, uint32_t outputs);
/* Declares its matrices in the model's store; they may be absent in files. */
espl_status espl_head_declare(struct espl_model *model);
void espl_head_finish(struct espl_model *model);
/* The transformers class of the family with this head, as config.json has it or else the first. Freed with espl_free. */
espl_status espl_head_class(const struct espl_model *model, char **out_name);
/* Writes architectures and labels into a configuration that is to be saved. */
espl_status espl_head_describe(const struct espl_model *model, json_t *config);

/* True for a head of the Adapters library's own making (espl_head_params.flexible). */
bool espl_head_is_flexible(const struct espl_model *model);
/* True for masked and next tokens: the last map is the vocabulary's. */
bool espl_head_of_words(const struct espl_model *model);
/* True if an output belongs to a token and not to a row. */
bool espl_head_per_token(const struct espl_model *model);
/* Labels of a row of so many tokens; of CHOICES only the first row of a question has it. */
uint32_t espl_head_row_labels(const struct espl_model *model, uint32_t tokens);
/* Rows that have a label together and stay beside each other; 1 but for CHOICES. */
uint32_t espl_head_choices(const struct espl_model *model);
/* True if the loss is made from whole outputs; else with the last product, a few rows at a time. */
bool espl_head_loss_of_outputs(const struct espl_model *model);
/* Whether the device needs rows' lengths: where tokens see those behind them, where a row has one output, and where padding's count. */
bool espl_head_needs_lengths(const struct espl_model *model);
/* True for a matrix of the base that belongs to the head. */
bool espl_head_has_matrix(const struct espl_model *model, uint32_t matrix);
/* Numbers in an output: labels, the vocabulary, the hidden size. */
uint32_t espl_head_outputs(const struct espl_model *model);

#endif
