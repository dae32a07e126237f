/* AdaLink: E' = E + W_up(W_down E) between the token embeddings and what comes after, Wang et al. 2023 (arXiv 2310.12100). Linear
 * (the paper drops the activation), W_up starts at 0. One link for all tokens ("unified"), or one per task: then each row of a
 * batch goes through the link of its task. A type of ours: "adalink.<link>.down.weight" [r, d], "adalink.<link>.up.weight" [d, r].
 *
 * The links' W_down are stacked, so that u = W_down E is one product; a row's columns of other links are multiplied by 0.
 * A single link can be folded into the vocabulary: E (I + W_down' W_up') (merge). */
#include "adapters/initial.h"
#include "adapters/spec.h"
#include "adapters/targets.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_scale.h"
#include <math.h>
#include <string.h>

typedef struct adalink_state {
    uint32_t rank, stride; /* stride: columns of u from one link to the next, a multiple of 4 */
    uint32_t links;
    uint32_t width; /* d: of the embeddings, which is not the hidden size in ELECTRA and ALBERT */
    uint32_t down;  /* matrix [links * stride, d] */
    uint32_t *up;   /* owned: matrix [d, rank] of each link */
    float dropout;
    bool normed;    /* after the embedding block's norm ("post_ln") and not on the embeddings themselves ("pre_sum") */
} adalink_state;

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static const espl_spec_row spec_keys[] = {
    {"r", "r", ESPL_SPEC_WHOLE, NULL},
    {"links", "links", ESPL_SPEC_LIST, NULL},
    {"position", "position", ESPL_SPEC_TEXT, "pre_sum, post_ln"},
    {"dropout", "dropout", ESPL_SPEC_NUMBER, NULL},
    {"save", "modules_to_save", ESPL_SPEC_LIST, NULL},
    {0}};

static espl_status read_config(espl_adapter *adapter, adalink_state *state) {
    espl_context *ctx = context(adapter);
    double rank;
    const char *position, *scope;
    json_t *links = json_object_get(adapter->config, "links");
    if (!json_is_array(links) || json_array_size(links) == 0) ESPL_TRY(espl_spec_list(adapter, "links", "unified"));
    ESPL_TRY(espl_json_array(ctx, adapter->config, "links", &links));
    ESPL_TRY(espl_spec_default(adapter, "scope", json_string(json_array_size(links) > 1 ? "task" : "unified")));
    ESPL_TRY(espl_spec_default(adapter, "r", json_integer(64)));
    ESPL_TRY(espl_spec_default(adapter, "position", json_string("pre_sum")));
    ESPL_TRY(espl_spec_default(adapter, "dropout", json_real(0.1)));
    ESPL_TRY(espl_spec_default(adapter, "modules_to_save", json_null()));
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "r", 64, &rank));
    ESPL_TRY(espl_json_string(ctx, adapter->config, "position", NULL, &position));
    ESPL_TRY(espl_json_string(ctx, adapter->config, "scope", NULL, &scope));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "dropout", 0, &state->dropout));
    state->normed = strcmp(position, "post_ln") == 0;
    if (!state->normed && strcmp(position, "pre_sum") != 0)
        return espl_fail(ctx, ESPL_ARGUMENT, "adalink: position \"%s\" is not one of pre_sum, post_ln", position);
    if (!(rank >= 1 && rank <= 65536) || rank != floor(rank))
        return espl_fail(ctx, ESPL_ARGUMENT, "adalink: rank %g is not a whole number from 1 to 65536", rank);
    if (!(state->dropout >= 0 && state->dropout < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "adalink: dropout %g is not from 0 to below 1", (double)state->dropout);
    const size_t count = json_array_size(links);
    if (strcmp(scope, count > 1 ? "task" : "unified") != 0 && (count > 1 || strcmp(scope, "task") != 0))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "adalink: scope \"%s\" with %zu links is not offered: one link is \"unified\" or for a "
                         "\"task\", several are for a \"task\" each", scope, count);
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(links, i));
        if (!name) return espl_fail(ctx, ESPL_FORMAT, "adalink: \"links\" must hold names");
        for (size_t j = 0; j < i; j++) {
            if (strcmp(name, json_string_value(json_array_get(links, j))) == 0)
                return espl_fail(ctx, ESPL_ARGUMENT, "adalink: two links are called \"%s\"", name);
        }
    }
    state->width = adapter->model->config.embedding;
    state->rank = (uint32_t)rank;
    state->stride = (uint32_t)espl_round_up(state->rank, 4);
    state->links = (uint32_t)count;
    if (state->links > 1) adapter->tasks = links;
    return ESPL_OK;
}

