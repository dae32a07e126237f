/* A method's row says where it joins a model and how: building its graph must change something at each of the declared sites
 * and in the declared blocks, by an addition or a rescaling as declared, and a sequential module must read what it is put
 * behind, a parallel one must not. (join is never called elsewhere.) */
#include "host/model/adapter.h"
#include "host/ops/op_matmul.h"
#include "tests/model/model_test.h"
#include <string.h>

/* A folder of the Adapters library may add these variants behind the attention too. */
#define WITH_ATTENTION(scaling) \
    "{\"config\":{\"mh_adapter\":true,\"output_adapter\":true,\"is_parallel\":true,\"scaling\":" scaling "}}"

typedef struct row {
    const char *model, *specs[3]; /* together they reach every site */
    const char *method;
} row;

static const row rows[] = {
    {"llama_lora", {"bitfit"}, "bitfit"},
    {"llama_lora", {"lora:r=3,targets=all-linear"}, "lora"},
    {"gpt2_lora", {"lora:r=3"}, "lora"},
    {"llama_lora", {"dora:r=3"}, "dora"},
    {"llama_lora", {"dylora:r=4"}, "dylora"},
    {"llama_lora", {"vera:r=6"}, "vera"},
    {"llama_lora", {"adalora:total=10"}, "adalora"},
    {"llama_lora", {"prompt:tokens=2"}, "prompt"},
    {"gpt2_lora", {"ptuning:tokens=2"}, "ptuning"},
    {"llama_lora", {"prefix:tokens=2"}, "prefix"},
    {"gpt2_lora", {"ptuning2:tokens=2"}, "ptuning2"},
    {"llama_lora", {"ia3"}, "ia3"},
    {"llama_lora", {"{\"peft_type\":\"PASTA\",\"special_token_ids\":[1,2]}"}, "pasta"},
    {"llama_lora", {"adalink:r=3,position=pre_sum", "adalink:r=3,position=post_ln"}, "adalink"},
    {"llama_lora", {"library_lora:gated,intermediate"}, "library_lora"},
    {"llama_lora", {"library_dora:r=3"}, "library_dora"},
    {"llama_lora", {"mtl_lora:r=3,up=2"}, "mtl_lora"},
    {"llama_lora", {"library_vera:r=3,attention=q"}, "library_vera"},
    {"llama_lora", {"library_prefix:length=2,gated"}, "library_prefix"},
    {"gpt2_lora", {"library_prefix:length=2,flat"}, "library_prefix"},
    {"bert_masked_full", {"library_prompt:length=2"}, "library_prompt"},
    {"llama_lora", {"invertible"}, "invertible"},
    {"llama_lora", {"loreft:r=3,suffix=1"}, "loreft"},
    {"bert_classes_lora", {"noreft:r=2,activation=gelu"}, "noreft"},
    {"gpt2_lora", {"direft:tied,suffix=2"}, "direft"},
    {"llama_lora", {"houlsby:rf=4,inv=nice"}, "houlsby"},
    {"bert_masked_full", {"houlsby:rf=4,inv=nice"}, "houlsby"},
    {"llama_lora", {"pfeiffer:rf=4,inv=nice"}, "pfeiffer"},
    {"bert_masked_full", {"pfeiffer:rf=4,inv=nice"}, "pfeiffer"},
    {"llama_lora", {"parallel", WITH_ATTENTION("4.0")}, "parallel"},
    {"llama_lora", {"scaled_parallel", WITH_ATTENTION("\"learned\"")}, "scaled_parallel"},
    {"llama_lora", {"adapterplus:rf=5"}, "adapterplus"},
    {"llama_lora", {"compacter:rf=3"}, "compacter"},
    {"gpt2_lora", {"compacter++:rf=5"}, "compacter++"},
    {"llama_lora", {"fusion:of=m+n", "fusion:of=m+n,value=false"}, "fusion"},
    {"bert_classes_lora", {"fusion:of=m+n"}, "fusion"},
    {"llama_lora", {"tiny_attention"}, "tiny_attention"},
    {"llama_lora", {"flop:targets=down_proj"}, "flop"},
    {"bert_classes_lora", {"tiny_attention:heads=2,dim=3"}, "tiny_attention"},
};

static const espl_method *real; /* whose join is being watched */
static uint32_t sites, blocks;

static const char *op_of(const espl_tensor *t) {
    return t && t->producer ? t->producer->op->name : "";
}

/* t was computed from y. */
static bool reads(const espl_tensor *t, const espl_tensor *y, const espl_joint *joint) {
    if (!t || t == y) return t != NULL;
    if (t == joint->x || t == joint->normed || !t->producer) return false;
    for (size_t i = 0; i < ESPL_INPUTS_MAX; i++) {
        if (reads(t->producer->in[i], y, joint)) return true;
    }
    return false;
}

