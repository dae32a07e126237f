/* From folders of the Adapters library to PEFT's terms; names and configurations are in library.h. */
#include "adapters/convert.h"
#include "adapters/library.h"
#include <stdio.h>
#include <string.h>

espl_status espl_library_adapter_is(espl_context *ctx, const char *path, bool *out_is) {
    char *file;
    json_t *json = NULL;
    *out_is = false;
    ESPL_TRY(espl_format(ctx, &file, "%s/adapter_config.json", path));
    espl_status status = espl_os_is_file(file) ? espl_json_load(ctx, file, &json) : ESPL_OK;
    *out_is = !json_object_get(json, "peft_type") && json_object_get(json, "config");
    espl_json_destroy(&json);
    espl_free(ctx, &file);
    return status;
}

/* What is being read. */
typedef struct source {
    const espl_config *config; /* of the base */
    const json_t *library;     /* the library's configuration */
    const char *name;          /* the adapter's, in the names of tensors */
    bool scales;               /* (IA)3, else LoRA */
    uint32_t rank;             /* of (IA)3 1 */
    espl_loose_adapter *out;
} source;

/* "x.loras.<name>.lora_A": the length of x, and the part behind; false for another name. */
static bool split(const char *name, const char *adapter, size_t *out_bytes, const char **out_part) {
    static const char mark[] = ".loras.";
    const char *at = strstr(name, mark);
    const size_t bytes = strlen(adapter);
    if (!at || strncmp(at + sizeof mark - 1, adapter, bytes) != 0 || at[sizeof mark - 1 + bytes] != '.') return false;
    *out_bytes = (size_t)(at - name);
    *out_part = at + sizeof mark + bytes;
    return true;
}

static bool is_fused(const source *s, const char *path, size_t bytes) {
    const char *module = espl_library_module(s->config->family, ESPL_LIBRARY_Q);
    const size_t n = strlen(module);
    return espl_library_fused(s->config->family) && bytes > n && strncmp(path + bytes - n, module, n) == 0;
}

/* Rows of q, k and v where the library has only those that it adapts: each in its own columns of a LoRA of all their
 * ranks; factors of the others are 1. */
static espl_status add_fused(espl_context *ctx, const source *s, char *name, const espl_tensor_view *view) {
    const uint32_t parts = espl_library_fused_parts(s->library), rank = s->rank;
    const uint32_t rows = s->config->hidden, cols = s->scales ? 1 : parts * rank;
    float *from = NULL, *to = NULL;
    espl_status status = ESPL_OK;
    if (view->shape[0] != parts * rows) {
        status = espl_fail(ctx, ESPL_FORMAT, "%s has %u rows, %u parts of %u were expected", view->name, view->shape[0], parts, rows);
        goto fail;
    }
    ESPL_GOTO(espl_new(ctx, (size_t)parts * rows * rank * sizeof *from, &from));
    ESPL_GOTO(espl_new(ctx, (size_t)3 * rows * cols * sizeof *to, &to));
    espl_convert(view->data, view->dtype, from, ESPL_DTYPE_F32, (size_t)parts * rows * rank);
    for (size_t i = 0; s->scales && i < (size_t)3 * rows; i++) to[i] = 1;
    for (uint32_t part = 0, have = 0; part < 3; part++) {
        if (!espl_library_selects(s->library, s->config->family, ESPL_LINEAR_QKV, part)) continue;
        for (size_t r = 0; r < rows; r++)
            memcpy(to + (part * rows + r) * cols + (s->scales ? 0 : have * rank), from + (have * rows + r) * rank, rank * sizeof *to);
        have++;
    }
    espl_free(ctx, &from);
    return espl_loose_own(ctx, s->out, name, 3 * rows, cols, to);
fail:
    espl_free(ctx, &from);
    espl_free(ctx, &to);
    espl_free(ctx, &name);
    return status;
}

/* A map for q, k and v has a lora_A for each part that is adapted. */
static espl_status check_shape(espl_context *ctx, const source *s, const espl_tensor_view *view, bool b, bool fused) {
    const uint32_t rank = fused && !b ? espl_library_fused_parts(s->library) * s->rank : s->rank;
    if (view->rank != 2 || view->shape[b] != rank)
        return espl_fail(ctx, ESPL_FORMAT, "%s has %u dimensions and rank %u, 2 and %u were expected", view->name, view->rank,
                         view->shape[b], rank);
    return ESPL_OK;
}

