/* Learned rows before a sequence. Prompt tuning (Lester et al. 2021) and P-tuning (Liu et al. 2021, whose encoder makes the
 * rows while they are learned): rows before the token embeddings, which get the first positions. Prefix tuning (Li & Liang
 * 2021) and P-tuning v2 (Liu et al. 2022): keys and values before those of every block, behind which the real tokens'
 * positions begin. Files as Hugging Face PEFT has them: one tensor, "prompt_embeddings".
 *
 * Rows of the prompt are taken away again behind the last norm, so that heads and labels see the real tokens alone; but a head
 * that reads an encoder's first row reads the prompt's, as in PEFT. In a session the rows are in the key-value cache before
 * the text, and nothing joins the passes over the text. */
#include "adapters/folder.h"
#include "adapters/initial.h"
#include "adapters/prompt.h"
#include "adapters/spec.h"
#include "adapters/targets.h"
#include "host/model/composition.h"
#include "host/ops/op_concat.h"
#include "host/ops/op_activation.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_rotary.h"
#include "host/ops/op_scale.h"
#include <math.h>
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

#define TOKENS {"tokens", "num_virtual_tokens", ESPL_SPEC_WHOLE, NULL}
#define SAVE {"save", "modules_to_save", ESPL_SPEC_LIST, NULL}
static const espl_spec_row prompt_keys[] = {
    TOKENS,
    {"init", "prompt_tuning_init", ESPL_SPEC_TEXT, "RANDOM, SAMPLE_VOCAB, TEXT"},
    {"text", "prompt_tuning_init_text", ESPL_SPEC_TEXT, NULL},
    {"residual", "residual_hidden_size", ESPL_SPEC_WHOLE, NULL},
    SAVE,
    {0}};
static const espl_spec_row ptuning_keys[] = {
    TOKENS,
    {"encoder", "encoder_hidden_size", ESPL_SPEC_WHOLE, NULL},
    {"type", "encoder_reparameterization_type", ESPL_SPEC_TEXT, "MLP, LSTM"},
    {"layers", "encoder_num_layers", ESPL_SPEC_WHOLE, NULL},
    {"dropout", "encoder_dropout", ESPL_SPEC_NUMBER, NULL},
    SAVE,
    {0}};
static const espl_spec_row prefix_keys[] = {
    TOKENS,
    {"projection", "prefix_projection", ESPL_SPEC_BOOL, NULL},
    {"encoder", "encoder_hidden_size", ESPL_SPEC_WHOLE, NULL},
    SAVE,
    {0}};
static const espl_spec_row ptuning2_keys[] = {TOKENS, SAVE, {0}};

uint32_t espl_prompt_columns(const espl_adapter *adapter) {
    return adapter->model->config.kv_heads * adapter->model->config.head_size;
}

espl_status espl_prompt_read_rows(espl_adapter *adapter, const char *key, const prompt_state *state) {
    espl_context *ctx = context(adapter);
    const uint32_t context_max = adapter->model->config.context_max;
    double rows;
    if (state->keys && espl_prompt_columns(adapter) % 4)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: keys of %u columns are not a multiple of 4", adapter->method->name,
                         espl_prompt_columns(adapter));
    ESPL_TRY(espl_json_f64(ctx, adapter->config, key, 0, &rows));
    if (!(rows >= 1 && rows < context_max) || rows != floor(rows))
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: %s %g is not a whole number from 1 to below the context of %u",
                         adapter->method->name, key, rows, context_max);
    adapter->before = (uint32_t)rows;
    return ESPL_OK;
}

typedef enum kind { PROMPT, PTUNING, PREFIX } kind;

