/* GGUF files with a LoRA, as llama.cpp reads them: alpha in the metadata, one for all, divided by each matrix's own rank;
 * tensors "blk.3.attn_q.weight.lora_a" [rank, in] and "...lora_b" [out, rank].
 * Source: ggml-org/llama.cpp convert_lora_to_gguf.py and src/llama-adapter.cpp. */
#include "adapters/convert.h"
#include "adapters/fields.h"
#include "adapters/lora.h"
#include "host/file/gguf.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char peft_prefix[] = "base_model.model.";
static const char *const peft_suffixes[] = {".lora_A.weight", ".lora_B.weight"};
static const char *const gguf_suffixes[] = {".weight.lora_a", ".weight.lora_b"};

/* Which of two suffixes name ends in, and the length of what is before; false for neither. */
static bool split(const char *name, const char *const suffixes[2], size_t *out_bytes, size_t *out_which) {
    for (*out_which = 0; *out_which < 2; ++*out_which) {
        const size_t bytes = strlen(name), suffix = strlen(suffixes[*out_which]);
        if (bytes <= suffix || strcmp(name + bytes - suffix, suffixes[*out_which])) continue;
        *out_bytes = bytes - suffix;
        return true;
    }
    return false;
}

static espl_status find_family(espl_context *ctx, const espl_convert_base *base, const espl_gguf_family **out) {
    *out = espl_gguf_family_find(base->model_type);
    if (*out) return ESPL_OK;
    return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: adapters of the model_type \"%s\" are not converted to or from GGUF",
                     base->folder, base->model_type);
}

/* *out_name: of the tensor in GGUF, with its suffix; *out_heads as espl_gguf_permuted_heads for lora_b. */
static espl_status name_to_gguf(espl_context *ctx, const espl_gguf_family *family, const espl_convert_base *base,
                                const char *name, char **out_name, uint32_t *out_heads) {
    size_t bytes = 0, which = 0;
    char *module = NULL, *gguf = NULL;
    const size_t skip = strncmp(name, peft_prefix, strlen(peft_prefix)) == 0 ? strlen(peft_prefix) : 0;
    *out_name = NULL;
    *out_heads = 0;
    if (!skip || !split(name, peft_suffixes, &bytes, &which) || bytes < skip)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "the tensor \"%s\" is not of a LoRA matrix, GGUF has no place for it", name);
    ESPL_TRY(espl_copy_string(ctx, name + skip, bytes - skip, &module));
    espl_status status = espl_gguf_name(ctx, family, module, false, &gguf);
    if (status == ESPL_OK && !gguf)
        status = espl_fail(ctx, ESPL_UNSUPPORTED, "the module \"%s\" of a %s has no name in GGUF", module, base->model_type);
    if (status == ESPL_OK) status = espl_format(ctx, out_name, "%s%s", gguf, gguf_suffixes[which]);
    if (status == ESPL_OK && which == 1) *out_heads = espl_gguf_permuted_heads(family, base, gguf);
    espl_free(ctx, &module);
    espl_free(ctx, &gguf);
    return status;
}

/* ---- writing ---- */

/* What GGUF cannot say, and alpha as it says it. */
static espl_status check_config(espl_context *ctx, const json_t *config, float *out_alpha) {
    static const char *const unsaid[] = {"alpha_pattern", "modules_to_save"};
    const char *type, *bias;
    bool rslora;
    double alpha = 0;
    uint32_t rank;
    ESPL_TRY(espl_json_string(ctx, config, "peft_type", "", &type));
    if (strcmp(type, "LORA")) return espl_fail(ctx, ESPL_UNSUPPORTED, "GGUF has LoRA adapters, this one is \"%s\"", type);
    ESPL_TRY(espl_json_string(ctx, config, "bias", "none", &bias));
    ESPL_TRY(espl_json_bool(ctx, config, "use_rslora", false, &rslora));
    ESPL_TRY(espl_json_f64(ctx, config, "lora_alpha", 8, &alpha));
    ESPL_TRY(espl_json_u32(ctx, config, "r", 8, &rank));
    if (strcmp(bias, "none"))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "GGUF has no place for the \"bias\": \"%s\" of this adapter", bias);
    const char *key = espl_fields_refused("lora", config, false), *changes = espl_lora_changes_base(config);
    for (size_t i = 0; !key && i < ESPL_COUNT(unsaid); i++) key = espl_field_is_off(json_object_get(config, unsaid[i])) ? NULL : unsaid[i];
    if (key) return espl_fail(ctx, ESPL_UNSUPPORTED, "GGUF has no place for the \"%s\" of this adapter", key);
    if (changes)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "this adapter has init_lora_weights \"%s\", which changed its base", changes);
    if (rslora && json_object_size(json_object_get(config, "rank_pattern")))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "GGUF divides alpha by the rank: it cannot say rsLoRA with several ranks");
    *out_alpha = (float)(rslora ? alpha * sqrt((double)rank) : alpha);
    if (*out_alpha == 0)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "this adapter has a lora_alpha of 0, which GGUF takes for none");
    return ESPL_OK;
}

