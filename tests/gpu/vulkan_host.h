/* What a host program has before it hands its device over: loader, instance, device and queue, with the validation layer
 * listening. The library's own code for this (host/gpu/instance.c, device.c) is not used, for hosts do not have it. */
#ifndef ESPL_VULKAN_HOST_H
#define ESPL_VULKAN_HOST_H

#include "host/gpu/vk.h"

typedef struct vulkan_host {
    void *library;
    PFN_vkGetInstanceProcAddr get;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger; /* NULL: nobody listens */
    VkPhysicalDevice physical;          /* the first there is */
    VkDevice device;
    VkQueue queue;
    uint32_t family;
    int messages; /* of the validation layer, which are on stderr */
} vulkan_host;

/* VK_EXT_debug_utils is enabled, and the validation layer where it is installed, with synchronisation; not if quiet. Gives
 * NULL, or what there is not: "no Vulkan driver". */
const char *vulkan_host_open(vulkan_host *host, uint32_t version, bool quiet);
/* One queue that can do all of this. next: what VkDeviceCreateInfo has behind it; extension: one, or NULL. */
const char *vulkan_host_make_device(vulkan_host *host, VkQueueFlags flags, const void *next, const char *extension);
bool vulkan_host_has(const vulkan_host *host, const char *extension);
/* Everything made on the device is gone by now. messages stays. */
void vulkan_host_close(vulkan_host *host);

/* A function of the instance or of any device of it. */
#define VULKAN_HOST_FUNCTION(host, name) ((PFN_vk##name)(host)->get((host)->instance, "vk" #name))

#endif
