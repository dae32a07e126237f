/* See options.h. */
#include "tools/espalier/program.h"
#include <errno.h>
#include <float.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum option_kind { SWITCH, TEXT, LIST, CHOICE, U32, U64, REAL } option_kind;

typedef struct option_row {
    unsigned commands; /* that know it */
    unsigned required; /* commands that cannot do without */
    const char *group, *name;
    const char *value; /* NULL for a switch */
    option_kind kind;
    size_t offset;      /* in struct options */
    double least, most; /* for numbers */
    const char *takes;  /* "--lr takes <this>", or the words of a choice joined by '|' */
    const char *help;
} option_row;

#define AT(field)  offsetof(options, field)
#define ON_TRAINING (FOR_TRAIN | FOR_SWEEP)
#define ON_TASK    (FOR_TRAIN | FOR_EVAL | FOR_SWEEP)
#define ON_MODEL   (FOR_TRAIN | FOR_SWEEP | FOR_EVAL | FOR_GENERATE | FOR_MERGE | FOR_AVERAGE | FOR_BENCH | FOR_PROBE)
#define ON_SESSION (ON_MODEL & ~(unsigned)(FOR_MERGE | FOR_AVERAGE)) /* that compute with the model */
#define COUNTING   1, UINT32_MAX, "a whole number from 1"
#define COUNTING_0 0, UINT32_MAX, "a whole number"
#define ANY_TEXT   0, 0, NULL