espl_status espl_gguf_adapter_write(espl_context *ctx, const espl_loose_adapter *adapter, const espl_convert_base *base,
                                    const char *path) {
    const espl_gguf_family *family;
    espl_loose_adapter named = {0}; /* the same tensors by their names in GGUF */
    float alpha = 0;
    espl_status status;
    ESPL_TRY(find_family(ctx, base, &family));
    ESPL_TRY(check_config(ctx, adapter->config, &alpha));
    for (size_t i = 0; i < adapter->count; i++) {
        const espl_tensor_entry *entry = &adapter->entries[i];
        espl_tensor_view view = {.name = entry->name, .dtype = entry->dtype, .rank = entry->rank, .data = entry->data,
                                 .bytes = espl_dtype_bytes(entry->dtype)};
        char *name;
        uint32_t heads;
        memcpy(view.shape, entry->shape, sizeof view.shape);
        for (uint32_t d = 0; d < view.rank; d++) view.bytes *= view.shape[d];
        ESPL_GOTO(name_to_gguf(ctx, family, base, entry->name, &name, &heads));
        ESPL_GOTO(espl_loose_add(ctx, &named, name, &view, heads, false));
    }
    const espl_gguf_pair pairs[] = {{"general.architecture", family->architecture, 0},
                                    {"general.type", "adapter", 0},
                                    {"adapter.type", "lora", 0},
                                    {"adapter.lora.alpha", NULL, alpha}};
    status = espl_gguf_write(ctx, path, named.entries, named.count, pairs, ESPL_COUNT(pairs));
fail:
    espl_loose_finish(ctx, &named);
    return status;
}

/* ---- reading ---- */

static espl_status check_metadata(espl_context *ctx, const espl_tensors *set, const espl_gguf_family *family,
                                  double *out_alpha) {
    const char *const wanted[][2] = {{"general.type", "adapter"}, {"adapter.type", "lora"},
                                     {"general.architecture", family->architecture}};
    for (size_t i = 0; i < ESPL_COUNT(wanted); i++) {
        const char *value = espl_tensors_metadata(set, wanted[i][0]);
        if (!value || strcmp(value, wanted[i][1]))
            return espl_fail(ctx, ESPL_FORMAT, "\"%s\" is \"%s\", not \"%s\"", wanted[i][0], value ? value : "(missing)",
                             wanted[i][1]);
    }
    const char *alpha = espl_tensors_metadata(set, "adapter.lora.alpha");
    *out_alpha = alpha ? strtod(alpha, NULL) : 0;
    if (isfinite(*out_alpha) && *out_alpha != 0) return ESPL_OK;
    return espl_fail(ctx, ESPL_FORMAT, "\"adapter.lora.alpha\" is %s", alpha ? alpha : "missing");
}

/* Adds one tensor by its name here, and for a lora_a the module and its rank to `ranks`. */
static espl_status add_tensor(espl_context *ctx, const espl_gguf_family *family, const espl_convert_base *base,
                              const espl_tensor_view *view, espl_loose_adapter *out, json_t *ranks) {
    size_t bytes = 0, which = 0;
    char *gguf = NULL, *module = NULL, *name = NULL;
    espl_status status;
    if (!split(view->name, gguf_suffixes, &bytes, &which) || view->rank != 2)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "the tensor \"%s\" is not of a LoRA matrix", view->name);
    ESPL_GOTO(espl_copy_string(ctx, view->name, bytes, &gguf));
    ESPL_GOTO(espl_gguf_name(ctx, family, gguf, true, &module));
    if (!module) {
        status = espl_fail(ctx, ESPL_UNSUPPORTED, "\"%s\" is no module of a %s that is known", gguf, base->model_type);
        goto fail;
    }
    if (which == 0) ESPL_GOTO(espl_json_set(ctx, ranks, module, json_integer(view->shape[0])));
    ESPL_GOTO(espl_format(ctx, &name, "%s%s%s", peft_prefix, module, peft_suffixes[which]));
    const uint32_t heads = which == 1 ? espl_gguf_permuted_heads(family, base, gguf) : 0;
    status = espl_loose_add(ctx, out, name, view, heads, true);
fail:
    espl_free(ctx, &gguf);
    espl_free(ctx, &module);
    return status;
}

