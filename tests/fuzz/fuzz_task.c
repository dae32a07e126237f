/* Any bytes as the file of a task. The first byte chooses the task and whether tags become BIO2. What is accepted has
 * valid UTF-8 everywhere, indices within the labels, references for every source, and can be scored against itself. */
#include "host/base/os.h"
#include "host/file/utf8.h"
#include "host/task/task.h"
#include "tests/fuzz/fuzz.h"
#include <math.h>
#include <unistd.h>

static void check_text(const char *text) {
    FUZZ_CHECK(text && espl_utf8_is_valid(text, strlen(text)));
}

static void check_example(const espl_task_set *set, const espl_example *example) {
    for (uint32_t w = 0; w < example->word_count; w++) {
        check_text(example->words[w]);
        FUZZ_CHECK(example->words[w][0] && example->tags[w] < set->labels.count);
    }
    for (uint32_t r = 0; r < example->reference_count; r++)
        check_text(example->references[r]);
    if (set->task->kind == ESPL_TASK_TAGGING)
        FUZZ_CHECK(example->word_count && !example->text);
    else
        check_text(example->text);
    if (set->task->kind == ESPL_TASK_GENERATION) FUZZ_CHECK(example->reference_count);
    if (set->task->kind == ESPL_TASK_CLASSIFICATION) FUZZ_CHECK(example->label < set->labels.count);
    FUZZ_CHECK(isfinite(example->value));
}

static void score(espl_context *ctx, const espl_task_set *set) {
    espl_entity_score entities = {0};
    espl_bleu bleu;
    FUZZ_CHECK(espl_bleu_init(ctx, &bleu) == ESPL_OK);
    for (uint32_t i = 0; i < set->count; i++) {
        const espl_example *example = &set->examples[i];
        if (example->word_count)
            FUZZ_CHECK(espl_entity_add(ctx, &entities, &set->labels, example->tags, example->tags,
                                       example->word_count) == ESPL_OK);
        if (example->reference_count)
            FUZZ_CHECK(espl_bleu_add(ctx, &bleu, example->references[0], example->references,
                                     example->reference_count) == ESPL_OK);
    }
    espl_entity_sum(&entities);
    FUZZ_CHECK(entities.total.right == entities.total.labelled && entities.total.right == entities.total.predicted);
    for (size_t n = 0; n < ESPL_BLEU_ORDERS; n++)
        FUZZ_CHECK(bleu.correct[n] == bleu.total[n]);
    espl_bleu_finish(ctx, &bleu);
    espl_entity_finish(ctx, &entities);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    /* A layout each, and the generic tasks by extension. */
    static const struct {
        const char *task, *extension;
    } kinds[] = {{"cola", ".tsv"},
                 {"stsb", ".tsv"},
                 {"qqp", ".tsv"},
                 {"wikigold", ".conll"},
                 {"e2e", ".csv"},
                 {"dart", ".jsonl"},
                 {"classification", ".csv"},
                 {"classification", ".jsonl"},
                 {"tagging", ".jsonl"},
                 {"regression", ".jsonl"}};
    if (bytes == 0) return 0;
    espl_context *ctx = fuzz_context();
    size_t kind = (data[0] & 0x7f) % ESPL_COUNT(kinds);
    const espl_task_read_params params = {.bio2 = data[0] >> 7};
    espl_task_set set;
    char path[64];
    snprintf(path, sizeof path, "fuzz_task.%d%s", (int)getpid(), kinds[kind].extension);
    FILE *file = fopen(path, "wb");
    FUZZ_CHECK(file && fwrite(data + 1, 1, bytes - 1, file) == bytes - 1 && fclose(file) == 0);
    if (espl_task_read(ctx, espl_task_find(kinds[kind].task), path, &params, &set) == ESPL_OK) {
        FUZZ_CHECK(set.count > 0);
        for (uint32_t i = 0; i < set.count; i++)
            check_example(&set, &set.examples[i]);
        score(ctx, &set);
    } else {
        FUZZ_CHECK(set.count == 0 && !set.examples && espl_context_message(ctx)[0]);
    }
    espl_task_set_finish(&set);
    remove(path);
    espl_context_destroy(&ctx);
    return 0;
}
