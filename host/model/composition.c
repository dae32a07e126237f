#include "host/model/composition.h"
#include "host/ops/op_add.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_scale.h"

const char *const espl_composition_words[ESPL_COMPOSITION_KIND_COUNT] = {
    [ESPL_COMPOSITION_STACK] = "stack",           [ESPL_COMPOSITION_FUSE] = "fuse",           [ESPL_COMPOSITION_SPLIT] = "split",
    [ESPL_COMPOSITION_BATCHSPLIT] = "batchsplit", [ESPL_COMPOSITION_MULTITASK] = "multitask", [ESPL_COMPOSITION_PARALLEL] = "parallel",
    [ESPL_COMPOSITION_AVERAGE] = "average",       [ESPL_COMPOSITION_COMPAT_AVERAGE] = "compat_average"};

/* ---- Life ---- */

static void destroy_list(espl_context *ctx, espl_composition **in_out_first) {
    while (*in_out_first) {
        espl_composition *one = *in_out_first;
        *in_out_first = one->next;
        espl_composition_destroy(ctx, &one);
    }
}

void espl_composition_destroy(espl_context *ctx, espl_composition **in_out_composition) {
    espl_composition *node = *in_out_composition;
    if (!node) return;
    destroy_list(ctx, &node->children);
    destroy_list(ctx, &node->fused);
    espl_json_destroy(&node->tasks);
    espl_free(ctx, in_out_composition);
}

bool espl_composition_names(const espl_composition *node, const espl_adapter *adapter) {
    bool found = node->adapter == adapter;
    for (const espl_composition *child = node->children; child; child = child->next) found = found || espl_composition_names(child, adapter);
    for (const espl_composition *child = node->fused; child; child = child->next) found = found || espl_composition_names(child, adapter);
    return found;
}

void espl_composition_forget(espl_model *model, const espl_adapter *adapter) {
    espl_composition *root = model->composition;
    if (!root) return;
    for (espl_composition **at = &root->children; *at;) {
        espl_composition *child = *at;
        if (!espl_composition_names(child, adapter)) {
            at = &child->next;
            continue;
        }
        *at = child->next;
        root->count--;
        espl_composition_destroy(model->ctx, &child);
    }
    for (espl_adapter *one = model->adapters; one; one = one->next) one->active = one->active && espl_composition_names(root, one);
}

bool espl_composition_has(const espl_composition *node, espl_composition_kind kind) {
    if (!node) return false;
    bool has = node->kind == kind;
    for (const espl_composition *child = node->children; child; child = child->next) has = has || espl_composition_has(child, kind);
    return has;
}

bool espl_composition_goes_by_place(const espl_composition *node) {
    return espl_composition_has(node, ESPL_COMPOSITION_SPLIT) || espl_composition_has(node, ESPL_COMPOSITION_BATCHSPLIT);
}

/* ---- At a joint ---- */

static bool is_stackable(const espl_adapter *part) {
    return part->method->stack && (part->library || part->owner);
}

/* changing: of those that change a product, else of those that take its place. stacked: not of those that joined as a stack. */
static espl_tensor *join_part(espl_builder *b, const espl_adapter *part, const espl_joint *joint, bool changing, bool stacked,
                              espl_tensor *y) {
    const espl_method *method = part->method;
    if (!(method->properties.sites & 1u << joint->site) || (method->replaces == NULL) != changing) return y;
    return stacked && is_stackable(part) ? y : method->join(b, part, joint, y);
}

/* The parts of a union stand for it. */
static espl_tensor *join_adapter(espl_builder *b, const espl_composition *node, const espl_joint *around, bool changing, bool stacked,
                                 espl_tensor *y) {
    const espl_adapter *adapter = node->adapter;
    espl_joint own = *around, *joint = &own;
    own.fused = node->fused;
    if (!adapter->members) return join_part(b, adapter, joint, changing, stacked, y);
    for (const espl_adapter *part = adapter->members; part; part = part->next) y = join_part(b, part, joint, changing, stacked, y);
    return y;
}

enum { STACKED_MAX = 16 };

static void gather(const espl_adapter *adapter, const espl_adapter *stacked[STACKED_MAX], uint32_t *in_out_count) {
    for (const espl_adapter *part = adapter->members; part; part = part->next) gather(part, stacked, in_out_count);
    if (!is_stackable(adapter)) return;
    if (*in_out_count < STACKED_MAX) stacked[*in_out_count] = adapter;
    ++*in_out_count;
}

