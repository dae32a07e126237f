/* Rows of different lengths through passes of different lengths: what is learnt and predicted is what one pass, as long as the
 * longest row, gives. */
#include "host/base/os.h"
#include "host/train/trainer.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 150, CONTEXT = 24, LONGEST = 23, BATCH = 2 };

/* Of each kind of head, and methods that look at ids, at rows, and at what lies in front of them. */
static const struct {
    const char *model, *method;
} cases[] = {
    {"bert_classes_lora", "lora:r=3,targets=query+value"}, {"bert_tags_lora", "houlsby:rf=4"},
    {"bert_value_full", "{\"peft_type\":\"PASTA\",\"num_special\":24,\"special_token_ids\":[3,5,70],\"dropout\":0}"},
    {"deberta_convolution", "bitfit"},
    {"deberta_classes_lora", "library_prefix:length=2,flat"},
    {"bert_masked_full", "ia3"},
    {"gpt2_lora", "prefix:tokens=3"},
    {"llama_lora", "lora:r=3,targets=all-linear"},
    {"llama_lora", "prompt:tokens=2"},
    {"llama_lora", "{\"peft_type\":\"PASTA\",\"num_special\":3,\"special_token_ids\":[0],\"dropout\":0}"}, /* 0 is padding, too */
    {"gpt2_lora", "loreft:prefix=1,suffix=2,dropout=0"},
};

/* Labels and values as the model's head takes them, at the tokens that a row has. */
static espl_dataset *data(const espl_model *model) {
    const bool per_token = espl_head_per_token(model), numbers = model->task.kind == ESPL_HEAD_REGRESSION;
    const uint32_t labels = per_token ? CONTEXT : 1, outputs = espl_head_outputs(model);
    int32_t *ids = calloc(ROWS * CONTEXT, sizeof *ids), *label = calloc((size_t)ROWS * labels, sizeof *label);
    int32_t lengths[ROWS];
    float *values = calloc((size_t)ROWS * outputs, sizeof *values);
    espl_random random = {.seed = 6}, random_length = {.seed = 7}; /* the same lengths for every model */
    assert_true(ids && label && values);
    for (uint32_t r = 0; r < ROWS; r++) {
        lengths[r] = r == 7 ? LONGEST : 1 + (int32_t)espl_random_below(&random_length, r % 4 == 0 ? LONGEST : r % 4 == 1 ? 15 : 7);
        for (int32_t i = 0; i < lengths[r]; i++)
            ids[r * CONTEXT + (uint32_t)i] = (int32_t)espl_random_below(&random, model->config.vocabulary);
        for (uint32_t i = 0; i < labels; i++) {
            const bool there = !per_token || i < (uint32_t)lengths[r];
            label[r * labels + i] = there ? (int32_t)espl_random_below(&random, outputs) : -100;
        }
        for (uint32_t i = 0; i < outputs; i++) values[r * outputs + i] = (float)espl_random_below(&random, 100) / 50;
    }
    const espl_rows rows = {.rows = ROWS, .tokens = CONTEXT, .ids = ids, .lengths = lengths, .labels = numbers ? NULL : label,
                            .row_labels = numbers ? 0 : labels, .values = numbers ? values : NULL,
                            .row_values = numbers ? outputs : 0};
    espl_dataset *dataset;
    test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &dataset));
    free(ids), free(label), free(values);
    return dataset;
}

static test_setup begin(size_t i, const espl_trainer_params *params) {
    test_setup s = {.model = test_model(cases[i].model, NULL)};
    /* What dropout takes depends on where in the batch it is. */
    s.model->config.dropout = s.model->config.attention_dropout = s.model->config.embedding_dropout = s.model->task.dropout = 0;
    test_ok(espl_adapter_add(s.model, "a", cases[i].method, 1, &s.adapter));
    test_ok(espl_model_activate(s.model, "a"));
    s.dataset = data(s.model);
    test_ok(espl_trainer_create(s.model, s.adapter, s.dataset, params, &s.trainer));
    return s;
}

/* Sums have another order where a pass is shorter: rounding of f32 sums over some hundred values, as in every comparison of two
 * ways through a whole model here. */
static const double rounding = 2e-6;

static void close_to(const char *what, size_t i, double got, double expected) {
    if (!(fabs(got - expected) <= rounding * fabs(expected)))
        fail_msg("%s with %s: %s %.9g, in one pass %.9g", cases[i].model, cases[i].method, what, got, expected);
}

static void learns_the_same(void **state) {
    (void)state;
    enum { STEPS = 5 };
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_progress one[STEPS];
        for (int by_length = 0; by_length < 2; by_length++) {
            const espl_trainer_params params = {.steps = STEPS, .batch = BATCH, .accumulate = 8, .no_shuffle = true,
                                                .learning_rate = 1e-3, .group_by_length = by_length};
            test_setup s = begin(i, &params);
            assert_int_equal(s.trainer->train.count, by_length ? 6 : 1);
            for (int step = 0; step < STEPS; step++) {
                espl_progress progress;
                test_ok(espl_trainer_step(s.trainer, &progress));
                if (!by_length) one[step] = progress;
                close_to("loss", i, progress.loss, one[step].loss);
                close_to("norm of the gradient / 10", i, progress.gradient_norm / 10, one[step].gradient_norm / 10);
            }
            test_setup_end(&s);
        }
    }
}

