/* Head folders that the Adapters library wrote (tests/golden/heads), with its logits in float64: read, written, refused. */
#include "host/base/os.h"
#include "host/file/json.h"
#include "host/model/model.h"
#include "tests/model/model_test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct head_case {
    const char *name, *model, *flexible; /* flexible: the head's name, or NULL */
    bool own;                            /* it is the family's own head, which PEFT and a model's folder hold too */
    bool differs;                        /* what is written is the same head, said otherwise */
    espl_head_kind kind;                 /* DEFAULT: what config.json says */
} head_case;

static const head_case cases[] = {{"bert_static", "bert_classes_lora", NULL, .own = true},
                                  {"bert_pooler", "bert_classes_lora", "h", .own = true},
                                  {"bert_two", "bert_classes_lora", "h", .own = true, .differs = true},
                                  {"bert_one", "bert_classes_lora", "h", .own = false},
                                  {"roberta_two", "roberta_classes_lora", "h", .own = true},
                                  {"distilbert_two", "distilbert_classes_lora", "h", .own = false},
                                  {"electra_two", "electra_classes_lora", "h", .own = false},
                                  {"albert_pooler_two", "albert_classes_lora", "h", .own = false},
                                  {"deberta_two", "deberta_classes_lora", "h", .own = false},
                                  {"gpt2_two", "gpt2_lora", "h", .kind = ESPL_HEAD_CLASSIFICATION},
                                  {"llama_tags_two", "llama_lora", "h", .kind = ESPL_HEAD_TAGGING},
                                  {"bert_tags", "bert_tags_lora", "h", .own = true},
                                  {"bert_masked", "bert_masked_full", "h", .own = true},
                                  {"bert_masked_static", "bert_masked_full", NULL, .own = true},
                                  {"albert_masked", "albert_masked_full", "h", .own = false},
                                  {"llama_causal", "llama_lora", "h", .own = true},
                                  {"llama_causal_two", "llama_lora", "h", .own = false},
                                  {"llama_causal_plain", "llama_lora", "h", .own = false},
                                  {"gpt2_causal_two", "gpt2_lora", "h", .own = false},
                                  {"bert_spans", "bert_spans_lora", "h", .own = true},
                                  {"bert_spans_static", "bert_spans_lora", NULL, .own = true},
                                  {"gpt2_spans_two", "gpt2_spans_full", "h", .own = false},
                                  {"bert_choices", "bert_choices_lora", "h", .own = true},
                                  {"bert_choices_static", "bert_choices_lora", NULL, .own = true},
                                  {"bert_choices_one", "bert_choices_lora", "h", .own = false}};

static espl_model *load(const head_case *c) {
    char base[512], head[512];
    espl_model_params params = {.seed = 5, .head = {.kind = c->kind}};
    snprintf(base, sizeof base, "%s/%s", ESPL_GOLDEN, c->model);
    snprintf(head, sizeof head, "%s/heads/%s", ESPL_GOLDEN, c->name);
    test_ok(espl_head_read(test_context(), base, head, &params.head));
    assert_true(c->own == (params.head.flexible.layers == 0));
    return test_model(c->model, &params);
}

/* Distance of the logits from the library's: with the adapter in this folder, or (NULL) of the model alone. */
static double off(espl_model *model, const char *name, const char *adapter_folder) {
    char path[512];
    espl_tensors *golden, *got;
    espl_tensor_view view;
    size_t count;
    snprintf(path, sizeof path, "%s/heads/%s/golden.safetensors", ESPL_GOLDEN, name);
    test_ok(espl_tensors_open(test_context(), path, &golden));
    test_ok(espl_tensors_find(golden, "ids", &view));
    double *values = test_values(golden, "ids", &count);
    int32_t *ids = malloc(count * sizeof *ids), *labels = calloc(count, sizeof *labels);
    assert_true(ids && labels);
    for (size_t i = 0; i < count; i++) ids[i] = (int32_t)values[i];
    free(values);
    espl_adapter *adapter;
    char *out = test_path("probe.safetensors");
    if (adapter_folder) test_ok(espl_adapter_load(model, "probe", adapter_folder, &adapter));
    else test_ok(espl_adapter_add(model, "probe", "{\"peft_type\": \"LORA\", \"task_type\": null}", 0, &adapter)); /* a no-op */
    test_ok(espl_model_activate(model, "probe"));
    test_ok(espl_probe(model, adapter, &(espl_probe_params){.ids = ids, .labels = labels, .rows = view.shape[0], .tokens = view.shape[1],
                                                            .steps = 1}, out));
    test_ok(espl_tensors_open(test_context(), out, &got));
    double *expected = test_values(golden, "logits", &count);
    values = test_values(got, "logits", NULL);
    const double difference = test_relative(values, expected, count);
    free(values), free(expected), free(ids), free(labels);
    espl_tensors_destroy(&got);
    espl_tensors_destroy(&golden);
    espl_adapter_delete(&adapter);
    espl_os_remove_file(out);
    free(out);
    return difference;
}

