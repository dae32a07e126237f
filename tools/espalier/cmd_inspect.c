/* espalier inspect: reads headers and configurations, never weights. Builds one JSON description and prints that, or a
 * table made from it, so both say the same. */
#include "host/file/json.h"
#include "host/file/tensors.h"
#include "tools/espalier/console.h"
#include "tools/espalier/program.h"
#include <stdio.h>
#include <string.h>

/* Keys of config.json and adapter_config.json worth a line in the table, in this order. */
static const char *const shown_keys[] = {
    "model_type",
    "hidden_size",
    "n_embd",
    "num_hidden_layers",
    "n_layer",
    "num_attention_heads",
    "n_head",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "n_positions",
    "rope_theta",
    "rope_scaling",
    "tie_word_embeddings",
    "peft_type",
    "base_model_name_or_path",
    "name",
    "model_name",
    "adapter_names",
    "adapter_setup",
    "config",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "bias",
    "target_modules",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
};

static json_t *shape_of(const espl_tensor_view *view) {
    json_t *shape = json_array();
    for (uint32_t i = 0; i < view->rank; i++)
        json_array_append_new(shape, json_integer(view->shape[i]));
    return shape;
}

static void add_count(json_t *object, const char *key, uint64_t more) {
    json_int_t old = json_integer_value(json_object_get(object, key));
    json_object_set_new(object, key, json_integer(old + (json_int_t)more));
}

/* A tensor of a dtype this library cannot read is listed all the same, with null for what is unknown. */
static espl_status describe_tensor(const espl_tensors *set, size_t index, json_t *root, json_t *list) {
    espl_tensor_view view = {0};
    espl_status status = espl_tensors_at(set, index, &view);
    if (status && status != ESPL_UNSUPPORTED && status != ESPL_LIMIT) return status;
    json_t *row = json_pack("{s:s}", "name", espl_tensors_name(set, index));
    json_object_set_new(row, "dtype", status ? json_null() : json_string(espl_dtype_name(view.dtype)));
    json_object_set_new(row, "shape", status ? json_null() : shape_of(&view));
    json_array_append_new(list, row);
    if (status) return ESPL_OK;
    uint64_t count = view.bytes / espl_dtype_bytes(view.dtype);
    add_count(root, "parameters", count);
    add_count(root, "bytes", view.bytes);
    add_count(json_object_get(root, "dtypes"), espl_dtype_name(view.dtype), count);
    return ESPL_OK;
}

static espl_status describe_tensors(espl_context *ctx, const char *path, json_t *root) {
    espl_tensors *set = NULL;
    ESPL_TRY(espl_tensors_open(ctx, path, &set));
    json_object_set_new(root, "parameters", json_integer(0));
    json_object_set_new(root, "bytes", json_integer(0));
    json_object_set_new(root, "dtypes", json_object());
    json_t *list = json_array();
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < espl_tensors_count(set) && !status; i++)
        status = describe_tensor(set, i, root, list);
    json_object_set_new(root, "tensors", list);
    espl_tensors_destroy(&set);
    return status;
}

static espl_status describe_config(espl_context *ctx, const char *path, json_t *root) {
    json_t *config = NULL;
    ESPL_TRY(espl_json_load(ctx, path, &config));
    if (!json_is_object(config)) {
        json_decref(config);
        return espl_fail(ctx, ESPL_FORMAT, "%s: is not a JSON object", path);
    }
    json_object_set_new(root, "config", config);
    return ESPL_OK;
}

static void describe_tokenizer(espl_context *ctx, const char *folder, json_t *root) {
    espl_tokenizer *tokenizer = NULL;
    espl_status status = espl_tokenizer_load(ctx, folder, &tokenizer);
    json_t *found = status ? json_pack("{s:s}", "problem", espl_context_message(ctx))
                           : json_pack("{s:I}", "tokens", (json_int_t)espl_tokenizer_size(tokenizer));
    json_object_set_new(root, "tokenizer", found);
    espl_tokenizer_destroy(&tokenizer);
}

