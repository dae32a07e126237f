/* How a case is run: every differentiable leaf is a PARAMETER, an activation is one behind a "wire" (a node that
 * copies), and the output's gradient comes from a "seed" node that stands where a loss would. In the second kind of run
 * each activation also feeds a second wire whose gradient the seed node gives, so that the operator has to add to it.
 * All of it once for each dtype that values may have. */
#include "tests/ops/harness_private.h"
#include "host/base/os.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS_MAX = ESPL_OUTPUTS_MAX - 1 };

static espl_context *context;
static espl_device *device;
static unsigned validation_messages;
static bool planning; /* see ESPL_TEST_PLAN */
static uint64_t storage_range;
static espl_graph *running; /* left behind by a test that failed */

static void on_log(void *user, espl_log_level level, const char *line) {
    (void)user;
    if (strncmp(line, "validation:", 11) == 0) validation_messages++;
    if (level <= ESPL_LOG_WARNING) fprintf(stderr, "%s\n", line);
}

espl_device *op_device(void) {
    return device;
}

espl_context *op_context(void) {
    return context;
}

/* The device is not const and nobody else looks while a test runs. */
static espl_capabilities *capabilities(void) {
    return (espl_capabilities *)espl_device_capabilities(device);
}

void op_storage_range(uint64_t bytes) {
    capabilities()->storage_range_max = bytes ? bytes : storage_range;
}

void op_ok(espl_status status) {
    if (status != ESPL_OK) fail_msg("%s: %s", espl_status_name(status), espl_context_message(context));
}

void op_refused(espl_status status, espl_status expected, const char *message_part) {
    if (status != expected || !strstr(espl_context_message(context), message_part))
        fail_msg("expected %s \"%s\", got %s \"%s\"", espl_status_name(expected), message_part,
                 espl_status_name(status), espl_context_message(context));
}

void op_no_validation_messages(void) {
    if (validation_messages) fail_msg("%u validation messages", validation_messages);
}

/* ---- One run ---- */

typedef struct run {
    const op_case *test;
    espl_dtype value_dtype;
    espl_graph *graph;
    espl_tensor *source[OP_LEAVES_MAX], *used[OP_LEAVES_MAX]; /* the leaf, and what build gets */
    espl_tensor *gradient[OP_LEAVES_MAX];                     /* a stand-in tensor over the gradient's memory */
    espl_tensor *output;
    espl_tensor *seed[SEEDS_MAX], *seeded[SEEDS_MAX];
    uint32_t seed_leaf[SEEDS_MAX]; /* whose second wire it is; the first is the output's */
    uint32_t seeds;
    /* In a first run the harness keeps its own values, so that no gradient begins in memory whose padding somebody
     * wrote. In a second one all memory is reused: what a node does not name as its input is gone. */
    bool compact;
    espl_tensor *given; /* the copy of the output's seed */
} run;

/* Values are stored as the run says; what is not f32 by itself (weights, ids) stays. */
static bool is_value(const op_leaf *leaf) {
    return leaf->rows && leaf->dtype == ESPL_DTYPE_F32 && !leaf->f32 && (leaf->role == ESPL_ROLE_VALUE || leaf->as_value);
}

static espl_dtype leaf_dtype(const op_leaf *leaf, espl_dtype value_dtype) {
    return is_value(leaf) ? value_dtype : leaf->dtype;
}

static bool differentiable(const op_case *test, uint32_t i) {
    const op_leaf *leaf = &test->leaf[i];
    return !test->forward_only && leaf->rows && leaf->dtype == ESPL_DTYPE_F32 && !leaf->frozen &&
           (leaf->role == ESPL_ROLE_VALUE || leaf->role == ESPL_ROLE_PARAMETER);
}