/* Names of modules where each is in every layer ("q_proj"), else whole paths. */
static espl_status list_targets(espl_context *ctx, const espl_gguf_family *family, const espl_convert_base *base,
                                json_t *ranks, json_t *targets) {
    json_t *counts = json_object(), *value;
    const char *path, *name;
    espl_status status = ESPL_OK;
    bool whole = false;
    json_object_foreach(ranks, path, value) {
        const size_t skip = strlen(family->block);
        name = path;
        if (strncmp(path, family->block, skip) == 0) name = strchr(path + skip, '.') + 1;
        const json_int_t count = json_integer_value(json_object_get(counts, name)) + 1;
        ESPL_GOTO(espl_json_set(ctx, counts, name, json_integer(name == path ? (json_int_t)base->layers : count)));
    }
    json_object_foreach(counts, name, value) whole = whole || json_integer_value(value) != (json_int_t)base->layers;
    json_object_foreach(whole ? ranks : counts, name, value) ESPL_GOTO(espl_json_push(ctx, targets, json_string(name)));
fail:
    json_decref(counts);
    return status;
}

static espl_status make_config(espl_context *ctx, const espl_gguf_family *family, const espl_convert_base *base,
                               double alpha, json_t *ranks, json_t *config) {
    json_t *targets = json_array(), *pattern = json_object(), *value;
    const char *module;
    const json_int_t rank = json_integer_value(json_object_iter_value(json_object_iter(ranks)));
    espl_status status;
    ESPL_GOTO(list_targets(ctx, family, base, ranks, targets));
    json_object_foreach(ranks, module, value) {
        if (json_integer_value(value) != rank)
            ESPL_GOTO(espl_json_set(ctx, pattern, module, json_integer(json_integer_value(value))));
    }
    const bool whole = alpha == floor(alpha) && fabs(alpha) < 1e15;
    ESPL_GOTO(espl_json_set(ctx, config, "peft_type", json_string("LORA")));
    ESPL_GOTO(espl_json_set(ctx, config, "task_type", json_string("CAUSAL_LM")));
    ESPL_GOTO(espl_json_set(ctx, config, "base_model_name_or_path", json_string(base->folder)));
    ESPL_GOTO(espl_json_set(ctx, config, "r", json_integer(rank)));
    ESPL_GOTO(espl_json_set(ctx, config, "lora_alpha", whole ? json_integer((json_int_t)alpha) : json_real(alpha)));
    ESPL_GOTO(espl_json_set(ctx, config, "lora_dropout", json_real(0)));
    ESPL_GOTO(espl_json_set(ctx, config, "bias", json_string("none")));
    ESPL_GOTO(espl_json_set(ctx, config, "fan_in_fan_out", json_boolean(family->fan_in_fan_out)));
    ESPL_GOTO(espl_json_set(ctx, config, "inference_mode", json_true()));
    ESPL_GOTO(espl_json_set(ctx, config, "target_modules", json_incref(targets)));
    status = espl_json_set(ctx, config, "rank_pattern", json_incref(pattern));
fail:
    json_decref(targets);
    json_decref(pattern);
    return status;
}

static espl_status read_tensors(espl_context *ctx, const espl_convert_base *base, espl_loose_adapter *out,
                                json_t *ranks) {
    const espl_gguf_family *family;
    double alpha = 0;
    ESPL_TRY(find_family(ctx, base, &family));
    ESPL_TRY(check_metadata(ctx, out->source, family, &alpha));
    for (size_t i = 0; i < espl_tensors_count(out->source); i++) {
        espl_tensor_view view;
        ESPL_TRY(espl_tensors_at(out->source, i, &view));
        ESPL_TRY(add_tensor(ctx, family, base, &view, out, ranks));
    }
    if (out->count == 0 || out->count != 2 * json_object_size(ranks))
        return espl_fail(ctx, ESPL_FORMAT, "has %zu tensors, which are not pairs of lora_a and lora_b", out->count);
    return make_config(ctx, family, base, alpha, ranks, out->config);
}

espl_status espl_gguf_adapter_read(espl_context *ctx, const char *path, const espl_convert_base *base,
                                   espl_loose_adapter *out) {
    ESPL_TRY(espl_tensors_open(ctx, path, &out->source));
    json_t *ranks = json_object();
    out->config = json_object();
    espl_status status = ranks && out->config ? ESPL_OK : espl_fail(ctx, ESPL_HOST_MEMORY, "no host memory for JSON");
    if (status == ESPL_OK) status = read_tensors(ctx, base, out, ranks);
    if (status != ESPL_OK) espl_fail_in(ctx, status, "%s", path);
    json_decref(ranks);
    return status;
}
