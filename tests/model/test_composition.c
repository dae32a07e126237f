/* Compositions: rows of one batch with different adapters have what each has with its own alone; blocks with one child are that child;
 * expressions that say nothing sensible are refused and change nothing. */
#include "tests/model/pair_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is done to rows in one batch and apart. */
static const test_pair pairs[] = {
    {"llama_lora", "lora:r=4", "lora:r=2,targets=q_proj+down_proj+gate_proj"},
    {"llama_lora", "dora:r=3", "ia3"},
    {"llama_lora", "pfeiffer:rf=4", "houlsby:rf=6,activation=tanh"},
    {"llama_lora", "parallel:rf=4", "lora:r=2"},
    {"llama_lora", "compacter:rf=4,phm_dim=2", "adapterplus:rf=6"},
    {"llama_lora", "loreft:r=2", "pfeiffer:rf=4,leave_out=0"},
    {"llama_lora", "adalink:r=3", "lora:r=2"},
    {"llama_lora", "library_lora:r=4,init=bert", "ia3:targets=k_proj+down_proj,feedforward=down_proj"},
    {"llama_lora", "vera:r=5", "dylora:r=4"},
    {"llama_lora", "mtl_lora:r=3,up=3,intermediate", "mtl_lora:r=2,up=2,gated"},
    {"llama_lora", "library_lora:r=4,gated,init=bert|pfeiffer:rf=4", "lora:r=2"},
    {"gpt2_lora", "lora:r=4", "houlsby:rf=4"},
    {"gpt2_lora", "ia3", "flop:k=8"},
    {"bert_classes_lora", "houlsby:rf=4", "lora:r=3"},
    {"bert_classes_lora", "pfeiffer:rf=5", "compacter:rf=3,phm_dim=3"},
    {"bert_classes_lora", "loreft:r=2", "tiny_attention"},
    {"deberta_classes_lora", "pfeiffer:rf=4", "houlsby:rf=6"},
    {"albert_masked_full", "pfeiffer:rf=4", "lora:r=2"},
};

/* All have as many rows before the text, so there is no other beside them. */
static const test_pair prefixes[] = {
    {"llama_lora", "prefix:tokens=3", "prefix:tokens=3,projection,encoder=7"},
    {"gpt2_lora", "ptuning2:tokens=2", "prefix:tokens=2"},
    {"llama_lora", "library_prefix:length=3,flat", "library_prefix:length=3,gated"},
    {"bert_value_full", "prefix:tokens=3", "prefix:tokens=3"},
    {"llama_lora", "library_prefix:length=2,flat|pfeiffer:rf=4", "library_prefix:length=2,flat"},
};

static void rows_with_prefixes(void **state) {
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(prefixes); i++) {
        static const int32_t tasks[PAIR_ROWS] = {1, 0, 1, 0, 0};
        size_t row;
        espl_session *session;
        espl_model *model = test_pair_load(&prefixes[i]);
        float *alone[] = {test_pair_predict(model, "a", NULL, &row), test_pair_predict(model, "b", NULL, &row)};
        float *split = test_pair_predict(model, "batchsplit(a:2,b:3)", NULL, &row), *by_task = test_pair_predict(model, "multitask(a,b)", tasks, &row);
        double worst = 0, least = 1e9;
        for (int r = 0; r < PAIR_ROWS; r++) {
            const size_t count = test_pair_compared(model, row, r), at = (size_t)r * row;
            worst = fmax(worst, test_pair_off(split + at, alone[r >= 2] + at, count));
            worst = fmax(worst, test_pair_off(by_task + at, alone[tasks[r]] + at, count));
            least = fmin(least, test_pair_off(split + at, alone[r < 2] + at, count));
        }
        printf("  %s, %s beside %s: off by %.1e, from the other at least %.1e\n", prefixes[i].model, prefixes[i].a, prefixes[i].b, worst, least);
        if (!(worst < test_pair_bound) || !(least > 1e-3))
            fail_msg("%s, %s beside %s: off by %.1e, from the other %.1e", prefixes[i].model, prefixes[i].a, prefixes[i].b, worst, least);
        if (model->task.kind == ESPL_HEAD_LANGUAGE)
            test_refused(espl_session_create(model, NULL, &session), ESPL_UNSUPPORTED, "a session has the same");
        for (int n = 0; n < 2; n++) free(alone[n]);
        free(split), free(by_task);
        espl_model_destroy(&model);
    }
}

