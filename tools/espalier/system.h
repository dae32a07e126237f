/* What this program asks of the operating system beyond host/base/os.h: the terminal, Ctrl-C, processor time. */
#ifndef SYSTEM_H
#define SYSTEM_H

#include <stdbool.h>
#include <stddef.h>

/* Columns of the terminal that stderr is, or 0 if it is none. */
unsigned system_terminal_columns(void);
/* From now on the first SIGINT or SIGTERM only sets a flag; the second ends the process as usual. */
void system_catch_stop(void);
bool system_stop_asked(void);
/* Processor seconds of the calling thread alone. */
double system_thread_seconds(void);
/* true also if there is no such folder. */
bool system_folder_is_empty(const char *path);
/* Removes a folder and all below it; a missing one is fine. */
void system_remove_tree(const char *path);
/* A new private folder for temporary files into text; false if none could be made. */
bool system_temporary_folder(char *text, size_t text_bytes);

#endif
