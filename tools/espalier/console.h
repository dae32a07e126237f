/* Figures for people, and the one line on stderr that shows how far a long job is. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include "host/base/base.h"

/* On a terminal the line is rewritten in place; elsewhere it is a line of its own every few seconds. */
typedef struct progress_line {
    unsigned columns; /* of the terminal; 0: none */
    double shown;     /* when, in espl_os_seconds */
    bool open;        /* the cursor is in the line */
} progress_line;

void progress_begin(progress_line *line);
/* Not every call shows something, unless important. */
void progress_show(progress_line *line, bool important, const char *format, ...) ESPL_PRINTF(3, 4);
/* Leaves the line as it is and goes to the next. */
void progress_end(progress_line *line);

/* "1.5 GB", "12 min 3 s", "134.5M"; text has room for 32. */
const char *text_bytes(char text[32], uint64_t bytes);
const char *text_seconds(char text[32], double seconds);
const char *text_count(char text[32], uint64_t count);

/* The middle one; sorts values. count > 0. */
double median(double *values, size_t count);

#endif
