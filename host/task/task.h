/* Tasks as data, and their files read into one form. A task says how its files are laid out, which labels there are and
 * what its results are measured by; reading gives one espl_example per row, sentence or source:
 *
 *   classification  text, pair or NULL, label         one row of TSV, CSV or JSON lines each
 *   regression      text, pair or NULL, value
 *   tagging         words, tags                       CoNLL columns, or JSON lines with two arrays of strings
 *   generation      text, references                  rows of the same source are one example, in order of the first
 *
 * Files are UTF-8; a byte-order mark and CRLF are accepted, a zero byte and invalid UTF-8 are refused. Empty lines of
 * tables and JSON lines are passed over. TSV fields have no quotes; CSV fields may, with line breaks and "" in them.
 * Texts are kept as the file has them. */
#ifndef ESPL_TASK_H
#define ESPL_TASK_H

#include "host/task/metrics.h"

typedef enum espl_task_kind {
    ESPL_TASK_CLASSIFICATION,
    ESPL_TASK_REGRESSION,
    ESPL_TASK_TAGGING,
    ESPL_TASK_GENERATION,
} espl_task_kind;

typedef enum espl_layout {
    ESPL_LAYOUT_BY_EXTENSION, /* .tsv .csv .jsonl; .conll .bio .txt for tagging */
    ESPL_LAYOUT_TSV,
    ESPL_LAYOUT_CSV,
    ESPL_LAYOUT_JSONL,
    ESPL_LAYOUT_CONLL,
} espl_layout;

/* What a source is in the file. Meaning representations and triples become the line that GPT-2 was prefix-tuned on:
 * "name : The Eagle | Type : pub | price : cheap", "subject : relation : object | ...". */
typedef enum espl_source_form {
    ESPL_SOURCE_TEXT,
    ESPL_SOURCE_MEANING,       /* name[The Eagle], eatType[pub], priceRange[cheap] */
    ESPL_SOURCE_TRIPLES,       /* [["subject", "relation", "object"], ...] */
    ESPL_SOURCE_LOWER_TRIPLES, /* the same, relations in lower case */
} espl_source_form;

enum { ESPL_TASK_METRICS = 2 };

typedef struct espl_task {
    const char *name;
    espl_task_kind kind;
    espl_layout layout;
    /* "text=sentence,label=label": names of header or keys of the roles text, pair, label, target (generation).
     * numbered, 1 is the first: of files without a header; NULL if a header is always there. */
    const char *columns, *numbered;
    bool extra_fields;    /* rows of a file without a header may be longer than the columns need */
    bool skip_short_rows; /* published files have rows cut by line breaks, which every reader leaves out */
    espl_source_form source;
    espl_labels labels; /* count 0: those of the file, in byte order */
    double low, high;   /* of a value; both 0: any */
    /* metrics[0] decides which checkpoint is best */
    espl_metric metrics[ESPL_TASK_METRICS];
    uint32_t metric_count;
} espl_task;

/* NULL if there is none of that name. */
const espl_task *espl_task_find(const char *name);
/* All tasks in order; NULL behind the last. */
const espl_task *espl_task_at(size_t index);

typedef struct espl_example {
    const char *text, *pair;       /* NULL where there is none */
    const char *const *words;      /* [word_count] */
    const uint32_t *tags;          /* [word_count], indices of labels */
    const char *const *references; /* [reference_count], at least one in generation */
    uint32_t word_count, reference_count;
    uint32_t label; /* index of labels */
    double value;
} espl_example;

typedef struct espl_task_set {
    const espl_task *task;  /* borrowed */
    espl_labels labels;     /* names belong to the set */
    espl_example *examples; /* owned; [count], their texts too */
    uint32_t count;
    bool pairs;                     /* of at least one example */
    uint32_t skipped;               /* rows left out by skip_short_rows */
    struct espl_task_block *blocks; /* owned; texts */
    espl_context *ctx;              /* borrowed */
} espl_task_set;

typedef struct espl_task_read_params {
    const char *columns;       /* as in espl_task; NULL: the task's. All numbers: the file has no header */
    const espl_labels *labels; /* what the labels must be, say those of the training file; NULL: the task's */
    bool bio2;                 /* IOB1 tags become BIO2: each entity begins with B- */
} espl_task_read_params;

/* Reads a whole file; params may be NULL.
 * Cost:  the file is mapped and passed over twice, first for its UTF-8; memory for texts
 *        and 64 bytes per example; JSON lines also take what one line needs from the C library.
 * Fails: IO; HOST_MEMORY; LIMIT; ARGUMENT for columns that are not role=name,...; FORMAT with file and line:
 *        `train.tsv:17: 3 fields, 4 were expected as in the header`, `dev.tsv:2: label "x" is none of 0, 1`.
 *        The set is zeroed then. */
espl_status espl_task_read(espl_context *ctx, const espl_task *task, const char *path,
                           const espl_task_read_params *params, espl_task_set *out_set);
void espl_task_set_finish(espl_task_set *set);

#endif
