/* Tensors that several adapters have together (adapters/share.c): equal while they are trained, with the gradients of all; copies when
 * they part; files; who may share. */
#include "host/base/os.h"
#include "tests/model/pair_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TASKS = 3 };
static const char *const names[TASKS] = {"a", "b", "c"}, *const rest[] = {"d", "e"};
static const int32_t tasks[PAIR_ROWS] = {0, 1, 2, 1, 0};
#define SPEC "mtl_lora:r=3,up=2,intermediate"
static const test_pair pair = {"llama_lora", SPEC, SPEC};

/* a, b, c, and d and e, which share among themselves and take no part. */
static espl_model *load(espl_adapter *adapters[TASKS]) {
    espl_model *model = test_pair_load(&pair);
    espl_adapter *other;
    adapters[0] = model->adapters, adapters[1] = model->adapters->next;
    test_ok(espl_adapter_add(model, "c", SPEC, 11, &adapters[2]));
    test_pair_fill(adapters[2], 17);
    for (size_t i = 0; i < ESPL_COUNT(rest); i++) {
        test_ok(espl_adapter_add(model, rest[i], SPEC, 13 + i, &other));
        test_pair_fill(other, 15 + i);
    }
    test_ok(espl_adapter_share(model, rest, ESPL_COUNT(rest), NULL));
    return model;
}

static bool is_shared(const espl_entry *entry) {
    return strstr(entry->name, ".lora_A") || strstr(entry->name, ".lora_B");
}

static float *read(espl_store *store, size_t entry, size_t *out_bytes) {
    *out_bytes = (size_t)espl_entry_values(store, &store->entries[entry]) * sizeof(float);
    float *values = malloc(*out_bytes);
    test_ok(espl_store_read(store, &store->entries[entry], values));
    return values;
}

/* Every shared tensor has the same bits in both (or, with `other`, some tensor has not), every other one has not. */
static void compare(espl_adapter *one, espl_adapter *two, bool equal) {
    bool all = true;
    for (size_t i = 0; i < one->store.entry_count; i++) {
        size_t bytes;
        float *a = read(&one->store, i, &bytes), *b = read(&two->store, i, &bytes);
        const bool same = memcmp(a, b, bytes) == 0;
        if (is_shared(&one->store.entries[i])) all = all && same;
        else if (same) fail_msg("%s is the same in %s", one->store.entries[i].name, two->name);
        free(a), free(b);
    }
    if (all != equal) fail_msg("%s and %s: their shared tensors are %s", one->name, two->name, all ? "equal" : "not equal");
}

static espl_dataset *labelled_rows(void) {
    int32_t ids[PAIR_ROWS * PAIR_TOKENS];
    espl_dataset *dataset;
    test_pair_ids(ids);
    const espl_rows rows = {.rows = PAIR_ROWS, .tokens = PAIR_TOKENS, .ids = ids, .labels = ids, .row_labels = PAIR_TOKENS, .tasks = tasks};
    test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &dataset));
    return dataset;
}

static void train(espl_model *model, espl_adapter *const *trained, uint32_t count) {
    espl_dataset *dataset = labelled_rows();
    espl_trainer *trainer;
    espl_progress progress;
    test_ok(espl_model_activate(model, "multitask(a,b,c)"));
    const espl_trainer_params params = {.steps = 2, .batch = PAIR_ROWS, .learning_rate = 1e-2, .weight_decay = 0.1, .no_shuffle = true,
                                        .also = trained + 1, .also_count = count - 1};
    test_ok(espl_trainer_create(model, trained[0], dataset, &params, &trainer));
    for (int i = 0; i < 2; i++) test_ok(espl_trainer_step(trainer, &progress));
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&dataset);
}

