/* A device from beginning to end: made on an instance of its own, or put together from a host program's objects. Both
 * ways meet in init_objects; what differs after is who destroys the VkDevice and that a host's queue is locked. */
#include "host/gpu/config.h"
#include "host/gpu/select.h"
#include "host/gpu/state.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const double slice_ms_default = 50;

espl_status espl_device_check(espl_device *device, VkResult result, const char *what) {
    if (result == VK_ERROR_DEVICE_LOST) device->lost = true;
    return espl_vk_check(device->ctx, result, what);
}

espl_status espl_device_alive(espl_device *device) {
    if (!device->lost) return ESPL_OK;
    return espl_fail(device->ctx, ESPL_DEVICE_LOST, "%s was lost; make a new device and load from a checkpoint",
                     device->name);
}

void espl_device_label_object(espl_device *device, VkObjectType type, uint64_t handle, const char *name) {
    const VkDebugUtilsObjectNameInfoEXT info = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
                                                .objectType = type,
                                                .objectHandle = handle,
                                                .pObjectName = name};
    if (device->debug_utils) (void)device->vk.SetDebugUtilsObjectNameEXT(device->handle, &info);
}

static void make_names(espl_device *device) {
    const espl_device_facts *facts = &device->facts;
    snprintf(device->name, sizeof device->name, "%s", facts->properties.deviceName);
    uint32_t version = facts->properties.driverVersion, api = facts->properties.apiVersion;
    /* The part of driverInfo that is wanted is short ("Mesa 22.3.6 (LLVM 15.0.6)"); without it, the bare number. */
    if (facts->driver_name[0])
        snprintf(device->driver, sizeof device->driver, "%.60s, %.60s%sVulkan %u.%u.%u", facts->driver_name,
                 facts->driver_info, facts->driver_info[0] ? ", " : "", VK_API_VERSION_MAJOR(api),
                 VK_API_VERSION_MINOR(api), VK_API_VERSION_PATCH(api));
    else
        snprintf(device->driver, sizeof device->driver, "driver %" PRIu32 ", Vulkan %u.%u.%u", version,
                 VK_API_VERSION_MAJOR(api), VK_API_VERSION_MINOR(api), VK_API_VERSION_PATCH(api));
}

/* A software driver has no watchdog and no display to starve, so unless slices were asked for it goes without: on
 * lavapipe 22.3.6 a commands with one small dispatch takes 31 us, and 80 to 107 us with its two timestamps. */
static void choose_slices(espl_device *device, uint32_t slice_ms) {
    device->sliced = slice_ms || !device->facts.capabilities.cpu;
    device->slice_ms = slice_ms ? slice_ms : slice_ms_default;
    /* Low guesses of what a kernel does before one was measured: too many pieces cost the first run a little. */
    const VkPhysicalDeviceType type = device->facts.properties.deviceType;
    device->operations_per_ms = type == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU     ? 2e8
                                : type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU ? 2e7
                                                                                 : 1e6;
    device->pace = (espl_pace){.factor = 1, .gap_ms = device->facts.capabilities.cpu ? 0.08 : 0.01};
}

/* Everything beyond the VkDevice and its queue. */
static espl_status init_objects(espl_device *device, const char *cache_folder) {
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .queueFamilyIndex = device->family};
    device->debug_utils = device->debug_utils && device->vk.SetDebugUtilsObjectNameEXT &&
                          device->vk.CmdBeginDebugUtilsLabelEXT && device->vk.CmdEndDebugUtilsLabelEXT;
    if (!device->vk.GetSemaphoreCounterValue || !device->vk.WaitSemaphores)
        device->facts.capabilities.timeline = false;
    ESPL_TRY(espl_device_check(device, device->vk.CreateCommandPool(device->handle, &pool, NULL, &device->command_pool),
                               "vkCreateCommandPool"));
    ESPL_TRY(espl_signal_init(device));
    ESPL_TRY(espl_block_create(device, ESPL_ARENA_STATE, "stands in for unused bindings", ESPL_DUMMY_BYTES,
                               &device->dummy));
    ESPL_TRY(espl_pipeline_cache_create(device, cache_folder));
    espl_log(device->ctx, ESPL_LOG_INFO, "device: %s (%s)", device->name, device->driver);
    return ESPL_OK;
}

