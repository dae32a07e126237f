/* How rows are shared among the children of a block, in the step buffer; and copies of a batch. */
#include "host/model/composition.h"
#include "host/ops/op_concat.h"

/* ---- Shares ---- */

struct espl_shares {
    espl_context *ctx;
    espl_composition_kind kind; /* LIST: identities; ADAPTER: lengths of replicas */
    uint32_t count, groups;
    bool constant, written; /* the same in each submission: once is enough */
    uint32_t period; /* groups of the caller's batch: those of a replica; rows of one identity */
    struct {
        double share;
        bool given;
    } child[];
};

/* One for each child, [groups, 1]. */
struct espl_share_leaves {
    const espl_composition *node;
    espl_share_leaves *next;
    espl_tensor *leaf[];
};

static espl_tensor *add_leaf(espl_builder *b, espl_shares *shares, const char *name, uint32_t rows, uint32_t cols, espl_dtype dtype) {
    espl_step_inputs *inputs = b->inputs;
    if (inputs->count == ESPL_STEP_INPUTS_MAX)
        return espl_graph_fail(b->graph, espl_fail(b->model->ctx, ESPL_LIMIT, "the composition wants more than %d tensors of the step "
                                                   "buffer", ESPL_STEP_INPUTS_MAX));
    espl_tensor *leaf = espl_graph_step_leaf(b->graph, name, rows, cols, dtype);
    if (!leaf) return NULL;
    inputs->item[inputs->count].shares = shares;
    inputs->item[inputs->count++].tensor = leaf;
    return leaf;
}

static uint32_t replicas_of(const espl_builder *b) {
    return b->replicas > 1 ? b->replicas : 1;
}

static espl_status make_shares(espl_builder *b, espl_composition_kind kind, uint32_t count, uint32_t groups, espl_shares **out_shares) {
    ESPL_TRY(espl_graph_memory(b->graph, sizeof **out_shares + count * sizeof(*out_shares)->child[0], out_shares));
    **out_shares = (espl_shares){.ctx = b->model->ctx, .kind = kind, .count = count, .groups = groups, .period = groups / replicas_of(b),
                                  .constant = kind == ESPL_COMPOSITION_LIST || kind >= ESPL_COMPOSITION_AVERAGE};
    return ESPL_OK;
}

/* Whether this many rows can be shared so. */
static espl_status check_rows(const espl_builder *b, const espl_composition *node, const char *name, uint32_t rows) {
    espl_context *ctx = b->model->ctx;
    const bool split = node->kind == ESPL_COMPOSITION_SPLIT;
    double sum = 0;
    bool open = false;
    if (node->kind >= ESPL_COMPOSITION_AVERAGE) return ESPL_OK;
    if (split && b->prompt)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: tokens behind a prompt of another adapter cannot be shared", name);
    for (const espl_composition *child = node->children; child; child = child->next) sum += child->share, open |= !child->given;
    if (node->kind == ESPL_COMPOSITION_MULTITASK || node->kind == ESPL_COMPOSITION_PARALLEL) return ESPL_OK;
    if (split && b->caches && !open)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: where a text grows the last part takes what is left, without a number", name);
    if (split && open ? sum > rows && !b->caches : sum != rows)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: the parts are %.0f %s, there are %u", name, sum,
                         split ? "tokens of each sequence" : "sequences of a batch", rows);
    return ESPL_OK;
}