static void compare_files(const head_case *c, const char *folder) {
    char path[512];
    espl_tensors *a, *b;
    json_t *x, *y;
    snprintf(path, sizeof path, "%s/heads/%s/pytorch_model_head.bin", ESPL_GOLDEN, c->name);
    test_ok(espl_tensors_open(test_context(), path, &a));
    snprintf(path, sizeof path, "%s/model_head.safetensors", folder);
    test_ok(espl_tensors_open(test_context(), path, &b));
    assert_int_equal(espl_tensors_count(a), espl_tensors_count(b));
    for (size_t i = 0; i < espl_tensors_count(a); i++) {
        espl_tensor_view from, to;
        test_ok(espl_tensors_at(a, i, &from));
        test_ok(espl_tensors_find(b, from.name, &to));
        assert_int_equal(from.bytes, to.bytes);
        assert_memory_equal(from.data, to.data, from.bytes);
    }
    espl_tensors_destroy(&a);
    espl_tensors_destroy(&b);
    snprintf(path, sizeof path, "%s/heads/%s/head_config.json", ESPL_GOLDEN, c->name);
    test_ok(espl_json_load(test_context(), path, &x));
    snprintf(path, sizeof path, "%s/head_config.json", folder);
    test_ok(espl_json_load(test_context(), path, &y));
    json_object_del(x, "model_name"), json_object_del(y, "model_name"); /* the folder that was loaded here */
    json_object_set_new(x, "version", json_string("adapters.1.3.0"));   /* which has the same heads */
    if (strstr(c->name, "choices")) json_object_del(x, "label2id"), json_object_del(y, "label2id"); /* config.json's; choices' numbers */
    if (strstr(c->name, "masked")) json_object_del(x, "label2id"), json_object_del(x, "num_labels"); /* of no use to its head */
    /* Without a second layer the activation says nothing. */
    if (json_integer_value(json_object_get(json_object_get(x, "config"), "layers")) == 1) {
        json_object_del(json_object_get(x, "config"), "activation_function");
        json_object_del(json_object_get(y, "config"), "activation_function");
    }
    if (!json_equal(x, y)) fail_msg("%s: the configuration differs", c->name);
    json_decref(x), json_decref(y);
}

static void read_and_written(void **state) {
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_model *model = load(&cases[i]);
        char from[512];
        char *folder = test_path("head");
        if (!(off(model, cases[i].name, NULL) > 1e-2)) fail_msg("%s: the model has this head already", cases[i].name);
        snprintf(from, sizeof from, "%s/heads/%s", ESPL_GOLDEN, cases[i].name);
        test_ok(espl_model_load_head(model, from));
        if (model->task.labels > 1) assert_string_equal(espl_model_label(model, 1), "name 1");
        if (cases[i].flexible && model->task.choices) assert_int_equal(model->task.choices, 3);
        const double difference = off(model, cases[i].name, NULL);
        if (!(difference < 2e-5)) fail_msg("%s: logits are off by %.3g", cases[i].name, difference);
        if (!cases[i].differs) {
            test_ok(espl_model_save_head(model, folder, cases[i].flexible));
            compare_files(&cases[i], folder);
            test_ok(espl_model_load_head(model, folder));
            assert_true(off(model, cases[i].name, NULL) == difference);
            espl_os_remove_folder(test_context(), folder);
        }
        if (!cases[i].own) {
            test_refused(espl_model_save_head(model, folder, NULL), ESPL_ARGUMENT, "a flexible head is written under a name");
            test_refused(espl_model_save(model, folder), ESPL_UNSUPPORTED, "has no place in a model's folder");
            assert_false(espl_os_is_folder(folder));
        }
        free(folder);
        espl_model_destroy(&model);
    }
}

