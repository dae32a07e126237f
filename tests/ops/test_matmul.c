#include "host/ops/op_matmul.h"
#include "host/ops/op_rmsnorm.h"
#include "shaders/shaders.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

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

/* range 0: the device's own. */
static void check_in(const shape *s, espl_dtype dtype, espl_role b_role, uint64_t range) {
    static const char *const names[] = {"NT", "NN", "TN"};
    const bool nt = s->orientation == MATMUL_NT, tn = s->orientation == MATMUL_TN;
    const uint32_t a_cols = s->a_from + (tn ? s->m : s->k) + (s->a_from ? MORE : 0);
    char name[128];
    snprintf(name, sizeof name, "matmul %s %ux%ux%u %s%s%s%s", names[s->orientation], s->m, s->n, s->k,
             espl_dtype_name(dtype), s->bias ? " bias" : "", s->residual ? " residual" : "", s->into ? " into" : "");
    const op_case test = {
        .name = name,
        .leaf = {{.name = "a", .rows = tn ? s->k : s->m, .cols = a_cols, .frozen = tn},
                 {.name = "b", .rows = nt ? s->n : s->k, .cols = nt ? s->k : s->n, .role = b_role, .dtype = dtype},
                 {.name = "bias", .rows = s->bias, .cols = s->n, .role = tn ? ESPL_ROLE_WEIGHT : ESPL_ROLE_PARAMETER},
                 {.name = "residual", .rows = s->residual ? s->m : 0, .cols = s->n},
                 {.name = "into", .rows = s->into ? s->m : 0, .cols = s->into_from + s->n + MORE}},
        .build = build,
        .reference = reference,
        .args = s,
        .output_reused = s->into,
        .rounds_inside = range && !nt, /* parts of the sum are added in C */
        .forward_only = tn};
    if (range) op_check_windows(&test, range);
    else op_check(&test);
}

static void check(const shape *s, espl_dtype dtype, espl_role b_role) {
    check_in(s, dtype, b_role, 0);
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
    {MATMUL_NT, 49, 17, 2051},
    {MATMUL_NT, 64, 16, 136},
    {MATMUL_NN, 1, 1, 1},
    {MATMUL_NN, 17, 20, 2052},
    {MATMUL_NN, 70, 12, 33},
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

/* Every operand in windows, in every orientation: rows and columns of C, and parts of the sum. */
static void windows(void **state) {
    (void)state;
    static const shape list[] = {
        {MATMUL_NT, 70, 130, 17, .bias = true, .residual = true}, {MATMUL_NT, 3, 201, 40, .bias = true},
        {MATMUL_NT, 67, 90, 33, .a_from = 8, .into = true, .into_from = 4, .scale = 2},
        {MATMUL_NN, 70, 65, 133, .bias = true, .residual = true}, {MATMUL_NN, 33, 31, 129, .a_from = 4},
        {MATMUL_NN, 49, 20, 140, .into = true, .into_from = 8},   {MATMUL_TN, 65, 33, 130, .a_from = 12, .scale = 0.5f},
    };
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        const shape *l = &list[i];
        const bool nt = l->orientation == MATMUL_NT, tn = l->orientation == MATMUL_TN;
        for (uint32_t bytes = tn ? 4 : 2; bytes <= 4; bytes += 2) {
            /* The sum in two parts: of more a 16-bit C is further off than the bounds know of. */
            const uint32_t widest = tn && l->a_from + l->m > l->n ? l->a_from + l->m + MORE : l->n;
            const uint64_t range = nt ? 10000 : l->k * espl_round_up(widest, 4) * bytes * 6 / 10 + 512;
            check_in(l, bytes == 4 ? ESPL_DTYPE_F32 : ESPL_DTYPE_F16,
                     bytes == 4 && !tn ? ESPL_ROLE_PARAMETER : ESPL_ROLE_WEIGHT, range);
        }
    }
}

/* Two products beside each other in one C, whose other columns nobody sets. */
enum { FIRST = 4, SECOND = 16, WIDE = 32 };

