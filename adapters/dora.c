/* DoRA: the weight W + scale * B A with each of its rows brought to a trained length, Liu et al. 2024 (arXiv 2402.09353), as
 * PEFT has it: y = m / norm * (W x + scale * B A x) + b. The norm counts as a constant (section 4.3), so it is a state that
 * phase BEGIN computes; the bias is not scaled; where dropout acts, the base's own part sees x and the change sees what is
 * left of it. A LORA folder with use_dora and "lora_magnitude_vector" [out]. */
#include "adapters/lora.h"
#include "host/ops/op_add.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_row_norm.h"
#include "host/ops/op_scale.h"
#include <math.h>

static bool recognise(const json_t *config) {
    return json_is_true(json_object_get(config, "use_dora"));
}

static uint32_t orientation(const espl_model *model) {
    return model->config.family->stored_in_out ? MATMUL_NN : MATMUL_NT;
}

/* Calls visit for every target. */
typedef espl_status (*visitor)(espl_adapter *adapter, uint32_t block, uint32_t linear, uint32_t part, lora_target *target,
                               espl_graph *graph);

static espl_status each_target(espl_adapter *adapter, visitor visit, espl_graph *graph) {
    const lora_state *state = adapter->state;
    for (uint32_t block = 0; block < adapter->model->config.layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
                lora_target *target = &state->groups[block][l].target[p];
                if (target->rank) ESPL_TRY(visit(adapter, block, l, p, target, graph));
            }
        }
    }
    return ESPL_OK;
}

static espl_status declare_target(espl_adapter *adapter, uint32_t block, uint32_t linear, uint32_t part, lora_target *target,
                                  espl_graph *graph) {
    espl_store *store = &adapter->store;
    const uint32_t out = adapter->model->linear[linear].part[part].count;
    char *path;
    (void)graph;
    ESPL_TRY(espl_store_matrix(store, "lora_magnitude_vector", 1, out, ESPL_DTYPE_F32, true, &target->magnitude));
    ESPL_TRY(espl_store_matrix(store, "inverse norm", 1, out, ESPL_DTYPE_F32, false, &target->inverse_norm));
    store->matrices[target->inverse_norm].frozen = true;
    ESPL_TRY(espl_model_module(adapter->model, block, linear, part, &path));
    espl_status status = espl_lora_entry(adapter, path, "lora_magnitude_vector", target->magnitude, 0, out, true);
    espl_free(store->ctx, &path);
    ESPL_TRY(status);
    /* Older files. */
    espl_entry *entry = &store->entries[store->entry_count - 1];
    return espl_format(store->ctx, &entry->alias, "%s.weight", entry->name);
}

static espl_status declare(espl_adapter *adapter) {
    ESPL_TRY(espl_json_set(adapter->model->ctx, adapter->config, "use_dora", json_true()));
    ESPL_TRY(espl_lora_declare(adapter, &espl_lora_kind));
    return each_target(adapter, declare_target, NULL);
}

/* ---- Norms ---- */

static espl_status add_norm(espl_adapter *adapter, const lora_group *group, uint32_t block, uint32_t linear, uint32_t part,
                            uint32_t into, bool inverse, espl_graph *graph) {
    const espl_model *model = adapter->model;
    const lora_target *target = &group->target[part];
    espl_graph_row_norm(graph, &(espl_row_norm){
        .w = espl_store_leaf(graph, &model->store, model->blocks[block].weight[linear], ESPL_ROLE_WEIGHT),
        .a = espl_store_leaf(graph, &adapter->store, group->a, ESPL_ROLE_WEIGHT),
        .b = espl_store_leaf(graph, &adapter->store, target->b, ESPL_ROLE_WEIGHT),
        .into = espl_store_leaf(graph, &adapter->store, into, ESPL_ROLE_STATE),
        .orientation = orientation(model), .w_from = model->linear[linear].part[part].from, .a_from = target->from,
        .scale = target->scale, .inverse = inverse});
    return espl_graph_status(graph);
}

static espl_status add_inverse(espl_adapter *adapter, uint32_t block, uint32_t linear, uint32_t part, lora_target *target,
                               espl_graph *graph) {
    const lora_state *state = adapter->state;
    return add_norm(adapter, &state->groups[block][linear], block, linear, part, target->inverse_norm, true, graph);
}

static espl_status add_magnitude(espl_adapter *adapter, uint32_t block, uint32_t linear, uint32_t part, lora_target *target,
                                 espl_graph *graph) {
    const lora_state *state = adapter->state;
    return add_norm(adapter, &state->groups[block][linear], block, linear, part, target->magnitude, false, graph);
}

