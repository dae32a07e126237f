#include "host/ops/op_scale.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdio.h>

typedef struct shape {
    uint32_t rows, cols, s_rows, s_cols, from, count;
    bool into;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    /* A fresh sum: leaves are not changed in place. */
    espl_tensor *into = s->into ? espl_graph_scale(graph, &(espl_scale){.x = leaves[2], .number = 0.5f}) : NULL;
    return espl_graph_scale(graph, &(espl_scale){.x = leaves[0], .s = leaves[1], .from = s->from, .count = s->count,
                                                 .number = -1.75f, .into = into});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    const double number = -1.75;
    if (!leaves[1]) ref_scale(leaves[0], &number, s->rows, s->cols, s->from, s->count ? s->count : s->cols - s->from, 1, 1, out);
    else ref_scale(leaves[0], leaves[1], s->rows, s->cols, s->from, s->count ? s->count : s->cols - s->from, s->s_rows,
              s->s_cols, out);
    for (size_t i = 0; s->into && i < (size_t)s->rows * s->cols; i++) out[i] += 0.5 * leaves[2][i];
}

static void check(const shape *s, espl_role x, espl_role factors) {
    char name[96];
    snprintf(name, sizeof name, "scale %ux%u from %u by %ux%u", s->rows, s->cols, s->from, s->s_rows, s->s_cols);
    op_check(&(op_case){.name = name,
                        .leaf = {{.name = "x", .rows = s->rows, .cols = s->cols, .role = x},
                                 {.name = "s", .rows = s->s_rows, .cols = s->s_cols, .role = factors},
                                 {.name = "into", .rows = s->into ? s->rows : 0, .cols = s->cols}},
                        .build = build,
                        .reference = reference,
                        .args = s});
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {
        {3, 7, 1, 7},          {70, 33, 1, 33},        {1, 5, 1, 5},          {9, 40, 1, 13, 12, 13}, {131, 516, 1, 512, 4},
        {1, 1, 1, 1},          {6, 10, 6, 1},          {6, 10, 3, 1},         {140, 67, 2, 1},        {140, 67, 1, 1},
        {12, 30, 4, 1, 8, 9},  {5, 9, 5, 9},           {67, 128, 67, 128},    {1, 64, 1, 64},         {65, 3, 65, 1}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        check(&list[i], ESPL_ROLE_VALUE, ESPL_ROLE_VALUE);
        check(&list[i], ESPL_ROLE_VALUE, ESPL_ROLE_PARAMETER);
        check(&list[i], ESPL_ROLE_WEIGHT, ESPL_ROLE_PARAMETER);
        check(&list[i], ESPL_ROLE_VALUE, ESPL_ROLE_WEIGHT);
    }
}

static void windows(void **state) {
    (void)state;
    const shape list[] = {{70, 33, 1, 33}, {68, 33, 4, 1}, {65, 33, 65, 1}, {67, 32, 67, 32}, {70, 33, 0, 1, 8, 13}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++)
        op_check_windows(&(op_case){.name = "scale in windows",
                                    .leaf = {{.name = "x", .rows = list[i].rows, .cols = list[i].cols},
                                             {.name = "s", .rows = list[i].s_rows, .cols = list[i].s_cols}},
                                    .build = build,
                                    .reference = reference,
                                    .args = &list[i]},
                         5000);
}

static void number(void **state) {
    (void)state;
    const shape list[] = {{5, 9, 0, 1, 0, 0}, {33, 64, 0, 1, 8, 13}, {1, 3, 0, 1, 0, 2}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) check(&list[i], ESPL_ROLE_VALUE, ESPL_ROLE_WEIGHT);
}

static void added(void **state) {
    (void)state;
    const shape list[] = {{6, 10, 3, 1, .into = true}, {70, 33, 1, 33, .into = true}, {5, 9, 5, 9, .into = true}, {33, 64, 0, 1, .into = true}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        check(&list[i], ESPL_ROLE_VALUE, ESPL_ROLE_WEIGHT);
        check(&list[i], ESPL_ROLE_PARAMETER, ESPL_ROLE_PARAMETER);
    }
}

/* A row that is left out takes nothing from x, also where x is not finite. */
static void left_out(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "left out", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *x = espl_graph_step_leaf(graph, "x", 2, 5, ESPL_DTYPE_F32), *s = espl_graph_step_leaf(graph, "s", 2, 1, ESPL_DTYPE_F32);
    espl_tensor *y = espl_graph_to_host(graph, espl_graph_scale(graph, &(espl_scale){.x = x, .s = s}));
    op_ok(espl_graph_plan(graph));
    float *values = espl_graph_step_pointer(graph, x), *factors = espl_graph_step_pointer(graph, s);
    for (uint32_t c = 0; c < 5; c++) values[c] = c % 2 ? NAN : INFINITY, values[x->stride + c] = 3;
    factors[0] = 0, factors[s->stride] = 2;
    op_submit(graph);
    const float *got = espl_graph_host(y);
    for (uint32_t c = 0; c < 5; c++) {
        assert_true(got[c] == 0);
        assert_true(got[y->stride + c] == 6);
    }
    espl_graph_destroy(&graph);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *x = espl_graph_value(graph, "x", 6, 12, ESPL_DTYPE_F32);
    espl_tensor *s = espl_graph_value(graph, "s", 4, 1, ESPL_DTYPE_F32);
    assert_null(espl_graph_scale(graph, &(espl_scale){.x = x, .s = s}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "scale: s (s) of 4 x 1 for columns 0 to 12 of x (x) of 6 x 12");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(number), cmocka_unit_test(windows),
                                       cmocka_unit_test(added), cmocka_unit_test(left_out), cmocka_unit_test(refused)};
    return op_main("scale", tests, ESPL_COUNT(tests));
}
