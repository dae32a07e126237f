/* Adapters from one format to another, see convert.h: the table of formats, PEFT's own, and what all share. */
#include "adapters/convert.h"
#include "host/file/safetensors.h"
#include <string.h>

/* ---- the adapter in between ---- */

void espl_loose_finish(espl_context *ctx, espl_loose_adapter *adapter) {
    for (size_t i = 0; i < adapter->count; i++) {
        char *name = (char *)(uintptr_t)adapter->entries[i].name;
        espl_free(ctx, &name);
        espl_free(ctx, &adapter->owned[i]);
    }
    espl_free(ctx, &adapter->entries);
    espl_free(ctx, &adapter->owned);
    espl_tensors_destroy(&adapter->source);
    espl_json_destroy(&adapter->config);
}

/* Rows of one head: first and second half of the rotated values here, pairs of them in llama.cpp. Row `to` of the result
 * is row `from`. */
static espl_status permute_rows(espl_context *ctx, const espl_tensor_view *view, uint32_t heads, bool back, void **out) {
    const uint32_t rows = view->shape[0];
    if (view->rank != 2 || rows % (2 * (uint64_t)heads))
        return espl_fail(ctx, ESPL_FORMAT, "%s has %u rows, the base has %u heads", view->name, (unsigned)rows,
                         (unsigned)heads);
    const uint32_t half = rows / heads / 2;
    const size_t row_bytes = view->bytes / (rows ? rows : 1);
    ESPL_TRY(espl_new(ctx, view->bytes, out));
    for (uint32_t row = 0; row < rows; row++) {
        const uint32_t head = row / (2 * half), in_head = row % (2 * half);
        const uint32_t other = head * 2 * half + in_head % half * 2 + in_head / half;
        memcpy((char *)*out + (back ? row : other) * row_bytes, view->data + (back ? other : row) * row_bytes, row_bytes);
    }
    return ESPL_OK;
}

static espl_status add_entry(espl_context *ctx, espl_loose_adapter *adapter, const espl_tensor_entry *entry, void *owned) {
    espl_status status = espl_grow(ctx, &adapter->entries, &adapter->capacity, adapter->count + 1, sizeof *adapter->entries);
    if (status == ESPL_OK)
        status = espl_grow(ctx, &adapter->owned, &adapter->owned_capacity, adapter->count + 1, sizeof *adapter->owned);
    if (status != ESPL_OK) {
        char *name = (char *)(uintptr_t)entry->name;
        espl_free(ctx, &name);
        espl_free(ctx, &owned);
        return status;
    }
    adapter->entries[adapter->count] = *entry;
    adapter->owned[adapter->count++] = owned;
    return ESPL_OK;
}

espl_status espl_loose_add(espl_context *ctx, espl_loose_adapter *adapter, char *name, const espl_tensor_view *view,
                           uint32_t heads, bool back) {
    void *owned = NULL;
    espl_status status = heads ? permute_rows(ctx, view, heads, back, &owned) : ESPL_OK;
    if (status != ESPL_OK) {
        espl_free(ctx, &name);
        return status;
    }
    espl_tensor_entry entry = {.name = name, .dtype = view->dtype, .rank = view->rank,
                               .data = owned ? owned : (const void *)view->data};
    memcpy(entry.shape, view->shape, sizeof entry.shape);
    return add_entry(ctx, adapter, &entry, owned);
}

espl_status espl_loose_own(espl_context *ctx, espl_loose_adapter *adapter, char *name, uint32_t rows, uint32_t cols,
                           float *values) {
    return add_entry(ctx, adapter, &(espl_tensor_entry){.name = name, .dtype = ESPL_DTYPE_F32, .rank = cols ? 2 : 1,
                                                        .shape = {rows, cols ? cols : 1, 1, 1, 1, 1, 1, 1}, .data = values}, values);
}

/* ---- PEFT ---- */

static espl_status read_peft(espl_context *ctx, const char *folder, const espl_convert_base *base,
                             espl_loose_adapter *out) {
    char *path;
    (void)base;
    ESPL_TRY(espl_format(ctx, &path, "%s/adapter_config.json", folder));
    espl_status status = espl_json_load(ctx, path, &out->config);
    espl_free(ctx, &path);
    if (status == ESPL_OK) status = espl_format(ctx, &path, "%s/adapter_model", folder);
    if (status == ESPL_OK) status = espl_tensors_open(ctx, path, &out->source);
    espl_free(ctx, &path);
    for (size_t i = 0; status == ESPL_OK && i < espl_tensors_count(out->source); i++) {
        espl_tensor_view view;
        char *name;
        ESPL_TRY(espl_tensors_at(out->source, i, &view));
        ESPL_TRY(espl_copy_string(ctx, view.name, strlen(view.name), &name));
        status = espl_loose_add(ctx, out, name, &view, 0, false);
    }
    return status;
}