static espl_status complete(espl_adapter *adapter, kind kind) {
    const espl_config *c = &adapter->model->config;
    const bool keys = kind == PREFIX;
    ESPL_TRY(espl_spec_default(adapter, "base_model_name_or_path", json_string(adapter->model->folder)));
    ESPL_TRY(espl_spec_default(adapter, "num_virtual_tokens", json_integer(keys ? 20 : 10)));
    ESPL_TRY(espl_spec_default(adapter, "token_dim", json_integer(keys ? espl_prompt_columns(adapter) : c->embedding)));
    ESPL_TRY(espl_spec_default(adapter, "num_transformer_submodules", json_integer(1)));
    ESPL_TRY(espl_spec_default(adapter, "num_attention_heads", json_integer(keys ? c->kv_heads : c->heads)));
    ESPL_TRY(espl_spec_default(adapter, "num_layers", json_integer(c->layers * c->repeat)));
    ESPL_TRY(espl_spec_default(adapter, "modules_to_save", json_null()));
    if (keys) return espl_spec_default(adapter, "prefix_projection", json_false());
    if (kind == PROMPT) return espl_spec_default(adapter, "prompt_tuning_init", json_string("RANDOM"));
    ESPL_TRY(espl_spec_default(adapter, "encoder_reparameterization_type", json_string("MLP")));
    ESPL_TRY(espl_spec_default(adapter, "encoder_num_layers", json_integer(2)));
    return espl_spec_default(adapter, "encoder_dropout", json_real(0));
}

static const char table_name[] = "prompt_embeddings";

/* What makes the rows while they are learned: a prefix's generator (prefix_projection), P-tuning's encoder, the residual map of a
 * prompt (residual_hidden_size, which is ours). PEFT's files have the rows alone, whatever made them. NULL: nothing. */
static const char *generator_key(const espl_adapter *adapter, kind kind) {
    const json_t *config = adapter->config;
    if (json_is_true(json_object_get(config, "inference_mode"))) return NULL;
    if (kind == PROMPT) return json_object_get(config, "residual_hidden_size") ? "residual_hidden_size" : NULL;
    return kind == PTUNING || json_is_true(json_object_get(config, "prefix_projection")) ? "encoder_hidden_size" : NULL;
}

/* PEFT's encoders: three maps, or an LSTM of encoder_hidden_size both ways and two maps of twice that. */
static espl_status read_encoder(espl_adapter *adapter, espl_generator_sizes *sizes, espl_generator *generator) {
    espl_context *ctx = context(adapter);
    const char *type;
    ESPL_TRY(espl_json_string(ctx, adapter->config, "encoder_reparameterization_type", "MLP", &type));
    if (strcmp(type, "MLP") == 0) return ESPL_OK;
    if (strcmp(type, "LSTM") != 0)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: the encoder_reparameterization_type \"%s\" is not one of MLP, LSTM", adapter->method->name,
                         type);
    ESPL_TRY(espl_json_u32(ctx, adapter->config, "encoder_num_layers", 2, &sizes->lstm_layers));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "encoder_dropout", 0, &generator->dropout));
    if (!(generator->dropout >= 0 && generator->dropout < 1))
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: encoder_dropout %g is not from 0 to below 1", adapter->method->name,
                         (double)generator->dropout);
    sizes->maps = 2;
    sizes->inner *= 2;
    return ESPL_OK;
}

static espl_status declare_generator(espl_adapter *adapter, prompt_state *state, kind kind, const char *key, uint32_t columns) {
    static const char *const transform[] = {"embedding.weight", "transform.0.weight", "transform.0.bias", "transform.2.weight",
                                            "transform.2.bias"};
    static const char *const encoder[] = {"embedding.weight", "mlp_head.0.weight", "mlp_head.0.bias", "mlp_head.2.weight",
                                          "mlp_head.2.bias", "mlp_head.4.weight", "mlp_head.4.bias"};
    espl_generator_sizes sizes = {.maps = kind == PTUNING ? 3 : 2, .rows = adapter->before, .columns = columns,
                                  .width = state->keys ? adapter->model->config.hidden : columns};
    ESPL_TRY(espl_spec_default(adapter, key, json_integer(sizes.width)));
    ESPL_TRY(espl_json_u32(context(adapter), adapter->config, key, sizes.width, &sizes.inner));
    if (sizes.inner == 0 || sizes.inner > 1u << 20)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: %s %u is not from 1 to 1048576", adapter->method->name, key, sizes.inner);
    if (kind == PTUNING) ESPL_TRY(read_encoder(adapter, &sizes, &state->generator));
    state->generator.activation = state->keys ? ACTIVATION_TANH : ACTIVATION_RELU;
    state->generator.residual = kind == PROMPT;
    return espl_generator_declare(adapter, kind == PTUNING ? encoder : transform, &sizes, &state->generator);
}

