/* Every method's life on a decoder: added it changes nothing where it starts as a no-op, training changes its tensors and
 * nothing else, a saved folder gives the same bits, merging where it is offered, deleting. */
#include "host/base/os.h"
#include "host/model/adapter.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Half a unit in the last place of the values a model makes; 0: of f32, whose bounds are written out. In 16 bits a joined
 * adapter stands between operators that were one, so values are rounded that were not: some thirty roundings, which add up
 * to a few of them (as in test_fast.c). */
typedef struct precision {
    const char *dtype; /* NULL: exact mode */
    double rounding;
} precision;
static const precision precisions[] = {{NULL, 0}, {"f16", 0x1p-11}, {"bf16", 0x1p-8}};

static double bound(const precision *p, double exact) {
    return p->dtype ? 4 * p->rounding : exact;
}

/* Merged weights are rounded, too, about as often again as values are; of independent roundings the squares add up. (IA)3 on
 * Qwen2 with the kernels of GPUs comes to 4.7 half units. */
static double bound_merged(const precision *p) {
    return p->dtype ? sqrt(2) * bound(p, 0) : 1e-5;
}

typedef struct life {
    const char *model, *spec;
    bool changes_at_once; /* it does not start as a no-op */
    bool merges;
} life;

/* A norm before, a norm after, and a gate: what folders of the Adapters library may ask for. */
#define GATED                                                                                                                \
    "{\"config\":{\"mh_adapter\":true,\"output_adapter\":true,\"use_gating\":true,\"ln_before\":true,\"ln_after\":true,"         \
    "\"reduction_factor\":4}}"

/* The Adapters library's places: what comes out of k, v and the first map of an MLP. */
#define IA3_OUTPUTS                                                                                                          \
    "{\"peft_type\":\"IA3\",\"target_modules\":[\"c_attn\",\"c_fc\"],\"feedforward_modules\":[],\"init_ia3_weights\":false}"

