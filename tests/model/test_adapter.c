/* The life of adapters: add, save, load, activate, several at once, merge and take out, refuse. */
#include "host/model/adapter.h"
#include "host/base/os.h"
#include "tests/model/model_test.h"
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void save_and_load(void **state) {
    (void)state;
    float base[TEST_VOCABULARY], first[TEST_VOCABULARY], second[TEST_VOCABULARY];
    espl_model *model = test_model("qwen2_bias_all", NULL);
    espl_adapter *a, *b;
    test_logits(model, base);
    test_ok(espl_adapter_add(model, "a", "lora:r=3,alpha=6,targets=q_proj+down_proj,init=random,bias=lora_only,save=lm_head", 5,
                             &a));
    test_logits(model, first);
    assert_true(test_same(first, base)); /* not active yet */
    test_ok(espl_model_activate(model, "a"));
    test_logits(model, first);
    assert_true(test_off(first, base) > 1e-3);
    char *folder = test_path("adapter");
    test_ok(espl_adapter_save(a, folder));
    test_ok(espl_adapter_load(model, "b", folder, &b));
    assert_int_equal(espl_adapter_parameters(a), espl_adapter_parameters(b));
    test_ok(espl_model_activate(model, "b"));
    test_logits(model, second);
    assert_true(test_same(first, second));
    test_ok(espl_model_activate(model, ""));
    test_logits(model, second);
    assert_true(test_same(base, second));
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    espl_model_destroy(&model);
}

/* Two active adapters add their changes: the same as one of both ranks stacked, which merging gives. */
static void several(void **state) {
    (void)state;
    float both[TEST_VOCABULARY], merged[TEST_VOCABULARY], base[TEST_VOCABULARY], after[TEST_VOCABULARY], one[TEST_VOCABULARY];
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *a, *b;
    test_logits(model, base);
    test_ok(espl_adapter_add(model, "a", "lora:r=2,alpha=3,targets=all-linear,init=random", 1, &a));
    test_ok(espl_adapter_add(model, "b", "lora:r=5,alpha=4,targets=q_proj+o_proj,init=random,rslora", 2, &b));
    test_ok(espl_model_activate(model, "a"));
    test_logits(model, one);
    test_ok(espl_model_activate(model, "b+a"));
    test_logits(model, both);
    assert_true(test_off(one, both) > 1e-3);
    test_ok(espl_adapter_merge(a));
    test_ok(espl_adapter_merge(b));
    test_logits(model, merged);
    assert_true(test_off(merged, both) < 1e-5);
    test_refused(espl_adapter_merge(a), ESPL_ARGUMENT, "\"a\" is merged already");
    test_refused(espl_model_activate(model, "a"), ESPL_ARGUMENT, "merged into the base");
    test_refused(espl_adapter_unmerge(a), ESPL_ARGUMENT, "must be taken out first");
    test_ok(espl_adapter_unmerge(b));
    test_ok(espl_adapter_unmerge(a));
    test_logits(model, after);
    assert_true(test_same(base, after));
    espl_model_destroy(&model);
}

/* Two (IA)3 scale one after the other, biases included: as one with the products of their factors. */
static void several_factors(void **state) {
    (void)state;
    static const char *const models[] = {"qwen2_bias_all", "gpt2_lora"}, *const names[] = {"a", "b", "c"};
    for (size_t m = 0; m < ESPL_COUNT(models); m++) {
        float both[TEST_VOCABULARY], product[TEST_VOCABULARY], one[TEST_VOCABULARY];
        espl_model *model = test_model(models[m], NULL);
        espl_adapter *factor[3];
        for (size_t i = 0; i < 3; i++) test_ok(espl_adapter_add(model, names[i], "ia3:ones=false", i + 1, &factor[i]));
        for (size_t i = 0; i < factor[0]->store.entry_count; i++) {
            float values[3][256];
            const espl_entry *entry = &factor[0]->store.entries[i];
            assert_true(espl_entry_values(&factor[0]->store, entry) <= ESPL_COUNT(values[0]));
            for (int j = 0; j < 2; j++) test_ok(espl_store_read(&factor[j]->store, &factor[j]->store.entries[i], values[j]));
            for (size_t v = 0; v < ESPL_COUNT(values[0]); v++) values[2][v] = values[0][v] * values[1][v];
            test_ok(espl_store_write(&factor[2]->store, &factor[2]->store.entries[i], values[2], ESPL_DTYPE_F32));
        }
        test_ok(espl_model_activate(model, "a"));
        test_logits(model, one);
        test_ok(espl_model_activate(model, "a+b"));
        test_logits(model, both);
        test_ok(espl_model_activate(model, "c"));
        test_logits(model, product);
        assert_true(test_off(one, product) > 1e-3);
        if (!(test_off(both, product) < 2e-6)) fail_msg("%s: two are off by %g", models[m], test_off(both, product));
        espl_model_destroy(&model);
    }
}

