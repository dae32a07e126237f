/* Building: tensors and nodes in layers, all in memory that the graph frees as a whole. */
#include "host/graph/graph_private.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK_BYTES = 64 * 1024 };

typedef struct chunk {
    struct chunk *next;
    _Alignas(16) unsigned char data[];
} chunk;

espl_status espl_graph_memory(espl_graph *graph, size_t bytes, void *out_pointer) {
    void *none = NULL;
    memcpy(out_pointer, &none, sizeof none);
    bytes = (size_t)espl_round_up(bytes ? bytes : 1, 16);
    if (graph->chunk_used + bytes > graph->chunk_bytes) {
        size_t size = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        chunk *made;
        ESPL_TRY(espl_new(graph->ctx, sizeof *made + size, &made));
        made->next = graph->chunks;
        graph->chunks = made;
        graph->chunk_bytes = size;
        graph->chunk_used = 0;
    }
    void *block = ((chunk *)graph->chunks)->data + graph->chunk_used;
    graph->chunk_used += bytes;
    memcpy(out_pointer, &block, sizeof block);
    return ESPL_OK;
}

static espl_status copy_name(espl_graph *graph, const char *name, const char **out_name) {
    size_t bytes = strlen(name) + 1;
    char *copy;
    ESPL_TRY(espl_graph_memory(graph, bytes, &copy));
    memcpy(copy, name, bytes);
    *out_name = copy;
    return ESPL_OK;
}

espl_status espl_graph_create(espl_device *device, const char *name, espl_graph **out_graph) {
    *out_graph = NULL;
    espl_context *ctx = espl_device_context(device);
    espl_graph *graph;
    ESPL_TRY(espl_new(ctx, sizeof *graph, &graph));
    graph->device = device;
    graph->ctx = ctx;
    espl_arena_init(&graph->step_arena, device, ESPL_ARENA_STATE, "step buffer");
    espl_arena_init(&graph->staging_arena, device, ESPL_ARENA_STAGING, "step buffer slots");
    espl_arena_init(&graph->activation_arena, device, ESPL_ARENA_ACTIVATIONS, "activations");
    espl_status status = copy_name(graph, name, &graph->name);
    if (status == ESPL_OK) {
        graph->step = espl_graph_step_leaf(graph, "step", 1, ESPL_STEP_WORDS, ESPL_DTYPE_I32);
        status = graph->status;
    }
    if (status != ESPL_OK) {
        espl_graph_destroy(&graph);
        return status;
    }
    *out_graph = graph;
    return ESPL_OK;
}

void espl_graph_destroy(espl_graph **in_out_graph) {
    espl_graph *graph = *in_out_graph;
    if (!graph) return;
    for (espl_layer *layer = graph->first_layer; layer; layer = layer->next) {
        espl_commands_destroy(&layer->commands);
        espl_commands_destroy(&layer->part);
    }
    espl_commands_destroy(&graph->part_copy);
    for (uint32_t i = 0; i < ESPL_STEP_SLOTS; i++) espl_commands_destroy(&graph->slot_copy[i]);
    for (uint32_t i = 0; i < ESPL_PHASE_COUNT; i++) espl_free(graph->ctx, &graph->lists[i]);
    espl_arena_finish(&graph->step_arena);
    espl_arena_finish(&graph->staging_arena);
    espl_arena_finish(&graph->activation_arena);
    espl_free(graph->ctx, &graph->step_shadow);
    for (chunk *c = graph->chunks; c;) {
        chunk *next = c->next;
        espl_free(graph->ctx, &c);
        c = next;
    }
    espl_free(graph->ctx, in_out_graph);
}

espl_device *espl_graph_device(const espl_graph *graph) {
    return graph->device;
}

espl_status espl_graph_status(const espl_graph *graph) {
    return graph->status;
}

void *espl_graph_fail(espl_graph *graph, espl_status status) {
    if (graph->status == ESPL_OK) graph->status = status;
    return NULL;
}