static const life lives[] = {
    {"llama_lora", "head", false, true},
    {"gpt2_full", "bitfit", false, true},
    {"llama_lora", "bitfit", false, false},
    {"qwen2_bias_all", "bitfit:types=q_proj", false, true},
    {"llama_lora", "ln", false, true},
    {"gpt2_lora", "ln:targets=ln_2", false, true},
    {"llama_lora", "lora:r=3", false, true},
    {"llama_lora", "lora:r=1,targets=all-linear,rslora,dropout=0.1", false, true},
    {"llama_lora", "dora:r=3", false, true},
    {"gpt2_lora", "dora:r=2,targets=c_attn+c_proj,dropout=0.2", false, true},
    {"qwen2_bias_all", "dora:targets=all-linear,rslora,init=random", true, true},
    {"llama_lora", "dylora:r=5", false, true},
    {"gpt2_lora", "dylora:r=6,r_min=2,targets=c_attn,pb=geometric,loss=nested_sum", false, true},
    {"llama_lora", "dylora:r=3,targets=all-linear,pb=list,p=1+0+3", false, true},
    {"llama_lora", "dylora:r=3,targets=all-linear,update=frozen,dropout=0.1,pb=fixed,p=2", false, true},
    {"llama_lora", "dylora:r=1,update=frozen,frozen_decay,init=random", true, true},
    {"llama_lora", "vera:r=5", false, true},
    {"gpt2_lora", "vera:r=8,targets=c_attn+c_fc+c_proj,dropout=0.1,key=3", false, true},
    {"llama_lora", "adalora:init_r=5,target_r=2", false, true},
    {"gpt2_lora", "adalora:targets=c_attn+c_fc,init_r=4,target_r=3,dropout=0.1,tfinal=1,init=random,orth=0", true, true},
    {"llama_lora", "ia3", false, true},
    {"qwen2_bias_all", "ia3", false, true},
    {"gpt2_lora", "ia3", false, true},
    {"llama_lora", "ia3:targets=k_proj+up_proj+down_proj,ones=false", true, true},
    {"gpt2_lora", IA3_OUTPUTS, true, true}, /* biases of what is scaled are scaled, too */
    {"llama_lora", "{\"peft_type\":\"PASTA\",\"special_token_ids\":[1,2],\"num_special\":2}", false, false},
    {"gpt2_lora", "{\"peft_type\":\"PASTA\",\"special_token_ids\":[1,2],\"init\":\"normal\"}", true, false},
    {"llama_lora", "adalink:r=3", false, true},
    {"llama_tied_rope_scaling", "adalink:r=3,dropout=0", false, true}, /* the head keeps the old table */
    {"gpt2_lora", "adalink:r=2", false, true},
    {"qwen3_patterns", "head", false, true},
    {"llama_lora", "houlsby:rf=4", true, false},
    {"llama_lora", "invertible", true, false},
    {"gpt2_lora", "houlsby:rf=4,inv=nice,inv_rf=3,activation=gelu", true, false},
    {"llama_lora", "loreft:r=3,dropout=0", true, false},
    {"gpt2_lora", "noreft:prefix=9,layers=1,activation=tanh,dropout=0", true, false},
    {"llama_lora", "direft:r=2,tied", true, false},
    {"llama_lora", "lora:r=3|pfeiffer:rf=4", true, false},
    {"gpt2_lora", "ia3|lora:r=2,targets=c_fc,dropout=0.1|loreft:dropout=0", true, false},
    {"llama_lora", "bitfit|lora:r=2", false, false},
    {"gpt2_lora", "prompt:tokens=3|lora:r=2", true, false},
    {"gpt2_lora", "bitfit|lora:r=2,targets=c_attn+c_fc|ia3", false, true},
    {"gpt2_lora", "ia3|lora:r=2,targets=c_attn", false, false}, /* merged, the factors would not come before the sum */
    {"llama_lora", "library_lora:r=2,attention=q+v|vera:targets=down_proj", false, true},
    {"llama_lora", "adalink:r=3,dropout=0|lora:r=2", false, true},
    {"gpt2_lora", "library_lora:attention=k,output,gated", false, false},
    {"gpt2_lora", "library_lora:attention=q+v,intermediate,alpha=3", false, true},
    {"llama_lora", "library_dora:r=3,alpha=5,output,intermediate", false, true},
    {"qwen2_bias_all", "library_dora:init=bert,alpha=20,gated", true, false},
    {"qwen2_bias_all", "library_dora:r=2,attention=q+k+v,init=bert,alpha=20", true, true},
    {"qwen2_bias_all", "library_dora:r=3,vera_b=0.5,attention=k+v", true, true},
    {"llama_lora", "library_vera:r=3,attention=q,dropout=0.1", false, true},
    {"llama_lora", "mtl_lora:r=3,up=3,alpha=5,output,dropout=0.1", false, true},
    {"qwen2_bias_all", "mtl_lora:r=2,init=bert,gated", true, false},
    {"llama_lora", "houlsby:rf=4,robust=2,drop=1", true, false},
    {"gpt2_lora", "pfeiffer:rf=3,leave_out=0,init=houlsby", true, false},
    {"llama_lora", "parallel", false, false},
    {"gpt2_lora", "scaled_parallel:rf=7,activation=gelu", false, false},
    {"llama_lora", "adapterplus:rf=5", true, false},
    {"llama_lora", "compacter:rf=3", false, false}, /* its maps start at 1e-4 and below */
    {"gpt2_lora", "compacter++:rf=5", false, false},
    {"llama_lora", "compacter:rf=4,phm_dim=3,phm_rank=2,shared=false", true, false}, /* rules of their own start larger */
    {"llama_lora", "compacter++:rf=4,factored=false,learn=false", false, false},
    {"gpt2_lora", "adalink:r=4,links=a+b,dropout=0", false, false},
    {"llama_lora", GATED, true, false},
    {"llama_lora", "tiny_attention", false, false},
    {"llama_lora", "flop", true, false},
    {"llama_lora", "diff_pruning:share=0.1,penalty=0.001,alpha_rate=10", false, true},
    {"gpt2_full", "diff_pruning:prune_at=1,alpha=0.5,alpha_rate=2", false, true},
    {"llama_lora", "diff_pruning:structured,share=0.1,penalty=0.001,alpha_rate=10", false, true},
    {"gpt2_full", "diff_pruning:structured,prune_at=1,alpha=0.5,alpha_rate=2", false, true},
    {"gpt2_lora", "flop:targets=c_attn+c_fc,k=5,sparsity=0.3,lambda_rate=1", true, true},
    {"gpt2_lora", "tiny_attention:heads=3,dim=5,bias,norm", false, false},
};

