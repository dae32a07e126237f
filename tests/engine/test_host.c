/* A host program draws in one thread while the library trains in another, on one queue with the host's lock: pixels and
 * losses are those of each alone. What the library cannot work with is refused by name. */
#include "tests/engine/engine.h"
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 24, FRAMES_PER_ROUND = 3 };

typedef struct drawer {
    engine *e;
    pthread_barrier_t *round;
    size_t wrong;
} drawer;

static void *draw(void *user) {
    drawer *d = user;
    for (uint32_t frame = 0; frame < ROUNDS * FRAMES_PER_ROUND; frame++) {
        if (frame % FRAMES_PER_ROUND == 0) pthread_barrier_wait(d->round);
        engine_begin(d->e);
        engine_draw_frame(d->e, frame);
        engine_submit(d->e);
        d->wrong += engine_wrong_pixels(d->e, frame);
    }
    return NULL;
}

/* The losses of ROUNDS steps, and the parameters after them. round: NULL alone. */
static float *train(engine *e, pthread_barrier_t *round, const char *limits, double losses[ROUNDS], size_t *out_count) {
    const espl_device_import_params params = engine_import_params(e, limits);
    espl_device *device;
    engine_ok(e, espl_device_import(e->ctx, &params, &device));
    engine_training t = engine_training_open(e, device, ROUNDS, 0);
    for (int i = 0; i < ROUNDS; i++) {
        espl_progress progress;
        if (round) pthread_barrier_wait(round);
        engine_ok(e, espl_trainer_step(t.trainer, &progress));
        losses[i] = progress.loss;
    }
    float *values = engine_parameters(e, &t, out_count);
    engine_training_close(&t);
    return values;
}

static void draw_and_train(bool timeline, const char *limits) {
    engine e;
    pthread_barrier_t round;
    pthread_t thread;
    double alone[ROUNDS], beside[ROUNDS];
    size_t count;
    engine_open(&e, timeline);
    float *expected = train(&e, NULL, limits, alone, &count);
    drawer d = {&e, &round, 0};
    e.turns = 0;
    pthread_barrier_init(&round, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, draw, &d), 0);
    float *got = train(&e, &round, limits, beside, &count);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_barrier_destroy(&round);
    print_message("%d turns of the queue\n", e.turns);
    assert_int_equal(d.wrong, 0);
    assert_memory_equal(alone, beside, sizeof alone);
    assert_memory_equal(expected, got, count * sizeof *got);
    assert_true(alone[ROUNDS - 1] < alone[0]);
    assert_true(e.turns >= ROUNDS); /* both were at it all the time */
    free(expected), free(got);
    engine_close(&e);
}

static void without_any_feature(void **state) {
    (void)state;
    draw_and_train(false, NULL);
}

static void with_timeline_semaphores(void **state) {
    (void)state;
    draw_and_train(true, NULL);
}

static void as_on_other_devices(void **state) {
    (void)state;
    draw_and_train(true, "cpu=0,unified_memory=0");
}

/* ---- What is refused ---- */

static struct {
    PFN_vkGetInstanceProcAddr get;
    PFN_vkGetDeviceProcAddr get_device;
    PFN_vkGetPhysicalDeviceQueueFamilyProperties families;
    PFN_vkGetPhysicalDeviceProperties properties;
    bool no_compute, old;
    const char *missing; /* function */
} host;

static void VKAPI_PTR families(VkPhysicalDevice physical, uint32_t *count, VkQueueFamilyProperties *rows) {
    host.families(physical, count, rows);
    for (uint32_t i = 0; rows && host.no_compute && i < *count; i++) rows[i].queueFlags &= ~(VkQueueFlags)VK_QUEUE_COMPUTE_BIT;
}

static void VKAPI_PTR properties(VkPhysicalDevice physical, VkPhysicalDeviceProperties *out) {
    host.properties(physical, out);
    if (host.old) out->apiVersion = VK_API_VERSION_1_0;
}

static PFN_vkVoidFunction VKAPI_PTR get_device_function(VkDevice device, const char *name) {
    return host.missing && strcmp(name, host.missing) == 0 ? NULL : host.get_device(device, name);
}

static PFN_vkVoidFunction VKAPI_PTR get_function(VkInstance instance, const char *name) {
    PFN_vkVoidFunction function = host.get(instance, name);
    if (strcmp(name, "vkGetPhysicalDeviceQueueFamilyProperties") == 0) {
        host.families = (PFN_vkGetPhysicalDeviceQueueFamilyProperties)function;
        return (PFN_vkVoidFunction)families;
    }
    if (strcmp(name, "vkGetPhysicalDeviceProperties") == 0) {
        host.properties = (PFN_vkGetPhysicalDeviceProperties)function;
        return (PFN_vkVoidFunction)properties;
    }
    if (strcmp(name, "vkGetDeviceProcAddr") == 0) {
        host.get_device = (PFN_vkGetDeviceProcAddr)function;
        return (PFN_vkVoidFunction)get_device_function;
    }
    return function;
}

static void refused_by_name(void **state) {
    (void)state;
    engine e;
    espl_device *device;
    engine_open(&e, false);
    espl_device_import_params params = engine_import_params(&e, NULL);
    PFN_vkGetInstanceProcAddr get = get_function;
    memset(&host, 0, sizeof host);
    host.get = e.own.get;
    memcpy(&params.get_instance_proc_addr, &get, sizeof get);
    host.no_compute = true;
    engine_refused(&e, espl_device_import(e.ctx, &params, &device), ESPL_UNSUPPORTED, "queue family 0 cannot compute");
    host.no_compute = false;
    host.old = true;
    engine_refused(&e, espl_device_import(e.ctx, &params, &device), ESPL_UNSUPPORTED, "Vulkan 1.0, 1.1 is needed");
    host.old = false;
    host.missing = "vkCmdDispatch";
    engine_refused(&e, espl_device_import(e.ctx, &params, &device), ESPL_UNSUPPORTED, "has no vkCmdDispatch");
    host.missing = NULL;
    /* A feature that no kernel can do without is said by the kernel that asks. */
    params.limits = "shared_bytes_max=64";
    engine_ok(&e, espl_device_import(e.ctx, &params, &device));
    espl_model *model;
    espl_status status = espl_model_load(device, ESPL_GOLDEN "/llama_lora", NULL, &model);
    espl_session *session = NULL;
    if (status == ESPL_OK) status = espl_session_create(model, &(espl_session_params){.prompt = 4}, &session);
    engine_refused(&e, status, ESPL_UNSUPPORTED, "shared memory");
    engine_ok(&e, espl_session_create(model, NULL, &session));
    engine_refused(&e, espl_session_append(session, (const int32_t[]){1, 2, 3, 4}, 4), ESPL_UNSUPPORTED, "shared memory");
    espl_session_destroy(&session);
    espl_model_destroy(&model);
    espl_device_destroy(&device);
    engine_close(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(without_any_feature), cmocka_unit_test(with_timeline_semaphores),
                                       cmocka_unit_test(as_on_other_devices), cmocka_unit_test(refused_by_name)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
