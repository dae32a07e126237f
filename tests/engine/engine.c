/* See engine.h. */
#include "tests/engine/engine.h"
#include "host/base/os.h"
#include "host/train/trainer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define must(expr) assert_int_equal((expr), VK_SUCCESS)

static VkBool32 VKAPI_PTR hear(VkDebugUtilsMessageSeverityFlagBitsEXT severity, VkDebugUtilsMessageTypeFlagsEXT types,
                               const VkDebugUtilsMessengerCallbackDataEXT *data, void *user) {
    (void)severity;
    (void)types;
    engine *e = user;
    e->messages++;
    fprintf(stderr, "  validation: %s\n", data->pMessage);
    return VK_FALSE;
}

static void leave_out(const char *why) {
    printf("skipped: %s\n", why);
    exit(77);
}

/* ---- Instance and device ---- */

static VkResult make_instance(engine *e, bool with_layer, bool with_settings) {
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)e->get(VK_NULL_HANDLE, "vkCreateInstance");
    static const char layer[] = "VK_LAYER_KHRONOS_validation";
    const char *const layers[] = {layer};
    const char *const extensions[] = {"VK_EXT_debug_utils",
                                      with_settings ? "VK_EXT_layer_settings" : "VK_EXT_validation_features"};
    const VkBool32 yes = VK_TRUE;
    const VkLayerSettingEXT settings[] = {
        {layer, "validate_sync", VK_LAYER_SETTING_TYPE_BOOL32_EXT, 1, &yes},
        {layer, "syncval_submit_time_validation", VK_LAYER_SETTING_TYPE_BOOL32_EXT, 1, &yes},
    };
    const VkLayerSettingsCreateInfoEXT newer = {.sType = VK_STRUCTURE_TYPE_LAYER_SETTINGS_CREATE_INFO_EXT,
                                                .settingCount = ESPL_COUNT(settings),
                                                .pSettings = settings};
    const VkValidationFeatureEnableEXT checks[] = {VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    const VkValidationFeaturesEXT older = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                           .enabledValidationFeatureCount = 1,
                                           .pEnabledValidationFeatures = checks};
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .apiVersion = VK_API_VERSION_1_1};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                       .pNext = !with_layer     ? NULL
                                                : with_settings ? (const void *)&newer
                                                                : (const void *)&older,
                                       .pApplicationInfo = &application,
                                       .enabledLayerCount = with_layer,
                                       .ppEnabledLayerNames = layers,
                                       .enabledExtensionCount = with_layer ? 2 : 1,
                                       .ppEnabledExtensionNames = extensions};
    return create(&info, NULL, &e->instance);
}

static bool has_extension(engine *e, const char *name) {
    static VkExtensionProperties rows[512];
    uint32_t count = ESPL_COUNT(rows);
    if (e->EnumerateDeviceExtensionProperties(e->physical, NULL, &count, rows) < 0) return false;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(rows[i].extensionName, name) == 0) return true;
    return false;
}

/* No feature but the one; a host that needs no more enables no more. */
static void make_device(engine *e, bool timeline) {
    const float priority = 1;
    VkQueueFamilyProperties families[8];
    uint32_t count = ESPL_COUNT(families);
    const VkQueueFlags wanted = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT;
    e->GetPhysicalDeviceQueueFamilyProperties(e->physical, &count, families);
    while (e->family < count && (families[e->family].queueFlags & wanted) != wanted) e->family++;
    if (e->family == count) leave_out("no queue that draws and computes");
    static const char *const extensions[] = {"VK_KHR_timeline_semaphore"};
    e->timeline = timeline && has_extension(e, extensions[0]);
    VkPhysicalDeviceTimelineSemaphoreFeatures feature = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES, .timelineSemaphore = VK_TRUE};
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .queueFamilyIndex = e->family,
                                           .queueCount = 1,
                                           .pQueuePriorities = &priority};
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                     .pNext = e->timeline ? &feature : NULL,
                                     .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &queue,
                                     .enabledExtensionCount = e->timeline,
                                     .ppEnabledExtensionNames = extensions};
    must(e->CreateDevice(e->physical, &info, NULL, &e->device));
    e->GetDeviceQueue(e->device, e->family, 0, &e->queue);
}

static void make_objects(engine *e) {
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                          .queueFamilyIndex = e->family};
    must(e->CreateCommandPool(e->device, &pool, NULL, &e->pool));
    const VkCommandBufferAllocateInfo commands = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                                  .commandPool = e->pool,
                                                  .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                                  .commandBufferCount = 1};
    must(e->AllocateCommandBuffers(e->device, &commands, &e->commands));
    must(e->CreateFence(e->device, &(VkFenceCreateInfo){.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO}, NULL, &e->fence));
    engine_make_draw(e);
}

