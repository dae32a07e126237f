/* From the plan to the queue: every layer is recorded once, the step buffer is copied before each submission. */
#include "host/graph/graph_private.h"
#include <math.h>

espl_status espl_step_record(espl_graph *graph, espl_span slot, espl_commands_kind kind, espl_commands **out_commands) {
    ESPL_TRY(espl_commands_begin_as(graph->device, "step buffer", kind, graph->piece_ms, out_commands));
    ESPL_TRY(espl_commands_copy(*out_commands, espl_span_part(slot, 0, graph->step_bytes),
                                espl_span_part(graph->step_span, 0, graph->step_bytes)));
    return espl_commands_end(*out_commands);
}

espl_status espl_layer_record(espl_graph *graph, const espl_layer *layer, espl_commands_kind kind,
                              espl_commands **out_commands) {
    ESPL_TRY(espl_commands_begin_as(graph->device, layer->name, kind, graph->piece_ms, out_commands));
    for (espl_node *node = layer->first; node; node = node->next)
        ESPL_TRY(node->op->record(graph, *out_commands, node));
    return espl_commands_end(*out_commands);
}

static espl_status place_step(espl_graph *graph) {
    ESPL_TRY(espl_arena_take(&graph->step_arena, graph->step_bytes, &graph->step_span));
    for (espl_tensor *t = graph->first_tensor; t; t = t->next) {
        if (t->role == ESPL_ROLE_STEP)
            t->span = espl_span_part(graph->step_span, t->plan_offset, espl_round_up(espl_tensor_bytes(t), 256));
    }
    for (uint32_t i = 0; i < ESPL_STEP_SLOTS; i++) {
        ESPL_TRY(espl_arena_take(&graph->staging_arena, graph->step_bytes, &graph->slot_span[i]));
        ESPL_TRY(espl_step_record(graph, graph->slot_span[i], ESPL_COMMANDS_OWN, &graph->slot_copy[i]));
    }
    return ESPL_OK;
}

/* In the order in which they run, so that kernels are made in the order of their first use. */
static espl_status record_layers(espl_graph *graph) {
    for (int phase = 0; phase < ESPL_PHASE_COUNT; phase++) {
        size_t n = 1; /* behind the copy of the step buffer */
        ESPL_TRY(espl_new(graph->ctx, (graph->list_counts[phase] + 1) * sizeof *graph->lists[phase],
                          &graph->lists[phase]));
        for (espl_layer *layer = graph->first_layer; layer; layer = layer->next) {
            if ((int)layer->phase != phase || !layer->first) continue;
            ESPL_TRY(espl_layer_record(graph, layer, ESPL_COMMANDS_OWN, &layer->commands));
            graph->lists[phase][n++] = layer->commands;
        }
    }
    return ESPL_OK;
}

void espl_graph_cut(espl_graph *graph, double piece_ms) {
    graph->piece_ms = piece_ms;
}

void espl_graph_share(espl_graph *graph, const espl_graph *other) {
    graph->shared = other;
}

uint32_t espl_graph_layers(const espl_graph *graph, espl_phase phase) {
    return (uint32_t)graph->list_counts[phase];
}

static espl_status end_half(espl_graph *graph, espl_status status) {
    if (status == ESPL_OK) return ESPL_OK;
    espl_graph_fail(graph, status);
    return espl_fail_in(graph->ctx, status, "%s", graph->name);
}

espl_status espl_graph_place(espl_graph *graph) {
    if (graph->status != ESPL_OK || graph->planned) return graph->status;
    graph->planned = true;
    espl_plan_drop_dead(graph);
    espl_status status = espl_plan_place(graph);
    if (status == ESPL_OK) status = place_step(graph);
    /* An update lives where its root does; roots come first in the list. */
    for (espl_tensor *t = graph->first_tensor; t; t = t->next) {
        if (t->base) t->span = espl_tensor_root(t)->span;
    }
    for (const espl_layer *layer = graph->first_layer; layer; layer = layer->next)
        graph->list_counts[layer->phase] += layer->first != NULL;
    return end_half(graph, status);
}

