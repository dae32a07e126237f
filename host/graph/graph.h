/* A program for the device: tensors, and nodes (an op with its inputs and outputs) in layers. Built once, differentiated
 * once, planned once, recorded once per layer; then submitted any number of times.
 *
 *   espl_graph_create -> leaf tensors, layers of nodes -> espl_graph_backward -> espl_graph_plan (memory, recording)
 *                     -> write the step buffer, espl_graph_submit, ... -> espl_graph_destroy
 *
 * Builders (espl_graph_..., and each op's own in host/ops/op_<op>.h) return NULL after a failure and accept NULL inputs by
 * returning NULL; the first failure is kept and returned by espl_graph_status, so that a model reads as its formula. */
#ifndef ESPL_GRAPH_H
#define ESPL_GRAPH_H

#include "host/gpu/gpu.h"
#include "shaders/lib/step.h"

enum { ESPL_INPUTS_MAX = 9, ESPL_OUTPUTS_MAX = 5, ESPL_ATTRIBUTE_BYTES = 128, ESPL_STEP_SLOTS = 4 };

typedef struct espl_graph espl_graph;
typedef struct espl_node espl_node;
typedef struct espl_tensor espl_tensor;

typedef enum espl_role {
    ESPL_ROLE_VALUE,     /* written by a node; memory is planned and reused */
    ESPL_ROLE_WEIGHT,    /* frozen; memory given by the maker */
    ESPL_ROLE_PARAMETER, /* trainable, f32; memory and gradient memory given by the maker */
    ESPL_ROLE_STATE,     /* memory given by the maker, read and written by nodes: caches, gradients, counters */
    ESPL_ROLE_STEP       /* in the step buffer: the host writes it before each submission */
} espl_role;

/* A matrix of rows x cols, row-major. A vector is one row. Rows start every stride elements; stride is a multiple of 4 and
 * the elements between cols and stride are undefined (they may be NaN): never read into a result, never written but by
 * 16-bit stores of a row's last quad. */
struct espl_tensor {
    const char *name; /* owned by the graph; debug and messages */
    uint32_t rows, cols, stride;
    espl_dtype dtype;
    espl_role role;
    espl_span span;      /* VALUE and STEP: set by espl_graph_plan */
    espl_tensor *base;   /* not NULL: this is base's memory after a node updated it in place */
    espl_node *producer; /* NULL for leaves */
    bool needs_grad;     /* a PARAMETER, or computed from one */
    bool keep;           /* VALUE that the host reads after the submission: memory is not reused */
    bool updated;        /* a node changes this memory in place: it does not stay what it was */
    /* Private to host/graph. */
    espl_tensor *grad;
    uint32_t grad_slices[16]; /* columns of grad already written: from, count pairs */
    uint32_t grad_slice_count;
    espl_tensor *clone; /* stand-in while a layer is recomputed */
    uint64_t plan_offset, plan_bytes;
    uint32_t first_use, last_use;
    espl_tensor *next;
};

/* An operation: one row per op, in host/ops/op_<op>.c. */
typedef struct espl_op {
    const char *name;
    /* Adds the dispatches of a planned node (all spans are set). */
    espl_status (*record)(espl_graph *graph, espl_commands *commands, const espl_node *node);
    /* Adds nodes that give the gradients of the inputs which want one (espl_grad_wanted), from espl_grad_of(outputs).
     * NULL: no input can have a gradient. */
    espl_status (*vjp)(espl_graph *graph, const espl_node *node);
    /* May read what the producers of its inputs read and so do their work too; called by espl_graph_plan before nodes that
     * nobody needs are dropped. An input so skipped must not be one that a node updates in place. NULL: never. */
    void (*fuse)(espl_graph *graph, espl_node *node);
} espl_op;

struct espl_node {
    const espl_op *op;
    espl_tensor *in[ESPL_INPUTS_MAX]; /* NULL where optional and absent */
    espl_tensor *out[ESPL_OUTPUTS_MAX];
    _Alignas(8) unsigned char attribute[ESPL_ATTRIBUTE_BYTES]; /* the op's own struct, by memcpy */
    espl_node *next, *previous;
    uint32_t index;
};

/* When the nodes of a layer run. A training step is BEGIN, MICRO for each micro-batch, END. Inference uses MICRO alone. */
typedef enum espl_phase { ESPL_PHASE_BEGIN, ESPL_PHASE_MICRO, ESPL_PHASE_END, ESPL_PHASE_COUNT } espl_phase;

/* ---- Building ---- */

