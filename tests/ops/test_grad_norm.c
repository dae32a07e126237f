#include "host/ops/op_grad_norm.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One graph over gradients of one or two ranges; each run starts from given statistics. */
typedef struct setting {
    uint32_t counts[2];
    double max_norm, beta1, beta2, steps;
} setting;

static uint32_t bits_of(double value) {
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, 4);
    return bits;
}

static void run(const setting *s, const double *gradients, double *stats) {
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "grad_norm", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_grad_norm args = {{NULL}};
    for (size_t i = 0; i < 2; i++)
        if (s->counts[i])
            args.gradients[i] = espl_graph_leaf(graph, ESPL_ROLE_STATE, "gradients", 1, s->counts[i], 0, ESPL_DTYPE_F32,
                                                op_span(1, (s->counts[i] + 3) / 4 * 4, ESPL_DTYPE_F32));
    args.stats = espl_graph_leaf(graph, ESPL_ROLE_STATE, "stats", 1, ESPL_STATS_WORDS, 0, ESPL_DTYPE_F32,
                                 op_span(1, ESPL_STATS_WORDS, ESPL_DTYPE_F32));
    espl_graph_grad_norm(graph, &args);
    op_ok(espl_graph_status(graph));
    op_ok(espl_graph_plan(graph));
    uint32_t *words = espl_graph_step_pointer(graph, espl_graph_step(graph));
    words[ESPL_STEP_MAX_NORM] = bits_of(s->max_norm);
    words[ESPL_STEP_BETA1] = bits_of(s->beta1);
    words[ESPL_STEP_BETA2] = bits_of(s->beta2);
    op_write(args.stats, stats);
    for (size_t i = 0, from = 0; i < 2 && s->counts[i]; from += s->counts[i++])
        op_write(args.gradients[i], gradients + from);
    op_submit(graph);
    op_read(args.stats, stats);
    espl_graph_destroy(&graph);
    op_spans_finish();
    op_no_validation_messages();
}

/* The reference takes the betas as the device has them, rounded to f32. */
static void check(const setting *s, const double *gradients, double *stats) {
    double expected[ESPL_STATS_WORDS];
    memcpy(expected, stats, sizeof expected);
    ref_grad_norm(gradients, (size_t)s->counts[0] + s->counts[1], s->max_norm, op_round(s->beta1, ESPL_DTYPE_F32),
                  op_round(s->beta2, ESPL_DTYPE_F32), expected);
    run(s, gradients, stats);
    for (size_t i = 0; i < ESPL_STATS_WORDS; i++) {
        if (isnan(expected[i]) && isnan(stats[i])) continue;
        if (expected[i] != stats[i] && !(fabs(stats[i] - expected[i]) <= 1e-6 * fabs(expected[i])))
            fail_msg("statistic %zu is %.9g, expected %.9g", i, stats[i], expected[i]);
    }
}

static void norms(void **state) {
    (void)state;
    const setting settings[] = {{{1, 0}, 1, 0.9, 0.999, 0},
                                {{7, 0}, 0, 0.9, 0.999, 0},
                                {{2048, 37}, 0.5, 0.9, 0.999, 1},
                                {{300001, 5000}, 1, 0.9, 0.95, 41},
                                {{64, 0}, 1e9, 0.8, 0.99, 999}};
    for (size_t i = 0; i < ESPL_COUNT(settings); i++) {
        const setting *s = &settings[i];
        const size_t count = (size_t)s->counts[0] + s->counts[1];
        double *gradients = malloc(count * sizeof *gradients);
        op_random(i, 0, 0, gradients, count);
        for (size_t g = 0; g < count; g++)
            gradients[g] = op_round(gradients[g], ESPL_DTYPE_F32);
        double stats[ESPL_STATS_WORDS] = {
            [ESPL_STATS_LOSS] = 3, [ESPL_STATS_STEPS] = s->steps, [ESPL_STATS_SKIPPED] = 2};
        check(s, gradients, stats);
        free(gradients);
    }
}

static void biases(void **state) {
    (void)state;
    const double steps[] = {0, 1, 2, 3, 9, 10, 99, 345, 999, 5000, 54321, 999999, 1000000};
    const double betas[] = {0.999, 0.9999, 0.99, 0.9, 0.5, 0};
    for (size_t i = 0; i < ESPL_COUNT(steps); i++)
        for (size_t b = 0; b < ESPL_COUNT(betas); b++) {
            double gradient = 1, stats[ESPL_STATS_WORDS] = {[ESPL_STATS_STEPS] = steps[i]};
            check(&(setting){{1, 0}, 0, betas[b], 0.999, 0}, &gradient, stats);
        }
}

/* A step with anything that is not finite does not count, and is counted. */
static void not_finite(void **state) {
    (void)state;
    const double bad[] = {NAN, INFINITY, -INFINITY, 1e30};
    for (size_t i = 0; i < ESPL_COUNT(bad); i++) {
        double gradients[700], stats[ESPL_STATS_WORDS] = {[ESPL_STATS_STEPS] = 5};
        op_random(i, 0, 0, gradients, ESPL_COUNT(gradients));
        gradients[611] = bad[i];
        run(&(setting){{700, 0}, 1, 0.9, 0.999, 0}, gradients, stats);
        assert_true(stats[ESPL_STATS_FINITE] == 0 && stats[ESPL_STATS_CLIP] == 0);
        assert_true(stats[ESPL_STATS_STEPS] == 5 && stats[ESPL_STATS_SKIPPED] == 1);
    }
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *stats =
        espl_graph_leaf(graph, ESPL_ROLE_STATE, "stats", 1, 4, 0, ESPL_DTYPE_F32, op_span(1, 8, ESPL_DTYPE_F32));
    assert_null(espl_graph_grad_norm(graph, &(espl_grad_norm){.gradients = {stats}, .stats = stats}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT,
               "grad_norm: stats is 1 x 4 F32, must be one row of F32 STATE, at least 8");
    espl_graph_destroy(&graph);
    op_spans_finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(norms), cmocka_unit_test(biases), cmocka_unit_test(not_finite),
                                       cmocka_unit_test(refused)};
    return op_main("grad_norm", tests, ESPL_COUNT(tests));
}
