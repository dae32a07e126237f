/* espalier bench methods: what a training step of a method costs beside the base's own work. */
#ifndef ESPALIER_BENCH_METHODS_H
#define ESPALIER_BENCH_METHODS_H

#include "tools/espalier/bench_matmul.h"
#include <espalier/model.h>
#include <espalier/trainer.h>

/* Rows: milliseconds of a step of each method, and its ratio to another's in the same round. */
espl_status bench_method_steps(espl_model *model, const espl_dataset *dataset, uint32_t batch, size_t rounds, bench_row row,
                               void *user);

#endif