/* name is for messages. Fails: HOST_MEMORY. */
espl_status espl_graph_create(espl_device *device, const char *name, espl_graph **out_graph);
/* Frees its memory when nothing submitted uses it. Takes and clears; NULL is accepted. */
void espl_graph_destroy(espl_graph **graph);
espl_device *espl_graph_device(const espl_graph *graph);
/* The first failure of a builder, or OK. */
espl_status espl_graph_status(const espl_graph *graph);
/* Zeroed host memory that lives as long as the graph. */
espl_status espl_graph_memory(espl_graph *graph, size_t bytes, void *out_pointer);
/* Keeps status as the graph's failure if it is the first, returns NULL: for builders. */
void *espl_graph_fail(espl_graph *graph, espl_status status);

/* Nodes added from now on belong to this layer: one command buffer. recompute: drop the values made in it after the
 * forward pass and compute them again in the backward pass. */
espl_status espl_graph_layer(espl_graph *graph, const char *name, espl_phase phase, bool recompute);

/* Leaves. stride 0 means cols rounded up to 4. For WEIGHT, PARAMETER, STATE span is at least rows * stride values. */
espl_tensor *espl_graph_leaf(espl_graph *graph, espl_role role, const char *name, uint32_t rows, uint32_t cols,
                             uint32_t stride, espl_dtype dtype, espl_span span);
/* The memory that the gradient of a PARAMETER is added to; the maker zeroes it in phase BEGIN. */
void espl_graph_parameter_grad(espl_graph *graph, espl_tensor *parameter, espl_span grad);
/* In the step buffer. The first one, "step", is made by the graph: see espl_graph_step. */
espl_tensor *espl_graph_step_leaf(espl_graph *graph, const char *name, uint32_t rows, uint32_t cols, espl_dtype dtype);
/* [1, ESPL_STEP_WORDS] words named in shaders/lib/step.h. */
espl_tensor *espl_graph_step(espl_graph *graph);

/* The dtype of what forward operators make from now on (espl_graph_output): F32, which is the default, F16 or BF16. A tensor's
 * own dtype is what counts afterwards, and operators take operands of each. Gradients, statistics and losses are F32. */
void espl_graph_value_dtype(espl_graph *graph, espl_dtype dtype);

/* What the host reads after each submission of this layer: returns the tensor whose memory it reads, which is t itself
 * where the host can map device memory, else a copy that the layer makes. See espl_graph_host. */
espl_tensor *espl_graph_to_host(espl_graph *graph, espl_tensor *t);

/* ---- For op builders ---- */

espl_tensor *espl_graph_value(espl_graph *graph, const char *name, uint32_t rows, uint32_t cols, espl_dtype dtype);
/* The result of a forward operator: of the graph's value dtype. What is 16 bits wide may be stored in whole quads, so that
 * up to three elements behind cols are written. */
espl_tensor *espl_graph_output(espl_graph *graph, const char *name, uint32_t rows, uint32_t cols);
/* The memory of t after the node being built has updated it; t itself is not to be used by later nodes. */
espl_tensor *espl_graph_update(espl_graph *graph, espl_tensor *t);
/* Appends to the current layer. in and out are copied (NULL-padded); attribute is copied. Outputs get producer and
 * needs_grad (true if an input needs it and op->vjp exists). */
espl_status espl_graph_node(espl_graph *graph, const espl_op *op, espl_tensor *const *in, uint32_t in_count,
                            espl_tensor *const *out, uint32_t out_count, const void *attribute, size_t attribute_bytes);
/* Scratch memory that lives while this node runs: an extra VALUE output that nobody reads. */
espl_tensor *espl_graph_scratch(espl_graph *graph, const char *name, uint32_t rows, uint32_t cols);

/* ---- For vjp functions ---- */

/* The input has a place for a gradient and something trainable below it. NULL: false. */
bool espl_grad_wanted(const espl_tensor *input);
/* Gradient of an output, or NULL if nothing downstream uses that output. */
espl_tensor *espl_grad_of(const espl_tensor *output);
/* Where to write the gradient of columns [from, from + count) of input (count 0: all). *out_accumulate says that the node
 * must add to what is there. The returned tensor is an update of the gradient: pass it as output, and (if accumulating) as
 * input too, of the node that writes it. */
espl_tensor *espl_grad_target(espl_graph *graph, espl_tensor *input, uint32_t from, uint32_t count, bool *out_accumulate);
/* The gradient of input is (plus) that of output, unchanged: memory is shared where possible, else an add is made. Call
 * it after all nodes of this vjp that read the gradient of output. */
espl_status espl_grad_pass(espl_graph *graph, const espl_tensor *output, espl_tensor *input);
/* Use this tensor, which a forward node computed, as the gradient of input (loss nodes). */
espl_status espl_grad_give(espl_graph *graph, espl_tensor *input, espl_tensor *gradient);

