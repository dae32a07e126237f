/* espalier train: the loop around espl_trainer_step, with what belongs around a long job. What it leaves in OUT:
 *   adapter_config.json, adapter_model.safetensors    at the end (a model folder with --method full)
 *   best/         the same, of the validation with the lowest loss, or with --task the best first metric; of methods that make
 *                 themselves smaller from when they are
 *   checkpoint/   to resume from
 *   metrics.jsonl */
#include "tools/espalier/training.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Refuses early, before anything is loaded, what would write over somebody's files. */
static int check_folder(const training *run) {
    const options *opts = run->program->options;
    bool has_checkpoint = espl_os_is_folder(run->checkpoint);
    if (espl_os_is_file(opts->out)) return fail("%s: is a file, a folder is written", opts->out);
    if (opts->resume && !has_checkpoint) return fail("%s: there is no checkpoint to resume from", run->checkpoint);
    if (opts->resume || opts->force || espl_os_folder_is_empty(opts->out)) return 0;
    if (has_checkpoint)
        return fail("%s: holds an earlier run; --resume goes on with it, --force begins anew", opts->out);
    return fail("%s: is not empty; --force writes into it", opts->out);
}

static espl_status name_paths(training *run) {
    espl_context *ctx = run->program->context;
    const options *opts = run->program->options;
    ESPL_TRY(espl_format(ctx, &run->checkpoint, "%s/checkpoint", opts->out));
    ESPL_TRY(espl_format(ctx, &run->best, "%s/best", opts->out));
    if (opts->metrics) return espl_format(ctx, &run->metrics_path, "%s", opts->metrics);
    return espl_format(ctx, &run->metrics_path, "%s/metrics.jsonl", opts->out);
}

static espl_schedule schedule_of(const char *name) {
    if (name && !strcmp(name, "constant")) return ESPL_SCHEDULE_CONSTANT;
    if (name && !strcmp(name, "cosine")) return ESPL_SCHEDULE_COSINE;
    return ESPL_SCHEDULE_LINEAR;
}

static espl_status load_data(training *run) {
    const options *opts = run->program->options;
    if (run->train) return encode_task(run);
    espl_dataset_params params = {
        .context = opts->context,
        .validation_share = opts->validation_share > 0 ? opts->validation_share : -1,
        .seed = opts->seed,
        .model_folder = opts->model,
        .tasks_of = run->program->model,
    };
    ESPL_TRY(espl_dataset_load(run->program->context, espl_model_tokenizer(run->program->model), opts->data, &params,
                               &run->dataset));
    run->rows_trained = run->dataset;
    run->rows = espl_dataset_describe(run->dataset);
    return ESPL_OK;
}

static espl_status make_trainer(training *run) {
    const options *opts = run->program->options;
    espl_trainer_params params = {
        .steps = opts->steps,
        .epochs = opts->epochs,
        .batch = opts->batch,
        .accumulate = opts->accumulate,
        .learning_rate = opts->learning_rate,
        .schedule = schedule_of(opts->schedule),
        .warmup = opts->warmup,
        .weight_decay = opts->weight_decay,
        .max_norm = opts->max_norm > 0 ? opts->max_norm : -1,
        .recompute = opts->recompute,
        .group_by_length = opts->group_by_length,
        .seed = opts->seed,
        .also = run->program->also,
        .also_count = (uint32_t)opts->also.count,
    };
    ESPL_TRY(espl_trainer_create(run->program->model, run->program->trained, run->rows_trained, &params, &run->trainer));
    return opts->resume ? espl_trainer_resume(run->trainer, run->checkpoint) : ESPL_OK;
}

static espl_status save_also(const program *program, espl_adapter *adapter, const char *folder) {
    char *own;
    ESPL_TRY(espl_format(program->context, &own, "%s/%s", folder, espl_adapter_name(adapter)));
    const espl_status status = espl_adapter_save(adapter, own);
    espl_free(program->context, &own);
    return status;
}

static espl_status save_result(const training *run, const char *folder) {
    const program *program = run->program;
    ESPL_TRY(program->trained ? espl_adapter_save(program->trained, folder) : espl_model_save(program->model, folder));
    for (size_t i = 0; i < program->options->also.count; i++) ESPL_TRY(save_also(program, program->also[i], folder));
    return run->train ? save_task(run, folder) : ESPL_OK;
}

static bool has_validation(const training *run) {
    return run->valid || run->rows.validation_rows > 0;
}

static espl_status validate(training *run) {
    const options *opts = run->program->options;
    if (!has_validation(run)) return ESPL_OK;
    run->validation = (espl_task_result){0};
    ESPL_TRY(run->valid ? espl_task_evaluate(run->program->model, run->valid, opts->batch, &run->validation)
                        : espl_trainer_evaluate(run->trainer, &run->validation.loss));
    run->validation_step = run->progress.step;
    if (isnan(run->first_validation_loss)) run->first_validation_loss = run->validation.loss;
    const bool settled = espl_trainer_is_settled(run->trainer);
    if (!metrics_validation(&run->metrics, run->progress.step, settled, &run->validation)) return ESPL_OK;
    return save_result(run, run->best);
}

static espl_status open_metrics(training *run, uint32_t kept_steps) {
    const espl_task_metric loss = {.name = "validation_loss"};
    const espl_task_metric goal = run->train ? espl_task_data_goal(run->train) : loss;
    return metrics_begin(run->program->context, run->metrics_path, kept_steps, &goal, &run->metrics);
}

/* After --eval-every steps; with a task also after each epoch. */
static bool is_validation_due(const training *run) {
    const options *opts = run->program->options;
    if (opts->eval_every && run->progress.step % opts->eval_every == 0) return true;
    const uint64_t done = run->progress.rows, rows = run->rows.train_rows;
    const uint64_t of_step = done / run->progress.step;
    return run->train && done / rows > (done - of_step) / rows;
}

