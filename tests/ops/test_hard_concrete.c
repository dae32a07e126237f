#include "host/ops/op_hard_concrete.h"
#include "tests/ops/harness.h"
#include <stdio.h>
#include <string.h>

enum { GATES_MAX = 600 };

static const uint32_t step[ESPL_STEP_WORDS] = {
    [ESPL_STEP_SEED_LOW] = 0x89abcdefu, [ESPL_STEP_SEED_HIGH] = 0x01234567u, [ESPL_STEP_COUNTER] = 41};

typedef struct shape {
    uint32_t cols, from, count;
    float beta, low, high, soft;
    bool drawn;
    uint32_t site;
} shape;

static espl_tensor *build(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const shape *s = args;
    return espl_graph_hard_concrete(graph, &(espl_hard_concrete){.alpha = leaves[0], .from = s->from, .count = s->count,
                                                                 .beta = s->beta, .low = s->low, .high = s->high,
                                                                 .soft = s->soft, .drawn = s->drawn, .site = s->site});
}

static void reference(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    const double *alpha = leaves[0] + s->from;
    const uint64_t seed = (uint64_t)step[ESPL_STEP_SEED_HIGH] << 32 | step[ESPL_STEP_SEED_LOW];
    const uint64_t stream = (uint64_t)s->site << 32 | step[ESPL_STEP_COUNTER];
    const double low = (double)s->low, high = (double)s->high, beta = (double)s->beta;
    if (s->drawn) ref_hard_concrete_drawn(alpha, s->count, beta, low, high, seed, stream, out);
    else ref_hard_concrete_open(alpha, s->count, beta, low, high, (double)s->soft, out);
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {{1, 0, 1, 1, -0.1f, 1.1f, 1, true, 3},        {37, 4, 33, 1, -0.1f, 1.1f, 1, true, 5},
                          {131, 64, 67, 0.75f, -1.5f, 1.5f, 1, true, 6}, {513, 0, 513, 1, -0.1f, 1.1f, 1, true, 7},
                          {5, 0, 5, 1, -0.1f, 1.1f, 0.8f, false, 0},     {40, 8, 31, 1, -0.1f, 1.1f, 0.8f, false, 0},
                          {300, 4, 257, 0.5f, -0.2f, 1.2f, 1, false, 0}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        char name[64];
        snprintf(name, sizeof name, "hard_concrete %u from %u%s", list[i].count, list[i].from, list[i].drawn ? " drawn" : "");
        op_check(&(op_case){.name = name,
                            .leaf = {{.name = "alpha", .rows = 1, .cols = list[i].cols, .role = ESPL_ROLE_PARAMETER, .low = -2,
                                      .high = 2}},
                            .build = build,
                            .reference = reference,
                            .args = &list[i],
                            .step = step});
    }
}

typedef struct penalty {
    uint32_t n;
    bool of_lambda; /* which gradient is looked at */
} penalty;

static espl_tensor *build_sparsity(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    const espl_sparsity_gradients gradients = espl_graph_sparsity(
        graph, &(espl_sparsity){.alpha = leaves[0], .share = leaves[1], .lambda = leaves[2], .target = leaves[3],
                                .dalpha = leaves[4], .dlambda = leaves[5], .beta = 1, .low = -0.1f, .high = 1.1f});
    return ((const penalty *)args)->of_lambda ? gradients.lambda : gradients.alpha;
}

/* By central differences of the penalty itself. */
static void reference_sparsity(const double *const *leaves, const void *args, double *out) {
    const penalty *p = args;
    const double low = (double)-0.1f, high = (double)1.1f, h = 1e-5;
    double alpha[GATES_MAX], lambda[2];
    memcpy(alpha, leaves[0], p->n * sizeof *alpha), memcpy(lambda, leaves[2], sizeof lambda);
    double *moved = p->of_lambda ? lambda : alpha;
    for (size_t i = 0; i < (p->of_lambda ? 2 : p->n); i++) {
        const double kept = moved[i];
        moved[i] = kept + h;
        const double above = ref_sparsity(alpha, leaves[1], p->n, 1, low, high, leaves[3][0], lambda);
        moved[i] = kept - h;
        const double below = ref_sparsity(alpha, leaves[1], p->n, 1, low, high, leaves[3][0], lambda);
        moved[i] = kept;
        out[i] = leaves[p->of_lambda ? 5 : 4][i] + (p->of_lambda ? -1 : 1) * (above - below) / (2 * h);
    }
}

static void sparsity(void **state) {
    (void)state;
    const penalty list[] = {{1, false}, {1, true}, {13, false}, {129, true}, {GATES_MAX, false}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        const uint32_t n = list[i].n;
        op_check(&(op_case){.name = "sparsity",
                            .leaf = {{.name = "alpha", .rows = 1, .cols = n, .role = ESPL_ROLE_WEIGHT, .low = -2, .high = 2},
                                     {.name = "share", .rows = 1, .cols = n, .role = ESPL_ROLE_WEIGHT, .low = 0, .high = 2.0 / n},
                                     {.name = "lambda", .rows = 1, .cols = 2, .role = ESPL_ROLE_WEIGHT},
                                     {.name = "target", .rows = 1, .cols = 1, .role = ESPL_ROLE_STEP, .low = 0.1, .high = 0.9},
                                     {.name = "dalpha", .rows = 1, .cols = n, .role = ESPL_ROLE_STATE},
                                     {.name = "dlambda", .rows = 1, .cols = 2, .role = ESPL_ROLE_STATE}},
                            .build = build_sparsity,
                            .reference = reference_sparsity,
                            .args = &list[i]});
    }
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *alpha = espl_graph_value(graph, "alpha", 1, 12, ESPL_DTYPE_F32);
    assert_null(espl_graph_hard_concrete(graph, &(espl_hard_concrete){.alpha = alpha, .from = 8, .count = 5, .low = -0.1f,
                                                                      .high = 1.1f}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "hard_concrete: 5 columns from 8");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(sparsity), cmocka_unit_test(refused)};
    return op_main("hard_concrete", tests, ESPL_COUNT(tests));
}
