/* From PEFT's terms to folders of the Adapters library. It has one rank and one scale, the same places in each layer that is
 * not left out, and outputs that are scaled: what PEFT says beyond that is refused by name. */
#include "adapters/convert.h"
#include "adapters/fields.h"
#include "adapters/folder.h"
#include "adapters/library.h"
#include "adapters/lora.h"
#include "adapters/targets.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char adapter_name[] = "default", peft_prefix[] = "base_model.model.";

typedef struct target {
    const espl_config *config; /* of the base */
    const json_t *peft;
    bool scales;         /* (IA)3, else LoRA */
    uint32_t *a, *b;     /* owned, config->layers: places in each layer as bits, by what there is of them */
    uint32_t rank;       /* of all; 0: none seen yet */
    double scale;
    espl_convert_head head;
    espl_loose_adapter files; /* what is to be written */
} target;

/* ---- Options ---- */

static espl_status check_options(espl_context *ctx, const json_t *config) {
    const char *bias, *changes = espl_lora_changes_base(config);
    if (json_is_true(json_object_get(config, "use_dora")))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "the Adapters library's \"use_dora\" computes otherwise: it scales biases, too, and the norm is "
                         "that of the change without alpha / r");
    ESPL_TRY(espl_json_string(ctx, config, "bias", "none", &bias));
    const char *key = strcmp(bias, "none") ? "bias" : espl_fields_refused("lora", config, false);
    if (!key && !espl_field_is_off(json_object_get(config, "feedforward_modules"))) key = "feedforward_modules";
    if (key) return espl_fail(ctx, ESPL_UNSUPPORTED, "the Adapters library has no place for \"%s\"", key);
    if (changes)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "this adapter has init_lora_weights \"%s\", which changed its base", changes);
    return ESPL_OK;
}

/* ---- Tensors ---- */

/* Layer and places (as bits) of a module; 0: the library adapts it not. */
static uint32_t places_of(const espl_config *c, const char *path, uint32_t *out_layer) {
    const size_t skip = strlen(c->family->prefix);
    if (strncmp(path, c->family->prefix, skip) == 0) path += skip;
    uint32_t places = 0;
    for (uint32_t layer = 0; layer < c->layers; layer++) {
        char block[64];
        snprintf(block, sizeof block, c->family->block, layer);
        const size_t bytes = strlen(block);
        if (strncmp(path, block, bytes) != 0) continue;
        *out_layer = layer;
        for (int place = 0; place < ESPL_LIBRARY_COUNT; place++)
            places |= (uint32_t)(strcmp(path + bytes, espl_library_module(c->family, (espl_library_place)place)) == 0) << place;
    }
    return places;
}

static espl_status check_scale(espl_context *ctx, target *t, const char *path, uint32_t rank) {
    double alpha, r;
    bool rslora;
    ESPL_TRY(espl_json_f64(ctx, t->peft, "lora_alpha", 8, &alpha));
    ESPL_TRY(espl_json_f64(ctx, t->peft, "r", 8, &r));
    ESPL_TRY(espl_json_bool(ctx, t->peft, "use_rslora", false, &rslora));
    ESPL_TRY(espl_target_pattern(ctx, t->peft, "rank_pattern", path, &r));
    ESPL_TRY(espl_target_pattern(ctx, t->peft, "alpha_pattern", path, &alpha));
    const double scale = rslora ? alpha / sqrt(r) : alpha / r;
    if (r != rank) return espl_fail(ctx, ESPL_FORMAT, "%s has rank %u, its configuration says %g", path, rank, r);
    if (t->rank && (t->rank != rank || t->scale != scale))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "%s has rank %u and scale %g, others %u and %g: the Adapters library has one of each",
                         path, rank, scale, t->rank, t->scale);
    t->rank = rank;
    t->scale = scale;
    return ESPL_OK;
}

/* A for q, for k and for v, which have all their own in the library. */
static espl_status add_thrice(espl_context *ctx, target *t, char *name, const espl_tensor_entry *a) {
    const size_t count = (size_t)a->shape[0] * a->shape[1];
    float *values;
    espl_status status = espl_new(ctx, 3 * count * sizeof *values, &values);
    if (status != ESPL_OK) {
        espl_free(ctx, &name);
        return status;
    }
    for (size_t i = 0; i < 3; i++) espl_convert(a->data, a->dtype, values + i * count, ESPL_DTYPE_F32, count);
    return espl_loose_own(ctx, &t->files, name, 3 * a->shape[0], a->shape[1], values);
}

