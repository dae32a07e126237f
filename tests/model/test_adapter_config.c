/* What configurations of adapters may say: specs and fields that are refused, one sentence each, or told; numbers whatever the
 * locale. */
#include "host/model/adapter.h"
#include "host/base/os.h"
#include "tests/model/model_test.h"
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *spec;
        espl_status status;
        const char *part;
    } cases[] = {
        {"lora:r=0", ESPL_ARGUMENT, "rank 0 of model.layers.0.self_attn.q_proj is not a whole number from 1"},
        {"lora:r=2.5", ESPL_ARGUMENT, "r=2.5 is not a whole number"},
        {"lora:targets=nothing", ESPL_ARGUMENT, "lora: no module of this llama model is selected by target_modules nothing"},
        {"ia3:targets=key+value", ESPL_ARGUMENT, "ia3: no module of this llama model is selected by target_modules key, value"},
        {"vera:targets=query", ESPL_ARGUMENT, "vera: no module of this llama model is selected by target_modules query"},
        {"ln:targets=LayerNorm", ESPL_ARGUMENT, "ln: no module of this llama model is selected by target_modules LayerNorm"},
        {"flop:targets=fc", ESPL_ARGUMENT, "flop: no module of this llama model is selected by target_modules fc"},
        {"bitfit:types=fc", ESPL_ARGUMENT, "bitfit: no module of this llama model is a target"},
        {"pasta", ESPL_UNSUPPORTED, "pasta: this llama model has no special tokens around its sentences"},
        {"compacter:rf=5", ESPL_ARGUMENT, "phm_dim 4 does not divide the 48 inputs and the 9 outputs of model.layers.0"},
        {"adalink:links=a+b+a", ESPL_ARGUMENT, "two links are called \"a\""},
        {"{\"peft_type\":\"ADALINK\",\"scope\":\"modality\"}", ESPL_UNSUPPORTED, "scope \"modality\" with 1 links is not offered"},
        {"{\"peft_type\":\"BITFIT\",\"store\":\"delta\"}", ESPL_UNSUPPORTED, "store \"delta\" is not offered"},
        {"{\"peft_type\":\"PASTA\",\"special_token_ids\":[]}", ESPL_FORMAT, "pasta: \"special_token_ids\" names no token"},
        {"lora:dropout=1", ESPL_ARGUMENT, "dropout 1 is not from 0 to below 1"},
        {"lora:rank=8", ESPL_ARGUMENT, "\"rank\" is not one of"},
        {"lora:bias=some", ESPL_ARGUMENT, "bias \"some\" is not one of"},
        {"lora:save=nothing", ESPL_ARGUMENT, "the model has no module nothing"},
        {"invertible:inv=glow", ESPL_UNSUPPORTED, "inv_adapter \"glow\" is not nice"},
        {"parallel:inv=nice", ESPL_ARGUMENT, "parallel: \"inv\" is not one of rf, activation,"},
        {"{\"config\":{\"architecture\":null,\"is_parallel\":true,\"scaling\":4,\"inv_adapter\":\"nice\"}}", ESPL_UNSUPPORTED,
         "parallel: \"inv_adapter\" is not supported"},
        {"{\"config\":{\"stochastic_depth\":0.1}}", ESPL_UNSUPPORTED, "pfeiffer: \"stochastic_depth\" is not supported"},
        {"frob", ESPL_ARGUMENT, "diff_pruning; full trains the model itself"},
        {"invertible:inv_rf=100", ESPL_ARGUMENT, "inv_adapter_reduction_factor 100 leaves nothing of 24 values"},
        {"invertible:inv_rf=1e-30", ESPL_LIMIT, "inv_adapter_reduction_factor 1e-30 makes more than 1048576 of 24 values"},
        {"loreft:r=48", ESPL_ARGUMENT, "r 48 is not from 1 to below the hidden size of 48"},
        {"loreft:prefix=0", ESPL_ARGUMENT, "with prefix_positions and suffix_positions 0 nothing is edited"},
        {"lora:alpha=1.2.3", ESPL_ARGUMENT, "lora: alpha=1.2.3 is not a number"},
        {"lora:alpha=inf", ESPL_ARGUMENT, "lora: alpha=inf is not a number"},
        {"lora:r=2.5", ESPL_ARGUMENT, "lora: r=2.5 is not a whole number"},
        {"pfeiffer:scaling=1.2.3", ESPL_FORMAT, "\"scaling\" is neither a number nor learned or channel"},
        {"{\"config\":{\"architecture\":\"reft\",\"layers\":\"some\"}}", ESPL_ARGUMENT,
         "\"layers\" is some, all or a list of numbers was expected"},
        {"{\"config\":{\"architecture\":\"reft\",\"layers\":null}}", ESPL_ARGUMENT,
         "\"layers\" is null, all or a list of numbers was expected"},
        {"noreft:layers=1+2", ESPL_ARGUMENT, "\"layers\" must be all, or numbers below 2"},
        {"lora|lora:r=2", ESPL_ARGUMENT, "union: two parts have a tensor base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"},
        {"lora|dylora", ESPL_UNSUPPORTED, "union: dylora, which has training steps"},
        {"lora|union", ESPL_ARGUMENT, "a part may not be made of parts itself"},
        {"lora|nothing", ESPL_ARGUMENT, "method \"nothing\" is not one of"},
        {"union:r=2", ESPL_ARGUMENT, "there is no key \"r\""},
        {"houlsby:drop=2", ESPL_ARGUMENT, "drop=2 is not from 0 to below the 2 blocks"},
        {"pfeiffer:leave_out=0+2", ESPL_ARGUMENT, "\"leave_out\" has block 2, and the model's blocks are 0 to 1"},
        {"prompt:tokens=3,init=TEXT", ESPL_ARGUMENT, "the text to begin with is missing: \"prompt_tuning_init_text\""},
        {"prompt:tokens=3,init=TEXT,text=word", ESPL_ARGUMENT, "has no tokenizer for \"prompt_tuning_init_text\""},
        {"{\"peft_type\":\"PROMPT_TUNING\",\"prompt_tuning_init\":\"SAMPLE\"}", ESPL_ARGUMENT, "\"SAMPLE\" is not one of RANDOM"},
        {"{\"peft_type\":\"P_TUNING\",\"encoder_reparameterization_type\":\"GRU\"}", ESPL_ARGUMENT, "\"GRU\" is not one of MLP, LSTM"},
        {"ptuning:encoder=0", ESPL_ARGUMENT, "ptuning: encoder_hidden_size 0 is not from 1 to"},
        {"ptuning:type=LSTM,encoder=6", ESPL_UNSUPPORTED, "an LSTM of 6 values is not supported, a multiple of 4 is"},
        {"ptuning:type=LSTM,layers=9", ESPL_ARGUMENT, "an LSTM of 9 layers is not possible"},
        {"library_vera:attention=q+k", ESPL_ARGUMENT, "shares matrices among targets, but one is 48 x 48, another 16 x 48"},
        {"library_lora:leave_out=1+12", ESPL_ARGUMENT, "\"leave_out\" has block 12, and the model's blocks are 0 to 1"},
        {"lora|houlsby:leave_out=7", ESPL_ARGUMENT, "\"leave_out\" has block 7, and the model's blocks are 0 to 1"},
        {"adapterplus:robust=1", ESPL_UNSUPPORTED, "robust_drop is supported with original_ln_after"},
        {"library_prompt", ESPL_UNSUPPORTED, "a llama model is none of the encoders that the Adapters library has it for"},
        {"prompt:tokens=2|library_prefix:length=2", ESPL_ARGUMENT, "library_prefix is a second part with rows before the text"},
        {"{\"config\":{\"mh_adapter\":true,\"output_adapter\":true,\"reduction_factor\":{\"0\":4}}}", ESPL_ARGUMENT,
         "reduction_factor has neither layer 1 nor a default"},
        {"{\"peft_type\":\"IA3\",\"target_modules\":[\"k_proj\"],\"feedforward_modules\":[\"down_proj\"]}", ESPL_ARGUMENT,
         "the feedforward module down_proj is not among target_modules"},
        {"nothing:r=8", ESPL_ARGUMENT, "method \"nothing\" is not one of"},
        {"{\"peft_type\":\"LOHA\"}", ESPL_UNSUPPORTED, "peft_type \"LOHA\" is not one of"},
        {"{\"peft_type\":\"LORA\",\"init_lora_weights\":\"pissa_niter_4\"}", ESPL_UNSUPPORTED,
         "init_lora_weights \"pissa_niter_4\" is not offered"},
        {"{\"peft_type\":\"LORA\",\"init_lora_weights\":\"eva\"}", ESPL_UNSUPPORTED, "init_lora_weights \"eva\" is not offered"},
        {"lora:targets=q_proj+embed_tokens", ESPL_UNSUPPORTED,
         "lora: target_modules names model.embed_tokens, which is in no block of this llama model"},
        {"ia3:targets=lm_head+k_proj", ESPL_UNSUPPORTED, "ia3: target_modules names lm_head, which is in no block"},
        {"{\"peft_type\":\"LORA\",\"target_modules\":\".*q_proj\",\"layers_to_transform\":[1]}", ESPL_ARGUMENT,
         "lora: \"layers_to_transform\" needs a list in \"target_modules\", which is the string \".*q_proj\""},
        {"{\"peft_type\":\"ADALORA\",\"target_modules\":\"all-linear\",\"layers_to_transform\":0}", ESPL_ARGUMENT,
         "adalora: \"layers_to_transform\" needs a list"},
        {"{\"peft_type\":\"VERA\",\"target_modules\":\".*q_proj\",\"layers_pattern\":[\"layers\"]}", ESPL_ARGUMENT,
         "vera: \"layers_pattern\" needs a list"},
        {"{\"peft_type\":\"LORA\",\"layers_pattern\":\"layers\"}", ESPL_ARGUMENT,
         "lora: \"layers_pattern\" needs \"layers_to_transform\""},
        {"{\"peft_type\":\"LORA\",\"target_modules\":\"[\"}", ESPL_UNSUPPORTED, ""},
        {"{\"peft_type\":\"LORA\",\"r\":\"8\"}", ESPL_FORMAT, "\"r\" is a string"},
    };
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *a, *b;
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        test_refused(espl_adapter_add(model, "a", cases[i].spec, 0, &a), cases[i].status, cases[i].part);
        assert_null(a);
    }
    test_ok(espl_adapter_add(model, "a", "lora:r=8", 0, &a));
    test_refused(espl_adapter_add(model, "a", "lora:r=8", 0, &b), ESPL_ARGUMENT, "there is an adapter \"a\" already");
    test_refused(espl_adapter_add(model, "a+b", "lora:r=8", 0, &b), ESPL_ARGUMENT, "cannot be the name");
    /* Of another model. */
    test_refused(espl_adapter_load(model, "c", ESPL_GOLDEN "/gpt2_lora/adapter", &b), ESPL_ARGUMENT, "no module");
    test_refused(espl_adapter_load(model, "c", ESPL_GOLDEN "/qwen3_patterns/adapter", &b), ESPL_FORMAT, "[3, 40], [3, 48] was expected");
    espl_model_destroy(&model);
}

