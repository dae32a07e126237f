/* Real pretrained weights against the golden numbers beside them (float64, by central differences where they are gradients):
 * tokens, logits after a prompt, greedy text, loss, gradients of the weights. Skipped by name where ../shared is absent.
 * Bounds as in test_golden.c; the gradients of a tensor are those of its sampled elements, compared norm-wise. */
#include "host/base/os.h"
#include "host/file/json.h"
#include "tests/model/model_test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double bound_logits = 2e-5, bound_loss = 1e-6, bound_gradient = 1e-4;

static json_t *load_json(const char *path) {
    json_t *root;
    test_ok(espl_json_load(test_context(), path, &root));
    return root;
}

static int32_t *ids_of(const json_t *list, uint32_t *out_count) {
    *out_count = (uint32_t)json_array_size(list);
    int32_t *ids = malloc((*out_count + 1) * sizeof *ids);
    assert_non_null(ids);
    for (uint32_t i = 0; i < *out_count; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return ids;
}

static int32_t greedy(const float *logits, uint32_t count) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++) best = logits[i] > logits[best] ? i : best;
    return (int32_t)best;
}

static void check_case(espl_session *session, const json_t *c) {
    uint32_t prompt_count, greedy_count, vocabulary;
    int32_t *prompt = ids_of(json_object_get(c, "prompt_ids"), &prompt_count);
    int32_t *expected = ids_of(json_object_get(c, "greedy_ids"), &greedy_count);
    const json_t *last = json_object_get(c, "last_logits");
    const float *logits;
    espl_session_reset(session);
    test_ok(espl_session_append(session, prompt, prompt_count));
    test_ok(espl_session_logits(session, &logits, &vocabulary));
    assert_int_equal(json_array_size(last), vocabulary);
    double difference = 0, norm = 0;
    for (uint32_t i = 0; i < vocabulary; i++) {
        const double e = json_number_value(json_array_get(last, i));
        difference += (logits[i] - e) * (logits[i] - e);
        norm += e * e;
    }
    const double off = sqrt(difference / norm);
    printf("  \"%s\": logits %.1e, %u greedy tokens\n", json_string_value(json_object_get(c, "prompt")), off, greedy_count);
    assert_true(off <= bound_logits);
    for (uint32_t i = 0; i < greedy_count; i++) {
        const int32_t id = greedy(logits, vocabulary);
        if (id != expected[i]) fail_msg("greedy token %u is %d, expected %d", i, id, expected[i]);
        if (i + 1 < greedy_count) test_ok(espl_session_append(session, &id, 1));
        test_ok(espl_session_logits(session, &logits, &vocabulary));
    }
    free(prompt), free(expected);
}

/* Where a golden's element lies in the Hugging Face folder: names and rows of llama2.c's own format are mapped. */
static void locate(const char *tensor, const json_t *index, char name[128], size_t at[2]) {
    static const struct {
        const char *golden, *module;
        bool halves; /* rows are in interleaved rotary order there */
    } rows[] = {{"wq", "self_attn.q_proj", true}, {"wk", "self_attn.k_proj", true}, {"wv", "self_attn.v_proj", false},
                {"wo", "self_attn.o_proj", false}, {"w1", "mlp.gate_proj", false}, {"w2", "mlp.down_proj", false},
                {"w3", "mlp.up_proj", false}, {"an", "input_layernorm", false}, {"fn", "post_attention_layernorm", false}};
    size_t n = json_array_size(index), first = 0;
    snprintf(name, 128, "%s", strcmp(tensor, "emb") == 0 || strcmp(tensor, "lm_head.weight") == 0
                                  ? "model.embed_tokens.weight"
                                  : strcmp(tensor, "fin") == 0 ? "model.norm.weight" : tensor);
    bool halves = false;
    for (size_t i = 0; i < ESPL_COUNT(rows); i++) {
        if (strcmp(tensor, rows[i].golden) != 0) continue;
        snprintf(name, 128, "model.layers.%lld.%s.weight", json_integer_value(json_array_get(index, 0)), rows[i].module);
        first = 1;
        halves = rows[i].halves;
    }
    at[0] = (size_t)json_integer_value(json_array_get(index, first));
    at[1] = n - first > 1 ? (size_t)json_integer_value(json_array_get(index, first + 1)) : SIZE_MAX;
    if (halves) {
        const size_t head = at[0] / 8, within = at[0] % 8;
        at[0] = 8 * head + within % 2 * 4 + within / 2;
    }
}

