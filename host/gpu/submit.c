/* Submission. A ticket is a number that counts up; how its end is learnt - a timeline semaphore, or a fence for each -
 * is known to the first half of this file only. The second half cuts a list of commands into slices by their measured
 * times: drivers reset a device that is busy for seconds, and a desktop stutters long before.
 * A step that is replayed allocates nothing here: the scratch array and the fences are kept. */
#include "host/gpu/state.h"
#include <inttypes.h>

/* What was recorded once takes the same time every run, and reading a time costs 9 us on lavapipe: every 16th will do.
 */
static const uint32_t runs_between_times = 16;

/* ---- Signals ---- */

espl_status espl_signal_init(espl_device *device) {
    if (!device->probe.capabilities.timeline) return ESPL_OK;
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
static espl_status take_fence(espl_device *device, espl_fence **out_fence) {
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
static espl_status poll(espl_device *device) {
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

static VkResult wait_for(espl_device *device, espl_ticket ticket) {
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
        ESPL_TRY(espl_device_check(device, wait_for(device, ticket), "waiting for the device"));
        if (ticket > signal->completed) signal->completed = ticket;
    }
    espl_device_collect(device);
    return ESPL_OK;
}

bool espl_is_done(espl_device *device, espl_ticket ticket) {
    if (!device->lost && ticket > device->signal.completed) (void)poll(device);
    return device->lost || ticket <= device->signal.completed;
}

espl_ticket espl_device_newest_ticket(const espl_device *device) {
    return device->signal.newest;
}

void espl_device_collect(espl_device *device) {
    if (!device->garbage_blocks && !device->garbage_commands) return;
    if (!device->lost) (void)poll(device);
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

/* ---- Slices ---- */

/* Milliseconds of the newest run whose stamps are there. They are asked for while a run is still under way, too: where
 * the next step is always submitted before the last one ends, no other moment comes. */
static double newest_time(espl_commands *commands) {
    espl_device *device = commands->device;
    double milliseconds;
    if (commands->timed || commands->runs == 0) return commands->milliseconds;
    if (!espl_timer_read(device, commands->timer.pool, commands->timer.first, &milliseconds))
        return commands->milliseconds;
    commands->milliseconds = milliseconds;
    commands->measured = true;
    commands->timed = commands->newest_ticket <= device->signal.completed;
    return milliseconds;
}

static void cut_by_newest_times(espl_commands *commands) {
    for (espl_commands *piece = commands; piece; piece = piece->more) (void)newest_time(piece);
    espl_cut_again(commands);
}

static void newest_times(espl_commands *commands, double *out_sum, double *out_longest) {
    *out_sum = *out_longest = 0;
    if (!commands->device->lost) (void)poll(commands->device);
    for (espl_commands *piece = commands; piece; piece = piece->more) {
        piece->timed = false; /* asked for by name: the newest, at its price */
        const double time = newest_time(piece);
        *out_sum = piece->measured && *out_sum >= 0 ? *out_sum + time : -1;
        *out_longest = *out_sum < 0 ? -1 : time > *out_longest ? time : *out_longest;
    }
}

double espl_commands_milliseconds(espl_commands *commands) {
    double sum, longest;
    newest_times(commands, &sum, &longest);
    return sum;
}

double espl_commands_longest_milliseconds(espl_commands *commands) {
    double sum, longest;
    newest_times(commands, &sum, &longest);
    return longest;
}

/* Puts one slice on the queue; ticket 0 if more slices of the same submission follow. */
static espl_status flush(espl_device *device, uint32_t count, espl_ticket ticket, espl_fence *fence) {
    const VkTimelineSemaphoreSubmitInfo values = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                                  .signalSemaphoreValueCount = 1,
                                                  .pSignalSemaphoreValues = &ticket};
    bool signals = ticket && device->signal.timeline;
    const VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                               .pNext = signals ? &values : NULL,
                               .commandBufferCount = count,
                               .pCommandBuffers = device->scratch,
                               .signalSemaphoreCount = signals ? 1 : 0,
                               .pSignalSemaphores = &device->signal.timeline};
    if (device->lock_queue) device->lock_queue(device->lock_user);
    VkResult result =
        device->vk.QueueSubmit(device->queue, 1, &info, ticket && fence ? fence->handle : VK_NULL_HANDLE);
    if (device->unlock_queue) device->unlock_queue(device->lock_user);
    device->counters.slices++;
    return espl_device_check(device, result, "vkQueueSubmit");
}

static espl_status check_list(espl_device *device, espl_commands *const *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (list[i]->device != device)
            return espl_fail(device->ctx, ESPL_ARGUMENT, "submit: %s was recorded for another device", list[i]->name);
        if (!list[i]->ended)
            return espl_fail(device->ctx, ESPL_ARGUMENT, "submit: %s has not ended", list[i]->name);
        if (list[i]->kind == ESPL_COMMANDS_PART)
            return espl_fail(device->ctx, ESPL_ARGUMENT, "submit: %s is a part of a host's command buffer",
                             list[i]->name);
    }
    return ESPL_OK;
}

