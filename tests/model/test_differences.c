/* Gradients of whole methods against central differences of the loss: what no library's reference is needed for. Tensors of one
 * kind, in all blocks, are moved along their gradient together. */
#include "host/base/os.h"
#include "host/model/adapter.h"
#include "tests/model/model_test.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Without penalties, which are added to gradients and are in no loss, and without ReLU, whose kinks a difference crosses. */
static const struct {
    const char *model, *spec;
} rows[] = {
    {"llama_full", "full"},
    {"llama_lora", "head"},
    {"qwen2_bias_all", "bitfit"},
    {"gpt2_lora", "ln"},
    {"llama_lora", "lora:r=3,targets=all-linear"},
    {"gpt2_lora", "lora:r=2,targets=c_attn+c_fc,rslora"},
    {"llama_lora", "dylora:r=3"},
    {"llama_lora", "vera:r=5"},
    {"gpt2_lora", "adalora:targets=c_attn+c_fc,init_r=4,target_r=3,orth=0"},
    {"llama_lora", "ia3"},
    {"gpt2_lora", "ia3"},
    {"llama_lora", "{\"peft_type\":\"PASTA\",\"special_token_ids\":[1,2],\"num_special\":2}"},
    {"llama_lora", "adalink:r=3"},
    {"llama_lora", "houlsby:rf=4"},
    {"gpt2_lora", "pfeiffer:rf=4,inv=nice,activation=gelu"},
    {"bert_masked_full", "pfeiffer:rf=4,activation=gelu"},
    {"llama_lora", "parallel:activation=gelu"},
    {"gpt2_lora", "scaled_parallel:rf=4,activation=swish"},
    {"bert_masked_full", "adapterplus:rf=4"},
    {"llama_lora", "compacter:rf=3"},
    {"gpt2_lora", "compacter++:rf=5"},
    {"llama_lora", "tiny_attention:heads=2,dim=4,bias,norm"},
    {"llama_lora", "loreft:r=3"},
    {"gpt2_lora", "noreft:r=2,prefix=2,suffix=1,activation=tanh"},
    {"llama_lora", "direft:r=2"},
    {"llama_lora", "prompt:tokens=3,residual=5"},
    {"gpt2_lora", "ptuning:tokens=2"},
    {"gpt2_lora", "ptuning:tokens=4,type=LSTM,encoder=12,layers=1"},
    {"llama_lora", "prompt:tokens=3,init=SAMPLE_VOCAB,residual=5"},
    {"llama_lora", "prefix:tokens=3,projection,encoder=7"},
    {"gpt2_lora", "ptuning2:tokens=2"},
    {"bert_masked_full", "library_prompt:length=2,combine=prefix_after_bos"},
    {"electra_masked_full", "library_prompt:length=2"},
    {"deberta_masked_full", "library_prompt:length=2"},
    {"albert_masked_full", "prefix:tokens=2,projection,encoder=5"},
    {"deberta_masked_full", "ptuning2:tokens=2"},
    {"llama_lora", "library_prefix:length=2,flat,gated,shared=false"},
    {"gpt2_lora", "library_lora:attention=q+v,gated"},
    {"llama_lora", "library_dora:r=3,alpha=5,output"},
    {"llama_lora", "library_dora:r=2,vera_d=0.3,attention=k"},
    {"bert_masked_full", "library_vera:r=3,gated"},
    {"bert_masked_full", "mtl_lora:r=3,up=3,sharpness=0.7,init=bert"},
    {"llama_lora", "library_prefix:length=2,gated|pfeiffer:rf=4,gated,activation=gelu|library_lora:gated"},
    {"bert_masked_full", "diff_pruning:penalty=0,structured,alpha=0.5"},
};

/* FLOP's log_alpha and lambda have a penalty that is always there; DoRA's norms count as constants in its gradients. */
static const struct {
    const char *model, *spec, *part;
} parts[] = {{"llama_lora", "flop:k=5", ".weight"}, {"gpt2_lora", "flop:k=5", ".bias"}, {"llama_lora", "dora:r=3", "magnitude"}};

/* Adapter a of this kind in a composition with b, of another. */
static const struct {
    const char *model, *spec, *expression;
} blocks[] = {
    {"llama_lora", "houlsby:rf=4", "stack(a,b)"},
    {"llama_lora", "library_lora:r=3,init=bert,attention=q", "stack(a,lora)"},
    {"llama_lora", "pfeiffer:rf=4,activation=gelu", "split(a:4,b)"},
    {"gpt2_lora", "lora:r=3", "split(a:4,b)"},
    {"bert_masked_full", "lora:r=3,targets=query+dense", "multitask(a,b)"},
    {"llama_lora", "ia3", "batchsplit(a:1,b:0)"},
    {"llama_lora", "adapterplus:rf=4", "average(a:1,b:3)"},
    {"bert_masked_full", "vera:r=4", "average(a:3,b:1)"},
    {"gpt2_lora", "houlsby:rf=4", "compat_average(a,b)"},
    {"llama_lora", "dora:r=3", "parallel(a,b)"},
    {"gpt2_lora", "houlsby:rf=4,activation=gelu,leave_out=0", "parallel(stack(a,b),b)"},
    {"llama_lora", "houlsby:rf=4,activation=gelu", "fuse(stack(a,c),c)"},
    {"llama_lora", "houlsby:rf=4,activation=gelu", "fuse(stack(c,a),c)"},
};

