#include "tools/espalier/training.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct strategy_row {
    const char *name;
    espl_average strategy;
    bool rank, density, sign; /* flags that it takes */
} strategy_row;
static const strategy_row strategies[] = {
    {"linear", ESPL_AVERAGE_LINEAR, false, false, false},
    {"cat", ESPL_AVERAGE_CAT, false, false, false},
    {"svd", ESPL_AVERAGE_SVD, true, false, false},
    {"roots", ESPL_AVERAGE_ROOTS, false, false, false},
    {"negate_b", ESPL_AVERAGE_NEGATE_B, false, false, false},
    {"ties", ESPL_AVERAGE_TIES, false, true, true},
    {"dare_linear", ESPL_AVERAGE_DARE_LINEAR, false, true, false},
    {"dare_ties", ESPL_AVERAGE_DARE_TIES, false, true, true},
    {"magnitude_prune", ESPL_AVERAGE_MAGNITUDE_PRUNE, false, true, false},
    {"ties_svd", ESPL_AVERAGE_TIES_SVD, true, true, true},
    {"dare_linear_svd", ESPL_AVERAGE_DARE_LINEAR_SVD, true, true, false},
    {"dare_ties_svd", ESPL_AVERAGE_DARE_TIES_SVD, true, true, true},
    {"magnitude_prune_svd", ESPL_AVERAGE_MAGNITUDE_PRUNE_SVD, true, true, false}};

static const strategy_row *strategy_of(const options *opts) {
    size_t i = 0;
    while (opts->strategy && i + 1 < ESPL_COUNT(strategies) && strcmp(strategies[i].name, opts->strategy) != 0) i++;
    return &strategies[i];
}

static int check_flags(const options *opts) {
    const strategy_row *row = strategy_of(opts);
    if (opts->rank && !row->rank) return fail_usage("average", "--rank is of --mode svd and those that end in it");
    if (opts->density > 0 && !row->density)
        return fail_usage("average", "--density is of --mode ties, dare_linear, dare_ties, magnitude_prune and these with _svd");
    if (opts->majority_sign && !row->sign)
        return fail_usage("average", "--majority-sign is of --mode ties, dare_ties and these with _svd");
    if (row->density && !(opts->density > 0)) return fail_usage("average", "--mode %s needs --density X", row->name);
    return 0;
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
    const bool frequency = opts->majority_sign && strcmp(opts->majority_sign, "frequency") == 0;
    const espl_average_params params = {
        .strategy = strategy_of(opts)->strategy, .rank = opts->rank, .density = opts->density, .seed = opts->seed,
        .majority_sign = frequency ? ESPL_MAJORITY_SIGN_FREQUENCY : ESPL_MAJORITY_SIGN_TOTAL};
    espl_adapter *result = NULL;
    for (size_t i = 0; i < program->adapter_count; i++) names[i] = espl_adapter_name(program->adapters[i]);
    espl_status status = espl_adapter_average(program->model, "average", names, weights, program->adapter_count, &params,
                                              &result);
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
    if (!result) result = check_flags(opts);
    if (result) return result;
    if (espl_os_is_file(opts->out)) return fail("%s: is a file, a folder is written", opts->out);
    if (!opts->force && !espl_os_folder_is_empty(opts->out))
        return fail("%s: is not empty; --force writes into it", opts->out);
    result = open_model_of_adapters(program, (espl_model_params){0});
    if (!result) result = load_adapters(program);
    return result ? result : average(program, weights);
}