static espl_share_leaves *leaves_of(espl_builder *b, const espl_composition *node) {
    const bool split = node->kind == ESPL_COMPOSITION_SPLIT, average = node->kind >= ESPL_COMPOSITION_AVERAGE;
    espl_share_leaves *made = b->share_leaves;
    espl_shares *shares;
    if (b->of_distances && !average)
        return espl_graph_fail(b->graph, espl_fail(b->model->ctx, ESPL_UNSUPPORTED, "%s: the maps of queries and keys are also those of "
                                                   "relative attention's distances, which all rows have together: adapters there cannot "
                                                   "share rows", espl_composition_words[node->kind]));
    while (made && made->node != node) made = made->next;
    if (made) return made;
    espl_status status = check_rows(b, node, espl_composition_words[node->kind], split ? b->tokens : b->batch / replicas_of(b));
    if (status == ESPL_OK) status = make_shares(b, node->kind, node->count, average ? 1 : split ? b->batch * b->tokens : b->batch, &shares);
    if (status == ESPL_OK) status = espl_graph_memory(b->graph, sizeof *made + node->count * sizeof *made->leaf, &made);
    if (status != ESPL_OK) return espl_graph_fail(b->graph, status);
    made->node = node;
    made->next = b->share_leaves;
    b->share_leaves = made;
    uint32_t n = 0;
    for (const espl_composition *child = node->children; child; child = child->next, n++) {
        shares->child[n].share = child->share;
        shares->child[n].given = child->given;
        made->leaf[n] = add_leaf(b, shares, espl_composition_words[node->kind], shares->groups, 1, ESPL_DTYPE_F32);
        if (!made->leaf[n]) return NULL;
    }
    return made;
}

espl_tensor *espl_build_shares(espl_builder *b, const espl_composition *node, uint32_t child) {
    const espl_share_leaves *leaves = leaves_of(b, node);
    return leaves ? leaves->leaf[child] : NULL;
}

/* Which child has a token, counted from the text's first. */
static uint32_t child_at(const espl_shares *shares, uint32_t token) {
    double end = 0;
    for (uint32_t n = 0; n < shares->count; n++) {
        end += shares->child[n].share;
        if (token < end || !shares->child[n].given) return n;
    }
    return shares->count;
}

static espl_status check_tasks(const espl_shares *shares, const espl_step_info *info) {
    for (uint32_t row = 0; info->tasks && row < info->batch; row++) {
        if (info->tasks[row] < 0 || (uint32_t)info->tasks[row] >= shares->count)
            return espl_fail(shares->ctx, ESPL_ARGUMENT, "row %u of the batch is of task %d, the composition has %u", row, info->tasks[row],
                             shares->count);
    }
    return ESPL_OK;
}

static double share_in(const espl_shares *shares, const espl_step_info *info, uint32_t n, uint32_t group) {
    switch (shares->kind) {
    case ESPL_COMPOSITION_SPLIT: return child_at(shares, info->position + group % info->tokens) == n;
    case ESPL_COMPOSITION_BATCHSPLIT: return child_at(shares, group % shares->period) == n;
    case ESPL_COMPOSITION_PARALLEL: return group / shares->period == n;
    case ESPL_COMPOSITION_MULTITASK: return (info->tasks ? (uint32_t)info->tasks[group] : 0) == n;
    default: return shares->child[n].share;
    }
}

espl_status espl_shares_write(espl_shares *shares, const espl_step_info *info, void *const *values) {
    if (shares->written) return ESPL_OK;
    shares->written = shares->constant;
    if (shares->kind == ESPL_COMPOSITION_MULTITASK) ESPL_TRY(check_tasks(shares, info));
    if (shares->kind == ESPL_COMPOSITION_LIST) {
        const uint32_t n = shares->period, stride = (uint32_t)espl_round_up(n, 4);
        for (uint32_t i = 0; i < shares->groups; i++) {
            for (uint32_t j = 0; j < n; j++) ((float *)values[0])[(size_t)i * stride + j] = i % n == j;
        }
        return ESPL_OK;
    }
    for (uint32_t row = 0; shares->kind == ESPL_COMPOSITION_ADAPTER && row < info->batch; row++)
        ((int32_t *)values[0])[row] = (int32_t)espl_step_length(info, row);
    for (uint32_t n = 0; n < shares->count; n++) {
        for (uint32_t group = 0; group < shares->groups; group++)
            ((float *)values[n])[4 * (size_t)group] = (float)share_in(shares, info, n, group);
    }
    return ESPL_OK;
}

