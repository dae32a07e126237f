/* The operating system, for Linux, Android, macOS and the BSDs. A replaced file is made durable in the only order that
 * survives a power cut: bytes, fsync, close, rename, fsync of the folder that holds the name. */
#define _XOPEN_SOURCE 700
#ifdef __APPLE__
#define _DARWIN_C_SOURCE /* F_FULLFSYNC, TIOCGWINSZ */
#endif
#include "host/base/os.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* One sentence for every failed call: "path: could not be opened: No such file or directory". */
static espl_status fail_errno(espl_context *ctx, const char *path, const char *what, int error) {
    char reason[128];
    if (strerror_r(error, reason, sizeof reason)) snprintf(reason, sizeof reason, "error %d", error);
    return espl_fail(ctx, ESPL_IO, "%s: could not be %s: %s", path, what, reason);
}

espl_status espl_os_map(espl_context *ctx, const char *path, espl_mapping *out_mapping) {
    *out_mapping = (espl_mapping){0};
    /* Without O_NONBLOCK a named pipe would block here before it can be refused. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return fail_errno(ctx, path, "opened", errno);
    espl_status status = ESPL_OK;
    struct stat info;
    if (fstat(descriptor, &info)) {
        status = fail_errno(ctx, path, "examined", errno);
    } else if (!S_ISREG(info.st_mode)) {
        status = espl_fail(ctx, ESPL_IO, "%s: is not a plain file", path);
    } else if ((uintmax_t)info.st_size > SIZE_MAX / 2) {
        status = espl_fail(ctx, ESPL_LIMIT, "%s: %jd bytes do not fit the address space", path, (intmax_t)info.st_size);
    } else if (info.st_size == 0) {
        out_mapping->data = (const unsigned char *)"";
    } else {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (data == MAP_FAILED) status = fail_errno(ctx, path, "mapped", errno);
        else *out_mapping = (espl_mapping){.data = data, .bytes = (size_t)info.st_size};
    }
    close(descriptor);
    return status;
}

void espl_os_unmap(espl_mapping *mapping) {
    if (mapping->bytes) munmap((void *)(uintptr_t)mapping->data, mapping->bytes);
    *mapping = (espl_mapping){0};
}

espl_status espl_os_replace_begin(espl_context *ctx, const char *path, espl_replace *out_replace) {
    *out_replace = (espl_replace){.descriptor = -1};
    espl_replace replace = {.descriptor = -1};
    espl_status status;
    ESPL_GOTO(espl_copy_string(ctx, path, strlen(path), &replace.path));
    ESPL_GOTO(espl_format(ctx, &replace.temporary, "%s.tmp-%ld", path, (long)getpid()));
    /* What a dead process of the same number left; a link planted there is removed, not followed. */
    unlink(replace.temporary);
    replace.descriptor = open(replace.temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (replace.descriptor < 0) {
        status = fail_errno(ctx, replace.temporary, "created", errno);
        goto fail;
    }
    *out_replace = replace;
    return ESPL_OK;
fail:
    espl_free(ctx, &replace.path);
    espl_free(ctx, &replace.temporary);
    return status;
}

static espl_status check_open(espl_context *ctx, const espl_replace *replace) {
    if (replace->temporary && replace->descriptor >= 0) return ESPL_OK;
    return espl_fail(ctx, ESPL_ARGUMENT, "a replaced file was used before begin or after a failure");
}

/* Takes the half-written file away at once, so that a full disk is not kept full by it. */
static espl_status fail_replace(espl_context *ctx, espl_replace *replace, const char *what, int error) {
    espl_status status = fail_errno(ctx, replace->path, what, error);
    espl_os_replace_finish(ctx, replace);
    return status;
}

espl_status espl_os_replace_write(espl_context *ctx, espl_replace *replace, const void *data, size_t bytes) {
    ESPL_TRY(check_open(ctx, replace));
    const char *from = data;
    while (bytes) {
        /* Linux writes at most 2 GiB in one call, macOS refuses more. */
        size_t part = bytes < (size_t)1 << 30 ? bytes : (size_t)1 << 30;
        ssize_t written = write((int)replace->descriptor, from, part);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return fail_replace(ctx, replace, "written", errno);
        if (written == 0) return fail_replace(ctx, replace, "written", ENOSPC);
        from += written;
        bytes -= (size_t)written;
        replace->bytes += (uint64_t)written;
    }
    return ESPL_OK;
}

static int flush_descriptor(int descriptor) {
#ifdef F_FULLFSYNC
    if (fcntl(descriptor, F_FULLFSYNC) == 0) return 0;
#endif
    int result;
    do result = fsync(descriptor);
    while (result && errno == EINTR);
    return result;
}

/* Best effort: the rename has happened, and some file systems cannot flush a folder. */
static void flush_folder(const char *path) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    if (descriptor < 0) return;
    flush_descriptor(descriptor);
    close(descriptor);
}

/* Cuts path at its last slash for a moment instead of copying it: after a rename nothing may fail. */
static void flush_parent(char *path) {
    char *slash = strrchr(path, '/');
    if (!slash || slash == path) {
        flush_folder(slash ? "/" : ".");
        return;
    }
    *slash = 0;
    flush_folder(path);
    *slash = '/';
}