static void write(const char *folder, const char *name, const char *text, size_t bytes) {
    char path[512];
    test_ok(espl_os_make_folder(test_context(), folder));
    snprintf(path, sizeof path, "%s/%s", folder, name);
    test_ok(espl_os_write_file(test_context(), path, text, bytes));
}

/* Beside an adapter that does nothing: the library's logits from PEFT's folder, and from the library's made of that. */
static void converted(void **state) {
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        const head_case *c = &cases[i];
        espl_model *model = load(c);
        espl_adapter *adapter;
        char from[512], base[512], weights[512];
        char *folder = test_path("library"), *peft = test_path("peft"), *back = test_path("back");
        snprintf(from, sizeof from, "%s/heads/%s", ESPL_GOLDEN, c->name);
        snprintf(base, sizeof base, "%s/%s", ESPL_GOLDEN, c->model);
        test_ok(espl_adapter_add(model, "a", "library_lora:r=2", 0, &adapter));
        test_ok(espl_adapter_save(adapter, folder));
        espl_adapter_delete(&adapter);
        snprintf(weights, sizeof weights, "%s/model_head.safetensors", folder);
        if (espl_os_is_file(weights)) espl_os_remove_file(weights);
        test_copy_file(from, folder, "head_config.json");
        test_copy_file(from, folder, "pytorch_model_head.bin");
        const espl_convert_params forth = {.adapter = folder, .model = base, .to = "peft", .out = peft};
        if (model->task.labels && c->own) {
            test_ok(espl_adapter_convert(test_context(), &forth));
            const double difference = off(model, c->name, peft);
            if (!(difference < 2e-5)) fail_msg("%s: logits of PEFT's folder are off by %.3g", c->name, difference);
            const espl_status status =
                espl_adapter_convert(test_context(), &(espl_convert_params){.adapter = peft, .model = base, .to = "adapters", .out = back});
            if (model->task.choices) {
                test_refused(status, ESPL_UNSUPPORTED, "says how many rows are one question, PEFT's folder does not");
            } else {
                test_ok(status);
                assert_true(off(model, c->name, back) == difference);
                espl_os_remove_folder(test_context(), back);
            }
            espl_os_remove_folder(test_context(), peft);
        } else {
            test_refused(espl_adapter_convert(test_context(), &forth), ESPL_UNSUPPORTED,
                         model->task.labels ? "is not that of this" : "the head for words beside the adapter has no form");
            assert_false(espl_os_is_folder(peft));
        }
        espl_os_remove_folder(test_context(), folder);
        free(folder), free(peft), free(back);
        espl_model_destroy(&model);
    }
}