static espl_status add_module(espl_context *ctx, target *t, const espl_tensor_entry *entry, const char *path, bool a) {
    const uint32_t rank = entry->shape[a ? 0 : 1];
    uint32_t layer = 0;
    const uint32_t places = places_of(t->config, path, &layer);
    char *name;
    if (!places) return espl_fail(ctx, ESPL_UNSUPPORTED, "the Adapters library adapts no %s", path);
    if (entry->rank != 2) return espl_fail(ctx, ESPL_FORMAT, "%s has %u dimensions, 2 were expected", entry->name, entry->rank);
    if (t->scales && rank != 1) return espl_fail(ctx, ESPL_UNSUPPORTED, "%s scales an input, the Adapters library outputs alone", path);
    if (!t->scales) ESPL_TRY(check_scale(ctx, t, path, rank));
    *(a ? &t->a[layer] : &t->b[layer]) |= places;
    ESPL_TRY(espl_format(ctx, &name, "%s.loras.%s.lora_%c", path, adapter_name, a ? 'A' : 'B'));
    if (a && espl_library_fused(t->config->family) && places & 1) return add_thrice(ctx, t, name, entry);
    espl_tensor_view view = {.name = entry->name, .dtype = entry->dtype, .rank = entry->rank, .data = entry->data};
    memcpy(view.shape, entry->shape, sizeof view.shape);
    return espl_loose_add(ctx, &t->files, name, &view, 0, false);
}

static espl_status add_tensor(espl_context *ctx, target *t, const espl_loose_adapter *adapter, const espl_tensor_entry *entry) {
    static const char *const suffixes[] = {".lora_A.weight", ".lora_B.weight", ".ia3_l"};
    const size_t skip = sizeof peft_prefix - 1, bytes = strlen(entry->name);
    if (espl_convert_head_has(&t->head, adapter, entry->name)) return ESPL_OK;
    for (size_t i = t->scales ? 2 : 0; i < (t->scales ? 3u : 2u); i++) {
        const size_t end = strlen(suffixes[i]);
        char *path;
        if (bytes <= skip + end || strncmp(entry->name, peft_prefix, skip) != 0 || strcmp(entry->name + bytes - end, suffixes[i]) != 0)
            continue;
        ESPL_TRY(espl_copy_string(ctx, entry->name + skip, bytes - skip - end, &path));
        espl_status status = add_module(ctx, t, entry, path, i == 0);
        espl_free(ctx, &path);
        return status;
    }
    return espl_fail(ctx, ESPL_UNSUPPORTED, "the Adapters library has no place for the tensor %s", entry->name);
}

/* ---- Configuration ---- */

/* The places, which are the same in all layers that have any; layers without are left out. */
static espl_status find_places(espl_context *ctx, const target *t, uint32_t *out_places, json_t *left_out) {
    *out_places = 0;
    for (uint32_t i = 0; i < t->config->layers; i++) {
        if (!t->scales && t->a[i] != t->b[i])
            return espl_fail(ctx, ESPL_FORMAT, "layer %u has not both lora_A and lora_B of each module", i);
        if (!t->b[i]) ESPL_TRY(espl_json_push(ctx, left_out, json_integer(i)));
        else if (*out_places && *out_places != t->b[i])
            return espl_fail(ctx, ESPL_UNSUPPORTED, "layer %u has not the modules of those before it: the Adapters library "
                             "adapts the same ones in each", i);
        else *out_places = t->b[i];
    }
    return *out_places ? ESPL_OK : espl_fail(ctx, ESPL_FORMAT, "no module is adapted");
}

static espl_status set_places(espl_context *ctx, const target *t, json_t *config) {
    static const char *const letters[] = {"q", "k", "v"};
    uint32_t places;
    json_t *matrices = json_array();
    ESPL_TRY(espl_json_set(ctx, config, "attn_matrices", matrices));
    json_t *left_out = json_array();
    ESPL_TRY(espl_json_set(ctx, config, "leave_out", left_out));
    ESPL_TRY(find_places(ctx, t, &places, left_out));
    for (int i = 0; i < 3; i++) {
        if (places & 1u << i) ESPL_TRY(espl_json_push(ctx, matrices, json_string(letters[i])));
    }
    ESPL_TRY(espl_json_set(ctx, config, "selfattn_lora", json_boolean((places & 7) != 0)));
    ESPL_TRY(espl_json_set(ctx, config, "intermediate_lora", json_boolean((places & 1u << ESPL_LIBRARY_INTERMEDIATE) != 0)));
    return espl_json_set(ctx, config, "output_lora", json_boolean((places & 1u << ESPL_LIBRARY_OUTPUT) != 0));
}

static espl_status make_config(espl_context *ctx, const target *t, json_t *config) {
    double dropout;
    ESPL_TRY(set_places(ctx, t, config));
    if (t->scales) return ESPL_OK;
    const double alpha = t->scale * t->rank;
    ESPL_TRY(espl_json_f64(ctx, t->peft, "lora_dropout", 0, &dropout));
    ESPL_TRY(espl_json_set(ctx, config, "r", json_integer(t->rank)));
    ESPL_TRY(espl_json_set(ctx, config, "alpha", alpha == floor(alpha) ? json_integer((json_int_t)alpha) : json_real(alpha)));
    return espl_json_set(ctx, config, "dropout", json_real(dropout));
}

