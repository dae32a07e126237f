/* The keys that methods list (adapters/spec.h): every text listed is taken, another is not, and defaults are printed as a spec
 * says them. */
#include "adapters/spec.h"
#include "host/base/os.h"
#include "host/model/config.h"
#include "tests/model/model_test.h"
#include <espalier/methods.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char config[] = "{\"architectures\": [\"BertForSequenceClassification\"], \"model_type\": \"bert\", \"vocab_size\": 4, \"hidden_size\": 128,"
                             "\"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"intermediate_size\": 256}";

/* An outline with a tokenizer. From malloc. */
static char *make_folder(void) {
    static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n";
    char *folder = test_path("keys"), path[512];
    test_ok(espl_os_make_folder(test_context(), folder));
    snprintf(path, sizeof path, "%s/config.json", folder);
    test_ok(espl_os_write_file(test_context(), path, config, sizeof config - 1));
    snprintf(path, sizeof path, "%s/vocab.txt", folder);
    test_ok(espl_os_write_file(test_context(), path, vocabulary, sizeof vocabulary - 1));
    return folder;
}

static void take(espl_model *model, const espl_method *method, const espl_spec_row *row, const char *value) {
    char spec[256];
    espl_adapter *adapter;
    snprintf(spec, sizeof spec, "%s:%s=%s", method->name, row->spec_key, value);
    if (espl_adapter_add(model, "a", spec, 1, &adapter) != ESPL_OK) fail_msg("%s: %s", spec, espl_context_message(test_context()));
    espl_adapter_delete(&adapter);
}

static void try_values(espl_model *model, const espl_method *method, const espl_spec_row *row) {
    char spec[256], value[64];
    espl_adapter *adapter;
    const char *name;
    for (size_t i = 0; row->kind == ESPL_SPEC_ACTIVATION && (name = espl_config_activation_name(i)) != NULL; i++)
        take(model, method, row, name);
    for (const char *at = row->values; at && *at; at += strspn(at, ", ")) {
        const size_t bytes = strcspn(at, ",");
        snprintf(value, sizeof value, "%.*s", (int)bytes, at);
        take(model, method, row, value);
        at += bytes;
    }
    if (row->kind != ESPL_SPEC_ACTIVATION && !row->values) return;
    snprintf(spec, sizeof spec, "%s:%s=frob", method->name, row->spec_key);
    if (espl_adapter_add(model, "a", spec, 1, &adapter) == ESPL_OK) fail_msg("%s is taken", spec);
}

static void values(void **state) {
    (void)state;
    char *folder = make_folder();
    espl_model *model;
    size_t rows = 0;
    test_ok(espl_model_outline(test_context(), folder, NULL, &model));
    for (size_t m = 0; m < espl_method_count; m++) {
        for (size_t i = 0; i < ESPL_METHOD_KEYS; i++) {
            for (const espl_spec_row *row = espl_methods[m]->keys[i]; row && row->key; row++, rows++)
                try_values(model, espl_methods[m], row);
        }
    }
    assert_true(rows > 100);
    espl_model_destroy(&model);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

/* What is printed as a default is the same value when it is given. */
static void defaults(void **state) {
    (void)state;
    char *folder = make_folder();
    espl_model *model;
    test_ok(espl_model_outline(test_context(), folder, NULL, &model));
    for (size_t m = 0; m < espl_method_count; m++) {
        espl_adapter *adapter;
        if (espl_methods[m]->parts || strcmp(espl_methods[m]->name, "fusion") == 0) continue; /* nothing by default to stand on */
        test_ok(espl_adapter_add(model, "default", espl_methods[m]->name, 1, &adapter));
        for (size_t i = 0; i < ESPL_METHOD_KEYS; i++) {
            for (const espl_spec_row *row = espl_methods[m]->keys[i]; row && row->key; row++) {
                espl_bytes text = {0};
                espl_adapter *other;
                char spec[256];
                test_ok(espl_spec_print(test_context(), row, adapter->config, &text));
                snprintf(spec, sizeof spec, "%s:%s=%s", espl_methods[m]->name, row->spec_key, text.data);
                const bool said = !json_is_null(json_object_get(adapter->config, row->key)) && strcmp(text.data, "-") != 0 &&
                                  strcmp(text.data, "none") != 0 && strcmp(text.data, "all") != 0;
                espl_bytes_finish(test_context(), &text);
                if (!said) continue;
                if (espl_adapter_add(model, "given", spec, 1, &other) != ESPL_OK)
                    fail_msg("%s: %s", spec, espl_context_message(test_context()));
                const json_t *own = json_object_get(adapter->config, row->key), *its = json_object_get(other->config, row->key);
                const bool same = json_is_number(own) ? json_number_value(own) == json_number_value(its) : json_equal(own, its);
                if (!same) fail_msg("%s: another value", spec);
                espl_adapter_delete(&other);
            }
        }
        espl_adapter_delete(&adapter);
    }
    espl_model_destroy(&model);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(values), cmocka_unit_test(defaults)};
    return test_main("keys", tests, ESPL_COUNT(tests));
}
