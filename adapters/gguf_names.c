/* How llama.cpp names what Hugging Face's families name, as data.
 * Source: ggml-org/llama.cpp gguf-py/gguf/tensor_mapping.py; which families permute: its convert_hf_to_gguf.py. */
#include "adapters/convert.h"
#include <stdlib.h>
#include <string.h>

static const char *const llama_modules[][2] = {
    {"self_attn.q_proj", "attn_q"}, {"self_attn.k_proj", "attn_k"}, {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"}, {"mlp.gate_proj", "ffn_gate"}, {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"}, {NULL, NULL}};
static const char *const gpt2_modules[][2] = {{"attn.c_attn", "attn_qkv"}, {"attn.c_proj", "attn_output"},
                                              {"mlp.c_fc", "ffn_up"}, {"mlp.c_proj", "ffn_down"}, {NULL, NULL}};
static const char *const others[][2] = {{"lm_head", "output"}, {NULL, NULL}};

static const espl_gguf_family families[] = {
    {"llama", "llama", true, false, "model.layers.", llama_modules, others},
    {"mistral", "llama", true, false, "model.layers.", llama_modules, others},
    {"qwen2", "qwen2", false, false, "model.layers.", llama_modules, others},
    {"qwen3", "qwen3", false, false, "model.layers.", llama_modules, others},
    {"gpt2", "gpt2", false, true, "transformer.h.", gpt2_modules, others},
};

const espl_gguf_family *espl_gguf_family_find(const char *model_type) {
    for (size_t i = 0; i < ESPL_COUNT(families); i++)
        if (strcmp(families[i].model_type, model_type) == 0) return &families[i];
    return NULL;
}

static const char *look_up(const char *const (*rows)[2], const char *name, bool back) {
    for (; (*rows)[0]; rows++)
        if (strcmp((*rows)[back], name) == 0) return (*rows)[!back];
    return NULL;
}

espl_status espl_gguf_name(espl_context *ctx, const espl_gguf_family *family, const char *name, bool back,
                           char **out_name) {
    static const char gguf_block[] = "blk.";
    const char *from = back ? gguf_block : family->block, *to = back ? family->block : gguf_block;
    const char *other = look_up(family->others, name, back);
    *out_name = NULL;
    if (other) return espl_copy_string(ctx, other, strlen(other), out_name);
    if (strncmp(name, from, strlen(from))) return ESPL_OK;
    const char *number = name + strlen(from);
    const size_t digits = strspn(number, "0123456789");
    if (digits == 0 || digits > 9 || number[digits] != '.') return ESPL_OK;
    const char *module = look_up(family->modules, number + digits + 1, back);
    return module ? espl_format(ctx, out_name, "%s%.*s.%s", to, (int)digits, number, module) : ESPL_OK;
}

uint32_t espl_gguf_permuted_heads(const espl_gguf_family *family, const espl_convert_base *base, const char *gguf_name) {
    const char *module = strrchr(gguf_name, '.');
    if (!family->permuted || !module) return 0;
    return strcmp(module, ".attn_q") == 0 ? base->heads : strcmp(module, ".attn_k") == 0 ? base->kv_heads : 0;
}