static void make_leaf(run *r, uint32_t i) {
    const op_leaf *leaf = &r->test->leaf[i];
    if (!leaf->rows) return;
    const espl_dtype dtype = leaf_dtype(leaf, r->value_dtype);
    espl_role role = leaf->role;
    if (role == ESPL_ROLE_VALUE)
        role = leaf->frozen || leaf->dtype != ESPL_DTYPE_F32 ? ESPL_ROLE_WEIGHT : ESPL_ROLE_PARAMETER;
    if (role == ESPL_ROLE_STEP) {
        r->source[i] = espl_graph_step_leaf(r->graph, leaf->name, leaf->rows, leaf->cols, dtype);
    } else {
        uint32_t stride = leaf->stride ? leaf->stride : (uint32_t)espl_round_up(leaf->cols, 4);
        r->source[i] = espl_graph_leaf(r->graph, role, leaf->name, leaf->rows, leaf->cols, stride, dtype,
                                       op_span(leaf->rows, stride, dtype));
        if (role == ESPL_ROLE_PARAMETER) {
            espl_span gradient = op_span(leaf->rows, stride, ESPL_DTYPE_F32);
            r->gradient[i] = espl_graph_leaf(r->graph, ESPL_ROLE_STATE, "gradient", leaf->rows, leaf->cols, stride,
                                             ESPL_DTYPE_F32, gradient);
            espl_graph_parameter_grad(r->graph, r->source[i], gradient);
        }
    }
    op_ok(espl_graph_status(r->graph));
    r->used[i] = leaf->role == ESPL_ROLE_VALUE ? op_wire(r->graph, r->source[i], leaf->name) : r->source[i];
    op_ok(espl_graph_status(r->graph));
    if (leaf->role == ESPL_ROLE_VALUE) r->used[i]->keep = !r->compact;
}

static void add_seed(run *r, espl_tensor *target, uint32_t leaf) {
    uint32_t i = r->seeds++;
    r->seed_leaf[i] = leaf;
    r->seeded[i] = target;
    r->seed[i] = espl_graph_leaf(r->graph, ESPL_ROLE_WEIGHT, "seed", target->rows, target->cols, target->stride,
                                 ESPL_DTYPE_F32, op_span(target->rows, target->stride, ESPL_DTYPE_F32));
    op_ok(espl_graph_status(r->graph));
}

/* first_leaf: of the activations that get a second gradient; OP_LEAVES_MAX: none. Returns the leaf after those. */
static uint32_t begin(run *r, const op_case *test, espl_dtype value_dtype, bool backward, uint32_t first_leaf) {
    memset(r, 0, sizeof *r);
    r->test = test;
    r->value_dtype = value_dtype;
    r->compact = first_leaf < OP_LEAVES_MAX;
    op_wires_forget();
    op_ok(espl_graph_create(device, test->name, &running));
    r->graph = running;
    espl_graph_value_dtype(r->graph, value_dtype);
    op_ok(espl_graph_layer(r->graph, "test", ESPL_PHASE_MICRO, false));
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++)
        make_leaf(r, i);
    r->output = test->build(r->graph, r->used, test->args);
    op_ok(espl_graph_status(r->graph));
    assert_non_null(r->output);
    r->output->keep = true;
    uint32_t next = OP_LEAVES_MAX;
    if (backward) {
        assert_true(r->output->needs_grad);
        add_seed(r, r->output, OP_LEAVES_MAX);
        for (uint32_t i = first_leaf; i < OP_LEAVES_MAX; i++) {
            if (test->leaf[i].role != ESPL_ROLE_VALUE || !differentiable(test, i)) continue;
            if (r->seeds == SEEDS_MAX) {
                next = i;
                break;
            }
            add_seed(r, op_wire(r->graph, r->used[i], "second use"), i);
        }
        espl_tensor *in[2 * SEEDS_MAX], *out[SEEDS_MAX + 1];
        for (uint32_t i = 0; i < r->seeds; i++) {
            in[i] = r->seed[i], in[r->seeds + i] = r->seeded[i];
            out[i] = espl_graph_value(r->graph, "given gradient", r->seed[i]->rows, r->seed[i]->cols, ESPL_DTYPE_F32);
        }
        r->given = out[0];
        r->given->keep = !r->compact;
        espl_tensor *loss = out[r->seeds] = espl_graph_value(r->graph, "loss", 1, 1, ESPL_DTYPE_F32);
        loss->keep = !r->compact;
        op_ok(op_seed(r->graph, in, out, r->seeds));
        op_ok(espl_graph_backward(r->graph, loss));
    }
    op_ok(espl_graph_plan(r->graph));
    return next;
}

/* What the padding of leaf i's gradient must be afterwards; 0: anything. A wire brings that of the activation's
 * gradient, and a gradient that was passed on unchanged has that of the seed. */
static uint32_t gradient_padding(const run *r, uint32_t i) {
    const espl_tensor *wired = op_wired_gradient(r->source[i]);
    if (!wired) return WORD_UNWRITTEN;
    return r->compact || op_span_of(wired).offset == op_span_of(r->given).offset ? 0 : (uint32_t)WORD_UNWRITTEN;
}

