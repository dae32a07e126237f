/* Any bytes as JSON: every getter on every key, and what is printed must read back as the same value. */
#include "host/file/json.h"
#include "tests/fuzz/fuzz.h"

static void get_all(espl_context *ctx, json_t *object) {
    const char *key, *text;
    json_t *value, *part;
    uint32_t u32;
    uint64_t u64;
    int64_t i64;
    double f64;
    float f32;
    bool flag;
    json_object_foreach(object, key, value) {
        (void)espl_json_u32(ctx, object, key, 0, &u32);
        (void)espl_json_u64(ctx, object, key, 0, &u64);
        (void)espl_json_i64(ctx, object, key, 0, &i64);
        (void)espl_json_f64(ctx, object, key, 0, &f64);
        (void)espl_json_f32(ctx, object, key, 0, &f32);
        (void)espl_json_bool(ctx, object, key, false, &flag);
        (void)espl_json_string(ctx, object, key, "", &text);
        (void)espl_json_object(ctx, object, key, &part);
        (void)espl_json_array(ctx, object, key, &part);
        (void)espl_json_need(ctx, object, key);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    espl_context *ctx = fuzz_context();
    json_t *root, *back;
    if (espl_json_parse(ctx, data, bytes, "fuzz", &root) == ESPL_OK) {
        espl_bytes text = {0};
        get_all(ctx, root);
        FUZZ_CHECK(espl_json_print(ctx, root, &text) == ESPL_OK);
        FUZZ_CHECK(espl_json_parse(ctx, text.data, text.count, "back", &back) == ESPL_OK);
        FUZZ_CHECK(json_equal(root, back));
        espl_json_destroy(&back);
        espl_bytes_finish(ctx, &text);
    } else {
        FUZZ_CHECK(root == NULL);
    }
    espl_json_destroy(&root);
    espl_context_destroy(&ctx);
    return 0;
}
