/* LoRA in the Adapters library's folders, with its gate: y = W x + s B A dropout(x), where s is alpha / r or, with use_gating, a
 * number for each sequence and target (UniPELT, Mao et al. 2022, section 3.2). Targets are q, k, v of attn_matrices; the first
 * and the second map of the feed-forward for intermediate_lora and output_lora, but in Llama and its like the last and the
 * second, because the library has it so. Where q, k and v are one map (GPT-2), its A, its B and its gates are one tensor each
 * with rows for those of the three that are targets. */
#include "adapters/gate.h"
#include "adapters/initial.h"
#include "adapters/library.h"
#include "adapters/lora.h"
#include "adapters/spec.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_scale.h"
#include <math.h>
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

/* What LoRA's state does not have. */
typedef struct library_state {
    bool gated, bert;
    bool fused; /* q, k and v are one map: group->target[i].from and .b are row and matrix of the i-th of them */
    uint32_t rank;
    float scale;
    espl_gate gates[][ESPL_LINEAR_COUNT][ESPL_LINEAR_PARTS];
} library_state;

static library_state *own(const espl_adapter *adapter) {
    return ((const lora_state *)adapter->state)->own;
}

static const espl_spec_row spec_keys[] = {
    {"r", "r", ESPL_SPEC_WHOLE, NULL},
    {"alpha", "alpha", ESPL_SPEC_NUMBER, NULL},
    {"dropout", "dropout", ESPL_SPEC_NUMBER, NULL},
    {"attention", "attn_matrices", ESPL_SPEC_LIST, "q, k, v"},
    {"intermediate", "intermediate_lora", ESPL_SPEC_BOOL, NULL},
    {"output", "output_lora", ESPL_SPEC_BOOL, NULL},
    {"leave_out", "leave_out", ESPL_SPEC_NUMBERS, NULL},
    {"init", "init_weights", ESPL_SPEC_TEXT, "lora, bert"},
    {"gated", "use_gating", ESPL_SPEC_BOOL, NULL},
    {0}};

static espl_status complete(espl_adapter *adapter) {
    const espl_spec_value rows[] = {{"architecture", json_string("lora")},
                {"selfattn_lora", json_true()},
                {"intermediate_lora", json_false()},
                {"output_lora", json_false()},
                {"leave_out", json_array()},
                {"r", json_integer(8)},
                {"alpha", json_integer(8)},
                {"dropout", json_real(0)},
                {"attn_matrices", json_pack("[s, s]", "q", "v")},
                {"composition_mode", json_string("add")},
                {"init_weights", json_string("lora")},
                {"init_weights_seed", json_null()},
                {"use_gating", json_false()},
                {"vera_d", json_null()},
                {"vera_b", json_null()},
                {"dtype", json_null()}};
    return espl_spec_defaults(adapter, rows, ESPL_COUNT(rows));
}

static espl_status refuse_variants(espl_adapter *adapter) {
    static const char *const keys[] = {"vera_d", "vera_b"};
    const char *mode = json_string_value(json_object_get(adapter->config, "composition_mode"));
    if (!mode || strcmp(mode, "add") != 0)
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: composition_mode \"%s\" is not add, the only one supported",
                         adapter->method->name, mode ? mode : "");
    for (size_t i = 0; i < ESPL_COUNT(keys); i++) {
        const json_t *value = json_object_get(adapter->config, keys[i]);
        if (value && !json_is_null(value) && !json_is_false(value))
            return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: \"%s\" is not supported", adapter->method->name, keys[i]);
    }
    return ESPL_OK;
}

static espl_status read_config(espl_adapter *adapter, lora_state *state, library_state *library) {
    espl_context *ctx = context(adapter);
    double alpha;
    const char *init;
    ESPL_TRY(espl_json_u32(ctx, adapter->config, "r", 8, &library->rank));
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "alpha", 8, &alpha));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "dropout", 0, &state->dropout));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "use_gating", false, &library->gated));
    ESPL_TRY(espl_json_string(ctx, adapter->config, "init_weights", "lora", &init));
    if (library->rank < 1 || library->rank > 65536)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: rank %u is not from 1 to 65536", adapter->method->name, library->rank);
    if (!(state->dropout >= 0 && state->dropout < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: dropout %g is not from 0 to below 1", adapter->method->name,
                         (double)state->dropout);
    library->bert = strcmp(init, "bert") == 0;
    if (!library->bert && strcmp(init, "lora") != 0)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: init_weights \"%s\" is not one of lora, bert", adapter->method->name, init);
    library->scale = library->gated ? 1 : (float)(alpha / library->rank);
    return ESPL_OK;
}

/* ---- Targets ---- */

static bool has(const json_t *list, const char *name) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *one = json_string_value(json_array_get(list, i));
        if (one && strcmp(one, name) == 0) return true;
    }
    return false;
}

