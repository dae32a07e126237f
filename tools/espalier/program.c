/* Opening what commands work on, and failing in one sentence. */
#include "tools/espalier/program.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("espalier: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return EXIT_FAILED;
}

int fail_status(const program *program, espl_status status) {
    const char *message = espl_context_message(program->context);
    return fail("%s", *message ? message : espl_status_meaning(status));
}

int fail_usage(const char *command_name, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "espalier%s%s: ", command_name ? " " : "", command_name ? command_name : "");
    vfprintf(stderr, format, args);
    fprintf(stderr, " (see: espalier help%s%s)\n", command_name ? " " : "", command_name ? command_name : "");
    va_end(args);
    return EXIT_USAGE;
}

void say(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

int open_device(program *program) {
    const options *opts = program->options;
    espl_device_params params = {.select = opts->device,
                                 .slice_ms = opts->gpu_budget,
                                 .low_priority = opts->gpu_budget != 0,
                                 .cache_folder = opts->cache,
                                 .limits = opts->limits};
    espl_status status = espl_device_create(program->context, &params, &program->device);
    return status ? fail_status(program, status) : 0;
}

static espl_head_kind head_kind(const char *name) {
    static const struct {
        const char *name;
        espl_head_kind kind;
    } rows[] = {{"language", ESPL_HEAD_LANGUAGE}, {"masked", ESPL_HEAD_MASKED}, {"classes", ESPL_HEAD_CLASSIFICATION},
                {"value", ESPL_HEAD_REGRESSION},  {"tags", ESPL_HEAD_TAGGING},  {"spans", ESPL_HEAD_SPANS},
                {"choices", ESPL_HEAD_CHOICES},   {"none", ESPL_HEAD_NONE}};
    for (size_t i = 0; name && i < ESPL_COUNT(rows); i++)
        if (!strcmp(rows[i].name, name)) return rows[i].kind;
    return ESPL_HEAD_DEFAULT;
}

espl_model_params model_params(const options *opts) {
    return (espl_model_params){
        .mode = opts->mode && !strcmp(opts->mode, "fast") ? ESPL_MODE_FAST : ESPL_MODE_EXACT,
        .dtype = opts->dtype,
        .random = opts->init != NULL,
        .seed = opts->seed,
        .head = {.kind = head_kind(opts->task), .labels = opts->label_count, .choices = opts->choices},
    };
}

int open_model(program *program, const espl_model_params *params) {
    const option_list *adapters = &program->options->adapters;
    espl_model_params own = *params;
    int result = open_device(program);
    if (result) return result;
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < adapters->count && !status && !own.head.flexible.layers; i++)
        status = espl_head_read(program->context, program->options->model, adapter_folder(adapters->items[i]), &own.head);
    if (!status) status = espl_model_load(program->device, program->options->model, &own, &program->model);
    return status ? fail_status(program, status) : 0;
}

/* Length of NAME in "NAME=DIR", or 0: only a plain word counts as a name, and a folder of that very spelling wins. */
static size_t name_length(const char *text) {
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
    return text[length] == '=' && !espl_os_is_folder(text) ? length : 0;
}

const char *adapter_folder(const char *text) {
    size_t length = name_length(text);
    return length > 0 ? text + length + 1 : text;
}

static int open_adapter(program *program, const char *text) {
    char name[128];
    size_t length = name_length(text);
    if (length >= sizeof name) return fail("--adapter %s: the name is longer than %zu", text, sizeof name - 1);
    if (length > 0)
        snprintf(name, sizeof name, "%.*s", (int)length, text);
    else
        snprintf(name, sizeof name, "adapter%zu", program->adapter_count + 1);
    espl_status status = espl_adapter_load(program->model, name, adapter_folder(text), &program->adapters[program->adapter_count]);
    if (status) return fail_status(program, status);
    program->adapter_count++;
    return 0;
}

