/* Compositions: rows of one batch with different adapters have what each has with its own alone; blocks with one child are that child;
 * expressions that say nothing sensible are refused and change nothing. */
#include "host/model/composition.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 5, TOKENS = 9 };

static const int32_t lengths[ROWS] = {9, 4, 7, 9, 5};

/* What a pair of adapters does to rows in one batch and apart; names are a and b. */
typedef struct pair {
    const char *model, *a, *b;
    bool head; /* the model's head is of labels: adapters have heads of their own */
} pair;

static const pair pairs[] = {
    {"llama_lora", "lora:r=4", "lora:r=2,targets=q_proj+down_proj+gate_proj", false},
    {"llama_lora", "dora:r=3", "ia3", false},
    {"llama_lora", "pfeiffer:rf=4", "houlsby:rf=6,activation=tanh", false},
    {"llama_lora", "parallel:rf=4", "lora:r=2", false},
    {"llama_lora", "compacter:rf=4,phm_dim=2", "adapterplus:rf=6", false},
    {"llama_lora", "loreft:r=2", "pfeiffer:rf=4,leave_out=0", false},
    {"llama_lora", "adalink:r=3", "lora:r=2", false},
    {"llama_lora", "library_lora:r=4,init=bert", "ia3:targets=k_proj+down_proj,feedforward=down_proj", false},
    {"llama_lora", "vera:r=5", "dylora:r=4", false},
    {"llama_lora", "library_lora:r=4,gated,init=bert|pfeiffer:rf=4", "lora:r=2", false},
    {"gpt2_lora", "lora:r=4", "houlsby:rf=4", false},
    {"gpt2_lora", "ia3", "flop:k=8", false},
    {"bert_classes_lora", "houlsby:rf=4", "lora:r=3", true},
    {"bert_classes_lora", "pfeiffer:rf=5", "compacter:rf=3,phm_dim=3", true},
    {"bert_classes_lora", "loreft:r=2", "tiny_attention", true},
    {"deberta_classes_lora", "pfeiffer:rf=4", "houlsby:rf=6", true},
    {"albert_masked_full", "pfeiffer:rf=4", "lora:r=2", false},
};

static uint32_t vocabulary;

static void fill(espl_adapter *adapter, uint64_t seed) {
    espl_random random = {.seed = seed};
    espl_store *store = &adapter->store;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        const size_t count = (size_t)espl_entry_values(store, e);
        float *values = malloc(count * sizeof *values);
        test_ok(espl_store_read(store, e, values));
        for (size_t j = 0; j < count; j++) values[j] += 0.1f * (float)espl_random_normal(&random);
        if (!store->matrices[e->matrix].frozen) test_ok(espl_store_write(store, e, values, ESPL_DTYPE_F32));
        free(values);
    }
}

static espl_model *load(const pair *p) {
    espl_adapter *adapter;
    espl_model *model = test_model(p->model, NULL);
    vocabulary = espl_model_describe(model).vocabulary;
    test_ok(espl_adapter_add(model, "a", p->a, 1, &adapter));
    fill(adapter, 11);
    test_ok(espl_adapter_add(model, "b", p->b, 2, &adapter));
    fill(adapter, 12);
    return model;
}

static espl_dataset *rows_of(const int32_t *tasks) {
    int32_t ids[ROWS * TOKENS], labels[ROWS] = {0};
    espl_dataset *dataset;
    espl_random random = {.seed = 5};
    for (int i = 0; i < ROWS * TOKENS; i++) ids[i] = (int32_t)espl_random_below(&random, vocabulary);
    test_ok(espl_dataset_from_rows(test_context(), &(espl_rows){.rows = ROWS, .tokens = TOKENS, .ids = ids, .lengths = lengths,
                                                                .labels = labels, .row_labels = 0, .tasks = tasks}, 0, 0, &dataset));
    return dataset;
}

/* From malloc. */
static float *predict(espl_model *model, const char *expression, const int32_t *tasks, size_t *out_row) {
    const espl_model_info info = espl_model_describe(model);
    espl_dataset *dataset = rows_of(tasks);
    *out_row = (size_t)(info.per_token ? TOKENS : 1) * info.outputs;
    float *values = malloc(ROWS * *out_row * sizeof *values);
    test_ok(espl_model_activate(model, expression));
    test_ok(espl_predict(model, dataset, ROWS, 0, values));
    espl_dataset_destroy(&dataset);
    return values;
}

