/* Whether an adapter is whole before it is written in another format: what is not would only fail where it is loaded. */
#include "adapters/convert.h"
#include "adapters/folder.h"
#include "adapters/registry.h"
#include "adapters/targets.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The two factors of a LoRA: A is [rank, in], B [out, rank]. */
static const char *const factors[][2] = {{".lora_A.weight", ".lora_B.weight"}, {".lora_embedding_A", ".lora_embedding_B"}};

static const espl_tensor_entry *find(const espl_loose_adapter *adapter, const char *name) {
    for (size_t i = 0; i < adapter->count; i++) {
        if (strcmp(adapter->entries[i].name, name) == 0) return &adapter->entries[i];
    }
    return NULL;
}

/* The rank that the configuration gives a module. */
static espl_status rank_of(espl_context *ctx, const json_t *config, const char *path, double *out_rank) {
    ESPL_TRY(espl_json_f64(ctx, config, "r", 8, out_rank));
    if (json_object_size(json_object_get(config, "rank_pattern")) == 0) return ESPL_OK;
    return espl_target_pattern(ctx, config, "rank_pattern", path, out_rank);
}

static espl_status check_pair(espl_context *ctx, const espl_loose_adapter *adapter, const espl_tensor_entry *entry) {
    static const char lead[] = "base_model.model.";
    const size_t bytes = strlen(entry->name);
    char module[512], other[600];
    double rank;
    for (size_t i = 0; i < ESPL_COUNT(factors); i++) {
        for (int b = 0; b < 2; b++) {
            const size_t end = strlen(factors[i][b]);
            if (bytes < end || strcmp(entry->name + bytes - end, factors[i][b]) != 0) continue;
            snprintf(module, sizeof module, "%.*s", (int)(bytes - end), entry->name);
            snprintf(other, sizeof other, "%s%s", module, factors[i][!b]);
            if (!find(adapter, other)) return espl_fail(ctx, ESPL_FORMAT, "%s is there without %s", entry->name, other);
            const char *path = strncmp(module, lead, strlen(lead)) == 0 ? module + strlen(lead) : module;
            ESPL_TRY(rank_of(ctx, adapter->config, path, &rank));
            if (entry->rank != 2 || entry->shape[b] != rank)
                return espl_fail(ctx, ESPL_FORMAT, "%s is [%u, %u], and its rank is %g by the configuration", entry->name,
                                 entry->shape[0], entry->rank == 2 ? entry->shape[1] : 1, rank);
        }
    }
    return ESPL_OK;
}

/* "...layers.12..." is of a block of the base. */
static espl_status check_block(espl_context *ctx, const espl_convert_base *base, const char *name) {
    static const char *const lists[] = {".layers.", ".layer.", ".h."};
    for (size_t i = 0; i < ESPL_COUNT(lists); i++) {
        const char *at = strstr(name, lists[i]);
        if (!at) continue;
        const unsigned long block = strtoul(at + strlen(lists[i]), NULL, 10);
        if (block >= base->layers)
            return espl_fail(ctx, ESPL_FORMAT, "%s is of block %lu, the base has %u", name, block, base->layers);
    }
    return ESPL_OK;
}

espl_status espl_loose_check(espl_context *ctx, const espl_convert_base *base, const espl_loose_adapter *adapter) {
    const char *type;
    bool known = false;
    ESPL_TRY(espl_json_need(ctx, adapter->config, "peft_type"));
    ESPL_TRY(espl_json_string(ctx, adapter->config, "peft_type", NULL, &type));
    for (size_t i = 0; i < espl_method_count; i++) known |= espl_methods[i]->peft_type && strcmp(espl_methods[i]->peft_type, type) == 0;
    if (!known) return espl_folder_unknown(ctx, "peft_type", type, strlen(type));
    const bool ranks = strcmp(type, "LORA") == 0 || strcmp(type, "DYLORA") == 0;
    for (size_t i = 0; i < adapter->count; i++) {
        ESPL_TRY(check_block(ctx, base, adapter->entries[i].name));
        if (ranks) ESPL_TRY(check_pair(ctx, adapter, &adapter->entries[i]));
    }
    return ESPL_OK;
}
