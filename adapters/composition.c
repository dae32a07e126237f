/* Expressions that say which adapters take part: reading, checking, activating. What they mean is in host/model/composition.h. */
#include "adapters/composition.h"
#include "adapters/fusion.h"
#include "adapters/make.h"
#include <math.h>
#include <string.h>

enum { DEPTH_MAX = 1 }; /* blocks around a block: around a stack there may be one more */

#define KIND(kind) (1u << ESPL_COMPOSITION_##kind)
#define NAMES (KIND(ADAPTER) | KIND(BASE))

/* Blocks, and what each may hold, by the Adapters library's rules (composition.py, ALLOWED_NESTINGS). */
static const struct {
    uint32_t children;
    bool numbers; /* its children have numbers */
} blocks[ESPL_COMPOSITION_KIND_COUNT] = {
    [ESPL_COMPOSITION_STACK] = {KIND(ADAPTER) | KIND(FUSE) | KIND(SPLIT) | KIND(BATCHSPLIT) | KIND(MULTITASK) | KIND(PARALLEL) |
                                             KIND(AVERAGE) | KIND(COMPAT_AVERAGE), false},
    [ESPL_COMPOSITION_FUSE] = {KIND(ADAPTER) | KIND(STACK), false},
    [ESPL_COMPOSITION_SPLIT] = {NAMES | KIND(SPLIT) | KIND(STACK) | KIND(BATCHSPLIT) | KIND(AVERAGE) | KIND(COMPAT_AVERAGE), true},
    [ESPL_COMPOSITION_BATCHSPLIT] = {NAMES | KIND(STACK) | KIND(SPLIT) | KIND(BATCHSPLIT) | KIND(AVERAGE) |
                                                       KIND(COMPAT_AVERAGE), true},
    [ESPL_COMPOSITION_MULTITASK] = {NAMES | KIND(STACK) | KIND(AVERAGE) | KIND(COMPAT_AVERAGE) | KIND(FUSE), false},
    [ESPL_COMPOSITION_PARALLEL] = {NAMES | KIND(STACK) | KIND(BATCHSPLIT) | KIND(AVERAGE) | KIND(COMPAT_AVERAGE), false},
    [ESPL_COMPOSITION_AVERAGE] = {KIND(ADAPTER) | KIND(STACK) | KIND(SPLIT) | KIND(BATCHSPLIT), true},
    [ESPL_COMPOSITION_COMPAT_AVERAGE] = {KIND(ADAPTER) | KIND(STACK) | KIND(SPLIT) | KIND(BATCHSPLIT), true},
};

/* ---- Reading ---- */

typedef struct reader {
    espl_model *model;
    const char *whole, *at;
} reader;

static espl_status refuse(const reader *r, const char *what) {
    return espl_fail(r->model->ctx, ESPL_ARGUMENT, "composition \"%s\": %s at its character %zu", r->whole, what,
                     (size_t)(r->at - r->whole) + 1);
}

espl_adapter *espl_adapter_find(const espl_model *model, const char *name, size_t bytes) {
    for (espl_adapter *adapter = model->adapters; adapter; adapter = adapter->next) {
        if (strlen(adapter->name) == bytes && strncmp(adapter->name, name, bytes) == 0) return adapter;
    }
    return NULL;
}

static bool is_word(const char *text, size_t bytes, const char *word) {
    return strlen(word) == bytes && strncmp(text, word, bytes) == 0;
}

static espl_composition_kind block_of(const char *name, size_t bytes) {
    for (int kind = ESPL_COMPOSITION_STACK; kind < ESPL_COMPOSITION_KIND_COUNT; kind++) {
        if (is_word(name, bytes, espl_composition_words[kind])) return (espl_composition_kind)kind;
    }
    return ESPL_COMPOSITION_KIND_COUNT;
}

static espl_status read_number(reader *r, espl_composition *child) {
    char *text;
    child->given = *r->at == ':';
    if (!child->given) return ESPL_OK;
    const size_t bytes = strspn(++r->at, "0123456789-.eE");
    ESPL_TRY(espl_copy_string(r->model->ctx, r->at, bytes, &text));
    const bool is = espl_json_number(text, &child->share);
    espl_free(r->model->ctx, &text);
    if (!is) return refuse(r, "there is no number");
    r->at += bytes;
    return ESPL_OK;
}

