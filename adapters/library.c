#include "adapters/library.h"
#include "adapters/lora_library.h"
#include <stdio.h>
#include <string.h>

const char espl_library_version[] = "adapters.1.3.0";

/* ---- Modules ---- */

/* Llama and Mistral have the last two the wrong way round there; files are named after it. */
static uint32_t linear_of(const espl_family *family, int place) {
    const bool swapped = strcmp(family->model_type, "llama") == 0 || strcmp(family->model_type, "mistral") == 0;
    if (place <= ESPL_LIBRARY_V) return ESPL_LINEAR_QKV;
    return (place == ESPL_LIBRARY_OUTPUT) != swapped ? ESPL_LINEAR_DOWN : ESPL_LINEAR_UP;
}

const char *espl_library_module(const espl_family *family, espl_library_place place) {
    const uint32_t linear = linear_of(family, (int)place);
    if (linear == ESPL_LINEAR_QKV) return family->linear[linear][espl_library_fused(family) ? 0 : place].name;
    return family->linear[linear][linear == ESPL_LINEAR_UP && family->gated].name;
}

bool espl_library_fused(const espl_family *family) {
    return !family->linear[ESPL_LINEAR_QKV][1].name;
}

/* A name that ends another module's name, too, would select both: "output.dense". */
static bool ends_another(const espl_family *family, const char *name) {
    const size_t bytes = strlen(name);
    for (int l = 0; l < ESPL_LINEAR_COUNT; l++) {
        for (int p = 0; p < ESPL_LINEAR_PARTS && family->linear[l][p].name; p++) {
            const char *other = family->linear[l][p].name;
            const size_t n = strlen(other);
            if (n > bytes && other[n - bytes - 1] == '.' && strcmp(other + n - bytes, name) == 0) return true;
        }
    }
    return false;
}

static bool is_true(const json_t *config, const char *key) {
    return json_is_true(json_object_get(config, key));
}

static bool has_letter(const json_t *config, const char *letter) {
    const json_t *list = json_object_get(config, "attn_matrices");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *one = json_string_value(json_array_get(list, i));
        if (one && strcmp(one, letter) == 0) return true;
    }
    return false;
}

static bool has_place(const json_t *config, espl_library_place place) {
    static const char *const letters[] = {"q", "k", "v"};
    if (place <= ESPL_LIBRARY_V) return is_true(config, "selfattn_lora") && has_letter(config, letters[place]);
    return is_true(config, place == ESPL_LIBRARY_OUTPUT ? "output_lora" : "intermediate_lora");
}

bool espl_library_selects(const json_t *config, const espl_family *family, uint32_t linear, uint32_t part) {
    if (linear == ESPL_LINEAR_QKV) return has_place(config, (espl_library_place)part);
    if (linear == ESPL_LINEAR_UP && part != (uint32_t)family->gated) return false;
    for (int place = ESPL_LIBRARY_INTERMEDIATE; place < ESPL_LIBRARY_COUNT; place++) {
        if (linear_of(family, place) == linear) return has_place(config, (espl_library_place)place);
    }
    return false;
}

bool espl_library_left_out(const json_t *config, uint32_t block) {
    const json_t *list = json_object_get(config, "leave_out");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (json_integer_value(json_array_get(list, i)) == block) return true;
    }
    return false;
}

espl_status espl_library_check_left_out(espl_context *ctx, const json_t *config, uint32_t layers) {
    json_t *list;
    ESPL_TRY(espl_json_array(ctx, config, "leave_out", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *block = json_array_get(list, i);
        const json_int_t number = json_integer_value(block);
        if (!json_is_integer(block))
            return espl_fail(ctx, ESPL_FORMAT, "\"leave_out\" must hold integers");
        if (number < 0 || number >= layers)
            return espl_fail(ctx, ESPL_ARGUMENT, "\"leave_out\" has block %lld, and the model's blocks are 0 to %u",
                             (long long)number, layers - 1);
    }
    return ESPL_OK;
}

/* One name for all layers where that selects nothing else, else the path in each layer. */
static espl_status push_place(espl_context *ctx, const espl_config *base, const json_t *config, const char *module,
                             json_t *targets) {
    const espl_family *family = base->family;
    if (!json_array_size(json_object_get(config, "leave_out")) && !ends_another(family, module))
        return espl_json_push(ctx, targets, json_string(module));
    for (uint32_t layer = 0; layer < base->layers; layer++) {
        char block[64], path[192];
        if (espl_library_left_out(config, layer)) continue;
        snprintf(block, sizeof block, family->block, layer);
        snprintf(path, sizeof path, "%s%s%s", family->prefix, block, module);
        ESPL_TRY(espl_json_push(ctx, targets, json_string(path)));
    }
    return ESPL_OK;
}

static espl_status set_targets(espl_context *ctx, const espl_config *base, const json_t *config, json_t *peft) {
    json_t *targets = json_array();
    ESPL_TRY(espl_json_set(ctx, peft, "target_modules", targets));
    const char *last = NULL;
    for (int place = 0; place < ESPL_LIBRARY_COUNT; place++) {
        const char *module = espl_library_module(base->family, (espl_library_place)place);
        if (!has_place(config, (espl_library_place)place) || module == last) continue;
        ESPL_TRY(push_place(ctx, base, config, module, targets));
        last = module;
    }
    if (json_array_size(targets)) return ESPL_OK;
    return espl_fail(ctx, ESPL_ARGUMENT, "the configuration selects no module: \"selfattn_lora\", \"attn_matrices\", "
                     "\"intermediate_lora\", \"output_lora\" and \"leave_out\" leave none");
}

/* ---- LoRA and (IA)3: one architecture ---- */

static espl_status refuse(espl_context *ctx, const json_t *config, const char *const *keys, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_object_get(config, keys[i]);
        if (value && !json_is_null(value) && !json_is_false(value))
            return espl_fail(ctx, ESPL_UNSUPPORTED, "\"%s\" is not supported", keys[i]);
    }
    return ESPL_OK;
}

