/* The grid of espalier sweep and its table. */
#ifndef SWEEP_H
#define SWEEP_H

#include "tools/espalier/program.h"

typedef struct sweep_cell {
    const char *method; /* borrowed */
    const char *rate, *epochs; /* borrowed; as they were typed */
    char *folder;              /* owned */
    json_t *result;            /* owned; as train --json prints it; NULL: failed */
} sweep_cell;

typedef struct sweep {
    program *program; /* borrowed */
    char *methods, *rates, *epochs; /* owned; the lists, cut into strings */
    sweep_cell *cells;              /* owned */
    size_t count;
    char *settings_path; /* owned */
} sweep;

/* On stdout, in the form that --table or --json asks for. Returns the exit status. */
int print_sweep(const sweep *sweep);

#endif
