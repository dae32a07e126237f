/* espalier sweep: train --task for every method, rate and number of epochs. What it leaves in OUT:
 *   sweep.json                       the settings that all cells share; another sweep is refused there
 *   <method>,lr=<rate>,epochs=<n>/   as train leaves it; result.json when the cell is finished, in which case the cell
 *                                    is read back and not run again */
#include "host/file/json.h"
#include "tools/espalier/sweep.h"
#include "tools/espalier/training.h"
#include <stdlib.h>
#include <string.h>

/* ---- The grid ---- */

/* Cuts the list in place; the count is of items that are not empty. */
static espl_status cut_list(espl_context *ctx, const char *list, const char *separators, const char *items[],
                            size_t *out_count, char **out_text) {
    *out_count = 0;
    ESPL_TRY(espl_copy_string(ctx, list, strlen(list), out_text));
    for (char *at = *out_text; *at;) {
        const size_t length = strcspn(at, separators);
        const bool last = !at[length];
        at[length] = 0;
        if (length && *out_count == OPTION_LIST_MAX)
            return espl_fail(ctx, ESPL_ARGUMENT, "a list has more than %d items", OPTION_LIST_MAX);
        if (length) items[(*out_count)++] = at;
        if (last) break;
        at += length + 1;
    }
    return ESPL_OK;
}

