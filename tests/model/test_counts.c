/* Trained parameters of methods on models of published sizes, declared from config.json alone: no weights, no memory. The
 * numbers are those of the papers and of the libraries' documentation; where a head is trained it is taken off. */
#include "adapters/registry.h"
#include "host/base/os.h"
#include "tests/model/model_test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BERT(d, f, l, h)                                                                                                     \
    "{\"architectures\":[\"BertForSequenceClassification\"],\"model_type\":\"bert\",\"hidden_size\":" #d                      \
    ",\"num_hidden_layers\":" #l ",\"num_attention_heads\":" #h ",\"intermediate_size\":" #f                                  \
    ",\"vocab_size\":30522,\"max_position_embeddings\":512,\"type_vocab_size\":2}"
static const char base[] = BERT(768, 3072, 12, 12), large[] = BERT(1024, 4096, 24, 16);
static const char wide[] = BERT(4096, 16384, 2, 32); /* of PaLI-X's width */
#define GPT2(d, l, h)                                                                                                        \
    "{\"architectures\":[\"GPT2LMHeadModel\"],\"model_type\":\"gpt2\",\"n_embd\":" #d ",\"n_layer\":" #l ",\"n_head\":" #h             \
    ",\"vocab_size\":50257,\"n_positions\":1024}"
static const char gpt2[] = GPT2(768, 12, 12), gpt2_medium[] = GPT2(1024, 24, 16);
#define PASTA(p) "{\"peft_type\":\"PASTA\",\"special_token_ids\":[101,102],\"num_special\":" #p "}"

typedef struct counted {
    const char *model, *spec;
    uint64_t count, head; /* head: the classifier of two classes */
} counted;

static const counted rows[] = {
    {base, "pfeiffer", 894528, 2 * 768 + 2},
    {base, "houlsby", 1789056, 2 * 768 + 2},
    {base, "parallel", 7091712, 2 * 768 + 2},
    {base, "scaled_parallel", 7091712 + 12, 2 * 768 + 2},
    {base, "adapterplus", 12 * (2 * 768 * 8 + 8 + 768 + 768), 2 * 768 + 2},
    {base, "pfeiffer:inv=nice", 1190592, 2 * 768 + 2},
    {base, "invertible", 1190592 - 894528, 2 * 768 + 2},
    {base, "loreft", 36888, 2 * 768 + 2}, /* and as many of 768 x 768 that are not trained */
    {base, "direft:r=4,tied,layers=0+11", 2 * (2 * 4 * 768 + 4), 2 * 768 + 2},
    {base, "library_lora:gated", 294912 + 12 * 2 * 769, 2 * 768 + 2},
    {base, "mtl_lora:up=3", 24 * (8 * 768 + 3 * 768 * 8 + 8 + 3), 2 * 768 + 2},
    {base, "library_dora", 294912 + 24 * 768, 2 * 768 + 2},
    {base, "library_vera", 14157312, 2 * 768 + 2}, /* the library's vectors are whole matrices */
    {base, "library_dora:vera_d=0.1", 14157312 + 24 * 768, 2 * 768 + 2},
    {base, "library_prefix", 9872384, 2 * 768 + 2},
    {base, "library_prefix:flat", 552960, 2 * 768 + 2},
    {base, "library_prefix:flat,gated", 552960 + 12 * 769, 2 * 768 + 2},
    {base, "library_prefix:flat,gated,shared=false", 552960 + 12 * 2 * 769, 2 * 768 + 2},
    {base, "library_prefix:flat,gated,leave_out=0+5+11", (552960 + 12 * 769) / 12 * 9, 2 * 768 + 2},
    {base, "library_prompt", 7680, 2 * 768 + 2},
    {base, "mam", 22493984, 2 * 768 + 2},
    {base, "unipelt", 11083376, 2 * 768 + 2},
    {base, "pfeiffer:drop=3", 894528 / 12 * 9, 2 * 768 + 2},
    {base, "pfeiffer:leave_out=0+1+2", 894528 / 12 * 9, 2 * 768 + 2},
    {base, "compacter++", 28576, 2 * 768 + 2},
    {base, "compacter", 57088, 2 * 768 + 2},
    {base, "lora:r=8", 294912, 2 * 768 + 2},
    {base, "dora:r=8", 313344, 2 * 768 + 2},
    {base, "vera", 24576, 2 * 768 + 2}, /* 256 ranks; the pair that they share is not trained */
    {base, "prompt:tokens=10", 7680, 2 * 768 + 2},
    {base, "ptuning2:tokens=30", 552960, 2 * 768 + 2},
    {base, "ptuning:tokens=20,type=LSTM,encoder=128", 20 * 768 + 2 * (512 * 768 + 512 * 128 + 1024) + 2 * (512 * 256 + 512 * 128 + 1024) +
                                                   256 * 256 + 256 + 768 * 256 + 768, 2 * 768 + 2},
    {base, "ptuning:tokens=20,encoder=128", 20 * 768 + 768 * 128 + 128 + 128 * 128 + 128 + 128 * 768 + 768, 2 * 768 + 2},
    {base, "ia3", 64512, 2 * 768 + 2}, /* PEFT's targets: 7 d */
    {base, "ia3:targets=key+value+intermediate.dense", 55296, 2 * 768 + 2}, /* those of the Adapters library: 6 d */
    {base, "bitfit", 101376 + 768 + 768, 2 * 768 + 2}, /* layers, norm of the embeddings, pooler */
    {base, "ln", 38400, 2 * 768 + 2},
    {base, "tiny_attention", 36864, 2 * 768 + 2},
    {base, PASTA(2), 18432, 2 * 768 + 2},
    {base, PASTA(3), 27648, 2 * 768 + 2},
    {base, "{\"peft_type\":\"PASTA\",\"ablation\":\"classifier\",\"special_token_ids\":[101]}", 0, 2 * 768 + 2},
    {large, "bitfit", 272384, 2 * 1024 + 2},
    {large, PASTA(2), 49152, 2 * 1024 + 2},
    {large, PASTA(3), 73728, 2 * 1024 + 2},
    {large, PASTA(4), 98304, 2 * 1024 + 2},
    {large, "{\"peft_type\":\"PASTA\",\"special_token_ids\":[101,102],\"num_special\":3,\"ablation\":\"shared\"}", 24576,
     2 * 1024 + 2},
    {large, "adalink:r=4", 8192, 2 * 1024 + 2}, /* the width of T5-11B */
    {large, "adalink:r=256", 524288, 2 * 1024 + 2},
    {wide, "adalink:r=64,links=image+text", 1048576, 2 * 4096 + 2},
    {gpt2, "lora:r=8", 294912, 0},
    {gpt2_medium, "library_lora:r=4,attention=q+v", 393216, 0}, /* loralib's */
    {base, "vera:r=256", 24576, 2 * 768 + 2},
};

