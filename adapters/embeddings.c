/* Token embeddings beside the base's, for its own tokens or those of another tokenizer, as add_embeddings of the Adapters library has
 * them (Poth et al. 2023, arXiv 2311.11077; Artetxe et al. 2020, arXiv 1910.11856): x = E'[token] for E[token]. A map into the
 * vocabulary that is tied to E is tied to E'; where that has a bias of its own, other tokens have that of the same tokens of the base,
 * or 0, which is not trained, as the library trains none.
 * Tokens that the reference has too, by their spelling, begin as its rows, all others from N(0, 0.02^2).
 * Files, the library's: embedding.pt, one tensor [tokens, embedding's width]; tokenizer/. */
#include "adapters/folder.h"
#include "adapters/initial.h"
#include "adapters/make.h"
#include "adapters/spec.h"
#include "host/file/tokenizer_files.h"
#include "host/file/torch_write.h"
#include <string.h>

enum { TOKENS_MAX = 1 << 24 }; /* as many as a model's own may be */
static const float deviation = 0.02f;
static const char base_name[] = "default"; /* the library's name for the base's */

typedef struct embeddings_state {
    uint32_t weight, bias; /* matrices; bias: ESPL_NO_MATRIX but of a head for other tokens */
} embeddings_state;

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static const espl_spec_row spec_keys[] = {
    {"tokenizer", "tokenizer", ESPL_SPEC_TEXT, NULL},
    {"reference", "reference", ESPL_SPEC_TEXT, NULL},
    {0}};

/* Of its tokens; NULL: not known. */
static const espl_tokenizer *tokenizer_of(const espl_adapter *adapter) {
    return adapter->own_vocabulary ? adapter->tokenizer : adapter->model->tokenizer;
}

/* ---- Declaring ---- */

static bool same_tokens(const espl_tokenizer *a, const espl_tokenizer *b) {
    if (!a || !b || espl_tokenizer_size(a) != espl_tokenizer_size(b)) return a == b;
    for (uint32_t id = 0; id < espl_tokenizer_size(a); id++) {
        const char *one = espl_tokenizer_piece(a, id), *other = espl_tokenizer_piece(b, id);
        if (one && other ? strcmp(one, other) != 0 : one != other) return false;
    }
    return true;
}

/* Without a tokenizer tokens are the base's where they are as many. */
static espl_status read_vocabulary(espl_adapter *adapter) {
    espl_context *ctx = context(adapter);
    const espl_model *model = adapter->model;
    const uint32_t base = model->config.vocabulary;
    const char *folder;
    uint32_t tokens;
    ESPL_TRY(espl_json_string(ctx, adapter->config, "tokenizer", NULL, &folder));
    if (folder) ESPL_TRY(espl_tokenizer_load(ctx, folder, &adapter->tokenizer));
    const uint32_t named = adapter->tokenizer ? espl_tokenizer_size(adapter->tokenizer) : 0;
    const bool other = folder && !same_tokens(adapter->tokenizer, model->tokenizer);
    ESPL_TRY(espl_json_u32(ctx, adapter->config, "tokens", other ? named : base, &tokens));
    if (tokens < 1 || tokens > TOKENS_MAX || tokens < named)
        return espl_fail(ctx, ESPL_ARGUMENT, "embeddings: %u rows are not from %u, as many as its tokenizer has tokens, to %d", tokens,
                         named ? named : 1, TOKENS_MAX);
    ESPL_TRY(espl_json_set(ctx, adapter->config, "tokens", json_integer(tokens)));
    adapter->tokens = tokens;
    adapter->own_vocabulary = other || tokens != base;
    if (!adapter->own_vocabulary) espl_tokenizer_destroy(&adapter->tokenizer);
    if (!adapter->own_vocabulary || !espl_head_of_words(model) || model->config.tied) return ESPL_OK;
    return espl_fail(ctx, ESPL_UNSUPPORTED, "embeddings: the map into the vocabulary of this %s model is not its token embedding and has "
                     "no rows for %u other tokens", model->config.family->model_type, tokens);
}

