/* Which of the machine's devices. */
#ifndef ESPL_GPU_SELECT_H
#define ESPL_GPU_SELECT_H

#include "host/gpu/instance.h"

/* select as in espl_device_params. Fails: UNSUPPORTED if there is no device at all; ARGUMENT if select fits none or
 * several, with all of them in the message. */
espl_status espl_select_device(espl_context *ctx, const espl_vk *vk, const espl_instance *instance, const char *select,
                               VkPhysicalDevice *out_physical);

/* "discrete", "integrated", ... */
const char *espl_device_type_name(VkPhysicalDeviceType type);
/* 32 hexadecimal digits with dashes as in "8-4-4-4-12". */
void espl_uuid_text(const uint8_t uuid[VK_UUID_SIZE], char out_text[37]);

#endif
