/* A Vulkan layer that writes down every compute pipeline which a program makes, with what the driver's compiler says
 * about it. The program is not changed: it asks for the kernels that it would use on this device, and this sees them.
 *
 * One line per pipeline is added to the file $ESPL_KERNELS; fields are parted by tabs:
 *   shader's debug name, specialization constants, milliseconds, then NAME=VALUE for each statistic
 * or FAILED and the result where NAME=VALUE would begin. Statistics are those of VK_KHR_pipeline_executable_properties,
 * which the layer turns on where the driver has it. One instance, one device at a time, one thread: all that is
 * needed. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { MODULES_MAX = 512, STATISTICS_MAX = 64, EXTENSIONS_MAX = 256 };

/* The next in the chain. */
static struct {
    VkInstance instance;
    PFN_vkGetInstanceProcAddr get_instance;
    PFN_vkGetDeviceProcAddr get_device;
    PFN_vkEnumerateDeviceExtensionProperties extensions;
    PFN_vkGetPhysicalDeviceFeatures2 features;
    PFN_vkCreateComputePipelines create;
    PFN_vkSetDebugUtilsObjectNameEXT name;
    PFN_vkGetPipelineExecutableStatisticsKHR statistics;
} next;

static struct {
    VkShaderModule handle;
    char name[64];
} modules[MODULES_MAX];
static size_t module_count;
static bool has_statistics;

static const char *module_name(VkShaderModule handle) {
    for (size_t i = module_count; i-- > 0;)
        if (modules[i].handle == handle) return modules[i].name;
    return "unnamed";
}

static VKAPI_ATTR VkResult VKAPI_CALL set_name(VkDevice device, const VkDebugUtilsObjectNameInfoEXT *info) {
    if (info->objectType == VK_OBJECT_TYPE_SHADER_MODULE && info->pObjectName) {
        size_t i = module_count < MODULES_MAX ? module_count++ : MODULES_MAX - 1;
        memcpy(&modules[i].handle, &info->objectHandle, sizeof modules[i].handle);
        snprintf(modules[i].name, sizeof modules[i].name, "%s", info->pObjectName);
    }
    return next.name ? next.name(device, info) : VK_SUCCESS;
}

static void write_statistics(FILE *file, VkDevice device, VkPipeline pipeline) {
    VkPipelineExecutableStatisticKHR rows[STATISTICS_MAX] = {{0}};
    uint32_t count = STATISTICS_MAX;
    for (size_t i = 0; i < STATISTICS_MAX; i++) rows[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    const VkPipelineExecutableInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
                                              .pipeline = pipeline};
    if (next.statistics(device, &info, &count, rows) < 0) return;
    for (uint32_t i = 0; i < count; i++) {
        const VkPipelineExecutableStatisticValueKHR v = rows[i].value;
        switch (rows[i].format) {
        case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR: fprintf(file, "\t%s=%u", rows[i].name, v.b32); break;
        case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
            fprintf(file, "\t%s=%lld", rows[i].name, (long long)v.i64);
            break;
        case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
            fprintf(file, "\t%s=%llu", rows[i].name, (unsigned long long)v.u64);
            break;
        default: fprintf(file, "\t%s=%g", rows[i].name, v.f64); break;
        }
    }
}

static double milliseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice device, VkPipelineCache cache, uint32_t count,
                                                       const VkComputePipelineCreateInfo *infos,
                                                       const VkAllocationCallbacks *allocator, VkPipeline *out) {
    VkResult result = VK_SUCCESS;
    const char *path = getenv("ESPL_KERNELS");
    FILE *file = path ? fopen(path, "a") : NULL;
    for (uint32_t i = 0; i < count; i++) {
        VkComputePipelineCreateInfo info = infos[i];
        if (has_statistics) info.flags |= VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
        const double start = milliseconds();
        const VkResult one = next.create(device, cache, 1, &info, allocator, &out[i]);
        if (one != VK_SUCCESS) result = one;
        if (!file) continue;
        fprintf(file, "%s\t", module_name(info.stage.module));
        const VkSpecializationInfo *spec = info.stage.pSpecializationInfo;
        for (uint32_t k = 0; spec && k < spec->mapEntryCount; k++) {
            uint32_t word;
            memcpy(&word, (const char *)spec->pData + spec->pMapEntries[k].offset, sizeof word);
            fprintf(file, "%s%u", k ? " " : "", word);
        }
        fprintf(file, "\t%.1f", milliseconds() - start);
        if (one != VK_SUCCESS) fprintf(file, "\tFAILED=%d", (int)one);
        else if (has_statistics) write_statistics(file, device, out[i]);
        fputc('\n', file);
    }
    if (file) fclose(file);
    return result;
}

/* ---- The chain ---- */

/* Dispatchable handles begin with the same pointer for an instance and its physical devices; with one instance there is
 * nothing to look up. */
