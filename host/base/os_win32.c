/* The operating system, for Windows 10 and later. Paths come as UTF-8 with either separator and go to the wide
 * functions; one too long for the old limit of 260 goes as an absolute path behind "\\?\", which has none. */
#include "host/base/os.h"
#include <fcntl.h>
#include <io.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include <shellapi.h> /* after windows.h */

enum { PATH_UNITS = 4096, OLD_LIMIT_UNITS = 240 /* a folder leaves room for a name of 8.3 */, TEMPORARY_TRIES = 100 };

typedef struct wide_path {
    wchar_t text[PATH_UNITS];
} wide_path;

/* false with the error set: no UTF-8, or too long. */
static bool widen(const char *path, wide_path *out_wide) {
    wide_path given;
    const int units = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, given.text, PATH_UNITS);
    if (units == 0) {
        if (GetLastError() == ERROR_INSUFFICIENT_BUFFER) SetLastError(ERROR_FILENAME_EXCED_RANGE);
        return false;
    }
    for (int i = 0; i < units; i++)
        if (given.text[i] == L'/') given.text[i] = L'\\';
    if (units < OLD_LIMIT_UNITS || wcsncmp(given.text, L"\\\\?\\", 4) == 0) {
        *out_wide = given;
        return true;
    }
    /* "\\server\share" becomes "\\?\UNC\server\share". */
    const bool network = wcsncmp(given.text, L"\\\\", 2) == 0;
    const wchar_t *const prefix = network ? L"\\\\?\\UNC" : L"\\\\?\\";
    const DWORD begin = (DWORD)wcslen(prefix), skipped = network ? 1 : 0, room = PATH_UNITS - begin;
    wide_path whole;
    const DWORD length = GetFullPathNameW(given.text, PATH_UNITS, whole.text, NULL);
    if (length == 0) return false;
    if (length >= room) {
        SetLastError(ERROR_FILENAME_EXCED_RANGE);
        return false;
    }
    memcpy(out_wide->text, prefix, begin * sizeof *prefix);
    memcpy(out_wide->text + begin, whole.text + skipped, (length + 1 - skipped) * sizeof *prefix);
    return true;
}

/* One sentence for every failed call: "path: could not be opened: The system cannot find the file specified". */
static espl_status fail_error(espl_context *ctx, const char *path, const char *what, DWORD error) {
    wchar_t wide[200];
    char reason[3 * ESPL_COUNT(wide)];
    DWORD length = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, error, 0, wide,
                                  (DWORD)ESPL_COUNT(wide), NULL);
    while (length > 0 && wcschr(L"\r\n. ", wide[length - 1]))
        length--;
    const int bytes = WideCharToMultiByte(CP_UTF8, 0, wide, (int)length, reason, (int)sizeof reason - 1, NULL, NULL);
    if (bytes <= 0) return espl_fail(ctx, ESPL_IO, "%s: could not be %s: error %lu", path, what, error);
    return espl_fail(ctx, ESPL_IO, "%s: could not be %s: %.*s", path, what, bytes, reason);
}

static espl_status widen_or_fail(espl_context *ctx, const char *path, const char *what, wide_path *out_wide) {
    return widen(path, out_wide) ? ESPL_OK : fail_error(ctx, path, what, GetLastError());
}

/* In memory of the context. */
static espl_status narrow(espl_context *ctx, const wchar_t *wide, char **out_text) {
    const int bytes = WideCharToMultiByte(CP_UTF8, 0, wide, -1, NULL, 0, NULL, NULL);
    ESPL_TRY(espl_new(ctx, (size_t)bytes, out_text));
    WideCharToMultiByte(CP_UTF8, 0, wide, -1, *out_text, bytes, NULL, NULL);
    return ESPL_OK;
}

