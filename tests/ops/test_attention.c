#include "host/ops/op_attention.h"
#include "host/base/os.h"
#include "shaders/shaders.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const uint32_t step[ESPL_STEP_WORDS] = {
    [ESPL_STEP_SEED_LOW] = 0x89abcdefu, [ESPL_STEP_SEED_HIGH] = 0x01234567u, [ESPL_STEP_COUNTER] = 41};

enum { SITE = 5 };

/* What the device draws with that step buffer. */
static ref_dropout_args drops(float p) {
    return (ref_dropout_args){(double)p, 0x0123456789abcdefu, (uint64_t)SITE << 32 | 41};
}

/* Leaves: q or the fused tensor, k or the cache, v, positions, lengths. */
typedef struct shape {
    ref_attention_args a;
    bool fused, cache, has_positions, has_lengths;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    espl_tensor *k = s->fused ? leaves[0] : leaves[1];
    return espl_graph_attention(graph, &(espl_attention){.q = leaves[0],
                                                         .k = k,
                                                         .v = s->fused || s->cache ? k : leaves[2],
                                                         .q_from = (uint32_t)s->a.q_from,
                                                         .k_from = (uint32_t)s->a.k_from,
                                                         .v_from = (uint32_t)s->a.v_from,
                                                         .batch = (uint32_t)s->a.batch,
                                                         .heads = (uint32_t)s->a.heads,
                                                         .kv_heads = (uint32_t)s->a.kv_heads,
                                                         .head_size = (uint32_t)s->a.head_size,
                                                         .scale = (float)s->a.scale,
                                                         .causal = s->a.causal,
                                                         .positions = leaves[3],
                                                         .lengths = leaves[4],
                                                         .window = (uint32_t)s->a.window,
                                                         .dropout = (float)s->a.dropout.p,
                                                         .dropout_site = SITE});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    const double *k = s->fused ? leaves[0] : leaves[1];
    ref_attention(leaves[0], k, s->fused || s->cache ? k : leaves[2], leaves[3], leaves[4], &s->a, out);
}

static const int32_t *integers(const int32_t *values, bool present) {
    return present ? values : NULL;
}

/* positions and lengths: of each row of the batch, or NULL. range 0: the device's own. */
static void check_in(shape s, const int32_t *positions, const int32_t *lengths, uint64_t range) {
    ref_attention_args *a = &s.a;
    const size_t kv = a->kv_heads * a->head_size, q = a->heads * a->head_size;
    if (!a->capacity) a->capacity = a->queries;
    if (s.fused)
        a->k_from = q, a->v_from = q + kv, a->q_cols = a->k_cols = a->v_cols = q + 2 * kv;
    else if (s.cache)
        a->v_from = (kv + 3) / 4 * 4, a->q_cols = q, a->k_cols = a->v_cols = a->v_from + kv;
    else
        a->q_cols = q, a->k_cols = a->v_cols = kv;
    s.has_positions = positions != NULL, s.has_lengths = lengths != NULL;
    const uint32_t batch = (uint32_t)a->batch, kv_rows = (uint32_t)(a->batch * a->capacity);
    char name[160];
    snprintf(name, sizeof name, "attention %zux%zu of %zu, %zu/%zu heads of %zu%s%s%s, dropout %g", a->batch, a->queries,
             a->capacity, a->heads, a->kv_heads, a->head_size, a->causal ? ", causal" : "", s.fused ? ", fused" : "",
             s.cache ? ", cache" : "", a->dropout.p);
    /* Rows of the cache that nothing sees hold anything. */
    double *cache = NULL;
    if (s.cache) {
        cache = malloc(kv_rows * a->k_cols * sizeof *cache);
        op_random(7, 0, 0, cache, kv_rows * a->k_cols);
        for (size_t i = 0; i < kv_rows * a->k_cols; i++) {
            const size_t b = i / a->k_cols / a->capacity, j = i / a->k_cols % a->capacity;
            const size_t last = (size_t)(positions ? positions[b] : 0) + a->queries;
            if (j >= last || (lengths && j >= (size_t)lengths[b])) cache[i] = NAN;
        }
    }
    const op_case test = {.name = name,
                        .leaf = {{.name = "q",
                                  .rows = (uint32_t)(a->batch * a->queries),
                                  .cols = (uint32_t)a->q_cols,
                                  .frozen = s.cache},
                                 {.name = "k",
                                  .rows = s.fused ? 0 : kv_rows,
                                  .cols = (uint32_t)a->k_cols,
                                  .values = cache,
                                  .role = s.cache ? ESPL_ROLE_STATE : ESPL_ROLE_VALUE,
                                  .as_value = s.cache},
                                 {.name = "v", .rows = s.fused || s.cache ? 0 : kv_rows, .cols = (uint32_t)a->v_cols},
                                 {.name = "positions",
                                  .rows = s.has_positions,
                                  .cols = batch,
                                  .role = ESPL_ROLE_STEP,
                                  .dtype = ESPL_DTYPE_I32,
                                  .integers = integers(positions, s.has_positions)},
                                 {.name = "lengths",
                                  .rows = s.has_lengths,
                                  .cols = batch,
                                  .role = ESPL_ROLE_STEP,
                                  .dtype = ESPL_DTYPE_I32,
                                  .integers = integers(lengths, s.has_lengths)}},
                        .build = build,
                        .reference = reference,
                        .args = &s,
                        .step = step,
                        .reads_output = true};
    if (range) op_check_windows(&test, range);
    else op_check(&test);
    free(cache);
}