static espl_status add_tensor(espl_context *ctx, const source *s, const espl_tensor_view *view) {
    const char *part, *prefix = s->config->family->prefix;
    size_t bytes;
    char *name;
    const bool known = split(view->name, s->name, &bytes, &part) &&
                       (strcmp(part, "lora_B") == 0 || (!s->scales && strcmp(part, "lora_A") == 0));
    if (!known)
        return espl_fail(ctx, ESPL_FORMAT, "the tensor %s is not one of the adapter \"%s\"'s %s", view->name, s->name,
                         s->scales ? "(IA)3" : "LoRA");
    const bool b = strcmp(part, "lora_B") == 0, fused = is_fused(s, view->name, bytes);
    ESPL_TRY(check_shape(ctx, s, view, b, fused));
    const bool whole = strncmp(view->name, prefix, strlen(prefix)) == 0;
    ESPL_TRY(espl_format(ctx, &name, "base_model.model.%s%.*s.%s%s", whole ? "" : prefix, (int)bytes, view->name,
                         s->scales ? "ia3_l" : part, s->scales ? "" : ".weight"));
    if (b && fused) return add_fused(ctx, s, name, view);
    return espl_loose_add(ctx, s->out, name, view, 0, false);
}

static espl_status open_tensors(espl_context *ctx, const char *path, espl_tensors **out_set) {
    char *file;
    ESPL_TRY(espl_format(ctx, &file, "%s/adapter.safetensors", path));
    if (!espl_os_is_file(file)) {
        espl_free(ctx, &file);
        ESPL_TRY(espl_format(ctx, &file, "%s/pytorch_adapter", path));
    }
    espl_status status = espl_tensors_open(ctx, file, out_set);
    espl_free(ctx, &file);
    return status;
}

static espl_status read_tensors(espl_context *ctx, const source *s) {
    espl_status status = ESPL_OK;
    for (size_t i = 0; status == ESPL_OK && i < espl_tensors_count(s->out->source); i++) {
        espl_tensor_view view;
        status = espl_tensors_at(s->out->source, i, &view);
        if (status == ESPL_OK) status = add_tensor(ctx, s, &view);
    }
    return status;
}

/* What PEFT wants to be told beside. */
static espl_status complete(espl_context *ctx, const espl_config *base, const json_t *file, json_t *config) {
    const char *model;
    ESPL_TRY(espl_json_string(ctx, file, "model_name", "", &model));
    ESPL_TRY(espl_json_set(ctx, config, "base_model_name_or_path", json_string(model)));
    ESPL_TRY(espl_json_set(ctx, config, "fan_in_fan_out", json_boolean(base->family->stored_in_out)));
    ESPL_TRY(espl_json_set(ctx, config, "task_type", json_null()));
    return espl_json_set(ctx, config, "inference_mode", json_true());
}

const char *espl_convert_differ(const char *type) {
    static const char prompt[] = ": PEFT's prompts stand before the embedding, with positions and a norm, the Adapters library's behind it";
    static const char vera[] = ": the Adapters library has whole matrices where PEFT's VeRA has vectors";
    static const char *const rows[][2] = {
        {"prompt_tuning", prompt}, {"PROMPT_TUNING", prompt}, {"P_TUNING", prompt}, {"VERA", vera},
        {"lora", " with use_gating, use_dora or vera_d: PEFT's LoRA has no gates, its DoRA and VeRA compute otherwise"}};
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) {
        if (strcmp(rows[i][0], type) == 0) return rows[i][1];
    }
    return "";
}

static espl_status read_adapter(espl_context *ctx, const char *path, const espl_config *base, json_t *file,
                               espl_loose_adapter *out) {
    const char *architecture, *name;
    ESPL_TRY(espl_library_renew(ctx, file));
    json_t *config = json_object_get(file, "config");
    const espl_library_form *form = espl_library_find(config);
    ESPL_TRY(espl_json_string(ctx, config, "architecture", "bottleneck", &architecture));
    ESPL_TRY(open_tensors(ctx, path, &out->source));
    if (strcmp(architecture, "prefix_tuning") == 0) return espl_prefix_from_library(ctx, base, file, out);
    if (!form)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "an adapter of the architecture \"%s\" has no form in PEFT%s", architecture,
                         espl_convert_differ(architecture));
    ESPL_TRY(espl_json_string(ctx, file, "name", "", &name));
    ESPL_TRY(espl_library_to_peft(ctx, form, base, file, &out->config));
    ESPL_TRY(complete(ctx, base, file, out->config));
    source s = {.config = base, .library = config, .name = name, .scales = strcmp(form->peft_type, "IA3") == 0, .out = out};
    ESPL_TRY(espl_json_u32(ctx, out->config, "r", 1, &s.rank));
    return read_tensors(ctx, &s);
}

espl_status espl_library_adapter_read(espl_context *ctx, const char *path, const espl_convert_base *base,
                                      espl_loose_adapter *out) {
    espl_config config;
    char *name;
    json_t *file = NULL;
    ESPL_TRY(espl_config_read(ctx, base->config, &config));
    ESPL_TRY(espl_format(ctx, &name, "%s/adapter_config.json", path));
    espl_status status = espl_json_load(ctx, name, &file);
    if (status == ESPL_OK) {
        status = read_adapter(ctx, path, &config, file, out);
        if (status == ESPL_OK) status = espl_convert_head_read(ctx, path, base, out);
        if (status != ESPL_OK) espl_fail_in(ctx, status, "%s", path);
    }
    espl_json_destroy(&file);
    espl_free(ctx, &name);
    return status;
}