static espl_status check_initial(const espl_adapter *adapter) {
    static const char *const known[] = {"RANDOM", "SAMPLE_VOCAB", "TEXT"};
    const char *init;
    ESPL_TRY(espl_json_string(context(adapter), adapter->config, "prompt_tuning_init", "RANDOM", &init));
    for (size_t i = 0; i < ESPL_COUNT(known); i++) {
        if (strcmp(init, known[i]) == 0) return ESPL_OK;
    }
    return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: prompt_tuning_init \"%s\" is not one of RANDOM, SAMPLE_VOCAB, TEXT",
                     adapter->method->name, init);
}

static espl_status declare(espl_adapter *adapter, kind kind) {
    const bool keys = kind == PREFIX;
    espl_context *ctx = context(adapter);
    const espl_config *c = &adapter->model->config;
    prompt_state *state;
    ESPL_TRY(espl_new(ctx, sizeof *state, &state));
    adapter->state = state;
    state->keys = state->shifts = state->runs = keys;
    ESPL_TRY(complete(adapter, kind));
    ESPL_TRY(check_initial(adapter));
    ESPL_TRY(espl_prompt_read_rows(adapter, "num_virtual_tokens", state));
    const uint32_t columns = keys ? c->layers * c->repeat * 2 * espl_prompt_columns(adapter) : c->embedding;
    const char *key = generator_key(adapter, kind);
    if (key) {
        ESPL_TRY(declare_generator(adapter, state, kind, key, columns));
    } else {
        ESPL_TRY(espl_store_matrix(&adapter->store, table_name, adapter->before, columns, ESPL_DTYPE_F32, true, &state->table));
        ESPL_TRY(espl_store_entry(&adapter->store, table_name, state->table, 0, adapter->before, false));
    }
    return espl_target_saved(adapter);
}

static espl_status declare_prompt(espl_adapter *adapter) {
    return declare(adapter, PROMPT);
}

static espl_status declare_ptuning(espl_adapter *adapter) {
    return declare(adapter, PTUNING);
}

static espl_status declare_prefix(espl_adapter *adapter) {
    return declare(adapter, PREFIX);
}

/* N(0, 1), as PEFT, or what prompt_tuning_init says. */
static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    const prompt_state *state = adapter->state;
    const char *init = json_string_value(json_object_get(adapter->config, "prompt_tuning_init"));
    const espl_entry *rows = &adapter->store.entries[0];
    if (state->generator.maps) {
        ESPL_TRY(espl_generator_initialise(adapter, &state->generator, seed));
        rows = espl_generator_embedding(adapter, &state->generator);
    } else {
        ESPL_TRY(espl_initial_normal(&adapter->store, rows, seed, 1));
    }
    if (init && strcmp(init, "TEXT") == 0) return espl_prompt_from_text(adapter, rows, "prompt_tuning_init_text");
    return init && strcmp(init, "SAMPLE_VOCAB") == 0 ? espl_prompt_from_vocabulary(adapter, rows, seed) : ESPL_OK;
}

struct espl_rows_before {
    const espl_adapter *adapter;
    espl_tensor *table;
    espl_rows_before *next;
};

/* NULL: they are a matrix of the adapter as it is, or are not made yet. */
static espl_tensor *made_table(const espl_builder *b, const espl_adapter *adapter) {
    const espl_rows_before *made = b->rows_before;
    while (made && made->adapter != adapter) made = made->next;
    return made ? made->table : NULL;
}

static espl_tensor *table_of(espl_builder *b, const espl_adapter *adapter) {
    const prompt_state *state = adapter->state;
    espl_tensor *made = made_table(b, adapter);
    return made ? made : espl_build_leaf(b, &adapter->store, state->table);
}

