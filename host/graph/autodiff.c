/* Reverse-mode differentiation: the layers are walked backwards and every node whose output has a gradient adds the nodes
 * that give its inputs theirs. Nothing is added for inputs below which nothing is trainable, so a frozen base costs no
 * weight gradient, and the walk ends by itself at the lowest parameter. */
#include "host/graph/graph_private.h"
#include <stdio.h>

bool espl_grad_wanted(const espl_tensor *input) {
    return input && input->needs_grad;
}

espl_tensor *espl_grad_of(const espl_tensor *output) {
    return output ? output->grad : NULL;
}

enum { SLICES_MAX = ESPL_COUNT(((espl_tensor *)0)->grad_slices) / 2 };

/* How many of the columns [from, from + count) have been written. Slices never overlap each other. */
static uint32_t columns_written(const espl_tensor *t, uint32_t from, uint32_t count) {
    uint32_t written = 0;
    for (uint32_t i = 0; i < t->grad_slice_count; i++) {
        uint32_t begin = t->grad_slices[2 * i], end = begin + t->grad_slices[2 * i + 1];
        uint32_t low = begin > from ? begin : from, high = end < from + count ? end : from + count;
        if (high > low) written += high - low;
    }
    return written;
}

espl_tensor *espl_grad_target(espl_graph *graph, espl_tensor *input, uint32_t from, uint32_t count, bool *out_accumulate) {
    *out_accumulate = false;
    if (!input || graph->status != ESPL_OK) return NULL;
    if (count == 0) count = input->cols - from;
    if (input->role == ESPL_ROLE_PARAMETER) {
        if (!input->grad)
            return espl_graph_fail(graph, espl_fail(graph->ctx, ESPL_INTERNAL,
                                                    "%s: a parameter without memory for its gradient", input->name));
        *out_accumulate = true;
        return espl_graph_update(graph, input->grad);
    }
    if (!input->grad) {
        char name[160];
        snprintf(name, sizeof name, "d %s", input->name);
        input->grad = espl_graph_value(graph, name, input->rows, input->cols, ESPL_DTYPE_F32);
        if (!input->grad) return NULL;
        input->grad_slice_count = 0;
    }
    uint32_t written = columns_written(input, from, count);
    uint32_t next = 0;
    for (uint32_t *s = input->grad_slices; next < input->grad_slice_count && s[0] != from + count && s[0] + s[1] != from; s += 2) next++;
    if (written == 0 && next < input->grad_slice_count) { /* beside one that is there: both are one */
        uint32_t *s = &input->grad_slices[2 * next];
        s[0] = s[0] < from ? s[0] : from;
        s[1] += count;
    } else if (written == 0) {
        if (input->grad_slice_count == SLICES_MAX)
            return espl_graph_fail(graph, espl_fail(graph->ctx, ESPL_INTERNAL, "%s: more than %u gradient slices",
                                                    input->name, (unsigned)SLICES_MAX));
        input->grad_slices[2 * input->grad_slice_count] = from;
        input->grad_slices[2 * input->grad_slice_count + 1] = count;
        input->grad_slice_count++;
    } else if (written == count) {
        *out_accumulate = true;
    } else {
        return espl_graph_fail(graph, espl_fail(graph->ctx, ESPL_INTERNAL,
                                                "%s: gradient columns %u to %u are partly written", input->name, from,
                                                from + count));
    }
    return input->grad = espl_graph_update(graph, input->grad);
}

static espl_status add_to_grad(espl_graph *graph, espl_tensor *input, espl_tensor *gradient) {
    bool accumulate;
    espl_tensor *target = espl_grad_target(graph, input, 0, 0, &accumulate);
    return espl_graph_accumulate(graph, gradient, target, accumulate);
}

espl_status espl_grad_give(espl_graph *graph, espl_tensor *input, espl_tensor *gradient) {
    if (!espl_grad_wanted(input) || !gradient) return graph->status;
    if (input->grad || input->role == ESPL_ROLE_PARAMETER) return add_to_grad(graph, input, gradient);
    input->grad = gradient;
    input->grad_slices[0] = 0;
    input->grad_slices[1] = input->cols;
    input->grad_slice_count = 1;
    return graph->status;
}

espl_status espl_grad_pass(espl_graph *graph, const espl_tensor *output, espl_tensor *input) {
    if (!espl_grad_wanted(input) || !output->grad) return graph->status;
    /* The memory moves on to one input; a second one needs its own. */
    bool moved = output->grad_slice_count == 0;
    if (!moved && !input->grad && input->role == ESPL_ROLE_VALUE) {
        ((espl_tensor *)output)->grad_slice_count = 0;
        return espl_grad_give(graph, input, output->grad);
    }
    return add_to_grad(graph, input, output->grad);
}