espl_status espl_graph_plan(espl_graph *graph) {
    ESPL_TRY(espl_graph_place(graph));
    if (graph->recorded) return ESPL_OK;
    graph->recorded = true;
    return end_half(graph, record_layers(graph));
}

/* in: t; out: its copy on the host. */
static espl_status record_to_host(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    (void)graph;
    const uint64_t bytes = espl_tensor_bytes(node->in[0]);
    return espl_commands_copy(commands, espl_span_part(node->in[0]->span, 0, bytes),
                              espl_span_part(node->out[0]->span, 0, bytes));
}

static const espl_op op_to_host = {.name = "to_host", .record = record_to_host};

espl_tensor *espl_graph_to_host(espl_graph *graph, espl_tensor *t) {
    if (!t || graph->status != ESPL_OK) return NULL;
    if (espl_device_capabilities(graph->device)->unified_memory) {
        t->keep = true;
        return t;
    }
    espl_span span;
    espl_status status = espl_arena_take(&graph->staging_arena, espl_tensor_bytes(t), &span);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    espl_tensor *copy = espl_graph_leaf(graph, ESPL_ROLE_STATE, t->name, t->rows, t->cols, t->stride, t->dtype, span);
    if (!copy || espl_graph_node(graph, &op_to_host, &t, 1, &copy, 1, NULL, 0) != ESPL_OK) return NULL;
    return copy;
}

const void *espl_graph_host(const espl_tensor *t) {
    return espl_span_host(t->span);
}

void *espl_graph_step_pointer(espl_graph *graph, const espl_tensor *step_tensor) {
    return graph->step_shadow + step_tensor->plan_offset;
}

espl_status espl_graph_submit(espl_graph *graph, espl_phase phase, espl_ticket *out_ticket) {
    espl_budget all = {.left_ms = INFINITY};
    espl_mark begin = {0};
    *out_ticket = 0;
    return espl_graph_submit_some(graph, phase, &all, &begin, out_ticket);
}

uint64_t espl_graph_activation_bytes(const espl_graph *graph) {
    return graph->activation_bytes;
}

espl_status espl_tensor_read(espl_graph *graph, const espl_tensor *t, float *out_values) {
    size_t item = espl_dtype_bytes(t->dtype), row = t->stride * item;
    unsigned char *copy;
    ESPL_TRY(espl_new(graph->ctx, (size_t)espl_tensor_bytes(t), &copy));
    espl_status status = espl_download(graph->device, t->span, copy, espl_tensor_bytes(t));
    for (uint32_t r = 0; status == ESPL_OK && r < t->rows; r++)
        espl_convert(copy + r * row, t->dtype, out_values + (size_t)r * t->cols, ESPL_DTYPE_F32, t->cols);
    espl_free(graph->ctx, &copy);
    return status;
}

espl_status espl_tensor_write(espl_graph *graph, const espl_tensor *t, const float *values) {
    size_t item = espl_dtype_bytes(t->dtype), row = t->stride * item;
    unsigned char *copy;
    ESPL_TRY(espl_new(graph->ctx, (size_t)espl_tensor_bytes(t), &copy));
    for (uint32_t r = 0; r < t->rows; r++)
        espl_convert(values + (size_t)r * t->cols, ESPL_DTYPE_F32, copy + r * row, t->dtype, t->cols);
    espl_status status = espl_upload(graph->device, t->span, copy, espl_tensor_bytes(t));
    espl_free(graph->ctx, &copy);
    return status;
}

espl_status espl_graph_run(espl_graph *graph) {
    espl_ticket ticket;
    ESPL_TRY(espl_graph_plan(graph));
    ESPL_TRY(espl_graph_submit(graph, ESPL_PHASE_MICRO, &ticket));
    return espl_wait(espl_graph_device(graph), ticket);
}