/* Names that files have had: of DoRA's magnitudes before PEFT's variants, of the Adapters library's folders without the base's
 * prefix. */
static void other_names(void **state) {
    (void)state;
    static const struct {
        const char *spec, *ending, *added, *prefix;
    } rows[] = {{"dora:r=2,init=random", "lora_magnitude_vector", ".weight", ""}, {"houlsby:rf=4", "", "", "model."}};
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) {
        float first[TEST_VOCABULARY], second[TEST_VOCABULARY];
        espl_context *ctx = test_context();
        espl_model *model = test_model("llama_lora", NULL);
        espl_adapter *a, *b;
        char *folder = test_path("names");
        test_ok(espl_adapter_add(model, "a", rows[i].spec, 5, &a));
        test_ok(espl_model_activate(model, "a"));
        test_logits(model, first);
        size_t renamed = 0;
        for (size_t e = 0; e < a->store.entry_count; e++) {
            char *old = a->store.entries[e].name;
            const size_t bytes = strlen(old), prefix = strlen(rows[i].prefix), ending = strlen(rows[i].ending);
            if (bytes < ending || strcmp(old + bytes - ending, rows[i].ending) != 0 || strncmp(old, rows[i].prefix, prefix) != 0) continue;
            test_ok(espl_format(ctx, &a->store.entries[e].name, "%s%s", old + prefix, rows[i].added));
            espl_free(ctx, &old);
            renamed++;
        }
        assert_true(renamed > 0);
        test_ok(espl_adapter_save(a, folder));
        test_ok(espl_adapter_load(model, "b", folder, &b));
        test_ok(espl_model_activate(model, "b"));
        test_logits(model, second);
        assert_true(test_same(first, second));
        espl_os_remove_folder(ctx, folder);
        free(folder);
        espl_model_destroy(&model);
    }
}

/* Take out again bit for bit, in every dtype, orientation and with replaced biases. */
static void merge_exactly(void **state) {
    (void)state;
    static const struct {
        const char *model, *dtype, *spec;
    } cases[] = {{"llama_lora", "f16", "lora:r=3,targets=all-linear,init=random"},
                 {"llama_lora", "bf16", "lora:r=3,targets=all-linear,init=random"},
                 {"gpt2_lora", NULL, "lora:r=3,targets=c_attn+c_proj+c_fc,init=random,bias=all"},
                 {"qwen2_bias_all", NULL, "lora:r=3,targets=v_proj,init=random,bias=all"}};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        float base[TEST_VOCABULARY], active[TEST_VOCABULARY], merged[TEST_VOCABULARY], after[TEST_VOCABULARY];
        espl_model *model = test_model(cases[i].model, &(espl_model_params){.dtype = cases[i].dtype});
        espl_adapter *a;
        test_logits(model, base);
        test_ok(espl_adapter_add(model, "a", cases[i].spec, 3, &a));
        test_ok(espl_model_activate(model, "a"));
        test_logits(model, active);
        test_ok(espl_adapter_merge(a));
        test_logits(model, merged);
        test_ok(espl_adapter_unmerge(a));
        test_logits(model, after);
        const double bound = !cases[i].dtype ? 1e-5 : cases[i].dtype[0] == 'f' ? 2e-2 : 1e-1; /* weights are rounded again */
        printf("  %s %s: merged is off by %.1e, base by %.1e\n", cases[i].model, cases[i].dtype ? cases[i].dtype : "f32",
               test_off(merged, active), test_off(base, active));
        assert_true(test_off(merged, active) < bound && test_off(base, active) > test_off(merged, active));
        assert_true(test_same(base, after));
        espl_model_destroy(&model);
    }
}

