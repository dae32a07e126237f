/* Token embeddings beside the base's (adapters/embeddings.c) beyond their goldens: which rows they begin with, what follows them (tied
 * maps and their bias, the tokenizer, sessions), files, what is trained, what is refused. */
#include "host/base/os.h"
#include "host/file/json.h"
#include "host/model/adapter.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OTHER_TOKENS = 41 };
static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

/* The base's are special and w5 to w96; of the other's, in reverse order, every second w is the base's, and the rest are v. */
static void token_of(bool other, uint32_t id, char out[16]) {
    const uint32_t at = OTHER_TOKENS - 1 - id;
    if (!other && id < ESPL_COUNT(special)) snprintf(out, 16, "%s", special[id]);
    else if (!other) snprintf(out, 16, "w%u", id);
    else if (at < ESPL_COUNT(special)) snprintf(out, 16, "%s", special[at]);
    else snprintf(out, 16, "%c%u", at % 2 ? 'v' : 'w', at);
}

/* The base's token of the same spelling, or ESPL_NO_TOKEN. */
static uint32_t base_token(uint32_t id) {
    const uint32_t at = OTHER_TOKENS - 1 - id;
    return at < ESPL_COUNT(special) || at % 2 == 0 ? at : ESPL_NO_TOKEN;
}

static void write_tokenizer(const char *folder, bool other, uint32_t tokens) {
    espl_bytes text = {0};
    char path[512], token[16];
    for (uint32_t id = 0; id < tokens; id++) {
        token_of(other, id, token);
        test_ok(espl_bytes_print(test_context(), &text, "%s\n", token));
    }
    test_ok(espl_os_make_folder(test_context(), folder));
    snprintf(path, sizeof path, "%s/vocab.txt", folder);
    test_ok(espl_os_write_file(test_context(), path, text.data, text.count));
    espl_bytes_finish(test_context(), &text);
}

/* A model of tests/golden with a tokenizer, and the folder of another tokenizer; both folders are removed by end. */
typedef struct setting {
    espl_model *model;
    uint32_t tokens; /* the base's */
    char *folder, *other;
} setting;

static setting begin(const char *name) {
    setting s = {.tokens = strncmp(name, "bert", 4) == 0 ? 83 : TEST_VOCABULARY, .folder = test_path("model"), .other = test_path("tokenizer")};
    char from[512];
    snprintf(from, sizeof from, "%s/%s", ESPL_GOLDEN, name);
    test_copy_file(from, s.folder, "config.json");
    test_copy_file(from, s.folder, "model.safetensors");
    write_tokenizer(s.folder, false, s.tokens);
    write_tokenizer(s.other, true, OTHER_TOKENS);
    test_ok(espl_model_load(test_device(), s.folder, NULL, &s.model));
    assert_int_equal(espl_model_describe(s.model).vocabulary, s.tokens);
    return s;
}

static void end(setting *s) {
    espl_model_destroy(&s->model);
    espl_os_remove_folder(test_context(), s->folder);
    espl_os_remove_folder(test_context(), s->other);
    free(s->folder), free(s->other);
}

static espl_adapter *add(const setting *s, const char *name, const char *more) {
    char spec[512];
    espl_adapter *adapter;
    snprintf(spec, sizeof spec, "embeddings:tokenizer=%s%s", s->other, more);
    test_ok(espl_adapter_add(s->model, name, spec, 7, &adapter));
    return adapter;
}

static float *rows_of(espl_store *store, uint32_t matrix, uint32_t rows) {
    float *values = malloc((size_t)rows * store->matrices[matrix].cols * sizeof *values);
    test_ok(espl_store_read(store, &(espl_entry){.matrix = matrix, .count = rows}, values));
    return values;
}

static espl_dataset *row_of(espl_model *model, const int32_t *ids, uint32_t tokens) {
    const espl_model_info info = espl_model_describe(model);
    const int32_t labels[TEST_TOKENS] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    const espl_rows rows = {.rows = 1, .tokens = tokens, .ids = ids, .labels = labels, .row_labels = info.per_token ? tokens : 1};
    espl_dataset *dataset;
    test_ok(espl_dataset_from_rows(test_context(), &rows, 0, 0, &dataset));
    return dataset;
}

