#include "host/ops/op_sum.h"
#include "tests/ops/harness.h"
#include <stdio.h>

static const uint32_t step[ESPL_STEP_WORDS] = {[ESPL_STEP_LOSS_SCALE] = 0x3e800000 /* 0.25 */};

typedef struct shape {
    uint32_t rows, cols;
    bool scaled;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_sum(
        graph, &(espl_sum){
                   .x = leaves[0], .stats = leaves[1], .word = 2, .factor_word = s->scaled ? ESPL_STEP_LOSS_SCALE : 0});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    for (size_t i = 0; i < 8; i++)
        out[i] = leaves[1][i];
    ref_sum(leaves[0], (size_t)s->rows * s->cols, s->scaled ? 0.25 : 1, 2, out);
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {{1, 1}, {1, 37, true}, {131, 1, true}, {1, 4099}, {33, 65, true}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        char name[64];
        snprintf(name, sizeof name, "sum %ux%u", list[i].rows, list[i].cols);
        op_check(&(op_case){.name = name,
                            .leaf = {{.name = "x",
                                      .rows = list[i].rows,
                                      .cols = list[i].cols,
                                      .role = ESPL_ROLE_WEIGHT,
                                      .low = 0.1,
                                      .high = 3},
                                     {.name = "stats", .rows = 1, .cols = 8, .role = ESPL_ROLE_STATE}},
                            .build = build,
                            .reference = reference,
                            .args = &list[i],
                            .step = step});
    }
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *x = espl_graph_value(graph, "x", 2, 12, ESPL_DTYPE_F32);
    espl_tensor *stats =
        espl_graph_leaf(graph, ESPL_ROLE_STATE, "stats", 1, 8, 0, ESPL_DTYPE_F32, op_span(1, 8, ESPL_DTYPE_F32));
    assert_null(espl_graph_sum(graph, &(espl_sum){.x = x, .stats = stats, .word = 8}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "sum: of x (x, F32) into word 8 of stats");
    espl_graph_destroy(&graph);
    op_spans_finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(refused)};
    return op_main("sum", tests, ESPL_COUNT(tests));
}