static void trained_together(void **state) {
    (void)state;
    espl_adapter *adapters[TASKS];
    espl_model *model = load(adapters);
    size_t counts[TASKS], still, bytes;
    float *before[TASKS], *others = test_adapter_values(adapters[2]->next, &still);
    const uint64_t values = espl_adapter_parameters(adapters[1]);
    compare(adapters[0], adapters[1], false);
    test_ok(espl_adapter_share(model, names, TASKS, "b"));
    assert_int_equal(espl_adapter_parameters(adapters[1]), values);
    for (int i = 0; i < TASKS; i++) before[i] = test_adapter_values(adapters[i], &counts[i]);
    for (int i = 0; i < TASKS; i++) compare(adapters[i], adapters[(i + 1) % TASKS], true);
    train(model, adapters, TASKS);
    for (int i = 0; i < TASKS; i++) {
        compare(adapters[i], adapters[(i + 1) % TASKS], true);
        /* Each tensor has moved. */
        float *at = before[i];
        for (size_t e = 0; e < adapters[i]->store.entry_count; e++, at += bytes / sizeof(float)) {
            float *after = read(&adapters[i]->store, e, &bytes);
            if (memcmp(at, after, bytes) == 0) fail_msg("%s did not move", adapters[i]->store.entries[e].name);
            free(after);
        }
        free(before[i]);
    }
    float *after = test_adapter_values(adapters[2]->next, &still);
    assert_memory_equal(others, after, still * sizeof *after);
    free(others), free(after);
    espl_model_destroy(&model);
}

/* One of them alone: what is shared moves with it and is the same for all, of the others nothing else moves. */
static void trained_alone(void **state) {
    (void)state;
    for (int which = 0; which < TASKS; which++) {
        espl_adapter *adapters[TASKS];
        espl_model *model = load(adapters);
        test_ok(espl_adapter_share(model, names, TASKS, NULL));
        size_t counts[TASKS], bytes;
        float *before[TASKS];
        for (int i = 0; i < TASKS; i++) before[i] = test_adapter_values(adapters[i], &counts[i]);
        train(model, adapters + which, 1);
        assert_ptr_equal(espl_adapter_owner(adapters[(which + 1) % TASKS]), adapters[which]);
        for (int i = 0; i < TASKS; i++) {
            float *at = before[i];
            compare(adapters[i], adapters[(i + 1) % TASKS], true);
            for (size_t e = 0; e < adapters[i]->store.entry_count; e++, at += bytes / sizeof(float)) {
                float *after = read(&adapters[i]->store, e, &bytes);
                const bool moved = memcmp(at, after, bytes) != 0, due = i == which || is_shared(&adapters[i]->store.entries[e]);
                if (moved != due) fail_msg("%s %s", adapters[i]->store.entries[e].name, moved ? "moved" : "did not move");
                free(after);
            }
            free(before[i]);
        }
        espl_model_destroy(&model);
    }
}

/* Gradients of what one adapter trains in the batch of all tasks. */
static espl_tensors *gradients(espl_model *model, espl_adapter *adapter, const char *path) {
    int32_t ids[PAIR_ROWS * PAIR_TOKENS];
    espl_tensors *set;
    test_pair_ids(ids);
    test_ok(espl_model_activate(model, "multitask(a,b,c)"));
    const espl_probe_params probe = {.ids = ids, .tasks = tasks, .rows = PAIR_ROWS, .tokens = PAIR_TOKENS};
    test_ok(espl_probe(model, adapter, &probe, path));
    test_ok(espl_tensors_open(test_context(), path, &set));
    return set;
}

/* The gradient of a shared tensor is the sum of those that all would have on their own, with the same values. */
static void sum_of_gradients(void **state) {
    (void)state;
    espl_adapter *adapters[TASKS];
    espl_model *model = load(adapters);
    char *paths[TASKS + 1], name[320];
    espl_tensors *alone[TASKS], *together;
    double worst = 0;
    for (int i = 0; i <= TASKS; i++) {
        snprintf(name, sizeof name, "gradients%d.safetensors", i);
        paths[i] = test_path(name);
    }
    test_ok(espl_adapter_share(model, names, TASKS, NULL));
    together = gradients(model, adapters[0], paths[TASKS]);
    for (int i = 0; i < TASKS; i++) test_ok(espl_adapter_unshare(adapters[i]));
    for (int i = 0; i < TASKS; i++) alone[i] = gradients(model, adapters[i], paths[i]);
    for (size_t e = 0; e < adapters[0]->store.entry_count; e++) {
        if (!is_shared(&adapters[0]->store.entries[e])) continue;
        size_t count;
        double *sum = NULL;
        for (int i = 0; i < TASKS; i++) {
            snprintf(name, sizeof name, "grad.%s", adapters[i]->store.entries[e].name);
            double *one = test_values(alone[i], name, &count);
            for (size_t j = 0; sum && j < count; j++) sum[j] += one[j];
            if (sum) free(one);
            else sum = one;
        }
        snprintf(name, sizeof name, "grad.%s", adapters[0]->store.entries[e].name);
        double *got = test_values(together, name, &count);
        assert_true(sum[0] != 0);
        worst = fmax(worst, test_relative(got, sum, count));
        free(got), free(sum);
    }
    if (!(worst < 1e-5)) fail_msg("gradients of shared tensors are off by %.1e", worst); /* f32 sums in another order */
    for (int i = 0; i < TASKS; i++) espl_tensors_destroy(&alone[i]);
    espl_tensors_destroy(&together);
    for (int i = 0; i <= TASKS; i++) {
        espl_os_remove_file(paths[i]);
        free(paths[i]);
    }
    espl_model_destroy(&model);
}

