/* What adapters start from: distributions, the same numbers whatever a name is, and averages of the same. */
#include "host/model/adapter.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *values_of(espl_adapter *adapter, const espl_entry *entry, size_t *out_count) {
    *out_count = (size_t)espl_entry_values(&adapter->store, entry);
    float *values = malloc(*out_count * sizeof *values);
    assert_non_null(values);
    test_ok(espl_store_read(&adapter->store, entry, values));
    return values;
}

/* Of all values of tensors whose names have `part`. */
typedef struct moments {
    double mean, deviation, largest;
    size_t count;
} moments;

static moments moments_of(espl_adapter *adapter, const char *part) {
    moments m = {.mean = 0};
    double squares = 0;
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        const espl_entry *e = &adapter->store.entries[i];
        size_t count;
        if (!strstr(e->name, part)) continue;
        float *values = values_of(adapter, e, &count);
        for (size_t v = 0; v < count; v++) {
            m.mean += (double)values[v], squares += (double)values[v] * (double)values[v];
            m.largest = fmax(m.largest, fabs((double)values[v]));
        }
        m.count += count;
        free(values);
    }
    assert_true(m.count > 0);
    m.mean /= (double)m.count;
    m.deviation = sqrt(fmax(0, squares / (double)m.count - m.mean * m.mean));
    return m;
}

/* bound: of a uniform distribution; deviation: of a normal one; both: of a normal one that is cut there; both 0: zeros. */
typedef struct start {
    const char *model, *spec, *part;
    double bound, deviation, mean;
} start;