espl_status espl_os_replace_commit(espl_context *ctx, espl_replace *replace) {
    ESPL_TRY(check_open(ctx, replace));
    if (flush_descriptor((int)replace->descriptor)) return fail_replace(ctx, replace, "flushed to the disk", errno);
    int descriptor = (int)replace->descriptor;
    replace->descriptor = -1;
    if (close(descriptor)) return fail_replace(ctx, replace, "closed", errno);
    if (rename(replace->temporary, replace->path)) return fail_replace(ctx, replace, "replaced", errno);
    flush_parent(replace->path);
    espl_free(ctx, &replace->temporary);
    espl_os_replace_finish(ctx, replace);
    return ESPL_OK;
}

void espl_os_replace_finish(espl_context *ctx, espl_replace *replace) {
    /* A zeroed struct has descriptor 0, which is not ours: only with a temporary is something open or on the disk. */
    if (replace->temporary) {
        if (replace->descriptor >= 0) close((int)replace->descriptor);
        unlink(replace->temporary);
    }
    espl_free(ctx, &replace->temporary);
    espl_free(ctx, &replace->path);
    *replace = (espl_replace){.descriptor = -1};
}

FILE *espl_os_append(const char *path) {
    return fopen(path, "a");
}

bool espl_os_is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool espl_os_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool espl_os_folder_is_empty(const char *path) {
    DIR *folder = opendir(path);
    if (!folder) return true;
    bool empty = true;
    for (struct dirent *entry; empty && (entry = readdir(folder)) != NULL;)
        empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    closedir(folder);
    return empty;
}

static espl_status make_one_folder(espl_context *ctx, const char *path) {
    if (mkdir(path, 0777) == 0) return ESPL_OK;
    int error = errno;
    /* Whatever the reason given (EEXIST, or EROFS above a mount point), a folder that is there is what was asked. */
    if (espl_os_is_folder(path)) return ESPL_OK;
    return fail_errno(ctx, path, "made a folder", error);
}

espl_status espl_os_make_folder(espl_context *ctx, const char *path) {
    char *partial;
    ESPL_TRY(espl_copy_string(ctx, path, strlen(path), &partial));
    espl_status status = ESPL_OK;
    for (char *at = partial; *at && status == ESPL_OK; at++) {
        if (*at != '/' || at == partial) continue;
        *at = 0;
        status = make_one_folder(ctx, partial);
        *at = '/';
    }
    if (status == ESPL_OK) status = make_one_folder(ctx, partial);
    espl_free(ctx, &partial);
    return status;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info, (void)kind, (void)walk;
    remove(path);
    return 0;
}

void espl_os_remove_folder(espl_context *ctx, const char *path) {
    struct stat info;
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (lstat(path, &info) == 0) espl_log(ctx, ESPL_LOG_WARNING, "%s: something in it is left behind", path);
}

void espl_os_remove_file(const char *path) {
    unlink(path);
}

const char *espl_os_file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static double clock_seconds(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now)) return 0;
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double espl_os_seconds(void) {
    return clock_seconds(CLOCK_MONOTONIC);
}

double espl_os_thread_seconds(void) {
    return clock_seconds(CLOCK_THREAD_CPUTIME_ID);
}

void *espl_os_library_open(const char *name) {
    return dlopen(name, RTLD_NOW | RTLD_LOCAL);
}

void *espl_os_library_symbol(void *library, const char *symbol) {
    return dlsym(library, symbol);
}

void espl_os_library_close(void *library) {
    if (library) dlclose(library);
}

espl_status espl_os_cache_folder(espl_context *ctx, char **out_path) {
    *out_path = NULL;
    /* The environment is how POSIX systems name this folder; it is not a setting of ours. */
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && cache[0] == '/') return espl_format(ctx, out_path, "%s/espalier", cache);
    if (home && home[0] == '/') return espl_format(ctx, out_path, "%s/.cache/espalier", home);
    return ESPL_OK;
}

espl_status espl_os_temporary_folder(espl_context *ctx, char **out_path) {
    const char *base = getenv("TMPDIR");
    ESPL_TRY(espl_format(ctx, out_path, "%s/espalier-XXXXXX", base && *base ? base : "/tmp"));
    if (mkdtemp(*out_path)) return ESPL_OK;
    espl_status status = fail_errno(ctx, *out_path, "made a folder", errno);
    espl_free(ctx, out_path);
    return status;
}

void espl_os_program_begin(int *in_out_word_count, char ***in_out_words) {
    (void)in_out_word_count, (void)in_out_words;
}

unsigned espl_os_terminal_columns(void) {
    if (!isatty(STDERR_FILENO)) return 0;
#ifdef TIOCGWINSZ
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
#endif
    return 80;
}

static volatile sig_atomic_t stop_asked;

static void on_stop(int number) {
    (void)number;
    stop_asked = 1;
}

void espl_os_catch_stop(void) {
    /* RESETHAND: the second signal finds the default action. RESTART: file writes in progress are finished. */
    struct sigaction action = {.sa_handler = on_stop, .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool espl_os_stop_asked(void) {
    return stop_asked != 0;
}
