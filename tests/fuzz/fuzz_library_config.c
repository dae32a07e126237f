/* Any text as the configuration of an adapter of the Adapters library: what is accepted becomes an object, whose keys read. */
#include "adapters/library.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    espl_context *ctx = fuzz_context();
    json_t *file = json_pack("{s:s#, s:s}", "config", (const char *)data, (int)bytes, "version", "adapters.1.0.0");
    if (file && espl_library_renew(ctx, file) == ESPL_OK) {
        FUZZ_CHECK(json_is_object(json_object_get(file, "config")));
        FUZZ_CHECK(espl_library_renew(ctx, file) == ESPL_OK);
    }
    espl_json_destroy(&file);
    espl_context_destroy(&ctx);
    return 0;
}
