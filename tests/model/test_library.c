/* Folders of the Adapters library, for methods that PEFT has too: read, written and refused. The library's own numbers are
 * in tests/golden/library_*, see test_golden.c. */
#include "host/base/os.h"
#include "host/file/json.h"
#include "host/model/adapter.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The model that a case of tests/golden stands on. */
static const char *model_of(const char *name) {
    return strstr(name, "llama") ? "llama_lora" : strstr(name, "gpt2") || strstr(name, "prefix") ? "gpt2_lora" : "bert_classes_lora";
}

static void write(const char *folder, const char *name, const char *text, size_t bytes) {
    char path[512];
    test_ok(espl_os_make_folder(test_context(), folder));
    snprintf(path, sizeof path, "%s/%s", folder, name);
    test_ok(espl_os_write_file(test_context(), path, text, bytes));
}

static void compare_tensors(const char *a_path, const char *b_path) {
    espl_tensors *a, *b;
    test_ok(espl_tensors_open(test_context(), a_path, &a));
    test_ok(espl_tensors_open(test_context(), b_path, &b));
    for (size_t i = 0; i < espl_tensors_count(b); i++) {
        espl_tensor_view x, y;
        test_ok(espl_tensors_at(b, i, &y));
        test_ok(espl_tensors_find(a, y.name, &x));
        assert_int_equal(x.bytes, y.bytes);
        assert_memory_equal(x.shape, y.shape, sizeof x.shape);
        assert_memory_equal(x.data, y.data, x.bytes);
    }
    /* The library writes a prefix once more for each layer; nothing else is left out. */
    for (size_t i = 0; i < espl_tensors_count(a); i++)
        assert_true(strstr(espl_tensors_name(a, i), ".pool.") || espl_tensors_has(b, espl_tensors_name(a, i)));
    espl_tensors_destroy(&a);
    espl_tensors_destroy(&b);
}

/* As version 1.3.0 would write it: LoRA has one key more. */
static void renew(json_t *file) {
    json_t *config = json_object_get(file, "config");
    json_object_set_new(file, "version", json_string("adapters.1.3.0"));
    if (json_object_get(config, "r") && !json_object_get(config, "use_dora")) json_object_set_new(config, "use_dora", json_false());
}

static void compare_configs(const char *a_path, const char *b_path) {
    json_t *a, *b;
    const char *key;
    json_t *value;
    test_ok(espl_json_load(test_context(), a_path, &a));
    test_ok(espl_json_load(test_context(), b_path, &b));
    renew(a);
    json_object_foreach(a, key, value) {
        if (strncmp(key, "model_", 6) == 0) assert_non_null(json_object_get(b, key)); /* the folder that was loaded here */
        else if (!json_equal(value, json_object_get(b, key))) fail_msg("%s: \"%s\" differs", b_path, key);
    }
    assert_int_equal(json_object_size(a), json_object_size(b));
    json_decref(a);
    json_decref(b);
}

/* What the library wrote, read and written again: the same keys and bits, and nothing old beside it. */
static void round_trip(void **state) {
    const char *name = *state;
    espl_model *model = test_model(model_of(name), NULL);
    espl_adapter *adapter;
    char from[512], to[512], weights[640];
    char *folder = test_path(name);
    snprintf(from, sizeof from, "%s/%s/adapter", ESPL_GOLDEN, name);
    test_ok(espl_adapter_load(model, "x", from, &adapter));
    write(folder, "pytorch_adapter.bin", "old", 3);
    test_ok(espl_adapter_save(adapter, folder));
    snprintf(to, sizeof to, "%s/pytorch_adapter.bin", folder);
    assert_false(espl_os_is_file(to));
    snprintf(to, sizeof to, "%s/adapter.safetensors", folder);
    snprintf(weights, sizeof weights, "%s/adapter.safetensors", from);
    if (!espl_os_is_file(weights)) snprintf(weights, sizeof weights, "%s/pytorch_adapter.bin", from);
    compare_tensors(weights, to);
    snprintf(from, sizeof from, "%s/%s/adapter/adapter_config.json", ESPL_GOLDEN, name);
    snprintf(to, sizeof to, "%s/adapter_config.json", folder);
    compare_configs(from, to);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    espl_model_destroy(&model);
}

