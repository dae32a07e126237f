/* espl_adapter_convert on the adapters of tests/golden: to GGUF and back is the same bits, rows of q and k are where
 * llama.cpp wants them, and what GGUF cannot say is refused. */
#include "host/base/os.h"
#include "host/file/json.h"
#include "host/file/tensors.h"
#include "tests/unit/unit.h"
#include <espalier/convert.h>

static const char gguf[] = "test_convert.gguf", back[] = "test_convert_back";

static espl_status convert(espl_context *ctx, const char *name, const char *adapter, const char *to, const char *out) {
    char model[1024], own[1100];
    snprintf(model, sizeof model, "%s/%s", ESPL_GOLDEN_DIR, name);
    snprintf(own, sizeof own, "%s/adapter", model);
    const espl_convert_params params = {.adapter = adapter ? adapter : own, .model = model, .to = to, .out = out};
    return espl_adapter_convert(ctx, &params);
}

static espl_tensors *open_golden(espl_context *ctx, const char *name) {
    char path[1024];
    espl_tensors *set;
    snprintf(path, sizeof path, "%s/%s/adapter/adapter_model", ESPL_GOLDEN_DIR, name);
    unit_ok(ctx, espl_tensors_open(ctx, path, &set));
    return set;
}

/* A soft prompt in NumPy's form becomes PEFT's. */
static void soft_prompt(void **state) {
    (void)state;
    static const char path[] = "test_convert.npy";
    static const char dict[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 48)}";
    char file[10 + sizeof dict - 1 + 2 * 48 * 4] = "\x93NUMPY\1";
    float values[2 * 48];
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_tensors *set;
    espl_tensor_view view;
    json_t *config;
    for (size_t i = 0; i < ESPL_COUNT(values); i++) values[i] = (float)i / 7;
    file[8] = sizeof dict - 1;
    memcpy(file + 10, dict, sizeof dict - 1);
    memcpy(file + 10 + sizeof dict - 1, values, sizeof values);
    unit_ok(ctx, espl_os_write_file(ctx, path, file, sizeof file));
    unit_ok(ctx, convert(ctx, "llama_lora", path, "peft", back));
    unit_ok(ctx, espl_tensors_open(ctx, "test_convert_back/adapter_model", &set));
    unit_ok(ctx, espl_tensors_find(set, "prompt_embeddings", &view));
    assert_true(view.shape[0] == 2 && view.shape[1] == 48);
    assert_memory_equal(view.data, values, sizeof values);
    espl_tensors_destroy(&set);
    unit_ok(ctx, espl_json_load(ctx, "test_convert_back/adapter_config.json", &config));
    assert_string_equal(json_string_value(json_object_get(config, "peft_type")), "PROMPT_TUNING");
    assert_int_equal(json_integer_value(json_object_get(config, "num_virtual_tokens")), 2);
    json_decref(config);
    unit_fails(ctx, convert(ctx, "gpt2_lora", path, "peft", back), ESPL_FORMAT, "a soft prompt is [tokens, 40] for this base, the array is [2, 48]");
    unit_fails(ctx, convert(ctx, "llama_lora", NULL, "npy", back), ESPL_ARGUMENT, "\"npy\" is not a format that adapters are written in");
    espl_os_remove_file(path);
    unit_finish(&heap, ctx);
}