static espl_status write_peft(espl_context *ctx, const espl_loose_adapter *adapter, const espl_convert_base *base,
                              const char *folder) {
    static const espl_tensors_metadata_pair format = {"format", "pt"};
    espl_replace config = {0};
    char *weights = NULL;
    espl_status status;
    (void)base;
    ESPL_GOTO(espl_os_make_folder(ctx, folder));
    ESPL_GOTO(espl_json_replace(ctx, folder, "adapter_config.json", adapter->config, &config));
    ESPL_GOTO(espl_format(ctx, &weights, "%s/adapter_model.safetensors", folder));
    ESPL_GOTO(espl_tensors_write(ctx, weights, adapter->entries, adapter->count, &format, 1));
    status = espl_os_replace_commit(ctx, &config);
fail:
    espl_os_replace_finish(ctx, &config);
    espl_free(ctx, &weights);
    return status;
}

/* ---- formats ---- */

static espl_status is_folder(espl_context *ctx, const char *path, bool *out_is) {
    (void)ctx;
    *out_is = espl_os_is_folder(path);
    return ESPL_OK;
}

static espl_status is_file(espl_context *ctx, const char *path, bool *out_is) {
    (void)ctx;
    *out_is = espl_os_is_file(path);
    return ESPL_OK;
}

static const struct {
    const char *name;
    espl_status (*is)(espl_context *ctx, const char *path, bool *out_is); /* the first that it is */
    espl_status (*read)(espl_context *ctx, const char *path, const espl_convert_base *base, espl_loose_adapter *out);
    espl_status (*write)(espl_context *ctx, const espl_loose_adapter *adapter, const espl_convert_base *base,
                         const char *path); /* NULL: it is read only */
} formats[] = {
    {"adapters", espl_library_adapter_is, espl_library_adapter_read, espl_library_adapter_write},
    {"peft", is_folder, read_peft, write_peft},
    {"npy", espl_npy_prompt_is, espl_npy_prompt_read, NULL},
    {"gguf", is_file, espl_gguf_adapter_read, espl_gguf_adapter_write},
};

static espl_status read_base(espl_context *ctx, const char *folder, espl_convert_base *out) {
    char *path;
    out->folder = folder;
    ESPL_TRY(espl_format(ctx, &path, "%s/config.json", folder));
    espl_status status = espl_json_load(ctx, path, &out->config);
    if (status == ESPL_OK) status = espl_json_need(ctx, out->config, "model_type");
    if (status == ESPL_OK) status = espl_json_string(ctx, out->config, "model_type", "", &out->model_type);
    const bool gpt2 = status == ESPL_OK && strcmp(out->model_type, "gpt2") == 0;
    if (status == ESPL_OK)
        status = espl_json_u32(ctx, out->config, gpt2 ? "n_head" : "num_attention_heads", gpt2 ? 12 : 32, &out->heads);
    if (status == ESPL_OK) status = espl_json_u32(ctx, out->config, "num_key_value_heads", out->heads, &out->kv_heads);
    if (status == ESPL_OK)
        status = espl_json_u32(ctx, out->config, gpt2 ? "n_layer" : "num_hidden_layers", gpt2 ? 12 : 32, &out->layers);
    if (status == ESPL_OK && (out->heads == 0 || out->kv_heads == 0))
        status = espl_fail(ctx, ESPL_FORMAT, "it has no attention heads");
    if (status != ESPL_OK) espl_fail_in(ctx, status, "%s", path);
    espl_free(ctx, &path);
    return status;
}

static espl_status find_format(espl_context *ctx, const char *path, size_t *out_format) {
    bool is = false;
    for (*out_format = 0; *out_format < ESPL_COUNT(formats); ++*out_format) {
        ESPL_TRY(formats[*out_format].is(ctx, path, &is));
        if (is) break;
    }
    return ESPL_OK;
}

espl_status espl_adapter_convert(espl_context *ctx, const espl_convert_params *params) {
    espl_convert_base base = {0};
    espl_loose_adapter adapter = {0};
    size_t from = 0, to = 0;
    espl_status status;
    while (to < ESPL_COUNT(formats) && strcmp(formats[to].name, params->to)) to++;
    if (to == ESPL_COUNT(formats) || !formats[to].write)
        return espl_fail(ctx, ESPL_ARGUMENT, "\"%s\" is not a format that adapters are written in (peft, adapters, gguf)", params->to);
    ESPL_TRY(find_format(ctx, params->adapter, &from));
    if (from == ESPL_COUNT(formats))
        return espl_fail(ctx, ESPL_IO, "%s: is neither a folder of PEFT or the Adapters library nor a GGUF or .npy file", params->adapter);
    ESPL_GOTO(read_base(ctx, params->model, &base));
    status = formats[from].read(ctx, params->adapter, &base, &adapter);
    if (status == ESPL_UNSUPPORTED && from == to)
        espl_fail(ctx, status, "%s: is in the format %s already; it has no form in PEFT, by way of which it would be written anew",
                  params->adapter, params->to);
    if (status == ESPL_OK) {
        status = espl_loose_check(ctx, &base, &adapter);
        if (status != ESPL_OK) espl_fail_in(ctx, status, "%s", params->adapter);
    }
    if (status == ESPL_OK) status = formats[to].write(ctx, &adapter, &base, params->out);
fail:
    espl_loose_finish(ctx, &adapter);
    espl_json_destroy(&base.config);
    return status;
}
