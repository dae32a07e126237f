#include "tools/espalier/training.h"
#include <stdio.h>

int cmd_merge(program *program) {
    const options *opts = program->options;
    if (espl_os_is_file(opts->out)) return fail("%s: is a file, a folder is written", opts->out);
    if (!opts->force && !espl_os_folder_is_empty(opts->out))
        return fail("%s: is not empty; --force writes into it", opts->out);
    /* Merged in f32 whatever the file holds, so that the sum is rounded once. */
    int result = open_model_of_adapters(program, (espl_model_params){.dtype = "f32"});
    if (!result) result = open_adapters(program);
    if (result) return result;
    for (size_t i = 0; i < program->adapter_count; i++) {
        espl_status status = espl_adapter_merge(program->adapters[i]);
        if (status) return fail_status(program, status);
    }
    espl_status status = espl_model_save(program->model, opts->out);
    if (!status) status = copy_saved_task(program, opts->out);
    if (status) return fail_status(program, status);
    espl_model_info info = espl_model_describe(program->model);
    if (opts->json) {
        json_t *root = describe_run(program);
        if (root) {
            json_object_set_new(root, "out", json_string(opts->out));
            json_object_set_new(root, "parameters", json_integer((json_int_t)info.parameters));
        }
        return print_json(root);
    }
    printf("%s: %s with %zu adapter%s merged, %llu parameters in f32\n", opts->out, info.model_type,
           program->adapter_count, program->adapter_count == 1 ? "" : "s", (unsigned long long)info.parameters);
    return EXIT_DONE;
}
