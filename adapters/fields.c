/* Fields of adapter_config.json in PEFT's manner, by the methods (words) that have them. Those of a method's keys are known
 * already; of the others most say how the file was made or are read by one method, and some would change what is computed. */
#include "adapters/fields.h"
#include "adapters/spec.h"
#include "adapters/targets.h"
#include <string.h>

#define LORAS "lora dora dylora adalora"
#define PROMPTS "prompt ptuning prefix ptuning2"

/* What a reader here takes, and what changes nothing for it. */
static const struct {
    const char *methods, *fields; /* methods NULL: all */
} known[] = {
    {NULL, "peft_type task_type auto_mapping peft_version base_model_name_or_path revision inference_mode"},
    {LORAS " ia3 ln flop", "exclude_modules"},
    {LORAS " vera flop", "layers_to_transform layers_pattern"},
    {LORAS " vera ia3", "fan_in_fan_out"}, /* how the base keeps its matrices, which its family says */
    {LORAS, "rank_pattern alpha_pattern use_dora"},
    {LORAS, "loftq_config eva_config corda_config lora_ga_config"}, /* parts of init_lora_weights */
    {LORAS, "qalora_group_size megatron_core"},                    /* parts of fields that are refused */
    {"adalora", "r use_rslora"},                                   /* PEFT's AdaLoRA looks at neither */
    {"vera", "save_projection bias init_weights"},
    {PROMPTS, "token_dim num_attention_heads num_layers"}, /* the tensor's shape says them */
    {"prompt", "tokenizer_name_or_path"},
    {"prefix ptuning2", "encoder_hidden_size prefix_projection"},
    {"pasta", "special_token_ids"},
    {"adalink", "scope"},
    {"bitfit", "store"},
};

/* What would change results and is not offered, unless it is off: null, false, empty, or this number. */
static const struct {
    const char *methods, *field;
    int off;
    bool initial; /* initial values alone, which a folder brings */
} refused[] = {
    {"lora dylora adalora", "use_dora", 0, false},
    {LORAS, "use_qalora", 0, false},
    {LORAS, "lora_bias", 0, false},
    {LORAS, "layer_replication", 0, false},
    {LORAS, "target_parameters", 0, false},
    {LORAS, "trainable_token_indices", 0, false},
    {LORAS, "use_bdlora", 0, false},
    {LORAS, "alora_invocation_tokens", 0, false},
    {LORAS, "arrow_config", 0, false},
    {LORAS, "velora_config", 0, false},
    {LORAS, "monteclora_config", 0, false},
    {LORAS, "kasa_config", 0, false},
    {LORAS, "megatron_config", 0, false},
    {LORAS, "ensure_weight_tying", 0, false},
    {PROMPTS, "num_transformer_submodules", 1, false}, /* 2: an encoder and a decoder */
    {"prompt", "tokenizer_kwargs", 0, true},
    {"prefix ptuning2", "init_weights", 0, true},
};

bool espl_field_is_off(const json_t *value) {
    return !value || json_is_null(value) || json_is_false(value) || (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0) || (json_is_object(value) && json_object_size(value) == 0);
}

static bool is_known(const espl_method *method, const char *field) {
    for (size_t i = 0; i < ESPL_METHOD_KEYS; i++) {
        for (const espl_spec_row *row = method->keys[i]; row && row->key; row++) {
            if (strcmp(row->key, field) == 0) return true;
        }
    }
    for (size_t i = 0; i < ESPL_COUNT(known); i++) {
        const bool has = !known[i].methods || espl_target_word(known[i].methods, method->name);
        if (has && espl_target_word(known[i].fields, field)) return true;
    }
    for (size_t i = 0; i < ESPL_COUNT(refused); i++) {
        if (espl_target_word(refused[i].methods, method->name) && strcmp(refused[i].field, field) == 0) return true;
    }
    return false;
}

const char *espl_fields_refused(const char *method, const json_t *config, bool initial) {
    for (size_t i = 0; i < ESPL_COUNT(refused); i++) {
        const json_t *value = json_object_get(config, refused[i].field);
        if (refused[i].initial != initial || !espl_target_word(refused[i].methods, method) || espl_field_is_off(value)) continue;
        if (!json_is_integer(value) || json_integer_value(value) != refused[i].off) return refused[i].field;
    }
    return NULL;
}

static espl_status refuse(const espl_adapter *adapter, bool initial) {
    const char *method = adapter->method->name, *field = espl_fields_refused(method, adapter->config, initial);
    return field ? espl_fail(adapter->model->ctx, ESPL_UNSUPPORTED, "%s: \"%s\" is not supported", method, field) : ESPL_OK;
}

/* PEFT selects layers only among the modules of a list. */
static espl_status check_layers(const espl_adapter *adapter) {
    espl_context *ctx = adapter->model->ctx;
    const char *method = adapter->method->name;
    const bool layers = !espl_field_is_off(json_object_get(adapter->config, "layers_to_transform"));
    const bool pattern = !espl_field_is_off(json_object_get(adapter->config, "layers_pattern"));
    const json_t *targets = json_object_get(adapter->config, "target_modules");
    if ((layers || pattern) && json_is_string(targets))
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: \"%s\" needs a list in \"target_modules\", which is the string \"%s\"", method,
                         layers ? "layers_to_transform" : "layers_pattern", json_string_value(targets));
    if (pattern && !layers)
        return espl_fail(ctx, ESPL_ARGUMENT, "%s: \"layers_pattern\" needs \"layers_to_transform\"", method);
    return ESPL_OK;
}

espl_status espl_fields_check(espl_adapter *adapter) {
    const char *field;
    json_t *value;
    void *next;
    json_object_foreach_safe(adapter->config, next, field, value) {
        if (is_known(adapter->method, field)) continue;
        espl_log(adapter->model->ctx, ESPL_LOG_WARNING, "%s: \"%s\" is no field of %s configurations and is ignored",
                 adapter->method->name, field, adapter->method->peft_type);
        json_object_del(adapter->config, field);
    }
    ESPL_TRY(refuse(adapter, false));
    return check_layers(adapter);
}

espl_status espl_fields_check_new(const espl_adapter *adapter) {
    return refuse(adapter, true);
}
