/* AdapterFusion: where several bottleneck adapters have a module, a softmax over what they add, token by token, Pfeiffer et al. 2021
 * (arXiv 2005.00247), section 3.2:
 *   y = residual + sum over n of softmax(q . k_n) v_n,   q = W_q h + b_q,  k_n = W_k u_n + b_k,  v_n = W_v u_n
 * u_n is what adapter n adds before its dropout, gate and residual; h and residual are those of the last one. The adapters are the
 * model's own, by their names, and stay as they are; training it trains these maps (and a head). The Adapters library's files:
 * adapter_fusion_config.json, "<module>.adapter_fusion_layer.<name>.query.weight".
 *
 * q . k_n = (W_k' q) . u_n + q . b_k, of which the softmax does not see what is the same for all n; and W_v may follow the sum. So
 * there are three products however many adapters there are. With dropout of the scores keys are made one by one. */
#include "adapters/bottleneck.h"
#include "adapters/folder.h"
#include "adapters/fusion.h"
#include "adapters/initial.h"
#include "adapters/make.h"
#include "adapters/spec.h"
#include "host/model/composition.h"
#include "host/ops/op_add.h"
#include "host/ops/op_fusion.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_scale.h"
#include <string.h>

typedef struct fusion_maps {
    bool there;
    uint32_t query, query_bias, key, key_bias, value; /* ESPL_NO_MATRIX: none */
} fusion_maps;

typedef struct fusion_state {
    bool query, key, value, regularized;
    float dropout;
    uint32_t count; /* of the adapters */
    uint32_t identity; /* the matrix that values are drawn to */
    fusion_maps (*maps)[BOTTLENECK_PLACES]; /* owned, one row per block */
} fusion_state;

static const double regularization = 0.01; /* times the sum of (W_v - I)^2, as the library's trainer adds it */

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static const espl_spec_row spec_keys[] = {
    {"of", "adapter_names", ESPL_SPEC_LIST, NULL},
    {"value", "value", ESPL_SPEC_BOOL, NULL},
    {"regularization", "regularization", ESPL_SPEC_BOOL, NULL},
    {"dropout", "dropout_prob", ESPL_SPEC_NUMBER, NULL},
    {0}};

/* ---- Declaring ---- */

static espl_adapter *member(const espl_adapter *adapter, uint32_t n) {
    const char *name = json_string_value(json_array_get(json_object_get(adapter->config, "adapter_names"), n));
    return name ? espl_adapter_find(adapter->model, name, strlen(name)) : NULL;
}

static bool can_be_fused(const espl_adapter *adapter) {
    return espl_is_bottleneck(adapter) && !((const bottleneck_state *)adapter->state)->parallel;
}

static espl_status check_members(const espl_adapter *adapter, uint32_t count) {
    espl_context *ctx = context(adapter);
    const json_t *names = json_object_get(adapter->config, "adapter_names");
    if (count < 2 || count > ESPL_FUSION_MAX)
        return espl_fail(ctx, ESPL_ARGUMENT, "fusion: \"adapter_names\" has %u names, from 2 to %d are fused (fusion:of=a+b)", count,
                         ESPL_FUSION_MAX);
    for (uint32_t n = 0; n < count; n++) {
        const char *name = json_string_value(json_array_get(names, n));
        const espl_adapter *one = member(adapter, n);
        if (!name) return espl_fail(ctx, ESPL_FORMAT, "fusion: \"adapter_names\" must hold names");
        if (!one) return espl_fail(ctx, ESPL_ARGUMENT, "fusion: the model has no adapter \"%s\": those that are fused are loaded first", name);
        if (!can_be_fused(one))
            return espl_fail(ctx, ESPL_UNSUPPORTED, "fusion: \"%s\" is of method %s; bottleneck adapters that are not parallel can be fused",
                             name, one->method->name);
    }
    return ESPL_OK;
}