/* Several of a stack that make of each other's output what is added to a product; true in *out_stacked if there are such. They have
 * their turn with the first of them. */
static espl_tensor *join_stack(espl_builder *b, const espl_composition *node, const espl_joint *joint, espl_tensor *y, bool *out_stacked) {
    const espl_adapter *stacked[STACKED_MAX];
    uint32_t count = 0;
    *out_stacked = false;
    if (node->kind != ESPL_COMPOSITION_STACK || joint->site != ESPL_SITE_LINEAR) return y;
    for (const espl_composition *child = node->children; child; child = child->next) {
        if (child->adapter) gather(child->adapter, stacked, &count);
    }
    if (count < 2) return y;
    *out_stacked = true;
    if (count > STACKED_MAX)
        return espl_graph_fail(b->graph, espl_fail(b->model->ctx, ESPL_LIMIT, "%u LoRAs are in one stack, %d may be", count, STACKED_MAX));
    return stacked[0]->method->stack(b, stacked, count, joint, y);
}

/* What takes a product's place comes before what changes it, whichever is named first. */
static espl_tensor *join_in_turn(espl_builder *b, const espl_composition *node, const espl_joint *joint, espl_tensor *y) {
    bool stacked;
    y = join_stack(b, node, joint, y, &stacked);
    for (int changing = 0; changing < 2; changing++) {
        for (const espl_composition *child = node->children; child; child = child->next) {
            if (child->adapter) y = join_adapter(b, child, joint, changing, stacked, y);
            else if (changing) y = espl_build_composition(b, child, joint, y);
        }
    }
    return y;
}

/* The rows of a child, added to sum; NULL: to nothing. */
static espl_tensor *add_share(espl_builder *b, const espl_composition *block, uint32_t child, espl_tensor *y, espl_tensor *sum) {
    espl_tensor *shares = espl_build_shares(b, block, child);
    return shares ? espl_graph_scale(b->graph, &(espl_scale){.x = y, .s = shares, .into = sum}) : NULL;
}

/* The same of rows before keys and values: those that a child has for all sequences alike are copied to each. */
static espl_tensor *add_before(espl_builder *b, const espl_composition *block, uint32_t child, espl_tensor *y, espl_tensor *sum) {
    if (!y || y->rows != b->before) return add_share(b, block, child, y, sum);
    espl_tensor *copies = add_share(b, block, child, espl_build_identities(b, b->before, b->batch), NULL);
    return espl_graph_matmul(b->graph, &(espl_matmul){.a = copies, .b = y, .orientation = MATMUL_NN, .into = sum});
}

espl_tensor *espl_build_share(espl_builder *b, const espl_joint *joint, espl_tensor *u) {
    if (!joint->shared) return u;
    return add_share(b, joint->shared, joint->child, u, NULL);
}

/* Whether all that joins there only adds to y, so that rows can be shared in what it adds. */
static bool only_adds(const espl_composition *node, espl_site site) {
    const espl_adapter *adapter = node->adapter, *first = adapter && adapter->members ? adapter->members : adapter;
    if (espl_composition_shares(node->kind) || site != ESPL_SITE_LINEAR) return false;
    for (const espl_adapter *part = first; part; part = part != adapter ? part->next : NULL) {
        if (part->method->properties.sites & 1u << site && !part->method->adds) return false;
    }
    for (const espl_composition *child = node->children; child; child = child->next) {
        if (!only_adds(child, site)) return false;
    }
    return true;
}

static espl_tensor *add_shares(espl_builder *b, const espl_composition *node, const espl_joint *joint, espl_tensor *y) {
    espl_joint own = *joint;
    own.shared = node;
    own.child = 0;
    for (const espl_composition *child = node->children; child; child = child->next, own.child++)
        y = espl_build_composition(b, child, &own, y);
    return y;
}

typedef struct branch {
    espl_tensor *y;
    bool closed;
} branch;