/* Outputs of one row of ids, from malloc. */
static float *predict(espl_model *model, const int32_t *ids, uint32_t tokens, size_t *out_count) {
    const espl_model_info info = espl_model_describe(model);
    *out_count = (info.per_token ? tokens : 1) * (size_t)info.outputs;
    float *out = malloc(*out_count * sizeof *out);
    espl_dataset *dataset = row_of(model, ids, tokens);
    test_ok(espl_predict(model, dataset, 0, 0, out));
    espl_dataset_destroy(&dataset);
    return out;
}

static const int32_t other_ids[] = {38, 7, 20, 3, 40, 12, 37};

/* Tokens of the same spelling begin as the reference's, the others from N(0, 0.02^2); seeds differ. */
static void rows(void **state) {
    (void)state;
    setting s = begin("bert_masked_full");
    espl_adapter *e = add(&s, "e", ""), *none = add(&s, "n", ",reference=none"), *copy, *of_e;
    const uint32_t embed = s.model->embed, width = s.model->store.matrices[embed].cols;
    test_ok(espl_adapter_add(s.model, "c", "embeddings", 7, &copy));
    char spec[600];
    snprintf(spec, sizeof spec, "embeddings:tokenizer=%s,reference=n", s.other);
    test_ok(espl_adapter_add(s.model, "o", spec, 8, &of_e));
    assert_int_equal(e->tokens, OTHER_TOKENS);
    assert_int_equal(espl_adapter_parameters(e), OTHER_TOKENS * width);
    float *base = rows_of(&s.model->store, embed, s.tokens), *own = rows_of(&e->store, 0, OTHER_TOKENS);
    float *new = rows_of(&none->store, 0, OTHER_TOKENS), *same = rows_of(&copy->store, 0, s.tokens);
    float *others = rows_of(&of_e->store, 0, OTHER_TOKENS);
    double sum = 0, square = 0;
    uint32_t shared = 0;
    for (uint32_t id = 0; id < OTHER_TOKENS; id++) {
        const uint32_t in_base = base_token(id);
        const float *row = own + (size_t)id * width;
        if (in_base != ESPL_NO_TOKEN) assert_memory_equal(row, base + (size_t)in_base * width, width * sizeof *row);
        else assert_memory_equal(row, new + (size_t)id * width, width * sizeof *row);
        shared += in_base != ESPL_NO_TOKEN;
        for (uint32_t i = 0; i < width; i++) sum += new[(size_t)id * width + i], square += pow(new[(size_t)id * width + i], 2);
    }
    assert_int_equal(shared, 5 + 18);
    const double count = (double)OTHER_TOKENS * width, error = 5 / sqrt(count); /* 5 standard errors */
    assert_true(fabs(sum / count) < 0.02 * error);
    assert_true(fabs(sqrt(square / count) / 0.02 - 1) < error);
    assert_memory_equal(base, same, (size_t)s.tokens * width * sizeof *base);
    assert_memory_equal(new, others, (size_t)OTHER_TOKENS * width * sizeof *new);
    free(base), free(own), free(new), free(same), free(others);
    end(&s);
}

/* Tokens that both have give what they gave; the rest of the model knows nothing of their numbers. Masked tokens have scores, with a
 * bias, for the active embeddings' tokens. */
