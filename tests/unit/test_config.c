/* espl_config_read on files that say what no model has, or what would change results and is not offered. */
#include "host/model/config.h"
#include "host/ops/op_activation.h"
#include "tests/unit/unit.h"

static const struct {
    const char *model_type, *json;
} models[] = {
    {"llama", "{\"hidden_size\": 16, \"num_hidden_layers\": 4, \"num_attention_heads\": 2, \"intermediate_size\": 20, "
              "\"vocab_size\": 31}"},
    {"gpt2", "{\"n_embd\": 16, \"n_layer\": 4, \"n_head\": 2, \"n_positions\": 24, \"vocab_size\": 31}"},
    {"bert", "{\"hidden_size\": 16, \"num_hidden_layers\": 4, \"num_attention_heads\": 2, \"vocab_size\": 31}"},
    {"deberta-v2", "{\"hidden_size\": 16, \"num_hidden_layers\": 4, \"num_attention_heads\": 2, \"vocab_size\": 31, "
                   "\"relative_attention\": true, \"share_att_key\": true, \"pos_att_type\": \"c2p|p2c\"}"},
};

/* The sizes of `like`, or of the model_type itself, with what `more` says beside and instead. */
static espl_status read(espl_context *ctx, const char *model_type, const char *like, const char *more, espl_config *out_config) {
    json_t *json = NULL, *beside;
    for (size_t i = 0; i < ESPL_COUNT(models); i++)
        if (strcmp(models[i].model_type, like ? like : model_type) == 0) json = json_loads(models[i].json, 0, NULL);
    beside = json_loads(more, JSON_DECODE_ANY, NULL);
    assert_true(json && beside);
    json_object_set_new(json, "model_type", json_string(model_type));
    json_object_update(json, beside);
    espl_status status = espl_config_read(ctx, json, out_config);
    json_decref(json);
    json_decref(beside);
    return status;
}

static void sizes(void **state) {
    (void)state;
    static const struct {
        const char *model_type, *like, *more;
        espl_status status;
        const char *part;
    } cases[] = {
        {"llama", NULL, "{\"max_position_embeddings\": 0}", ESPL_FORMAT, "\"max_position_embeddings\" is missing or 0"},
        {"llama", NULL, "{\"max_position_embeddings\": 16777217}", ESPL_LIMIT,
         "16777217 positions are beyond any model, up to 16777216 are supported"},
        {"llama", NULL, "{\"num_hidden_layers\": 4097}", ESPL_LIMIT, "4097 layers are beyond any model"},
        {"llama", NULL, "{\"hidden_size\": 1048578, \"head_dim\": 8}", ESPL_LIMIT, "1048578 hidden values"},
        {"llama", NULL, "{\"num_attention_heads\": 131073, \"head_dim\": 8}", ESPL_LIMIT, "1048584 values of all heads"},
        {"llama", NULL, "{\"intermediate_size\": 16777217}", ESPL_LIMIT, "16777217 intermediate values"},
        {"llama", NULL, "{\"vocab_size\": 4294967295}", ESPL_LIMIT, "4294967295 tokens in the vocabulary"},
        {"bert", NULL, "{\"type_vocab_size\": 4294967295}", ESPL_LIMIT, "4294967295 token types"},
        {"electra", "bert", "{\"embedding_size\": 1048580}", ESPL_LIMIT, "1048580 values of an embedding"},
        {"electra", "bert", "{\"embedding_size\": 0}", ESPL_FORMAT, "\"embedding_size\" is 0"},
        {"albert", "bert", "{\"num_hidden_layers\": 4294967295}", ESPL_LIMIT, "4294967295 layers"},
        {"roberta", "bert", "{\"pad_token_id\": 9223372036854775807}", ESPL_FORMAT,
         "2048 positions, of which those up to the pad_token_id of 9223372036854775807 are not used"},
        {"roberta", "bert", "{\"pad_token_id\": 4294967296}", ESPL_FORMAT, "up to the pad_token_id of 4294967296"},
        {"roberta", "bert", "{\"pad_token_id\": 2047}", ESPL_FORMAT, "up to the pad_token_id of 2047"},
        {"roberta", "bert", "{\"max_position_embeddings\": 2}", ESPL_FORMAT,
         "2 positions, of which those up to the pad_token_id of 1"},
        {"roberta", "bert", "{\"pad_token_id\": 2046}", ESPL_OK, ""},
        {"deberta-v2", NULL, "{\"max_position_embeddings\": 0, \"max_relative_positions\": 24}", ESPL_FORMAT,
         "\"max_position_embeddings\" is missing or 0"},
        {"deberta-v2", NULL, "{\"max_relative_positions\": 2, \"position_buckets\": 2}", ESPL_FORMAT,
         "2 relative positions in 2 buckets"},
        {"deberta-v2", NULL, "{\"max_relative_positions\": 3, \"position_buckets\": 3}", ESPL_OK, ""},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_config config;
        unit_fails(ctx, read(ctx, cases[i].model_type, cases[i].like, cases[i].more, &config), cases[i].status, cases[i].part);
    }
    unit_finish(&heap, ctx);
}

#define USE "\"use_sliding_window\": true, \"sliding_window\": 6"
#define FULL "\"full_attention\""
#define SLIDING "\"sliding_attention\""