/* rounding: what of a fall of the loss the dtype of values may hide. */
static void train_by(espl_model *model, espl_adapter *adapter, double rounding, uint64_t seed) {
    espl_dataset *dataset = test_row();
    espl_trainer *trainer;
    espl_progress progress;
    test_ok(espl_trainer_create(model, adapter, dataset,
                                &(espl_trainer_params){.steps = 3, .learning_rate = 1e-2, .seed = seed,
                                                       .schedule = ESPL_SCHEDULE_CONSTANT}, &trainer));
    double first = 0;
    while (!espl_trainer_is_done(trainer)) {
        test_ok(espl_trainer_step(trainer, &progress));
        if (progress.step == 1) first = progress.loss;
    }
    if (!(progress.loss < first * (1 + rounding))) fail_msg("the loss went from %g to %g", first, progress.loss);
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&dataset);
}

static void train(espl_model *model, espl_adapter *adapter, double rounding) {
    train_by(model, adapter, rounding, 0);
}

static void check_merge(espl_model *model, espl_adapter *adapter, const life *l, const precision *p, const float *base,
                        const float *trained) {
    float now[TEST_VOCABULARY];
    if (!l->merges) {
        espl_status status = espl_adapter_merge(adapter);
        if (status != ESPL_UNSUPPORTED) fail_msg("%s: merging gives %s", l->spec, espl_status_name(status));
        return;
    }
    test_ok(espl_adapter_merge(adapter));
    test_logits(model, now);
    if (!(test_off(now, trained) < bound_merged(p))) fail_msg("%s: merged is off by %g", l->spec, test_off(now, trained));
    test_ok(espl_adapter_unmerge(adapter));
    test_logits(model, now);
    if (!test_same(now, base)) fail_msg("%s: taken out, the base is off by %g", l->spec, test_off(now, base));
}

typedef struct test_case {
    const life *life;
    const precision *precision;
    char name[160];
} test_case;

static void run(void **state) {
    const test_case *c = *state;
    const life *l = c->life;
    const precision *p = c->precision;
    const espl_model_params params = {.mode = p->dtype ? ESPL_MODE_FAST : ESPL_MODE_EXACT, .dtype = p->dtype};
    float base[TEST_VOCABULARY], begin[TEST_VOCABULARY], trained[TEST_VOCABULARY], now[TEST_VOCABULARY];
    espl_model *model = test_model(l->model, &params);
    espl_adapter *adapter, *loaded;
    test_logits(model, base);
    test_ok(espl_adapter_add(model, "a", l->spec, 7, &adapter));
    assert_true(espl_adapter_parameters(adapter) > 0);
    test_ok(espl_model_activate(model, "a"));
    test_logits(model, begin);
    if (l->changes_at_once ? test_off(begin, base) < 1e-4 : test_off(begin, base) > bound(p, 1e-6))
        fail_msg("%s: untrained it changes logits by %g", l->spec, test_off(begin, base));
    train(model, adapter, p->rounding);
    test_logits(model, trained);
    if (!(test_off(trained, begin) > 1e-4)) fail_msg("%s: training changes logits by %g", l->spec, test_off(trained, begin));
    test_ok(espl_model_activate(model, ""));
    test_logits(model, now);
    assert_true(test_same(now, base));
    char *folder = test_path("adapter");
    test_ok(espl_adapter_save(adapter, folder));
    test_ok(espl_adapter_load(model, "b", folder, &loaded));
    const bool shrinks = adapter->method->save; /* what it dropped is not in the folder, so sums have another order */
    if (!shrinks) assert_int_equal(espl_adapter_parameters(adapter), espl_adapter_parameters(loaded));
    test_ok(espl_model_activate(model, "b"));
    test_logits(model, now);
    if (shrinks ? !(test_off(now, trained) < bound(p, 1e-6)) : !test_same(now, trained))
        fail_msg("%s: loaded again it is off by %g", l->spec, test_off(now, trained));
    espl_adapter_delete(&adapter);
    check_merge(model, loaded, l, p, base, trained);
    espl_adapter_delete(&loaded);
    test_logits(model, now);
    assert_true(test_same(now, base));
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    espl_model_destroy(&model);
}

