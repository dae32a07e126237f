/* What can be together in a composition: see composition.c. */
#include "adapters/composition.h"
#include "adapters/make.h"

/* Every adapter below one node against every one below another that comes after it. */
static espl_status check_beside(const espl_composition *a, const espl_composition *b, bool heads) {
    for (const espl_composition *child = a->children; child; child = child->next) ESPL_TRY(check_beside(child, b, heads));
    for (const espl_composition *child = b->children; child && a->adapter; child = child->next) ESPL_TRY(check_beside(a, child, heads));
    return a->adapter && b->adapter && a->adapter != b->adapter ? espl_adapter_check_beside(a->adapter, b->adapter, heads) : ESPL_OK;
}

/* Those that have the same rows. In a stack the last head is taken, as the Adapters library does. */
static espl_status check_together(const espl_composition *node) {
    for (const espl_composition *child = node->children; child; child = child->next) {
        ESPL_TRY(check_together(child));
        for (const espl_composition *other = child->next; other && !espl_composition_shares(node->kind); other = other->next)
            ESPL_TRY(check_beside(child, other, node->kind != ESPL_COMPOSITION_STACK));
    }
    return ESPL_OK;
}

/* The tensor of the base that an adapter changes for all rows of a batch, or NULL. */
static const char *changed_tensor(const espl_adapter *adapter) {
    const espl_model *model = adapter->model;
    for (size_t i = 0; i < model->store.entry_count; i++) {
        const espl_entry *base = &model->store.entries[i];
        const bool replaced = adapter->replacement[base->matrix] != ESPL_NO_MATRIX;
        if (replaced && !espl_head_has_matrix(model, base->matrix)) return base->name;
        if (adapter->method->weight && !model->store.matrices[base->matrix].frozen) return base->name;
    }
    return NULL;
}

/* by_sequence: no block around it divides a sequence or repeats it. */
static espl_status check_sites(const espl_adapter *part, bool by_sequence) {
    static const uint32_t whole = 1u << ESPL_SITE_BEGIN | 1u << ESPL_SITE_WEIGHT | 1u << ESPL_SITE_BIAS;
    const uint32_t sites = part->method->properties.sites;
    const bool keys = sites & 1u << ESPL_SITE_KEYS;
    if (keys && by_sequence) return ESPL_OK;
    if (keys)
        return espl_fail(part->model->ctx, ESPL_UNSUPPORTED, "adapter \"%s\": the %u rows that %s puts before the text can be in batchsplit "
                         "and multitask, in no other block that shares rows", part->name, part->before, part->method->name);
    if (!(sites & whole)) return ESPL_OK;
    return espl_fail(part->model->ctx, ESPL_UNSUPPORTED, "adapter \"%s\": %s is for all rows of a batch and cannot be in a block that "
                     "shares them", part->name, part->method->name);
}

static espl_status check_shared(const espl_adapter *adapter, bool by_sequence) {
    espl_context *ctx = adapter->model->ctx;
    const char *tensor = changed_tensor(adapter);
    if (tensor)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "adapter \"%s\" (%s) has its own in place of the base's %s, which all rows of a batch "
                         "have together: it cannot be in a block that shares them", adapter->name, adapter->method->name, tensor);
    const bool words = espl_head_of_words(adapter->model);
    const uint32_t bias = adapter->model->task.out_bias;
    if (words && (espl_adapter_head(adapter) != ESPL_NO_MATRIX || (bias != ESPL_NO_MATRIX && adapter->replacement[bias] != ESPL_NO_MATRIX)))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "adapter \"%s\" has its own map into the vocabulary, of which a batch has one: it cannot be "
                         "in a block that shares rows", adapter->name);
    for (const espl_adapter *part = adapter->members ? adapter->members : adapter; part; part = adapter->members ? part->next : NULL)
        ESPL_TRY(check_sites(part, by_sequence));
    return ESPL_OK;
}