static espl_status check_lists(espl_context *ctx, const json_t *config, uint32_t layers) {
    json_t *list;
    ESPL_TRY(espl_json_array(ctx, config, "attn_matrices", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *one = json_string_value(json_array_get(list, i));
        if (!one || (strcmp(one, "q") != 0 && strcmp(one, "k") != 0 && strcmp(one, "v") != 0))
            return espl_fail(ctx, ESPL_FORMAT, "\"attn_matrices\" holds what is not one of q, k, v");
    }
    return espl_library_check_left_out(ctx, config, layers);
}

uint32_t espl_library_fused_parts(const json_t *config) {
    return (uint32_t)(has_letter(config, "q") + has_letter(config, "k") + has_letter(config, "v"));
}

/* Parts of one map for q, k and v have ranks of their own: together they are one LoRA of all of them. */
static espl_status set_fused(espl_context *ctx, const espl_config *base, const json_t *config, json_t *peft) {
    const double parts = espl_library_fused_parts(config);
    const char *module = espl_library_module(base->family, ESPL_LIBRARY_Q);
    if (!espl_library_fused(base->family) || !is_true(config, "selfattn_lora") || parts < 2) return ESPL_OK;
    const double r = json_number_value(json_object_get(config, "r")), alpha = json_number_value(json_object_get(config, "alpha"));
    ESPL_TRY(espl_json_set(ctx, peft, "rank_pattern", json_pack("{s:i}", module, (int)(parts * r))));
    return espl_json_set(ctx, peft, "alpha_pattern", json_pack("{s:f}", module, parts * alpha));
}

static bool scales(const json_t *config) {
    const char *mode = json_string_value(json_object_get(config, "composition_mode"));
    return mode && strcmp(mode, "scale") == 0;
}

static espl_status lora_to_peft(espl_context *ctx, const espl_config *base, const json_t *config, json_t *peft) {
    const char *mode, *init;
    uint32_t r;
    double alpha, dropout;
    ESPL_TRY(check_lists(ctx, config, base->layers));
    ESPL_TRY(espl_json_string(ctx, config, "composition_mode", "add", &mode));
    if (strcmp(mode, "add") != 0)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "composition_mode \"%s\" is not one of add, scale", mode);
    ESPL_TRY(espl_json_string(ctx, config, "init_weights", "lora", &init));
    ESPL_TRY(espl_json_u32(ctx, config, "r", 8, &r));
    ESPL_TRY(espl_json_f64(ctx, config, "alpha", 8, &alpha));
    ESPL_TRY(espl_json_f64(ctx, config, "dropout", 0, &dropout));
    ESPL_TRY(set_targets(ctx, base, config, peft));
    ESPL_TRY(set_fused(ctx, base, config, peft));
    ESPL_TRY(espl_json_set(ctx, peft, "r", json_integer(r)));
    ESPL_TRY(espl_json_set(ctx, peft, "lora_alpha", json_incref(json_object_get(config, "alpha"))));
    ESPL_TRY(espl_json_set(ctx, peft, "lora_dropout", json_incref(json_object_get(config, "dropout"))));
    return espl_json_set(ctx, peft, "init_lora_weights", json_boolean(strcmp(init, "lora") == 0));
}

/* The output of each map is scaled, its bias too, also where PEFT's own default scales an input. */
static espl_status ia3_to_peft(espl_context *ctx, const espl_config *base, const json_t *config, json_t *peft) {
    static const char *const refused[] = {"use_gating", "use_dora"};
    const char *init;
    double r, alpha, dropout;
    ESPL_TRY(refuse(ctx, config, refused, ESPL_COUNT(refused)));
    ESPL_TRY(check_lists(ctx, config, base->layers));
    ESPL_TRY(espl_json_f64(ctx, config, "r", 1, &r));
    ESPL_TRY(espl_json_f64(ctx, config, "alpha", 1, &alpha));
    ESPL_TRY(espl_json_f64(ctx, config, "dropout", 0, &dropout));
    if (r != 1 || alpha != 1 || dropout != 0)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "composition_mode \"scale\" with r %g, alpha %g, dropout %g: (IA)3 has 1, 1, 0",
                         r, alpha, dropout);
    ESPL_TRY(espl_json_string(ctx, config, "init_weights", "ia3", &init));
    ESPL_TRY(set_targets(ctx, base, config, peft));
    ESPL_TRY(espl_json_set(ctx, peft, "feedforward_modules", json_array()));
    return espl_json_set(ctx, peft, "init_ia3_weights", json_boolean(strcmp(init, "ia3") == 0));
}

