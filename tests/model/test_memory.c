/* Host memory that runs out: whatever allocation fails, the call says so, everything is freed, and the process lives. The
 * whole of device, model, adapter, trainer and session is run with its nth allocation failing, for every n. */
#include "tests/model/model_test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct memory {
    uint64_t calls, fail_at; /* 0: never */
    int64_t live;
} memory;

static void *resize(void *user, void *block, size_t bytes) {
    memory *m = user;
    if (bytes == 0) {
        m->live -= block != NULL;
        free(block);
        return NULL;
    }
    if (++m->calls == m->fail_at) return NULL;
    void *moved = realloc(block, bytes);
    m->live += !block && moved;
    return moved;
}

static void quiet(void *user, espl_log_level level, const char *line) {
    (void)user;
    (void)level;
    (void)line;
}

#define TRY(call)                        \
    do {                                 \
        status = (call);                 \
        if (status != ESPL_OK) goto end; \
    } while (0)

static espl_status everything(memory *m, bool *out_named) {
    static const int32_t ids[] = {1, 5, 9, 33, 2, 7, 11, 8};
    espl_context *ctx = NULL;
    espl_device *device = NULL;
    espl_model *model = NULL;
    espl_adapter *adapter = NULL, *before = NULL;
    espl_dataset *dataset = NULL;
    espl_trainer *trainer = NULL;
    espl_session *session = NULL;
    espl_progress progress;
    espl_head_params head = {.kind = ESPL_HEAD_DEFAULT};
    espl_status status = espl_context_create(&(espl_context_params){resize, m, quiet, NULL}, &ctx);
    *out_named = true;
    if (status != ESPL_OK) return status;
    TRY(espl_head_read(ctx, ESPL_GOLDEN "/llama_lora", ESPL_GOLDEN "/heads/llama_causal_two", &head));
    TRY(espl_device_create(ctx, &(espl_device_params){.select = getenv("ESPL_TEST_DEVICE"), .cache_folder = ""}, &device));
    TRY(espl_model_load(device, ESPL_GOLDEN "/llama_tied_rope_scaling", NULL, &model));
    TRY(espl_adapter_load(model, "a", ESPL_GOLDEN "/llama_tied_rope_scaling/adapter", &adapter));
    TRY(espl_adapter_load(model, "p", ESPL_GOLDEN "/ptuning_llama/adapter", &before));
    TRY(espl_model_activate(model, "a+p"));
    TRY(espl_dataset_from_ids(ctx, ids, ids, 2, 4, &dataset));
    TRY(espl_trainer_create(model, adapter, dataset, &(espl_trainer_params){.steps = 2, .recompute = true}, &trainer));
    TRY(espl_trainer_step(trainer, &progress));
    TRY(espl_trainer_save(trainer, "model_test_memory"));
    TRY(espl_trainer_resume(trainer, "model_test_memory"));
    TRY(espl_session_create(model, &(espl_session_params){.context = 32}, &session));
    TRY(espl_session_append(session, ids, 3));
    TRY(espl_adapter_merge(adapter));
    TRY(espl_adapter_unmerge(adapter));
    TRY(espl_adapter_save(adapter, "model_test_memory"));
end:
    *out_named = status == ESPL_OK || espl_context_message(ctx)[0];
    espl_session_destroy(&session);
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&dataset);
    espl_adapter_delete(&adapter);
    espl_model_destroy(&model);
    espl_device_destroy(&device);
    espl_context_destroy(&ctx);
    return status;
}

static void nth_allocation(void **state) {
    (void)state;
    memory whole = {0};
    bool named;
    assert_int_equal(everything(&whole, &named), ESPL_OK);
    assert_int_equal(whole.live, 0);
    uint32_t tried = 0;
    for (uint64_t n = 1; n <= whole.calls; n++) {
        memory m = {.fail_at = n};
        const espl_status status = everything(&m, &named);
        tried++;
        if (status != ESPL_HOST_MEMORY || !named)
            fail_msg("with allocation %llu failing the status is %s", (unsigned long long)n, espl_status_name(status));
        if (m.live != 0) fail_msg("with allocation %llu failing %lld blocks are left", (unsigned long long)n, (long long)m.live);
    }
    printf("  %u of %llu allocations failed, one at a time\n", tried, (unsigned long long)whole.calls);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nth_allocation)};
    return test_main("host memory", tests, ESPL_COUNT(tests));
}
