/* Prompts that begin as rows of the token embedding: of a text's tokens, over and over, or of any tokens. */
#include "adapters/prompt.h"
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

/* ids: as many as rows has. */
static espl_status write_rows(espl_adapter *adapter, const espl_entry *rows, const uint32_t *ids) {
    const espl_model *model = adapter->model;
    const espl_adapter *own = espl_model_embeddings(model);
    espl_store *store = (espl_store *)(uintptr_t)(own ? &own->store : &model->store);
    const uint32_t embed = own ? own->replacement[model->embed] : model->embed;
    const size_t cols = store->matrices[embed].cols;
    float *values;
    ESPL_TRY(espl_new(context(adapter), adapter->before * cols * sizeof *values, &values));
    espl_status status = ESPL_OK;
    for (size_t i = 0; status == ESPL_OK && i < adapter->before; i++)
        status = espl_store_read(store, &(espl_entry){.matrix = embed, .from = ids[i], .count = 1}, values + i * cols);
    if (status == ESPL_OK) status = espl_store_write(&adapter->store, rows, values, ESPL_DTYPE_F32);
    espl_free(context(adapter), &values);
    return status;
}

espl_status espl_prompt_from_vocabulary(espl_adapter *adapter, const espl_entry *rows, uint64_t seed) {
    espl_random random = {.seed = seed};
    const uint32_t vocabulary = espl_model_vocabulary(adapter->model);
    uint32_t *ids;
    ESPL_TRY(espl_new(context(adapter), adapter->before * sizeof *ids, &ids));
    for (uint32_t i = 0; i < adapter->before; i++) ids[i] = espl_random_below(&random, vocabulary);
    espl_status status = write_rows(adapter, rows, ids);
    espl_free(context(adapter), &ids);
    return status;
}

espl_status espl_prompt_from_text(espl_adapter *adapter, const espl_entry *rows, const char *key) {
    const espl_model *model = adapter->model;
    const char *text = json_string_value(json_object_get(adapter->config, key)), *name = adapter->method->name;
    espl_tokenizer *tokenizer = espl_model_tokenizer(model);
    const uint32_t *encoded, vocabulary = espl_model_vocabulary(model);
    uint32_t *ids;
    size_t count;
    if (!text) return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: the text to begin with is missing: \"%s\"", name, key);
    if (!tokenizer)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: %s has no tokenizer for \"%s\"", name, model->folder, key);
    ESPL_TRY(espl_tokenizer_encode(tokenizer, text, strlen(text), true, &encoded, &count));
    if (count == 0) return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: \"%s\" has no token", name, key);
    for (size_t i = 0; i < count; i++) {
        if (encoded[i] >= vocabulary)
            return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: \"%s\" has the token %u, the model's embedding %u rows", name, key,
                             encoded[i], vocabulary);
    }
    ESPL_TRY(espl_new(context(adapter), adapter->before * sizeof *ids, &ids));
    for (size_t i = 0; i < adapter->before; i++) ids[i] = encoded[i % count];
    espl_status status = write_rows(adapter, rows, ids);
    espl_free(context(adapter), &ids);
    return status;
}
