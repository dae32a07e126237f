/* espalier bench compositions: what several adapters at once cost beside one of them. */
#ifndef ESPALIER_BENCH_COMPOSITIONS_H
#define ESPALIER_BENCH_COMPOSITIONS_H

#include "tools/espalier/bench_matmul.h"
#include <espalier/model.h>
#include <espalier/trainer.h>

/* Rows: milliseconds of a forward pass over the batch with loss, and their ratio to one adapter's in the same round. */
espl_status bench_composition_passes(espl_model *model, const espl_dataset *dataset, uint32_t batch, size_t rounds, bench_row row, void *user);

#endif
