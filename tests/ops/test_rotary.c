#include "host/ops/op_rotary.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Leaves: x, frequencies, positions, cache. */
typedef struct shape {
    ref_rotary_args a;
    bool compare_cache;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    const ref_rotary_args *a = &s->a;
    espl_rotated rotated = espl_graph_rotary(graph, &(espl_rotary){.x = leaves[0],
                                                                   .q_from = (uint32_t)a->q_from,
                                                                   .heads = (uint32_t)a->heads,
                                                                   .k_from = (uint32_t)a->k_from,
                                                                   .v_from = (uint32_t)a->v_from,
                                                                   .kv_heads = (uint32_t)a->kv_heads,
                                                                   .head_size = (uint32_t)a->head_size,
                                                                   .frequencies = leaves[1],
                                                                   .magnitude = (float)a->magnitude,
                                                                   .interleaved = a->interleaved,
                                                                   .batch = (uint32_t)a->batch,
                                                                   .positions = leaves[2],
                                                                   .cache = leaves[3],
                                                                   .cache_k_from = (uint32_t)a->cache_k_from,
                                                                   .cache_v_from = (uint32_t)a->cache_v_from});
    return s->compare_cache ? rotated.cache : rotated.x;
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    double *other = malloc(
        (s->compare_cache ? s->a.batch * s->a.queries * s->a.cols : s->a.batch * s->a.capacity * s->a.cache_cols + 1) *
        sizeof *other);
    double *y = s->compare_cache ? other : out, *cache = s->compare_cache ? out : leaves[3] ? other : NULL;
    ref_rotary(leaves[0], leaves[1], leaves[2], leaves[3], &s->a, y, cache);
    free(other);
}

/* range 0: the device's own. */
static void check_in(shape s, const int32_t *positions, uint64_t range) {
    ref_rotary_args *a = &s.a;
    double frequencies[128];
    for (size_t i = 0; i < a->pairs; i++)
        frequencies[i] = pow(10000, -(double)i / (double)a->pairs);
    a->k_from = a->q_from + a->heads * a->head_size;
    a->v_from = a->k_from + a->kv_heads * a->head_size;
    a->cols = (a->v_from + a->kv_heads * a->head_size + 3) / 4 * 4; /* in place: padding is the wire's, not the op's */
    if (a->capacity) a->cache_v_from = a->cache_k_from + a->kv_heads * a->head_size + 3;
    if (a->capacity) a->cache_cols = a->cache_v_from + a->kv_heads * a->head_size + 1;
    if (a->magnitude == 0) a->magnitude = 1;
    char name[160];
    for (int cached = 0; cached <= (a->capacity != 0); cached++) {
        s.compare_cache = cached;
        snprintf(name, sizeof name, "rotary %zux%zu, %zu/%zu heads of %zu, %zu pairs%s, position %d, %s", a->batch,
                 a->queries, a->heads, a->kv_heads, a->head_size, a->pairs, a->interleaved ? " interleaved" : "",
                 positions ? positions[0] : 0, cached ? "cache" : "x");
        const op_case test = {
                       .name = name,
                       .leaf = {{.name = "x", .rows = (uint32_t)(a->batch * a->queries), .cols = (uint32_t)a->cols},
                                {.name = "frequencies",
                                 .rows = a->pairs != 0,
                                 .cols = (uint32_t)a->pairs,
                                 .role = ESPL_ROLE_WEIGHT,
                                 .values = frequencies},
                                {.name = "positions",
                                 .rows = positions != NULL,
                                 .cols = (uint32_t)a->batch,
                                 .role = ESPL_ROLE_STEP,
                                 .dtype = ESPL_DTYPE_I32,
                                 .integers = positions},
                                {.name = "cache",
                                 .rows = (uint32_t)(a->batch * a->capacity),
                                 .cols = (uint32_t)a->cache_cols,
                                 .role = ESPL_ROLE_STATE,
                                 .as_value = true}},
                       .build = build,
                       .reference = reference,
                       .forward_only = cached,
                       .args = &s};
        if (range) op_check_windows(&test, range);
        else op_check(&test);
    }
}

static void check(shape s, const int32_t *positions) {
    check_in(s, positions, 0);
}