/* Fills everything, runs once, reads. gradients[i] is NULL or gets leaf i's. */
static void execute(run *r, double *const *values, double *const *seed_values, double *out_output,
                    double *const *gradients) {
    const op_case *test = r->test;
    uint64_t activation_bytes = espl_graph_activation_bytes(r->graph);
    espl_span activations = {r->output->role == ESPL_ROLE_VALUE ? r->output->span.block : NULL, 0, activation_bytes};
    if (activations.block) {
        void *memory = op_memory(activation_bytes);
        op_fill_words(memory, WORD_UNWRITTEN, activation_bytes);
        op_ok(espl_upload(device, activations, memory, activation_bytes));
        free(memory);
    }
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++) {
        if (!r->source[i]) continue;
        if (test->leaf[i].role == ESPL_ROLE_STEP) {
            size_t bytes;
            void *memory = op_padded(r->source[i], values[i], &bytes);
            memcpy(espl_graph_step_pointer(r->graph, r->source[i]), memory, bytes);
            free(memory);
        } else {
            op_write(r->source[i], values[i]);
        }
        if (r->gradient[i]) op_fill_tensor(r->gradient[i], WORD_UNWRITTEN, true);
    }
    for (uint32_t i = 0; i < r->seeds; i++)
        op_write(r->seed[i], seed_values[i]);
    if (test->step)
        memcpy(espl_graph_step_pointer(r->graph, espl_graph_step(r->graph)), test->step, ESPL_STEP_WORDS * 4);
    op_submit(r->graph);
    const bool fresh = r->output->role == ESPL_ROLE_VALUE && !r->compact && !test->output_reused;
    op_read_checked(r->output, out_output, fresh ? (uint32_t)WORD_UNWRITTEN : 0, true, test->name);
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++) {
        if (gradients && gradients[i]) {
            op_read_checked(r->gradient[i], gradients[i], gradient_padding(r, i), true, test->name);
        }
        if (r->source[i] && (r->source[i]->role == ESPL_ROLE_WEIGHT || r->source[i]->role == ESPL_ROLE_PARAMETER)) {
            double *after = op_memory(op_leaf_count(&test->leaf[i]) * sizeof *after);
            op_read_checked(r->source[i], after, WORD_PADDING, false, test->name);
            if (memcmp(after, values[i], op_leaf_count(&test->leaf[i]) * sizeof *after) != 0)
                fail_msg("%s: input %s was changed", test->name, test->leaf[i].name);
            free(after);
        }
    }
    op_check_guards(test->name);
}

static void end(run *r) {
    espl_graph_destroy(&r->graph);
    running = NULL;
    op_spans_finish();
    op_no_validation_messages();
}

/* ---- A case ---- */

static double *leaf_values(const op_leaf *leaf, uint32_t i, espl_dtype value_dtype) {
    size_t count = op_leaf_count(leaf);
    double *values = op_memory(count * sizeof *values);
    if (leaf->integers)
        for (size_t c = 0; c < count; c++)
            values[c] = leaf->integers[c];
    else if (leaf->values)
        memcpy(values, leaf->values, count * sizeof *values);
    else
        op_random(i, leaf->low, leaf->high, values, count);
    for (size_t c = 0; c < count; c++)
        values[c] = op_round(values[c], leaf_dtype(leaf, value_dtype));
    return values;
}

static double *seed_values(uint64_t stream, size_t count) {
    double *values = op_memory(count * sizeof *values);
    op_random(stream, 0, 0, values, count);
    for (size_t c = 0; c < count; c++)
        values[c] = op_round(values[c], ESPL_DTYPE_F32);
    return values;
}

static void clean_up_after_failure(void) {
    if (running) espl_graph_destroy(&running);
    op_spans_finish();
    op_storage_range(0);
}

/* Every graph that op_check runs, and no more of it than its kernels. */
static void plan_only(const op_case *test, espl_dtype value_dtype) {
    run r;
    bool backward = false;
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++) backward |= differentiable(test, i);
    begin(&r, test, value_dtype, backward, OP_LEAVES_MAX);
    end(&r);
    for (uint32_t from = 0; backward && from < OP_LEAVES_MAX;) {
        from = begin(&r, test, value_dtype, true, from);
        end(&r);
    }
}

/* What one case has in one dtype of values. */
typedef struct trial {
    const op_case *test;
    espl_dtype value_dtype;
    bool backward;
    double *values[OP_LEAVES_MAX], *gradients[OP_LEAVES_MAX], *again[OP_LEAVES_MAX];
    double of_rounding; /* of gradients */
    size_t count;       /* of the output */
    double *got, *got_again, *expected, *seeds[SEEDS_MAX];
    op_leaf_slope slopes[OP_LEAVES_MAX];
} trial;