static espl_status declare(espl_adapter *adapter) {
    const espl_model *model = adapter->model;
    espl_store *store = &adapter->store;
    embeddings_state *state;
    ESPL_TRY(espl_new(context(adapter), sizeof *state, &state));
    adapter->state = state;
    state->bias = ESPL_NO_MATRIX;
    const espl_spec_value defaults[] = {
        {"architecture", json_string("embedding")}, {"tokenizer", json_null()}, {"reference", json_string(base_name)}};
    ESPL_TRY(espl_spec_defaults(adapter, defaults, ESPL_COUNT(defaults)));
    ESPL_TRY(read_vocabulary(adapter));
    const espl_matrix *base = &model->store.matrices[model->embed];
    ESPL_TRY(espl_store_matrix(store, base->label, adapter->tokens, base->cols, ESPL_DTYPE_F32, base->decay, &state->weight));
    ESPL_TRY(espl_store_entry(store, ESPL_TENSOR_ALONE, state->weight, 0, adapter->tokens, false));
    adapter->replacement[model->embed] = state->weight;
    const uint32_t bias = model->task.out_bias;
    if (!adapter->own_vocabulary || !espl_head_of_words(model) || bias == ESPL_NO_MATRIX) return ESPL_OK;
    ESPL_TRY(espl_store_matrix(store, model->store.matrices[bias].label, 1, adapter->tokens, ESPL_DTYPE_F32, false, &state->bias));
    store->matrices[state->bias].frozen = true;
    adapter->replacement[bias] = state->bias;
    return ESPL_OK;
}

/* ---- Values ---- */

/* What new tokens may take rows from. */
typedef struct source {
    espl_store *store;
    uint32_t matrix, tokens;
    const espl_tokenizer *tokenizer;
} source;

static source base_source(const espl_adapter *adapter, uint32_t matrix) {
    espl_model *model = adapter->model;
    return (source){&model->store, matrix, model->config.vocabulary, model->tokenizer};
}

static espl_status find_source(const espl_adapter *adapter, const char *name, source *out) {
    *out = base_source(adapter, adapter->model->embed);
    if (strcmp(name, base_name) == 0) return ESPL_OK;
    espl_adapter *other = espl_adapter_find(adapter->model, name, strlen(name));
    if (!other || !other->tokens)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "embeddings: the reference \"%s\" is neither \"%s\" nor embeddings that the model "
                         "has, nor none", name, base_name);
    *out = (source){&other->store, ((const embeddings_state *)other->state)->weight, other->tokens, tokenizer_of(other)};
    return ESPL_OK;
}

/* Its row of a token; ESPL_NO_TOKEN: it has none. */
static uint32_t row_of(const source *from, const espl_tokenizer *own, uint32_t token) {
    const char *piece = own && own != from->tokenizer ? espl_tokenizer_piece(own, token) : NULL;
    uint32_t row = token;
    if (own != from->tokenizer) row = piece && from->tokenizer ? espl_tokenizer_find(from->tokenizer, piece) : ESPL_NO_TOKEN;
    return row < from->tokens ? row : ESPL_NO_TOKEN;
}

/* Items of `width` values: those of the same tokens of from in place of into's. vector: an item is a number of a vector. */
static espl_status take_rows(espl_adapter *adapter, const source *from, uint32_t into, bool vector) {
    espl_context *ctx = context(adapter);
    const uint32_t width = vector ? 1 : from->store->matrices[from->matrix].cols;
    const espl_entry theirs = {.matrix = from->matrix, .count = from->tokens, .vector = vector};
    const espl_entry own = {.matrix = into, .count = adapter->tokens, .vector = vector};
    float *rows = NULL, *values = NULL;
    espl_status status;
    ESPL_GOTO(espl_new(ctx, (size_t)from->tokens * width * sizeof *rows, &rows));
    ESPL_GOTO(espl_new(ctx, (size_t)adapter->tokens * width * sizeof *values, &values));
    ESPL_GOTO(espl_store_read(from->store, &theirs, rows));
    ESPL_GOTO(espl_store_read(&adapter->store, &own, values));
    for (uint32_t token = 0; token < adapter->tokens; token++) {
        const uint32_t row = row_of(from, tokenizer_of(adapter), token);
        if (row != ESPL_NO_TOKEN) memcpy(values + (size_t)token * width, rows + (size_t)row * width, width * sizeof *values);
    }
    status = espl_store_write(&adapter->store, &own, values, ESPL_DTYPE_F32);
fail:
    espl_free(ctx, &rows);
    espl_free(ctx, &values);
    return status;
}

static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    const embeddings_state *state = adapter->state;
    const char *name;
    source from;
    ESPL_TRY(espl_json_string(context(adapter), adapter->config, "reference", base_name, &name));
    if (state->bias != ESPL_NO_MATRIX) {
        from = base_source(adapter, adapter->model->task.out_bias);
        ESPL_TRY(take_rows(adapter, &from, state->bias, true));
    }
    ESPL_TRY(espl_initial_normal(&adapter->store, &adapter->store.entries[0], seed, deviation));
    if (strcmp(name, "none") == 0) return ESPL_OK;
    ESPL_TRY(find_source(adapter, name, &from));
    return take_rows(adapter, &from, state->weight, false);
}