static void rows_apart(const test_pair *p) {
    static const int32_t tasks[PAIR_ROWS] = {1, 0, 2, 0, 1};
    static const char *const single[] = {"a", "b", ""};
    size_t row;
    espl_model *model = test_pair_load(p);
    float *alone[3], *split = test_pair_predict(model, "batchsplit(a:2,__base__:1,b:2)", NULL, &row);
    float *by_task = test_pair_predict(model, "multitask(a,b,__base__)", tasks, &row);
    double worst = 0, least = 1e9;
    for (int i = 0; i < 3; i++) alone[i] = test_pair_predict(model, single[i], NULL, &row);
    for (int r = 0; r < PAIR_ROWS; r++) {
        const size_t count = test_pair_compared(model, row, r), at = (size_t)r * row;
        const int of_split = r < 2 ? 0 : r < 3 ? 2 : 1;
        for (int i = 0; i < 3; i++) {
            const double in_split = test_pair_off(split + at, alone[i] + at, count);
            const double in_tasks = test_pair_off(by_task + at, alone[i] + at, count);
            if (i == of_split) worst = fmax(worst, in_split);
            else least = fmin(least, in_split);
            if (i == tasks[r]) worst = fmax(worst, in_tasks);
            else least = fmin(least, in_tasks);
        }
    }
    printf("  %s, %s beside %s: off by %.1e, from the others at least %.1e\n", p->model, p->a, p->b, worst, least);
    if (!(worst < test_pair_bound) || !(least > 1e-3))
        fail_msg("%s, %s beside %s: off by %.1e, from the others %.1e", p->model, p->a, p->b, worst, least);
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
    float *a = test_pair_predict(model, one, NULL, &row), *b = test_pair_predict(model, other, NULL, &row);
    for (int r = 0; r < PAIR_ROWS; r++) {
        const double error = test_pair_off(a + (size_t)r * row, b + (size_t)r * row, test_pair_compared(model, row, r));
        if ((error < test_pair_bound) != equal) fail_msg("%s and %s are off by %.1e in row %d", one, other, error, r);
    }
    free(a), free(b);
}

static void blocks_of_one(void **state) {
    (void)state;
    static const test_pair bottlenecks = {"llama_lora", "pfeiffer:rf=4", "houlsby:rf=6,activation=tanh"};
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
    espl_model *model = test_pair_load(&bottlenecks);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) same(model, cases[i].one, cases[i].other, cases[i].equal);
    espl_model_destroy(&model);
}
/* An adapter that is deleted or merged is in no composition any more. */
static void goes(void **state) {
    (void)state;
    static const test_pair two = {"llama_lora", "lora:r=2", "houlsby:rf=6"};
    espl_model *model = test_pair_load(&two);
    espl_adapter *a = model->adapters, *b = a->next;
    size_t row;
    float *with_b = test_pair_predict(model, "b", NULL, &row), *got = malloc(PAIR_ROWS * row * sizeof *got);
    espl_dataset *dataset = test_pair_rows(NULL);
    test_ok(espl_model_activate(model, "average(a,b)+b"));
    test_ok(espl_adapter_merge(a));
    assert_true(!a->active && b->active);
    test_ok(espl_adapter_unmerge(a));
    test_ok(espl_predict(model, dataset, PAIR_ROWS, 0, got));
    for (int r = 0; r < PAIR_ROWS; r++) {
        const size_t at = (size_t)r * row, count = test_pair_compared(model, row, r);
        assert_true(test_pair_off(got + at, with_b + at, count) < test_pair_bound);
    }
    test_ok(espl_model_activate(model, "batchsplit(a:2,b:3)"));
    espl_adapter_delete(&b);
    assert_true(!a->active);
    free(with_b), free(got);
    espl_dataset_destroy(&dataset);
    espl_model_destroy(&model);
}

