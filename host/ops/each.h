/* The host's side of shaders/lib/each.glsl and lib/reduce.glsl: local sizes and numbers of workgroups. Local sizes are
 * those of a common subgroup; a software driver has SIMD lanes for invocations and wants more work in each workgroup.
 */
#ifndef ESPL_OPS_EACH_H
#define ESPL_OPS_EACH_H

#include "host/gpu/gpu.h"

enum { ESPL_GROUPS_MAX = 65535 };

/* Spec constants 0 to 4 and the grid. rows and cols may have been changed to one long row. */
typedef struct espl_each {
    uint32_t rows, cols;
    uint32_t spec[5];
    uint32_t groups[3];
} espl_each;

/* Every quad of rows x cols. contiguous: the rows of all operands have the stride `cols`, so that they may be taken as
 * one. */
static inline espl_each espl_each_of(const espl_device *device, uint32_t rows, uint32_t cols, bool contiguous) {
    const bool cpu = espl_device_capabilities(device)->cpu;
    espl_each each = {rows, cols, {cpu ? 8 : 64, 1, 1, cols % 4 != 0, cpu ? 16 : 1}, {1, 1, 1}};
    const uint64_t block = 4ull * each.spec[0] * each.spec[4], all = (uint64_t)rows * cols;
    if (contiguous && cols % 4 == 0 && all < UINT32_MAX && all <= block * ESPL_GROUPS_MAX)
        each.rows = 1, each.cols = (uint32_t)all;
    each.groups[0] = (uint32_t)((each.cols + block - 1) / block);
    each.groups[1] = each.rows < ESPL_GROUPS_MAX ? each.rows : ESPL_GROUPS_MAX;
    return each;
}

/* One workgroup per row of cols (or several rows after each other): the local size. */
static inline uint32_t espl_reduce_local(const espl_device *device, uint32_t cols) {
    const bool cpu = espl_device_capabilities(device)->cpu;
    uint32_t local = cpu ? 8 : 32;
    while (!cpu && local < 128 && 4 * local < cols)
        local *= 2;
    return local;
}

/* Workgroups for this many rows. A software driver runs them one after the other on few cores. */
static inline uint32_t espl_reduce_groups(const espl_device *device, uint32_t rows) {
    const uint32_t most = espl_device_capabilities(device)->cpu ? 64 : ESPL_GROUPS_MAX;
    return rows < most ? rows : most;
}

#endif
