/* The table of tasks. Labels have the order of Hugging Face's data sets `glue`, `conll2003` and `wnut_17`. */
#include "host/task/task.h"
#include <string.h>

static const char *const no_yes[] = {"0", "1"};
static const char *const entailment[] = {"entailment", "not_entailment"};
static const char *const inference[] = {"entailment", "neutral", "contradiction"};
static const char *const conll2003[] = {"O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"};
static const char *const wnut17[] = {"O", "B-corporation", "I-corporation", "B-creative-work", "I-creative-work", "B-group",
                                     "I-group", "B-location", "I-location", "B-person", "I-person", "B-product", "I-product"};

#define LABELS(array)     {array, ESPL_COUNT(array)}
#define METRICS(...)      .metrics = {__VA_ARGS__}, .metric_count = ESPL_COUNT(((espl_metric[]){__VA_ARGS__}))
#define PAIR_COLUMNS      "text=sentence1,pair=sentence2,label=label"
#define BY_COUNTS         METRICS(ESPL_METRIC_ACCURACY)
#define BY_COUNTS_AND_F1  METRICS(ESPL_METRIC_ACCURACY, ESPL_METRIC_F1)
#define BY_CORRELATION    METRICS(ESPL_METRIC_PEARSON, ESPL_METRIC_SPEARMAN)
#define BY_REFERENCES     METRICS(ESPL_METRIC_BLEU, ESPL_METRIC_PERPLEXITY)

static const espl_task tasks[] = {
    {.name = "cola", .layout = ESPL_LAYOUT_TSV, .columns = "text=sentence,label=label", .numbered = "text=4,label=2",
     .labels = LABELS(no_yes), METRICS(ESPL_METRIC_MATTHEWS, ESPL_METRIC_ACCURACY)},
    {.name = "sst2", .layout = ESPL_LAYOUT_TSV, .columns = "text=sentence,label=label", .labels = LABELS(no_yes),
     BY_COUNTS},
    {.name = "mrpc", .layout = ESPL_LAYOUT_TSV, .columns = "text=#1 String,pair=#2 String,label=Quality",
     .labels = LABELS(no_yes), BY_COUNTS_AND_F1},
    {.name = "stsb", .kind = ESPL_TASK_REGRESSION, .layout = ESPL_LAYOUT_TSV,
     .columns = "text=sentence1,pair=sentence2,label=score", .numbered = "text=6,pair=7,label=5", .extra_fields = true,
     .high = 5, BY_CORRELATION},
    {.name = "qqp", .layout = ESPL_LAYOUT_TSV, .columns = "text=question1,pair=question2,label=is_duplicate",
     .skip_short_rows = true, .labels = LABELS(no_yes), BY_COUNTS_AND_F1},
    {.name = "mnli", .layout = ESPL_LAYOUT_TSV, .columns = "text=sentence1,pair=sentence2,label=gold_label",
     .labels = LABELS(inference), BY_COUNTS},
    {.name = "qnli", .layout = ESPL_LAYOUT_TSV, .columns = "text=question,pair=sentence,label=label",
     .labels = LABELS(entailment), BY_COUNTS},
    {.name = "rte", .layout = ESPL_LAYOUT_TSV, .columns = PAIR_COLUMNS, .labels = LABELS(entailment), BY_COUNTS},
    {.name = "wnli", .layout = ESPL_LAYOUT_TSV, .columns = PAIR_COLUMNS, .labels = LABELS(no_yes), BY_COUNTS},
    /* Words first, tags last; CoNLL-2003 has parts of speech and chunks between them. */
    {.name = "conll2003", .kind = ESPL_TASK_TAGGING, .layout = ESPL_LAYOUT_CONLL, .labels = LABELS(conll2003),
     METRICS(ESPL_METRIC_ENTITY_F1)},
    {.name = "wikigold", .kind = ESPL_TASK_TAGGING, .layout = ESPL_LAYOUT_CONLL, .labels = LABELS(conll2003),
     METRICS(ESPL_METRIC_ENTITY_F1)},
    {.name = "wnut17", .kind = ESPL_TASK_TAGGING, .layout = ESPL_LAYOUT_CONLL, .labels = LABELS(wnut17),
     METRICS(ESPL_METRIC_ENTITY_F1)},
    {.name = "e2e", .kind = ESPL_TASK_GENERATION, .layout = ESPL_LAYOUT_CSV, .columns = "text=mr,target=ref",
     .source = ESPL_SOURCE_MEANING, BY_REFERENCES},
    {.name = "dart", .kind = ESPL_TASK_GENERATION, .layout = ESPL_LAYOUT_JSONL, .columns = "text=triples,target=refs",
     .source = ESPL_SOURCE_LOWER_TRIPLES, BY_REFERENCES},
    {.name = "webnlg", .kind = ESPL_TASK_GENERATION, .layout = ESPL_LAYOUT_JSONL, .columns = "text=triples,target=refs",
     .source = ESPL_SOURCE_TRIPLES, BY_REFERENCES},
    /* For files of one's own; the extension tells the layout. */
    {.name = "classification", .columns = "text=text,label=label",
     METRICS(ESPL_METRIC_ACCURACY, ESPL_METRIC_F1_MACRO)},
    {.name = "regression", .kind = ESPL_TASK_REGRESSION, .columns = "text=text,label=label", BY_CORRELATION},
    {.name = "tagging", .kind = ESPL_TASK_TAGGING, .columns = "text=words,label=tags", METRICS(ESPL_METRIC_ENTITY_F1)},
    {.name = "generation", .kind = ESPL_TASK_GENERATION, .columns = "text=prompt,target=completion", BY_REFERENCES},
};

const espl_task *espl_task_at(size_t index) {
    return index < ESPL_COUNT(tasks) ? &tasks[index] : NULL;
}

const espl_task *espl_task_find(const char *name) {
    for (size_t i = 0; i < ESPL_COUNT(tasks); i++) {
        if (strcmp(tasks[i].name, name) == 0) return &tasks[i];
    }
    return NULL;
}