#define FLEXIBLE(options) "{\"name\": \"h\", \"config\": {\"head_type\": \"classification\", \"num_labels\": 3, " options "}}"

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *config, *message;
        espl_status status;
    } bad[] = {
        {"{\"name\": \"h\", \"config\": {\"head_type\": \"dependency_parsing\"}}", "head_type \"dependency_parsing\" is not one of", ESPL_UNSUPPORTED},
        {"{\"name\": \"h\", \"config\": {\"head_type\": \"multiple_choice\"}}", "\"multiple_choice\", the model's is classification", ESPL_UNSUPPORTED},
        {"{\"name\": \"h\", \"config\": {\"head_type\": \"tagging\"}}", "\"tagging\", the model's is classification", ESPL_UNSUPPORTED},
        {"{\"name\": \"h\", \"config\": {\"head_type\": \"masked_lm\"}}", "\"masked_lm\", the model's is classification", ESPL_UNSUPPORTED},
        {FLEXIBLE("\"layers\": 3"), "a head of 3 layers", ESPL_UNSUPPORTED},
        {FLEXIBLE("\"layers\": 1"), "a head of 1 layers with activation_function \"\", use_pooler false", ESPL_UNSUPPORTED},
        {FLEXIBLE("\"layers\": 2, \"activation_function\": \"relu\""), "activation_function \"relu\"", ESPL_UNSUPPORTED},
        {FLEXIBLE("\"layers\": 1, \"use_pooler\": true, \"bias\": false"), "bias false", ESPL_UNSUPPORTED},
        {FLEXIBLE("\"layers\": 2"), "heads.h.1.weight has 3 x 45 values, the model's head 45 x 45", ESPL_FORMAT},
        {"{\"name\": null, \"config\": null, \"model_class\": \"RobertaForSequenceClassification\"}", "is of a Roberta", ESPL_UNSUPPORTED},
        {"{\"name\": \"g\", \"config\": {\"head_type\": \"classification\", \"num_labels\": 3, \"layers\": 1, \"use_pooler\": true}}",
         "heads.g.1.weight", ESPL_FORMAT},
        {"{\"name\": \"h\", \"config\": {\"head_type\": \"classification\", \"num_labels\": 4, \"layers\": 1, \"use_pooler\": true}}",
         "the head has 4 labels", ESPL_FORMAT},
    };
    static const char code[] = "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." "\x80\2cos\nsystem\n(U\2lst" "R.";
    espl_model *model = test_model("bert_classes_lora", NULL);
    espl_mapping file;
    char *folder = test_path("refused_head");
    test_ok(espl_os_map(test_context(), ESPL_GOLDEN "/heads/bert_pooler/pytorch_model_head.bin", &file));
    write(folder, "pytorch_model_head.bin", (const char *)file.data, file.bytes);
    espl_os_unmap(&file);
    for (size_t i = 0; i < ESPL_COUNT(bad); i++) {
        write(folder, "head_config.json", bad[i].config, strlen(bad[i].config));
        test_refused(espl_model_load_head(model, folder), bad[i].status, bad[i].message);
    }
    write(folder, "head_config.json", FLEXIBLE("\"layers\": 1, \"use_pooler\": true"), strlen(FLEXIBLE("\"layers\": 1, \"use_pooler\": true")));
    test_ok(espl_model_load_head(model, folder));
    write(folder, "pytorch_model_head.bin", code, sizeof code - 1);
    test_refused(espl_model_load_head(model, folder), ESPL_UNSUPPORTED, "calls os.system; only tensors are read");
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    espl_model_destroy(&model);
    test_ok(espl_model_load(test_device(), ESPL_GOLDEN "/bert_classes_lora", &(espl_model_params){.head = {.kind = ESPL_HEAD_NONE}}, &model));
    test_refused(espl_model_load_head(model, "nowhere"), ESPL_UNSUPPORTED, "no head for words or labels");
    espl_model_destroy(&model);
}

#define CAUSAL(options) "{\"name\": \"h\", \"config\": {\"head_type\": \"causal_lm\", " options "}}"

/* A head for next tokens, as GPT-2's tied one or not: bias [vocabulary]. */
static void write_words(const char *folder, const char *config, const float *weight, const float *bias, uint32_t rows, uint32_t cols) {
    const espl_tensor_entry entries[] = {
        {.name = "heads.h.0.weight", .dtype = ESPL_DTYPE_F32, .rank = 2, .shape = {rows, cols}, .data = weight},
        {.name = "heads.h.0.bias", .dtype = ESPL_DTYPE_F32, .rank = 1, .shape = {rows}, .data = bias}};
    char path[512];
    write(folder, "head_config.json", config, strlen(config));
    snprintf(path, sizeof path, "%s/model_head.safetensors", folder);
    test_ok(espl_tensors_write(test_context(), path, entries, bias ? 2 : 1, NULL, 0));
}

