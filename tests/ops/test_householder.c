#include "host/ops/op_householder.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdio.h>

typedef struct shape {
    uint32_t rows, cols;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    (void)args;
    return espl_graph_householder(graph, &(espl_householder){.x = leaves[0]});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    ref_householder(leaves[0], s->rows, s->cols, out);
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {{1, 1}, {1, 2}, {1, 67}, {2, 2}, {3, 7}, {5, 64}, {4, 129}, {13, 33}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        char name[64];
        snprintf(name, sizeof name, "householder %ux%u", list[i].rows, list[i].cols);
        op_check(&(op_case){.name = name,
                            .leaf = {{.name = "x", .rows = list[i].rows, .cols = list[i].cols, .role = ESPL_ROLE_PARAMETER}},
                            .build = build,
                            .reference = reference,
                            .args = &list[i]});
    }
    /* Where training starts: minus the identity gives the identity. */
    const double start[] = {-1, 0, 0, 0, 0, -1, 0, 0};
    op_check(&(op_case){.name = "householder at the start",
                        .leaf = {{.name = "x", .rows = 2, .cols = 4, .role = ESPL_ROLE_PARAMETER, .values = start}},
                        .build = build,
                        .reference = reference,
                        .args = &(shape){2, 4}});
}

/* The reference's rows are orthonormal. */
static void orthonormal(void **state) {
    enum { ROWS = 4, COLS = 9 };
    double x[ROWS * COLS], y[ROWS * COLS];
    (void)state;
    for (int i = 0; i < ROWS * COLS; i++) x[i] = sin(3.0 * i + 1);
    ref_householder(x, ROWS, COLS, y);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < ROWS; j++) {
            double product = 0;
            for (int c = 0; c < COLS; c++) product += y[i * COLS + c] * y[j * COLS + c];
            assert_true(fabs(product - (i == j)) < 1e-14);
        }
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *x = espl_graph_value(graph, "x", 7, 5, ESPL_DTYPE_F32);
    assert_null(espl_graph_householder(graph, &(espl_householder){.x = x}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "householder: x (x) is 7 x 5 F32");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(orthonormal), cmocka_unit_test(refused)};
    return op_main("householder", tests, ESPL_COUNT(tests));
}
