/* What a kernel sees of a large tensor. A device binds storage_range_max bytes at once, 128 MiB on some, so an operator over
 * rows is issued in windows of rows: the same kernel on parts that begin where a binding may begin. A window is counted in
 * units of rows that stay together: 1 for most, the rows of a sequence for attention. */
#ifndef ESPL_OPS_WINDOW_H
#define ESPL_OPS_WINDOW_H

#include "host/graph/graph.h"

/* One operand: NULL is skipped. */
typedef struct espl_window_part {
    const espl_tensor *t;
    uint32_t rows; /* of a unit */
} espl_window_part;

enum { ESPL_BINDING_ALIGNMENT = 256 }; /* the largest that Vulkan allows a device to ask for */

static inline uint64_t espl_row_bytes(const espl_tensor *t) {
    return t->stride * espl_dtype_bytes(t->dtype);
}

/* Units of one window, so that none of the parts is beyond the storage range: all of them where that fits.
 * Fails: LIMIT with the numbers if the least possible window is beyond it. */
static inline espl_status espl_window_units(const espl_device *device, const char *op, uint32_t units,
                                            const espl_window_part *parts, size_t count, uint32_t *out_units) {
    const uint64_t range = espl_device_capabilities(device)->storage_range_max;
    uint64_t step = 1, most = units, largest = 0;
    bool cut = false;
    for (size_t i = 0; i < count; i++) {
        if (!parts[i].t) continue;
        const uint64_t bytes = parts[i].rows * espl_row_bytes(parts[i].t);
        while (step * bytes % ESPL_BINDING_ALIGNMENT) step *= 2; /* rows are multiples of 4 bytes: 64 at most */
        if (range / bytes < most) most = range / bytes;
        if (bytes > largest) largest = bytes;
        cut |= units * bytes > range;
    }
    *out_units = cut ? (uint32_t)(most / step * step) : units;
    if (*out_units) return ESPL_OK;
    return espl_fail(espl_device_context(device), ESPL_LIMIT,
                     "%s: %llu x %llu bytes must be bound at once, the device binds at most %llu; fewer tokens or columns fit",
                     op, (unsigned long long)step, (unsigned long long)largest, (unsigned long long)range);
}

static inline uint32_t espl_window_count(uint32_t from, uint32_t all, uint32_t window) {
    return all - from < window ? all - from : window;
}

/* Rows [from, from + count) of a tensor; no span for NULL. */
static inline espl_span espl_rows_span(const espl_tensor *t, uint32_t from, uint32_t count) {
    return t ? espl_span_part(t->span, from * espl_row_bytes(t), count * espl_row_bytes(t)) : (espl_span){0};
}

#endif