espl_tensor *espl_build_identities(espl_builder *b, uint32_t n, uint32_t times) {
    espl_shares *shares;
    for (uint32_t i = 0; i < b->inputs->count; i++) {
        const espl_shares *made = b->inputs->item[i].shares;
        if (made && made->kind == ESPL_COMPOSITION_LIST && made->period == n && made->groups == n * times) return b->inputs->item[i].tensor;
    }
    espl_status status = make_shares(b, ESPL_COMPOSITION_LIST, 0, n * times, &shares);
    if (status != ESPL_OK) return espl_graph_fail(b->graph, status);
    shares->period = n;
    return add_leaf(b, shares, "identities", n * times, n, ESPL_DTYPE_F32);
}

/* ---- Replicas ---- */

uint32_t espl_composition_replicas(const espl_composition *node) {
    uint32_t replicas = node && node->kind == ESPL_COMPOSITION_PARALLEL ? node->count : 1;
    for (const espl_composition *child = node ? node->children : NULL; child; child = child->next) replicas *= espl_composition_replicas(child);
    return replicas;
}

static uint32_t first_block_of(const espl_adapter *adapter) {
    uint32_t first = adapter->model->config.layers;
    if (!adapter->members) return adapter->method->first_block ? adapter->method->first_block(adapter) : 0;
    for (const espl_adapter *part = adapter->members; part; part = part->next) {
        const uint32_t own = first_block_of(part);
        first = own < first ? own : first;
    }
    return first;
}

uint32_t espl_composition_first_block(const espl_model *model) {
    uint32_t first = model->config.layers - 1;
    for (const espl_adapter *adapter = model->adapters; adapter; adapter = adapter->next) {
        const uint32_t own = adapter->active ? first_block_of(adapter) : first;
        first = own < first ? own : first;
    }
    return first;
}

static espl_status take_memory(espl_builder *b, uint32_t replicas) {
    const size_t batch = (size_t)b->batch * replicas;
    espl_step_inputs *inputs = b->inputs;
    ESPL_TRY(espl_graph_memory(b->graph, batch * b->tokens * sizeof *inputs->ids, &inputs->ids));
    ESPL_TRY(espl_graph_memory(b->graph, batch * sizeof *inputs->lengths, &inputs->lengths));
    return espl_graph_memory(b->graph, batch * sizeof *inputs->tasks, &inputs->tasks);
}

static espl_status check_replicas(const espl_builder *b) {
    espl_context *ctx = b->model->ctx;
    if (b->caches)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "parallel: a session has one text; multitask gives it one of several adapters, by its task");
    if (b->before)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "parallel: rows of another adapter before the text cannot be copied with it");
    if (b->inputs->count == 0) return ESPL_OK;
    return espl_fail(ctx, ESPL_UNSUPPORTED, "parallel begins in the blocks: what changes the embedding row by row cannot be beside it");
}

espl_tensor *espl_build_replicas(espl_builder *b, uint32_t replicas, espl_tensor *x) {
    espl_tensor *all = x;
    espl_shares *shares;
    b->replicas = replicas;
    if (replicas == 1) return x;
    espl_status status = check_replicas(b);
    if (status == ESPL_OK) status = take_memory(b, replicas);
    b->inputs->replicas = replicas;
    b->batch *= replicas;
    if (status == ESPL_OK) status = make_shares(b, ESPL_COMPOSITION_ADAPTER, 0, b->batch, &shares);
    if (status != ESPL_OK) return espl_graph_fail(b->graph, status);
    for (uint32_t n = 1; n < replicas; n++) all = espl_graph_concat(b->graph, &(espl_concat){.a = all, .x = x});
    if (b->lengths) b->lengths = add_leaf(b, shares, "lengths of replicas", 1, b->batch, ESPL_DTYPE_I32);
    return all;
}
