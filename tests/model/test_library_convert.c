/* Folders of the Adapters library and PEFT's, one made from the other: the same logits. Names and refusals are in
 * tests/unit/test_convert_library.c. */
#include "host/base/os.h"
#include "host/file/json.h"
#include "host/model/adapter.h"
#include "tests/model/model_test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The model that a case of tests/golden stands on. */
static const char *model_of(const char *name) {
    if (strstr(name, "_classes_") || strstr(name, "_tags_")) return name;
    if (strstr(name, "qwen3")) return "qwen3_patterns";
    return strstr(name, "llama") ? "llama_lora" : "bert_classes_lora";
}

/* Logits of what the library was asked, with this folder as the adapter, beside the library's own. */
static void compare_logits(espl_model *model, const char *folder, const char *golden_name) {
    char path[512];
    espl_adapter *adapter;
    espl_tensors *golden, *got;
    size_t count;
    test_ok(espl_adapter_load(model, "a", folder, &adapter));
    test_ok(espl_model_activate(model, "a"));
    snprintf(path, sizeof path, "%s/%s/golden.safetensors", ESPL_GOLDEN, golden_name);
    test_ok(espl_tensors_open(test_context(), path, &golden));
    int32_t *inputs[4];
    static const char *const names[] = {"ids", "labels", "types", "lengths"};
    espl_tensor_view view;
    test_ok(espl_tensors_find(golden, "ids", &view));
    for (int i = 0; i < 4; i++) {
        double *values = espl_tensors_has(golden, names[i]) ? test_values(golden, names[i], &count) : NULL;
        inputs[i] = values ? malloc(count * sizeof **inputs) : NULL;
        for (size_t k = 0; values && k < count; k++) inputs[i][k] = (int32_t)values[k];
        free(values);
    }
    char *out = test_path("probe.safetensors");
    test_ok(espl_probe(model, adapter, &(espl_probe_params){.ids = inputs[0], .labels = inputs[1], .types = inputs[2], .lengths = inputs[3],
                                                            .rows = view.shape[0], .tokens = view.shape[1], .steps = 1}, out));
    test_ok(espl_tensors_open(test_context(), out, &got));
    double *expected = test_values(golden, "logits", &count), *values = test_values(got, "logits", NULL);
    const double off = test_relative(values, expected, count);
    if (!(off < 2e-5)) fail_msg("%s: logits are off by %.3g", folder, off);
    free(expected), free(values);
    espl_tensors_destroy(&got);
    espl_tensors_destroy(&golden);
    for (int i = 0; i < 4; i++) free(inputs[i]);
    espl_os_remove_file(out);
    free(out);
    espl_adapter_delete(&adapter);
}

/* To PEFT and back again: the library's own logits, and the library's configuration. */
static void converted(void **state) {
    const char *name = *state;
    char from[512], base[512];
    espl_model *model = test_model(model_of(name), NULL);
    char *peft = test_path("peft"), *back = test_path("back");
    snprintf(from, sizeof from, "%s/%s/adapter", ESPL_GOLDEN, name);
    snprintf(base, sizeof base, "%s/%s", ESPL_GOLDEN, model_of(name));
    test_ok(espl_adapter_convert(test_context(), &(espl_convert_params){.adapter = from, .model = base, .to = "peft", .out = peft}));
    compare_logits(model, peft, name);
    test_ok(espl_adapter_convert(test_context(), &(espl_convert_params){.adapter = peft, .model = base, .to = "adapters", .out = back}));
    compare_logits(model, back, name);
    espl_os_remove_folder(test_context(), peft);
    espl_os_remove_folder(test_context(), back);
    free(peft), free(back);
    espl_model_destroy(&model);
}

/* PEFT's own numbers, of prefixes and of heads that it saves with an adapter, by way of the library's form and back again. */
static void there_and_back(void **state) {
    const char *name = *state;
    char from[512], base[512];
    espl_model *model = test_model(model_of(name), NULL);
    char *library = test_path("library"), *back = test_path("back");
    snprintf(from, sizeof from, "%s/%s/adapter", ESPL_GOLDEN, name);
    snprintf(base, sizeof base, "%s/%s", ESPL_GOLDEN, model_of(name));
    test_ok(espl_adapter_convert(test_context(), &(espl_convert_params){.adapter = from, .model = base, .to = "adapters", .out = library}));
    compare_logits(model, library, name);
    test_ok(espl_adapter_convert(test_context(), &(espl_convert_params){.adapter = library, .model = base, .to = "peft", .out = back}));
    compare_logits(model, back, name);
    espl_os_remove_folder(test_context(), library);
    espl_os_remove_folder(test_context(), back);
    free(library), free(back);
    espl_model_destroy(&model);
}

