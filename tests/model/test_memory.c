/* Host memory that runs out: whatever allocation fails, the call says so, everything is freed, and the process lives. The
 * whole of device, model, adapter, trainer and session is run with its nth allocation failing, for every n; and so are merging
 * alone, after which the base has the bits that it had, saving, after which the folder's files belong together, and with jansson's
 * allocations what makes configurations. */
#include "adapters/adalora.h"
#include "host/model/adapter.h"
#include "host/base/os.h"
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

/* FNV-1a of names and values. */
static uint64_t hash_base(espl_model *model) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < model->store.entry_count; i++) {
        const espl_entry *entry = &model->store.entries[i];
        const size_t count = (size_t)espl_entry_values(&model->store, entry);
        uint32_t *bits = malloc(count * sizeof *bits);
        assert_non_null(bits);
        assert_int_equal(espl_store_read(&model->store, entry, (float *)bits), ESPL_OK);
        for (const char *c = entry->name; *c; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
        for (size_t k = 0; k < count; k++) hash = (hash ^ bits[k]) * 0x100000001b3u;
        free(bits);
    }
    return hash;
}

static void save_and_load(espl_model *model) {
    espl_model *again;
    assert_int_equal(espl_model_save(model, "model_test_memory/model"), ESPL_OK);
    assert_int_equal(espl_model_load(model->device, "model_test_memory/model", NULL, &again), ESPL_OK);
    const uint64_t hash = hash_base(again);
    espl_model_destroy(&again);
    assert_true(hash == hash_base(model));
}

/* Merges, or takes out, with the first, the second, ... allocation failing until none does. */
static uint32_t until_it_works(memory *m, espl_adapter *adapter, espl_status (*change)(espl_adapter *), uint64_t hash) {
    for (uint32_t n = 1;; n++) {
        m->fail_at = m->calls + n;
        const espl_status status = change(adapter);
        m->fail_at = 0;
        if (status == ESPL_OK) return n - 1;
        if (status != ESPL_HOST_MEMORY) fail_msg("with allocation %u failing the status is %s", n, espl_status_name(status));
        if (change == espl_adapter_merge && hash_base(adapter->model) != hash)
            fail_msg("with allocation %u failing the base is not what it was", n);
        save_and_load(adapter->model);
    }
}

static void merging(void **state) {
    (void)state;
    static const struct {
        const char *model, *spec;
    } cases[] = {{"llama_tied_rope_scaling", "lora:r=2,targets=q_proj,init=random,save=lm_head"},
                 {"gpt2_lora", "lora:r=2,targets=c_attn,init=random,bias=all"},
                 {"llama_lora", "lora:r=2,targets=q_proj,init=random,save=lm_head"}};
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        memory m = {0};
        espl_context *ctx;
        espl_device *device;
        espl_model *model;
        espl_adapter *adapter;
        char folder[256];
        snprintf(folder, sizeof folder, "%s/%s", ESPL_GOLDEN, cases[i].model);
        assert_int_equal(espl_context_create(&(espl_context_params){resize, &m, quiet, NULL}, &ctx), ESPL_OK);
        assert_int_equal(espl_device_create(ctx, &(espl_device_params){.select = getenv("ESPL_TEST_DEVICE"), .cache_folder = ""},
                                            &device), ESPL_OK);
        assert_int_equal(espl_model_load(device, folder, NULL, &model), ESPL_OK);
        assert_int_equal(espl_adapter_add(model, "a", cases[i].spec, 1, &adapter), ESPL_OK);
        const uint64_t hash = hash_base(model);
        const uint32_t merges = until_it_works(&m, adapter, espl_adapter_merge, hash);
        assert_true(merges > 0 && hash_base(model) != hash);
        save_and_load(model);
        const uint32_t unmerges = until_it_works(&m, adapter, espl_adapter_unmerge, hash);
        assert_true(unmerges > 0 && hash_base(model) == hash);
        printf("  %s: merging failed at %u allocations, taking out at %u\n", cases[i].model, merges, unmerges);
        espl_model_destroy(&model);
        espl_device_destroy(&device);
        espl_context_destroy(&ctx);
        assert_int_equal(m.live, 0);
    }
}

/* FNV-1a of a file. */
static uint64_t hash_file(espl_context *ctx, const char *folder, const char *name) {
    char path[256];
    espl_mapping file;
    uint64_t hash = 0xcbf29ce484222325u;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(espl_os_map(ctx, path, &file), ESPL_OK);
    for (size_t i = 0; i < file.bytes; i++) hash = (hash ^ file.data[i]) * 0x100000001b3u;
    espl_os_unmap(&file);
    return hash;
}

