/* The only place that reads the environment. */
#include "host/gpu/config.h"
#include <stdlib.h>
#include <string.h>

const char *espl_config_limits(void) {
    const char *limits = getenv("ESPALIER_LIMITS");
    return limits ? limits : "";
}

espl_device_params espl_config_params(const espl_device_params *params) {
    espl_device_params filled = params ? *params : (espl_device_params){0};
    const char *slice = getenv("ESPALIER_SLICE_MS"), *validation = getenv("ESPALIER_VALIDATION");
    if (!filled.select) filled.select = getenv("ESPALIER_DEVICE");
    if (!filled.cache_folder) filled.cache_folder = getenv("ESPALIER_CACHE");
    if (!filled.slice_ms && slice) filled.slice_ms = (uint32_t)strtoul(slice, NULL, 10);
    if (validation && strcmp(validation, "1") == 0) filled.validation = true;
    return filled;
}
