#include "host/ops/op_adamw.h"
#include "host/ops/op_grad_norm.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { P, G, M, V, TENSORS };

/* A graph of grad_norm and adamw over n parameters, and the same in double. */
typedef struct optimiser {
    espl_graph *graph;
    espl_tensor *tensor[TENSORS], *stats;
    size_t count;
    double *expected[TENSORS], expected_stats[ESPL_STATS_WORDS];
    ref_adamw_args args;
    double max_norm;
} optimiser;

static uint32_t bits_of(double value) {
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, 4);
    return bits;
}

static void begin(optimiser *o, uint32_t count, ref_adamw_args args, double max_norm, double scale) {
    const char *const names[] = {"p", "gradient", "m", "v"};
    memset(o, 0, sizeof *o);
    o->args = args, o->max_norm = max_norm, o->count = count;
    op_ok(espl_graph_create(op_device(), "adamw", &o->graph));
    op_ok(espl_graph_layer(o->graph, "layer", ESPL_PHASE_MICRO, false));
    for (size_t i = 0; i < TENSORS; i++) {
        o->tensor[i] = espl_graph_leaf(o->graph, ESPL_ROLE_STATE, names[i], 1, count, 0, ESPL_DTYPE_F32,
                                       op_span(1, (count + 3) / 4 * 4, ESPL_DTYPE_F32));
        o->expected[i] = calloc(count, sizeof(double));
    }
    o->stats = espl_graph_leaf(o->graph, ESPL_ROLE_STATE, "stats", 1, ESPL_STATS_WORDS, 0, ESPL_DTYPE_F32,
                               op_span(1, ESPL_STATS_WORDS, ESPL_DTYPE_F32));
    espl_tensor *stats = espl_graph_grad_norm(o->graph, &(espl_grad_norm){{o->tensor[G]}, o->stats});
    op_ok(espl_graph_adamw(
        o->graph, &(espl_adamw){o->tensor[P], o->tensor[G], o->tensor[M], o->tensor[V], stats, args.decay != 0}));
    op_ok(espl_graph_plan(o->graph));
    uint32_t *words = espl_graph_step_pointer(o->graph, espl_graph_step(o->graph));
    words[ESPL_STEP_LEARNING_RATE] = bits_of(args.rate);
    words[ESPL_STEP_BETA1] = bits_of(args.beta1);
    words[ESPL_STEP_BETA2] = bits_of(args.beta2);
    words[ESPL_STEP_EPSILON] = bits_of(args.epsilon);
    words[ESPL_STEP_WEIGHT_DECAY] = bits_of(args.decay != 0 ? args.decay : 0.5);
    words[ESPL_STEP_MAX_NORM] = bits_of(max_norm);
    op_random(1, 0, 0, o->expected[P], count);
    for (size_t c = 0; c < count; c++)
        o->expected[P][c] = op_round(scale * o->expected[P][c], ESPL_DTYPE_F32);
    for (size_t i = 0; i < TENSORS; i++)
        op_write(o->tensor[i], o->expected[i]);
    op_write(o->stats, o->expected_stats);
}

static void step(optimiser *o, uint64_t stream, double bad) {
    op_random(stream, 0, 0, o->expected[G], o->count);
    for (size_t c = 0; c < o->count; c++)
        o->expected[G][c] = op_round(o->expected[G][c] * 0.01, ESPL_DTYPE_F32);
    if (bad != 0) o->expected[G][o->count / 2] = bad;
    op_write(o->tensor[G], o->expected[G]);
    op_submit(o->graph);
    ref_grad_norm(o->expected[G], o->count, o->max_norm, o->args.beta1, o->args.beta2, o->expected_stats);
    ref_adamw(o->expected[G], o->expected_stats, o->count, &o->args, o->expected[P], o->expected[M], o->expected[V]);
}

static double largest_error(const optimiser *o, size_t tensor) {
    double *got = calloc(o->count, sizeof *got), largest = 0;
    op_read(o->tensor[tensor], got);
    for (size_t c = 0; c < o->count; c++)
        largest = fmax(largest, fabs(got[c] - o->expected[tensor][c]));
    free(got);
    return largest;
}

static void end(optimiser *o) {
    espl_graph_destroy(&o->graph);
    op_spans_finish();
    op_no_validation_messages();
    for (size_t i = 0; i < TENSORS; i++)
        free(o->expected[i]);
}