static void check(shape s, const int32_t *positions, const int32_t *lengths) {
    check_in(s, positions, lengths, 0);
}

/* A binding holds 16 of 20 sequences; each still finds its own length and position. */
static void windows(void **state) {
    (void)state;
    int32_t lengths[20], positions[20];
    for (int i = 0; i < 20; i++)
        lengths[i] = i % 8, positions[i] = (i * 7) % 5;
    check_in((shape){{.batch = 20, .queries = 7, .heads = 4, .kv_heads = 2, .head_size = 8, .causal = true}, .fused = true},
             NULL, lengths, 30000);
    check_in((shape){{.batch = 20, .queries = 3, .capacity = 12, .heads = 2, .kv_heads = 1, .head_size = 8, .causal = true},
                     .cache = true},
             positions, NULL, 13000);
}

static void training(void **state) {
    (void)state;
    const int32_t lengths[] = {5, 0, 9, 3};
    check((shape){{.batch = 1, .queries = 1, .heads = 1, .kv_heads = 1, .head_size = 4, .causal = true}}, NULL, NULL);
    check((shape){{.batch = 2, .queries = 7, .heads = 4, .kv_heads = 2, .head_size = 8, .causal = true}, .fused = true},
          NULL, NULL);
    check(
        (shape){{.batch = 1, .queries = 67, .heads = 2, .kv_heads = 1, .head_size = 16, .causal = true}, .fused = true},
        NULL, NULL);
    check((shape){{.batch = 3, .queries = 9, .heads = 2, .kv_heads = 2, .head_size = 12, .scale = 0.7}, .fused = true},
          NULL, lengths);
    check((shape){{.batch = 2, .queries = 19, .heads = 3, .kv_heads = 1, .head_size = 8, .causal = true, .window = 5}},
          NULL, NULL);
    check((shape){{.batch = 2, .queries = 33, .heads = 4, .kv_heads = 4, .head_size = 8, .causal = true, .window = 40},
                  .fused = true},
          NULL, lengths);
    check(
        (shape){{.batch = 1, .queries = 70, .heads = 6, .kv_heads = 2, .head_size = 20, .causal = true}, .fused = true},
        NULL, lengths);
}

/* The mask is made by place: lengths, windows of keys, groups of heads and windows of the batch do not move it. Fewer queries
 * than 17 take the forward variant that shares keys among lanes; more than 32 keys are several words of the mask. */