/* The folder of a whole composition, or NULL. */
static const char *setup_folder(const options *opts) {
    char path[4096];
    if (opts->adapters.count != 1) return NULL;
    const char *folder = adapter_folder(opts->adapters.items[0]);
    const int bytes = snprintf(path, sizeof path, "%s/adapter_setup.json", folder);
    return bytes > 0 && (size_t)bytes < sizeof path && espl_os_is_file(path) ? folder : NULL;
}

char *adapter_names(program *program) {
    espl_bytes names = {0};
    const char *setup = setup_folder(program->options), *whole = program->options->compose ? program->options->compose : setup;
    espl_status status = ESPL_OK;
    if (whole || !program->adapter_count) {
        status = espl_bytes_print(program->context, &names, "%s", whole ? whole : "none");
        return status ? NULL : names.data;
    }
    for (size_t i = 0; i < program->adapter_count && !status; i++)
        status =
            espl_bytes_print(program->context, &names, "%s%s", i ? "+" : "", espl_adapter_name(program->adapters[i]));
    if (status) espl_bytes_finish(program->context, &names);
    return names.data;
}

static int activate_all(program *program) {
    char *names = adapter_names(program);
    espl_status status = names ? espl_model_activate(program->model, names) : ESPL_HOST_MEMORY;
    espl_free(program->context, &names);
    return status ? fail_status(program, status) : 0;
}

static int open_setup(program *program, const char *folder) {
    const options *opts = program->options;
    if (opts->compose || opts->rank || opts->drop)
        return fail_usage(program->words[0], "%s says itself how its adapters take part: without --compose, --rank and --drop", folder);
    espl_status status = espl_model_load_setup(program->model, folder);
    return status ? fail_status(program, status) : 0;
}

int load_adapters(program *program) {
    const option_list *list = &program->options->adapters;
    for (size_t i = 0; i < list->count; i++) {
        int result = open_adapter(program, list->items[i]);
        if (result) return result;
    }
    return 0;
}

/* --rank and --drop: how much of each takes part. */
static int reduce_all(program *program) {
    const options *opts = program->options;
    for (size_t i = 0; i < program->adapter_count; i++) {
        espl_status status = opts->rank ? espl_adapter_set_rank(program->adapters[i], opts->rank) : ESPL_OK;
        if (!status && opts->drop) status = espl_adapter_drop(program->adapters[i], opts->drop);
        if (status) return fail_status(program, status);
    }
    return 0;
}

int open_adapters(program *program) {
    const char *setup = setup_folder(program->options);
    if (setup) return open_setup(program, setup);
    int result = load_adapters(program);
    if (!result) result = reduce_all(program);
    return !result && (program->options->adapters.count || program->options->compose) ? activate_all(program) : result;
}

bool is_full_training(const options *opts) {
    return opts->method && !strcmp(opts->method, "full");
}

/* AdapterFusion stands on saved adapters, which it leaves as they are. */
static bool is_fusion(const options *opts) {
    return opts->method && strncmp(opts->method, "fusion", strlen("fusion")) == 0;
}

static int open_also(program *program) {
    const option_list *also = &program->options->also;
    program->also = program->adapters + program->adapter_count;
    for (size_t i = 0; i < also->count; i++) {
        const char *text = also->items[i];
        const size_t length = name_length(text);
        char name[128];
        if (!length || length >= sizeof name)
            return fail_usage(program->words[0], "--also %s is not NAME=DIR or NAME=SPEC with a name below %zu", text, sizeof name);
        snprintf(name, sizeof name, "%.*s", (int)length, text);
        if (!strcmp(name, "best") || !strcmp(name, "checkpoint"))
            return fail_usage(program->words[0], "--also %s: \"%s\" is a folder of the run's own in DIR of --out", text, name);
        const char *what = text + length + 1;
        espl_adapter **made = &program->adapters[program->adapter_count];
        const espl_status status = espl_os_is_folder(what) ? espl_adapter_load(program->model, name, what, made)
                                                           : espl_adapter_add(program->model, name, what, program->options->seed + 1 + i, made);
        if (status) return fail_status(program, status);
        program->adapter_count++;
    }
    return 0;
}

