/* The table of a sweep: a row for each cell, its columns as text first, then in one of three forms. */
#include "tools/espalier/sweep.h"
#include "host/task/task.h"
#include "tools/espalier/console.h"
#include <stdio.h>
#include <string.h>

enum { COLUMNS_MAX = 9, CELL_BYTES = 128 };

typedef char table_row[COLUMNS_MAX][CELL_BYTES];

typedef struct form {
    const char *name, *before, *between, *behind;
    bool pads, rule;
    const char *quoted;    /* a cell with one of these stands in quotes */
    char escaped, escape; /* the one with the other before it; 0: none */
} form;

static const form forms[] = {{"text", "", "  ", "\n", true, false, "", 0, 0},
                             {"markdown", "| ", " | ", " |\n", true, true, "", '|', '\\'},
                             {"csv", "", ",", "\n", false, false, ",\"\r\n", '"', '"'}};

/* In the task's order: the members of a result that was read back are in that of the alphabet. */
static size_t metric_names(const sweep *sweep, const char *names[ESPL_TASK_METRICS]) {
    const espl_task *task = espl_task_find(sweep->program->options->task);
    if (!task) return 0;
    for (uint32_t m = 0; m < task->metric_count; m++)
        names[m] = espl_metric_name(task->metrics[m]);
    return task->metric_count;
}

static size_t fill_head(table_row row, const char *const *metrics, size_t metric_count) {
    static const char *const names[] = {"method", "lr", "epochs", "trained", "share %"};
    size_t at = 0;
    for (size_t i = 0; i < ESPL_COUNT(names); i++)
        snprintf(row[at++], CELL_BYTES, "%s", names[i]);
    for (size_t m = 0; m < metric_count; m++)
        snprintf(row[at++], CELL_BYTES, "%s", metrics[m]);
    snprintf(row[at++], CELL_BYTES, "step");
    snprintf(row[at++], CELL_BYTES, "seconds");
    return at;
}

static void fill_cell(table_row row, const sweep_cell *cell, const char *const *metrics, size_t metric_count) {
    const json_t *result = cell->result, *best = json_object_get(result, "best");
    size_t at = 0;
    snprintf(row[at++], CELL_BYTES, "%s", cell->method);
    snprintf(row[at++], CELL_BYTES, "%s", cell->rate);
    snprintf(row[at++], CELL_BYTES, "%s", cell->epochs);
    if (!result) {
        snprintf(row[at++], CELL_BYTES, "failed");
        return;
    }
    snprintf(row[at++], CELL_BYTES, "%lld", (long long)json_integer_value(json_object_get(result, "trained_parameters")));
    snprintf(row[at++], CELL_BYTES, "%.3g", 100 * json_number_value(json_object_get(result, "trained_share")));
    for (size_t m = 0; m < metric_count; m++, at++) {
        const json_t *value = json_object_get(best, metrics[m]);
        if (json_is_number(value)) snprintf(row[at], CELL_BYTES, "%.4f", json_number_value(value));
    }
    snprintf(row[at++], CELL_BYTES, "%d", (int)json_integer_value(json_object_get(best, "step")));
    snprintf(row[at++], CELL_BYTES, "%.0f", json_number_value(json_object_get(result, "seconds")));
}

static size_t width_of(const form *form, const char *cell) {
    size_t width = strlen(cell);
    for (; *cell; cell++)
        width += *cell == form->escaped;
    return width;
}

static void print_cell(const form *form, const char *cell) {
    for (; *cell; cell++) {
        if (*cell == form->escaped) putchar(form->escape);
        putchar(*cell);
    }
}

static void print_row(const form *form, table_row row, size_t columns, const size_t *widths) {
    fputs(form->before, stdout);
    for (size_t i = 0; i < columns; i++) {
        const int missing = form->pads ? (int)(widths[i] - width_of(form, row[i])) : 0;
        const char *quote = strpbrk(row[i], form->quoted) ? "\"" : "";
        printf("%s%s", i ? form->between : "", quote);
        print_cell(form, row[i]);
        printf("%s%*s", quote, missing, "");
    }
    fputs(form->behind, stdout);
}

static void print_rule(size_t columns, const size_t *widths) {
    for (size_t i = 0; i < columns; i++) {
        fputs(i ? " | " : "| ", stdout);
        for (size_t c = 0; c < widths[i]; c++)
            putchar('-');
    }
    fputs(" |\n", stdout);
}

static const form *form_of(const char *name) {
    for (size_t i = 0; name && i < ESPL_COUNT(forms); i++)
        if (!strcmp(forms[i].name, name)) return &forms[i];
    return &forms[0];
}

static int print_as_json(const sweep *sweep) {
    json_t *root = json_array();
    for (size_t c = 0; root && c < sweep->count; c++) {
        const sweep_cell *cell = &sweep->cells[c];
        json_t *row = json_pack("{s:s, s:s, s:s, s:s}", "method", cell->method, "lr", cell->rate, "epochs", cell->epochs,
                                "folder", cell->folder);
        if (row && cell->result) json_object_update_missing(row, cell->result);
        json_array_append_new(root, row);
    }
    return print_json(root);
}

int print_sweep(const sweep *sweep) {
    if (sweep->program->options->json) return print_as_json(sweep);
    const form *form = form_of(sweep->program->options->table);
    const char *metrics[ESPL_TASK_METRICS];
    const size_t metric_count = metric_names(sweep, metrics);
    table_row *rows = calloc(sweep->count + 1, sizeof *rows);
    if (!rows) return fail("no host memory for the table");
    size_t widths[COLUMNS_MAX] = {0};
    const size_t columns = fill_head(rows[0], metrics, metric_count);
    for (size_t c = 0; c < sweep->count; c++)
        fill_cell(rows[c + 1], &sweep->cells[c], metrics, metric_count);
    for (size_t r = 0; r <= sweep->count; r++)
        for (size_t i = 0; i < columns; i++)
            if (width_of(form, rows[r][i]) > widths[i]) widths[i] = width_of(form, rows[r][i]);
    for (size_t r = 0; r <= sweep->count; r++) {
        print_row(form, rows[r], columns, widths);
        if (r == 0 && form->rule) print_rule(columns, widths);
    }
    free(rows);
    return EXIT_DONE;
}
