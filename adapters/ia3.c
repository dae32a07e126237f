/* (IA)3: learned factors of keys, values and of what the feed-forward's last map takes, Liu et al. 2022; files and options as
 * Hugging Face PEFT has them: a target's output is scaled, bias included; a feedforward module's input.
 *
 * Targets of a fused product that are neighbours (keys and values) share one vector, so that they are one operator. */
#include "adapters/initial.h"
#include "adapters/spec.h"
#include "adapters/targets.h"
#include "host/ops/op_scale.h"
#include <string.h>

typedef struct ia3_linear {
    uint32_t in;                       /* matrix [1, in] of the product's input, or ESPL_NO_MATRIX */
    uint32_t out[ESPL_LINEAR_PARTS];   /* matrix that holds this part's factors, or ESPL_NO_MATRIX */
    uint32_t from[ESPL_LINEAR_PARTS];  /* their first column in it */
} ia3_linear;

typedef struct ia3_state {
    bool ones;
    ia3_linear (*linears)[ESPL_LINEAR_COUNT]; /* owned, one row per block */
} ia3_state;

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static const espl_spec_row spec_keys[] = {
    {"targets", "target_modules", ESPL_SPEC_MODULES, NULL},
    {"feedforward", "feedforward_modules", ESPL_SPEC_LIST, NULL},
    {"ones", "init_ia3_weights", ESPL_SPEC_BOOL, NULL},
    {"save", "modules_to_save", ESPL_SPEC_LIST, NULL},
    {0}};

static espl_status entry(espl_adapter *adapter, const char *path, uint32_t matrix, uint32_t from, uint32_t count, bool in) {
    char *name;
    ESPL_TRY(adapter->library ? espl_format(context(adapter), &name, "%s.loras.%s.lora_B", path, adapter->file_name)
                              : espl_format(context(adapter), &name, "base_model.model.%s.ia3_l", path));
    espl_status status = espl_store_entry(&adapter->store, name, matrix, from, count, true);
    espl_free(context(adapter), &name);
    if (status == ESPL_OK) espl_store_shape(&adapter->store, 2, in ? (uint32_t[]){1, count} : (uint32_t[]){count, 1});
    return status;
}

/* Output factors: a part that follows another target goes on in its vector. */
static espl_status declare_out(espl_adapter *adapter, const espl_linear_shape *shape, const bool *target, uint32_t part,
                               ia3_linear *linear) {
    if (part && target[part - 1] && linear->out[part - 1] != ESPL_NO_MATRIX) {
        linear->out[part] = linear->out[part - 1];
        linear->from[part] = linear->from[part - 1] + shape->part[part].from - shape->part[part - 1].from;
        return ESPL_OK;
    }
    uint32_t last = part;
    while (last + 1 < ESPL_LINEAR_PARTS && target[last + 1]) last++;
    const uint32_t cols = shape->part[last].from + shape->part[last].count - shape->part[part].from;
    return espl_store_matrix(&adapter->store, "ia3_l", 1, cols, ESPL_DTYPE_F32, false, &linear->out[part]);
}

static espl_status declare_linear(espl_adapter *adapter, uint32_t block, uint32_t which, ia3_linear *linear) {
    const espl_linear_shape *shape = &adapter->model->linear[which];
    char *path[ESPL_LINEAR_PARTS] = {NULL};
    bool target[ESPL_LINEAR_PARTS] = {false}, in = false;
    espl_status status = ESPL_OK;
    linear->in = ESPL_NO_MATRIX;
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS && shape->part[p].count; p++) {
        ESPL_GOTO(espl_model_module(adapter->model, block, which, p, &path[p]));
        ESPL_GOTO(espl_target_selected(adapter, block, path[p], &target[p]));
        if (target[p]) ESPL_GOTO(espl_target_listed(adapter, "feedforward_modules", path[p], &in));
        if (!in) continue;
        if (shape->part[1].count) {
            status = espl_fail(context(adapter), ESPL_UNSUPPORTED, "ia3: %s shares its input with other maps, so it cannot be a "
                               "feedforward module", path[p]);
            goto fail;
        }
        ESPL_GOTO(espl_store_matrix(&adapter->store, "ia3_l", 1, shape->in, ESPL_DTYPE_F32, false, &linear->in));
        ESPL_GOTO(entry(adapter, path[p], linear->in, 0, shape->in, true));
    }
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
        linear->out[p] = ESPL_NO_MATRIX;
        if (in || !target[p]) continue;
        ESPL_GOTO(declare_out(adapter, shape, target, p, linear));
        ESPL_GOTO(entry(adapter, path[p], linear->out[p], linear->from[p], shape->part[p].count, false));
    }
fail:
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) espl_free(context(adapter), &path[p]);
    return status;
}

/* As PEFT: feedforward modules are among the targets. */
static espl_status check_feedforward(espl_adapter *adapter) {
    const json_t *targets = json_object_get(adapter->config, "target_modules");
    const json_t *feedforward = json_object_get(adapter->config, "feedforward_modules");
    for (size_t i = 0; json_is_array(targets) && i < json_array_size(feedforward); i++) {
        bool found = false;
        for (size_t j = 0; j < json_array_size(targets); j++)
            found |= json_equal(json_array_get(feedforward, i), json_array_get(targets, j));
        if (!found)
            return espl_fail(context(adapter), ESPL_ARGUMENT, "ia3: the feedforward module %s is not among target_modules",
                             json_string_value(json_array_get(feedforward, i)));
    }
    return ESPL_OK;
}

