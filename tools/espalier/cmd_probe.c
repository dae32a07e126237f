#include "tools/espalier/program.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct matrix {
    int32_t *values; /* owned */
    float *numbers;  /* owned: instead of values where they need not be whole */
    uint32_t rows, tokens;
} matrix;

/* One number and what ends it; false if there is none in range. */
static bool read_number(const char **at, int32_t *out_value) {
    char *end;
    errno = 0;
    long long value = strtoll(*at, &end, 10);
    if (end == *at || errno || value < INT32_MIN || value > INT32_MAX) return false;
    *at = end;
    *out_value = (int32_t)value;
    return true;
}

static bool read_real(const char **at, float *out_value) {
    char *end;
    *out_value = strtof(*at, &end);
    if (end == *at || !isfinite(*out_value)) return false;
    *at = end;
    return true;
}

/* "1,80,147;1,3,3": rows of one length. Takes at least one number; a ';' at the very end is fine. */
static int read_matrix(program *program, const char *flag, const char *text, bool whole, matrix *out) {
    size_t capacity = 0, count = 0;
    uint32_t in_row = 0;
    const char *at = text;
    for (;;) {
        const espl_status status =
            whole ? espl_grow(program->context, &out->values, &capacity, count + 1, sizeof *out->values)
                  : espl_grow(program->context, &out->numbers, &capacity, count + 1, sizeof *out->numbers);
        if (status) return fail_status(program, status);
        if (whole ? !read_number(&at, &out->values[count]) : !read_real(&at, &out->numbers[count]))
            return fail_usage("probe", "--%s: a %snumber was expected at character %zu", flag, whole ? "whole " : "",
                              (size_t)(at - text) + 1);
        count++;
        in_row++;
        if (*at == ',') {
            at++;
            continue;
        }
        if (*at && *at != ';')
            return fail_usage("probe", "--%s: ',' or ';' was expected at character %zu", flag, (size_t)(at - text) + 1);
        if (out->rows > 0 && in_row != out->tokens)
            return fail_usage("probe", "--%s: row %u has %u tokens, row 1 has %u", flag, out->rows + 1, in_row,
                              out->tokens);
        out->tokens = in_row;
        out->rows++;
        in_row = 0;
        if (*at == ';') at++;
        if (!*at) return 0;
    }
}

enum { IDS, LABELS, TYPES, LENGTHS, TASKS, VALUES, MATRICES };

/* labels and values: as many for each row, or question, as the head takes. */
static int check_shapes(const espl_model *model, const matrix *m) {
    const espl_model_info info = espl_model_describe(model);
    const uint32_t labels = info.head == ESPL_HEAD_SPANS ? 2 : info.per_token ? m[IDS].tokens : 1;
    const uint32_t columns[MATRICES] = {m[IDS].tokens, labels, m[IDS].tokens, 1, 1, info.outputs};
    const char *const flags[MATRICES] = {"ids", "labels", "types", "lengths", "tasks", "values"};
    for (int i = 0; i < MATRICES; i++) {
        const uint32_t rows = i == LABELS ? m[IDS].rows / info.choices : m[IDS].rows;
        if (m[i].rows && (m[i].rows != rows || m[i].tokens != columns[i]))
            return fail_usage("probe", "--%s has %u rows of %u, %u rows of %u were expected", flags[i], m[i].rows,
                              m[i].tokens, rows, columns[i]);
    }
    return 0;
}

static int probe(program *program, const matrix *m) {
    const options *opts = program->options;
    espl_probe_params params = {
        .ids = m[IDS].values,
        .labels = m[LABELS].values,
        .types = m[TYPES].values,
        .lengths = m[LENGTHS].values,
        .tasks = m[TASKS].values,
        .values = m[VALUES].numbers,
        .rows = m[IDS].rows,
        .tokens = m[IDS].tokens,
        .steps = opts->steps,
        .learning_rate = opts->learning_rate > 0 ? opts->learning_rate : 1e-4,
        .weight_decay = opts->weight_decay,
        .recompute = opts->recompute,
    };
    espl_model_params load = model_params(opts);
    load.trainable = is_full_training(opts);
    int result = open_model(program, &load);
    if (!result) result = check_shapes(program->model, m);
    if (!result) result = open_method(program, NULL);
    if (result) return result;
    espl_adapter *trained = program->trained && espl_adapter_is_active(program->trained) ? program->trained : NULL;
    espl_status status = espl_probe(program->model, trained, &params, opts->out);
    if (status) return fail_status(program, status);
    if (opts->json) {
        json_t *root = describe_run(program);
        if (root) json_object_set_new(root, "out", json_string(opts->out));
        return print_json(root);
    }
    printf("%s: %u x %u tokens, %s mode, %s\n", opts->out, m[IDS].rows, m[IDS].tokens,
           mode_name(espl_model_describe(program->model).mode), espl_device_name(program->device));
    return EXIT_DONE;
}

int cmd_probe(program *program) {
    const options *opts = program->options;
    const char *const flags[MATRICES] = {"ids", "labels", "types", "lengths", "tasks", "values"};
    const char *const texts[MATRICES] = {opts->ids, opts->labels, opts->types, opts->lengths, opts->tasks, opts->values};
    matrix m[MATRICES] = {0};
    int result = 0;
    for (int i = 0; !result && i < MATRICES; i++)
        if (texts[i]) result = read_matrix(program, flags[i], texts[i], i != VALUES, &m[i]);
    if (!result) result = probe(program, m);
    for (int i = 0; i < MATRICES; i++) {
        espl_free(program->context, &m[i].values);
        espl_free(program->context, &m[i].numbers);
    }
    return result;
}
