/* PASTA: a learned vector is added to the hidden state of each special token ([CLS], [SEP]) before every block; nothing else
 * changes, Yang et al. 2022 (arXiv 2210.04382), section 3. The p-th special token of a row has the p-th vector of a block.
 * A type of ours: "special_token_embedding" [p, hidden] of each block.
 *
 * Which tokens are special is read from each row on the host, row by row: rows may have different numbers of them. */
#include "adapters/initial.h"
#include "adapters/spec.h"
#include "adapters/targets.h"
#include "host/ops/op_add.h"
#include "host/ops/op_embedding.h"
#include <string.h>

enum { SPECIAL_IDS_MAX = 16 };

/* The paper's ablations, section 4.4: vectors for all special tokens, all but the first, the first alone, one for all, none beside
 * the classifier. */
typedef enum pasta_ablation { ALL, NO_CLS, NO_SEP, SHARED, CLASSIFIER } pasta_ablation;
static const char *const ablations[] = {"none", "no_cls", "no_sep", "shared", "classifier"};

typedef struct pasta_state {
    uint32_t special;           /* special tokens that a row may have */
    uint32_t vectors;           /* rows of each block's table */
    pasta_ablation ablation;
    float dropout;
    bool zero;
    int32_t ids[SPECIAL_IDS_MAX];
    uint32_t id_count;
    uint32_t *tables;           /* owned: matrix of each block */
} pasta_state;

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static const espl_spec_row spec_keys[] = {
    {"special", "num_special", ESPL_SPEC_WHOLE, NULL},
    {"ablation", "ablation", ESPL_SPEC_TEXT, "none, no_cls, no_sep, shared, classifier"},
    {"dropout", "dropout", ESPL_SPEC_NUMBER, NULL},
    {"init", "init", ESPL_SPEC_TEXT, "zero, normal"},
    {"save", "modules_to_save", ESPL_SPEC_LIST, NULL},
    {0}};

/* Those that the tokenizer puts around sentences. */
static espl_status default_ids(espl_adapter *adapter) {
    static const char *const pairs[][2] = {{"[CLS]", "[SEP]"}, {"<s>", "</s>"}};
    const espl_tokenizer *tokenizer = espl_model_tokenizer(adapter->model);
    json_t *ids = json_array();
    ESPL_TRY(espl_json_set(context(adapter), adapter->config, "special_token_ids", ids));
    for (size_t i = 0; tokenizer && i < ESPL_COUNT(pairs) && json_array_size(ids) == 0; i++) {
        for (size_t j = 0; j < 2; j++) {
            const uint32_t id = espl_tokenizer_find(tokenizer, pairs[i][j]);
            if (id != ESPL_NO_TOKEN) ESPL_TRY(espl_json_push(context(adapter), ids, json_integer(id)));
        }
    }
    if (json_array_size(ids) == 0)
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "pasta: this %s model has no special tokens around its sentences "
                         "([CLS] and [SEP], or <s> and </s>)", adapter->model->config.family->model_type);
    return ESPL_OK;
}

static espl_status read_ids(espl_adapter *adapter, pasta_state *state) {
    json_t *ids;
    const uint32_t vocabulary = espl_model_vocabulary(adapter->model);
    const json_t *given = json_object_get(adapter->config, "special_token_ids");
    if (!given || json_is_null(given)) ESPL_TRY(default_ids(adapter));
    ESPL_TRY(espl_json_array(context(adapter), adapter->config, "special_token_ids", &ids));
    for (size_t i = 0; i < json_array_size(ids); i++) {
        int64_t id;
        if (!espl_json_as_i64(json_array_get(ids, i), &id) || id < 0 || id >= vocabulary ||
            state->id_count == SPECIAL_IDS_MAX)
            return espl_fail(context(adapter), ESPL_FORMAT, "pasta: \"special_token_ids\" must be at most %d numbers below %u",
                             SPECIAL_IDS_MAX, vocabulary);
        state->ids[state->id_count++] = (int32_t)id;
    }
    if (!state->id_count) return espl_fail(context(adapter), ESPL_FORMAT, "pasta: \"special_token_ids\" names no token");
    return ESPL_OK;
}

