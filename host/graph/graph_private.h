/* What the files of this folder share. */
#ifndef ESPL_GRAPH_PRIVATE_H
#define ESPL_GRAPH_PRIVATE_H

#include "host/graph/graph.h"

/* One command buffer's worth of nodes. */
typedef struct espl_layer {
    const char *name;
    espl_phase phase;
    bool recompute;
    espl_node *first, *last;
    espl_commands *commands; /* owned; NULL if no node is left in it */
    espl_commands *part;     /* owned; the same for a host's command buffer, NULL until asked for */
    struct espl_layer *next;
} espl_layer;

struct espl_graph {
    espl_device *device; /* borrowed */
    espl_context *ctx;   /* borrowed */
    const char *name;
    espl_status status;
    void *chunks; /* owned list of host memory that lives as long as the graph */
    size_t chunk_used, chunk_bytes;

    espl_layer *first_layer, *last_layer, *layer;
    espl_tensor *first_tensor, *last_tensor;
    double piece_ms; /* as espl_graph_cut; 0: not in pieces */
    bool planned, recorded;
    espl_dtype value_dtype;

    espl_tensor *step;
    uint64_t step_bytes;
    unsigned char *step_shadow; /* owned; what the host writes */
    espl_arena step_arena, staging_arena, activation_arena;
    espl_span step_span, slot_span[ESPL_STEP_SLOTS];
    espl_commands *slot_copy[ESPL_STEP_SLOTS]; /* owned */
    espl_ticket slot_ticket[ESPL_STEP_SLOTS];
    uint32_t slot_next;
    espl_span part_slot;      /* of appended layers */
    espl_commands *part_copy; /* owned; NULL until asked for */

    /* Per phase: room for the slot's copy, then the layers' commands. */
    espl_commands **lists[ESPL_PHASE_COUNT]; /* owned */
    size_t list_counts[ESPL_PHASE_COUNT];
    uint64_t activation_bytes, piece_bytes; /* in pieces of so many bytes, each an allocation */
    espl_span *pieces;                      /* borrowed memory of the graph, or of the one that is shared */
    const espl_graph *shared;               /* borrowed or NULL */
};

espl_tensor *espl_graph_tensor(espl_graph *graph, espl_role role, const char *name, uint32_t rows, uint32_t cols,
                               uint32_t stride, espl_dtype dtype);
/* The tensor that owns the memory. */
espl_tensor *espl_tensor_root(espl_tensor *t);
uint64_t espl_tensor_bytes(const espl_tensor *t);

/* plan.c */
void espl_plan_drop_dead(espl_graph *graph);
espl_status espl_plan_place(espl_graph *graph);

/* run.c */
espl_status espl_layer_record(espl_graph *graph, const espl_layer *layer, espl_commands_kind kind,
                              espl_commands **out_commands);
/* From a slot to where the device reads the step buffer. */
espl_status espl_step_record(espl_graph *graph, espl_span slot, espl_commands_kind kind, espl_commands **out_commands);

#endif