/* Rows mean nothing together unless they are of the same tokens. */
static espl_status average(espl_adapter *result, espl_adapter *const *adapters, const double *weights, size_t count) {
    (void)weights;
    for (size_t i = 0; i < count; i++) {
        if (!same_tokens(tokenizer_of(adapters[i]), tokenizer_of(result)))
            return espl_fail(context(result), ESPL_ARGUMENT, "\"%s\" and \"%s\" have other tokens: they cannot be averaged",
                             adapters[0]->name, adapters[i]->name);
    }
    return ESPL_OK;
}

/* ---- Files ---- */

static const espl_folder_names files = {.weights = "embedding", .pickled = "embedding.pt"};

/* What the library leaves in the folder says. */
static espl_status from_file(espl_context *ctx, const char *folder, json_t *file) {
    char *path = NULL, *tokenizer = NULL;
    espl_tensors *set = NULL;
    espl_tensor_view view;
    json_t *config = json_pack("{s:s, s:s}", "architecture", "embedding", "reference", "none");
    espl_status status = config ? ESPL_OK : espl_fail(ctx, ESPL_HOST_MEMORY, "a configuration needs memory");
    if (status != ESPL_OK) return status;
    ESPL_GOTO(espl_json_set(ctx, file, "config", config));
    ESPL_GOTO(espl_format(ctx, &path, "%s/%s", folder, files.pickled));
    ESPL_GOTO(espl_tensors_open(ctx, path, &set));
    ESPL_GOTO(espl_tensors_find(set, ESPL_TENSOR_ALONE, &view));
    if (view.rank != 2) status = espl_fail(ctx, ESPL_FORMAT, "the tensor has %u dimensions, an embedding has 2", view.rank);
    if (status == ESPL_OK) status = espl_json_set(ctx, config, "tokens", json_integer(view.shape[0]));
    if (status == ESPL_OK) status = espl_format(ctx, &tokenizer, "%s/tokenizer", folder);
    if (status == ESPL_OK && espl_tokenizer_is_in(tokenizer))
        status = espl_json_set(ctx, config, "tokenizer", json_string(tokenizer));
fail:
    espl_tensors_destroy(&set);
    espl_free(ctx, &tokenizer);
    espl_free(ctx, &path);
    return status;
}

/* Where its tokenizer's files lie; NULL: nowhere. */
static const char *tokenizer_folder(const espl_adapter *adapter) {
    const char *own = json_string_value(json_object_get(adapter->config, "tokenizer"));
    if (own || adapter->own_vocabulary) return own;
    return adapter->model->tokenizer ? adapter->model->folder : NULL;
}

static espl_status save(espl_adapter *adapter, const char *folder) {
    enum { WEIGHTS = ESPL_TOKENIZER_FILES, FILES };
    espl_context *ctx = context(adapter);
    const char *from = tokenizer_folder(adapter);
    char *path = NULL, *tokenizer = NULL;
    espl_replace replaces[FILES] = {0};
    espl_tensor_entry entry = {0};
    espl_store_source values = {0};
    espl_status status;
    ESPL_GOTO(espl_os_make_folder(ctx, folder));
    ESPL_GOTO(espl_format(ctx, &path, "%s/%s", folder, files.pickled));
    ESPL_GOTO(espl_format(ctx, &tokenizer, "%s/tokenizer", folder));
    if (from) ESPL_GOTO(espl_os_make_folder(ctx, tokenizer));
    if (from) ESPL_GOTO(espl_tokenizer_copy(ctx, from, tokenizer, replaces));
    ESPL_GOTO(espl_store_entries(&adapter->store, "%s", (espl_span){0}, &entry, &values));
    ESPL_GOTO(espl_torch_replace(ctx, path, &entry, &replaces[WEIGHTS]));
    ESPL_GOTO(espl_os_replace_commit_all(ctx, replaces, FILES));
    espl_tokenizer_remove_others(tokenizer, from);
fail:
    espl_os_replace_finish_all(ctx, replaces, FILES);
    espl_store_entries_finish(ctx, &entry, &values, 1);
    espl_free(ctx, &tokenizer);
    espl_free(ctx, &path);
    return status;
}

static void finish(espl_adapter *adapter) {
    espl_free(context(adapter), &adapter->state);
}

const espl_method espl_method_embeddings = {
    .name = "embeddings",
    .architecture = "embedding",
    .properties = {.adapted = ESPL_ADAPTED_SELECTION,
                   .input = ESPL_INPUT_DATA,
                   .insertions = ESPL_INSERTIONS_ONE,
                   .integration = ESPL_INTEGRATION_REPLACEMENT},
    .keys = {spec_keys},
    .declare = declare,
    .initialise = initialise,
    .save = save,
    .average = average,
    .files = &files,
    .from_file = from_file,
    .finish = finish};
