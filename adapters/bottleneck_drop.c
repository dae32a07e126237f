/* AdapterDrop (Rueckle et al. 2021, arXiv 2010.11918): the lowest blocks go without their adapters. Specialised: always the same
 * ones, which are not there at all (leave_out), so that nothing runs backwards below the first that is. Robust: how many is
 * drawn for each training step, so that one adapter can do with any number of its blocks later: those keep their operators and
 * add nothing in that step. At run time (espl_adapter_drop): from the next graph on the lowest blocks have no operators of it. */
#include "adapters/bottleneck.h"
#include "adapters/spec.h"
#include "host/base/base.h"
#include "host/ops/op_concat.h"
#include "host/ops/op_scale.h"
#include <stdlib.h>
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

espl_status espl_bottleneck_set_drop(espl_adapter *adapter, const char *value) {
    ESPL_TRY(espl_spec_number(adapter, "drop", "leave_out", value, true));
    const double count = json_number_value(json_object_get(adapter->config, "leave_out"));
    const uint32_t layers = adapter->model->config.layers;
    if (!(count >= 0 && count < layers))
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: drop=%g is not from 0 to below the %u blocks", adapter->method->name,
                         count, layers);
    json_t *list = json_array();
    espl_status status = espl_json_set(context(adapter), adapter->config, "leave_out", list);
    for (uint32_t i = 0; status == ESPL_OK && i < (uint32_t)count; i++) status = espl_json_push(context(adapter), list, json_integer(i));
    return status;
}

bool espl_is_bottleneck(const espl_adapter *adapter) {
    return adapter->method->architecture && strcmp(adapter->method->architecture, "bottleneck") == 0;
}

espl_status espl_adapter_drop(espl_adapter *adapter, uint32_t blocks) {
    const uint32_t layers = adapter->model->config.layers;
    bool there = espl_is_bottleneck(adapter);
    if (blocks > layers)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%u blocks cannot be dropped: the model has %u", blocks, layers);
    for (espl_adapter *part = adapter->members; part; part = part->next) there |= espl_is_bottleneck(part);
    if (!there)
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "adapter \"%s\" is of method %s, which is in all blocks that it was made "
                         "for: bottleneck adapters can be dropped", adapter->name, adapter->method->name);
    if (espl_is_bottleneck(adapter)) ((bottleneck_state *)adapter->state)->dropped = blocks;
    for (espl_adapter *part = adapter->members; part; part = part->next) {
        if (espl_is_bottleneck(part)) ((bottleneck_state *)part->state)->dropped = blocks;
    }
    return ESPL_OK;
}

espl_status espl_bottleneck_read_drop(espl_adapter *adapter, bottleneck_state *state) {
    const uint32_t layers = adapter->model->config.layers;
    ESPL_TRY(espl_json_u32(context(adapter), adapter->config, "robust_drop", 0, &state->robust));
    if (state->robust > layers)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: robust_drop %u is beyond the %u blocks", adapter->method->name,
                         state->robust, layers);
    /* Adding nothing must be the block without its adapter. */
    if (state->robust && (!state->base_after || state->residual != RESIDUAL_OUTPUT || state->norm_after))
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: robust_drop is supported with original_ln_after, "
                         "residual_before_ln and without ln_after only", adapter->method->name);
    return ESPL_OK;
}

uint32_t espl_bottleneck_first_block(const espl_adapter *adapter) {
    const bottleneck_state *state = adapter->state;
    uint32_t block = state->dropped;
    while (block < adapter->model->config.layers && !state->blocks[block][BOTTLENECK_ATTENTION].width &&
           !state->blocks[block][BOTTLENECK_MLP].width)
        block++;
    return block;
}

espl_tensor *espl_bottleneck_drop(espl_builder *builder, const espl_adapter *adapter, uint32_t block, espl_tensor *u) {
    const bottleneck_state *state = adapter->state;
    if (!builder->training || block >= state->robust) return u;
    espl_tensor *kept = espl_build_step_made(builder, adapter, 0);
    if (!kept) kept = espl_build_step(builder, adapter, "blocks that are kept", state->robust, 1, ESPL_DTYPE_F32);
    kept = espl_graph_slice(builder->graph, &(espl_slice){.x = kept, .first = block, .rows = 1});
    return espl_graph_scale(builder->graph, &(espl_scale){.x = u, .s = kept});
}

espl_status espl_bottleneck_step(const espl_adapter *adapter, const espl_step_info *info, void *const *values) {
    const bottleneck_state *state = adapter->state;
    espl_random random = {.seed = info->seed, .stream = info->step};
    const float drawn = espl_random_uniform(&random) * (float)(state->robust + 1);
    float *kept = values[0];
    for (uint32_t i = 0; i < state->robust; i++) kept[4 * i] = !info->training || (float)(i + 1) > drawn; /* rows every 4 */
    return ESPL_OK;
}
