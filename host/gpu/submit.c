/* Submission: which pieces of a list of commands go out, by a budget, and in which slices, both by their measured times: drivers
 * reset a device that is busy for seconds, and a desktop stutters long before.
 * A step that is replayed allocates nothing here: the scratch arrays and the fences are kept. */
#include "host/base/os.h"
#include "host/gpu/state.h"
#include <math.h>

/* What was recorded once takes about the same time every run, and reading a time costs 9 us on lavapipe: after the first
 * few every 16th will do. */
static const uint32_t runs_between_times = 16, samples_first = 4;
static const double weight_of_run = 0.25, share_for_times = 0.1;

/* ---- Times ---- */

/* A run of more than twice as long had somebody else's work in between, and counts as twice. The first one may hold the
 * driver's compiler: the second counts alone if it was faster. */
static double moved(double before, double milliseconds) {
    return before + weight_of_run * (fmin(milliseconds, 2 * before) - before);
}

static void note_time(espl_commands *piece, double milliseconds) {
    const bool faster = milliseconds < piece->typical;
    if (piece->samples == 0 || (piece->samples == 1 && faster)) piece->typical = piece->likely = milliseconds;
    else {
        const bool longer = milliseconds > piece->likely;
        piece->typical = moved(piece->typical, milliseconds);
        piece->likely = longer ? fmin(milliseconds, 2 * piece->likely) : moved(piece->likely, milliseconds);
    }
    piece->milliseconds = milliseconds;
    piece->samples++;
}

/* Reads the newest run whose stamps are there. They are asked for while a run is still under way, too: where the next step
 * is always submitted before the last one ends, no other moment comes. */
static void read_time(espl_commands *piece) {
    espl_device *device = piece->device;
    double milliseconds;
    if (piece->timed || piece->runs == 0) return;
    if (!espl_timer_read(device, piece->timer, &milliseconds)) return;
    note_time(piece, milliseconds);
    piece->timed = piece->newest_ticket <= device->signal.completed;
}