/* Weights, head and configuration are those of one adapter, whatever fails while another takes its place. */
static void saving(void **state) {
    (void)state;
    static const char old[] = "model_test_memory/old", now[] = "model_test_memory/now", folder[] = "model_test_memory/saved";
    static const char *const files[] = {"adapter.safetensors", "model_head.safetensors", "head_config.json", "adapter_config.json"};
    memory m = {0};
    espl_context *ctx;
    espl_device *device;
    espl_model *model;
    espl_adapter *first, *second;
    espl_status status = ESPL_HOST_MEMORY;
    assert_int_equal(espl_context_create(&(espl_context_params){resize, &m, quiet, NULL}, &ctx), ESPL_OK);
    assert_int_equal(espl_device_create(ctx, &(espl_device_params){.select = getenv("ESPL_TEST_DEVICE"), .cache_folder = ""},
                                        &device), ESPL_OK);
    assert_int_equal(espl_model_load(device, ESPL_GOLDEN "/bert_classes_lora", NULL, &model), ESPL_OK);
    assert_int_equal(espl_adapter_add(model, "first", "pfeiffer:rf=8", 1, &first), ESPL_OK);
    assert_int_equal(espl_adapter_add(model, "second", "pfeiffer:rf=16", 2, &second), ESPL_OK);
    for (size_t i = 0; i < second->store.entry_count; i++) { /* a head of its own */
        const espl_entry *entry = &second->store.entries[i];
        float value[1024] = {1};
        if (entry->apart && espl_entry_values(&second->store, entry) <= ESPL_COUNT(value))
            assert_int_equal(espl_store_write(&second->store, entry, value, ESPL_DTYPE_F32), ESPL_OK);
    }
    assert_int_equal(espl_adapter_save(first, old), ESPL_OK);
    assert_int_equal(espl_adapter_save(second, now), ESPL_OK);
    assert_int_equal(espl_adapter_save(first, folder), ESPL_OK);
    assert_true(hash_file(ctx, old, files[1]) != hash_file(ctx, now, files[1]));
    uint32_t failed = 0;
    for (uint64_t n = 1; status != ESPL_OK; n++) {
        m.fail_at = m.calls + n;
        status = espl_adapter_save(second, folder);
        m.fail_at = 0;
        failed += status != ESPL_OK;
        if (status != ESPL_OK) assert_int_equal(status, ESPL_HOST_MEMORY);
        const bool whole = hash_file(ctx, folder, files[0]) == hash_file(ctx, now, files[0]);
        for (size_t i = 0; i < ESPL_COUNT(files); i++) {
            if (hash_file(ctx, folder, files[i]) != hash_file(ctx, whole ? now : old, files[i]))
                fail_msg("with allocation %llu failing %s is not that of %s", (unsigned long long)n, files[i], files[0]);
        }
    }
    printf("  saving failed at %u allocations\n", failed);
    assert_true(hash_file(ctx, folder, files[0]) == hash_file(ctx, now, files[0]));
    espl_model_destroy(&model);
    espl_device_destroy(&device);
    espl_context_destroy(&ctx);
    assert_int_equal(m.live, 0);
}

/* Configurations have memory of jansson's. */
static memory json;

static void *json_take(size_t bytes) {
    return resize(&json, NULL, bytes);
}

static void json_give(void *block) {
    resize(&json, block, 0);
}

typedef struct json_work {
    espl_model *model;
    espl_adapter *adapter;
} json_work;

static espl_status save_pruned(json_work *work) {
    return espl_adapter_save(work->adapter, "model_test_memory/pruned");
}

static espl_status add_pasta(json_work *work) {
    espl_adapter *adapter;
    const espl_status status = espl_adapter_add(work->model, "pasta", "pasta", 1, &adapter);
    espl_adapter_delete(&adapter);
    return status;
}

/* With the first, the second, ... allocation failing, until it works, or until jansson reads a text: it takes lack of memory for a
 * fault of that, if it sees it. */
static void fail_json(const char *name, espl_status (*f)(json_work *), json_work *work) {
    assert_int_equal(f(work), ESPL_OK); /* once before, for what it leaves in a configuration */
    const int64_t live = json.live;
    uint64_t failed = 0;
    for (;; failed++) {
        json.fail_at = json.calls + failed + 1;
        const espl_status status = f(work);
        json.fail_at = 0;
        if (status != ESPL_HOST_MEMORY) break;
        if (json.live != live)
            fail_msg("%s: with allocation %llu failing %lld blocks are left", name, (unsigned long long)failed + 1,
                     (long long)(json.live - live));
    }
    printf("  %s: failed at %llu allocations of jansson's\n", name, (unsigned long long)failed);
    assert_true(failed > 0);
}

static void configurations(void **state) {
    (void)state;
    static const char config[] = "{\"model_type\": \"bert\", \"vocab_size\": 6, \"hidden_size\": 8, \"num_hidden_layers\": 1, "
                                 "\"num_attention_heads\": 2, \"intermediate_size\": 16, \"max_position_embeddings\": 16}";
    static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n";
    static const char folder[] = "model_test_memory/bert";
    json_work work = {.model = NULL};
    json_malloc_t take;
    json_free_t give;
    json_get_alloc_funcs(&take, &give);
    json_set_alloc_funcs(json_take, json_give);
    work.model = test_model("llama_lora", NULL);
    test_ok(espl_adapter_add(work.model, "a", "adalora:init_r=12,target_r=4,total=100", 1, &work.adapter));
    const adalora_state *ranks = espl_adalora(work.adapter);
    const espl_entry entry = {.matrix = ranks->dropped, .count = ranks->ranks, .vector = true};
    float *dropped = calloc(ranks->ranks, sizeof *dropped);
    assert_non_null(dropped);
    dropped[0] = 1;
    test_ok(espl_store_write(&work.adapter->store, &entry, dropped, ESPL_DTYPE_F32));
    free(dropped);
    fail_json("AdaLoRA with a rank dropped is saved", save_pruned, &work);
    espl_model_destroy(&work.model);

    test_ok(espl_os_make_folder(test_context(), folder));
    test_ok(espl_os_write_file(test_context(), "model_test_memory/bert/config.json", config, sizeof config - 1));
    test_ok(espl_os_write_file(test_context(), "model_test_memory/bert/vocab.txt", vocabulary, sizeof vocabulary - 1));
    test_ok(espl_model_load(test_device(), folder, &(espl_model_params){.random = true}, &work.model));
    fail_json("PASTA is added", add_pasta, &work);
    espl_model_destroy(&work.model);
    json_set_alloc_funcs(take, give);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nth_allocation), cmocka_unit_test(merging), cmocka_unit_test(saving),
                                       cmocka_unit_test(configurations)};
    return test_main("host memory", tests, ESPL_COUNT(tests));
}
