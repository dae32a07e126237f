#include "adapters/union.h"
#include "adapters/folder.h"
#include "adapters/make.h"
#include "adapters/spec.h"
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

/* ---- Parts ---- */

static espl_status add_member(espl_adapter *adapter, espl_adapter **out_member) {
    espl_adapter **end = &adapter->members;
    espl_status status = espl_adapter_begin(adapter->model, adapter->name, out_member);
    while (*end) end = &(*end)->next;
    *end = *out_member; /* destroyed with the union, whatever becomes of it */
    if (*out_member) (*out_member)->owner = adapter;
    return status;
}

static espl_status check_part(espl_adapter *adapter, const espl_adapter *member) {
    const espl_method *m = member->method;
    if (m->parts)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: a part may not be made of parts itself, as %s is",
                         adapter->method->name, m->name);
    const bool rows = m->prelude != NULL; /* their files are the store's unless a generator is asked for */
    if (m->passes || m->update || (m->save && !rows))
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: %s, which has training steps or files of its own, is not "
                         "supported as a part", adapter->method->name, m->name);
    return ESPL_OK;
}

espl_status espl_union_parse(espl_adapter *adapter, const char *spec) {
    for (const char *at = spec; *at;) {
        const size_t bytes = strcspn(at, "|");
        espl_adapter *member;
        char *part;
        ESPL_TRY(espl_copy_string(context(adapter), at, bytes, &part));
        espl_status status = add_member(adapter, &member);
        if (status == ESPL_OK) status = espl_adapter_parse(member, part);
        espl_free(context(adapter), &part);
        ESPL_TRY(status);
        ESPL_TRY(check_part(adapter, member));
        at += bytes + (at[bytes] != 0);
    }
    return ESPL_OK;
}

/* What the folder lists. */
static espl_status read_parts(espl_adapter *adapter) {
    espl_context *ctx = context(adapter);
    json_t *configs;
    ESPL_TRY(espl_json_array(ctx, adapter->config, "configs", &configs));
    for (size_t i = 0; i < json_array_size(configs); i++) {
        json_t *one = json_array_get(configs, i);
        espl_adapter *member;
        ESPL_TRY(add_member(adapter, &member));
        json_t *file = json_object_get(one, "peft_type") ? json_incref(one)
                                                        : json_pack("{s:O, s:s}", "config", one, "name", adapter->file_name);
        if (!file) return espl_fail(ctx, ESPL_FORMAT, "%s: part %zu of \"configs\" is no configuration", adapter->method->name, i);
        ESPL_TRY(espl_folder_read_config(member, file));
        ESPL_TRY(check_part(adapter, member));
    }
    return ESPL_OK;
}

/* ---- One store ---- */

static espl_status absorb_entries(espl_adapter *adapter, const espl_adapter *member, uint32_t first) {
    for (size_t i = 0; i < member->store.entry_count; i++) {
        const espl_entry *e = &member->store.entries[i];
        if (espl_store_find(&adapter->store, e->name))
            return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: two parts have a tensor %s: parts of one kind must be at "
                             "different places", adapter->method->name, e->name);
        ESPL_TRY(espl_store_entry(&adapter->store, e->name, first + e->matrix, e->from, e->count, e->vector));
        espl_entry *own = &adapter->store.entries[adapter->store.entry_count - 1];
        own->optional = e->optional;
        own->rank = e->rank;
        memcpy(own->shape, e->shape, sizeof own->shape);
    }
    return ESPL_OK;
}

static espl_status absorb_replacement(espl_adapter *adapter, uint32_t *own, uint32_t theirs, uint32_t first) {
    if (theirs == ESPL_NO_MATRIX) return ESPL_OK;
    if (*own != ESPL_NO_MATRIX)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: two parts train the same tensor of the model",
                         adapter->method->name);
    *own = first + theirs;
    return ESPL_OK;
}