static espl_status create_handle(espl_device *device, bool low_priority) {
    const float priority = low_priority ? 0 : 1;
    const VkDeviceQueueGlobalPriorityCreateInfoKHR low = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_GLOBAL_PRIORITY_CREATE_INFO_KHR,
        .globalPriority = VK_QUEUE_GLOBAL_PRIORITY_LOW_KHR};
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .pNext = low_priority && device->facts.global_priority ? &low : NULL,
                                           .queueFamilyIndex = device->family,
                                           .queueCount = 1,
                                           .pQueuePriorities = &priority};
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                     .pNext = espl_features_link(&device->facts),
                                     .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &queue,
                                     .enabledExtensionCount = device->facts.extension_count,
                                     .ppEnabledExtensionNames = device->facts.extensions};
    espl_vk *vk = &device->vk;
    VkResult result = vk->CreateDevice(device->physical, &info, NULL, &device->handle);
    /* SwiftShader lists the extension and refuses its struct. */
    if (result != VK_SUCCESS && queue.pNext) {
        queue.pNext = NULL;
        result = vk->CreateDevice(device->physical, &info, NULL, &device->handle);
    }
    ESPL_TRY(espl_vk_check(device->ctx, result, device->name));
    ESPL_TRY(espl_vk_load_device(device->ctx, vk, device->handle));
    vk->GetDeviceQueue(device->handle, device->family, 0, &device->queue);
    return ESPL_OK;
}

espl_status espl_device_create(espl_context *context, const espl_device_params *params, espl_device **out_device) {
    *out_device = NULL;
    espl_device_params p = espl_config_params(params);
    espl_device *device;
    ESPL_TRY(espl_new(context, sizeof *device, &device));
    device->ctx = context;
    espl_status status;
    ESPL_GOTO(espl_instance_init(context, &device->vk, p.limits, p.validation, &device->instance));
    ESPL_GOTO(espl_select_device(context, &device->vk, &device->instance, p.select, &device->physical));
    ESPL_GOTO(espl_device_facts_read(context, &device->vk, device->instance.handle, device->physical,
                                device->instance.version, &(espl_import_facts){0}, p.limits, &device->facts));
    device->family = device->facts.family;
    device->debug_utils = device->instance.debug_utils;
    make_names(device);
    choose_slices(device, p.slice_ms);
    ESPL_GOTO(create_handle(device, p.low_priority));
    ESPL_GOTO(init_objects(device, p.cache_folder));
    *out_device = device;
    return ESPL_OK;
fail:
    espl_device_destroy(&device);
    return status;
}

espl_status espl_device_import(espl_context *context, const espl_device_import_params *params,
                               espl_device **out_device) {
    *out_device = NULL;
    if (!params->instance || !params->physical_device || !params->device || !params->queue ||
        !params->get_instance_proc_addr)
        return espl_fail(context, ESPL_ARGUMENT,
                         "import: instance, physical_device, device, queue and get_instance_proc_addr are all needed");
    if (!params->lock_queue != !params->unlock_queue)
        return espl_fail(context, ESPL_ARGUMENT, "import: lock_queue and unlock_queue come together or not at all");
    espl_device *device;
    ESPL_TRY(espl_new(context, sizeof *device, &device));
    device->ctx = context;
    device->imported = true;
    device->lock_queue = params->lock_queue;
    device->unlock_queue = params->unlock_queue;
    device->lock_user = params->lock_user;
    device->physical = params->physical_device;
    device->queue = params->queue;
    device->debug_utils = params->debug_utils;
    const espl_import_facts import = {true, params->timeline_semaphore, params->queue_family, params->features};
    VkInstance instance = params->instance;
    espl_status status;
    _Static_assert(sizeof(PFN_vkGetInstanceProcAddr) == sizeof(void *), "function and object pointers differ");
    memcpy(&device->vk.GetInstanceProcAddr, &params->get_instance_proc_addr, sizeof(void *));
    ESPL_GOTO(espl_vk_load_instance(context, &device->vk, instance));
    /* What version the host's instance was made for is not known; 1.1 is the least, the rest goes by extensions. */
    ESPL_GOTO(espl_device_facts_read(context, &device->vk, instance, device->physical, VK_API_VERSION_1_1, &import,
                                params->limits, &device->facts));
    device->family = device->facts.family;
    make_names(device);
    choose_slices(device, params->slice_ms);
    ESPL_GOTO(espl_vk_load_device(context, &device->vk, params->device));
    device->handle = params->device; /* last: from here on there is something to destroy on it */
    ESPL_GOTO(init_objects(device, params->cache_folder));
    *out_device = device;
    return ESPL_OK;
fail:
    espl_device_destroy(&device);
    return status;
}