static const void *find_link(const void *chain, VkStructureType type) {
    for (const VkLayerInstanceCreateInfo *c = chain; c; c = c->pNext)
        if (c->sType == type && c->function == VK_LAYER_LINK_INFO) return c;
    return NULL;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info,
                                                      const VkAllocationCallbacks *allocator, VkInstance *out) {
    VkLayerInstanceCreateInfo *link =
        (VkLayerInstanceCreateInfo *)(uintptr_t)find_link(info->pNext, VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO);
    if (!link) return VK_ERROR_INITIALIZATION_FAILED;
    next.get_instance = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)next.get_instance(NULL, "vkCreateInstance");
    const VkResult result = create ? create(info, allocator, out) : VK_ERROR_INITIALIZATION_FAILED;
    if (result != VK_SUCCESS) return result;
    next.instance = *out;
    next.extensions = (PFN_vkEnumerateDeviceExtensionProperties)next.get_instance(*out, "vkEnumerateDeviceExtensionProperties");
    next.features = (PFN_vkGetPhysicalDeviceFeatures2)next.get_instance(*out, "vkGetPhysicalDeviceFeatures2");
    return VK_SUCCESS;
}

static bool offers_statistics(VkPhysicalDevice physical) {
    static VkExtensionProperties rows[1024];
    uint32_t count = COUNT(rows);
    if (!next.features || next.extensions(physical, NULL, &count, rows) < 0) return false;
    bool found = false;
    for (uint32_t i = 0; i < count; i++)
        found |= strcmp(rows[i].extensionName, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME) == 0;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR asked = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &asked};
    if (found) next.features(physical, &features);
    return asked.pipelineExecutableInfo;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator, VkDevice *out) {
    VkLayerDeviceCreateInfo *link =
        (VkLayerDeviceCreateInfo *)(uintptr_t)find_link(info->pNext, VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO);
    if (!link) return VK_ERROR_INITIALIZATION_FAILED;
    next.get_device = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    PFN_vkCreateDevice create = (PFN_vkCreateDevice)link->u.pLayerInfo->pfnNextGetInstanceProcAddr(next.instance, "vkCreateDevice");
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;

    VkDeviceCreateInfo with = *info;
    const char *extensions[EXTENSIONS_MAX];
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR feature = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pNext = (void *)(uintptr_t)info->pNext,
        .pipelineExecutableInfo = VK_TRUE};
    has_statistics = info->enabledExtensionCount < EXTENSIONS_MAX && offers_statistics(physical);
    if (has_statistics) {
        for (uint32_t i = 0; i < info->enabledExtensionCount; i++) extensions[i] = info->ppEnabledExtensionNames[i];
        extensions[with.enabledExtensionCount++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
        with.ppEnabledExtensionNames = extensions;
        with.pNext = &feature;
    }
    const VkResult result = create(physical, &with, allocator, out);
    if (result != VK_SUCCESS) return result;
    module_count = 0;
    next.create = (PFN_vkCreateComputePipelines)next.get_device(*out, "vkCreateComputePipelines");
    next.name = (PFN_vkSetDebugUtilsObjectNameEXT)next.get_device(*out, "vkSetDebugUtilsObjectNameEXT");
    next.statistics =
        (PFN_vkGetPipelineExecutableStatisticsKHR)next.get_device(*out, "vkGetPipelineExecutableStatisticsKHR");
    has_statistics = has_statistics && next.statistics;
    return VK_SUCCESS;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device(VkDevice device, const char *name);
static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance(VkInstance instance, const char *name);

static PFN_vkVoidFunction find_own(const char *name) {
    static const struct {
        const char *name;
        PFN_vkVoidFunction function;
    } own[] = {
        {"vkCreateInstance", (PFN_vkVoidFunction)create_instance},
        {"vkCreateDevice", (PFN_vkVoidFunction)create_device},
        {"vkGetInstanceProcAddr", (PFN_vkVoidFunction)get_instance},
        {"vkGetDeviceProcAddr", (PFN_vkVoidFunction)get_device},
        {"vkCreateComputePipelines", (PFN_vkVoidFunction)create_pipelines},
        {"vkSetDebugUtilsObjectNameEXT", (PFN_vkVoidFunction)set_name},
    };
    for (size_t i = 0; i < COUNT(own); i++)
        if (strcmp(own[i].name, name) == 0) return own[i].function;
    return NULL;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device(VkDevice device, const char *name) {
    PFN_vkVoidFunction own = find_own(name);
    return own ? own : next.get_device(device, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance(VkInstance instance, const char *name) {
    PFN_vkVoidFunction own = find_own(name);
    return own ? own : next.get_instance(instance, name);
}

VKAPI_ATTR VkResult VKAPI_CALL vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *negotiation) {
    if (negotiation->loaderLayerInterfaceVersion > 2) negotiation->loaderLayerInterfaceVersion = 2;
    negotiation->pfnGetInstanceProcAddr = get_instance;
    negotiation->pfnGetDeviceProcAddr = get_device;
    negotiation->pfnGetPhysicalDeviceProcAddr = NULL;
    return VK_SUCCESS;
}
