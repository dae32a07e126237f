/* Dropout of config.json: which value counts, also of heads, that it reaches the kernels in training alone, and that training
 * draws the same again. */
#include "host/base/os.h"
#include "host/model/model.h"
#include "host/train/trainer.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 4, TOKENS = 7, VOCABULARY = 31 };

/* hidden: the key of hidden dropout or NULL; by_default: what counts where config.json says nothing. */
typedef struct family {
    const char *architecture, *sizes, *attention, *hidden;
    float by_default;
} family;

#define ENCODER_SIZES(type)                                                                                            \
    "\"model_type\": \"" type "\", \"hidden_size\": 16, \"num_hidden_layers\": 2, \"num_attention_heads\": 2,"        \
    "\"intermediate_size\": 20, \"max_position_embeddings\": 24, \"type_vocab_size\": 2, \"pad_token_id\": 0"
#define LLAMA_SIZES(type)                                                                                              \
    "\"model_type\": \"" type "\", \"hidden_size\": 16, \"num_hidden_layers\": 2, \"num_attention_heads\": 2,"        \
    "\"num_key_value_heads\": 1, \"intermediate_size\": 20, \"max_position_embeddings\": 24"
#define PROBABILITIES "attention_probs_dropout_prob", "hidden_dropout_prob", 0.1f

static const family families[] = {
    {"BertForMaskedLM", ENCODER_SIZES("bert"), PROBABILITIES},
    {"RobertaForMaskedLM", ENCODER_SIZES("roberta"), PROBABILITIES},
    {"ElectraForMaskedLM", ENCODER_SIZES("electra") ", \"embedding_size\": 16", PROBABILITIES},
    {"AlbertForMaskedLM", ENCODER_SIZES("albert") ", \"embedding_size\": 16", "attention_probs_dropout_prob",
     "hidden_dropout_prob", 0},
    {"DebertaV2ForMaskedLM",
     ENCODER_SIZES("deberta-v2") ", \"relative_attention\": true, \"pos_att_type\": \"p2c|c2p\", \"share_att_key\": true,"
                                 "\"max_relative_positions\": 6", PROBABILITIES},
    {"DistilBertForMaskedLM",
     "\"model_type\": \"distilbert\", \"dim\": 16, \"n_layers\": 2, \"n_heads\": 2, \"hidden_dim\": 20,"
     "\"max_position_embeddings\": 24, \"pad_token_id\": 0", "attention_dropout", "dropout", 0.1f},
    {"GPT2LMHeadModel",
     "\"model_type\": \"gpt2\", \"n_embd\": 16, \"n_layer\": 2, \"n_head\": 2, \"n_positions\": 24, \"embd_pdrop\": 0",
     "attn_pdrop", "resid_pdrop", 0.1f},
    {"LlamaForCausalLM", LLAMA_SIZES("llama"), "attention_dropout", NULL, 0},
    {"MistralForCausalLM", LLAMA_SIZES("mistral"), "attention_dropout", NULL, 0},
    {"Qwen2ForCausalLM", LLAMA_SIZES("qwen2"), "attention_dropout", NULL, 0},
    {"Qwen3ForCausalLM", LLAMA_SIZES("qwen3"), "attention_dropout", NULL, 0},
};

/* Random weights, the same for the same sizes. */
static espl_model *load(const char *config) {
    char path[512], *folder = test_path("dropout");
    espl_model *model;
    test_ok(espl_os_make_folder(test_context(), folder));
    snprintf(path, sizeof path, "%s/config.json", folder);
    test_ok(espl_os_write_file(test_context(), path, config, strlen(config)));
    test_ok(espl_model_load(test_device(), folder, &(espl_model_params){.random = true, .trainable = true, .seed = 5}, &model));
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    return model;
}