/* [CLS] and [SEP], or of a task of pairs what the tokenizer puts around two texts: three of BERT's, four of RoBERTa's. */
static espl_status default_special(espl_adapter *adapter) {
    espl_tokenizer *tokenizer = espl_model_tokenizer(adapter->model);
    uint32_t around = 0;
    if (adapter->model->task.pairs && tokenizer) {
        const espl_texts texts = {.text = "", .pair = "", .add_special = true};
        espl_encoding encoding;
        ESPL_TRY(espl_tokenizer_encode_texts(tokenizer, &texts, &encoding));
        for (size_t i = 0; i < encoding.count; i++) around += encoding.special[i];
    }
    return espl_spec_default(adapter, "num_special", json_integer(around ? around : 2));
}

static espl_status read_config(espl_adapter *adapter, pasta_state *state) {
    espl_context *ctx = context(adapter);
    double special;
    const char *ablation, *init;
    ESPL_TRY(default_special(adapter));
    ESPL_TRY(espl_spec_default(adapter, "ablation", json_string(ablations[ALL])));
    ESPL_TRY(espl_spec_default(adapter, "dropout", json_real(0.1)));
    ESPL_TRY(espl_spec_default(adapter, "init", json_string("zero")));
    ESPL_TRY(espl_spec_default(adapter, "modules_to_save", json_null()));
    ESPL_TRY(espl_json_f64(ctx, adapter->config, "num_special", 2, &special));
    ESPL_TRY(espl_json_string(ctx, adapter->config, "ablation", NULL, &ablation));
    ESPL_TRY(espl_json_string(ctx, adapter->config, "init", NULL, &init));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "dropout", 0, &state->dropout));
    while (state->ablation <= CLASSIFIER && strcmp(ablation, ablations[state->ablation]) != 0) state->ablation++;
    if (state->ablation > CLASSIFIER)
        return espl_fail(ctx, ESPL_ARGUMENT, "pasta: ablation \"%s\" is not one of none, no_cls, no_sep, shared, classifier", ablation);
    if (!(special >= 1 && special <= 1024) || special != (double)(uint32_t)special)
        return espl_fail(ctx, ESPL_ARGUMENT, "pasta: num_special %g is not a whole number from 1 to 1024", special);
    if (!(state->dropout >= 0 && state->dropout < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "pasta: dropout %g is not from 0 to below 1", (double)state->dropout);
    state->zero = strcmp(init, "zero") == 0;
    if (!state->zero && strcmp(init, "normal") != 0)
        return espl_fail(ctx, ESPL_ARGUMENT, "pasta: init \"%s\" is not one of zero, normal", init);
    state->special = (uint32_t)special;
    state->vectors = state->ablation == ALL          ? state->special
                     : state->ablation == NO_CLS     ? state->special - 1
                     : state->ablation == CLASSIFIER ? 0
                                                     : 1;
    if (state->vectors == 0 && state->ablation != CLASSIFIER)
        return espl_fail(ctx, ESPL_ARGUMENT, "pasta: without the first of %u special tokens nothing is left", state->special);
    return ESPL_OK;
}

static espl_status declare(espl_adapter *adapter) {
    espl_context *ctx = context(adapter);
    const espl_model *model = adapter->model;
    pasta_state *state;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    adapter->state = state;
    ESPL_TRY(read_config(adapter, state));
    ESPL_TRY(read_ids(adapter, state));
    ESPL_TRY(espl_new(ctx, model->config.layers * sizeof *state->tables, &state->tables));
    for (uint32_t block = 0; state->vectors && block < model->config.layers; block++) {
        char *path, *name = NULL;
        ESPL_TRY(espl_store_matrix(&adapter->store, "special_token_embedding", state->vectors, model->config.hidden,
                                   ESPL_DTYPE_F32, true, &state->tables[block]));
        ESPL_TRY(espl_model_block_path(model, block, &path));
        espl_status status = espl_format(ctx, &name, "base_model.model.%s.special_token_embedding.weight", path);
        if (status == ESPL_OK)
            status = espl_store_entry(&adapter->store, name, state->tables[block], 0, state->vectors, false);
        espl_free(ctx, &name);
        espl_free(ctx, &path);
        ESPL_TRY(status);
    }
    return espl_target_saved(adapter);
}

