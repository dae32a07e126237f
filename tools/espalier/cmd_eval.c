#include "tools/espalier/training.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static void print_run(program *program, double seconds) {
    char *names = adapter_names(program);
    printf("adapters    %s\nmode        %s\ndevice      %s\nseconds     %.2f\n", names ? names : "?",
           mode_name(espl_model_describe(program->model).mode), espl_device_name(program->device), seconds);
    espl_free(program->context, &names);
}

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
    print_run(program, seconds);
    return EXIT_DONE;
}

static int eval_text(program *program) {
    const options *opts = program->options;
    espl_model_params params = model_params(opts);
    int result = open_model(program, &params);
    if (!result) result = open_adapters(program);
    if (result) return result;
    const espl_tokenizer *tokenizer = espl_model_tokenizer(program->model);
    if (!tokenizer) return fail("%s: there is no tokenizer, so text cannot be read", opts->model);

    espl_dataset_params data_params = {
        .context = opts->context, .validation_share = -1, .seed = opts->seed, .model_folder = opts->model,
        .tasks_of = program->model};
    espl_dataset *dataset = NULL;
    espl_status status = espl_dataset_load(program->context, tokenizer, opts->data, &data_params, &dataset);
    double loss = 0, begin = espl_os_seconds();
    uint64_t labels = 0;
    if (!status) status = espl_evaluate(program->model, dataset, opts->batch, 0, &loss, &labels);
    espl_dataset_destroy(&dataset);
    if (status) return fail_status(program, status);
    return print_result(program, loss, labels, espl_os_seconds() - begin);
}

/* ---- With --task ---- */

static int print_task(program *program, const espl_task_data *data, const espl_task_result *score, double seconds) {
    const options *opts = program->options;
    if (opts->json) {
        json_t *root = describe_run(program);
        json_t *figures = json_pack("{s:s, s:s, s:i, s:I, s:i, s:f}", "task", opts->task, "data", opts->data, "rows",
                                    (int)espl_task_data_count(data), "count", (json_int_t)score->count, "cut",
                                    (int)espl_task_data_cut(data), "seconds", seconds);
        if (root && figures) json_object_update(root, figures);
        json_decref(figures);
        if (root && isfinite(score->loss)) json_object_set_new(root, "loss", json_real(score->loss));
        for (uint32_t m = 0; root && m < score->metric_count; m++)
            json_object_set_new(root, score->metrics[m].name,
                                isfinite(score->metrics[m].value) ? json_real(score->metrics[m].value) : json_null());
        return print_json(root);
    }
    printf("loss        %.6f\n", score->loss);
    for (uint32_t m = 0; m < score->metric_count; m++)
        printf("%-11s %.6f\n", score->metrics[m].name, score->metrics[m].value);
    printf("rows        %u, %u of them cut\n", espl_task_data_count(data), espl_task_data_cut(data));
    print_run(program, seconds);
    return EXIT_DONE;
}

static int open_for_task(program *program, const json_t *saved) {
    espl_model_params params = model_params(program->options);
    const char **names = NULL;
    espl_status status = saved_head(program, program->options->task, saved, &params.head, &names);
    int result = status ? fail_status(program, status) : open_model(program, &params);
    espl_free(program->context, &names);
    return result ? result : open_adapters(program);
}

static uint32_t context_of(const options *opts, const json_t *saved) {
    const json_int_t trained = json_integer_value(json_object_get(saved, "context"));
    if (opts->context) return opts->context;
    return trained > 0 && trained <= UINT32_MAX ? (uint32_t)trained : 0;
}

static int eval_task(program *program) {
    const options *opts = program->options;
    json_t *saved = NULL;
    espl_status status = load_saved_task(program, &saved);
    if (status) return fail_status(program, status);
    const uint32_t context = context_of(opts, saved);
    int result = open_for_task(program, saved);
    json_decref(saved);
    if (result) return result;
    const espl_task_data_params params = {
        .columns = opts->columns, .bio2 = opts->bio2, .labels_of_model = program->model};
    espl_task_data *data = NULL;
    espl_task_result score = {0};
    double begin = espl_os_seconds();
    status = espl_task_data_load(program->context, opts->task, opts->data, &params, &data);
    if (!status) status = espl_task_data_encode(data, program->model, context);
    if (!status) status = espl_task_evaluate(program->model, data, opts->batch, &score);
    result = status ? fail_status(program, status) : print_task(program, data, &score, espl_os_seconds() - begin);
    espl_task_data_destroy(&data);
    return result;
}

int cmd_eval(program *program) {
    return program->options->task ? eval_task(program) : eval_text(program);
}