/* p below 0: config.json does not speak of dropout. */
static espl_model *make(const family *f, float p) {
    char config[1024];
    int length = snprintf(config, sizeof config, "{\"architectures\": [\"%s\"], %s, \"vocab_size\": %d, \"initializer_range\": 0.5",
                          f->architecture, f->sizes, VOCABULARY);
    if (p >= 0 && f->hidden) length += snprintf(config + length, sizeof config - (size_t)length, ", \"%s\": 0", f->hidden);
    if (p >= 0) length += snprintf(config + length, sizeof config - (size_t)length, ", \"%s\": %g", f->attention, (double)p);
    snprintf(config + length, sizeof config - (size_t)length, "}");
    return load(config);
}

static void by_default(void **state) {
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(families); i++) {
        espl_model *model = make(&families[i], -1);
        const espl_config *c = &model->config;
        if (c->attention_dropout != families[i].by_default)
            fail_msg("%s: %g", families[i].architecture, (double)c->attention_dropout);
        if (families[i].hidden) assert_true(c->dropout == families[i].by_default);
        espl_model_destroy(&model);
    }
}

/* The loss of one batch with the random numbers of this seed and step. */
static double loss_of(espl_model *model, bool training, uint32_t seed, uint32_t counter) {
    int32_t ids[ROWS * TOKENS], labels[ROWS * TOKENS];
    espl_random random = {.seed = 4};
    for (int i = 0; i < ROWS * TOKENS; i++) ids[i] = 1 + (int32_t)espl_random_below(&random, VOCABULARY - 1);
    for (int i = 0; i < ROWS * TOKENS; i++) labels[i] = i % TOKENS < TOKENS - 1 ? ids[i + 1] % (int32_t)espl_head_outputs(model) : -100;
    espl_pass pass;
    espl_ticket ticket;
    double loss;
    test_ok(espl_pass_init(&pass, model, &(espl_pass_params){.batch = ROWS, .tokens = TOKENS, .dropout = training}));
    pass.step[ESPL_STEP_SEED_LOW] = seed;
    pass.step[ESPL_STEP_COUNTER] = counter;
    test_ok(espl_pass_micro(&pass, &(espl_batch){.ids = ids, .labels = labels}, &ticket));
    test_ok(espl_pass_loss(&pass, ticket, &loss));
    espl_pass_finish(&pass);
    return loss;
}

/* Weights are dropped in training by seed and step, and never else; 0 means that the training pass is the other one. */
static void in_training(void **state) {
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(families); i++) {
        espl_model *none = make(&families[i], 0), *half = make(&families[i], 0.5f);
        const double plain = loss_of(none, false, 1, 0), first = loss_of(half, true, 1, 0);
        printf("  %-24s loss %.4f, in training %.4f %.4f %.4f\n", families[i].architecture, plain, first,
               loss_of(half, true, 1, 1), loss_of(half, true, 2, 0));
        assert_true(loss_of(none, true, 1, 0) == plain && loss_of(half, false, 1, 0) == plain);
        assert_true(loss_of(half, true, 1, 0) == first);
        assert_true(first != plain && loss_of(half, true, 1, 1) != first && loss_of(half, true, 2, 0) != first);
        espl_model_destroy(&none), espl_model_destroy(&half);
    }
}

static espl_trainer *begin(espl_model *model, bool recompute, espl_dataset **out_data) {
    static int32_t ids[ROWS * TOKENS];
    espl_trainer *trainer;
    for (int i = 0; i < ROWS * TOKENS; i++) ids[i] = 1 + i * i % (VOCABULARY - 1);
    test_ok(espl_dataset_from_ids(test_context(), ids, ids, ROWS, TOKENS, out_data));
    test_ok(espl_trainer_create(model, NULL, *out_data,
                                &(espl_trainer_params){.steps = 6, .batch = 2, .learning_rate = 1e-2, .seed = 3,
                                                       .recompute = recompute}, &trainer));
    return trainer;
}

