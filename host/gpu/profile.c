/* Times by label. While profiling, each dispatch has a pair of timestamps and a full barrier before it, so its time is
 * its own; the price is that nothing runs side by side and that a commands waits for its own previous run. */
#include "host/gpu/state.h"
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 128 };

espl_status espl_profile_begin(espl_commands *commands, const char *label) {
    espl_device *device = commands->device;
    uint32_t pair = (uint32_t)(commands->stamp_count % PAIRS);
    ESPL_TRY(espl_grow(device->ctx, &commands->stamps, &commands->stamp_capacity, commands->stamp_count + 1,
                       sizeof *commands->stamps));
    if (commands->stamp_count == PAIRS * commands->stamp_pool_count) {
        ESPL_TRY(espl_grow(device->ctx, &commands->stamp_pools, &commands->stamp_pool_capacity,
                           commands->stamp_pool_count + 1, sizeof *commands->stamp_pools));
        const VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                            .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                            .queryCount = 2 * PAIRS};
        VkQueryPool pool = VK_NULL_HANDLE;
        ESPL_TRY(espl_device_check(device, device->vk.CreateQueryPool(device->handle, &info, NULL, &pool),
                                   "vkCreateQueryPool"));
        commands->stamp_pools[commands->stamp_pool_count++] = pool;
        device->vk.CmdResetQueryPool(commands->buffer, pool, 0, 2 * PAIRS);
    }
    commands->stamps[commands->stamp_count++] =
        (espl_stamp){label, commands->stamp_pools[commands->stamp_pool_count - 1], 2 * pair};
    return ESPL_OK;
}

static void write_stamp(espl_commands *commands, uint32_t which) {
    if (!commands->profiled) return;
    const espl_stamp *stamp = &commands->stamps[commands->stamp_count - 1];
    commands->device->vk.CmdWriteTimestamp(commands->buffer, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, stamp->pool,
                                           stamp->first + which);
}

void espl_profile_start(espl_commands *commands) {
    write_stamp(commands, 0);
}

void espl_profile_end(espl_commands *commands) {
    write_stamp(commands, 1);
}

/* The row keeps its own copy of the label, which lives only as long as the commands. NULL without host memory: then a
 * measurement is lost, the work is not. */
static espl_profile_row *find_row(espl_device *device, const char *label) {
    espl_profile *profile = &device->profile;
    char *copy;
    for (size_t i = 0; i < profile->count; i++)
        if (strcmp(profile->rows[i].label, label) == 0) return &profile->rows[i];
    if (espl_grow(device->ctx, &profile->rows, &profile->capacity, profile->count + 1, sizeof *profile->rows) !=
            ESPL_OK ||
        espl_copy_string(device->ctx, label, strlen(label), &copy) != ESPL_OK)
        return NULL;
    profile->rows[profile->count] = (espl_profile_row){.label = copy};
    return &profile->rows[profile->count++];
}

void espl_profile_harvest(espl_commands *commands) {
    if (!commands->profiled || commands->harvested || commands->newest_ticket == 0) return;
    commands->harvested = true;
    for (size_t i = 0; i < commands->stamp_count; i++) {
        double milliseconds;
        const espl_stamp *stamp = &commands->stamps[i];
        const espl_timer timer = {stamp->pool, stamp->first};
        if (!espl_timer_read(commands->device, timer, &milliseconds)) continue;
        espl_profile_row *row = find_row(commands->device, stamp->label);
        if (!row) continue;
        row->count++;
        row->milliseconds += milliseconds;
    }
}

void espl_device_profile(espl_device *device, bool on) {
    device->profile.on = on;
}

static int by_falling_time(const void *a, const void *b) {
    const espl_profile_row *left = a, *right = b;
    if (left->milliseconds != right->milliseconds) return left->milliseconds < right->milliseconds ? 1 : -1;
    return strcmp(left->label, right->label);
}

espl_status espl_device_profile_rows(espl_device *device, const espl_profile_row **out_rows, size_t *out_count) {
    *out_rows = NULL;
    *out_count = 0;
    ESPL_TRY(espl_wait(device, device->signal.newest));
    for (espl_commands *c = device->commands; c; c = c->next) espl_profile_harvest(c);
    espl_profile *profile = &device->profile;
    if (profile->count) qsort(profile->rows, profile->count, sizeof *profile->rows, by_falling_time);
    *out_rows = profile->rows;
    *out_count = profile->count;
    return ESPL_OK;
}

void espl_profile_finish(espl_device *device) {
    for (size_t i = 0; i < device->profile.count; i++) espl_free(device->ctx, &device->profile.rows[i].label);
    espl_free(device->ctx, &device->profile.rows);
    device->profile = (espl_profile){0};
}