static espl_status read_node(reader *r, const espl_composition *parent, uint32_t depth, espl_composition **out_node);

/* "(a:1,b:2)" */
static espl_status read_children(reader *r, espl_composition *node, uint32_t depth) {
    espl_composition **end = &node->children;
    do {
        r->at++;
        ESPL_TRY(read_node(r, node, depth + 1, end));
        node->count++;
        if (blocks[node->kind].numbers) ESPL_TRY(read_number(r, *end));
        end = &(*end)->next;
    } while (*r->at == ',');
    if (*r->at != ')') return refuse(r, "\",\" or \")\" is missing");
    r->at++;
    return ESPL_OK;
}

/* Of a stack that is fused, the adapter whose output is; NULL: there is none. */
static const espl_adapter *last_of(const espl_composition *node) {
    const espl_composition *last = node->kind == ESPL_COMPOSITION_STACK ? node->children : node;
    while (node->kind == ESPL_COMPOSITION_STACK && last->next) last = last->next;
    return last->adapter;
}

/* The AdapterFusion over just these, in this order. */
static espl_status find_fusion(reader *r, const espl_composition *node, espl_adapter **out_adapter) {
    for (espl_adapter *one = r->model->adapters; one; one = one->next) {
        const json_t *names = one->method->has ? json_object_get(one->config, "adapter_names") : NULL;
        bool same = names && json_array_size(names) == node->count;
        size_t n = 0;
        for (const espl_composition *child = node->children; same && child; child = child->next)
            same = last_of(child) && strcmp(json_string_value(json_array_get(names, n++)), last_of(child)->name) == 0;
        if (!same) continue;
        *out_adapter = one;
        return ESPL_OK;
    }
    return refuse(r, "there is no fusion of just these adapters in this order before the end of the block");
}

/* What stands before the one that is fused: adapters, as blocks would be too deep. */
static espl_status check_fused_stack(const espl_adapter *fusion, const espl_composition *stack) {
    for (const espl_composition *child = stack->children; child->next; child = child->next)
        ESPL_TRY(espl_fusion_check_before(fusion, child->adapter));
    return ESPL_OK;
}

/* fuse(a,b) stands for the adapter that fuses them, and of fuse(stack(a,b),c), which fuses b and c, what is before them stays. */
static espl_status become_fusion(reader *r, espl_composition *node) {
    bool stacks = false;
    ESPL_TRY(find_fusion(r, node, &node->adapter));
    for (const espl_composition *child = node->children; child; child = child->next) {
        if (child->kind != ESPL_COMPOSITION_STACK) continue;
        stacks = true;
        ESPL_TRY(check_fused_stack(node->adapter, child));
    }
    if (stacks) node->fused = node->children, node->children = NULL;
    while (node->children) {
        espl_composition *child = node->children;
        node->children = child->next;
        espl_composition_destroy(r->model->ctx, &child);
    }
    node->kind = ESPL_COMPOSITION_ADAPTER;
    node->count = 0;
    return ESPL_OK;
}

static espl_status read_name(reader *r, const char *name, size_t bytes, espl_composition *node) {
    if (is_word(name, bytes, ESPL_COMPOSITION_BASE_NAME)) {
        node->kind = ESPL_COMPOSITION_BASE;
        return ESPL_OK;
    }
    node->adapter = espl_adapter_find(r->model, name, bytes);
    if (!node->adapter) return espl_fail(r->model->ctx, ESPL_ARGUMENT, "there is no adapter \"%.*s\"", (int)bytes, name);
    if (node->adapter->merge_order)
        return espl_fail(r->model->ctx, ESPL_ARGUMENT, "adapter \"%s\" is merged into the base: activating it would count it twice",
                         node->adapter->name);
    return ESPL_OK;
}

static espl_status check_nesting(reader *r, const espl_composition *parent, const espl_composition *node, uint32_t depth) {
    const bool base = node->kind == ESPL_COMPOSITION_BASE, leaf = base || node->kind == ESPL_COMPOSITION_ADAPTER;
    if (parent->kind == ESPL_COMPOSITION_LIST) return base ? refuse(r, "the base stands in no block") : ESPL_OK;
    if (!(blocks[parent->kind].children & 1u << node->kind))
        return espl_fail(r->model->ctx, ESPL_ARGUMENT, "composition \"%s\": %s takes no %s", r->whole, espl_composition_words[parent->kind],
                         base ? ESPL_COMPOSITION_BASE_NAME : espl_composition_words[node->kind]);
    if (depth > DEPTH_MAX && !leaf && node->kind != ESPL_COMPOSITION_STACK)
        return espl_fail(r->model->ctx, ESPL_ARGUMENT, "composition \"%s\" is too deep: %s is in %u blocks", r->whole,
                         espl_composition_words[node->kind], depth);
    return ESPL_OK;
}