/* A new adapter in the library's form: keys that are left out are written, a second load gives the same. */
static void new_ones(void **state) {
    (void)state;
    static const char *const configs[] = {
        "{\"config\": {\"architecture\": \"lora\", \"r\": 2, \"attn_matrices\": [\"k\"]}}",
        "{\"config\": {\"architecture\": \"lora\", \"composition_mode\": \"scale\", \"init_weights\": \"ia3\"}}",
    };
    espl_model *model = test_model("bert_classes_lora", NULL);
    for (size_t i = 0; i < ESPL_COUNT(configs); i++) {
        espl_adapter *adapter;
        json_t *config;
        char path[512];
        char *folder = test_path("new");
        test_ok(espl_adapter_add(model, "task", configs[i], 3, &adapter));
        test_ok(espl_adapter_save(adapter, folder));
        snprintf(path, sizeof path, "%s/adapter_config.json", folder);
        test_ok(espl_json_load(test_context(), path, &config));
        assert_string_equal(json_string_value(json_object_get(config, "name")), "task");
        assert_int_equal(json_object_size(json_object_get(config, "config")), 17);
        json_decref(config);
        espl_adapter_delete(&adapter);
        test_ok(espl_adapter_load(model, "again", folder, &adapter));
        espl_adapter_delete(&adapter);
        espl_os_remove_folder(test_context(), folder);
        free(folder);
    }
    espl_model_destroy(&model);
}

/* Keys as the library can read them: a scaling as a real number, and a scale that it leaves out itself. */
static void written_keys(void **state) {
    (void)state;
    static const struct {
        const char *config, *key;
        double value;
    } cases[] = {{"{\"is_parallel\": true, \"scaling\": 4}", "scaling", 4},
                 {"{\"architecture\": \"union\", \"configs\": [{\"scaling\": 2}]}", "scaling", 2},
                 {"{\"architecture\": \"prompt_tuning\"}", "random_uniform_scale", 0.5},
                 {"{\"architecture\": \"prompt_tuning\", \"random_uniform_scale\": 0.25}", "random_uniform_scale", 0.25}};
    espl_model *model = test_model("bert_masked_full", NULL);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_adapter *adapter;
        json_t *file;
        char text[256], path[512];
        char *folder = test_path("written");
        snprintf(text, sizeof text, "{\"config\": %s}", cases[i].config);
        test_ok(espl_adapter_add(model, "a", text, 1, &adapter));
        test_ok(espl_adapter_save(adapter, folder));
        snprintf(path, sizeof path, "%s/adapter_config.json", folder);
        test_ok(espl_json_load(test_context(), path, &file));
        const json_t *config = json_object_get(file, "config"), *parts = json_object_get(config, "configs");
        const json_t *value = json_object_get(parts ? json_array_get(parts, 0) : config, cases[i].key);
        assert_true(json_is_real(value) && json_real_value(value) == cases[i].value);
        json_decref(file);
        espl_adapter_delete(&adapter);
        espl_os_remove_folder(test_context(), folder);
        free(folder);
    }
    espl_model_destroy(&model);
}