static espl_status declare_link(espl_adapter *adapter, adalink_state *state, uint32_t link) {
    espl_context *ctx = context(adapter);
    const uint32_t d = state->width;
    const char *link_name = json_string_value(json_array_get(json_object_get(adapter->config, "links"), link));
    char *name;
    ESPL_TRY(espl_format(ctx, &name, "adalink.%s.down.weight", link_name));
    espl_status status = espl_store_entry(&adapter->store, name, state->down, link * state->stride, state->rank, false);
    espl_free(ctx, &name);
    ESPL_TRY(status);
    ESPL_TRY(espl_store_matrix(&adapter->store, "up", d, state->rank, ESPL_DTYPE_F32, true, &state->up[link]));
    ESPL_TRY(espl_format(ctx, &name, "adalink.%s.up.weight", link_name));
    status = espl_store_entry(&adapter->store, name, state->up[link], 0, d, false);
    espl_free(ctx, &name);
    return status;
}

static espl_status declare(espl_adapter *adapter) {
    adalink_state *state;
    ESPL_TRY(espl_new(context(adapter), sizeof *state, &state));
    adapter->state = state;
    ESPL_TRY(read_config(adapter, state));
    ESPL_TRY(espl_new(context(adapter), state->links * sizeof *state->up, &state->up));
    ESPL_TRY(espl_store_matrix(&adapter->store, "down", (state->links - 1) * state->stride + state->rank, state->width,
                               ESPL_DTYPE_F32, true, &state->down));
    for (uint32_t link = 0; link < state->links; link++) ESPL_TRY(declare_link(adapter, state, link));
    return espl_target_saved(adapter);
}

/* W_down: N(0, 0.02^2), on which the paper is silent; W_up: 0. */
static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        const espl_entry *e = &adapter->store.entries[i];
        if (strncmp(e->name, "adalink.", 8) == 0 && strstr(e->name, ".down."))
            ESPL_TRY(espl_initial_normal(&adapter->store, e, seed, 0.02f));
    }
    return ESPL_OK;
}

static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const adalink_state *state = adapter->state;
    espl_graph *graph = builder->graph;
    if ((joint->site == ESPL_SITE_EMBEDDED) != state->normed) return y;
    espl_tensor *u = espl_graph_matmul(graph, &(espl_matmul){.a = y,
                                                             .b = espl_build_leaf(builder, &adapter->store, state->down),
                                                             .orientation = MATMUL_NT});
    u = espl_build_dropout(builder, u, state->dropout);
    for (uint32_t link = 0; link < state->links; link++) {
        if (state->links > 1)
            u = espl_graph_scale(graph, &(espl_scale){.x = u,
                                                      .s = espl_build_step(builder, adapter, "rows of the link",
                                                                           builder->batch, 1, ESPL_DTYPE_F32),
                                                      .from = link * state->stride,
                                                      .count = state->rank});
    }
    for (uint32_t link = 0; link < state->links; link++)
        y = espl_graph_matmul(graph, &(espl_matmul){.a = u,
                                                    .a_from = link * state->stride,
                                                    .a_cols = state->rank,
                                                    .b = espl_build_leaf(builder, &adapter->store, state->up[link]),
                                                    .orientation = MATMUL_NT,
                                                    .residual = y});
    return y;
}

