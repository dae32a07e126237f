#include "tools/espalier/training.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    espl_average strategy;
} strategies[] = {{"linear", ESPL_AVERAGE_LINEAR}, {"cat", ESPL_AVERAGE_CAT}, {"svd", ESPL_AVERAGE_SVD}, {"roots", ESPL_AVERAGE_ROOTS},
                {"negate_b", ESPL_AVERAGE_NEGATE_B}};

static espl_average strategy_of(const options *opts) {
    size_t i = 0;
    while (opts->strategy && i + 1 < ESPL_COUNT(strategies) && strcmp(strategies[i].name, opts->strategy) != 0) i++;
    return strategies[i].strategy;
}

/* "0.5,0.25,-1": as many as there are adapters; not given: equal ones whose sum is 1. */
static int parse_weights(const options *opts, double *out_weights) {
    const size_t count = opts->adapters.count;
    const char *at = opts->weights;
    for (size_t i = 0; i < count; i++) {
        char *end;
        out_weights[i] = at ? strtod(at, &end) : 1 / (double)count;
        if (!at) continue;
        const bool last = i + 1 == count;
        if (end == at || *end != (last ? 0 : ','))
            return fail_usage("average", "--weights takes a number for each of the %zu adapters, commas between, not \"%s\"", count,
                              opts->weights);
        at = end + !last;
    }
    return 0;
}

static int average(program *program, const double *weights) {
    const options *opts = program->options;
    const char *names[OPTION_LIST_MAX];
    espl_adapter *result = NULL;
    for (size_t i = 0; i < program->adapter_count; i++) names[i] = espl_adapter_name(program->adapters[i]);
    espl_status status = espl_adapter_average(program->model, "average", names, weights, program->adapter_count, strategy_of(opts),
                                              opts->rank, &result);
    const uint64_t parameters = status ? 0 : espl_adapter_parameters(result);
    if (!status) status = espl_adapter_save(result, opts->out);
    if (!status) status = copy_saved_task(program, opts->out);
    espl_adapter_delete(&result);
    if (status) return fail_status(program, status);
    if (opts->json) {
        json_t *root = describe_run(program);
        if (root) {
            json_object_set_new(root, "out", json_string(opts->out));
            json_object_set_new(root, "parameters", json_integer((json_int_t)parameters));
        }
        return print_json(root);
    }
    printf("%s: %zu adapters averaged, %llu parameters\n", opts->out, program->adapter_count, (unsigned long long)parameters);
    return EXIT_DONE;
}

int cmd_average(program *program) {
    const options *opts = program->options;
    double weights[OPTION_LIST_MAX];
    int result = parse_weights(opts, weights);
    if (result) return result;
    if (opts->rank && strategy_of(opts) != ESPL_AVERAGE_SVD) return fail_usage("average", "--rank is of --mode svd");
    if (espl_os_is_file(opts->out)) return fail("%s: is a file, a folder is written", opts->out);
    if (!opts->force && !espl_os_folder_is_empty(opts->out))
        return fail("%s: is not empty; --force writes into it", opts->out);
    result = open_model_of_adapters(program, (espl_model_params){0});
    if (!result) result = load_adapters(program);
    return result ? result : average(program, weights);
}