static bool is_target(const espl_adapter *adapter, uint32_t linear, uint32_t part) {
    static const char *const attention[] = {"q", "k", "v"};
    const json_t *c = adapter->config;
    const bool gated = adapter->model->config.family->gated;
    const bool up = json_is_true(json_object_get(c, gated ? "output_lora" : "intermediate_lora"));
    const bool down = json_is_true(json_object_get(c, gated ? "intermediate_lora" : "output_lora"));
    if (linear == ESPL_LINEAR_UP) return up && part == (uint32_t)gated;
    if (linear == ESPL_LINEAR_DOWN) return down;
    return linear == ESPL_LINEAR_QKV && json_is_true(json_object_get(c, "selfattn_lora")) &&
           has(json_object_get(c, "attn_matrices"), attention[part]);
}

/* The tensors of a target, or of several that files have as one: rows of A, rows of B, gates. */
static espl_status declare_tensors(espl_adapter *adapter, uint32_t block, uint32_t linear, uint32_t part, const lora_group *group,
                                   const uint32_t rows[2], uint32_t gates) {
    espl_context *ctx = context(adapter);
    const espl_linear_shape *shape = &adapter->model->linear[linear];
    const lora_target *target = &group->target[part];
    char *path, *module = NULL, *name = NULL;
    ESPL_TRY(espl_model_module(adapter->model, block, linear, part, &path));
    espl_status status = espl_format(ctx, &module, "%s.loras.%s", path, adapter->file_name);
    if (status == ESPL_OK) status = espl_format(ctx, &name, "%s.lora_A", module);
    if (status == ESPL_OK) status = espl_store_entry(&adapter->store, name, group->a, target->from, rows[0], false);
    espl_free(ctx, &name);
    if (status == ESPL_OK) status = espl_format(ctx, &name, "%s.lora_B", module);
    if (status == ESPL_OK) status = espl_store_entry(&adapter->store, name, target->b, 0, rows[1], false);
    espl_free(ctx, &name);
    if (status == ESPL_OK && own(adapter)->gated) status = espl_format(ctx, &name, "%s.gate", module);
    if (status == ESPL_OK && name) status = espl_gate_declare(adapter, name, shape->in, gates, &own(adapter)->gates[block][linear][part]);
    espl_free(ctx, &name);
    espl_free(ctx, &module);
    espl_free(ctx, &path);
    return status;
}

static espl_status declare_target(espl_adapter *adapter, uint32_t block, uint32_t linear, uint32_t part, lora_group *group) {
    lora_target *target = &group->target[part];
    const uint32_t rows[] = {target->rank, adapter->model->linear[linear].part[part].count};
    ESPL_TRY(espl_store_matrix(&adapter->store, "lora_B", rows[1], target->rank, ESPL_DTYPE_F32, true, &target->b));
    return declare_tensors(adapter, block, linear, part, group, rows, 1);
}

static espl_status declare_fused(espl_adapter *adapter, uint32_t block, lora_group *group) {
    const library_state *library = own(adapter);
    const espl_linear_shape *shape = &adapter->model->linear[ESPL_LINEAR_QKV];
    const uint32_t each = shape->part[0].count / ESPL_LINEAR_PARTS;
    uint32_t count = 0, b;
    if (each % 4)
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: q, k and v of %u columns in one map are not multiples of 4",
                         adapter->method->name, each);
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) count += is_target(adapter, ESPL_LINEAR_QKV, p);
    if (!count) return ESPL_OK;
    const uint32_t rows[] = {count * library->rank, count * each};
    ESPL_TRY(espl_store_matrix(&adapter->store, "lora_A", rows[0], shape->in, ESPL_DTYPE_F32, true, &group->a));
    ESPL_TRY(espl_store_matrix(&adapter->store, "lora_B", rows[1], library->rank, ESPL_DTYPE_F32, true, &b));
    for (uint32_t p = 0, have = 0; p < ESPL_LINEAR_PARTS; p++) {
        if (is_target(adapter, ESPL_LINEAR_QKV, p))
            group->target[p] = (lora_target){.rank = library->rank, .from = have++ * library->rank, .b = b, .scale = library->scale};
    }
    group->target[0].b = b; /* by which files are laid out, target or not */
    return declare_tensors(adapter, block, ESPL_LINEAR_QKV, 0, group, rows, count);
}

static espl_status declare_group(espl_adapter *adapter, uint32_t block, uint32_t linear, lora_group *group) {
    const library_state *library = own(adapter);
    const espl_linear_shape *shape = &adapter->model->linear[linear];
    uint32_t rows = 0;
    group->a = ESPL_NO_MATRIX;
    if (linear == ESPL_LINEAR_QKV && library->fused) return declare_fused(adapter, block, group);
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && shape->part[p].count; p++) {
        if (!is_target(adapter, linear, p)) continue;
        group->target[p] = (lora_target){.rank = library->rank, .from = (uint32_t)espl_round_up(rows, 4), .scale = library->scale};
        rows = group->target[p].from + library->rank;
    }
    if (!rows) return ESPL_OK;
    ESPL_TRY(espl_store_matrix(&adapter->store, "lora_A", rows, shape->in, ESPL_DTYPE_F32, true, &group->a));
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
        if (group->target[p].rank) ESPL_TRY(declare_target(adapter, block, linear, p, group));
    }
    return ESPL_OK;
}