/* The output against the reference, and everything twice. */
static void check_bits(trial *t, run *r) {
    const op_case *test = t->test;
    execute(r, t->values, t->seeds, t->got, t->gradients);
    test->reference((const double *const *)t->values, test->args, t->expected);
    const double inside = test->rounds_inside ? op_rounding(t->value_dtype) : 0;
    op_compare_rounded(test->name, t->got, t->expected, t->count, op_rounding(r->output->dtype), inside,
                       test->looser == 0 ? 1 : test->looser);
    execute(r, t->values, t->seeds, t->got_again, t->again);
    for (size_t c = 0; c < t->count; c++)
        if (t->got[c] != t->got_again[c] && !(isnan(t->got[c]) && isnan(t->got_again[c])))
            fail_msg("%s: [%zu] differs between runs", test->name, c);
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++)
        if (t->gradients[i] &&
            memcmp(t->gradients[i], t->again[i], op_leaf_count(&test->leaf[i]) * sizeof(double)) != 0)
            fail_msg("%s: the gradient of %s differs between runs", test->name, test->leaf[i].name);
}

static void check_slopes(trial *t) {
    op_expectation e = {t->test,     t->values, t->count, t->seeds[0], op_memory(t->count * sizeof(double)),
                        op_memory(t->count * sizeof(double))};
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++)
        if (t->gradients[i]) {
            t->slopes[i] = op_find_slope(&e, i);
            op_check_gradient(t->test, i, &t->slopes[i], t->gradients[i], NULL, t->of_rounding, "");
        }
    free(e.plus), free(e.minus);
}

/* Gradients that are added to what other nodes gave, a few leaves at a time. */
static void check_added(trial *t) {
    run r;
    for (uint32_t from = 0; t->backward && from < OP_LEAVES_MAX;) {
        from = begin(&r, t->test, t->value_dtype, true, from);
        if (r.seeds > 1) {
            for (uint32_t s = 1; s < r.seeds; s++)
                t->seeds[s] = seed_values(100 + s, (size_t)r.seeded[s]->rows * r.seeded[s]->cols);
            execute(&r, t->values, t->seeds, t->got_again, t->again);
            for (uint32_t s = 1; s < r.seeds; s++) {
                const uint32_t leaf = r.seed_leaf[s];
                op_check_gradient(t->test, leaf, &t->slopes[leaf], t->again[leaf], t->seeds[s], t->of_rounding,
                                  ", added to another");
            }
            for (uint32_t s = 1; s < r.seeds; s++)
                free(t->seeds[s]);
        }
        end(&r);
    }
}

static void check_in(const op_case *test, espl_dtype value_dtype) {
    if (planning) {
        plan_only(test, value_dtype);
        return;
    }
    trial t = {.test = test,
               .value_dtype = value_dtype,
               .of_rounding = test->reads_output ? op_rounding(value_dtype) : 0};
    bool depends = value_dtype == ESPL_DTYPE_F32;
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++) {
        const op_leaf *leaf = &test->leaf[i];
        if (!leaf->rows) continue;
        depends |= is_value(leaf);
        t.values[i] = leaf_values(leaf, i, value_dtype);
        if (!differentiable(test, i)) continue;
        t.backward = true;
        t.gradients[i] = op_memory(op_leaf_count(leaf) * sizeof(double));
        t.again[i] = op_memory(op_leaf_count(leaf) * sizeof(double));
    }
    run r;
    begin(&r, test, value_dtype, t.backward, OP_LEAVES_MAX);
    t.count = (size_t)r.output->rows * r.output->cols;
    t.got = op_memory(t.count * sizeof(double)), t.got_again = op_memory(t.count * sizeof(double));
    t.expected = op_memory(t.count * sizeof(double));
    t.seeds[0] = seed_values(100, t.count);
    /* An operator on weights, parameters or statistics alone is the same whatever values are. */
    depends |= r.output->role == ESPL_ROLE_VALUE && r.output->dtype == value_dtype;
    if (depends) check_bits(&t, &r);
    end(&r);
    if (depends) {
        check_slopes(&t);
        check_added(&t);
    }
    for (uint32_t i = 0; i < OP_LEAVES_MAX; i++)
        free(t.values[i]), free(t.gradients[i]), free(t.again[i]), free(t.slopes[i].expected);
    free(t.seeds[0]), free(t.got), free(t.got_again), free(t.expected);
}

