/* Compositions in folders, as the Adapters library writes them (save_adapter_setup): a folder of each adapter under its name, and
 * adapter_setup.json, which says how they are put together. */
#include "adapters/make.h"
#include "host/base/os.h"
#include "host/model/composition.h"
#include "adapters/library.h"
#include <string.h>

static const char setup_file[] = "adapter_setup.json";

/* The library's blocks: type, and where their numbers are. "single" is a name; a fusion is found by its parts. */
static const struct {
    const char *type, *numbers;
    espl_composition_kind kind;
} blocks[] = {{"Stack", NULL, ESPL_COMPOSITION_STACK},
              {"Fuse", NULL, ESPL_COMPOSITION_FUSE},
              {"Split", "splits", ESPL_COMPOSITION_SPLIT},
              {"BatchSplit", "batch_sizes", ESPL_COMPOSITION_BATCHSPLIT},
              {"MultiTask", NULL, ESPL_COMPOSITION_MULTITASK},
              {"Parallel", NULL, ESPL_COMPOSITION_PARALLEL},
              {"Average", "weights", ESPL_COMPOSITION_COMPAT_AVERAGE}};

/* ---- Writing ---- */

static json_t *describe_single(const char *name) {
    return json_pack("{s:s, s:[s]}", "type", "single", "children", name);
}

static espl_status refuse(espl_context *ctx, const char *what) {
    return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: a setup of the Adapters library has no place for that", what);
}

static espl_status describe(espl_context *ctx, const espl_composition *node, json_t **out_block);

static espl_status describe_fusion(const espl_composition *node, json_t **out_block) {
    const espl_adapter *fusion = node->adapter;
    espl_context *ctx = fusion->model->ctx;
    json_t *children;
    size_t i;
    json_t *name;
    *out_block = json_pack("{s:s, s:[]}", "type", "Fuse", "children");
    ESPL_TRY(espl_json_array(ctx, *out_block, "children", &children));
    for (const espl_composition *child = node->fused; child; child = child->next) {
        json_t *one = NULL;
        const espl_status status = describe(ctx, child, &one);
        if (status != ESPL_OK) json_decref(one);
        ESPL_TRY(status);
        ESPL_TRY(espl_json_push(ctx, children, one));
    }
    json_array_foreach(node->fused ? NULL : json_object_get(fusion->config, "adapter_names"), i, name)
        ESPL_TRY(espl_json_push(ctx, children, describe_single(json_string_value(name))));
    return ESPL_OK;
}

static espl_status describe_children(espl_context *ctx, const espl_composition *node, const char *numbers, json_t *block) {
    json_t *children, *shares = json_array();
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_json_array(ctx, block, "children", &children));
    for (const espl_composition *child = node->children; child; child = child->next) {
        json_t *one = NULL;
        const bool whole = node->kind == ESPL_COMPOSITION_SPLIT || node->kind == ESPL_COMPOSITION_BATCHSPLIT;
        if (whole && !child->given) ESPL_GOTO(refuse(ctx, "a part of split that takes what is left"));
        status = describe(ctx, child, &one);
        if (status == ESPL_OK) status = espl_json_push(ctx, children, one);
        else json_decref(one);
        if (status == ESPL_OK)
            status = espl_json_push(ctx, shares, whole ? json_integer((json_int_t)child->share) : json_real(child->share * node->count));
        ESPL_GOTO(status);
    }
    if (numbers) ESPL_GOTO(espl_json_set(ctx, block, "kwargs", json_pack("{s:O}", numbers, shares)));
fail:
    json_decref(shares);
    return status;
}

/* *out_block is the caller's, also on failure. */
static espl_status describe(espl_context *ctx, const espl_composition *node, json_t **out_block) {
    if (node->kind == ESPL_COMPOSITION_BASE) return refuse(ctx, ESPL_COMPOSITION_BASE_NAME);
    if (node->kind == ESPL_COMPOSITION_AVERAGE) return refuse(ctx, "average, which is compat_average times the number of adapters");
    if (node->adapter && node->adapter->method->has) return describe_fusion(node, out_block);
    if (node->adapter) {
        *out_block = describe_single(node->adapter->name);
        return ESPL_OK;
    }
    size_t i = 0;
    while (blocks[i].kind != node->kind) i++;
    *out_block = json_pack("{s:s, s:[]}", "type", blocks[i].type, "children");
    return describe_children(ctx, node, blocks[i].numbers, *out_block);
}