/* init_weights_seed goes before the run's, also in a part of a union. */
static void own_seeds(void **state) {
    (void)state;
    static const char *const configs[] = {
        "{\"architecture\": \"lora\", \"r\": 2%s}", "{\"architecture\": \"lora\", \"r\": 2, \"use_gating\": true%s}",
        "{\"mh_adapter\": true, \"reduction_factor\": 8%s}", "{\"architecture\": \"prefix_tuning\", \"prefix_length\": 2%s}",
        "{\"architecture\": \"union\", \"configs\": [{\"architecture\": \"reft\", \"r\": 2%s}]}"};
    espl_model *model = test_model("llama_lora", NULL);
    for (size_t i = 0; i < ESPL_COUNT(configs); i++) {
        /* The file's seed and the run's. */
        static const struct {
            const char *own;
            uint64_t seed;
        } seeds[] = {{"", 0}, {", \"init_weights_seed\": 0", 5}, {"", 5}, {", \"init_weights_seed\": null", 5}};
        float *values[ESPL_COUNT(seeds)];
        size_t bytes = 0;
        for (size_t k = 0; k < ESPL_COUNT(seeds); k++) {
            espl_adapter *adapter;
            char config[256], text[512];
            snprintf(config, sizeof config, configs[i], seeds[k].own);
            snprintf(text, sizeof text, "{\"config\": %s}", config);
            test_ok(espl_adapter_add(model, "a", text, seeds[k].seed, &adapter));
            const espl_entry *entry = &adapter->store.entries[0];
            bytes = (size_t)espl_entry_values(&adapter->store, entry) * sizeof **values;
            values[k] = malloc(bytes);
            assert_non_null(values[k]);
            test_ok(espl_store_read(&adapter->store, entry, values[k]));
            espl_adapter_delete(&adapter);
        }
        assert_memory_equal(values[1], values[0], bytes);
        assert_memory_equal(values[3], values[2], bytes);
        assert_memory_not_equal(values[2], values[0], bytes);
        for (size_t k = 0; k < ESPL_COUNT(seeds); k++) free(values[k]);
    }
    espl_model_destroy(&model);
}

/* Compacter's initial values: mean squares of the rule, and of W by the two sides of a slice. */
static void phm_values(void **state) {
    (void)state;
    static const struct {
        const char *more, *part;
        double square, by_sides;
    } cases[] = {{"", ".phm_rule", 1e-8, 0}, {"", ".W_", 0, 4}, {", \"phm_init\": \"xavier_normal\"", ".W_", 0, 2},
                 {", \"phm_init_range\": 0.5", ".phm_rule", 0.25, 0}, {", \"phm_c_init\": \"uniform\"", ".phm_rule", 1.0 / 3, 0},
                 {", \"shared_phm_rule\": false", ".phm_rule", 1e-4, 0},
                 {", \"shared_phm_rule\": false, \"phm_c_init\": \"uniform\"", ".phm_rule", 1e-4 / 3, 0},
                 {", \"hypercomplex_nonlinearity\": \"normal\"", ".W_", 0, 4}};
    espl_model *model = test_model("llama_lora", NULL);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_adapter *adapter;
        char text[256];
        double sum = 0;
        size_t all = 0;
        snprintf(text, sizeof text, "{\"config\": {\"phm_layer\": true, \"mh_adapter\": true, \"reduction_factor\": 3, \"phm_dim\": 8%s}}",
                 cases[i].more);
        test_ok(espl_adapter_add(model, "a", text, 1, &adapter));
        for (size_t e = 0; e < adapter->store.entry_count; e++) {
            const espl_entry *entry = &adapter->store.entries[e];
            if (!strstr(entry->name, cases[i].part)) continue;
            const size_t count = (size_t)espl_entry_values(&adapter->store, entry);
            const double expected = cases[i].square + cases[i].by_sides / (entry->shape[1] + entry->shape[2]);
            float *values = malloc(count * sizeof *values);
            assert_non_null(values);
            test_ok(espl_store_read(&adapter->store, entry, values));
            for (size_t v = 0; v < count; v++) sum += (double)values[v] * (double)values[v] / expected;
            all += count;
            free(values);
        }
        if (!(fabs(sum / (double)all - 1) < 0.25)) fail_msg("%s: %zu squares are %g of what they should be", text, all, sum / (double)all);
        espl_adapter_delete(&adapter);
    }
    espl_adapter *none;
    test_refused(espl_adapter_add(model, "a", "compacter:rf=3,init_rule=cubic", 0, &none), ESPL_ARGUMENT,
                 "phm_c_init \"cubic\" is not one of normal, uniform");
    espl_model_destroy(&model);
}

/* Layers of a prefix that are not the model's, or none. */
static void refused_layers(void **state) {
    (void)state;
    espl_model *model = test_model("gpt2_lora", NULL);
    espl_adapter *adapter;
    test_refused(espl_adapter_add(model, "a", "library_prefix:leave_out=2", 0, &adapter), ESPL_ARGUMENT, "the model's blocks are 0 to 1");
    test_refused(espl_adapter_add(model, "a", "library_prefix:leave_out=1+0", 0, &adapter), ESPL_ARGUMENT,
                 "has all of the model's 2 blocks");
    espl_model_destroy(&model);
}

