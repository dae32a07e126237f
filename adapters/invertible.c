#include "adapters/invertible.h"
#include "adapters/initial.h"
#include "host/ops/op_activation.h"
#include "host/ops/op_concat.h"
#include "host/ops/op_matmul.h"
#include "host/ops/op_scale.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char module[] = "invertible_adapters.";

static espl_context *context(const espl_adapter *adapter) {
    return adapter->model->ctx;
}

/* ---- Declaring ---- */

static espl_status add(espl_adapter *adapter, const char *name, const char *part, uint32_t rows, uint32_t cols, bool vector,
                       uint32_t *out_index) {
    char *full;
    ESPL_TRY(espl_store_matrix(&adapter->store, name, rows, cols, ESPL_DTYPE_F32, !vector, out_index));
    ESPL_TRY(espl_format(context(adapter), &full, "%s%s%s.%s.%s", adapter->model->config.family->prefix, module,
                         adapter->file_name, name, part));
    espl_status status = espl_store_entry(&adapter->store, full, *out_index, 0, vector ? cols : rows, vector);
    espl_free(context(adapter), &full);
    return status;
}

static espl_status declare_coupling(espl_adapter *adapter, const char *name, uint32_t half, uint32_t width,
                                    espl_coupling *coupling) {
    for (uint32_t i = 0; i < 2; i++) {
        char part[8];
        snprintf(part, sizeof part, "%s.%u", name, 2 * i); /* 1 is the activation */
        ESPL_TRY(add(adapter, part, "weight", i ? half : width, i ? width : half, false, &coupling->weight[i]));
        ESPL_TRY(add(adapter, part, "bias", 1, i ? half : width, true, &coupling->bias[i]));
    }
    return ESPL_OK;
}

const espl_spec_row espl_invertible_keys[] = {
    {"inv", "inv_adapter", ESPL_SPEC_TEXT, "nice"},
    {"inv_rf", "inv_adapter_reduction_factor", ESPL_SPEC_NUMBER, NULL},
    {0}};

static espl_status check(espl_adapter *adapter, const json_t *kind) {
    const espl_config *c = &adapter->model->config;
    const char *name = json_string_value(kind);
    if (!name || strcmp(name, "nice") != 0)
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: inv_adapter \"%s\" is not nice, the only one supported",
                         adapter->method->name, name ? name : "");
    if ((adapter->method->properties.sites & INVERTIBLE_SITES) != INVERTIBLE_SITES)
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: \"inv_adapter\" is not supported", adapter->method->name);
    if (c->hidden % 8 || c->embedding != c->hidden)
        return espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: inv_adapter needs hidden states of a multiple of 8 values that "
                         "are as wide as the embedding, and not %u and %u", adapter->method->name, c->hidden, c->embedding);
    return ESPL_OK;
}

espl_status espl_invertible_declare(espl_adapter *adapter, uint32_t activation, espl_invertible *invertible) {
    const json_t *kind = json_object_get(adapter->config, "inv_adapter");
    const json_t *given = json_object_get(adapter->config, "inv_adapter_reduction_factor");
    if (!kind || json_is_null(kind) || json_is_false(kind)) return ESPL_OK;
    ESPL_TRY(check(adapter, kind));
    if (!given || json_is_null(given))
        ESPL_TRY(espl_json_set(context(adapter), adapter->config, "inv_adapter_reduction_factor", json_integer(2)));
    const double factor = json_number_value(json_object_get(adapter->config, "inv_adapter_reduction_factor"));
    const uint32_t half = adapter->model->config.hidden / 2, most = 1u << 20;
    if (!(factor > 0 && half / factor >= 1))
        return espl_fail(context(adapter), ESPL_ARGUMENT, "%s: inv_adapter_reduction_factor %g leaves nothing of %u values",
                         adapter->method->name, factor, half);
    if (half / factor > most)
        return espl_fail(context(adapter), ESPL_LIMIT, "%s: inv_adapter_reduction_factor %g makes more than %u of %u values",
                         adapter->method->name, factor, most, half);
    const uint32_t width = (uint32_t)floor(half / factor);
    *invertible = (espl_invertible){.on = true, .activation = activation};
    ESPL_TRY(declare_coupling(adapter, "F", half, width, &invertible->f));
    return declare_coupling(adapter, "G", half, width, &invertible->g);
}

espl_status espl_invertible_initialise(espl_adapter *adapter, const espl_entry *entry, uint64_t seed, bool *out_done) {
    *out_done = strstr(entry->name, module) != NULL;
    return *out_done && !entry->vector ? espl_initial_normal(&adapter->store, entry, seed, 0.02f) : ESPL_OK;
}

/* ---- Use ---- */

/* x[:, to ..] +-= W' f(W x[:, from ..] + b) + b', half the columns each. */
static espl_tensor *couple(espl_builder *builder, const espl_adapter *adapter, const espl_invertible *invertible,
                           const espl_coupling *coupling, uint32_t from, bool back, espl_tensor *x) {
    espl_graph *graph = builder->graph;
    const uint32_t half = adapter->model->config.hidden / 2;
    espl_tensor *bias = espl_build_leaf(builder, &adapter->store, coupling->bias[1]);
    if (back) bias = espl_graph_scale(graph, &(espl_scale){.x = bias, .number = -1});
    /* A copy: the other coupling changes these columns, and the backward pass reads them as they are now. */
    espl_tensor *u = espl_graph_slice(graph, &(espl_slice){.x = x, .from = from, .cols = half});
    u = espl_graph_matmul(
        graph, &(espl_matmul){.a = u, .orientation = MATMUL_NT,
                              .b = espl_build_leaf(builder, &adapter->store, coupling->weight[0]),
                              .bias = espl_build_leaf(builder, &adapter->store, coupling->bias[0])});
    u = espl_graph_activation(graph, &(espl_activation){.x = u, .kind = invertible->activation});
    return espl_graph_matmul(graph, &(espl_matmul){.a = u, .orientation = MATMUL_NT, .bias = bias, .scale = back ? -1 : 1,
                                                   .b = espl_build_leaf(builder, &adapter->store, coupling->weight[1]),
                                                   .into = x, .into_from = half - from});
}

espl_tensor *espl_invertible_join(espl_builder *builder, const espl_adapter *adapter, const espl_invertible *invertible,
                                  espl_site site, espl_tensor *x) {
    const uint32_t half = adapter->model->config.hidden / 2;
    const bool back = site == ESPL_SITE_HEAD_IN;
    if (!invertible->on) return x;
    if (builder->inverted && builder->inverted != adapter)
        return espl_graph_fail(builder->graph, espl_fail(context(adapter), ESPL_UNSUPPORTED, "%s: \"%s\" is a second adapter that "
                                                         "changes the embedding invertibly, after \"%s\"",
                                                         adapter->method->name, adapter->name, builder->inverted->name));
    builder->inverted = adapter;
    const espl_coupling *first = back ? &invertible->g : &invertible->f, *second = back ? &invertible->f : &invertible->g;
    x = couple(builder, adapter, invertible, first, back ? 0 : half, back, x);
    return couple(builder, adapter, invertible, second, back ? half : 0, back, x);
}