static espl_model *outline(const char *config, char **out_folder) {
    espl_model *model;
    char path[512];
    *out_folder = test_path("outline");
    test_ok(espl_os_make_folder(test_context(), *out_folder));
    snprintf(path, sizeof path, "%s/config.json", *out_folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(config, 1, strlen(config), file), strlen(config));
    assert_int_equal(fclose(file), 0);
    test_ok(espl_model_outline(test_context(), *out_folder, NULL, &model));
    return model;
}

static void finish(espl_model **model, char *folder) {
    espl_model_destroy(model);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

static void run(void **state) {
    const counted *row = *state;
    char *folder;
    espl_adapter *adapter;
    espl_model *model = outline(row->model, &folder);
    test_ok(espl_adapter_add(model, "a", row->spec, 0, &adapter));
    const espl_parameter_count count = espl_count_parameters(adapter);
    assert_int_equal(count.all, espl_adapter_parameters(adapter));
    if (count.all != row->count + row->head)
        fail_msg("%s: %llu parameters with the head, expected %llu", row->spec, (unsigned long long)count.all,
                 (unsigned long long)(row->count + row->head));
    finish(&model, folder);
}

/* Table 2: without biases it is what the formulas say, but for (IA)3, whose suffix in PEFT also hits the attention's output, d
 * more; and for prefixes, whose generator in PEFT is one for all blocks and has no square map. */
static void formulas(void **state) {
    enum { D = 768, M = 512, N = 30, L = 12 };
    static const struct {
        const char *code;
        int64_t more;
        uint64_t biases;
    } differ[] = {{"PT", 0, 0}, {"PF", (N * D + D * M) / L - N * D - D * D, (M + L * 2 * D) / L}, {"LoRA", 0, 0},
                  {"AD", 0, 2 * (48 + D)}, {"TA", 0, 0}, {"CO", 0, 2 * (24 + D)}, {"IA3", D, 0}};
    (void)state;
    char *folder;
    espl_model *model = outline(base, &folder);
    assert_int_equal(espl_technique_count, ESPL_COUNT(differ));
    for (size_t i = 0; i < espl_technique_count; i++) {
        const espl_technique *t = &espl_techniques[i];
        espl_adapter *adapter;
        uint64_t weights, biases;
        assert_string_equal(t->code, differ[i].code);
        test_ok(espl_adapter_add(model, "a", t->spec, 0, &adapter));
        espl_count_technique(t, adapter, &weights, &biases);
        const espl_technique_sizes sizes = {.hidden = D, .module = t->reduction ? D / t->reduction : t->rank, .prompt = t->prompt};
        if (weights != t->parameters(&sizes) + (uint64_t)differ[i].more || biases != differ[i].biases)
            fail_msg("%s: %llu weights and %llu biases, the formula %llu", t->code, (unsigned long long)weights,
                     (unsigned long long)biases, (unsigned long long)t->parameters(&sizes));
        espl_adapter_delete(&adapter);
    }
    finish(&model, folder);
}

/* The methods here say of themselves what PEFT-Ref says of its techniques. */
static void properties(void **state) {
    (void)state;
    for (size_t i = 0; i < espl_technique_count; i++) {
        const espl_technique *t = &espl_techniques[i];
        const espl_method *method = NULL;
        for (size_t j = 0; j < espl_method_count; j++) {
            if (strcmp(espl_methods[j]->name, t->method) == 0) method = espl_methods[j];
        }
        assert_int_equal(strlen(t->tags), ESPL_PROPERTY_COUNT);
        assert_non_null(method);
        for (uint32_t p = 0; p + 1 < ESPL_PROPERTY_COUNT; p++)
            assert_string_equal(espl_property_text(&method->properties, p), espl_property_text(&t->properties, p));
    }
}

int main(void) {
    struct CMUnitTest tests[ESPL_COUNT(rows) + 2];
    for (size_t i = 0; i < ESPL_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].spec, run, NULL, NULL, (void *)(uintptr_t)&rows[i]};
    tests[ESPL_COUNT(rows)] = (struct CMUnitTest)cmocka_unit_test(formulas);
    tests[ESPL_COUNT(rows) + 1] = (struct CMUnitTest)cmocka_unit_test(properties);
    return test_main("counts", tests, ESPL_COUNT(tests));
}
