/* What differs between operating systems: files, mapping, time, libraries. Only os_<system>.c calls POSIX or Win32. */
#ifndef ESPL_OS_H
#define ESPL_OS_H

#include "host/base/base.h"

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
    int descriptor;
    uint64_t bytes;
} espl_replace;
espl_status espl_os_replace_begin(espl_context *ctx, const char *path, espl_replace *out_replace);
espl_status espl_os_replace_write(espl_context *ctx, espl_replace *replace, const void *data, size_t bytes);
espl_status espl_os_replace_commit(espl_context *ctx, espl_replace *replace);
void espl_os_replace_finish(espl_context *ctx, espl_replace *replace);

/* Replaces path with these bytes in one go. */
espl_status espl_os_write_file(espl_context *ctx, const char *path, const void *data, size_t bytes);

bool espl_os_is_file(const char *path);
bool espl_os_is_folder(const char *path);
/* Makes path and its parents; an existing folder is fine. */
espl_status espl_os_make_folder(espl_context *ctx, const char *path);
/* Removes a folder and the plain files directly in it; a missing folder is fine. */
void espl_os_remove_folder(espl_context *ctx, const char *path);
void espl_os_remove_file(const char *path);

/* Seconds from an arbitrary start, never running backwards. */
double espl_os_seconds(void);

/* Shared libraries; NULL if there is none of that name. */
void *espl_os_library_open(const char *name);
void *espl_os_library_symbol(void *library, const char *symbol);
void espl_os_library_close(void *library);

/* Folder for caches of this user, "~/.cache/espalier" here; *out_path is NULL if the system names none. */
espl_status espl_os_cache_folder(espl_context *ctx, char **out_path);

#endif