static espl_tensor *build_beside(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    (void)args;
    espl_tensor *c = espl_graph_matmul(graph, &(espl_matmul){.a = leaves[0], .b = leaves[1], .orientation = MATMUL_NT,
                                                             .into_from = FIRST, .into_cols = WIDE});
    return espl_graph_matmul(graph, &(espl_matmul){.a = leaves[0], .b = leaves[2], .orientation = MATMUL_NN, .bias = leaves[3],
                                                   .into = c, .into_from = SECOND, .unset = true});
}

static void reference_beside(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    ref_matmul_args r = {.orientation = MATMUL_NT, .m = s->m, .n = s->n, .k = s->k, .a_cols = s->k, .b_cols = s->k, .c_cols = WIDE,
                         .c_from = FIRST, .scale = 1};
    for (size_t i = 0; i < r.m * WIDE; i++) out[i] = NAN;
    ref_matmul(leaves[0], leaves[1], NULL, NULL, &r, out);
    r.orientation = MATMUL_NN, r.b_cols = s->n, r.c_from = SECOND;
    ref_matmul(leaves[0], leaves[2], leaves[3], NULL, &r, out);
}

static void beside(void **state) {
    (void)state;
    static const shape list[] = {{.m = 1, .n = 1, .k = 1}, {.m = 7, .n = 12, .k = 33}, {.m = 65, .n = 9, .k = 16}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        const shape *s = &list[i];
        char name[64];
        snprintf(name, sizeof name, "matmul beside %ux%ux%u", s->m, s->n, s->k);
        op_check(&(op_case){.name = name,
                            .leaf = {{.name = "a", .rows = s->m, .cols = s->k},
                                     {.name = "w1", .rows = s->n, .cols = s->k, .role = ESPL_ROLE_PARAMETER},
                                     {.name = "w2", .rows = s->k, .cols = s->n, .role = ESPL_ROLE_PARAMETER},
                                     {.name = "bias", .rows = 1, .cols = s->n, .role = ESPL_ROLE_PARAMETER}},
                            .build = build_beside,
                            .reference = reference_beside,
                            .args = s,
                            .output_sparse = true});
    }
}

/* A norm before few rows is done by the product: the same numbers, and no norm is left. */
static espl_tensor *build_normed(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    (void)args;
    espl_tensor *x = espl_graph_rmsnorm(graph, &(espl_rmsnorm){.x = leaves[0], .w = leaves[2], .eps = 1e-5f});
    return espl_graph_matmul(graph, &(espl_matmul){.a = x, .b = leaves[1], .orientation = MATMUL_NT, .residual = leaves[3]});
}

static void reference_normed(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    double *x = malloc(((size_t)s->m * s->k) * sizeof *x);
    assert_non_null(x);
    for (size_t m = 0; m < s->m; m++) {
        double squares = 0;
        for (size_t k = 0; k < s->k; k++) squares += leaves[0][m * s->k + k] * leaves[0][m * s->k + k];
        for (size_t k = 0; k < s->k; k++)
            x[m * s->k + k] = leaves[2][k] * leaves[0][m * s->k + k] / sqrt(squares / s->k + (double)1e-5f);
    }
    ref_matmul(x, leaves[1], NULL, leaves[3],
               &(ref_matmul_args){.orientation = MATMUL_NT, .m = s->m, .n = s->n, .k = s->k, .a_cols = s->k, .b_cols = s->k,
                                  .c_cols = s->n, .scale = 1}, out);
    free(x);
}