/* A LoRA whose B is 0 makes DoRA take the way of those that are not alone: the same result. */
static void dora_beside_another(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"qwen2_bias_all", "dora_qwen2"}, {"llama_lora", "library_dora_llama"}};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        float alone[TEST_VOCABULARY], beside[TEST_VOCABULARY];
        char folder[512];
        espl_model *model = test_model(cases[i][0], NULL);
        espl_adapter *adapter;
        snprintf(folder, sizeof folder, "%s/%s/adapter", ESPL_GOLDEN, cases[i][1]);
        test_ok(espl_adapter_add(model, "l", "lora:r=2", 1, &adapter));
        test_ok(espl_adapter_load(model, "d", folder, &adapter));
        test_ok(espl_model_activate(model, "d"));
        test_logits(model, alone);
        test_ok(espl_model_activate(model, "l+d"));
        test_logits(model, beside);
        if (!(test_off(beside, alone) < 1e-6)) fail_msg("%s beside another is off by %g", cases[i][1], test_off(beside, alone));
        espl_model_destroy(&model);
    }
}

/* Rows before the text: held by the goldens where they train and by test_session.c where they generate; what they cannot do
 * is said. */
static void rows_before(void **state) {
    static const char *const specs[] = {"prompt:tokens=4", "ptuning:tokens=1", "prefix:tokens=3", "ptuning2:tokens=5", "mam",
                                        "prefix:tokens=2,projection,encoder=5", "library_prefix:length=2,gated,dropout=0.1",
                                        "library_prefix:length=2,gated,shared=false", "unipelt"};
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(specs); i++) {
        espl_model *model = test_model("llama_lora", NULL);
        espl_adapter *adapter;
        test_ok(espl_adapter_add(model, "a", specs[i], 7, &adapter));
        test_ok(espl_model_activate(model, "a"));
        train(model, adapter, 0);
        test_refused(espl_adapter_merge(adapter), ESPL_UNSUPPORTED, "cannot be merged");
        test_refused(espl_adapter_add(model, "b", "prompt:tokens=64", 7, &adapter), ESPL_ARGUMENT, "below the context of 64");
        espl_model_destroy(&model);
    }
}

/* Two diff-pruned ones added: what either changes is changed, as much as their weights say. */
static void diff_averaged(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b"};
    static const double weights[] = {0.5, -2};
    float base[TEST_VOCABULARY], now[TEST_VOCABULARY], mean[TEST_VOCABULARY];
    espl_model *model = test_model("llama_full", NULL);
    espl_adapter *all[3];
    size_t kept[3] = {0}, wrong = 0;
    for (uint32_t i = 0; i < 2; i++) {
        test_ok(espl_adapter_add(model, names[i], "diff_pruning:share=0.03,alpha_rate=1", 7 + i, &all[i]));
        if (i == 1)
            test_refused(espl_adapter_average(model, "m", names, weights, 2, NULL, &all[2]), ESPL_ARGUMENT,
                         "\"b\" is not pruned yet");
        test_ok(espl_model_activate(model, names[i]));
        train_by(model, all[i], 0, i);
    }
    test_ok(espl_adapter_average(model, "m", names, weights, 2, NULL, &all[2]));
    for (size_t e = 0; e + 1 < all[2]->store.entry_count; e += 2) {
        const espl_entry *entry = &all[2]->store.entries[e];
        const size_t count = (size_t)espl_entry_values(&all[2]->store, entry);
        float *change[3], *alpha = malloc(count * sizeof *alpha);
        for (int a = 0; a < 3; a++) {
            change[a] = malloc(count * sizeof *change[a]);
            assert_true(alpha && change[a]);
            test_ok(espl_store_read(&all[a]->store, &all[a]->store.entries[e], change[a]));
            test_ok(espl_store_read(&all[a]->store, &all[a]->store.entries[e + 1], alpha));
            for (size_t i = 0; i < count; i++) kept[a] += (change[a][i] = alpha[i] > 0 ? change[a][i] : 0) != 0;
        }
        for (size_t i = 0; i < count; i++)
            wrong += !(fabs(change[2][i] - (weights[0] * change[0][i] + weights[1] * change[1][i])) <= 1e-6 * fabs(change[2][i]));
        for (int a = 0; a < 3; a++) free(change[a]);
        free(alpha);
    }
    printf("  %zu and %zu changes, %zu in both\n", kept[0], kept[1], kept[2]);
    assert_int_equal(wrong, 0);
    assert_true(kept[2] > kept[0] && kept[2] > kept[1]);
    /* In its folder it is as sparse. */
    char *folder = test_path("averaged");
    test_ok(espl_adapter_save(all[2], folder));
    test_ok(espl_model_activate(model, "m"));
    test_logits(model, mean);
    test_ok(espl_adapter_load(model, "again", folder, &all[0]));
    test_ok(espl_model_activate(model, "again"));
    test_logits(model, now);
    assert_true(test_same(now, mean));
    test_ok(espl_model_activate(model, ""));
    test_logits(model, base);
    assert_true(test_off(mean, base) > 1e-4);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    espl_model_destroy(&model);
}