/* t is y with something added; *out_read: that something was computed from y. */
static bool adds(const espl_tensor *t, const espl_tensor *y, const espl_joint *joint, bool *out_read) {
    if (!t || t == y) return t != NULL;
    if (!t->producer) return false;
    espl_tensor *const *in = t->producer->in;
    if (strcmp(op_of(t), "add") == 0) {
        const bool first = adds(in[0], y, joint, out_read);
        if (!first && !adds(in[1], y, joint, out_read)) return false;
        *out_read |= reads(in[first], y, joint);
        return true;
    }
    if (strcmp(op_of(t), "matmul") != 0 || !(adds(in[3], y, joint, out_read) || adds(in[4], y, joint, out_read))) return false;
    *out_read |= reads(in[0], y, joint);
    return true;
}

static bool rescales(const espl_tensor *t, const espl_tensor *y, const espl_joint *joint) {
    if (t == y) return true;
    return strcmp(op_of(t), "scale") == 0 && rescales(t->producer->in[0], y, joint) && !reads(t->producer->in[1], y, joint);
}

static espl_tensor *watch(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y) {
    const espl_properties *p = &real->properties;
    espl_tensor *t = real->join(builder, adapter, joint, y);
    if (joint->site == ESPL_SITE_BEGIN) sites |= 1u << ESPL_SITE_BEGIN; /* it tells the builder, and makes nothing */
    bool read = p->integration == ESPL_INTEGRATION_RESCALING;
    if (t == y) return y;
    sites |= 1u << joint->site;
    blocks |= joint->block == ESPL_NO_BLOCK ? 1u << 31 : 1u << joint->block;
    if (!y || !t) return t; /* a bias where there was none */
    /* Rows put before others, or another product in place of this one, are neither of the two. */
    if (p->integration == ESPL_INTEGRATION_CONCATENATION || p->integration == ESPL_INTEGRATION_REPLACEMENT) return t;
    const bool right = read ? rescales(t, y, joint) : adds(t, y, joint, &read);
    if (!right) fail_msg("%s, site %d: its integration is not the declared one", real->name, (int)joint->site);
    if (read != (p->insertion == ESPL_INSERTION_SEQUENTIAL))
        fail_msg("%s, site %d: it %s what it is put behind", real->name, (int)joint->site, read ? "reads" : "does not read");
    return t;
}

static void build(const row *r, const char *spec) {
    espl_model *model = test_model(r->model, NULL);
    espl_adapter *adapter;
    espl_graph *graph;
    for (const char *name = strcmp(r->method, "fusion") == 0 ? "mn" : ""; *name; name++) /* what it stands on */
        test_ok(espl_adapter_add(model, (char[]){*name, 0}, "houlsby:rf=4", 1, &adapter));
    test_ok(espl_adapter_add(model, "a", spec, 1, &adapter));
    test_ok(espl_model_activate(model, "a"));
    real = adapter->method;
    assert_string_equal(real->name, r->method);
    espl_method watched = *real;
    watched.join = watch;
    adapter->method = &watched;
    test_ok(espl_graph_create(test_device(), "sites", &graph));
    espl_builder builder = {.model = model, .graph = graph, .batch = 2, .tokens = 5};
    builder.types = espl_graph_step_leaf(graph, "types", 1, 10, ESPL_DTYPE_I32);
    builder.ids = espl_graph_step_leaf(graph, "ids", 1, 10, ESPL_DTYPE_I32);
    assert_non_null(espl_build_output(&builder, espl_build_hidden(&builder)).input);
    test_ok(espl_graph_status(graph));
    espl_graph_destroy(&graph);
    adapter->method = real;
    const uint32_t all = (1u << model->config.layers) - 1;
    if (real->properties.insertions == ESPL_INSERTIONS_ALL) assert_int_equal(blocks & ~(1u << 31), all);
    else assert_int_equal(blocks & (blocks - 1), 0);
    blocks = 0;
    espl_model_destroy(&model);
}

static void run(void **state) {
    const row *r = *state;
    sites = blocks = 0;
    for (size_t i = 0; i < ESPL_COUNT(r->specs) && r->specs[i]; i++) build(r, r->specs[i]);
    if (sites != real->properties.sites)
        fail_msg("%s changes something at sites %x, its row declares %x", r->method, sites, real->properties.sites);
}

/* No method is left out. */
static void complete(void **state) {
    (void)state;
    for (size_t i = 0; i < espl_method_count; i++) {
        bool there = !espl_methods[i]->properties.sites;
        assert_true(there == !espl_methods[i]->join);
        for (size_t j = 0; j < ESPL_COUNT(rows); j++) there |= strcmp(rows[j].method, espl_methods[i]->name) == 0;
        if (!there) fail_msg("%s has no row in this test", espl_methods[i]->name);
    }
}

int main(void) {
    struct CMUnitTest tests[ESPL_COUNT(rows) + 1];
    for (size_t i = 0; i < ESPL_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].specs[0], run, NULL, NULL, (void *)(uintptr_t)&rows[i]};
    tests[ESPL_COUNT(rows)] = (struct CMUnitTest)cmocka_unit_test(complete);
    return test_main("sites", tests, ESPL_COUNT(tests));
}
