#include "adapters/phm.h"
#include "adapters/initial.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_phm.h"
#include <math.h>
#include <string.h>

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

/* phm_init is ours: W begins as in the paper's code, or as in the library, whose hypercomplex_nonlinearity changes nothing. */
const espl_spec_row espl_phm_keys[] = {
    {"phm_dim", "phm_dim", ESPL_SPEC_WHOLE, NULL},
    {"phm_rank", "phm_rank", ESPL_SPEC_WHOLE, NULL},
    {"shared", "shared_phm_rule", ESPL_SPEC_BOOL, NULL},
    {"factored", "factorized_phm_W", ESPL_SPEC_BOOL, NULL},
    {"learn", "learn_phm", ESPL_SPEC_BOOL, NULL},
    {"init_rule", "phm_c_init", ESPL_SPEC_TEXT, "normal, uniform"},
    {"init_w", "phm_init", ESPL_SPEC_TEXT, "glorot_uniform, xavier_normal"},
    {0}};

/* One of the two texts of a row, the first where there is none. */
static espl_status read_choice(espl_adapter *adapter, const char *key, const char *first, const char *second, bool *out_second) {
    const char *value;
    ESPL_TRY(espl_json_string(context(adapter), adapter->config, key, first, &value));
    *out_second = strcmp(value, second) == 0;
    if (*out_second || strcmp(value, first) == 0) return ESPL_OK;
    return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: %s \"%s\" is not one of %s, %s", adapter->method->name, key, value, first,
                     second);
}

static espl_status read_number(espl_adapter *adapter, const char *key, uint32_t fallback, uint32_t *out_value) {
    double value;
    ESPL_TRY(espl_json_f64(context(adapter), adapter->config, key, fallback, &value));
    if (!(value >= 1 && value <= 256) || value != floor(value))
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: %s %g is not a whole number from 1 to 256", adapter->method->name,
                         key, value);
    *out_value = (uint32_t)value;
    return ESPL_OK;
}

espl_status espl_phm_read(espl_adapter *adapter, espl_phm_options *options) {
    static const char *const refused[] = {"shared_W_phm", "factorized_phm_rule"};
    espl_context *ctx = context(adapter);
    bool bias;
    options->rule = ESPL_NO_MATRIX;
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "phm_layer", false, &options->on));
    if (!options->on) return ESPL_OK;
    for (size_t i = 0; i < ESPL_COUNT(refused); i++) {
        if (json_is_true(json_object_get(adapter->config, refused[i])))
            return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: \"%s\" is not supported", adapter->method->name, refused[i]);
    }
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "phm_bias", true, &bias));
    if (!bias) return espl_fail(ctx, ESPL_UNSUPPORTED, "%s: maps without phm_bias are not supported", adapter->method->name);
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "shared_phm_rule", true, &options->shared));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "factorized_phm_W", true, &options->factored));
    ESPL_TRY(espl_json_bool(ctx, adapter->config, "learn_phm", true, &options->learned));
    ESPL_TRY(read_number(adapter, "phm_dim", 4, &options->n));
    ESPL_TRY(read_number(adapter, "phm_rank", 1, &options->rank));
    ESPL_TRY(espl_json_f32(ctx, adapter->config, "phm_init_range", 1e-4f, &options->range));
    ESPL_TRY(read_choice(adapter, "phm_c_init", "normal", "uniform", &options->uniform));
    ESPL_TRY(read_choice(adapter, "phm_init", "glorot_uniform", "xavier_normal", &options->xavier));
    /* As the library does whatever phm_init_range says. */
    if (options->uniform) options->range = 1;
    if (!options->shared) options->range = 0.01f;
    return ESPL_OK;
}

/* One matrix that is one tensor of this shape in files. */
static espl_status add(espl_adapter *adapter, const char *module, const char *part, uint32_t rows, uint32_t cols,
                       const uint32_t shape[3], uint32_t *out_index) {
    char *name;
    const bool vector = rows == 1 && !shape;
    ESPL_TRY(espl_store_matrix(&adapter->store, part, rows, cols, ESPL_DTYPE_F32, !vector, out_index));
    ESPL_TRY(espl_format(context(adapter), &name, "%s.%s", module, part));
    espl_status status = espl_store_entry(&adapter->store, name, *out_index, 0, vector ? cols : rows, vector);
    if (status == ESPL_OK && shape) espl_store_shape(&adapter->store, 3, shape);
    espl_free(context(adapter), &name);
    return status;
}

