/* See engine.h. */
#include "tests/engine/engine.h"
#include "host/train/trainer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define must(expr) assert_int_equal((expr), VK_SUCCESS)

static void leave_out(const char *why) {
    printf("skipped: %s\n", why);
    exit(77);
}

/* ---- Device and objects ---- */

/* No feature but the one; a host that needs no more enables no more. */
static void make_device(engine *e, bool timeline) {
    static const char extension[] = "VK_KHR_timeline_semaphore";
    e->timeline = timeline && vulkan_host_has(&e->own, extension);
    const VkPhysicalDeviceTimelineSemaphoreFeatures feature = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES, .timelineSemaphore = VK_TRUE};
    const char *wrong = vulkan_host_make_device(&e->own, VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT,
                                                e->timeline ? &feature : NULL, e->timeline ? extension : NULL);
    if (wrong) leave_out(wrong);
}

static void make_objects(engine *e) {
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                          .queueFamilyIndex = e->own.family};
    must(e->CreateCommandPool(e->own.device, &pool, NULL, &e->pool));
    const VkCommandBufferAllocateInfo commands = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                                  .commandPool = e->pool,
                                                  .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                                  .commandBufferCount = 1};
    must(e->AllocateCommandBuffers(e->own.device, &commands, &e->commands));
    must(e->CreateFence(e->own.device, &(VkFenceCreateInfo){.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO}, NULL, &e->fence));
    engine_make_draw(e);
}

void engine_open(engine *e, bool timeline) {
    *e = (engine){0};
    pthread_mutex_init(&e->lock, NULL);
    assert_int_equal(espl_context_create(NULL, &e->ctx), ESPL_OK);
    const char *wrong = vulkan_host_open(&e->own, VK_API_VERSION_1_1, false);
    if (wrong) leave_out(wrong);
#define LOAD(name) e->name = VULKAN_HOST_FUNCTION(&e->own, name);
    ENGINE_FUNCTIONS(LOAD)
#undef LOAD
    make_device(e, timeline);
    make_objects(e);
}

void engine_close(engine *e) {
    engine_free_draw(e);
    e->DestroyFence(e->own.device, e->fence, NULL);
    e->DestroyCommandPool(e->own.device, e->pool, NULL);
    vulkan_host_close(&e->own);
    espl_context_destroy(&e->ctx);
    pthread_mutex_destroy(&e->lock);
    assert_int_equal(e->own.messages, 0);
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
    espl_device_import_params params = {.instance = e->own.instance,
                                        .physical_device = e->own.physical,
                                        .device = e->own.device,
                                        .queue = e->own.queue,
                                        .queue_family = e->own.family,
                                        .lock_queue = lock,
                                        .unlock_queue = unlock,
                                        .lock_user = e,
                                        .timeline_semaphore = e->timeline,
                                        .cache_folder = "",
                                        .debug_utils = true,
                                        .limits = limits ? limits : getenv("ESPALIER_LIMITS")};
    memcpy(&params.get_instance_proc_addr, &e->own.get, sizeof e->own.get);
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
    const VkResult result = e->QueueSubmit(e->own.queue, 1, &info, e->fence);
    unlock(e);
    must(result);
    must(e->WaitForFences(e->own.device, 1, &e->fence, VK_TRUE, UINT64_MAX));
    must(e->ResetFences(e->own.device, 1, &e->fence));
}

void engine_submit(engine *e) {
    must(e->EndCommandBuffer(e->commands));
    engine_submit_again(e);
}

/* ---- Something to train ---- */

engine_training engine_training_open(engine *e, espl_device *device, uint32_t steps, double piece_ms) {
    enum { ROWS = 5, TOKENS = 13 };
    engine_training t = {.device = device};
    int32_t ids[ROWS * TOKENS];
    for (int i = 0; i < ROWS * TOKENS; i++) ids[i] = (i * i + 3 * i) % 97;
    const espl_trainer_params params = {.steps = steps, .batch = 2, .accumulate = 2, .learning_rate = 1e-2,
                                        .seed = 5, .piece_ms = piece_ms};
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
    espl_store *store = espl_trainer_store(t->trainer, 0);
    *out_count = (size_t)espl_store_values(store);
    float *values = malloc(*out_count * sizeof *values), *at = values;
    assert_non_null(values);
    for (size_t i = 0; i < store->entry_count; i++) {
        engine_ok(e, espl_store_read(store, &store->entries[i], at));
        at += espl_entry_values(store, &store->entries[i]);
    }
    return values;
}
