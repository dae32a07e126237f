/* A frame is one call of espl_trainer_advance and then the host's own work. The host's next submission would run when the
 * device has finished what the call gave it, so that is what is measured, by waiting for it: what goes beyond the budget is
 * the overrun. */
#include "tools/espalier/bench_frames.h"
#include "host/base/os.h"
#include "host/gpu/gpu.h"
#include <stdlib.h>

enum { FRAMES = 300 };

static const double work_seconds = 0.016;

/* Stands for the host's own work: keeps the processor and its caches busy. Returns the longest that it stood still, in
 * milliseconds: nothing of ours runs then, so it is what other programs take away, from an overrun too. */
static double work(uint32_t *values, size_t count) {
    double longest = 0;
    const double begin = espl_os_seconds();
    for (double last = begin, now = begin; last - begin < work_seconds; last = now) {
        for (size_t i = 0; i < count; i++)
            values[i] = values[i] * 1664525u + 1013904223u;
        now = espl_os_seconds();
        if (now - last > longest) longest = now - last;
    }
    return longest * 1e3;
}

static int by_rising_value(const void *a, const void *b) {
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Sorts. */
static double p99(double values[FRAMES]) {
    qsort(values, FRAMES, sizeof *values, by_rising_value);
    return values[FRAMES * 99 / 100 - 1];
}

espl_status bench_frame_budget(espl_device *device, espl_trainer *trainer, double budget_ms, bench_row row, void *user) {
    static uint32_t memory[4096];
    double calls[FRAMES], times[FRAMES], overruns[FRAMES], held_up[FRAMES], steps = 0;
    for (size_t i = 0; i < FRAMES; i++) {
        espl_progress progress;
        bool done;
        const double begin = espl_os_seconds();
        ESPL_TRY(espl_trainer_advance(trainer, budget_ms, &progress, &done));
        calls[i] = (espl_os_seconds() - begin) * 1e3;
        ESPL_TRY(espl_wait(device, espl_device_newest_ticket(device)));
        times[i] = (espl_os_seconds() - begin) * 1e3;
        overruns[i] = times[i] > budget_ms ? times[i] - budget_ms : 0;
        steps += done;
        held_up[i] = work(memory, ESPL_COUNT(memory));
    }
    double overrun_p99 = p99(overruns), held_up_p99 = p99(held_up);
    row(user, "frame: call", "ms", calls, FRAMES);
    row(user, "frame: device", "ms", times, FRAMES);
    row(user, "frame: overrun", "ms", overruns, FRAMES);
    row(user, "frame: overrun p99", "ms", &overrun_p99, 1);
    row(user, "frame: held up p99", "ms", &held_up_p99, 1);
    row(user, "frame: steps", "steps", &steps, 1);
    return ESPL_OK;
}
