/* Start-up: kernels are made in the order in which the device first needs them, so that where making them takes long the first
 * ones could already run; and none is made twice, or behind the recording. Seen through the loader that a host hands over. */
#include "tests/gpu/vulkan_host.h"
#include "tests/model/model_test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KERNELS_MAX = 512, BINDS_MAX = 4096 };

typedef struct bind {
    VkCommandBuffer buffer;
    VkPipeline pipeline;
} bind;

static struct {
    PFN_vkGetInstanceProcAddr get;
    PFN_vkGetDeviceProcAddr get_device;
    PFN_vkCreateComputePipelines CreateComputePipelines;
    PFN_vkCmdBindPipeline CmdBindPipeline;
    PFN_vkQueueSubmit QueueSubmit;
    VkPipeline made[KERNELS_MAX], used[KERNELS_MAX]; /* in order; used: of the first time each */
    size_t made_count, used_count;
    bind binds[BINDS_MAX]; /* in the order of recording */
    size_t bind_count;
} vk;

static VkResult VKAPI_PTR call_CreateComputePipelines(VkDevice device, VkPipelineCache cache, uint32_t count,
                                                      const VkComputePipelineCreateInfo *infos,
                                                      const VkAllocationCallbacks *callbacks, VkPipeline *out) {
    const VkResult result = vk.CreateComputePipelines(device, cache, count, infos, callbacks, out);
    assert_int_equal(result, VK_SUCCESS);
    assert_true(vk.made_count + count <= KERNELS_MAX);
    for (uint32_t i = 0; i < count; i++) vk.made[vk.made_count++] = out[i];
    return result;
}

static void VKAPI_PTR call_CmdBindPipeline(VkCommandBuffer buffer, VkPipelineBindPoint point, VkPipeline pipeline) {
    assert_true(vk.bind_count < BINDS_MAX);
    vk.binds[vk.bind_count++] = (bind){buffer, pipeline};
    vk.CmdBindPipeline(buffer, point, pipeline);
}

static void note_used(VkPipeline pipeline) {
    for (size_t i = 0; i < vk.used_count; i++)
        if (vk.used[i] == pipeline) return;
    assert_true(vk.used_count < KERNELS_MAX);
    vk.used[vk.used_count++] = pipeline;
}

static VkResult VKAPI_PTR call_QueueSubmit(VkQueue queue, uint32_t count, const VkSubmitInfo *infos, VkFence fence) {
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t b = 0; b < infos[i].commandBufferCount; b++)
            for (size_t k = 0; k < vk.bind_count; k++)
                if (vk.binds[k].buffer == infos[i].pCommandBuffers[b]) note_used(vk.binds[k].pipeline);
    return vk.QueueSubmit(queue, count, infos, fence);
}