static void windowed_prefix(void **state) {
    (void)state;
    json_t *config;
    espl_bytes text = {0};
    char *base = test_path("window"), *out = test_path("none");
    test_ok(espl_json_load(test_context(), ESPL_GOLDEN "/llama_lora/config.json", &config));
    assert_int_equal(json_object_set_new(config, "model_type", json_string("mistral")), 0);
    assert_int_equal(json_object_set_new(config, "sliding_window", json_integer(6)), 0);
    test_ok(espl_json_print(test_context(), config, &text));
    char path[512];
    test_ok(espl_os_make_folder(test_context(), base));
    snprintf(path, sizeof path, "%s/config.json", base);
    test_ok(espl_os_write_file(test_context(), path, text.data, strlen(text.data)));
    test_refused(espl_adapter_convert(test_context(), &(espl_convert_params){.adapter = ESPL_GOLDEN "/prefix_llama/adapter", .model = base,
                                                                             .to = "adapters", .out = out}),
                 ESPL_UNSUPPORTED, "a mistral model with a sliding window of 6");
    assert_false(espl_os_is_folder(out));
    espl_bytes_finish(test_context(), &text);
    json_decref(config);
    espl_os_remove_folder(test_context(), base);
    free(base), free(out);
}

/* The library's prefix with its generator becomes PEFT's rows: the same logits. */
static void generated_prefix(void **state) {
    (void)state;
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *adapter;
    float ours[TEST_VOCABULARY], theirs[TEST_VOCABULARY], bare[TEST_VOCABULARY];
    char *folder = test_path("generated"), *peft = test_path("peft");
    test_logits(model, bare);
    test_ok(espl_adapter_add(model, "a", "library_prefix:length=3,bottleneck=7", 3, &adapter));
    test_ok(espl_model_activate(model, "a"));
    test_logits(model, ours);
    assert_true(test_off(ours, bare) > 1e-2);
    test_ok(espl_adapter_save(adapter, folder));
    espl_adapter_delete(&adapter);
    test_ok(espl_adapter_convert(test_context(), &(espl_convert_params){.adapter = folder, .model = ESPL_GOLDEN "/llama_lora", .to = "peft",
                                                                        .out = peft}));
    test_ok(espl_adapter_load(model, "p", peft, &adapter));
    test_ok(espl_model_activate(model, "p"));
    test_logits(model, theirs);
    assert_true(test_off(theirs, ours) < 2e-5);
    espl_os_remove_folder(test_context(), folder);
    espl_os_remove_folder(test_context(), peft);
    free(folder), free(peft);
    espl_model_destroy(&model);
}

/* PEFT's prefixes are in all layers. */
static void left_out_prefix(void **state) {
    (void)state;
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *adapter;
    char *folder = test_path("left_out"), *peft = test_path("peft");
    test_ok(espl_adapter_add(model, "a", "library_prefix:length=3,flat,leave_out=1", 3, &adapter));
    test_ok(espl_adapter_save(adapter, folder));
    test_refused(espl_adapter_convert(test_context(), &(espl_convert_params){.adapter = folder, .model = ESPL_GOLDEN "/llama_lora",
                                                                             .to = "peft", .out = peft}),
                 ESPL_UNSUPPORTED, "PEFT's prefixes have no place for \"leave_out\"");
    espl_os_remove_folder(test_context(), folder);
    free(folder), free(peft);
    espl_model_destroy(&model);
}

/* The bits of a tensor that the adapter in a folder has. */
static void same_tensor(espl_model *model, const char *folder, const char *name, const float *expected, size_t count) {
    espl_adapter *adapter;
    test_ok(espl_adapter_load(model, "a", folder, &adapter));
    const espl_entry *entry = espl_store_find(&adapter->store, name);
    if (!entry) fail_msg("%s: there is no %s", folder, name);
    float *got = calloc(count, sizeof *got);
    assert_non_null(got);
    assert_int_equal(espl_entry_values(&adapter->store, entry), count);
    test_ok(espl_store_read(&adapter->store, entry, got));
    assert_memory_equal(got, expected, count * sizeof *got);
    free(got);
    espl_adapter_delete(&adapter);
}