/* The whole list as one submission; only its last slice signals the ticket. out_begun: some of it went out. */
static espl_status submit_slices(espl_device *device, espl_commands *const *list, size_t count, espl_ticket ticket,
                                 espl_fence *fence, bool *out_begun) {
    double sum = 0;
    uint32_t filled = 0;
    for (size_t i = 0; i < count; i++) {
        for (espl_commands *piece = list[i]; piece; piece = piece->more) {
            double time = device->sliced ? newest_time(piece) : 0;
            bool known = time >= 0;
            if (filled && (!known || sum + time > device->slice_ms)) {
                ESPL_TRY(flush(device, filled, 0, NULL));
                *out_begun = true;
                filled = 0;
                sum = 0;
            }
            device->scratch[filled++] = piece->buffer;
            /* One that never ran fills its slice, however short it may turn out. */
            sum += known ? time : device->slice_ms;
        }
    }
    return flush(device, filled, ticket, fence);
}

/* Half a submission is out, and nobody knows what it left half done: the device counts as lost. But it still works, so what
 * it works on must stay until it has ended, which an empty submission tells. */
static void give_up(espl_device *device, espl_ticket ticket, espl_fence *fence) {
    if (flush(device, 0, ticket, fence) == ESPL_OK) {
        if (fence) fence->ticket = ticket;
        device->signal.newest = ticket;
        (void)wait_for(device, ticket);
    }
    device->lost = true;
}

static espl_status submit_once(espl_device *device, espl_commands *const *list, size_t count) {
    espl_fence *fence;
    size_t pieces = 0;
    for (size_t i = 0; i < count; i++) {
        if (list[i]->recording) cut_by_newest_times(list[i]);
        for (const espl_commands *piece = list[i]; piece; piece = piece->more) pieces++;
    }
    ESPL_TRY(espl_grow(device->ctx, &device->scratch, &device->scratch_capacity, pieces, sizeof *device->scratch));
    ESPL_TRY(take_fence(device, &fence));
    espl_ticket ticket = device->signal.newest + 1;
    bool begun = false;
    espl_status status = submit_slices(device, list, count, ticket, fence, &begun);
    if (status != ESPL_OK && begun && !device->lost) give_up(device, ticket, fence);
    ESPL_TRY(status);
    if (fence) fence->ticket = ticket;
    device->signal.newest = ticket;
    device->counters.submissions++;
    for (size_t i = 0; i < count; i++) {
        for (espl_commands *piece = list[i]; piece; piece = piece->more) {
            piece->newest_ticket = ticket;
            piece->timed = piece->measured && piece->runs % runs_between_times != 0;
            piece->runs++;
        }
        list[i]->harvested = false;
    }
    return ESPL_OK;
}

/* Profiled commands go one by one, each after its own previous run, so that no stamp is overwritten unread. */
static espl_status submit_profiled(espl_device *device, espl_commands *const *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        ESPL_TRY(espl_wait(device, list[i]->newest_ticket));
        espl_profile_harvest(list[i]);
        ESPL_TRY(submit_once(device, list + i, 1));
    }
    return ESPL_OK;
}

espl_status espl_submit(espl_device *device, espl_commands *const *list, size_t count, espl_ticket *out_ticket) {
    if (out_ticket) *out_ticket = device->signal.newest;
    ESPL_TRY(espl_device_alive(device));
    ESPL_TRY(check_list(device, list, count));
    if (count == 0) return ESPL_OK;
    ESPL_TRY(poll(device));
    bool profiled = false;
    for (size_t i = 0; i < count; i++) profiled |= list[i]->profiled;
    ESPL_TRY(profiled ? submit_profiled(device, list, count) : submit_once(device, list, count));
    if (out_ticket) *out_ticket = device->signal.newest;
    espl_device_collect(device);
    return ESPL_OK;
}
