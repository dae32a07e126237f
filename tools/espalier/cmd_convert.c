#include "tools/espalier/training.h"
#include <stdio.h>
#include <string.h>

static int export_rank(program *program) {
    const options *opts = program->options;
    if (strcmp(opts->to, "peft") != 0) return fail("--rank writes --to peft, not %s", opts->to);
    int result = open_model_of_adapters(program, (espl_model_params){0});
    if (!result) result = open_adapters(program);
    if (result) return result;
    espl_status status = espl_adapter_export_rank(program->adapters[0], opts->rank, opts->out);
    if (!status) status = copy_saved_task(program, opts->out);
    if (status) return fail_status(program, status);
    if (opts->json) return print_json(json_pack("{s:s,s:s,s:i}", "out", opts->out, "format", opts->to, "rank", (int)opts->rank));
    printf("%s: %u ranks of the adapter as a LoRA\n", opts->out, opts->rank);
    return EXIT_DONE;
}

int cmd_convert(program *program) {
    const options *opts = program->options;
    if (opts->adapters.count != 1) return fail("one --adapter is converted at a time");
    const espl_convert_params params = {.adapter = opts->adapters.items[0], .model = opts->model, .to = opts->to, .out = opts->out};
    const bool there = espl_os_is_file(params.out) || (espl_os_is_folder(params.out) && !espl_os_folder_is_empty(params.out));
    if (there && !opts->force) return fail("%s: is there already; --force writes over it", params.out);
    if (opts->rank) return export_rank(program);
    espl_status status = espl_adapter_convert(program->context, &params);
    if (!status && espl_os_is_folder(params.out)) status = copy_saved_task(program, params.out);
    if (status) return fail_status(program, status);
    if (opts->json) return print_json(json_pack("{s:s,s:s}", "out", params.out, "format", params.to));
    printf("%s: the adapter in the format %s\n", params.out, params.to);
    return EXIT_DONE;
}
