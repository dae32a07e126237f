/* Merging an adapter into the base and taking it out again bit for bit: the base tensors it changes are kept on the host. */
#include "adapters/make.h"
#include "host/model/composition.h"
#include <math.h>
#include <string.h>

/* Writes new values of a base tensor, which must be finite, and keeps the old ones. Both arrays hold what the entry holds in files. */
static espl_status change_base(espl_adapter *adapter, const espl_entry *entry, const float *values) {
    espl_model *model = adapter->model;
    const size_t count = (size_t)espl_entry_values(&model->store, entry);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i]))
            return espl_fail(model->ctx, ESPL_ARGUMENT, "adapter \"%s\": merged, value %zu of %s would be %g", adapter->name, i,
                             entry->name, (double)values[i]);
    }
    ESPL_TRY(espl_grow(model->ctx, &adapter->originals, &adapter->original_capacity, adapter->original_count + 1,
                       sizeof *adapter->originals));
    float *old;
    ESPL_TRY(espl_new(model->ctx, count * sizeof *old, &old));
    espl_status status = espl_store_read(&model->store, entry, old);
    if (status != ESPL_OK) { /* put_back takes whatever is among the originals for the base's */
        espl_free(model->ctx, &old);
        return status;
    }
    adapter->originals[adapter->original_count++] = (espl_original){.entry = *entry, .values = old};
    return espl_store_write(&model->store, entry, values, ESPL_DTYPE_F32);
}

static void transpose(const float *from, uint32_t rows, uint32_t cols, float *to) {
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < cols; c++) to[(size_t)c * rows + r] = from[(size_t)r * cols + c];
    }
}

/* The entries of the base at a place: its weight, and its bias or NULL. */
static void entries_at(const espl_model *model, const espl_place *place, const espl_entry **out_weight,
                       const espl_entry **out_bias) {
    const bool embed = place->block == ESPL_NO_BLOCK, in_out = !embed && model->config.family->stored_in_out;
    const uint32_t weight = embed ? model->embed : model->blocks[place->block].weight[place->linear];
    const uint32_t bias = embed ? ESPL_NO_MATRIX : model->blocks[place->block].bias[place->linear];
    const uint32_t from = embed ? 0 : model->linear[place->linear].part[place->part].from;
    *out_weight = *out_bias = NULL;
    for (size_t i = 0; i < model->store.entry_count; i++) {
        const espl_entry *e = &model->store.entries[i];
        if (e->matrix == weight && (in_out || e->from == from)) *out_weight = e;
        if (e->matrix == bias && e->from == from) *out_bias = e;
    }
}

/* part: of a union, or the adapter. */
static espl_status merge_place(espl_adapter *adapter, espl_adapter *part, const espl_place *place) {
    espl_model *model = adapter->model;
    espl_context *ctx = model->ctx;
    const bool in_out = place->block != ESPL_NO_BLOCK && model->config.family->stored_in_out;
    const size_t count = (size_t)place->out * place->in;
    const espl_entry *weight_entry, *bias_entry;
    float *stored = NULL, *weight = NULL, *bias = NULL;
    bool changed = false;
    espl_status status = ESPL_OK;
    entries_at(model, place, &weight_entry, &bias_entry);
    ESPL_GOTO(espl_new(ctx, count * sizeof *stored, &stored));
    ESPL_GOTO(espl_new(ctx, count * sizeof *weight, &weight));
    ESPL_GOTO(espl_store_read(&model->store, weight_entry, stored));
    if (in_out) transpose(stored, place->in, place->out, weight);
    else memcpy(weight, stored, count * sizeof *weight);
    if (bias_entry) {
        ESPL_GOTO(espl_new(ctx, place->out * sizeof *bias, &bias));
        ESPL_GOTO(espl_store_read(&model->store, bias_entry, bias));
    }
    ESPL_GOTO(part->method->merge(part, place, weight, bias, &changed));
    if (!changed) goto fail;
    if (in_out) transpose(weight, place->out, place->in, stored);
    else memcpy(stored, weight, count * sizeof *stored);
    ESPL_GOTO(change_base(adapter, weight_entry, stored));
    if (bias_entry) ESPL_GOTO(change_base(adapter, bias_entry, bias));
fail:
    espl_free(ctx, &stored);
    espl_free(ctx, &weight);
    espl_free(ctx, &bias);
    return status;
}

