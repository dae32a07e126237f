/* A rank of a DyLoRA: chosen while it runs, or written as a LoRA of its own. */
#include "adapters/dylora.h"
#include <string.h>

static espl_status check(const espl_adapter *adapter, uint32_t rank) {
    espl_context *ctx = adapter->model->ctx;
    if (adapter->method != &espl_method_dylora)
        return espl_fail(ctx, ESPL_ARGUMENT, "adapter \"%s\" is of method %s, which has one rank", adapter->name,
                         adapter->method->name);
    const uint32_t largest = espl_dylora(adapter)->r_max;
    if (rank < 1 || rank > largest)
        return espl_fail(ctx, ESPL_ARGUMENT, "adapter \"%s\" has ranks 1 to %u, not %u", adapter->name, largest, rank);
    return ESPL_OK;
}

espl_status espl_adapter_set_rank(espl_adapter *adapter, uint32_t rank) {
    ESPL_TRY(check(adapter, rank));
    espl_dylora(adapter)->rank = rank;
    return ESPL_OK;
}

/* The configuration of the LoRA as text. */
static espl_status lora_config(const espl_adapter *adapter, uint32_t rank, espl_bytes *text) {
    static const char *const own[] = {"r_min", "r_max", "pb", "pb_p", "update_mode", "loss_mode", "frozen_decay"};
    espl_context *ctx = adapter->model->ctx;
    json_t *config = json_deep_copy(adapter->config);
    if (!config) return espl_fail(ctx, ESPL_HOST_MEMORY, "the configuration of an adapter needs memory");
    for (size_t i = 0; i < ESPL_COUNT(own); i++) json_object_del(config, own[i]);
    espl_status status = espl_json_set(ctx, config, "peft_type", json_string("LORA"));
    if (status == ESPL_OK) status = espl_json_set(ctx, config, "r", json_integer(rank));
    if (status == ESPL_OK) status = espl_json_print(ctx, config, text);
    json_decref(config);
    return status;
}

/* The first ranks of A are rows, those of B columns; what else there is stays whole. */
static espl_status copy_entry(espl_adapter *from, espl_adapter *to, const espl_entry *entry, uint32_t rank) {
    const espl_entry *source = espl_store_find(&from->store, entry->name);
    const uint32_t all = espl_dylora(from)->r_max;
    float *values;
    ESPL_TRY(espl_new(from->model->ctx, (size_t)espl_entry_values(&from->store, source) * sizeof *values, &values));
    espl_status status = espl_store_read(&from->store, source, values);
    if (strstr(entry->name, ".lora_B.")) {
        for (size_t o = 0; o < entry->count; o++) memmove(values + o * rank, values + o * all, rank * sizeof *values);
    }
    if (status == ESPL_OK) status = espl_store_write(&to->store, entry, values, ESPL_DTYPE_F32);
    espl_free(from->model->ctx, &values);
    return status;
}

espl_status espl_adapter_export_rank(espl_adapter *adapter, uint32_t rank, const char *folder) {
    espl_context *ctx = adapter->model->ctx;
    espl_bytes text = {0};
    char *name = NULL;
    espl_adapter *lora = NULL;
    espl_status status = ESPL_OK;
    ESPL_TRY(check(adapter, rank));
    ESPL_GOTO(lora_config(adapter, rank, &text));
    ESPL_GOTO(espl_format(ctx, &name, "%s at rank %u", adapter->name, rank));
    ESPL_GOTO(espl_adapter_add(adapter->model, name, text.data, 0, &lora));
    for (size_t i = 0; i < lora->store.entry_count; i++) ESPL_GOTO(copy_entry(adapter, lora, &lora->store.entries[i], rank));
    ESPL_GOTO(espl_adapter_save(lora, folder));
fail:
    espl_adapter_delete(&lora);
    espl_free(ctx, &name);
    espl_bytes_finish(ctx, &text);
    return status;
}
