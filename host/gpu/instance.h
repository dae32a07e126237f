/* A VkInstance of our own, from the system's loader. Devices have one each: no globals, and nothing to share when two
 * parts of a program use the library without knowing of each other. */
#ifndef ESPL_GPU_INSTANCE_H
#define ESPL_GPU_INSTANCE_H

#include "host/gpu/vk.h"

typedef struct espl_instance {
    espl_context *ctx; /* borrowed */
    void *library;     /* owned */
    VkInstance handle; /* owned; VK_NULL_HANDLE on a machine with a loader and no driver */
    uint32_t version;  /* of the API: the loader's, at most 1.3, or what limits leave of it */
    bool debug_utils;
    VkDebugUtilsMessengerEXT messenger; /* owned; only with validation */
    uint64_t validation_count;
} espl_instance;

/* The instance must stay at its address until finish: the validation layer keeps a pointer to it.
 * limits: text as in espl_device_params, or NULL. Fails: UNSUPPORTED if there is no loader, or one without Vulkan 1.1. */
espl_status espl_instance_init(espl_context *ctx, espl_vk *vk, const char *limits, bool validation,
                               espl_instance *out_instance);
void espl_instance_finish(espl_vk *vk, espl_instance *instance);

/* An array of the context: free it with espl_free. */
espl_status espl_instance_devices(espl_context *ctx, const espl_vk *vk, const espl_instance *instance,
                                  VkPhysicalDevice **out_devices, uint32_t *out_count);

#endif