static void dropout(void **state) {
    (void)state;
    int32_t lengths[20];
    for (int i = 0; i < 20; i++) lengths[i] = i % 8;
    const int32_t longer[] = {31, 0, 67};
    check((shape){{.batch = 1, .queries = 1, .heads = 1, .kv_heads = 1, .head_size = 4, .dropout = drops(0.5f)}}, NULL, NULL);
    check((shape){{.batch = 2, .queries = 7, .heads = 4, .kv_heads = 2, .head_size = 8, .causal = true, .dropout = drops(0.1f)},
                  .fused = true},
          NULL, NULL);
    check((shape){{.batch = 1, .queries = 67, .heads = 2, .kv_heads = 1, .head_size = 16, .causal = true, .dropout = drops(0.5f)},
                  .fused = true},
          NULL, NULL);
    check((shape){{.batch = 3, .queries = 67, .heads = 2, .kv_heads = 2, .head_size = 12, .dropout = drops(0.9f)},
                  .fused = true},
          NULL, longer);
    check((shape){{.batch = 2, .queries = 65, .heads = 3, .kv_heads = 1, .head_size = 5, .causal = true, .window = 37,
                   .dropout = drops(0.3f)}},
          NULL, NULL);
    check((shape){{.batch = 2, .queries = 3, .capacity = 70, .heads = 4, .kv_heads = 2, .head_size = 8, .dropout = drops(0.3f)}},
          NULL, NULL);
    check_in((shape){{.batch = 20, .queries = 7, .heads = 4, .kv_heads = 2, .head_size = 8, .causal = true, .dropout = drops(0.3f)},
                     .fused = true},
             NULL, lengths, 30000);
}

/* Long heads take a software driver's compiler seconds each: all of them with ESPL_TEST_LONG=1. */
static void head_sizes(void **state) {
    (void)state;
    const size_t sizes[] = {1, 5, 13, 66, 3, 64, 96, 128, 256};
    const size_t count = getenv("ESPL_TEST_LONG") ? ESPL_COUNT(sizes) : 4;
    for (size_t i = 0; i < count; i++)
        check((shape){{.batch = 1, .queries = 11, .heads = 2, .kv_heads = 1, .head_size = sizes[i], .causal = true}},
              NULL, NULL);
}

/* Fewer queries than keys: cross attention, and generation with a cache. */
static void other_keys(void **state) {
    (void)state;
    const int32_t positions[] = {30, 0, 99}, lengths[] = {31, 20, 100};
    check((shape){{.batch = 2, .queries = 3, .capacity = 21, .heads = 4, .kv_heads = 2, .head_size = 8}}, NULL,
          lengths);
    check((shape){{.batch = 2, .queries = 21, .capacity = 5, .heads = 2, .kv_heads = 1, .head_size = 8}}, NULL, NULL);
    const size_t sizes[] = {8, 30, 64, 12, 96, 256};
    const size_t count = getenv("ESPL_TEST_LONG") ? ESPL_COUNT(sizes) : 3;
    for (size_t i = 0; i < count; i++)
        check((shape){{.batch = 3,
                       .queries = 1,
                       .capacity = 100,
                       .heads = 4,
                       .kv_heads = 2,
                       .head_size = sizes[i],
                       .causal = true},
                      .cache = true},
              positions, NULL);
    check((shape){{.batch = 3,
                   .queries = 1,
                   .capacity = 100,
                   .heads = 3,
                   .kv_heads = 3,
                   .head_size = 16,
                   .causal = true,
                   .window = 9},
                  .cache = true},
          positions, lengths);
    check(
        (shape){{.batch = 1, .queries = 5, .capacity = 67, .heads = 6, .kv_heads = 2, .head_size = 16, .causal = true},
                .cache = true},
        positions, NULL);
    check(
        (shape){
            {.batch = 2, .queries = 40, .capacity = 300, .heads = 2, .kv_heads = 1, .head_size = 64, .causal = true},
            .cache = true},
        positions, NULL);
}

