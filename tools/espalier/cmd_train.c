/* espalier train: the loop around espl_trainer_step, with what belongs around a long job. What it leaves in OUT:
 *   adapter_config.json, adapter_model.safetensors    at the end (a model folder with --method full)
 *   best/         the same, of the validation with the lowest loss
 *   checkpoint/   to resume from
 *   metrics.jsonl */
#include "tools/espalier/console.h"
#include "tools/espalier/metrics.h"
#include "tools/espalier/program.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct training {
    program *program;      /* borrowed */
    char *checkpoint;      /* owned path */
    char *best;            /* owned path */
    char *metrics_path;    /* owned */
    espl_dataset *dataset; /* owned */
    espl_dataset_info rows;
    espl_trainer *trainer;  /* owned */
    espl_progress progress; /* of the newest step; zero before the first */
    progress_line line;
    metrics metrics;
    double validation_loss; /* newest; NaN before the first */
    uint32_t validation_step;
    double first_validation_loss;
    double began;
} training;

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
    espl_dataset_params params = {
        .context = opts->context,
        .validation_share = opts->validation_share > 0 ? opts->validation_share : -1,
        .seed = opts->seed,
        .model_folder = opts->model,
    };
    ESPL_TRY(espl_dataset_load(run->program->context, espl_model_tokenizer(run->program->model), opts->data, &params,
                               &run->dataset));
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
        .seed = opts->seed,
    };
    ESPL_TRY(espl_trainer_create(run->program->model, run->program->trained, run->dataset, &params, &run->trainer));
    return opts->resume ? espl_trainer_resume(run->trainer, run->checkpoint) : ESPL_OK;
}

static uint64_t trained_parameters(const program *program) {
    return program->trained ? espl_adapter_parameters(program->trained)
                            : espl_model_describe(program->model).parameters;
}

static void say_setup(const training *run) {
    const program *program = run->program;
    const options *opts = program->options;
    espl_model_info info = espl_model_describe(program->model);
    uint64_t trained = trained_parameters(program);
    char a[32], b[32], c[32];
    say("device    %s, driver %s", espl_device_name(program->device), espl_device_driver(program->device));
    say("mode      %s, base weights %s%s", mode_name(info.mode), info.dtype, opts->recompute ? ", recompute" : "");
    say("model     %s: %s, %u blocks of width %u, %s parameters", opts->model, info.model_type, info.layers,
        info.hidden_size, text_count(a, info.parameters));
    say("training  %s: %s parameters, %.3g%%",
        program->trained ? opts->method           ? opts->method
                           : opts->adapters.count ? opts->adapters.items[0]
                                                  : "lora"
                         : "full",
        text_count(a, trained), 100.0 * (double)trained / (double)info.parameters);
    say("data      %s: %u rows of %u tokens, %u more for validation", opts->data, run->rows.train_rows,
        run->rows.context, run->rows.validation_rows);
    /* AdamW keeps two moments beside each gradient. */
    say("memory    weights %s, activations %s, gradients and optimiser %s", text_bytes(a, info.bytes),
        text_bytes(b, espl_trainer_activation_bytes(run->trainer)), text_bytes(c, 12 * trained));
}

static void show_progress(training *run, bool important) {
    const espl_progress *now = &run->progress;
    char left[32], validation[64] = "";
    if (!isnan(run->validation_loss))
        snprintf(validation, sizeof validation, "  perplexity %.5g (step %u)", exp(run->validation_loss),
                 run->validation_step);
    progress_show(&run->line, important, "step %u/%u  loss %.4f  lr %.2e  %.0f tokens/s  %s left%s", now->step,
                  now->steps, now->loss, now->learning_rate, now->tokens_per_second,
                  text_seconds(left, now->seconds_left), validation);
}

static espl_status save_result(const training *run, const char *folder) {
    return run->program->trained ? espl_adapter_save(run->program->trained, folder)
                                 : espl_model_save(run->program->model, folder);
}

static espl_status validate(training *run) {
    if (run->rows.validation_rows == 0) return ESPL_OK;
    ESPL_TRY(espl_trainer_evaluate(run->trainer, &run->validation_loss));
    run->validation_step = run->progress.step;
    if (isnan(run->first_validation_loss)) run->first_validation_loss = run->validation_loss;
    metrics_validation(&run->metrics, run->progress.step, run->validation_loss);
    /* The untrained adapter is no result worth keeping. */
    if (run->progress.step == 0 || !(run->validation_loss < run->metrics.best_loss)) return ESPL_OK;
    run->metrics.best_loss = run->validation_loss;
    return save_result(run, run->best);
}

/* One step and what is due after it. */
static espl_status advance(training *run) {
    const options *opts = run->program->options;
    ESPL_TRY(espl_trainer_step(run->trainer, &run->progress));
    uint32_t step = run->progress.step;
    /* How far the checkpoint had come is known only now. */
    if (!run->metrics.file) ESPL_TRY(metrics_begin(run->program->context, run->metrics_path, step - 1, &run->metrics));
    metrics_step(&run->metrics, &run->progress);
    bool last = espl_trainer_is_done(run->trainer);
    if (last || (opts->eval_every && step % opts->eval_every == 0)) {
        ESPL_TRY(validate(run));
        show_progress(run, true);
    } else {
        show_progress(run, false);
    }
    bool save = last || (opts->save_every && step % opts->save_every == 0);
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
    ESPL_TRY(metrics_begin(program->context, run->metrics_path, 0, &run->metrics));
    return program->options->eval_every ? validate(run) : ESPL_OK;
}

