/* AdaLoRA's folder: where ranks were dropped, rank_pattern says which are kept and the tensors have those alone. It is written
 * by an adapter that has that pattern. */
#include "adapters/adalora.h"
#include "adapters/folder.h"
#include <string.h>

/* The target that an entry of A, B or E belongs to; NULL for other entries. */
static const lora_target *target_of(const espl_adapter *adapter, const espl_entry *entry) {
    const lora_state *state = adapter->state;
    for (uint32_t block = 0; block < adapter->model->config.layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            const lora_group *group = &state->groups[block][l];
            for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
                const lora_target *target = &group->target[p];
                const bool stacked = (entry->matrix == group->a || entry->matrix == group->e) && entry->from == target->from;
                if (target->rank && (stacked || entry->matrix == target->b)) return target;
            }
        }
    }
    return NULL;
}

/* "model.layers.0.self_attn.q_proj.lora_E" -> [true, false, ...] for every target. */
static espl_status make_pattern(const espl_adapter *adapter, const float *dropped, json_t *pattern) {
    static const char prefix[] = "base_model.model.", suffix[] = ".lora_E";
    espl_context *ctx = adapter->model->ctx;
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        const espl_entry *entry = &adapter->store.entries[i];
        const lora_target *target = target_of(adapter, entry);
        const size_t bytes = strlen(entry->name);
        if (!target || strcmp(entry->name + bytes - strlen(suffix), suffix) != 0) continue;
        json_t *list = json_array();
        ESPL_TRY(espl_json_set(ctx, pattern, entry->name + strlen(prefix), list));
        for (uint32_t r = 0; r < target->rank; r++)
            ESPL_TRY(espl_json_push(ctx, list, json_boolean(dropped[target->slot + r] == 0)));
    }
    return ESPL_OK;
}

static espl_status copy_kept(espl_adapter *from, espl_adapter *to, const espl_entry *entry, const float *dropped) {
    const espl_entry *source = espl_store_find(&from->store, entry->name);
    const lora_target *target = target_of(from, source);
    const uint32_t cols = from->store.matrices[source->matrix].cols, rows = source->count;
    float *values;
    ESPL_TRY(espl_new(from->model->ctx, (size_t)espl_entry_values(&from->store, source) * sizeof *values, &values));
    espl_status status = espl_store_read(&from->store, source, values);
    size_t kept = 0;
    const bool by_column = target && source->matrix == target->b;
    /* A: rows of cols; B: elements of each row; E: elements of a column. */
    const size_t items = target ? (by_column ? (size_t)rows * target->rank : target->rank) : 0;
    const size_t size = target && !by_column && !source->vector ? cols : 1;
    for (size_t i = 0; i < items; i++) {
        if (dropped[target->slot + i % target->rank] != 0) continue;
        memmove(values + kept * size, values + i * size, size * sizeof *values);
        kept++;
    }
    if (status == ESPL_OK) status = espl_store_write(&to->store, entry, values, ESPL_DTYPE_F32);
    espl_free(from->model->ctx, &values);
    return status;
}

static espl_status save_pruned(espl_adapter *adapter, const float *dropped, const char *folder) {
    espl_context *ctx = adapter->model->ctx;
    espl_bytes text = {0};
    char *name = NULL;
    espl_adapter *small = NULL;
    json_t *pattern = json_object(), *config = json_deep_copy(adapter->config);
    espl_status status = pattern && config ? ESPL_OK : espl_fail(ctx, ESPL_HOST_MEMORY, "a configuration needs memory");
    if (status != ESPL_OK) goto fail;
    ESPL_GOTO(make_pattern(adapter, dropped, pattern));
    ESPL_GOTO(espl_json_set(ctx, config, "rank_pattern", json_incref(pattern)));
    ESPL_GOTO(espl_json_print(ctx, config, &text));
    ESPL_GOTO(espl_format(ctx, &name, "%s without dropped ranks", adapter->name));
    ESPL_GOTO(espl_adapter_add(adapter->model, name, text.data, 0, &small));
    for (size_t i = 0; i < small->store.entry_count; i++)
        ESPL_GOTO(copy_kept(adapter, small, &small->store.entries[i], dropped));
    ESPL_GOTO(espl_folder_write(small, folder));
fail:
    espl_adapter_delete(&small);
    espl_free(ctx, &name);
    espl_bytes_finish(ctx, &text);
    json_decref(pattern);
    json_decref(config);
    return status;
}

espl_status espl_adalora_save(espl_adapter *adapter, const char *folder) {
    espl_context *ctx = adapter->model->ctx;
    const adalora_state *state = espl_adalora(adapter);
    const espl_entry entry = {.matrix = state->dropped, .count = state->ranks, .vector = true};
    bool pruned = false;
    float *dropped;
    /* PEFT reads no folder without it. */
    if (json_is_null(json_object_get(adapter->config, "total_step")) && state->total)
        ESPL_TRY(espl_json_set(ctx, adapter->config, "total_step", json_integer(state->total)));
    ESPL_TRY(espl_new(ctx, state->ranks * sizeof *dropped, &dropped));
    espl_status status = espl_store_read(&adapter->store, &entry, dropped);
    for (uint32_t i = 0; i < state->ranks; i++) pruned |= dropped[i] != 0;
    if (status == ESPL_OK) status = pruned ? save_pruned(adapter, dropped, folder) : espl_folder_write(adapter, folder);
    espl_free(ctx, &dropped);
    return status;
}
