/* Any bytes as a pickle: its values can be walked, and are not many more than the bytes. */
#include "host/file/pickle.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    espl_context *ctx = fuzz_context();
    espl_pickle pickle = {.ctx = ctx, .name = "fuzz", .data = data, .bytes = bytes};
    uint32_t root;
    if (espl_pickle_read(&pickle, &root) == ESPL_OK) FUZZ_CHECK(root < pickle.count && pickle.at <= bytes);
    else FUZZ_CHECK(espl_context_message(ctx)[0]);
    FUZZ_CHECK(pickle.count <= bytes && pickle.item_count <= bytes + 1);
    for (size_t i = 0; i < pickle.count; i++) {
        const espl_pickle_value *value = &pickle.values[i];
        size_t count = 0;
        for (uint32_t at = value->first; at != ESPL_PICKLE_END; at = pickle.items[at].next, count++)
            FUZZ_CHECK(at < pickle.item_count && pickle.items[at].value < pickle.count);
        FUZZ_CHECK(count == value->count);
    }
    espl_pickle_finish(&pickle);
    espl_context_destroy(&ctx);
    return 0;
}
