/* The loss is its own root of differentiation, so its gradients are compared here and not by op_check. */
#include "host/ops/op_cross_entropy.h"
#include "host/ops/op_scale.h"
#include "tests/ops/harness.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    uint32_t tokens, vocabulary, d, chunk;
    int32_t uncounted; /* every so many tokens one does not count; 0: all count */
    double spread;
} shape;

static void *memory(size_t count, size_t bytes) {
    void *block = calloc(count, bytes);
    assert_non_null(block);
    return block;
}

/* d(sum of losses) / d x, by the formula: (softmax - hit) through the product. */
static void gradients(const double *h, const double *w, const double *bias, const double *labels, const shape *s, double *dh,
                      double *dw, double *db) {
    double *p = memory(s->vocabulary, sizeof *p);
    for (uint32_t t = 0; t < s->tokens; t++) {
        double highest = -INFINITY, sum = 0;
        for (uint32_t j = 0; j < s->vocabulary; j++) {
            p[j] = bias ? bias[j] : 0;
            for (uint32_t c = 0; c < s->d; c++) p[j] += h[t * s->d + c] * w[j * s->d + c];
            highest = fmax(highest, p[j]);
        }
        for (uint32_t j = 0; j < s->vocabulary; j++) sum += p[j] = exp(p[j] - highest);
        for (uint32_t j = 0; labels[t] >= 0 && j < s->vocabulary; j++) {
            const double g = p[j] / sum - (labels[t] == j);
            db[j] += g;
            for (uint32_t c = 0; c < s->d; c++) {
                dh[t * s->d + c] += g * w[j * s->d + c];
                dw[j * s->d + c] += g * h[t * s->d + c];
            }
        }
    }
    free(p);
}

/* The formula above against central differences of the reference. */
static void check_formula(const double *h, double *w, double *bias, const double *labels, const shape *s, double *x,
                          size_t count, const double *dx) {
    double *loss = memory(s->tokens, sizeof *loss);
    for (size_t i = 0; i < count; i += 1 + count / 7) {
        const double kept = x[i], step = 1e-5;
        double sum[2] = {0, 0};
        for (int side = 0; side < 2; side++) {
            x[i] = kept + (side ? step : -step);
            ref_cross_entropy(h, w, bias, labels, s->tokens, s->vocabulary, s->d, loss);
            for (uint32_t t = 0; t < s->tokens; t++) sum[side] += loss[t];
        }
        x[i] = kept;
        assert_true(fabs((sum[1] - sum[0]) / (2 * step) - dx[i]) < 1e-6 * (1 + fabs(dx[i])));
    }
    free(loss);
}

