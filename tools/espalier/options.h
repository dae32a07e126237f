/* The command line. One table says for every flag what it takes, which commands know it and what their help says;
 * parsing, checking and help all read that table. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FOR_DEVICES = 1 << 0,
    FOR_TRAIN = 1 << 1,
    FOR_EVAL = 1 << 2,
    FOR_GENERATE = 1 << 3,
    FOR_MERGE = 1 << 4,
    FOR_INSPECT = 1 << 5,
    FOR_BENCH = 1 << 6,
    FOR_PROBE = 1 << 7,
    FOR_CONVERT = 1 << 8,
    FOR_METHODS = 1 << 9,
    FOR_SWEEP = 1 << 10,
    FOR_AVERAGE = 1 << 11
};

#define OPTION_LIST_MAX 64

typedef struct option_list {
    const char *items[OPTION_LIST_MAX];
    size_t count;
} option_list;

/* Every string is borrowed from the command line. Zero, NULL or an empty list: not given. */
typedef struct options {
    const char *model, *data, *out, *prompt, *method, *init, *metrics, *ids, *labels, *types, *lengths, *tasks, *values, *task, *adapter_task, *compose, *share;
    const char *valid, *columns, *methods, *rates, *epochs_list, *table, *weights, *strategy, *majority_sign;
    const char *device, *mode, *dtype, *limits, *cache, *schedule, *to, *format;
    option_list adapters, also, stops, operands;
    uint64_t seed;
    uint32_t steps, batch, accumulate, context, warmup, gpu_budget, eval_every, save_every, max_tokens, top_k, repetitions;
    uint32_t label_count, choices, rank, drop, patience;
    double epochs, learning_rate, weight_decay, max_norm, validation_share, budget, piece_ms;
    double temperature, top_p, min_p, repetition_penalty, density;
    bool table1, table2, bio2;
    bool json, recompute, group_by_length, resume, force, ignore_end, help;
} options;

struct command;
/* Reads words[1..] of a command line whose words[0] is the command's name. Returns 0, or the exit status after one
 * sentence on stderr. */
int options_parse(const struct command *command, int word_count, char **words, options *out_options);
/* The flags of a command with what they mean, in groups, on stdout. */
void options_print_help(unsigned command_bit);

#endif