static const start starts[] = {
    {"llama_lora", "lora:r=16", "lora_A", 0.14433756729740643, 0, 0}, /* 1 / sqrt(48) */
    {"llama_lora", "lora:r=16", "lora_B", 0, 0, 0},
    {"llama_lora", "lora:r=16,init=gaussian", "lora_A", 0, 1.0 / 16, 0},
    {"llama_lora", "lora:r=16,init=gaussian", "lora_B", 0, 0, 0},
    {"llama_lora", "lora:r=16,init=random", "lora_B", 0.25, 0, 0}, /* 1 / sqrt(16) */
    {"llama_lora", "adalora:init_r=16,target_r=4", "lora_A", 0, 0.02, 0},
    {"llama_lora", "adalora:init_r=16,target_r=4", "lora_E", 0, 0, 0},
    {"llama_lora", "vera:r=16", "lambda_d", 0, 0, 0.1},
    {"llama_lora", "vera:r=16", "lambda_b", 0, 0, 0},
    {"llama_lora", "vera:r=16", "vera_A", 0.35355339059327373, 0, 0}, /* sqrt(6 / 48) */
    {"llama_lora", "vera:r=16", "vera_B", 0.6123724356957945, 0, 0},  /* sqrt(6 / 16) */
    {"llama_lora", "library_vera:r=16,attention=q", "shared_parameters.a.lora_A", 0.35355339059327373, 0, 0}, /* sqrt(6 / 48) */
    {"llama_lora", "library_vera:r=16,attention=q", "shared_parameters.a.lora_B", 0.6123724356957945, 0, 0},  /* sqrt(6 / 16) */
    {"llama_lora", "library_vera:r=16,attention=q", "vera_B", 0, 0, 0},
    {"llama_lora", "library_vera:r=1,attention=q", "vera_D", 0, 0, 0.1},
    {"llama_lora", "library_dora:r=16", "lora_B", 0, 0, 0},
    {"llama_lora", "mtl_lora:r=16,up=2", "lora_A", 0.14433756729740643, 0, 0},
    {"llama_lora", "mtl_lora:r=16,up=2", "lora_B", 0, 0, 0},
    {"llama_lora", "mtl_lora:r=16,up=2,init=bert", "lora_B", 0, 0.02, 0},
    {"llama_lora", "mtl_lora:r=16,up=2", "task_specific.values", 0, 0, 1},
    {"llama_lora", "mtl_lora:r=16,up=2", "weights", 0, 0, 1},
    {"llama_lora", "ia3", "ia3_l", 0, 0, 1},
    {"llama_lora", "houlsby:rf=2", "adapter_down.0.weight", 0, 0.02, 0},
    {"llama_lora", "houlsby:rf=2", "adapter_down.0.bias", 0, 0, 0},
    {"llama_lora", "houlsby:rf=2", "adapter_up.weight", 0, 0.02, 0},
    {"llama_lora", "houlsby:rf=2,init=houlsby", "adapter_down.0.weight", 0.02, 0.0087962566, 0}, /* 0.01, cut at two of it */
    {"llama_lora", "adapterplus:rf=2", "adapter_up.weight", 0.02, 0.0087962566, 0},
    {"llama_lora", "compacter:rf=3", ".phm_rule", 0, 1e-4, 0},
    {"llama_lora", "compacter:rf=3", "adapter_down.0.W_left", 0.960768922830523, 0, 0},  /* sqrt(2) sqrt(6 / (12 + 1)) */
    {"llama_lora", "compacter:rf=3", "adapter_up.W_right", 0.960768922830523, 0, 0},
    {"llama_lora", "compacter:rf=3", "adapter_down.0.W_right", 1.5491933384829668, 0, 0}, /* sqrt(2) sqrt(6 / (1 + 4)) */
    {"llama_lora", "compacter:rf=3", "adapter_down.0.b", 0, 0, 0},
    {"llama_lora", "{\"config\":{\"mh_adapter\":true,\"output_adapter\":true,\"reduction_factor\":3,\"phm_layer\":true,\"phm_dim\":4,"
                   "\"factorized_phm_W\":false,\"shared_phm_rule\":false,\"non_linearity\":\"gelu\"}}",
     "adapter_down.0.W", 0.8660254037844386, 0, 0}, /* sqrt(2) sqrt(6 / (12 + 4)) */
    {"llama_lora", "{\"config\":{\"mh_adapter\":true,\"output_adapter\":true,\"reduction_factor\":3,\"phm_layer\":true,\"phm_dim\":4,"
                   "\"factorized_phm_W\":false,\"shared_phm_rule\":false,\"non_linearity\":\"gelu\"}}",
     ".phm_rule", 0, 0.01, 0},
    {"llama_lora", "parallel", "adapter_up.weight", 0, 0, 0},
    {"llama_lora", "mam", "adapter_down.0.weight", 0.14433756729740643, 0, 0},
    {"llama_lora", "mam", "adapter_down.0.bias", 0, 0, 0},
    {"llama_lora", "mam", "adapter_up.weight", 0, 0, 0},
    {"llama_lora", "scaled_parallel", "scaling", 0, 0, 1},
    {"llama_lora", "prompt:tokens=20", "prompt_embeddings", 0, 1, 0},
    {"bert_masked_full", "library_prompt", "prompt_embedding", 0.5, 0, 0},
    {"llama_lora", "library_prefix:length=8,flat", "control_trans", 0, 1, 0},
    {"llama_lora", "{\"peft_type\":\"PASTA\",\"special_token_ids\":[1,2],\"num_special\":16}", "special_token_embedding", 0, 0, 0},
    {"llama_lora", "{\"peft_type\":\"PASTA\",\"special_token_ids\":[1,2],\"num_special\":16,\"init\":\"normal\"}",
     "special_token_embedding", 0, 0.02, 0},
    {"llama_lora", "adalink:r=16", "up.weight", 0, 0, 0},
    {"llama_lora", "loreft:r=3", "learned_source.weight", 0.14433756729740643, 0, 0},
    {"llama_lora", "noreft:r=3", "projection.weight", 0.14433756729740643, 0, 0},
    {"llama_lora", "flop:k=5", "q_proj.P", 0.33646329245832, 0, 0}, /* sqrt(6 / (48 + 5)) */
    {"llama_lora", "flop:k=5", "k_proj.Q", 0.5345224838248488, 0, 0}, /* sqrt(6 / (5 + 16)) */
    {"llama_lora", "flop:k=5", "q_proj.bias", 0.14433756729740643, 0, 0},
    {"llama_lora", "flop:k=5,p0=0.3", "log_alpha", 0, 0.01, 0.8472978603872034}, /* log(0.7 / 0.3) */
    {"llama_lora", "diff_pruning:structured", ".delta", 0, 0, 0},
    {"llama_lora", "diff_pruning:structured", "log_alpha", 0, 0, 5},
};

