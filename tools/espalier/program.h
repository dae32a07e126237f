/* What the commands share: the row that describes a command, the objects most of them open, and how they fail.
 *
 * Results go to stdout, every sentence to stderr as "espalier: ...". Exit status: 0 done, 1 failed, 2 the command line
 * was not understood, 130 stopped by Ctrl-C with everything kept. */
#ifndef PROGRAM_H
#define PROGRAM_H

#include "host/base/os.h"
#include "tools/espalier/options.h"
#include <espalier/espalier.h>
#include <jansson.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_STOPPED = 130 };

typedef struct program {
    const options *options;
    char *const *words; /* borrowed from main: the command line as it was typed */
    int word_count;
    double started; /* espl_os_seconds at the beginning of main */
    espl_context *context;
    espl_device *device;
    espl_model *model;
    espl_adapter *adapters[2 * OPTION_LIST_MAX + 1]; /* the first adapter_count are open */
    size_t adapter_count;
    espl_adapter *trained; /* borrowed from adapters; NULL when there is none, or the model itself is trained */
    espl_adapter *const *also; /* borrowed from adapters: those of --also, as many as were given */
} program;

typedef struct command {
    const char *name;
    unsigned bit;         /* of options.h: which flags it takes */
    const char *usage;    /* what follows "espalier NAME " */
    const char *summary;  /* one line for the list of commands */
    const char *text;     /* paragraphs for its own help */
    const char *examples; /* command lines, one per line */
    int (*run)(program *program);
} command;

int cmd_devices(program *program);
int cmd_train(program *program);
int cmd_sweep(program *program);
int cmd_eval(program *program);
int cmd_generate(program *program);
int cmd_merge(program *program);
int cmd_average(program *program);
int cmd_convert(program *program);
int cmd_inspect(program *program);
int cmd_methods(program *program);
int cmd_bench(program *program);
int cmd_probe(program *program);

/* "espalier: <message of the context>" on stderr; returns EXIT_FAILED. */
int fail_status(const program *program, espl_status status);
/* "espalier: ..." on stderr; returns EXIT_FAILED. */
int fail(const char *format, ...) ESPL_PRINTF(1, 2);
/* "espalier NAME: ... (espalier help NAME)" on stderr; returns EXIT_USAGE. */
int fail_usage(const char *command_name, const char *format, ...) ESPL_PRINTF(2, 3);
/* A sentence of no consequence on stderr, without a name before it. */
void say(const char *format, ...) ESPL_PRINTF(1, 2);

/* `return open_device(program)` style: 0, or the exit status after the sentence was printed. */
int open_device(program *program);
int open_model(program *program, const espl_model_params *params);
/* Mode, dtype, random weights and seed as the flags say. */
espl_model_params model_params(const options *options);
/* DIR of "[NAME=]DIR". */
const char *adapter_folder(const char *text);
/* Loads every --adapter, or the composition in the one that there is, and activates them as --compose says, or all; none is fine. */
int open_adapters(program *program);
/* The same, none of them active. */
int load_adapters(program *program);
/* What --method says: "full" (program->trained stays NULL), or a new adapter, active. With --adapter and no --method
 * the one adapter loaded is trained further. --also adds others. fallback: the method where neither was given; NULL: nothing is trained. */
int open_method(program *program, const char *fallback);
bool is_full_training(const options *options);
/* Everything above, in reverse order; the context stays. */
void close_program(program *program);

/* What --compose says, else the names of the open adapters joined by '+', the folder of a composition, or "none"; freed by the caller with espl_free. NULL without memory. */
char *adapter_names(program *program);
const char *mode_name(espl_mode mode);
/* --json: device, driver, mode and model, so that every result says what made it. NULL without memory. */
json_t *describe_run(program *program);
/* Prints and takes root, which may be NULL (no memory, a failure). */
int print_json(json_t *root);

#endif