static void round_trip(void **state) {
    (void)state;
    static const struct {
        const char *name, *architecture, *alpha, *first_target;
        size_t targets;
    } cases[] = {
        {"llama_lora", "llama", "5", "mlp.down_proj", 7},
        {"gpt2_lora", "gpt2", "6", "attn.c_attn", 4},
        {"llama_tied_rope_scaling", "llama", "12", "self_attn.q_proj", 2}, /* rsLoRA: 6 times the root of 4 */
        {"mistral_regex", "llama", "8", "model.layers.0.self_attn.o_proj", 4},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_tensors *a = open_golden(ctx, cases[i].name), *b, *file;
        json_t *config;
        unit_ok(ctx, convert(ctx, cases[i].name, NULL, "gguf", gguf));
        unit_ok(ctx, espl_tensors_open(ctx, gguf, &file));
        assert_string_equal(espl_tensors_metadata(file, "general.type"), "adapter");
        assert_string_equal(espl_tensors_metadata(file, "adapter.type"), "lora");
        assert_string_equal(espl_tensors_metadata(file, "general.architecture"), cases[i].architecture);
        assert_string_equal(espl_tensors_metadata(file, "adapter.lora.alpha"), cases[i].alpha);
        assert_int_equal(espl_tensors_count(file), espl_tensors_count(a));
        espl_tensors_destroy(&file);
        unit_ok(ctx, convert(ctx, cases[i].name, gguf, "peft", back));
        unit_ok(ctx, espl_tensors_open(ctx, "test_convert_back/adapter_model", &b));
        assert_int_equal(espl_tensors_count(a), espl_tensors_count(b));
        for (size_t k = 0; k < espl_tensors_count(a); k++) {
            espl_tensor_view x, y;
            unit_ok(ctx, espl_tensors_at(a, k, &x));
            unit_ok(ctx, espl_tensors_find(b, x.name, &y));
            assert_true(x.dtype == y.dtype && x.bytes == y.bytes && memcmp(x.shape, y.shape, sizeof x.shape) == 0);
            assert_memory_equal(x.data, y.data, x.bytes);
        }
        unit_ok(ctx, espl_json_load(ctx, "test_convert_back/adapter_config.json", &config));
        const json_t *targets = json_object_get(config, "target_modules");
        assert_int_equal(json_array_size(targets), cases[i].targets);
        assert_string_equal(json_string_value(json_array_get(targets, 0)), cases[i].first_target);
        json_decref(config);
        espl_tensors_destroy(&a);
        espl_tensors_destroy(&b);
    }
    unit_finish(&heap, ctx);
}

/* Heads of 8: value 0 of each head stays, value 4, the other half of the first pair, comes second. */
static void rows(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_tensors *from = open_golden(ctx, "llama_lora"), *to;
    espl_tensor_view a, b;
    static const uint32_t order[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    static const char *const names[][2] = {
        {"base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight", "blk.1.attn_q.weight.lora_b"},
        {"base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight", "blk.1.attn_k.weight.lora_b"},
        {"base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight", "blk.1.attn_v.weight.lora_b"},
        {"base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight", "blk.1.attn_q.weight.lora_a"},
    };
    unit_ok(ctx, convert(ctx, "llama_lora", NULL, "gguf", gguf));
    unit_ok(ctx, espl_tensors_open(ctx, gguf, &to));
    for (size_t i = 0; i < ESPL_COUNT(names); i++) {
        unit_ok(ctx, espl_tensors_find(from, names[i][0], &a));
        unit_ok(ctx, espl_tensors_find(to, names[i][1], &b));
        const size_t row_bytes = a.bytes / a.shape[0];
        for (uint32_t row = 0; row < a.shape[0]; row++) {
            const uint32_t source = i < 2 ? row / 8 * 8 + order[row % 8] : row;
            assert_memory_equal(b.data + row * row_bytes, a.data + source * row_bytes, row_bytes);
        }
    }
    espl_tensors_destroy(&from);
    espl_tensors_destroy(&to);
    unit_finish(&heap, ctx);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *name, *part;
    } cases[] = {
        {"qwen3_patterns", "no place for the \"alpha_pattern\""},
        {"qwen2_bias_all", "\"bias\": \"all\""},
        {"llama_linear_rope", "\"modules_to_save\""},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_os_remove_file(gguf);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++)
        unit_fails(ctx, convert(ctx, cases[i].name, NULL, "gguf", gguf), ESPL_UNSUPPORTED, cases[i].part);
    assert_false(espl_os_is_file(gguf));
    unit_fails(ctx, convert(ctx, "llama_lora", ESPL_GOLDEN_DIR "/tiny_attention_llama/adapter", "gguf", gguf), ESPL_UNSUPPORTED,
               "GGUF has LoRA adapters, this one is \"TINYATTN\"");
    unit_fails(ctx, convert(ctx, "llama_lora", NULL, "onnx", gguf), ESPL_ARGUMENT, "(peft, adapters, gguf)");
    unit_fails(ctx, convert(ctx, "llama_lora", "nowhere", "gguf", gguf), ESPL_IO, "nowhere: is neither");
    unit_ok(ctx, convert(ctx, "llama_lora", NULL, "gguf", gguf));
    unit_fails(ctx, convert(ctx, "gpt2_lora", gguf, "peft", back), ESPL_FORMAT, "\"general.architecture\" is \"llama\", not \"gpt2\"");
    unit_finish(&heap, ctx);
}

