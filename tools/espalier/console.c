/* See console.h. */
#include "tools/espalier/console.h"
#include "host/base/os.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TERMINAL_PAUSE 0.1 /* seconds between two showings */
#define FILE_PAUSE     5.0

void progress_begin(progress_line *line) {
    *line = (progress_line){.columns = espl_os_terminal_columns(), .shown = -1e9};
}

void progress_show(progress_line *line, bool important, const char *format, ...) {
    double now = espl_os_seconds();
    if (!important && now - line->shown < (line->columns ? TERMINAL_PAUSE : FILE_PAUSE)) return;
    line->shown = now;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!line->columns) {
        fprintf(stderr, "%s\n", text);
        return;
    }
    /* A line as wide as the terminal would wrap and could not be taken back. */
    fprintf(stderr, "\r%.*s\033[K", (int)(line->columns - 1), text);
    fflush(stderr);
    line->open = true;
}

void progress_end(progress_line *line) {
    if (line->open) fputc('\n', stderr);
    line->open = false;
}

const char *text_bytes(char text[32], uint64_t bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < ESPL_COUNT(units)) {
        value /= 1000;
        unit++;
    }
    snprintf(text, 32, value < 9.95 && unit > 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

const char *text_seconds(char text[32], double seconds) {
    if (!isfinite(seconds) || seconds < 0 || seconds > 3.6e8) {
        strcpy(text, "?");
        return text;
    }
    unsigned long whole = (unsigned long)(seconds + 0.5);
    if (whole >= 3600)
        snprintf(text, 32, "%lu h %lu min", whole / 3600, whole / 60 % 60);
    else if (whole >= 60)
        snprintf(text, 32, "%lu min %lu s", whole / 60, whole % 60);
    else
        snprintf(text, 32, "%lu s", whole);
    return text;
}

const char *text_count(char text[32], uint64_t count) {
    if (count >= 1000000000)
        snprintf(text, 32, "%.2fG", (double)count / 1e9);
    else if (count >= 1000000)
        snprintf(text, 32, "%.1fM", (double)count / 1e6);
    else if (count >= 10000)
        snprintf(text, 32, "%.0fk", (double)count / 1e3);
    else
        snprintf(text, 32, "%u", (unsigned)count);
    return text;
}

static int compare(const void *a, const void *b) {
    double x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}
