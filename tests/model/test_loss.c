/* A device that fails: every call of the driver that can fail is made to, one at a time, by the loader that a host program
 * hands over - the device lost, no memory on the device, none on the host: at each place of the library that calls in all three
 * ways, and some of the later calls from there in one. Each time the library returns the status that
 * says so (or does without, where it can), everything is freed, the process lives; and a new device goes on from the last
 * checkpoint to the same bits. */
#include "tests/gpu/vulkan_host.h"
#include "tests/model/model_test.h"
#include "host/base/os.h"
#include "host/train/trainer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 2, SAVED_AT = 1, OFTEN = 9 };

/* ---- The loader ---- */

/* name, parameters, arguments */
#define CALLS(X)                                                                                                       \
    X(AllocateCommandBuffers, (VkDevice d, const VkCommandBufferAllocateInfo *i, VkCommandBuffer *o), (d, i, o))        \
    X(AllocateDescriptorSets, (VkDevice d, const VkDescriptorSetAllocateInfo *i, VkDescriptorSet *o), (d, i, o))        \
    X(AllocateMemory, (VkDevice d, const VkMemoryAllocateInfo *i, const VkAllocationCallbacks *a, VkDeviceMemory *o), (d, i, a, o)) \
    X(BeginCommandBuffer, (VkCommandBuffer b, const VkCommandBufferBeginInfo *i), (b, i))                               \
    X(BindBufferMemory, (VkDevice d, VkBuffer b, VkDeviceMemory m, VkDeviceSize at), (d, b, m, at))                      \
    X(CreateBuffer, (VkDevice d, const VkBufferCreateInfo *i, const VkAllocationCallbacks *a, VkBuffer *o), (d, i, a, o)) \
    X(CreateCommandPool, (VkDevice d, const VkCommandPoolCreateInfo *i, const VkAllocationCallbacks *a, VkCommandPool *o), (d, i, a, o)) \
    X(CreateComputePipelines, (VkDevice d, VkPipelineCache c, uint32_t n, const VkComputePipelineCreateInfo *i, const VkAllocationCallbacks *a, VkPipeline *o), (d, c, n, i, a, o)) \
    X(CreateDescriptorPool, (VkDevice d, const VkDescriptorPoolCreateInfo *i, const VkAllocationCallbacks *a, VkDescriptorPool *o), (d, i, a, o)) \
    X(CreateDescriptorSetLayout, (VkDevice d, const VkDescriptorSetLayoutCreateInfo *i, const VkAllocationCallbacks *a, VkDescriptorSetLayout *o), (d, i, a, o)) \
    X(CreateFence, (VkDevice d, const VkFenceCreateInfo *i, const VkAllocationCallbacks *a, VkFence *o), (d, i, a, o))   \
    X(CreatePipelineCache, (VkDevice d, const VkPipelineCacheCreateInfo *i, const VkAllocationCallbacks *a, VkPipelineCache *o), (d, i, a, o)) \
    X(CreatePipelineLayout, (VkDevice d, const VkPipelineLayoutCreateInfo *i, const VkAllocationCallbacks *a, VkPipelineLayout *o), (d, i, a, o)) \
    X(CreateQueryPool, (VkDevice d, const VkQueryPoolCreateInfo *i, const VkAllocationCallbacks *a, VkQueryPool *o), (d, i, a, o)) \
    X(CreateSemaphore, (VkDevice d, const VkSemaphoreCreateInfo *i, const VkAllocationCallbacks *a, VkSemaphore *o), (d, i, a, o)) \
    X(CreateShaderModule, (VkDevice d, const VkShaderModuleCreateInfo *i, const VkAllocationCallbacks *a, VkShaderModule *o), (d, i, a, o)) \
    X(EnumerateDeviceExtensionProperties, (VkPhysicalDevice p, const char *l, uint32_t *n, VkExtensionProperties *o), (p, l, n, o)) \
    X(EndCommandBuffer, (VkCommandBuffer b), (b))                                                                       \
    X(GetFenceStatus, (VkDevice d, VkFence f), (d, f))                                                                  \
    X(GetPipelineCacheData, (VkDevice d, VkPipelineCache c, size_t *n, void *o), (d, c, n, o))                          \
    X(GetQueryPoolResults, (VkDevice d, VkQueryPool q, uint32_t f, uint32_t n, size_t b, void *o, VkDeviceSize s, VkQueryResultFlags l), (d, q, f, n, b, o, s, l)) \
    X(GetSemaphoreCounterValue, (VkDevice d, VkSemaphore s, uint64_t *o), (d, s, o))                                    \
    X(MapMemory, (VkDevice d, VkDeviceMemory m, VkDeviceSize f, VkDeviceSize n, VkMemoryMapFlags l, void **o), (d, m, f, n, l, o)) \
    X(QueueSubmit, (VkQueue q, uint32_t n, const VkSubmitInfo *i, VkFence f), (q, n, i, f))                             \
    X(ResetFences, (VkDevice d, uint32_t n, const VkFence *f), (d, n, f))                                               \
    X(WaitForFences, (VkDevice d, uint32_t n, const VkFence *f, VkBool32 a, uint64_t t), (d, n, f, a, t))               \
    X(WaitSemaphores, (VkDevice d, const VkSemaphoreWaitInfo *i, uint64_t t), (d, i, t))

