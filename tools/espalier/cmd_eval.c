#include "tools/espalier/program.h"
#include <math.h>
#include <stdio.h>

static int print_result(program *program, double loss, uint64_t labels, double seconds) {
    if (program->options->json) {
        json_t *root = describe_run(program);
        json_t *figures = json_pack("{s:s, s:f, s:f, s:I, s:f}", "data", program->options->data, "loss", loss,
                                    "perplexity", exp(loss), "tokens", (json_int_t)labels, "seconds", seconds);
        /* JSON has no infinity: such a figure makes figures NULL. */
        if (root && figures) json_object_update(root, figures);
        json_decref(figures);
        return figures ? print_json(root) : fail("the loss is not finite");
    }
    printf("loss        %.6f\nperplexity  %.4f\ntokens      %llu\n", loss, exp(loss), (unsigned long long)labels);
    char *names = adapter_names(program);
    printf("adapters    %s\nmode        %s\ndevice      %s\nseconds     %.2f\n", names ? names : "?",
           mode_name(espl_model_describe(program->model).mode), espl_device_name(program->device), seconds);
    espl_free(program->context, &names);
    return EXIT_DONE;
}

int cmd_eval(program *program) {
    const options *opts = program->options;
    espl_model_params params = model_params(opts);
    int result = open_model(program, &params);
    if (!result) result = open_adapters(program);
    if (result) return result;
    const espl_tokenizer *tokenizer = espl_model_tokenizer(program->model);
    if (!tokenizer) return fail("%s: there is no tokenizer, so text cannot be read", opts->model);

    espl_dataset_params data_params = {
        .context = opts->context, .validation_share = -1, .seed = opts->seed, .model_folder = opts->model};
    espl_dataset *dataset = NULL;
    espl_status status = espl_dataset_load(program->context, tokenizer, opts->data, &data_params, &dataset);
    double loss = 0, begin = espl_os_seconds();
    uint64_t labels = 0;
    if (!status) status = espl_evaluate(program->model, dataset, opts->batch, 0, &loss, &labels);
    espl_dataset_destroy(&dataset);
    if (status) return fail_status(program, status);
    return print_result(program, loss, labels, espl_os_seconds() - begin);
}