static const option_row rows[] = {
    {ON_MODEL, ON_MODEL & ~(unsigned)FOR_BENCH, "Model", "model", "DIR", TEXT, AT(model), ANY_TEXT,
     "Hugging Face model folder: config.json, model.safetensors or its shards, tokenizer"},
    {FOR_TRAIN, 0, "Model", "adapter", "DIR", LIST, AT(adapters), ANY_TEXT,
     "train this saved adapter further instead of a new one; with NAME=DIR and --method fusion:of=NAME+..., those that are fused, and "
     "with --compose those that stand beside what is trained"},
    {FOR_TRAIN, 0, "Model", "also", "NAME=DIR|SPEC", LIST, AT(also), ANY_TEXT,
     "trained together with that one, and saved in NAME of its folder: a saved adapter, or as --method a new one (up to 4)"},
    {FOR_TRAIN, 0, "Model", "share", "NAME+NAME", TEXT, AT(share), ANY_TEXT,
     "adapters of mtl_lora that have A and B together, at first those of the first; that of --method is called adapter"},
    {FOR_EVAL | FOR_GENERATE | FOR_BENCH | FOR_PROBE, 0, "Model", "adapter", "[NAME=]DIR", LIST, AT(adapters), ANY_TEXT,
     "adapter folder of PEFT or the Adapters library; given several times, their changes add up. Or one folder of a composition "
     "(adapter_setup.json)"},
    {FOR_TRAIN | FOR_EVAL | FOR_GENERATE | FOR_PROBE, 0, "Model", "compose", "EXPR", TEXT, AT(compose), ANY_TEXT,
     "how the adapters take part, by their names (NAME=DIR): a+b (all of them so), stack(a,b), average(a:3,b:1), fuse(a,b); rows with "
     "different ones: batchsplit(a:2,b:3), multitask(a,b), split(a:5,b), parallel(a,b). The one of --method is called adapter: "
     "stack(a,adapter) trains it behind a"},
    {FOR_EVAL | FOR_GENERATE | FOR_PROBE, 0, "Model", "rank", "N", U32, AT(rank), COUNTING,
     "of a DyLoRA: with how many of its ranks (all of them)"},
    {FOR_EVAL | FOR_GENERATE | FOR_PROBE, 0, "Model", "drop", "N", U32, AT(drop), COUNTING,
     "AdapterDrop: without bottleneck adapters in the N lowest blocks"},
    {FOR_MERGE, FOR_MERGE, "Model", "adapter", "[NAME=]DIR", LIST, AT(adapters), ANY_TEXT,
     "adapter folder of PEFT or the Adapters library; several are merged in the order given"},
    {FOR_AVERAGE, FOR_AVERAGE, "Model", "adapter", "[NAME=]DIR", LIST, AT(adapters), ANY_TEXT,
     "adapter folder; given several times, of one method and configuration"},
    {FOR_AVERAGE, 0, "Average", "weights", "LIST", TEXT, AT(weights), ANY_TEXT,
     "a number for each adapter, commas between: 0.5,0.5 (equal ones whose sum is 1)"},
    {FOR_AVERAGE, 0, "Average", "mode", "MODE", CHOICE, AT(strategy), 0, 0,
     "linear|cat|svd|roots|negate_b|ties|dare_linear|dare_ties|magnitude_prune|ties_svd|dare_linear_svd|dare_ties_svd|"
     "magnitude_prune_svd",
     "linear (the default): tensor by tensor; of LoRAs cat: what they add, exactly, with all their ranks; svd: the closest to it of "
     "--rank ranks; roots: A and B each with the root of the weight, PEFT's linear; negate_b: linear, but a weight's sign is B's "
     "alone; roots of a share --density of the values: magnitude_prune of the largest, dare_linear of random ones, rescaled, ties and "
     "dare_ties of these with the sign that most have; magnitude_prune_svd, dare_linear_svd, ties_svd, dare_ties_svd: a share of what "
     "they add to the weights, then as svd"},
    {FOR_AVERAGE, 0, "Average", "rank", "N", U32, AT(rank), COUNTING,
     "of the modes that end in svd: ranks of the result (the largest there is)"},
    {FOR_AVERAGE, 0, "Average", "density", "X", REAL, AT(density), DBL_MIN, 1, "a number above 0 and at most 1",
     "of ties, dare_linear, dare_ties, magnitude_prune and these with _svd: share of the values that is kept"},
    {FOR_AVERAGE, 0, "Average", "majority-sign", "HOW", CHOICE, AT(majority_sign), 0, 0, "total|frequency",
     "of ties, dare_ties and these with _svd: the sign of the values' sum (total, the default) or of most of them"},
    {FOR_AVERAGE, 0, "Average", "seed", "N", U64, AT(seed), 0, 0, "a whole number", "of what dare keeps (0)"},
    {FOR_CONVERT, FOR_CONVERT, "Model", "model", "DIR", TEXT, AT(model), ANY_TEXT, "folder of the base: config.json is read"},
    {FOR_CONVERT, FOR_CONVERT, "Model", "adapter", "PATH", LIST, AT(adapters), ANY_TEXT, "folder of PEFT or the Adapters library, GGUF file, or a soft prompt in .npy"},
    {FOR_TRAIN | FOR_BENCH | FOR_PROBE, 0, "Model", "init", "random", CHOICE, AT(init), 0, 0, "random",
     "start from random weights; the folder then needs config.json (and the tokenizer) only"},

    {FOR_PROBE, 0, "Model", "task", "NAME", CHOICE, AT(task), 0, 0, "language|masked|classes|value|tags|spans|choices|none",
     "the head: next tokens, masked tokens, a class or a number for each row, a class for each token, the answer's place in each row, "
     "the right one of several rows, or none (what config.json names)"},
    {FOR_PROBE, 0, "Model", "label-count", "N", U32, AT(label_count), COUNTING, "classes of the head (as config.json says, or 2)"},
    {FOR_PROBE, 0, "Model", "choices", "N", U32, AT(choices), COUNTING, "of choices: rows that follow each other and are one question (2)"},

    {ON_TASK, ON_TASK, "Data", "data", "FILE", TEXT, AT(data), ANY_TEXT,
     "plain text, or JSON lines with text, prompt and completion, messages, or instruction, input, output; with --task that "
     "task's file"},
    {ON_TASK | FOR_BENCH, 0, "Data", "context", "N", U32, AT(context), COUNTING,
     "tokens in a row (256; with a task 128, in eval as the adapter was trained)"},
    {ON_TASK | FOR_BENCH, 0, "Data", "batch", "N", U32, AT(batch), COUNTING, "rows at a time (1)"},
    {ON_TASK, FOR_SWEEP, "Data", "task", "NAME", TEXT, AT(task), ANY_TEXT,
     "what the data is: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli, conll2003, wikigold, wnut17, e2e, dart, webnlg, or "
     "for files of one's own classification, regression, tagging, generation"},
    {ON_TRAINING, FOR_SWEEP, "Data", "valid", "FILE", TEXT, AT(valid), ANY_TEXT,
     "of the same task: measured after each epoch; the best adapter by the task's first metric is kept"},
    {ON_TASK, 0, "Data", "columns", "LIST", TEXT, AT(columns), ANY_TEXT,
     "text=NAME,pair=NAME,label=NAME,target=NAME: columns or keys of the files, numbers where there is no header (the task's)"},
    {ON_TASK, 0, "Data", "bio2", NULL, SWITCH, AT(bio2), ANY_TEXT, "tags in IOB1 become BIO2"},
    {FOR_TRAIN, 0, "Data", "validation-share", "X", REAL, AT(validation_share), 0, 0.9, "a number from 0 to 0.9",
     "share of the rows kept out of training to measure perplexity (0.05); 0: none"},

    {FOR_TRAIN | FOR_PROBE, 0, "Training", "method", "SPEC", TEXT, AT(method), ANY_TEXT,
     "full, or a method with its settings: lora:r=8,alpha=16,targets=all-linear (`espalier methods lora` lists them)"},
    {FOR_SWEEP, FOR_SWEEP, "Training", "methods", "LIST", TEXT, AT(methods), ANY_TEXT,
     "rows of the table: full, or methods with their settings, semicolons between: \"lora:r=8;ia3;full\""},
    {FOR_SWEEP, 0, "Training", "lrs", "LIST", TEXT, AT(rates), ANY_TEXT, "learning rates, commas between (2e-4)"},
    {FOR_SWEEP, 0, "Training", "epochs-list", "LIST", TEXT, AT(epochs_list), ANY_TEXT,
     "passes over the data, commas between (1)"},
    {ON_TRAINING, 0, "Training", "patience", "N", U32, AT(patience), COUNTING,
     "stop after N validations that were no better than the best one (never)"},
    {FOR_TRAIN, 0, "Training", "steps", "N", U32, AT(steps), COUNTING, "optimiser steps"},
    {FOR_TRAIN, 0, "Training", "epochs", "X", REAL, AT(epochs), DBL_MIN, 1e6, "a number above 0",
     "passes over the data instead of --steps (1)"},
    {ON_TRAINING, 0, "Training", "accumulate", "N", U32, AT(accumulate), COUNTING,
     "batches whose gradients make one step (1)"},
    {FOR_TRAIN | FOR_PROBE, 0, "Training", "lr", "X", REAL, AT(learning_rate), DBL_MIN, 1e6, "a number above 0",
     "learning rate (train: 2e-4, probe: 1e-4)"},
    {ON_TRAINING, 0, "Training", "schedule", "NAME", CHOICE, AT(schedule), 0, 0, "linear|constant|cosine",
     "linear (the default) and cosine fall to 0 at the last step; or constant"},
    {ON_TRAINING, 0, "Training", "warmup", "N", U32, AT(warmup), COUNTING_0, "steps in which the rate rises from 0 (0)"},
    {ON_TRAINING | FOR_PROBE, 0, "Training", "weight-decay", "X", REAL, AT(weight_decay), 0, 1e6, "a number from 0",
     "decoupled weight decay of AdamW (0)"},
    {ON_TRAINING, 0, "Training", "max-norm", "X", REAL, AT(max_norm), 0, 1e30, "a number from 0",
     "gradients longer than this are shortened to it (1); 0: never"},
    {ON_TRAINING | FOR_PROBE, 0, "Training", "recompute", NULL, SWITCH, AT(recompute), ANY_TEXT,
     "keep less and compute it again: less memory, about a third more time"},
    {ON_TRAINING, 0, "Training", "group-by-length", NULL, SWITCH, AT(group_by_length), ANY_TEXT,
     "rows of like length share a batch, and short ones cost less; batches keep a random order"},
    {FOR_PROBE, 0, "Training", "steps", "N", U32, AT(steps), COUNTING_0, "AdamW steps on this batch (0)"},

    {FOR_BENCH, 0, "Frames", "budget", "MS", REAL, AT(budget), DBL_MIN, 1e6, "a number above 0",
     "bench frames: milliseconds of training per frame (4)"},
    {FOR_BENCH, 0, "Frames", "piece-ms", "MS", REAL, AT(piece_ms), DBL_MIN, 1e6, "a number above 0",
     "bench frames: milliseconds that go to the device at a time (1)"},

    {FOR_PROBE, FOR_PROBE, "Batch", "ids", "ROWS", TEXT, AT(ids), ANY_TEXT,
     "token numbers: commas between tokens, semicolons between rows of equal length (1,80,147;1,3,3)"},
    {FOR_PROBE, 0, "Batch", "labels", "ROWS", TEXT, AT(labels), ANY_TEXT,
     "the same shape, one number a row where a row has one class, the first and last token of each row's answer, the right row "
     "(from 0) of each question; negative does not count (default: the ids)"},
    {FOR_PROBE, 0, "Batch", "types", "ROWS", TEXT, AT(types), ANY_TEXT, "token types, shaped as the ids (0)"},
    {FOR_PROBE, 0, "Batch", "tasks", "LIST", TEXT, AT(tasks), ANY_TEXT,
     "for each row the number of its task, for an adapter with a part for each, or multitask: 1;0;1 (0)"},
    {FOR_PROBE, 0, "Batch", "lengths", "LIST", TEXT, AT(lengths), ANY_TEXT,
     "for each row the tokens that are not padding: 7;3;5 (all)"},
    {FOR_PROBE, 0, "Batch", "values", "ROWS", TEXT, AT(values), ANY_TEXT, "what --task value aims at: 0.5;-1.25"},

    {FOR_GENERATE, FOR_GENERATE, "Text", "prompt", "TEXT", TEXT, AT(prompt), ANY_TEXT, "what the text goes on from"},
    {FOR_GENERATE, 0, "Text", "adapter-task", "NAME", TEXT, AT(adapter_task), ANY_TEXT,
     "task of the text, for an adapter with a part for each, as adalink:links=a+b, or the adapter's name in multitask (the first)"},
    {FOR_GENERATE, 0, "Text", "max-tokens", "N", U32, AT(max_tokens), COUNTING, "most tokens to write (128)"},
    {FOR_GENERATE, 0, "Text", "stop", "TEXT", LIST, AT(stops), ANY_TEXT,
     "end before this text; may be given several times"},
    {FOR_GENERATE, 0, "Text", "ignore-end", NULL, SWITCH, AT(ignore_end), ANY_TEXT, "go on past the end of the text"},
    {FOR_GENERATE, 0, "Text", "context", "N", U32, AT(context), COUNTING,
     "tokens the cache holds, prompt included (the model's maximum, at most 4096)"},

    {FOR_GENERATE, 0, "Sampling", "temperature", "T", REAL, AT(temperature), 0, 1e6, "a number from 0",
     "0: always the most likely token (the default); 1: as the model says; above: wilder"},
    {FOR_GENERATE, 0, "Sampling", "top-k", "N", U32, AT(top_k), COUNTING_0, "only the N most likely tokens; 0: all"},
    {FOR_GENERATE, 0, "Sampling", "top-p", "P", REAL, AT(top_p), 0, 1, "a number from 0 to 1",
     "only the most likely tokens that together have probability P; 0: all"},
    {FOR_GENERATE, 0, "Sampling", "min-p", "P", REAL, AT(min_p), 0, 1, "a number from 0 to 1",
     "only tokens at least P times as likely as the first; 0: all"},
    {FOR_GENERATE, 0, "Sampling", "repetition-penalty", "X", REAL, AT(repetition_penalty), 0, 1e6, "a number from 0",
     "above 1: tokens seen before become less likely; 0 or 1: off"},

    {FOR_METHODS, 0, "Tables", "table1", NULL, SWITCH, AT(table1), ANY_TEXT, "PEFT-Ref's structural properties of seven techniques"},
    {FOR_METHODS, 0, "Tables", "table2", NULL, SWITCH, AT(table2), ANY_TEXT,
     "PEFT-Ref's time and parameters of them in a model, beside what they declare there"},
    {FOR_METHODS, 0, "Tables", "model", "DIR", TEXT, AT(model), ANY_TEXT, "of --table2 or a METHOD: config.json is read"},
    {FOR_METHODS, 0, "Output", "format", "FORMAT", CHOICE, AT(format), 0, 0, "text|csv|md", "for people (text), CSV or Markdown"},
    {FOR_TRAIN, FOR_TRAIN, "Output", "out", "DIR", TEXT, AT(out), ANY_TEXT,
     "folder for the adapter (or model), DIR/checkpoint, DIR/best and metrics"},
    {FOR_SWEEP, FOR_SWEEP, "Output", "out", "DIR", TEXT, AT(out), ANY_TEXT,
     "folder with one folder for each cell; what is finished there is not run again"},
    {FOR_SWEEP, 0, "Output", "table", "FORM", CHOICE, AT(table), 0, 0, "text|markdown|csv", "form of the table (text)"},
    {FOR_MERGE, FOR_MERGE, "Output", "out", "DIR", TEXT, AT(out), ANY_TEXT, "folder for the merged model, in f32"},
    {FOR_AVERAGE, FOR_AVERAGE, "Output", "out", "DIR", TEXT, AT(out), ANY_TEXT, "folder for the adapter"},
    {FOR_CONVERT, FOR_CONVERT, "Output", "to", "FORMAT", CHOICE, AT(to), 0, 0, "peft|adapters|gguf",
     "format to write: a folder of PEFT, one of the Adapters library, or a GGUF file"},
    {FOR_CONVERT, 0, "Output", "rank", "N", U32, AT(rank), COUNTING, "of a DyLoRA: its first N ranks as a LoRA (--to peft)"},
    {FOR_CONVERT, FOR_CONVERT, "Output", "out", "PATH", TEXT, AT(out), ANY_TEXT, "folder (peft, adapters) or file (gguf) to write"},
    {FOR_PROBE, FOR_PROBE, "Output", "out", "FILE", TEXT, AT(out), ANY_TEXT, "safetensors file to write"},
    {FOR_TRAIN, 0, "Output", "metrics", "FILE", TEXT, AT(metrics), ANY_TEXT,
     "one JSON object per step and per validation (DIR/metrics.jsonl)"},
    {ON_TRAINING, 0, "Output", "eval-every", "N", U32, AT(eval_every), COUNTING,
     "measure perplexity before the first and after every N steps too, not at the end only"},
    {ON_TRAINING, 0, "Output", "save-every", "N", U32, AT(save_every), COUNTING,
     "write DIR/checkpoint every N steps too, not at the end only"},
    {FOR_TRAIN, 0, "Output", "resume", NULL, SWITCH, AT(resume), ANY_TEXT,
     "go on from DIR/checkpoint, to the same bits as a run that was never stopped"},
    {ON_TRAINING | FOR_MERGE | FOR_AVERAGE | FOR_CONVERT, 0, "Output", "force", NULL, SWITCH, AT(force), ANY_TEXT,
     "write into a folder that has something in it already"},
    {FOR_BENCH, 0, "Output", "repetitions", "N", U32, AT(repetitions), COUNTING, "measurements per figure (5)"},

    {ON_MODEL, 0, "Device", "device", "WHICH", TEXT, AT(device), ANY_TEXT,
     "number as listed by `espalier devices`, part of the name, or UUID (the best one)"},
    {ON_SESSION, 0, "Device", "mode", "MODE", CHOICE, AT(mode), 0, 0, "exact|fast",
     "exact (the default): f32, the same bits on every run; fast: weights and activations in 16 bits"},
    {ON_SESSION, 0, "Device", "dtype", "TYPE", CHOICE, AT(dtype), 0, 0, "f32|f16|bf16",
     "base weights on the device (as stored)"},
    {ON_MODEL, 0, "Device", "limits", "LIST", TEXT, AT(limits), ANY_TEXT,
     "use less than the device offers, for faulty drivers: subgroup_arithmetic=0,shared_bytes_max=16384"},
    {ON_MODEL, 0, "Device", "gpu-budget", "MS", U32, AT(gpu_budget), COUNTING,
     "milliseconds at most that work is given to the device for at a time, at low priority, so that a desktop stays usable (50)"},
    {ON_MODEL, 0, "Device", "cache", "DIR", TEXT, AT(cache), ANY_TEXT,
     "folder for compiled kernels (the user's cache folder); \"\": none"},
    {ON_SESSION, 0, "Device", "seed", "N", U64, AT(seed), 0, 0, "a whole number",
     "of random weights, new adapters, row order, dropout, sampling (0)"},

    {~(unsigned)FOR_METHODS, 0, "Any command", "json", NULL, SWITCH, AT(json), ANY_TEXT, "the result as JSON on stdout"},
    {~0u, 0, "Any command", "help", NULL, SWITCH, AT(help), ANY_TEXT, "this text"},
};