/* The library's Llama calls the map down its intermediate one and the map up its output; its Qwens do not. */
static void places(void **state) {
    (void)state;
    static const struct {
        const char *model, *intermediate, *output;
    } cases[] = {{"qwen2_bias_all", "mlp.up_proj.", "mlp.down_proj."}, {"qwen3_patterns", "mlp.up_proj.", "mlp.down_proj."},
                 {"llama_lora", "mlp.down_proj.", "mlp.up_proj."}, {"gpt2_lora", "mlp.c_fc.", "mlp.c_proj."}};
    for (size_t i = 0; i < 4 * ESPL_COUNT(cases); i++) {
        const char *expected = i & 1 ? cases[i / 4].output : cases[i / 4].intermediate;
        espl_model *model = test_model(cases[i / 4].model, NULL);
        espl_adapter *adapter;
        char text[256];
        snprintf(text, sizeof text, "{\"config\": {\"architecture\": \"lora\", \"r\": 2, \"selfattn_lora\": false, \"%s\": true, "
                 "\"use_gating\": %s}, \"name\": \"a\"}", i & 1 ? "output_lora" : "intermediate_lora", i & 2 ? "true" : "false");
        test_ok(espl_adapter_add(model, "a", text, 0, &adapter));
        assert_string_equal(adapter->method->name, i & 2 ? "library_lora" : "lora");
        assert_true(adapter->store.entry_count > 0);
        for (size_t e = 0; e < adapter->store.entry_count; e++) {
            const char *name = adapter->store.entries[e].name;
            if (!strstr(name, expected)) fail_msg("%s: %s is not in %s", cases[i / 4].model, name, expected);
        }
        espl_model_destroy(&model);
    }
}

static void refused_configs(void **state) {
    (void)state;
    static const struct {
        const char *config, *message;
        espl_status status;
    } cases[] = {
        {"{\"architecture\": \"lora\", \"use_gating\": true, \"composition_mode\": \"scale\"}", "\"use_gating\" is not supported", ESPL_UNSUPPORTED},
        {"{\"architecture\": \"lora\", \"vera_d\": 0.1, \"intermediate_lora\": true}",
         "shares matrices among targets, but one is 45 x 45, another 50 x 45", ESPL_ARGUMENT},
        {"{\"architecture\": \"lora\", \"use_dora\": true, \"composition_mode\": \"scale\"}", "\"use_dora\" is not supported",
         ESPL_UNSUPPORTED},
        {"{\"architecture\": \"lora\", \"use_dora\": true, \"init_weights\": \"ia3\"}", "init_weights \"ia3\" is not one of", ESPL_ARGUMENT},
        {"{\"architecture\": \"lora\", \"wings\": 2}", "\"wings\" is not a key", ESPL_UNSUPPORTED},
        {"{\"architecture\": \"lora\", \"composition_mode\": \"mul\"}", "composition_mode \"mul\"", ESPL_UNSUPPORTED},
        {"{\"architecture\": \"lora\", \"init_weights\": \"bert\"}", "init_weights \"bert\" is not offered", ESPL_UNSUPPORTED},
        {"{\"architecture\": \"lora\", \"composition_mode\": \"scale\", \"r\": 4}", "(IA)3 has 1, 1, 0", ESPL_UNSUPPORTED},
        {"{\"architecture\": \"lora\", \"attn_matrices\": [\"o\"]}", "not one of q, k, v", ESPL_FORMAT},
        {"{\"architecture\": \"lora\", \"leave_out\": [\"a\"]}", "\"leave_out\" must hold integers", ESPL_FORMAT},
        {"{\"architecture\": \"lora\", \"leave_out\": [-1]}", "\"leave_out\" has block -1", ESPL_ARGUMENT},
        {"{\"architecture\": \"lora\", \"leave_out\": [0, 5]}", "\"leave_out\" has block 5, and the model's blocks are 0 to 1", ESPL_ARGUMENT},
        {"{\"architecture\": \"lora\", \"leave_out\": [0, 1]}", "selects no module", ESPL_ARGUMENT},
        {"{\"architecture\": \"lora\", \"r\": \"8\"}", "\"r\" is a string", ESPL_FORMAT},
        {"{\"architecture\": \"lora\", \"r\": 0}", "rank 0", ESPL_ARGUMENT},
        {"{\"architecture\": \"mixture\"}", "architecture \"mixture\" is not one of", ESPL_UNSUPPORTED},
        {"\"lora[r=16\"", "has \"[\" without \"]\": lora[r=16", ESPL_FORMAT},
        {"\"lora[r]\"", "has \"r\" where key=value was expected", ESPL_FORMAT},
        {"\"lora[r=sixteen]\"", "\"config\"", ESPL_FORMAT},
        {"\"lora|\"", "names \"\", which is not one of seq_bn, double_seq_bn", ESPL_UNSUPPORTED},
        {"\"mixture\"", "names \"mixture\", which is not one of seq_bn", ESPL_UNSUPPORTED},
        {"7", "\"config\" is an integer, an object or a string was expected", ESPL_FORMAT},
    };
    espl_model *model = test_model("bert_classes_lora", NULL);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_adapter *adapter;
        char text[512];
        snprintf(text, sizeof text, "{\"config\": %s, \"name\": \"a\"}", cases[i].config);
        test_refused(espl_adapter_add(model, "a", text, 0, &adapter), cases[i].status, cases[i].message);
        assert_null(adapter);
    }
    espl_model_destroy(&model);
    model = test_model("gpt2_lora", NULL);
    espl_adapter *none;
    test_refused(espl_adapter_add(model, "a", "library_dora", 0, &none), ESPL_UNSUPPORTED, "\"use_dora\" is not possible on a gpt2 model");
    test_refused(espl_adapter_add(model, "a", "library_vera", 0, &none), ESPL_UNSUPPORTED, "\"vera_d\" is not possible on a gpt2 model");
    espl_model_destroy(&model);
}