/* Values of 16 bits of many rows get matrix units where the device lists them for their format; f32 never. */
static void matrix_units(void **state) {
    (void)state;
    enum { ROWS = 40, COLS = 16 };
    static const struct {
        espl_dtype dtype;
        const espl_shader *shader;
    } rows[] = {{ESPL_DTYPE_F32, NULL},
                {ESPL_DTYPE_F16, ESPL_OPTIONAL_attention_coopmat_f16},
                {ESPL_DTYPE_BF16, ESPL_OPTIONAL_attention_coopmat_bf16}};
    int tried = 0;
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) {
        const espl_dtype dtype = rows[i].dtype;
        const bool wanted = dtype != ESPL_DTYPE_F32 && op_matrix_units("attention", dtype, rows[i].shader);
        const uint64_t before = espl_device_count(op_device()).matrix_dispatches_recorded;
        espl_graph *graph;
        op_ok(espl_graph_create(op_device(), "matrix units", &graph));
        espl_graph_value_dtype(graph, dtype);
        op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
        espl_tensor *q = espl_graph_leaf(graph, ESPL_ROLE_WEIGHT, "q", ROWS, COLS, 0, dtype, op_span(ROWS, COLS, dtype));
        espl_tensor *o = espl_graph_attention(
            graph, &(espl_attention){.q = q, .k = q, .v = q, .batch = 1, .heads = 1, .kv_heads = 1, .head_size = COLS});
        op_ok(espl_graph_status(graph));
        o->keep = true;
        op_ok(espl_graph_plan(graph));
        const uint64_t count = espl_device_count(op_device()).matrix_dispatches_recorded - before;
        espl_graph_destroy(&graph);
        op_spans_finish();
        assert_int_equal(count, wanted);
        tried += wanted;
    }
    if (!tried) skip();
}

static void refused(void **state) {
    (void)state;
    const espl_attention bad[] = {
        {.batch = 1, .heads = 4, .kv_heads = 3, .head_size = 8},
        {.batch = 1, .heads = 4, .head_size = 300},
        {.batch = 1, .heads = 4, .head_size = 8, .q_from = 2},
        {.batch = 1, .heads = 8, .head_size = 8},
        {.batch = 3, .heads = 4, .head_size = 8},
        {.batch = 1, .heads = 4, .head_size = 8, .dropout = 1},
    };
    const char *const messages[] = {"attention: 4 query heads over 3 key heads", "attention: heads of 300",
                                    "attention: q takes 4 heads of 8 from column 2",
                                    "attention: q takes 8 heads of 8 from column 0",
                                    "attention: q has 10 rows of 32 for a batch of 3", "attention: dropout is 1"};
    for (size_t i = 0; i < ESPL_COUNT(bad); i++) {
        espl_graph *graph;
        op_ok(espl_graph_create(op_device(), "refused", &graph));
        op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
        espl_attention args = bad[i];
        args.q = args.k = args.v =
            espl_graph_leaf(graph, ESPL_ROLE_WEIGHT, "q", 10, 32, 32, ESPL_DTYPE_F32, op_span(10, 32, ESPL_DTYPE_F32));
        assert_null(espl_graph_attention(graph, &args));
        op_refused(espl_graph_status(graph), ESPL_ARGUMENT, messages[i]);
        espl_graph_destroy(&graph);
    }
    op_spans_finish();
}

/* ESPL_TEST_BENCH="batch queries heads kv_heads head_size [capacity]": milliseconds forward, and forward with backward.
 */
