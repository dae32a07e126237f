#include "tools/espalier/program.h"
#include <stdio.h>
#include <string.h>

typedef struct output {
    program *program;
    espl_bytes text; /* owned; filled with --json only */
    espl_status status;
} output;

static bool write_text(void *user, const char *text, size_t bytes) {
    output *out = user;
    if (out->program->options->json) {
        out->status = espl_bytes_append(out->program->context, &out->text, text, bytes);
        return out->status == ESPL_OK;
    }
    /* A reader that went away (head) ends the writing. */
    return fwrite(text, 1, bytes, stdout) == bytes && fflush(stdout) == 0;
}

static int print_json_result(program *program, const output *out, const espl_generate_result *made) {
    json_t *root = describe_run(program);
    json_t *figures = json_pack("{s:s, s:s, s:s, s:i, s:i, s:f, s:f}", "prompt", program->options->prompt, "text",
                                out->text.data ? out->text.data : "", "reason", made->reason, "prompt_tokens",
                                (int)made->prompt_tokens, "tokens", (int)made->tokens, "prompt_seconds",
                                made->prompt_seconds, "seconds", made->seconds);
    if (root && figures) json_object_update(root, figures);
    json_decref(figures);
    return figures ? print_json(root) : fail("the prompt is not UTF-8, which JSON cannot hold");
}

static void say_speed(const program *program, const espl_generate_result *made) {
    /* seconds are those of the tokens after the first. */
    double rate = made->tokens > 1 && made->seconds > 0 ? (made->tokens - 1) / made->seconds : 0;
    double prompt_rate = made->prompt_seconds > 0 ? made->prompt_tokens / made->prompt_seconds : 0;
    say("%u tokens, %.1f/s; prompt %u tokens, %.1f/s; ended by %s; mode %s; %s", made->tokens, rate,
        made->prompt_tokens, prompt_rate, made->reason, mode_name(espl_model_describe(program->model).mode),
        espl_device_name(program->device));
}

static espl_status generate(program *program, output *out, espl_generate_result *made) {
    const options *opts = program->options;
    espl_session *session = NULL;
    espl_session_params session_params = {.context = opts->context};
    if (opts->adapter_task) ESPL_TRY(espl_model_task(program->model, opts->adapter_task, &session_params.task));
    ESPL_TRY(espl_session_create(program->model, &session_params, &session));
    espl_generate_params params = {
        .prompt = opts->prompt,
        .sampling = {.temperature = opts->temperature,
                     .top_k = opts->top_k,
                     .top_p = opts->top_p,
                     .min_p = opts->min_p,
                     .repetition_penalty = opts->repetition_penalty,
                     .seed = opts->seed},
        .max_tokens = opts->max_tokens,
        .stop = opts->stops.items,
        .stop_count = opts->stops.count,
        .ignore_end = opts->ignore_end,
        .write = write_text,
        .write_user = out,
    };
    espl_status status = espl_generate(session, &params, made);
    espl_session_destroy(&session);
    return status ? status : out->status;
}

int cmd_generate(program *program) {
    espl_model_params params = model_params(program->options);
    int result = open_model(program, &params);
    if (!result) result = open_adapters(program);
    if (result) return result;
    if (!espl_model_tokenizer(program->model))
        return fail("%s: there is no tokenizer, so text cannot be made", program->options->model);

    output out = {.program = program};
    espl_generate_result made = {0};
    espl_status status = generate(program, &out, &made);
    if (status) {
        result = fail_status(program, status);
    } else if (program->options->json) {
        result = print_json_result(program, &out, &made);
    } else {
        putchar('\n');
        fflush(stdout);
        say_speed(program, &made);
    }
    espl_bytes_finish(program->context, &out.text);
    return result;
}