/* Means within four standard errors, deviations within a tenth; of a uniform distribution the bound is nearly reached. */
static void distribution(void **state) {
    const start *s = *state;
    espl_model *model = test_model(s->model, NULL);
    espl_adapter *adapter;
    test_ok(espl_adapter_add(model, "a", s->spec, 5, &adapter));
    const moments m = moments_of(adapter, s->part);
    const double deviation = s->deviation > 0 ? s->deviation : s->bound / sqrt(3);
    const double slack = 4 * deviation / sqrt((double)m.count) + 1e-7;
    if (!(fabs(m.mean - s->mean) <= slack) || !(fabs(m.deviation - deviation) <= 0.1 * deviation + 1e-6))
        fail_msg("%s of %s: %zu values with mean %g and deviation %g, expected %g and %g", s->part, s->spec, m.count, m.mean,
                 m.deviation, s->mean, deviation);
    if (s->bound > 0) assert_true(m.largest <= s->bound * (1 + 1e-6) && m.largest > 0.95 * s->bound);
    espl_model_destroy(&model);
}

static double column_product(const float *matrix, size_t n, size_t one, size_t other) {
    double sum = 0;
    for (size_t r = 0; r < n; r++) sum += (double)matrix[r * n + one] * matrix[r * n + other];
    return sum;
}

static double largest_of_column(const float *matrix, size_t n, size_t column) {
    double largest = 0;
    for (size_t r = 0; r < n; r++) {
        const double value = fabs((double)matrix[r * n + column]);
        if (value > largest) largest = value;
    }
    return largest;
}

/* ReFT's R starts as the first columns of an orthogonal matrix, each a direction by chance. */
static void orthonormal(void **state) {
    (void)state;
    enum { RANK = 3, N = 48 };
    espl_model *model = test_model("llama_lora", NULL);
    espl_adapter *adapter;
    size_t found = 0, count;
    test_ok(espl_adapter_add(model, "a", "loreft:r=3", 5, &adapter));
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        if (!strstr(adapter->store.entries[i].name, ".base")) continue;
        float *base = values_of(adapter, &adapter->store.entries[i], &count);
        assert_int_equal(count, N * N);
        for (size_t one = 0; one < N; one++) {
            for (size_t other = 0; other <= one; other++) {
                const double product = column_product(base, N, one, other);
                if (!(fabs(product - (one == other)) < 1e-6))
                    fail_msg("columns %zu and %zu have a product of %g", one, other, product);
            }
            const double largest = largest_of_column(base, N, one);
            if (one < RANK && !(largest < 0.7)) fail_msg("column %zu has a value of %g", one, largest);
        }
        found++;
        free(base);
    }
    assert_int_equal(found, 4);
    espl_model_destroy(&model);
}

static const char *const same_specs[] = {"lora:r=3", "dora:r=2", "vera:r=4", "ia3:ones=false", "houlsby:rf=4", "compacter:rf=3",
                                         "prefix:tokens=2", "library_prefix:length=2,gated", "library_dora:r=2", "library_vera:r=2,attention=q",
                                         "loreft:r=2", "adalink:r=2",
                                         "tiny_attention", "flop:k=4", "mam"};

