/* A soft prompt as google-research/prompt-tuning has it (Lester et al. 2021, arXiv 2104.08691): an array [tokens, hidden] of NumPy's,
 * which becomes a folder of PEFT's. */
#include "adapters/convert.h"
#include <string.h>

espl_status espl_npy_prompt_is(espl_context *ctx, const char *path, bool *out_is) {
    const size_t bytes = strlen(path);
    (void)ctx;
    *out_is = espl_os_is_file(path) && bytes > 4 && strcmp(path + bytes - 4, ".npy") == 0;
    return ESPL_OK;
}

/* A number of the base's by any of the names that families have for it. */
static espl_status base_number(espl_context *ctx, const espl_convert_base *base, const char *const *keys, uint32_t *out) {
    while (*keys && !json_object_get(base->config, *keys)) keys++;
    if (!*keys) return espl_fail(ctx, ESPL_FORMAT, "%s/config.json does not say its hidden size, blocks or heads", base->folder);
    return espl_json_u32(ctx, base->config, *keys, 0, out);
}

espl_status espl_npy_prompt_read(espl_context *ctx, const char *path, const espl_convert_base *base, espl_loose_adapter *out) {
    static const char *const hidden_keys[] = {"hidden_size", "d_model", "n_embd", NULL};
    static const char *const layer_keys[] = {"num_hidden_layers", "num_layers", "n_layer", NULL};
    static const char *const head_keys[] = {"num_attention_heads", "num_heads", "n_head", NULL};
    espl_tensor_view view;
    uint32_t hidden, layers, heads;
    char *name;
    ESPL_TRY(espl_tensors_open(ctx, path, &out->source));
    ESPL_TRY(espl_tensors_find(out->source, "array", &view));
    ESPL_TRY(base_number(ctx, base, hidden_keys, &hidden));
    ESPL_TRY(base_number(ctx, base, layer_keys, &layers));
    ESPL_TRY(base_number(ctx, base, head_keys, &heads));
    if (view.rank != 2 || view.shape[1] != hidden)
        return espl_fail(ctx, ESPL_FORMAT, "%s: a soft prompt is [tokens, %u] for this base, the array is [%u, %u] (%u dimensions)", path,
                         hidden, view.shape[0], view.shape[1], view.rank);
    out->config = json_pack("{s:s, s:s, s:b, s:i, s:i, s:i, s:i, s:i, s:s}", "peft_type", "PROMPT_TUNING", "base_model_name_or_path",
                            base->folder, "inference_mode", 1, "num_virtual_tokens", (int)view.shape[0], "token_dim", (int)hidden,
                            "num_layers", (int)layers, "num_attention_heads", (int)heads, "num_transformer_submodules", 1,
                            "prompt_tuning_init", "RANDOM");
    if (!out->config) return espl_fail(ctx, ESPL_HOST_MEMORY, "the configuration of an adapter needs memory");
    ESPL_TRY(espl_copy_string(ctx, "prompt_embeddings", strlen("prompt_embeddings"), &name));
    return espl_loose_add(ctx, out, name, &view, 0, false);
}
