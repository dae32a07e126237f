/* espalier bench: how fast this machine is at what the other commands do. Every benchmark fills rows of one table. */
#include "tools/espalier/bench_compositions.h"
#include "tools/espalier/bench_frames.h"
#include "tools/espalier/bench_methods.h"
#include "tools/espalier/console.h"
#include "tools/espalier/program.h"
#include <stdio.h>
#include <string.h>

#define REPETITIONS_MAX 1000

/* What is measured without --model: the shape of a small Llama. */
static const char default_config[] =
    "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 384, "
    "\"intermediate_size\": 1024, \"num_hidden_layers\": 6, \"num_attention_heads\": 6, \"num_key_value_heads\": 3, "
    "\"vocab_size\": 8192, \"max_position_embeddings\": 2048, \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, "
    "\"hidden_act\": \"silu\", \"tie_word_embeddings\": true, \"torch_dtype\": \"float32\", \"bos_token_id\": 1, "
    "\"eos_token_id\": 2}\n";

typedef struct bench {
    program *program;
    uint32_t context, batch;
    size_t repetitions;
    json_t *rows; /* owned array of the results */
    espl_dataset *dataset;
    espl_trainer *trainer;
    espl_session *session;
    int32_t *ids; /* owned; batch * context numbers */
} bench;

typedef espl_status (*bench_run)(bench *bench);

static void add_row(bench *bench, const char *name, const char *unit, double *values, size_t count, double host_share) {
    double middle = median(values, count); /* sorts */
    json_t *row = describe_run(bench->program);
    if (row && !bench->program->options->model) json_object_set_new(row, "model", json_null());
    json_t *figures = json_pack("{s:s, s:f, s:s, s:f, s:f, s:i, s:i, s:i}", "name", name, "value", middle, "unit", unit,
                                "least", values[0], "most", values[count - 1], "repetitions", (int)count, "context",
                                (int)bench->context, "batch", (int)bench->batch);
    if (row && figures) json_object_update(row, figures);
    json_decref(figures);
    if (row && host_share >= 0) json_object_set_new(row, "host_share", json_real(host_share));
    json_array_append_new(bench->rows, row);
}

static void fill_ids(bench *bench) {
    espl_random random = {.seed = bench->program->options->seed};
    uint32_t vocabulary = espl_model_describe(bench->program->model).vocabulary;
    size_t count = (size_t)bench->context * bench->batch;
    for (size_t i = 0; i < count; i++)
        bench->ids[i] = (int32_t)espl_random_below(&random, vocabulary);
}

/* Sessions are measured with the base alone, unless an adapter was asked for; training with what is trained. */
static espl_status activate(bench *bench, bool training) {
    const options *opts = bench->program->options;
    const espl_adapter *trained = bench->program->trained;
    const bool with = trained && (training || opts->method || opts->adapters.count);
    return espl_model_activate(bench->program->model, with ? espl_adapter_name(trained) : "");
}

static espl_status open_trainer(bench *bench) {
    if (bench->trainer) return ESPL_OK;
    program *program = bench->program;
    ESPL_TRY(activate(bench, true));
    ESPL_TRY(
        espl_dataset_from_ids(program->context, bench->ids, bench->ids, bench->batch, bench->context, &bench->dataset));
    /* One for first-step, one to warm up, and those that are measured. */
    espl_trainer_params params = {.steps = (uint32_t)bench->repetitions + 2, .batch = bench->batch};
    return espl_trainer_create(program->model, program->trained, bench->dataset, &params, &bench->trainer);
}

static espl_status bench_train(bench *bench) {
    espl_progress progress;
    ESPL_TRY(open_trainer(bench));
    ESPL_TRY(espl_trainer_step(bench->trainer, &progress)); /* pages, caches, clocks */
    double values[REPETITIONS_MAX], tokens = (double)bench->context * bench->batch;
    double begin = espl_os_seconds(), host = espl_os_thread_seconds();
    for (size_t i = 0; i < bench->repetitions; i++) {
        double step_begin = espl_os_seconds();
        ESPL_TRY(espl_trainer_step(bench->trainer, &progress));
        values[i] = tokens / (espl_os_seconds() - step_begin);
    }
    double share = (espl_os_thread_seconds() - host) / (espl_os_seconds() - begin);
    add_row(bench, "train", "tokens/s", values, bench->repetitions, share);
    return ESPL_OK;
}

static espl_status open_session(bench *bench) {
    ESPL_TRY(activate(bench, false));
    if (bench->session) return ESPL_OK;
    espl_session_params params = {.context = bench->context + 64, .prompt = bench->context};
    return espl_session_create(bench->program->model, &params, &bench->session);
}

static espl_status read_prompt(bench *bench) {
    const float *logits;
    uint32_t count;
    espl_session_reset(bench->session);
    ESPL_TRY(espl_session_append(bench->session, bench->ids, bench->context));
    return espl_session_logits(bench->session, &logits, &count);
}