/* Everything made on the VkDevice. What our own submissions use must not go before they end, so the newest of them is waited
 * for: by the queue's order that includes what a host put before it, and nothing that came after. */
static void finish_objects(espl_device *device) {
    if (!device->lost) (void)espl_wait(device, device->signal.newest);
    espl_pipeline_cache_save(device, true);
    espl_device_collect(device);
    for (const espl_commands *c = device->commands; c; c = c->next)
        espl_log(device->ctx, ESPL_LOG_ERROR, "commands '%s' outlive their device", c->name);
    espl_profile_finish(device);
    espl_block_destroy(&device->ring);
    espl_block_destroy(&device->dummy);
    for (int i = 0; i < ESPL_ARENA_KIND_COUNT; i++)
        if (device->counters.arena_bytes[i])
            espl_log(device->ctx, ESPL_LOG_ERROR, "%" PRIu64 " bytes of device memory outlive their device",
                     device->counters.arena_bytes[i]);
    espl_device_finish_kernels(device);
    espl_pipeline_cache_finish(device);
    espl_device_finish_timers(device);
    espl_signal_finish(device);
    device->vk.DestroyCommandPool(device->handle, device->command_pool, NULL);
    espl_free(device->ctx, &device->scratch);
    espl_free(device->ctx, &device->chosen);
    if (!device->imported) device->vk.DestroyDevice(device->handle, NULL);
}

void espl_device_destroy(espl_device **device) {
    espl_device *d = *device;
    *device = NULL;
    if (!d) return;
    /* Without the table there is nothing that could have been made, and nothing to destroy it with. */
    if (d->handle && d->vk.WaitForFences) finish_objects(d);
    espl_instance_finish(&d->vk, &d->instance);
    espl_free(d->ctx, &d);
}

const char *espl_device_name(const espl_device *device) {
    return device->name;
}

const char *espl_device_driver(const espl_device *device) {
    return device->driver;
}

espl_context *espl_device_context(const espl_device *device) {
    return device->ctx;
}

const espl_capabilities *espl_device_capabilities(const espl_device *device) {
    return &device->facts.capabilities;
}

const espl_matrix_shape *espl_device_matrix_shapes(const espl_device *device) {
    return device->facts.shapes;
}

const espl_matrix_shape *espl_device_matrix_shape(const espl_device *device, espl_dtype dtype, uint32_t m, uint32_t n,
                                                  uint32_t k) {
    const uint32_t type = dtype == ESPL_DTYPE_F16 ? ESPL_MATRIX_F16 : ESPL_MATRIX_BF16;
    for (uint32_t i = 0; i < device->facts.capabilities.matrix_shape_count; i++) {
        const espl_matrix_shape *s = &device->facts.shapes[i];
        if (s->a == type && s->b == type && s->c == ESPL_MATRIX_F32 && s->result == ESPL_MATRIX_F32 && !s->saturating &&
            m % s->m == 0 && n % s->n == 0 && k % s->k == 0)
            return s;
    }
    return NULL;
}

uint64_t espl_device_validation_count(const espl_device *device) {
    return device->instance.validation_count;
}

espl_device_counters espl_device_count(const espl_device *device) {
    return device->counters;
}