/* The folder of an adapter of this type, by default but for one field. */
static void write_with_field(espl_model *model, const char *type, const char *field, const char *value, const char *folder) {
    char config[256], path[512];
    espl_adapter *a;
    snprintf(config, sizeof config, "{\"peft_type\":\"%s\"}", type);
    test_ok(espl_adapter_add(model, "a", config, 0, &a));
    test_ok(espl_adapter_save(a, folder));
    espl_adapter_delete(&a);
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "{\"peft_type\":\"%s\",\"%s\":%s}", type, field, value);
    assert_int_equal(fclose(file), 0);
}

/* Fields of PEFT's configurations: those that would change results are refused by name unless they are off, one that the type
 * does not have is told and has no effect, all others are read in silence. */
static void fields(void **state) {
    (void)state;
    static const struct {
        const char *type, *field, *value, *off;
        bool initial; /* a folder brings what it would change */
    } refused[] = {
        {"ADALORA", "use_dora", "true", "false", false},
        {"DYLORA", "use_dora", "true", "null", false},
        {"LORA", "use_qalora", "true", "false", false},
        {"LORA", "lora_bias", "true", "false", false},
        {"LORA", "layer_replication", "[[0,1],[0,1]]", "[]", false},
        {"LORA", "target_parameters", "[\"mlp.experts\"]", "[]", false},
        {"LORA", "trainable_token_indices", "[1]", "null", false},
        {"LORA", "use_bdlora", "{\"nblocks\":2}", "null", false},
        {"LORA", "alora_invocation_tokens", "[1]", "null", false},
        {"LORA", "arrow_config", "{\"top_k\":3}", "{}", false},
        {"LORA", "velora_config", "{\"scale\":1}", "null", false},
        {"LORA", "monteclora_config", "{\"n\":4}", "null", false},
        {"LORA", "kasa_config", "{\"beta\":1}", "null", false},
        {"LORA", "megatron_config", "{\"a\":1}", "null", false},
        {"ADALORA", "ensure_weight_tying", "true", "false", false},
        {"PROMPT_TUNING", "num_transformer_submodules", "2", "1", false},
        {"P_TUNING", "num_transformer_submodules", "2", "null", false},
        {"PREFIX_TUNING", "num_transformer_submodules", "2", "1", false},
        {"PROMPT_TUNING", "tokenizer_kwargs", "{\"use_fast\":false}", "{}", true},
        {"PREFIX_TUNING", "init_weights", "\"zero\"", "null", true},
    };
    static const struct {
        const char *config, *warning; /* "": none */
    } read[] = {
        {"{\"peft_type\":\"LORA\",\"revision\":\"main\",\"peft_version\":\"0.21.2\",\"auto_mapping\":{\"a\":1},\"qalora_group_size\":32,"
         "\"eva_config\":{\"rho\":2},\"fan_in_fan_out\":true,\"megatron_core\":\"megatron.core\"}", ""},
        {"{\"peft_type\":\"ADALORA\",\"r\":3,\"use_rslora\":true}", ""},
        {"{\"peft_type\":\"P_TUNING\",\"token_dim\":48,\"num_layers\":2,\"num_attention_heads\":4}", ""},
        {"{\"peft_type\":\"LORA\",\"merge_weights\":true}", "lora: \"merge_weights\" is no field of LORA configurations and is ignored"},
        {"{\"peft_type\":\"IA3\",\"layers_to_transform\":[1]}", "ia3: \"layers_to_transform\" is no field of IA3 configurations"},
        {"{\"peft_type\":\"VERA\",\"alpha_pattern\":{\"q\":1}}", "vera: \"alpha_pattern\" is no field"},
        {"{\"peft_type\":\"VERA\",\"exclude_modules\":[\"q_proj\"]}", "vera: \"exclude_modules\" is no field of VERA configurations"},
        {"{\"peft_type\":\"LN_TUNING\",\"bias\":\"all\"}", "ln: \"bias\" is no field of LN_TUNING configurations"},
        {"{\"peft_type\":\"PROMPT_TUNING\",\"encoder_hidden_size\":4}", "prompt: \"encoder_hidden_size\" is no field"},
    };
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *a;
    char config[256], part[64], *folder = test_path("fields");
    for (size_t i = 0; i < ESPL_COUNT(refused); i++) {
        snprintf(part, sizeof part, "\"%s\" is not supported", refused[i].field);
        for (int off = 0; off < 2; off++) {
            *test_warning() = 0;
            snprintf(config, sizeof config, "{\"peft_type\":\"%s\",\"%s\":%s}", refused[i].type, refused[i].field,
                     off ? refused[i].off : refused[i].value);
            const espl_status status = espl_adapter_add(model, "a", config, 0, &a);
            if (off) test_ok(status);
            else test_refused(status, ESPL_UNSUPPORTED, part);
            assert_string_equal(test_warning(), "");
            espl_adapter_delete(&a);
        }
        write_with_field(model, refused[i].type, refused[i].field, refused[i].value, folder);
        const espl_status status = espl_adapter_load(model, "a", folder, &a);
        if (refused[i].initial) test_ok(status);
        else test_refused(status, ESPL_UNSUPPORTED, part);
        espl_adapter_delete(&a);
        espl_os_remove_folder(test_context(), folder);
    }
    for (size_t i = 0; i < ESPL_COUNT(read); i++) {
        *test_warning() = 0;
        test_ok(espl_adapter_add(model, "a", read[i].config, 0, &a));
        if (!*read[i].warning != !*test_warning() || !strstr(test_warning(), read[i].warning))
            fail_msg("%s: the warning is \"%s\"", read[i].config, test_warning());
        espl_adapter_delete(&a);
    }
    /* Without its ignored field the adapter is in every block. */
    espl_adapter *all;
    test_ok(espl_adapter_add(model, "all", "ia3", 0, &all));
    test_ok(espl_adapter_add(model, "a", read[4].config, 0, &a));
    assert_int_equal(espl_adapter_parameters(a), espl_adapter_parameters(all));
    free(folder);
    espl_model_destroy(&model);
}

