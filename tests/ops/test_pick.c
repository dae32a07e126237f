#include "host/ops/op_pick.h"
#include "tests/ops/harness.h"
#include <stdio.h>

typedef struct shape {
    uint32_t batch, sequence, cols;
    bool last, lengths;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_pick(
        graph, &(espl_pick){.x = leaves[0], .lengths = leaves[1], .batch = s->batch, .last = s->last});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    ref_pick(leaves[0], leaves[1], s->batch, s->sequence, s->cols, s->last, out);
}

static void shapes(void **state) {
    (void)state;
    const int32_t lengths[] = {2, 1, 7, 0, 1000, 3, 5};
    const shape list[] = {{1, 1, 1}, {1, 1, 1, true, true}, {3, 5, 7}, {7, 9, 33, true, true}, {2, 17, 64, true},
                          {5, 3, 515, true, true}, {2, 4, 31, false, true}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        const shape *s = &list[i];
        char name[64];
        snprintf(name, sizeof name, "pick %s of %ux%ux%u", s->last ? "last" : "first", s->batch, s->sequence, s->cols);
        op_check(&(op_case){.name = name,
                            .leaf = {{.name = "x", .rows = s->batch * s->sequence, .cols = s->cols},
                                     {.name = "lengths", .rows = s->lengths, .cols = s->batch, .role = ESPL_ROLE_STEP,
                                      .dtype = ESPL_DTYPE_I32, .integers = lengths}},
                            .build = build,
                            .reference = reference,
                            .args = s});
    }
}

/* Sequences in windows; each still finds its own length. */
static void windows(void **state) {
    (void)state;
    const shape s = {37, 5, 33, true, true};
    int32_t lengths[37];
    for (int32_t i = 0; i < 37; i++) lengths[i] = 1 + i * 3 % 5;
    op_check_windows(&(op_case){.name = "pick in windows",
                                .leaf = {{.name = "x", .rows = s.batch * s.sequence, .cols = s.cols},
                                         {.name = "lengths", .rows = 1, .cols = s.batch, .role = ESPL_ROLE_STEP,
                                          .dtype = ESPL_DTYPE_I32, .integers = lengths}},
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
    assert_null(espl_graph_pick(graph, &(espl_pick){.x = x, .batch = 2}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "pick: x (x) has 7 rows of F32 for 2 sequences");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(windows), cmocka_unit_test(refused)};
    return op_main("pick", tests, ESPL_COUNT(tests));
}
