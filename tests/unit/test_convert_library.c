/* espl_adapter_convert between PEFT and the Adapters library, on adapters of tests/golden: there and back is the same bits, and
 * what the other format cannot say is refused. That the results mean the same is shown in tests/model/test_library.c. */
#include "host/base/os.h"
#include "host/file/json.h"
#include "host/file/safetensors.h"
#include "tests/unit/unit.h"
#include <espalier/convert.h>

static const char peft[] = "test_convert_library_peft", library[] = "test_convert_library_back";
static const char wrong[] = "test_convert_library_wrong";

static espl_status convert(espl_context *ctx, const char *base, const char *adapter, const char *to, const char *out) {
    char model[1024];
    snprintf(model, sizeof model, "%s/%s", ESPL_GOLDEN_DIR, base);
    return espl_adapter_convert(ctx, &(espl_convert_params){.adapter = adapter, .model = model, .to = to, .out = out});
}

static espl_status convert_golden(espl_context *ctx, const char *base, const char *name, const char *to, const char *out) {
    char own[1024];
    snprintf(own, sizeof own, "%s/%s/adapter", ESPL_GOLDEN_DIR, name);
    return convert(ctx, base, own, to, out);
}

/* The name that the library's file has after it was PEFT's. */
static void renamed(const char *name, char *out, size_t bytes) {
    const char *at = strstr(name, ".loras.a.");
    assert_non_null(at);
    snprintf(out, bytes, "%.*s.loras.default.%s", (int)(at - name), name, at + strlen(".loras.a."));
}

static void compare(espl_context *ctx, const char *name) {
    char path[1024], other[256];
    espl_tensors *a, *b;
    snprintf(path, sizeof path, "%s/%s/adapter/adapter.safetensors", ESPL_GOLDEN_DIR, name);
    if (!espl_os_is_file(path)) snprintf(path, sizeof path, "%s/%s/adapter/pytorch_adapter.bin", ESPL_GOLDEN_DIR, name);
    unit_ok(ctx, espl_tensors_open(ctx, path, &a));
    snprintf(path, sizeof path, "%s/adapter.safetensors", library);
    unit_ok(ctx, espl_tensors_open(ctx, path, &b));
    assert_int_equal(espl_tensors_count(a), espl_tensors_count(b));
    for (size_t i = 0; i < espl_tensors_count(a); i++) {
        espl_tensor_view x, y;
        unit_ok(ctx, espl_tensors_at(a, i, &x));
        renamed(x.name, other, sizeof other);
        unit_ok(ctx, espl_tensors_find(b, other, &y));
        assert_true(x.bytes == y.bytes && memcmp(x.shape, y.shape, sizeof x.shape) == 0);
        assert_memory_equal(x.data, y.data, x.bytes);
    }
    espl_tensors_destroy(&a);
    espl_tensors_destroy(&b);
}

static void compare_configs(espl_context *ctx, const char *name) {
    char path[1024];
    json_t *a, *b;
    snprintf(path, sizeof path, "%s/%s/adapter/adapter_config.json", ESPL_GOLDEN_DIR, name);
    unit_ok(ctx, espl_json_load(ctx, path, &a));
    snprintf(path, sizeof path, "%s/adapter_config.json", library);
    unit_ok(ctx, espl_json_load(ctx, path, &b));
    assert_int_equal(json_object_del(a, "name"), 0);
    assert_int_equal(json_object_del(b, "name"), 0);
    json_object_set_new(a, "version", json_string("adapters.1.3.0")); /* which has one key more */
    json_object_set_new(json_object_get(a, "config"), "use_dora", json_false());
    if (strstr(name, "left_out")) /* two ways to say it */
        json_object_set_new(json_object_get(a, "config"), "attn_matrices", json_array());
    assert_true(json_equal(a, b));
    json_decref(a);
    json_decref(b);
}

static void there_and_back(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"bert_classes_lora", "library_lora_bert"}, {"bert_classes_lora", "library_lora_left_out"},
                                           {"bert_classes_lora", "library_ia3_bert"}, {"llama_lora", "library_lora_llama"},
                                           {"llama_lora", "library_ia3_llama"}};
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        unit_ok(ctx, convert_golden(ctx, cases[i][0], cases[i][1], "peft", peft));
        unit_ok(ctx, convert(ctx, cases[i][0], peft, "adapters", library));
        compare(ctx, cases[i][1]);
        compare_configs(ctx, cases[i][1]);
    }
    unit_finish(&heap, ctx);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *base, *name, *to, *part;
    } cases[] = {
        {"llama_lora", "llama_lora", "adapters", "the Adapters library adapts no model.layers.0."},
        {"bert_classes_lora", "bert_ia3", "adapters", "no place for \"feedforward_modules\""},
        {"llama_linear_rope", "llama_linear_rope", "adapters", "but for a head with labels: task_type is \"CAUSAL_LM\", and there is no score.weight"},
        {"deberta_classes_lora", "deberta_classes_lora", "adapters", "head has the base's pooler.dense.weight, which this adapter does not"},
        {"llama_lora", "ia3_llama", "adapters", "no place for \"feedforward_modules\""},
        {"llama_lora", "dora_llama", "adapters", "\"use_dora\" computes otherwise"},
        {"qwen2_bias_all", "qwen2_bias_all", "adapters", "no place for \"bias\""},
        {"qwen3_patterns", "qwen3_patterns", "adapters", "the Adapters library has one of each"},
        {"llama_lora", "vera_llama", "adapters", "the peft_type \"VERA\" has no form in the Adapters library"},
        {"gpt2_lora", "prefix_gpt2", "adapters", "a prefix on a gpt2 model cannot be converted: its positions are learned rows"},
        {"gpt2_lora", "library_prefix_gpt2", "peft", "a prefix on a gpt2 model cannot be converted: its positions are learned rows"},
        {"llama_lora", "library_prefix_flat", "peft", "PEFT's prefixes have no place for \"use_gating\""},
        {"llama_lora", "prompt_llama", "adapters", "PEFT's prompts stand before the embedding"},
        {"bert_classes_lora", "library_prompt_first", "peft", "PEFT's prompts stand before the embedding"},
        {"bert_classes_lora", "library_dora_bert", "peft", "the architecture \"lora\" has no form in PEFT with use_gating, use_dora or vera_d"},
        {"bert_classes_lora", "bert_houlsby", "peft", "the architecture \"bottleneck\" has no form in PEFT"},
        {"bert_classes_lora", "bert_houlsby", "adapters", "bert_houlsby/adapter: is in the format adapters already; it has no form in PEFT"},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_os_remove_folder(ctx, library);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++)
        unit_fails(ctx, convert_golden(ctx, cases[i].base, cases[i].name, cases[i].to, library), ESPL_UNSUPPORTED, cases[i].part);
    assert_false(espl_os_is_folder(library));
    unit_finish(&heap, ctx);
}

