/* The families as data: where config.json and the weight files keep what. */
#include "host/model/family.h"

#define LLAMA_KEYS                                                                                                   \
    .key_hidden = "hidden_size", .key_layers = "num_hidden_layers", .key_heads = "num_attention_heads",             \
    .key_intermediate = "intermediate_size", .key_context = "max_position_embeddings", .key_norm_eps = "rms_norm_eps", \
    .key_activation = "hidden_act", .key_attention_dropout = "attention_dropout"

#define LLAMA_NAMES(qkv_bias, o_bias, mlp_bias)                                                                      \
    .prefix = "model.", .embed = "embed_tokens", .final_norm = "norm", .block = "layers.%u.",                       \
    .attention_norm = "input_layernorm", .mlp_norm = "post_attention_layernorm",                                    \
    .linear = {[ESPL_LINEAR_QKV] = {{"self_attn.q_proj", qkv_bias}, {"self_attn.k_proj", qkv_bias},                 \
                                    {"self_attn.v_proj", qkv_bias}},                                                 \
               [ESPL_LINEAR_O] = {{"self_attn.o_proj", o_bias}},                                                     \
               [ESPL_LINEAR_UP] = {{"mlp.gate_proj", mlp_bias}, {"mlp.up_proj", mlp_bias}},                         \
               [ESPL_LINEAR_DOWN] = {{"mlp.down_proj", mlp_bias}}},                                                  \
    .norm = ESPL_NORM_RMS, .rotary = true, .gated = true

/* Questions are answered by one map, without dropout. Llama's and Qwen's models with it have another prefix, "transformer.". */
#define SPANS {.out = "qa_outputs", .out_bias = "qa_outputs.bias", .no_dropout = true}

/* Decoders end a row with a map from its last token, and tag every token, with dropout before that map alone. */
#define DECODER_HEADS(tags)                                                                                          \
    [ESPL_HEAD_NAMES_SEQUENCE] = {.out = "score", .last = true},                                                     \
    [ESPL_HEAD_NAMES_TOKENS] = {.out = tags, .out_bias = tags ".bias", .key_dropout = "classifier_dropout",          \
                                .key_dropout_else = "hidden_dropout", .dropout = 0.1f}

/* ---- Encoders: post-norm blocks with biases everywhere, names as BERT's or their own ---- */

#define ENCODER(eps, act)                                                                                            \
    .norm = ESPL_NORM_LAYER, .norm_eps = eps, .activation = act, .post_norm = true, .bidirectional = true,           \
    .tied_by_default = true
#define BERT_KEYS                                                                                                    \
    .key_hidden = "hidden_size", .key_layers = "num_hidden_layers", .key_heads = "num_attention_heads",             \
    .key_intermediate = "intermediate_size", .key_context = "max_position_embeddings", .key_norm_eps = "layer_norm_eps", \
    .key_activation = "hidden_act", .key_dropout = "hidden_dropout_prob",                                           \
    .key_attention_dropout = "attention_probs_dropout_prob", .key_head_dropout = "classifier_dropout", .dropout = 0.1f
#define BERT_EMBEDDINGS                                                                                              \
    .embed = "embeddings.word_embeddings", .position = "embeddings.position_embeddings",                            \
    .types = "embeddings.token_type_embeddings", .embed_norm = "embeddings.LayerNorm"
#define BERT_BLOCKS                                                                                                  \
    .block = "encoder.layer.%u.", .attention_norm = "attention.output.LayerNorm", .mlp_norm = "output.LayerNorm",   \
    .linear = {[ESPL_LINEAR_QKV] = {{"attention.self.query", ESPL_BIAS_ALWAYS}, {"attention.self.key", ESPL_BIAS_ALWAYS}, \
                                    {"attention.self.value", ESPL_BIAS_ALWAYS}},                                     \
               [ESPL_LINEAR_O] = {{"attention.output.dense", ESPL_BIAS_ALWAYS}},                                     \
               [ESPL_LINEAR_UP] = {{"intermediate.dense", ESPL_BIAS_ALWAYS}},                                        \
               [ESPL_LINEAR_DOWN] = {{"output.dense", ESPL_BIAS_ALWAYS}}}
#define CLASSIFIER(...) {.out = "classifier", .out_bias = "classifier.bias", __VA_ARGS__}
#define CLASSIFIER_OF_TWO(...)                                                                                       \
    {.dense = "classifier.dense", .out = "classifier.out_proj", .out_bias = "classifier.out_proj.bias",             \
     .dropout_first = true, __VA_ARGS__}