/* A head that was trained with a prefix goes along, under the names that PEFT gives it there. */
static void headed_prefix(void **state) {
    (void)state;
    static const char base[] = ESPL_GOLDEN "/llama_classes_lora", peft_name[] = "base_model.score.weight";
    espl_model *model = test_model("llama_classes_lora", NULL);
    espl_adapter *adapter;
    char *peft = test_path("peft"), *library = test_path("library"), *back = test_path("back");
    test_ok(espl_adapter_add(model, "a", "prefix:tokens=3", 3, &adapter));
    const espl_entry *head = espl_store_find(&adapter->store, peft_name);
    assert_non_null(head);
    const size_t count = (size_t)espl_entry_values(&adapter->store, head);
    float *values = calloc(count, sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++) values[i] = 0.25f * (float)(i % 11); /* not the base's */
    test_ok(espl_store_write(&adapter->store, head, values, ESPL_DTYPE_F32));
    test_ok(espl_adapter_save(adapter, peft));
    espl_adapter_delete(&adapter);
    test_ok(espl_adapter_convert(test_context(), &(espl_convert_params){.adapter = peft, .model = base, .to = "adapters", .out = library}));
    same_tensor(model, library, "score.weight", values, count);
    test_ok(espl_adapter_convert(test_context(), &(espl_convert_params){.adapter = library, .model = base, .to = "peft", .out = back}));
    same_tensor(model, back, peft_name, values, count);
    espl_os_remove_folder(test_context(), peft);
    espl_os_remove_folder(test_context(), library);
    espl_os_remove_folder(test_context(), back);
    free(values), free(peft), free(library), free(back);
    espl_model_destroy(&model);
}

/* GPT-2's q, k and v are one map: LoRAs of its parts are read as they are and by converting, factors by converting alone. */
static void fused(void **state) {
    (void)state;
    espl_model *model = test_model("gpt2_lora", NULL);
    espl_adapter *adapter;
    static const char *const cases[] = {"library_lora_gpt2", "library_ia3_gpt2"};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        char from[512], name[64];
        char *peft = test_path("peft");
        snprintf(from, sizeof from, "%s/fused/%s/adapter", ESPL_GOLDEN, cases[i]);
        if (i == 1) test_refused(espl_adapter_load(model, "a", from, &adapter), ESPL_UNSUPPORTED, "convert the folder to PEFT's format");
        test_ok(espl_adapter_convert(test_context(), &(espl_convert_params){.adapter = from, .model = ESPL_GOLDEN "/gpt2_lora",
                                                                            .to = "peft", .out = peft}));
        snprintf(name, sizeof name, "fused/%s", cases[i]);
        if (i == 0) compare_logits(model, from, name);
        compare_logits(model, peft, name);
        espl_os_remove_folder(test_context(), peft);
        free(peft);
    }
    test_ok(espl_adapter_add(model, "a", "{\"config\": {\"architecture\": \"lora\", \"selfattn_lora\": false, \"output_lora\": true}}", 0,
                             &adapter));
    espl_model_destroy(&model);
}

#define BACK(name) {"there and back " #name, there_and_back, NULL, NULL, #name}
#define CONVERTED(name) {"converted " #name, converted, NULL, NULL, #name}
int main(void) {
    const struct CMUnitTest tests[] = {
        CONVERTED(library_lora_bert), CONVERTED(library_lora_left_out), CONVERTED(library_lora_llama), CONVERTED(library_ia3_bert),
        CONVERTED(library_ia3_llama), cmocka_unit_test(fused), BACK(prefix_llama), BACK(prefix_qwen3),
        BACK(bert_classes_lora), BACK(bert_tags_lora), BACK(roberta_classes_lora), BACK(distilbert_classes_lora),
        BACK(llama_classes_lora),
        cmocka_unit_test(generated_prefix), cmocka_unit_test(left_out_prefix), cmocka_unit_test(headed_prefix),
        cmocka_unit_test(windowed_prefix)};
    return test_main("adapters from one format to another", tests, ESPL_COUNT(tests));
}
