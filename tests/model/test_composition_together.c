/* Several adapters at once: parallel, training together, sessions and folders of compositions. */
#include "host/base/os.h"
#include "tests/model/pair_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Outputs have first all rows with a, then all with b: each as with it alone. */
static void parallel(void **state) {
    (void)state;
    static const test_pair some[] = {{"llama_lora", "lora:r=4", "houlsby:rf=4"},
                                {"bert_classes_lora", "pfeiffer:rf=5,leave_out=0", "houlsby:rf=3,leave_out=0"},
                                {"deberta_classes_lora", "pfeiffer:rf=4", "houlsby:rf=6"}};
    for (size_t i = 0; i < ESPL_COUNT(some); i++) {
        size_t row;
        espl_model *model = test_pair_load(&some[i]);
        float *a = test_pair_predict(model, "a", NULL, &row), *b = test_pair_predict(model, "b", NULL, &row);
        float *base = test_pair_predict(model, "", NULL, &row);
        const float *const alone[] = {a, base, b};
        float *all = test_pair_predict(model, "parallel(a,__base__,b)", NULL, &row);
        assert_int_equal(espl_model_describe(model).replicas, 3);
        double worst = 0;
        for (int n = 0; n < 3; n++) {
            for (int r = 0; r < PAIR_ROWS; r++) {
                const float *own = all + (size_t)(n * PAIR_ROWS + r) * row;
                worst = fmax(worst, test_pair_off(own, alone[n] + (size_t)r * row, test_pair_compared(model, row, r)));
            }
        }
        if (!(worst < test_pair_bound)) fail_msg("%s beside %s in parallel: off by %.1e", some[i].a, some[i].b, worst);
        free(a), free(b), free(base), free(all);
        espl_model_destroy(&model);
    }
}

/* Rows of the tensors that a block's attention makes: the batch's below the lowest adapter, from there on its copies'. */
static void lower_blocks_once(void **state) {
    (void)state;
    static const test_pair upper = {"llama_lora", "pfeiffer:rf=4,leave_out=0", "houlsby:rf=4,leave_out=0"};
    espl_model *model = test_pair_load(&upper);
    espl_graph *graph;
    espl_bytes text = {0};
    test_ok(espl_model_activate(model, "parallel(a,b)"));
    test_ok(espl_graph_create(test_device(), "parallel", &graph));
    espl_builder builder = {.model = model, .graph = graph, .batch = 2, .tokens = PAIR_TOKENS,
                            .ids = espl_graph_step_leaf(graph, "ids", 1, 2 * PAIR_TOKENS, ESPL_DTYPE_I32)};
    espl_tensor *hidden = espl_build_hidden(&builder);
    test_ok(espl_graph_status(graph));
    assert_int_equal(hidden->rows, 2 * 2 * PAIR_TOKENS);
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
    int32_t ids[PAIR_ROWS * PAIR_TOKENS];
    test_pair_ids(ids);
    test_ok(espl_dataset_from_ids(test_context(), ids, ids, PAIR_ROWS, PAIR_TOKENS, &dataset));
    test_ok(espl_model_activate(model, expression));
    const espl_trainer_params params = {.steps = 2, .batch = PAIR_ROWS, .learning_rate = 1e-3, .no_shuffle = true, .max_norm = -1, .also = &also,
                                        .also_count = also != NULL};
    test_ok(espl_trainer_create(model, first, dataset, &params, &trainer));
    for (int i = 0; i < 2; i++) test_ok(espl_trainer_step(trainer, &progress));
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&dataset);
}

static const test_pair trained = {"llama_lora", "houlsby:rf=4", "lora:r=3"};