#define ENDS(X)                                                                                          \
    X(DestroyBuffer, VkBuffer) X(DestroyCommandPool, VkCommandPool) X(DestroyDescriptorPool, VkDescriptorPool) \
    X(DestroyDescriptorSetLayout, VkDescriptorSetLayout) X(DestroyFence, VkFence) X(DestroyPipeline, VkPipeline) \
    X(DestroyPipelineCache, VkPipelineCache) X(DestroyPipelineLayout, VkPipelineLayout)                  \
    X(DestroyQueryPool, VkQueryPool) X(DestroySemaphore, VkSemaphore)                                    \
    X(DestroyShaderModule, VkShaderModule) X(FreeMemory, VkDeviceMemory)

enum {
#define NUMBER(name, ...) CALL_##name,
    CALLS(NUMBER) CALL_COUNT
#undef NUMBER
};

typedef struct call_made {
    int function;
    const void *site; /* where the library called */
} call_made;

static struct {
    PFN_vkGetInstanceProcAddr get;
    PFN_vkGetDeviceProcAddr get_device;
#define MEMBER(name, ...) PFN_vk##name name;
    CALLS(MEMBER)
    ENDS(MEMBER)
#undef MEMBER
    PFN_vkDeviceWaitIdle DeviceWaitIdle;
    uint64_t calls;
    /* Which call fails: the so many-th of a function (0: none). Of all calls it would be another in each run: how often is asked
     * whether the device is done depends on time. */
    int fail_function;
    uint32_t fail_number;
    VkResult result;
    bool lost, worked_after; /* it was made up; and then work was submitted, though nobody waits for it any more */
    uint32_t of_function[CALL_COUNT]; /* calls so far */
    call_made *made; /* while counting */
    size_t capacity;
    int64_t living; /* objects made and not ended */
} vk;

static VkDevice host_device(void);

static bool fails(int function, const void *site) {
    if (vk.made) {
        if (vk.calls == vk.capacity) {
            vk.capacity = 2 * vk.capacity;
            vk.made = realloc(vk.made, vk.capacity * sizeof *vk.made);
            assert_non_null(vk.made);
        }
        vk.made[vk.calls] = (call_made){function, site};
    }
    vk.calls++;
    if (++vk.of_function[function] != vk.fail_number || function != vk.fail_function) {
        vk.worked_after |= vk.lost && function == CALL_QueueSubmit;
        return false;
    }
    vk.lost = vk.result == VK_ERROR_DEVICE_LOST;
    /* This device is not really lost: it would go on with what is freed now. */
    if (vk.lost) vk.DeviceWaitIdle(host_device());
    return true;
}