static espl_status map_handle(espl_context *ctx, const char *path, HANDLE file, espl_mapping *out_mapping) {
    BY_HANDLE_FILE_INFORMATION info;
    if (GetFileType(file) != FILE_TYPE_DISK) return espl_fail(ctx, ESPL_IO, "%s: is not a plain file", path);
    if (!GetFileInformationByHandle(file, &info)) return fail_error(ctx, path, "examined", GetLastError());
    if (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY)
        return espl_fail(ctx, ESPL_IO, "%s: is not a plain file", path);
    const uint64_t bytes = (uint64_t)info.nFileSizeHigh << 32 | info.nFileSizeLow;
    if (bytes > SIZE_MAX / 2)
        return espl_fail(ctx, ESPL_LIMIT, "%s: %llu bytes do not fit the address space", path,
                         (unsigned long long)bytes);
    out_mapping->data = (const unsigned char *)"";
    if (bytes == 0) return ESPL_OK;
    HANDLE section = CreateFileMappingW(file, NULL, PAGE_READONLY, 0, 0, NULL);
    const void *data = section ? MapViewOfFile(section, FILE_MAP_READ, 0, 0, 0) : NULL;
    const DWORD error = GetLastError();
    if (section) CloseHandle(section); /* the view keeps it */
    *out_mapping = (espl_mapping){.data = data, .bytes = data ? (size_t)bytes : 0};
    return data ? ESPL_OK : fail_error(ctx, path, "mapped", error);
}

espl_status espl_os_map(espl_context *ctx, const char *path, espl_mapping *out_mapping) {
    wide_path wide;
    *out_mapping = (espl_mapping){0};
    ESPL_TRY(widen_or_fail(ctx, path, "opened", &wide));
    /* With BACKUP_SEMANTICS a folder is opened too, so that it is refused as what it is. */
    HANDLE file = CreateFileW(wide.text, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                              FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (file == INVALID_HANDLE_VALUE) return fail_error(ctx, path, "opened", GetLastError());
    espl_status status = map_handle(ctx, path, file, out_mapping);
    CloseHandle(file);
    return status;
}

void espl_os_unmap(espl_mapping *mapping) {
    if (mapping->bytes) UnmapViewOfFile(mapping->data);
    *mapping = (espl_mapping){0};
}

static const intptr_t no_handle = -1;

espl_status espl_os_replace_begin(espl_context *ctx, const char *path, espl_replace *out_replace) {
    *out_replace = (espl_replace){.descriptor = no_handle};
    espl_replace replace = {.descriptor = no_handle};
    wide_path wide;
    espl_status status;
    ESPL_GOTO(espl_copy_string(ctx, path, strlen(path), &replace.path));
    ESPL_GOTO(espl_format(ctx, &replace.temporary, "%s.tmp-%lu", path, GetCurrentProcessId()));
    ESPL_GOTO(widen_or_fail(ctx, replace.temporary, "created", &wide));
    /* What a dead process of the same number left; a link planted there is removed, not followed. */
    DeleteFileW(wide.text);
    HANDLE file = CreateFileW(wide.text, GENERIC_WRITE, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        status = fail_error(ctx, replace.temporary, "created", GetLastError());
        goto fail;
    }
    replace.descriptor = (intptr_t)file;
    *out_replace = replace;
    return ESPL_OK;
fail:
    espl_free(ctx, &replace.path);
    espl_free(ctx, &replace.temporary);
    return status;
}

static espl_status check_open(espl_context *ctx, const espl_replace *replace) {
    if (replace->temporary && replace->descriptor != no_handle) return ESPL_OK;
    return espl_fail(ctx, ESPL_ARGUMENT, "a replaced file was used before begin or after a failure");
}

/* Takes the half-written file away at once, so that a full disk is not kept full by it. */
static espl_status fail_replace(espl_context *ctx, espl_replace *replace, const char *what, DWORD error) {
    espl_status status = fail_error(ctx, replace->path, what, error);
    espl_os_replace_finish(ctx, replace);
    return status;
}

espl_status espl_os_replace_write(espl_context *ctx, espl_replace *replace, const void *data, size_t bytes) {
    ESPL_TRY(check_open(ctx, replace));
    const char *from = data;
    while (bytes) {
        const DWORD part = bytes < (size_t)1 << 30 ? (DWORD)bytes : (DWORD)1 << 30;
        DWORD written = 0;
        if (!WriteFile((HANDLE)replace->descriptor, from, part, &written, NULL))
            return fail_replace(ctx, replace, "written", GetLastError());
        if (written == 0) return fail_replace(ctx, replace, "written", ERROR_DISK_FULL);
        from += written;
        bytes -= written;
        replace->bytes += written;
    }
    return ESPL_OK;
}

/* Programs that look at every new file (virus scanners, indexers) hold it open for a moment, and nothing can be renamed
 * over a file that somebody holds. */
static bool rename_over(const wide_path *from, const wide_path *to) {
    for (DWORD pause = 1;; pause *= 2) {
        if (MoveFileExW(from->text, to->text, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH)) return true;
        const DWORD error = GetLastError();
        if (pause > 512 || (error != ERROR_ACCESS_DENIED && error != ERROR_SHARING_VIOLATION)) return false;
        Sleep(pause);
    }
}

espl_status espl_os_replace_commit(espl_context *ctx, espl_replace *replace) {
    ESPL_TRY(check_open(ctx, replace));
    wide_path from, to;
    HANDLE file = (HANDLE)replace->descriptor;
    if (!FlushFileBuffers(file)) return fail_replace(ctx, replace, "flushed to the disk", GetLastError());
    replace->descriptor = no_handle;
    if (!CloseHandle(file)) return fail_replace(ctx, replace, "closed", GetLastError());
    if (!widen(replace->temporary, &from) || !widen(replace->path, &to) || !rename_over(&from, &to))
        return fail_replace(ctx, replace, "replaced", GetLastError());
    espl_free(ctx, &replace->temporary);
    espl_os_replace_finish(ctx, replace);
    return ESPL_OK;
}

void espl_os_replace_finish(espl_context *ctx, espl_replace *replace) {
    if (replace->temporary) {
        if (replace->descriptor != no_handle) CloseHandle((HANDLE)replace->descriptor);
        espl_os_remove_file(replace->temporary);
    }
    espl_free(ctx, &replace->temporary);
    espl_free(ctx, &replace->path);
    *replace = (espl_replace){.descriptor = no_handle};
}

FILE *espl_os_append(const char *path) {
    wide_path wide;
    return widen(path, &wide) ? _wfopen(wide.text, L"ab") : NULL;
}

static DWORD attributes_of(const char *path) {
    wide_path wide;
    return widen(path, &wide) ? GetFileAttributesW(wide.text) : INVALID_FILE_ATTRIBUTES;
}

bool espl_os_is_file(const char *path) {
    const DWORD attributes = attributes_of(path);
    return attributes != INVALID_FILE_ATTRIBUTES && !(attributes & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_DEVICE));
}

