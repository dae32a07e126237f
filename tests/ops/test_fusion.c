#include "host/ops/op_fusion.h"
#include "tests/ops/harness.h"
#include <stdio.h>

typedef struct shape {
    uint32_t rows, cols, count;
    double range; /* of the scores of mix; 0: small ones */
} shape;

static const shape shapes[] = {
    {1, 1, 1}, {7, 13, 2}, {3, 129, 3, 4}, {67, 36, 6, 3}, {12, 516, 2, 90}, {130, 33, 4},
};

static espl_tensor *build_scores(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    return espl_graph_fusion_scores(graph, leaves[0], leaves + 1, ((const shape *)args)->count);
}

static void reference_scores(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    ref_fusion_scores(leaves[0], leaves + 1, s->rows, s->cols, s->count, out);
}

static espl_tensor *build_mix(espl_graph *graph, espl_tensor *const *leaves, const void *args) {
    return espl_graph_fusion_mix(graph, leaves[0], leaves + 1, ((const shape *)args)->count, NULL);
}

static void reference_mix(const double *const *leaves, const void *args, double *out) {
    const shape *s = args;
    ref_fusion_mix(leaves[0], leaves + 1, s->rows, s->cols, s->count, out);
}

static op_case case_of(const shape *s, bool mix) {
    static const char *const names[] = {"u0", "u1", "u2", "u3", "u4", "u5"};
    op_case c = {.name = mix ? "fusion_mix" : "fusion_scores",
                 .leaf = {{.name = mix ? "s" : "q", .rows = s->rows, .cols = mix ? s->count : s->cols, .f32 = mix,
                           .low = mix ? -s->range : 0, .high = mix ? s->range : 0}},
                 .build = mix ? build_mix : build_scores,
                 .reference = mix ? reference_mix : reference_scores,
                 .args = s,
                 .forward_only = s->range > 10}; /* a softmax that is all but 1 and 0 has a gradient of nothing but rounding */
    for (uint32_t n = 0; n < s->count; n++) c.leaf[1 + n] = (op_leaf){.name = names[n], .rows = s->rows, .cols = s->cols};
    return c;
}

static void all(void **state) {
    (void)state;
    for (size_t i = 0; i < 2 * ESPL_COUNT(shapes); i++) {
        const op_case c = case_of(&shapes[i / 2], i % 2);
        op_check(&c);
    }
}

static void windows(void **state) {
    (void)state;
    const shape s = {300, 33, 3, 2};
    for (int mix = 0; mix < 2; mix++) {
        const op_case c = case_of(&s, mix);
        op_check_windows(&c, 20000);
    }
}

static void refused(void **state) {
    (void)state;
    for (int mix = 0; mix < 2; mix++) {
        espl_graph *graph;
        op_ok(espl_graph_create(op_device(), "refused", &graph));
        op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
        espl_tensor *first = espl_graph_value(graph, "first", 7, 12, ESPL_DTYPE_F32);
        espl_tensor *u[] = {espl_graph_value(graph, "a", 7, 8, ESPL_DTYPE_F32), espl_graph_value(graph, "b", 7, 8, ESPL_DTYPE_F32)};
        assert_null(mix ? espl_graph_fusion_mix(graph, first, u, 2, NULL) : espl_graph_fusion_scores(graph, first, u, 2));
        op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "(first) is 7 x 12 F32 beside 2 tensors, the first of 7 x 8");
        espl_graph_destroy(&graph);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all), cmocka_unit_test(windows), cmocka_unit_test(refused)};
    return op_main("fusion", tests, ESPL_COUNT(tests));
}