espl_status espl_graph_layer(espl_graph *graph, const char *name, espl_phase phase, bool recompute) {
    espl_layer *layer;
    espl_status status = espl_graph_memory(graph, sizeof *layer, &layer);
    if (status == ESPL_OK) status = copy_name(graph, name, &layer->name);
    if (status != ESPL_OK) {
        espl_graph_fail(graph, status);
        return status;
    }
    layer->phase = phase;
    layer->recompute = recompute;
    if (graph->last_layer) graph->last_layer->next = layer;
    else graph->first_layer = layer;
    graph->last_layer = graph->layer = layer;
    return ESPL_OK;
}

espl_tensor *espl_graph_tensor(espl_graph *graph, espl_role role, const char *name, uint32_t rows, uint32_t cols,
                               uint32_t stride, espl_dtype dtype) {
    if (graph->status != ESPL_OK) return NULL;
    if (rows == 0 || cols == 0 || cols > UINT32_MAX - 4)
        return espl_graph_fail(graph, espl_fail(graph->ctx, ESPL_ARGUMENT, "%s: a tensor of %u x %u is not possible",
                                                name, rows, cols));
    espl_tensor *t;
    espl_status status = espl_graph_memory(graph, sizeof *t, &t);
    if (status == ESPL_OK) status = copy_name(graph, name, &t->name);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    t->rows = rows;
    t->cols = cols;
    t->stride = stride ? stride : (uint32_t)espl_round_up(cols, 4);
    t->dtype = dtype;
    t->role = role;
    t->needs_grad = role == ESPL_ROLE_PARAMETER;
    if (graph->last_tensor) graph->last_tensor->next = t;
    else graph->first_tensor = t;
    graph->last_tensor = t;
    return t;
}

uint64_t espl_tensor_bytes(const espl_tensor *t) {
    return (uint64_t)t->rows * t->stride * espl_dtype_bytes(t->dtype);
}

espl_tensor *espl_tensor_root(espl_tensor *t) {
    while (t->base) t = t->base;
    return t;
}

espl_tensor *espl_graph_leaf(espl_graph *graph, espl_role role, const char *name, uint32_t rows, uint32_t cols,
                             uint32_t stride, espl_dtype dtype, espl_span span) {
    assert(role != ESPL_ROLE_VALUE && role != ESPL_ROLE_STEP);
    espl_tensor *t = espl_graph_tensor(graph, role, name, rows, cols, stride, dtype);
    if (!t) return NULL;
    if (t->stride % 4 || t->stride < cols || span.bytes < espl_tensor_bytes(t))
        return espl_graph_fail(graph, espl_fail(graph->ctx, ESPL_ARGUMENT,
                                                "%s: %u rows of stride %u and %u columns do not fit %llu bytes", name, rows,
                                                t->stride, cols, (unsigned long long)span.bytes));
    t->span = span;
    return t;
}

void espl_graph_parameter_grad(espl_graph *graph, espl_tensor *parameter, espl_span grad) {
    if (!parameter || graph->status != ESPL_OK) return;
    char name[160];
    snprintf(name, sizeof name, "d %s", parameter->name);
    parameter->grad = espl_graph_leaf(graph, ESPL_ROLE_STATE, name, parameter->rows, parameter->cols, parameter->stride,
                                      ESPL_DTYPE_F32, grad);
}

espl_tensor *espl_graph_step_leaf(espl_graph *graph, const char *name, uint32_t rows, uint32_t cols, espl_dtype dtype) {
    espl_tensor *t = espl_graph_tensor(graph, ESPL_ROLE_STEP, name, rows, cols, 0, dtype);
    if (!t) return NULL;
    t->plan_offset = graph->step_bytes;
    graph->step_bytes += espl_round_up(espl_tensor_bytes(t), 256);
    espl_status status = espl_resize(graph->ctx, &graph->step_shadow, (size_t)graph->step_bytes);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    memset(graph->step_shadow + t->plan_offset, 0, (size_t)(graph->step_bytes - t->plan_offset));
    return t;
}

espl_tensor *espl_graph_step(espl_graph *graph) {
    return graph->step;
}

espl_tensor *espl_graph_value(espl_graph *graph, const char *name, uint32_t rows, uint32_t cols, espl_dtype dtype) {
    return espl_graph_tensor(graph, ESPL_ROLE_VALUE, name, rows, cols, 0, dtype);
}

void espl_graph_value_dtype(espl_graph *graph, espl_dtype dtype) {
    graph->value_dtype = dtype;
}

