#include "host/ops/op_rmsnorm.h"
#include "tests/ops/harness.h"
#include <stdio.h>

typedef struct shape {
    uint32_t rows, cols, from, groups, group_cols;
    float eps;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_rmsnorm(graph, &(espl_rmsnorm){.x = leaves[0],
                                                     .w = leaves[1],
                                                     .eps = s->eps,
                                                     .group_from = s->from,
                                                     .group_count = s->groups,
                                                     .group_cols = s->group_cols});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    ref_rmsnorm(leaves[0], leaves[1], s->rows, s->cols, s->from, s->groups ? s->groups : 1,
                s->group_cols ? s->group_cols : s->cols, s->eps == 0 ? 1e-6 : (double)s->eps, out);
}

/* range 0: the device's own. */
static void check_in(const shape *s, espl_role role_of_w, uint64_t range) {
    /* One column is its own norm: of most values little is left of the gradient's 1 - 1. */
    static const double one = 0.25;
    char name[96];
    snprintf(name, sizeof name, "rmsnorm %ux%u, %u x %u from %u", s->rows, s->cols, s->groups, s->group_cols, s->from);
    const op_case test = {
        .name = name,
        .leaf = {{.name = "x", .rows = s->rows, .cols = s->cols, .values = s->rows * s->cols == 1 ? &one : NULL},
                 {.name = "w", .rows = 1, .cols = s->group_cols ? s->group_cols : s->cols, .role = role_of_w, .f32 = true}},
        .build = build,
        .reference = reference,
        .args = s};
    if (range) op_check_windows(&test, range);
    else op_check(&test);
}

static void check(const shape *s, espl_role role_of_w) {
    check_in(s, role_of_w, 0);
}

static void windows(void **state) {
    (void)state;
    check_in(&(shape){130, 12}, ESPL_ROLE_PARAMETER, 3200);
    check_in(&(shape){67, 24, 0, 2, 8}, ESPL_ROLE_PARAMETER, 6200);
}

static void rows(void **state) {
    (void)state;
    const shape shapes[] = {{1, 1, .eps = 0.1f},  {1, 4096}, {3, 7}, {2, 31}, {5, 64}, {70, 33}, {130, 12}, {300, 4},
                            {2, 515, .eps = 0.5f}};
    for (size_t i = 0; i < ESPL_COUNT(shapes); i++)
        check(&shapes[i], ESPL_ROLE_PARAMETER);
    check(&shapes[2], ESPL_ROLE_WEIGHT);
    check(&shapes[3], ESPL_ROLE_VALUE);
}

static void groups(void **state) {
    (void)state;
    const shape shapes[] = {
        {3, 40, 8, 2, 12}, {2, 16, 0, 4, 4}, {5, 19, 4, 1, 8}, {67, 24, 0, 2, 8}, {2, 260, 128, 1, 128}};
    for (size_t i = 0; i < ESPL_COUNT(shapes); i++)
        check(&shapes[i], ESPL_ROLE_PARAMETER);
    check(&shapes[0], ESPL_ROLE_WEIGHT);
}

static void refused(void **state) {
    (void)state;
    const uint32_t w_cols[] = {3, 8, 8, 6}, group_cols[] = {0, 8, 8, 6}, from[] = {0, 4, 2, 0};
    const char *const messages[] = {"rmsnorm: w has 3 values, a row of x has 12",
                                    "rmsnorm: 2 groups of 8 columns from 4", "rmsnorm: 2 groups of 8 columns from 2",
                                    "rmsnorm: 2 groups of 6 columns from 0"};
    for (size_t i = 0; i < ESPL_COUNT(w_cols); i++) {
        espl_graph *graph;
        op_ok(espl_graph_create(op_device(), "refused", &graph));
        op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
        espl_tensor *x = espl_graph_value(graph, "x", 2, 12, ESPL_DTYPE_F32);
        espl_tensor *w = espl_graph_value(graph, "w", 1, w_cols[i], ESPL_DTYPE_F32);
        assert_null(espl_graph_rmsnorm(
            graph,
            &(espl_rmsnorm){.x = x, .w = w, .group_count = 2, .group_cols = group_cols[i], .group_from = from[i]}));
        op_refused(espl_graph_status(graph), ESPL_ARGUMENT, messages[i]);
        assert_null(espl_graph_rmsnorm(graph, &(espl_rmsnorm){.w = w}));
        espl_graph_destroy(&graph);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows), cmocka_unit_test(groups), cmocka_unit_test(windows), cmocka_unit_test(refused)};
    return op_main("rmsnorm", tests, ESPL_COUNT(tests));
}
