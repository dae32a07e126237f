/* LoRA: y = W x + scale * B A dropout(x), Hu et al. 2021, and rsLoRA (scale = alpha / sqrt(r)), Kalajdzievski 2023; files
 * and options as Hugging Face PEFT has them.
 *
 * The maps of a block that share an input (q, k, v; gate, up) share one product here, so their A matrices are stacked
 * into one: u = dropout(x) A^T is one product for all of them. Each target's B then adds its own columns to y. */
#include "adapters/initial.h"
#include "adapters/lora_library.h"
#include "host/ops/op_matmul.h"
#include <math.h>
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

/* A: U(-1/sqrt(in), 1/sqrt(in)), which is what kaiming_uniform with a = sqrt(5) gives; or N(0, 1/r^2). B: 0, or as A when
 * init_lora_weights is false. */
espl_status espl_lora_initialise(espl_adapter *adapter, uint64_t seed) {
    const lora_state *state = adapter->state;
    espl_store *store = &adapter->store;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *entry = &store->entries[i];
        const bool a = strstr(entry->name, ".lora_A") != NULL, b = strstr(entry->name, ".lora_B") != NULL;
        if (!a && !(b && !state->zero_b)) continue;
        ESPL_TRY(state->gaussian ? espl_initial_normal(store, entry, seed, 1.0f / (float)entry->count)
                                 : espl_initial_uniform(store, entry, seed,
                                                        1.0f / sqrtf((float)store->matrices[entry->matrix].cols)));
    }
    return ESPL_OK;
}

/* ---- Use ---- */

const lora_group *espl_lora_group(const espl_adapter *adapter, const espl_joint *joint) {
    const lora_state *state = adapter->state;
    const lora_group *group = &state->groups[joint->block][joint->linear];
    return group->a == ESPL_NO_MATRIX ? NULL : group;
}

espl_tensor *espl_lora_down(espl_builder *builder, const espl_adapter *adapter, const lora_group *group, espl_tensor *x) {
    return espl_graph_matmul(builder->graph, &(espl_matmul){.a = x,
                                                            .b = espl_build_leaf(builder, &adapter->store, group->a),
                                                            .orientation = MATMUL_NT});
}

espl_tensor *espl_lora_up(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, const lora_group *group,
                          espl_tensor *const bs[ESPL_LINEAR_PARTS], espl_tensor *u, espl_tensor *y) {
    u = espl_build_share(builder, joint, u);
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
        const lora_target *target = &group->target[p];
        if (!target->rank) continue;
        y = espl_graph_matmul(builder->graph, &(espl_matmul){.a = u,
                                                             .a_from = target->from,
                                                             .a_cols = target->rank,
                                                             .b = bs ? bs[p] : espl_build_leaf(builder, &adapter->store, target->b),
                                                             .orientation = MATMUL_NT,
                                                             .into = y,
                                                             .into_from = adapter->model->linear[joint->linear].part[p].from,
                                                             .scale = target->scale});
    }
    return y;
}

static espl_status declare(espl_adapter *adapter) {
    return espl_lora_declare(adapter, &espl_lora_kind);
}

static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const lora_state *state = adapter->state;
    const lora_group *group = espl_lora_group(adapter, joint);
    if (!group) return y;
    espl_tensor *x = espl_build_dropout(builder, joint->x, state->dropout);
    return espl_lora_up(builder, adapter, joint, group, NULL, espl_lora_down(builder, adapter, group, x), y);
}

espl_status espl_lora_merge(espl_adapter *adapter, const espl_place *place, const float *factors, float *weight,
                            bool *out_changed) {
    const lora_state *state = adapter->state;
    *out_changed = false;
    if (place->block == ESPL_NO_BLOCK) return ESPL_OK;
    const lora_group *group = &state->groups[place->block][place->linear];
    const lora_target *target = &group->target[place->part];
    const uint32_t out = place->out, in = place->in;
    *out_changed = target->rank != 0;
    if (!target->rank) return ESPL_OK;
    const espl_entry a_entry = {.matrix = group->a, .from = target->from, .count = target->rank};
    const espl_entry b_entry = {.matrix = target->b, .count = out};
    float *a = NULL, *b = NULL;
    double *row = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(context(adapter), (size_t)target->rank * in * sizeof *a, &a));
    ESPL_GOTO(espl_new(context(adapter), (size_t)target->rank * out * sizeof *b, &b));
    ESPL_GOTO(espl_new(context(adapter), in * sizeof *row, &row));
    ESPL_GOTO(espl_store_read(&adapter->store, &a_entry, a));
    ESPL_GOTO(espl_store_read(&adapter->store, &b_entry, b));
    for (uint32_t o = 0; o < out; o++) {
        for (uint32_t i = 0; i < in; i++) row[i] = 0;
        for (uint32_t r = 0; r < target->rank; r++) {
            const double share = b[(size_t)o * target->rank + r] * (factors ? (double)factors[r] : 1);
            for (uint32_t i = 0; i < in; i++) row[i] += share * a[(size_t)r * in + i];
        }
        for (uint32_t i = 0; i < in; i++) {
            float *w = &weight[(size_t)o * in + i];
            *w = (float)(*w + target->scale * row[i]);
        }
    }
fail:
    espl_free(context(adapter), &a);
    espl_free(context(adapter), &b);
    espl_free(context(adapter), &row);
    return status;
}

static espl_status merge(espl_adapter *adapter, const espl_place *place, float *weight, float *bias, bool *out_changed) {
    (void)bias;
    return espl_lora_merge(adapter, place, NULL, weight, out_changed);
}

void espl_lora_finish(espl_adapter *adapter) {
    lora_state *state = adapter->state;
    espl_free(context(adapter), &state->own);
    espl_free(context(adapter), &state->groups);
    espl_free(context(adapter), &adapter->state);
}

const espl_method espl_method_lora = {
    .name = "lora",
    .peft_type = "LORA",
    .properties = {.intra = ESPL_INTRA_DENSE,
                   .adapted = ESPL_ADAPTED_REPARAMETERISATION,
                   .input = ESPL_INPUT_HIDDEN,
                   .insertion = ESPL_INSERTION_PARALLEL,
                   .integration = ESPL_INTEGRATION_SCALED_ADDITION,
                   .sites = 1u << ESPL_SITE_LINEAR},
    .keys = {espl_lora_rank_keys, espl_lora_keys},
    .declare = declare,
    .initialise = espl_lora_initialise,
    .join = join,
    .adds = true,
    .stack = espl_library_lora_stack,
    .merge = merge,
    .finish = espl_lora_finish};