/* Names without layers' numbers. */
static void kind_of(const char *name, char out_kind[256]) {
    size_t at = 0;
    for (; *name && at < 255; name++) {
        if (!isdigit((unsigned char)*name)) out_kind[at++] = *name;
    }
    out_kind[at] = 0;
}

static double probe(espl_model *model, espl_adapter *adapter, const char *path, espl_tensors **out_set) {
    static const int32_t successors[TEST_TOKENS] = {80, 14, 33, 7, 16, 2, 55, 41, -100};
    static const int32_t ids[TEST_TOKENS] = {1, 80, 14, 33, 7, 16, 2, 55, 41};
    const bool masked = model->task.kind == ESPL_HEAD_MASKED;
    espl_tensors *set;
    test_ok(espl_probe(model, adapter, &(espl_probe_params){.ids = ids, .labels = masked ? successors : NULL, .rows = 1,
                                                            .tokens = TEST_TOKENS}, path));
    test_ok(espl_tensors_open(test_context(), path, &set));
    double *loss = test_values(set, "loss", NULL);
    const double value = *loss;
    free(loss);
    if (out_set) *out_set = set;
    else espl_tensors_destroy(&set);
    return value;
}

/* entries[i] = start + step * gradient, of this kind. */
static void move(espl_store *store, espl_tensors *set, const char *kind, double step) {
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        char own[256], name[512];
        size_t count;
        kind_of(e->name, own);
        snprintf(name, sizeof name, "grad.%s", e->name);
        if (strcmp(own, kind) != 0 || !espl_tensors_has(set, name)) continue;
        double *gradient = test_values(set, name, &count);
        float *values = malloc(count * sizeof *values);
        assert_non_null(values);
        test_ok(espl_store_read(store, e, values));
        for (size_t v = 0; v < count; v++) values[v] += (float)(step * gradient[v]);
        test_ok(espl_store_write(store, e, values, ESPL_DTYPE_F32));
        free(gradient), free(values);
    }
}

static double square_of(espl_store *store, espl_tensors *set, const char *kind) {
    double sum = 0;
    for (size_t i = 0; i < store->entry_count; i++) {
        char own[256], name[512];
        size_t count;
        kind_of(store->entries[i].name, own);
        snprintf(name, sizeof name, "grad.%s", store->entries[i].name);
        if (strcmp(own, kind) != 0 || !espl_tensors_has(set, name)) continue;
        double *gradient = test_values(set, name, &count);
        for (size_t v = 0; v < count; v++) sum += gradient[v] * gradient[v];
        free(gradient);
    }
    return sum;
}

/* What changes no probability: a bias of keys adds one number to all scores of a query. */
static bool is_nothing(const char *kind) {
    static const char *const biases[] = {"tiny_attn.k.bias", "attention.self.key.bias."};
    for (size_t i = 0; i < ESPL_COUNT(biases); i++) {
        if (strstr(kind, biases[i])) return true;
    }
    return false;
}

/* Values that training might have made: what starts as 0 has gradients then, and what hangs on it. kind NULL: of all tensors. */
static void shake(espl_store *store, const char *kind) {
    espl_random random = {.seed = 11};
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        const size_t count = (size_t)espl_entry_values(store, e);
        char own[256];
        kind_of(e->name, own);
        if (store->matrices[e->matrix].frozen || (kind && strcmp(own, kind) != 0)) continue;
        float *values = malloc(count * sizeof *values);
        assert_non_null(values);
        test_ok(espl_store_read(store, e, values));
        for (size_t v = 0; v < count; v++) values[v] += 0.05f * espl_random_normal(&random);
        test_ok(espl_store_write(store, e, values, ESPL_DTYPE_F32));
        free(values);
    }
}