static bool is_choice(const char *choices, const char *text) {
    size_t length = strlen(text);
    while (length > 0) {
        size_t part = strcspn(choices, "|");
        if (part == length && !strncmp(choices, text, part)) return true;
        if (!choices[part]) break;
        choices += part + 1;
    }
    return false;
}

/* Decimal digits only: strtoull would take "-1" and " 7". */
static bool parse_whole(const char *text, uint64_t most, uint64_t *out_value) {
    if (!*text || strspn(text, "0123456789") != strlen(text)) return false;
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    *out_value = value;
    return errno == 0 && value <= most;
}

static bool parse_real(const char *text, double *out_value) {
    char *end;
    *out_value = strtod(text, &end);
    return end != text && !*end && isfinite(*out_value);
}

/* Puts one value into the field; false if it is none the row takes. */
static bool set_value(const option_row *row, const char *text, options *opts) {
    void *field = (char *)opts + row->offset;
    uint64_t whole;
    double real;
    switch (row->kind) {
    case SWITCH: *(bool *)field = true; return true;
    case CHOICE:
        if (!is_choice(row->takes, text)) return false;
        *(const char **)field = text;
        return true;
    case TEXT: *(const char **)field = text; return true;
    case LIST: {
        option_list *list = field;
        if (list->count == OPTION_LIST_MAX) return false;
        list->items[list->count++] = text;
        return true;
    }
    case U32:
        if (!parse_whole(text, (uint64_t)row->most, &whole) || (double)whole < row->least) return false;
        *(uint32_t *)field = (uint32_t)whole;
        return true;
    case U64:
        if (!parse_whole(text, UINT64_MAX, &whole)) return false;
        *(uint64_t *)field = whole;
        return true;
    case REAL:
        if (!parse_real(text, &real) || real < row->least || real > row->most) return false;
        *(double *)field = real;
        return true;
    }
    return false;
}