static void predicts_the_same(void **state) {
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        test_setup s = begin(i, &(espl_trainer_params){.steps = 1});
        const uint32_t outputs = espl_head_outputs(s.model), context = espl_head_per_token(s.model) ? CONTEXT : 1;
        const size_t row = (size_t)context * outputs, count = ROWS * row;
        float *one = malloc(count * sizeof *one), *several = malloc(count * sizeof *several);
        assert_true(one && several);
        test_ok(espl_predict(s.model, s.dataset, ROWS, ESPL_PART_ALL, one)); /* one batch is one pass */
        test_ok(espl_predict(s.model, s.dataset, BATCH, ESPL_PART_ALL, several));
        double difference = 0, norm = 0;
        for (uint32_t r = 0; r < ROWS; r++) {
            const uint32_t length = espl_dataset_row(s.dataset, ESPL_PART_ALL, r).length;
            for (size_t k = r * row; k < r * row + (context > 1 ? length : 1) * (size_t)outputs; k++) {
                difference += pow((double)one[k] - several[k], 2);
                norm += pow(one[k], 2);
            }
        }
        close_to("norm of all outputs", i, sqrt(norm) + sqrt(difference), sqrt(norm));
        double losses[2];
        uint64_t labels[2];
        for (uint32_t k = 0; k < 2; k++)
            test_ok(espl_evaluate(s.model, s.dataset, k ? ROWS : BATCH, ESPL_PART_ALL, &losses[k], &labels[k]));
        close_to("loss", i, losses[0], losses[1]);
        assert_int_equal(labels[0], labels[1]);
        free(one), free(several);
        test_setup_end(&s);
    }
}

static uint32_t length_of(const test_setup *s, uint32_t row) {
    return espl_dataset_row(s->dataset, ESPL_PART_TRAIN, row).length;
}

/* In groups of 50 steps batches are of like length, but do not follow each other by length: each row once in an epoch, another
 * order in the next. With 4 rows a batch the second epoch begins in the middle of one. */
static void groups(void **state) {
    (void)state;
    for (uint32_t batch = 2; batch <= 4; batch += 2) {
        const espl_trainer_params params = {.epochs = 2, .batch = batch, .group_by_length = true, .seed = 5};
        test_setup s = begin(0, &params);
        uint32_t first[ROWS];
        for (uint32_t epoch = 0; epoch < 2; epoch++) {
            bool seen[ROWS] = {false};
            espl_progress progress;
            do test_ok(espl_trainer_step(s.trainer, &progress));
            while (progress.rows <= epoch * ROWS);
            const uint32_t *order = s.trainer->order, lead = epoch * ROWS % batch ? batch - epoch * ROWS % batch : 0;
            for (uint32_t i = 0; i < ROWS; i++) {
                assert_false(seen[order[i]]);
                seen[order[i]] = true;
            }
            uint32_t rising = 0, falling = 0;
            for (uint32_t at = lead, group = 0; at + batch <= ROWS; at += batch, group++) {
                for (uint32_t i = 1; i < batch; i++) assert_true(length_of(&s, order[at + i]) <= length_of(&s, order[at + i - 1]));
                if (group % 50 == 0) continue;
                rising += length_of(&s, order[at]) > length_of(&s, order[at - batch]);
                falling += length_of(&s, order[at]) < length_of(&s, order[at - batch]);
                /* The batches of a group are a sorted list cut into pieces. */
                for (uint32_t before = at - group % 50 * batch; before < at; before += batch)
                    assert_true(length_of(&s, order[before + batch - 1]) >= length_of(&s, order[at]) ||
                                length_of(&s, order[at + batch - 1]) >= length_of(&s, order[before]));
            }
            assert_true(rising >= 10 && falling >= 10);
            if (epoch) assert_memory_not_equal(first, order, sizeof first);
            memcpy(first, order, sizeof first);
            uint64_t tokens = 0;
            for (uint32_t i = 0; i < ROWS; i++) tokens += length_of(&s, i);
            while (!epoch && progress.rows < ROWS) test_ok(espl_trainer_step(s.trainer, &progress));
            if (!epoch && progress.rows == ROWS) assert_int_equal(progress.tokens, tokens);
        }
        test_setup_end(&s);
    }
}

static void resumes_to_the_same_bits(void **state) {
    (void)state;
    const espl_trainer_params params = {.steps = 9, .batch = BATCH, .group_by_length = true, .learning_rate = 1e-2};
    char *folder = test_path("lengths");
    size_t count;
    espl_progress progress;
    test_setup s = begin(0, &params);
    for (int i = 0; i < 9; i++) {
        if (i == 4) test_ok(espl_trainer_save(s.trainer, folder));
        test_ok(espl_trainer_step(s.trainer, &progress));
    }
    float *whole = test_trained(&s, &count);
    const uint64_t tokens = progress.tokens;
    test_setup_end(&s);
    s = begin(0, &params);
    test_ok(espl_trainer_resume(s.trainer, folder));
    for (int i = 4; i < 9; i++) test_ok(espl_trainer_step(s.trainer, &progress));
    float *resumed = test_trained(&s, &count);
    assert_memory_equal(whole, resumed, count * sizeof *whole);
    assert_int_equal(progress.tokens, tokens);
    test_setup_end(&s);
    free(whole), free(resumed);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(learns_the_same), cmocka_unit_test(predicts_the_same),
                                       cmocka_unit_test(groups), cmocka_unit_test(resumes_to_the_same_bits)};
    return test_main("lengths", tests, ESPL_COUNT(tests));
}