/* All keys and values at once, where they are not a matrix of the adapter as it is. */
static void make_table(espl_builder *b, const espl_adapter *adapter) {
    const prompt_state *state = adapter->state;
    espl_rows_before *made;
    if ((!state->generator.maps && state->dropout == 0) || made_table(b, adapter)) return;
    espl_tensor *table = state->generator.maps ? espl_generator_build(b, adapter, &state->generator) : table_of(b, adapter);
    const espl_status status = espl_graph_memory(b->graph, sizeof *made, &made);
    if (status != ESPL_OK) {
        espl_graph_fail(b->graph, status);
        return;
    }
    *made = (espl_rows_before){adapter, espl_build_dropout(b, table, state->dropout), b->rows_before};
    b->rows_before = made;
}

static bool is_rowless(const bool *rowless, uint32_t block) {
    return rowless && rowless[block];
}

/* An adapter of other sequences began: the model's own operators know one place for the text's positions and in each block as many
 * rows before all. */
static espl_status check_as_begun(const espl_builder *b, const espl_adapter *adapter) {
    const prompt_state *state = adapter->state;
    const bool shifts = b->positions == b->key_positions;
    if (shifts != state->shifts)
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "adapter \"%s\": the text's positions begin at %u, those of other sequences of "
                         "the batch at %u", adapter->name, state->shifts ? adapter->before : 0, shifts ? adapter->before : 0);
    for (uint32_t block = 0; block < adapter->model->config.layers; block++) {
        const bool own = !is_rowless(state->rowless, block), others = !is_rowless(b->rowless, block);
        if (own != others)
            return espl_fail(context(adapter), ESPL_UNSUPPORTED, "adapter \"%s\" has %u rows before the text in block %u, other sequences of "
                             "the batch have %u", adapter->name, own ? adapter->before : 0, block, others ? adapter->before : 0);
    }
    return ESPL_OK;
}

/* One of those whose sequences are together in a batch that another adapter began. */
static espl_tensor *begin_beside(espl_builder *b, const espl_adapter *adapter) {
    const espl_status status = check_as_begun(b, adapter);
    if (status != ESPL_OK) return espl_graph_fail(b->graph, status);
    make_table(b, adapter);
    return NULL;
}

/* Before anything else is built: what the model's own operators must know. */
static espl_tensor *begin(espl_builder *b, const espl_adapter *adapter) {
    const prompt_state *state = adapter->state;
    const uint32_t context_max = adapter->model->config.context_max;
    const bool some_rows = (adapter->owner ? adapter->owner : adapter)->some_rows;
    if (b->caches && some_rows)
        return espl_graph_fail(b->graph, espl_fail(context(adapter), ESPL_UNSUPPORTED, "adapter \"%s\": a session has the same %u rows before "
                                                   "every text, they cannot be in a block that shares rows", adapter->name, adapter->before));
    if (b->before) return begin_beside(b, adapter);
    b->before = adapter->before;
    b->rowless = state->rowless;
    if (!state->keys) b->prompt = adapter->before;
    b->prompt_first = state->embedded ? state->first : !state->keys;
    if (b->prelude) make_table(b, adapter);
    if (b->caches) { /* their first rows are the prelude's, and positions count them */
        if (state->keys && !state->shifts) b->key_positions = b->positions, b->positions = b->own_positions;
        return NULL;
    }
    /* By positions, or distances. */
    const bool counted = state->keys ? state->shifts : !state->embedded || adapter->model->relative != ESPL_NO_MATRIX;
    if (counted && b->tokens > context_max - adapter->before)
        return espl_graph_fail(b->graph, espl_fail(context(adapter), ESPL_LIMIT, "%s: %u tokens behind %u rows are beyond the "
                                                   "model's context of %u", adapter->method->name, b->tokens, adapter->before,
                                                   context_max));
    make_table(b, adapter);
    if (b->lengths) b->key_lengths = espl_build_step(b, adapter, "key lengths", 1, b->batch, ESPL_DTYPE_I32);
    if (state->embedded) return NULL;
    if (!state->keys) {
        b->row_ids = espl_build_step(b, adapter, "rows", 1, b->batch * (b->tokens + adapter->before), ESPL_DTYPE_I32);
        return NULL;
    }
    b->key_positions = espl_build_step(b, adapter, "first positions", 1, b->batch, ESPL_DTYPE_I32);
    if (state->shifts) b->positions = b->key_positions;
    return NULL;
}

