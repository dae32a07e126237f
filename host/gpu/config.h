/* The environment, for people who debug a program they did not write. What the program says in its parameters wins
 * over all but ESPALIER_VALIDATION and ESPALIER_LIMITS, which add to it.
 *
 *   ESPALIER_DEVICE      as espl_device_params.select
 *   ESPALIER_CACHE       as cache_folder; empty for none
 *   ESPALIER_SLICE_MS    as slice_ms
 *   ESPALIER_VALIDATION  1 turns validation on
 *   ESPALIER_LIMITS      as limits, on top of what the program gives; not for a host's device */
#ifndef ESPL_GPU_CONFIG_H
#define ESPL_GPU_CONFIG_H

#include <espalier/device.h>

/* Fills what params leave open; params may be NULL. Strings are borrowed from params or the environment. */
espl_device_params espl_config_params(const espl_device_params *params);

/* ESPALIER_LIMITS, or "". */
const char *espl_config_limits(void);

#endif