static bool is_plain(const char *word) {
    return *word && !word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,:=+-/@%")];
}

/* The command line again, quoted for a shell, with --resume. */
static void say_resume(const program *program) {
    fputs("espalier", stderr);
    bool resume = false;
    for (int i = 0; i < program->word_count; i++) {
        const char *word = program->words[i];
        if (!strcmp(word, "--force")) continue;
        resume |= !strcmp(word, "--resume");
        if (is_plain(word)) {
            fprintf(stderr, " %s", word);
            continue;
        }
        fputs(" '", stderr);
        for (; *word; word++)
            *word == '\'' ? fputs("'\\''", stderr) : fputc(*word, stderr);
        fputc('\'', stderr);
    }
    fputs(resume ? "\n" : " --resume\n", stderr);
}

static int stop(training *run) {
    progress_end(&run->line);
    espl_status status = espl_trainer_save(run->trainer, run->checkpoint);
    if (status) return fail_status(run->program, status);
    fprintf(stderr, "espalier: stopped; %s has everything so far; to go on:\n  ", run->checkpoint);
    say_resume(run->program);
    return EXIT_STOPPED;
}

static int print_result(const training *run) {
    const options *opts = run->program->options;
    const espl_progress *now = &run->progress;
    bool validated = !isnan(run->validation_loss);
    double seconds = espl_os_seconds() - run->began;
    if (!opts->json) {
        printf("steps %u, loss %.4f", now->step, now->loss);
        if (validated && run->first_validation_loss != run->validation_loss)
            printf(", validation perplexity %.3f (%.3f before)", exp(run->validation_loss),
                   exp(run->first_validation_loss));
        else if (validated)
            printf(", validation perplexity %.3f", exp(run->validation_loss));
        if (now->skipped) printf(", %u steps skipped: a gradient was not finite", now->skipped);
        printf("; saved in %s\n", opts->out);
        return EXIT_DONE;
    }
    json_t *root = describe_run(run->program);
    json_t *figures = json_pack("{s:s, s:i, s:I, s:I, s:f, s:i}", "out", opts->out, "steps", (int)now->step,
                                "trained_parameters", (json_int_t)trained_parameters(run->program), "tokens",
                                (json_int_t)now->tokens, "seconds", seconds, "skipped", (int)now->skipped);
    if (root && figures) json_object_update(root, figures);
    json_decref(figures);
    if (root && isfinite(now->loss)) json_object_set_new(root, "loss", json_real(now->loss));
    if (root && isfinite(now->tokens_per_second))
        json_object_set_new(root, "tokens_per_second", json_real(now->tokens_per_second));
    if (root && isfinite(exp(run->validation_loss))) {
        json_object_set_new(root, "validation_loss", json_real(run->validation_loss));
        json_object_set_new(root, "perplexity", json_real(exp(run->validation_loss)));
    }
    return print_json(root);
}

static int run_training(training *run) {
    program *program = run->program;
    espl_status status = begin_folder(run);
    while (!status && !espl_trainer_is_done(run->trainer)) {
        if (espl_os_stop_asked()) return stop(run);
        status = advance(run);
    }
    /* A checkpoint of a finished run: the step that changes nothing tells where it stands. */
    if (!status && run->progress.steps == 0) status = espl_trainer_step(run->trainer, &run->progress);
    if (!status) status = save_result(run, program->options->out);
    progress_end(&run->line);
    if (status) return fail_status(program, status);
    return print_result(run);
}

static int set_up(training *run) {
    program *program = run->program;
    const options *opts = program->options;
    if (opts->steps && opts->epochs > 0)
        return fail_usage("train", "--steps and --epochs say the same thing twice; give one of them");
    if (opts->init && !is_full_training(opts))
        return fail_usage("train", "--init random trains from nothing, which needs --method full");
    espl_status status = name_paths(run);
    if (status) return fail_status(program, status);
    int result = check_folder(run);
    if (result) return result;
    espl_model_params params = model_params(opts);
    params.trainable = is_full_training(opts);
    result = open_model(program, &params);
    if (result) return result;
    if (!espl_model_tokenizer(program->model))
        return fail("%s: there is no tokenizer, so text cannot be read", opts->model);
    result = open_method(program, "lora");
    if (result) return result;
    status = load_data(run);
    if (!status) status = make_trainer(run);
    return status ? fail_status(program, status) : 0;
}

int cmd_train(program *program) {
    training run = {.program = program, .validation_loss = NAN, .first_validation_loss = NAN};
    run.began = espl_os_seconds();
    run.metrics.best_loss = INFINITY;
    espl_os_catch_stop();
    progress_begin(&run.line);
    int result = set_up(&run);
    if (!result) {
        say_setup(&run);
        result = run_training(&run);
    }
    progress_end(&run.line);
    metrics_finish(&run.metrics);
    espl_trainer_destroy(&run.trainer);
    espl_dataset_destroy(&run.dataset);
    espl_free(program->context, &run.checkpoint);
    espl_free(program->context, &run.best);
    espl_free(program->context, &run.metrics_path);
    return result;
}
