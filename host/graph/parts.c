/* A phase in parts: some of its layers now and the rest later, or layer by layer in a host program's command buffer. */
#include "host/graph/graph_private.h"
#include <math.h>
#include <string.h>

/* ---- Within a budget ---- */

/* The list of a phase is the step buffer's copy and its layers. */
bool espl_graph_is_submitted(const espl_graph *graph, espl_phase phase, const espl_mark *mark) {
    return mark->commands == graph->list_counts[phase] + 1;
}

espl_status espl_graph_submit_some(espl_graph *graph, espl_phase phase, espl_budget *budget, espl_mark *in_out_mark,
                                   espl_ticket *out_ticket) {
    if (!graph->recorded || graph->status != ESPL_OK)
        return espl_fail(graph->ctx, ESPL_ARGUMENT, "%s: submitted without a plan", graph->name);
    const uint32_t slot = graph->slot_next;
    const bool first = in_out_mark->commands == 0;
    if (graph->list_counts[phase] == 0) in_out_mark->commands = 1;
    if (first) {
        if (budget->left_ms < INFINITY && !espl_is_done(graph->device, graph->slot_ticket[slot])) return ESPL_OK;
        ESPL_TRY(espl_wait(graph->device, graph->slot_ticket[slot]));
        memcpy(espl_span_host(graph->slot_span[slot]), graph->step_shadow, (size_t)graph->step_bytes);
        graph->lists[phase][0] = graph->slot_copy[slot];
    }
    ESPL_TRY(espl_submit_some(graph->device, graph->lists[phase], graph->list_counts[phase] + 1, budget, in_out_mark,
                              out_ticket));
    if (first && in_out_mark->commands > 0) {
        graph->slot_ticket[slot] = *out_ticket;
        graph->slot_next = (slot + 1) % ESPL_STEP_SLOTS;
    }
    return ESPL_OK;
}

double espl_graph_longest_milliseconds(const espl_graph *graph, espl_phase phase) {
    double longest = -1;
    for (size_t i = 1; i <= graph->list_counts[phase]; i++)
        longest = fmax(longest, espl_commands_longest_milliseconds(graph->lists[phase][i]));
    return longest;
}

/* ---- In a host program's command buffer ---- */

static espl_status need_step_part(espl_graph *graph) {
    if (!graph->part_slot.block)
        ESPL_TRY(espl_arena_take(&graph->staging_arena, graph->step_bytes, &graph->part_slot));
    if (graph->part_copy) return ESPL_OK;
    espl_status status = espl_step_record(graph, graph->part_slot, ESPL_COMMANDS_PART, &graph->part_copy);
    if (status != ESPL_OK) espl_commands_destroy(&graph->part_copy);
    return status;
}

static espl_status need_part(espl_graph *graph, espl_layer *layer) {
    if (layer->part) return ESPL_OK;
    espl_status status = espl_layer_record(graph, layer, ESPL_COMMANDS_PART, &layer->part);
    if (status != ESPL_OK) espl_commands_destroy(&layer->part);
    return status;
}

espl_status espl_graph_append(espl_graph *graph, espl_phase phase, uint32_t layer, void *command_buffer) {
    espl_layer *at = graph->first_layer;
    for (uint32_t i = 0; at; at = at->next) {
        if (at->phase != phase || !at->commands) continue;
        if (i++ == layer) break;
    }
    if (!at)
        return espl_fail(graph->ctx, ESPL_ARGUMENT, "%s has %u layers, there is no number %u", graph->name,
                         espl_graph_layers(graph, phase), layer);
    ESPL_TRY(need_part(graph, at));
    if (layer == 0) {
        ESPL_TRY(need_step_part(graph));
        ESPL_TRY(espl_commands_append(graph->part_copy, command_buffer));
    }
    return espl_commands_append(at->part, command_buffer);
}

espl_status espl_graph_set_appended_step(espl_graph *graph) {
    ESPL_TRY(need_step_part(graph));
    memcpy(espl_span_host(graph->part_slot), graph->step_shadow, (size_t)graph->step_bytes);
    return ESPL_OK;
}