static PFN_vkVoidFunction VKAPI_PTR get_device_function(VkDevice device, const char *name) {
    PFN_vkVoidFunction function = vk.get_device(device, name);
#define FIND(call)                             \
    if (strcmp(name, "vk" #call) == 0) {       \
        vk.call = (PFN_vk##call)function;      \
        return (PFN_vkVoidFunction)call_##call; \
    }
    FIND(CreateComputePipelines)
    FIND(CmdBindPipeline)
    FIND(QueueSubmit)
#undef FIND
    return function;
}

static PFN_vkVoidFunction VKAPI_PTR get_function(VkInstance instance, const char *name) {
    PFN_vkVoidFunction function = vk.get(instance, name);
    if (strcmp(name, "vkGetDeviceProcAddr") != 0) return function;
    vk.get_device = (PFN_vkGetDeviceProcAddr)function;
    return (PFN_vkVoidFunction)get_device_function;
}

static espl_device *import(const vulkan_host *host) {
    espl_device_import_params params = {.instance = host->instance, .physical_device = host->physical, .device = host->device,
                                        .queue = host->queue, .queue_family = host->family, .cache_folder = ""};
    PFN_vkGetInstanceProcAddr get = get_function;
    espl_device *device;
    memset(&vk, 0, sizeof vk);
    vk.get = host->get;
    memcpy(&params.get_instance_proc_addr, &get, sizeof get);
    test_ok(espl_device_import(test_context(), &params, &device));
    return device;
}

static void forget_kernels(void) {
    vk.made_count = vk.used_count = vk.bind_count = 0;
}

/* Everything that ran was made in that order, and all that was made had run. */
static void check_order(const char *what) {
    size_t next = 0;
    printf("  %s: %zu kernels made, %zu used\n", what, vk.made_count, vk.used_count);
    assert_true(vk.used_count > 5);
    for (size_t i = 0; i < vk.used_count; i++, next++) {
        while (next < vk.made_count && vk.made[next] != vk.used[i]) next++;
        if (next == vk.made_count) fail_msg("%s: the kernel that ran as number %zu was made before one that ran earlier", what, i);
    }
    assert_int_equal(vk.made_count, vk.used_count);
}

static vulkan_host host;

static void training(void **state) {
    (void)state;
    static const int32_t ids[] = {1, 5, 9, 33, 2, 7, 11, 8, 3, 6, 4, 10};
    espl_device *device = import(&host);
    espl_model *model;
    espl_adapter *adapter;
    espl_dataset *dataset;
    espl_trainer *trainer;
    espl_progress progress;
    test_ok(espl_model_load(device, ESPL_GOLDEN "/llama_lora", NULL, &model));
    test_ok(espl_adapter_add(model, "a", "lora:r=3,targets=all-linear", 1, &adapter));
    test_ok(espl_model_activate(model, "a"));
    test_ok(espl_dataset_from_ids(test_context(), ids, ids, 3, 4, &dataset));
    test_ok(espl_trainer_create(model, adapter, dataset, &(espl_trainer_params){.steps = 2}, &trainer));
    const size_t made = vk.made_count;
    test_ok(espl_trainer_step(trainer, &progress));
    assert_int_equal(vk.made_count, made);
    check_order("training");
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&dataset);
    espl_model_destroy(&model);
    espl_device_destroy(&device);
}

/* A session writes what it is first asked for: kernels of the prompt before those of single tokens if a prompt comes first, what
 * goes before the text ahead of both. Told how long the prompt will be, it makes all of them at the beginning. */
static const struct {
    const char *name, *method;
    uint32_t first, second, announced; /* tokens */
} sessions[] = {
    {"prompt first", NULL, 3, 1, 0},
    {"token first", NULL, 1, 3, 0},
    {"announced prompt", NULL, 3, 1, 3},
    {"two pieces", NULL, 300, 1, 300},
    {"rows before the text", "prompt:tokens=2", 3, 1, 0},
    {"announced behind rows", "prefix:tokens=2", 3, 1, 3},
    {"what is computed once", "dora:r=2,targets=all-linear", 3, 1, 0},
};

static void generation(void **state) {
    (void)state;
    static const int32_t ids[300] = {1, 5, 9, 33, 2, 7, 11, 8, 3, 6, 4, 10};
    for (size_t i = 0; i < ESPL_COUNT(sessions); i++) {
        espl_device *device = import(&host);
        espl_model *model;
        espl_adapter *adapter;
        espl_session *session;
        test_ok(espl_model_load(device, ESPL_GOLDEN "/../../tools/base", NULL, &model));
        if (sessions[i].method) {
            test_ok(espl_adapter_add(model, "a", sessions[i].method, 1, &adapter));
            test_ok(espl_model_activate(model, "a"));
        }
        forget_kernels(); /* those that made the adapter */
        test_ok(espl_session_create(model, &(espl_session_params){.context = 320, .prompt = sessions[i].announced}, &session));
        const size_t made = vk.made_count;
        assert_true(sessions[i].announced ? made > 5 : made == 0);
        test_ok(espl_session_append(session, ids, sessions[i].first));
        test_ok(espl_session_append(session, ids, sessions[i].second));
        if (sessions[i].announced) assert_int_equal(vk.made_count, made);
        check_order(sessions[i].name);
        espl_session_destroy(&session);
        espl_model_destroy(&model);
        espl_device_destroy(&device);
    }
}

static void announced_too_long(void **state) {
    (void)state;
    espl_model *model;
    espl_session *session;
    test_ok(espl_model_load(test_device(), ESPL_GOLDEN "/llama_lora", NULL, &model));
    test_refused(espl_session_create(model, &(espl_session_params){.context = 8, .prompt = 9}, &session), ESPL_LIMIT,
                 "a prompt of 9 tokens does not fit a context of 8");
    espl_model_destroy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(training), cmocka_unit_test(generation),
                                       cmocka_unit_test(announced_too_long)};
    test_device(); /* ends the program where there is none */
    const char *wrong = vulkan_host_open(&host, VK_API_VERSION_1_1, true);
    if (!wrong) wrong = vulkan_host_make_device(&host, VK_QUEUE_COMPUTE_BIT, NULL, NULL);
    if (wrong) {
        printf("%s\n", wrong);
        return 1;
    }
    const int failed = test_main("start-up", tests, ESPL_COUNT(tests));
    vulkan_host_close(&host);
    return failed;
}
