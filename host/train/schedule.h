/* The learning rate of a step, the same numbers as transformers.get_{constant,linear,cosine}_schedule_with_warmup. */
#ifndef ESPL_SCHEDULE_H
#define ESPL_SCHEDULE_H

#include <espalier/trainer.h>

/* step counts from 0. During warmup the rate is base * step / warmup, so step 0 has rate 0 if there is a warmup. After
 * it CONSTANT stays at base, LINEAR falls to 0 at `steps`, COSINE follows half a cosine to 0 at `steps`. Computed in
 * double and rounded once. */
float espl_schedule_rate(espl_schedule schedule, double base, uint32_t warmup, uint32_t steps, uint32_t step);

#endif