static int refuse_value(const command *command, const option_row *row, const char *text) {
    if (row->kind == LIST)
        return fail_usage(command->name, "--%s was given more than %d times", row->name, OPTION_LIST_MAX);
    if (row->kind != CHOICE) return fail_usage(command->name, "--%s takes %s, not \"%s\"", row->name, row->takes, text);
    return fail_usage(command->name, "--%s takes one of %s, not \"%s\"", row->name, row->takes, text);
}

static bool is_given(const option_row *row, const options *opts) {
    const void *field = (const char *)opts + row->offset;
    if (row->kind == LIST) return ((const option_list *)field)->count > 0;
    return *(const char *const *)field != NULL; /* only TEXT and LIST are ever required */
}

/* getopt_long also takes the beginning of a name, by which --mode would be --model where a command has no --mode. */
static bool is_whole_name(const char *word, const option_row *row) {
    const size_t length = strlen(row->name);
    return !strncmp(word, "--", 2) && !strncmp(word + 2, row->name, length) && (!word[2 + length] || word[2 + length] == '=');
}

/* What the flags mean when they are not there and zero would mean something else. */
static void set_defaults(options *opts) {
    *opts = (options){.validation_share = 0.05, .max_norm = 1, .repetitions = 5, .budget = 4, .piece_ms = 1};
}