/* Of stacked adapters with heads the last one's is taken, as in the Adapters library; added ones cannot have two. */
static void last_head(void **state) {
    (void)state;
    static const test_pair two = {"bert_classes_lora", "houlsby:rf=5", "pfeiffer:rf=4"};
    espl_model *model = test_pair_load(&two);
    size_t row;
    float *start = test_pair_predict(model, "stack(a,b)", NULL, &row);
    for (espl_adapter *adapter = model->adapters; adapter; adapter = adapter->next) {
        espl_store *store = &adapter->store;
        for (size_t i = 0; i < store->entry_count; i++) {
            float values[45 * 45];
            if (!store->entries[i].apart) continue;
            test_ok(espl_store_read(store, &store->entries[i], values));
            values[0] += 1;
            test_ok(espl_store_write(store, &store->entries[i], values, ESPL_DTYPE_F32));
        }
        float *now = test_pair_predict(model, "stack(a,b)", NULL, &row);
        const double moved = test_pair_off(now, start, PAIR_ROWS * row);
        if ((moved > 1e-3) != (adapter->next == NULL)) fail_msg("with another head of \"%s\" outputs moved by %.1e", adapter->name, moved);
        free(now);
    }
    free(start);
    test_refused(espl_model_activate(model, "a+b"), ESPL_ARGUMENT, "cannot be active together");
    espl_model_destroy(&model);
}

static void refused(void **state) {
    (void)state;
    static const test_pair two = {"llama_lora", "pfeiffer:rf=4", "lora:r=2"};
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
        {"batchsplit(a:1,prefix:1)", ESPL_UNSUPPORTED, "adapter \"prefix\" puts 3 rows before the text and what is beside it in its block 0"},
        {"batchsplit(longer:1,prefix:1)", ESPL_UNSUPPORTED, "adapter \"prefix\" puts 3 rows before the text and what is beside it in its block 4"},
        {"average(prefix,prefix)", ESPL_UNSUPPORTED, "the 3 rows that prefix puts before the text can be in batchsplit and multitask"},
        {"prefix+multitask(prefix,prefix)", ESPL_UNSUPPORTED, "\"prefix\" is a second adapter with rows before the text"},
        {"multitask(prompt,prompt)", ESPL_UNSUPPORTED, "prompt is for all rows of a batch"},
        {"batchsplit(a:1,words:1)", ESPL_UNSUPPORTED, "adapter \"words\" has its own map into the vocabulary"},
        {"stack(parallel(a,b),parallel(a,b))", ESPL_ARGUMENT, "a batch is copied once, and it has 2 blocks parallel"},
        {"parallel(multitask(a,b),a)", ESPL_ARGUMENT, "parallel takes no multitask"},
        {"split(a:1,tiny)", ESPL_UNSUPPORTED, "tiny_attention depends on all tokens of a sequence, which split divides"},
    };
    static const char *const more[][2] = {{"links", "adalink:links=x+y"}, {"biases", "ln"}, {"prefix", "prefix:tokens=3"}, {"longer", "prefix:tokens=4"}, {"prompt", "prompt:tokens=3"},
                                          {"words", "lora:r=2,save=lm_head"}, {"tiny", "tiny_attention"}};
    espl_adapter *adapter;
    espl_model *model = test_pair_load(&two);
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

/* What only the graph or the batch shows. */
static void refused_later(void **state) {
    (void)state;
    static const struct {
        test_pair of;
        const char *expression;
        espl_status status;
        const char *part;
    } cases[] = {
        {{"llama_lora", "lora:r=2", "lora:r=2"}, "batchsplit(a:2,b:2)", ESPL_ARGUMENT, "batchsplit: the parts are 4 sequences of a batch, "
                                                                                             "there are 5"},
        {{"llama_lora", "lora:r=2", "lora:r=2"}, "split(a:2,b:2)", ESPL_ARGUMENT, "split: the parts are 4 tokens of each sequence, there are 9"},
        {{"llama_lora", "lora:r=2", "lora:r=2"}, "split(a:12,b)", ESPL_ARGUMENT, "split: the parts are 12 tokens of each sequence, there are 9"},
        {{"deberta_classes_lora", "lora:r=2", "lora:r=3"}, "batchsplit(a:2,b:3)", ESPL_UNSUPPORTED, "relative attention's distances"},
        {{"llama_lora", "invertible:inv_rf=2", "lora:r=2"}, "parallel(a,b)", ESPL_UNSUPPORTED, "parallel begins in the blocks"},
        {{"llama_lora", "prefix:tokens=3", "lora:r=2"}, "a+parallel(b,__base__)", ESPL_UNSUPPORTED, "rows of another adapter before the text"},
        {{"llama_lora", "prompt:tokens=3", "lora:r=2"}, "a+split(b:4,__base__)", ESPL_UNSUPPORTED, "tokens behind a prompt"},
        {{"llama_lora", "prefix:tokens=3", "library_prefix:length=3"}, "multitask(a,b)", ESPL_UNSUPPORTED, "the text's positions begin at 0, those"},
        {{"llama_lora", "library_prefix:length=2,leave_out=0", "library_prefix:length=2"}, "multitask(a,b)", ESPL_UNSUPPORTED,
         "\"b\" has 2 rows before the text in block 0, other sequences of the batch have 0"},
        {{"gpt2_lora", "library_lora:r=2", "library_lora:r=2"}, "stack(a,b)", ESPL_UNSUPPORTED, "queries, keys and values are one map"},
    };
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_model *model = test_pair_load(&cases[i].of);
        espl_dataset *dataset = test_pair_rows(NULL);
        float *values = malloc(2 * PAIR_ROWS * PAIR_TOKENS * (size_t)espl_model_describe(model).outputs * sizeof *values);
        test_ok(espl_model_activate(model, cases[i].expression));
        test_refused(espl_predict(model, dataset, PAIR_ROWS, 0, values), cases[i].status, cases[i].part);
        free(values);
        espl_dataset_destroy(&dataset);
        espl_model_destroy(&model);
    }
}