/* The first of three that are merged takes the later ones out with it; the model may go with all of them merged. */
static void delete_merged(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b", "c"};
    float base[TEST_VOCABULARY], merged[TEST_VOCABULARY], after[TEST_VOCABULARY];
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *adapters[3];
    test_logits(model, base);
    for (uint64_t i = 0; i < 3; i++) {
        test_ok(espl_adapter_add(model, names[i], "lora:r=2,targets=q_proj,init=random", i + 1, &adapters[i]));
        test_ok(espl_adapter_merge(adapters[i]));
    }
    test_logits(model, merged);
    assert_true(test_off(merged, base) > 1e-3);
    espl_adapter_delete(&adapters[0]);
    test_logits(model, after);
    assert_true(test_same(base, after));
    test_ok(espl_adapter_add(model, "a", "lora:r=2,targets=q_proj,init=random", 1, &adapters[0]));
    for (int i = 0; i < 3; i++) test_ok(espl_adapter_merge(adapters[(i + 1) % 3])); /* as the list has them */
    espl_model_destroy(&model);
}

/* Values of its own in place of the output projection. */
static void set_head(espl_adapter *adapter, float scale) {
    const espl_entry *entry = NULL;
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        if (strstr(adapter->store.entries[i].name, "lm_head.weight")) entry = &adapter->store.entries[i];
    }
    assert_non_null(entry);
    const size_t count = (size_t)espl_entry_values(&adapter->store, entry);
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++) values[i] = scale * (float)((i * 7919) % 101) - 1;
    test_ok(espl_store_write(&adapter->store, entry, values, ESPL_DTYPE_F32));
    free(values);
}

static void active_logits(espl_model *model, const char *names, float out[TEST_VOCABULARY]) {
    test_ok(espl_model_activate(model, names));
    test_logits(model, out);
}

/* A head of an adapter's own is used whether the base's is tied, or a merge gave the base one, and whichever it was before. */
static void heads_across_untying(void **state) {
    (void)state;
    static const char spec[] = "lora:r=1,targets=q_proj,save=lm_head"; /* changes nothing but the head */
    static const char refusal[] = "adapters \"a\" and \"c\" cannot be active together";
    float base[TEST_VOCABULARY], of_a[TEST_VOCABULARY], of_b[TEST_VOCABULARY], of_c[TEST_VOCABULARY], now[TEST_VOCABULARY];
    espl_model *model = test_model("llama_tied_rope_scaling", NULL);
    espl_adapter *a, *b, *c, *other;
    test_logits(model, base);
    test_ok(espl_adapter_add(model, "a", spec, 1, &a));
    test_ok(espl_adapter_add(model, "b", spec, 1, &b));
    test_ok(espl_adapter_add(model, "other", "lora:r=1,targets=q_proj", 1, &other));
    set_head(a, 0.02f);
    set_head(b, 0.03f);
    active_logits(model, "a", of_a);
    active_logits(model, "b", of_b);
    assert_true(test_off(of_a, base) > 1e-3 && test_off(of_b, base) > 1e-3 && test_off(of_a, of_b) > 1e-3);

    test_ok(espl_adapter_merge(b));
    active_logits(model, "", now);
    assert_true(test_same(now, of_b));
    active_logits(model, "other", now);
    assert_true(test_same(now, of_b));
    active_logits(model, "a+other", now);
    assert_true(test_same(now, of_a));
    test_ok(espl_adapter_add(model, "c", spec, 1, &c)); /* starts with what b put into the base */
    active_logits(model, "c", now);
    assert_true(test_same(now, of_b));
    set_head(c, 0.04f);
    active_logits(model, "c", of_c);
    assert_true(test_off(of_c, of_b) > 1e-3);
    test_refused(espl_model_activate(model, "a+c"), ESPL_ARGUMENT, refusal);

    test_ok(espl_adapter_unmerge(b));
    active_logits(model, "c", now);
    assert_true(test_same(now, of_c));
    test_refused(espl_model_activate(model, "a+c"), ESPL_ARGUMENT, refusal);
    test_ok(espl_adapter_merge(c));
    active_logits(model, "", now);
    assert_true(test_same(now, of_c));
    test_ok(espl_adapter_unmerge(c));
    test_logits(model, now);
    assert_true(test_same(now, base));
    espl_model_destroy(&model);
}