#define DEBERTA_CLASSIFIER                                                                                           \
    CLASSIFIER(.dense = "pooler.dense", .activation = "gelu", .key_activation = "pooler_hidden_act",                 \
               .key_dropout = "cls_dropout", .key_dropout_first = "pooler_dropout")
#define ROBERTA_HEADS                                                                                                \
    .heads = {[ESPL_HEAD_NAMES_SEQUENCE] = CLASSIFIER_OF_TWO(.activation = "tanh"),                                  \
              [ESPL_HEAD_NAMES_TOKENS] = CLASSIFIER(.last = false),                                                              \
              [ESPL_HEAD_NAMES_SPANS] = SPANS,                                                                   \
              [ESPL_HEAD_NAMES_CHOICES] = CLASSIFIER(.dense = "roberta.pooler.dense", .activation = "tanh",      \
                                                     .key_dropout = "hidden_dropout_prob"),                      \
              [ESPL_HEAD_NAMES_MASKED] = {.dense = "lm_head.dense", .activation = "gelu", .norm = "lm_head.layer_norm", \
                                          .out = "lm_head.decoder", .out_bias = "lm_head.bias"}}

const espl_family espl_families[] = {
    /* Llama, TinyLlama, SmolLM, SmolLM2, Yi and others that keep its type. */
    {.model_type = "llama", .class_name = "Llama", .heads = {DECODER_HEADS("score")}, LLAMA_KEYS, LLAMA_NAMES(ESPL_BIAS_ATTENTION, ESPL_BIAS_ATTENTION, ESPL_BIAS_MLP)},
    {.model_type = "mistral", .class_name = "Mistral", .window = ESPL_WINDOW_ALWAYS, LLAMA_KEYS,
     .heads = {DECODER_HEADS("score"), [ESPL_HEAD_NAMES_SPANS] = SPANS},
     LLAMA_NAMES(ESPL_BIAS_NEVER, ESPL_BIAS_NEVER, ESPL_BIAS_NEVER)},
    {.model_type = "qwen2", .class_name = "Qwen2", .window = ESPL_WINDOW_BY_LAYER, .heads = {DECODER_HEADS("score")}, LLAMA_KEYS,
     LLAMA_NAMES(ESPL_BIAS_ALWAYS, ESPL_BIAS_NEVER, ESPL_BIAS_NEVER)},
    {.model_type = "qwen3", .class_name = "Qwen3", .window = ESPL_WINDOW_BY_LAYER, .heads = {DECODER_HEADS("score")}, LLAMA_KEYS,
     .q_norm = "self_attn.q_norm", .k_norm = "self_attn.k_norm",
     LLAMA_NAMES(ESPL_BIAS_ATTENTION, ESPL_BIAS_ATTENTION, ESPL_BIAS_NEVER)},
    {.model_type = "gpt2", .class_name = "GPT2", .class_language = "LMHeadModel",
     .heads = {DECODER_HEADS("classifier"), [ESPL_HEAD_NAMES_SPANS] = SPANS},
     .key_hidden = "n_embd", .key_layers = "n_layer", .key_heads = "n_head", .key_intermediate = "n_inner",
     .key_context = "n_positions", .key_norm_eps = "layer_norm_epsilon", .key_activation = "activation_function",
     .key_dropout = "resid_pdrop", .key_attention_dropout = "attn_pdrop", .key_embedding_dropout = "embd_pdrop", .dropout = 0.1f,
     .prefix = "transformer.", .embed = "wte", .position = "wpe", .final_norm = "ln_f",
     .block = "h.%u.", .attention_norm = "ln_1", .mlp_norm = "ln_2",
     .linear = {[ESPL_LINEAR_QKV] = {{"attn.c_attn", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_O] = {{"attn.c_proj", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_UP] = {{"mlp.c_fc", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_DOWN] = {{"mlp.c_proj", ESPL_BIAS_ALWAYS}}},
     .norm = ESPL_NORM_LAYER, .stored_in_out = true, .tied_by_default = true},
    {.model_type = "bert", .class_name = "Bert", ENCODER(1e-12f, "gelu"), BERT_KEYS, .prefix = "bert.", BERT_EMBEDDINGS,
     BERT_BLOCKS,
     .heads = {[ESPL_HEAD_NAMES_SEQUENCE] = CLASSIFIER(.dense = "bert.pooler.dense", .activation = "tanh"),
               [ESPL_HEAD_NAMES_TOKENS] = CLASSIFIER(.last = false),
               [ESPL_HEAD_NAMES_SPANS] = SPANS,
               [ESPL_HEAD_NAMES_CHOICES] = CLASSIFIER(.dense = "bert.pooler.dense", .activation = "tanh"),
               [ESPL_HEAD_NAMES_MASKED] = {.dense = "cls.predictions.transform.dense",
                                           .norm = "cls.predictions.transform.LayerNorm",
                                           .out = "cls.predictions.decoder", .out_bias = "cls.predictions.bias"}}},
    {.model_type = "roberta", .class_name = "Roberta", ENCODER(1e-12f, "gelu"), BERT_KEYS, .prefix = "roberta.", BERT_EMBEDDINGS,
     BERT_BLOCKS, ROBERTA_HEADS, .positions_after_padding = true},
    {.model_type = "xlm-roberta", .class_name = "XLMRoberta", ENCODER(1e-12f, "gelu"), BERT_KEYS, .prefix = "roberta.",
     BERT_EMBEDDINGS, BERT_BLOCKS, ROBERTA_HEADS, .positions_after_padding = true},
    {.model_type = "distilbert", .class_name = "DistilBert", ENCODER(1e-12f, "gelu"),
     .key_hidden = "dim", .key_layers = "n_layers", .key_heads = "n_heads", .key_intermediate = "hidden_dim",
     .key_context = "max_position_embeddings", .key_activation = "activation", .key_dropout = "dropout",
     .key_attention_dropout = "attention_dropout", .key_head_dropout = "dropout", .dropout = 0.1f, .prefix = "distilbert.",
     .embed = "embeddings.word_embeddings", .position = "embeddings.position_embeddings",
     .embed_norm = "embeddings.LayerNorm", .block = "transformer.layer.%u.", .attention_norm = "sa_layer_norm",
     .mlp_norm = "output_layer_norm",
     .linear = {[ESPL_LINEAR_QKV] = {{"attention.q_lin", ESPL_BIAS_ALWAYS}, {"attention.k_lin", ESPL_BIAS_ALWAYS},
                                     {"attention.v_lin", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_O] = {{"attention.out_lin", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_UP] = {{"ffn.lin1", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_DOWN] = {{"ffn.lin2", ESPL_BIAS_ALWAYS}}},
     .no_dropout = 1u << ESPL_LINEAR_O,
     .heads = {[ESPL_HEAD_NAMES_SEQUENCE] = CLASSIFIER(.dense = "pre_classifier", .activation = "relu",
                                                       .key_dropout = "seq_classif_dropout", .dropout = 0.2f),
               [ESPL_HEAD_NAMES_TOKENS] = CLASSIFIER(.last = false),
               [ESPL_HEAD_NAMES_SPANS] = {.out = "qa_outputs", .out_bias = "qa_outputs.bias", .key_dropout = "qa_dropout",
                                          .dropout = 0.1f},
               [ESPL_HEAD_NAMES_CHOICES] = CLASSIFIER(.dense = "pre_classifier", .activation = "relu",
                                                      .key_dropout = "seq_classif_dropout", .dropout = 0.2f),
               [ESPL_HEAD_NAMES_MASKED] = {.dense = "vocab_transform", .norm = "vocab_layer_norm",
                                           .out = "vocab_projector", .out_bias = "vocab_projector.bias"}}},
    {.model_type = "electra", .class_name = "Electra", ENCODER(1e-12f, "gelu"), BERT_KEYS, .key_embedding = "embedding_size",
     .prefix = "electra.", BERT_EMBEDDINGS, BERT_BLOCKS, .embed_projection = "embeddings_project",
     .heads = {[ESPL_HEAD_NAMES_SEQUENCE] = CLASSIFIER_OF_TWO(.activation = "gelu"),
               [ESPL_HEAD_NAMES_TOKENS] = CLASSIFIER(.last = false),
               [ESPL_HEAD_NAMES_SPANS] = SPANS,
               [ESPL_HEAD_NAMES_CHOICES] = CLASSIFIER(.dense = "sequence_summary.summary", .activation = "gelu",
                                                      .key_activation = "summary_activation", .dropout = 0.1f,
                                                      .key_dropout = "summary_last_dropout", .key_which = "summary_type",
                                                      .key_dense = "summary_use_proj"),
               [ESPL_HEAD_NAMES_MASKED] = {.dense = "generator_predictions.dense", .activation = "gelu",
                                           .norm = "generator_predictions.LayerNorm", .out = "generator_lm_head",
                                           .out_bias = "generator_lm_head.bias"}}},
    {.model_type = "albert", .class_name = "Albert", ENCODER(1e-12f, "gelu_new"), .key_hidden = "hidden_size",
     .key_layers = "num_hidden_layers", .key_heads = "num_attention_heads", .key_intermediate = "intermediate_size",
     .key_context = "max_position_embeddings", .key_norm_eps = "layer_norm_eps", .key_activation = "hidden_act",
     .key_dropout = "hidden_dropout_prob", .key_attention_dropout = "attention_probs_dropout_prob",
     .key_head_dropout = "classifier_dropout_prob", .key_embedding = "embedding_size", .prefix = "albert.",
     BERT_EMBEDDINGS, .embed_projection = "encoder.embedding_hidden_mapping_in", .always_projected = true, .shared_blocks = true,
     .no_dropout = 1u << ESPL_LINEAR_DOWN,
     .block = "encoder.albert_layer_groups.%u.albert_layers.0.", .attention_norm = "attention.LayerNorm",
     .mlp_norm = "full_layer_layer_norm",
     .linear = {[ESPL_LINEAR_QKV] = {{"attention.query", ESPL_BIAS_ALWAYS}, {"attention.key", ESPL_BIAS_ALWAYS},
                                     {"attention.value", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_O] = {{"attention.dense", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_UP] = {{"ffn", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_DOWN] = {{"ffn_output", ESPL_BIAS_ALWAYS}}},
     .heads = {[ESPL_HEAD_NAMES_SEQUENCE] = CLASSIFIER(.dense = "albert.pooler", .activation = "tanh", .dropout = 0.1f),
               [ESPL_HEAD_NAMES_TOKENS] = CLASSIFIER(.dropout = 0.1f),
               [ESPL_HEAD_NAMES_SPANS] = SPANS,
               [ESPL_HEAD_NAMES_CHOICES] = CLASSIFIER(.dense = "albert.pooler", .activation = "tanh", .dropout = 0.1f),
               [ESPL_HEAD_NAMES_MASKED] = {.dense = "predictions.dense", .norm = "predictions.LayerNorm",
                                           .out = "predictions.decoder", .out_bias = "predictions.bias"}}},
    /* DeBERTa-v2 and v3. */
    {.model_type = "deberta-v2", .class_name = "DebertaV2", ENCODER(1e-7f, "gelu"), BERT_KEYS, .key_embedding = "embedding_size",
     .prefix = "deberta.", BERT_EMBEDDINGS, .relative = "encoder.rel_embeddings", .relative_norm = "encoder.LayerNorm",
     .convolution = "encoder.conv.conv", .convolution_norm = "encoder.conv.LayerNorm",
     .block = "encoder.layer.%u.", .attention_norm = "attention.output.LayerNorm", .mlp_norm = "output.LayerNorm",
     .linear = {[ESPL_LINEAR_QKV] = {{"attention.self.query_proj", ESPL_BIAS_ALWAYS},
                                     {"attention.self.key_proj", ESPL_BIAS_ALWAYS},
                                     {"attention.self.value_proj", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_O] = {{"attention.output.dense", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_UP] = {{"intermediate.dense", ESPL_BIAS_ALWAYS}},
                [ESPL_LINEAR_DOWN] = {{"output.dense", ESPL_BIAS_ALWAYS}}},
     .heads = {[ESPL_HEAD_NAMES_SEQUENCE] = DEBERTA_CLASSIFIER,
               [ESPL_HEAD_NAMES_TOKENS] = CLASSIFIER(.key_dropout = "hidden_dropout_prob"),
               [ESPL_HEAD_NAMES_SPANS] = SPANS,
               [ESPL_HEAD_NAMES_CHOICES] = DEBERTA_CLASSIFIER,
               [ESPL_HEAD_NAMES_MASKED] = {.dense = "cls.predictions.transform.dense",
                                           .norm = "cls.predictions.transform.LayerNorm",
                                           .out = "cls.predictions.decoder", .out_bias = "cls.predictions.bias"}}},
};
const size_t espl_family_count = ESPL_COUNT(espl_families);
