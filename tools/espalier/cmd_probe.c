#include "tools/espalier/program.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct matrix {
    int32_t *values; /* owned */
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

/* "1,80,147;1,3,3": rows of one length. Takes at least one number; a ';' at the very end is fine. */
static int read_matrix(program *program, const char *flag, const char *text, matrix *out) {
    size_t capacity = 0, count = 0;
    uint32_t in_row = 0;
    const char *at = text;
    for (;;) {
        if (espl_grow(program->context, &out->values, &capacity, count + 1, sizeof *out->values))
            return fail_status(program, ESPL_HOST_MEMORY);
        if (!read_number(&at, &out->values[count]))
            return fail_usage("probe", "--%s: a whole number was expected at character %zu", flag,
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

static int probe(program *program, const matrix *ids, const matrix *labels) {
    const options *opts = program->options;
    espl_probe_params params = {
        .ids = ids->values,
        .labels = labels->values,
        .rows = ids->rows,
        .tokens = ids->tokens,
        .steps = opts->steps,
        .learning_rate = opts->learning_rate > 0 ? opts->learning_rate : 1e-4,
        .weight_decay = opts->weight_decay,
        .recompute = opts->recompute,
    };
    espl_model_params load = model_params(opts);
    load.trainable = is_full_training(opts);
    int result = open_model(program, &load);
    if (!result) result = open_method(program, NULL);
    if (result) return result;
    espl_status status = espl_probe(program->model, program->trained, &params, opts->out);
    if (status) return fail_status(program, status);
    if (opts->json) {
        json_t *root = describe_run(program);
        if (root) json_object_set_new(root, "out", json_string(opts->out));
        return print_json(root);
    }
    printf("%s: %u x %u tokens, %s mode, %s\n", opts->out, ids->rows, ids->tokens,
           mode_name(espl_model_describe(program->model).mode), espl_device_name(program->device));
    return EXIT_DONE;
}

int cmd_probe(program *program) {
    const options *opts = program->options;
    matrix ids = {0}, labels = {0};
    int result = read_matrix(program, "ids", opts->ids, &ids);
    if (!result && opts->labels) result = read_matrix(program, "labels", opts->labels, &labels);
    if (!result && opts->labels && (labels.rows != ids.rows || labels.tokens != ids.tokens))
        result = fail_usage("probe", "--labels has %u rows of %u, --ids %u rows of %u", labels.rows, labels.tokens,
                            ids.rows, ids.tokens);
    if (!result) result = probe(program, &ids, &labels);
    espl_free(program->context, &ids.values);
    espl_free(program->context, &labels.values);
    return result;
}