/* What adapters of before an untying have for each matrix of the base, they have for the head that it brought. */
static void older_than_the_head(void **state) {
    (void)state;
    espl_model *model = test_model("llama_tied_rope_scaling", NULL);
    espl_adapter *diff, *b;
    espl_dataset *dataset = test_row();
    espl_trainer *trainer;
    espl_progress progress;
    espl_tensors *set;
    test_ok(espl_adapter_add(model, "diff", "diff_pruning:prune_at=1", 1, &diff));
    test_ok(espl_adapter_add(model, "b", "lora:r=1,targets=q_proj,save=lm_head", 1, &b));
    set_head(b, 0.03f);
    test_ok(espl_adapter_merge(b));
    char *folder = test_path("untied_head");
    test_ok(espl_model_save_head(model, folder, "h"));
    char path[512];
    snprintf(path, sizeof path, "%s/model_head.safetensors", folder);
    test_ok(espl_tensors_open(test_context(), path, &set));
    size_t count;
    double *written = test_values(set, "heads.h.0.weight", &count);
    for (size_t i = 0; i < count; i++) assert_true(written[i] == (double)(0.03f * (float)((i * 7919) % 101) - 1));
    free(written);
    espl_tensors_destroy(&set);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    test_ok(espl_adapter_unmerge(b));
    test_ok(espl_model_activate(model, "diff"));
    test_ok(espl_trainer_create(model, diff, dataset, &(espl_trainer_params){.steps = 1}, &trainer));
    test_ok(espl_trainer_step(trainer, &progress));
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&dataset);
    espl_model_destroy(&model);
}

/* Of the Adapters library's folder for an adapter with a head one without keeps no head: it is not its own. */
static void head_of_another(void **state) {
    (void)state;
    static const char *const files[] = {"head_config.json", "model_head.safetensors"};
    const espl_head_kind kinds[] = {ESPL_HEAD_DEFAULT, ESPL_HEAD_NONE};
    char *folder = test_path("head_of_another");
    for (size_t i = 0; i < ESPL_COUNT(kinds); i++) {
        espl_model *model = test_model("bert_classes_lora", &(espl_model_params){.head = {.kind = kinds[i]}});
        espl_adapter *adapter;
        test_ok(espl_adapter_add(model, "a", "pfeiffer:rf=8", 1, &adapter));
        test_ok(espl_adapter_save(adapter, folder));
        espl_model_destroy(&model);
        for (size_t j = 0; j < ESPL_COUNT(files); j++) {
            char path[512];
            snprintf(path, sizeof path, "%s/%s", folder, files[j]);
            assert_int_equal(espl_os_is_file(path), kinds[i] == ESPL_HEAD_DEFAULT);
        }
    }
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

static void swap_while_loaded(void **state) {
    (void)state;
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *a;
    espl_session *session;
    const float *logits;
    uint32_t count;
    float base[TEST_VOCABULARY], active[TEST_VOCABULARY], swapped[TEST_VOCABULARY];
    test_logits(model, base);
    test_ok(espl_adapter_add(model, "a", "lora:r=4,init=random", 3, &a));
    test_ok(espl_model_activate(model, "a"));
    test_logits(model, active);
    test_ok(espl_model_activate(model, ""));
    test_ok(espl_session_create(model, NULL, &session));
    for (int round = 0; round < 3; round++) {
        test_ok(espl_model_activate(model, round % 2 ? "a" : ""));
        test_ok(espl_session_refresh(session));
        test_ok(espl_session_append(session, test_ids, TEST_TOKENS));
        test_ok(espl_session_logits(session, &logits, &count));
        memcpy(swapped, logits, sizeof swapped);
        assert_true(test_same(swapped, round % 2 ? active : base));
    }
    espl_session_destroy(&session);
    espl_adapter_delete(&a);
    test_refused(espl_model_activate(model, "a"), ESPL_ARGUMENT, "there is no adapter \"a\"");
    espl_model_destroy(&model);
}

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

/* What one of two would hide of the other, silently; what they share in peace stays as it was. */
static void beside(void **state) {
    (void)state;
    static const struct {
        const char *model, *first, *second, *part; /* NULL: both are active */
    } cases[] = {
        {"llama_lora", "lora:r=2,save=lm_head", "lora:r=3,save=lm_head", "each has values of its own in place of lm_head.weight"},
        {"llama_tied_rope_scaling", "lora:r=2,save=lm_head", "lora:r=3,save=lm_head",
         "in place of the output projection, which is tied to model.embed_tokens.weight"},
        {"llama_lora", "ln", "ln", "in place of model.layers.0.input_layernorm.weight"},
        {"gpt2_lora", "bitfit", "bitfit", ".bias"},
        {"qwen2_bias_all", "lora:r=2,targets=k_proj,bias=lora_only", "lora:r=2,targets=k_proj,bias=lora_only",
         "in place of model.layers.0.self_attn.k_proj.bias"},
        {"qwen2_bias_all", "lora:r=2,targets=q_proj,bias=lora_only", "lora:r=2,targets=v_proj,bias=lora_only",
         "in place of the fused tensor that has model.layers.0.self_attn.v_proj.bias"},
        {"llama_lora", "flop:targets=q_proj", "flop:targets=q_proj", "in place of model.layers.0.self_attn.q_proj.weight"},
        {"llama_lora", "flop:targets=q_proj", "diff_pruning", "in place of model.layers.0.self_attn.q_proj.weight"},
        {"llama_lora", "ln", "diff_pruning", "in place of model.layers.0.input_layernorm.weight"},
        {"llama_lora", "lora:r=2|ln", "ln", "in place of model.layers.0.input_layernorm.weight"},
        {"bert_classes_lora", "lora:r=2", "ia3", "in place of classifier.weight"},
        {"llama_lora", "flop:targets=q_proj", "flop:targets=v_proj+down_proj", NULL},
        {"llama_lora", "lora:r=2,targets=all-linear", "lora:r=3,save=lm_head", NULL},
        {"llama_lora", "diff_pruning", "diff_pruning", NULL},
        {"llama_lora", "ln", "flop:targets=up_proj", NULL},
    };
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        float base[TEST_VOCABULARY], now[TEST_VOCABULARY];
        const bool compare = strstr(cases[i].model, "bert") == NULL;
        espl_model *model = test_model(cases[i].model, NULL);
        espl_adapter *a, *b;
        if (compare) test_logits(model, base);
        test_ok(espl_adapter_add(model, "one", cases[i].first, 1, &a));
        test_ok(espl_adapter_add(model, "two", cases[i].second, 2, &b));
        if (!cases[i].part) {
            test_ok(espl_model_activate(model, "one+two"));
        } else {
            test_refused(espl_model_activate(model, "one+two"), ESPL_ARGUMENT, "adapters \"one\" and \"two\" cannot be active together");
            test_refused(espl_model_activate(model, "two+one"), ESPL_ARGUMENT, "adapters \"two\" and \"one\"");
            test_refused(espl_model_activate(model, "one+two"), ESPL_ARGUMENT, cases[i].part);
            if (compare) test_logits(model, now);
            if (compare) assert_true(test_same(base, now)); /* neither is active */
            test_ok(espl_model_activate(model, "one"));
            test_ok(espl_model_activate(model, "two+two"));
        }
        espl_model_destroy(&model);
    }
}

