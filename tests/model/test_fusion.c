/* AdapterFusion (adapters/fusion.c) beyond its goldens: files, what takes part, what stays as it is, what is refused, how many
 * parameters. */
#include "host/base/os.h"
#include "host/file/json.h"
#include "host/model/composition.h"
#include "tests/model/model_test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static espl_adapter *add(espl_model *model, const char *name, const char *spec) {
    espl_adapter *adapter;
    test_ok(espl_adapter_add(model, name, spec, 3, &adapter));
    return adapter;
}

static espl_model *load(espl_adapter *members[2]) {
    espl_model *model = test_model("llama_lora", NULL);
    members[0] = add(model, "a", "pfeiffer:rf=4");
    members[1] = add(model, "b", "pfeiffer:rf=6,activation=tanh");
    return model;
}

static void train(espl_model *model, espl_adapter *adapter, uint32_t steps) {
    espl_dataset *dataset = test_row();
    espl_trainer *trainer;
    espl_progress progress;
    test_ok(espl_trainer_create(model, adapter, dataset, &(espl_trainer_params){.steps = steps, .learning_rate = 3e-3}, &trainer));
    for (uint32_t i = 0; i < steps; i++) test_ok(espl_trainer_step(trainer, &progress));
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&dataset);
}

/* Those that are fused are not active themselves; training moves the fusion alone; its folder is the Adapters library's. */
static void life(void **state) {
    (void)state;
    float logits[TEST_VOCABULARY], again[TEST_VOCABULARY], base[TEST_VOCABULARY], beside[TEST_VOCABULARY];
    espl_adapter *members[2], *fusion, *loaded;
    espl_model *model = load(members);
    size_t count;
    test_logits(model, base);
    fusion = add(model, "f", "fusion:of=a+b");
    float *before[] = {test_adapter_values(members[0], &count), test_adapter_values(members[1], &count)};
    test_ok(espl_model_activate(model, "a+b+f"));
    assert_true(!members[0]->active && !members[1]->active && fusion->active);
    train(model, fusion, 3);
    test_logits(model, logits);
    assert_true(test_off(logits, base) > 1e-3);
    for (int i = 0; i < 2; i++) {
        float *after = test_adapter_values(members[i], &count);
        assert_memory_equal(before[i], after, count * sizeof *after);
        free(before[i]), free(after);
    }
    char *folder = test_path("fusion"), path[512];
    test_ok(espl_adapter_save(fusion, folder));
    snprintf(path, sizeof path, "%s/model_adapter_fusion.safetensors", folder);
    assert_true(espl_os_is_file(path));
    json_t *file;
    snprintf(path, sizeof path, "%s/adapter_fusion_config.json", folder);
    test_ok(espl_json_load(test_context(), path, &file));
    assert_string_equal(json_string_value(json_object_get(file, "name")), "a,b");
    assert_int_equal(json_array_size(json_object_get(file, "adapter_names")), 2);
    assert_null(json_object_get(json_object_get(file, "config"), "adapter_names"));
    assert_null(json_object_get(json_object_get(file, "config"), "architecture"));
    espl_json_destroy(&file);
    test_ok(espl_adapter_load(model, "g", folder, &loaded));
    test_ok(espl_model_activate(model, "g"));
    test_logits(model, again);
    assert_true(test_same(logits, again));
    test_ok(espl_model_activate(model, ""));
    test_logits(model, beside);
    assert_true(test_same(base, beside));
    test_refused(espl_adapter_merge(fusion), ESPL_UNSUPPORTED, "fusion is no change of the base's weights");
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    espl_model_destroy(&model);
}

/* A session gives what the evaluation gives. */
static void generates(void **state) {
    (void)state;
    float logits[TEST_VOCABULARY];
    const float *got;
    uint32_t count;
    espl_adapter *members[2];
    espl_session *session;
    espl_model *model = load(members);
    add(model, "f", "fusion:of=a+b");
    test_ok(espl_model_activate(model, "f"));
    test_logits(model, logits);
    test_ok(espl_session_create(model, &(espl_session_params){.context = 32}, &session));
    test_ok(espl_session_append(session, test_ids, TEST_TOKENS - 1));
    test_ok(espl_session_append(session, test_ids + TEST_TOKENS - 1, 1));
    test_ok(espl_session_logits(session, &got, &count));
    assert_true(test_off(got, logits) < 5e-6); /* as in test_session.c */
    espl_session_destroy(&session);
    espl_model_destroy(&model);
}

