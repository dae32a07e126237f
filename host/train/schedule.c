/* Learning-rate schedules. */
#include "host/train/schedule.h"
#include <math.h>

static double factor(espl_schedule schedule, uint32_t warmup, uint32_t steps, uint32_t step) {
    if (step < warmup) return (double)step / (double)warmup;
    if (schedule == ESPL_SCHEDULE_CONSTANT) return 1;
    double falling = steps > warmup ? (double)(steps - warmup) : 1;
    double value;
    if (schedule == ESPL_SCHEDULE_COSINE) {
        const double pi = 3.141592653589793;
        double progress = (double)(step - warmup) / falling;
        /* Past the end the cosine would rise again. */
        value = progress < 1 ? 0.5 * (1 + cos(pi * progress)) : 0;
    } else {
        value = ((double)steps - (double)step) / falling;
    }
    return value > 0 ? value : 0;
}

float espl_schedule_rate(espl_schedule schedule, double base, uint32_t warmup, uint32_t steps, uint32_t step) {
    return (float)(base * factor(schedule, warmup, steps, step));
}