static void newest_times(espl_commands *commands, double *out_sum, double *out_longest) {
    *out_sum = *out_longest = 0;
    if (!commands->device->lost) (void)espl_signal_poll(commands->device);
    for (espl_commands *piece = commands; piece; piece = piece->more) {
        piece->timed = false; /* asked for by name: the newest, at its price */
        read_time(piece);
        const double time = piece->milliseconds;
        *out_sum = piece->samples && *out_sum >= 0 ? *out_sum + time : -1;
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

/* ---- Slices ---- */

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

/* ---- What goes out ---- */

static bool takes(espl_budget *budget, const espl_commands *piece) {
    if (budget->left_ms == INFINITY) return true;
    const double time = espl_pace_of(piece->device, piece);
    const bool fits = time >= 0 && time <= budget->left_ms;
    if (!fits && budget->used) return false;
    budget->used = true;
    budget->left_ms = fits ? budget->left_ms - time : 0;
    return true;
}

/* Times of the commands' pieces that ran: of all where it is at its beginning, which is also when it may be cut anew, else of
 * those that went out before. Reading takes 10 to 70 us each on lavapipe; it gets a share of the budget, the rest has to wait. */
static void look_back(espl_commands *commands, uint32_t at, espl_budget *budget) {
    const double begin = espl_os_seconds(), end = begin + share_for_times * 1e-3 * budget->left_ms;
    espl_commands *piece = commands;
    for (uint32_t i = 0; piece && (at == 0 || i < at); i++, piece = piece->more)
        if (espl_os_seconds() < end) read_time(piece);
    if (at == 0) espl_cut_again(commands);
    budget->left_ms -= (espl_os_seconds() - begin) * 1e3;
}

/* What goes out now, into device->chosen. Commands may be cut anew before the first of their pieces goes. */
static espl_status choose(espl_device *device, espl_commands *const *list, size_t count, espl_budget *budget,
                          espl_mark *in_out_mark, size_t *out_chosen) {
    espl_mark at = *in_out_mark;
    *out_chosen = 0;
    for (; at.commands < count; at = (espl_mark){.commands = at.commands + 1}) {
        espl_commands *piece = list[at.commands];
        look_back(piece, at.piece, budget);
        for (uint32_t i = 0; i < at.piece; i++) piece = piece->more;
        for (; piece && takes(budget, piece); piece = piece->more, at.piece++) {
            ESPL_TRY(espl_grow(device->ctx, &device->chosen, &device->chosen_capacity, *out_chosen + 1,
                               sizeof *device->chosen));
            device->chosen[(*out_chosen)++] = piece;
        }
        if (piece) break;
    }
    *in_out_mark = at;
    return ESPL_OK;
}

/* The chosen as one submission; only its last slice signals the ticket. out_begun: some of it went out. */
static espl_status submit_slices(espl_device *device, size_t count, espl_ticket ticket, espl_fence *fence, bool *out_begun) {
    double sum = 0;
    uint32_t filled = 0;
    for (size_t i = 0; i < count; i++) {
        const double time = device->chosen[i]->likely;
        /* One that never ran fills its slice, however short it may turn out. */
        const bool full = time < 0 || sum + time > device->slice_ms;
        if (device->sliced && filled && full) {
            ESPL_TRY(flush(device, filled, 0, NULL));
            *out_begun = true;
            filled = 0;
            sum = 0;
        }
        device->scratch[filled++] = device->chosen[i]->buffer;
        sum += time < 0 ? device->slice_ms : time;
    }
    return flush(device, filled, ticket, fence);
}

/* Half a submission is out, and nobody knows what it left half done: the device counts as lost. But it still works, so what
 * it works on must stay until it has ended, which an empty submission tells. */
static void give_up(espl_device *device, espl_ticket ticket, espl_fence *fence) {
    if (flush(device, 0, ticket, fence) == ESPL_OK) {
        if (fence) fence->ticket = ticket;
        device->signal.newest = ticket;
        (void)espl_signal_wait(device, ticket);
    }
    device->lost = true;
}

static void note_run(espl_device *device, size_t count, espl_ticket ticket) {
    for (size_t i = 0; i < count; i++) {
        espl_commands *piece = device->chosen[i];
        piece->newest_ticket = ticket;
        piece->timed = piece->samples >= samples_first && piece->runs % runs_between_times != 0;
        piece->runs++;
    }
}

static espl_status submit_fitting(espl_device *device, espl_commands *const *list, size_t count, espl_budget *budget,
                                  espl_mark *in_out_mark) {
    espl_fence *fence;
    espl_mark mark = *in_out_mark;
    size_t pieces;
    ESPL_TRY(choose(device, list, count, budget, &mark, &pieces));
    /* Found lost while times were read or commands cut anew: nothing that goes out now would be waited for. */
    ESPL_TRY(espl_device_alive(device));
    if (pieces == 0) return ESPL_OK;
    ESPL_TRY(espl_grow(device->ctx, &device->scratch, &device->scratch_capacity, pieces, sizeof *device->scratch));
    ESPL_TRY(espl_signal_take_fence(device, &fence));
    espl_ticket ticket = device->signal.newest + 1;
    bool begun = false;
    espl_status status = submit_slices(device, pieces, ticket, fence, &begun);
    if (status != ESPL_OK && begun && !device->lost) give_up(device, ticket, fence);
    ESPL_TRY(status);
    if (fence) fence->ticket = ticket;
    device->signal.newest = ticket;
    device->counters.submissions++;
    if (budget->left_ms < INFINITY) espl_pace_expect(device, device->chosen, pieces, ticket);
    note_run(device, pieces, ticket);
    /* All pieces live as long as the first. */
    for (size_t i = in_out_mark->commands; i < mark.commands + (mark.piece > 0); i++) {
        list[i]->newest_ticket = ticket;
        list[i]->harvested = false;
    }
    *in_out_mark = mark;
    return ESPL_OK;
}

/* Profiled commands go one by one, each after its own previous run, so that no stamp is overwritten unread. */
static espl_status submit_profiled(espl_device *device, espl_commands *const *list, size_t count, espl_budget *budget,
                                   espl_mark *in_out_mark) {
    while (in_out_mark->commands < count) {
        espl_commands *next = list[in_out_mark->commands];
        ESPL_TRY(espl_wait(device, next->newest_ticket));
        espl_profile_harvest(next);
        ESPL_TRY(submit_fitting(device, list, in_out_mark->commands + 1, budget, in_out_mark));
    }
    return ESPL_OK;
}

espl_status espl_submit_some(espl_device *device, espl_commands *const *list, size_t count, espl_budget *budget,
                             espl_mark *in_out_mark, espl_ticket *out_ticket) {
    const espl_ticket before = device->signal.newest;
    ESPL_TRY(espl_device_alive(device));
    ESPL_TRY(check_list(device, list, count));
    ESPL_TRY(espl_signal_poll(device));
    espl_pace_learn(device);
    bool profiled = false;
    for (size_t i = 0; i < count; i++) profiled |= list[i]->profiled;
    const bool waits = profiled && budget->left_ms == INFINITY;
    ESPL_TRY((waits ? submit_profiled : submit_fitting)(device, list, count, budget, in_out_mark));
    if (device->signal.newest != before) *out_ticket = device->signal.newest;
    espl_device_collect(device);
    return ESPL_OK;
}

espl_status espl_submit(espl_device *device, espl_commands *const *list, size_t count, espl_ticket *out_ticket) {
    espl_budget all = {.left_ms = INFINITY};
    espl_mark begin = {0};
    espl_ticket ticket = device->signal.newest;
    const espl_status status = espl_submit_some(device, list, count, &all, &begin, &ticket);
    if (out_ticket) *out_ticket = ticket;
    return status;
}