static espl_status add_rule(espl_adapter *adapter, const espl_phm_options *o, const char *module, uint32_t *out_index) {
    ESPL_TRY(add(adapter, module, "phm_rule", o->n * o->n, o->n, (uint32_t[]){o->n, o->n, o->n}, out_index));
    adapter->store.matrices[*out_index].frozen = !o->learned;
    return ESPL_OK;
}

static espl_status declare_dense(espl_adapter *adapter, const char *module, uint32_t in, uint32_t out, espl_phm_map *map) {
    ESPL_TRY(add(adapter, module, "weight", out, in, NULL, &map->weight));
    /* A map to one number has a matrix of one row, and not a vector. */
    if (out == 1) {
        espl_entry *entry = &adapter->store.entries[adapter->store.entry_count - 1];
        *entry = (espl_entry){.name = entry->name, .matrix = entry->matrix, .count = 1, .rank = 2, .shape = {1, in}};
    }
    return add(adapter, module, "bias", 1, out, NULL, &map->bias);
}

espl_status espl_phm_declare(espl_adapter *adapter, const espl_phm_options *o, const char *module, uint32_t in, uint32_t out,
                             espl_phm_map *map) {
    map->left = map->right = map->rule = ESPL_NO_MATRIX;
    if (!o->on) return declare_dense(adapter, module, in, out, map);
    if (in % o->n || out % o->n)
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: phm_dim %u does not divide the %u inputs and the %u outputs of %s",
                         adapter->method->name, o->n, in, out, module);
    map->rule = o->rule;
    if (!o->shared) ESPL_TRY(add_rule(adapter, o, module, &map->rule));
    if (o->factored) {
        ESPL_TRY(add(adapter, module, "W_left", in, o->rank, (uint32_t[]){o->n, in / o->n, o->rank}, &map->left));
        ESPL_TRY(add(adapter, module, "W_right", o->n * o->rank, out / o->n, (uint32_t[]){o->n, o->rank, out / o->n}, &map->right));
    } else {
        ESPL_TRY(add(adapter, module, "W", in, out / o->n, (uint32_t[]){o->n, in / o->n, out / o->n}, &map->left));
    }
    return add(adapter, module, "b", 1, out, NULL, &map->bias);
}

espl_status espl_phm_share(espl_adapter *adapter, espl_phm_options *options) {
    char *module;
    if (!options->on || !options->shared) return ESPL_OK;
    ESPL_TRY(espl_format(context(adapter), &module, "%sshared_parameters.%s", adapter->model->config.family->prefix,
                         adapter->file_name));
    espl_status status = add_rule(adapter, options, module, &options->rule);
    espl_free(context(adapter), &module);
    return status;
}

static bool ends_with(const char *text, const char *end) {
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* W slice by slice: Glorot's uniform with gain sqrt(2), as the paper's code, or Xavier's normal, which the library gives them by a
 * slip whatever they should have. */
espl_status espl_phm_initialise(espl_adapter *adapter, const espl_phm_options *options, const espl_entry *entry, uint64_t seed,
                                bool *out_done) {
    const bool rule = ends_with(entry->name, ".phm_rule");
    *out_done = rule || ends_with(entry->name, ".W_left") || ends_with(entry->name, ".W_right") || ends_with(entry->name, ".W");
    if (!*out_done) return ESPL_OK;
    const float sides = (float)(entry->shape[1] + entry->shape[2]);
    if (rule ? options->uniform : !options->xavier)
        return espl_initial_uniform(&adapter->store, entry, seed, rule ? options->range : sqrtf(2) * sqrtf(6 / sides));
    return espl_initial_normal(&adapter->store, entry, seed, rule ? options->range : sqrtf(2 / sides));
}

static espl_tensor *leaf(espl_builder *builder, const espl_adapter *adapter, uint32_t matrix) {
    return espl_build_leaf(builder, &adapter->store, matrix);
}

espl_tensor *espl_phm_apply(espl_builder *builder, const espl_adapter *adapter, const espl_phm_map *map, espl_tensor *x) {
    espl_graph *graph = builder->graph;
    espl_matmul product = {.a = x, .bias = leaf(builder, adapter, map->bias)};
    if (map->left == ESPL_NO_MATRIX) {
        product.b = leaf(builder, adapter, map->weight);
        product.orientation = MATMUL_NT;
    } else {
        product.b = espl_graph_phm(graph, &(espl_phm){.rule = leaf(builder, adapter, map->rule),
                                                      .left = leaf(builder, adapter, map->left),
                                                      .right = leaf(builder, adapter, map->right)});
        product.orientation = MATMUL_NN;
    }
    return espl_graph_matmul(graph, &product);
}
