#include "host/ops/op_dropout.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdio.h>

static const uint32_t step[ESPL_STEP_WORDS] = {
    [ESPL_STEP_SEED_LOW] = 0x89abcdefu, [ESPL_STEP_SEED_HIGH] = 0x01234567u, [ESPL_STEP_COUNTER] = 41};

typedef struct shape {
    uint32_t rows, cols;
    float p;
    uint32_t site;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_dropout(graph, &(espl_dropout){.x = leaves[0], .p = s->p, .site = s->site});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    const uint64_t seed = (uint64_t)step[ESPL_STEP_SEED_HIGH] << 32 | step[ESPL_STEP_SEED_LOW];
    ref_dropout(leaves[0], s->rows, s->cols, (double)s->p, seed, (uint64_t)s->site << 32 | step[ESPL_STEP_COUNTER],
                out);
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {
        {1, 1, 0.5f}, {3, 7, 0.1f, 3}, {2, 31, 0.5f, 0xffffffffu}, {5, 64, 0.9f, 7}, {70, 33, 0.3f, 1}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        char name[64];
        snprintf(name, sizeof name, "dropout %ux%u of %g", list[i].rows, list[i].cols, (double)list[i].p);
        op_check(&(op_case){.name = name,
                            .leaf = {{.name = "x", .rows = list[i].rows, .cols = list[i].cols}},
                            .build = build,
                            .reference = reference,
                            .args = &list[i],
                            .step = step});
    }
}

/* The mask depends on the place in the tensor, not in the window. */
static void windows(void **state) {
    (void)state;
    const shape s = {70, 33, 0.3f, 1};
    op_check_windows(&(op_case){.name = "dropout in windows",
                                .leaf = {{.name = "x", .rows = s.rows, .cols = s.cols}},
                                .build = build,
                                .reference = reference,
                                .args = &s,
                                .step = step},
                     5000);
    const shape even = {70, 32, 0.3f, 1};
    op_check_windows(&(op_case){.name = "dropout in windows of one row",
                                .leaf = {{.name = "x", .rows = even.rows, .cols = even.cols}},
                                .build = build,
                                .reference = reference,
                                .args = &even,
                                .step = step},
                     5000);
}

/* The reference's generator is the library's, and drops the right share. */
static void share(void **state) {
    (void)state;
    static double x[64 * 1000], y[64 * 1000];
    for (size_t i = 0; i < ESPL_COUNT(x); i++)
        x[i] = 1;
    ref_dropout(x, 64, 1000, 0.2, 1, 2, y);
    size_t dropped = 0;
    for (size_t i = 0; i < ESPL_COUNT(y); i++) {
        uint32_t words[4];
        espl_philox(1, 2, i / 4, words);
        assert_true((y[i] == 0) == (words[i % 4] * 0x1p-32 < 0.2));
        dropped += y[i] == 0;
    }
    assert_true(fabs((double)dropped / 64000 - 0.2) < 5 * sqrt(0.2 * 0.8 / 64000));
}

enum { QUERIES = 40, HEADS = 3, KEYS = 70 };

/* How often two masks of attention agree beyond chance, in standard deviations: 0 if they have nothing to do with each
 * other. shift: of the second one's query, head and key against the first one's. */
static double agreement(const ref_dropout_args *a, const ref_dropout_args *b, const size_t shift[3]) {
    double sum = 0, count = 0;
    for (size_t i = 0; i + shift[0] < QUERIES; i++)
        for (size_t h = 0; h + shift[1] < HEADS; h++)
            for (size_t j = 0; j + shift[2] < KEYS; j++) {
                const bool first = ref_dropout_factor(a, i, h, j, KEYS) == 0;
                const bool second = ref_dropout_factor(b, i + shift[0], h + shift[1], j + shift[2], KEYS) == 0;
                sum += ((first ? 1 : 0) - a->p) * ((second ? 1 : 0) - b->p);
                count++;
            }
    return sum / (a->p * (1 - a->p)) / sqrt(count);
}

/* The mask that tests of attention hold the device's against: the right share, and no more alike than chance between queries,
 * heads, keys, steps, sites and seeds. */
static void attention_mask(void **state) {
    (void)state;
    const ref_dropout_args a = {0.3, 7, 5ull << 32 | 1};
    const ref_dropout_args others[] = {{0.3, 7, 5ull << 32 | 2}, {0.3, 7, 6ull << 32 | 1}, {0.3, 8, 5ull << 32 | 1}};
    const size_t shifts[][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {0, 0, 4}, {0, 0, 32}, {1, 1, 1}};
    double dropped = 0, kept = 0;
    for (size_t i = 0; i < QUERIES; i++)
        for (size_t h = 0; h < HEADS; h++)
            for (size_t j = 0; j < KEYS; j++) {
                const double factor = ref_dropout_factor(&a, i, h, j, KEYS);
                assert_true(factor == 0 || factor == 1 / (1 - a.p));
                factor == 0 ? dropped++ : kept++;
            }
    assert_true(fabs(dropped / (dropped + kept) - 0.3) < 4 * sqrt(0.3 * 0.7 / (dropped + kept)));
    for (size_t n = 0; n < ESPL_COUNT(others); n++) assert_true(fabs(agreement(&a, &others[n], (size_t[3]){0})) < 4);
    for (size_t n = 0; n < ESPL_COUNT(shifts); n++) assert_true(fabs(agreement(&a, &a, shifts[n])) < 4);
    assert_true(agreement(&a, &a, (size_t[3]){0}) > 50);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *x = espl_graph_value(graph, "x", 2, 12, ESPL_DTYPE_F32);
    assert_ptr_equal(espl_graph_dropout(graph, &(espl_dropout){.x = x}), x);
    assert_null(espl_graph_dropout(graph, &(espl_dropout){.x = x, .p = 1}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "dropout: p is 1");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(windows), cmocka_unit_test(share), cmocka_unit_test(attention_mask),
                                       cmocka_unit_test(refused)};
    return op_main("dropout", tests, ESPL_COUNT(tests));
}