static void windows(void **state) {
    (void)state;
    static const char mixed[] = "by max_window_layers or layer_types, is not supported: in all or in none is";
    static const struct {
        const char *model_type, *more;
        espl_status status;
        const char *part;
        uint32_t window;
    } cases[] = {
        {"mistral", "{\"sliding_window\": 6}", ESPL_OK, "", 6},
        {"mistral", "{\"sliding_window\": 6, \"use_sliding_window\": false}", ESPL_OK, "", 6},
        {"mistral", "{\"sliding_window\": null}", ESPL_OK, "", 0},
        {"mistral", "{}", ESPL_OK, "", 4096},
        {"llama", "{" USE "}", ESPL_OK, "", 0},
        {"qwen2", "{\"sliding_window\": 6}", ESPL_OK, "", 0},
        {"qwen2", "{\"sliding_window\": 6, \"max_window_layers\": 2}", ESPL_OK, "", 0},
        {"qwen2", "{" USE "}", ESPL_OK, "", 0}, /* from layer 28 on */
        {"qwen2", "{" USE ", \"max_window_layers\": 4}", ESPL_OK, "", 0},
        {"qwen2", "{" USE ", \"max_window_layers\": 0}", ESPL_OK, "", 6},
        {"qwen2", "{" USE ", \"max_window_layers\": 3}", ESPL_UNSUPPORTED, mixed, 0},
        {"qwen3", "{" USE ", \"max_window_layers\": 1}", ESPL_UNSUPPORTED, "sliding_window in 3 layers of 4", 0},
        {"qwen3", "{" USE ", \"layer_types\": [" FULL ", " SLIDING ", " FULL ", " SLIDING "]}", ESPL_UNSUPPORTED, mixed, 0},
        {"qwen3", "{" USE ", \"layer_types\": [" SLIDING ", " SLIDING ", " SLIDING ", " SLIDING "]}", ESPL_OK, "", 6},
        {"qwen3", "{" USE ", \"layer_types\": [" FULL ", " FULL ", " FULL ", " FULL "], \"max_window_layers\": 0}", ESPL_OK, "", 0},
        {"qwen3", "{" USE ", \"layer_types\": [" SLIDING "]}", ESPL_FORMAT, "\"layer_types\" has 1 layers of 4", 0},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_config config;
        unit_fails(ctx, read(ctx, cases[i].model_type, "llama", cases[i].more, &config), cases[i].status, cases[i].part);
        if (cases[i].status == ESPL_OK && config.window != cases[i].window)
            fail_msg("%s %s: a window of %u, expected %u", cases[i].model_type, cases[i].more, config.window, cases[i].window);
    }
    unit_finish(&heap, ctx);
}

static void options(void **state) {
    (void)state;
    static const struct {
        const char *model_type, *more;
        espl_status status;
        const char *part;
    } cases[] = {
        {"gpt2", "{\"scale_attn_weights\": true, \"reorder_and_upcast_attn\": true}", ESPL_OK, ""},
        {"gpt2", "{\"scale_attn_weights\": false}", ESPL_UNSUPPORTED, "scale_attn_weights: false is not supported"},
        {"gpt2", "{\"scale_attn_by_inverse_layer_idx\": true}", ESPL_UNSUPPORTED,
         "scale_attn_by_inverse_layer_idx: true is not supported"},
        {"gpt2", "{\"add_cross_attention\": true}", ESPL_UNSUPPORTED, "add_cross_attention: true is not supported"},
        {"bert", "{\"is_decoder\": true}", ESPL_UNSUPPORTED, "is_decoder is not supported"},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_config config;
        unit_fails(ctx, read(ctx, cases[i].model_type, NULL, cases[i].more, &config), cases[i].status, cases[i].part);
    }
    unit_finish(&heap, ctx);
}

/* transformers' modeling_rope_utils, _compute_yarn_parameters. */
static void yarn(void **state) {
    (void)state;
#define YARN(more) "{\"rope_scaling\": {\"rope_type\": \"yarn\", \"original_max_position_embeddings\": 512, " more "}}"
    static const struct {
        const char *more;
        double magnitude;
    } cases[] = {
        {YARN("\"factor\": 4"), 1.138629436111989},
        {YARN("\"factor\": 4, \"mscale\": 0.5"), 1.138629436111989},
        {YARN("\"factor\": 4, \"mscale\": 0.5, \"mscale_all_dim\": 1"), 0.939124428143471},
        {YARN("\"factor\": 4, \"mscale\": 0.5, \"mscale_all_dim\": 1, \"attention_factor\": 1.5"), 1.5},
        {YARN("\"factor\": 0.5"), 1},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_config config;
        unit_ok(ctx, read(ctx, "llama", NULL, cases[i].more, &config));
        if (config.magnitude != (float)cases[i].magnitude)
            fail_msg("%s: %.9g, expected %.9g", cases[i].more, (double)config.magnitude, cases[i].magnitude);
    }
    unit_finish(&heap, ctx);
}

/* What counts where config.json says nothing. */
static void defaults(void **state) {
    (void)state;
    static const struct {
        const char *model_type, *like;
        float norm_eps;
        uint32_t activation;
    } cases[] = {{"bert", NULL, 1e-12f, ACTIVATION_GELU},
                 {"albert", "bert", 1e-12f, ACTIVATION_GELU_TANH},
                 {"deberta-v2", NULL, 1e-7f, ACTIVATION_GELU},
                 {"gpt2", NULL, 1e-5f, ACTIVATION_GELU_TANH},
                 {"llama", NULL, 1e-6f, ACTIVATION_SILU}};
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_config config;
        unit_ok(ctx, read(ctx, cases[i].model_type, cases[i].like, "{}", &config));
        if (config.norm_eps != cases[i].norm_eps || config.activation != cases[i].activation)
            fail_msg("%s: eps %g, activation %u", cases[i].model_type, (double)config.norm_eps, config.activation);
    }
    unit_finish(&heap, ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes), cmocka_unit_test(windows), cmocka_unit_test(options),
                                       cmocka_unit_test(yarn), cmocka_unit_test(defaults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