static void add_since_start(bench *bench, const char *name) {
    double seconds = espl_os_seconds() - bench->program->started;
    add_row(bench, name, "s", &seconds, 1, -1);
}

static espl_status bench_ready(bench *bench) {
    ESPL_TRY(open_session(bench));
    add_since_start(bench, "ready");
    return ESPL_OK;
}

static espl_status bench_first_token(bench *bench) {
    ESPL_TRY(open_session(bench));
    ESPL_TRY(read_prompt(bench));
    add_since_start(bench, "first-token");
    return ESPL_OK;
}

static espl_status bench_first_step(bench *bench) {
    espl_progress progress;
    ESPL_TRY(open_trainer(bench));
    ESPL_TRY(espl_trainer_step(bench->trainer, &progress));
    add_since_start(bench, "first-step");
    return ESPL_OK;
}

static espl_status bench_prompt(bench *bench) {
    ESPL_TRY(open_session(bench));
    ESPL_TRY(read_prompt(bench));
    double values[REPETITIONS_MAX], begin = espl_os_seconds(), host = espl_os_thread_seconds();
    for (size_t i = 0; i < bench->repetitions; i++) {
        double prompt_begin = espl_os_seconds();
        ESPL_TRY(read_prompt(bench));
        values[i] = bench->context / (espl_os_seconds() - prompt_begin);
    }
    double share = (espl_os_thread_seconds() - host) / (espl_os_seconds() - begin);
    add_row(bench, "prompt", "tokens/s", values, bench->repetitions, share);
    return ESPL_OK;
}