/* The slope along the gradient is its norm; a loss is off by some units in the last place of about 8. */
static void check_kind(espl_model *model, espl_adapter *adapter, const char *spec, espl_tensors *set, const char *kind,
                       const char *path, double *in_out_worst) {
    espl_store *store = adapter ? &adapter->store : &model->store;
    const double norm = sqrt(square_of(store, set, kind)), noise = 2e-6;
    if (is_nothing(kind)) {
        const double start = probe(model, adapter, path, NULL);
        shake(store, kind);
        const double moved = probe(model, adapter, path, NULL);
        if (!(norm < 1e-7 && fabs(moved - start) < 4 * noise))
            fail_msg("%s: %s should change nothing; its gradient is %.6g, moved it changes the loss by %.6g", spec, kind, norm,
                     moved - start);
        return;
    }
    if (!(norm > 1e-5)) fail_msg("%s: %s has a gradient of %.6g, too little to compare", spec, kind, norm);
    const double h = fmin(5e-3 / norm, 0.02);
    move(store, set, kind, h / norm);
    const double above = probe(model, adapter, path, NULL);
    move(store, set, kind, -2 * h / norm);
    const double below = probe(model, adapter, path, NULL);
    move(store, set, kind, h / norm);
    const double slope = (above - below) / (2 * h), off = fabs(slope - norm);
    if (off > 0.01 * norm + noise / h) fail_msg("%s: %s has a gradient of %.6g, differences give %.6g", spec, kind, norm, slope);
    *in_out_worst = fmax(*in_out_worst, off / (norm + noise / h));
}

static void activate(espl_model *model, const char *expression) {
    espl_adapter *other;
    test_ok(espl_adapter_add(model, "b", "scaled_parallel:rf=4,activation=swish", 5, &other));
    shake(&other->store, NULL);
    test_ok(espl_adapter_add(model, "lora", "library_lora:r=3,init=bert,attention=q", 5, &other));
    shake(&other->store, NULL);
    for (int n = 0; n < 3 && strstr(expression, "fuse"); n++) {
        static const char *const fused[][2] = {{"c", "houlsby:rf=3"}, {"f", "fusion:of=c+c"}, {"g", "fusion:of=a+c"}};
        test_ok(espl_adapter_add(model, fused[n][0], fused[n][1], 5, &other));
        shake(&other->store, NULL);
    }
    test_ok(espl_model_activate(model, expression));
}

/* expression NULL: the adapter alone. */
static void check(const char *name, const char *spec, const char *part, const char *expression) {
    const bool full = strcmp(spec, "full") == 0;
    espl_model *model = test_model(name, &(espl_model_params){.trainable = full});
    espl_adapter *adapter = NULL;
    espl_tensors *set;
    char *path = test_path("differences.safetensors"), *step_path = test_path("step.safetensors");
    double worst = 0;
    if (!full) {
        test_ok(espl_adapter_add(model, "a", spec, 7, &adapter));
        if (expression) activate(model, expression);
        else test_ok(espl_model_activate(model, "a"));
    }
    espl_store *store = full ? &model->store : &adapter->store;
    if (!full) shake(store, NULL);
    probe(model, adapter, path, &set);
    size_t kinds = 0;
    for (size_t i = 0; i < store->entry_count; i++) {
        char kind[256], earlier[256];
        bool first = true;
        kind_of(store->entries[i].name, kind);
        for (size_t j = 0; j < i && first; j++) kind_of(store->entries[j].name, earlier), first = strcmp(kind, earlier) != 0;
        if (!first || store->matrices[store->entries[i].matrix].frozen || (part && !strstr(kind, part))) continue;
        check_kind(model, adapter, spec, set, kind, step_path, &worst);
        kinds++;
    }
    assert_true(kinds > 0);
    printf("  %-60.60s %s %zu kinds, off by %.1e\n", spec, expression ? expression : "", kinds, worst);
    espl_tensors_destroy(&set);
    espl_os_remove_file(path), espl_os_remove_file(step_path);
    free(path), free(step_path);
    espl_model_destroy(&model);
}

static void run(void **state) {
    const size_t i = *(const size_t *)*state;
    check(rows[i].model, rows[i].spec, NULL, NULL);
}

static void run_part(void **state) {
    const size_t i = *(const size_t *)*state;
    check(parts[i].model, parts[i].spec, parts[i].part, NULL);
}

static void run_block(void **state) {
    const size_t i = *(const size_t *)*state;
    /* DoRA's norms count as constants in its gradients. */
    const char *part = strncmp(blocks[i].spec, "dora", 4) == 0 ? "magnitude" : NULL;
    check(blocks[i].model, blocks[i].spec, part, blocks[i].expression);
}

int main(void) {
    static size_t numbers[ESPL_COUNT(rows)];
    enum { BLOCKS_FROM = ESPL_COUNT(rows) + ESPL_COUNT(parts) };
    struct CMUnitTest tests[BLOCKS_FROM + ESPL_COUNT(blocks)];
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) numbers[i] = i;
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) tests[i] = (struct CMUnitTest){rows[i].spec, run, NULL, NULL, &numbers[i]};
    for (size_t i = 0; i < ESPL_COUNT(parts); i++)
        tests[ESPL_COUNT(rows) + i] = (struct CMUnitTest){parts[i].spec, run_part, NULL, NULL, &numbers[i]};
    for (size_t i = 0; i < ESPL_COUNT(blocks); i++)
        tests[BLOCKS_FROM + i] = (struct CMUnitTest){blocks[i].expression, run_block, NULL, NULL, &numbers[i]};
    return test_main("differences", tests, ESPL_COUNT(tests));
}