/* Copies: then each goes its own way. The owner may go first, by parting or for good. */
static void parting(void **state) {
    (void)state;
    for (int deleted = 0; deleted < 2; deleted++) {
        espl_adapter *adapters[TASKS];
        espl_model *model = load(adapters);
        size_t row, count;
        test_ok(espl_adapter_share(model, names, TASKS, NULL));
        float *before = test_pair_predict(model, "multitask(a,b,c)", tasks, &row);
        float *owned = test_adapter_values(adapters[0], &count);
        if (deleted) espl_adapter_delete(&adapters[0]);
        else test_ok(espl_adapter_unshare(adapters[0]));
        compare(adapters[1], adapters[2], true);
        if (deleted) test_ok(espl_adapter_add(model, "a", SPEC, 4, &adapters[0]));
        float *after = test_pair_predict(model, "multitask(a,b,c)", tasks, &row);
        for (int r = 0; r < PAIR_ROWS; r++) {
            if (tasks[r] == 0 && deleted) continue;
            assert_memory_equal(before + (size_t)r * row, after + (size_t)r * row, test_pair_compared(model, row, r) * sizeof *after);
        }
        /* b and c move together, a does not move with them. */
        float *still = test_adapter_values(adapters[0], &count);
        if (!deleted) assert_memory_equal(owned, still, count * sizeof *still);
        train(model, adapters + 1, 2);
        compare(adapters[1], adapters[2], true);
        compare(adapters[0], adapters[1], false);
        float *last = test_adapter_values(adapters[0], &count);
        assert_memory_equal(still, last, count * sizeof *still);
        free(before), free(after), free(owned), free(still), free(last);
        espl_model_destroy(&model);
    }
}