int options_parse(const command *command, int word_count, char **words, options *out_options) {
    struct option known[ESPL_COUNT(rows) + 1] = {{0}};
    int known_count = 0;
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) {
        if (!(rows[i].commands & command->bit)) continue;
        known[known_count++] =
            (struct option){rows[i].name, rows[i].value ? required_argument : no_argument, NULL, (int)(i + 256)};
    }
    set_defaults(out_options);
    opterr = 0;
    optind = 1;
    for (int found; (found = getopt_long(word_count, words, ":h", known, NULL)) != -1;) {
        if (found == 'h') {
            out_options->help = true;
            return 0;
        }
        /* optopt is the letter of a short flag, or the number of a long one without its value. */
        if (found == '?' && optopt > 0 && optopt < 256) return fail_usage(command->name, "there is no flag -%c", optopt);
        const option_row *row = found == '?' ? NULL : &rows[(found == ':' ? optopt : found) - 256];
        const bool value_apart = found != ':' && optarg == words[optind - 1];
        const char *word = words[optind - (value_apart ? 2 : 1)];
        if (!row || !is_whole_name(word, row)) return fail_usage(command->name, "%s is not one of its flags", word);
        if (found == ':') return fail_usage(command->name, "%s needs a value after it", word);
        if (!set_value(row, optarg, out_options)) return refuse_value(command, row, optarg);
    }
    if (out_options->help) return 0;
    for (int i = optind; i < word_count; i++) {
        if (out_options->operands.count == OPTION_LIST_MAX) return fail_usage(command->name, "too many words");
        out_options->operands.items[out_options->operands.count++] = words[i];
    }
    if (out_options->operands.count && !(command->bit & (FOR_INSPECT | FOR_BENCH | FOR_METHODS)))
        return fail_usage(command->name, "\"%s\" does not belong here", out_options->operands.items[0]);
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) {
        const option_row *row = &rows[i];
        if ((row->required & command->bit) && !is_given(row, out_options))
            return fail_usage(command->name, "--%s %s is missing", row->name, row->value);
    }
    return 0;
}