/* Half of the steps behind, so many changes stay, and the folder has these alone; one with a number beyond its tensor is refused. */
static void diff_pruned(void **state) {
    (void)state;
    espl_model *model = test_model("llama_full", NULL);
    espl_adapter *adapter, *loaded;
    espl_tensors *set;
    char *folder = test_path("diff"), path[512];
    size_t kept = 0, total = 0;
    test_ok(espl_adapter_add(model, "a", "diff_pruning:share=0.03,alpha_rate=1", 7, &adapter));
    test_ok(espl_model_activate(model, "a"));
    train(model, adapter, 0);
    test_ok(espl_adapter_save(adapter, folder));
    snprintf(path, sizeof path, "%s/adapter_model", folder);
    test_ok(espl_tensors_open(test_context(), path, &set));
    for (size_t i = 0; i < espl_tensors_count(set); i++) {
        espl_tensor_view view;
        test_ok(espl_tensors_at(set, i, &view));
        if (view.dtype == ESPL_DTYPE_I32) kept += view.shape[0];
    }
    espl_tensors_destroy(&set);
    total = (size_t)espl_adapter_parameters(adapter) / 2;
    assert_int_equal(kept, (size_t)ceil(0.03 * (double)total));
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    const int32_t number = 1 << 30;
    const float value = 1;
    const espl_tensor_entry wrong[] = {
        {.name = "base_model.model.model.embed_tokens.weight.idx", .dtype = ESPL_DTYPE_I32, .rank = 1, .shape = {1}, .data = &number},
        {.name = "base_model.model.model.embed_tokens.weight.val", .dtype = ESPL_DTYPE_F32, .rank = 1, .shape = {1}, .data = &value}};
    test_ok(espl_tensors_write(test_context(), path, wrong, 2, NULL, 0));
    test_refused(espl_adapter_load(model, "b", folder, &loaded), ESPL_FORMAT, "has number 1073741824 of a tensor with");
    espl_model_destroy(&model);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

int main(void) {
    enum { OTHERS = 4, COUNT = ESPL_COUNT(lives) * ESPL_COUNT(precisions) };
    static test_case cases[COUNT];
    struct CMUnitTest tests[OTHERS + COUNT] = {{"dora beside another", dora_beside_another, NULL, NULL, NULL},
                                               {"rows before the text", rows_before, NULL, NULL, NULL},
                                               {"diff pruned", diff_pruned, NULL, NULL, NULL},
                                               {"diff averaged", diff_averaged, NULL, NULL, NULL}};
    for (size_t i = 0; i < COUNT; i++) {
        const life *l = &lives[i / ESPL_COUNT(precisions)];
        const precision *p = &precisions[i % ESPL_COUNT(precisions)];
        cases[i] = (test_case){.life = l, .precision = p};
        snprintf(cases[i].name, sizeof cases[i].name, "%s, %s, %s", l->model, l->spec, p->dtype ? p->dtype : "exact");
        tests[OTHERS + i] = (struct CMUnitTest){cases[i].name, run, NULL, NULL, &cases[i]};
    }
    return test_main("methods", tests, ESPL_COUNT(tests));
}