/* The library's layers that a decoder's head has not, and an embedding that is not this model's. */
static void refused_words(void **state) {
    (void)state;
    espl_model *model = test_model("gpt2_lora", NULL);
    const uint32_t rows = model->config.vocabulary, cols = model->config.hidden;
    float *weight = calloc((size_t)rows * cols, sizeof *weight), *bias = calloc(rows, sizeof *bias);
    char *folder = test_path("words");
    assert_true(weight && bias);
    test_ok(espl_store_read(&model->store, espl_model_output_entry(model), weight));
    write_words(folder, CAUSAL("\"layers\": 2, \"layer_norm\": true, \"bias\": true"), weight, NULL, rows, cols);
    test_refused(espl_model_load_head(model, folder), ESPL_UNSUPPORTED,
                 "a head of 2 layers with activation_function \"gelu\", use_pooler false, layer_norm true and bias true is not that of this gpt2 "
                 "model");
    write_words(folder, CAUSAL("\"bias\": true"), weight, bias, rows, cols);
    test_ok(espl_model_load_head(model, folder));
    bias[rows - 1] = 0.5f;
    write_words(folder, CAUSAL("\"bias\": true"), weight, bias, rows, cols);
    test_refused(espl_model_load_head(model, folder), ESPL_UNSUPPORTED, "heads.h.0.bias has 1 values that are not 0");
    weight[3] += 1;
    write_words(folder, CAUSAL("\"bias\": false"), weight, NULL, rows, cols);
    test_refused(espl_model_load_head(model, folder), ESPL_UNSUPPORTED, "differs from the token embedding in 1 values");
    write_words(folder, "{\"config\": null, \"model_class\": \"GPT2DoubleHeadsModel\"}", weight, NULL, rows, cols);
    test_refused(espl_model_load_head(model, folder), ESPL_UNSUPPORTED, "is of a GPT2DoubleHeadsModel, the model is a GPT2LMHeadModel");
    espl_os_remove_folder(test_context(), folder);
    free(weight), free(bias), free(folder);
    espl_model_destroy(&model);
}

/* Flexible heads that no model has, asked for by parameters and by folders. */
static void refused_flexible(void **state) {
    (void)state;
    static const struct {
        const char *model, *message;
        espl_head_params head;
        espl_status status;
    } bad[] = {
        {"gpt2_lora", "a flexible head of 3 layers is not supported", {.flexible = {.layers = 3}}, ESPL_UNSUPPORTED},
        {"gpt2_lora", "activation \"leakyrelu\" is not supported", {.flexible = {.layers = 2, .activation = "leakyrelu"}}, ESPL_UNSUPPORTED},
        {"gpt2_lora", "a norm is behind the dense map", {.flexible = {.layers = 1, .norm = true}}, ESPL_ARGUMENT},
        {"bert_classes_lora", "a norm is behind the dense map", {.flexible = {.layers = 2, .norm = true}}, ESPL_ARGUMENT},
        {"bert_tags_lora", "a bert model has no pooler for a head of this kind", {.flexible = {.layers = 1, .pooler = true}}, ESPL_ARGUMENT},
        {"deberta_classes_lora", "a deberta-v2 model has no pooler", {.flexible = {.layers = 1, .pooler = true}}, ESPL_ARGUMENT},
    };
    static const struct {
        const char *options, *message;
    } folders[] = {{"\"layers\": 3", "a head of 3 layers is not supported"},
                   {"\"activation_function\": \"leakyrelu\"", "activation_function \"leakyrelu\" is not supported"},
                   {"\"use_pooler\": 1", "\"use_pooler\" is an integer, true or false was expected"}};
    char path[512], text[256];
    char *folder = test_path("refused_flexible");
    for (size_t i = 0; i < ESPL_COUNT(bad); i++) {
        espl_model *model;
        snprintf(path, sizeof path, "%s/%s", ESPL_GOLDEN, bad[i].model);
        test_refused(espl_model_load(test_device(), path, &(espl_model_params){.head = bad[i].head}, &model), bad[i].status, bad[i].message);
    }
    for (size_t i = 0; i < ESPL_COUNT(folders); i++) {
        espl_head_params params = {.kind = ESPL_HEAD_CLASSIFICATION};
        snprintf(text, sizeof text, "{\"name\": \"h\", \"config\": {\"head_type\": \"classification\", %s}}", folders[i].options);
        write(folder, "head_config.json", text, strlen(text));
        snprintf(path, sizeof path, "%s/gpt2_lora", ESPL_GOLDEN);
        test_refused(espl_head_read(test_context(), path, folder, &params), i < 2 ? ESPL_UNSUPPORTED : ESPL_FORMAT, folders[i].message);
        assert_int_equal(params.flexible.layers, 0);
    }
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(read_and_written), cmocka_unit_test(converted), cmocka_unit_test(refused),
                                       cmocka_unit_test(refused_words), cmocka_unit_test(refused_flexible)};
    return test_main("heads of the Adapters library", tests, ESPL_COUNT(tests));
}
