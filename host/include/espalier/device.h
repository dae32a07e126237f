/* The device that runs everything: one of our own, or the host program's. */
#ifndef ESPALIER_DEVICE_H
#define ESPALIER_DEVICE_H

#include <espalier/context.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct espl_device espl_device;

typedef struct espl_device_params {
    /* Which device: NULL or "" the best one (discrete, integrated, virtual, software; first of its kind), "1" by number as
     * listed by espl_device_list, a UUID of 32 hexadecimal digits (dashes allowed), or part of the name in any case. */
    const char *select;
    /* Milliseconds of work in one submission; 0 means 50, and no limit on a software driver, where nothing waits. */
    uint32_t slice_ms;
    /* Folder for the pipeline cache; NULL the user's cache folder, "" none. A file is keyed by device, driver and version. */
    const char *cache_folder;
    /* Turns on VK_LAYER_KHRONOS_validation with synchronisation checks where installed; its messages come as log lines
     * of level ERROR that begin with "validation:". For tests. */
    bool validation;
    /* Lowers what the device says it can do: "shared_bytes_max=16384,subgroup_arithmetic=0". Names are those of
     * espl_device_list; a value above the device's changes nothing. NULL: nothing. For drivers with faults and for
     * tests of the portable path. */
    const char *limits;
    /* The queue yields to what others do on the device: the lowest priority that the driver offers (VK_KHR_global_priority
     * where present). With slice_ms, a desktop stays usable beside long work. */
    bool low_priority;
} espl_device_params;

/* Makes its own VkInstance and VkDevice through the system's Vulkan loader, found at run time.
 * Fails: UNSUPPORTED if there is no loader or no device, or the one asked for lacks what is required (named);
 * ARGUMENT if select fits none or several (they are listed in the message). */
espl_status espl_device_create(espl_context *context, const espl_device_params *params, espl_device **out_device);

/* The host program's Vulkan objects. Void pointers so that this header needs no Vulkan: pass the handles themselves.
 * Nothing here is destroyed by the library, and it never waits for the host's device to idle. Required of the device:
 * Vulkan 1.1, a compute queue. Used where enabled: timelineSemaphore (say so in features). */
typedef struct espl_device_import_params {
    void *instance, *physical_device, *device, *queue; /* VkInstance, VkPhysicalDevice, VkDevice, VkQueue */
    uint32_t queue_family;
    /* PFN_vkGetInstanceProcAddr of the host's loader. The system's loader is not touched. */
    void *get_instance_proc_addr;
    /* Held around every use of the queue; both or neither. */
    void (*lock_queue)(void *user);
    void (*unlock_queue)(void *user);
    void *lock_user;
    /* What the host enabled when it created the device; what is not said is not used. */
    bool timeline_semaphore;
    uint32_t slice_ms;
    const char *cache_folder;
    /* The VkPhysicalDeviceFeatures2 given to vkCreateDevice, with its pNext chain, or NULL. Read during the call only;
     * it decides which kernels may be used (16-bit storage and arithmetic, cooperative matrix, ...). */
    const void *features;
    /* VK_EXT_debug_utils is enabled on the instance: objects get names, commands get labels. */
    bool debug_utils;
    const char *limits; /* as in espl_device_params */
} espl_device_import_params;
/* Fails: ARGUMENT for handles or a lock that are missing; UNSUPPORTED naming what the device lacks. */
espl_status espl_device_import(espl_context *context, const espl_device_import_params *params, espl_device **out_device);

/* Waits for its own submissions only, not for what a host program put on the queue behind them. Takes and clears; NULL
 * is accepted. Objects made from it come first. */
void espl_device_destroy(espl_device **device);

/* One line about the device: name, driver, version. Borrowed from the device. */
const char *espl_device_name(const espl_device *device);
const char *espl_device_driver(const espl_device *device);

/* All that is known of every device of this machine, as JSON text (an array) or as a table for people.
 * *out_text is freed with espl_text_free. No device at all is a valid, empty list.
 * Fails: UNSUPPORTED if there is no loader. */
espl_status espl_device_list(espl_context *context, bool json, char **out_text);
void espl_text_free(espl_context *context, char **text);

#ifdef __cplusplus
}
#endif
#endif
