/* Where adapters join a model: at sites, in the step buffer, before the pass and after it. */
#include "host/model/composition.h"
#include <string.h>

/* Adapters in their order; the parts of a union stand for it. */
static espl_adapter *first_part(espl_adapter *adapter) {
    return adapter && adapter->members ? adapter->members : adapter;
}

static espl_adapter *next_part(const espl_adapter *part) {
    return first_part(!part->next && part->owner ? part->owner->next : part->next);
}

static bool is_active(const espl_adapter *part) {
    return part->owner ? part->owner->active : part->active;
}

static bool joins(const espl_adapter *adapter, espl_site site) {
    return is_active(adapter) && adapter->method->properties.sites & 1u << site;
}

bool espl_build_any_joins(const espl_builder *b, espl_site site) {
    for (const espl_adapter *adapter = first_part(b->model->adapters); adapter; adapter = next_part(adapter)) {
        if (joins(adapter, site)) return true;
    }
    return false;
}

espl_tensor *espl_build_joint(espl_builder *b, const espl_joint *joint, espl_tensor *y) {
    const espl_composition *composition = b->model->composition;
    return composition ? espl_build_composition(b, composition, joint, y) : y;
}

espl_tensor *espl_build_join(espl_builder *b, espl_site site, uint32_t block, espl_tensor *x) {
    return espl_build_joint(b, &(espl_joint){.site = site, .block = block, .norm = ESPL_NORM_PLACE_COUNT}, x);
}

espl_tensor *espl_build_step_made(const espl_builder *b, const espl_adapter *adapter, uint32_t which) {
    for (uint32_t i = 0; i < b->inputs->count; i++) {
        if (b->inputs->item[i].adapter == adapter && which-- == 0) return b->inputs->item[i].tensor;
    }
    return NULL;
}

espl_tensor *espl_build_step(espl_builder *b, const espl_adapter *adapter, const char *name, uint32_t rows,
                             uint32_t cols, espl_dtype dtype) {
    espl_tensor *t = espl_graph_step_leaf(b->graph, name, rows, cols, dtype);
    if (!t) return NULL;
    if (b->inputs->count == ESPL_STEP_INPUTS_MAX)
        return espl_graph_fail(b->graph, espl_fail(b->model->ctx, ESPL_LIMIT, "the active adapters want more than %d "
                                                   "tensors of the step buffer", ESPL_STEP_INPUTS_MAX));
    b->inputs->item[b->inputs->count].adapter = adapter;
    b->inputs->item[b->inputs->count++].tensor = t;
    return t;
}

static bool same_writer(const espl_step_inputs *inputs, uint32_t i, uint32_t j) {
    return inputs->item[i].adapter == inputs->item[j].adapter && inputs->item[i].shares == inputs->item[j].shares;
}

/* The batch as it is behind espl_build_replicas. */
static espl_step_info replicate(const espl_step_inputs *inputs, const espl_step_info *info) {
    espl_step_info copies = *info;
    const size_t ids = (size_t)info->batch * info->tokens;
    for (uint32_t n = 0; n < inputs->replicas; n++) {
        if (info->ids) memcpy(inputs->ids + n * ids, info->ids, ids * sizeof *info->ids);
        if (info->lengths) memcpy(inputs->lengths + n * (size_t)info->batch, info->lengths, info->batch * sizeof *info->lengths);
        if (info->tasks) memcpy(inputs->tasks + n * (size_t)info->batch, info->tasks, info->batch * sizeof *info->tasks);
    }
    copies.batch *= inputs->replicas;
    copies.ids = info->ids ? inputs->ids : NULL;
    copies.lengths = info->lengths ? inputs->lengths : NULL;
    copies.tasks = info->tasks ? inputs->tasks : NULL;
    return copies;
}

espl_status espl_step_inputs_write(const espl_step_inputs *inputs, espl_graph *graph, const espl_step_info *info) {
    const espl_step_info copies = inputs->replicas > 1 ? replicate(inputs, info) : *info;
    void *values[ESPL_STEP_INPUTS_MAX];
    for (uint32_t i = 0; i < inputs->count; i++) {
        bool first = true;
        for (uint32_t j = 0; j < i; j++) first &= !same_writer(inputs, i, j);
        if (!first) continue;
        uint32_t count = 0;
        for (uint32_t j = i; j < inputs->count; j++) {
            if (same_writer(inputs, i, j)) values[count++] = espl_graph_step_pointer(graph, inputs->item[j].tensor);
        }
        const espl_adapter *adapter = inputs->item[i].adapter;
        ESPL_TRY(adapter ? adapter->method->step(adapter, &copies, values) : espl_shares_write(inputs->item[i].shares, &copies, values));
    }
    return ESPL_OK;
}

espl_status espl_build_update(espl_builder *b, espl_update when) {
    for (espl_adapter *adapter = first_part(b->model->adapters); adapter; adapter = next_part(adapter)) {
        if (espl_build_trained(b, &adapter->store) && adapter->method->update)
            ESPL_TRY(adapter->method->update(b, adapter, when));
    }
    return espl_graph_status(b->graph);
}

bool espl_build_all_add(const espl_builder *b) {
    for (const espl_adapter *adapter = first_part(b->model->adapters); adapter; adapter = next_part(adapter)) {
        if (joins(adapter, ESPL_SITE_LINEAR) && adapter->method->properties.integration >= ESPL_INTEGRATION_CONCATENATION)
            return false;
    }
    return true;
}

espl_status espl_build_prepare(espl_builder *b) {
    for (espl_adapter *adapter = first_part(b->model->adapters); adapter; adapter = next_part(adapter)) {
        if (!is_active(adapter) || !adapter->method->prepare) continue;
        ESPL_TRY(espl_graph_layer(b->graph, adapter->name, ESPL_PHASE_BEGIN, false));
        ESPL_TRY(adapter->method->prepare(b, adapter));
    }
    return ESPL_OK;
}
