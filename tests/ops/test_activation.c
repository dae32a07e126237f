#include "host/ops/op_activation.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdio.h>

typedef struct shape {
    uint32_t rows, x_cols, from, cols;
    bool gated;
    uint32_t gate_from;
    uint32_t kind;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_activation(graph, &(espl_activation){.x = leaves[0],
                                                           .from = s->from,
                                                           .cols = s->cols,
                                                           .kind = s->kind,
                                                           .gated = s->gated,
                                                           .gate_from = s->gate_from});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    ref_activation(leaves[0], s->rows, s->x_cols, s->from, s->cols ? s->cols : s->x_cols - s->from, s->kind, s->gated,
                   s->gate_from, out);
}

/* In backward runs every column of x must have a gradient, so x is what the slices cover. */
static void shapes(void **state) {
    (void)state;
    shape list[] = {
        {1, 1, 0, 0},
        {3, 7, 0, 7},
        {70, 64, 0, 64},
        {2, 515, 0, 0},
        {5, 32, 0, 32},
        {1, 8, 4, 4, true, 0},
        {3, 40, 0, 20, true, 20},
        {33, 88, 44, 44, true, 0},
        {2, 1030, 516, 514, true, 0},
    };
    for (size_t i = 0; i < ESPL_COUNT(list); i++)
        for (uint32_t kind = ACTIVATION_SILU; kind < ACTIVATION_KINDS; kind++) {
            char name[96];
            shape *s = &list[i];
            s->kind = kind;
            snprintf(name, sizeof name, "activation kind %u, %ux%u from %u%s", kind, s->rows, s->x_cols, s->from,
                     s->gated ? ", gated" : "");
            const bool hole = s->x_cols == 1030;
            op_check(&(op_case){.name = name,
                                .leaf = {{.name = "x", .rows = s->rows, .cols = s->x_cols, .frozen = hole}},
                                .build = build,
                                .reference = reference,
                                .args = s});
        }
}

static void windows(void **state) {
    (void)state;
    const shape list[] = {{70, 64, 0, 64}, {70, 33, 0, 33}, {33, 88, 44, 44, true, 0}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++)
        op_check_windows(&(op_case){.name = "activation in windows",
                                    .leaf = {{.name = "x", .rows = list[i].rows, .cols = list[i].x_cols}},
                                    .build = build,
                                    .reference = reference,
                                    .args = &list[i]},
                         6000);
}

/* From deep in one tail to deep in the other; kinks are not on the grid. */
static void range(void **state) {
    (void)state;
    enum { COUNT = 397 };
    double values[COUNT];
    for (int i = 0; i < COUNT; i++)
        values[i] = (i - COUNT / 2 + 0.5) / 16;
    for (uint32_t kind = ACTIVATION_SILU; kind < ACTIVATION_KINDS; kind++)
        op_check(&(op_case){.name = "activation over [-12, 12]",
                            .leaf = {{.name = "x", .rows = 1, .cols = COUNT, .values = values}},
                            .build = build,
                            .reference = reference,
                            .args = &(shape){1, COUNT, 0, 0, .kind = kind}});
}

/* Element by element: each value near zero and near one keeps its digits. Huge arguments stay finite. */
static void digits(void **state) {
    (void)state;
    enum { COUNT = 4000 };
    static double values[COUNT], got[COUNT];
    for (int i = 0; i < COUNT - 2; i++)
        values[i] = op_round((i - COUNT / 2 + 0.5) / 400, ESPL_DTYPE_F32);
    values[COUNT - 2] = 1e30, values[COUNT - 1] = -1e30;
    for (uint32_t kind = ACTIVATION_SILU; kind < ACTIVATION_KINDS; kind++) {
        espl_graph *graph;
        op_ok(espl_graph_create(op_device(), "digits", &graph));
        op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
        espl_tensor *x = espl_graph_leaf(graph, ESPL_ROLE_WEIGHT, "x", 1, COUNT, 0, ESPL_DTYPE_F32,
                                         op_span(1, COUNT, ESPL_DTYPE_F32));
        espl_tensor *y = espl_graph_activation(graph, &(espl_activation){.x = x, .kind = kind});
        y->keep = true;
        op_ok(espl_graph_plan(graph));
        op_write(x, values);
        op_submit(graph);
        op_read(y, got);
        for (int i = 0; i < COUNT; i++) {
            const double expected = ref_activate(values[i], kind);
            const double bound = 5e-7 * fmax(fabs(expected), 2e-1 * fmin(fabs(values[i]), 1));
            if (!(fabs(got[i] - expected) <= fmax(bound, i >= COUNT - 2 ? 1e-6 * fabs(expected) : 0)))
                fail_msg("kind %u at %g: %.9g, expected %.9g", kind, values[i], got[i], expected);
        }
        espl_graph_destroy(&graph);
        op_spans_finish();
    }
}

static void refused(void **state) {
    (void)state;
    const shape list[] = {{2, 16, 2, 4}, {2, 16, 8, 12}, {2, 16, 4, 8, true, 8}, {2, 16, 0, 4, .kind = 9}};
    const char *const messages[] = {"activation: 4 columns from 2", "activation: 12 columns from 8", "overlap",
                                    "kind 9"};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        espl_graph *graph;
        op_ok(espl_graph_create(op_device(), "refused", &graph));
        op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
        espl_tensor *x = espl_graph_value(graph, "x", 2, 16, ESPL_DTYPE_F32);
        assert_null(build(graph, &x, &list[i]));
        op_refused(espl_graph_status(graph), ESPL_ARGUMENT, messages[i]);
        espl_graph_destroy(&graph);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(windows), cmocka_unit_test(range), cmocka_unit_test(digits),
                                       cmocka_unit_test(refused)};
    return op_main("activation", tests, ESPL_COUNT(tests));
}