/* A replaced product takes what others add to it, whichever was made first. */
static void replaced_and_changed(void **state) {
    (void)state;
    static const char *const specs[] = {"flop:targets=q_proj+down_proj", "lora:r=2,targets=q_proj+down_proj,init=random"};
    float alone[TEST_VOCABULARY], first[TEST_VOCABULARY], second[TEST_VOCABULARY];
    for (int i = 0; i < 2; i++) {
        espl_model *model = test_model("llama_lora", NULL);
        espl_adapter *a, *b;
        test_ok(espl_adapter_add(model, i ? "lora" : "flop", specs[i], 1, &a));
        test_ok(espl_adapter_add(model, i ? "flop" : "lora", specs[!i], 1, &b));
        test_ok(espl_model_activate(model, "flop"));
        test_logits(model, alone);
        test_ok(espl_model_activate(model, "flop+lora"));
        test_logits(model, i ? second : first);
        espl_model_destroy(&model);
    }
    assert_true(test_off(first, alone) > 1e-3);
    assert_true(test_same(first, second));
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(save_and_load), cmocka_unit_test(several),
                                       cmocka_unit_test(several_factors), cmocka_unit_test(other_names),
                                       cmocka_unit_test(fields), cmocka_unit_test(own_fields), cmocka_unit_test(merge_exactly),
                                       cmocka_unit_test(delete_merged),
                                       cmocka_unit_test(heads_across_untying), cmocka_unit_test(older_than_the_head),
                                       cmocka_unit_test(head_of_another),
                                       cmocka_unit_test(swap_while_loaded), cmocka_unit_test(refused),
                                       cmocka_unit_test(beside), cmocka_unit_test(replaced_and_changed), cmocka_unit_test(warned),
                                       cmocka_unit_test(decimal_comma)};
    return test_main("adapters", tests, ESPL_COUNT(tests));
}