/* Two trained in parallel become what each becomes alone; no other tensor moves. */
static void trained_in_parallel(void **state) {
    (void)state;
    size_t count[2];
    espl_adapter *a, *b;
    float *alone[2], *together[2];
    for (int which = 0; which < 2; which++) {
        espl_model *model = test_pair_load(&trained);
        espl_adapter *one = which ? model->adapters->next : model->adapters, *other = which ? model->adapters : model->adapters->next;
        float *before = test_adapter_values(other, &count[1 - which]);
        train(model, which ? "b" : "a", one, NULL);
        float *after = test_adapter_values(other, &count[1 - which]);
        assert_memory_equal(before, after, count[1 - which] * sizeof *after);
        alone[which] = test_adapter_values(one, &count[which]);
        free(before), free(after);
        espl_model_destroy(&model);
    }
    espl_model *model = test_pair_load(&trained);
    a = model->adapters, b = a->next;
    train(model, "parallel(a,b)", a, b);
    together[0] = test_adapter_values(a, &count[0]), together[1] = test_adapter_values(b, &count[1]);
    for (int which = 0; which < 2; which++) {
        const double error = test_pair_off(together[which], alone[which], count[which]);
        if (!(error < test_pair_bound)) fail_msg("%s: off by %.1e", which ? "b" : "a", error);
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
        espl_model *model = test_pair_load(&trained);
        if (which) test_pair_fill(model->adapters->next, 99);
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
        espl_model *model = test_pair_load(&trained);
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
    static const test_pair two = {"llama_lora", "pfeiffer:rf=4", "lora:r=2"};
    static const char *const expressions[] = {"multitask(a,b)", "p+multitask(a,b)", "split(a:4,b)", "average(a,b)", "batchsplit(b:1)"};
    for (size_t i = 0; i < ESPL_COUNT(expressions); i++) {
        espl_model *model = test_pair_load(&two);
        espl_session *session;
        const float *got;
        float expected[PAIR_TOKENS * 97];
        uint32_t count, task = 0;
        const int32_t tasks[] = {1};
        espl_dataset *dataset;
        test_ok(espl_dataset_from_rows(test_context(), &(espl_rows){.rows = 1, .tokens = TEST_TOKENS, .ids = test_ids, .tasks = tasks}, 0, 0,
                                       &dataset));
        espl_adapter *rows;
        test_ok(espl_adapter_add(model, "p", "prompt:tokens=3", 3, &rows));
        test_ok(espl_model_activate(model, expressions[i]));
        test_ok(espl_predict(model, dataset, 1, 0, expected));
        if (i < 2) test_ok(espl_model_task(model, "b", &task));
        test_ok(espl_session_create(model, &(espl_session_params){.context = 32, .task = task}, &session));
        test_ok(espl_session_append(session, test_ids, 3));
        test_ok(espl_session_append(session, test_ids + 3, TEST_TOKENS - 3));
        test_ok(espl_session_logits(session, &got, &count));
        const double error = test_pair_off(got, expected + (size_t)(TEST_TOKENS - 1) * count, count);
        if (!(error < test_pair_bound)) fail_msg("%s: a session is off by %.1e", expressions[i], error);
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
    static const test_pair two = {"llama_lora", "pfeiffer:rf=4", "houlsby:rf=6"};
    static const char *const expressions[] = {"a", "stack(a,b)", "batchsplit(stack(a,b):3,b:2)", "split(a:4,b:5)", "parallel(a,b)",
                                              "compat_average(a:3,b:1)", "stack(multitask(a,b),b)", "stack(fuse(a,b),a)",
                                              "fuse(a,stack(a,b))", "multitask(fuse(stack(a,a),stack(a,b)),b)"};
    static const struct {
        const char *expression, *part;
    } not[] = {{"a+b", "adapters joined by \"+\""}, {"average(a,b)", "average, which is"}, {"split(a:4,b)", "takes what is left"},
               {"batchsplit(a:1,__base__:4)", "__base__"}, {"stack(a,lora)", "adapter \"lora\" is of PEFT's format"}};
    char *folder = test_path("setup");
    espl_adapter *adapter;
    espl_model *model = test_pair_load(&two);
    test_ok(espl_adapter_add(model, "f", "fusion:of=a+b", 1, &adapter));
    test_ok(espl_adapter_add(model, "lora", "lora:r=2", 1, &adapter));
    for (size_t i = 0; i < ESPL_COUNT(expressions); i++) {
        size_t row;
        espl_model *other = test_model(two.model, NULL);
        float *before = test_pair_predict(model, expressions[i], NULL, &row);
        const size_t values = espl_model_describe(model).replicas * PAIR_ROWS * row;
        test_ok(espl_model_save_setup(model, folder));
        test_ok(espl_model_load_setup(other, folder));
        float *after = malloc(values * sizeof *after);
        espl_dataset *dataset = test_pair_rows(NULL);
        test_ok(espl_predict(other, dataset, PAIR_ROWS, 0, after));
        const double error = test_pair_off(before, after, values);
        if (!(error < test_pair_bound)) fail_msg("%s: off by %.1e", expressions[i], error);
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
    static const test_pair two = {"llama_lora", "pfeiffer:rf=4", "houlsby:rf=6"};
    char *folder = test_path("bad"), path[512];
    espl_model *model = test_pair_load(&two), *other = test_model(two.model, NULL);
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
int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(parallel),
                                       cmocka_unit_test(lower_blocks_once),
                                       cmocka_unit_test(trained_in_parallel),
                                       cmocka_unit_test(trained_by_its_rows),
                                       cmocka_unit_test(resumes),
                                       cmocka_unit_test(sessions),
                                       cmocka_unit_test(folders),
                                       cmocka_unit_test(bad_folders)};
    return test_main("compositions at once", tests, ESPL_COUNT(tests));
}