/* A tensor of a folder that says another rank than its configuration. */
static void wrong_shapes(void **state) {
    (void)state;
    enum { HIDDEN = 40, ROWS = 2 * HIDDEN, MOST = 1000 };
#define FOLDER(mode, r)                                                                                                \
    "{\"config\": {\"architecture\": \"lora\", \"attn_matrices\": [\"q\", \"v\"], \"selfattn_lora\": true, "                     \
    "\"intermediate_lora\": false, \"composition_mode\": \"" mode "\", \"r\": " r ", \"alpha\": 1, \"dropout\": 0.0}, "           \
    "\"name\": \"a\"}"
    static const char scale[] = FOLDER("scale", "1"), add[] = FOLDER("add", "3");
    static float values[ROWS * MOST];
    static const struct {
        const char *config, *part;
        espl_tensor_entry entry;
    } cases[] = {
        {scale, "has 2 dimensions and rank 1000, 2 and 1 were expected", {.name = "lora_B", .rank = 2, .shape = {ROWS, MOST}}},
        {scale, "has 1 dimensions and rank 1, 2 and 1 were expected", {.name = "lora_B", .rank = 1, .shape = {ROWS}}},
        {add, "has 2 dimensions and rank 2, 2 and 3 were expected", {.name = "lora_B", .rank = 2, .shape = {ROWS, 2}}},
        {add, "has 3 dimensions and rank 3, 2 and 3 were expected", {.name = "lora_B", .rank = 3, .shape = {ROWS, 3, 2}}},
        {add, "has 2 dimensions and rank 3, 2 and 6 were expected", {.name = "lora_A", .rank = 2, .shape = {3, HIDDEN}}},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    unit_ok(ctx, espl_os_make_folder(ctx, wrong));
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        char path[1024], name[256];
        espl_tensor_entry entry = cases[i].entry;
        snprintf(name, sizeof name, "transformer.h.0.attn.c_attn.loras.a.%s", entry.name);
        entry.name = name;
        entry.data = values;
        snprintf(path, sizeof path, "%s/adapter_config.json", wrong);
        unit_write(path, cases[i].config, strlen(cases[i].config));
        snprintf(path, sizeof path, "%s/adapter.safetensors", wrong);
        unit_ok(ctx, espl_tensors_write(ctx, path, &entry, 1, NULL, 0));
        unit_fails(ctx, convert(ctx, "gpt2_lora", wrong, "peft", peft), ESPL_FORMAT, cases[i].part);
    }
    unit_finish(&heap, ctx);
}

static espl_status to_peft(espl_context *ctx, void *user) {
    return convert_golden(ctx, "bert_classes_lora", user, "peft", peft);
}

static espl_status to_library(espl_context *ctx, void *user) {
    (void)user;
    return convert(ctx, "bert_classes_lora", peft, "adapters", library);
}

static espl_status head_to_library(espl_context *ctx, void *user) {
    (void)user;
    return convert_golden(ctx, "bert_classes_lora", "bert_classes_lora", "adapters", library);
}

static espl_status head_to_peft(espl_context *ctx, void *user) {
    (void)user;
    return convert(ctx, "bert_classes_lora", library, "peft", peft);
}

static espl_status prefix_to_library(espl_context *ctx, void *user) {
    return convert_golden(ctx, "llama_lora", user, "adapters", library);
}

static espl_status prefix_to_peft(espl_context *ctx, void *user) {
    (void)user;
    return convert(ctx, "llama_lora", library, "peft", peft);
}

static void allocation(void **state) {
    (void)state;
    char name[] = "library_lora_left_out";
    unit_sweep(to_peft, name);
    unit_sweep(to_library, name);
    unit_sweep(head_to_library, NULL);
    unit_sweep(head_to_peft, NULL);
    char prefix[] = "prefix_llama";
    unit_sweep(prefix_to_library, prefix);
    unit_sweep(prefix_to_peft, prefix);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(refused), cmocka_unit_test(wrong_shapes),
                                       cmocka_unit_test(allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
