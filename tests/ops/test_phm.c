#include "host/ops/op_phm.h"
#include "tests/ops/harness.h"
#include <stdio.h>

typedef struct shape {
    uint32_t n, in, out, rank; /* rank 0: not factored */
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    (void)args;
    return espl_graph_phm(graph, &(espl_phm){.rule = leaves[0], .left = leaves[1], .right = leaves[2]});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    ref_phm(leaves[0], leaves[1], leaves[2], s->n, s->in, s->out, s->rank, out);
}

/* range: windows, if it is not 0. */
static void check(const shape *s, uint64_t range) {
    char name[64];
    snprintf(name, sizeof name, "phm of order %u, %u to %u, rank %u", s->n, s->in, s->out, s->rank);
    const op_case test = {.name = name,
                          .leaf = {{.name = "rule", .rows = s->n * s->n, .cols = s->n, .role = ESPL_ROLE_PARAMETER},
                                   {.name = "left", .rows = s->in, .cols = s->rank ? s->rank : s->out / s->n,
                                    .role = ESPL_ROLE_PARAMETER},
                                   {.name = "right", .rows = s->rank ? s->n * s->rank : 0, .cols = s->out / s->n,
                                    .role = ESPL_ROLE_PARAMETER}},
                          .build = build,
                          .reference = reference,
                          .args = s};
    if (range) op_check_windows(&test, range);
    else op_check(&test);
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {{1, 1, 1, 1}, {2, 6, 10, 1}, {3, 21, 9, 2}, {4, 68, 20, 1}, {4, 12, 132, 3}, {2, 14, 6, 0}, {4, 64, 8, 0}, {2, 6, 146, 0}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) check(&list[i], 0);
}

/* A binding holds part of the rows of one of H's blocks, and windows end within one. */
static void windows(void **state) {
    (void)state;
    check(&(shape){3, 51, 36, 2}, 7000);
    check(&(shape){2, 54, 68, 0}, 8000);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *rule = espl_graph_value(graph, "rule", 16, 4, ESPL_DTYPE_F32);
    espl_tensor *left = espl_graph_value(graph, "left", 18, 2, ESPL_DTYPE_F32);
    assert_null(espl_graph_phm(graph, &(espl_phm){.rule = rule, .left = left}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "phm: a rule (rule) of 16 x 4, left (left) of 18 x 2");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(windows), cmocka_unit_test(refused)};
    return op_main("phm", tests, ESPL_COUNT(tests));
}