/* A name that ends that of the attention's output, too: as PEFT, which the paper does not mean. */
static void warn_attention(const espl_adapter *adapter, const ia3_linear *linears) {
    const espl_model *model = adapter->model;
    const espl_family *family = model->config.family;
    const char *o = family->linear[ESPL_LINEAR_O][0].name, *down = family->linear[ESPL_LINEAR_DOWN][0].name;
    const bool both = linears[ESPL_LINEAR_O].in != ESPL_NO_MATRIX && linears[ESPL_LINEAR_DOWN].in != ESPL_NO_MATRIX;
    if (!both || !espl_target_ends_with(o, down)) return;
    espl_log(model->ctx, ESPL_LOG_WARNING, "ia3: the feedforward module %s of this %s model means %s, too, as it does for PEFT: %u factors "
             "more in a block", down, family->model_type, o, model->linear[ESPL_LINEAR_O].in);
}

static espl_status declare(espl_adapter *adapter) {
    espl_context *ctx = context(adapter);
    const espl_model *model = adapter->model;
    const json_t *own_targets = json_object_get(adapter->config, "target_modules");
    ia3_state *state;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    adapter->state = state;
    /* Own targets without feedforward modules: all of them scale outputs. */
    if (own_targets && !json_is_null(own_targets))
        ESPL_TRY(espl_spec_default(adapter, "feedforward_modules", json_array()));
    ESPL_TRY(espl_target_default(adapter, "target_modules"));
    ESPL_TRY(espl_target_default(adapter, "feedforward_modules"));
    ESPL_TRY(check_feedforward(adapter));
    ESPL_TRY(espl_spec_default(adapter, "fan_in_fan_out", json_boolean(model->config.family->stored_in_out)));
    ESPL_TRY(espl_spec_default(adapter, "init_ia3_weights", json_true()));
    ESPL_TRY(espl_spec_default(adapter, "modules_to_save", json_null()));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "init_ia3_weights", true, &state->ones));
    ESPL_TRY(espl_new(ctx, model->config.layers * sizeof *state->linears, &state->linears));
    for (uint32_t block = 0; block < model->config.layers; block++) {
        for (uint32_t l = 0; l < ESPL_LINEAR_COUNT; l++)
            ESPL_TRY(declare_linear(adapter, block, l, &state->linears[block][l]));
    }
    if (adapter->store.entry_count == 0) return espl_target_none(adapter);
    warn_attention(adapter, state->linears[model->config.layers - 1]);
    return espl_target_saved(adapter);
}

static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    const ia3_state *state = adapter->state;
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        const espl_entry *e = &adapter->store.entries[i];
        if (!strstr(e->name, adapter->library ? ".loras." : ".ia3_l")) continue;
        ESPL_TRY(state->ones ? espl_initial_constant(&adapter->store, e, 1) : espl_initial_normal(&adapter->store, e, seed, 1));
    }
    return ESPL_OK;
}

static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const ia3_state *state = adapter->state;
    const ia3_linear *linear = &state->linears[joint->block][joint->linear];
    if (joint->site == ESPL_SITE_LINEAR_IN) {
        if (linear->in == ESPL_NO_MATRIX) return y;
        return espl_graph_scale(builder->graph,
                                &(espl_scale){.x = y, .s = espl_build_leaf(builder, &adapter->store, linear->in)});
    }
    for (uint32_t p = 0; p < ESPL_LINEAR_PARTS; p++) {
        if (linear->out[p] == ESPL_NO_MATRIX || linear->from[p]) continue;
        espl_tensor *s = espl_build_leaf(builder, &adapter->store, linear->out[p]);
        y = espl_graph_scale(builder->graph, &(espl_scale){.x = y,
                                                           .s = s,
                                                           .from = adapter->model->linear[joint->linear].part[p].from,
                                                           .count = s ? s->cols : 0});
    }
    return y;
}

static espl_status merge(espl_adapter *adapter, const espl_place *place, float *weight, float *bias, bool *out_changed) {
    const ia3_state *state = adapter->state;
    const ia3_linear *linear = &state->linears[place->block][place->linear];
    const bool in = linear->in != ESPL_NO_MATRIX;
    const espl_entry e = {.matrix = in ? linear->in : linear->out[place->part],
                          .from = in ? 0 : linear->from[place->part],
                          .count = in ? place->in : place->out,
                          .vector = true};
    float *l;
    *out_changed = e.matrix != ESPL_NO_MATRIX;
    if (!*out_changed) return ESPL_OK;
    ESPL_TRY(espl_new(context(adapter), e.count * sizeof *l, &l));
    espl_status status = espl_store_read(&adapter->store, &e, l);
    for (uint32_t o = 0; status == ESPL_OK && o < place->out; o++) {
        for (uint32_t i = 0; i < place->in; i++) weight[(size_t)o * place->in + i] *= l[in ? i : o];
        if (bias && !in) bias[o] *= l[o];
    }
    espl_free(context(adapter), &l);
    return status;
}

static void finish(espl_adapter *adapter) {
    ia3_state *state = adapter->state;
    espl_free(context(adapter), &state->linears);
    espl_free(context(adapter), &adapter->state);
}

const espl_method espl_method_ia3 = {
    .name = "ia3",
    .peft_type = "IA3",
    .properties = {.intra = ESPL_INTRA_NONE,
                   .adapted = ESPL_ADAPTED_ADDITION,
                   .input = ESPL_INPUT_WEIGHTS,
                   .insertion = ESPL_INSERTION_SEQUENTIAL,
                   .integration = ESPL_INTEGRATION_RESCALING,
                   .sites = 1u << ESPL_SITE_LINEAR | 1u << ESPL_SITE_LINEAR_IN},
    .keys = {spec_keys},
    .declare = declare,
    .initialise = initialise,
    .join = join,
    .merge = merge,
    .finish = finish};