/* Those of --share, which by now are all there. */
static int share_tensors(program *program) {
    char *names[OPTION_LIST_MAX], *text = NULL;
    size_t count = 0;
    const char *share = program->options->share;
    if (!share) return 0;
    espl_status status = espl_format(program->context, &text, "%s", share);
    for (char *at = text; !status && at && count < OPTION_LIST_MAX; count++) {
        names[count] = at;
        at = strchr(at, '+');
        if (at) *at++ = 0;
    }
    if (!status) status = espl_adapter_share(program->model, (const char *const *)names, count, NULL);
    espl_free(program->context, &text);
    return status ? fail_status(program, status) : 0;
}

static int share_and_activate(program *program) {
    const int result = share_tensors(program);
    return result ? result : activate_all(program);
}

int open_method(program *program, const char *fallback) {
    const options *opts = program->options;
    const bool several = opts->also.count || opts->share;
    if (several && is_full_training(opts))
        return fail_usage(program->words[0], "--also and --share are about adapters, and --method full has none");
    if (several && !opts->method && setup_folder(opts))
        return fail_usage(program->words[0], "%s says itself which adapters take part: without --also and --share", setup_folder(opts));
    if (opts->method && opts->adapters.count && !is_fusion(opts) && !opts->compose)
        return fail_usage(program->words[0],
                          "--method makes a new adapter and --adapter takes a saved one; give one of them, but for fusion and --compose");
    if (is_full_training(opts) && opts->compose) return fail_usage(program->words[0], "--compose is about adapters, and --method full has none");
    if (is_full_training(opts)) return 0;
    if (!opts->method && setup_folder(opts)) return open_setup(program, setup_folder(opts));
    if (opts->adapters.count) {
        int result = load_adapters(program);
        if (result) return result;
        espl_adapter *last = program->adapters[program->adapter_count - 1];
        if (program->adapter_count > 1 && !is_fusion(opts) && !opts->compose && strcmp(espl_adapter_method(last), "fusion") != 0)
            return fail_usage(program->words[0], "--adapter was given %zu times; one is trained, or a fusion after those that it fuses, or "
                              "with --compose the last", opts->adapters.count);
        program->trained = last;
        if (!opts->method) {
            result = reduce_all(program);
            if (!result) result = open_also(program);
            return result ? result : share_and_activate(program);
        }
    }
    const char *method = opts->method ? opts->method : fallback;
    if (!method) return 0;
    int result = open_also(program);
    if (result) return result;
    espl_adapter **made = &program->adapters[program->adapter_count];
    espl_status status = espl_adapter_add(program->model, "adapter", method, opts->seed, made);
    if (status) return fail_status(program, status);
    program->adapter_count++;
    program->trained = *made;
    return share_and_activate(program);
}

void close_program(program *program) {
    while (program->adapter_count > 0)
        espl_adapter_delete(&program->adapters[--program->adapter_count]);
    espl_model_destroy(&program->model);
    espl_device_destroy(&program->device);
}

const char *mode_name(espl_mode mode) {
    return mode == ESPL_MODE_FAST ? "fast" : "exact";
}

json_t *describe_run(program *program) {
    espl_model_info info = espl_model_describe(program->model);
    json_t *adapters = json_array();
    for (size_t i = 0; i < program->adapter_count; i++)
        json_array_append_new(adapters, json_string(espl_adapter_name(program->adapters[i])));
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "device", espl_device_name(program->device), "driver",
                     espl_device_driver(program->device), "mode", mode_name(info.mode), "dtype", info.dtype, "model",
                     espl_model_folder(program->model), "model_type", info.model_type, "adapters", adapters);
}

int print_json(json_t *root) {
    if (!root) return fail("no host memory for the result");
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(root);
    if (!text) return fail("no host memory for the result");
    puts(text);
    free(text);
    return EXIT_DONE;
}