/* The part-th of so many of the keys and values of a block, or of a run. */
static espl_tensor *keys_of_block(espl_builder *b, const espl_adapter *adapter, uint32_t block, uint32_t part, uint32_t parts) {
    const prompt_state *state = adapter->state;
    const uint32_t columns = 2 * espl_prompt_columns(adapter) / parts;
    uint32_t place = 0;
    for (uint32_t i = 0; i < block; i++) place += !is_rowless(state->rowless, i);
    return espl_graph_slice(b->graph, &(espl_slice){.x = table_of(b, adapter), .from = (place * parts + part) * columns, .cols = columns});
}

/* Rows for each sequence, weighed by its gates: a product with the identity over and over, times the gates. */
static espl_tensor *gated(espl_builder *b, const espl_adapter *adapter, const espl_joint *joint) {
    const prompt_state *state = adapter->state;
    const uint32_t parts = state->gate_count, columns = 2 * espl_prompt_columns(adapter);
    espl_tensor *copies = espl_build_identities(b, adapter->before, b->batch), *y = NULL;
    for (uint32_t i = 0; i < parts; i++) {
        espl_tensor *g = espl_gate_apply(b, adapter, &state->gates[joint->block], i, joint->x);
        y = espl_graph_matmul(b->graph, &(espl_matmul){.a = espl_graph_scale(b->graph, &(espl_scale){.x = copies, .s = g}),
                                                       .b = keys_of_block(b, adapter, joint->block, i, parts),
                                                       .orientation = MATMUL_NN, .into = y, .into_from = i * columns / parts,
                                                       .into_cols = y ? 0 : columns, .unset = true});
    }
    return y;
}

/* Keys and values of a block's prefix, as the first rows of a cache. */
static espl_tensor *store_rows(espl_builder *b, const espl_adapter *adapter, espl_tensor *rows, espl_tensor *cache) {
    const espl_config *c = &adapter->model->config;
    const uint32_t columns = espl_prompt_columns(adapter);
    return espl_graph_rotary(b->graph, &(espl_rotary){.x = rows, .v_from = columns, .kv_heads = c->kv_heads,
                                                      .head_size = c->head_size, .batch = b->batch, .cache = cache,
                                                      .cache_v_from = columns}).cache;
}

/* With gates the prelude leaves the rows in a cache of the adapter's own, and each pass weighs them by its own gate. */
static espl_tensor *own_rows(espl_builder *b, const espl_adapter *adapter, uint32_t block) {
    return espl_build_cache(b, adapter, block, adapter->before, 2 * espl_prompt_columns(adapter));
}

static void weigh_rows(espl_builder *b, const espl_adapter *adapter, const espl_joint *joint) {
    const prompt_state *state = adapter->state;
    espl_tensor *rows = own_rows(b, adapter, joint->block);
    const uint32_t columns = rows ? rows->cols / state->gate_count : 0;
    for (uint32_t i = 0; i < state->gate_count; i++) {
        espl_tensor *g = espl_gate_apply(b, adapter, &state->gates[joint->block], i, joint->x);
        rows = espl_graph_scale(b->graph, &(espl_scale){.x = rows, .s = g, .from = i * columns, .count = columns});
    }
    b->caches[joint->block] = store_rows(b, adapter, rows, b->caches[joint->block]);
}

espl_tensor *espl_prompt_join(espl_builder *b, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const prompt_state *state = adapter->state;
    if (joint->site == ESPL_SITE_BEGIN) return begin(b, adapter);
    if (joint->site == ESPL_SITE_KEYS && is_rowless(state->rowless, joint->block)) return y;
    if (b->caches && !b->prelude) {
        if (state->gates) weigh_rows(b, adapter, joint);
        return y;
    }
    if (state->keys && state->gates) return gated(b, adapter, joint);
    if (state->keys) return keys_of_block(b, adapter, state->runs ? joint->layer : joint->block, 0, 1);
    espl_tensor *table = table_of(b, adapter);
    if (b->prelude) return espl_graph_slice(b->graph, &(espl_slice){.x = table});
    return espl_graph_concat(b->graph, &(espl_concat){.a = table, .x = y, .batch = b->batch});
}

