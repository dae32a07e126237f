#include "host/ops/op_unfold.h"
#include "tests/ops/harness.h"
#include <stdio.h>

typedef struct shape {
    uint32_t batch, tokens, cols, kernel;
    bool lengths;
} shape;

enum { BATCH_MAX = 40 };

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_unfold(graph, &(espl_unfold){.x = leaves[0], .lengths = leaves[1], .batch = s->batch, .kernel = s->kernel});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    ref_unfold(leaves[0], leaves[1], s->batch, s->tokens, s->cols, s->kernel, out);
}

/* range: windows, if it is not 0. */
static void check(const shape *s, uint64_t range) {
    int32_t lengths[BATCH_MAX];
    char name[96];
    for (uint32_t b = 0; b < BATCH_MAX; b++) lengths[b] = (int32_t)(1 + (b * 5 + s->tokens - 1) % s->tokens);
    snprintf(name, sizeof name, "unfold %ux%u of %u, kernel %u", s->batch, s->tokens, s->cols, s->kernel);
    const op_case test = {.name = name,
                          .leaf = {{.name = "x", .rows = s->batch * s->tokens, .cols = s->cols},
                                   {.name = "lengths", .rows = s->lengths, .cols = s->batch, .role = ESPL_ROLE_STEP,
                                    .dtype = ESPL_DTYPE_I32, .integers = lengths}},
                          .build = build,
                          .reference = reference,
                          .args = s};
    if (range) op_check_windows(&test, range);
    else op_check(&test);
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {{1, 1, 1, 1}, {1, 1, 3, 3},        {2, 5, 4, 3, true}, {3, 7, 5, 3, true},
                          {1, 4, 6, 7}, {2, 9, 130, 5, true}, {4, 3, 33, 3, true}, {1, 2, 64, 9, true}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) check(&list[i], 0);
}

static void windows(void **state) {
    (void)state;
    check(&(shape){37, 3, 5, 3, true}, 4000);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *x = espl_graph_value(graph, "x", 7, 12, ESPL_DTYPE_F32);
    assert_null(espl_graph_unfold(graph, &(espl_unfold){.x = x, .kernel = 4}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "unfold: x (x) is 7 x 12 F32 in 1 sequences, the kernel 4, must be odd");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(windows), cmocka_unit_test(refused)};
    return op_main("unfold", tests, ESPL_COUNT(tests));
}
