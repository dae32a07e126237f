/* Pairs of timestamps. Each commands has one pair around the whole of it, from which slices are sized. */
#include "host/gpu/state.h"

enum { PAIRS = 64 };

espl_status espl_timer_take(espl_device *device, espl_timer *out_timer) {
    *out_timer = (espl_timer){0};
    if (!device->facts.capabilities.timestamps) return ESPL_OK;
    size_t i = 0;
    while (i < device->timer_pool_count && device->timer_pools[i].taken == UINT64_MAX) i++;
    if (i == device->timer_pool_count) {
        ESPL_TRY(espl_grow(device->ctx, &device->timer_pools, &device->timer_pool_capacity, i + 1,
                           sizeof *device->timer_pools));
        const VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                            .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                            .queryCount = 2 * PAIRS};
        device->timer_pools[i] = (espl_timer_pool){0};
        ESPL_TRY(espl_device_check(
            device, device->vk.CreateQueryPool(device->handle, &info, NULL, &device->timer_pools[i].handle),
            "vkCreateQueryPool"));
        espl_device_label_object(device, VK_OBJECT_TYPE_QUERY_POOL, ESPL_HANDLE(device->timer_pools[i].handle),
                                 "times of commands");
        device->timer_pool_count++;
    }
    espl_timer_pool *pool = &device->timer_pools[i];
    uint32_t pair = 0;
    while (pool->taken >> pair & 1) pair++;
    pool->taken |= (uint64_t)1 << pair;
    *out_timer = (espl_timer){pool->handle, 2 * pair};
    return ESPL_OK;
}

void espl_timer_give(espl_device *device, espl_timer timer) {
    espl_pace_forget(device, timer);
    for (size_t i = 0; timer.pool && i < device->timer_pool_count; i++)
        if (device->timer_pools[i].handle == timer.pool)
            device->timer_pools[i].taken &= ~((uint64_t)1 << (timer.first / 2));
}

static bool read_stamps(espl_device *device, VkQueryPool pool, uint32_t first, uint32_t count, uint64_t *out_ticks) {
    uint64_t stamps[4]; /* value and availability of each */
    if (!pool) return false;
    VkResult result = device->vk.GetQueryPoolResults(device->handle, pool, first, count, 2 * count * sizeof stamps[0], stamps,
                                                     2 * sizeof stamps[0],
                                                     VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WITH_AVAILABILITY_BIT);
    if (result < 0) (void)espl_device_check(device, result, "vkGetQueryPoolResults");
    if (result != VK_SUCCESS) return false;
    for (uint32_t i = 0; i < count; i++) {
        if (!stamps[2 * i + 1]) return false;
        out_ticks[i] = stamps[2 * i];
    }
    return true;
}

/* false if the end lies before its beginning: a run began between two reads. */
static bool between(const espl_device *device, const uint64_t ticks[2], double *out_milliseconds) {
    const uint32_t bits = device->facts.timestamp_bits;
    if (bits == 64 && ticks[1] < ticks[0]) return false;
    uint64_t passed = ticks[1] - ticks[0];
    if (bits < 64) passed &= ((uint64_t)1 << bits) - 1;
    *out_milliseconds = (double)passed * (double)device->facts.properties.limits.timestampPeriod * 1e-6;
    return true;
}

bool espl_timer_read(espl_device *device, espl_timer timer, double *out_milliseconds) {
    uint64_t ticks[2];
    return read_stamps(device, timer.pool, timer.first, 2, ticks) && between(device, ticks, out_milliseconds);
}

bool espl_timer_read_from_to(espl_device *device, espl_timer first, espl_timer last, double *out_milliseconds) {
    uint64_t ticks[2];
    return read_stamps(device, first.pool, first.first, 1, &ticks[0]) &&
           read_stamps(device, last.pool, last.first + 1, 1, &ticks[1]) && between(device, ticks, out_milliseconds);
}

void espl_device_finish_timers(espl_device *device) {
    for (size_t i = 0; i < device->timer_pool_count; i++)
        device->vk.DestroyQueryPool(device->handle, device->timer_pools[i].handle, NULL);
    espl_free(device->ctx, &device->timer_pools);
    device->timer_pool_count = device->timer_pool_capacity = 0;
}