/* What an adapter writes it reads without a warning. */
static void own_fields(void **state) {
    (void)state;
    espl_model *model = test_model("qwen3_patterns", NULL);
    char *folder = test_path("fields");
    for (size_t i = 0; i < espl_method_count; i++) {
        espl_adapter *a;
        if (!espl_methods[i]->peft_type) continue;
        const bool pasta = strcmp(espl_methods[i]->name, "pasta") == 0, head = strcmp(espl_methods[i]->name, "head") == 0;
        const char *spec = pasta  ? "{\"peft_type\":\"PASTA\",\"special_token_ids\":[5]}"
                           : head ? "head:save=lm_head"
                                  : espl_methods[i]->name;
        *test_warning() = 0;
        test_ok(espl_adapter_add(model, "a", spec, 1, &a));
        test_ok(espl_adapter_save(a, folder));
        espl_adapter_delete(&a);
        test_ok(espl_adapter_load(model, "a", folder, &a));
        if (*test_warning()) fail_msg("%s: the warning is \"%s\"", spec, test_warning());
        espl_adapter_delete(&a);
        espl_os_remove_folder(test_context(), folder);
    }
    free(folder);
    espl_model_destroy(&model);
}

static void keep_line(void *user, espl_log_level level, const char *line) {
    char *kept = user;
    if (level == ESPL_LOG_WARNING) snprintf(kept, 512, "%s", line);
}

