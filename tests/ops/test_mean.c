#include "host/ops/op_mean.h"
#include "tests/ops/harness.h"
#include <stdio.h>

typedef struct shape {
    uint32_t rows, cols, groups;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    return espl_graph_mean(graph, &(espl_mean){.x = leaves[0], .groups = ((const shape *)args)->groups});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    ref_mean(leaves[0], s->rows, s->cols, s->groups ? s->groups : 1, out);
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {{1, 1, 0}, {7, 1, 1}, {12, 3, 4}, {67, 1, 1}, {130, 33, 2}, {6, 516, 6}, {300, 64, 3}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        char name[64];
        snprintf(name, sizeof name, "mean of %ux%u in %u", list[i].rows, list[i].cols, list[i].groups);
        op_check(&(op_case){.name = name,
                            .leaf = {{.name = "x", .rows = list[i].rows, .cols = list[i].cols}},
                            .build = build,
                            .reference = reference,
                            .args = &list[i]});
    }
}

static void windows(void **state) {
    (void)state;
    const shape s = {185, 33, 37};
    op_check_windows(&(op_case){.name = "mean in windows",
                                .leaf = {{.name = "x", .rows = s.rows, .cols = s.cols}},
                                .build = build,
                                .reference = reference,
                                .args = &s},
                     12000);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *x = espl_graph_value(graph, "x", 7, 12, ESPL_DTYPE_F32);
    assert_null(espl_graph_mean(graph, &(espl_mean){.x = x, .groups = 2}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "mean: x (x) is 7 x 12 F32, in 2 groups");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(windows), cmocka_unit_test(refused)};
    return op_main("mean", tests, ESPL_COUNT(tests));
}
