/* How fast the device is now, beside what its pieces usually take: other programs, a lower clock, the gaps between pieces. What
 * is slow stays so for a while, so budgets are filled by it. */
#include "host/gpu/state.h"
#include <math.h>

/* A budget that is not kept is what somebody sees, one that is not filled costs a little time. With these figures the 99th
 * percentile of what `espalier bench frames` goes beyond its budget is about 2 ms and less on lavapipe (README.md). */
static const double weight_if_faster = 0.02, slowest = 3;

double espl_pace_of(const espl_device *device, const espl_commands *piece) {
    return piece->likely < 0 ? -1 : device->pace.factor * (piece->likely + device->pace.gap_ms);
}

void espl_pace_expect(espl_device *device, espl_commands *const *pieces, size_t count, espl_ticket ticket) {
    espl_pace *pace = &device->pace;
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        const bool known = pieces[i]->samples && pieces[i]->timer.pool;
        sum = known ? sum + pieces[i]->likely + pace->gap_ms : INFINITY;
    }
    /* What goes out while the device is busy continues what is there. */
    const bool continues = pace->ticket > device->signal.completed;
    if (!continues) *pace = (espl_pace){.factor = pace->factor, .gap_ms = pace->gap_ms, .first = pieces[0]->timer};
    pace->last = pieces[count - 1]->timer;
    pace->expected_ms += sum;
    pace->ticket = ticket;
}

void espl_pace_forget(espl_device *device, espl_timer timer) {
    espl_pace *pace = &device->pace;
    const bool first = pace->first.pool == timer.pool && pace->first.first == timer.first;
    const bool last = pace->last.pool == timer.pool && pace->last.first == timer.first;
    if (first || last) pace->ticket = 0;
}

void espl_pace_learn(espl_device *device) {
    espl_pace *pace = &device->pace;
    double milliseconds;
    if (pace->ticket == 0 || pace->ticket > device->signal.completed) return;
    pace->ticket = 0;
    if (!(pace->expected_ms < INFINITY) || !espl_timer_read_from_to(device, pace->first, pace->last, &milliseconds)) return;
    const double factor = fmin(milliseconds / pace->expected_ms, slowest);
    pace->factor += (factor > pace->factor ? 1 : weight_if_faster) * (factor - pace->factor);
}