/* Sequences in windows; each still finds its own position and its own part of the cache. */
static void windows(void **state) {
    (void)state;
    const int32_t positions[20] = {3, 0, 9, 1, 7, 2, 5, 11, 4, 6, 8, 10, 12, 13, 3, 2, 1, 0, 30, 4};
    check_in((shape){{.batch = 20, .queries = 7, .heads = 4, .kv_heads = 2, .head_size = 8, .pairs = 4}}, positions, 9000);
    check_in((shape){{.batch = 5, .queries = 7, .heads = 4, .kv_heads = 2, .head_size = 8, .pairs = 3, .capacity = 9}},
             positions, 8000);
}

static void training(void **state) {
    (void)state;
    check((shape){{.batch = 1, .queries = 1, .heads = 1, .kv_heads = 1, .head_size = 2, .pairs = 1}}, NULL);
    check((shape){{.batch = 2, .queries = 7, .heads = 4, .kv_heads = 2, .head_size = 8, .pairs = 4}}, NULL);
    check(
        (shape){
            {.batch = 3, .queries = 5, .heads = 3, .kv_heads = 1, .head_size = 12, .pairs = 6, .interleaved = true}},
        NULL);
    check((shape){{.batch = 1,
                   .queries = 67,
                   .q_from = 4,
                   .heads = 2,
                   .kv_heads = 2,
                   .head_size = 80,
                   .pairs = 16,
                   .magnitude = 1.25}},
          NULL);
    check(
        (shape){
            {.batch = 1, .queries = 5, .heads = 3, .kv_heads = 3, .head_size = 13, .pairs = 5, .interleaved = true}},
        NULL);
    check((shape){{.batch = 1, .queries = 3, .heads = 2, .kv_heads = 0, .head_size = 256, .pairs = 128}}, NULL);
}

/* Bounds of the harness hold here because products and reductions are exact. */
static void far_positions(void **state) {
    (void)state;
    const int32_t positions[] = {100000, 131071, 999999};
    check((shape){{.batch = 3, .queries = 5, .heads = 4, .kv_heads = 2, .head_size = 64, .pairs = 32}}, positions);
    check((shape){{.batch = 2, .queries = 40, .heads = 32, .kv_heads = 8, .head_size = 128, .pairs = 64}}, positions);
}

static void caches(void **state) {
    (void)state;
    const int32_t positions[] = {3, 0, 9};
    check((shape){{.batch = 3, .queries = 1, .heads = 4, .kv_heads = 2, .head_size = 8, .pairs = 4, .capacity = 10}},
          positions);
    check((shape){{.batch = 3,
                   .queries = 4,
                   .heads = 2,
                   .kv_heads = 1,
                   .head_size = 20,
                   .pairs = 5,
                   .interleaved = true,
                   .capacity = 11,
                   .cache_k_from = 4}},
          positions); /* row 2 leaves the cache */
    check((shape){{.batch = 2, .queries = 3, .heads = 2, .kv_heads = 2, .head_size = 8, .capacity = 7}}, positions);
    check((shape){{.batch = 1, .queries = 70, .heads = 2, .kv_heads = 2, .head_size = 64, .pairs = 32, .capacity = 80}},
          NULL);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *x =
        espl_graph_leaf(graph, ESPL_ROLE_STATE, "x", 10, 32, 32, ESPL_DTYPE_F32, op_span(10, 32, ESPL_DTYPE_F32));
    espl_tensor *f =
        espl_graph_leaf(graph, ESPL_ROLE_WEIGHT, "f", 1, 5, 8, ESPL_DTYPE_F32, op_span(1, 8, ESPL_DTYPE_F32));
    assert_null(
        espl_graph_rotary(graph, &(espl_rotary){.x = x, .heads = 1, .head_size = 8, .frequencies = f, .batch = 1}).x);
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT,
               "rotary: frequencies is F32 [1, 5], it must be F32 [1, at most 4]");
    espl_graph_destroy(&graph);
    op_spans_finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(training), cmocka_unit_test(far_positions),
                                       cmocka_unit_test(caches), cmocka_unit_test(windows), cmocka_unit_test(refused)};
    return op_main("rotary", tests, ESPL_COUNT(tests));
}