/* Two of the same seed are the same to the bit under any name, alone and in their mean, and give the same logits. */
static void same(void **state) {
    (void)state;
    const char *const names[] = {"a", "another"};
    for (size_t i = 0; i < ESPL_COUNT(same_specs); i++) {
        espl_model *model = test_model("llama_lora", NULL);
        espl_adapter *all[3];
        float logits[3][TEST_VOCABULARY];
        for (int k = 0; k < 2; k++) test_ok(espl_adapter_add(model, names[k], same_specs[i], 42, &all[k]));
        test_ok(espl_adapter_average(model, "mean", names, (const double[]){0.5, 0.5}, 2, NULL, &all[2]));
        for (int k = 0; k < 3; k++) {
            assert_int_equal(all[k]->store.entry_count, all[0]->store.entry_count);
            for (size_t e = 0; e < all[0]->store.entry_count; e++) {
                size_t count, expected;
                float *values = values_of(all[k], &all[k]->store.entries[e], &count);
                float *first = values_of(all[0], &all[0]->store.entries[e], &expected);
                assert_int_equal(count, expected);
                if (memcmp(values, first, count * sizeof *first) != 0)
                    fail_msg("%s: %s differs from %s", same_specs[i], all[k]->store.entries[e].name, all[0]->store.entries[e].name);
                free(values), free(first);
            }
            test_ok(espl_model_activate(model, all[k]->name));
            test_logits(model, logits[k]);
            assert_true(test_same(logits[k], logits[0]));
        }
        espl_model_destroy(&model);
    }
}

/* Rows of the token embedding: those of a text with its special tokens, from the beginning again; those that seed chooses. */
static void prompts(void **state) {
    (void)state;
    static const struct {
        const char *model, *spec, *text;
    } cases[] = {{ESPL_TOOLS "/base", "prompt:tokens=7,init=TEXT,text=Once upon a time", "Once upon a time"},
                 {ESPL_TOOLS "/base", "prompt:tokens=2,init=TEXT,text=Once upon a time,residual=5", "Once upon a time"},
                 {ESPL_TOOLS "/base", "prompt:tokens=9,init=SAMPLE_VOCAB", NULL}};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_model *model;
        espl_adapter *adapter;
        const uint32_t *ids = NULL;
        size_t id_count = 0, count;
        test_ok(espl_model_load(test_device(), cases[i].model, NULL, &model));
        test_ok(espl_adapter_add(model, "a", cases[i].spec, 3, &adapter));
        const size_t cols = model->config.hidden, vocabulary = model->config.vocabulary;
        float *table = malloc(vocabulary * cols * sizeof *table);
        assert_non_null(table);
        test_ok(espl_store_read(&model->store, &(espl_entry){.matrix = model->embed, .count = model->config.vocabulary}, table));
        float *rows = values_of(adapter, &adapter->store.entries[0], &count);
        assert_int_equal(count, adapter->before * cols);
        if (cases[i].text) test_ok(espl_tokenizer_encode(model->tokenizer, cases[i].text, strlen(cases[i].text), true, &ids, &id_count));
        for (size_t r = 0; r < adapter->before; r++) {
            size_t id = ids ? ids[r % id_count] : 0;
            while (!ids && id < vocabulary && memcmp(rows + r * cols, table + id * cols, cols * sizeof *rows) != 0) id++;
            assert_true(id < vocabulary);
            assert_memory_equal(rows + r * cols, table + id * cols, cols * sizeof *rows);
        }
        if (!ids) assert_memory_not_equal(rows, rows + cols, cols * sizeof *rows);
        free(table), free(rows);
        espl_model_destroy(&model);
    }
}

int main(void) {
    struct CMUnitTest tests[ESPL_COUNT(starts) + 3] = {cmocka_unit_test(same), cmocka_unit_test(prompts), cmocka_unit_test(orthonormal)};
    for (size_t i = 0; i < ESPL_COUNT(starts); i++)
        tests[i + 3] = (struct CMUnitTest){starts[i].spec, distribution, NULL, NULL, (void *)(uintptr_t)&starts[i]};
    return test_main("initial values", tests, ESPL_COUNT(tests));
}