/* A checkpoint goes on to the bits of a run without a break, and only where the same share. */
static void resumed(void **state) {
    (void)state;
    espl_adapter *adapters[TASKS];
    espl_trainer *trainer;
    espl_progress progress;
    float *whole = NULL;
    size_t count;
    char *folder = test_path("shared checkpoint");
    for (int run = 0; run < 3; run++) {
        espl_model *model = load(adapters);
        espl_dataset *dataset = labelled_rows();
        if (run < 2) test_ok(espl_adapter_share(model, names, TASKS, "c"));
        test_ok(espl_model_activate(model, "multitask(a,b,c)"));
        const espl_trainer_params params = {.steps = 3, .batch = PAIR_ROWS, .learning_rate = 1e-2, .no_shuffle = true, .also = adapters + 1,
                                            .also_count = TASKS - 1};
        test_ok(espl_trainer_create(model, adapters[0], dataset, &params, &trainer));
        if (run == 2) test_refused(espl_trainer_resume(trainer, folder), ESPL_ARGUMENT, "the checkpoint was made with also");
        if (run == 1) test_ok(espl_trainer_resume(trainer, folder));
        for (int i = run; i < 3 && run < 2; i++) {
            test_ok(espl_trainer_step(trainer, &progress));
            if (i == 0) test_ok(espl_trainer_save(trainer, folder));
        }
        float *values = test_adapter_values(adapters[1], &count);
        if (run == 0) whole = values;
        if (run == 1) assert_memory_equal(whole, values, count * sizeof *values);
        if (run) free(values);
        espl_trainer_destroy(&trainer);
        espl_dataset_destroy(&dataset);
        espl_model_destroy(&model);
    }
    free(whole);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

/* A folder has the shared values; what is loaded is on its own. */
static void files(void **state) {
    (void)state;
    espl_adapter *adapters[TASKS], *loaded;
    espl_model *model = load(adapters);
    size_t row, count;
    char *folder = test_path("shared");
    test_ok(espl_adapter_share(model, names, TASKS, NULL));
    float *before = test_pair_predict(model, "b", NULL, &row), *values = test_adapter_values(adapters[1], &count);
    test_ok(espl_adapter_save(adapters[1], folder));
    test_ok(espl_adapter_load(model, "x", folder, &loaded));
    float *after = test_pair_predict(model, "x", NULL, &row), *again = test_adapter_values(loaded, &count);
    assert_memory_equal(values, again, count * sizeof *again);
    assert_memory_equal(before, after, PAIR_ROWS * row * sizeof *after);
    test_ok(espl_adapter_merge(adapters[1]));
    float *merged = test_pair_predict(model, "", NULL, &row);
    assert_true(test_pair_off(merged, before, PAIR_ROWS * row) < 1e-5); /* as the merges of test_methods.c */
    free(before), free(values), free(after), free(again), free(merged);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    espl_model_destroy(&model);
}

static void refused(void **state) {
    (void)state;
    espl_adapter *adapters[TASKS], *other;
    espl_model *model = load(adapters);
    const char *two[2] = {"a", NULL};
    test_refused(espl_adapter_share(model, two, 1, NULL), ESPL_ARGUMENT, "1 adapters cannot share tensors, two can");
    test_ok(espl_adapter_add(model, "lora", "library_lora:r=3", 1, &other));
    two[1] = "lora";
    test_refused(espl_adapter_share(model, two, 2, NULL), ESPL_UNSUPPORTED, "adapter \"lora\": library_lora has no tensors that several");
    test_ok(espl_adapter_add(model, "wide", "mtl_lora:r=4,up=2,intermediate", 1, &other));
    two[1] = "wide";
    test_refused(espl_adapter_share(model, two, 2, NULL), ESPL_ARGUMENT, "differ in \"r\": they cannot share tensors");
    test_ok(espl_adapter_add(model, "more", "mtl_lora:r=3,up=2,intermediate,output", 1, &other));
    two[1] = "more";
    test_refused(espl_adapter_share(model, two, 2, NULL), ESPL_ARGUMENT, "tensors, \"more\"");
    test_ok(espl_adapter_add(model, "keys", "mtl_lora:r=3,up=2,intermediate,attention=q+k", 1, &other));
    two[1] = "keys"; /* as many tensors of the same sizes, of other maps */
    test_refused(espl_adapter_share(model, two, 2, NULL), ESPL_ARGUMENT, "differ in \"attn_matrices\"");
    test_refused(espl_adapter_share(model, names, 2, "c"), ESPL_ARGUMENT, "adapter \"c\", whose tensors are to be shared, is none of those");
    test_ok(espl_adapter_merge(adapters[1]));
    test_refused(espl_adapter_share(model, names, 2, NULL), ESPL_ARGUMENT, "adapter \"b\" is merged into the base");
    test_ok(espl_adapter_unmerge(adapters[1]));
    two[1] = "d";
    test_refused(espl_adapter_share(model, two, 2, NULL), ESPL_ARGUMENT, "adapter \"d\" shares tensors with others than \"a\"");
    two[1] = "none";
    test_refused(espl_adapter_share(model, two, 2, NULL), ESPL_ARGUMENT, "there is no adapter \"none\"");
    /* To those that share already a third comes by naming any of them. */
    test_ok(espl_adapter_share(model, names, 2, NULL));
    test_ok(espl_adapter_share(model, (const char *const[]){"c", "b"}, 2, "b"));
    test_ok(espl_adapter_share(model, names, TASKS, "b"));
    compare(adapters[0], adapters[2], true);
    test_refused(espl_adapter_add(model, "x", "mtl_lora:up=7", 1, &other), ESPL_ARGUMENT, "\"n_up_projection\" 7 is not from 1 to 6");
    test_refused(espl_adapter_add(model, "x", "mtl_lora:sharpness=0", 1, &other), ESPL_ARGUMENT, "\"weights_sharpness\" 0 is not above 0");
    test_refused(espl_adapter_add(model, "x", "{\"config\":{\"architecture\":\"mtl_lora\",\"task_specific_matrix_type\":\"linear\"}}", 1, &other),
                 ESPL_UNSUPPORTED, "\"task_specific_matrix_type\" \"linear\" is not singular_values");
    espl_model_destroy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trained_together), cmocka_unit_test(trained_alone), cmocka_unit_test(sum_of_gradients),
        cmocka_unit_test(parting),          cmocka_unit_test(files), cmocka_unit_test(resumed),
                       cmocka_unit_test(refused),
    };
    return test_main("share", tests, ESPL_COUNT(tests));
}