espl_tensor *espl_graph_output(espl_graph *graph, const char *name, uint32_t rows, uint32_t cols) {
    return espl_graph_value(graph, name, rows, cols, graph->value_dtype);
}

espl_tensor *espl_graph_scratch(espl_graph *graph, const char *name, uint32_t rows, uint32_t cols) {
    return espl_graph_value(graph, name, rows, cols, ESPL_DTYPE_F32);
}

espl_tensor *espl_graph_update(espl_graph *graph, espl_tensor *t) {
    if (!t) return NULL;
    espl_tensor *updated = espl_graph_tensor(graph, t->role, t->name, t->rows, t->cols, t->stride, t->dtype);
    if (!updated) return NULL;
    updated->base = t;
    t->updated = true;
    updated->span = t->span;
    updated->needs_grad = t->needs_grad;
    return updated;
}

espl_status espl_graph_node(espl_graph *graph, const espl_op *op, espl_tensor *const *in, uint32_t in_count,
                            espl_tensor *const *out, uint32_t out_count, const void *attribute, size_t attribute_bytes) {
    if (graph->status != ESPL_OK) return graph->status;
    assert(in_count <= ESPL_INPUTS_MAX && out_count <= ESPL_OUTPUTS_MAX && attribute_bytes <= ESPL_ATTRIBUTE_BYTES);
    espl_status status = ESPL_OK;
    espl_node *node = NULL;
    if (graph->planned || !graph->layer)
        status = espl_fail(graph->ctx, ESPL_INTERNAL, "%s: a node was added %s", op->name,
                           graph->planned ? "after the plan" : "before the first layer");
    if (status == ESPL_OK) status = espl_graph_memory(graph, sizeof *node, &node);
    if (status != ESPL_OK) {
        espl_graph_fail(graph, status);
        return status;
    }
    node->op = op;
    bool needs_grad = false;
    for (uint32_t i = 0; i < in_count; i++) {
        node->in[i] = in[i];
        needs_grad |= in[i] && in[i]->needs_grad;
    }
    for (uint32_t i = 0; i < out_count; i++) {
        node->out[i] = out[i];
        if (!out[i]) continue;
        if (out[i]->role == ESPL_ROLE_VALUE) {
            out[i]->needs_grad = needs_grad && op->vjp;
            out[i]->producer = node;
        }
    }
    if (attribute_bytes) memcpy(node->attribute, attribute, attribute_bytes);
    espl_layer *layer = graph->layer;
    node->previous = layer->last;
    if (layer->last) layer->last->next = node;
    else layer->first = node;
    layer->last = node;
    return ESPL_OK;
}

uint32_t espl_graph_count_nodes(const espl_graph *graph, const char *op_name) {
    uint32_t count = 0;
    for (const espl_layer *layer = graph->first_layer; layer; layer = layer->next) {
        for (const espl_node *node = layer->first; node; node = node->next) count += strcmp(node->op->name, op_name) == 0;
    }
    return count;
}

static espl_status print_tensor(const espl_graph *graph, espl_bytes *text, const char *before, const espl_tensor *t) {
    if (!t) return ESPL_OK;
    return espl_bytes_print(graph->ctx, text, "%s%s[%u,%u]", before, t->name, t->rows, t->cols);
}

espl_status espl_graph_print(const espl_graph *graph, espl_bytes *text) {
    for (const espl_layer *layer = graph->first_layer; layer; layer = layer->next) {
        ESPL_TRY(espl_bytes_print(graph->ctx, text, "%s:\n", layer->name));
        for (const espl_node *node = layer->first; node; node = node->next) {
            ESPL_TRY(espl_bytes_print(graph->ctx, text, "  %-16s", node->op->name));
            for (uint32_t i = 0; i < ESPL_OUTPUTS_MAX; i++) ESPL_TRY(print_tensor(graph, text, " ", node->out[i]));
            ESPL_TRY(espl_bytes_print(graph->ctx, text, " <-"));
            for (uint32_t i = 0; i < ESPL_INPUTS_MAX; i++) ESPL_TRY(print_tensor(graph, text, " ", node->in[i]));
            ESPL_TRY(espl_bytes_print(graph->ctx, text, "\n"));
        }
    }
    return ESPL_OK;
}