/* Folders whose parts do not fit each other. */
static void refused_files(void **state) {
    (void)state;
    static const char rank_4[] = "{\"config\": {\"architecture\": \"lora\", \"r\": 4, \"attn_matrices\": [\"q\", \"k\"], "
                                 "\"output_lora\": true}, \"name\": \"a\"}";
    static const char other_name[] = "{\"config\": {\"architecture\": \"lora\", \"r\": 3, \"attn_matrices\": [\"q\", \"k\"], "
                                     "\"output_lora\": true}, \"name\": \"b\"}";
    static const char fewer[] = "{\"config\": {\"architecture\": \"lora\", \"r\": 3, \"attn_matrices\": [\"q\", \"k\"]}, "
                                "\"name\": \"a\"}";
    static const char code[] = "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." "\x80\2cos\nsystem\n(U\2lst" "R.";
    espl_model *model = test_model("bert_classes_lora", NULL);
    espl_adapter *adapter;
    espl_mapping file;
    char path[512];
    char *folder = test_path("refused");
    snprintf(path, sizeof path, "%s/library_lora_bert/adapter/pytorch_adapter.bin", ESPL_GOLDEN);
    test_ok(espl_os_map(test_context(), path, &file));
    write(folder, "pytorch_adapter.bin", (const char *)file.data, file.bytes);
    espl_os_unmap(&file);
    write(folder, "adapter_config.json", rank_4, sizeof rank_4 - 1);
    test_refused(espl_adapter_load(model, "a", folder, &adapter), ESPL_FORMAT, "[3, 45]");
    write(folder, "adapter_config.json", other_name, sizeof other_name - 1);
    test_refused(espl_adapter_load(model, "a", folder, &adapter), ESPL_FORMAT, "query.loras.b.lora_A");
    write(folder, "adapter_config.json", fewer, sizeof fewer - 1);
    test_refused(espl_adapter_load(model, "a", folder, &adapter), ESPL_FORMAT, "output.dense.loras.a.lora_A is not a tensor");
    write(folder, "pytorch_adapter.bin", code, sizeof code - 1);
    test_refused(espl_adapter_load(model, "a", folder, &adapter), ESPL_UNSUPPORTED, "calls os.system; only tensors are read");
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    espl_model_destroy(&model);
}

