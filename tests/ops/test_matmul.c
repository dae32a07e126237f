#include "host/ops/op_matmul.h"
#include "tests/ops/harness.h"
#include <stdio.h>

typedef struct shape {
    uint32_t orientation, m, n, k;
    uint32_t a_from, into_from;
    bool bias, residual, into;
    float scale;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_matmul(graph, &(espl_matmul){.a = leaves[0],
                                                   .b = leaves[1],
                                                   .orientation = s->orientation,
                                                   .a_from = s->a_from,
                                                   .a_cols = s->orientation == MATMUL_TN ? s->m : s->k,
                                                   .bias = leaves[2],
                                                   .residual = leaves[3],
                                                   .into = leaves[4],
                                                   .into_from = s->into_from,
                                                   .scale = s->scale});
}

/* Columns of a beyond the ones used, and of into. */
enum { MORE = 3 };

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    const uint32_t used = s->orientation == MATMUL_TN ? s->m : s->k;
    const ref_matmul_args r = {.orientation = s->orientation,
                               .m = s->m,
                               .n = s->n,
                               .k = s->k,
                               .a_cols = s->a_from + used + (s->a_from ? MORE : 0),
                               .b_cols = s->orientation == MATMUL_NT ? s->k : s->n,
                               .a_from = s->a_from,
                               .c_cols = s->into ? s->into_from + s->n + MORE : s->n,
                               .c_from = s->into_from,
                               .scale = s->scale == 0 ? 1 : (double)s->scale,
                               .accumulate = s->into};
    for (size_t i = 0; s->into && i < r.m * r.c_cols; i++) out[i] = leaves[4][i];
    ref_matmul(leaves[0], leaves[1], leaves[2], leaves[3], &r, out);
}

static void check(const shape *s, espl_dtype dtype, espl_role b_role) {
    static const char *const names[] = {"NT", "NN", "TN"};
    const bool nt = s->orientation == MATMUL_NT, tn = s->orientation == MATMUL_TN;
    const uint32_t a_cols = s->a_from + (tn ? s->m : s->k) + (s->a_from ? MORE : 0);
    char name[128];
    snprintf(name, sizeof name, "matmul %s %ux%ux%u %s%s%s%s", names[s->orientation], s->m, s->n, s->k,
             espl_dtype_name(dtype), s->bias ? " bias" : "", s->residual ? " residual" : "", s->into ? " into" : "");
    op_check(&(op_case){
        .name = name,
        .leaf = {{.name = "a", .rows = tn ? s->k : s->m, .cols = a_cols, .frozen = tn},
                 {.name = "b", .rows = nt ? s->n : s->k, .cols = nt ? s->k : s->n, .role = b_role, .dtype = dtype},
                 {.name = "bias", .rows = s->bias, .cols = s->n, .role = tn ? ESPL_ROLE_WEIGHT : ESPL_ROLE_PARAMETER},
                 {.name = "residual", .rows = s->residual ? s->m : 0, .cols = s->n},
                 {.name = "into", .rows = s->into ? s->m : 0, .cols = s->into_from + s->n + MORE}},
        .build = build,
        .reference = reference,
        .args = s,
        .forward_only = tn});
}

static const shape shapes_list[] = {
    {MATMUL_NT, 1, 1, 1},
    {MATMUL_NT, 1, 8, 128},
    {MATMUL_NT, 2, 97, 31, .bias = true},
    {MATMUL_NT, 8, 65, 64, .residual = true},
    {MATMUL_NT, 17, 5, 130, .scale = 0.25f},
    {MATMUL_NT, 64, 64, 16, .bias = true, .residual = true},
    {MATMUL_NT, 65, 67, 17},
    {MATMUL_NT, 13, 29, 3, .a_from = 8, .into = true, .into_from = 4, .scale = 2},
    {MATMUL_NT, 131, 33, 47, .into = true},
    {MATMUL_NN, 1, 1, 1},
    {MATMUL_NN, 3, 130, 7, .bias = true},
    {MATMUL_NN, 64, 64, 65, .residual = true},
    {MATMUL_NN, 33, 31, 129, .a_from = 4},
    {MATMUL_NN, 9, 20, 40, .into = true, .into_from = 8},
    {MATMUL_TN, 1, 1, 1},
    {MATMUL_TN, 8, 128, 67},
    {MATMUL_TN, 65, 33, 130, .a_from = 12},
    {MATMUL_TN, 97, 7, 14, .scale = 0.5f},
};

static void orientations(void **state) {
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(shapes_list); i++)
        check(&shapes_list[i], ESPL_DTYPE_F32,
              shapes_list[i].orientation == MATMUL_TN ? ESPL_ROLE_WEIGHT : ESPL_ROLE_PARAMETER);
}

static void half_weights(void **state) {
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(shapes_list); i++) {
        if (shapes_list[i].orientation == MATMUL_TN) continue;
        check(&shapes_list[i], ESPL_DTYPE_F16, ESPL_ROLE_WEIGHT);
        check(&shapes_list[i], ESPL_DTYPE_BF16, ESPL_ROLE_WEIGHT);
    }
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *a = espl_graph_value(graph, "x", 2, 12, ESPL_DTYPE_F32);
    espl_tensor *b = espl_graph_value(graph, "w", 5, 13, ESPL_DTYPE_F32);
    assert_null(espl_graph_matmul(graph, &(espl_matmul){.a = a, .b = b, .orientation = MATMUL_NT}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "matmul: a (x) gives 12 terms to a sum, b (w) gives 13");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(orientations), cmocka_unit_test(half_weights),
                                       cmocka_unit_test(refused)};
    return op_main("matmul", tests, ESPL_COUNT(tests));
}