#define WRAP(name, parameters, arguments)                                                                   \
    static VkResult VKAPI_PTR call_##name parameters {                                                      \
        if (fails(CALL_##name, __builtin_return_address(0))) return vk.result;                                                           \
        const VkResult result = vk.name arguments;                                                          \
        const bool makes = strncmp(#name, "Create", 6) == 0 || strcmp(#name, "AllocateMemory") == 0;         \
        vk.living += makes && result == VK_SUCCESS;                                                         \
        return result;                                                                                      \
    }
CALLS(WRAP)
#undef WRAP
#define WRAP(name, type)                                                                                    \
    static void VKAPI_PTR call_##name(VkDevice device, type object, const VkAllocationCallbacks *callbacks) { \
        vk.living -= object != VK_NULL_HANDLE;                                                              \
        vk.name(device, object, callbacks);                                                                 \
    }
ENDS(WRAP)
#undef WRAP

static PFN_vkVoidFunction VKAPI_PTR get_device_function(VkDevice device, const char *name) {
    PFN_vkVoidFunction function = vk.get_device(device, name);
#define FIND(call, ...)                                \
    if (strcmp(name, "vk" #call) == 0 && function) {   \
        vk.call = (PFN_vk##call)function;              \
        return (PFN_vkVoidFunction)call_##call;        \
    }
    CALLS(FIND)
    ENDS(FIND)
#undef FIND
    return function;
}

static PFN_vkVoidFunction VKAPI_PTR get_function(VkInstance instance, const char *name) {
    PFN_vkVoidFunction function = vk.get(instance, name);
    if (strcmp(name, "vkEnumerateDeviceExtensionProperties") == 0) {
        vk.EnumerateDeviceExtensionProperties = (PFN_vkEnumerateDeviceExtensionProperties)function;
        return (PFN_vkVoidFunction)call_EnumerateDeviceExtensionProperties;
    }
    if (strcmp(name, "vkGetDeviceProcAddr") != 0) return function;
    vk.get_device = (PFN_vkGetDeviceProcAddr)function;
    return (PFN_vkVoidFunction)get_device_function;
}

/* ---- The host program ---- */

static vulkan_host host;
static bool has_timeline;

static VkDevice host_device(void) {
    return host.device;
}

static void host_open(void) {
    const char *wrong = vulkan_host_open(&host, VK_API_VERSION_1_2, true);
    VkPhysicalDeviceVulkan12Features supported = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceFeatures2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &supported};
    if (!wrong) VULKAN_HOST_FUNCTION(&host, GetPhysicalDeviceFeatures2)(host.physical, &all);
    has_timeline = supported.timelineSemaphore;
    const VkPhysicalDeviceVulkan12Features wanted = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                                     .timelineSemaphore = has_timeline};
    if (!wrong) wrong = vulkan_host_make_device(&host, VK_QUEUE_COMPUTE_BIT, &wanted, NULL);
    if (wrong) {
        printf("%s\n", wrong);
        exit(1);
    }
    vk.get = host.get;
    vk.DeviceWaitIdle = VULKAN_HOST_FUNCTION(&host, DeviceWaitIdle);
}

static espl_status import(espl_context *ctx, bool timeline, espl_device **out_device) {
    espl_device_import_params params = {.instance = host.instance, .physical_device = host.physical, .device = host.device,
                                        .queue = host.queue, .queue_family = host.family,
                                        .timeline_semaphore = timeline && has_timeline,
                                        .slice_ms = 50, .cache_folder = "loss_cache",
                                        .limits = getenv("ESPALIER_LIMITS")}; /* those of the device that resumes */
    PFN_vkGetInstanceProcAddr get = get_function;
    memcpy(&params.get_instance_proc_addr, &get, sizeof get);
    return espl_device_import(ctx, &params, out_device);
}

/* ---- The work ---- */

static int64_t blocks; /* of host memory that live */

static void *resize(void *user, void *block, size_t bytes) {
    (void)user;
    blocks += (bytes && !block) - (!bytes && block);
    if (bytes) return realloc(block, bytes);
    free(block);
    return NULL;
}

static void quiet(void *user, espl_log_level level, const char *line) {
    (void)user, (void)level, (void)line;
}

#define TRY(call)                        \
    do {                                 \
        status = (call);                 \
        if (status != ESPL_OK) goto end; \
    } while (0)

typedef struct outcome {
    double loss;         /* of the last step */
    uint64_t parameters; /* after it: a hash of their bits */
    bool saved, named;
} outcome;

static espl_status hash_parameters(espl_store *store, uint64_t *out_hash) {
    *out_hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < store->entry_count; i++) {
        const size_t count = (size_t)espl_entry_values(store, &store->entries[i]);
        uint32_t *bits = malloc(count * sizeof *bits);
        assert_non_null(bits);
        const espl_status status = espl_store_read(store, &store->entries[i], (float *)bits);
        for (size_t k = 0; status == ESPL_OK && k < count; k++) *out_hash = (*out_hash ^ bits[k]) * 0x100000001b3u;
        free(bits);
        if (status != ESPL_OK) return status;
    }
    return ESPL_OK;
}