/* Greedy, by hand: the logits come to the host as for any sampling. */
static espl_status next_token(bench *bench, int32_t *in_out_id) {
    const float *logits;
    uint32_t count, best = 0;
    ESPL_TRY(espl_session_append(bench->session, in_out_id, 1));
    ESPL_TRY(espl_session_logits(bench->session, &logits, &count));
    for (uint32_t i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    *in_out_id = (int32_t)best;
    return ESPL_OK;
}

static espl_status bench_generate(bench *bench) {
    enum { TOKENS = 32 };
    ESPL_TRY(open_session(bench));
    double values[REPETITIONS_MAX], wall = 0, host = 0;
    for (size_t i = 0; i < bench->repetitions; i++) {
        int32_t id = 1;
        ESPL_TRY(read_prompt(bench));
        ESPL_TRY(next_token(bench, &id));
        double begin = espl_os_seconds(), host_begin = espl_os_thread_seconds();
        for (int t = 0; t < TOKENS; t++)
            ESPL_TRY(next_token(bench, &id));
        double seconds = espl_os_seconds() - begin;
        values[i] = TOKENS / seconds;
        wall += seconds;
        host += espl_os_thread_seconds() - host_begin;
    }
    add_row(bench, "generate", "tokens/s", values, bench->repetitions, host / wall);
    return ESPL_OK;
}

static void add_figures(void *user, const char *name, const char *unit, double *values, size_t count) {
    add_row(user, name, unit, values, count, -1);
}

static espl_status bench_matmul(bench *bench) {
    return bench_products(bench->program->device, bench->repetitions, add_figures, bench);
}

static espl_status bench_frames(bench *bench) {
    program *program = bench->program;
    const options *opts = program->options;
    espl_trainer *trainer;
    ESPL_TRY(activate(bench, true));
    espl_trainer_params params = {.steps = 1u << 20, .batch = bench->batch, .piece_ms = opts->piece_ms};
    if (!bench->dataset)
        ESPL_TRY(espl_dataset_from_ids(program->context, bench->ids, bench->ids, bench->batch, bench->context,
                                       &bench->dataset));
    ESPL_TRY(espl_trainer_create(program->model, program->trained, bench->dataset, &params, &trainer));
    espl_status status = bench_frame_budget(program->device, trainer, opts->budget, add_figures, bench);
    espl_trainer_destroy(&trainer);
    return status;
}

static espl_status bench_methods(bench *bench) {
    program *program = bench->program;
    if (!bench->dataset)
        ESPL_TRY(espl_dataset_from_ids(program->context, bench->ids, bench->ids, bench->batch, bench->context,
                                       &bench->dataset));
    return bench_method_steps(program->model, bench->dataset, bench->batch, bench->repetitions, add_figures, bench);
}

static espl_status bench_compositions(bench *bench) {
    program *program = bench->program;
    if (!bench->dataset)
        ESPL_TRY(espl_dataset_from_ids(program->context, bench->ids, bench->ids, bench->batch, bench->context,
                                       &bench->dataset));
    return bench_composition_passes(program->model, bench->dataset, bench->batch, bench->repetitions, add_figures, bench);
}

/* In the order they run: what counts from the start of the process comes first, and of these one alone unless they are named. */
static const struct {
    const char *name;
    bench_run run;
    bool if_named; /* takes long or says nothing of the model */
} benches[] = {
    {"ready", bench_ready, true},            {"first-token", bench_first_token, true},
    {"first-step", bench_first_step, false}, {"train", bench_train, false},  {"prompt", bench_prompt, false},
    {"generate", bench_generate, false},     {"matmul", bench_matmul, true}, {"frames", bench_frames, true},
    {"methods", bench_methods, true},       {"compositions", bench_compositions, true},
};

static bool is_asked(const option_list *names, const char *name, bool if_named) {
    for (size_t i = 0; i < names->count; i++)
        if (!strcmp(names->items[i], name)) return true;
    return names->count == 0 && !if_named;
}

static bool is_known(const char *name) {
    for (size_t i = 0; i < ESPL_COUNT(benches); i++)
        if (!strcmp(benches[i].name, name)) return true;
    return false;
}

static int print_results(const bench *bench) {
    if (bench->program->options->json) return print_json(json_incref(bench->rows));
    espl_model_info info = espl_model_describe(bench->program->model);
    char parameters[32];
    printf("device  %s, driver %s\nmode    %s, base weights %s\nmodel   %s, %s parameters, context %u, batch %u\n\n",
           espl_device_name(bench->program->device), espl_device_driver(bench->program->device), mode_name(info.mode),
           info.dtype, info.model_type, text_count(parameters, info.parameters), bench->context, bench->batch);
    printf("%-20s%12s %-12s%10s%10s%8s\n", "", "median", "", "least", "most", "host%");
    size_t index;
    json_t *row;
    json_array_foreach(bench->rows, index, row) {
        const char *name, *unit;
        double value, least, most;
        if (json_unpack(row, "{s:s, s:s, s:f, s:f, s:f}", "name", &name, "unit", &unit, "value", &value, "least",
                        &least, "most", &most))
            continue;
        printf("%-20s%12.2f %-12s%10.2f%10.2f", name, value, unit, least, most);
        const json_t *share = json_object_get(row, "host_share");
        if (share) printf("%8.1f", 100 * json_real_value(share));
        putchar('\n');
    }
    return EXIT_DONE;
}

static int run_benches(bench *bench) {
    program *program = bench->program;
    espl_status status =
        espl_new(program->context, (size_t)bench->context * bench->batch * sizeof *bench->ids, &bench->ids);
    if (status) return fail_status(program, status);
    fill_ids(bench);
    bench->rows = json_array();
    for (size_t i = 0; i < ESPL_COUNT(benches) && !status; i++) {
        if (!is_asked(&program->options->operands, benches[i].name, benches[i].if_named)) continue;
        say("%s ...", benches[i].name);
        status = benches[i].run(bench);
    }
    /* What was measured before a failure is worth having. */
    int result = json_array_size(bench->rows) > 0 ? print_results(bench) : EXIT_DONE;
    return status ? fail_status(program, status) : result;
}

/* Without --model the folder of the default is made, loaded with random weights and taken away again. */
static int open_bench_model(program *program, options *opts) {
    espl_model_params params = model_params(opts);
    if (opts->model) return open_model(program, &params);
    char *folder, *config = NULL;
    espl_status status = espl_os_temporary_folder(program->context, &folder);
    if (status) return fail_status(program, status);
    status = espl_format(program->context, &config, "%s/config.json", folder);
    if (!status) status = espl_os_write_file(program->context, config, default_config, sizeof default_config - 1);
    int result = status ? fail_status(program, status) : 0;
    opts->model = folder;
    params.random = true;
    if (!result) result = open_model(program, &params);
    opts->model = NULL;
    espl_free(program->context, &config);
    espl_os_remove_folder(program->context, folder);
    espl_free(program->context, &folder);
    return result;
}

int cmd_bench(program *program) {
    const options *given = program->options;
    options opts = *given;
    for (size_t i = 0; i < opts.operands.count; i++)
        if (!is_known(opts.operands.items[i]))
            return fail_usage("bench", "there is no benchmark \"%s\"", opts.operands.items[i]);
    if (opts.repetitions > REPETITIONS_MAX)
        return fail_usage("bench", "--repetitions takes at most %d", REPETITIONS_MAX);
    bench bench = {
        .program = program,
        .context = opts.context ? opts.context : 256,
        .batch = opts.batch ? opts.batch : 1,
        .repetitions = opts.repetitions,
    };
    program->options = &opts;
    int result = open_bench_model(program, &opts);
    if (!result) result = open_method(program, "lora:r=8,alpha=16,targets=all-linear");
    if (!result) result = run_benches(&bench);
    espl_session_destroy(&bench.session);
    espl_trainer_destroy(&bench.trainer);
    espl_dataset_destroy(&bench.dataset);
    espl_free(program->context, &bench.ids);
    json_decref(bench.rows);
    program->options = given;
    return result;
}