/* Before 1.1.0 LoRA was trained with an alpha of r whatever the file says. */
static void older(void **state) {
    (void)state;
    static const char *const versions[] = {"adapters.1.0.1", "adapters.0.2.2", "adapters.1.1.0", "4.30.2"};
    espl_model *model = test_model("bert_classes_lora", NULL);
    for (size_t i = 0; i < ESPL_COUNT(versions); i++) {
        espl_adapter *adapter;
        char text[256];
        snprintf(text, sizeof text, "{\"config\": {\"architecture\": \"lora\", \"r\": 2, \"alpha\": 16}, \"version\": \"%s\"}", versions[i]);
        test_ok(espl_adapter_add(model, "a", text, 0, &adapter));
        assert_int_equal(json_number_value(json_object_get(adapter->config, "lora_alpha")), i < 2 ? 2 : 16);
        espl_adapter_delete(&adapter);
    }
    espl_model_destroy(&model);
}

/* A configuration in the library's words is that of our own. */
static void strings(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"seq_bn", "pfeiffer"}, {"double_seq_bn", "houlsby"}, {"par_bn", "parallel"}, {"scaled_par_bn", "scaled_parallel"},
        {"seq_bn_inv", "pfeiffer:inv=nice"}, {"double_seq_bn_inv", "houlsby:inv=nice"}, {"pfeiffer+inv", "pfeiffer:inv=nice"},
        {"compacter[reduction_factor=6]", "compacter:rf=6"}, {"compacter++[reduction_factor=6]", "compacter++:rf=6"}, {"prefix_tuning[prefix_length=4]", "library_prefix:length=4"},
        {"prefix_tuning_flat[prefix_length=4]", "library_prefix:length=4,flat"}, {"prompt_tuning", "library_prompt"}, {"dora", "library_dora"}, {"mtl_lora[n_up_projection=2]", "mtl_lora:up=2"}, {"vera[attn_matrices=['q', 'k'],intermediate_lora=False,init_weights=\\\"bert\\\",leave_out=[1]]", "library_vera:attention=q+k,init=bert,leave_out=1"},
        {"dvora", "library_dora:vera_d=0.1,vera_b=0"}, {"loreft", "loreft"}, {"noreft", "noreft"}, {"direft", "direft"},
        {"seq_bn[reduction_factor=8, non_linearity='swish', use_gating=True]", "pfeiffer:rf=8,activation=swish,gated"},
        {" loreft[ prefix_positions = 1 , suffix_positions=2 ] ", "loreft:prefix=1,suffix=2"}, {"mam", "mam"}, {"unipelt", "unipelt"},
        {"prefix_tuning[prefix_length=3]|par_bn[scaling=2.0]", "library_prefix:length=3|parallel:scaling=2"}};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        const bool wide = strstr(cases[i][0], "_inv") || strstr(cases[i][0], "+inv") || strstr(cases[i][0], "compacter");
        espl_model *model = test_model(wide ? "bert_masked_full" : strcmp(cases[i][0], "mam") == 0 ? "llama_lora" : "roberta_classes_lora",
                                       NULL);
        char text[256];
        espl_adapter *ours, *theirs;
        snprintf(text, sizeof text, "{\"config\": \"%s\", \"name\": \"a\"}", cases[i][0]);
        test_ok(espl_adapter_add(model, "a", text, 1, &theirs));
        test_ok(espl_adapter_add(model, "b", cases[i][1], 1, &ours));
        if (!json_equal(theirs->config, ours->config)) fail_msg("%s is not %s", cases[i][0], cases[i][1]);
        espl_model_destroy(&model);
    }
    espl_model *model = test_model("bert_classes_lora", NULL);
    espl_adapter *lora;
    test_ok(espl_adapter_add(model, "l", "{\"config\": \"lora[r=3,alpha=6]\"}", 1, &lora));
    assert_string_equal(lora->method->name, "lora");
    assert_int_equal(json_integer_value(json_object_get(lora->config, "lora_alpha")), 6);
    test_ok(espl_adapter_add(model, "i", "{\"config\": \"ia3\"}", 1, &lora));
    assert_string_equal(lora->method->name, "ia3");
    espl_model_destroy(&model);
}