/* One number per row and link: 1 where the row's task is the link. */
static espl_status step(const espl_adapter *adapter, const espl_step_info *info, void *const *values) {
    const adalink_state *state = adapter->state;
    for (uint32_t b = 0; b < info->batch; b++) {
        const int32_t task = info->tasks ? info->tasks[b] : 0;
        if (task < 0 || (uint32_t)task >= state->links)
            return espl_fail(context(adapter), ESPL_ARGUMENT, "adalink: row %u of the batch is of task %d, the adapter has %u "
                             "links", b, (int)task, state->links);
        for (uint32_t link = 0; link < state->links; link++) ((float *)values[link])[4 * (size_t)b] = (uint32_t)task == link;
    }
    return ESPL_OK;
}

/* row += (row W_down') W_up' */
static void fold_row(const float *down, const float *up, uint32_t rank, uint32_t d, double *u, float *row) {
    for (uint32_t r = 0; r < rank; r++) {
        u[r] = 0;
        for (uint32_t c = 0; c < d; c++) u[r] += (double)down[(size_t)r * d + c] * row[c];
    }
    for (uint32_t c = 0; c < d; c++) {
        double sum = row[c];
        for (uint32_t r = 0; r < rank; r++) sum += (double)up[(size_t)c * rank + r] * u[r];
        row[c] = (float)sum;
    }
}

static espl_status merge(espl_adapter *adapter, const espl_place *place, float *weight, float *bias, bool *out_changed) {
    espl_context *ctx = context(adapter);
    const adalink_state *state = adapter->state;
    (void)bias;
    *out_changed = place->block == ESPL_NO_BLOCK;
    if (!*out_changed) return ESPL_OK;
    if (state->links > 1 || state->normed)
        return espl_fail(ctx, ESPL_UNSUPPORTED, state->normed ? "adalink: a link behind the embedding's norm cannot be folded "
                         "into the vocabulary" : "adalink: one vocabulary cannot hold the links of several tasks");
    const espl_entry down_entry = {.matrix = state->down, .count = state->rank};
    const espl_entry up_entry = {.matrix = state->up[0], .count = place->in};
    const size_t count = (size_t)state->rank * place->in;
    float *down = NULL, *up = NULL;
    double *u = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(ctx, count * sizeof *down, &down));
    ESPL_GOTO(espl_new(ctx, count * sizeof *up, &up));
    ESPL_GOTO(espl_new(ctx, state->rank * sizeof *u, &u));
    ESPL_GOTO(espl_store_read(&adapter->store, &down_entry, down));
    ESPL_GOTO(espl_store_read(&adapter->store, &up_entry, up));
    for (uint32_t row = 0; row < place->out; row++)
        fold_row(down, up, state->rank, place->in, u, weight + (size_t)row * place->in);
fail:
    espl_free(ctx, &down);
    espl_free(ctx, &up);
    espl_free(ctx, &u);
    return status;
}

static void finish(espl_adapter *adapter) {
    adalink_state *state = adapter->state;
    espl_free(context(adapter), &state->up);
    espl_free(context(adapter), &adapter->state);
}

const espl_method espl_method_adalink = {
    .name = "adalink",
    .peft_type = "ADALINK",
    .properties = {.intra = ESPL_INTRA_DENSE,
                   .adapted = ESPL_ADAPTED_ADDITION,
                   .input = ESPL_INPUT_HIDDEN,
                   .insertion = ESPL_INSERTION_SEQUENTIAL,
                   .insertions = ESPL_INSERTIONS_ONE,
                   .integration = ESPL_INTEGRATION_DIRECT_ADDITION,
                   .sites = 1u << ESPL_SITE_EMBED | 1u << ESPL_SITE_EMBEDDED},
    .keys = {spec_keys},
    .declare = declare,
    .initialise = initialise,
    .join = join,
    .step = step,
    .merge = merge,
    .finish = finish};