/* ---- Folder ---- */

static espl_status write_files(espl_context *ctx, const espl_loose_adapter *files, const json_t *file, const espl_convert_head *head,
                               const espl_loose_adapter *adapter, const char *folder) {
    static const espl_tensors_metadata_pair format = {"format", "pt"};
    enum { WEIGHTS, HEAD, CONFIG = HEAD + ESPL_HEAD_FILES, FILES };
    espl_replace replaces[FILES] = {0};
    char *weights = NULL;
    espl_status status;
    ESPL_GOTO(espl_os_make_folder(ctx, folder));
    ESPL_GOTO(espl_json_replace(ctx, folder, "adapter_config.json", file, &replaces[CONFIG]));
    ESPL_GOTO(espl_format(ctx, &weights, "%s/adapter.safetensors", folder));
    ESPL_GOTO(espl_tensors_replace(ctx, weights, files->entries, files->count, &format, 1, &replaces[WEIGHTS]));
    ESPL_GOTO(espl_convert_head_write(head, adapter, folder, &replaces[HEAD]));
    ESPL_GOTO(espl_os_replace_commit_all(ctx, replaces, FILES));
    status = espl_library_remove_old(ctx, folder, espl_folder_library.pickled, head->model != NULL);
fail:
    espl_os_replace_finish_all(ctx, replaces, FILES);
    espl_free(ctx, &weights);
    return status;
}

static espl_status write_adapter(espl_context *ctx, target *t, const espl_loose_adapter *adapter, const espl_library_form *form,
                                 const json_t *base_json, const char *folder) {
    const char *base_name;
    json_t *config = json_object(), *file = NULL;
    espl_status status;
    ESPL_GOTO(espl_new(ctx, t->config->layers * sizeof *t->a, &t->a));
    ESPL_GOTO(espl_new(ctx, t->config->layers * sizeof *t->b, &t->b));
    for (size_t i = 0; i < adapter->count; i++) ESPL_GOTO(add_tensor(ctx, t, adapter, &adapter->entries[i]));
    ESPL_GOTO(make_config(ctx, t, config));
    ESPL_GOTO(espl_library_complete(ctx, form, config));
    ESPL_GOTO(espl_json_string(ctx, adapter->config, "base_model_name_or_path", "", &base_name));
    ESPL_GOTO(espl_library_file(ctx, config, t->config, base_json, base_name, adapter_name, &file));
    status = write_files(ctx, &t->files, file, &t->head, adapter, folder);
fail:
    espl_json_destroy(&file);
    espl_json_destroy(&config);
    espl_loose_finish(ctx, &t->files);
    espl_free(ctx, &t->a);
    espl_free(ctx, &t->b);
    return status;
}

static espl_status write_prefix(espl_context *ctx, const espl_loose_adapter *adapter, const espl_config *base, const json_t *base_json,
                                const espl_convert_head *head, const char *folder) {
    espl_loose_adapter files = {0};
    json_t *file = NULL;
    const char *base_name;
    espl_status status;
    ESPL_GOTO(espl_json_string(ctx, adapter->config, "base_model_name_or_path", "", &base_name));
    ESPL_GOTO(espl_prefix_to_library(ctx, base, adapter, adapter_name, head, &files));
    ESPL_GOTO(espl_library_file(ctx, files.config, base, base_json, base_name, adapter_name, &file));
    status = write_files(ctx, &files, file, head, adapter, folder);
fail:
    espl_json_destroy(&file);
    espl_loose_finish(ctx, &files);
    return status;
}

espl_status espl_library_adapter_write(espl_context *ctx, const espl_loose_adapter *adapter, const espl_convert_base *base,
                                       const char *path) {
    const char *type;
    espl_config config;
    ESPL_TRY(espl_json_string(ctx, adapter->config, "peft_type", "", &type));
    const espl_library_form *form = espl_library_find_type(type);
    const bool prefix = strcmp(type, "PREFIX_TUNING") == 0;
    if (!form && !prefix)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "an adapter of the peft_type \"%s\" has no form in the Adapters library%s", type,
                         espl_convert_differ(type));
    ESPL_TRY(check_options(ctx, adapter->config));
    ESPL_TRY(espl_config_read(ctx, base->config, &config));
    target t = {.config = &config, .peft = adapter->config, .scales = strcmp(type, "IA3") == 0};
    espl_status status = espl_convert_head_open(ctx, adapter, base, &config, adapter_name, &t.head);
    if (status == ESPL_OK)
        status = prefix ? write_prefix(ctx, adapter, &config, base->config, &t.head, path)
                        : write_adapter(ctx, &t, adapter, form, base->config, path);
    espl_convert_head_close(ctx, &t.head);
    return status;
}
