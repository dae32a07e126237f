/* See system.h. */
#define _XOPEN_SOURCE 700
#include "tools/espalier/system.h"
#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

unsigned system_terminal_columns(void) {
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

void system_catch_stop(void) {
    /* RESETHAND: the second signal finds the default action. RESTART: file writes in progress are finished. */
    struct sigaction action = {.sa_handler = on_stop, .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool system_stop_asked(void) {
    return stop_asked != 0;
}

double system_thread_seconds(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)) return 0;
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

bool system_folder_is_empty(const char *path) {
    DIR *folder = opendir(path);
    if (!folder) return true;
    bool empty = true;
    for (struct dirent *entry; empty && (entry = readdir(folder)) != NULL;)
        empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    closedir(folder);
    return empty;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

void system_remove_tree(const char *path) {
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

bool system_temporary_folder(char *text, size_t text_bytes) {
    const char *base = getenv("TMPDIR");
    int length = snprintf(text, text_bytes, "%s/espalier-XXXXXX", base && *base ? base : "/tmp");
    return length > 0 && (size_t)length < text_bytes && mkdtemp(text) != NULL;
}