/* The two nodes that differentiation itself needs. to = from, or to += from: defined in host/ops/op_add.c. Zeros in columns
 * [from, from + count) of t, which is an update: defined in host/ops/op_fill.c. */
espl_status espl_graph_accumulate(espl_graph *graph, espl_tensor *from, espl_tensor *to, bool accumulate);
espl_status espl_graph_zero(espl_graph *graph, espl_tensor *t, uint32_t from, uint32_t count);

/* Adds backward layers for everything built so far in phase MICRO. loss: a tensor whose producer gives gradients itself
 * (espl_grad_give in its vjp). Layers below the lowest parameter get none. */
espl_status espl_graph_backward(espl_graph *graph, espl_tensor *loss);

/* ---- Planning and running ---- */

/* Before the plan: layers are recorded in timed pieces of at most so many milliseconds, as espl_graph_submit_some needs them to
 * keep to a budget. */
void espl_graph_cut(espl_graph *graph, double piece_ms);
/* Before the plan: activations may lie in the memory of those of `other`, which is planned already, outlives this graph and has
 * nothing to be read by the host when this one runs. Where they do not fit there they get memory of their own. */
void espl_graph_share(espl_graph *graph, const espl_graph *other);
/* Drops nodes nobody needs, lays out activations, allocates. Nothing can be built after it; called twice it does nothing.
 * Fails: DEVICE_MEMORY with the number of bytes the plan needs. */
espl_status espl_graph_place(espl_graph *graph);
/* Places the graph if that is not done, and records every layer in the order in which they run, for which the device compiles
 * the kernels it has not: what takes long where none were kept. Called twice it does nothing. Fails: as espl_graph_place. */
espl_status espl_graph_plan(espl_graph *graph);
/* Layers of a phase that the plan left something in. */
uint32_t espl_graph_layers(const espl_graph *graph, espl_phase phase);

/* Memory for a STEP tensor on the host: valid until destroy, read by the next espl_graph_submit. */
void *espl_graph_step_pointer(espl_graph *graph, const espl_tensor *step_tensor);
/* The memory of a tensor from espl_graph_to_host, rows every `stride` elements: valid once the submission is done, until
 * the next one. */
const void *espl_graph_host(const espl_tensor *t);
/* Copies the step buffer as it is now and submits the layers of a phase. Does not block unless ESPL_STEP_SLOTS
 * submissions are in flight. Records nothing, allocates nothing. */
espl_status espl_graph_submit(espl_graph *graph, espl_phase phase, espl_ticket *out_ticket);

/* Plans the graph, submits phase MICRO and waits for it: for what is computed once. */
espl_status espl_graph_run(espl_graph *graph);

/* espl_graph_submit a few pieces at a time: those behind the mark that fit the budget. The step buffer is read with the
 * first, and the phases of one graph must not overlap. *out_ticket is kept if nothing is submitted. Does not block unless
 * the budget is INFINITY. */
espl_status espl_graph_submit_some(espl_graph *graph, espl_phase phase, espl_budget *budget, espl_mark *in_out_mark,
                                   espl_ticket *out_ticket);
bool espl_graph_is_submitted(const espl_graph *graph, espl_phase phase, const espl_mark *mark);

/* A layer of a phase inside a host program's command buffer, as espl_commands_append; the first brings the step buffer with
 * it. Recorded when first asked for, kept with the graph. */
espl_status espl_graph_append(espl_graph *graph, espl_phase phase, uint32_t layer, void *command_buffer);
/* The step buffer as it is now is what appended layers read from the host's next submission on; none may be running. */
espl_status espl_graph_set_appended_step(espl_graph *graph);

/* Milliseconds of the longest piece of a phase in its newest run; negative where nothing is timed. */
double espl_graph_longest_milliseconds(const espl_graph *graph, espl_phase phase);

uint64_t espl_graph_activation_bytes(const espl_graph *graph);
/* Nodes of one op after planning (tests: "no weight gradient of the base is computed"). */
uint32_t espl_graph_count_nodes(const espl_graph *graph, const char *op_name);
/* One line per node into text, for people and tests. */
espl_status espl_graph_print(const espl_graph *graph, espl_bytes *text);

/* Host <-> a planned tensor, without row padding, converting to f32. Blocking; for tests, loading, saving. */
espl_status espl_tensor_read(espl_graph *graph, const espl_tensor *t, float *out_values);
espl_status espl_tensor_write(espl_graph *graph, const espl_tensor *t, const float *values);

#endif