/* Tensors and activations as files of the library's first years have them. */
static void first_years(void **state) {
    (void)state;
    char path[512], config[64];
    espl_model *model = test_model("bert_masked_full", NULL);
    espl_adapter *adapter;
    espl_tensors *set;
    espl_tensor_entry entries[64];
    char names[64][256];
    json_t *file;
    char *folder = test_path("first_years");
    test_ok(espl_adapter_add(model, "a", "houlsby:rf=9,activation=gelu,inv=nice", 1, &adapter));
    const size_t count = adapter->store.entry_count;
    test_ok(espl_adapter_save(adapter, folder));
    espl_adapter_delete(&adapter);
    snprintf(path, sizeof path, "%s/adapter.safetensors", folder);
    test_ok(espl_tensors_open(test_context(), path, &set));
    assert_true(espl_tensors_count(set) <= ESPL_COUNT(names));
    for (size_t i = 0; i < espl_tensors_count(set); i++) {
        espl_tensor_view view;
        test_ok(espl_tensors_at(set, i, &view));
        const char *at = strstr(view.name, "adapters."), *word = strstr(view.name, "invertible_") ? "lang_"
                         : strstr(view.name, "attention") ? "attention_text_task_" : "layer_text_lang_";
        snprintf(names[i], sizeof names[i], "%.*s%s%s", (int)(at - view.name), view.name, word, at);
        entries[i] = (espl_tensor_entry){.name = names[i], .dtype = view.dtype, .rank = view.rank, .data = view.data};
        memcpy(entries[i].shape, view.shape, sizeof view.shape);
    }
    char *again = test_path("first_years_again");
    test_ok(espl_os_make_folder(test_context(), again));
    snprintf(path, sizeof path, "%s/adapter.safetensors", again);
    test_ok(espl_tensors_write(test_context(), path, entries, espl_tensors_count(set), NULL, 0));
    espl_tensors_destroy(&set);
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    test_ok(espl_json_load(test_context(), path, &file));
    json_object_del(file, "version");
    snprintf(path, sizeof path, "%s/adapter_config.json", again);
    test_ok(espl_json_save(test_context(), path, file));
    json_decref(file);
    test_ok(espl_adapter_load(model, "b", again, &adapter));
    snprintf(config, sizeof config, "%s", json_string_value(json_object_get(adapter->config, "non_linearity")));
    assert_string_equal(config, "gelu_new");
    assert_true(adapter->store.entry_count <= count); /* the head stayed behind */
    espl_model_destroy(&model);
    espl_os_remove_folder(test_context(), folder), espl_os_remove_folder(test_context(), again);
    free(folder), free(again);
}

#define TRIP(name) {"round_trip " #name, round_trip, NULL, NULL, #name}
int main(void) {
    const struct CMUnitTest tests[] = {
        TRIP(library_lora_bert), TRIP(library_lora_left_out), TRIP(library_lora_llama), TRIP(library_ia3_bert), TRIP(library_ia3_llama),
        TRIP(library_dora_bert), TRIP(library_dora_gated), TRIP(library_vera_bert), TRIP(library_vera_gated), TRIP(library_dvora_bert),
        TRIP(library_mtl_lora), TRIP(library_lora_1_3), TRIP(library_ia3_1_3), TRIP(library_prefix_left_out),
        cmocka_unit_test(new_ones), cmocka_unit_test(places), cmocka_unit_test(refused_layers),
        cmocka_unit_test(phm_values), cmocka_unit_test(own_seeds), cmocka_unit_test(written_keys),
        cmocka_unit_test(refused_configs), cmocka_unit_test(refused_files), cmocka_unit_test(older),
        cmocka_unit_test(strings), cmocka_unit_test(first_years)};
    return test_main("folders of the Adapters library", tests, ESPL_COUNT(tests));
}