void op_check(const op_case *test) {
    static const espl_dtype value_dtypes[] = {ESPL_DTYPE_F32, ESPL_DTYPE_F16, ESPL_DTYPE_BF16};
    for (size_t i = 0; i < ESPL_COUNT(value_dtypes); i++) {
        if (running) clean_up_after_failure();
        char name[256];
        op_case named = *test;
        snprintf(name, sizeof name, "%s, values in %s", test->name, espl_dtype_name(value_dtypes[i]));
        named.name = name;
        check_in(&named, value_dtypes[i]);
    }
}

void op_check_windows(const op_case *test, uint64_t range) {
    const uint64_t before = espl_device_count(device).dispatches_recorded;
    op_check(test);
    const uint64_t whole = espl_device_count(device).dispatches_recorded - before;
    op_storage_range(range);
    op_check(test);
    op_storage_range(0);
    const uint64_t cut = espl_device_count(device).dispatches_recorded - before - whole;
    if (cut <= whole) fail_msg("%s: %llu dispatches either way, no windows", test->name, (unsigned long long)whole);
}

void op_submit(espl_graph *graph) {
    if (planning) skip();
    espl_ticket ticket;
    op_ok(espl_graph_submit(graph, ESPL_PHASE_MICRO, &ticket));
    op_ok(espl_wait(device, ticket));
}

bool op_matrix_units(const char *name, espl_dtype dtype, const espl_shader *shader) {
    const char *why = capabilities()->cpu                              ? "a software driver has kernels of its own"
                      : !espl_device_matrix_shape(device, dtype, 32, 32, 32) ? "this device has no cooperative matrix of it"
                      : !shader                                        ? "this build's glslc knows no cooperative matrix of it"
                                                                       : NULL;
    if (why) fprintf(stderr, "%s with matrix units, %s: skipped: %s\n", name, espl_dtype_name(dtype), why);
    return !why;
}

double op_milliseconds(espl_graph *graph, uint32_t times) {
    double best = 1e300;
    for (uint32_t i = 0; i < times; i++) {
        double start = espl_os_seconds();
        op_submit(graph);
        best = fmin(best, (espl_os_seconds() - start) * 1e3);
    }
    return best;
}

static int run_all(const char *name, const struct CMUnitTest *tests, size_t count) {
    storage_range = capabilities()->storage_range_max;
    int failed = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
    clean_up_after_failure();
    return failed;
}

static int run_again(const char *name, const struct CMUnitTest *tests, size_t count, espl_device_params *params,
                     const char *limits) {
    fprintf(stderr, "%s with %s\n", name, limits);
    espl_device_destroy(&device);
    params->limits = limits;
    if (espl_device_create(context, params, &device) == ESPL_OK) return run_all(name, tests, count);
    fprintf(stderr, "%s: %s\n", name, espl_context_message(context));
    return 1;
}

int op_main(const char *name, const struct CMUnitTest *tests, size_t count) {
    if (espl_context_create(&(espl_context_params){.log = on_log}, &context) != ESPL_OK) return 1;
    const char *validation = getenv("ESPL_TEST_VALIDATION");
    planning = getenv("ESPL_TEST_PLAN") != NULL;
    espl_device_params params = {.select = getenv("ESPL_TEST_DEVICE"),
                                 .cache_folder = "",
                                 .validation = !validation || strcmp(validation, "0") != 0};
    espl_status status = espl_device_create(context, &params, &device);
    if (status == ESPL_UNSUPPORTED) {
        fprintf(stderr, "%s: skipped: %s\n", name, espl_context_message(context));
        espl_context_destroy(&context);
        return 77;
    }
    if (status != ESPL_OK) {
        fprintf(stderr, "%s: %s\n", name, espl_context_message(context));
        return 1;
    }
    fprintf(stderr, "%s on %s\n", name, espl_device_name(device));
    int failed = run_all(name, tests, count);
    if (capabilities()->cpu) failed += run_again(name, tests, count, &params, "cpu=0");
    if (!planning && device && espl_device_count(device).matrix_dispatches_recorded)
        failed += run_again(name, tests, count, &params, params.limits ? "cpu=0,cooperative_matrix=0" : "cooperative_matrix=0");
    espl_device_destroy(&device);
    espl_context_destroy(&context);
    return failed || validation_messages ? 1 : 0;
}
