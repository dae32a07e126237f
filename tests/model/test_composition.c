/* Compositions: rows of one batch with different adapters have what each has with its own alone; blocks with one child are that child;
 * expressions that say nothing sensible are refused and change nothing. */
#include "host/base/os.h"
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
    test_ok(espl_model_activate(model, expression));
    float *values = malloc(espl_model_describe(model).replicas * ROWS * *out_row * sizeof *values);
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

/* ---- Several at once ---- */

/* Outputs have first all rows with a, then all with b: each as with it alone. */
static void parallel(void **state) {
    (void)state;
    static const pair some[] = {{"llama_lora", "lora:r=4", "houlsby:rf=4", false},
                                {"bert_classes_lora", "pfeiffer:rf=5,leave_out=0", "houlsby:rf=3,leave_out=0", true},
                                {"deberta_classes_lora", "pfeiffer:rf=4", "houlsby:rf=6", true}};
    for (size_t i = 0; i < ESPL_COUNT(some); i++) {
        size_t row;
        espl_model *model = load(&some[i]);
        float *a = predict(model, "a", NULL, &row), *b = predict(model, "b", NULL, &row), *base = predict(model, "", NULL, &row);
        const float *const alone[] = {a, base, b};
        float *all = predict(model, "parallel(a,__base__,b)", NULL, &row);
        assert_int_equal(espl_model_describe(model).replicas, 3);
        double worst = 0;
        for (int n = 0; n < 3; n++) {
            for (int r = 0; r < ROWS; r++)
                worst = fmax(worst, off(all + (size_t)(n * ROWS + r) * row, alone[n] + (size_t)r * row, compared(model, row, r)));
        }
        if (!(worst < bound)) fail_msg("%s beside %s in parallel: off by %.1e", some[i].a, some[i].b, worst);
        free(a), free(b), free(base), free(all);
        espl_model_destroy(&model);
    }
}

/* Rows of the tensors that a block's attention makes: the batch's below the lowest adapter, from there on its copies'. */
static void lower_blocks_once(void **state) {
    (void)state;
    static const pair upper = {"llama_lora", "pfeiffer:rf=4,leave_out=0", "houlsby:rf=4,leave_out=0", false};
    espl_model *model = load(&upper);
    espl_graph *graph;
    espl_bytes text = {0};
    test_ok(espl_model_activate(model, "parallel(a,b)"));
    test_ok(espl_graph_create(test_device(), "parallel", &graph));
    espl_builder builder = {.model = model, .graph = graph, .batch = 2, .tokens = TOKENS,
                            .ids = espl_graph_step_leaf(graph, "ids", 1, 2 * TOKENS, ESPL_DTYPE_I32)};
    espl_tensor *hidden = espl_build_hidden(&builder);
    test_ok(espl_graph_status(graph));
    assert_int_equal(hidden->rows, 2 * 2 * TOKENS);
    hidden->keep = true;
    test_ok(espl_graph_plan(graph));
    test_ok(espl_graph_print(graph, &text));
    const char *second = strstr(text.data, "block 1:"), *once = strstr(text.data, "attention[18,"), *twice = strstr(text.data, "[36,");
    if (!once || !twice || once > second || twice < second || strstr(second, "attention[18,") || !strstr(second, "attention[36,"))
        fail_msg("%s", text.data);
    espl_bytes_finish(test_context(), &text);
    espl_graph_destroy(&graph);
    espl_model_destroy(&model);
}

/* Two steps; NULL in also: the first is trained alone. */
static void train(espl_model *model, const char *expression, espl_adapter *first, espl_adapter *also) {
    espl_dataset *dataset;
    espl_trainer *trainer;
    espl_progress progress;
    int32_t ids[ROWS * TOKENS];
    espl_random random = {.seed = 5};
    for (int i = 0; i < ROWS * TOKENS; i++) ids[i] = (int32_t)espl_random_below(&random, vocabulary);
    test_ok(espl_dataset_from_ids(test_context(), ids, ids, ROWS, TOKENS, &dataset));
    test_ok(espl_model_activate(model, expression));
    const espl_trainer_params params = {.steps = 2, .batch = ROWS, .learning_rate = 1e-3, .no_shuffle = true, .max_norm = -1, .also = &also,
                                        .also_count = also != NULL};
    test_ok(espl_trainer_create(model, first, dataset, &params, &trainer));
    for (int i = 0; i < 2; i++) test_ok(espl_trainer_step(trainer, &progress));
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&dataset);
}