static void normed(void **state) {
    (void)state;
    static const shape list[] = {{.m = 1, .n = 1, .k = 1}, {.m = 1, .n = 97, .k = 131}, {.m = 2, .n = 16, .k = 128},
                                 {.m = 7, .n = 33, .k = 40}, {.m = 8, .n = 65, .k = 257}, {.m = 64, .n = 17, .k = 36}};
    static const espl_dtype dtypes[] = {ESPL_DTYPE_F32, ESPL_DTYPE_F16, ESPL_DTYPE_BF16};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        for (size_t d = 0; d < ESPL_COUNT(dtypes); d++) {
            const shape *s = &list[i];
            char name[64];
            snprintf(name, sizeof name, "norm and matmul %ux%ux%u %s", s->m, s->n, s->k, espl_dtype_name(dtypes[d]));
            op_check(&(op_case){.name = name,
                                .leaf = {{.name = "x", .rows = s->m, .cols = s->k, .frozen = true},
                                         {.name = "w", .rows = s->n, .cols = s->k, .role = ESPL_ROLE_WEIGHT, .dtype = dtypes[d]},
                                         {.name = "norm", .rows = 1, .cols = s->k, .role = ESPL_ROLE_WEIGHT},
                                         {.name = "residual", .rows = s->m, .cols = s->n, .frozen = true}},
                                .build = build_normed,
                                .reference = reference_normed,
                                .args = s,
                                .output_reused = true, /* the norm's */
                                .rounds_inside = s->m == 64, /* not fused */
                                .forward_only = true});
        }
    }
    /* One row: fused. Many rows: not. */
    for (uint32_t rows = 1; rows <= 64; rows += 63) {
        espl_graph *graph;
        op_ok(espl_graph_create(op_device(), "fused", &graph));
        op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
        espl_tensor *leaves[4] = {NULL};
        const uint32_t sizes[4][2] = {{rows, 8}, {12, 8}, {1, 8}, {rows, 12}};
        for (int i = 0; i < 4; i++)
            leaves[i] = espl_graph_leaf(graph, ESPL_ROLE_WEIGHT, "leaf", sizes[i][0], sizes[i][1], 0, ESPL_DTYPE_F32,
                                        op_span(sizes[i][0], sizes[i][1], ESPL_DTYPE_F32));
        espl_tensor *out = build_normed(graph, leaves, NULL);
        assert_non_null(out);
        out->keep = true;
        op_ok(espl_graph_plan(graph));
        assert_int_equal(espl_graph_count_nodes(graph, "rmsnorm"), rows == 1 ? 0 : 1);
        espl_graph_destroy(&graph);
        op_spans_finish();
    }
}

/* ---- Cooperative matrix ---- */

/* Whether C = A B with these dtypes is recorded with matrix units. */
static bool has_matrix_units(uint32_t orientation, espl_dtype a_dtype, espl_dtype b_dtype) {
    enum { SIZE = 36 };
    const uint64_t before = espl_device_count(op_device()).matrix_dispatches_recorded;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "matrix units", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *a = espl_graph_leaf(graph, ESPL_ROLE_WEIGHT, "a", SIZE, SIZE, 0, a_dtype, op_span(SIZE, SIZE, a_dtype));
    espl_tensor *b = espl_graph_leaf(graph, ESPL_ROLE_WEIGHT, "b", SIZE, SIZE, 0, b_dtype, op_span(SIZE, SIZE, b_dtype));
    espl_tensor *c = espl_graph_matmul(graph, &(espl_matmul){.a = a, .b = b, .orientation = orientation});
    op_ok(espl_graph_status(graph));
    c->keep = true;
    op_ok(espl_graph_plan(graph));
    espl_graph_destroy(&graph);
    op_spans_finish();
    return espl_device_count(op_device()).matrix_dispatches_recorded > before;
}

/* Where the device lists matrices for a dtype, weights in it get them for rows of that dtype and for gradients, which are
 * f32; weights in f32 never do. */
static void matrix_units(void **state) {
    (void)state;
    static const struct {
        espl_dtype dtype;
        const espl_shader *shader;
    } rows[] = {{ESPL_DTYPE_F16, ESPL_OPTIONAL_matmul_coopmat_f16}, {ESPL_DTYPE_BF16, ESPL_OPTIONAL_matmul_coopmat_bf16}};
    int tried = 0;
    for (uint32_t o = MATMUL_NT; o <= MATMUL_TN; o++) assert_false(has_matrix_units(o, ESPL_DTYPE_F32, ESPL_DTYPE_F32));
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) {
        const bool wanted = op_matrix_units("matmul", rows[i].dtype, rows[i].shader);
        for (uint32_t o = MATMUL_NT; o <= MATMUL_TN; o++) {
            assert_int_equal(has_matrix_units(o, rows[i].dtype, rows[i].dtype), wanted);
            assert_int_equal(has_matrix_units(o, ESPL_DTYPE_F32, rows[i].dtype), wanted);
        }
        tried += wanted;
    }
    if (!tried) skip();
}

