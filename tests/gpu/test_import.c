/* A host program with a VkDevice of its own hands it over: the library works on it, locks the queue, and leaves it as
 * it was. The host's validation layer listens all the while, to its end. Because the host also hands over the loader,
 * it can let single Vulkan calls fail: so the loss of a device and a full heap are tested here too. */
#include "gpu_test.h"
#include "tests/gpu/vulkan_host.h"
#include <string.h>

typedef struct host {
    espl_context *ctx;
    vulkan_host own;
    VkPhysicalDeviceVulkan12Features features12;
    VkPhysicalDeviceFeatures2 features;
    int locks, unlocks;
} host;

static void lock(void *user) {
    host *h = user;
    assert_int_equal(h->locks++, h->unlocks);
}

static void unlock(void *user) {
    host *h = user;
    assert_int_equal(++h->unlocks, h->locks);
}

/* The device with or without what Vulkan 1.2 can add. */
static void host_open(host *h, bool plain) {
    *h = (host){.ctx = test_context_open()};
    const char *wrong = vulkan_host_open(&h->own, VK_API_VERSION_1_2, false);
    if (wrong) fail_msg("%s", wrong);
    VkPhysicalDeviceVulkan12Features supported = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceFeatures2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &supported};
    VULKAN_HOST_FUNCTION(&h->own, GetPhysicalDeviceFeatures2)(h->own.physical, &all);
    h->features12 = (VkPhysicalDeviceVulkan12Features){.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                                       .shaderFloat16 = !plain && supported.shaderFloat16,
                                                       .timelineSemaphore = !plain && supported.timelineSemaphore};
    h->features = (VkPhysicalDeviceFeatures2){.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                              .pNext = &h->features12};
    wrong = vulkan_host_make_device(&h->own, VK_QUEUE_COMPUTE_BIT, &h->features, NULL);
    if (wrong) fail_msg("%s", wrong);
}

/* The host's own objects still work, and nothing of the library's is left on the device. */
static void host_close(host *h) {
    const VkSubmitInfo nothing = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO};
    assert_int_equal(VULKAN_HOST_FUNCTION(&h->own, QueueSubmit)(h->own.queue, 1, &nothing, VK_NULL_HANDLE), VK_SUCCESS);
    assert_int_equal(VULKAN_HOST_FUNCTION(&h->own, QueueWaitIdle)(h->own.queue), VK_SUCCESS);
    vulkan_host_close(&h->own);
    assert_int_equal(h->own.messages, 0);
    test_context_close(&h->ctx);
}

static espl_device_import_params import_params(host *h) {
    espl_device_import_params params = {.instance = h->own.instance,
                                        .physical_device = h->own.physical,
                                        .device = h->own.device,
                                        .queue = h->own.queue,
                                        .queue_family = h->own.family,
                                        .lock_queue = lock,
                                        .unlock_queue = unlock,
                                        .lock_user = h,
                                        .cache_folder = ""};
    memcpy(&params.get_instance_proc_addr, &h->own.get, sizeof h->own.get);
    return params;
}

static void compute(host *h, espl_device *device) {
    espl_arena arena;
    espl_span v;
    espl_commands *commands;
    espl_ticket ticket = 0;
    float values[100] = {0};
    espl_arena_init(&arena, device, ESPL_ARENA_WEIGHTS, "imported");
    assert_ok(h->ctx, espl_arena_take(&arena, sizeof values, &v));
    assert_ok(h->ctx, espl_upload(device, v, values, sizeof values));
    assert_ok(h->ctx, espl_commands_begin(device, "on the host's device", &commands));
    assert_ok(h->ctx, record_increment(device, commands, v, 100, 2, 3));
    assert_ok(h->ctx, espl_commands_end(commands));
    int before = h->locks;
    for (int i = 0; i < 10; i++) assert_ok(h->ctx, espl_submit(device, &commands, 1, &ticket));
    assert_int_equal(h->locks - before, 10);
    assert_int_equal(h->locks, h->unlocks);
    assert_ok(h->ctx, espl_download(device, v, values, sizeof values));
    for (int i = 0; i < 100; i++) assert_true(values[i] == 60);
    espl_commands_destroy(&commands);
    espl_arena_finish(&arena);
}

static void import_and_leave(bool plain, bool debug_utils) {
    host h;
    host_open(&h, plain);
    espl_device_import_params params = import_params(&h);
    params.debug_utils = debug_utils;
    if (!plain) params.features = &h.features;
    espl_device *device;
    for (int round = 0; round < 2; round++) { /* what was destroyed can be imported again */
        assert_ok(h.ctx, espl_device_import(h.ctx, &params, &device));
        const espl_capabilities *c = espl_device_capabilities(device);
        assert_int_equal(c->timeline, h.features12.timelineSemaphore);
        assert_int_equal(c->f16_arithmetic, h.features12.shaderFloat16);
        const espl_kernel *kernel;
        espl_status half = espl_device_kernel(device, &espl_shader_half, (uint32_t[]){64}, 1, &kernel);
        assert_int_equal(half, c->f16_arithmetic ? ESPL_OK : ESPL_UNSUPPORTED);
        compute(&h, device);
        espl_device_destroy(&device);
    }
    host_close(&h);
}

