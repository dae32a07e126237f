/* Test-only operators: a wire copies, a seed gives gradients as a loss would. */
#include "tests/ops/harness_private.h"
#include <string.h>

static espl_status record_copies(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    (void)graph;
    for (size_t i = 0; i < ESPL_OUTPUTS_MAX && node->out[i]; i++)
        ESPL_TRY(espl_commands_copy(commands, op_span_of(node->in[i]), op_span_of(node->out[i])));
    return ESPL_OK;
}

static const espl_op espl_op_wire_bwd = {.name = "wire_bwd", .record = record_copies};

static struct {
    const espl_tensor *parameter, *gradient;
} wired[OP_LEAVES_MAX];
static size_t wired_count;

void op_wires_forget(void) {
    wired_count = 0;
}

const espl_tensor *op_wired_gradient(const espl_tensor *parameter) {
    for (size_t w = 0; w < wired_count; w++)
        if (wired[w].parameter == parameter) return wired[w].gradient;
    return NULL;
}

/* The parameter behind a wire has no other use, so its zeroed gradient can be overwritten. */
static espl_status wire_vjp(espl_graph *graph, const espl_node *node) {
    if (!espl_grad_wanted(node->in[0])) return ESPL_OK;
    if (node->in[0]->role != ESPL_ROLE_PARAMETER) return espl_grad_pass(graph, node->out[0], node->in[0]);
    bool accumulate;
    espl_tensor *gradient = espl_grad_of(node->out[0]);
    espl_tensor *target = espl_grad_target(graph, node->in[0], 0, 0, &accumulate);
    wired[wired_count].parameter = node->in[0], wired[wired_count++].gradient = gradient;
    return espl_graph_node(graph, &espl_op_wire_bwd, (espl_tensor *[]){gradient, target}, 2, (espl_tensor *[]){target},
                           1, NULL, 0);
}

static const espl_op espl_op_wire = {.name = "wire", .record = record_copies, .vjp = wire_vjp};

espl_tensor *op_wire(espl_graph *graph, espl_tensor *from, const char *name) {
    espl_tensor *to = espl_graph_value(graph, name, from->rows, from->cols, from->dtype);
    if (!to) return NULL;
    assert_int_equal(to->stride, from->stride);
    if (espl_graph_node(graph, &espl_op_wire, &from, 1, &to, 1, NULL, 0) != ESPL_OK) return NULL;
    return to;
}

typedef struct seed_attribute {
    uint32_t count;
} seed_attribute;

static espl_status seed_record(espl_graph *graph, espl_commands *commands, const espl_node *node) {
    seed_attribute attribute;
    (void)graph;
    memcpy(&attribute, node->attribute, sizeof attribute);
    for (uint32_t i = 0; i < attribute.count; i++)
        ESPL_TRY(espl_commands_copy(commands, op_span_of(node->in[i]), op_span_of(node->out[i])));
    return espl_commands_fill(commands, op_span_of(node->out[attribute.count]), 0);
}

static espl_status seed_vjp(espl_graph *graph, const espl_node *node) {
    seed_attribute attribute;
    memcpy(&attribute, node->attribute, sizeof attribute);
    for (uint32_t i = 0; i < attribute.count; i++) {
        espl_tensor *input = node->in[attribute.count + i];
        if (espl_grad_wanted(input)) ESPL_TRY(espl_grad_give(graph, input, node->out[i]));
    }
    return ESPL_OK;
}

static const espl_op espl_op_seed = {.name = "seed", .record = seed_record, .vjp = seed_vjp};

espl_status op_seed(espl_graph *graph, espl_tensor *const *in, espl_tensor *const *out, uint32_t count) {
    const seed_attribute attribute = {count};
    return espl_graph_node(graph, &espl_op_seed, in, 2 * count, out, count + 1, &attribute, sizeof attribute);
}
