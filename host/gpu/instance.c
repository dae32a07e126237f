/* Finding the loader, making an instance, and listening to the validation layer. */
#include "host/gpu/instance.h"
#include "host/base/os.h"
#include "host/gpu/capabilities.h"
#include <string.h>

#if defined(_WIN32)
static const char *const loader_names[] = {"vulkan-1.dll"};
#elif defined(__APPLE__)
static const char *const loader_names[] = {"libvulkan.1.dylib", "libvulkan.dylib", "libMoltenVK.dylib"};
#elif defined(__ANDROID__)
static const char *const loader_names[] = {"libvulkan.so"};
#else
static const char *const loader_names[] = {"libvulkan.so.1", "libvulkan.so"};
#endif

static const char validation_layer[] = "VK_LAYER_KHRONOS_validation";
static const char portability_enumeration[] = "VK_KHR_portability_enumeration";
static const VkInstanceCreateFlags enumerate_portability_bit = 0x1;

static espl_status open_loader(espl_context *ctx, espl_vk *vk, espl_instance *instance) {
    for (size_t i = 0; i < ESPL_COUNT(loader_names) && !instance->library; i++)
        instance->library = espl_os_library_open(loader_names[i]);
    if (!instance->library)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "no Vulkan loader (%s) on this machine", loader_names[0]);
    void *symbol = espl_os_library_symbol(instance->library, "vkGetInstanceProcAddr");
    if (!symbol) return espl_fail(ctx, ESPL_UNSUPPORTED, "%s has no vkGetInstanceProcAddr", loader_names[0]);
    PFN_vkGetInstanceProcAddr get;
    /* C has no cast from an object pointer to a function pointer; the bits are the same wherever Vulkan is. */
    _Static_assert(sizeof get == sizeof symbol, "function and object pointers differ");
    memcpy(&get, &symbol, sizeof get);
    return espl_vk_load_global(ctx, vk, get);
}

static bool has_extension(const VkExtensionProperties *rows, uint32_t count, const char *name) {
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(rows[i].extensionName, name) == 0) return true;
    return false;
}

/* The extensions of the implementation (layer NULL) or of a layer. */
static espl_status list_extensions(espl_context *ctx, const espl_vk *vk, const char *layer,
                                   VkExtensionProperties **out_rows, uint32_t *out_count) {
    *out_rows = NULL;
    *out_count = 0;
    uint32_t count = 0;
    ESPL_TRY(espl_vk_check(ctx, vk->EnumerateInstanceExtensionProperties(layer, &count, NULL),
                           "vkEnumerateInstanceExtensionProperties"));
    ESPL_TRY(espl_new(ctx, count * sizeof **out_rows, out_rows));
    VkResult result = count ? vk->EnumerateInstanceExtensionProperties(layer, &count, *out_rows) : VK_SUCCESS;
    *out_count = count;
    /* INCOMPLETE: the list grew meanwhile; what was read is still true. */
    espl_status status =
        result == VK_INCOMPLETE ? ESPL_OK : espl_vk_check(ctx, result, "vkEnumerateInstanceExtensionProperties");
    if (status != ESPL_OK) espl_free(ctx, out_rows);
    return status;
}

static espl_status find_validation_layer(espl_context *ctx, const espl_vk *vk, bool *out_found) {
    *out_found = false;
    uint32_t count = 0;
    VkLayerProperties *layers = NULL;
    ESPL_TRY(
        espl_vk_check(ctx, vk->EnumerateInstanceLayerProperties(&count, NULL), "vkEnumerateInstanceLayerProperties"));
    ESPL_TRY(espl_new(ctx, count * sizeof *layers, &layers));
    if (count && vk->EnumerateInstanceLayerProperties(&count, layers) < 0) count = 0;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(layers[i].layerName, validation_layer) == 0) *out_found = true;
    espl_free(ctx, &layers);
    if (!*out_found)
        espl_log(ctx, ESPL_LOG_WARNING, "validation was asked for, but %s is not installed", validation_layer);
    return ESPL_OK;
}

static VkBool32 VKAPI_PTR hear_validation(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                          VkDebugUtilsMessageTypeFlagsEXT types,
                                          const VkDebugUtilsMessengerCallbackDataEXT *data, void *user) {
    (void)severity;
    (void)types;
    espl_instance *instance = user;
    instance->validation_count++;
    espl_log(instance->ctx, ESPL_LOG_ERROR, "validation: %s", data->pMessage);
    return VK_FALSE;
}