/* The loss of the last of `to` steps; a checkpoint in folder is where it begins if from is not 0, else what it leaves. */
static double train(const family *f, uint32_t from, uint32_t to, bool recompute, const char *folder) {
    espl_model *model = make(f, 0.3f);
    espl_dataset *dataset;
    espl_progress progress = {0};
    espl_trainer *trainer = begin(model, recompute, &dataset);
    if (from) test_ok(espl_trainer_resume(trainer, folder));
    while (from++ < to) test_ok(espl_trainer_step(trainer, &progress));
    if (to < 6) test_ok(espl_trainer_save(trainer, folder));
    espl_trainer_destroy(&trainer);
    espl_dataset_destroy(&dataset);
    espl_model_destroy(&model);
    return progress.loss;
}

/* The same bits after the same steps, also stopped and resumed, also where the backward pass computes blocks again. */
static void same_bits(void **state) {
    (void)state;
    char *folder = test_path("dropout-checkpoint");
    for (size_t i = 0; i < ESPL_COUNT(families); i++) {
        const family *f = &families[i];
        const double whole = train(f, 0, 6, false, folder);
        assert_true(isfinite(whole) && train(f, 0, 6, false, folder) == whole);
        assert_true(train(f, 0, 6, true, folder) == whole);
        train(f, 0, 3, false, folder);
        assert_true(train(f, 3, 6, false, folder) == whole);
        espl_dataset *dataset;
        espl_model *other = make(f, 0.5f);
        espl_trainer *trainer = begin(other, false, &dataset);
        test_refused(espl_trainer_resume(trainer, folder), ESPL_ARGUMENT, "attention_dropout 0.3");
        espl_trainer_destroy(&trainer);
        espl_dataset_destroy(&dataset);
        espl_model_destroy(&other);
        espl_os_remove_folder(test_context(), folder);
    }
    free(folder);
}

/* What heads drop, by what config.json says more: transformers' own values and keys. */
#define GPT2_SIZES                                                                                                     \
    "\"model_type\": \"gpt2\", \"n_embd\": 16, \"n_layer\": 2, \"n_head\": 2, \"n_positions\": 24,"                     \
    "\"embd_pdrop\": 0, \"attn_pdrop\": 0, \"resid_pdrop\": 0"
#define DISTILBERT_SIZES                                                                                               \
    "\"model_type\": \"distilbert\", \"dim\": 16, \"n_layers\": 2, \"n_heads\": 2, \"hidden_dim\": 20,"                 \
    "\"max_position_embeddings\": 24, \"pad_token_id\": 0"
#define QUIET_DEBERTA                                                                                                  \
    ENCODER_SIZES("deberta-v2") ", \"relative_attention\": true, \"pos_att_type\": \"p2c|c2p\", \"share_att_key\": true," \
                                "\"hidden_dropout_prob\": 0, \"attention_probs_dropout_prob\": 0"