static espl_status read_config(espl_adapter *adapter, fusion_state *state) {
    espl_context *ctx = context(adapter);
    static const char *const refused[] = {"query_before_ln", "residual_before", "temperature"};
    json_t *names;
    if (!json_object_get(adapter->config, "adapter_names"))
        ESPL_TRY(espl_json_set(ctx, adapter->config, "adapter_names", json_array()));
    const espl_spec_value defaults[] = {
        {"architecture", json_string("fusion")}, {"key", json_true()}, {"query", json_true()}, {"value", json_true()},
        {"regularization", json_boolean(!json_is_false(json_object_get(adapter->config, "value")))}, {"query_before_ln", json_false()},
        {"residual_before", json_false()}, {"temperature", json_false()}, {"value_before_softmax", json_true()},
        {"value_initialized", json_true()}, {"dropout_prob", json_null()}};
    ESPL_TRY(espl_spec_defaults(adapter, defaults, ESPL_COUNT(defaults)));
    ESPL_TRY(espl_json_array(ctx, adapter->config, "adapter_names", &names));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "query", true, &state->query));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "key", true, &state->key));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "value", true, &state->value));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "regularization", true, &state->regularized));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "dropout_prob", 0, &state->dropout));
    for (size_t i = 0; i < ESPL_COUNT(refused); i++) {
        if (json_is_true(json_object_get(adapter->config, refused[i])))
            return espl_fail(ctx, ESPL_UNSUPPORTED, "fusion: \"%s\" is not supported", refused[i]);
    }
    if (!state->query && !state->key && !state->value)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "fusion: without query, key and value it is another map in the Adapters library, which is not "
                         "supported");
    if (!(state->dropout >= 0 && state->dropout < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "fusion: dropout_prob %g is not from 0 to below 1", (double)state->dropout);
    /* 0 is the library's word for none, too. */
    if (state->dropout == 0) state->dropout = adapter->model->config.attention_dropout;
    state->count = (uint32_t)json_array_size(names);
    return check_members(adapter, state->count);
}

static espl_status add(espl_adapter *adapter, const char *module, const char *part, bool vector, uint32_t *out_index) {
    const uint32_t d = adapter->model->config.hidden;
    char *name;
    ESPL_TRY(espl_store_matrix(&adapter->store, part, vector ? 1 : d, d, ESPL_DTYPE_F32, !vector, out_index));
    ESPL_TRY(espl_format(context(adapter), &name, "%s.%s", module, part));
    espl_status status = espl_store_entry(&adapter->store, name, *out_index, 0, d, vector);
    espl_free(context(adapter), &name);
    return status;
}

/* As files name it; freed with espl_free. */
static espl_status module_of(const espl_adapter *adapter, uint32_t block, int location, char **out_module) {
    char *path;
    ESPL_TRY(espl_model_block_path(adapter->model, block, &path));
    espl_status status = espl_format(context(adapter), out_module, "%s.%s.adapter_fusion_layer.%s", path,
                                     espl_bottleneck_module(adapter, location), adapter->file_name);
    espl_free(context(adapter), &path);
    return status;
}

static espl_status declare_place(espl_adapter *adapter, const fusion_state *state, uint32_t block, int location, fusion_maps *maps) {
    espl_context *ctx = context(adapter);
    const espl_joint joint = {.block = block, .site = location == BOTTLENECK_MLP ? ESPL_SITE_MLP_OUT : ESPL_SITE_ATTENTION_OUT};
    char *module = NULL;
    *maps = (fusion_maps){true, ESPL_NO_MATRIX, ESPL_NO_MATRIX, ESPL_NO_MATRIX, ESPL_NO_MATRIX, ESPL_NO_MATRIX};
    for (uint32_t n = 0; n < state->count; n++) maps->there = maps->there && espl_bottleneck_at(member(adapter, n), &joint);
    if (!maps->there) return ESPL_OK;
    espl_status status = module_of(adapter, block, location, &module);
    if (status == ESPL_OK && state->query) status = add(adapter, module, "query.weight", false, &maps->query);
    if (status == ESPL_OK && state->query) status = add(adapter, module, "query.bias", true, &maps->query_bias);
    if (status == ESPL_OK && state->key) status = add(adapter, module, "key.weight", false, &maps->key);
    if (status == ESPL_OK && state->key) status = add(adapter, module, "key.bias", true, &maps->key_bias);
    if (status == ESPL_OK && state->value) status = add(adapter, module, "value.weight", false, &maps->value);
    espl_free(ctx, &module);
    return status;
}