/* The root of a setup is a block. */
static espl_status describe_root(const espl_model *model, json_t **out_block) {
    const espl_composition *root = model->composition;
    if (!root || root->count == 0) return espl_fail(model->ctx, ESPL_ARGUMENT, "no adapter is active: there is no setup to save");
    if (root->count > 1) return refuse(model->ctx, "adapters joined by \"+\" (stack(a,b) puts them one behind the other)");
    ESPL_TRY(describe(model->ctx, root->children, out_block));
    if (!root->children->adapter || root->children->adapter->method->has) return ESPL_OK;
    json_t *block = json_pack("{s:s, s:[o]}", "type", "Stack", "children", *out_block);
    *out_block = block;
    return ESPL_OK;
}

static espl_status save_adapter(espl_adapter *adapter, const char *folder) {
    espl_context *ctx = adapter->model->ctx;
    char *path;
    if (!adapter->library)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "adapter \"%s\" is of PEFT's format, for which a setup of the Adapters library has no place",
                         adapter->name);
    ESPL_TRY(espl_format(ctx, &path, "%s/%s", folder, adapter->method->has ? adapter->file_name : adapter->name));
    const espl_status status = espl_adapter_save(adapter, path);
    espl_free(ctx, &path);
    return status;
}

static bool is_in_setup(const espl_model *model, const espl_adapter *adapter) {
    bool is = espl_composition_names(model->composition, adapter);
    for (const espl_adapter *other = model->adapters; other && !is; other = other->next)
        is = other->active && other->method->has && other->method->has(other, adapter);
    return is;
}

espl_status espl_model_save_setup(espl_model *model, const char *folder) {
    espl_context *ctx = model->ctx;
    json_t *block = NULL, *file = NULL;
    char *path = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(describe_root(model, &block));
    file = json_pack("{s:O, s:n, s:s}", "adapter_setup", block, "head_setup", "version", espl_library_version);
    if (!file) ESPL_GOTO(espl_fail(ctx, ESPL_HOST_MEMORY, "a setup needs memory"));
    ESPL_GOTO(espl_os_make_folder(ctx, folder));
    for (espl_adapter *adapter = model->adapters; adapter; adapter = adapter->next) {
        if (is_in_setup(model, adapter)) ESPL_GOTO(save_adapter(adapter, folder));
    }
    ESPL_GOTO(espl_format(ctx, &path, "%s/%s", folder, setup_file));
    ESPL_GOTO(espl_json_save(ctx, path, file));
fail:
    espl_free(ctx, &path);
    espl_json_destroy(&file);
    espl_json_destroy(&block);
    return status;
}

/* ---- Reading ---- */

typedef struct loader {
    espl_model *model;
    const char *folder;
    espl_adapter *last; /* of the model before it; NULL: it had none */
    espl_bytes expression;
} loader;

static espl_status load_one(loader *l, const char *name, const char *folder_name) {
    espl_adapter *adapter;
    char *path;
    if (espl_adapter_find(l->model, name, strlen(name))) return ESPL_OK;
    ESPL_TRY(espl_format(l->model->ctx, &path, "%s/%s", l->folder, folder_name));
    const espl_status status = espl_adapter_load(l->model, name, path, &adapter);
    espl_free(l->model->ctx, &path);
    return status;
}

static espl_status read_block(loader *l, const json_t *block);

static espl_status read_children(loader *l, const json_t *block, const char *type, const char *numbers) {
    espl_context *ctx = l->model->ctx;
    const json_t *shares = numbers ? json_object_get(json_object_get(block, "kwargs"), numbers) : NULL;
    size_t i;
    json_t *child;
    if (numbers && json_array_size(shares) != json_array_size(json_object_get(block, "children")))
        return espl_fail(ctx, ESPL_FORMAT, "\"%s\" has %zu children and %zu %s", type, json_array_size(json_object_get(block, "children")),
                         json_array_size(shares), numbers);
    json_array_foreach(json_object_get(block, "children"), i, child) {
        if (i) ESPL_TRY(espl_bytes_print(ctx, &l->expression, ","));
        ESPL_TRY(read_block(l, child));
        if (shares) ESPL_TRY(espl_bytes_print(ctx, &l->expression, ":%.17g", json_number_value(json_array_get(shares, i))));
    }
    return ESPL_OK;
}

