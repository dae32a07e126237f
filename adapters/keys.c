/* The keys of a method's specs: what they take from its rows, their defaults from what it declares in an outline of a model. */
#include "adapters/make.h"
#include "adapters/spec.h"
#include "adapters/table.h"

static const char bert_base[] =
    "{\"architectures\": [\"BertModel\"], \"model_type\": \"bert\", \"vocab_size\": 30522, \"hidden_size\": 768,"
    "\"num_hidden_layers\": 12, \"num_attention_heads\": 12, \"intermediate_size\": 3072, \"max_position_embeddings\": 512,"
    "\"type_vocab_size\": 2}";

static espl_status add_text(espl_table *table, const espl_spec_row *row, const json_t *config) {
    espl_bytes text = {0};
    espl_status status = config ? espl_spec_print(table->ctx, row, config, &text) : espl_spec_takes(table->ctx, row, &text);
    if (status == ESPL_OK) status = espl_table_add(table, "%s", text.data);
    espl_bytes_finish(table->ctx, &text);
    return status;
}

/* Those of an adapter, or of the parts that it is made of. */
static espl_status add_keys(espl_table *table, const espl_adapter *adapter, bool *out_complete) {
    for (const espl_adapter *member = adapter->members; member; member = member->next)
        ESPL_TRY(add_keys(table, member, out_complete));
    for (size_t i = 0; i < ESPL_METHOD_KEYS; i++) {
        for (const espl_spec_row *row = adapter->method->keys[i]; row && row->key; row++) {
            *out_complete &= json_object_get(adapter->config, row->key) != NULL;
            ESPL_TRY(espl_table_add(table, "%s", adapter->method->name));
            ESPL_TRY(espl_table_add(table, "%s", row->spec_key));
            ESPL_TRY(add_text(table, row, adapter->config));
            ESPL_TRY(add_text(table, row, NULL));
            ESPL_TRY(espl_table_add(table, "%s", row->key));
        }
    }
    return ESPL_OK;
}

static espl_status add_spec(espl_table *table, espl_adapter *adapter, const char *spec) {
    ESPL_TRY(espl_adapter_parse(adapter, spec));
    const espl_status declared = adapter->method->declare(adapter);
    if (declared == ESPL_HOST_MEMORY) return declared;
    const size_t heading = table->count;
    bool complete = true;
    ESPL_TRY(add_keys(table, adapter, &complete));
    if (declared == ESPL_OK && table->count == heading)
        return espl_fail(table->ctx, ESPL_ARGUMENT, "%s: there are no keys: its parts have keys, written one|other", spec);
    /* What needs more than an outline without a tokenizer fails after its defaults were filled in. */
    return complete && table->count > heading ? ESPL_OK : declared;
}

espl_status espl_methods_keys(espl_context *ctx, const char *spec, const char *model_folder, espl_table_format format,
                              char **out_text) {
    const char *const heading[] = {"method", "key", model_folder ? "default" : "default (BERT base)", "takes", "in the folder"};
    espl_table table = {.ctx = ctx, .columns = ESPL_COUNT(heading)};
    espl_model *model;
    espl_adapter *adapter = NULL;
    *out_text = NULL;
    ESPL_TRY(espl_model_outline(ctx, model_folder ? model_folder : bert_base, NULL, &model));
    espl_status status = ESPL_OK;
    for (size_t i = 0; status == ESPL_OK && i < ESPL_COUNT(heading); i++) status = espl_table_add(&table, "%s", heading[i]);
    if (status == ESPL_OK) status = espl_adapter_begin(model, "keys", &adapter);
    if (status == ESPL_OK) status = add_spec(&table, adapter, spec);
    espl_adapter_destroy(adapter);
    espl_model_destroy(&model);
    return espl_table_print(&table, status, format, out_text);
}