void engine_open(engine *e, bool timeline) {
    *e = (engine){0};
    pthread_mutex_init(&e->lock, NULL);
    assert_int_equal(espl_context_create(NULL, &e->ctx), ESPL_OK);
    e->library = espl_os_library_open("libvulkan.so.1");
    if (!e->library) leave_out("no Vulkan loader");
    void *symbol = espl_os_library_symbol(e->library, "vkGetInstanceProcAddr");
    memcpy(&e->get, &symbol, sizeof symbol);
    VkResult result = make_instance(e, true, true);
    if (result != VK_SUCCESS) result = make_instance(e, true, false);
    if (result != VK_SUCCESS) {
        printf("without validation: the layer is not installed\n");
        result = make_instance(e, false, false);
    }
    if (result != VK_SUCCESS) leave_out("no Vulkan driver");
#define LOAD(name) e->name = (PFN_vk##name)e->get(e->instance, "vk" #name);
    ENGINE_FUNCTIONS(LOAD)
#undef LOAD
    const VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = hear,
        .pUserData = e};
    must(e->CreateDebugUtilsMessengerEXT(e->instance, &messenger, NULL, &e->messenger));
    uint32_t count = 1;
    if (e->EnumeratePhysicalDevices(e->instance, &count, &e->physical) < 0 || count == 0) leave_out("no Vulkan device");
    make_device(e, timeline);
    make_objects(e);
}

void engine_close(engine *e) {
    engine_free_draw(e);
    e->DestroyFence(e->device, e->fence, NULL);
    e->DestroyCommandPool(e->device, e->pool, NULL);
    e->DestroyDevice(e->device, NULL);
    e->DestroyDebugUtilsMessengerEXT(e->instance, e->messenger, NULL);
    e->DestroyInstance(e->instance, NULL);
    espl_os_library_close(e->library);
    espl_context_destroy(&e->ctx);
    pthread_mutex_destroy(&e->lock);
    assert_int_equal(e->messages, 0);
}

/* ---- The queue ---- */

static void take_queue(engine *e, bool drawer) {
    pthread_mutex_lock(&e->lock);
    e->turns += e->drawer_last != drawer;
    e->drawer_last = drawer;
    e->locks += !drawer;
}

static void lock(void *user) {
    take_queue(user, false);
}

static void unlock(void *user) {
    engine *e = user;
    pthread_mutex_unlock(&e->lock);
}

espl_device_import_params engine_import_params(engine *e, const char *limits) {
    espl_device_import_params params = {.instance = e->instance,
                                        .physical_device = e->physical,
                                        .device = e->device,
                                        .queue = e->queue,
                                        .queue_family = e->family,
                                        .lock_queue = lock,
                                        .unlock_queue = unlock,
                                        .lock_user = e,
                                        .timeline_semaphore = e->timeline,
                                        .cache_folder = "",
                                        .debug_utils = true,
                                        .limits = limits};
    memcpy(&params.get_instance_proc_addr, &e->get, sizeof e->get);
    return params;
}

void engine_ok(engine *e, espl_status status) {
    if (status != ESPL_OK) fail_msg("%s: %s", espl_status_name(status), espl_context_message(e->ctx));
}

void engine_refused(engine *e, espl_status status, espl_status expected, const char *part) {
    if (status != expected || !strstr(espl_context_message(e->ctx), part))
        fail_msg("%s \"%s\", expected %s with \"%s\"", espl_status_name(status), espl_context_message(e->ctx),
                 espl_status_name(expected), part);
}

void engine_begin(engine *e) {
    must(e->ResetCommandBuffer(e->commands, 0));
    must(e->BeginCommandBuffer(e->commands,
                               &(VkCommandBufferBeginInfo){.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO}));
}

void engine_submit_again(engine *e) {
    const VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &e->commands};
    take_queue(e, true);
    const VkResult result = e->QueueSubmit(e->queue, 1, &info, e->fence);
    unlock(e);
    must(result);
    must(e->WaitForFences(e->device, 1, &e->fence, VK_TRUE, UINT64_MAX));
    must(e->ResetFences(e->device, 1, &e->fence));
}

void engine_submit(engine *e) {
    must(e->EndCommandBuffer(e->commands));
    engine_submit_again(e);
}

/* ---- Something to train ---- */

engine_training engine_training_open(engine *e, espl_device *device, uint32_t steps, uint32_t piece_ops) {
    enum { ROWS = 5, TOKENS = 13 };
    engine_training t = {.device = device};
    int32_t ids[ROWS * TOKENS];
    for (int i = 0; i < ROWS * TOKENS; i++) ids[i] = (i * i + 3 * i) % 97;
    const espl_trainer_params params = {.steps = steps, .batch = 2, .accumulate = 2, .learning_rate = 1e-2,
                                        .seed = 5, .piece_ops = piece_ops};
    engine_ok(e, espl_model_load(device, ESPL_GOLDEN "/llama_lora", NULL, &t.model));
    engine_ok(e, espl_adapter_add(t.model, "a", "lora:r=3,targets=all-linear,dropout=0.1", 1, &t.adapter));
    engine_ok(e, espl_model_activate(t.model, "a"));
    engine_ok(e, espl_dataset_from_ids(e->ctx, ids, ids, ROWS, TOKENS, &t.dataset));
    engine_ok(e, espl_trainer_create(t.model, t.adapter, t.dataset, &params, &t.trainer));
    return t;
}

void engine_training_close(engine_training *t) {
    espl_trainer_destroy(&t->trainer);
    espl_dataset_destroy(&t->dataset);
    espl_model_destroy(&t->model);
    espl_device_destroy(&t->device);
}

float *engine_parameters(engine *e, engine_training *t, size_t *out_count) {
    espl_store *store = espl_trainer_store(t->trainer);
    *out_count = (size_t)espl_store_values(store);
    float *values = malloc(*out_count * sizeof *values), *at = values;
    assert_non_null(values);
    for (size_t i = 0; i < store->entry_count; i++) {
        engine_ok(e, espl_store_read(store, &store->entries[i], at));
        at += espl_entry_values(store, &store->entries[i]);
    }
    return values;
}