bool espl_os_is_folder(const char *path) {
    const DWORD attributes = attributes_of(path);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY);
}

static bool is_dots(const wchar_t *name) {
    return !wcscmp(name, L".") || !wcscmp(name, L"..");
}

/* wide becomes "<folder>\<name>"; returns where the name begins, 0 if it does not fit. */
static size_t append_name(wide_path *wide, const wchar_t *name) {
    const size_t length = wcslen(wide->text), begin = length + 1, units = wcslen(name) + 1;
    if (begin + units > PATH_UNITS) return 0;
    wide->text[length] = L'\\';
    memcpy(wide->text + begin, name, units * sizeof *name);
    return begin;
}

bool espl_os_folder_is_empty(const char *path) {
    wide_path wide;
    WIN32_FIND_DATAW entry;
    if (!widen(path, &wide) || append_name(&wide, L"*") == 0) return true;
    HANDLE listing = FindFirstFileW(wide.text, &entry);
    if (listing == INVALID_HANDLE_VALUE) return true;
    bool empty = is_dots(entry.cFileName);
    while (empty && FindNextFileW(listing, &entry))
        empty = is_dots(entry.cFileName);
    FindClose(listing);
    return empty;
}

static bool is_separator(char c) {
    return c == '/' || c == '\\';
}