/* As the library calls one that has no name of its own: "a,b". */
static espl_status name_file(espl_adapter *adapter, const fusion_state *state) {
    espl_bytes name = {0};
    espl_status status = ESPL_OK;
    if (strcmp(adapter->file_name, adapter->name) != 0) return ESPL_OK; /* a folder's */
    for (uint32_t n = 0; n < state->count && status == ESPL_OK; n++)
        status = espl_bytes_print(context(adapter), &name, "%s%s", n ? "," : "", member(adapter, n)->name);
    if (status == ESPL_OK) {
        espl_free(context(adapter), &adapter->file_name);
        status = espl_copy_string(context(adapter), name.data, name.count, &adapter->file_name);
    }
    espl_bytes_finish(context(adapter), &name);
    return status;
}

static espl_status declare(espl_adapter *adapter) {
    const uint32_t d = adapter->model->config.hidden;
    fusion_state *state;
    ESPL_TRY(espl_new(context(adapter), sizeof *state, &state));
    adapter->state = state;
    ESPL_TRY(read_config(adapter, state));
    ESPL_TRY(name_file(adapter, state));
    ESPL_TRY(espl_new(context(adapter), adapter->model->config.layers * sizeof *state->maps, &state->maps));
    for (uint32_t block = 0; block < adapter->model->config.layers; block++) {
        for (int location = 0; location < BOTTLENECK_PLACES; location++)
            ESPL_TRY(declare_place(adapter, state, block, location, &state->maps[block][location]));
    }
    if (adapter->store.entry_count == 0) return espl_fail(context(adapter), ESPL_ARGUMENT, "fusion: no place has modules of all its adapters");
    state->identity = ESPL_NO_MATRIX;
    if (!state->value || !state->regularized) return ESPL_OK;
    ESPL_TRY(espl_store_matrix(&adapter->store, "identity", d, d, ESPL_DTYPE_F32, false, &state->identity));
    adapter->store.matrices[state->identity].frozen = true;
    return ESPL_OK;
}

/* Maps of queries and keys N(0, 0.02^2), of values the identity with 1e-6 beside it; biases 0. */
static espl_status write_identity(espl_adapter *adapter, const espl_entry *entry, float beside) {
    const uint32_t d = adapter->model->config.hidden;
    float *values;
    ESPL_TRY(espl_new(context(adapter), (size_t)d * d * sizeof *values, &values));
    for (size_t i = 0; i < (size_t)d * d; i++) values[i] = i % (d + 1) == 0 ? 1 : beside;
    espl_status status = espl_store_write(&adapter->store, entry, values, ESPL_DTYPE_F32);
    espl_free(context(adapter), &values);
    return status;
}

static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    const fusion_state *state = adapter->state;
    const bool initialized = json_is_true(json_object_get(adapter->config, "value_initialized"));
    espl_store *store = &adapter->store;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        if (e->vector || !strstr(e->name, ".adapter_fusion_layer.")) continue;
        if (strstr(e->name, ".value.") && initialized) ESPL_TRY(write_identity(adapter, e, 1e-6f));
        else ESPL_TRY(espl_initial_normal(store, e, seed, 0.02f));
    }
    if (state->identity == ESPL_NO_MATRIX) return ESPL_OK;
    const espl_entry identity = {.matrix = state->identity, .count = adapter->model->config.hidden};
    return write_identity(adapter, &identity, 0);
}

/* ---- Use ---- */

static bool has(const espl_adapter *adapter, const espl_adapter *one) {
    for (uint32_t n = 0; n < ((const fusion_state *)adapter->state)->count; n++) {
        if (member(adapter, n) == one) return true;
    }
    return false;
}

espl_status espl_fusion_check_before(const espl_adapter *fusion, const espl_adapter *before) {
    const fusion_state *state = fusion->state;
    if (!can_be_fused(before))
        return espl_fail(context(fusion), ESPL_UNSUPPORTED, "fusion \"%s\": \"%s\" of method %s stands before one of its adapters; "
                         "bottleneck adapters that are not parallel can", fusion->name, before->name, before->method->name);
    for (uint32_t block = 0; block < fusion->model->config.layers; block++) {
        for (int location = 0; location < BOTTLENECK_PLACES; location++) {
            const bottleneck_state *own = before->state;
            if (own->blocks[block][location].width && !state->maps[block][location].there)
                return espl_fail(context(fusion), ESPL_UNSUPPORTED, "fusion \"%s\": \"%s\", which stands before one of its adapters, has a "
                                 "module in block %u where these have none to be fused", fusion->name, before->name, block);
        }
    }
    return ESPL_OK;
}