/* parent: the block or list around it; depth: how many blocks are around it. */
static espl_status read_node(reader *r, const espl_composition *parent, uint32_t depth, espl_composition **out_node) {
    const char *name = r->at;
    const size_t bytes = strcspn(name, "+(),:");
    espl_composition *node;
    ESPL_TRY(espl_new(r->model->ctx, sizeof *node, &node));
    *out_node = node;
    if (bytes == 0) return refuse(r, "a name is missing");
    r->at += bytes;
    if (*r->at != '(') {
        ESPL_TRY(read_name(r, name, bytes, node));
        return check_nesting(r, parent, node, depth);
    }
    node->kind = block_of(name, bytes);
    if (node->kind == ESPL_COMPOSITION_KIND_COUNT)
        return espl_fail(r->model->ctx, ESPL_ARGUMENT, "composition \"%s\": there is no block \"%.*s\", there are stack, fuse, split, "
                         "batchsplit, multitask, parallel, average and compat_average", r->whole, (int)bytes, name);
    ESPL_TRY(check_nesting(r, parent, node, depth));
    ESPL_TRY(read_children(r, node, depth));
    return node->kind == ESPL_COMPOSITION_FUSE ? become_fusion(r, node) : ESPL_OK;
}

static espl_status read_list(reader *r, espl_composition *root) {
    espl_composition **end = &root->children;
    while (*r->at) {
        ESPL_TRY(read_node(r, root, 0, end));
        root->count++;
        end = &(*end)->next;
        if (*r->at && *r->at++ != '+') {
            r->at--;
            return refuse(r, "\"+\" or the end is missing");
        }
    }
    return ESPL_OK;
}

/* ---- Numbers ---- */

static espl_status check_counts(reader *r, const espl_composition *node) {
    for (const espl_composition *child = node->children; child; child = child->next) {
        const bool last_of_split = node->kind == ESPL_COMPOSITION_SPLIT && !child->next;
        if (!child->given && !last_of_split)
            return espl_fail(r->model->ctx, ESPL_ARGUMENT, "composition \"%s\": in %s each part says how many, as in a:2%s", r->whole,
                             espl_composition_words[node->kind], node->kind == ESPL_COMPOSITION_SPLIT ? "; the last may take what is left" : "");
        if (child->share < 0 || child->share != floor(child->share) || child->share > UINT32_MAX)
            return espl_fail(r->model->ctx, ESPL_ARGUMENT, "composition \"%s\": %g is not a number of %s", r->whole, child->share,
                             node->kind == ESPL_COMPOSITION_SPLIT ? "tokens" : "sequences");
    }
    return ESPL_OK;
}

/* Weights that sum to 1, or as the library has them: it takes the mean over children of what has been weighed so already. */
static espl_status settle_weights(reader *r, espl_composition *node) {
    const double most = node->kind == ESPL_COMPOSITION_COMPAT_AVERAGE ? node->count : 1;
    double sum = 0;
    for (espl_composition *child = node->children; child; child = child->next) {
        if (child->given != node->children->given)
            return espl_fail(r->model->ctx, ESPL_ARGUMENT, "composition \"%s\": all adapters of an average have weights, or none", r->whole);
        if (!child->given) child->share = 1;
        sum += child->share;
    }
    if (!(fabs(sum) > 1e-12))
        return espl_fail(r->model->ctx, ESPL_ARGUMENT, "composition \"%s\": weights whose sum is %g cannot be brought to 1", r->whole, sum);
    for (espl_composition *child = node->children; child; child = child->next) child->share /= sum * most;
    return ESPL_OK;
}

static espl_status name_tasks(reader *r, espl_composition *node) {
    espl_context *ctx = r->model->ctx;
    node->tasks = json_array();
    if (!node->tasks) return espl_fail(ctx, ESPL_HOST_MEMORY, "the names of tasks need memory");
    for (const espl_composition *child = node->children; child; child = child->next) {
        const espl_composition *last = child;
        while (last->children) {
            last = last->children;
            while (last->next) last = last->next;
        }
        ESPL_TRY(espl_json_push(ctx, node->tasks, json_string(last->adapter ? last->adapter->name : ESPL_COMPOSITION_BASE_NAME)));
    }
    return ESPL_OK;
}

