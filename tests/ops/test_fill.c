#include "host/ops/op_fill.h"
#include "tests/ops/harness.h"

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    espl_fill fill = *(const espl_fill *)args;
    fill.t = leaves[0];
    return espl_graph_fill(graph, &fill);
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const espl_fill *fill = args;
    for (size_t i = 0; i < 37; i++)
        out[i] = leaves[0][i];
    ref_fill(1.5, fill->from, fill->count ? fill->count : 37, out);
}

static void ranges(void **state) {
    (void)state;
    const espl_fill fills[] = {{.word = 0x3fc00000},
                               {.word = 0x3fc00000, .from = 3, .count = 5},
                               {.word = 0x3fc00000, .from = 36, .count = 1}};
    for (size_t i = 0; i < ESPL_COUNT(fills); i++)
        op_check(&(op_case){.name = "fill",
                            .leaf = {{.name = "t", .rows = 1, .cols = 37, .role = ESPL_ROLE_STATE}},
                            .build = build,
                            .reference = reference,
                            .args = &fills[i]});
}

static espl_tensor *build_columns(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    (void)args;
    espl_tensor *t = espl_graph_update(graph, leaves[0]);
    return espl_graph_zero(graph, t, 5, 3) == ESPL_OK ? t : NULL;
}

static void reference_columns(const double *const *leaves, const void *args, double *out) {
    (void)args;
    for (size_t i = 0; i < 70 * 33; i++)
        out[i] = i % 33 >= 5 && i % 33 < 8 ? 0 : leaves[0][i];
}

static void columns(void **state) {
    (void)state;
    op_check_windows(&(op_case){.name = "zero columns",
                                .leaf = {{.name = "t", .rows = 70, .cols = 33, .role = ESPL_ROLE_STATE}},
                                .build = build_columns,
                                .reference = reference_columns},
                     5000);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *t =
        espl_graph_leaf(graph, ESPL_ROLE_STATE, "t", 1, 12, 0, ESPL_DTYPE_F32, op_span(1, 12, ESPL_DTYPE_F32));
    assert_null(espl_graph_fill(graph, &(espl_fill){.t = t, .from = 8, .count = 5}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "fill: 5 elements from 8 of t, which is 1 x 12 F32");
    espl_graph_destroy(&graph);
    op_spans_finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranges), cmocka_unit_test(columns), cmocka_unit_test(refused)};
    return op_main("fill", tests, ESPL_COUNT(tests));
}