/* fuse(stack(b,a),b): what stands before one that is fused goes with it, is not active itself, and changes what comes out. */
static void stacks(void **state) {
    (void)state;
    float fused[TEST_VOCABULARY], behind[TEST_VOCABULARY], again[TEST_VOCABULARY];
    espl_adapter *members[2], *before;
    espl_model *model = load(members);
    add(model, "f", "fusion:of=a+b");
    before = add(model, "c", "pfeiffer:rf=3,leave_out=1");
    add(model, "houlsby", "houlsby:rf=4"), add(model, "parallel", "parallel:rf=4"), add(model, "lora", "lora");
    test_ok(espl_model_activate(model, "fuse(a,b)"));
    test_logits(model, fused);
    test_ok(espl_model_activate(model, "stack(fuse(a,stack(c,b)))"));
    assert_true(!before->active && !members[0]->active);
    test_logits(model, behind);
    assert_false(test_same(behind, fused));
    test_ok(espl_model_activate(model, "fuse(stack(a),stack(b))"));
    test_logits(model, again);
    assert_true(test_same(fused, again));
    static const struct {
        const char *expression;
        espl_status status;
        const char *part;
    } not[] = {{"fuse(stack(b,a),a)", ESPL_ARGUMENT, "there is no fusion of just these adapters"},
               {"fuse(a,stack(b,average(a,b)))", ESPL_ARGUMENT, "is too deep: average is in 2 blocks"},
               {"fuse(a,stack(stack(a,b),b))", ESPL_ARGUMENT, "stack takes no stack"},
               {"fuse(a,average(a,b))", ESPL_ARGUMENT, "fuse takes no average"},
               {"fuse(a,stack(lora,b))", ESPL_UNSUPPORTED, "\"lora\" of method lora stands before one of its adapters"},
               {"fuse(a,stack(parallel,b))", ESPL_UNSUPPORTED, "\"parallel\" of method parallel stands before"},
               {"fuse(a,stack(f,b))", ESPL_UNSUPPORTED, "\"f\" of method fusion stands before"},
               {"fuse(a,stack(houlsby,b))", ESPL_UNSUPPORTED, "has a module in block 0 where these have none to be fused"}};
    for (size_t i = 0; i < ESPL_COUNT(not); i++) test_refused(espl_model_activate(model, not[i].expression), not[i].status, not[i].part);
    test_ok(espl_model_activate(model, "fuse(a,stack(c,b))"));
    espl_adapter_delete(&before);
    assert_int_equal(model->composition->count, 0);
    espl_model_destroy(&model);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *spec;
        espl_status status;
        const char *part;
    } cases[] = {
        {"fusion", ESPL_ARGUMENT, "\"adapter_names\" has 0 names, from 2 to 6 are fused (fusion:of=a+b)"},
        {"fusion:of=a", ESPL_ARGUMENT, "\"adapter_names\" has 1 names"},
        {"fusion:of=a+x", ESPL_ARGUMENT, "the model has no adapter \"x\": those that are fused are loaded first"},
        {"fusion:of=a+l", ESPL_UNSUPPORTED, "\"l\" is of method lora; bottleneck adapters that are not parallel can be fused"},
        {"fusion:of=a+p", ESPL_UNSUPPORTED, "\"p\" is of method parallel"},
        {"fusion:of=a+b,dropout=1", ESPL_ARGUMENT, "dropout_prob 1 is not from 0 to below 1"},
        {"fusion:of=a+none", ESPL_ARGUMENT, "no place has modules of all its adapters"},
        {"{\"config\":{\"architecture\":\"fusion\",\"adapter_names\":[\"a\",\"b\"],\"temperature\":true}}", ESPL_UNSUPPORTED,
         "\"temperature\" is not supported"},
    };
    espl_adapter *members[2], *adapter, *fusion;
    espl_model *model = load(members);
    float logits[TEST_VOCABULARY];
    espl_dataset *dataset = test_row();
    add(model, "l", "lora:r=2"), add(model, "p", "parallel:rf=8"), add(model, "none", "invertible:inv_rf=2");
    for (size_t i = 0; i < ESPL_COUNT(cases); i++)
        test_refused(espl_adapter_add(model, "f", cases[i].spec, 0, &adapter), cases[i].status, cases[i].part);
    fusion = add(model, "f", "fusion:of=a+b");
    test_ok(espl_model_activate(model, "f"));
    test_logits(model, logits);
    espl_adapter_delete(&members[0]);
    test_refused(espl_predict(model, dataset, 1, 0, logits), ESPL_ARGUMENT, "the model has no adapter \"a\"");
    members[0] = add(model, "a", "houlsby:rf=4,leave_out=0");
    test_refused(espl_predict(model, dataset, 1, 0, logits), ESPL_ARGUMENT, "\"a\" is not in block 0 any more");
    espl_adapter_delete(&fusion);
    espl_dataset_destroy(&dataset);
    espl_model_destroy(&model);
}

/* 3 d^2 + 2 d at each place: of BERT base, with the modules of pfeiffer, 12 times 1771008. */
static void counts(void **state) {
    (void)state;
    static const char config[] = "{\"model_type\":\"bert\",\"architectures\":[\"BertForSequenceClassification\"],\"hidden_size\":768,"
                                 "\"num_hidden_layers\":12,\"num_attention_heads\":12,\"intermediate_size\":3072,\"vocab_size\":30522,"
                                 "\"max_position_embeddings\":512,\"type_vocab_size\":2}";
    char *folder = test_path("outline"), path[512];
    espl_model *model;
    espl_adapter *adapter;
    test_ok(espl_os_make_folder(test_context(), folder));
    snprintf(path, sizeof path, "%s/config.json", folder);
    test_ok(espl_os_write_file(test_context(), path, config, sizeof config - 1));
    test_ok(espl_model_outline(test_context(), folder, NULL, &model));
    test_ok(espl_adapter_add(model, "a", "pfeiffer", 0, &adapter));
    test_ok(espl_adapter_add(model, "b", "pfeiffer:rf=8", 0, &adapter));
    test_ok(espl_adapter_add(model, "f", "fusion:of=a+b", 0, &adapter));
    assert_int_equal(espl_adapter_parameters(adapter), 21252096 + 2 * 768 + 2); /* and the head */
    espl_model_destroy(&model);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(life), cmocka_unit_test(generates), cmocka_unit_test(stacks), cmocka_unit_test(refused),
                                       cmocka_unit_test(counts)};
    return test_main("fusion", tests, ESPL_COUNT(tests));
}
