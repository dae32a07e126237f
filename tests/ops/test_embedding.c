#include "host/ops/op_embedding.h"
#include "tests/ops/harness.h"
#include <stdio.h>

typedef struct shape {
    uint32_t batch, tokens, vocabulary, cols, positions_count;
    bool positions;
    float scale;
    uint32_t position_from;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_embedding(graph, &(espl_embedding){.ids = leaves[0],
                                                         .table = leaves[1],
                                                         .position_table = leaves[2],
                                                         .positions = leaves[3],
                                                         .batch = s->batch,
                                                         .position_from = s->position_from,
                                                         .scale = s->scale});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    ref_embedding(leaves[0], leaves[1], leaves[2], leaves[3], s->batch ? s->batch : 1, s->tokens, s->vocabulary,
                  s->positions_count, s->position_from, s->cols, s->scale == 0 ? 1 : (double)s->scale, out);
}

static void check(const shape *s, espl_dtype dtype, espl_role role, espl_dtype position_dtype, const int32_t *ids) {
    enum { TOKENS = 64 };
    char name[96];
    int32_t made[TOKENS], positions[8] = {2, 0, 5, 1, 9, 61, 3, 63};
    espl_random random = {.seed = 3};
    for (uint32_t t = 0; t < s->tokens; t++)
        made[t] = (int32_t)espl_random_below(&random, s->vocabulary);
    snprintf(name, sizeof name, "embedding %s %ux%u, %u tokens, %u positions", espl_dtype_name(dtype), s->vocabulary,
             s->cols, s->tokens, s->positions_count);
    op_check(
        &(op_case){.name = name,
                   .leaf = {{.name = "ids",
                             .rows = 1,
                             .cols = s->tokens,
                             .role = ESPL_ROLE_STEP,
                             .dtype = ESPL_DTYPE_I32,
                             .integers = ids ? ids : made},
                            {.name = "table", .rows = s->vocabulary, .cols = s->cols, .role = role, .dtype = dtype},
                            {.name = "position table",
                             .rows = s->positions_count,
                             .cols = s->cols,
                             .role = position_dtype == ESPL_DTYPE_F32 ? ESPL_ROLE_PARAMETER : ESPL_ROLE_WEIGHT,
                             .dtype = position_dtype},
                            {.name = "positions",
                             .rows = s->positions,
                             .cols = s->batch ? s->batch : 1,
                             .role = ESPL_ROLE_STEP,
                             .dtype = ESPL_DTYPE_I32,
                             .integers = positions}},
                   .build = build,
                   .reference = reference,
                   .args = s});
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {{0, 1, 1, 1},
                          {0, 7, 5, 7, .scale = 3.5f},
                          {2, 14, 11, 33, 9, true},
                          {4, 64, 13, 20, 21, true, 0.5f},
                          {3, 33, 100, 64, 11},
                          {2, 14, 11, 36, 9, false, .position_from = 2},
                          {3, 33, 100, 20, 12, true, .position_from = 3},
                          {1, 5, 3, 515}};
    const espl_dtype dtypes[] = {ESPL_DTYPE_F32, ESPL_DTYPE_F16, ESPL_DTYPE_BF16};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        check(&list[i], ESPL_DTYPE_F32, ESPL_ROLE_PARAMETER, ESPL_DTYPE_F32, NULL);
        check(&list[i], ESPL_DTYPE_F32, ESPL_ROLE_VALUE, ESPL_DTYPE_F32, NULL); /* a table that other nodes make */
        for (size_t d = 0; d < ESPL_COUNT(dtypes); d++)
            check(&list[i], dtypes[d], ESPL_ROLE_WEIGHT, dtypes[(d + 1) % ESPL_COUNT(dtypes)], NULL);
    }
}

/* Ids that are no rows give zeros and no gradient; so do positions beyond their table. */
static void outside(void **state) {
    (void)state;
    const int32_t ids[] = {4, -1, 5, 0, 2147483647, 4, 4, -2147483647 - 1};
    check(&(shape){2, 8, 5, 6}, ESPL_DTYPE_F32, ESPL_ROLE_PARAMETER, ESPL_DTYPE_F32, ids);
    check(&(shape){2, 8, 5, 6, 4, true}, ESPL_DTYPE_F32, ESPL_ROLE_PARAMETER, ESPL_DTYPE_F32, ids);
}

/* Positions alone, as where something comes between the table and them. */
static void no_table(void **state) {
    (void)state;
    const int32_t ids[] = {4, -1, 5, 0, 2147483646, 4, 4, -2147483647 - 1};
    const shape s = {2, 8, 2147483647, 7, 9, true};
    const int32_t positions[] = {2, 0};
    op_check(&(op_case){.name = "embedding without a table",
                        .leaf = {{.name = "ids", .rows = 1, .cols = 8, .role = ESPL_ROLE_STEP, .dtype = ESPL_DTYPE_I32,
                                  .integers = ids},
                                 {.rows = 0},
                                 {.name = "position table", .rows = 9, .cols = 7, .role = ESPL_ROLE_PARAMETER},
                                 {.name = "positions", .rows = 1, .cols = 2, .role = ESPL_ROLE_STEP,
                                  .dtype = ESPL_DTYPE_I32, .integers = positions}},
                        .build = build,
                        .reference = reference,
                        .args = &s});
}

/* A table of several windows: 64 rows of 80 bytes are one. */
static void windows(void **state) {
    (void)state;
    const int32_t ids[] = {0, 63, 64, 199, 127, 128, -1, 64, 200, 191, 192, 63};
    const shape s = {2, 12, 200, 20, 130, true};
    op_storage_range(64 * 80 + 100);
    check(&s, ESPL_DTYPE_F32, ESPL_ROLE_PARAMETER, ESPL_DTYPE_F16, ids);
    check(&s, ESPL_DTYPE_BF16, ESPL_ROLE_WEIGHT, ESPL_DTYPE_F16, ids);
    op_storage_range(0);
}

/* Tokens in windows as well: 32 rows of 80 bytes. */
static void token_windows(void **state) {
    (void)state;
    const shape s = {8, 64, 45, 20, 70, true};
    op_storage_range(32 * 80 + 100);
    check(&s, ESPL_DTYPE_F32, ESPL_ROLE_PARAMETER, ESPL_DTYPE_F32, NULL);
    check(&s, ESPL_DTYPE_BF16, ESPL_ROLE_WEIGHT, ESPL_DTYPE_F16, NULL);
    op_storage_range(0);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *ids = espl_graph_step_leaf(graph, "ids", 1, 7, ESPL_DTYPE_I32);
    espl_tensor *table =
        espl_graph_leaf(graph, ESPL_ROLE_WEIGHT, "table", 3, 4, 0, ESPL_DTYPE_F32, op_span(3, 4, ESPL_DTYPE_F32));
    assert_null(espl_graph_embedding(graph, &(espl_embedding){.ids = ids, .table = table, .batch = 2}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "embedding: ids are 1 x 7 I32, must be one row of I32 for 2");
    espl_graph_destroy(&graph);
    op_spans_finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(outside), cmocka_unit_test(no_table),
                                       cmocka_unit_test(windows),
                                       cmocka_unit_test(token_windows),
                                       cmocka_unit_test(refused)};
    return op_main("embedding", tests, ESPL_COUNT(tests));
}