static const pair trained = {"llama_lora", "houlsby:rf=4", "lora:r=3", false};

/* Two trained in parallel become what each becomes alone; no other tensor moves. */
static void trained_in_parallel(void **state) {
    (void)state;
    size_t count[2];
    espl_adapter *a, *b;
    float *alone[2], *together[2];
    for (int which = 0; which < 2; which++) {
        espl_model *model = load(&trained);
        espl_adapter *one = which ? model->adapters->next : model->adapters, *other = which ? model->adapters : model->adapters->next;
        float *before = test_adapter_values(other, &count[1 - which]);
        train(model, which ? "b" : "a", one, NULL);
        float *after = test_adapter_values(other, &count[1 - which]);
        assert_memory_equal(before, after, count[1 - which] * sizeof *after);
        alone[which] = test_adapter_values(one, &count[which]);
        free(before), free(after);
        espl_model_destroy(&model);
    }
    espl_model *model = load(&trained);
    a = model->adapters, b = a->next;
    train(model, "parallel(a,b)", a, b);
    together[0] = test_adapter_values(a, &count[0]), together[1] = test_adapter_values(b, &count[1]);
    for (int which = 0; which < 2; which++) {
        const double error = off(together[which], alone[which], count[which]);
        if (!(error < bound)) fail_msg("%s: off by %.1e", which ? "b" : "a", error);
        free(together[which]), free(alone[which]);
    }
    espl_model_destroy(&model);
}

/* What a's rows give a does not depend on b; b, which is not trained, stays as it is. */
static void trained_by_its_rows(void **state) {
    (void)state;
    size_t count;
    float *results[2];
    for (int which = 0; which < 2; which++) {
        espl_model *model = load(&trained);
        if (which) fill(model->adapters->next, 99);
        float *before = test_adapter_values(model->adapters->next, &count);
        train(model, "batchsplit(a:2,b:3)", model->adapters, NULL);
        float *after = test_adapter_values(model->adapters->next, &count);
        assert_memory_equal(before, after, count * sizeof *after);
        results[which] = test_adapter_values(model->adapters, &count);
        free(before), free(after);
        espl_model_destroy(&model);
    }
    assert_memory_equal(results[0], results[1], count * sizeof *results[0]);
    free(results[0]), free(results[1]);
}