#define LORA_KEYS(r, alpha, matrices, intermediate, mode, init)                                                           \
    {"alpha", alpha}, {"architecture", "\"lora\""}, {"attn_matrices", matrices}, {"composition_mode", mode},             \
        {"dropout", "0.0"}, {"dtype", "null"}, {"init_weights", init}, {"init_weights_seed", "null"},                     \
        {"intermediate_lora", intermediate}, {"leave_out", "[]"}, {"output_lora", "false"}, {"r", r},                     \
        {"selfattn_lora", "true"}, {"use_dora", "false"}, {"use_gating", "false"}, {"vera_b", "null"}, {"vera_d", "null"},  \
        {NULL, NULL}
static const espl_library_key lora_keys[] = {LORA_KEYS("8", "8", "[\"q\", \"v\"]", "false", "\"add\"", "\"lora\"")};
static const espl_library_key ia3_keys[] = {LORA_KEYS("1", "1", "[\"k\", \"v\"]", "true", "\"scale\"", "\"ia3\"")};

static const espl_library_form forms[] = {
    {"lora", "IA3", scales, ia3_keys, ia3_to_peft},
    {"lora", "LORA", espl_library_lora_is_plain, lora_keys, lora_to_peft},
};

const espl_library_form *espl_library_find(const json_t *config) {
    const char *architecture = json_string_value(json_object_get(config, "architecture"));
    for (size_t i = 0; architecture && i < ESPL_COUNT(forms); i++) {
        if (strcmp(forms[i].architecture, architecture) == 0 && (!forms[i].recognise || forms[i].recognise(config)))
            return &forms[i];
    }
    return NULL;
}

const espl_library_form *espl_library_find_type(const char *peft_type) {
    for (size_t i = 0; i < ESPL_COUNT(forms); i++) {
        if (strcmp(forms[i].peft_type, peft_type) == 0) return &forms[i];
    }
    return NULL;
}

/* ---- Files ---- */

static espl_status check_keys(espl_context *ctx, const espl_library_form *form, json_t *config) {
    const char *key;
    json_t *value;
    json_object_foreach(config, key, value) {
        size_t i = 0;
        while (form->keys[i].key && strcmp(form->keys[i].key, key) != 0) i++;
        if (!form->keys[i].key)
            return espl_fail(ctx, ESPL_UNSUPPORTED, "\"%s\" is not a key of the Adapters library's %s that is known here", key,
                             form->architecture);
    }
    return ESPL_OK;
}

espl_status espl_library_complete(espl_context *ctx, const espl_library_form *form, json_t *config) {
    for (size_t i = 0; form->keys[i].key; i++) {
        json_t *value;
        if (json_object_get(config, form->keys[i].key)) continue;
        ESPL_TRY(espl_json_parse(ctx, form->keys[i].value, strlen(form->keys[i].value), form->keys[i].key, &value));
        ESPL_TRY(espl_json_set(ctx, config, form->keys[i].key, value));
    }
    return ESPL_OK;
}

espl_status espl_library_file(espl_context *ctx, json_t *config, const espl_config *base, const json_t *base_json,
                              const char *base_name, const char *name, json_t **out_file) {
    const json_t *classes = json_object_get(base_json, "architectures");
    *out_file = json_pack("{s:O, s:i, s:s?, s:s, s:s, s:s, s:s}", "config", config, "hidden_size", (int)base->hidden, "model_class",
                          json_string_value(json_array_get(classes, 0)), "model_name", base_name, "model_type",
                          base->family->model_type, "name", name, "version", espl_library_version);
    return *out_file ? ESPL_OK : espl_fail(ctx, ESPL_HOST_MEMORY, "the configuration of an adapter needs memory");
}

espl_status espl_library_to_peft(espl_context *ctx, const espl_library_form *form, const espl_config *base,
                                 const json_t *file, json_t **out_peft) {
    json_t *config = json_object_get(file, "config"), *peft = json_object();
    espl_status status = peft ? ESPL_OK : espl_fail(ctx, ESPL_HOST_MEMORY, "the configuration of an adapter needs memory");
    if (status == ESPL_OK) status = check_keys(ctx, form, config);
    if (status == ESPL_OK) status = espl_library_complete(ctx, form, config);
    if (status == ESPL_OK) status = espl_json_set(ctx, peft, "peft_type", json_string(form->peft_type));
    if (status == ESPL_OK) status = form->to_peft(ctx, base, config, peft);
    if (status != ESPL_OK) espl_json_destroy(&peft);
    *out_peft = peft;
    return status;
}