static double off(const float *a, const float *b, size_t count) {
    double above = 0, below = 0;
    for (size_t i = 0; i < count; i++) above += ((double)a[i] - b[i]) * ((double)a[i] - b[i]), below += (double)b[i] * b[i];
    return sqrt(above / (below > 0 ? below : 1));
}

/* f32 sums of the same numbers in another order, through a few blocks. */
static const double bound = 2e-5;

/* Padding is nobody's: behind a row's tokens nothing is compared. */
static size_t compared(const espl_model *model, size_t row, int r) {
    return espl_model_describe(model).per_token ? row / TOKENS * (size_t)lengths[r] : row;
}

static void rows_apart(const pair *p) {
    static const int32_t tasks[ROWS] = {1, 0, 2, 0, 1};
    static const char *const single[] = {"a", "b", ""};
    size_t row;
    espl_model *model = load(p);
    float *alone[3], *split = predict(model, "batchsplit(a:2,__base__:1,b:2)", NULL, &row);
    float *by_task = predict(model, "multitask(a,b,__base__)", tasks, &row);
    double worst = 0, least = 1e9;
    for (int i = 0; i < 3; i++) alone[i] = predict(model, single[i], NULL, &row);
    for (int r = 0; r < ROWS; r++) {
        const size_t count = compared(model, row, r), at = (size_t)r * row;
        const int of_split = r < 2 ? 0 : r < 3 ? 2 : 1;
        for (int i = 0; i < 3; i++) {
            const double in_split = off(split + at, alone[i] + at, count), in_tasks = off(by_task + at, alone[i] + at, count);
            if (i == of_split) worst = fmax(worst, in_split);
            else least = fmin(least, in_split);
            if (i == tasks[r]) worst = fmax(worst, in_tasks);
            else least = fmin(least, in_tasks);
        }
    }
    printf("  %s, %s beside %s: off by %.1e, from the others at least %.1e\n", p->model, p->a, p->b, worst, least);
    if (!(worst < bound) || !(least > 1e-3)) fail_msg("%s, %s beside %s: off by %.1e, from the others %.1e", p->model, p->a, p->b, worst, least);
    for (int i = 0; i < 3; i++) free(alone[i]);
    free(split), free(by_task);
    espl_model_destroy(&model);
}

static void rows_of_a_batch(void **state) {
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(pairs); i++) rows_apart(&pairs[i]);
}

/* Both expressions give the same. */
static void same(espl_model *model, const char *one, const char *other, bool equal) {
    size_t row;
    float *a = predict(model, one, NULL, &row), *b = predict(model, other, NULL, &row);
    for (int r = 0; r < ROWS; r++) {
        const double error = off(a + (size_t)r * row, b + (size_t)r * row, compared(model, row, r));
        if ((error < bound) != equal) fail_msg("%s and %s are off by %.1e in row %d", one, other, error, r);
    }
    free(a), free(b);
}

static void blocks_of_one(void **state) {
    (void)state;
    static const pair bottlenecks = {"llama_lora", "pfeiffer:rf=4", "houlsby:rf=6,activation=tanh", false};
    static const struct {
        const char *one, *other;
        bool equal;
    } cases[] = {
        {"stack(a,b)", "a+b", true},
        {"stack(b,a)", "b+a", true},
        {"a+b", "b+a", false},
        {"split(a:9,b:0)", "a", true},
        {"split(a:0,b)", "b", true},
        {"split(a:3,b)", "a", false},
        {"split(a:3,b)", "split(a:3,b:6)", true},
        {"average(a,a)", "a", true}, /* the Adapters library gives half of it */
        {"average(a:3,a:5)", "a", true},
        {"compat_average(a,a)", "a", false},
        {"average(a:1,b:0)", "a", true},
        {"average(a:1,b:1)", "average(b,a)", true},
        {"batchsplit(a:5,b:0)", "a", true},
        {"batchsplit(stack(a,b):5)", "a+b", true},
        {"batchsplit(average(a,b):5,__base__:0)", "average(a,b)", true},
        {"stack(batchsplit(a:2,__base__:3),batchsplit(__base__:2,b:3))", "batchsplit(a:2,b:3)", true},
        {"a+batchsplit(b:5)", "a+b", true},
    };
    espl_model *model = load(&bottlenecks);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) same(model, cases[i].one, cases[i].other, cases[i].equal);
    espl_model_destroy(&model);
}