static void same_tokens_same_outputs(void **state) {
    (void)state;
    static const char *const models[] = {"bert_classes_lora", "bert_masked_full"};
    for (size_t m = 0; m < ESPL_COUNT(models); m++) {
        setting s = begin(models[m]);
        int32_t ids[] = {2, 6, 8, 10, 12, 30, 3}, other[ESPL_COUNT(ids)];
        size_t count, others;
        float *base = predict(s.model, ids, ESPL_COUNT(ids), &count);
        add(&s, "e", "");
        test_ok(espl_model_activate(s.model, "e"));
        assert_int_equal(espl_model_describe(s.model).vocabulary, OTHER_TOKENS);
        assert_int_equal(espl_tokenizer_size(espl_model_tokenizer(s.model)), OTHER_TOKENS);
        for (size_t i = 0; i < ESPL_COUNT(ids); i++) other[i] = OTHER_TOKENS - 1 - ids[i];
        float *own = predict(s.model, other, ESPL_COUNT(ids), &others);
        if (m == 0) assert_memory_equal(base, own, count * sizeof *own);
        for (size_t i = 0; m == 1 && i < ESPL_COUNT(ids); i++) {
            for (uint32_t id = 0; id < OTHER_TOKENS; id++) {
                const uint32_t in_base = base_token(id);
                if (in_base == ESPL_NO_TOKEN) continue;
                const float a = base[i * s.tokens + in_base], b = own[i * OTHER_TOKENS + id];
                /* The product has other columns beside it, so perhaps another tile and order. */
                if (!(fabsf(a - b) <= 1e-5f * (1 + fabsf(a)))) fail_msg("token %zu, score of %u: %g for %g", i, id, (double)b, (double)a);
            }
        }
        test_ok(espl_model_activate(s.model, ""));
        assert_int_equal(espl_tokenizer_size(espl_model_tokenizer(s.model)), s.tokens);
        free(own);
        own = predict(s.model, ids, ESPL_COUNT(ids), &others);
        assert_memory_equal(base, own, count * sizeof *own);
        free(base), free(own);
        end(&s);
    }
}

/* Saved and loaded: the same bits, tokens and tokenizer; deleted: the base's again. A folder once written for one tokenizer and then
 * for another has the last one's alone. */
static void files(void **state) {
    (void)state;
    setting s = begin("bert_classes_lora");
    espl_adapter *e = add(&s, "e", ",reference=none"), *copy, *loaded;
    test_ok(espl_adapter_add(s.model, "c", "embeddings", 7, &copy));
    char *folder = test_path("embeddings"), path[512];
    size_t count;
    test_ok(espl_adapter_save(copy, folder));
    snprintf(path, sizeof path, "%s/tokenizer/merges.txt", folder);
    test_ok(espl_os_write_file(test_context(), path, "", 0));
    test_ok(espl_adapter_save(e, folder));
    assert_false(espl_os_is_file(path));
    snprintf(path, sizeof path, "%s/embedding.pt", folder);
    assert_true(espl_os_is_file(path));
    test_ok(espl_model_activate(s.model, "e"));
    float *before = predict(s.model, other_ids, ESPL_COUNT(other_ids), &count);
    espl_adapter_delete(&e);
    assert_int_equal(espl_model_describe(s.model).vocabulary, s.tokens);
    test_ok(espl_adapter_load(s.model, "e", folder, &loaded));
    assert_string_equal(espl_adapter_method(loaded), "embeddings");
    test_ok(espl_model_activate(s.model, "e"));
    for (uint32_t id = 0; id < OTHER_TOKENS; id++) {
        char token[16];
        token_of(true, id, token);
        assert_string_equal(espl_tokenizer_piece(espl_model_tokenizer(s.model), id), token);
    }
    float *after = predict(s.model, other_ids, ESPL_COUNT(other_ids), &count);
    assert_memory_equal(before, after, count * sizeof *after);
    /* In place, and what it was loaded from is its own tokenizer's folder. */
    test_ok(espl_adapter_save(loaded, folder));
    espl_adapter_delete(&loaded);
    test_ok(espl_adapter_load(s.model, "e", folder, &loaded));
    assert_int_equal(espl_tokenizer_size(loaded->tokenizer), OTHER_TOKENS);
    /* Without a tokenizer its tokens have no spelling, and ids alone are taken. */
    snprintf(path, sizeof path, "%s/tokenizer", folder);
    espl_os_remove_folder(test_context(), path);
    espl_adapter_delete(&loaded);
    test_ok(espl_adapter_load(s.model, "e", folder, &loaded));
    test_ok(espl_model_activate(s.model, "e"));
    assert_null(espl_model_tokenizer(s.model));
    free(after);
    after = predict(s.model, other_ids, ESPL_COUNT(other_ids), &count);
    assert_memory_equal(before, after, count * sizeof *after);
    free(before), free(after);
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    end(&s);
}

