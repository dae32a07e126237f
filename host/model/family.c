/* The families as data: where config.json and the weight files keep what. */
#include "host/model/family.h"

#define LLAMA_KEYS                                                                                                   \
    .key_hidden = "hidden_size", .key_layers = "num_hidden_layers", .key_heads = "num_attention_heads",             \
    .key_intermediate = "intermediate_size", .key_context = "max_position_embeddings", .key_norm_eps = "rms_norm_eps", \
    .key_activation = "hidden_act"

#define LLAMA_NAMES(qkv_bias, o_bias, mlp_bias)                                                                      \
    .prefix = "model.", .embed = "embed_tokens", .final_norm = "norm", .block = "layers.%u.",                       \
    .attention_norm = "input_layernorm", .mlp_norm = "post_attention_layernorm",                                    \
    .linear = {[ESPL_LINEAR_QKV] = {{"self_attn.q_proj", qkv_bias}, {"self_attn.k_proj", qkv_bias},                 \
                                    {"self_attn.v_proj", qkv_bias}},                                                 \
               [ESPL_LINEAR_O] = {{"self_attn.o_proj", o_bias}},                                                     \
               [ESPL_LINEAR_UP] = {{"mlp.gate_proj", mlp_bias}, {"mlp.up_proj", mlp_bias}},                         \
               [ESPL_LINEAR_DOWN] = {{"mlp.down_proj", mlp_bias}}},                                                  \
    .norm = ESPL_NORM_RMS, .rotary = true, .gated = true

const espl_family espl_families[] = {
    /* Llama, TinyLlama, SmolLM, SmolLM2, Yi and others that keep its type. */
    {.model_type = "llama", LLAMA_KEYS, LLAMA_NAMES(ESPL_BIAS_ATTENTION, ESPL_BIAS_ATTENTION, ESPL_BIAS_MLP)},
    {.model_type = "mistral", LLAMA_KEYS, LLAMA_NAMES(ESPL_BIAS_NEVER, ESPL_BIAS_NEVER, ESPL_BIAS_NEVER)},
    {.model_type = "qwen2", LLAMA_KEYS, LLAMA_NAMES(ESPL_BIAS_ALWAYS, ESPL_BIAS_NEVER, ESPL_BIAS_NEVER)},
    {.model_type = "qwen3", LLAMA_KEYS, .q_norm = "self_attn.q_norm", .k_norm = "self_attn.k_norm",
     LLAMA_NAMES(ESPL_BIAS_ATTENTION, ESPL_BIAS_ATTENTION, ESPL_BIAS_NEVER)},
    {.model_type = "gpt2",
     .key_hidden = "n_embd", .key_layers = "n_layer", .key_heads = "n_head", .key_intermediate = "n_inner",
     .key_context = "n_positions", .key_norm_eps = "layer_norm_epsilon", .key_activation = "activation_function",
     .prefix = "transformer.", .embed = "wte", .position = "wpe", .final_norm = "ln_f",
     .block = "h.%u.", .attention_norm = "ln_1", .mlp_norm = "ln_2",
     .linear = {[ESPL_LINEAR_QKV] = {{"attn.c_attn", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_O] = {{"attn.c_proj", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_UP] = {{"mlp.c_fc", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_DOWN] = {{"mlp.c_proj", ESPL_BIAS_ALWAYS}}},
     .norm = ESPL_NORM_LAYER, .stored_in_out = true, .tied_by_default = true},
};
const size_t espl_family_count = ESPL_COUNT(espl_families);