/* What a folder can be, by the first file that is there. */
static const struct kind {
    const char *name, *file;
    bool config;           /* the file says what it is; else it is tensors */
    const char *tokenizer; /* behind the folder, where one may be; NULL: nowhere */
    bool bare;             /* tensors may be missing */
    const char *tensors[4];
} kinds[] = {
    {"adapter", "adapter_config.json", true, NULL, false,
     {"adapter_model.safetensors", "adapter_model.bin", "adapter.safetensors", "pytorch_adapter.bin"}},
    {"AdapterFusion", "adapter_fusion_config.json", true, NULL, false,
     {"model_adapter_fusion.safetensors", "pytorch_model_adapter_fusion.bin"}},
    {"composition", "adapter_setup.json", true, NULL, true, {NULL}},
    {"embeddings", "embedding.pt", false, "/tokenizer", false, {"embedding.pt"}},
    /* A folder with a configuration alone is what --init random takes. */
    {"model", "config.json", true, "", true,
     {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"}}};

/* *out: "folder/name"; NULL where it is not there. */
static espl_status find_file(espl_context *ctx, const char *folder, const char *name, char **out) {
    ESPL_TRY(espl_format(ctx, out, "%s/%s", folder, name));
    if (!espl_os_is_file(*out)) espl_free(ctx, out);
    return ESPL_OK;
}

static espl_status find_kind(espl_context *ctx, const char *folder, const struct kind **out_kind, char **out_path) {
    espl_bytes known = {0};
    espl_status status = ESPL_OK;
    *out_path = NULL;
    for (size_t i = 0; i < ESPL_COUNT(kinds); i++) {
        *out_kind = &kinds[i];
        ESPL_GOTO(find_file(ctx, folder, kinds[i].file, out_path));
        if (*out_path) goto fail;
        ESPL_GOTO(espl_bytes_print(ctx, &known, "%s%s", i ? ", " : "", kinds[i].file));
    }
    status = espl_fail(ctx, ESPL_FORMAT, "%s: has none of %s", folder, known.data);
fail:
    espl_bytes_finish(ctx, &known);
    return status;
}

static espl_status describe_tensors_of(espl_context *ctx, const char *folder, const struct kind *kind, json_t *root) {
    char *path = NULL;
    espl_bytes wanted = {0};
    espl_status status = ESPL_OK;
    for (size_t i = 0; i < ESPL_COUNT(kind->tensors) && kind->tensors[i] && !path; i++) {
        ESPL_GOTO(find_file(ctx, folder, kind->tensors[i], &path));
        ESPL_GOTO(espl_bytes_print(ctx, &wanted, "%s%s", i ? ", nor " : "", kind->tensors[i]));
    }
    if (path) status = describe_tensors(ctx, path, root);
    else if (!kind->bare) status = espl_fail(ctx, ESPL_FORMAT, "%s: has no %s", folder, wanted.data);
fail:
    espl_bytes_finish(ctx, &wanted);
    espl_free(ctx, &path);
    return status;
}

static espl_status describe_folder(espl_context *ctx, const char *folder, json_t *root) {
    const struct kind *kind;
    char *path = NULL, *tokenizer = NULL;
    espl_status status;
    ESPL_GOTO(find_kind(ctx, folder, &kind, &path));
    json_object_set_new(root, "kind", json_string(kind->name));
    if (kind->config) ESPL_GOTO(describe_config(ctx, path, root));
    if (kind->tokenizer) ESPL_GOTO(espl_format(ctx, &tokenizer, "%s%s", folder, kind->tokenizer));
    if (tokenizer && (kind->config || espl_os_is_folder(tokenizer))) describe_tokenizer(ctx, tokenizer, root);
    status = describe_tensors_of(ctx, folder, kind, root);
fail:
    espl_free(ctx, &tokenizer);
    espl_free(ctx, &path);
    return status;
}

static void print_value(const char *key, const json_t *value) {
    if (!value || json_is_null(value)) return;
    if (json_is_string(value)) {
        printf("%-26s%s\n", key, json_string_value(value));
        return;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    if (text) printf("%-26s%s\n", key, text);
    free(text);
}

static void print_tensors(const json_t *root) {
    char text[32];
    json_int_t parameters = json_integer_value(json_object_get(root, "parameters"));
    json_int_t bytes = json_integer_value(json_object_get(root, "bytes"));
    printf("%-26s%lld\n%-26s%s\n", "parameters", (long long)parameters, "size", text_bytes(text, (uint64_t)bytes));
    print_value("dtypes", json_object_get(root, "dtypes"));
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(root, "tensors"), index, row) {
        char *shape = json_dumps(json_object_get(row, "shape"), JSON_ENCODE_ANY);
        const char *dtype = json_string_value(json_object_get(row, "dtype"));
        printf("  %-5s %-20s %s\n", dtype ? dtype : "?", shape ? shape : "?",
               json_string_value(json_object_get(row, "name")));
        free(shape);
    }
}

static int print_table(json_t *root) {
    const json_t *config = json_object_get(root, "config"), *tokenizer = json_object_get(root, "tokenizer");
    print_value("path", json_object_get(root, "path"));
    print_value("kind", json_object_get(root, "kind"));
    for (size_t i = 0; i < ESPL_COUNT(shown_keys); i++)
        print_value(shown_keys[i], json_object_get(config, shown_keys[i]));
    const json_t *tokens = json_object_get(tokenizer, "tokens");
    print_value(tokens ? "tokenizer tokens" : "tokenizer", tokens ? tokens : json_object_get(tokenizer, "problem"));
    if (json_object_get(root, "tensors")) print_tensors(root);
    json_decref(root);
    return EXIT_DONE;
}

int cmd_inspect(program *program) {
    const option_list *operands = &program->options->operands;
    if (operands->count != 1) return fail_usage("inspect", "takes one PATH, not %zu", operands->count);
    const char *path = operands->items[0];
    json_t *root = json_pack("{s:s, s:s}", "path", path, "kind", "tensors");
    if (!root) return fail("%s: is not UTF-8", path);
    espl_status status = espl_os_is_folder(path) ? describe_folder(program->context, path, root)
                                                 : describe_tensors(program->context, path, root);
    if (status) {
        json_decref(root);
        return fail_status(program, status);
    }
    return program->options->json ? print_json(root) : print_table(root);
}