/* Embeddings alone, and with an adapter: what is trained moves, nothing else does. */
static void trained(void **state) {
    (void)state;
    for (int both = 0; both < 2; both++) {
        setting s = begin("bert_classes_lora");
        espl_adapter *e = add(&s, "e", ""), *lora, *still = add(&s, "still", "");
        test_ok(espl_adapter_add(s.model, "l", "lora:r=2", 3, &lora));
        test_ok(espl_model_activate(s.model, "e+l"));
        espl_adapter *const all[] = {e, lora, still};
        float *before[3], *base = rows_of(&s.model->store, s.model->embed, s.tokens);
        size_t counts[3];
        for (int i = 0; i < 3; i++) before[i] = test_adapter_values(all[i], &counts[i]);
        espl_dataset *dataset = row_of(s.model, other_ids, ESPL_COUNT(other_ids));
        espl_trainer *trainer;
        espl_progress progress;
        const espl_trainer_params params = {.steps = 2, .learning_rate = 1e-2, .also = &lora, .also_count = (uint32_t)both};
        test_ok(espl_trainer_create(s.model, e, dataset, &params, &trainer));
        for (int i = 0; i < 2; i++) test_ok(espl_trainer_step(trainer, &progress));
        espl_trainer_destroy(&trainer);
        espl_dataset_destroy(&dataset);
        for (int i = 0; i < 3; i++) {
            float *after = test_adapter_values(all[i], &counts[i]);
            const bool moved = memcmp(before[i], after, counts[i] * sizeof *after) != 0;
            if (moved != (i == 0 || (i == 1 && both))) fail_msg("%s: %s", espl_adapter_name(all[i]), moved ? "moved" : "did not move");
            free(before[i]), free(after);
        }
        float *again = rows_of(&s.model->store, s.model->embed, s.tokens);
        assert_memory_equal(base, again, (size_t)s.tokens * s.model->store.matrices[s.model->embed].cols * sizeof *base);
        free(base), free(again);
        end(&s);
    }
}

/* A session has as many scores as the embeddings that it was made with have tokens, and its own tokenizer's text. */
static void sessions(void **state) {
    (void)state;
    setting s = begin("llama_tied_rope_scaling");
    const float *logits;
    uint32_t count;
    espl_session *session;
    espl_generate_result result;
    add(&s, "e", "");
    test_ok(espl_session_create(s.model, NULL, &session));
    test_ok(espl_session_append(session, (const int32_t[]){90, 5}, 2));
    test_ok(espl_session_logits(session, &logits, &count));
    assert_int_equal(count, TEST_VOCABULARY);
    test_ok(espl_model_activate(s.model, "e"));
    int32_t many[40] = {0};
    test_refused(espl_session_append(session, many, 40), ESPL_ARGUMENT, "have 41 tokens, the session was made for 97: refresh it");
    test_ok(espl_session_refresh(session));
    test_refused(espl_session_append(session, (const int32_t[]){OTHER_TOKENS}, 1), ESPL_ARGUMENT, "token 41 is not in the vocabulary of 41");
    test_ok(espl_session_append(session, other_ids, ESPL_COUNT(other_ids)));
    test_ok(espl_session_logits(session, &logits, &count));
    assert_int_equal(count, OTHER_TOKENS);
    espl_session_reset(session);
    const espl_generate_params params = {.prompt = "v7 w8", .max_tokens = 3};
    test_ok(espl_generate(session, &params, &result));
    assert_int_equal(result.tokens, 3);
    espl_session_destroy(&session);
    end(&s);
}