/* made: w and bias are values that other nodes make of parameters. */
static void check(const shape *s, espl_dtype dtype, bool trained, bool biased, bool made) {
    const size_t h_count = (size_t)s->tokens * s->d, w_count = (size_t)s->vocabulary * s->d;
    double *h = memory(h_count, 8), *w = memory(w_count, 8), *labels = memory(s->tokens, 8);
    double *dh = memory(h_count, 8), *dw = memory(w_count, 8), *loss = memory(s->tokens, 8), *got = memory(w_count + h_count, 8);
    double *bias = biased ? memory(s->vocabulary, 8) : NULL, *db = memory(s->vocabulary, 8);
    const float factor = 0.125f;
    op_random(1, -s->spread, s->spread, h, h_count);
    op_random(2, -1, 1, w, w_count);
    for (size_t i = 0; i < h_count; i++) h[i] = op_round(h[i], ESPL_DTYPE_F32);
    for (size_t i = 0; i < w_count; i++) w[i] = op_round(w[i], dtype);
    if (bias) op_random(3, -1, 1, bias, s->vocabulary);
    for (size_t i = 0; bias && i < s->vocabulary; i++) bias[i] = op_round(bias[i], ESPL_DTYPE_F32);
    espl_random random = {.seed = 9};
    for (uint32_t t = 0; t < s->tokens; t++)
        labels[t] = s->uncounted && t % (uint32_t)s->uncounted == 1 ? -100.0 : (double)espl_random_below(&random, s->vocabulary);
    ref_cross_entropy(h, w, bias, labels, s->tokens, s->vocabulary, s->d, loss);
    gradients(h, w, bias, labels, s, dh, dw, db);
    check_formula(h, w, bias, labels, s, w, w_count, dw);
    if (bias) check_formula(h, w, bias, labels, s, bias, s->vocabulary, db);
    for (size_t i = 0; i < h_count; i++) dh[i] *= (double)factor;
    for (size_t i = 0; i < w_count; i++) dw[i] *= (double)factor;
    for (size_t i = 0; i < s->vocabulary; i++) db[i] *= (double)factor;

    espl_graph *graph;
    const uint32_t stride = (uint32_t)espl_round_up(s->d, 4);
    op_ok(espl_graph_create(op_device(), "cross entropy", &graph));
    op_ok(espl_graph_layer(graph, "loss", ESPL_PHASE_MICRO, false));
    espl_tensor *ht = espl_graph_leaf(graph, ESPL_ROLE_PARAMETER, "h", s->tokens, s->d, stride, ESPL_DTYPE_F32,
                                      op_span(s->tokens, stride, ESPL_DTYPE_F32));
    espl_tensor *wt = espl_graph_leaf(graph, trained ? ESPL_ROLE_PARAMETER : ESPL_ROLE_WEIGHT, "w", s->vocabulary, s->d, stride,
                                      dtype, op_span(s->vocabulary, stride, dtype));
    espl_graph_parameter_grad(graph, ht, op_span(s->tokens, stride, ESPL_DTYPE_F32));
    if (trained) espl_graph_parameter_grad(graph, wt, op_span(s->vocabulary, stride, ESPL_DTYPE_F32));
    espl_tensor *bt = NULL;
    const uint32_t bias_stride = (uint32_t)espl_round_up(s->vocabulary, 4);
    if (biased)
        bt = espl_graph_leaf(graph, trained ? ESPL_ROLE_PARAMETER : ESPL_ROLE_WEIGHT, "bias", 1, s->vocabulary, bias_stride,
                             ESPL_DTYPE_F32, op_span(1, bias_stride, ESPL_DTYPE_F32));
    if (biased && trained) espl_graph_parameter_grad(graph, bt, op_span(1, bias_stride, ESPL_DTYPE_F32));
    espl_tensor *lt = espl_graph_step_leaf(graph, "labels", 1, s->tokens, ESPL_DTYPE_I32);
    espl_tensor *w_used = made ? espl_graph_scale(graph, &(espl_scale){.x = wt, .number = 1}) : wt;
    espl_tensor *bias_used = made && bt ? espl_graph_scale(graph, &(espl_scale){.x = bt, .number = 1}) : bt;
    espl_tensor *out = espl_graph_cross_entropy(graph, &(espl_cross_entropy){ht, w_used, lt, s->chunk, bias_used});
    op_ok(espl_graph_status(graph));
    out->keep = true;
    op_ok(espl_graph_backward(graph, out));
    op_ok(espl_graph_plan(graph));
    op_write(ht, h);
    op_write(wt, w);
    double *zeros = memory(w_count + h_count, 8);
    if (biased) op_write(bt, bias);
    op_write(ht->grad, zeros);
    if (biased && trained) op_write(bt->grad, zeros);
    if (trained) op_write(wt->grad, zeros);
    int32_t *words = espl_graph_step_pointer(graph, lt);
    for (uint32_t t = 0; t < s->tokens; t++) words[t] = (int32_t)labels[t];
    uint32_t *step = espl_graph_step_pointer(graph, espl_graph_step(graph));
    memcpy(&step[ESPL_STEP_LOSS_SCALE], &factor, sizeof factor);
    op_submit(graph);
    op_read(out, got);
    op_compare("loss", got, loss, s->tokens, ESPL_DTYPE_F32, 1);
    op_read(ht->grad, got);
    op_compare("d h", got, dh, h_count, ESPL_DTYPE_F32, 1);
    if (trained) {
        op_read(wt->grad, got);
        op_compare("d w", got, dw, w_count, ESPL_DTYPE_F32, 1);
    }
    if (biased && trained) {
        op_read(bt->grad, got);
        op_compare("d bias", got, db, s->vocabulary, ESPL_DTYPE_F32, 1);
    }
    espl_graph_destroy(&graph);
    op_spans_finish();
    op_no_validation_messages();
    free(h), free(w), free(labels), free(dh), free(dw), free(loss), free(got), free(zeros), free(bias), free(db);
}

static void shapes(void **state) {
    (void)state;
    const shape list[] = {{1, 1, 1, 0, 0, 1},    {1, 2, 4, 0, 0, 1},      {7, 97, 13, 0, 3, 1},  {64, 64, 16, 0, 0, 1},
                          {65, 131, 33, 17, 5, 1}, {13, 1031, 8, 4, 2, 30}, {5, 3, 40, 1, 0, 10}};
    for (size_t i = 0; i < ESPL_COUNT(list); i++) {
        check(&list[i], ESPL_DTYPE_F32, true, false, false);
        check(&list[i], ESPL_DTYPE_F32, true, true, false);
        check(&list[i], ESPL_DTYPE_F32, true, true, true);
        check(&list[i], ESPL_DTYPE_F32, false, true, false);
        check(&list[i], ESPL_DTYPE_F16, false, false, false);
        check(&list[i], ESPL_DTYPE_BF16, false, false, false);
    }
}

/* The head, the hidden rows and the logits are all beyond the storage range. */
static void windows(void **state) {
    (void)state;
    const shape s = {65, 131, 33, 0, 5, 1};
    op_storage_range(4096);
    check(&s, ESPL_DTYPE_F32, true, true, false);
    check(&s, ESPL_DTYPE_F16, false, false, false);
    op_storage_range(0);
}

static void refused(void **state) {
    (void)state;
    espl_graph *graph;
    op_ok(espl_graph_create(op_device(), "refused", &graph));
    op_ok(espl_graph_layer(graph, "layer", ESPL_PHASE_MICRO, false));
    espl_tensor *h = espl_graph_value(graph, "h", 2, 12, ESPL_DTYPE_F32);
    espl_tensor *w = espl_graph_value(graph, "w", 5, 12, ESPL_DTYPE_F32);
    espl_tensor *labels = espl_graph_step_leaf(graph, "labels", 1, 3, ESPL_DTYPE_I32);
    assert_null(espl_graph_cross_entropy(graph, &(espl_cross_entropy){.h = h, .w = w, .labels = labels}));
    op_refused(espl_graph_status(graph), ESPL_ARGUMENT, "cross_entropy: 1 x 3 labels of I32 for 2 tokens");
    espl_graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(windows), cmocka_unit_test(refused)};
    return op_main("cross_entropy", tests, ESPL_COUNT(tests));
}
