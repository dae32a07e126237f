/* Tickets: numbers that count up, one for each submission. How its end is learnt - a timeline semaphore, or a fence for
 * each - is known to this file only; and what must outlive a submission goes when it has ended. */
#include "host/gpu/state.h"
#include <inttypes.h>

espl_status espl_signal_init(espl_device *device) {
    if (!device->facts.capabilities.timeline) return ESPL_OK;
    const VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                            .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    const VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    ESPL_TRY(espl_device_check(device,
                               device->vk.CreateSemaphore(device->handle, &info, NULL, &device->signal.timeline),
                               "vkCreateSemaphore"));
    espl_device_label_object(device, VK_OBJECT_TYPE_SEMAPHORE, ESPL_HANDLE(device->signal.timeline), "tickets");
    return ESPL_OK;
}

void espl_signal_finish(espl_device *device) {
    espl_signal *signal = &device->signal;
    device->vk.DestroySemaphore(device->handle, signal->timeline, NULL);
    for (size_t i = 0; i < signal->fence_count; i++)
        device->vk.DestroyFence(device->handle, signal->fences[i].handle, NULL);
    espl_free(device->ctx, &signal->fences);
    *signal = (espl_signal){0};
}

/* A fence that no running submission uses; NULL with a timeline. */
espl_status espl_signal_take_fence(espl_device *device, espl_fence **out_fence) {
    espl_signal *signal = &device->signal;
    *out_fence = NULL;
    if (signal->timeline) return ESPL_OK;
    for (size_t i = 0; i < signal->fence_count; i++) {
        if (signal->fences[i].ticket > signal->completed) continue;
        *out_fence = &signal->fences[i];
        return espl_device_check(device, device->vk.ResetFences(device->handle, 1, &signal->fences[i].handle),
                                 "vkResetFences");
    }
    ESPL_TRY(espl_grow(device->ctx, &signal->fences, &signal->fence_capacity, signal->fence_count + 1,
                       sizeof *signal->fences));
    const VkFenceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    espl_fence fence = {0};
    ESPL_TRY(espl_device_check(device, device->vk.CreateFence(device->handle, &info, NULL, &fence.handle),
                               "vkCreateFence"));
    signal->fences[signal->fence_count] = fence;
    *out_fence = &signal->fences[signal->fence_count++];
    return ESPL_OK;
}

/* Learns what has ended. Fences end in the order of submission, so the newest that is done speaks for all before. */
espl_status espl_signal_poll(espl_device *device) {
    espl_signal *signal = &device->signal;
    if (signal->completed == signal->newest) return ESPL_OK;
    if (signal->timeline) {
        uint64_t value = 0;
        ESPL_TRY(espl_device_check(device,
                                   device->vk.GetSemaphoreCounterValue(device->handle, signal->timeline, &value),
                                   "vkGetSemaphoreCounterValue"));
        if (value > signal->completed) signal->completed = value;
        return ESPL_OK;
    }
    for (size_t i = 0; i < signal->fence_count; i++) {
        const espl_fence *fence = &signal->fences[i];
        if (fence->ticket <= signal->completed) continue;
        VkResult result = device->vk.GetFenceStatus(device->handle, fence->handle);
        if (result == VK_NOT_READY) continue;
        ESPL_TRY(espl_device_check(device, result, "vkGetFenceStatus"));
        signal->completed = fence->ticket;
    }
    return ESPL_OK;
}

VkResult espl_signal_wait(espl_device *device, espl_ticket ticket) {
    const espl_signal *signal = &device->signal;
    const VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                      .semaphoreCount = 1,
                                      .pSemaphores = &signal->timeline,
                                      .pValues = &ticket};
    if (signal->timeline) return device->vk.WaitSemaphores(device->handle, &info, UINT64_MAX);
    for (size_t i = 0; i < signal->fence_count; i++)
        if (signal->fences[i].ticket == ticket)
            return device->vk.WaitForFences(device->handle, 1, &signal->fences[i].handle, VK_TRUE, UINT64_MAX);
    return VK_SUCCESS;
}

espl_status espl_wait(espl_device *device, espl_ticket ticket) {
    espl_signal *signal = &device->signal;
    ESPL_TRY(espl_device_alive(device));
    if (ticket > signal->newest)
        return espl_fail(device->ctx, ESPL_ARGUMENT, "ticket %" PRIu64 " was not given out yet, the newest is %" PRIu64,
                         ticket, signal->newest);
    if (ticket > signal->completed) {
        ESPL_TRY(espl_device_check(device, espl_signal_wait(device, ticket), "waiting for the device"));
        if (ticket > signal->completed) signal->completed = ticket;
    }
    espl_device_collect(device);
    return ESPL_OK;
}

bool espl_is_done(espl_device *device, espl_ticket ticket) {
    if (!device->lost && ticket > device->signal.completed) (void)espl_signal_poll(device);
    return device->lost || ticket <= device->signal.completed;
}

espl_ticket espl_device_newest_ticket(const espl_device *device) {
    return device->signal.newest;
}

void espl_device_collect(espl_device *device) {
    if (!device->garbage_blocks && !device->garbage_commands) return;
    if (!device->lost) (void)espl_signal_poll(device);
    espl_ticket done = device->lost ? UINT64_MAX : device->signal.completed;
    for (espl_block **link = &device->garbage_blocks; *link;) {
        espl_block *block = *link;
        if (block->free_after > done) {
            link = &block->next;
            continue;
        }
        *link = block->next;
        espl_block_destroy(&block);
    }
    for (espl_commands **link = &device->garbage_commands; *link;) {
        espl_commands *commands = *link;
        if (commands->newest_ticket > done) {
            link = &commands->next;
            continue;
        }
        *link = commands->next;
        if (!device->lost) espl_profile_harvest(commands);
        espl_commands_free(commands);
    }
}