/* Every tensor of the base that the method changes. */
static espl_status merge_entries(espl_adapter *adapter) {
    espl_model *model = adapter->model;
    for (size_t i = 0; i < model->store.entry_count; i++) {
        const espl_entry entry = model->store.entries[i];
        float *values;
        bool changed = false;
        ESPL_TRY(espl_new(model->ctx, (size_t)espl_entry_values(&model->store, &entry) * sizeof *values, &values));
        espl_status status = espl_store_read(&model->store, &entry, values);
        if (status == ESPL_OK) status = adapter->method->change(adapter, &entry, values, &changed);
        if (status == ESPL_OK && changed) status = change_base(adapter, &entry, values);
        espl_free(model->ctx, &values);
        ESPL_TRY(status);
    }
    return ESPL_OK;
}

static espl_status merge_places(espl_adapter *adapter, espl_adapter *part) {
    const espl_model *model = adapter->model;
    const espl_config *c = &model->config;
    if (part->method->change) return merge_entries(adapter); /* diff_pruning is no part */
    if (!part->method->join) return ESPL_OK; /* all of it are replacements */
    const espl_place embed = {.block = ESPL_NO_BLOCK, .out = c->vocabulary, .in = c->embedding};
    if (part->method->properties.sites & 1u << ESPL_SITE_EMBED) ESPL_TRY(merge_place(adapter, part, &embed));
    for (uint32_t block = 0; block < c->layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && model->linear[l].part[p].count; p++)
                ESPL_TRY(merge_place(adapter, part, &(espl_place){block, l, p, model->linear[l].part[p].count,
                                                                  model->linear[l].in}));
        }
    }
    return ESPL_OK;
}

/* Matrix `own` of the adapter takes the place of the base's. */
static espl_status merge_matrix(espl_adapter *adapter, uint32_t base, uint32_t own) {
    espl_model *model = adapter->model;
    for (size_t i = 0; own != ESPL_NO_MATRIX && i < model->store.entry_count; i++) {
        const espl_entry entry = model->store.entries[i];
        espl_entry mine = entry;
        mine.matrix = own;
        if (entry.matrix != base) continue;
        float *values;
        ESPL_TRY(espl_new(model->ctx, (size_t)espl_entry_values(&model->store, &entry) * sizeof *values, &values));
        espl_status status = espl_store_read(&adapter->store, &mine, values);
        if (status == ESPL_OK) status = change_base(adapter, &entry, values);
        espl_free(model->ctx, &values);
        ESPL_TRY(status);
    }
    return ESPL_OK;
}

static espl_status merge_replacements(espl_adapter *adapter) {
    for (uint32_t base = 0; base < adapter->replacement_count; base++)
        ESPL_TRY(merge_matrix(adapter, base, adapter->replacement[base]));
    return ESPL_OK;
}

/* The parts of a union; else the adapter itself. */
static espl_adapter *first_part(espl_adapter *adapter) {
    return adapter->members ? adapter->members : adapter;
}

static espl_adapter *next_part(const espl_adapter *adapter, const espl_adapter *part) {
    return adapter->members ? part->next : NULL;
}

