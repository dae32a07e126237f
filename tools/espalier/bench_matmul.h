/* espalier bench matmul: products alone, each beside OpenBLAS on the same processors where that is installed. */
#ifndef ESPALIER_BENCH_MATMUL_H
#define ESPALIER_BENCH_MATMUL_H

#include <espalier/device.h>

/* values: one per repetition; the callee may sort them. */
typedef void (*bench_row)(void *user, const char *name, const char *unit, double *values, size_t count);

espl_status bench_products(espl_device *device, size_t repetitions, bench_row row, void *user);

#endif
