/* A training run of the program: train runs one, sweep runs one for each cell of its table. */
#ifndef TRAINING_H
#define TRAINING_H

#include "tools/espalier/console.h"
#include "tools/espalier/metrics.h"
#include "tools/espalier/program.h"

typedef struct training {
    program *program;                 /* borrowed */
    bool is_cell;                     /* of a sweep, which is gone on with without --resume */
    char *checkpoint;                 /* owned path */
    char *best;                       /* owned path */
    char *metrics_path;               /* owned */
    espl_dataset *dataset;            /* owned; NULL with a task */
    espl_task_data *train, *valid;    /* owned; with a task; valid may be NULL */
    const espl_dataset *rows_trained; /* borrowed: dataset, or the rows of train */
    espl_dataset_info rows;
    espl_trainer *trainer;  /* owned */
    espl_progress progress; /* of the newest step; zero before the first */
    progress_line line;
    metrics metrics;
    espl_task_result validation; /* newest; its loss is NaN before the first */
    uint32_t validation_step;
    double first_validation_loss;
    double began;
    bool stopped_early;
} training;

/* Everything from the command line to the files in --out. Returns the exit status; with EXIT_DONE *out_result is what
 * --json prints (NULL without memory), owned by the caller. out_result NULL: it is printed here. */
int train(program *program, bool is_cell, json_t **out_result);

uint64_t trained_parameters(const program *program);
const char *trained_method(const program *program);
void say_setup(const training *run);
void show_progress(training *run, bool important);
/* The command line again, quoted for a shell, with --resume. */
void say_resume(const training *run);
json_t *training_result(const training *run);
void print_training(const training *run);

/* ---- With --task ---- */

/* Reads --data and --valid; the head that the model is opened with. */
espl_status read_task(training *run, espl_head_params *out_head);
/* Their rows, once the model is open. */
espl_status encode_task(training *run);
/* What eval needs of a training beside an adapter: task, labels, context. */
espl_status save_task(const training *run, const char *folder);
/* Where to look for it: in the folder of the first --adapter, else of the model. */
const char *saved_task_folder(const options *options);
/* *out_root is NULL if there is no such file. */
espl_status load_saved_task(program *program, json_t **out_root);
/* The head of a task, with what that file (saved, may be NULL) says of labels, whose names are saved's; *out_names is freed by
 * the caller. Fails: ARGUMENT where it was trained for another task. */
espl_status saved_head(program *program, const char *task, const json_t *saved, espl_head_params *out_head,
                       const char ***out_names);
/* open_model with the head that the first --adapter was trained with. */
int open_model_of_adapters(program *program, espl_model_params params);
/* The first --adapter's file into folder; nothing where it has none. */
espl_status copy_saved_task(program *program, const char *folder);

#endif