espl_status espl_os_make_folder(espl_context *ctx, const char *path) {
    wide_path wide;
    ESPL_TRY(widen_or_fail(ctx, path, "made a folder", &wide));
    /* A parent may be a drive, a share or a folder without permission to write: what counts is the last of them. */
    for (wchar_t *at = wide.text; *at; at++) {
        if (*at != L'\\' || at == wide.text) continue;
        *at = 0;
        CreateDirectoryW(wide.text, NULL);
        *at = L'\\';
    }
    if (CreateDirectoryW(wide.text, NULL)) return ESPL_OK;
    const DWORD error = GetLastError();
    return espl_os_is_folder(path) ? ESPL_OK : fail_error(ctx, path, "made a folder", error);
}

/* A link to a folder is a folder here and goes as one, with what it points to untouched. */
static void remove_tree(wide_path *wide, DWORD attributes) {
    const size_t length = wcslen(wide->text);
    if (attributes & FILE_ATTRIBUTE_READONLY) SetFileAttributesW(wide->text, FILE_ATTRIBUTE_NORMAL);
    if (!(attributes & FILE_ATTRIBUTE_DIRECTORY)) {
        DeleteFileW(wide->text);
        return;
    }
    WIN32_FIND_DATAW entry;
    if (!(attributes & FILE_ATTRIBUTE_REPARSE_POINT) && append_name(wide, L"*") > 0) {
        HANDLE listing = FindFirstFileW(wide->text, &entry);
        for (bool more = listing != INVALID_HANDLE_VALUE; more; more = FindNextFileW(listing, &entry)) {
            wide->text[length] = 0;
            if (!is_dots(entry.cFileName) && append_name(wide, entry.cFileName) > 0)
                remove_tree(wide, entry.dwFileAttributes);
        }
        if (listing != INVALID_HANDLE_VALUE) FindClose(listing);
        wide->text[length] = 0;
    }
    RemoveDirectoryW(wide->text);
}

void espl_os_remove_folder(espl_context *ctx, const char *path) {
    wide_path wide;
    const DWORD attributes = attributes_of(path);
    if (attributes == INVALID_FILE_ATTRIBUTES || !widen(path, &wide)) return;
    remove_tree(&wide, attributes);
    if (attributes_of(path) != INVALID_FILE_ATTRIBUTES)
        espl_log(ctx, ESPL_LOG_WARNING, "%s: something in it is left behind", path);
}

void espl_os_remove_file(const char *path) {
    wide_path wide;
    if (widen(path, &wide)) DeleteFileW(wide.text);
}

const char *espl_os_file_name(const char *path) {
    const char *name = path;
    for (const char *at = path; *at; at++)
        if (is_separator(*at) || (*at == ':' && at == path + 1)) name = at + 1;
    return name;
}

double espl_os_seconds(void) {
    LARGE_INTEGER now, per_second;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&per_second);
    return (double)now.QuadPart / (double)per_second.QuadPart;
}

double espl_os_thread_seconds(void) {
    FILETIME created, ended, kernel, user;
    if (!GetThreadTimes(GetCurrentThread(), &created, &ended, &kernel, &user)) return 0;
    const double high = (double)kernel.dwHighDateTime + (double)user.dwHighDateTime;
    return 1e-7 * (high * 0x1p32 + (double)kernel.dwLowDateTime + (double)user.dwLowDateTime);
}

/* From the program's and the system's folders, never from the working folder. */
void *espl_os_library_open(const char *name) {
    wide_path wide;
    if (!widen(name, &wide)) return NULL;
    return (void *)LoadLibraryExW(wide.text, NULL, LOAD_LIBRARY_SEARCH_DEFAULT_DIRS);
}

void *espl_os_library_symbol(void *library, const char *symbol) {
    FARPROC found = GetProcAddress((HMODULE)library, symbol);
    void *address;
    _Static_assert(sizeof address == sizeof found, "function and object pointers differ");
    memcpy(&address, &found, sizeof address);
    return address;
}

