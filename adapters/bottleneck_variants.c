#include "adapters/bottleneck.h"

static bool flag(const json_t *config, const char *key) {
    return json_is_true(json_object_get(config, key));
}

/* Nothing in the blocks: what is left is the invertible adapter. */
static bool is_invertible(const json_t *config) {
    return !flag(config, "mh_adapter") && json_is_false(json_object_get(config, "output_adapter"));
}
static bool is_houlsby(const json_t *config) {
    return flag(config, "mh_adapter") && !flag(config, "is_parallel") && !flag(config, "phm_layer");
}
static bool is_pfeiffer(const json_t *config) {
    const json_t *scaling = json_object_get(config, "scaling");
    return !flag(config, "mh_adapter") && !flag(config, "is_parallel") && !flag(config, "phm_layer") && !json_is_string(scaling);
}
static bool is_parallel(const json_t *config) {
    return flag(config, "is_parallel") && !json_is_string(json_object_get(config, "scaling"));
}
static bool is_scaled_parallel(const json_t *config) {
    return flag(config, "is_parallel") && json_is_string(json_object_get(config, "scaling"));
}
static bool is_plus(const json_t *config) {
    return !flag(config, "is_parallel") && !flag(config, "phm_layer") && json_is_string(json_object_get(config, "scaling"));
}

static bool is_compacter(const json_t *config) {
    return flag(config, "phm_layer") && flag(config, "mh_adapter");
}
static bool is_compacter_pp(const json_t *config) {
    return flag(config, "phm_layer") && !flag(config, "mh_adapter");
}

enum { MLP = 1u << ESPL_SITE_MLP_OUT, BOTH = MLP | 1u << ESPL_SITE_ATTENTION_OUT };

#define VARIANT(id, spec_name, recognised, insertion_form, integration_form, sharing_form, places, ...)                                            \
    static espl_status declare_##id(espl_adapter *adapter) {                                                                 \
        static const bottleneck_preset preset = {__VA_ARGS__};                                                               \
        return espl_bottleneck_declare(adapter, &preset);                                                                    \
    }                                                                                                                        \
    const espl_method espl_method_##id = {.name = spec_name,                                                                 \
                                          .architecture = "bottleneck",                                                      \
                                          .recognise = recognised,                                                           \
                                          .properties = {.intra = ESPL_INTRA_DENSE,                                          \
                                                         .adapted = sharing_form ? ESPL_ADAPTED_REPARAMETERISATION : ESPL_ADAPTED_ADDITION, \
                                                         .sharing = sharing_form,                                            \
                                                         .input = ESPL_INPUT_HIDDEN,                                         \
                                                         .insertion = insertion_form,                                        \
                                                         .integration = integration_form,                                    \
                                                         .insertions = (places) & BOTH ? ESPL_INSERTIONS_ALL : ESPL_INSERTIONS_ONE, \
                                                         .sites = places},                                                   \
                                          .keys = {espl_bottleneck_keys, (places) & INVERTIBLE_SITES ? espl_invertible_keys                  \
                                                                             : sharing_form ? espl_phm_keys                                  \
                                                                             : insertion_form == ESPL_INSERTION_PARALLEL ? espl_parallel_keys : NULL}, \
                                          .set = espl_bottleneck_set,                                                                        \
                                          .declare = declare_##id,                                                           \
                                          .initialise = espl_bottleneck_initialise,                                                          \
                                          .join = espl_bottleneck_join,                                                                      \
                                          .first_block = espl_bottleneck_first_block,                                                         \
                                          .step = espl_bottleneck_step,                                                                      \
                                          .finish = espl_bottleneck_finish};

VARIANT(invertible, "invertible", is_invertible, ESPL_INSERTION_SEQUENTIAL, ESPL_INTEGRATION_DIRECT_ADDITION, ESPL_SHARING_NONE,
        INVERTIBLE_SITES, .alone = true, .base_after = true, .residual_before = true, .reduction = 16, .activation = "relu",
        .init = "bert", .factor = 1)
VARIANT(houlsby, "houlsby", is_houlsby, ESPL_INSERTION_SEQUENTIAL, ESPL_INTEGRATION_DIRECT_ADDITION, ESPL_SHARING_NONE, BOTH | INVERTIBLE_SITES, .attention = true,
        .base_after = true, .residual_before = true, .reduction = 16, .activation = "swish", .init = "bert", .factor = 1)
VARIANT(pfeiffer, "pfeiffer", is_pfeiffer, ESPL_INSERTION_SEQUENTIAL, ESPL_INTEGRATION_DIRECT_ADDITION, ESPL_SHARING_NONE, MLP | INVERTIBLE_SITES, .base_before = true,
        .base_after = true, .residual_before = true, .reduction = 16, .activation = "relu", .init = "bert", .factor = 1)
VARIANT(parallel, "parallel", is_parallel, ESPL_INSERTION_PARALLEL, ESPL_INTEGRATION_SCALED_ADDITION, ESPL_SHARING_NONE, BOTH, .parallel = true,
        .base_after = true, .residual_before = true, .reduction = 2, .activation = "relu", .init = "mam_adapter", .factor = 4)
VARIANT(scaled_parallel, "scaled_parallel", is_scaled_parallel, ESPL_INSERTION_PARALLEL, ESPL_INTEGRATION_SCALED_ADDITION, ESPL_SHARING_NONE, BOTH,
        .parallel = true, .base_after = true, .residual_before = true, .reduction = 2, .activation = "relu",
        .init = "mam_adapter", .scaling = "learned")
VARIANT(adapterplus, "adapterplus", is_plus, ESPL_INSERTION_SEQUENTIAL, ESPL_INTEGRATION_SCALED_ADDITION, ESPL_SHARING_NONE, MLP, .base_before = true,
        .reduction = 96, .activation = "gelu", .init = "houlsby", .scaling = "channel")
VARIANT(compacter, "compacter", is_compacter, ESPL_INSERTION_SEQUENTIAL, ESPL_INTEGRATION_DIRECT_ADDITION, ESPL_SHARING_SHARED, BOTH,
        .attention = true, .base_after = true, .residual_before = true, .phm = true, .reduction = 32, .activation = "gelu",
        .init = "bert", .factor = 1)
VARIANT(compacter_pp, "compacter++", is_compacter_pp, ESPL_INSERTION_SEQUENTIAL, ESPL_INTEGRATION_DIRECT_ADDITION,
        ESPL_SHARING_SHARED, MLP, .base_before = true, .base_after = true, .residual_before = true, .phm = true, .reduction = 32,
        .activation = "gelu", .init = "bert", .factor = 1)
