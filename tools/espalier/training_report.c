/* What a training run says: its setup, its progress, how to go on, its result. */
#include "tools/espalier/training.h"
#include <math.h>
#include <string.h>

uint64_t trained_parameters(const program *program) {
    uint64_t also = 0;
    for (size_t i = 0; i < program->options->also.count; i++) also += espl_adapter_parameters(program->also[i]);
    return program->trained ? espl_adapter_parameters(program->trained) + also
                            : espl_model_describe(program->model).parameters;
}

const char *trained_method(const program *program) {
    const options *opts = program->options;
    if (!program->trained) return "full";
    if (opts->method) return opts->method;
    return opts->adapters.count ? opts->adapters.items[0] : "lora";
}

static double trained_share(const program *program) {
    return (double)trained_parameters(program) / (double)espl_model_describe(program->model).parameters;
}

static void say_data(const training *run) {
    const options *opts = run->program->options;
    if (!run->train) {
        say("data      %s: %u rows of %u tokens, %u more for validation", opts->data, run->rows.train_rows,
            run->rows.context, run->rows.validation_rows);
        return;
    }
    say("data      %s: %s, %u rows of %u tokens, %u of them cut", opts->task, opts->data, run->rows.train_rows,
        run->rows.context, espl_task_data_cut(run->train));
    if (run->valid)
        say("valid     %s: %u rows, %u of them cut", opts->valid, espl_task_data_count(run->valid),
            espl_task_data_cut(run->valid));
}

void say_setup(const training *run) {
    const program *program = run->program;
    const options *opts = program->options;
    espl_model_info info = espl_model_describe(program->model);
    uint64_t trained = trained_parameters(program);
    char a[32], b[32], c[32];
    say("device    %s, driver %s", espl_device_name(program->device), espl_device_driver(program->device));
    say("mode      %s, base weights %s%s", mode_name(info.mode), info.dtype, opts->recompute ? ", recompute" : "");
    say("model     %s: %s, %u blocks of width %u, %s parameters", opts->model, info.model_type, info.layers,
        info.hidden_size, text_count(a, info.parameters));
    say("training  %s: %s parameters, %.3g%%", trained_method(program), text_count(a, trained),
        100 * trained_share(program));
    say_data(run);
    /* AdamW keeps two moments beside each gradient. */
    say("memory    weights %s, activations %s, gradients and optimiser %s", text_bytes(a, info.bytes),
        text_bytes(b, espl_trainer_activation_bytes(run->trainer)), text_bytes(c, 12 * trained));
}

void show_progress(training *run, bool important) {
    const espl_progress *now = &run->progress;
    const espl_task_result *validation = &run->validation;
    char left[32], text[128] = "";
    if (validation->metric_count)
        snprintf(text, sizeof text, "  %s %.4f (step %u)", validation->metrics[0].name, validation->metrics[0].value,
                 run->validation_step);
    else if (!isnan(validation->loss))
        snprintf(text, sizeof text, "  perplexity %.5g (step %u)", exp(validation->loss), run->validation_step);
    progress_show(&run->line, important, "step %u/%u  loss %.4f  lr %.2e  %.0f tokens/s  %s left%s", now->step,
                  now->steps, now->loss, now->learning_rate, now->tokens_per_second,
                  text_seconds(left, now->seconds_left), text);
}

static bool is_plain(const char *word) {
    return *word && !word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,:=+-/@%")];
}

void say_resume(const training *run) {
    const program *program = run->program;
    fputs("espalier", stderr);
    bool resume = run->is_cell;
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

/* Figures of the newest validation, and of the best one. JSON has no NaN: what is not finite is left out. */
static void add_validation(const training *run, json_t *root) {
    const espl_task_result *validation = &run->validation;
    if (isfinite(validation->loss)) json_object_set_new(root, "validation_loss", json_real(validation->loss));
    if (!validation->metric_count && isfinite(exp(validation->loss)))
        json_object_set_new(root, "perplexity", json_real(exp(validation->loss)));
    for (uint32_t m = 0; m < validation->metric_count; m++)
        if (isfinite(validation->metrics[m].value))
            json_object_set_new(root, validation->metrics[m].name, json_real(validation->metrics[m].value));
    if (run->metrics.best) json_object_set(root, "best", run->metrics.best);
}

json_t *training_result(const training *run) {
    const program *program = run->program;
    const espl_progress *now = &run->progress;
    const uint64_t parameters = espl_model_describe(program->model).parameters;
    json_t *root = describe_run(run->program);
    json_t *figures = json_pack("{s:s, s:s, s:i, s:I, s:I, s:f, s:I, s:f, s:i}", "method", trained_method(program), "out",
                                program->options->out, "steps", (int)now->step, "parameters", (json_int_t)parameters,
                                "trained_parameters", (json_int_t)trained_parameters(program), "trained_share",
                                trained_share(program), "tokens", (json_int_t)now->tokens, "seconds",
                                espl_os_seconds() - run->began, "skipped", (int)now->skipped);
    if (root && figures) json_object_update(root, figures);
    json_decref(figures);
    if (!root) return NULL;
    if (isfinite(now->loss)) json_object_set_new(root, "loss", json_real(now->loss));
    if (isfinite(now->tokens_per_second))
        json_object_set_new(root, "tokens_per_second", json_real(now->tokens_per_second));
    if (run->train) {
        json_object_set_new(root, "task", json_string(program->options->task));
        json_object_set_new(root, "stopped_early", json_boolean(run->stopped_early));
    }
    add_validation(run, root);
    return root;
}

static void print_validation(const training *run) {
    const espl_task_result *validation = &run->validation;
    for (uint32_t m = 0; m < validation->metric_count; m++)
        printf(", %s %.4f", validation->metrics[m].name, validation->metrics[m].value);
    if (validation->metric_count) {
        const json_t *best = run->metrics.best;
        const char *goal = run->metrics.goal.name;
        if (best)
            printf("; best %s %.4f at step %d", goal, json_number_value(json_object_get(best, goal)),
                   (int)json_integer_value(json_object_get(best, "step")));
    } else if (!isnan(validation->loss)) {
        printf(", validation perplexity %.3f", exp(validation->loss));
        if (run->first_validation_loss != validation->loss) printf(" (%.3f before)", exp(run->first_validation_loss));
    }
}

void print_training(const training *run) {
    const options *opts = run->program->options;
    const espl_progress *now = &run->progress;
    printf("steps %u, loss %.4f", now->step, now->loss);
    print_validation(run);
    if (run->stopped_early) printf("; stopped, as %u validations were no better", opts->patience);
    if (now->skipped) printf(", %u steps skipped: a gradient was not finite", now->skipped);
    printf("; saved in %s\n", opts->out);
}