static void check_gradients(espl_tensors *got, const json_t *list) {
    double worst = 0;
    size_t count = json_array_size(list);
    /* Elements of one tensor stand together. */
    for (size_t i = 0; i < count;) {
        const char *tensor = json_string_value(json_object_get(json_array_get(list, i), "tensor"));
        double difference = 0, norm = 0;
        size_t used = 0;
        for (; i < count; i++, used++) {
            const json_t *one = json_array_get(list, i);
            if (strcmp(json_string_value(json_object_get(one, "tensor")), tensor) != 0) break;
            char name[128], key[160];
            size_t at[2];
            espl_tensor_view view;
            locate(tensor, json_object_get(one, "index"), name, at);
            snprintf(key, sizeof key, "grad.%s", name);
            test_ok(espl_tensors_find(got, key, &view));
            const size_t offset = at[1] == SIZE_MAX ? at[0] : at[0] * view.shape[1] + at[1];
            float value;
            memcpy(&value, view.data + offset * sizeof value, sizeof value);
            const double e = json_number_value(json_object_get(one, "grad"));
            difference += (value - e) * (value - e);
            norm += e * e;
        }
        worst = fmax(worst, sqrt(difference / norm));
        if (!(sqrt(difference / norm) <= bound_gradient))
            fail_msg("gradient of %s: %zu elements are off by %.2e", tensor, used, sqrt(difference / norm));
    }
    printf("  %zu gradients %.1e\n", count, worst);
}

static void check_loss(espl_model *model, const json_t *one) {
    uint32_t count;
    size_t encoded_count;
    const uint32_t *encoded;
    int32_t *ids = ids_of(json_object_get(one, "ids"), &count);
    const char *text = json_string_value(json_object_get(one, "text"));
    espl_tokenizer *tokenizer = espl_model_tokenizer(model);
    test_ok(espl_tokenizer_encode(tokenizer, text, strlen(text), true, &encoded, &encoded_count));
    assert_int_equal(encoded_count, count);
    for (uint32_t i = 0; i < count; i++) assert_int_equal((int32_t)encoded[i], ids[i]);
    char *path = test_path("real.safetensors");
    test_ok(espl_probe(model, NULL, &(espl_probe_params){.ids = ids, .rows = 1, .tokens = count}, path));
    espl_tensors *got;
    test_ok(espl_tensors_open(test_context(), path, &got));
    double *loss = test_values(got, "loss", NULL);
    const double expected = json_number_value(json_object_get(one, "mean_nll"));
    printf("  loss %.9f, expected %.9f\n", loss[0], expected);
    assert_true(fabs(loss[0] - expected) <= bound_loss * expected);
    check_gradients(got, json_object_get(one, "grads"));
    espl_tensors_destroy(&got);
    espl_os_remove_file(path);
    free(loss), free(path), free(ids);
}

static void check_model(const char *folder, const char *golden_path) {
    json_t *golden = load_json(golden_path);
    espl_model *model;
    espl_session *session;
    test_ok(espl_model_load(test_device(), folder, &(espl_model_params){.trainable = true}, &model));
    test_ok(espl_session_create(model, NULL, &session));
    const json_t *cases = json_object_get(golden, "cases"), *losses = json_object_get(golden, "loss");
    assert_true(json_array_size(cases) > 0 && json_array_size(losses) > 0);
    for (size_t i = 0; i < json_array_size(cases); i++) check_case(session, json_array_get(cases, i));
    for (size_t i = 0; i < json_array_size(losses); i++) check_loss(model, json_array_get(losses, i));
    espl_session_destroy(&session);
    espl_model_destroy(&model);
    json_decref(golden);
}

static void tinystories(void **state) {
    (void)state;
    if (!espl_os_is_file(ESPL_SHARED "/data/tinystories-656k/golden.json")) {
        printf("  skipped: tinystories-656k is not there\n");
        skip();
    }
    check_model(ESPL_SHARED "/data/tinystories-656k", ESPL_SHARED "/data/tinystories-656k/golden.json");
}

static void stories260k(void **state) {
    (void)state;
    if (!espl_os_is_file(ESPL_SHARED "/data/stories260k/golden.json")) {
        printf("  skipped: stories260k is not there\n");
        skip();
    }
    if (system("python3 -c 'import numpy' 2>/dev/null") != 0) {
        printf("  skipped: the converter needs python3 with numpy\n");
        skip();
    }
    if (system("python3 " ESPL_TOOLS "/golden/convert_stories260k.py " ESPL_SHARED "/data/stories260k/stories260K.bin "
               ESPL_SHARED "/data/stories260k/tok512.bin stories260k_hf") != 0)
        fail_msg("the converter failed");
    check_model("stories260k_hf", ESPL_SHARED "/data/stories260k/golden.json");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tinystories), cmocka_unit_test(stories260k)};
    return test_main("real models", tests, ESPL_COUNT(tests));
}