static espl_tensor *map(espl_builder *builder, const espl_adapter *adapter, uint32_t weight, uint32_t bias, espl_tensor *x) {
    if (weight == ESPL_NO_MATRIX) return x;
    return espl_graph_matmul(builder->graph, &(espl_matmul){.a = x, .b = espl_build_leaf(builder, &adapter->store, weight),
                                                            .bias = espl_build_leaf(builder, &adapter->store, bias),
                                                            .orientation = MATMUL_NT});
}

static espl_tensor *scores(espl_builder *builder, const espl_adapter *adapter, const fusion_maps *maps, espl_tensor *q,
                           espl_tensor *const *u) {
    const fusion_state *state = adapter->state;
    espl_graph *graph = builder->graph;
    espl_tensor *k[ESPL_FUSION_MAX];
    if (!builder->training || state->dropout == 0) {
        if (state->key)
            q = espl_graph_matmul(graph, &(espl_matmul){.a = q, .b = espl_build_leaf(builder, &adapter->store, maps->key),
                                                        .orientation = MATMUL_NN});
        return espl_graph_fusion_scores(graph, q, u, state->count);
    }
    for (uint32_t n = 0; n < state->count; n++) k[n] = map(builder, adapter, maps->key, maps->key_bias, u[n]);
    espl_tensor *s = espl_graph_fusion_scores(graph, q, k, state->count);
    espl_graph_value_dtype(graph, ESPL_DTYPE_F32); /* scores are not rounded */
    s = espl_build_dropout(builder, s, state->dropout);
    espl_graph_value_dtype(graph, builder->model->value_dtype);
    return s;
}

/* For the host: how much of each adapter every token takes. */
static espl_status keep(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *shares) {
    char *module;
    if (!builder->scores) return ESPL_OK;
    ESPL_TRY(module_of(adapter, joint->block, joint->site == ESPL_SITE_MLP_OUT, &module));
    return espl_scores_keep(context(adapter), builder->scores, module, shares);
}

/* What the last of a stack that is fused reads: what the one before gives. The first reads what all that are fused read, h, and not
 * its norm once more, as the Adapters library has it. */
static espl_tensor *through_stack(espl_builder *builder, const espl_composition *stack, const espl_joint *joint, espl_tensor *h,
                                  espl_tensor *residual) {
    bool closed = false;
    espl_joint own = *joint;
    espl_tensor *y = NULL;
    own.out_closed = &closed;
    for (const espl_composition *child = stack->children; child; child = child->next) {
        const bottleneck *b = espl_bottleneck_at(child->adapter, joint);
        if (!child->next) return y ? espl_bottleneck_before(builder, child->adapter, &own, y, &residual) : h;
        if (!b) continue;
        y = y ? espl_bottleneck_join(builder, child->adapter, &own, y)
              : espl_bottleneck_after(builder, child->adapter, joint->block, b, h, residual);
    }
    return h;
}

static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const fusion_state *state = adapter->state;
    const fusion_maps *maps = &state->maps[joint->block][joint->site == ESPL_SITE_MLP_OUT];
    espl_graph *graph = builder->graph;
    const espl_adapter *last = NULL;
    espl_tensor *u[ESPL_FUSION_MAX], *residual, *shares;
    const espl_composition *fused = joint->fused;
    if (!maps->there) return y;
    espl_status status = check_members(adapter, state->count);
    for (uint32_t n = 0; n < state->count && status == ESPL_OK; n++) {
        last = member(adapter, n);
        if (!espl_bottleneck_at(last, joint))
            status = espl_fail(context(adapter), ESPL_ARGUMENT, "fusion: \"%s\" is not in block %u any more", last->name, joint->block);
    }
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    espl_tensor *h = espl_bottleneck_before(builder, last, joint, y, &residual);
    for (uint32_t n = 0; n < state->count; n++) {
        const espl_adapter *one = member(adapter, n);
        espl_tensor *read = fused && fused->kind == ESPL_COMPOSITION_STACK ? through_stack(builder, fused, joint, h, residual) : h;
        u[n] = espl_bottleneck_up(builder, one, espl_bottleneck_at(one, joint), read);
        if (fused) fused = fused->next;
    }
    espl_tensor *q = map(builder, adapter, maps->query, maps->query_bias, h);
    y = espl_graph_fusion_mix(graph, scores(builder, adapter, maps, q, u), u, state->count, &shares);
    status = keep(builder, adapter, joint, shares);
    if (status != ESPL_OK) return espl_graph_fail(graph, status);
    if (!state->value) return espl_graph_add(graph, &(espl_add_args){y, residual});
    return espl_graph_matmul(graph, &(espl_matmul){.a = y, .b = espl_build_leaf(builder, &adapter->store, maps->value),
                                                   .orientation = MATMUL_NT, .residual = residual});
}

