/* A frame is one call of espl_trainer_advance and then the host's own work. The host's next submission would run when the
 * device has finished what the call gave it, so that is what is measured, by waiting for it: what goes beyond the budget is
 * the overrun. */
#include "tools/espalier/bench_frames.h"
#include "host/base/os.h"
#include "host/gpu/gpu.h"
#include <stdlib.h>

enum { FRAMES = 300 };

static const double work_seconds = 0.016;

/* Stands for the host's own work: keeps the processor and its caches busy. */
static void work(double until, uint32_t *values, size_t count) {
    while (espl_os_seconds() < until)
        for (size_t i = 0; i < count; i++)
            values[i] = values[i] * 1664525u + 1013904223u;
}

static int by_rising_value(const void *a, const void *b) {
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

espl_status bench_frame_budget(espl_device *device, espl_trainer *trainer, double budget_ms, bench_row row, void *user) {
    static uint32_t memory[16384];
    double calls[FRAMES], times[FRAMES], overruns[FRAMES], steps = 0;
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
        work(espl_os_seconds() + work_seconds, memory, ESPL_COUNT(memory));
    }
    qsort(overruns, FRAMES, sizeof *overruns, by_rising_value);
    double p99 = overruns[FRAMES * 99 / 100 - 1];
    row(user, "frame: call", "ms", calls, FRAMES);
    row(user, "frame: device", "ms", times, FRAMES);
    row(user, "frame: overrun", "ms", overruns, FRAMES);
    row(user, "frame: overrun p99", "ms", &p99, 1);
    row(user, "frame: steps", "steps", &steps, 1);
    return ESPL_OK;
}
