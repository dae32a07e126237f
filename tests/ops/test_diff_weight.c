#include "host/ops/op_diff_weight.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdio.h>

static const uint32_t step[ESPL_STEP_WORDS] = {
    [ESPL_STEP_SEED_LOW] = 0x89abcdefu, [ESPL_STEP_SEED_HIGH] = 0x01234567u, [ESPL_STEP_COUNTER] = 41};

typedef struct shape {
    uint32_t rows, cols;
    bool drawn;
    uint32_t site;
    espl_dtype base;
    uint32_t groups, begins[4];
} shape;

static const float low = -1.5f, high = 1.5f;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_diff_weight(graph, &(espl_diff_weight){.base = leaves[0], .delta = leaves[1], .alpha = leaves[2], .low = low,
                                                             .high = high, .drawn = s->drawn, .site = s->site, .group = leaves[3],
                                                             .group_site = s->site + 1,
                                                             .bounds = {s->begins[1], s->begins[2], s->begins[3]}});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    const ref_diff_args r = {.rows = s->rows, .cols = s->cols, .groups = s->groups, .begins = s->begins, .low = (double)low,
                             .high = (double)high, .drawn = s->drawn,
                             .seed = (uint64_t)step[ESPL_STEP_SEED_HIGH] << 32 | step[ESPL_STEP_SEED_LOW],
                             .stream = (uint64_t)s->site << 32 | step[ESPL_STEP_COUNTER],
                             .group_stream = (uint64_t)(s->site + 1) << 32 | step[ESPL_STEP_COUNTER]};
    ref_diff_weight(leaves[0], leaves[1], leaves[2], leaves[3], &r, out);
}

static op_case case_of(const shape *s, const char *name) {
    return (op_case){.name = name,
                     .leaf = {{.name = "base", .rows = s->rows, .cols = s->cols, .role = ESPL_ROLE_WEIGHT, .dtype = s->base},
                              {.name = "delta", .rows = s->rows, .cols = s->cols, .role = ESPL_ROLE_PARAMETER},
                              {.name = "alpha", .rows = s->rows, .cols = s->cols, .role = ESPL_ROLE_PARAMETER, .low = -2, .high = 2},
                              {.name = "group", .rows = s->groups > 0, .cols = s->groups, .role = ESPL_ROLE_PARAMETER, .low = 0.2,
                               .high = 0.9}},
                     .build = build,
                     .reference = reference,
                     .args = s,
                     .step = step};
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {{1, 1, true, 3, ESPL_DTYPE_F32},    {3, 7, false, 0, ESPL_DTYPE_F16}, {13, 31, true, 5, ESPL_DTYPE_BF16},
                          {5, 64, true, 7, ESPL_DTYPE_F32}, {70, 33, false, 0, ESPL_DTYPE_F32},
                          {1, 1, false, 0, ESPL_DTYPE_F32, 1},
                          {7, 3, false, 0, ESPL_DTYPE_F16, 1},
                          {13, 31, true, 9, ESPL_DTYPE_BF16, 3, {0, 1, 8}},
                          {70, 33, false, 0, ESPL_DTYPE_F32, 4, {0, 32, 33, 69}},
                          {5, 64, true, 7, ESPL_DTYPE_F32, 2, {0, 3}},
                          {1, 45, false, 0, ESPL_DTYPE_F32, 3, {0, 4, 32}},
                          {1, 300, true, 11, ESPL_DTYPE_F16, 2, {0, 136}}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        char name[64];
        snprintf(name, sizeof name, "diff_weight %ux%u%s in %u groups", list[i].rows, list[i].cols, list[i].drawn ? " drawn" : "",
                 list[i].groups);
        const op_case test = case_of(&list[i], name);
        op_check(&test);
    }
}

/* Gates depend on the place in the weight, not in the window. */
static void windows(void **state) {
    (void)state;
    const shape s = {70, 33, true, 1, ESPL_DTYPE_F32}, even = {70, 32, true, 1, ESPL_DTYPE_F32};
    op_case test = case_of(&s, "diff_weight in windows");
    op_check_windows(&test, 5000);
    test = case_of(&even, "diff_weight in windows of one row");
    op_check_windows(&test, 5000);
    const shape grouped = {70, 33, true, 1, ESPL_DTYPE_F32, 3, {0, 20, 66}};
    test = case_of(&grouped, "diff_weight in windows and groups");
    op_check_windows(&test, 5000);
}

static const float penalty = 0.25f;

static espl_tensor *build_penalty(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    (void)args;
    return espl_graph_diff_penalty(graph, &(espl_diff_penalty){.alpha = leaves[0], .dalpha = leaves[1], .low = low, .high = high,
                                                               .penalty = penalty});
}

/* By central differences of the penalty. */
static void reference_penalty(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    const double shift = log(-(double)low / (double)high), h = 1e-5;
    for (size_t i = 0; i < (size_t)s->rows * s->cols; i++) {
        const double above = 1 / (1 + exp(shift - leaves[0][i] - h)), below = 1 / (1 + exp(shift - leaves[0][i] + h));
        out[i] = leaves[1][i] + (double)penalty * (above - below) / (2 * h);
    }
}

static void penalties(void **state) {
    (void)state;
    const shape list[] = {{.rows = 1, .cols = 1}, {.rows = 13, .cols = 37}, {.rows = 65, .cols = 64}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        op_check(&(op_case){.name = "diff_penalty",
                            .leaf = {{.name = "alpha", .rows = list[i].rows, .cols = list[i].cols, .role = ESPL_ROLE_WEIGHT, .low = -6,
                                      .high = 6},
                                     {.name = "dalpha", .rows = list[i].rows, .cols = list[i].cols, .role = ESPL_ROLE_STATE}},
                            .build = build_penalty,
                            .reference = reference_penalty,
                            .args = &list[i]});
    }
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *x = espl_graph_value(graph, "x", 2, 12, ESPL_DTYPE_F32), *y = espl_graph_value(graph, "y", 2, 8, ESPL_DTYPE_F32);
    assert_null(espl_graph_diff_weight(graph, &(espl_diff_weight){.base = x, .delta = y, .alpha = y, .low = low, .high = high}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "diff_weight: base (x) is F32 [2, 12], delta [2, 8]");
    espl_graph_destroy(&graph);
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    x = espl_graph_value(graph, "x", 2, 12, ESPL_DTYPE_F32), y = espl_graph_value(graph, "y", 1, 2, ESPL_DTYPE_F32);
    assert_null(espl_graph_diff_weight(graph, &(espl_diff_weight){.base = x, .delta = x, .alpha = x, .low = low, .high = high,
                                                                  .group = y, .bounds = {2}}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "diff_weight: 1 x 2 groups (y) that begin at 2, 0 and 0 of 2 x 12 values");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(windows), cmocka_unit_test(penalties),
                                       cmocka_unit_test(refused)};
    return op_main("diff_weight", tests, ESPL_COUNT(tests));
}
