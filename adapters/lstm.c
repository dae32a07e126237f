/* A bidirectional LSTM over the rows of a matrix, as torch.nn.LSTM (gates in the order i, f, g, o):
 *   z = W_ih x_t + b_ih + W_hh h' + b_hh,   c = sigmoid(z_f) c' + sigmoid(z_i) tanh(z_g),   h = sigmoid(z_o) tanh(c)
 * from zeros, each layer once from the first row and once from the last; above the first a layer reads both. Hochreiter &
 * Schmidhuber 1997; P-tuning's encoder (Liu et al. 2021). Step by step: rows are few, and are computed once for a whole batch. */
#include "adapters/initial.h"
#include "adapters/prompt.h"
#include "host/ops/op_activation.h"
#include "host/ops/op_add.h"
#include "host/ops/op_concat.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_scale.h"
#include <math.h>

enum { FORWARD, BACKWARD, DIRECTIONS };

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

/* ---- Matrices ---- */

static espl_status add(espl_adapter *adapter, const char *what, uint32_t layer, int direction, uint32_t rows, uint32_t cols, bool vector,
                       uint32_t *out_index) {
    char *name;
    ESPL_TRY(espl_store_matrix(&adapter->store, what, rows, cols, ESPL_DTYPE_F32, !vector, out_index));
    ESPL_TRY(espl_format(context(adapter), &name, "lstm_head.%s_l%u%s", what, layer, direction == BACKWARD ? "_reverse" : ""));
    espl_status status = espl_store_entry(&adapter->store, name, *out_index, 0, vector ? cols : rows, vector);
    espl_free(context(adapter), &name);
    return status;
}

espl_status espl_lstm_declare(espl_adapter *adapter, uint32_t layers, uint32_t width, uint32_t hidden, espl_lstm *lstm) {
    if (hidden % 4)
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: an LSTM of %u values is not supported, a multiple of 4 is",
                         adapter->method->name, hidden);
    if (layers < 1 || layers > 8)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: an LSTM of %u layers is not possible, 1 to 8 are", adapter->method->name,
                         layers);
    ESPL_TRY(espl_new(context(adapter), layers * DIRECTIONS * sizeof *lstm->cells, &lstm->cells));
    lstm->layers = layers, lstm->hidden = hidden;
    for (uint32_t i = 0; i < layers * DIRECTIONS; i++) {
        espl_lstm_cell *cell = &lstm->cells[i];
        const uint32_t layer = i / DIRECTIONS, in = layer ? DIRECTIONS * hidden : width;
        const int direction = (int)(i % DIRECTIONS);
        ESPL_TRY(add(adapter, "weight_ih", layer, direction, 4 * hidden, in, false, &cell->weight_ih));
        ESPL_TRY(add(adapter, "weight_hh", layer, direction, 4 * hidden, hidden, false, &cell->weight_hh));
        ESPL_TRY(add(adapter, "bias_ih", layer, direction, 1, 4 * hidden, true, &cell->bias_ih));
        ESPL_TRY(add(adapter, "bias_hh", layer, direction, 1, 4 * hidden, true, &cell->bias_hh));
    }
    return ESPL_OK;
}

bool espl_lstm_has(const espl_lstm *lstm, uint32_t matrix) {
    bool has = false;
    for (uint32_t i = 0; i < lstm->layers * DIRECTIONS; i++) {
        const espl_lstm_cell *cell = &lstm->cells[i];
        has |= matrix == cell->weight_ih || matrix == cell->weight_hh || matrix == cell->bias_ih || matrix == cell->bias_hh;
    }
    return has;
}

/* As torch's: U(+-1/sqrt(hidden)). */
espl_status espl_lstm_initialise(espl_adapter *adapter, const espl_lstm *lstm, uint64_t seed) {
    const float bound = lstm->layers ? 1 / sqrtf((float)lstm->hidden) : 0;
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        const espl_entry *e = &adapter->store.entries[i];
        if (espl_lstm_has(lstm, e->matrix)) ESPL_TRY(espl_initial_uniform(&adapter->store, e, seed, bound));
    }
    return ESPL_OK;
}

void espl_lstm_finish(espl_context *ctx, espl_lstm *lstm) {
    espl_free(ctx, &lstm->cells);
    *lstm = (espl_lstm){0};
}