/* Magnitudes begin as the norms there are, so that nothing changes. */
static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    espl_graph *graph;
    espl_status status = ESPL_OK;
    ESPL_TRY(espl_lora_initialise(adapter, seed));
    ESPL_TRY(espl_graph_create(adapter->model->device, "magnitudes", &graph));
    ESPL_GOTO(espl_graph_layer(graph, "magnitudes", ESPL_PHASE_MICRO, false));
    ESPL_GOTO(each_target(adapter, add_magnitude, graph));
    status = espl_graph_run(graph);
fail:
    espl_graph_destroy(&graph);
    return status;
}

static espl_status prepare(espl_builder *builder, const espl_adapter *adapter) {
    return each_target((espl_adapter *)adapter, add_inverse, builder->graph);
}

/* ---- Use ---- */

/* The columns of each target times m / norm. */
static espl_tensor *bring_to_length(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint,
                                    const lora_group *group, espl_tensor *y) {
    espl_graph *graph = builder->graph;
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
        const lora_target *target = &group->target[p];
        const espl_columns *part = &adapter->model->linear[joint->linear].part[p];
        if (!target->rank) continue;
        espl_graph_value_dtype(graph, ESPL_DTYPE_F32); /* as exact as parameters are */
        espl_tensor *factor = espl_graph_scale(
            graph, &(espl_scale){.x = espl_build_leaf(builder, &adapter->store, target->magnitude),
                                 .s = espl_build_leaf(builder, &adapter->store, target->inverse_norm)});
        espl_graph_value_dtype(graph, adapter->model->value_dtype);
        y = espl_graph_scale(graph, &(espl_scale){.x = y, .s = factor, .from = part->from, .count = part->count});
    }
    return y;
}

static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const lora_state *state = adapter->state;
    const lora_group *group = espl_lora_group(adapter, joint);
    if (!group) return y;
    espl_graph *graph = builder->graph;
    espl_tensor *x = espl_build_dropout(builder, joint->x, state->dropout);
    const bool alone = x == joint->x && y == joint->product;
    espl_tensor *wx = alone && !joint->bias ? y
                                            : espl_graph_matmul(graph, &(espl_matmul){.a = x, .b = joint->weight,
                                                                                      .orientation = orientation(adapter->model)});
    /* What others have made of y stays: y - W x is added. */
    espl_tensor *rest = alone ? joint->bias
                              : espl_graph_add(graph, &(espl_add_args){y, espl_graph_scale(graph, &(espl_scale){.x = wx, .number = -1})});
    espl_tensor *changed = espl_lora_up(builder, adapter, joint, group, NULL, espl_lora_down(builder, adapter, group, x), wx);
    espl_tensor *scaled = bring_to_length(builder, adapter, joint, group, changed);
    return rest ? espl_graph_add(graph, &(espl_add_args){scaled, rest}) : scaled;
}

/* ---- Merging ---- */

static espl_status merge(espl_adapter *adapter, const espl_place *place, float *weight, float *bias, bool *out_changed) {
    espl_context *ctx = adapter->model->ctx;
    const lora_state *state = adapter->state;
    (void)bias;
    ESPL_TRY(espl_lora_merge(adapter, place, NULL, weight, out_changed));
    if (!*out_changed) return ESPL_OK;
    const lora_target *target = &state->groups[place->block][place->linear].target[place->part];
    const espl_entry entry = {.matrix = target->magnitude, .count = place->out, .vector = true};
    float *magnitude;
    ESPL_TRY(espl_new(ctx, place->out * sizeof *magnitude, &magnitude));
    espl_status status = espl_store_read(&adapter->store, &entry, magnitude);
    for (uint32_t o = 0; status == ESPL_OK && o < place->out; o++) {
        float *row = weight + (size_t)o * place->in;
        double sum = 0;
        for (uint32_t i = 0; i < place->in; i++) sum += (double)row[i] * row[i];
        const double factor = magnitude[o] / sqrt(sum);
        for (uint32_t i = 0; i < place->in; i++) row[i] = (float)(factor * row[i]);
    }
    espl_free(ctx, &magnitude);
    return status;
}

const espl_method espl_method_dora = {
    .name = "dora",
    .peft_type = "LORA",
    .recognise = recognise,
    .properties = {.intra = ESPL_INTRA_DENSE,
                   .adapted = ESPL_ADAPTED_REPARAMETERISATION,
                   .input = ESPL_INPUT_HIDDEN,
                   .insertion = ESPL_INSERTION_PARALLEL,
                   .integration = ESPL_INTEGRATION_REPLACEMENT,
                   .sites = 1u << ESPL_SITE_LINEAR},
    .keys = {espl_lora_rank_keys, espl_lora_keys},
    .declare = declare,
    .initialise = initialise,
    .prepare = prepare,
    .join = join,
    .merge = merge,
    .finish = espl_lora_finish};