/* Of a block in Fuse what is fused: its last adapter. NULL: there is none. */
static const char *last_name(const json_t *block) {
    const json_t *children = json_object_get(block, "children"), *last = json_array_get(children, json_array_size(children) - 1);
    return json_is_object(last) ? last_name(last) : json_string_value(last);
}

/* Beside its parts, under their names. */
static espl_status load_fusion(loader *l, const json_t *block) {
    espl_context *ctx = l->model->ctx;
    espl_bytes folder = {0}, name = {0};
    size_t i;
    json_t *child;
    espl_status status = ESPL_OK;
    json_array_foreach(json_object_get(block, "children"), i, child) {
        const char *part = last_name(child);
        if (!part) ESPL_GOTO(espl_fail(ctx, ESPL_FORMAT, "\"Fuse\" has a child without an adapter"));
        ESPL_GOTO(espl_bytes_print(ctx, &folder, "%s%s", i ? "," : "", part));
        ESPL_GOTO(espl_bytes_print(ctx, &name, "%s%s", i ? "-" : "", part));
    }
    if (name.count) ESPL_GOTO(load_one(l, name.data, folder.data));
fail:
    espl_bytes_finish(ctx, &folder);
    espl_bytes_finish(ctx, &name);
    return status;
}

static espl_status read_single(loader *l, const json_t *block) {
    const char *name = json_string_value(json_array_get(json_object_get(block, "children"), 0));
    if (!name) return espl_fail(l->model->ctx, ESPL_FORMAT, "\"single\" has no name");
    ESPL_TRY(load_one(l, name, name));
    return espl_bytes_print(l->model->ctx, &l->expression, "%s", name);
}

/* Loads what it names and adds its expression. */
static espl_status read_block(loader *l, const json_t *block) {
    espl_context *ctx = l->model->ctx;
    const char *type = json_string_value(json_object_get(block, "type"));
    size_t i = 0;
    if (type && strcmp(type, "single") == 0) return read_single(l, block);
    while (type && i < ESPL_COUNT(blocks) && strcmp(blocks[i].type, type) != 0) i++;
    if (!type || i == ESPL_COUNT(blocks))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "\"%s\" is no block that is known: single, Stack, Fuse, Split, BatchSplit, MultiTask, "
                         "Parallel, Average", type ? type : "");
    ESPL_TRY(espl_bytes_print(ctx, &l->expression, "%s(", espl_composition_words[blocks[i].kind]));
    ESPL_TRY(read_children(l, block, type, blocks[i].numbers));
    if (blocks[i].kind == ESPL_COMPOSITION_FUSE) ESPL_TRY(load_fusion(l, block));
    return espl_bytes_print(ctx, &l->expression, ")");
}

/* The adapters that have come since. */
static void undo(loader *l) {
    for (;;) {
        espl_adapter *added = l->last ? l->last->next : l->model->adapters;
        if (!added) return;
        espl_adapter_delete(&added);
    }
}

espl_status espl_model_load_setup(espl_model *model, const char *folder) {
    espl_context *ctx = model->ctx;
    loader l = {.model = model, .folder = folder, .last = model->adapters};
    json_t *file = NULL, *block;
    char *path = NULL;
    espl_status status = ESPL_OK;
    while (l.last && l.last->next) l.last = l.last->next;
    ESPL_GOTO(espl_format(ctx, &path, "%s/%s", folder, setup_file));
    ESPL_GOTO(espl_json_load(ctx, path, &file));
    status = espl_json_object(ctx, file, "adapter_setup", &block);
    if (status == ESPL_OK && !block) status = espl_fail(ctx, ESPL_FORMAT, "\"adapter_setup\" is missing");
    if (status == ESPL_OK) status = read_block(&l, block);
    if (status == ESPL_OK) status = espl_model_activate(model, l.expression.data);
    if (status != ESPL_OK) espl_fail_in(ctx, status, "%s", path);
fail:
    if (status != ESPL_OK) undo(&l);
    espl_bytes_finish(ctx, &l.expression);
    espl_json_destroy(&file);
    espl_free(ctx, &path);
    return status;
}