/* ---- Operators ---- */

static espl_tensor *gate(espl_graph *graph, espl_tensor *z, uint32_t which, uint32_t hidden, uint32_t kind) {
    return espl_graph_activation(graph, &(espl_activation){.x = z, .from = which * hidden, .cols = hidden, .kind = kind});
}

static espl_tensor *times(espl_graph *graph, espl_tensor *a, espl_tensor *b) {
    return espl_graph_scale(graph, &(espl_scale){.x = a, .s = b});
}

/* One step: of inputs [rows, 4 hidden] the row t; h and c are replaced. */
static void step(espl_builder *b, const espl_adapter *adapter, const espl_lstm_cell *cell, uint32_t hidden, espl_tensor *inputs, uint32_t t,
                 espl_tensor **h, espl_tensor **c) {
    espl_graph *graph = b->graph;
    espl_tensor *z = espl_graph_slice(graph, &(espl_slice){.x = inputs, .first = t, .rows = 1});
    espl_tensor *bias = espl_build_leaf(b, &adapter->store, cell->bias_hh);
    z = *h ? espl_graph_matmul(graph, &(espl_matmul){.a = *h, .b = espl_build_leaf(b, &adapter->store, cell->weight_hh), .bias = bias,
                                                     .orientation = MATMUL_NT, .residual = z})
           : espl_graph_add(graph, &(espl_add_args){z, bias});
    espl_tensor *fresh = times(graph, gate(graph, z, 2, hidden, ACTIVATION_TANH), gate(graph, z, 0, hidden, ACTIVATION_SIGMOID));
    *c = *c ? espl_graph_add(graph, &(espl_add_args){times(graph, *c, gate(graph, z, 1, hidden, ACTIVATION_SIGMOID)), fresh}) : fresh;
    *h = times(graph, espl_graph_activation(graph, &(espl_activation){.x = *c, .kind = ACTIVATION_TANH}),
               gate(graph, z, 3, hidden, ACTIVATION_SIGMOID));
}

static espl_tensor *direct(espl_builder *b, const espl_adapter *adapter, const espl_lstm_cell *cell, uint32_t hidden, int direction,
                           const espl_halves *x) {
    espl_tensor *inputs = espl_halves_map(b, adapter, x, cell->weight_ih, cell->bias_ih), *h = NULL, *c = NULL, *all = NULL;
    const uint32_t rows = inputs ? inputs->rows : 0;
    for (uint32_t i = 0; i < rows; i++) {
        step(b, adapter, cell, hidden, inputs, direction == FORWARD ? i : rows - 1 - i, &h, &c);
        const espl_concat joined = direction == FORWARD ? (espl_concat){.a = all, .x = h} : (espl_concat){.a = h, .x = all};
        all = all ? espl_graph_concat(b->graph, &joined) : h;
    }
    return all;
}

espl_tensor *espl_halves_map(espl_builder *b, const espl_adapter *adapter, const espl_halves *x, uint32_t weight, uint32_t bias) {
    espl_tensor *w = espl_build_leaf(b, &adapter->store, weight), *y = NULL;
    for (uint32_t i = 0; i < 2 && x->half[i]; i++) {
        const uint32_t cols = x->half[i]->cols;
        espl_tensor *part = x->half[1] ? espl_graph_slice(b->graph, &(espl_slice){.x = w, .from = i * cols, .cols = cols}) : w;
        y = espl_graph_matmul(b->graph, &(espl_matmul){.a = x->half[i], .b = part, .orientation = MATMUL_NT, .residual = y,
                                                       .bias = y ? NULL : espl_build_leaf(b, &adapter->store, bias)});
    }
    return y;
}

espl_halves espl_lstm_build(espl_builder *b, const espl_adapter *adapter, const espl_lstm *lstm, espl_tensor *x, float dropout) {
    espl_halves now = {{x}};
    for (uint32_t layer = 0; layer < lstm->layers; layer++) {
        espl_halves next;
        for (int d = 0; d < DIRECTIONS; d++) {
            next.half[d] = direct(b, adapter, &lstm->cells[layer * DIRECTIONS + (uint32_t)d], lstm->hidden, d, &now);
            if (layer + 1 < lstm->layers) next.half[d] = espl_build_dropout(b, next.half[d], dropout);
        }
        now = next;
    }
    return now;
}