/* What is not whole is not written. */
static void not_whole(void **state) {
    (void)state;
    static const char folder[] = "test_convert_options";
    static const struct {
        const char *key, *value;
        uint32_t layers; /* of the base; 0: as they are */
        espl_status status;
        const char *part;
    } cases[] = {
        {"peft_type", "\"LOHA\"", 0, ESPL_UNSUPPORTED, "peft_type \"LOHA\" is not one of: HEAD, BITFIT, LN_TUNING, LORA, DYLORA"},
        {"r", "4", 0, ESPL_FORMAT, "and its rank is 4 by the configuration"},
        {"rank_pattern", "{\"q_proj\": 5}", 0, ESPL_FORMAT, "q_proj.lora_A.weight is [3, 48], and its rank is 5 by the configuration"},
        {"r", "3", 1, ESPL_FORMAT, "is of block 1, the base has 1"},
    };
    static const char *const formats[] = {"peft", "gguf", "adapters"};
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    size_t bytes = 0;
    char *weights = unit_read(ESPL_GOLDEN_DIR "/llama_lora/adapter/adapter_model.safetensors", &bytes);
    assert_non_null(weights);
    unit_ok(ctx, espl_os_make_folder(ctx, folder));
    unit_write("test_convert_options/adapter_model.safetensors", weights, bytes);
    for (size_t i = 0; i < 3 * ESPL_COUNT(cases); i++) {
        json_t *config, *base, *value = json_loads(cases[i / 3].value, JSON_DECODE_ANY, NULL);
        unit_ok(ctx, espl_json_load(ctx, ESPL_GOLDEN_DIR "/llama_lora/adapter/adapter_config.json", &config));
        unit_ok(ctx, espl_json_load(ctx, ESPL_GOLDEN_DIR "/llama_lora/config.json", &base));
        unit_ok(ctx, espl_json_set(ctx, config, cases[i / 3].key, value));
        if (cases[i / 3].layers) unit_ok(ctx, espl_json_set(ctx, base, "num_hidden_layers", json_integer(cases[i / 3].layers)));
        unit_ok(ctx, espl_json_save(ctx, "test_convert_options/adapter_config.json", config));
        unit_ok(ctx, espl_json_save(ctx, "test_convert_options/config.json", base));
        const espl_convert_params params = {.adapter = folder, .model = folder, .to = formats[i % 3], .out = back};
        unit_fails(ctx, espl_adapter_convert(ctx, &params), cases[i / 3].status, cases[i / 3].part);
        json_decref(config);
        json_decref(base);
    }
    /* A factor alone: the name of the other is another's. */
    size_t at = 0;
    while (at + 13 < bytes && memcmp(weights + at, "q_proj.lora_B", 13) != 0) at++;
    assert_true(at + 13 < bytes);
    memcpy(weights + at, "q_proj.lora_X", 13);
    unit_write("test_convert_options/adapter_model.safetensors", weights, bytes);
    free(weights);
    json_t *config;
    unit_ok(ctx, espl_json_load(ctx, ESPL_GOLDEN_DIR "/llama_lora/adapter/adapter_config.json", &config));
    unit_ok(ctx, espl_json_save(ctx, "test_convert_options/adapter_config.json", config));
    json_decref(config);
    for (size_t i = 0; i < 3; i++)
        unit_fails(ctx, convert(ctx, "llama_lora", folder, formats[i], back), ESPL_FORMAT, "lora_A.weight is there without");
    unit_finish(&heap, ctx);
}