/* Parts that add to the weights can be merged one after the other; what rescales, rescales what was added before it. */
static bool can_merge(espl_adapter *adapter) {
    if (adapter->own_vocabulary) return false;
    const bool alone = !adapter->members;
    for (espl_adapter *part = first_part(adapter); part; part = next_part(adapter, part)) {
        const espl_integration how = part->method->properties.integration;
        if (!part->method->join) continue; /* matrices in the base's place */
        if (!part->method->merge) return false;
        const bool adds = how == ESPL_INTEGRATION_DIRECT_ADDITION || how == ESPL_INTEGRATION_SCALED_ADDITION ||
                          how == ESPL_INTEGRATION_GATED_ADDITION; /* with gates its own merge refuses */
        if (alone || adds) continue;
        if (how != ESPL_INTEGRATION_RESCALING || part->next) return false;
    }
    return true;
}

/* Merging what changes only one use of a tied matrix first makes it two. */
static espl_status untie(espl_adapter *adapter) {
    bool embed = false;
    espl_model *model = adapter->model;
    for (const espl_adapter *part = first_part(adapter); part; part = next_part(adapter, part))
        embed = embed || (part->method->merge && part->method->properties.sites & 1u << ESPL_SITE_EMBED);
    if (model->head == ESPL_NO_MATRIX || !model->config.tied) return ESPL_OK;
    if (!embed && espl_adapter_head(adapter) == ESPL_NO_MATRIX) return ESPL_OK;
    ESPL_TRY(espl_model_untie(model));
    adapter->untied = true;
    return ESPL_OK;
}

espl_adapter *espl_adapter_merged_last(const espl_model *model) {
    espl_adapter *last = NULL;
    for (espl_adapter *adapter = model->adapters; adapter; adapter = adapter->next) {
        if (adapter->merge_order > (last ? last->merge_order : 0)) last = adapter;
    }
    return last;
}

static espl_status put_back(espl_adapter *adapter) {
    espl_status status = ESPL_OK;
    while (status == ESPL_OK && adapter->original_count) {
        espl_original *original = &adapter->originals[adapter->original_count - 1];
        status = espl_store_write(&adapter->model->store, &original->entry, original->values, ESPL_DTYPE_F32);
        if (status != ESPL_OK) break;
        espl_free(adapter->model->ctx, &original->values);
        adapter->original_count--;
    }
    if (status == ESPL_OK && adapter->untied) {
        espl_model_tie(adapter->model);
        adapter->untied = false;
    }
    return status;
}

espl_status espl_adapter_merge(espl_adapter *adapter) {
    espl_model *model = adapter->model;
    if (adapter->merge_order)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "adapter \"%s\" is merged already", adapter->name);
    if (!can_merge(adapter) && adapter->members)
        return espl_fail(model->ctx, ESPL_UNSUPPORTED, "adapter \"%s\": its parts cannot be merged into the base's weights one after the "
                         "other", adapter->name);
    if (!can_merge(adapter))
        return espl_fail(model->ctx, ESPL_UNSUPPORTED, "adapter \"%s\": %s is no change of the base's weights and cannot be "
                         "merged into them", adapter->name, adapter->method->name);
    espl_status status = untie(adapter);
    if (status == ESPL_OK) status = merge_replacements(adapter);
    for (espl_adapter *part = first_part(adapter); status == ESPL_OK && part; part = next_part(adapter, part))
        status = merge_places(adapter, part);
    if (status != ESPL_OK) {
        put_back(adapter);
        return status;
    }
    const espl_adapter *last = espl_adapter_merged_last(model);
    adapter->merge_order = last ? last->merge_order + 1 : 1;
    espl_composition_forget(model, adapter);
    return ESPL_OK;
}

espl_status espl_adapter_unmerge(espl_adapter *adapter) {
    espl_model *model = adapter->model;
    if (!adapter->merge_order)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "adapter \"%s\" is not merged", adapter->name);
    if (adapter != espl_adapter_merged_last(model))
        return espl_fail(model->ctx, ESPL_ARGUMENT, "adapter \"%s\" was merged before another one, which must be taken out "
                         "first", adapter->name);
    ESPL_TRY(put_back(adapter));
    adapter->merge_order = 0;
    return ESPL_OK;
}
