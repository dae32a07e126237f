/* The loss is its own root of differentiation, so its gradient is compared here and not by op_check. */
#include "host/ops/op_group_cross_entropy.h"
#include "tests/ops/harness.h"
#include <string.h>

enum { COUNT_MAX = 2048 };

/* Central differences of the sum of losses, times factor. */
static void differentiate(double *x, const double *labels, uint32_t groups, uint32_t rows, uint32_t cols, double factor, double *dx) {
    double loss[COUNT_MAX];
    for (uint32_t i = 0; i < groups * rows * cols; i++) {
        double sums[2] = {0, 0};
        const double kept = x[i], step = 1e-5;
        for (int side = 0; side < 2; side++) {
            x[i] = kept + (side ? step : -step);
            ref_group_cross_entropy(x, labels, groups, rows, cols, loss);
            for (uint32_t l = 0; l < groups * cols; l++) sums[side] += loss[l];
        }
        x[i] = kept;
        dx[i] = factor * (sums[1] - sums[0]) / (2 * step);
    }
}

/* spread: of x; every uncounted-th label does not count, 0: all do. */
static void check(uint32_t groups, uint32_t rows, uint32_t cols, double spread, uint32_t uncounted, bool trained) {
    const float factor = 0.375f;
    const uint32_t count = groups * rows * cols, columns = groups * cols, stride = (uint32_t)espl_round_up(cols, 4);
    double x[COUNT_MAX], labels[COUNT_MAX], loss[COUNT_MAX], got[COUNT_MAX], dx[COUNT_MAX];
    op_random(1, -spread, spread, x, count);
    for (uint32_t i = 0; i < count; i++) x[i] = op_round(x[i], ESPL_DTYPE_F32);
    for (uint32_t l = 0; l < columns; l++) labels[l] = uncounted && l % uncounted == 1 ? -100 : (double)(l * 7 % rows);
    if (trained) differentiate(x, labels, groups, rows, cols, (double)factor, dx);
    ref_group_cross_entropy(x, labels, groups, rows, cols, loss);

    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "group_cross_entropy", &graph));
    op_ok(espl_graph_layer(graph, "loss", ESPL_PHASE_MICRO, false));
    espl_tensor *xt = espl_graph_leaf(graph, trained ? ESPL_ROLE_PARAMETER : ESPL_ROLE_WEIGHT, "x", groups * rows, cols, stride,
                                      ESPL_DTYPE_F32, op_span(groups * rows, stride, ESPL_DTYPE_F32));
    if (trained) espl_graph_parameter_grad(graph, xt, op_span(groups * rows, stride, ESPL_DTYPE_F32));
    espl_tensor *lt = espl_graph_step_leaf(graph, "labels", 1, columns, ESPL_DTYPE_I32);
    espl_tensor *out = espl_graph_group_cross_entropy(graph, &(espl_group_cross_entropy){xt, lt, groups});
    op_ok(espl_graph_status(graph));
    out->keep = true;
    if (trained) op_ok(espl_graph_backward(graph, out));
    op_ok(espl_graph_plan(graph));
    op_write(xt, x);
    double zeros[COUNT_MAX] = {0};
    if (trained) op_write(xt->grad, zeros);
    int32_t *label_words = espl_graph_step_pointer(graph, lt);
    for (uint32_t l = 0; l < columns; l++) label_words[l] = (int32_t)labels[l];
    uint32_t *step = espl_graph_step_pointer(graph, espl_graph_step(graph));
    memcpy(&step[ESPL_STEP_LOSS_SCALE], &factor, sizeof factor);
    op_submit(graph);
    op_read(out, got);
    op_compare("loss", got, loss, columns, ESPL_DTYPE_F32, 1);
    if (trained) {
        op_read(xt->grad, got);
        op_compare("d x", got, dx, count, ESPL_DTYPE_F32, 1);
    }
    espl_graph_destroy(&graph);
    op_spans_finish();
    op_no_validation_messages();
}

static void shapes(void **state) {
    (void)state;
    for (int trained = 0; trained < 2; trained++) {
        check(1, 2, 1, 2, 0, trained);
        check(7, 4, 1, 2, 3, trained);
        check(5, 17, 2, 2, 4, trained);
        check(3, 65, 5, 2, 0, trained);
        check(2, 301, 2, 2, 3, trained);
        check(1, 64, 4, 2, 0, trained);
    }
}

/* exp of such numbers is beyond f32. */
static void large(void **state) {
    (void)state;
    check(3, 19, 2, 300, 0, true);
}

/* A binding has 32 groups, the last window what is left. */
static void windows(void **state) {
    (void)state;
    const uint64_t before = espl_device_count(op_device()).dispatches_recorded;
    check(100, 3, 2, 2, 4, true);
    const uint64_t whole = espl_device_count(op_device()).dispatches_recorded - before;
    op_storage_range(32 * 3 * 4 * 4);
    check(100, 3, 2, 2, 4, true);
    op_storage_range(0);
    assert_true(espl_device_count(op_device()).dispatches_recorded - before - whole > whole);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *x = espl_graph_value(graph, "x", 6, 2, ESPL_DTYPE_F32);
    espl_tensor *labels = espl_graph_step_leaf(graph, "labels", 1, 3, ESPL_DTYPE_I32);
    assert_null(espl_graph_group_cross_entropy(graph, &(espl_group_cross_entropy){x, labels, 3}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "group_cross_entropy: 1 x 3 labels of I32 for 3 groups of 2 columns");
    espl_graph_destroy(&graph);
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    x = espl_graph_value(graph, "x", 6, 2, ESPL_DTYPE_F32);
    labels = espl_graph_step_leaf(graph, "labels", 1, 8, ESPL_DTYPE_I32);
    assert_null(espl_graph_group_cross_entropy(graph, &(espl_group_cross_entropy){x, labels, 4}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "group_cross_entropy: x of 6 x 2 F32 is not 4 groups of F32");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(large), cmocka_unit_test(windows),
                                       cmocka_unit_test(refused)};
    return op_main("group_cross_entropy", tests, ESPL_COUNT(tests));
}