/* A child has a copy to work on where some methods change y in place. */
static branch join_child(espl_builder *b, const espl_composition *child, const espl_joint *joint, espl_tensor *y) {
    const bool in_place = ESPL_SITES_IN_PLACE & 1u << joint->site;
    espl_tensor *copy = in_place ? espl_graph_scale(b->graph, &(espl_scale){.x = y, .number = 1}) : y;
    branch made = {0};
    espl_joint own = *joint;
    if (own.product == y) own.product = copy;
    own.out_closed = &made.closed;
    made.y = espl_build_composition(b, child, &own, copy);
    if (made.y == copy) made.y = y;
    return made;
}

/* Branches with residual and norm beside others without: all get them. */
static void close_all(espl_builder *b, const espl_joint *joint, branch *branches, uint32_t count) {
    bool any = false;
    for (uint32_t n = 0; n < count; n++) any |= branches[n].closed;
    for (uint32_t n = 0; any && n < count; n++) {
        if (!branches[n].closed) branches[n].y = espl_build_close(b, joint, branches[n].y);
    }
    if (any) *joint->out_closed = true;
}

static espl_tensor *share_rows(espl_builder *b, const espl_composition *node, const espl_joint *joint, espl_tensor *y) {
    branch *branches;
    uint32_t n = 0;
    bool changed = false, adding = true;
    if (!y && !(ESPL_SITES_FROM_NOTHING & 1u << joint->site)) return NULL;
    for (const espl_composition *child = node->children; child; child = child->next) adding = adding && only_adds(child, joint->site);
    if (adding) return add_shares(b, node, joint, y);
    espl_status status = espl_graph_memory(b->graph, node->count * sizeof *branches, &branches);
    if (status != ESPL_OK) return espl_graph_fail(b->graph, status);
    for (const espl_composition *child = node->children; child; child = child->next, n++) {
        branches[n] = join_child(b, child, joint, y);
        changed |= branches[n].y != y;
    }
    if (!changed) return y;
    if (node->kind == ESPL_COMPOSITION_PARALLEL && b->replicas == 0)
        return espl_graph_fail(b->graph, espl_fail(b->model->ctx, ESPL_UNSUPPORTED, "parallel begins in the blocks: adapters that change the "
                                                   "embedding cannot be in it"));
    close_all(b, joint, branches, node->count);
    espl_tensor *sum = NULL;
    for (n = 0; n < node->count; n++) sum = (joint->site == ESPL_SITE_KEYS ? add_before : add_share)(b, node, n, branches[n].y, sum);
    return sum;
}

espl_tensor *espl_build_composition(espl_builder *b, const espl_composition *node, const espl_joint *joint, espl_tensor *y) {
    if (node->kind == ESPL_COMPOSITION_BASE) return y;
    if (espl_composition_shares(node->kind)) return share_rows(b, node, joint, y);
    if (!node->adapter) return join_in_turn(b, node, joint, y);
    for (int changing = 0; changing < 2; changing++) y = join_adapter(b, node, joint, changing, false, y);
    return y;
}

/* ---- Heads ---- */

static bool has_head(const espl_composition *node) {
    if (node->adapter) return espl_adapter_has_head(node->adapter);
    for (const espl_composition *child = node->children; child; child = child->next) {
        if (has_head(child)) return true;
    }
    return false;
}

bool espl_composition_has_heads(const espl_composition *node) {
    uint32_t heads = 0;
    if (espl_composition_shares(node->kind)) return has_head(node);
    for (const espl_composition *child = node->children; child; child = child->next) {
        if (espl_composition_has_heads(child)) return true;
        heads += has_head(child);
    }
    return heads > 1;
}

/* Of adapters one after the other the last that has a head. */
static const espl_composition *last_with_head(const espl_composition *node) {
    const espl_composition *last = NULL;
    for (const espl_composition *child = node->children; child; child = child->next) {
        if (has_head(child)) last = child;
    }
    return last;
}

espl_tensor *espl_build_outputs(espl_builder *b, const espl_composition *node, espl_tensor *hidden) {
    if (!espl_composition_shares(node->kind)) {
        const espl_composition *last = last_with_head(node);
        if (last) return espl_build_outputs(b, last, hidden);
        b->head_of = node->adapter && has_head(node) ? node->adapter : NULL;
        return espl_build_own_output(b, hidden);
    }
    espl_tensor *sum = NULL;
    uint32_t n = 0;
    for (const espl_composition *child = node->children; child; child = child->next)
        sum = add_share(b, node, n++, espl_build_outputs(b, child, hidden), sum);
    return sum;
}