/* What a part declared becomes the union's. */
static espl_status absorb(espl_adapter *adapter, espl_adapter *member) {
    espl_store *store = &adapter->store;
    const uint32_t first = (uint32_t)store->matrix_count;
    for (size_t i = 0; i < member->store.matrix_count; i++) {
        const espl_matrix *m = &member->store.matrices[i];
        uint32_t own;
        ESPL_TRY(espl_store_matrix(store, m->label, m->rows, m->cols, m->dtype, m->decay, &own));
        store->matrices[own].frozen = m->frozen;
        store->matrices[own].carried = m->carried;
        store->matrices[own].rate = m->rate;
    }
    if (member->before && member->method->save && member->store.entry_count > 1)
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: %s with a map that makes its rows is not supported as a part; "
                         "library_prefix is", adapter->method->name, member->method->name);
    if (member->before && adapter->before)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: %s is a second part with rows before the text",
                         adapter->method->name, member->method->name);
    if (member->before) adapter->before = member->before;
    member->store.whole = store;
    member->store.whole_from = first;
    ESPL_TRY(absorb_entries(adapter, member, first));
    for (uint32_t i = 0; i < adapter->replacement_count; i++)
        ESPL_TRY(absorb_replacement(adapter, &adapter->replacement[i], member->replacement[i], first));
    return ESPL_OK;
}

/* parts: those of a method that is a list; NULL: what the spec or the folder gave. */
static espl_status declare_parts(espl_adapter *adapter, const char *parts) {
    espl_context *ctx = context(adapter);
    json_t *configs = json_array();
    espl_status status = ESPL_OK;
    if (!adapter->members) status = parts ? espl_union_parse(adapter, parts) : read_parts(adapter);
    for (espl_adapter *member = adapter->members; status == ESPL_OK && member; member = member->next) {
        status = member->method->declare(member);
        if (status == ESPL_OK && member->store.entry_count == 0)
            status = espl_fail(ctx, ESPL_ARGUMENT, "%s: nothing of this %s model is a target of %s", adapter->method->name,
                               adapter->model->config.family->model_type, member->method->name);
        if (status == ESPL_OK) status = absorb(adapter, member);
        if (status == ESPL_OK) status = espl_json_push(ctx, configs, json_incref(member->config));
    }
    if (status == ESPL_OK) status = espl_json_set(ctx, adapter->config, "architecture", json_string("union"));
    if (status == ESPL_OK) return espl_json_set(ctx, adapter->config, "configs", configs);
    json_decref(configs);
    return status;
}

/* The memory of the union's matrices is that of its parts'. */
static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    for (espl_adapter *member = adapter->members; member; member = member->next) {
        espl_store *store = &member->store;
        for (size_t i = 0; i < store->matrix_count; i++) {
            const espl_matrix *whole = &adapter->store.matrices[store->whole_from + i];
            store->matrices[i].span = whole->span;
            store->matrices[i].flat = whole->flat;
            store->matrices[i].dtype = whole->dtype;
        }
        ESPL_TRY(espl_adapter_initialise(member, seed));
        seed += 0x9E3779B97F4A7C15u; /* streams are counted in each part */
    }
    return ESPL_OK;
}

static espl_status prelude(espl_builder *builder, const espl_adapter *adapter) {
    const espl_adapter *member = adapter->members;
    while (!member->before) member = member->next;
    return member->method->prelude(builder, member);
}

/* ---- Rows ---- */

static espl_status set(espl_adapter *adapter, const char *key, const char *value) {
    (void)value;
    return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: there is no key \"%s\": its parts have keys, written one|other",
                     adapter->method->name, key);
}

#define UNION(id, list, recognised_architecture)                                                    \
    static espl_status declare_##id(espl_adapter *adapter) {                                        \
        return declare_parts(adapter, list);                                                        \
    }                                                                                               \
    const espl_method espl_method_##id = {.name = #id,                                              \
                                          .architecture = recognised_architecture,                  \
                                          .parts = true,                                            \
                                          .set = set,                                               \
                                          .declare = declare_##id,                                  \
                                          .initialise = initialise,                                \
                                          .prelude = prelude};

/* The library's defaults. */
UNION(mam, "library_prefix:bottleneck=800|parallel", NULL)
UNION(unipelt, "library_prefix:length=10,gated|pfeiffer:gated|library_lora:gated,alpha=2", NULL)
UNION(union, NULL, "union")
