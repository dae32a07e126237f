#include "host/ops/op_relative_attention.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdio.h>

typedef struct shape {
    uint32_t batch, tokens, heads, head_size, rows, reach;
    bool lengths, frozen_x, frozen_relative;
    float dropout;
    uint32_t before; /* keys before the tokens: then keys and values are a tensor of their own */
} shape;

static const uint32_t step[ESPL_STEP_WORDS] = {
    [ESPL_STEP_SEED_LOW] = 0x89abcdefu, [ESPL_STEP_SEED_HIGH] = 0x01234567u, [ESPL_STEP_COUNTER] = 41};

enum { SITE = 5 };

enum { REACH_MAX = 40 };

enum { X, RELATIVE, BUCKETS, LENGTHS, KV }; /* leaves; KV: with keys before the tokens, else X has q, k and v */

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    const uint32_t cols = s->heads * s->head_size, k_from = s->before ? 0 : cols;
    return espl_graph_relative_attention(graph, &(espl_relative_attention){.q = leaves[X],
                                                                           .kv = leaves[s->before ? KV : X],
                                                                           .relative = leaves[RELATIVE],
                                                                           .buckets = leaves[BUCKETS],
                                                                           .lengths = leaves[LENGTHS],
                                                                           .k_from = k_from,
                                                                           .v_from = k_from + cols,
                                                                           .rk_from = cols,
                                                                           .batch = s->batch,
                                                                           .heads = s->heads,
                                                                           .head_size = s->head_size,
                                                                           .scale = 0.4f,
                                                                           .dropout = s->dropout,
                                                                           .dropout_site = SITE});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    const size_t cols = s->heads * s->head_size, k_from = s->before ? 0 : cols;
    const ref_relative_args at = {.batch = s->batch, .tokens = s->tokens, .keys = s->before + s->tokens, .heads = s->heads,
                                  .head_size = s->head_size, .q_cols = s->before ? cols : 3 * cols, .kv_cols = k_from + 2 * cols,
                                  .r_cols = 2 * cols, .k_from = k_from, .v_from = k_from + cols, .rk_from = cols,
                                  .zero = s->reach, .scale = (double)0.4f,
                                  .dropout = {(double)s->dropout, 0x0123456789abcdefu, (uint64_t)SITE << 32 | 41}};
    ref_relative_attention(leaves[X], leaves[s->before ? KV : X], leaves[RELATIVE], leaves[BUCKETS], leaves[LENGTHS], &at, out);
}

enum { BATCH_MAX = 40 };

/* Distances up to rows / 2 have rows of their own, those beyond share the outermost. range: windows, if it is not 0. */
static void check(const shape *s, uint64_t range) {
    int32_t lengths[BATCH_MAX];
    double buckets[2 * REACH_MAX + 1];
    char name[128];
    for (int32_t b = 0; b < BATCH_MAX; b++) lengths[b] = (int32_t)(s->before + fmin((int32_t[]){3, 1, 7, 2}[b % 4], s->tokens));
    for (int32_t d = -(int32_t)s->reach; d <= (int32_t)s->reach; d++) {
        const int32_t half = (int32_t)s->rows / 2;
        buckets[d + (int32_t)s->reach] = fmin(fmax(d + half, 0), s->rows - 1);
    }
    snprintf(name, sizeof name, "relative attention %ux%u, %u heads of %u, %u rows, dropout %g, %u keys before", s->batch,
             s->tokens, s->heads, s->head_size, s->rows, (double)s->dropout, s->before);
    const uint32_t cols = s->heads * s->head_size;
    const op_case test = {
        .name = name,
        .leaf = {{.name = "x", .rows = s->batch * s->tokens, .cols = s->before ? cols : 3 * cols, .frozen = s->frozen_x},
                 {.name = "relative", .rows = s->rows, .cols = 2 * cols, .frozen = s->frozen_relative},
                 {.name = "buckets", .rows = 1, .cols = 2 * s->reach + 1, .role = ESPL_ROLE_WEIGHT, .values = buckets},
                 {.name = "lengths", .rows = s->lengths, .cols = s->batch, .role = ESPL_ROLE_STEP, .dtype = ESPL_DTYPE_I32,
                  .integers = lengths},
                 {.name = "kv", .rows = s->before ? s->batch * (s->before + s->tokens) : 0, .cols = 2 * cols}},
        .build = build,
        .reference = reference,
        .args = s,
        .step = step};
    if (range) op_check_windows(&test, range);
    else op_check(&test);
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {{1, 1, 1, 4, 2, 0},
                          {1, 5, 2, 8, 6, 4},
                          {2, 7, 3, 12, 4, 9, true},
                          {4, 7, 1, 4, 14, 6, true, true},
                          {2, 17, 2, 16, 8, 16, true, false, true},
                          {2, 5, 2, 20, 6, 4, true},
                          {1, 9, 1, 64, 8, 8},
                          {1, 9, 1, 68, 8, 8},
                          {2, 33, 2, 64, 8, 40},
                          {1, 1, 1, 4, 2, 0, .dropout = 0.5f},
                          {2, 7, 3, 12, 4, 9, true, .dropout = 0.1f},
                          {2, 33, 2, 20, 8, 40, .dropout = 0.3f},
                          {4, 7, 1, 4, 14, 6, true, true, .dropout = 0.3f},
                          {1, 1, 1, 4, 2, 0, .before = 1},
                          {2, 7, 3, 12, 4, 9, true, .before = 5},
                          {2, 17, 2, 20, 8, 16, true, .dropout = 0.3f, .before = 16},
                          {2, 5, 2, 64, 6, 4, false, true, true, .before = 3}};
    for (size_t n = 0; n < ESPL_COUNT(list); n++) check(&list[n], 0);
}

/* Sequences in windows; each still finds its own length, and the gradient of the relative rows is added up over them. */
static void windows(void **state) {
    (void)state;
    check(&(shape){37, 3, 1, 4, 4, 2, true}, 4700);
    check(&(shape){37, 3, 1, 4, 4, 2, true, .dropout = 0.3f}, 4700);
    check(&(shape){37, 3, 1, 4, 4, 2, true, .before = 2}, 5200);
}

static void refused(void **state) {
    (void)state;
    const struct {
        shape shape;
        const char *sentence;
    } list[] = {{{1, 7, 1, 6, 4, 6}, "relative_attention: heads of 6"},
                {{1, 7, 1, 4, 4, 6, .before = 1}, "relative_attention: q is 7 x 18 F32, kv 6 x 18 F32"}};
    for (size_t n = 0; n < ESPL_COUNT(list); n++) {
        espl_graph *graph;
        op_ok(espl_graph_create(op_device(), "refused", &graph));
        op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
        espl_tensor *leaves[] = {[X] = espl_graph_value(graph, "x", 7, 18, ESPL_DTYPE_F32),
                                 [RELATIVE] = espl_graph_value(graph, "relative", 4, 18, ESPL_DTYPE_F32),
                                 [BUCKETS] = espl_graph_value(graph, "buckets", 1, 13, ESPL_DTYPE_F32),
                                 [KV] = espl_graph_value(graph, "kv", 6, 18, ESPL_DTYPE_F32)};
        assert_null(build(graph, leaves, &list[n].shape));
        op_refused(espl_graph_status(graph), ESPL_ARGUMENT, list[n].sentence);
        espl_graph_destroy(&graph);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(windows), cmocka_unit_test(refused)};
    return op_main("relative_attention", tests, ESPL_COUNT(tests));
}
