/* Between the read_*.c: a file's layout gives fields by role (read_table.c, read_json.c, read_conll.c), set.c makes
 * examples of them. */
#ifndef ESPL_TASK_READ_PRIVATE_H
#define ESPL_TASK_READ_PRIVATE_H

#include "host/file/json.h"
#include "host/file/map.h"
#include "host/task/task.h"

typedef enum espl_task_role {
    ESPL_TASK_ROLE_TEXT,
    ESPL_TASK_ROLE_PAIR,
    ESPL_TASK_ROLE_LABEL,
    ESPL_TASK_ROLE_TARGET,
    ESPL_TASK_ROLE_COUNT
} espl_task_role;

/* A piece of text; data NULL: absent. */
typedef struct espl_task_text {
    const char *data;
    size_t bytes;
} espl_task_text;

/* Columns by role, from "text=sentence,label=3". */
typedef struct espl_task_columns {
    espl_task_text names[ESPL_TASK_ROLE_COUNT];
    uint32_t numbers[ESPL_TASK_ROLE_COUNT]; /* 0 where it is no number */
    bool numbered;                          /* all of them */
} espl_task_columns;

/* A reference until all are known. */
typedef struct espl_reference {
    const char *text;
    uint32_t example;
} espl_reference;

typedef struct espl_task_reader {
    espl_context *ctx;
    const espl_task *task;
    const char *path;
    espl_task_set *set;
    espl_task_columns columns;  /* with names, or numbers if there are no others */
    espl_task_columns numbered; /* for a file without header, if both are possible */
    bool own_columns;           /* the caller's, not the task's */
    bool has_numbered, bio2, gather;
    const char *text; /* behind a byte-order mark */
    size_t bytes;
    size_t example_capacity;
    espl_map labels;            /* name to index, in the order they came */
    espl_map sources;           /* source to index of its example */
    espl_reference *references; /* owned */
    size_t reference_count, reference_capacity;
    espl_bytes scratch; /* for what becomes one field */
    espl_bytes tag;     /* for a tag, a key, a source */
} espl_task_reader;

/* ---- read.c ---- */

/* The newest failure was on this line. */
espl_status espl_task_fail_at(espl_task_reader *reader, size_t line, espl_status status);
/* How much of a text a message shows: whole characters, at most 60 bytes. For "%.*s". */
int espl_task_text_shown(espl_task_text text);
const char *espl_task_role_name(espl_task_role role);
/* Whether every row must have the role. */
bool espl_task_role_needed(espl_task_kind kind, espl_task_role role);

/* ---- one per layout; each reads the whole text ---- */

espl_status espl_task_read_tsv(espl_task_reader *reader);
espl_status espl_task_read_csv(espl_task_reader *reader);
espl_status espl_task_read_jsonl(espl_task_reader *reader);
espl_status espl_task_read_conll(espl_task_reader *reader);

/* ---- set.c ---- */

/* One row that is no sentence of tagging; failures lack the line. */
espl_status espl_task_add(espl_task_reader *reader, const espl_task_text fields[ESPL_TASK_ROLE_COUNT]);
/* *out_word: which word a failure is about. */
espl_status espl_task_add_sentence(espl_task_reader *reader, const espl_task_text *words, const espl_task_text *tags,
                                   size_t count, size_t *out_word);
/* Labels in their final order, references with their examples. */
espl_status espl_task_complete(espl_task_reader *reader);

/* ---- linearize.c; both append ---- */

espl_status espl_linearize_meaning(espl_context *ctx, espl_task_text meaning, espl_bytes *out);
espl_status espl_linearize_triples(espl_context *ctx, const json_t *triples, bool lower, espl_bytes *out);

#endif
