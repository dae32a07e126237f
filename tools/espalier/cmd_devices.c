#include "tools/espalier/program.h"
#include <stdio.h>

int cmd_devices(program *program) {
    char *text = NULL;
    espl_status status = espl_device_list(program->context, program->options->json, &text);
    if (status) return fail_status(program, status);
    fputs(text, stdout);
    espl_text_free(program->context, &text);
    return EXIT_DONE;
}