/* Options of PEFT's that GGUF and the Adapters library leave out, or that changed the base. */
static void options(void **state) {
    (void)state;
    static const char folder[] = "test_convert_options";
    static const struct {
        const char *key, *value, *part;
    } cases[] = {
        {"alora_invocation_tokens", "[3, 4]", "\"alora_invocation_tokens\""},
        {"use_qalora", "true", "\"use_qalora\""},
        {"use_bdlora", "{\"nblocks\": 2}", "\"use_bdlora\""},
        {"layer_replication", "[[0, 1], [0, 1]]", "\"layer_replication\""},
        {"target_parameters", "[\"a\"]", "\"target_parameters\""},
        {"trainable_token_indices", "[1]", "\"trainable_token_indices\""},
        {"kasa_config", "{\"beta\": 1}", "\"kasa_config\""},
        {"lora_bias", "true", "\"lora_bias\""},
        {"use_dora", "true", "\"use_dora\""},
        {"init_lora_weights", "\"pissa_niter_4\"", "init_lora_weights \"pissa_niter_4\", which changed its base"},
    };
    static const char *const formats[] = {"gguf", "adapters"};
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    size_t bytes = 0;
    char *weights = unit_read(ESPL_GOLDEN_DIR "/llama_lora/adapter/adapter_model.safetensors", &bytes);
    assert_non_null(weights);
    unit_ok(ctx, espl_os_make_folder(ctx, folder));
    unit_write("test_convert_options/adapter_model.safetensors", weights, bytes);
    free(weights);
    for (size_t i = 0; i < 2 * ESPL_COUNT(cases); i++) {
        json_t *config, *value = json_loads(cases[i / 2].value, JSON_DECODE_ANY, NULL);
        unit_ok(ctx, espl_json_load(ctx, ESPL_GOLDEN_DIR "/llama_lora/adapter/adapter_config.json", &config));
        unit_ok(ctx, espl_json_set(ctx, config, cases[i / 2].key, value));
        unit_ok(ctx, espl_json_save(ctx, "test_convert_options/adapter_config.json", config));
        unit_fails(ctx, convert(ctx, "llama_lora", folder, formats[i % 2], back), ESPL_UNSUPPORTED, cases[i / 2].part);
        json_decref(config);
    }
    unit_finish(&heap, ctx);
}

/* Heads so many that twice their number, or the rows of one, are 0 in 32 bits. */
static void more_heads_than_rows(void **state) {
    (void)state;
    static const char folder[] = "test_convert_heads";
    static const char *const heads[] = {"2147483648", "2147483649", "4294967295", "33"};
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    unit_ok(ctx, espl_os_make_folder(ctx, folder));
    for (size_t i = 0; i < ESPL_COUNT(heads); i++) {
        char text[256], part[128];
        const int bytes = snprintf(text, sizeof text, "{\"model_type\": \"llama\", \"num_attention_heads\": %s}", heads[i]);
        unit_write("test_convert_heads/config.json", text, (size_t)bytes);
        snprintf(part, sizeof part, "rows, the base has %s heads", heads[i]);
        const espl_convert_params params = {.adapter = ESPL_GOLDEN_DIR "/llama_lora/adapter", .model = folder, .to = "gguf",
                                            .out = gguf};
        unit_fails(ctx, espl_adapter_convert(ctx, &params), ESPL_FORMAT, part);
    }
    unit_finish(&heap, ctx);
}

static espl_status to_gguf(espl_context *ctx, void *user) {
    return convert(ctx, user, NULL, "gguf", gguf);
}

static espl_status to_peft(espl_context *ctx, void *user) {
    return convert(ctx, user, gguf, "peft", back);
}

static void allocation(void **state) {
    (void)state;
    char name[] = "llama_lora";
    unit_sweep(to_gguf, name);
    unit_sweep(to_peft, name);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(soft_prompt), cmocka_unit_test(round_trip), cmocka_unit_test(rows), cmocka_unit_test(refused),
                                       cmocka_unit_test(not_whole), cmocka_unit_test(options), cmocka_unit_test(more_heads_than_rows),
                                       cmocka_unit_test(allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
