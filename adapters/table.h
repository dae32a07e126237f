/* A table of texts, printed for people, as CSV or as Markdown. */
#ifndef ESPL_TABLE_H
#define ESPL_TABLE_H

#include "host/base/base.h"
#include <espalier/methods.h>

typedef struct espl_table {
    espl_context *ctx;
    char **cells; /* owned, row after row; the first row is the heading */
    size_t count, capacity, columns;
} espl_table;

/* The next cell. Fails: HOST_MEMORY. */
espl_status espl_table_add(espl_table *table, const char *format, ...) ESPL_PRINTF(2, 3);
/* Frees the table. status: what became of adding; anything but OK is handed on. *out_text from espl_new. */
espl_status espl_table_print(espl_table *table, espl_status status, espl_table_format format, char **out_text);

#endif
