/* Prompt tuning in the Adapters library's folders: rows behind the embedding (its positions, types and norm are the real tokens'
 * alone), for encoders, which know a row's place by nothing else. A head that reads the first row reads the prompt's with
 * combine "prefix", as in the library, and [CLS] with "prefix_after_bos", whose rows the library puts behind it: to the blocks
 * both are one, but to those of DeBERTa, which see distances. Where an embedding is narrower than the model the rows are as
 * narrow, and are projected with it. */
#include "adapters/initial.h"
#include "adapters/prompt.h"
#include "adapters/spec.h"
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

static const espl_spec_row spec_keys[] = {
    {"length", "prompt_length", ESPL_SPEC_WHOLE, NULL},
    {"combine", "combine", ESPL_SPEC_TEXT, "prefix, prefix_after_bos"},
    {"init", "prompt_init", ESPL_SPEC_TEXT, "random_uniform, from_string"},
    {"text", "prompt_init_text", ESPL_SPEC_TEXT, NULL},
    {"scale", "random_uniform_scale", ESPL_SPEC_NUMBER, NULL},
    {0}};

static espl_status complete(espl_adapter *adapter) {
    const espl_spec_value rows[] = {{"architecture", json_string("prompt_tuning")},
                {"combine", json_string("prefix")},
                {"prompt_length", json_integer(10)},
                {"prompt_init", json_string("random_uniform")},
                {"prompt_init_text", json_null()},
                {"random_uniform_scale", json_real(0.5)},
                {"init_weights_seed", json_null()}};
    return espl_spec_defaults(adapter, rows, ESPL_COUNT(rows));
}

static espl_status read_config(espl_adapter *adapter, prompt_state *state) {
    espl_context *ctx = context(adapter);
    const espl_config *c = &adapter->model->config;
    const char *combine, *init;
    ESPL_TRY(espl_json_string(ctx, adapter->config, "prompt_init", "random_uniform", &init));
    if (strcmp(init, "random_uniform") != 0 && strcmp(init, "from_string") != 0)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: prompt_init \"%s\" is not one of random_uniform, from_string", adapter->method->name, init);
    if (!c->family->bidirectional)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: a %s model is none of the encoders that the Adapters library has it for; prompt is "
                         "for others", adapter->method->name, c->family->model_type);
    ESPL_TRY(espl_json_string(ctx, adapter->config, "combine", "prefix", &combine));
    state->first = strcmp(combine, "prefix") == 0;
    if (!state->first && strcmp(combine, "prefix_after_bos") != 0)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: combine \"%s\" is not one of prefix, prefix_after_bos", adapter->method->name, combine);
    if (!state->first && adapter->model->relative != ESPL_NO_MATRIX)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: the attention of a %s model goes by distances: it takes no rows between [CLS] and "
                         "the text, only before both (combine=prefix)", adapter->method->name, c->family->model_type);
    return espl_prompt_read_rows(adapter, "prompt_length", state);
}

static espl_status declare(espl_adapter *adapter) {
    prompt_state *state;
    char *name;
    ESPL_TRY(espl_new(context(adapter), sizeof *state, &state));
    adapter->state = state;
    state->embedded = true;
    ESPL_TRY(complete(adapter));
    ESPL_TRY(read_config(adapter, state));
    ESPL_TRY(espl_store_matrix(&adapter->store, "prompt", adapter->before, adapter->model->config.embedding, ESPL_DTYPE_F32, true,
                               &state->table));
    ESPL_TRY(espl_format(context(adapter), &name, "%sprompt_tuning.prompt_tunings.%s.prompt_embedding.weight",
                         adapter->model->config.family->prefix, adapter->file_name));
    espl_status status = espl_store_entry(&adapter->store, name, state->table, 0, adapter->before, false);
    espl_free(context(adapter), &name);
    return status;
}

/* U(+-random_uniform_scale), a key that the library reads but does not write; or the embedding of a text. */
static espl_status initialise(espl_adapter *adapter, uint64_t seed) {
    const char *init;
    float scale;
    ESPL_TRY(espl_json_string(context(adapter), adapter->config, "prompt_init", "random_uniform", &init));
    ESPL_TRY(espl_json_f32(context(adapter), adapter->config, "random_uniform_scale", 0.5f, &scale));
    if (strcmp(init, "from_string") == 0) return espl_prompt_from_text(adapter, &adapter->store.entries[0], "prompt_init_text");
    return espl_initial_uniform(&adapter->store, &adapter->store.entries[0], seed, scale);
}

const espl_method espl_method_library_prompt = {
    .name = "library_prompt",
    .architecture = "prompt_tuning",
    .properties = {.intra = ESPL_INTRA_DENSE,
                   .adapted = ESPL_ADAPTED_ADDITION,
                   .input = ESPL_INPUT_WEIGHTS,
                   .insertion = ESPL_INSERTION_PARALLEL,
                   .insertions = ESPL_INSERTIONS_ONE,
                   .integration = ESPL_INTEGRATION_CONCATENATION,
                   .sites = 1u << ESPL_SITE_BEGIN | 1u << ESPL_SITE_EMBEDDED},
    .keys = {spec_keys},
    .declare = declare,
    .initialise = initialise,
    .join = espl_prompt_join,
    .step = espl_prompt_step,
    .finish = espl_prompt_finish};
