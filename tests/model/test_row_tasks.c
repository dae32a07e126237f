/* Adapters with a part for each task: a row says its task, whether rows come from the caller, from JSON lines or as the text of a
 * session, and goes through that part alone. */
#include "host/base/os.h"
#include "host/model/adapter.h"
#include "tests/model/model_test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 3, TOKENS = 5 };

static const int32_t ids[ROWS * TOKENS] = {3, 17, 20, 31, 6, 5, 9, 40, 11, 8, 3, 17, 20, 31, 6};
static const int32_t mixed[ROWS] = {1, 0, 0}; /* the first and the last row differ in this alone */

static espl_model *load(espl_adapter **out_adapter) {
    espl_model *model;
    test_ok(espl_model_load(test_device(), ESPL_TOOLS "/base", NULL, &model));
    test_ok(espl_adapter_add(model, "links", "adalink:r=3,links=qa+nli,dropout=0", 1, out_adapter));
    test_ok(espl_model_activate(model, "links"));
    /* Links begin without effect: these have one each. */
    espl_store *store = &(*out_adapter)->store;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        float *values = malloc((size_t)espl_entry_values(store, e) * sizeof *values);
        for (size_t j = 0; j < espl_entry_values(store, e); j++) values[j] = 0.2f * (float)((int)((j * 7 + i * 3) % 11) - 5) / 5;
        test_ok(espl_store_write(store, e, values, ESPL_DTYPE_F32));
        free(values);
    }
    return model;
}

static espl_dataset *rows_of(const int32_t tasks[ROWS]) {
    espl_dataset *dataset;
    test_ok(espl_dataset_from_rows(test_context(), &(espl_rows){.rows = ROWS, .tokens = TOKENS, .ids = ids, .labels = ids,
                                                                .row_labels = TOKENS, .tasks = tasks}, 0, 0, &dataset));
    return dataset;
}

/* From malloc: [ROWS, TOKENS, outputs]. */
static float *predict(espl_model *model, const int32_t tasks[ROWS], uint32_t batch) {
    espl_dataset *dataset = rows_of(tasks);
    float *values = malloc((size_t)ROWS * TOKENS * espl_model_describe(model).outputs * sizeof *values);
    test_ok(espl_predict(model, dataset, batch, 0, values));
    espl_dataset_destroy(&dataset);
    return values;
}

/* A row among rows of other tasks has the bits that it has among its own. */
static void rows_of_a_batch(void **state) {
    static const int32_t all[2][ROWS] = {{0, 0, 0}, {1, 1, 1}};
    espl_adapter *adapter;
    espl_model *model = load(&adapter);
    (void)state;
    const size_t row = (size_t)TOKENS * espl_model_describe(model).outputs;
    float *together = predict(model, mixed, ROWS), *pieces = predict(model, mixed, 2);
    for (int task = 0; task < 2; task++) {
        float *own = predict(model, all[task], ROWS);
        for (size_t r = 0; r < ROWS; r++)
            assert_int_equal(memcmp(own + r * row, together + r * row, row * sizeof *own) == 0, mixed[r] == task);
        free(own);
    }
    assert_memory_equal(together, pieces, ROWS * row * sizeof *together);
    free(together), free(pieces);
    espl_model_destroy(&model);
}

/* Rows of one task train its link alone. */
static void training(void **state) {
    static const int32_t ones[ROWS] = {1, 1, 1};
    espl_progress progress;
    test_setup s = {0};
    size_t count, at = 0;
    (void)state;
    s.model = load(&s.adapter);
    s.dataset = rows_of(ones);
    test_ok(espl_trainer_create(s.model, s.adapter, s.dataset, &(espl_trainer_params){.steps = 2, .batch = 2}, &s.trainer));
    float *before = test_trained(&s, &count);
    for (int i = 0; i < 2; i++) test_ok(espl_trainer_step(s.trainer, &progress));
    float *after = test_trained(&s, &count);
    const espl_store *store = &s.adapter->store;
    for (size_t i = 0; i < store->entry_count; i++) {
        const espl_entry *e = &store->entries[i];
        const size_t values = (size_t)espl_entry_values(store, e);
        const bool same = memcmp(before + at, after + at, values * sizeof *before) == 0;
        if (same != (strstr(e->name, ".qa.") != NULL)) fail_msg("%s has %s", e->name, same ? "not changed" : "changed");
        at += values;
    }
    assert_int_equal(at, count);
    free(before), free(after);
    test_setup_end(&s);
}

