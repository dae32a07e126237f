#include "host/model/relative.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* "c2p|p2c", or a list of both in any order. */
static bool has_both(const json_t *types) {
    bool c2p = false, p2c = false;
    if (json_is_string(types)) {
        c2p = strstr(json_string_value(types), "c2p") != NULL;
        p2c = strstr(json_string_value(types), "p2c") != NULL;
    }
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        c2p |= type && strcmp(type, "c2p") == 0;
        p2c |= type && strcmp(type, "p2c") == 0;
    }
    return c2p && p2c;
}

static espl_status refuse_others(espl_context *ctx, const json_t *json, const espl_config *config) {
    bool relative, shared;
    ESPL_TRY(espl_json_bool(ctx, json, "relative_attention", false, &relative));
    ESPL_TRY(espl_json_bool(ctx, json, "share_att_key", false, &shared));
    const char *missing = !relative ? "relative_attention: false" : !shared ? "share_att_key: false"
                          : !has_both(json_object_get(json, "pos_att_type")) ? "pos_att_type other than c2p and p2c" : NULL;
    if (missing) return espl_fail(ctx, ESPL_UNSUPPORTED, "%s is not supported", missing);
    if (config->head_size % 4)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "heads of %u with relative positions: a multiple of 4 is needed",
                         config->head_size);
    return ESPL_OK;
}

/* Rows on both sides of each: PyTorch's padding then leaves a sequence as long as it is. */
static espl_status read_convolution(espl_context *ctx, const json_t *json, espl_config *config) {
    enum { MOST = 63 };
    const char *activation;
    uint32_t groups;
    ESPL_TRY(espl_json_u32(ctx, json, "conv_kernel_size", 0, &config->convolution_kernel));
    ESPL_TRY(espl_json_u32(ctx, json, "conv_groups", 1, &groups));
    ESPL_TRY(espl_json_string(ctx, json, "conv_act", "tanh", &activation));
    if (!config->convolution_kernel) return ESPL_OK;
    if (config->convolution_kernel % 2 == 0 || config->convolution_kernel > MOST || groups != 1)
        return espl_fail(ctx, ESPL_UNSUPPORTED, "conv_kernel_size %u with conv_groups %u: an odd one up to %u with 1 is supported",
                         config->convolution_kernel, groups, (unsigned)MOST);
    if (!espl_config_activation(activation, &config->convolution_activation))
        return espl_fail(ctx, ESPL_UNSUPPORTED, "conv_act \"%s\" is not supported", activation);
    return ESPL_OK;
}

espl_status espl_relative_read(espl_context *ctx, const json_t *json, espl_config *config) {
    const char *norm;
    int64_t most, buckets;
    bool absolute;
    ESPL_TRY(refuse_others(ctx, json, config));
    ESPL_TRY(espl_json_i64(ctx, json, "max_relative_positions", -1, &most));
    ESPL_TRY(espl_json_i64(ctx, json, "position_buckets", -1, &buckets));
    ESPL_TRY(espl_json_string(ctx, json, "norm_rel_ebd", "none", &norm));
    ESPL_TRY(espl_json_bool(ctx, json, "position_biased_input", true, &absolute));
    ESPL_TRY(espl_json_u32(ctx, json, "type_vocab_size", 0, &config->types));
    if (most < 1) most = config->context_max;
    /* Buckets go up to the distance most - 1 by logarithms from buckets / 2 on. */
    if (most < 2 || most > 1 << 20 || buckets == 1 || buckets > most || most - 1 <= buckets / 2)
        return espl_fail(ctx, ESPL_FORMAT, "%lld relative positions in %lld buckets", (long long)most, (long long)buckets);
    config->relative_most = (uint32_t)most;
    config->relative_buckets = buckets > 0 ? (uint32_t)buckets : 0;
    config->relative_rows = 2 * (buckets > 0 ? (uint32_t)buckets : (uint32_t)most);
    config->relative_norm = strstr(norm, "layer_norm") != NULL;
    if (!absolute) config->position_rows = 0;
    return read_convolution(ctx, json, config);
}

uint32_t espl_relative_row(const espl_config *config, int32_t distance) {
    const int32_t span = (int32_t)config->relative_rows / 2, middle = (int32_t)config->relative_buckets / 2;
    int32_t row = distance;
    if (middle && abs(distance) > middle) {
        /* In f32, as the models were trained: on the edge of a bucket rounding decides. */
        const float far = (float)abs(distance) / (float)middle, end = (float)(config->relative_most - 1) / (float)middle;
        row = (int32_t)ceilf(logf(far) / logf(end) * (float)(middle - 1)) + middle;
        if (distance < 0) row = -row;
    }
    row += span;
    return (uint32_t)(row < 0 ? 0 : row > 2 * span - 1 ? 2 * span - 1 : row);
}
