#include "host/ops/op_add.h"
#include "host/ops/op_concat.h"
#include "tests/ops/harness.h"
#include <stdio.h>

typedef struct shape {
    uint32_t batch, before, rows, x_cols, from, cols;
    bool each;
} shape;

static espl_tensor *build_concat(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_concat(graph, &(espl_concat){.a = leaves[0], .x = leaves[1], .batch = s->batch, .from = s->from,
                                                   .each = s->each});
}

static void reference_concat(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    ref_concat(leaves[0], leaves[1], s->batch, s->before, s->each, s->rows, s->x_cols, s->from, s->cols, out);
}

static void concat(void **state) {
    (void)state;
    const shape list[] = {{1, 1, 1, 1, 0, 1},          {2, 3, 5, 7, 0, 7},           {3, 2, 4, 40, 8, 29},
                          {2, 3, 5, 7, 0, 7, true},    {4, 7, 1, 64, 0, 64, true},   {1, 30, 17, 520, 4, 516, true},
                          {5, 1, 67, 12, 4, 8}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        const shape *s = &list[i];
        for (int role = 0; role < 2; role++) {
            char name[96];
            snprintf(name, sizeof name, "concat %u and %u rows of %u, %u sequences", s->before, s->rows, s->cols, s->batch);
            op_check(&(op_case){.name = name,
                                .leaf = {{.name = "a", .rows = s->each ? s->batch * s->before : s->before, .cols = s->cols,
                                          .role = role ? ESPL_ROLE_PARAMETER : ESPL_ROLE_VALUE},
                                         {.name = "x", .rows = s->batch * s->rows, .cols = s->x_cols}},
                                .build = build_concat,
                                .reference = reference_concat,
                                .args = s});
        }
    }
}

typedef struct part {
    uint32_t batch, x_rows, x_cols, first, rows, from, cols;
} part;

static espl_tensor *build_slice(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const part *s = args;
    return espl_graph_slice(graph, &(espl_slice){.x = leaves[0], .batch = s->batch, .first = s->first, .rows = s->rows,
                                                 .from = s->from, .cols = s->cols});
}

static void reference_slice(const double *const *leaves, const void *args, double *out) {
    const part *s = args;
    ref_slice(leaves[0], s->batch, s->x_rows, s->x_cols, s->first, s->rows, s->from, s->cols, out);
}

static void slice(void **state) {
    (void)state;
    const part list[] = {{1, 1, 1, 0, 1, 0, 1},    {2, 9, 7, 3, 6, 0, 7},     {3, 5, 40, 0, 2, 8, 29},
                         {1, 67, 516, 1, 1, 4, 5}, {4, 8, 12, 2, 3, 4, 8}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        const part *s = &list[i];
        char name[96];
        snprintf(name, sizeof name, "slice rows %u + %u, columns %u + %u of %ux%u", s->first, s->rows, s->from, s->cols,
                 s->x_rows, s->x_cols);
        op_check(&(op_case){.name = name,
                            .leaf = {{.name = "x", .rows = s->batch * s->x_rows, .cols = s->x_cols}},
                            .build = build_slice,
                            .reference = reference_slice,
                            .args = s});
    }
}

/* All columns of x in many slices, added up: their gradients lie side by side in one. */
enum { SLICES = 13 };

static espl_tensor *build_slices(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    espl_tensor *sum = NULL;
    (void)args;
    for (uint32_t i = 0; i < SLICES; i++) {
        espl_tensor *one = espl_graph_slice(graph, &(espl_slice){.x = leaves[0], .from = 4 * i, .cols = 4});
        sum = sum ? espl_graph_add(graph, &(espl_add_args){sum, one}) : one;
    }
    return sum;
}

static void reference_slices(const double *const *leaves, const void *args, double *out) {
    const uint32_t rows = *(const uint32_t *)args;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < SLICES; i++)
            for (uint32_t c = 0; c < 4; c++) out[r * 4 + c] += leaves[0][(r * SLICES + i) * 4 + c];
}

static void slices(void **state) {
    (void)state;
    const uint32_t rows = 5;
    op_check(&(op_case){.name = "slices beside each other",
                        .leaf = {{.name = "x", .rows = rows, .cols = 4 * SLICES}},
                        .build = build_slices,
                        .reference = reference_slices,
                        .args = &rows,
                        .looser = SLICES, /* so many additions */
                        .rounds_inside = true});
}

/* Windows of sequences; the gradient of an `a` that all share is added up over them. */
static void windows(void **state) {
    (void)state;
    const shape list[] = {{37, 3, 4, 33, 0, 33, true}, {37, 3, 4, 33, 0, 33}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        const shape *s = &list[i];
        op_check_windows(&(op_case){.name = s->each ? "concat in windows" : "concat of a shared part in windows",
                                    .leaf = {{.name = "a", .rows = s->each ? s->batch * s->before : s->before, .cols = s->cols},
                                             {.name = "x", .rows = s->batch * s->rows, .cols = s->x_cols}},
                                    .build = build_concat,
                                    .reference = reference_concat,
                                    .args = s},
                         17000);
    }
    const part p = {37, 7, 33, 2, 4, 0, 33};
    op_check_windows(&(op_case){.name = "slice in windows",
                                .leaf = {{.name = "x", .rows = p.batch * p.x_rows, .cols = p.x_cols}},
                                .build = build_slice,
                                .reference = reference_slice,
                                .args = &p},
                     17000);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *a = espl_graph_value(graph, "a", 2, 12, ESPL_DTYPE_F32);
    espl_tensor *x = espl_graph_value(graph, "x", 6, 13, ESPL_DTYPE_F32);
    assert_null(espl_graph_concat(graph, &(espl_concat){.a = a, .x = x, .batch = 4}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "concat: a (a) of 2 x 12 F32 before columns from 0 of x (x) of 6 x 13");
    espl_graph_destroy(&graph);
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    x = espl_graph_value(graph, "x", 6, 13, ESPL_DTYPE_F32);
    assert_null(espl_graph_slice(graph, &(espl_slice){.x = x, .batch = 2, .first = 2, .rows = 2}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "slice: rows 2 to 4, columns 0 to 13 of x (x) of 6 x 13 F32 in 2");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(concat), cmocka_unit_test(slice), cmocka_unit_test(slices),
                                       cmocka_unit_test(windows), cmocka_unit_test(refused)};
    return op_main("concat", tests, ESPL_COUNT(tests));
}