/* Methods that look from a token at others would mix what split divides. */
static espl_status check_tokens(const espl_composition *node, bool split) {
    split |= node->kind == ESPL_COMPOSITION_SPLIT;
    for (const espl_composition *child = node->children; child; child = child->next) ESPL_TRY(check_tokens(child, split));
    if (!split || !node->adapter) return ESPL_OK;
    const espl_method *method = node->adapter->method;
    if (method->properties.inter != ESPL_INTER_DYNAMIC || method->has) return ESPL_OK;
    return espl_fail(node->adapter->model->ctx, ESPL_UNSUPPORTED, "adapter \"%s\": %s depends on all tokens of a sequence, which split "
                     "divides", node->adapter->name, method->name);
}

/* blocks: 1u << kind of those around it that share rows. */
static espl_status check_sharing(const espl_composition *node, uint32_t blocks) {
    static const uint32_t by_sequence = 1u << ESPL_COMPOSITION_BATCHSPLIT | 1u << ESPL_COMPOSITION_MULTITASK;
    if (node->adapter && blocks) ESPL_TRY(check_shared(node->adapter, !(blocks & ~by_sequence)));
    if (espl_composition_shares(node->kind)) blocks |= 1u << node->kind;
    for (const espl_composition *child = node->children; child; child = child->next) ESPL_TRY(check_sharing(child, blocks));
    return ESPL_OK;
}

/* Every sequence has as many rows before it, of one adapter: *out_adapter, the last that has some, or NULL. */
static espl_status check_before(const espl_composition *node, const espl_adapter **out_adapter) {
    const bool shares = espl_composition_shares(node->kind);
    *out_adapter = node->adapter && node->adapter->before ? node->adapter : NULL;
    for (const espl_composition *child = node->children; child; child = child->next) {
        const espl_adapter *other = *out_adapter, *own;
        ESPL_TRY(check_before(child, &own));
        if (own) *out_adapter = own;
        if (!shares && own && other)
            return espl_fail(own->model->ctx, ESPL_UNSUPPORTED, "%s: \"%s\" is a second adapter with rows before the text",
                             own->method->name, own->name);
        const uint32_t rows = own ? own->before : 0, others = other ? other->before : 0;
        if (!shares || child == node->children || rows == others) continue;
        return espl_fail((own ? own : other)->model->ctx, ESPL_UNSUPPORTED, "adapter \"%s\" puts %u rows before the text and what is beside "
                         "it in its block %u: all have as many", (own ? own : other)->name, own ? rows : others, own ? others : rows);
    }
    return ESPL_OK;
}

static espl_status check_parallel(espl_context *ctx, const char *expression, const espl_composition *root) {
    uint32_t blocks_of_it = 0;
    for (const espl_composition *child = root->children; child; child = child->next) {
        blocks_of_it += child->kind == ESPL_COMPOSITION_PARALLEL;
        for (const espl_composition *inner = child->children; inner; inner = inner->next)
            blocks_of_it += inner->kind == ESPL_COMPOSITION_PARALLEL;
    }
    if (blocks_of_it < 2) return ESPL_OK;
    return espl_fail(ctx, ESPL_ARGUMENT, "composition \"%s\": a batch is copied once, and it has %u blocks parallel", expression,
                     blocks_of_it);
}

static espl_status check_tasks(const espl_composition *node) {
    if (node->adapter && node->adapter->tasks)
        return espl_fail(node->adapter->model->ctx, ESPL_ARGUMENT, "a row has one task: multitask cannot be together with adapter \"%s\", "
                         "which has a part for each of its own", node->adapter->name);
    for (const espl_composition *child = node->children; child; child = child->next) ESPL_TRY(check_tasks(child));
    return ESPL_OK;
}

espl_status espl_composition_check(espl_context *ctx, const char *expression, const espl_composition *root) {
    const espl_adapter *with_rows;
    ESPL_TRY(check_together(root));
    ESPL_TRY(check_tokens(root, false));
    ESPL_TRY(check_sharing(root, 0));
    ESPL_TRY(check_before(root, &with_rows));
    ESPL_TRY(check_parallel(ctx, expression, root));
    return espl_composition_has(root, ESPL_COMPOSITION_MULTITASK) ? check_tasks(root) : ESPL_OK;
}