void espl_os_library_close(void *library) {
    if (library) FreeLibrary((HMODULE)library);
}

espl_status espl_os_cache_folder(espl_context *ctx, char **out_path) {
    wchar_t wide[PATH_UNITS];
    char *local;
    *out_path = NULL;
    const DWORD length = GetEnvironmentVariableW(L"LOCALAPPDATA", wide, PATH_UNITS);
    if (length == 0 || length >= PATH_UNITS) return ESPL_OK;
    ESPL_TRY(narrow(ctx, wide, &local));
    espl_status status = espl_format(ctx, out_path, "%s/espalier", local);
    espl_free(ctx, &local);
    return status;
}

espl_status espl_os_temporary_folder(espl_context *ctx, char **out_path) {
    wide_path base, wide;
    char *folder;
    *out_path = NULL;
    const DWORD length = GetTempPathW(MAX_PATH + 1, base.text);
    if (length == 0 || length > MAX_PATH) return fail_error(ctx, "the temporary folder", "found", GetLastError());
    ESPL_TRY(narrow(ctx, base.text, &folder)); /* ends with a separator */
    espl_status status = ESPL_OK;
    for (unsigned i = 0; i < TEMPORARY_TRIES && !*out_path && status == ESPL_OK; i++) {
        status = espl_format(ctx, out_path, "%sespalier-%lu-%u", folder, GetCurrentProcessId(), i);
        if (status || (widen(*out_path, &wide) && CreateDirectoryW(wide.text, NULL))) break;
        if (i + 1 == TEMPORARY_TRIES) status = fail_error(ctx, *out_path, "made a folder", GetLastError());
        espl_free(ctx, out_path);
    }
    espl_free(ctx, &folder);
    return status;
}

static UINT console_page;

static void restore_console(void) {
    SetConsoleOutputCP(console_page);
}

/* The words stay until the process ends. */
static char **narrow_words(wchar_t *const *wide, int count) {
    char **words = calloc((size_t)count + 1, sizeof *words);
    for (int i = 0; words && i < count; i++) {
        const int bytes = WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, NULL, 0, NULL, NULL);
        words[i] = malloc((size_t)bytes);
        if (!words[i]) return NULL;
        WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, words[i], bytes, NULL, NULL);
    }
    return words;
}

void espl_os_program_begin(int *in_out_word_count, char ***in_out_words) {
    int count = 0;
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &count);
    char **words = wide ? narrow_words(wide, count) : NULL;
    if (wide) LocalFree(wide);
    if (words) {
        *in_out_word_count = count;
        *in_out_words = words;
    }
    /* Results are the same bytes in a file or pipe as elsewhere. */
    _setmode(_fileno(stdout), _O_BINARY);
    _setmode(_fileno(stderr), _O_BINARY);
    console_page = GetConsoleOutputCP();
    if (console_page && SetConsoleOutputCP(CP_UTF8)) atexit(restore_console);
}

unsigned espl_os_terminal_columns(void) {
    HANDLE console = GetStdHandle(STD_ERROR_HANDLE);
    CONSOLE_SCREEN_BUFFER_INFO info;
    DWORD mode;
    if (!GetConsoleMode(console, &mode) || !GetConsoleScreenBufferInfo(console, &info)) return 0;
    if (!SetConsoleMode(console, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING)) return 0;
    return (unsigned)(info.srWindow.Right - info.srWindow.Left + 1);
}

static volatile LONG stop_asked;

/* Runs in a thread of its own. */
static BOOL WINAPI on_stop(DWORD event) {
    const bool again = InterlockedExchange(&stop_asked, 1) != 0;
    if (event == CTRL_C_EVENT || event == CTRL_BREAK_EVENT) return !again;
    /* The window closes or the user logs off: the process ends when this returns, and what time it has is the
     * system's to say. */
    Sleep(INFINITE);
    return TRUE;
}

void espl_os_catch_stop(void) {
    SetConsoleCtrlHandler(on_stop, TRUE);
}

bool espl_os_stop_asked(void) {
    return stop_asked != 0;
}