static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    const pasta_state *state = adapter->state;
    for (size_t i = 0; !state->zero && i < adapter->store.entry_count; i++) {
        const espl_entry *e = &adapter->store.entries[i];
        if (strstr(e->name, ".special_token_embedding."))
            ESPL_TRY(espl_initial_normal(&adapter->store, e, seed, 0.02f));
    }
    return ESPL_OK;
}

/* Every block reads the same tensor of the step buffer: the row of its table for each token, or -1. */
static espl_tensor *rows_of_tokens(espl_builder *builder, const espl_adapter *adapter) {
    if (builder->embeddings)
        return espl_graph_fail(builder->graph, espl_fail(context(adapter), ESPL_ARGUMENT, "pasta: adapter \"%s\" goes by ids of "
                                                         "tokens, and rows given as embeddings have none", adapter->name));
    espl_tensor *made = espl_build_step_made(builder, adapter, 0);
    if (made) return made;
    return espl_build_step(builder, adapter, "special tokens", 1, builder->batch * builder->tokens, ESPL_DTYPE_I32);
}

static espl_tensor *join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const pasta_state *state = adapter->state;
    espl_graph *graph = builder->graph;
    if (!state->vectors) return y;
    espl_tensor *vectors = espl_graph_embedding(
        graph, &(espl_embedding){.ids = rows_of_tokens(builder, adapter),
                                 .table = espl_build_leaf(builder, &adapter->store, state->tables[joint->block])});
    return espl_graph_add(graph, &(espl_add_args){y, espl_build_dropout(builder, vectors, state->dropout)});
}

static bool is_special(const pasta_state *state, int32_t id) {
    for (uint32_t i = 0; i < state->id_count; i++) {
        if (state->ids[i] == id) return true;
    }
    return false;
}

static int32_t row_of(const pasta_state *state, uint32_t index) {
    switch (state->ablation) {
    case NO_CLS: return (int32_t)index - 1;
    case NO_SEP: return index == 0 ? 0 : -1;
    case SHARED: return 0;
    default: return (int32_t)index;
    }
}

static espl_status step(const espl_adapter *adapter, const espl_step_info *info, void *const *values) {
    const pasta_state *state = adapter->state;
    int32_t *rows = values[0];
    for (uint32_t b = 0; b < info->batch; b++) {
        const uint32_t length = espl_step_length(info, b);
        uint32_t found = 0;
        for (uint32_t i = 0; info->history && i < info->position; i++) found += is_special(state, info->history[i]);
        for (uint32_t i = 0; i < info->tokens; i++) {
            const size_t at = (size_t)b * info->tokens + i;
            rows[at] = i < length && is_special(state, info->ids[at]) ? row_of(state, found++) : -1;
        }
        if (found > state->special)
            return espl_fail(context(adapter), ESPL_LIMIT, "pasta: row %u of the batch has %u special tokens, the adapter has "
                             "vectors for %u (pasta:special=%u)", b, found, state->special, found);
    }
    return ESPL_OK;
}

static void finish(espl_adapter *adapter) {
    pasta_state *state = adapter->state;
    espl_free(context(adapter), &state->tables);
    espl_free(context(adapter), &adapter->state);
}

const espl_method espl_method_pasta = {
    .name = "pasta",
    .peft_type = "PASTA",
    .properties = {.intra = ESPL_INTRA_NONE,
                   .adapted = ESPL_ADAPTED_ADDITION,
                   .input = ESPL_INPUT_WEIGHTS,
                   .insertion = ESPL_INSERTION_PARALLEL,
                   .integration = ESPL_INTEGRATION_DIRECT_ADDITION,
                   .sites = 1u << ESPL_SITE_BLOCK_IN},
    .keys = {spec_keys},
    .declare = declare,
    .initialise = initialise,
    .join = join,
    .step = step,
    .finish = finish};
