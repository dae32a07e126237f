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
    const char *spec = o->operands.count ? o->operands.items[0] : NULL;
    if (o->operands.count > 1) return fail_usage("methods", "takes one method, not %zu", o->operands.count);
    if ((spec != NULL) + o->table1 + o->table2 > 1)
        return fail_usage("methods", "a METHOD, --table1 and --table2 are tables of their own: ask for one");
    if (o->table2 && !o->model) return fail_usage("methods", "--table2 needs --model DIR");
    if (o->model && !o->table2 && !spec) return fail_usage("methods", "--model DIR is of --table2 or a METHOD");
    const espl_status status = spec        ? espl_methods_keys(program->context, spec, o->model, format, &text)
                               : o->table1   ? espl_methods_table1(program->context, format, &text)
                               : o->table2 ? espl_methods_table2(program->context, o->model, format, &text)
                                           : espl_methods_list(program->context, format, &text);
    if (status) return fail_status(program, status);
    fputs(text, stdout);
    espl_text_free(program->context, &text);
    return EXIT_DONE;
}