/* The gradient of the penalty: 2 regularization (W_v - I). */
static espl_status update(espl_builder *builder, const espl_adapter *adapter, espl_update when) {
    const fusion_state *state = adapter->state;
    espl_graph *graph = builder->graph;
    if (when != ESPL_UPDATE_BEFORE || state->identity == ESPL_NO_MATRIX) return ESPL_OK;
    espl_graph_value_dtype(graph, ESPL_DTYPE_F32);
    for (uint32_t block = 0; block < adapter->model->config.layers; block++) {
        for (int location = 0; location < BOTTLENECK_PLACES; location++) {
            const fusion_maps *maps = &state->maps[block][location];
            if (!maps->there) continue;
            const uint32_t of[] = {maps->value, state->identity};
            for (int i = 0; i < 2; i++) {
                espl_tensor *part = espl_graph_scale(graph, &(espl_scale){.x = espl_build_state(builder, adapter, of[i]),
                                                                          .number = (float)(i ? -2 * regularization : 2 * regularization)});
                espl_tensor *gradient = espl_graph_update(graph, espl_build_gradient(builder, adapter, maps->value));
                if (part && gradient) ESPL_TRY(espl_graph_accumulate(graph, part, gradient, true));
            }
        }
    }
    espl_graph_value_dtype(graph, builder->model->value_dtype);
    return espl_graph_status(graph);
}

/* ---- Files: there the adapters' names stand beside the configuration ---- */

static const espl_folder_names files = {"adapter_fusion_config.json", "model_adapter_fusion", "pytorch_model_adapter_fusion"};

static espl_status from_file(espl_context *ctx, const char *folder, json_t *file) {
    (void)folder;
    json_t *config, *names = json_object_get(file, "adapter_names");
    ESPL_TRY(espl_json_object(ctx, file, "config", &config));
    if (!json_is_array(names)) return espl_fail(ctx, ESPL_FORMAT, "\"adapter_names\" is not a list of names");
    ESPL_TRY(espl_json_set(ctx, config, "adapter_names", json_incref(names)));
    return espl_json_set(ctx, config, "architecture", json_string("fusion"));
}

static espl_status to_file(espl_context *ctx, json_t *file) {
    json_t *config = json_deep_copy(json_object_get(file, "config"));
    if (!config) return espl_fail(ctx, ESPL_HOST_MEMORY, "the configuration of an adapter needs memory");
    espl_status status = espl_json_set(ctx, file, "adapter_names", json_incref(json_object_get(config, "adapter_names")));
    json_object_del(config, "adapter_names");
    json_object_del(config, "architecture");
    if (status == ESPL_OK) return espl_json_set(ctx, file, "config", config);
    json_decref(config);
    return status;
}

static void finish(espl_adapter *adapter) {
    fusion_state *state = adapter->state;
    espl_free(context(adapter), &state->maps);
    espl_free(context(adapter), &adapter->state);
}

const espl_method espl_method_fusion = {
    .name = "fusion",
    .architecture = "fusion",
    .properties = {.intra = ESPL_INTRA_DENSE,
                   .inter = ESPL_INTER_DYNAMIC,
                   .adapted = ESPL_ADAPTED_ADDITION,
                   .input = ESPL_INPUT_HIDDEN,
                   .insertion = ESPL_INSERTION_SEQUENTIAL,
                   .integration = ESPL_INTEGRATION_GATED_ADDITION,
                   .sites = 1u << ESPL_SITE_ATTENTION_OUT | 1u << ESPL_SITE_MLP_OUT},
    .keys = {spec_keys},
    .declare = declare,
    .initialise = initialise,
    .join = join,
    .update = update,
    .files = &files,
    .from_file = from_file,
    .to_file = to_file,
    .has = has,
    .finish = finish};
