/* The life of adapters: add, save, load, activate, several at once, merge and take out; heads across all that. */
#include "host/model/adapter.h"
#include "host/base/os.h"
#include "tests/model/model_test.h"
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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(save_and_load), cmocka_unit_test(several), cmocka_unit_test(several_factors),
                                       cmocka_unit_test(other_names), cmocka_unit_test(merge_exactly), cmocka_unit_test(delete_merged),
                                       cmocka_unit_test(heads_across_untying), cmocka_unit_test(older_than_the_head),
                                       cmocka_unit_test(head_of_another), cmocka_unit_test(swap_while_loaded), cmocka_unit_test(beside),
                                       cmocka_unit_test(replaced_and_changed)};
    return test_main("adapters", tests, ESPL_COUNT(tests));
}