/* A session gives what the row gives: its two passes are of other lengths, so sums are of other orders. */
static void sessions(void **state) {
    espl_adapter *adapter;
    espl_session *session;
    uint32_t task, count;
    const float *logits;
    espl_model *model = load(&adapter);
    (void)state;
    float *rows = predict(model, mixed, ROWS);
    test_ok(espl_model_task(model, "nli", &task));
    assert_int_equal(task, 1);
    test_ok(espl_session_create(model, &(espl_session_params){.context = 16, .task = task}, &session));
    test_ok(espl_session_append(session, ids, 2));
    test_ok(espl_session_append(session, ids + 2, TOKENS - 2));
    test_ok(espl_session_logits(session, &logits, &count));
    double *got = malloc(count * sizeof *got), *expected = malloc(count * sizeof *expected), *other = malloc(count * sizeof *other);
    for (uint32_t i = 0; i < count; i++) {
        got[i] = logits[i], expected[i] = rows[(TOKENS - 1) * count + i], other[i] = rows[(ROWS * TOKENS - 1) * count + i];
    }
    assert_true(test_relative(got, expected, count) < 2e-5); /* as in test_session.c */
    assert_true(test_relative(got, other, count) > 1e-2);
    free(got), free(expected), free(other), free(rows);
    espl_session_destroy(&session);
    espl_model_destroy(&model);
}

/* JSON lines name their tasks; to an adapter for all of them the names say nothing. */
static void lines(void **state) {
    espl_adapter *adapter;
    espl_dataset *named, *plain;
    espl_model *model = load(&adapter);
    (void)state;
    char *path = test_path("tasks.jsonl");
    static const char text[] = "{\"text\": \"one\", \"task\": \"nli\"}\n{\"text\": \"two\", \"task\": \"qa\"}\n";
    test_ok(espl_os_write_file(test_context(), path, text, sizeof text - 1));
    espl_dataset_params params = {.context = 32, .validation_share = -1, .tasks_of = model};
    test_ok(espl_dataset_load(test_context(), espl_model_tokenizer(model), path, &params, &named));
    double with, without;
    uint64_t labels;
    test_ok(espl_evaluate(model, named, 2, 0, &with, &labels));
    params.tasks_of = NULL;
    test_ok(espl_dataset_load(test_context(), espl_model_tokenizer(model), path, &params, &plain));
    test_ok(espl_evaluate(model, plain, 2, 0, &without, &labels));
    assert_true(with != without);
    espl_dataset_destroy(&plain);
    params.tasks_of = model;
    test_ok(espl_model_activate(model, ""));
    test_ok(espl_dataset_load(test_context(), espl_model_tokenizer(model), path, &params, &plain));
    espl_dataset_destroy(&plain);
    test_ok(espl_model_activate(model, "links"));
    static const char *const wrong[][2] = {{"{\"text\": \"one\"}\n", "tasks.jsonl:1: \"task\" is missing"},
                                           {"{\"text\": \"one\", \"task\": \"mt\"}\n", "task \"mt\" is none of the adapter's: \"qa\", \"nli\""},
                                           {"{\"text\": \"one\", \"task\": 1}\n", "\"task\""}};
    for (size_t i = 0; i < ESPL_COUNT(wrong); i++) {
        test_ok(espl_os_write_file(test_context(), path, wrong[i][0], strlen(wrong[i][0])));
        const espl_status status = espl_dataset_load(test_context(), espl_model_tokenizer(model), path, &params, &plain);
        test_refused(status, i == 1 ? ESPL_ARGUMENT : ESPL_FORMAT, wrong[i][1]);
    }
    espl_os_remove_file(path);
    free(path);
    espl_dataset_destroy(&named);
    espl_model_destroy(&model);
}

static void refused(void **state) {
    static const int32_t beyond[ROWS] = {0, 2, 0}, negative[ROWS] = {0, 0, -1};
    espl_adapter *adapter;
    espl_session *session;
    espl_dataset *dataset;
    espl_model *model = load(&adapter);
    uint32_t task;
    double loss;
    uint64_t labels;
    (void)state;
    dataset = rows_of(beyond);
    test_refused(espl_evaluate(model, dataset, ROWS, 0, &loss, &labels), ESPL_ARGUMENT,
                 "row 1 of the batch is of task 2, the adapter has 2 links");
    espl_dataset_destroy(&dataset);
    test_refused(espl_dataset_from_rows(test_context(), &(espl_rows){.rows = ROWS, .tokens = TOKENS, .ids = ids, .tasks = negative}, 0,
                                        0, &dataset), ESPL_ARGUMENT, "row 2 is of task -1");
    test_ok(espl_session_create(model, &(espl_session_params){.context = 16, .task = 7}, &session));
    test_refused(espl_session_append(session, ids, 2), ESPL_ARGUMENT, "of task 7, the adapter has 2 links");
    espl_session_destroy(&session);
    test_ok(espl_model_activate(model, ""));
    test_refused(espl_model_task(model, "qa", &task), ESPL_ARGUMENT, "no active adapter has a part for each");
    espl_model_destroy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_of_a_batch), cmocka_unit_test(training), cmocka_unit_test(sessions),
                                       cmocka_unit_test(lines), cmocka_unit_test(refused)};
    return test_main("tasks of rows", tests, ESPL_COUNT(tests));
}
