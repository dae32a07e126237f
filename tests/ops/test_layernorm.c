#include "host/ops/op_layernorm.h"
#include "tests/ops/harness.h"
#include <stdio.h>

typedef struct shape {
    uint32_t rows, cols;
    float eps;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_layernorm(graph,
                                &(espl_layernorm){.x = leaves[0], .w = leaves[1], .b = leaves[2], .eps = s->eps});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    ref_layernorm(leaves[0], leaves[1], leaves[2], s->rows, s->cols, s->eps == 0 ? 1e-5 : (double)s->eps, out);
}

/* range 0: the device's own. */
static void check_in(const shape *s, espl_role role_of_w, bool with_b, double low, double high, uint64_t range) {
    char name[96];
    snprintf(name, sizeof name, "layernorm %ux%u%s", s->rows, s->cols, with_b ? " with b" : "");
    const op_case test = {.name = name,
                        .leaf = {{.name = "x", .rows = s->rows, .cols = s->cols, .low = low, .high = high},
                                 {.name = "w", .rows = 1, .cols = s->cols, .role = role_of_w, .f32 = true},
                                 {.name = "b", .rows = with_b, .cols = s->cols, .role = role_of_w, .f32 = true}},
                        .build = build,
                        .reference = reference,
                        .args = s};
    if (range) op_check_windows(&test, range);
    else op_check(&test);
}

static void check(const shape *s, espl_role role_of_w, bool with_b, double low, double high) {
    check_in(s, role_of_w, with_b, low, high, 0);
}

static void windows(void **state) {
    (void)state;
    check_in(&(shape){70, 33}, ESPL_ROLE_PARAMETER, true, 0, 0, 9300);
}

static void rows(void **state) {
    (void)state;
    const shape shapes[] = {{1, 4096}, {3, 7}, {2, 31}, {5, 64}, {70, 33}, {130, 12}, {300, 4}, {2, 515, 0.5f}};
    for (size_t i = 0; i < ESPL_COUNT(shapes); i++)
        check(&shapes[i], ESPL_ROLE_PARAMETER, i % 2 == 0, 0, 0);
    check(&shapes[1], ESPL_ROLE_WEIGHT, true, 0, 0);
    check(&shapes[2], ESPL_ROLE_VALUE, true, 0, 0);
}

/* One column is its own mean: the output is b whatever x is, and large means must not cost digits. */
static void means(void **state) {
    (void)state;
    check(&(shape){3, 1, 0.1f}, ESPL_ROLE_PARAMETER, true, 0, 0);
    check(&(shape){3, 64}, ESPL_ROLE_PARAMETER, true, 10, 14);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *x = espl_graph_value(graph, "x", 2, 12, ESPL_DTYPE_F32);
    espl_tensor *w = espl_graph_value(graph, "w", 1, 12, ESPL_DTYPE_F32);
    espl_tensor *b = espl_graph_value(graph, "b", 1, 11, ESPL_DTYPE_F32);
    assert_null(espl_graph_layernorm(graph, &(espl_layernorm){.x = x, .w = w, .b = b}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "layernorm: b has 11 values, a row of x has 12");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows), cmocka_unit_test(means), cmocka_unit_test(windows), cmocka_unit_test(refused)};
    return op_main("layernorm", tests, ESPL_COUNT(tests));
}