static void speed(void **state) {
    (void)state;
    const char *text = getenv("ESPL_TEST_BENCH");
    unsigned n[6] = {0};
    if (sscanf(text, "%u %u %u %u %u %u", n, n + 1, n + 2, n + 3, n + 4, n + 5) < 5)
        fail_msg("ESPL_TEST_BENCH=%s", text);
    const bool cache = n[5] != 0;
    const uint32_t kv = n[3] * n[4], q = n[2] * n[4], rows = n[0] * n[1], capacity = cache ? n[5] : n[1];
    double milliseconds[2] = {0}, first[2] = {0};
    for (int backward = 0; backward <= !cache; backward++) {
        espl_graph *graph;
        op_ok(espl_graph_create(op_device(), "speed", &graph));
        op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
        espl_tensor *x =
            espl_graph_leaf(graph, backward ? ESPL_ROLE_PARAMETER : ESPL_ROLE_WEIGHT, "x", rows, q + 2 * kv, 0,
                            ESPL_DTYPE_F32, op_span(rows, (q + 2 * kv + 3) / 4 * 4, ESPL_DTYPE_F32));
        if (backward) espl_graph_parameter_grad(graph, x, op_span(rows, x->stride, ESPL_DTYPE_F32));
        espl_tensor *k = cache ? espl_graph_leaf(graph, ESPL_ROLE_STATE, "cache", n[0] * capacity, 2 * kv, 0,
                                                 ESPL_DTYPE_F32, op_span(n[0] * capacity, 2 * kv, ESPL_DTYPE_F32))
                               : x;
        espl_tensor *positions = cache ? espl_graph_step_leaf(graph, "positions", 1, n[0], ESPL_DTYPE_I32) : NULL;
        espl_tensor *o = espl_graph_attention(graph, &(espl_attention){.q = x,
                                                                       .k = k,
                                                                       .v = k,
                                                                       .k_from = cache ? 0 : q,
                                                                       .v_from = (cache ? 0 : q) + kv,
                                                                       .batch = n[0],
                                                                       .heads = n[2],
                                                                       .kv_heads = n[3],
                                                                       .head_size = n[4],
                                                                       .causal = true,
                                                                       .positions = positions});
        op_ok(espl_graph_status(graph));
        o->keep = true;
        if (backward) {
            /* The gradient of o is whatever o is. */
            op_ok(espl_grad_give(graph, o, o));
            op_ok(espl_graph_layer(graph, "backward", ESPL_PHASE_MICRO, false));
            op_ok(espl_op_attention.vjp(graph, o->producer));
        }
        op_ok(espl_graph_plan(graph));
        for (uint32_t b = 0; cache && b < n[0]; b++)
            ((int32_t *)espl_graph_step_pointer(graph, positions))[b] = (int32_t)(capacity - n[1]);
        const size_t count = (size_t)x->rows * x->cols, cached = (size_t)n[0] * capacity * 2 * kv;
        double *values = malloc((count > cached ? count : cached) * sizeof *values);
        op_random(1, -1, 1, values, count);
        op_write(x, values);
        if (cache) op_random(2, -1, 1, values, cached), op_write(k, values);
        free(values);
        first[backward] = op_milliseconds(graph, 1);
        milliseconds[backward] = op_milliseconds(graph, 20);
        espl_graph_destroy(&graph);
        op_spans_finish();
    }
    const double seen = cache ? n[1] * (double)capacity : n[1] * (n[1] + 1.0) / 2,
                 one = n[0] * n[2] * seen * n[4] * 1e-6;
    fprintf(
        stderr,
        "attention %s: forward %.3f ms (%.1f GFLOP/s, first %.0f ms), with backward %.3f ms (backward %.1f GFLOP/s, "
        "first %.0f ms)\n",
        text, milliseconds[0], 4 * one / milliseconds[0], first[0], milliseconds[1],
        cache ? 0 : 14 * one / (milliseconds[1] - milliseconds[0]), first[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(speed), cmocka_unit_test(training), cmocka_unit_test(dropout),
                                       cmocka_unit_test(windows),
                                       cmocka_unit_test(head_sizes), cmocka_unit_test(other_keys),
                                       cmocka_unit_test(matrix_units), cmocka_unit_test(refused)};
    const bool bench = getenv("ESPL_TEST_BENCH") != NULL;
    return op_main("attention", bench ? tests : tests + 1, bench ? 1 : ESPL_COUNT(tests) - 1);
}