static bool same(const outcome *a, const outcome *b) {
    return a->loss == b->loss && a->parameters == b->parameters;
}

static espl_status train(espl_context *ctx, espl_device *device, bool resume, outcome *out) {
    static const int32_t ids[] = {1, 5, 9, 33, 2, 7, 11, 8, 3, 6, 4, 10};
    espl_model *model = NULL;
    espl_adapter *adapter = NULL, *second = NULL;
    espl_dataset *dataset = NULL;
    espl_trainer *trainer = NULL;
    espl_session *session = NULL;
    espl_progress progress = {0};
    espl_status status = ESPL_OK;
    TRY(espl_model_load(device, ESPL_GOLDEN "/llama_lora", NULL, &model));
    TRY(espl_adapter_load(model, "a", ESPL_GOLDEN "/llama_lora/adapter", &adapter));
    TRY(espl_model_activate(model, "a"));
    TRY(espl_dataset_from_ids(ctx, ids, ids, 3, 4, &dataset));
    TRY(espl_trainer_create(model, adapter, dataset, &(espl_trainer_params){.steps = STEPS, .batch = 1}, &trainer));
    if (resume) TRY(espl_trainer_resume(trainer, "loss_checkpoint"));
    for (int step = resume ? SAVED_AT : 0; step < STEPS; step++) {
        TRY(espl_trainer_step(trainer, &progress));
        if (resume || step + 1 != SAVED_AT) continue;
        TRY(espl_trainer_save(trainer, "loss_checkpoint"));
        out->saved = true;
    }
    out->loss = progress.loss;
    TRY(hash_parameters(espl_trainer_store(trainer, 0), &out->parameters));
    if (!resume) { /* two are merged: a lost device gives neither back */
        TRY(espl_adapter_add(model, "b", "lora:r=2,targets=q_proj,init=random", 1, &second));
        TRY(espl_adapter_merge(adapter));
        TRY(espl_adapter_merge(second));
        TRY(espl_session_create(model, &(espl_session_params){.context = 8}, &session));
        TRY(espl_session_append(session, ids, 1));
    }
end:
    espl_session_destroy(&session);
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&dataset);
    espl_adapter_delete(&adapter);
    espl_model_destroy(&model);
    return status;
}

static espl_status everything(bool timeline, outcome *out) {
    espl_context *ctx = NULL;
    espl_device *device = NULL;
    *out = (outcome){0};
    test_ok(espl_context_create(&(espl_context_params){resize, NULL, quiet, NULL}, &ctx));
    espl_status status = import(ctx, timeline, &device);
    if (status == ESPL_OK) status = train(ctx, device, false, out);
    out->named = status == ESPL_OK || espl_context_message(ctx)[0];
    espl_device_destroy(&device);
    espl_context_destroy(&ctx);
    return status;
}

/* On a device of its own, in the same process, beside the one that failed. */
static outcome resumed(void) {
    outcome out = {0};
    test_ok(train(test_context(), test_device(), true, &out));
    return out;
}

static const struct {
    VkResult result;
    espl_status status;
} kinds[] = {{VK_ERROR_DEVICE_LOST, ESPL_DEVICE_LOST},
             {VK_ERROR_OUT_OF_DEVICE_MEMORY, ESPL_DEVICE_MEMORY},
             {VK_ERROR_OUT_OF_HOST_MEMORY, ESPL_HOST_MEMORY}};

typedef struct counts {
    uint32_t sites, tried, survived, resumed;
} counts;

static const char *function_name(int function) {
    static const char *const names[] = {
#define NAME(name, ...) [CALL_##name] = "vk" #name,
        CALLS(NAME)
#undef NAME
    };
    return names[function];
}