static espl_status name_cell(sweep *sweep, sweep_cell *cell) {
    ESPL_TRY(espl_format(sweep->program->context, &cell->folder, "%s/%s,lr=%s,epochs=%s", sweep->program->options->out,
                         cell->method, cell->rate, cell->epochs));
    char *name = cell->folder + strlen(sweep->program->options->out) + 1;
    for (; *name; name++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,=+-", *name)) *name = '_';
    return ESPL_OK;
}

static espl_status make_grid(sweep *sweep) {
    espl_context *ctx = sweep->program->context;
    const options *opts = sweep->program->options;
    const char *methods[OPTION_LIST_MAX], *rates[OPTION_LIST_MAX], *epochs[OPTION_LIST_MAX];
    size_t method_count, rate_count, epoch_count;
    ESPL_TRY(cut_list(ctx, opts->methods, ";", methods, &method_count, &sweep->methods));
    ESPL_TRY(cut_list(ctx, opts->rates ? opts->rates : "2e-4", ",", rates, &rate_count, &sweep->rates));
    ESPL_TRY(cut_list(ctx, opts->epochs_list ? opts->epochs_list : "1", ",", epochs, &epoch_count, &sweep->epochs));
    const size_t count = method_count * rate_count * epoch_count;
    if (!count) return espl_fail(ctx, ESPL_ARGUMENT, "--methods, --lrs or --epochs-list names nothing");
    ESPL_TRY(espl_new(ctx, count * sizeof *sweep->cells, &sweep->cells));
    for (; sweep->count < count; sweep->count++) {
        const size_t i = sweep->count;
        sweep_cell *cell = &sweep->cells[i];
        *cell = (sweep_cell){.method = methods[i / (rate_count * epoch_count)],
                             .rate = rates[i / epoch_count % rate_count],
                             .epochs = epochs[i % epoch_count]};
        ESPL_TRY(name_cell(sweep, cell));
    }
    return ESPL_OK;
}

static void finish_sweep(sweep *sweep) {
    espl_context *ctx = sweep->program->context;
    for (size_t i = 0; i < sweep->count; i++) {
        espl_free(ctx, &sweep->cells[i].folder);
        json_decref(sweep->cells[i].result);
    }
    espl_free(ctx, &sweep->cells);
    espl_free(ctx, &sweep->methods);
    espl_free(ctx, &sweep->rates);
    espl_free(ctx, &sweep->epochs);
    espl_free(ctx, &sweep->settings_path);
}

/* ---- Settings, which are the same for all cells of a folder ---- */

static json_t *settings_of(const options *o) {
    return json_pack("{s:s, s:s, s:s, s:s, s:s?, s:b, s:i, s:i, s:i, s:s?, s:i, s:f, s:f, s:i, s:i, s:I, s:b, s:s?, s:s?}", "model",
                     o->model, "task", o->task, "data", o->data, "valid", o->valid, "columns", o->columns, "bio2",
                     (int)o->bio2, "context", (int)o->context, "batch", (int)o->batch, "accumulate", (int)o->accumulate,
                     "schedule", o->schedule, "warmup", (int)o->warmup, "weight-decay", o->weight_decay, "max-norm",
                     o->max_norm, "eval-every", (int)o->eval_every, "patience", (int)o->patience, "seed",
                     (json_int_t)o->seed, "group-by-length", (int)o->group_by_length, "mode", o->mode, "dtype", o->dtype);
}

static espl_status compare_settings(sweep *sweep, const json_t *wanted) {
    espl_context *ctx = sweep->program->context;
    json_t *there = NULL, *value;
    const char *key;
    espl_status status = espl_json_load(ctx, sweep->settings_path, &there);
    if (status) return status;
    json_object_foreach((json_t *)wanted, key, value) {
        if (json_equal(value, json_object_get(there, key))) continue;
        status = espl_fail(ctx, ESPL_ARGUMENT, "%s: holds a sweep with another --%s; --force begins anew",
                           sweep->program->options->out, key);
        break;
    }
    espl_json_destroy(&there);
    return status;
}

static espl_status begin_sweep(sweep *sweep) {
    program *program = sweep->program;
    const options *opts = program->options;
    ESPL_TRY(espl_format(program->context, &sweep->settings_path, "%s/sweep.json", opts->out));
    const bool there = espl_os_is_file(sweep->settings_path);
    if (!there && !opts->force && !espl_os_folder_is_empty(opts->out))
        return espl_fail(program->context, ESPL_ARGUMENT, "%s: is not empty; --force writes into it", opts->out);
    json_t *settings = settings_of(opts);
    espl_status status = settings ? ESPL_OK : espl_fail(program->context, ESPL_HOST_MEMORY, "no host memory");
    if (!status && there && !opts->force) {
        status = compare_settings(sweep, settings);
    } else if (!status) {
        for (size_t i = 0; i < sweep->count; i++)
            espl_os_remove_folder(program->context, sweep->cells[i].folder);
        status = espl_os_make_folder(program->context, opts->out);
        if (!status) status = espl_json_save(program->context, sweep->settings_path, settings);
    }
    espl_json_destroy(&settings);
    return status;
}

/* ---- Cells ---- */

static espl_status path_in(const sweep *sweep, const sweep_cell *cell, const char *name, char **out_path) {
    return espl_format(sweep->program->context, out_path, "%s/%s", cell->folder, name);
}

static int train_cell(const sweep *sweep, sweep_cell *cell, const char *result_path, bool has_checkpoint) {
    espl_context *ctx = sweep->program->context;
    options opts = *sweep->program->options;
    opts.method = cell->method;
    opts.learning_rate = strtod(cell->rate, NULL);
    opts.epochs = strtod(cell->epochs, NULL);
    opts.out = cell->folder;
    opts.resume = has_checkpoint;
    opts.force = !has_checkpoint;
    opts.json = false;
    program run = {.options = &opts,
                   .words = sweep->program->words,
                   .word_count = sweep->program->word_count,
                   .started = sweep->program->started,
                   .context = ctx};
    int result = train(&run, true, &cell->result);
    close_program(&run);
    if (result) return result;
    espl_status status = cell->result ? espl_json_save(ctx, result_path, cell->result)
                                      : espl_fail(ctx, ESPL_HOST_MEMORY, "no host memory for the result");
    return status ? fail_status(&run, status) : EXIT_DONE;
}

static int run_cell(const sweep *sweep, sweep_cell *cell) {
    espl_context *ctx = sweep->program->context;
    char *result_path = NULL, *checkpoint = NULL;
    int result = EXIT_DONE;
    espl_status status = path_in(sweep, cell, "result.json", &result_path);
    if (!status) status = path_in(sweep, cell, "checkpoint", &checkpoint);
    if (!status && espl_os_is_file(result_path)) {
        status = espl_json_load(ctx, result_path, &cell->result);
    } else if (!status) {
        say("cell      %zu of %zu: %s, lr %s, epochs %s", (size_t)(cell - sweep->cells) + 1, sweep->count, cell->method,
            cell->rate, cell->epochs);
        result = train_cell(sweep, cell, result_path, espl_os_is_folder(checkpoint));
    }
    espl_free(ctx, &result_path);
    espl_free(ctx, &checkpoint);
    return status ? fail_status(sweep->program, status) : result;
}

/* A cell that fails leaves the others their turn. */
static int run_cells(const sweep *sweep) {
    size_t failed = 0;
    for (size_t i = 0; i < sweep->count; i++) {
        int result = run_cell(sweep, &sweep->cells[i]);
        if (result == EXIT_STOPPED || result == EXIT_USAGE) return result;
        failed += result != EXIT_DONE;
    }
    int result = print_sweep(sweep);
    return failed ? fail("%zu of %zu cells failed", failed, sweep->count) : result;
}

static int check_numbers(const sweep *sweep) {
    for (size_t i = 0; i < sweep->count; i++) {
        const sweep_cell *cell = &sweep->cells[i];
        char *end;
        if (!(strtod(cell->rate, &end) > 0) || *end)
            return fail_usage("sweep", "--lrs takes numbers above 0, not \"%s\"", cell->rate);
        if (!(strtod(cell->epochs, &end) > 0) || *end)
            return fail_usage("sweep", "--epochs-list takes numbers above 0, not \"%s\"", cell->epochs);
    }
    return EXIT_DONE;
}

int cmd_sweep(program *program) {
    sweep sweep = {.program = program};
    espl_status status = make_grid(&sweep);
    int result = status ? fail_status(program, status) : check_numbers(&sweep);
    if (!result) {
        status = begin_sweep(&sweep);
        result = status ? fail_status(program, status) : run_cells(&sweep);
    }
    finish_sweep(&sweep);
    return result;
}