/* Of the base's tokens they can become the base's, tied map and all; an average of equals is the same. */
static void merged(void **state) {
    (void)state;
    setting s = begin("llama_tied_rope_scaling");
    float base[TEST_VOCABULARY], active[TEST_VOCABULARY], result[TEST_VOCABULARY];
    espl_adapter *e, *mean, *other = add(&s, "o", "");
    test_logits(s.model, base);
    test_ok(espl_adapter_add(s.model, "e", "embeddings:reference=none", 5, &e));
    test_ok(espl_model_activate(s.model, "e"));
    test_logits(s.model, active);
    assert_false(test_same(base, active));
    test_ok(espl_adapter_average(s.model, "m", (const char *const[]){"e", "e"}, (const double[]){0.5, 0.5}, 2, NULL, &mean));
    test_ok(espl_model_activate(s.model, "m"));
    test_logits(s.model, result);
    assert_true(test_same(active, result));
    test_ok(espl_model_activate(s.model, ""));
    test_ok(espl_adapter_merge(e));
    test_logits(s.model, result);
    assert_true(test_same(active, result));
    test_ok(espl_adapter_unmerge(e));
    test_logits(s.model, result);
    assert_true(test_same(base, result));
    test_refused(espl_adapter_merge(other), ESPL_UNSUPPORTED, "embeddings is no change of the base's weights");
    end(&s);
}

static void refused(void **state) {
    (void)state;
    setting s = begin("llama_tied_rope_scaling");
    espl_adapter *adapter;
    char spec[600];
    add(&s, "e", ""), add(&s, "f", "");
    test_refused(espl_model_activate(s.model, "e+f"), ESPL_ARGUMENT, "adapters \"e\" and \"f\" cannot be active together");
    test_refused(espl_model_activate(s.model, "batchsplit(e:1,f:1)"), ESPL_UNSUPPORTED, "which all rows of a batch have together");
    test_ok(espl_adapter_add(s.model, "h", "head", 1, &adapter));
    test_refused(espl_model_activate(s.model, "e+h"), ESPL_ARGUMENT, "each has values of its own in place of the tokens of");
    snprintf(spec, sizeof spec, "embeddings:tokenizer=%s,reference=h", s.other);
    test_refused(espl_adapter_add(s.model, "x", spec, 1, &adapter), ESPL_ARGUMENT, "the reference \"h\" is neither \"default\" nor embeddings");
    test_refused(espl_adapter_add(s.model, "x", "embeddings:tokenizer=/nowhere", 1, &adapter), ESPL_IO, "/nowhere");
    test_refused(espl_adapter_average(s.model, "x", (const char *const[]){"e", "h"}, (const double[]){1, 1}, 2, NULL, &adapter), ESPL_ARGUMENT,
                 "is of method embeddings");
    end(&s);
    s = begin("llama_lora"); /* not tied */
    snprintf(spec, sizeof spec, "embeddings:tokenizer=%s", s.other);
    test_refused(espl_adapter_add(s.model, "x", spec, 1, &adapter), ESPL_UNSUPPORTED,
                 "the map into the vocabulary of this llama model is not its token embedding and has no rows for 41 other tokens");
    test_ok(espl_adapter_add(s.model, "c", "embeddings", 1, &adapter));
    /* A file of another width, and one that is no tensor alone. */
    char *folder = test_path("embeddings"), path[512], from[512];
    snprintf(from, sizeof from, "%s/embeddings_bert/adapter", ESPL_GOLDEN);
    test_copy_file(from, folder, "embedding.pt");
    test_refused(espl_adapter_load(s.model, "x", folder, &adapter), ESPL_UNSUPPORTED, "has no rows for 383 other tokens");
    espl_model_destroy(&s.model);
    test_ok(espl_model_load(test_device(), s.folder, &(espl_model_params){.head.kind = ESPL_HEAD_CLASSIFICATION, .head.labels = 2}, &s.model));
    test_refused(espl_adapter_load(s.model, "x", folder, &adapter), ESPL_FORMAT, "embedding.pt");
    snprintf(path, sizeof path, "%s/embedding.pt", folder);
    test_ok(espl_os_write_file(test_context(), path, "PK\3\4", 4));
    test_refused(espl_adapter_load(s.model, "x", folder, &adapter), ESPL_FORMAT, "embedding.pt");
    espl_os_remove_folder(test_context(), folder);
    free(folder);
    end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows),     cmocka_unit_test(same_tokens_same_outputs), cmocka_unit_test(files), cmocka_unit_test(trained),
        cmocka_unit_test(sessions), cmocka_unit_test(merged),                   cmocka_unit_test(refused),
    };
    return test_main("vocabulary", tests, ESPL_COUNT(tests));
}
