/* Loading the function table, and turning results into the library's statuses. */
#include "host/gpu/vk.h"

/* Function pointers go through the loader's one generic type; each cast back is to the type of its own name. */
#define LOAD_REQUIRED(get, handle, name)                                                              \
    do {                                                                                              \
        vk->name = (PFN_vk##name)(get)((handle), "vk" #name);                                         \
        if (!vk->name) return espl_fail(ctx, ESPL_UNSUPPORTED, "the Vulkan driver has no vk" #name);  \
    } while (0)

espl_status espl_vk_load_global(espl_context *ctx, espl_vk *vk, PFN_vkGetInstanceProcAddr get) {
    vk->GetInstanceProcAddr = get;
#define LOAD(name) LOAD_REQUIRED(get, VK_NULL_HANDLE, name);
    ESPL_VK_GLOBAL_LIST(LOAD)
#undef LOAD
    return ESPL_OK;
}

espl_status espl_vk_load_instance(espl_context *ctx, espl_vk *vk, VkInstance instance) {
    PFN_vkGetInstanceProcAddr get = vk->GetInstanceProcAddr;
#define LOAD(name) LOAD_REQUIRED(get, instance, name);
    ESPL_VK_INSTANCE_LIST(LOAD)
#undef LOAD
#define LOAD(name) vk->name = (PFN_vk##name)get(instance, "vk" #name);
    ESPL_VK_INSTANCE_OPTIONAL_LIST(LOAD)
#undef LOAD
    return ESPL_OK;
}

espl_status espl_vk_load_device(espl_context *ctx, espl_vk *vk, VkDevice device) {
    PFN_vkGetDeviceProcAddr get = vk->GetDeviceProcAddr;
#define LOAD(name) LOAD_REQUIRED(get, device, name);
    ESPL_VK_DEVICE_LIST(LOAD)
#undef LOAD
#define LOAD(name) vk->name = (PFN_vk##name)get(device, "vk" #name);
    ESPL_VK_DEVICE_OPTIONAL_LIST(LOAD)
#undef LOAD
#define LOAD(name)                                   \
    vk->name = (PFN_vk##name)get(device, "vk" #name); \
    if (!vk->name) vk->name = (PFN_vk##name)get(device, "vk" #name "KHR");
    ESPL_VK_TIMELINE_LIST(LOAD)
#undef LOAD
    return ESPL_OK;
}

static const struct {
    VkResult result;
    espl_status status;
    const char *name;
} result_rows[] = {
    {VK_ERROR_OUT_OF_HOST_MEMORY, ESPL_HOST_MEMORY, "VK_ERROR_OUT_OF_HOST_MEMORY"},
    {VK_ERROR_OUT_OF_DEVICE_MEMORY, ESPL_DEVICE_MEMORY, "VK_ERROR_OUT_OF_DEVICE_MEMORY"},
    {VK_ERROR_DEVICE_LOST, ESPL_DEVICE_LOST, "VK_ERROR_DEVICE_LOST"},
    {VK_ERROR_INITIALIZATION_FAILED, ESPL_UNSUPPORTED, "VK_ERROR_INITIALIZATION_FAILED"},
    {VK_ERROR_INCOMPATIBLE_DRIVER, ESPL_UNSUPPORTED, "VK_ERROR_INCOMPATIBLE_DRIVER"},
    {VK_ERROR_LAYER_NOT_PRESENT, ESPL_UNSUPPORTED, "VK_ERROR_LAYER_NOT_PRESENT"},
    {VK_ERROR_EXTENSION_NOT_PRESENT, ESPL_UNSUPPORTED, "VK_ERROR_EXTENSION_NOT_PRESENT"},
    {VK_ERROR_FEATURE_NOT_PRESENT, ESPL_UNSUPPORTED, "VK_ERROR_FEATURE_NOT_PRESENT"},
    {VK_ERROR_TOO_MANY_OBJECTS, ESPL_LIMIT, "VK_ERROR_TOO_MANY_OBJECTS"},
    {VK_ERROR_FRAGMENTED_POOL, ESPL_DEVICE_MEMORY, "VK_ERROR_FRAGMENTED_POOL"},
    {VK_ERROR_OUT_OF_POOL_MEMORY, ESPL_DEVICE_MEMORY, "VK_ERROR_OUT_OF_POOL_MEMORY"},
    {VK_ERROR_MEMORY_MAP_FAILED, ESPL_HOST_MEMORY, "VK_ERROR_MEMORY_MAP_FAILED"},
    {VK_ERROR_INVALID_SHADER_NV, ESPL_UNSUPPORTED, "VK_ERROR_INVALID_SHADER_NV"},
    {VK_ERROR_UNKNOWN, ESPL_INTERNAL, "VK_ERROR_UNKNOWN"},
    {VK_SUCCESS, ESPL_OK, "VK_SUCCESS"},
    {VK_NOT_READY, ESPL_INTERNAL, "VK_NOT_READY"},
    {VK_TIMEOUT, ESPL_INTERNAL, "VK_TIMEOUT"},
    {VK_INCOMPLETE, ESPL_INTERNAL, "VK_INCOMPLETE"},
};

const char *espl_vk_result_name(VkResult result) {
    for (size_t i = 0; i < ESPL_COUNT(result_rows); i++)
        if (result_rows[i].result == result) return result_rows[i].name;
    return "an unknown VkResult";
}

espl_status espl_vk_check(espl_context *ctx, VkResult result, const char *what) {
    if (result == VK_SUCCESS) return ESPL_OK;
    espl_status status = ESPL_INTERNAL;
    for (size_t i = 0; i < ESPL_COUNT(result_rows); i++)
        if (result_rows[i].result == result) status = result_rows[i].status;
    return espl_fail(ctx, status, "%s: %s (%d)", what, espl_vk_result_name(result), (int)result);
}
