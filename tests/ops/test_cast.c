#include "host/ops/op_cast.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct shape {
    uint32_t rows, cols;
    espl_dtype to;
    bool into;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_cast(graph, &(espl_cast){.x = leaves[0], .dtype = s->to, .into = s->into ? leaves[1] : NULL});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    const int mantissa = s->to == ESPL_DTYPE_F16 ? 11 : s->to == ESPL_DTYPE_BF16 ? 8 : 24;
    ref_cast(leaves[0], (size_t)s->rows * s->cols, mantissa, s->to == ESPL_DTYPE_F16 ? -14 : -126, out);
}

static const espl_dtype dtypes[] = {ESPL_DTYPE_F32, ESPL_DTYPE_F16, ESPL_DTYPE_BF16};

static void shapes(void **state) {
    (void)state;
    for (size_t from = 0; from < ESPL_COUNT(dtypes); from++)
        for (size_t to = 0; to < ESPL_COUNT(dtypes); to++) {
            const shape list[] = {{1, 1, dtypes[to]},  {3, 7, dtypes[to]},         {2, 30, dtypes[to], true},
                                  {5, 64, dtypes[to]}, {70, 33, dtypes[to], true}, {130, 129, dtypes[to]}};
            for (size_t i = 0; i < ESPL_COUNT(list); i++) {
                char name[64];
                const shape *s = &list[i];
                snprintf(name, sizeof name, "cast %ux%u %s to %s", s->rows, s->cols, espl_dtype_name(dtypes[from]),
                         espl_dtype_name(s->to));
                op_check(&(op_case){.name = name,
                                    .leaf = {{.name = "x",
                                              .rows = s->rows,
                                              .cols = s->cols,
                                              .role = ESPL_ROLE_WEIGHT,
                                              .dtype = dtypes[from]},
                                             {.name = "into",
                                              .rows = s->into ? s->rows : 0,
                                              .cols = s->cols,
                                              .role = ESPL_ROLE_STATE,
                                              .dtype = s->to,
                                              .stride = s->cols + 10 - s->cols % 4 + 2}},
                                    .build = build,
                                    .reference = reference,
                                    .args = s,
                                    .forward_only = true});
            }
        }
}

static void windows(void **state) {
    (void)state;
    op_storage_range(64 * 40 + 100);
    op_check(
        &(op_case){.name = "cast in windows",
                   .leaf = {{.name = "x", .rows = 150, .cols = 9, .role = ESPL_ROLE_WEIGHT, .dtype = ESPL_DTYPE_BF16}},
                   .build = build,
                   .reference = reference,
                   .args = &(shape){150, 9, ESPL_DTYPE_F16}});
    op_storage_range(0);
}

/* The bits of the library's own conversion: ties, the largest, the smallest, what becomes infinite, NaN. */
static void bits(void **state) {
    (void)state;
    enum { COUNT = 2048 };
    static double values[COUNT], got[COUNT];
    espl_random random = {.seed = 5};
    for (size_t i = 0; i < COUNT; i++) {
        /* Any normal f32, half of them with few bits so that ties are common. */
        uint32_t word = espl_random_u32(&random);
        if (i % 2) word &= 0xfffff000u;
        if ((word >> 23 & 255) == 0) word |= 0x00800000u;
        if (i % 4 == 3) word = (word & 0x8fffffffu) | 0x30000000u; /* near the range of f16 */
        if (i % 8 == 5) word = (word & 0x87ffffffu) | 0x38000000u;
        float value;
        memcpy(&value, &word, 4);
        values[i] = (double)value;
    }
    const double chosen[] = {0,
                             65504,
                             65519.9,
                             65520,
                             65536,
                             -1e30,
                             6.103515625e-05,
                             6.097555e-05,
                             5.9604645e-08,
                             2.98023224e-08,
                             2.9802323e-08,
                             1 + 0x1p-11,
                             1 + 3 * 0x1p-11,
                             1 + 0x1p-8,
                             1 + 3 * 0x1p-8};
    for (size_t i = 0; i < ESPL_COUNT(chosen); i++)
        values[i] = op_round(chosen[i], ESPL_DTYPE_F32);
    values[20] = INFINITY, values[21] = -INFINITY, values[22] = NAN;
    for (size_t to = 1; to < ESPL_COUNT(dtypes); to++) {
        espl_graph *graph;
        op_ok(espl_graph_create(op_device(), "bits", &graph));
        op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
        espl_tensor *x = espl_graph_leaf(graph, ESPL_ROLE_WEIGHT, "x", 1, COUNT, 0, ESPL_DTYPE_F32,
                                         op_span(1, COUNT, ESPL_DTYPE_F32));
        espl_tensor *y = espl_graph_cast(graph, &(espl_cast){.x = x, .dtype = dtypes[to]});
        y->keep = true;
        op_ok(espl_graph_plan(graph));
        op_write(x, values);
        op_submit(graph);
        op_read(y, got);
        for (size_t i = 0; i < COUNT; i++) {
            const double expected = op_round(values[i], dtypes[to]);
            if (got[i] != expected && !(isnan(got[i]) && isnan(expected)))
                fail_msg("%.9g to %s is %.9g, expected %.9g", values[i], espl_dtype_name(dtypes[to]), got[i], expected);
        }
        espl_graph_destroy(&graph);
        op_spans_finish();
    }
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *x = espl_graph_value(graph, "x", 2, 12, ESPL_DTYPE_I32);
    assert_null(espl_graph_cast(graph, &(espl_cast){.x = x}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "cast: x (x) is 2 x 12 I32");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(windows), cmocka_unit_test(bits),
                                       cmocka_unit_test(refused)};
    return op_main("cast", tests, ESPL_COUNT(tests));
}