static espl_status declare(espl_adapter *adapter) {
    espl_context *ctx = context(adapter);
    const uint32_t layers = adapter->model->config.layers;
    lora_state *state;
    library_state *library;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    adapter->state = state;
    ESPL_TRY(espl_new(ctx, sizeof *library + layers * sizeof *library->gates, &library));
    state->own = library;
    library->fused = adapter->model->linear[ESPL_LINEAR_QKV].part[1].count == 0;
    ESPL_TRY(complete(adapter));
    ESPL_TRY(refuse_variants(adapter));
    ESPL_TRY(read_config(adapter, state, library));
    ESPL_TRY(espl_new(ctx, layers * sizeof *state->groups, &state->groups));
    ESPL_TRY(espl_library_check_left_out(ctx, adapter->config, layers));
    for (uint32_t block = 0; block < layers; block++) {
        const bool left = espl_library_left_out(adapter->config, block);
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++) {
            state->groups[block][l].a = ESPL_NO_MATRIX;
            if (!left) ESPL_TRY(declare_group(adapter, block, l, &state->groups[block][l]));
        }
    }
    return ESPL_OK;
}

/* lora: A U(+-1/sqrt(in)), B 0; bert: both N(0, 0.02^2); gates N(0, 0.02^2). */
static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    espl_store *store = &adapter->store;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        if (e->rank == 1) continue;
        const bool a = strstr(e->name, ".lora_A") != NULL;
        if (own(adapter)->bert || strstr(e->name, ".gate.")) ESPL_TRY(espl_initial_normal(store, e, seed, 0.02f));
        else if (a) ESPL_TRY(espl_initial_uniform(store, e, seed, 1 / sqrtf((float)store->matrices[e->matrix].cols)));
    }
    return ESPL_OK;
}

/* Each of q, k and v that is a target by its own rows of A, B and gates. */
static espl_tensor *join_fused(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const lora_state *state = adapter->state;
    const library_state *library = own(adapter);
    const lora_group *group = &state->groups[joint->block][joint->linear];
    const uint32_t each = adapter->model->linear[joint->linear].part[0].count / ESPL_LINEAR_PARTS;
    espl_tensor *x = espl_build_dropout(builder, joint->x, state->dropout);
    for (uint32_t p = 0, have = 0; p < ESPL_LINEAR_PARTS; p++) {
        const lora_target *target = &group->target[p];
        if (!target->rank) continue;
        espl_tensor *a = espl_build_rows(builder, &adapter->store, group->a, target->from, target->rank);
        espl_tensor *b = espl_build_rows(builder, &adapter->store, target->b, have * each, each);
        espl_tensor *u = espl_graph_matmul(builder->graph, &(espl_matmul){.a = x, .b = a, .orientation = MATMUL_NT});
        if (library->gated)
            u = espl_graph_scale(builder->graph, &(espl_scale){.x = u, .s = espl_gate_apply(builder, adapter,
                                                                                            &library->gates[joint->block][joint->linear][0],
                                                                                            have, joint->x)});
        y = espl_graph_matmul(builder->graph, &(espl_matmul){.a = u, .b = b, .orientation = MATMUL_NT, .into = y,
                                                             .into_from = p * each, .scale = target->scale});
        have++;
    }
    return y;
}

static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const lora_state *state = adapter->state;
    const library_state *library = own(adapter);
    const lora_group *group = espl_lora_group(adapter, joint);
    if (!group) return y;
    if (joint->linear == ESPL_LINEAR_QKV && library->fused) return join_fused(builder, adapter, joint, y);
    espl_tensor *u = espl_lora_down(builder, adapter, group, espl_build_dropout(builder, joint->x, state->dropout));
    for (uint32_t p = 0; library->gated && p < ESPL_LINEAR_PARTS; p++) {
        const espl_gate *gate = &library->gates[joint->block][joint->linear][p];
        const lora_target *target = &group->target[p];
        if (!target->rank) continue;
        u = espl_graph_scale(builder->graph, &(espl_scale){.x = u, .s = espl_gate_apply(builder, adapter, gate, 0, joint->x),
                                                           .from = target->from, .count = target->rank});
    }
    return espl_lora_up(builder, adapter, joint, group, u, y);
}

const espl_method espl_method_library_lora = {
    .name = "library_lora",
    .architecture = "lora",
    .properties = {.intra = ESPL_INTRA_DENSE,
                   .adapted = ESPL_ADAPTED_REPARAMETERISATION,
                   .input = ESPL_INPUT_HIDDEN,
                   .insertion = ESPL_INSERTION_PARALLEL,
                   .integration = ESPL_INTEGRATION_GATED_ADDITION,
                   .sites = 1u << ESPL_SITE_LINEAR},
    .keys = {spec_keys},
    .declare = declare,
    .initialise = initialise,
    .join = join,
    .finish = espl_lora_finish};
