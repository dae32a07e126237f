#include "host/ops/op_row_norm.h"
#include "shaders/matmul.h"
#include "tests/ops/harness.h"
#include <stdio.h>

typedef struct shape {
    uint32_t out, in, rank, w_from, a_from;
    bool in_out, inverse;
    espl_dtype dtype;
} shape;

static const double factor = 0.75;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_row_norm(graph, &(espl_row_norm){.w = leaves[0], .a = leaves[1], .b = leaves[2], .into = leaves[3],
                                                       .orientation = s->in_out ? MATMUL_NN : MATMUL_NT, .w_from = s->w_from,
                                                       .a_from = s->a_from, .scale = (float)factor, .inverse = s->inverse});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    ref_row_norm(leaves[0], s->in_out ? s->w_from + s->out + 1 : s->in, s->in_out, s->w_from, leaves[1], s->a_from, s->in,
                 leaves[2], s->out, s->rank, factor, s->inverse, out);
}

static void check(const shape *s) {
    char name[96];
    const uint32_t outs = s->w_from + s->out + 1;
    snprintf(name, sizeof name, "row_norm %ux%u rank %u %s %s", s->out, s->in, s->rank, s->in_out ? "in-out" : "out-in",
             espl_dtype_name(s->dtype));
    op_check(&(op_case){.name = name,
                        .leaf = {{.name = "w", .rows = s->in_out ? s->in : outs, .cols = s->in_out ? outs : s->in,
                                  .role = ESPL_ROLE_WEIGHT, .dtype = s->dtype},
                                 {.name = "a", .rows = s->a_from + s->rank + 1, .cols = s->in, .role = ESPL_ROLE_WEIGHT},
                                 {.name = "b", .rows = s->out, .cols = s->rank, .role = ESPL_ROLE_WEIGHT},
                                 {.name = "y", .rows = 1, .cols = s->out, .role = ESPL_ROLE_STATE}},
                        .build = build,
                        .reference = reference,
                        .args = s});
}

/* What the library's DoRA takes: gradients through the norm. */
static op_case fresh_case(const shape *s) {
    return (op_case){.name = "row_norm with gradients",
                     .leaf = {{.name = "w", .rows = s->w_from + s->out + 1, .cols = s->in, .role = ESPL_ROLE_WEIGHT, .dtype = s->dtype},
                              {.name = "a", .rows = s->rank, .cols = s->in, .role = ESPL_ROLE_PARAMETER},
                              {.name = "b", .rows = s->out, .cols = s->rank, .role = ESPL_ROLE_PARAMETER}},
                     .build = build,
                     .reference = reference,
                     .args = s};
}

static const shape shapes[] = {
    {.out = 1, .in = 1, .rank = 1},
    {.out = 7, .in = 13, .rank = 3, .w_from = 5, .a_from = 4},
    {.out = 128, .in = 128, .rank = 8, .inverse = true},
    {.out = 67, .in = 129, .rank = 5, .dtype = ESPL_DTYPE_F16},
    {.out = 33, .in = 36, .rank = 2, .dtype = ESPL_DTYPE_BF16, .inverse = true, .w_from = 64},
    {.out = 300, .in = 516, .rank = 9, .w_from = 12},
    {.out = 1, .in = 1, .rank = 1, .in_out = true},
    {.out = 7, .in = 13, .rank = 3, .w_from = 4, .a_from = 4, .in_out = true},
    {.out = 129, .in = 67, .rank = 5, .in_out = true, .inverse = true, .dtype = ESPL_DTYPE_F16},
    {.out = 130, .in = 301, .rank = 8, .in_out = true, .dtype = ESPL_DTYPE_BF16},
};

static const shape fresh_shapes[] = {
    {.out = 1, .in = 1, .rank = 1},
    {.out = 7, .in = 13, .rank = 3, .w_from = 5, .inverse = true},
    {.out = 13, .in = 8, .rank = 4, .w_from = 3},
    {.out = 70, .in = 33, .rank = 2, .inverse = true, .dtype = ESPL_DTYPE_F16},
    {.out = 65, .in = 36, .rank = 5, .w_from = 64, .inverse = true, .dtype = ESPL_DTYPE_BF16},
};

static void gradients(void **state) {
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(fresh_shapes); i++) {
        const op_case test = fresh_case(&fresh_shapes[i]);
        op_check(&test);
    }
    const shape large = {.out = 200, .in = 257, .rank = 3, .w_from = 7, .inverse = true};
    const op_case test = fresh_case(&large);
    op_check_windows(&test, 150000);
}

static void all(void **state) {
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(shapes); i++) check(&shapes[i]);
}

static void windows(void **state) {
    (void)state;
    op_storage_range(300000);
    check(&shapes[5]);
    op_storage_range(0);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *w = espl_graph_value(graph, "w", 7, 12, ESPL_DTYPE_F32), *a = espl_graph_value(graph, "a", 2, 12, ESPL_DTYPE_F32);
    espl_tensor *b = espl_graph_value(graph, "b", 8, 2, ESPL_DTYPE_F32);
    espl_tensor *y = espl_graph_leaf(graph, ESPL_ROLE_STATE, "y", 1, 8, 0, ESPL_DTYPE_F32, op_span(1, 8, ESPL_DTYPE_F32));
    assert_null(espl_graph_row_norm(graph, &(espl_row_norm){.w = w, .a = a, .b = b, .into = y}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "row_norm: w (w) is 7 x 12 F32 with its part from 0");
    espl_graph_destroy(&graph);
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    w = espl_graph_value(graph, "w", 8, 12, ESPL_DTYPE_F32), a = espl_graph_value(graph, "a", 3, 12, ESPL_DTYPE_F32);
    b = espl_graph_value(graph, "b", 8, 2, ESPL_DTYPE_F32);
    assert_null(espl_graph_row_norm(graph, &(espl_row_norm){.w = w, .a = a, .b = b, .a_from = 1})); /* with gradients a is whole */
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "a 3 x 12 from 1, b 8 x 2, the result 1 x 8");
    espl_graph_destroy(&graph);
    op_spans_finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all), cmocka_unit_test(gradients), cmocka_unit_test(windows), cmocka_unit_test(refused)};
    return op_main("row_norm", tests, ESPL_COUNT(tests));
}