static const struct {
    const char *architecture, *sizes, *more;
    float p, first; /* before the last map, before the one before that */
} heads[] = {
    {"LlamaForTokenClassification", LLAMA_SIZES("llama"), "", 0.1f, 0},
    {"LlamaForTokenClassification", LLAMA_SIZES("llama"), ", \"hidden_dropout\": 0.25", 0.25f, 0},
    {"LlamaForTokenClassification", LLAMA_SIZES("llama"), ", \"classifier_dropout\": 0.5, \"hidden_dropout\": 0.25", 0.5f, 0},
    {"LlamaForTokenClassification", LLAMA_SIZES("llama"), ", \"classifier_dropout\": null, \"hidden_dropout\": 0.25", 0.25f, 0},
    {"LlamaForTokenClassification", LLAMA_SIZES("llama"), ", \"classifier_dropout\": 0", 0, 0},
    {"LlamaForSequenceClassification", LLAMA_SIZES("llama"), ", \"classifier_dropout\": 0.5", 0, 0},
    {"MistralForTokenClassification", LLAMA_SIZES("mistral"), "", 0.1f, 0},
    {"Qwen2ForTokenClassification", LLAMA_SIZES("qwen2"), "", 0.1f, 0},
    {"Qwen3ForTokenClassification", LLAMA_SIZES("qwen3"), ", \"classifier_dropout\": 0.5", 0.5f, 0},
    {"GPT2ForTokenClassification", GPT2_SIZES, "", 0.1f, 0},
    {"GPT2ForTokenClassification", GPT2_SIZES, ", \"classifier_dropout\": 0.5", 0.5f, 0},
    {"GPT2ForTokenClassification", GPT2_SIZES, ", \"hidden_dropout\": 0.25", 0.25f, 0},
    {"GPT2ForSequenceClassification", GPT2_SIZES, "", 0, 0},
    {"BertForTokenClassification", ENCODER_SIZES("bert"), ", \"classifier_dropout\": null", 0.1f, 0},
    {"BertForSequenceClassification", ENCODER_SIZES("bert"), ", \"classifier_dropout\": 0.25, \"hidden_dropout_prob\": 0.5",
     0.25f, 0},
    {"AlbertForSequenceClassification", ENCODER_SIZES("albert") ", \"embedding_size\": 16", "", 0.1f, 0},
    {"AlbertForTokenClassification", ENCODER_SIZES("albert") ", \"embedding_size\": 16", "", 0.1f, 0},
    {"DistilBertForSequenceClassification", DISTILBERT_SIZES, "", 0.2f, 0},
    {"DistilBertForTokenClassification", DISTILBERT_SIZES, "", 0.1f, 0},
    {"RobertaForSequenceClassification", ENCODER_SIZES("roberta"), "", 0.1f, 0.1f},
    {"DebertaV2ForSequenceClassification", QUIET_DEBERTA, "", 0, 0},
    {"DebertaV2ForSequenceClassification", QUIET_DEBERTA, ", \"cls_dropout\": 0.25", 0.25f, 0},
    {"DebertaV2ForSequenceClassification", QUIET_DEBERTA, ", \"pooler_dropout\": 0.25", 0, 0.25f},
};

static espl_model *make_head(size_t i, const char *more) {
    char config[1024];
    snprintf(config, sizeof config, "{\"architectures\": [\"%s\"], %s, \"vocab_size\": %d, \"initializer_range\": 0.5, "
             "\"num_labels\": 3%s}", heads[i].architecture, heads[i].sizes, VOCABULARY, more);
    return load(config);
}

/* Where nothing else is dropped the head's reaches the loss in training, by seed and step, and never else. */
static void of_heads(void **state) {
    (void)state;
    for (size_t i = 0; i < ESPL_COUNT(heads); i++) {
        espl_model *model = make_head(i, heads[i].more);
        if (model->task.dropout != heads[i].p)
            fail_msg("%s%s: %g, expected %g", heads[i].architecture, heads[i].more, (double)model->task.dropout, (double)heads[i].p);
        if (model->task.dropout_first != heads[i].first)
            fail_msg("%s%s: %g first, expected %g", heads[i].architecture, heads[i].more, (double)model->task.dropout_first,
                     (double)heads[i].first);
        if (model->config.dropout == 0 && model->config.attention_dropout == 0) {
            const bool drops = heads[i].p > 0 || heads[i].first > 0;
            espl_model *none = make_head(i, ", \"classifier_dropout\": 0, \"classifier_dropout_prob\": 0, \"cls_dropout\": 0");
            const double plain = loss_of(none, true, 1, 0), first = loss_of(model, true, 1, 0);
            assert_true(loss_of(model, false, 1, 0) == plain);
            assert_true((first != plain) == drops && loss_of(model, true, 1, 0) == first);
            assert_true((loss_of(model, true, 1, 1) != first) == drops);
            espl_model_destroy(&none);
        }
        espl_model_destroy(&model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_default), cmocka_unit_test(in_training), cmocka_unit_test(same_bits),
                                       cmocka_unit_test(of_heads)};
    return test_main("dropout", tests, ESPL_COUNT(tests));
}