/* A checkpoint of two that are trained together goes on to the same bits. */
static void resumes(void **state) {
    (void)state;
    size_t count;
    float *results[2][2];
    char *folder = test_path("checkpoint");
    for (int which = 0; which < 2; which++) {
        espl_model *model = load(&trained);
        espl_adapter *a = model->adapters, *b = a->next;
        espl_dataset *dataset = test_row();
        espl_trainer *trainer;
        espl_progress progress;
        test_ok(espl_model_activate(model, "average(a,b)"));
        const espl_trainer_params params = {.steps = 3, .learning_rate = 1e-2, .also = &b, .also_count = 1};
        test_ok(espl_trainer_create(model, a, dataset, &params, &trainer));
        if (which) test_ok(espl_trainer_resume(trainer, folder));
        while (!espl_trainer_is_done(trainer)) {
            test_ok(espl_trainer_step(trainer, &progress));
            if (!which && progress.step == 1) test_ok(espl_trainer_save(trainer, folder));
        }
        results[which][0] = test_adapter_values(a, &count);
        results[which][1] = test_adapter_values(b, &count);
        espl_trainer_destroy(&trainer);
        espl_dataset_destroy(&dataset);
        if (which) {
            assert_memory_equal(results[0][1], results[1][1], count * sizeof *results[0][1]);
            free(test_adapter_values(a, &count));
            assert_memory_equal(results[0][0], results[1][0], count * sizeof *results[0][0]);
        }
        espl_model_destroy(&model);
    }
    for (int i = 0; i < 4; i++) free(results[i / 2][i % 2]);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

/* ---- Sessions, folders ---- */

/* A session gives what the evaluation of the text gives, by its task and by the places of its tokens. */
static void sessions(void **state) {
    (void)state;
    static const pair two = {"llama_lora", "pfeiffer:rf=4", "lora:r=2", false};
    static const char *const expressions[] = {"multitask(a,b)", "split(a:4,b)", "average(a,b)", "batchsplit(b:1)"};
    for (size_t i = 0; i < ESPL_COUNT(expressions); i++) {
        espl_model *model = load(&two);
        espl_session *session;
        const float *got;
        float expected[TOKENS * 97];
        uint32_t count, task = 0;
        const int32_t tasks[] = {1};
        espl_dataset *dataset;
        test_ok(espl_dataset_from_rows(test_context(), &(espl_rows){.rows = 1, .tokens = TEST_TOKENS, .ids = test_ids, .tasks = tasks}, 0, 0,
                                       &dataset));
        test_ok(espl_model_activate(model, expressions[i]));
        test_ok(espl_predict(model, dataset, 1, 0, expected));
        if (i == 0) test_ok(espl_model_task(model, "b", &task));
        test_ok(espl_session_create(model, &(espl_session_params){.context = 32, .task = task}, &session));
        test_ok(espl_session_append(session, test_ids, 3));
        test_ok(espl_session_append(session, test_ids + 3, TEST_TOKENS - 3));
        test_ok(espl_session_logits(session, &got, &count));
        const double error = off(got, expected + (size_t)(TEST_TOKENS - 1) * count, count);
        if (!(error < bound)) fail_msg("%s: a session is off by %.1e", expressions[i], error);
        espl_session_destroy(&session);
        test_ok(espl_model_activate(model, "parallel(a,b)"));
        test_refused(espl_session_create(model, NULL, &session), ESPL_UNSUPPORTED, "parallel: a session has one text");
        espl_dataset_destroy(&dataset);
        espl_model_destroy(&model);
    }
}

/* A folder that is saved loads as what was saved. */
static void folders(void **state) {
    (void)state;
    static const pair two = {"llama_lora", "pfeiffer:rf=4", "houlsby:rf=6", false};
    static const char *const expressions[] = {"a", "stack(a,b)", "batchsplit(stack(a,b):3,b:2)", "split(a:4,b:5)", "parallel(a,b)",
                                              "compat_average(a:3,b:1)", "stack(multitask(a,b),b)", "stack(fuse(a,b),a)"};
    static const struct {
        const char *expression, *part;
    } not[] = {{"a+b", "adapters joined by \"+\""}, {"average(a,b)", "average, which is"}, {"split(a:4,b)", "takes what is left"},
               {"batchsplit(a:1,__base__:4)", "__base__"}, {"stack(a,lora)", "adapter \"lora\" is of PEFT's format"}};
    char *folder = test_path("setup");
    espl_adapter *adapter;
    espl_model *model = load(&two);
    test_ok(espl_adapter_add(model, "f", "fusion:of=a+b", 1, &adapter));
    test_ok(espl_adapter_add(model, "lora", "lora:r=2", 1, &adapter));
    for (size_t i = 0; i < ESPL_COUNT(expressions); i++) {
        size_t row;
        espl_model *other = test_model(two.model, NULL);
        float *before = predict(model, expressions[i], NULL, &row);
        const size_t values = espl_model_describe(model).replicas * ROWS * row;
        test_ok(espl_model_save_setup(model, folder));
        test_ok(espl_model_load_setup(other, folder));
        float *after = malloc(values * sizeof *after);
        espl_dataset *dataset = rows_of(NULL);
        test_ok(espl_predict(other, dataset, ROWS, 0, after));
        if (!(off(before, after, values) < bound)) fail_msg("%s: off by %.1e", expressions[i], off(before, after, values));
        espl_dataset_destroy(&dataset);
        free(before), free(after);
        espl_model_destroy(&other);
        espl_os_remove_folder(test_context(), folder);
    }
    for (size_t i = 0; i < ESPL_COUNT(not); i++) {
        test_ok(espl_model_activate(model, not[i].expression));
        test_refused(espl_model_save_setup(model, folder), ESPL_UNSUPPORTED, not[i].part);
    }
    test_ok(espl_model_activate(model, ""));
    test_refused(espl_model_save_setup(model, folder), ESPL_ARGUMENT, "no adapter is active");
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    espl_model_destroy(&model);
}

static const char *const bad_setups[][2] = {
    {"{}", "\"adapter_setup\" is missing"},
    {"{\"adapter_setup\":{\"type\":\"Mix\",\"children\":[]}}", "\"Mix\" is no block that is known"},
    {"{\"adapter_setup\":{\"type\":\"single\",\"children\":[]}}", "\"single\" has no name"},
    {"{\"adapter_setup\":{\"type\":\"Stack\",\"children\":[{\"type\":\"single\",\"children\":[\"../x\"]}]}}",
     "\"../x\" cannot be the name of an adapter"},
    {"{\"adapter_setup\":{\"type\":\"Split\",\"children\":[{\"type\":\"single\",\"children\":[\"a\"]}],\"kwargs\":{\"splits\":[1,2]}}}",
     "\"Split\" has 1 children and 2 splits"},
    {"{\"adapter_setup\":{\"type\":\"Stack\",\"children\":[{\"type\":\"single\",\"children\":[\"a\"]},"
     "{\"type\":\"single\",\"children\":[\"c\"]}]}}", "adapter_config.json"}};

/* What is read before it is found to be wrong does not stay. */
static void bad_folders(void **state) {
    (void)state;
    static const pair two = {"llama_lora", "pfeiffer:rf=4", "houlsby:rf=6", false};
    char *folder = test_path("bad"), path[512];
    espl_model *model = load(&two), *other = test_model(two.model, NULL);
    test_ok(espl_model_activate(model, "stack(a,b)"));
    test_ok(espl_model_save_setup(model, folder));
    snprintf(path, sizeof path, "%s/adapter_setup.json", folder);
    for (size_t i = 0; i < ESPL_COUNT(bad_setups); i++) {
        test_ok(espl_os_write_file(test_context(), path, bad_setups[i][0], strlen(bad_setups[i][0])));
        const espl_status status = espl_model_load_setup(other, folder);
        test_refused(status, status, bad_setups[i][1]);
        assert_true(status != ESPL_OK);
        assert_null(other->adapters);
    }
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    espl_model_destroy(&model);
    espl_model_destroy(&other);
}

/* An adapter that is deleted or merged is in no composition any more. */
static void goes(void **state) {
    (void)state;
    static const pair two = {"llama_lora", "lora:r=2", "houlsby:rf=6", false};
    espl_model *model = load(&two);
    espl_adapter *a = model->adapters, *b = a->next;
    size_t row;
    float *with_b = predict(model, "b", NULL, &row), *got = malloc(ROWS * row * sizeof *got);
    espl_dataset *dataset = rows_of(NULL);
    test_ok(espl_model_activate(model, "average(a,b)+b"));
    test_ok(espl_adapter_merge(a));
    assert_true(!a->active && b->active);
    test_ok(espl_adapter_unmerge(a));
    test_ok(espl_predict(model, dataset, ROWS, 0, got));
    for (int r = 0; r < ROWS; r++) assert_true(off(got + (size_t)r * row, with_b + (size_t)r * row, compared(model, row, r)) < bound);
    test_ok(espl_model_activate(model, "batchsplit(a:2,b:3)"));
    espl_adapter_delete(&b);
    assert_true(!a->active);
    free(with_b), free(got);
    espl_dataset_destroy(&dataset);
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
        {"stack(parallel(a,b),parallel(a,b))", ESPL_ARGUMENT, "a batch is copied once, and it has 2 blocks parallel"},
        {"parallel(multitask(a,b),a)", ESPL_ARGUMENT, "parallel takes no multitask"},
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

/* What only the graph or the batch shows. */
static void refused_later(void **state) {
    (void)state;
    static const struct {
        pair of;
        const char *expression;
        espl_status status;
        const char *part;
    } cases[] = {
        {{"llama_lora", "lora:r=2", "lora:r=2", false}, "batchsplit(a:2,b:2)", ESPL_ARGUMENT, "batchsplit: the parts are 4 sequences of a batch, "
                                                                                             "there are 5"},
        {{"llama_lora", "lora:r=2", "lora:r=2", false}, "split(a:2,b:2)", ESPL_ARGUMENT, "split: the parts are 4 tokens of each sequence, there are 9"},
        {{"llama_lora", "lora:r=2", "lora:r=2", false}, "split(a:12,b)", ESPL_ARGUMENT, "split: the parts are 12 tokens of each sequence, there are 9"},
        {{"deberta_classes_lora", "lora:r=2", "lora:r=3", true}, "batchsplit(a:2,b:3)", ESPL_UNSUPPORTED, "relative attention's distances"},
        {{"llama_lora", "invertible:inv_rf=2", "lora:r=2", false}, "parallel(a,b)", ESPL_UNSUPPORTED, "parallel begins in the blocks"},
        {{"llama_lora", "prefix:tokens=3", "lora:r=2", false}, "a+parallel(b,__base__)", ESPL_UNSUPPORTED, "rows of another adapter before the text"},
        {{"llama_lora", "prompt:tokens=3", "lora:r=2", false}, "a+split(b:4,__base__)", ESPL_UNSUPPORTED, "tokens behind a prompt"},
        {{"gpt2_lora", "library_lora:r=2", "library_lora:r=2", false}, "stack(a,b)", ESPL_UNSUPPORTED, "queries, keys and values are one map"},
    };
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_model *model = load(&cases[i].of);
        espl_dataset *dataset = rows_of(NULL);
        float *values = malloc(2 * ROWS * TOKENS * (size_t)espl_model_describe(model).outputs * sizeof *values);
        test_ok(espl_model_activate(model, cases[i].expression));
        test_refused(espl_predict(model, dataset, ROWS, 0, values), cases[i].status, cases[i].part);
        free(values);
        espl_dataset_destroy(&dataset);
        espl_model_destroy(&model);
    }
}

static void refused_tasks(void **state) {
    (void)state;
    static const pair two = {"llama_lora", "lora:r=2", "lora:r=2", false};
    static const int32_t tasks[ROWS] = {0, 1, 2, 0, 0};
    uint32_t task;
    espl_adapter *adapter;
    espl_progress progress;
    espl_trainer *trainer;
    espl_model *model = load(&two);
    espl_dataset *dataset = rows_of(tasks), *row = test_row();
    float *values = malloc(ROWS * TOKENS * (size_t)espl_model_describe(model).outputs * sizeof *values);
    test_ok(espl_model_activate(model, "multitask(a,stack(a,b))"));
    test_refused(espl_predict(model, dataset, ROWS, 0, values), ESPL_ARGUMENT, "is of task 2, the composition has 2");
    test_ok(espl_model_task(model, "b", &task));
    assert_int_equal(task, 1);
    test_refused(espl_model_task(model, "c", &task), ESPL_ARGUMENT, "task \"c\" is none of the adapter's: \"a\", \"b\"");
    test_ok(espl_model_activate(model, "batchsplit(a:1,b:0)"));
    test_refused(espl_trainer_create(model, model->adapters, row, &(espl_trainer_params){.steps = 1}, &trainer), ESPL_ARGUMENT, "no_shuffle is needed");
    test_refused(espl_trainer_create(model, model->adapters, row, &(espl_trainer_params){.steps = 1, .no_shuffle = true, .group_by_length = true},
                                     &trainer), ESPL_ARGUMENT, "group_by_length moves rows");
    test_ok(espl_adapter_add(model, "c", "adalora", 1, &adapter));
    test_ok(espl_model_activate(model, "a+c"));
    const espl_trainer_params both = {.steps = 1, .also = &adapter, .also_count = 1}, twice = {.steps = 1, .also = &model->adapters, .also_count = 1};
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_a_batch), cmocka_unit_test(blocks_of_one), cmocka_unit_test(parallel), cmocka_unit_test(lower_blocks_once),
        cmocka_unit_test(trained_in_parallel), cmocka_unit_test(trained_by_its_rows), cmocka_unit_test(resumes), cmocka_unit_test(sessions),
        cmocka_unit_test(folders), cmocka_unit_test(bad_folders), cmocka_unit_test(goes), cmocka_unit_test(refused),
        cmocka_unit_test(refused_later), cmocka_unit_test(refused_tasks)};
    return test_main("composition", tests, ESPL_COUNT(tests));
}
