#include "host/ops/op_colsum.h"
#include "tests/ops/harness.h"
#include <stdio.h>

typedef struct shape {
    uint32_t rows, x_cols, from, cols;
    bool fresh;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    espl_tensor *out = espl_graph_update(graph, leaves[1]);
    return espl_graph_colsum(graph, &(espl_colsum){leaves[0], s->from, out, s->fresh}) == ESPL_OK ? out : NULL;
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    for (size_t c = 0; c < s->cols; c++)
        out[c] = s->fresh ? 0 : leaves[1][c];
    ref_colsum(leaves[0], s->rows, s->x_cols, s->from, s->cols, out);
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {{1, 1, 0, 1},     {3, 7, 0, 7, true},       {64, 40, 8, 21},   {65, 40, 12, 28},
                          {1031, 12, 4, 8}, {600, 515, 0, 515, true}, {300, 132, 128, 3}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        char name[64];
        snprintf(name, sizeof name, "colsum %ux%u from %u", list[i].rows, list[i].x_cols, list[i].from);
        op_check(
            &(op_case){.name = name,
                       .leaf = {{.name = "x", .rows = list[i].rows, .cols = list[i].x_cols, .role = ESPL_ROLE_WEIGHT},
                                {.name = "out", .rows = 1, .cols = list[i].cols, .role = ESPL_ROLE_STATE}},
                       .build = build,
                       .reference = reference,
                       .args = &list[i]});
    }
}

static void windows(void **state) {
    (void)state;
    const shape list[] = {{300, 12, 4, 7}, {300, 12, 0, 12, true}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++)
        op_check_windows(
            &(op_case){.name = "colsum in windows",
                       .leaf = {{.name = "x", .rows = list[i].rows, .cols = list[i].x_cols, .role = ESPL_ROLE_WEIGHT},
                                {.name = "out", .rows = 1, .cols = list[i].cols, .role = ESPL_ROLE_STATE}},
                       .build = build,
                       .reference = reference,
                       .args = &list[i]},
            5000);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *x = espl_graph_value(graph, "x", 2, 12, ESPL_DTYPE_F32);
    espl_tensor *out = espl_graph_update(graph, espl_graph_value(graph, "out", 1, 8, ESPL_DTYPE_F32));
    op_refused(espl_graph_colsum(graph, &(espl_colsum){.x = x, .from = 8, .out = out}), ESPL_ARGUMENT,
               "colsum: columns 8 to 16 of x (x), which has 12");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(windows), cmocka_unit_test(refused)};
    return op_main("colsum", tests, ESPL_COUNT(tests));
}