static void import_with_features(void **state) {
    (void)state;
    import_and_leave(false, true);
}

static void import_of_a_plain_device(void **state) {
    (void)state;
    import_and_leave(true, false);
}

static void import_refuses_half_a_host(void **state) {
    (void)state;
    host h;
    host_open(&h, true);
    espl_device *device;
    espl_device_import_params params = import_params(&h);
    params.queue = NULL;
    assert_fails(h.ctx, ESPL_ARGUMENT, espl_device_import(h.ctx, &params, &device));
    params = import_params(&h);
    params.unlock_queue = NULL;
    assert_fails(h.ctx, ESPL_ARGUMENT, espl_device_import(h.ctx, &params, &device));
    assert_message(h.ctx, "lock_queue and unlock_queue");
    params = import_params(&h);
    params.queue_family = 99;
    assert_fails(h.ctx, ESPL_UNSUPPORTED, espl_device_import(h.ctx, &params, &device));
    assert_message(h.ctx, "queue family 99 cannot compute");
    assert_null(device);
    for (long n = 0;; n++) { /* every allocation fails once; the host's device is whole after each */
        memory.calls = 0;
        memory.fail_after = n;
        params = import_params(&h);
        espl_status status = espl_device_import(h.ctx, &params, &device);
        bool reached = memory.calls > n;
        memory.fail_after = -1;
        espl_device_destroy(&device);
        assert_int_equal(status, reached ? ESPL_HOST_MEMORY : ESPL_OK);
        if (!reached) break;
    }
    host_close(&h);
}

/* A host that waits for something behind our work - here for itself - is not waited for when the device goes. */
static void only_its_own_work_is_waited_for(void **state) {
    (void)state;
    host h;
    host_open(&h, false);
    if (!h.features12.timelineSemaphore) {
        print_message("skipped: no timeline semaphores\n");
        host_close(&h);
        return;
    }
    espl_device *device;
    espl_device_import_params params = import_params(&h);
    params.features = &h.features;
    assert_ok(h.ctx, espl_device_import(h.ctx, &params, &device));
    espl_arena arena;
    espl_span v;
    espl_arena_init(&arena, device, ESPL_ARENA_WEIGHTS, "under way");
    assert_ok(h.ctx, espl_arena_take(&arena, 16 << 20, &v));
    assert_ok(h.ctx, espl_clear(device, v)); /* which nobody waits for */
    const VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                            .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    const VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    VkSemaphore gate;
    assert_int_equal(VULKAN_HOST_FUNCTION(&h.own, CreateSemaphore)(h.own.device, &info, NULL, &gate), VK_SUCCESS);
    const VkTimelineSemaphoreSubmitInfo values = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                                  .waitSemaphoreValueCount = 1,
                                                  .pWaitSemaphoreValues = &(uint64_t){1}};
    const VkSubmitInfo waiting = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .pNext = &values, .waitSemaphoreCount = 1,
                                  .pWaitSemaphores = &gate, .pWaitDstStageMask = &stage};
    assert_int_equal(VULKAN_HOST_FUNCTION(&h.own, QueueSubmit)(h.own.queue, 1, &waiting, VK_NULL_HANDLE), VK_SUCCESS);
    espl_arena_finish(&arena);
    espl_device_destroy(&device); /* while the queue stands still */
    const VkSemaphoreSignalInfo open = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO, .semaphore = gate, .value = 1};
    assert_int_equal(VULKAN_HOST_FUNCTION(&h.own, SignalSemaphore)(h.own.device, &open), VK_SUCCESS);
    assert_int_equal(VULKAN_HOST_FUNCTION(&h.own, QueueWaitIdle)(h.own.queue), VK_SUCCESS);
    VULKAN_HOST_FUNCTION(&h.own, DestroySemaphore)(h.own.device, gate, NULL);
    host_close(&h);
}

/* ---- Calls that fail ---- */

static struct {
    PFN_vkGetInstanceProcAddr get;
    PFN_vkGetDeviceProcAddr get_device;
    PFN_vkQueueSubmit submit;
    PFN_vkAllocateMemory allocate;
    PFN_vkEndCommandBuffer end;
    int submits;          /* that were made */
    int submits_left;     /* that succeed; then the device is lost */
    int allocations_full; /* that find no room */
    bool lost_at_end;     /* of a recording */
} fault;

