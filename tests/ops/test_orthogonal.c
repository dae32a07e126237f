#include "host/ops/op_orthogonal.h"
#include "tests/ops/harness.h"
#include <stdio.h>

typedef struct shape {
    uint32_t n;
    espl_orthogonal args;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    espl_orthogonal orthogonal = ((const shape *)args)->args;
    orthogonal.g = leaves[0];
    return espl_graph_orthogonal(graph, &orthogonal);
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    for (size_t b = 0; b < ESPL_ORTHOGONAL_BLOCKS; b++)
        ref_orthogonal(leaves[0], s->n, s->args.block[b].from, s->args.block[b].count, s->args.factor, out);
}

static void check(const char *name, const shape *s, const double *values) {
    op_check(&(op_case){.name = name,
                        .leaf = {{.name = "g", .rows = s->n, .cols = s->n, .role = ESPL_ROLE_WEIGHT, .values = values}},
                        .build = build,
                        .reference = reference,
                        .args = s});
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {{1, {.block = {{0, 1}}, .factor = 2}},
                          {13, {.block = {{0, 13}}, .factor = 0.5f}},
                          {11, {.block = {{0, 3}, {4, 3}, {8, 3}}, .factor = 1.5f}},
                          {66, {.block = {{0, 0}, {0, 29}, {32, 34}}, .factor = 1}},
                          {129, {.block = {{0, 129}}, .factor = 3}}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        char name[64];
        snprintf(name, sizeof name, "orthogonal %u", list[i].n);
        check(name, &list[i], NULL);
    }
    const double identity[] = {1, 0, 0, 1};
    check("orthogonal already", &(shape){2, {.block = {{0, 2}}, .factor = 2}}, identity);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *g = espl_graph_value(graph, "g", 5, 5, ESPL_DTYPE_F32);
    assert_null(espl_graph_orthogonal(graph, &(espl_orthogonal){.g = g, .block = {{0, 6}}}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "orthogonal: g (g) is 5 x 5 F32 with 6 columns");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(refused)};
    return op_main("orthogonal", tests, ESPL_COUNT(tests));
}
