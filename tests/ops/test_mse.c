/* The loss is its own root of differentiation, so its gradient is compared here and not by op_check. */
#include "host/ops/op_mse.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <string.h>

enum { COUNT_MAX = 2048 };

static void check(uint32_t rows, uint32_t cols, int32_t uncounted, bool trained) {
    const float factor = 0.375f;
    const uint32_t count = rows * cols, stride = (uint32_t)espl_round_up(cols, 4);
    double x[COUNT_MAX], targets[COUNT_MAX], labels[COUNT_MAX], loss[COUNT_MAX], got[COUNT_MAX], dx[COUNT_MAX];
    op_random(1, 0, 0, x, count);
    op_random(2, 0, 0, targets, count);
    for (uint32_t i = 0; i < count; i++) {
        x[i] = op_round(x[i], ESPL_DTYPE_F32);
        targets[i] = op_round(targets[i], ESPL_DTYPE_F32);
    }
    for (uint32_t r = 0; r < rows; r++) labels[r] = uncounted && r % (uint32_t)uncounted == 1 ? -100 : (double)r;
    for (uint32_t i = 0; i < count; i++) {
        double sums[2] = {0, 0};
        const double kept = x[i], step = 1e-5;
        for (int side = 0; side < 2; side++) {
            x[i] = kept + (side ? step : -step);
            ref_mse(x, targets, labels, rows, cols, loss);
            for (uint32_t r = 0; r < rows; r++) sums[side] += loss[r];
        }
        x[i] = kept;
        dx[i] = (double)factor * (sums[1] - sums[0]) / (2 * step);
    }
    ref_mse(x, targets, labels, rows, cols, loss);

    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "mse", &graph));
    op_ok(espl_graph_layer(graph, "loss", ESPL_PHASE_MICRO, false));
    espl_tensor *xt = espl_graph_leaf(graph, trained ? ESPL_ROLE_PARAMETER : ESPL_ROLE_WEIGHT, "x", rows, cols, stride,
                                      ESPL_DTYPE_F32, op_span(rows, stride, ESPL_DTYPE_F32));
    if (trained) espl_graph_parameter_grad(graph, xt, op_span(rows, stride, ESPL_DTYPE_F32));
    espl_tensor *tt = espl_graph_step_leaf(graph, "targets", 1, count, ESPL_DTYPE_F32);
    espl_tensor *lt = espl_graph_step_leaf(graph, "labels", 1, rows, ESPL_DTYPE_I32);
    espl_tensor *out = espl_graph_mse(graph, &(espl_mse){xt, tt, lt});
    op_ok(espl_graph_status(graph));
    out->keep = true;
    if (trained) op_ok(espl_graph_backward(graph, out));
    op_ok(espl_graph_plan(graph));
    op_write(xt, x);
    double zeros[COUNT_MAX] = {0};
    if (trained) op_write(xt->grad, zeros);
    float *target_words = espl_graph_step_pointer(graph, tt);
    int32_t *label_words = espl_graph_step_pointer(graph, lt);
    for (uint32_t i = 0; i < count; i++) target_words[i] = (float)targets[i];
    for (uint32_t r = 0; r < rows; r++) label_words[r] = (int32_t)labels[r];
    uint32_t *step = espl_graph_step_pointer(graph, espl_graph_step(graph));
    memcpy(&step[ESPL_STEP_LOSS_SCALE], &factor, sizeof factor);
    op_submit(graph);
    op_read(out, got);
    op_compare("loss", got, loss, rows, ESPL_DTYPE_F32, 1);
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
        check(1, 1, 0, trained);
        check(7, 1, 3, trained);
        check(33, 5, 4, trained);
        check(65, 4, 0, trained);
    }
}

/* 128 rows in a binding, of which the last window takes what is left. */
static void windows(void **state) {
    (void)state;
    const uint64_t before = espl_device_count(op_device()).dispatches_recorded;
    check(300, 5, 4, true);
    const uint64_t whole = espl_device_count(op_device()).dispatches_recorded - before;
    op_storage_range(128 * 8 * 4);
    check(300, 5, 4, true);
    op_storage_range(0);
    assert_true(espl_device_count(op_device()).dispatches_recorded - before - whole > whole);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *x = espl_graph_value(graph, "x", 3, 2, ESPL_DTYPE_F32);
    espl_tensor *targets = espl_graph_step_leaf(graph, "targets", 1, 3, ESPL_DTYPE_F32);
    espl_tensor *labels = espl_graph_step_leaf(graph, "labels", 1, 3, ESPL_DTYPE_I32);
    assert_null(espl_graph_mse(graph, &(espl_mse){x, targets, labels}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "mse: 1 x 3 targets of F32 for x of 3 x 2");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(windows), cmocka_unit_test(refused)};
    return op_main("mse", tests, ESPL_COUNT(tests));
}
