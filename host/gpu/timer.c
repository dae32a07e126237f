/* Pairs of timestamps. Each commands has one pair around the whole of it, from which slices are sized. */
#include "host/gpu/state.h"

enum { PAIRS = 64 };

espl_status espl_timer_take(espl_device *device, espl_timer *out_timer) {
    *out_timer = (espl_timer){0};
    if (!device->probe.capabilities.timestamps) return ESPL_OK;
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

static bool read_stamp(espl_device *device, VkQueryPool pool, uint32_t query, uint64_t *out_ticks) {
    uint64_t stamp[2]; /* value and availability */
    const VkResult result =
        device->vk.GetQueryPoolResults(device->handle, pool, query, 1, sizeof stamp, stamp, sizeof stamp,
                                       VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WITH_AVAILABILITY_BIT);
    *out_ticks = stamp[0];
    return result == VK_SUCCESS && stamp[1];
}

bool espl_timer_read(espl_device *device, espl_timer first, espl_timer last, double *out_milliseconds) {
    uint64_t begin, end;
    if (!first.pool || !read_stamp(device, first.pool, first.first, &begin)) return false;
    if (!last.pool || !read_stamp(device, last.pool, last.first + 1, &end)) return false;
    const uint32_t bits = device->probe.timestamp_bits;
    /* A run that begins between the two reads would give an end before its beginning. */
    if (bits == 64 && end < begin) return false;
    uint64_t ticks = end - begin;
    if (bits < 64) ticks &= ((uint64_t)1 << bits) - 1;
    *out_milliseconds = (double)ticks * (double)device->probe.properties.limits.timestampPeriod * 1e-6;
    return true;
}

void espl_device_finish_timers(espl_device *device) {
    for (size_t i = 0; i < device->timer_pool_count; i++)
        device->vk.DestroyQueryPool(device->handle, device->timer_pools[i].handle, NULL);
    espl_free(device->ctx, &device->timer_pools);
    device->timer_pool_count = device->timer_pool_capacity = 0;
}