/* A prompt goes through the blocks; keys and values of a prefix are stored as they are. */
espl_status espl_prompt_prelude(espl_builder *b, const espl_adapter *adapter) {
    const prompt_state *state = adapter->state;
    if (!state->keys) {
        espl_build_hidden(b);
        return espl_graph_status(b->graph);
    }
    ESPL_TRY(espl_graph_layer(b->graph, "prefix", ESPL_PHASE_MICRO, false));
    espl_graph_value_dtype(b->graph, adapter->model->value_dtype);
    make_table(b, adapter);
    for (uint32_t block = 0; block < adapter->model->config.layers; block++) {
        if (is_rowless(state->rowless, block)) continue;
        store_rows(b, adapter, keys_of_block(b, adapter, block, 0, 1), state->gates ? own_rows(b, adapter, block) : b->caches[block]);
    }
    return espl_graph_status(b->graph);
}

espl_status espl_prompt_step(const espl_adapter *adapter, const espl_step_info *info, void *const *values) {
    const prompt_state *state = adapter->state;
    uint32_t at = 0;
    if (espl_head_needs_lengths(adapter->model)) {
        int32_t *lengths = values[at++];
        for (uint32_t i = 0; i < info->batch; i++) lengths[i] = (int32_t)(espl_step_length(info, i) + adapter->before);
    }
    if (state->embedded) return ESPL_OK;
    int32_t *numbers = values[at++];
    const uint32_t count = state->keys ? info->batch : info->batch * (info->tokens + adapter->before);
    for (uint32_t i = 0; i < count; i++) numbers[i] = state->keys ? (int32_t)adapter->before : 0;
    return ESPL_OK;
}

/* As PEFT: the rows, without what made them. */
static espl_status save(espl_adapter *adapter, const char *folder) {
    const prompt_state *state = adapter->state;
    if (!state->generator.maps) return espl_folder_write(adapter, folder);
    json_t *config = json_deep_copy(adapter->config);
    if (config && json_object_set_new(config, "inference_mode", json_true())) json_decref(config), config = NULL;
    return espl_generator_eject(adapter, &state->generator, config, table_name, folder);
}

void espl_prompt_finish(espl_adapter *adapter) {
    prompt_state *state = adapter->state;
    if (state) espl_lstm_finish(context(adapter), &state->generator.lstm);
    if (state) espl_free(context(adapter), &state->gates);
    if (state) espl_free(context(adapter), &state->rowless);
    espl_free(context(adapter), &adapter->state);
}

#define ROWS(id, spec_name, type, declared, where)                                                 \
    const espl_method espl_method_##id = {.name = spec_name,                                       \
                                          .peft_type = type,                                       \
                                          .properties = {.intra = ESPL_INTRA_DENSE,                \
                                                         .adapted = ESPL_ADAPTED_ADDITION,         \
                                                         .input = ESPL_INPUT_WEIGHTS,              \
                                                         .insertion = ESPL_INSERTION_PARALLEL,     \
                                                         .insertions = where == ESPL_SITE_EMBED ? ESPL_INSERTIONS_ONE : ESPL_INSERTIONS_ALL, \
                                                         .integration = ESPL_INTEGRATION_CONCATENATION, \
                                                         .sites = 1u << ESPL_SITE_BEGIN | 1u << (where)}, \
                                          .keys = {id##_keys},                                          \
                                          .declare = declared,                                     \
                                          .initialise = initialise,                                \
                                          .join = espl_prompt_join,                                \
                                          .prelude = espl_prompt_prelude,                          \
                                          .step = espl_prompt_step,                                            \
                                          .save = save,                                            \
                                          .finish = espl_prompt_finish};

ROWS(prompt, "prompt", "PROMPT_TUNING", declare_prompt, ESPL_SITE_EMBED)
ROWS(ptuning, "ptuning", "P_TUNING", declare_ptuning, ESPL_SITE_EMBED)
ROWS(prefix, "prefix", "PREFIX_TUNING", declare_prefix, ESPL_SITE_KEYS)
ROWS(ptuning2, "ptuning2", "PREFIX_TUNING", declare_prefix, ESPL_SITE_KEYS)
