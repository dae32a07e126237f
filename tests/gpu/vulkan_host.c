/* See vulkan_host.h. */
#include "tests/gpu/vulkan_host.h"
#include "host/base/os.h"
#include <stdio.h>
#include <string.h>

static const char layer[] = "VK_LAYER_KHRONOS_validation";

static VkBool32 VKAPI_PTR hear(VkDebugUtilsMessageSeverityFlagBitsEXT severity, VkDebugUtilsMessageTypeFlagsEXT types,
                               const VkDebugUtilsMessengerCallbackDataEXT *data, void *user) {
    (void)severity, (void)types;
    ((vulkan_host *)user)->messages++;
    fprintf(stderr, "  host's validation: %s\n", data->pMessage);
    return VK_FALSE;
}

/* settings: the layer's newer way to be told what to check. */
static VkResult make_instance(vulkan_host *h, uint32_t version, bool debug_utils, bool with_layer, bool settings) {
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)h->get(VK_NULL_HANDLE, "vkCreateInstance");
    const VkBool32 yes = VK_TRUE;
    const char *const layers[] = {layer};
    const char *const extensions[] = {"VK_EXT_debug_utils", settings ? "VK_EXT_layer_settings" : "VK_EXT_validation_features"};
    const VkLayerSettingEXT checks[] = {
        {layer, "validate_sync", VK_LAYER_SETTING_TYPE_BOOL32_EXT, 1, &yes},
        {layer, "syncval_submit_time_validation", VK_LAYER_SETTING_TYPE_BOOL32_EXT, 1, &yes},
    };
    const VkLayerSettingsCreateInfoEXT newer = {.sType = VK_STRUCTURE_TYPE_LAYER_SETTINGS_CREATE_INFO_EXT,
                                                .settingCount = ESPL_COUNT(checks),
                                                .pSettings = checks};
    const VkValidationFeatureEnableEXT feature = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    const VkValidationFeaturesEXT older = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                           .enabledValidationFeatureCount = 1,
                                           .pEnabledValidationFeatures = &feature};
    const void *next = settings ? (const void *)&newer : (const void *)&older;
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = version};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                       .pNext = with_layer ? next : NULL,
                                       .pApplicationInfo = &application,
                                       .enabledLayerCount = with_layer,
                                       .ppEnabledLayerNames = layers,
                                       .enabledExtensionCount = with_layer ? 2 : debug_utils,
                                       .ppEnabledExtensionNames = extensions};
    return create(&info, NULL, &h->instance);
}

static bool listen(vulkan_host *h) {
    const VkDebugUtilsMessengerCreateInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = hear,
        .pUserData = h};
    return VULKAN_HOST_FUNCTION(h, CreateDebugUtilsMessengerEXT)(h->instance, &info, NULL, &h->messenger) == VK_SUCCESS;
}

const char *vulkan_host_open(vulkan_host *h, uint32_t version, bool quiet) {
    *h = (vulkan_host){.library = espl_os_library_open("libvulkan.so.1")};
    if (!h->library) return "no Vulkan loader";
    void *symbol = espl_os_library_symbol(h->library, "vkGetInstanceProcAddr");
    memcpy(&h->get, &symbol, sizeof symbol);
    VkResult result = VK_ERROR_LAYER_NOT_PRESENT;
    if (!quiet) result = make_instance(h, version, true, true, true);
    if (!quiet && result != VK_SUCCESS) result = make_instance(h, version, true, true, false);
    if (!quiet && result != VK_SUCCESS) printf("without validation: the layer is not installed\n");
    if (result != VK_SUCCESS) result = make_instance(h, version, !quiet, false, false);
    if (result != VK_SUCCESS) return "no Vulkan driver";
    if (!quiet && !listen(h)) return "no messages of the validation layer";
    uint32_t count = 1;
    result = VULKAN_HOST_FUNCTION(h, EnumeratePhysicalDevices)(h->instance, &count, &h->physical);
    return result < 0 || count == 0 ? "no Vulkan device" : NULL;
}

bool vulkan_host_has(const vulkan_host *h, const char *extension) {
    static VkExtensionProperties rows[512];
    uint32_t count = ESPL_COUNT(rows);
    if (VULKAN_HOST_FUNCTION(h, EnumerateDeviceExtensionProperties)(h->physical, NULL, &count, rows) < 0) return false;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(rows[i].extensionName, extension) == 0) return true;
    return false;
}

const char *vulkan_host_make_device(vulkan_host *h, VkQueueFlags flags, const void *next, const char *extension) {
    const float priority = 0.5f;
    VkQueueFamilyProperties families[8];
    uint32_t count = ESPL_COUNT(families);
    VULKAN_HOST_FUNCTION(h, GetPhysicalDeviceQueueFamilyProperties)(h->physical, &count, families);
    while (h->family < count && (families[h->family].queueFlags & flags) != flags) h->family++;
    if (h->family == count) return "no queue that can do all of it";
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .queueFamilyIndex = h->family,
                                           .queueCount = 1,
                                           .pQueuePriorities = &priority};
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                     .pNext = next,
                                     .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &queue,
                                     .enabledExtensionCount = extension != NULL,
                                     .ppEnabledExtensionNames = &extension};
    if (VULKAN_HOST_FUNCTION(h, CreateDevice)(h->physical, &info, NULL, &h->device) != VK_SUCCESS)
        return "no device with these features";
    VULKAN_HOST_FUNCTION(h, GetDeviceQueue)(h->device, h->family, 0, &h->queue);
    return NULL;
}

void vulkan_host_close(vulkan_host *h) {
    VULKAN_HOST_FUNCTION(h, DestroyDevice)(h->device, NULL);
    if (h->messenger) VULKAN_HOST_FUNCTION(h, DestroyDebugUtilsMessengerEXT)(h->instance, h->messenger, NULL);
    VULKAN_HOST_FUNCTION(h, DestroyInstance)(h->instance, NULL);
    espl_os_library_close(h->library);
}