/* One step and what is due after it. */
static espl_status advance(training *run) {
    const options *opts = run->program->options;
    ESPL_TRY(espl_trainer_step(run->trainer, &run->progress));
    uint32_t step = run->progress.step;
    /* How far the checkpoint had come is known only now. */
    if (!run->metrics.file) ESPL_TRY(open_metrics(run, step - 1));
    metrics_step(&run->metrics, &run->progress);
    bool last = espl_trainer_is_done(run->trainer);
    const bool due = last || is_validation_due(run);
    if (due) ESPL_TRY(validate(run));
    show_progress(run, due);
    run->stopped_early = !last && due && opts->patience && run->metrics.since_best >= opts->patience;
    bool save = last || run->stopped_early || (opts->save_every && step % opts->save_every == 0);
    return save ? espl_trainer_save(run->trainer, run->checkpoint) : ESPL_OK;
}

/* Takes away what an earlier run left and this one would not write over. */
static espl_status begin_folder(training *run) {
    program *program = run->program;
    if (!program->options->resume) {
        espl_os_remove_folder(program->context, run->checkpoint);
        espl_os_remove_folder(program->context, run->best);
    }
    ESPL_TRY(espl_os_make_folder(program->context, program->options->out));
    if (program->options->resume) return ESPL_OK;
    ESPL_TRY(open_metrics(run, 0));
    return program->options->eval_every ? validate(run) : ESPL_OK;
}

static int stop(training *run) {
    progress_end(&run->line);
    espl_status status = espl_trainer_save(run->trainer, run->checkpoint);
    if (status) return fail_status(run->program, status);
    fprintf(stderr, "espalier: stopped; %s has everything so far; to go on:\n  ", run->checkpoint);
    say_resume(run);
    return EXIT_STOPPED;
}

static int run_training(training *run) {
    program *program = run->program;
    espl_status status = begin_folder(run);
    while (!status && !espl_trainer_is_done(run->trainer) && !run->stopped_early) {
        if (espl_os_stop_asked()) return stop(run);
        status = advance(run);
    }
    /* A checkpoint of a finished run: the step that changes nothing tells where it stands. */
    if (!status && run->progress.steps == 0) {
        status = espl_trainer_step(run->trainer, &run->progress);
        if (!status) status = open_metrics(run, run->progress.step);
    }
    const espl_progress *last = &run->progress;
    if (!status && last->skipped && last->skipped == last->step) {
        progress_end(&run->line);
        return fail("all %u steps were skipped because a gradient was not finite: nothing was learnt", last->skipped);
    }
    if (!status) status = save_result(run, program->options->out);
    progress_end(&run->line);
    if (!status && !espl_trainer_is_settled(run->trainer))
        say("warning   the run ended before the method's schedule: the adapter has not the size that was asked for");
    return status ? fail_status(program, status) : EXIT_DONE;
}

static int check_flags(const options *opts) {
    if (opts->steps && opts->epochs > 0)
        return fail_usage("train", "--steps and --epochs say the same thing twice; give one of them");
    if (opts->init && !is_full_training(opts))
        return fail_usage("train", "--init random trains from nothing, which needs --method full");
    if (opts->valid && !opts->task) return fail_usage("train", "--valid goes with --task");
    if (opts->patience && opts->task && !opts->valid)
        return fail_usage("train", "--patience counts validations, which need --valid FILE");
    return 0;
}

static int open_all(training *run) {
    program *program = run->program;
    espl_model_params params = model_params(program->options);
    params.trainable = is_full_training(program->options);
    if (program->options->task) {
        espl_status status = read_task(run, &params.head);
        if (status) return fail_status(program, status);
    }
    int result = open_model(program, &params);
    if (!result) result = open_method(program, "lora");
    if (!result && !espl_model_tokenizer(program->model)) /* embeddings may have brought one */
        return fail("%s: there is no tokenizer, so text cannot be read", program->options->model);
    return result;
}

static int set_up(training *run) {
    program *program = run->program;
    int result = check_flags(program->options);
    if (result) return result;
    espl_status status = name_paths(run);
    if (status) return fail_status(program, status);
    result = check_folder(run);
    if (!result) result = open_all(run);
    if (result) return result;
    status = load_data(run);
    if (!status) status = make_trainer(run);
    return status ? fail_status(program, status) : 0;
}

static int give_result(const training *run, json_t **out_result) {
    json_t *result = NULL;
    if (out_result || run->program->options->json) result = training_result(run);
    if (out_result)
        *out_result = result;
    else if (run->program->options->json)
        return print_json(result);
    else
        print_training(run);
    return EXIT_DONE;
}

int train(program *program, bool is_cell, json_t **out_result) {
    training run = {.program = program, .is_cell = is_cell, .first_validation_loss = NAN};
    run.validation.loss = NAN;
    run.began = espl_os_seconds();
    espl_os_catch_stop();
    progress_begin(&run.line);
    int result = set_up(&run);
    if (!result) {
        say_setup(&run);
        result = run_training(&run);
    }
    progress_end(&run.line);
    if (!result) result = give_result(&run, out_result);
    metrics_finish(&run.metrics);
    espl_trainer_destroy(&run.trainer);
    espl_dataset_destroy(&run.dataset);
    espl_task_data_destroy(&run.valid);
    espl_task_data_destroy(&run.train);
    espl_free(program->context, &run.checkpoint);
    espl_free(program->context, &run.best);
    espl_free(program->context, &run.metrics_path);
    return result;
}

int cmd_train(program *program) {
    return train(program, false, NULL);
}