/* What is computed as upstream does it, although few would expect it, is said; where it was asked for, nothing. */
static void warned(void **state) {
    (void)state;
    static const struct {
        const char *model, *spec, *line;
    } cases[] = {
        {"bert_classes_lora", "ia3", "ia3: the feedforward module output.dense of this bert model means attention.output.dense, too, as it "
                                     "does for PEFT: 45 factors more in a block"},
        {"bert_classes_lora", "ia3:targets=key+value+intermediate.dense", ""},
        {"llama_lora", "ia3", ""},
        {"llama_lora", "parallel", "parallel: no reduction_factor is given, and the Adapters library's is 2: bottlenecks of 24 values at a "
                                   "width of 48"},
        {"llama_lora", "scaled_parallel", "scaled_parallel: no reduction_factor is given"},
        {"llama_lora", "parallel:rf=2", ""},
        {"llama_lora", "pfeiffer", ""},
        {"llama_lora", "mam", ""}};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        char folder[512], kept[512] = "";
        espl_context *ctx;
        espl_model *model;
        espl_adapter *adapter;
        snprintf(folder, sizeof folder, "%s/%s", ESPL_GOLDEN, cases[i].model);
        assert_int_equal(espl_context_create(&(espl_context_params){.log = keep_line, .log_user = kept}, &ctx), ESPL_OK);
        assert_int_equal(espl_model_outline(ctx, folder, NULL, &model), ESPL_OK);
        assert_int_equal(espl_adapter_add(model, "a", cases[i].spec, 0, &adapter), ESPL_OK);
        if (*cases[i].line ? !strstr(kept, cases[i].line) : *kept) fail_msg("%s: \"%s\" was said", cases[i].spec, kept);
        espl_model_destroy(&model);
        espl_context_destroy(&ctx);
    }
}

/* A host program may have set a locale with a decimal comma. */
static void decimal_comma(void **state) {
    (void)state;
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *adapter;
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8")) printf("  without de_DE.UTF-8, which this system has not\n");
    test_ok(espl_adapter_add(model, "a", "parallel:scaling=0.5,dropout=0.25", 0, &adapter));
    assert_true(json_real_value(json_object_get(adapter->config, "scaling")) == 0.5);
    assert_true(json_real_value(json_object_get(adapter->config, "dropout")) == 0.25);
    setlocale(LC_NUMERIC, "C");
    espl_model_destroy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(refused), cmocka_unit_test(fields), cmocka_unit_test(own_fields),
                                       cmocka_unit_test(warned), cmocka_unit_test(decimal_comma)};
    return test_main("configurations of adapters", tests, ESPL_COUNT(tests));
}