/* Factors in f32 of any size with weights of 16 bits: as exact in each row as f32 is, also where terms grow along the sum
 * and rows of a tile differ. What is not finite stays so. */
static void range_in(espl_dtype dtype, uint32_t orientation, double scale, double growth) {
    enum { M = 67, N = 40, K = 133 };
    static double a[M * K], b[N * K], got[M * N], expected[M * N];
    op_random(1, 0, 0, a, M * K), op_random(2, 0, 0, b, N * K);
    for (size_t i = 0; i < M * K; i++)
        a[i] = i % K < 40 && growth > 1 ? 0 : op_round(a[i] * scale * pow(10, -(double)(i / K % 4)) * pow(growth, (double)(i % K)),
                                                        ESPL_DTYPE_F32);
    for (size_t i = 0; i < N * K; i++) b[i] = op_round(b[i], dtype);
    const bool nt = orientation == MATMUL_NT;
    const uint32_t b_rows = nt ? N : K, b_cols = nt ? K : N;
    for (int infinite = 0; infinite < 2; infinite++) {
        espl_graph *graph;
        if (infinite) a[5 * K + 7] = INFINITY;
        op_ok(espl_graph_create(op_device(), "range", &graph));
        op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
        espl_tensor *ta = espl_graph_leaf(graph, ESPL_ROLE_WEIGHT, "a", M, K, 0, ESPL_DTYPE_F32, op_span(M, K + 3, ESPL_DTYPE_F32));
        espl_tensor *tb = espl_graph_leaf(graph, ESPL_ROLE_WEIGHT, "b", b_rows, b_cols, 0, dtype, op_span(b_rows, b_cols + 3, dtype));
        espl_tensor *tc = espl_graph_matmul(graph, &(espl_matmul){.a = ta, .b = tb, .orientation = orientation});
        op_ok(espl_graph_status(graph));
        tc->keep = true;
        op_ok(espl_graph_plan(graph));
        op_write(ta, a), op_write(tb, b);
        op_submit(graph);
        op_read(tc, got);
        espl_graph_destroy(&graph);
        op_spans_finish();
        if (infinite) {
            if (isfinite(got[5 * N])) fail_msg("range: infinity became %g", got[5 * N]);
            return;
        }
        ref_matmul(a, b, NULL, NULL, &(ref_matmul_args){.orientation = orientation, .m = M, .n = N, .k = K, .a_cols = K,
                                                        .b_cols = b_cols, .c_cols = N, .scale = 1}, expected);
        for (uint32_t m = 0; m < M; m++) op_compare("a row", got + m * N, expected + m * N, N, ESPL_DTYPE_F32, 1);
    }
}

static void range(void **state) {
    (void)state;
    static const double scales[][2] = {{1, 1}, {1e-30, 1}, {1e30, 1}, {1e-20, 1.9}, {1e20, 0.6}};
    for (size_t i = 0; i < ESPL_COUNT(scales); i++) {
        for (uint32_t o = MATMUL_NT; o <= MATMUL_NN; o++) {
            range_in(ESPL_DTYPE_F16, o, scales[i][0], scales[i][1]);
            range_in(ESPL_DTYPE_BF16, o, scales[i][0], scales[i][1]);
        }
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
                                       cmocka_unit_test(windows), cmocka_unit_test(beside),
                                       cmocka_unit_test(normed), cmocka_unit_test(matrix_units), cmocka_unit_test(range),
                                       cmocka_unit_test(refused)};
    return op_main("matmul", tests, ESPL_COUNT(tests));
}
