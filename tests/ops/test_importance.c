#include "host/ops/op_importance.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { VALUES_MAX = 200000 };

typedef struct shape {
    uint32_t rows, cols, from, count, slot;
    bool columns, add;
    int result; /* which of score, mean, spread */
} shape;

static const double beta1 = 0.75, beta2 = 0.625;
static double mean[VALUES_MAX], spread[VALUES_MAX];

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    const espl_importance_state state = espl_graph_importance(
        graph, &(espl_importance){.p = leaves[0], .g = leaves[1], .mean = leaves[2], .spread = leaves[3], .score = leaves[4],
                                  .from = s->from, .count = s->count, .slot = s->slot, .columns = s->columns, .add = s->add,
                                  .beta1 = (float)beta1, .beta2 = (float)beta2});
    return s->result == 0 ? state.score : s->result == 1 ? state.mean : state.spread;
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    const size_t bytes = (size_t)s->rows * s->cols * sizeof *mean, scores = s->slot + s->count + 1;
    double score[1024];
    assert_true(scores <= ESPL_COUNT(score) && bytes <= sizeof mean);
    memcpy(mean, leaves[2], bytes), memcpy(spread, leaves[3], bytes), memcpy(score, leaves[4], scores * sizeof *score);
    for (size_t n = 0; n < s->count && !s->add; n++)
        score[s->slot + n] = 0;
    ref_importance(leaves[0], leaves[1], s->rows, s->cols, s->from, s->count, s->columns, beta1, beta2, mean, spread,
                   score + s->slot);
    if (s->result == 0)
        memcpy(out, score, scores * sizeof *score);
    else
        memcpy(out, s->result == 1 ? mean : spread, bytes);
}

static void importance(void **state) {
    (void)state;
    const shape list[] = {{1, 1, 0, 1, 0, false, false, 0},  {13, 37, 4, 5, 3, false, true, 0}, {8, 129, 0, 8, 0, false, false, 1},
                          {67, 5, 0, 5, 2, true, false, 0},  {128, 12, 4, 7, 0, true, true, 0}, {129, 8, 0, 8, 1, true, false, 2},
                          {1, 30, 12, 9, 40, true, false, 0}, {300, 513, 64, 200, 7, false, true, 0}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        const shape *s = &list[i];
        char name[64];
        snprintf(name, sizeof name, "importance %ux%u %s", s->rows, s->cols, s->columns ? "columns" : "rows");
        op_check(&(op_case){.name = name,
                            .leaf = {{.name = "p", .rows = s->rows, .cols = s->cols, .role = ESPL_ROLE_WEIGHT},
                                     {.name = "g", .rows = s->rows, .cols = s->cols, .role = ESPL_ROLE_WEIGHT},
                                     {.name = "mean", .rows = s->rows, .cols = s->cols, .role = ESPL_ROLE_STATE, .low = 0, .high = 1},
                                     {.name = "spread", .rows = s->rows, .cols = s->cols, .role = ESPL_ROLE_STATE, .low = 0, .high = 1},
                                     {.name = "score", .rows = 1, .cols = s->slot + s->count + 1, .role = ESPL_ROLE_STATE}},
                            .build = build,
                            .reference = reference,
                            .args = s});
    }
}

typedef struct pruning {
    uint32_t from, count, slot;
    int32_t k;
} pruning;

static espl_tensor *build_prune(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const pruning *s = args;
    return espl_graph_prune(graph, &(espl_prune){.score = leaves[0], .dropped = leaves[1], .e = leaves[2], .k = leaves[3],
                                                 .from = s->from, .count = s->count, .slot = s->slot});
}

static void reference_prune(const double *const *leaves, const void *args, double *out) {
    const pruning *s = args;
    for (size_t i = 0; i < s->from + s->count + 2; i++)
        out[i] = leaves[2][i];
    if (s->k > 0)
        ref_prune(leaves[0], 67, (size_t)s->k, s->slot, s->count, out + s->from);
    for (size_t i = 0; s->k < 0 && i < s->count; i++)
        if (leaves[1][s->slot + i] != 0)
            out[s->from + i] = 0;
}

static void prune(void **state) {
    (void)state;
    const pruning list[] = {{0, 40, 9, 20}, {4, 33, 0, 1}, {8, 1, 66, 66}, {0, 67, 0, 67}, {0, 67, 0, 0}, {4, 40, 11, -1}};
    double dropped[67], scores[67];
    for (size_t i = 0; i < 67; i++)
        dropped[i] = i % 3 == 0, scores[i] = (double)(i * 31 % 67 / 2); /* with equal ones */
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        const int32_t k = list[i].k;
        op_check(&(op_case){.name = "prune",
                            .leaf = {{.name = "score", .rows = 1, .cols = 67, .role = ESPL_ROLE_WEIGHT, .values = scores},
                                     {.name = "dropped", .rows = 1, .cols = 67, .role = ESPL_ROLE_STATE, .values = dropped},
                                     {.name = "e", .rows = 1, .cols = list[i].from + list[i].count + 2, .role = ESPL_ROLE_STATE},
                                     {.name = "k", .rows = 1, .cols = 1, .role = ESPL_ROLE_STEP, .dtype = ESPL_DTYPE_I32, .integers = &k}},
                            .build = build_prune,
                            .reference = reference_prune,
                            .args = &list[i]});
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(importance), cmocka_unit_test(prune)};
    return op_main("importance", tests, ESPL_COUNT(tests));
}