static espl_status create_instance(espl_context *ctx, espl_vk *vk, bool validation, espl_instance *instance) {
    VkExtensionProperties *rows = NULL, *layer_rows = NULL;
    uint32_t count = 0, layer_count = 0;
    if (validation) ESPL_TRY(find_validation_layer(ctx, vk, &validation));
    ESPL_TRY(list_extensions(ctx, vk, NULL, &rows, &count));
    if (validation) {
        espl_status status = list_extensions(ctx, vk, validation_layer, &layer_rows, &layer_count);
        if (status != ESPL_OK) {
            espl_free(ctx, &rows);
            return status;
        }
    }
    const char *extensions[4];
    uint32_t extension_count = 0;
    instance->debug_utils = has_extension(rows, count, VK_EXT_DEBUG_UTILS_EXTENSION_NAME) ||
                            has_extension(layer_rows, layer_count, VK_EXT_DEBUG_UTILS_EXTENSION_NAME);
    bool portability = has_extension(rows, count, portability_enumeration);
    bool choose_checks = has_extension(layer_rows, layer_count, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME);
    /* How newer layers are told the same; they lack the older way. */
    bool choose_settings = has_extension(layer_rows, layer_count, VK_EXT_LAYER_SETTINGS_EXTENSION_NAME);
    if (instance->debug_utils) extensions[extension_count++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    if (portability) extensions[extension_count++] = portability_enumeration;
    if (choose_checks) extensions[extension_count++] = VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME;
    if (choose_settings) extensions[extension_count++] = VK_EXT_LAYER_SETTINGS_EXTENSION_NAME;
    espl_free(ctx, &rows);
    espl_free(ctx, &layer_rows);

    const char *const layers[] = {validation_layer};
    const VkValidationFeatureEnableEXT checks[] = {VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    const VkValidationFeaturesEXT features = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                              .enabledValidationFeatureCount = ESPL_COUNT(checks),
                                              .pEnabledValidationFeatures = checks};
    const VkBool32 yes = VK_TRUE;
    const VkLayerSettingEXT settings[] = {
        {validation_layer, "validate_sync", VK_LAYER_SETTING_TYPE_BOOL32_EXT, 1, &yes},
        {validation_layer, "syncval_full_validation", VK_LAYER_SETTING_TYPE_BOOL32_EXT, 1, &yes},
        {validation_layer, "syncval_shader_accesses_heuristic", VK_LAYER_SETTING_TYPE_BOOL32_EXT, 1, &yes},
    };
    const VkLayerSettingsCreateInfoEXT layer_settings = {.sType = VK_STRUCTURE_TYPE_LAYER_SETTINGS_CREATE_INFO_EXT,
                                                         .pNext = choose_checks ? &features : NULL,
                                                         .settingCount = ESPL_COUNT(settings),
                                                         .pSettings = settings};
    const void *checks_chain = choose_settings ? (const void *)&layer_settings : layer_settings.pNext;
    const VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        /* Not GENERAL: that is the loader talking about drivers of other devices. */
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = hear_validation,
        .pUserData = instance};
    /* In the instance's chain it hears what is said while that is made. */
    VkDebugUtilsMessengerCreateInfoEXT messenger_first = messenger;
    messenger_first.pNext = checks_chain;
    const void *chain = validation && instance->debug_utils ? &messenger_first : checks_chain;
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .pEngineName = "espalier",
                                           .apiVersion = instance->version};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                       .pNext = chain,
                                       .flags = portability ? enumerate_portability_bit : 0,
                                       .pApplicationInfo = &application,
                                       .enabledLayerCount = validation ? 1 : 0,
                                       .ppEnabledLayerNames = layers,
                                       .enabledExtensionCount = extension_count,
                                       .ppEnabledExtensionNames = extensions};
    VkResult result = vk->CreateInstance(&info, NULL, &instance->handle);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
        instance->handle = VK_NULL_HANDLE; /* a loader without any driver: a machine without devices */
        return ESPL_OK;
    }
    ESPL_TRY(espl_vk_check(ctx, result, "vkCreateInstance"));
    ESPL_TRY(espl_vk_load_instance(ctx, vk, instance->handle));
    if (validation && instance->debug_utils)
        ESPL_TRY(espl_vk_check(
            ctx, vk->CreateDebugUtilsMessengerEXT(instance->handle, &messenger, NULL, &instance->messenger),
            "vkCreateDebugUtilsMessengerEXT"));
    return ESPL_OK;
}

espl_status espl_instance_init(espl_context *ctx, espl_vk *vk, const char *limits, bool validation,
                               espl_instance *out_instance) {
    *out_instance = (espl_instance){.ctx = ctx};
    espl_status status;
    ESPL_GOTO(open_loader(ctx, vk, out_instance));
    uint32_t version = 0;
    ESPL_GOTO(espl_vk_check(ctx, vk->EnumerateInstanceVersion(&version), "vkEnumerateInstanceVersion"));
    if (version < VK_API_VERSION_1_1) {
        status = espl_fail(ctx, ESPL_UNSUPPORTED, "the Vulkan loader is older than 1.1");
        goto fail;
    }
    out_instance->version = version < VK_API_VERSION_1_3 ? version : VK_API_VERSION_1_3;
    ESPL_GOTO(espl_version_limit(ctx, limits, &out_instance->version));
    ESPL_GOTO(create_instance(ctx, vk, validation, out_instance));
    return ESPL_OK;
fail:
    espl_instance_finish(vk, out_instance);
    return status;
}

void espl_instance_finish(espl_vk *vk, espl_instance *instance) {
    if (instance->messenger) vk->DestroyDebugUtilsMessengerEXT(instance->handle, instance->messenger, NULL);
    if (instance->handle && vk->DestroyInstance) vk->DestroyInstance(instance->handle, NULL);
    if (instance->library) espl_os_library_close(instance->library);
    *instance = (espl_instance){0};
}

espl_status espl_instance_devices(espl_context *ctx, const espl_vk *vk, const espl_instance *instance,
                                  VkPhysicalDevice **out_devices, uint32_t *out_count) {
    *out_devices = NULL;
    *out_count = 0;
    uint32_t count = 0;
    if (!instance->handle) return ESPL_OK;
    VkResult result = vk->EnumeratePhysicalDevices(instance->handle, &count, NULL);
    /* Some loaders report a machine without any driver as a failure; to our callers it is an empty list. */
    if (result == VK_ERROR_INITIALIZATION_FAILED || result == VK_ERROR_INCOMPATIBLE_DRIVER) return ESPL_OK;
    ESPL_TRY(espl_vk_check(ctx, result, "vkEnumeratePhysicalDevices"));
    ESPL_TRY(espl_new(ctx, count * sizeof **out_devices, out_devices));
    if (count) result = vk->EnumeratePhysicalDevices(instance->handle, &count, *out_devices);
    if (result < 0) {
        espl_free(ctx, out_devices);
        return espl_vk_check(ctx, result, "vkEnumeratePhysicalDevices");
    }
    *out_count = count;
    return ESPL_OK;
}