#define HELP_COLUMN 28
#define HELP_WIDTH  96

/* Prints text broken at spaces; the first line begins at HELP_COLUMN already. */
static void print_wrapped(const char *text) {
    size_t room = HELP_WIDTH - HELP_COLUMN;
    while (strlen(text) > room) {
        size_t length = room;
        while (length > 0 && text[length] != ' ')
            length--;
        if (length == 0) break;
        printf("%.*s\n%*s", (int)length, text, HELP_COLUMN, "");
        text += length + 1;
    }
    printf("%s\n", text);
}

void options_print_help(unsigned command_bit) {
    const char *group = "";
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) {
        const option_row *row = &rows[i];
        if (!(row->commands & command_bit)) continue;
        if (strcmp(row->group, group)) printf("\n%s\n", row->group);
        group = row->group;
        /* More words than fit a line are named in the help. */
        const bool words = row->kind == CHOICE && strlen(row->takes) < HELP_WIDTH - HELP_COLUMN;
        const char *value = words ? row->takes : row->value;
        const int length = printf("  --%s%s%s", row->name, value ? " " : "", value ? value : "");
        if (length < HELP_COLUMN - 1)
            printf("%*s", HELP_COLUMN - length, "");
        else
            printf("\n%*s", HELP_COLUMN, "");
        print_wrapped(row->help);
    }
}