static void refused_tasks(void **state) {
    (void)state;
    static const test_pair two = {"llama_lora", "lora:r=2", "lora:r=2"};
    static const int32_t tasks[PAIR_ROWS] = {0, 1, 2, 0, 0};
    uint32_t task;
    espl_adapter *adapter;
    espl_progress progress;
    espl_trainer *trainer;
    espl_model *model = test_pair_load(&two);
    espl_dataset *dataset = test_pair_rows(tasks), *row = test_row();
    float *values = malloc(PAIR_ROWS * PAIR_TOKENS * (size_t)espl_model_describe(model).outputs * sizeof *values);
    test_ok(espl_model_activate(model, "multitask(a,stack(a,b))"));
    test_refused(espl_predict(model, dataset, PAIR_ROWS, 0, values), ESPL_ARGUMENT, "is of task 2, the composition has 2");
    test_ok(espl_model_task(model, "b", &task));
    assert_int_equal(task, 1);
    test_refused(espl_model_task(model, "c", &task), ESPL_ARGUMENT, "task \"c\" is none of the adapter's: \"a\", \"b\"");
    test_ok(espl_model_activate(model, "batchsplit(a:1,b:0)"));
    const espl_trainer_params shuffled = {.steps = 1}, grouped = {.steps = 1, .no_shuffle = true, .group_by_length = true};
    test_refused(espl_trainer_create(model, model->adapters, row, &shuffled, &trainer), ESPL_ARGUMENT, "no_shuffle is needed");
    test_refused(espl_trainer_create(model, model->adapters, row, &grouped, &trainer), ESPL_ARGUMENT, "group_by_length moves rows");
    test_ok(espl_adapter_add(model, "c", "adalora", 1, &adapter));
    test_ok(espl_model_activate(model, "a+c"));
    const espl_trainer_params both = {.steps = 1, .also = &adapter, .also_count = 1};
    const espl_trainer_params twice = {.steps = 1, .also = &model->adapters, .also_count = 1};
    test_refused(espl_trainer_create(model, model->adapters, row, &both, &trainer), ESPL_UNSUPPORTED, "adalora has steps of its own kind");
    test_refused(espl_trainer_create(model, model->adapters, row, &twice, &trainer), ESPL_ARGUMENT, "adapter \"a\" is to be trained twice");
    test_ok(espl_trainer_create(model, model->adapters, row, &(espl_trainer_params){.steps = 1}, &trainer));
    test_ok(espl_trainer_step(trainer, &progress));
    espl_trainer_destroy(&trainer);
    free(values);
    espl_dataset_destroy(&dataset);
    espl_dataset_destroy(&row);
    espl_model_destroy(&model);
}
int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_of_a_batch), cmocka_unit_test(rows_with_prefixes),
                                       cmocka_unit_test(blocks_of_one),
                                       cmocka_unit_test(goes), cmocka_unit_test(last_head),
                                       cmocka_unit_test(refused),
                                       cmocka_unit_test(refused_later),
                                       cmocka_unit_test(refused_tasks)};
    return test_main("composition", tests, ESPL_COUNT(tests));
}
