/* What papers and peers promise of methods and no golden shows. */
#include "host/graph/graph_private.h"
#include "host/train/pass.h"
#include "tests/model/model_test.h"
#include "host/base/os.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Layers of the pass that run the backward of block `block`. */
static uint32_t backward_layers(const espl_graph *graph, uint32_t block) {
    char name[32];
    uint32_t forward = 0, count = 0;
    snprintf(name, sizeof name, "block %u", block);
    for (const espl_layer *layer = graph->first_layer; layer; layer = layer->next) {
        const char *at = strstr(layer->name, name);
        if (!at || !layer->commands) continue;
        if (at == layer->name && at[strlen(name)] == 0) forward++;
        else count++;
    }
    assert_int_equal(forward, 1);
    return count;
}

/* AdapterDrop: where the lowest adapters are left out, nothing runs backwards below the lowest that is there. */
static void adapter_drop(void **state) {
    (void)state;
    static const char *const specs[] = {"houlsby:rf=4", "houlsby:rf=4,leave_out=0", "houlsby:rf=4,leave_out=0+1"};
    uint64_t before = 0;
    for (uint32_t dropped = 0; dropped < ESPL_COUNT(specs); dropped++) {
        espl_model *model = test_model("qwen3_patterns", NULL);
        espl_adapter *adapter;
        espl_optimiser optimiser;
        espl_pass pass;
        assert_int_equal(model->config.layers, 3);
        test_ok(espl_adapter_add(model, "a", specs[dropped], 1, &adapter));
        test_ok(espl_model_activate(model, "a"));
        test_ok(espl_optimiser_init(&optimiser, &adapter->store));
        const uint64_t start = espl_device_count(test_device()).dispatches_recorded;
        test_ok(espl_pass_init(&pass, model, &(espl_pass_params){.batch = 1, .tokens = 5, .optimiser = &optimiser}));
        const uint64_t dispatches = espl_device_count(test_device()).dispatches_recorded - start;
        printf("  %u blocks without: %llu dispatches\n", dropped, (unsigned long long)dispatches);
        for (uint32_t block = 0; block < 3; block++)
            assert_true((backward_layers(pass.graph, block) > 0) == (block >= dropped));
        if (dropped) assert_true(dispatches < before);
        before = dispatches;
        espl_pass_finish(&pass);
        espl_optimiser_finish(&optimiser);
        espl_model_destroy(&model);
    }
}

/* Rows are counted one by one: the second has one special token too many, of which padding is none. */
static void pasta_rows(void **state) {
    (void)state;
    static const int32_t ids[] = {5, 9, 41, 8, 8, 5, 41, 5, 41, 41}, labels[] = {0, 1}, lengths[][2] = {{5, 4}, {5, 2}};
    espl_model *model = test_model("bert_classes_lora", NULL);
    espl_adapter *adapter;
    espl_probe_params probe = {.ids = ids, .labels = labels, .lengths = lengths[0], .rows = 2, .tokens = 5};
    char *out = test_path("conformance.safetensors");
    test_ok(espl_adapter_add(model, "a", "{\"peft_type\":\"PASTA\",\"special_token_ids\":[5,41],\"num_special\":2}", 1, &adapter));
    test_ok(espl_model_activate(model, "a"));
    test_refused(espl_probe(model, adapter, &probe, out), ESPL_LIMIT,
                 "row 1 of the batch has 4 special tokens, the adapter has vectors for 2");
    probe.lengths = lengths[1];
    test_ok(espl_probe(model, adapter, &probe, out));
    espl_os_remove_file(out);
    free(out);
    espl_model_destroy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(adapter_drop), cmocka_unit_test(pasta_rows)};
    return test_main("conformance", tests, ESPL_COUNT(tests));
}
