/* Training and evaluation with --task. OUT/task.json, and the same in OUT/best, keeps what an adapter folder cannot say:
 * {"task", "labels": [names] or null, "context"}. What is made of such adapters keeps it, too. */
#include "host/file/json.h"
#include "tools/espalier/training.h"
#include <string.h>

espl_status read_task(training *run, espl_head_params *out_head) {
    espl_context *ctx = run->program->context;
    const options *opts = run->program->options;
    espl_task_data_params params = {.columns = opts->columns, .bio2 = opts->bio2};
    ESPL_TRY(espl_task_data_load(ctx, opts->task, opts->data, &params, &run->train));
    *out_head = espl_task_data_head(run->train);
    if (!opts->valid) return ESPL_OK;
    params.labels_of = run->train;
    return espl_task_data_load(ctx, opts->task, opts->valid, &params, &run->valid);
}

espl_status encode_task(training *run) {
    const options *opts = run->program->options;
    ESPL_TRY(espl_task_data_encode(run->train, run->program->model, opts->context));
    if (run->valid) ESPL_TRY(espl_task_data_encode(run->valid, run->program->model, opts->context));
    run->rows_trained = espl_task_data_rows(run->train);
    run->rows = espl_dataset_describe(run->rows_trained);
    return ESPL_OK;
}

static espl_status write_task(const training *run, const char *path) {
    espl_context *ctx = run->program->context;
    const espl_head_params head = espl_task_data_head(run->train);
    json_t *labels = head.label_names ? json_array() : json_null();
    for (uint32_t i = 0; head.label_names && i < head.labels; i++)
        json_array_append_new(labels, json_string(head.label_names[i]));
    json_t *root = json_pack("{s:s, s:o, s:i}", "task", run->program->options->task, "labels", labels, "context",
                             (int)run->rows.context);
    espl_status status = root ? espl_json_save(ctx, path, root) : espl_fail(ctx, ESPL_HOST_MEMORY, "no host memory for %s", path);
    espl_json_destroy(&root);
    return status;
}

espl_status save_task(const training *run, const char *folder) {
    espl_context *ctx = run->program->context;
    char *path = NULL;
    ESPL_TRY(espl_format(ctx, &path, "%s/task.json", folder));
    espl_status status = write_task(run, path);
    espl_free(ctx, &path);
    return status;
}

const char *saved_task_folder(const options *opts) {
    return opts->adapters.count ? adapter_folder(opts->adapters.items[0]) : opts->model;
}

espl_status load_saved_task(program *program, json_t **out_root) {
    char *path = NULL;
    *out_root = NULL;
    ESPL_TRY(espl_format(program->context, &path, "%s/task.json", saved_task_folder(program->options)));
    espl_status status = espl_os_is_file(path) ? espl_json_load(program->context, path, out_root) : ESPL_OK;
    espl_free(program->context, &path);
    return status;
}

espl_status saved_head(program *program, const char *task, const json_t *saved, espl_head_params *out_head,
                       const char ***out_names) {
    const char *trained = json_string_value(json_object_get(saved, "task")), *folder = saved_task_folder(program->options);
    *out_names = NULL;
    ESPL_TRY(espl_task_head_of(program->context, task, out_head));
    if (trained && strcmp(trained, task))
        return espl_fail(program->context, ESPL_ARGUMENT, "%s was trained for the task %s, not for %s", folder, trained, task);
    const json_t *labels = json_object_get(saved, "labels");
    const size_t count = json_array_size(labels);
    if (!count) return ESPL_OK;
    ESPL_TRY(espl_new(program->context, count * sizeof **out_names, out_names));
    for (size_t i = 0; i < count; i++) {
        (*out_names)[i] = json_string_value(json_array_get(labels, i));
        if (!(*out_names)[i])
            return espl_fail(program->context, ESPL_FORMAT, "%s/task.json: label %zu is no string", folder, i);
    }
    out_head->labels = (uint32_t)count;
    out_head->label_names = *out_names;
    return ESPL_OK;
}

int open_model_of_adapters(program *program, espl_model_params params) {
    json_t *saved;
    const char **names = NULL;
    espl_status status = load_saved_task(program, &saved);
    const char *task = json_string_value(json_object_get(saved, "task"));
    if (!status && task) status = saved_head(program, task, saved, &params.head, &names);
    int result = status ? fail_status(program, status) : open_model(program, &params);
    espl_free(program->context, &names);
    espl_json_destroy(&saved);
    return result;
}

espl_status copy_saved_task(program *program, const char *folder) {
    json_t *saved;
    char *path = NULL;
    espl_status status = load_saved_task(program, &saved);
    if (!status && saved) status = espl_format(program->context, &path, "%s/task.json", folder);
    if (!status && saved) status = espl_json_save(program->context, path, saved);
    espl_free(program->context, &path);
    espl_json_destroy(&saved);
    return status;
}
