#include "adapters/table.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

espl_status espl_table_add(espl_table *table, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ESPL_TRY(espl_grow(table->ctx, &table->cells, &table->capacity, table->count + 1, sizeof *table->cells));
    ESPL_TRY(espl_copy_string(table->ctx, text, strlen(text), &table->cells[table->count]));
    table->count++;
    return ESPL_OK;
}

static int widest(const espl_table *table, size_t column) {
    size_t most = 0;
    for (size_t i = column; i < table->count; i += table->columns) {
        const size_t bytes = strlen(table->cells[i]);
        if (bytes > most) most = bytes;
    }
    return (int)most;
}

static espl_status print_csv(espl_context *ctx, espl_bytes *text, const char *cell, bool last) {
    const bool quoted = strpbrk(cell, ",\"\n") != NULL;
    if (quoted) ESPL_TRY(espl_bytes_append(ctx, text, "\"", 1));
    for (const char *c = cell; *c; c++) {
        if (*c == '"') ESPL_TRY(espl_bytes_append(ctx, text, "\"", 1));
        ESPL_TRY(espl_bytes_append(ctx, text, c, 1));
    }
    return espl_bytes_print(ctx, text, "%s%s", quoted ? "\"" : "", last ? "\n" : ",");
}

static espl_status print(const espl_table *table, espl_table_format format, espl_bytes *text) {
    for (size_t i = 0; i < table->count; i++) {
        const size_t column = i % table->columns;
        const bool last = column + 1 == table->columns;
        if (format == ESPL_TABLE_CSV)
            ESPL_TRY(print_csv(table->ctx, text, table->cells[i], last));
        else if (format == ESPL_TABLE_MARKDOWN)
            ESPL_TRY(espl_bytes_print(table->ctx, text, "| %s %s", table->cells[i], last ? "|\n" : ""));
        else
            ESPL_TRY(espl_bytes_print(table->ctx, text, "%-*s%s", last ? 0 : widest(table, column), table->cells[i],
                                      last ? "\n" : "  "));
        for (size_t j = 0; format == ESPL_TABLE_MARKDOWN && i + 1 == table->columns && j < table->columns; j++)
            ESPL_TRY(espl_bytes_print(table->ctx, text, "| --- %s", j + 1 == table->columns ? "|\n" : ""));
    }
    return ESPL_OK;
}

espl_status espl_table_print(espl_table *table, espl_status status, espl_table_format format, char **out_text) {
    espl_bytes text = {0};
    *out_text = NULL;
    if (status == ESPL_OK) status = print(table, format, &text);
    if (status == ESPL_OK) status = espl_copy_string(table->ctx, text.data, strlen(text.data), out_text);
    espl_bytes_finish(table->ctx, &text);
    for (size_t i = 0; i < table->count; i++) espl_free(table->ctx, &table->cells[i]);
    espl_free(table->ctx, &table->cells);
    return status;
}