static void refused(void **state) {
    (void)state;
    static const pair two = {"llama_lora", "pfeiffer:rf=4", "lora:r=2", false};
    static const struct {
        const char *expression;
        espl_status status;
        const char *part;
    } cases[] = {
        {"stack(a,stack(a,b))", ESPL_ARGUMENT, "stack takes no stack"},
        {"split(average(a,stack(a,b)):1,a)", ESPL_OK, ""},
        {"split(split(split(a:1,b):1,b):1,b)", ESPL_ARGUMENT, "is too deep: split is in 2 blocks"},
        {"average(multitask(a,b),a)", ESPL_ARGUMENT, "average takes no multitask"},
        {"average(a,__base__)", ESPL_ARGUMENT, "average takes no __base__"},
        {"__base__", ESPL_ARGUMENT, "the base stands in no block"},
        {"mix(a,b)", ESPL_ARGUMENT, "there is no block \"mix\", there are stack, fuse,"},
        {"fuse(a,b)", ESPL_ARGUMENT, "there is no fusion of just these adapters"},
        {"stack(a,", ESPL_ARGUMENT, "a name is missing at its character 9"},
        {"stack(a", ESPL_ARGUMENT, "\",\" or \")\" is missing at its character 8"},
        {"stack(a)b", ESPL_ARGUMENT, "\"+\" or the end is missing at its character 9"},
        {"stack(a,c)", ESPL_ARGUMENT, "there is no adapter \"c\""},
        {"batchsplit(a:x,b:1)", ESPL_ARGUMENT, "there is no number at its character 14"},
        {"batchsplit(a:1,b)", ESPL_ARGUMENT, "in batchsplit each part says how many"},
        {"split(a,b:1)", ESPL_ARGUMENT, "in split each part says how many, as in a:2; the last may take what is left"},
        {"batchsplit(a:1.5,b:1)", ESPL_ARGUMENT, "1.5 is not a number of sequences"},
        {"split(a:-1,b)", ESPL_ARGUMENT, "-1 is not a number of tokens"},
        {"average(a:1,b)", ESPL_ARGUMENT, "all adapters of an average have weights, or none"},
        {"average(a:1,b:-1)", ESPL_ARGUMENT, "weights whose sum is 0"},
        {"multitask(a,links)", ESPL_ARGUMENT, "multitask cannot be together with adapter \"links\""},
        {"batchsplit(a:1,biases:1)", ESPL_UNSUPPORTED, "adapter \"biases\" (ln) has its own in place of the base's model.layers.0."},
        {"batchsplit(a:1,prefix:1)", ESPL_UNSUPPORTED, "prefix is for all rows of a batch"},
        {"batchsplit(a:1,words:1)", ESPL_UNSUPPORTED, "adapter \"words\" has its own map into the vocabulary"},
        {"split(a:1,tiny)", ESPL_UNSUPPORTED, "tiny_attention depends on all tokens of a sequence, which split divides"},
    };
    static const char *const more[][2] = {{"links", "adalink:links=x+y"}, {"biases", "ln"}, {"prefix", "prefix:tokens=3"},
                                          {"words", "lora:r=2,save=lm_head"}, {"tiny", "tiny_attention"}};
    espl_adapter *adapter;
    espl_model *model = load(&two);
    for (size_t i = 0; i < ESPL_COUNT(more); i++) test_ok(espl_adapter_add(model, more[i][0], more[i][1], 1, &adapter));
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        test_ok(espl_model_activate(model, "b"));
        const espl_status status = espl_model_activate(model, cases[i].expression);
        if (cases[i].status == ESPL_OK) {
            test_ok(status);
            continue;
        }
        test_refused(status, cases[i].status, cases[i].part);
        assert_true(model->composition->count == 1 && strcmp(model->composition->children->adapter->name, "b") == 0);
    }
    espl_model_destroy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_of_a_batch), cmocka_unit_test(blocks_of_one), cmocka_unit_test(refused)};
    return test_main("composition", tests, ESPL_COUNT(tests));
}