/* Nodes of a layer once more, with fresh outputs, so that the forward pass need not keep the first ones. */
static espl_status clone_layer(espl_graph *graph, const espl_layer *layer, const espl_node *last) {
    for (const espl_node *node = layer->first; node; node = node->next) {
        espl_tensor *in[ESPL_INPUTS_MAX], *out[ESPL_OUTPUTS_MAX];
        for (uint32_t i = 0; i < ESPL_INPUTS_MAX; i++)
            in[i] = node->in[i] && node->in[i]->clone ? node->in[i]->clone : node->in[i];
        for (uint32_t i = 0; i < ESPL_OUTPUTS_MAX; i++) {
            espl_tensor *t = node->out[i];
            out[i] = NULL;
            if (!t) continue;
            out[i] = t->base && t->base->clone ? espl_graph_update(graph, t->base->clone)
                                               : espl_graph_value(graph, t->name, t->rows, t->cols, t->dtype);
            if (!out[i]) return graph->status;
            t->clone = out[i];
        }
        ESPL_TRY(espl_graph_node(graph, node->op, in, ESPL_INPUTS_MAX, out, ESPL_OUTPUTS_MAX, node->attribute,
                                 ESPL_ATTRIBUTE_BYTES));
        /* What comes after the layer has left its gradient on the first outputs. */
        for (uint32_t i = 0; i < ESPL_OUTPUTS_MAX; i++) {
            if (!out[i]) continue;
            out[i]->grad = node->out[i]->grad;
            out[i]->grad_slice_count = node->out[i]->grad_slice_count;
            for (uint32_t j = 0; j < 2 * out[i]->grad_slice_count; j++)
                out[i]->grad_slices[j] = node->out[i]->grad_slices[j];
        }
        if (node == last) break;
    }
    return graph->status;
}

/* Columns that no consumer used (the gaps between fused parts) have gradient zero. */
static espl_status zero_gaps(espl_graph *graph, espl_tensor *t) {
    for (uint32_t from = 0; from < t->cols;) {
        uint32_t end = t->cols;
        bool inside = false;
        for (uint32_t i = 0; i < t->grad_slice_count && !inside; i++) {
            const uint32_t begin = t->grad_slices[2 * i];
            inside = begin <= from && from < begin + t->grad_slices[2 * i + 1];
            if (inside) from = begin + t->grad_slices[2 * i + 1];
            else if (begin > from && begin < end) end = begin;
        }
        if (inside) continue;
        bool accumulate;
        ESPL_TRY(espl_graph_zero(graph, espl_grad_target(graph, t, from, end - from, &accumulate), from, end - from));
        from = end;
    }
    return graph->status;
}

static espl_status node_backward(espl_graph *graph, const espl_node *node) {
    bool has_grad = false, needs_grad = false;
    for (uint32_t i = 0; i < ESPL_INPUTS_MAX; i++) needs_grad |= node->in[i] && node->in[i]->needs_grad;
    for (uint32_t i = 0; needs_grad && i < ESPL_OUTPUTS_MAX; i++) {
        espl_tensor *out = node->out[i];
        if (!out || !out->grad || out->role != ESPL_ROLE_VALUE) continue;
        has_grad = true;
        if (columns_written(out, 0, out->cols) != out->cols) ESPL_TRY(zero_gaps(graph, out));
    }
    if (!has_grad || !needs_grad || !node->op->vjp) return ESPL_OK;
    ESPL_TRY(node->op->vjp(graph, node));
    return graph->status;
}

static espl_status layer_backward(espl_graph *graph, const espl_layer *layer) {
    bool needs_grad = false;
    for (const espl_node *node = layer->first; node; node = node->next) {
        for (uint32_t i = 0; i < ESPL_OUTPUTS_MAX; i++) needs_grad |= node->out[i] && node->out[i]->needs_grad;
    }
    if (!needs_grad) return ESPL_OK;
    char name[160];
    snprintf(name, sizeof name, "%s backward", layer->name);
    const espl_node *last = layer->last;
    ESPL_TRY(espl_graph_layer(graph, name, ESPL_PHASE_MICRO, false));
    if (layer->recompute) {
        ESPL_TRY(clone_layer(graph, layer, last));
        last = graph->layer->last;
    }
    for (const espl_node *node = last; node; node = node->previous) ESPL_TRY(node_backward(graph, node));
    return ESPL_OK;
}

espl_status espl_graph_backward(espl_graph *graph, espl_tensor *loss) {
    if (graph->status != ESPL_OK) return graph->status;
    if (!loss->needs_grad)
        return espl_fail(graph->ctx, ESPL_ARGUMENT, "%s: nothing trainable leads to %s", graph->name, loss->name);
    /* A loss is its own gradient: its vjp hands over what its forward computed. */
    loss->grad = loss;
    loss->grad_slices[0] = 0;
    loss->grad_slices[1] = loss->cols;
    loss->grad_slice_count = 1;
    uint32_t count = 0;
    for (espl_layer *layer = graph->first_layer; layer; layer = layer->next) count++;
    espl_layer **layers;
    ESPL_TRY(espl_graph_memory(graph, count * sizeof *layers, &layers));
    count = 0;
    for (espl_layer *layer = graph->first_layer; layer; layer = layer->next) layers[count++] = layer;
    while (count--) {
        if (layers[count]->phase != ESPL_PHASE_MICRO) continue;
        espl_status status = layer_backward(graph, layers[count]);
        if (status != ESPL_OK) {
            espl_graph_fail(graph, status);
            return status;
        }
    }
    return graph->status;
}
