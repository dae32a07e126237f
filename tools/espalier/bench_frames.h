/* espalier bench frames: training a few milliseconds per frame beside a program that draws. */
#ifndef ESPALIER_BENCH_FRAMES_H
#define ESPALIER_BENCH_FRAMES_H

#include "tools/espalier/bench_matmul.h"
#include <espalier/trainer.h>

/* trainer: made with piece_ms. Rows of time in ms as a frame of the host program finds them. */
espl_status bench_frame_budget(espl_device *device, espl_trainer *trainer, double budget_ms, bench_row row, void *user);

#endif
