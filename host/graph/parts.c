/* A phase in parts: some of its layers now and the rest later, or layer by layer in a host program's command buffer. */
#include "host/graph/graph_private.h"
#include <math.h>
#include <string.h>

/* ---- Within a budget ---- */

static bool takes(espl_budget *budget, espl_commands *commands) {
    if (budget->left_ms == INFINITY) return true;
    const double ms = espl_commands_milliseconds(commands);
    const bool fits = ms >= 0 && ms <= budget->left_ms;
    if (!fits && budget->used) return false;
    budget->used = true;
    budget->left_ms = fits ? budget->left_ms - ms : 0;
    return true;
}

espl_status espl_graph_submit_some(espl_graph *graph, espl_phase phase, espl_budget *budget, uint32_t *in_out_next,
                                   espl_ticket *out_ticket) {
    if (!graph->planned || graph->status != ESPL_OK)
        return espl_fail(graph->ctx, ESPL_ARGUMENT, "%s: submitted without a plan", graph->name);
    const uint32_t slot = graph->slot_next, first = *in_out_next, count = espl_graph_layers(graph, phase);
    espl_commands **layers = graph->lists[phase] + 1;
    if (first == 0) {
        if (budget->left_ms < INFINITY && !espl_is_done(graph->device, graph->slot_ticket[slot])) return ESPL_OK;
        ESPL_TRY(espl_wait(graph->device, graph->slot_ticket[slot]));
    }
    uint32_t end = first;
    while (end < count && takes(budget, layers[end])) end++;
    if (end == first) return ESPL_OK;
    if (first == 0) {
        memcpy(espl_span_host(graph->slot_span[slot]), graph->step_shadow, (size_t)graph->step_bytes);
        graph->lists[phase][0] = graph->slot_copy[slot];
    }
    /* The copy lies before the first layer. */
    const uint32_t copy = first == 0;
    ESPL_TRY(espl_submit(graph->device, layers + first - copy, end - first + copy, out_ticket));
    if (copy) {
        graph->slot_ticket[slot] = *out_ticket;
        graph->slot_next = (slot + 1) % ESPL_STEP_SLOTS;
    }
    *in_out_next = end;
    return ESPL_OK;
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
