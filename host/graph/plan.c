/* The plan: which nodes are needed, and where each value lives. Values whose lifetimes do not overlap share memory. */
#include "host/graph/graph_private.h"
#include <stdlib.h>

static bool is_lasting(espl_tensor *t) {
    espl_tensor *root = espl_tensor_root(t);
    return root->role == ESPL_ROLE_STATE || root->role == ESPL_ROLE_PARAMETER || t->keep || root->keep;
}

static void unlink_node(espl_layer *layer, espl_node *node) {
    if (node->previous) node->previous->next = node->next;
    else layer->first = node->next;
    if (node->next) node->next->previous = node->previous;
    else layer->last = node->previous;
}

/* Backwards over one layer: a node stays if it changes something lasting or something a later node reads. The mark on a
 * root is first_use = 1. */
static void drop_dead_in(espl_layer *layer) {
    for (espl_node *node = layer->last, *before; node; node = before) {
        before = node->previous;
        bool needed = false;
        for (uint32_t i = 0; i < ESPL_OUTPUTS_MAX; i++)
            needed |= node->out[i] && (is_lasting(node->out[i]) || espl_tensor_root(node->out[i])->first_use);
        if (!needed) {
            unlink_node(layer, node);
            continue;
        }
        for (uint32_t i = 0; i < ESPL_INPUTS_MAX; i++) {
            if (node->in[i]) espl_tensor_root(node->in[i])->first_use = 1;
        }
    }
}

static void drop_dead_from(espl_layer *layer) {
    if (!layer) return;
    drop_dead_from(layer->next);
    drop_dead_in(layer);
}

void espl_plan_drop_dead(espl_graph *graph) {
    for (espl_layer *layer = graph->first_layer; layer; layer = layer->next) {
        for (espl_node *node = layer->first; node; node = node->next) {
            if (node->op->fuse) node->op->fuse(graph, node);
        }
    }
    for (espl_tensor *t = graph->first_tensor; t; t = t->next) t->first_use = 0;
    drop_dead_from(graph->first_layer);
}

static void touch(espl_tensor *t, uint32_t index) {
    espl_tensor *root = espl_tensor_root(t);
    if (index < root->first_use) root->first_use = index;
    if (index > root->last_use) root->last_use = index;
    root->keep |= t->keep;
}

/* Nodes are numbered in the order they run. */
static uint32_t number_nodes(espl_graph *graph) {
    uint32_t index = 0;
    for (int phase = 0; phase < ESPL_PHASE_COUNT; phase++) {
        for (espl_layer *layer = graph->first_layer; layer; layer = layer->next) {
            if ((int)layer->phase != phase) continue;
            for (espl_node *node = layer->first; node; node = node->next, index++) {
                node->index = index;
                for (uint32_t i = 0; i < ESPL_INPUTS_MAX; i++) {
                    if (node->in[i]) touch(node->in[i], index);
                }
                for (uint32_t i = 0; i < ESPL_OUTPUTS_MAX; i++) {
                    if (node->out[i]) touch(node->out[i], index);
                }
            }
        }
    }
    return index;
}

static int by_falling_size(const void *a, const void *b) {
    const espl_tensor *const *left = a, *const *right = b;
    if ((*left)->plan_bytes != (*right)->plan_bytes) return (*left)->plan_bytes < (*right)->plan_bytes ? 1 : -1;
    return (*left)->first_use < (*right)->first_use ? -1 : (*left)->first_use > (*right)->first_use;
}

/* The offset itself, or the next piece where t would lie across the end of one. */
static uint64_t within_piece(uint64_t offset, const espl_tensor *t, uint64_t piece) {
    return offset % piece + t->plan_bytes > piece ? espl_round_up(offset, piece) : offset;
}

/* Largest first, each at the lowest offset that is free during its whole life. placed is ordered by offset. */
static void place_one(espl_tensor *t, espl_tensor **placed, size_t placed_count, uint64_t piece) {
    uint64_t offset = 0;
    size_t i;
    for (i = 0; i < placed_count; i++) {
        const espl_tensor *other = placed[i];
        if (other->last_use < t->first_use || t->last_use < other->first_use) continue;
        if (other->plan_offset >= offset + t->plan_bytes) break;
        if (other->plan_offset + other->plan_bytes > offset)
            offset = within_piece(other->plan_offset + other->plan_bytes, t, piece);
    }
    t->plan_offset = offset;
    for (i = placed_count; i > 0 && placed[i - 1]->plan_offset > offset; i--) placed[i] = placed[i - 1];
    placed[i] = t;
}

/* What one device allocation holds. A value that is larger makes it larger, and the arena says that it does not fit. */
static uint64_t piece_bytes(const espl_graph *graph, uint64_t largest) {
    const uint64_t piece = espl_device_capabilities(graph->device)->allocation_bytes_max / 256 * 256;
    return piece > largest ? piece : largest;
}

/* All memory in as few allocations as the device allows; mostly one. */
static espl_status allocate(espl_graph *graph) {
    const espl_graph *shared = graph->shared;
    if (shared && shared->piece_bytes == graph->piece_bytes && shared->activation_bytes >= graph->activation_bytes) {
        graph->pieces = shared->pieces;
        return ESPL_OK;
    }
    const uint64_t count = graph->activation_bytes / graph->piece_bytes + (graph->activation_bytes % graph->piece_bytes != 0);
    ESPL_TRY(espl_graph_memory(graph, (size_t)count * sizeof *graph->pieces, &graph->pieces));
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t left = graph->activation_bytes - i * graph->piece_bytes;
        ESPL_TRY(espl_arena_take(&graph->activation_arena, left < graph->piece_bytes ? left : graph->piece_bytes,
                                 &graph->pieces[i]));
    }
    return ESPL_OK;
}

espl_status espl_plan_place(espl_graph *graph) {
    size_t count = 0;
    for (espl_tensor *t = graph->first_tensor; t; t = t->next) {
        t->first_use = UINT32_MAX;
        t->last_use = 0;
    }
    uint32_t end = number_nodes(graph);
    for (espl_tensor *t = graph->first_tensor; t; t = t->next) {
        t->plan_bytes = espl_round_up(espl_tensor_bytes(t), 256);
        if (t->keep) t->last_use = end;
        count += t->role == ESPL_ROLE_VALUE && !t->base && t->first_use != UINT32_MAX;
    }
    espl_tensor **order;
    ESPL_TRY(espl_graph_memory(graph, 2 * (count + 1) * sizeof *order, &order));
    espl_tensor **placed = order + count;
    size_t n = 0;
    for (espl_tensor *t = graph->first_tensor; t; t = t->next) {
        if (t->role == ESPL_ROLE_VALUE && !t->base && t->first_use != UINT32_MAX) order[n++] = t;
    }
    qsort(order, count, sizeof *order, by_falling_size);
    graph->piece_bytes = piece_bytes(graph, count ? order[0]->plan_bytes : 0);
    graph->activation_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        place_one(order[i], placed, i, graph->piece_bytes);
        uint64_t last = order[i]->plan_offset + order[i]->plan_bytes;
        if (last > graph->activation_bytes) graph->activation_bytes = last;
    }
    ESPL_TRY(allocate(graph));
    for (size_t i = 0; i < count; i++) {
        espl_tensor *t = order[i];
        t->span = espl_span_part(graph->pieces[t->plan_offset / graph->piece_bytes], t->plan_offset % graph->piece_bytes,
                                 t->plan_bytes);
    }
    return ESPL_OK;
}
