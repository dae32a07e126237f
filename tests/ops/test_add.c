#include "host/ops/op_add.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdio.h>

typedef struct shape {
    uint32_t rows, cols;
    bool twice; /* a + a: the gradient of a is the sum of two */
    bool spread; /* b is one row */
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_add(graph, &(espl_add_args){leaves[0], s->twice ? leaves[0] : leaves[1]});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    for (uint32_t r = 0; r < s->rows; r++)
        ref_add(leaves[0] + (size_t)r * s->cols, (s->twice ? leaves[0] : leaves[1]) + (s->spread ? 0 : (size_t)r * s->cols),
                s->cols, out + (size_t)r * s->cols);
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {{1, 1}, {3, 7}, {2, 31}, {5, 64}, {70, 33}, {257, 16}, {2, 515}, {3, 20, true},
                          {9, 31, false, true}, {140, 64, false, true}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        char name[64];
        snprintf(name, sizeof name, "add %ux%u", list[i].rows, list[i].cols);
        op_check(&(op_case){.name = name,
                            .leaf = {{.name = "a", .rows = list[i].rows, .cols = list[i].cols},
                                     {.name = "b", .rows = list[i].twice ? 0 : list[i].spread ? 1 : list[i].rows, .cols = list[i].cols}},
                            .build = build,
                            .reference = reference,
                            .args = &list[i]});
    }
}

static void windows(void **state) {
    (void)state;
    const shape s = {70, 33};
    op_check_windows(&(op_case){.name = "add in windows",
                                .leaf = {{.name = "a", .rows = s.rows, .cols = s.cols},
                                         {.name = "b", .rows = s.rows, .cols = s.cols}},
                                .build = build,
                                .reference = reference,
                                .args = &s},
                     5000);
}

static void parameters(void **state) {
    (void)state;
    const shape s = {3, 10};
    op_check(&(op_case){.name = "add to a parameter with a longer stride",
                        .leaf = {{.name = "a", .rows = 3, .cols = 10},
                                 {.name = "b", .rows = 3, .cols = 10, .stride = 20, .role = ESPL_ROLE_PARAMETER}},
                        .build = build,
                        .reference = reference,
                        .args = &s});
}

/* What is beyond f16 becomes the largest number, also where it is infinite; NaN stays. bf16 reaches as far as f32. */
static void saturates(void **state) {
    (void)state;
    static const espl_dtype dtypes[] = {ESPL_DTYPE_F16, ESPL_DTYPE_BF16};
    static const double a[] = {60000, -60000, INFINITY, -INFINITY, NAN, 65504, 65504, 1};
    static const double b[] = {60000, -60000, 1, 1, 1, 15, 16, 0x1p-11};
    static const double expected[][8] = {{65504, -65504, 65504, -65504, NAN, 65504, 65504, 1},
                                         {119808, -119808, INFINITY, -INFINITY, NAN, 65536, 65536, 1}};
    for (size_t d = 0; d < ESPL_COUNT(dtypes); d++) {
        espl_graph *graph;
        double got[8];
        op_ok(espl_graph_create(op_device(), "saturates", &graph));
        espl_graph_value_dtype(graph, dtypes[d]);
        op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
        espl_tensor *leaves[2];
        for (int i = 0; i < 2; i++)
            leaves[i] =
                espl_graph_leaf(graph, ESPL_ROLE_WEIGHT, "leaf", 1, 8, 0, ESPL_DTYPE_F32, op_span(1, 8, ESPL_DTYPE_F32));
        espl_tensor *sum = espl_graph_add(graph, &(espl_add_args){leaves[0], leaves[1]});
        op_ok(espl_graph_status(graph));
        sum->keep = true;
        op_ok(espl_graph_plan(graph));
        op_write(leaves[0], a);
        op_write(leaves[1], b);
        op_submit(graph);
        op_read(sum, got);
        for (size_t i = 0; i < 8; i++)
            if (got[i] != expected[d][i] && !(isnan(got[i]) && isnan(expected[d][i])))
                fail_msg("%g + %g in %s is %g, expected %g", a[i], b[i], espl_dtype_name(dtypes[d]), got[i], expected[d][i]);
        espl_graph_destroy(&graph);
        op_spans_finish();
    }
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *a = espl_graph_value(graph, "a", 2, 12, ESPL_DTYPE_F32);
    espl_tensor *b = espl_graph_value(graph, "b", 2, 13, ESPL_DTYPE_F32);
    assert_null(espl_graph_add(graph, &(espl_add_args){a, b}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "add: a is 2 x 12 F32, b is 2 x 13 F32");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(parameters), cmocka_unit_test(saturates),
                                       cmocka_unit_test(windows),
                                       cmocka_unit_test(refused)};
    return op_main("add", tests, ESPL_COUNT(tests));
}