static VkResult VKAPI_PTR failing_submit(VkQueue queue, uint32_t count, const VkSubmitInfo *infos, VkFence fence) {
    fault.submits++;
    if (fault.submits_left == 0) return VK_ERROR_DEVICE_LOST;
    fault.submits_left--;
    return fault.submit(queue, count, infos, fence);
}

static VkResult VKAPI_PTR failing_allocate(VkDevice device, const VkMemoryAllocateInfo *info,
                                           const VkAllocationCallbacks *callbacks, VkDeviceMemory *out_memory) {
    if (fault.allocations_full == 0) return fault.allocate(device, info, callbacks, out_memory);
    fault.allocations_full--;
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static VkResult VKAPI_PTR failing_end(VkCommandBuffer buffer) {
    return fault.lost_at_end ? VK_ERROR_DEVICE_LOST : fault.end(buffer);
}

static PFN_vkVoidFunction VKAPI_PTR get_device_function(VkDevice device, const char *name) {
    PFN_vkVoidFunction function = fault.get_device(device, name);
    if (strcmp(name, "vkQueueSubmit") == 0) {
        fault.submit = (PFN_vkQueueSubmit)function;
        return (PFN_vkVoidFunction)failing_submit;
    }
    if (strcmp(name, "vkAllocateMemory") == 0) {
        fault.allocate = (PFN_vkAllocateMemory)function;
        return (PFN_vkVoidFunction)failing_allocate;
    }
    if (strcmp(name, "vkEndCommandBuffer") == 0) {
        fault.end = (PFN_vkEndCommandBuffer)function;
        return (PFN_vkVoidFunction)failing_end;
    }
    return function;
}

static PFN_vkVoidFunction VKAPI_PTR get_function(VkInstance instance, const char *name) {
    PFN_vkVoidFunction function = fault.get(instance, name);
    if (strcmp(name, "vkGetDeviceProcAddr") != 0) return function;
    fault.get_device = (PFN_vkGetDeviceProcAddr)function;
    return (PFN_vkVoidFunction)get_device_function;
}

static espl_device *open_faulty(host *h, bool plain) {
    host_open(h, plain);
    fault.get = h->own.get;
    fault.submits_left = -1;
    fault.allocations_full = 0;
    fault.lost_at_end = false;
    espl_device_import_params params = import_params(h);
    params.slice_ms = 50; /* software drivers cut nothing unless asked to */
    if (!plain) params.features = &h->features;
    PFN_vkGetInstanceProcAddr get = get_function;
    memcpy(&params.get_instance_proc_addr, &get, sizeof get);
    espl_device *device;
    assert_ok(h->ctx, espl_device_import(h->ctx, &params, &device));
    return device;
}

static void a_lost_device_stays_lost(bool plain) {
    host h;
    espl_device *device = open_faulty(&h, plain);
    espl_arena arena, second;
    espl_span v, w;
    espl_commands *commands, *more;
    espl_ticket ticket = 0, newest;
    const espl_kernel *kernel;
    espl_arena_init(&arena, device, ESPL_ARENA_STATE, "lost");
    espl_arena_init(&second, device, ESPL_ARENA_STATE, "lost too");
    assert_ok(h.ctx, espl_arena_take(&arena, 256, &v));
    assert_ok(h.ctx, espl_arena_take(&second, 256, &w));
    assert_ok(h.ctx, espl_commands_begin(device, "lost", &commands));
    assert_ok(h.ctx, record_increment(device, commands, v, 64, 1, 1));
    assert_ok(h.ctx, espl_commands_end(commands));
    fault.submits_left = 2;
    for (int i = 0; i < 2; i++) assert_ok(h.ctx, espl_submit(device, &commands, 1, &ticket));
    assert_ok(h.ctx, espl_wait(device, ticket));
    assert_fails(h.ctx, ESPL_DEVICE_LOST, espl_submit(device, &commands, 1, &newest));
    assert_message(h.ctx, "vkQueueSubmit: VK_ERROR_DEVICE_LOST");
    assert_int_equal(newest, ticket);
    fault.submits_left = -1;
    assert_fails(h.ctx, ESPL_DEVICE_LOST, espl_submit(device, &commands, 1, &ticket));
    assert_message(h.ctx, "was lost");
    assert_fails(h.ctx, ESPL_DEVICE_LOST, espl_wait(device, ticket));
    assert_fails(h.ctx, ESPL_DEVICE_LOST, espl_commands_begin(device, "after", &more));
    assert_fails(h.ctx, ESPL_DEVICE_LOST, espl_arena_take(&arena, 4 << 20, &w));
    assert_fails(h.ctx, ESPL_DEVICE_LOST, espl_upload(device, v, "word", 4));
    assert_fails(h.ctx, ESPL_DEVICE_LOST, espl_device_kernel(device, &espl_shader_shared, NULL, 0, &kernel));
    assert_true(espl_is_done(device, ticket));
    espl_commands_destroy(&commands);
    espl_arena_finish(&arena);
    espl_arena_finish(&second);
    assert_int_equal(espl_device_count(device).arena_bytes[ESPL_ARENA_STATE], 256); /* the device's own dummy */
    espl_device_destroy(&device);
    host_close(&h);
}

static void device_loss_with_a_timeline(void **state) {
    (void)state;
    a_lost_device_stays_lost(false);
}

static void device_loss_with_fences(void **state) {
    (void)state;
    a_lost_device_stays_lost(true);
}

/* Commands that are cut anew are recorded on the way to the queue. A loss found there must not be followed by work, which would
 * run while what it needs is freed. */
static void device_loss_while_cutting(void **state) {
    (void)state;
    enum { RUNS = 12 };
    host h;
    espl_device *device = open_faulty(&h, false);
    espl_arena arena;
    espl_span v;
    espl_commands *commands;
    espl_ticket ticket = 0;
    espl_status status = ESPL_OK;
    int submits = 0;
    espl_arena_init(&arena, device, ESPL_ARENA_STATE, "cut");
    assert_ok(h.ctx, espl_arena_take(&arena, 256, &v));
    assert_ok(h.ctx, espl_commands_begin(device, "said to be long", &commands));
    for (int i = 0; i < 30; i++) assert_ok(h.ctx, record_increment_of(device, commands, v, 64, 1, 1, 1e12));
    assert_ok(h.ctx, espl_commands_end(commands));
    fault.lost_at_end = true;
    for (int i = 0; i < RUNS && status == ESPL_OK; i++) {
        submits = fault.submits;
        status = espl_submit(device, &commands, 1, &ticket);
        if (status == ESPL_OK) assert_ok(h.ctx, espl_wait(device, ticket));
    }
    if (espl_device_capabilities(device)->timestamps) {
        assert_int_equal(status, ESPL_DEVICE_LOST);
        assert_int_equal(fault.submits, submits);
    }
    espl_commands_destroy(&commands);
    espl_arena_finish(&arena);
    espl_device_destroy(&device);
    host_close(&h);
}

static void a_full_heap_says_how_full(void **state) {
    (void)state;
    host h;
    espl_device *device = open_faulty(&h, false);
    espl_arena arena, old;
    espl_span v;
    espl_arena_init(&arena, device, ESPL_ARENA_WEIGHTS, "llama");
    fault.allocations_full = 2; /* as one reserved block, and as the part asked for */
    assert_ok(h.ctx, espl_arena_reserve(&arena, 8 << 20));
    assert_fails(h.ctx, ESPL_DEVICE_MEMORY, espl_arena_take(&arena, 4096, &v));
    assert_message(h.ctx, "llama (weights): no room for 4096 bytes; the heap has ");
    assert_null(v.block);
    fault.allocations_full = 1; /* in pieces it fits */
    assert_ok(h.ctx, espl_arena_take(&arena, 4096, &v));
    assert_int_equal(arena.bytes, 4096);

    /* What a running submission still holds back is waited for before giving up. */
    espl_commands *commands;
    espl_ticket ticket;
    espl_arena_init(&old, device, ESPL_ARENA_ACTIVATIONS, "old");
    assert_ok(h.ctx, espl_arena_take(&old, 4 << 20, &v));
    assert_ok(h.ctx, espl_commands_begin(device, "slow", &commands));
    assert_ok(h.ctx, espl_commands_fill(commands, v, 0));
    assert_ok(h.ctx, record_increment(device, commands, v, 1 << 20, 1, 2000));
    assert_ok(h.ctx, espl_commands_end(commands));
    assert_ok(h.ctx, espl_submit(device, &commands, 1, &ticket));
    espl_arena_finish(&old);
    fault.allocations_full = espl_is_done(device, ticket) ? 0 : 1;
    assert_ok(h.ctx, espl_arena_take(&arena, 2 << 20, &v));
    espl_commands_destroy(&commands);
    espl_arena_finish(&arena);
    espl_device_destroy(&device);
    host_close(&h);
}

int main(void) {
    int missing = test_missing_device();
    if (missing) return missing;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(import_with_features),
        cmocka_unit_test(import_of_a_plain_device),
        cmocka_unit_test(import_refuses_half_a_host),
        cmocka_unit_test(only_its_own_work_is_waited_for),
        cmocka_unit_test(device_loss_with_a_timeline),
        cmocka_unit_test(device_loss_with_fences),
        cmocka_unit_test(device_loss_while_cutting),
        cmocka_unit_test(a_full_heap_says_how_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