/* Said before, so that a process that is ended from outside has told what it was at. */
static void fail_one(bool timeline, int function, uint32_t number, size_t kind, const outcome *expected, counts *in_out) {
    outcome out;
    printf("  %s, call %u: result %d\n", function_name(function), number, (int)kinds[kind].result);
    fflush(stdout);
    in_out->tried++;
    memset(vk.of_function, 0, sizeof vk.of_function);
    vk.fail_function = function;
    vk.fail_number = number;
    vk.lost = vk.worked_after = false;
    vk.result = kinds[kind].result;
    espl_os_remove_file("loss_checkpoint/trainer.safetensors");
    const espl_status status = everything(timeline, &out);
    const bool reached = vk.of_function[function] >= number;
    vk.fail_number = 0;
    vk.lost = false;
    if (vk.worked_after) fail_msg("work was submitted to a device that was lost");
    if (!reached) return; /* polls are as many as there is time for */
    if ((status != ESPL_OK && status != kinds[kind].status) || !out.named)
        fail_msg("the status is %s, with%s a sentence", espl_status_name(status), out.named ? "" : "out");
    if (vk.living || blocks)
        fail_msg("%lld Vulkan objects and %lld blocks of memory are left", (long long)vk.living, (long long)blocks);
    in_out->survived += status == ESPL_OK;
    if (status == ESPL_OK && !same(&out, expected)) fail_msg("loss %.9g, not %.9g", out.loss, expected->loss);
    if (status == ESPL_OK || !out.saved) return;
    out = resumed();
    if (!same(&out, expected)) fail_msg("resumed: loss %.9g, not %.9g", out.loss, expected->loss);
    in_out->resumed++;
}

static bool of_fences(int function) {
    return function == CALL_CreateFence || function == CALL_GetFenceStatus || function == CALL_ResetFences ||
           function == CALL_WaitForFences || function == CALL_QueueSubmit;
}

/* Whether the library had called from there before. */
static bool is_new_site(const call_made *made, uint64_t index) {
    for (uint64_t i = 0; i < index; i++)
        if (made[i].function == made[index].function && made[i].site == made[index].site) return false;
    return true;
}

/* The calls of everything(), from malloc. Once before, to warm the cache of kernels. */
static call_made *count_calls(bool timeline, outcome *out_whole, uint64_t *out_count) {
    test_ok(everything(timeline, out_whole));
    memset(vk.of_function, 0, sizeof vk.of_function);
    vk.capacity = 4096;
    vk.made = malloc(vk.capacity * sizeof *vk.made);
    assert_non_null(vk.made);
    vk.calls = 0;
    test_ok(everything(timeline, out_whole));
    assert_true(out_whole->saved);
    call_made *made = vk.made;
    *out_count = vk.calls;
    vk.made = NULL;
    return made;
}

/* The first call from each place fails in every way; of the later ones those that begin the OFTEN-th parts of a function's
 * calls, in one way each. With fences: the functions that a timeline does without. */
static void sweep(bool timeline) {
    outcome whole;
    counts done = {0};
    uint64_t calls;
    call_made *made = count_calls(timeline, &whole, &calls);
    uint32_t seen[CALL_COUNT] = {0}, of_function[CALL_COUNT];
    memcpy(of_function, vk.of_function, sizeof of_function);
    for (uint64_t i = 0; i < calls; i++) {
        const int function = made[i].function;
        const uint32_t number = seen[function]++, all = of_function[function], turn = number * OFTEN / all;
        const bool new_site = is_new_site(made, i);
        /* The last one is behind the checkpoint. */
        const bool begins = number == 0 || number + 1 == all || (number - 1) * OFTEN / all != turn;
        if (!(new_site || begins) || (!timeline && !of_fences(function))) continue;
        done.sites += new_site;
        for (size_t kind = 0; kind < ESPL_COUNT(kinds); kind++)
            if (new_site || kind == turn % ESPL_COUNT(kinds)) fail_one(timeline, function, number + 1, kind, &whole, &done);
    }
    free(made);
    printf("  %s: %llu calls from %u places, %u failures, %u survived, %u resumed from the checkpoint\n",
           timeline ? "timeline" : "fences", (unsigned long long)calls, done.sites, done.tried, done.survived, done.resumed);
    if (!done.resumed) fail_msg("no failure came behind the checkpoint, so none was resumed from it");
}

static void with_a_timeline(void **state) {
    (void)state;
    if (has_timeline) sweep(true);
}

static void with_fences(void **state) {
    (void)state;
    sweep(false);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(with_a_timeline), cmocka_unit_test(with_fences)};
    test_device();
    host_open();
    const int failed = test_main("a device that fails", tests, ESPL_COUNT(tests));
    vulkan_host_close(&host);
    return failed;
}