static espl_status settle(reader *r, espl_composition *node) {
    espl_status status = ESPL_OK;
    if (node->kind == ESPL_COMPOSITION_SPLIT || node->kind == ESPL_COMPOSITION_BATCHSPLIT) status = check_counts(r, node);
    if (node->kind >= ESPL_COMPOSITION_AVERAGE) status = settle_weights(r, node);
    if (node->kind == ESPL_COMPOSITION_MULTITASK) status = name_tasks(r, node);
    for (espl_composition *child = node->children; child && status == ESPL_OK; child = child->next) status = settle(r, child);
    return status;
}

/* ---- What takes part through another ---- */

/* An adapter on which another one of the list stands takes part through that one alone. */
static bool is_part(const espl_composition *root, const espl_adapter *adapter) {
    for (const espl_composition *other = root->children; adapter && other; other = other->next) {
        if (other->adapter && other->adapter->method->has && other->adapter->method->has(other->adapter, adapter)) return true;
    }
    return false;
}

static void drop_parts(espl_context *ctx, espl_composition *root) {
    for (espl_composition **at = &root->children; *at;) {
        espl_composition *child = *at;
        if (!is_part(root, child->adapter)) {
            at = &child->next;
            continue;
        }
        *at = child->next;
        root->count--;
        espl_composition_destroy(ctx, &child);
    }
}

/* ---- Activating ---- */

static espl_status read(reader *r, espl_composition **out_root) {
    ESPL_TRY(espl_new(r->model->ctx, sizeof **out_root, out_root));
    (*out_root)->kind = ESPL_COMPOSITION_LIST;
    ESPL_TRY(read_list(r, *out_root));
    ESPL_TRY(settle(r, *out_root));
    drop_parts(r->model->ctx, *out_root);
    return espl_composition_check(r->model->ctx, r->whole, *out_root);
}

static void mark(const espl_composition *node, bool shared) {
    if (node->adapter) node->adapter->active = true, node->adapter->some_rows |= shared;
    for (const espl_composition *child = node->children; child; child = child->next)
        mark(child, shared || espl_composition_shares(node->kind));
}

espl_status espl_model_activate(espl_model *model, const char *expression) {
    reader r = {model, expression, expression};
    espl_composition *root = NULL;
    const espl_status status = read(&r, &root);
    if (status != ESPL_OK) {
        espl_composition_destroy(model->ctx, &root);
        return status;
    }
    espl_composition_destroy(model->ctx, &model->composition);
    model->composition = root;
    for (espl_adapter *adapter = model->adapters; adapter; adapter = adapter->next) adapter->active = adapter->some_rows = false;
    mark(root, false);
    return ESPL_OK;
}

/* ---- Tasks ---- */

static const json_t *tasks_of(const espl_composition *node) {
    const json_t *tasks = node ? node->adapter ? node->adapter->tasks : node->tasks : NULL;
    for (const espl_composition *child = node ? node->children : NULL; child && !tasks; child = child->next) tasks = tasks_of(child);
    return tasks;
}

bool espl_model_has_tasks(const espl_model *model) {
    return tasks_of(model->composition) != NULL;
}

espl_status espl_model_task(const espl_model *model, const char *name, uint32_t *out_task) {
    const json_t *tasks = tasks_of(model->composition);
    espl_bytes there = {0};
    espl_status status = ESPL_OK;
    if (!tasks)
        return espl_fail(model->ctx, ESPL_ARGUMENT, "task \"%s\": no active adapter has a part for each of several tasks", name);
    for (uint32_t i = 0; i < json_array_size(tasks); i++) {
        const char *task = json_string_value(json_array_get(tasks, i));
        if (strcmp(task, name) == 0) {
            *out_task = i;
            goto done;
        }
        status = espl_bytes_print(model->ctx, &there, "%s\"%s\"", i ? ", " : "", task);
        if (status != ESPL_OK) goto done;
    }
    status = espl_fail(model->ctx, ESPL_ARGUMENT, "task \"%s\" is none of the adapter's: %s", name, there.data);
done:
    espl_bytes_finish(model->ctx, &there);
    return status;
}
