/* What differs between operating systems: files, mapping, time, libraries, and for programs the command line, the
 * terminal and Ctrl-C. Only os_<system>.c calls POSIX or Win32. Paths are UTF-8 on every system. */
#ifndef ESPL_OS_H
#define ESPL_OS_H

#include "host/base/base.h"
#include <stdio.h>

/* A whole file mapped read-only. An empty file has data "" and bytes 0. */
typedef struct espl_mapping {
    const unsigned char *data;
    size_t bytes;
} espl_mapping;
espl_status espl_os_map(espl_context *ctx, const char *path, espl_mapping *out_mapping);
void espl_os_unmap(espl_mapping *mapping);

/* A file being replaced: written beside ("path.tmp-<pid>"), flushed to the disk and renamed over path by commit. Until
 * then path is untouched; finish without commit removes what was written. IO failures name path and the system's
 * reason ("No space left on device"). */
typedef struct espl_replace {
    char *path;      /* owned */
    char *temporary; /* owned */
    intptr_t descriptor;
    uint64_t bytes;
} espl_replace;
espl_status espl_os_replace_begin(espl_context *ctx, const char *path, espl_replace *out_replace);
espl_status espl_os_replace_write(espl_context *ctx, espl_replace *replace, const void *data, size_t bytes);
espl_status espl_os_replace_commit(espl_context *ctx, espl_replace *replace);
void espl_os_replace_finish(espl_context *ctx, espl_replace *replace);
/* Several files that belong together: those that were begun, in this order, and the end of all. */
espl_status espl_os_replace_commit_all(espl_context *ctx, espl_replace *replaces, size_t count);
void espl_os_replace_finish_all(espl_context *ctx, espl_replace *replaces, size_t count);

/* Replaces path with these bytes in one go. */
espl_status espl_os_write_file(espl_context *ctx, const char *path, const void *data, size_t bytes);

/* Opened for writing at its end, made if there is none, for lines as they come; NULL with errno. */
FILE *espl_os_append(const char *path);

bool espl_os_is_file(const char *path);
bool espl_os_is_folder(const char *path);
/* true also if there is no such folder. */
bool espl_os_folder_is_empty(const char *path);
/* Makes path and its parents; an existing folder is fine. */
espl_status espl_os_make_folder(espl_context *ctx, const char *path);
/* Removes a folder and all below it; a link goes as a link. A missing folder is fine, what cannot go is a warning. */
void espl_os_remove_folder(espl_context *ctx, const char *path);
void espl_os_remove_file(const char *path);
/* What follows the last separator of folders, which is within path: its address less that of path is the folder's. */
const char *espl_os_file_name(const char *path);

/* Seconds from an arbitrary start, never running backwards. */
double espl_os_seconds(void);
/* Processor seconds of the calling thread alone. */
double espl_os_thread_seconds(void);

/* Shared libraries; NULL if there is none of that name. */
void *espl_os_library_open(const char *name);
void *espl_os_library_symbol(void *library, const char *symbol);
void espl_os_library_close(void *library);

/* Folder for caches of this user, "~/.cache/espalier" or "%LOCALAPPDATA%/espalier"; *out_path is NULL if the system
 * names none. */
espl_status espl_os_cache_folder(espl_context *ctx, char **out_path);
/* A new private folder for temporary files. */
espl_status espl_os_temporary_folder(espl_context *ctx, char **out_path);

/* ---- For programs ---- */

/* First thing in main: makes the words UTF-8 and the standard streams take bytes as they are, where that is not so. */
void espl_os_program_begin(int *in_out_word_count, char ***in_out_words);
/* Columns of the terminal that stderr is, or 0 if it is none or does not know escape sequences. */
unsigned espl_os_terminal_columns(void);
/* From now on the first Ctrl-C (or what else asks a process to end) only sets a flag; the second ends it as usual. */
void espl_os_catch_stop(void);
bool espl_os_stop_asked(void);

#endif
