/* espalier methods: what the library knows of its adapter methods, printed. */
#include "tools/espalier/program.h"
#include <stdio.h>
#include <string.h>

static espl_table_format format_of(const options *o) {
    if (!o->format || !strcmp(o->format, "text")) return ESPL_TABLE_TEXT;
    return strcmp(o->format, "csv") ? ESPL_TABLE_MARKDOWN : ESPL_TABLE_CSV;
}

int cmd_methods(program *program) {
    const options *o = program->options;
    const espl_table_format format = format_of(o);
    char *text = NULL;
    if (o->operands.count) return fail_usage("methods", "takes no words, only flags");
    if (o->table1 && o->table2) return fail_usage("methods", "--table1 and --table2 are two tables: ask for one");
    if (o->table2 != (o->model != NULL)) return fail_usage("methods", "--table2 and --model DIR go together");
    const espl_status status = o->table1   ? espl_methods_table1(program->context, format, &text)
                               : o->table2 ? espl_methods_table2(program->context, o->model, format, &text)
                                           : espl_methods_list(program->context, format, &text);
    if (status) return fail_status(program, status);
    fputs(text, stdout);
    espl_text_free(program->context, &text);
    return EXIT_DONE;
}
