#include "tools/espalier/program.h"
#include <stdio.h>
#include <string.h>

int cmd_convert(program *program) {
    const options *opts = program->options;
    if (opts->adapters.count != 1) return fail("one --adapter is converted at a time");
    const espl_convert_params params = {.adapter = opts->adapters.items[0], .model = opts->model, .to = opts->to, .out = opts->out};
    const bool there = espl_os_is_file(params.out) || (espl_os_is_folder(params.out) && !espl_os_folder_is_empty(params.out));
    if (there && !opts->force) return fail("%s: is there already; --force writes over it", params.out);
    espl_status status = espl_adapter_convert(program->context, &params);
    if (status) return fail_status(program, status);
    if (opts->json) return print_json(json_pack("{s:s,s:s}", "out", params.out, "format", params.to));
    printf("%s: the adapter in the format %s\n", params.out, params.to);
    return EXIT_DONE;
}