static const ref_adamw_args usual = {1e-4, 0.9, 0.999, 1e-8, 0.01};

/* Against float64 with the hyperparameters as written, not as rounded: 2e-7 after two steps. */
static void two_steps(void **state) {
    (void)state;
    const uint32_t counts[] = {1, 7, 512, 4099, 70001};
    const double max_norms[] = {0, 1, 0.01, 1, 0};
    for (size_t i = 0; i < ESPL_COUNT(counts); i++)
        for (int decay = 0; decay < 2; decay++) {
            optimiser o;
            ref_adamw_args args = usual;
            args.decay = decay ? 0.01 : 0;
            begin(&o, counts[i], args, max_norms[i], 1);
            step(&o, 7, 0);
            step(&o, 8, 0);
            const double p = largest_error(&o, P), m = largest_error(&o, M), v = largest_error(&o, V);
            if (getenv("ESPL_TEST_PRINT")) fprintf(stderr, "%u parameters: p %.2e m %.2e v %.2e\n", counts[i], p, m, v);
            if (!(p <= 2e-7) || !(m <= 1e-9) || !(v <= 1e-11))
                fail_msg("%u parameters: largest errors p %.3g, m %.3g, v %.3g", counts[i], p, m, v);
            end(&o);
        }
}

static void windows(void **state) {
    (void)state;
    optimiser o;
    op_storage_range(4 * 512 + 100);
    begin(&o, 1701, usual, 0.1, 1);
    step(&o, 7, 0);
    step(&o, 8, 0);
    op_storage_range(0);
    assert_true(largest_error(&o, P) <= 2e-7);
    end(&o);
}

static void many_steps(void **state) {
    (void)state;
    optimiser o;
    begin(&o, 300, (ref_adamw_args){1e-3, 0.9, 0.95, 1e-8, 0.1}, 0.05, 1);
    for (uint64_t i = 0; i < 60; i++)
        step(&o, i, 0);
    const double p = largest_error(&o, P);
    if (!(p <= 3e-6)) fail_msg("after 60 steps of 1e-3: largest error %.3g", p);
    end(&o);
}

/* A step whose gradients are not finite leaves all bits as they were, and the next one is as if it had not been. */
static void skipped(void **state) {
    (void)state;
    optimiser o;
    begin(&o, 1000, usual, 1, 1);
    double *before[TENSORS], *after[TENSORS];
    for (size_t i = 0; i < TENSORS; i++)
        before[i] = calloc(1000, sizeof(double)), after[i] = calloc(1000, sizeof(double));
    step(&o, 1, 0);
    for (size_t i = 0; i < TENSORS; i++)
        op_read(o.tensor[i], before[i]);
    step(&o, 2, NAN);
    step(&o, 2, INFINITY);
    for (size_t i = 0; i < TENSORS; i++) {
        op_read(o.tensor[i], after[i]);
        if (i != G) assert_memory_equal(before[i], after[i], 1000 * sizeof(double));
        free(before[i]), free(after[i]);
    }
    step(&o, 3, 0);
    assert_true(largest_error(&o, P) <= 2e-7);
    end(&o);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *t[5];
    for (uint32_t i = 0; i < 5; i++)
        t[i] = espl_graph_leaf(graph, ESPL_ROLE_STATE, i == 3 ? "v" : "other", 1, i == 3 ? 8 : 12, 0, ESPL_DTYPE_F32,
                               op_span(1, 12, ESPL_DTYPE_F32));
    op_refused(espl_graph_adamw(graph, &(espl_adamw){t[0], t[1], t[2], t[3], NULL, false}), ESPL_OK, "");
    t[4] = espl_graph_leaf(graph, ESPL_ROLE_STATE, "stats", 1, ESPL_STATS_WORDS, 0, ESPL_DTYPE_F32,
                           op_span(1, ESPL_STATS_WORDS, ESPL_DTYPE_F32));
    op_refused(espl_graph_adamw(graph, &(espl_adamw){t[0], t[1], t[2], t[3], t[4], false}), ESPL_ARGUMENT,
               "adamw: v is 1 x 8 F32, must be one row of 12 F32 STATE");
    espl_graph_destroy(&graph);
    op_spans_finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_steps), cmocka_unit_test(windows),
                                       cmocka_unit_test(many_steps), cmocka_unit_test(skipped),
                                       cmocka_unit_test(refused)};
    return op_main("adamw", tests, ESPL_COUNT(tests));
}
