/* What is the same on every system once os_<system>.c has the rest. */
#include "host/base/os.h"

espl_status espl_os_write_file(espl_context *ctx, const char *path, const void *data, size_t bytes) {
    espl_replace replace;
    ESPL_TRY(espl_os_replace_begin(ctx, path, &replace));
    espl_status status = espl_os_replace_write(ctx, &replace, data, bytes);
    if (status == ESPL_OK) status = espl_os_replace_commit(ctx, &replace);
    espl_os_replace_finish(ctx, &replace);
    return status;
}

espl_status espl_os_replace_commit_all(espl_context *ctx, espl_replace *replaces, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (replaces[i].path) ESPL_TRY(espl_os_replace_commit(ctx, &replaces[i]));
    }
    return ESPL_OK;
}

void espl_os_replace_finish_all(espl_context *ctx, espl_replace *replaces, size_t count) {
    for (size_t i = 0; i < count; i++) espl_os_replace_finish(ctx, &replaces[i]);
}
